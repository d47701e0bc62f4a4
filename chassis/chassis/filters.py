"""The filter language of List methods: a subset of AIP-160, parsed to a tree and written back.

    status = "LEAD_STATUS_NEW" AND (score >= 50 OR tags:vip) AND NOT email = null

- `=`, `!=`, `<`, `<=`, `>`, `>=` compare.
- `:` asks whether a text contains the value (whatever its case), or whether tags have it.
- `field:*` and `field != null` ask whether the field is set, `field = null` whether it is not.
- AND, OR, NOT (or a leading `-`) and parentheses join. As AIP-160 has it, **OR binds tighter than AND**.
- Values are quoted with `"` or `'` (`\\` escapes) or bare: words, numbers, true, false, 2024-05-01,
  2024-05-01T08:00:00Z. Times and days may be said from where one stands: -90d, today, month-1m, see `chassis.moments`.

What the fields mean and how a tree becomes SQL stands in `chassis.fields`.

Whatever is wrong is said as `Invalid` with field "filter", reason FILTER_INVALID, the place and what was
expected there.
"""

import dataclasses
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from chassis.errors import Invalid

MOST_CHARACTERS = 4000
MOST_DEPTH = 20
MOST_COMPARISONS = 50


class Op(Enum):
    EQ = "="
    NE = "!="
    LT = "<"
    LE = "<="
    GT = ">"
    GE = ">="
    HAS = ":"


@dataclass(frozen=True, slots=True)
class Literal:
    """A value as written. `quoted` texts are never null or `*`."""

    text: str
    quoted: bool = False


@dataclass(frozen=True, slots=True)
class Comparison:
    """`field op value`; `at` is the place of the field in the filter, from 1."""

    field: str
    op: Op
    value: Literal
    at: int = dataclasses.field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Not:
    part: "Node"


@dataclass(frozen=True, slots=True)
class And:
    parts: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Or:
    parts: tuple["Node", ...]


Node = Comparison | Not | And | Or


def invalid(at: int, description: str) -> Invalid:
    """The refusal of a filter at a place, counted in characters from 1."""
    return Invalid("filter", f"at character {at}: {description}", reason="FILTER_INVALID")


_SPACE = re.compile(r"\s*")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*(?:\.[A-Za-z][A-Za-z0-9_]*)*")
_OPERATOR = re.compile(r"<=|>=|!=|=|<|>|:")
_BARE = re.compile(r"[^\s()\"'\\,=<>!\x00]+")
_KEYWORDS = {"AND", "OR", "NOT"}


class _Parser:
    """Recursive descent over the text; `depth` and `count` keep hostile filters small."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.depth = 0
        self.count = 0

    def parse(self) -> Node | None:
        self.space()
        if self.at == len(self.text):
            return None
        node = self.conjunction()
        if self.at < len(self.text):
            raise self.expected("AND, OR or the end")
        return node

    def conjunction(self) -> Node:
        parts = [self.disjunction()]
        while self.keyword("AND"):
            parts.append(self.disjunction())
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def disjunction(self) -> Node:
        parts = [self.term()]
        while self.keyword("OR"):
            parts.append(self.term())
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def term(self) -> Node:
        self.depth += 1
        if self.depth > MOST_DEPTH:
            raise invalid(self.at + 1, f"is nested more than {MOST_DEPTH} deep")
        try:
            if self.keyword("NOT"):
                return Not(self.term())
            if self.symbol("-"):
                return Not(self.term())
            if self.symbol("("):
                node = self.conjunction()
                if not self.symbol(")"):
                    raise self.expected("AND, OR or ')'")
                return node
            return self.comparison()
        finally:
            self.depth -= 1

    def comparison(self) -> Comparison:
        at = self.at
        name = _NAME.match(self.text, at)
        if name is None or name.group() in _KEYWORDS:
            raise self.expected("a field, NOT or '('")
        self.count += 1
        if self.count > MOST_COMPARISONS:
            raise invalid(at + 1, f"more than {MOST_COMPARISONS} comparisons")
        self.at = name.end()
        self.space()
        operator = _OPERATOR.match(self.text, self.at)
        if operator is None:
            raise self.expected("one of = != < <= > >= :")
        self.at = operator.end()
        self.space()
        return Comparison(name.group(), Op(operator.group()), self.value(), at + 1)

    def value(self) -> Literal:
        quote = self.text[self.at : self.at + 1]
        if quote in ('"', "'"):
            return self.quoted(quote)
        bare = _BARE.match(self.text, self.at)
        if bare is None or bare.group() in _KEYWORDS:
            raise self.expected("a value")
        self.at = bare.end()
        self.space()
        return Literal(bare.group())

    def quoted(self, quote: str) -> Literal:
        start = self.at
        out: list[str] = []
        at = start + 1
        while at < len(self.text):
            c = self.text[at]
            if c == quote:
                self.at = at + 1
                self.space()
                return Literal("".join(out), quoted=True)
            if c == "\\":
                at += 1
                c = self.text[at : at + 1]
                if c not in ("\\", '"', "'"):
                    raise invalid(at + 1, "after a backslash expected one of \\ \" '")
            elif c == "\0":
                raise invalid(at + 1, "texts hold no NUL")
            out.append(c)
            at += 1
        raise invalid(start + 1, f"the text that begins here has no closing {quote}")

    def keyword(self, word: str) -> bool:
        end = self.at + len(word)
        if not self.text.startswith(word, self.at) or (
            end < len(self.text) and self.text[end] not in " \t\r\n("
        ):
            return False
        self.at = end
        self.space()
        return True

    def symbol(self, c: str) -> bool:
        if not self.text.startswith(c, self.at):
            return False
        self.at += 1
        self.space()
        return True

    def space(self) -> None:
        found = _SPACE.match(self.text, self.at)
        assert found is not None
        self.at = found.end()

    def expected(self, what: str) -> Invalid:
        found = self.text[self.at : self.at + 20]
        shown = f"'{found}'" if found else "the end"
        return invalid(self.at + 1, f"expected {what}, found {shown}")


def parse(text: str) -> Node | None:
    """The tree of a filter; None for an empty one. Raises Invalid naming "filter"."""
    if len(text) > MOST_CHARACTERS:
        raise invalid(MOST_CHARACTERS + 1, f"is longer than {MOST_CHARACTERS} characters")
    return _Parser(text).parse()


def comparisons(node: Node | None) -> Iterator[Comparison]:
    """All comparisons of a filter, in their order."""
    match node:
        case Comparison():
            yield node
        case Not():
            yield from comparisons(node.part)
        case And() | Or():
            for part in node.parts:
                yield from comparisons(part)
        case None:
            return


def written(node: Node) -> str:
    """The filter as text, such that `parse(written(node)) == node`."""
    match node:
        case Comparison():
            return f"{node.field} {node.op.value} {_written_value(node.value)}"
        case Not():
            inside = written(node.part)
            return f"NOT ({inside})" if isinstance(node.part, And | Or) else f"NOT {inside}"
        case Or():
            return " OR ".join(
                f"({written(p)})" if isinstance(p, And | Or) else written(p) for p in node.parts
            )
        case And():
            return " AND ".join(f"({written(p)})" if isinstance(p, And) else written(p) for p in node.parts)


def _written_value(value: Literal) -> str:
    if not value.quoted:
        return value.text
    return '"' + value.text.replace("\\", "\\\\").replace('"', '\\"') + '"'
