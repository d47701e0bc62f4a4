"""SQL is written, not composed: what a statement is made of must be seen where it is made.

Ruff's S608 finds queries that are put together from texts, by their first words. It does not know which text is sent to a
database, and so lets through whatever does not begin like a query. Here it is the other way round: what is handed to a
database is looked at, however it begins.
"""

import ast
import re
from collections.abc import Iterable, Iterator

from checks.sources import Source

_RUNS_SQL = frozenset({
    "text", "execute", "executemany", "exec_driver_sql", "fetch", "fetchrow", "fetchval", "fetchmany", "cursor", "prepare",
    "scalar", "scalars", "read_across", "copy_from_query",
})  # fmt: skip
"""Last words of what takes SQL as its first text."""
_NAMES_TABLES = ("migrations/", "chassis/schema.py", "chassis/imports/schema.py")
"""Where tables are made, by names of our own and as their owner: nothing of a caller's gets there."""
_SAID = re.compile(r"# noqa: S608 \(.{8,}\)|# Composed of .{4,}")
_QUIET = re.compile(r"# noqa:[^#]*\bS608\b")


def composed(sources: Iterable[Source]) -> Iterator[str]:
    """Calls that send a database a text put together, in the call or in what it names, without saying of what."""
    for source in sources:
        if any(part in source.path.as_posix() for part in _NAMES_TABLES):
            continue
        named = _assigned(source)
        found: dict[ast.expr, str] = {}
        for call, name in source.called():
            if name.rpartition(".")[2] in _RUNS_SQL or name.endswith("database.read"):
                for given in [*call.args, *(word.value for word in call.keywords)][:3]:
                    for text in named.get(given.id, []) if isinstance(given, ast.Name) else [given]:
                        if is_composed(text) and not _explained(source, call if text is given else text):
                            found[text] = name
        for text, name in found.items():
            yield (
                f"{source.at(text)}: {name} runs SQL that is put together from texts: use places ($1, :name) for values;"
                " where all parts are our own, say so there: '# Composed of …', or '# noqa: S608 (…)' where ruff asks"
            )


def _assigned(source: Source) -> dict[str, list[ast.expr]]:
    """What each name of a file is given anywhere in it."""
    named: dict[str, list[ast.expr]] = {}
    for node in ast.walk(source.tree):
        match node:
            case ast.Assign(targets=targets, value=value):
                for target in targets:
                    if isinstance(target, ast.Name):
                        named.setdefault(target.id, []).append(value)
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                named.setdefault(name, []).append(value)
            case ast.AugAssign(target=ast.Name(id=name), op=ast.Add(), value=value):
                named.setdefault(name, []).append(value)
            case _:
                pass
    return named


def unexplained(sources: Iterable[Source]) -> Iterator[str]:
    """Exceptions from S608 that do not say of what the SQL is made."""
    for source in sources:
        for number, line in enumerate(source.lines, 1):
            if _QUIET.search(line) and not _SAID.search(line):
                yield f"{source.path}:{number}: say in brackets of what the SQL is made: '# noqa: S608 (columns of the contract)'"


def is_composed(node: ast.expr) -> bool:
    """Whether a text is put together: an f-string with places, %, format, join, or + with something that is no constant."""
    match node:
        case ast.JoinedStr():
            return any(isinstance(part, ast.FormattedValue) for part in node.values)
        case ast.BinOp(op=ast.Mod(), left=left):
            return _is_text(left)
        case ast.BinOp(op=ast.Add(), left=left, right=right):
            texts = _is_text(left) or _is_text(right) or is_composed(left) or is_composed(right)
            return texts and not (_is_text(left) and _is_text(right))
        case ast.Call(func=ast.Attribute(value=value, attr="format" | "join")):
            return _is_text(value)
        case ast.IfExp(body=body, orelse=other):
            return is_composed(body) or is_composed(other)
        case _:
            return False


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def _explained(source: Source, node: ast.expr) -> bool:
    """Whether its lines, or the one above, say of what it is made."""
    last = node.end_lineno or node.lineno
    return any(_SAID.search(line) for line in source.lines[max(node.lineno - 2, 0) : last])
