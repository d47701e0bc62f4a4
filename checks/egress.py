"""Who may open connections to where. An address that a user has written must never be reached past one guarded client.

Every module that the product imports from others stands in one of three lists here: those that open nothing, those that
reach parts of the installation at addresses of its settings, and those by which anything can be reached, which one module
alone may use. A package that is new is in none of them, and has to be thought about.
"""

import ast
import sys
from collections.abc import Iterable, Iterator

from checks.sources import Source

HOME = "chassis.egress"
"""The one module that may connect to addresses of others, where the suite has one: it must check what it connects to."""

PEERS = {
    "alembic": "the own database",
    "asyncpg": "the own database",
    "grpc": "services of the suite",
    "grpc_health": "services of the suite",
    "grpc_reflection": "services of the suite",
    "nats": "the broker",
    "obstore": "the store of files",
    "opentelemetry": "the collector named by the operator",
    "sqlalchemy": "the own database",
}
"""Modules that connect, and with whom: at addresses that the settings give."""

SILENT = frozenset({
    "argon2", "cryptography", "fastapi", "google", "jwt", "kehu", "orjson", "phonenumbers",
    "pydantic", "pydantic_core", "pydantic_settings", "python_calamine", "python_multipart", "rapidfuzz", "sqlmodel",
    "starlette", "swagger_ui_bundle", "uuid_utils", "uvicorn", "uvloop",
})  # fmt: skip
"""Modules that open no connection by themselves as they are used here."""

_STANDARD = (
    "asyncore", "ftplib", "http.client", "http.server", "imaplib", "logging.handlers", "multiprocessing", "nntplib", "poplib",
    "smtplib", "socket", "socketserver", "ssl", "subprocess", "telnetlib", "urllib.request", "webbrowser", "wsgiref",
    "xmlrpc",
)  # fmt: skip
"""Modules of the standard library that connect, or run programs that may."""

_CALLS = frozenset({
    "open_connection", "open_unix_connection", "create_connection", "create_unix_connection", "create_datagram_endpoint",
    "sock_connect", "create_subprocess_exec", "create_subprocess_shell", "system", "popen", "execv", "execve", "posix_spawn",
})  # fmt: skip
"""Last words of calls that do so without an import that tells."""

EXCEPT = {
    ("chassis.events.streams", "urllib.request"): "asks the broker's monitoring address, from the settings",
    (
        "chassis.imports.workbook",
        "create_subprocess_exec",
    ): "reads a workbook in a process of its own, which opens nothing",
    ("chassis.imap", "imaplib"): "speaks over a connection that chassis.egress has opened",
    ("chassis.imap", "socket"): "names the kind of that connection",
    ("chassis.imap", "ssl"): "encrypts that connection",
    ("gateway.connections", "socket"): "sets how a connection that came in ends, and opens none",
    ("kehu_local.*", "*"): "starts servers on the operator's machine, and is no part of a service",
    ("*.testing", "*"): "serves tests, and is imported by nothing that runs",
}
"""Who may all the same, and why."""


def connections(sources: Iterable[Source]) -> Iterator[str]:
    """Imports and calls by which the product could reach what it likes."""
    for source in sources:
        if source.module == HOME:
            continue
        for node, name in reaching(source):
            if not _excepted(source.module, name):
                yield (
                    f"{source.at(node)}: {name} can open connections: only {HOME} may, so that no address is reached"
                    " unchecked. See checks/egress.py"
                )


def unknown(sources: Iterable[Source]) -> Iterator[str]:
    """Imports of modules of which nobody has said whether they connect."""
    known = (
        {source.module.split(".")[0] for source in sources} | SILENT | PEERS.keys() | sys.stdlib_module_names
    )
    for source in sources:
        firsts = {(node.lineno, name.split(".")[0]): node for node, name in imported(source)}
        for (_, first), node in firsts.items():
            if first not in known and source.module != HOME and not _excepted(source.module, first):
                yield f"{source.at(node)}: say in checks/egress.py whether {first} opens connections, and with whom"


def testing_imported(sources: Iterable[Source]) -> Iterator[str]:
    """Imports of what serves tests by what runs at a customer's."""
    for source in sources:
        for node, name in imported(source):
            if name.endswith(".testing") and not source.module.endswith(".testing"):
                yield f"{source.at(node)}: {name} is for tests: it may do what no service may"


def imported(source: Source) -> Iterator[tuple[ast.stmt, str]]:
    """Every module that a file imports; for `from a import b` both `a` and `a.b`."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node, node.module
            yield from ((node, f"{node.module}.{alias.name}") for alias in node.names)


def reaching(source: Source) -> Iterator[tuple[ast.expr | ast.stmt, str]]:
    seen: set[tuple[int, str]] = set()
    for node, name in imported(source):
        for module in _STANDARD:
            if (name == module or name.startswith(f"{module}.")) and (node.lineno, module) not in seen:
                seen.add((node.lineno, module))
                yield node, module
    for call, name in source.called():
        last = name.rpartition(".")[2]
        if last in _CALLS:
            yield call, last


def _excepted(module: str, name: str) -> bool:
    for who, what in EXCEPT:
        in_it = module == who or (who.startswith("*") and module.endswith(who[1:])) or (
            who.endswith(".*") and module.startswith(who[:-1])
        )  # fmt: skip
        if in_it and what in ("*", name):
            return True
    return False
