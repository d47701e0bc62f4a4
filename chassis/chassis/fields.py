"""The fields by which a listing can be filtered and ordered, and filters over them: as SQL, and over a record at hand.

A field that is not set equals nothing: comparisons with it are false, `!=` is true. NOT is the exact
opposite of what it stands before. (NOT is pushed down to the comparisons, so that the three-valued logic of
SQL makes no difference: what is NULL there is false here.)

Both forms mean the same, in a database whose texts are ordered by code points (C.UTF-8, as ours are).
"""

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from enum import Enum
from functools import lru_cache
from typing import Any
from uuid import UUID

from chassis.custom_fields.given import PREFIX
from chassis.errors import Invalid
from chassis.filters import And, Comparison, Node, Not, Op, Or, invalid
from chassis.money import digits

Value = str | int | bool | Decimal | datetime | date | UUID
"""A value as it goes to the database."""


class Kind(Enum):
    """What a field holds, and so what it may be compared with."""

    TEXT = "a text"
    ENUM = "a name"
    INTEGER = "a whole number"
    NUMBER = "a number"
    MONEY = "an amount"
    """A bigint column of minor units. The value is written in units (`1000.50`), or with its currency
    (`"1000.50 USD"`)."""
    TIMESTAMP = "a time such as 2024-05-01T08:00:00Z"
    DATE = "a day such as 2024-05-01"
    UUID = "a UUID"
    BOOL = "true or false"
    TAGS = "a tag"
    """A text[] column."""
    UUIDS = "the UUID of one of them"
    """A uuid[] column, with its index beside it: see `Field.linked`."""


@dataclass(frozen=True)
class Field:
    """A field of a listing: the column behind it and what may be done with it.

    `values` of an ENUM maps names to what the column holds; a plain sequence of names, or a StrEnum class,
    stands for itself. With `prefix` the full names of the proto enum are understood as well
    (`LEAD_STATUS_NEW` and `NEW`). `nullable` says that the column may hold NULL. Columns come from code
    only, never from a request.
    """

    column: str
    kind: Kind
    sortable: bool = False
    filterable: bool = True
    nullable: bool = False
    values: Mapping[str, str | int] | type[Enum] | tuple[str, ...] = ()
    prefix: str = ""
    currency_column: str | None = None
    """The column with the ISO 4217 code beside a MONEY column; lets a value name its currency."""
    currency: str = "CNY"
    """Whose digits a MONEY value without a currency has."""
    decimals: int = 0
    """Of an INTEGER column that holds a number with so many decimals, as 505 for 50.5: then comparisons are answered by an index,
    which row security denies to numbers with a point."""
    beside: "Beside | None" = None
    """The column is another table's. Such a field is not sortable, and not asked of a record at hand."""
    linked: "Link | None" = None
    """Of UUIDS: a table with a row for each id in the column. No operator of arrays is leakproof, so under row security no index
    of the column itself would ever be read."""

    def __post_init__(self) -> None:
        for column in (self.column, self.currency_column):
            if column is not None and not re.fullmatch(r"[a-z_][a-z0-9_]*", column):
                raise ValueError(f"{column!r} is no column name")
        if self.decimals and self.kind is not Kind.INTEGER:
            raise ValueError(f"{self.column}: decimals are those of an INTEGER column")
        if self.beside is not None and self.sortable:
            raise ValueError(f"{self.column} stands in another table: nothing is sorted by it")
        if (self.kind is Kind.UUIDS) != (self.linked is not None):
            raise ValueError(f"{self.column}: UUIDS, and nothing else, are linked")
        if self.kind is Kind.ENUM and not self.names:
            raise ValueError(f"{self.column}: an ENUM needs its values")

    @property
    def names(self) -> dict[str, str | int]:
        """Every name that is understood, in capitals, with what the column holds for it."""
        return _names(self)


@dataclass(frozen=True)
class Beside:
    """A table with at most one living row for each record, and its column with the record's id. Whoever has no row there has no
    value."""

    table: str
    record: str

    def __post_init__(self) -> None:
        _check_names(self.table, self.record)


@dataclass(frozen=True, slots=True)
class Link:
    """A table that says which records belong to something: its name, and its columns for the record and for its owner."""

    table: str
    record: str
    owner: str

    def __post_init__(self) -> None:
        _check_names(self.table, self.record, self.owner)


def _check_names(*names: str) -> None:
    for name in names:
        if not re.fullmatch(r"[a-z_][a-z0-9_]*", name):
            raise ValueError(f"{name!r} is no name of a table or column")


@lru_cache(maxsize=1024)
def _enum_names(values: tuple[tuple[str, str | int], ...], prefix: str) -> dict[str, str | int]:
    out: dict[str, str | int] = {}
    for name, stored in values:
        out[name.upper()] = stored
        out[name.upper().removeprefix(prefix)] = stored
        out[prefix + name.upper().removeprefix(prefix)] = stored
    return out


def _names(declared: Field) -> dict[str, str | int]:
    values = declared.values
    if isinstance(values, Mapping):
        pairs = tuple(values.items())
    elif isinstance(values, tuple):
        pairs = tuple((name, name) for name in values)
    else:
        pairs = tuple((member.name, str(member.value)) for member in values)
    return _enum_names(pairs, declared.prefix)


@dataclass(frozen=True, slots=True)
class Sql:
    """A predicate with `$n` for its values, numbered from the place where it stands, and the values."""

    text: str
    values: tuple[Value, ...]


Own = Callable[[Comparison, bool, str, Callable[[Value, str], str]], str]
"""A comparison that no declared field is named by, as SQL that is true for it or, not `positive`, for its opposite; from
the comparison, `positive`, the alias of the table, and what makes a value a parameter."""


def predicate(
    node: Node | None, fields: Mapping[str, Field], first: int = 1, alias: str = "t", own: Own | None = None
) -> Sql:
    """The filter as SQL that is true for the rows it wants, its parameters numbered from `first`.

    The text is made of declared columns and fixed operators only; every value is a parameter, cast to its
    kind. Raises Invalid naming "filter" for unknown fields, operators that a kind does not have, and values
    that do not fit. `own` answers for custom fields.
    """
    if node is None:
        return Sql("true", ())
    values: list[Value] = []

    def parameter(value: Value, cast: str) -> str:
        values.append(value)
        return f"${first + len(values) - 1}::{cast}"

    def make(part: Node, positive: bool) -> str:
        match part:
            case Not():
                return make(part.part, not positive)
            case And() | Or():
                joined = " AND " if isinstance(part, And) == positive else " OR "
                return "(" + joined.join(make(p, positive) for p in part.parts) + ")"
            case Comparison():
                return compare(part, positive)

    def compare(part: Comparison, positive: bool) -> str:
        if own is not None and part.field.startswith(PREFIX):
            return own(part, positive, alias, parameter)
        declared = fields.get(part.field)
        if declared is None or not declared.filterable:
            known = ", ".join(sorted(name for name, f in fields.items() if f.filterable))
            raise invalid(part.at, f"there is no field '{part.field[:60]}' to filter by; there are: {known}")
        if declared.beside is not None:
            return elsewhere(part, declared, declared.beside, positive)
        return tested(part, declared, alias, positive)

    def elsewhere(part: Comparison, declared: Field, beside: Beside, positive: bool) -> str:
        presence = presence_of(part)
        if presence is not None:
            test, positive = _set(declared, f"b.{declared.column}", is_set=True), presence == positive
        else:
            if part.op is Op.NE:
                part, positive = replace(part, op=Op.EQ), not positive
            test = tested(part, declared, "b", positive=True)
        rows = f"{beside.table} AS b WHERE b.{beside.record} = {alias}.id AND b.deleted_at IS NULL AND {test}"
        return f"{'' if positive else 'NOT '}EXISTS (SELECT FROM {rows})"

    def tested(part: Comparison, declared: Field, alias: str, positive: bool) -> str:
        column = f"{alias}.{declared.column}"
        op = part.op
        presence = presence_of(part)
        if presence is not None:
            return _set(declared, column, presence == positive)
        if op is Op.NE:
            op, positive = Op.EQ, not positive
        if op not in _OPERATORS[declared.kind]:
            allowed = " ".join(o.value for o in Op if o in _OPERATORS[declared.kind] or o is Op.NE)
            raise invalid(
                part.at, f"{part.field} cannot be compared with '{part.op.value}'; there are: {allowed}"
            )
        if declared.linked is not None:
            link, one = declared.linked, parameter(*_typed(part, declared))
            rows = f"SELECT l.{link.record} FROM {link.table} AS l WHERE l.{link.owner} = {one}"  # noqa: S608 (declared names, a numbered place)
            test = f"{alias}.id IN ({rows})"
            return test if positive else f"NOT {test}"
        if declared.kind is Kind.TAGS:
            test = f"{column} @> ARRAY[{parameter(part.value.text, 'text')}]"
            return test if positive else _opposite(f"NOT {test}", declared, column)
        if op is Op.HAS:
            if declared.kind is Kind.TEXT:
                test = f"strpos(lower({column}), {parameter(part.value.text.lower(), 'text')}) > 0"
                return test if positive else _opposite(f"NOT {test}", declared, column)
            op = Op.EQ
        if declared.kind is Kind.MONEY:
            return money(part, declared, column, op, positive)
        value, cast = _typed(part, declared)
        sign = op.value if positive else _OPPOSITE[op]
        test = f"{column} {sign} {parameter(value, cast)}"
        return test if positive else _opposite(test, declared, column)

    def money(part: Comparison, declared: Field, column: str, op: Op, positive: bool) -> str:
        minor, cast, currency = _amount(part, declared)
        sign = op.value if positive else _OPPOSITE[op]
        test = f"{column} {sign} {parameter(minor, cast)}"
        if currency is not None:
            # An amount without a currency is of nothing, and as much in any.
            same = "IN" if positive else "NOT IN"
            code = f"{alias}.{declared.currency_column} {same} ({parameter(currency, 'text')}, '')"
            test = f"({test} {'AND' if positive else 'OR'} {code})"
        return test if positive else _opposite(test, declared, column)

    return Sql(make(node, True), tuple(values))


Test = Callable[[Callable[[str], Any]], bool]
"""Whether a record is one that a filter wants; it is given what reads the record's columns."""


def at_hand(
    node: Node | None, fields: Mapping[str, Field], own: Callable[[Comparison], Test] | None = None
) -> Test:
    """The filter as a function, true for the records for which `predicate` is; `own` answers for custom fields.

    Raises Invalid as `predicate` does, and here and now: the function itself raises nothing.
    """
    predicate(
        node, fields, own=_elsewhere if own else None
    )  # one place says what is a filter and what is none

    def make(part: Node | None) -> Test:
        match part:
            case None:
                return lambda read: True
            case Not():
                inner = make(part.part)
                return lambda read: not inner(read)
            case And():
                all_of = [make(one) for one in part.parts]
                return lambda read: all(one(read) for one in all_of)
            case Or():
                any_of = [make(one) for one in part.parts]
                return lambda read: any(one(read) for one in any_of)
            case Comparison():
                if own is not None and part.field.startswith(PREFIX):
                    return own(part)
                return _tested(part, fields[part.field])

    return make(node)


def _elsewhere(part: Comparison, positive: bool, alias: str, parameter: Callable[[Value, str], str]) -> str:
    """Stands for a comparison that is looked at by itself."""
    return "true"


def _tested(part: Comparison, declared: Field) -> Test:
    if declared.beside is not None:
        raise invalid(part.at, f"{part.field} stands beside the record and can be asked of lists only")
    column, op = declared.column, part.op
    presence = presence_of(part)
    if presence is not None:
        filled: Callable[[Any], bool] = bool if declared.kind in (Kind.TEXT, *_SEVERAL) else _there
        return lambda read: filled(read(column)) == presence
    if op is Op.NE:
        equal = _tested(replace(part, op=Op.EQ), declared)
        return lambda read: not equal(read)
    if declared.kind in _SEVERAL:
        one, _ = _typed(part, declared)
        return lambda read: one in (read(column) or ())
    if op is Op.HAS and declared.kind is Kind.TEXT:
        wanted = part.value.text.lower()
        return lambda read: (value := read(column)) is not None and wanted in lower(value)
    compare = COMPARE[op]
    if declared.kind is Kind.MONEY:
        minor, _, currency = _amount(part, declared)
        code = declared.currency_column
        return lambda read: (
            (value := read(column)) is not None
            and compare(value, minor)
            and (currency is None or read(str(code)) in (currency, ""))
        )
    wants, _ = _typed(part, declared)
    return lambda read: (value := read(column)) is not None and compare(value, wants)


def _there(value: Any) -> bool:
    return value is not None


def lower(text: str) -> str:
    """As PostgreSQL has it in C.UTF-8: each character by itself, and to a single one."""
    return text.lower() if text.isascii() else "".join([c.lower()[:1] for c in text])


def presence_of(part: Comparison) -> bool | None:
    """Whether the comparison asks that the field is set (True), that it is not (False), or neither."""
    if part.value.quoted:
        return None
    if part.value.text == "*" and part.op in (Op.HAS, Op.EQ, Op.NE):
        return part.op is not Op.NE
    if part.value.text.lower() == "null":
        if part.op is Op.EQ:
            return False
        if part.op is Op.NE:
            return True
        raise invalid(part.at, "null can be compared with = and != only")
    return None


def _set(declared: Field, column: str, is_set: bool) -> str:
    """Set means: not NULL, and for texts, tags and ids not empty, as on the wire."""
    empty = {Kind.TEXT: "''", Kind.TAGS: "'{}'", Kind.UUIDS: "'{}'"}.get(declared.kind)
    if empty is None:
        return f"{column} IS {'NOT ' if is_set else ''}NULL"
    return f"coalesce({column}, {empty}) {'<>' if is_set else '='} {empty}"


def _opposite(test: str, declared: Field, column: str) -> str:
    return f"({test} OR {column} IS NULL)" if declared.nullable else test


COMPARE: Mapping[Op, Callable[[Any, Any], bool]] = {
    Op.EQ: operator.eq,
    Op.HAS: operator.eq,
    Op.LT: operator.lt,
    Op.LE: operator.le,
    Op.GT: operator.gt,
    Op.GE: operator.ge,
}
_OPPOSITE = {Op.EQ: "<>", Op.LT: ">=", Op.LE: ">", Op.GT: "<=", Op.GE: "<"}
_EQUAL = frozenset({Op.EQ, Op.HAS})
_ORDER = _EQUAL | {Op.LT, Op.LE, Op.GT, Op.GE}
_OPERATORS = {
    Kind.TEXT: _ORDER,
    Kind.ENUM: _EQUAL,
    Kind.INTEGER: _ORDER,
    Kind.NUMBER: _ORDER,
    Kind.MONEY: _ORDER,
    Kind.TIMESTAMP: _ORDER,
    Kind.DATE: _ORDER,
    Kind.UUID: _EQUAL,
    Kind.BOOL: _EQUAL,
    Kind.TAGS: _EQUAL,
    Kind.UUIDS: _EQUAL,
}
_SEVERAL = frozenset({Kind.TAGS, Kind.UUIDS})
"""Kinds of columns that hold several values, of which a filter asks for one."""
_NUMBER = re.compile(r"[+-]?(?:\d{1,30}(?:\.\d{0,30})?|\.\d{1,30})")
_AMOUNT = re.compile(rf"({_NUMBER.pattern})(?:\s+([A-Z]{{3}}))?")
_BIGINT = 2**63
_EXACT = Context(prec=80)


def _typed(part: Comparison, declared: Field) -> tuple[Value, str]:
    """The value as the database takes it, and the type to cast the parameter to."""
    text = part.value.text
    match declared.kind:
        case Kind.ENUM:
            stored = declared.names.get(text.upper())
            if stored is None:
                known = ", ".join(dict.fromkeys(n.removeprefix(declared.prefix) for n in declared.names))
                raise invalid(part.at, f"{part.field} has no value '{text[:60]}'; there are: {known}")
            return stored, "text" if isinstance(stored, str) else "int"
        case Kind.INTEGER | Kind.NUMBER:
            return _number(part, text, declared)
        case Kind.TIMESTAMP:
            return _timestamp(part, text), "timestamptz"
        case Kind.DATE:
            return _day(part, text), "date"
        case Kind.UUID | Kind.UUIDS:
            try:
                return UUID(text), "uuid"
            except ValueError:
                raise _unfit(part, declared) from None
        case Kind.BOOL:
            if text.lower() not in ("true", "false"):
                raise _unfit(part, declared)
            return text.lower() == "true", "bool"
        case _:
            return text, "text"


def _unfit(part: Comparison, declared: Field) -> Invalid:
    kind = Kind.NUMBER if declared.decimals else declared.kind
    return invalid(part.at, f"{part.field} wants {kind.value}, not '{part.value.text[:60]}'")


def _number(part: Comparison, text: str, declared: Field) -> tuple[Value, str]:
    if not _NUMBER.fullmatch(text):
        raise _unfit(part, declared)
    number = Decimal(text)
    if declared.decimals:
        return _whole(part.op, number.scaleb(declared.decimals, _EXACT)), "bigint"
    # A whole number stays an integer, so that an index on an integer column serves.
    if declared.kind is Kind.INTEGER and number == number.to_integral_value() and abs(number) < _BIGINT:
        return int(number), "bigint"
    return number, "numeric"


def _whole(op: Op, number: Decimal) -> int:
    """The whole number with which whole numbers compare as with this one: an index on them answers no other."""
    up = op in (Op.LT, Op.GE)
    whole = int(number.to_integral_value(ROUND_CEILING if up else ROUND_FLOOR))
    if op in (Op.LT, Op.LE, Op.GT, Op.GE):
        return max(-_BIGINT, min(_BIGINT - 1, whole))
    return whole if whole == number and abs(whole) < _BIGINT else -_BIGINT  # which is none of them


def _amount(part: Comparison, declared: Field) -> tuple[Value, str, str | None]:
    found = _AMOUNT.fullmatch(part.value.text.strip())
    if found is None or (found[2] and declared.currency_column is None):
        raise _unfit(part, declared)
    minor = Decimal(found[1]).scaleb(digits(found[2] or declared.currency))
    whole = minor == minor.to_integral_value() and abs(minor) < _BIGINT
    return (int(minor) if whole else minor, "bigint" if whole else "numeric", found[2])


_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_TIME = re.compile(r"(\d{4}-\d{2}-\d{2})[Tt](\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?)([Zz]|[+-]\d{2}:\d{2})?")


def _day(part: Comparison, text: str) -> date:
    try:
        if _DAY.fullmatch(text):
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise invalid(part.at, f"{part.field} wants {Kind.DATE.value}, not '{text[:60]}'")


def _timestamp(part: Comparison, text: str) -> datetime:
    """RFC 3339; a day alone is its beginning, a time without offset is UTC."""
    try:
        if _DAY.fullmatch(text):
            return datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC)
        found = _TIME.fullmatch(text)
        if found:
            clock, _, fraction = found[2].partition(".")
            offset = (found[3] or "Z").upper().replace("Z", "+00:00")
            exact = datetime.fromisoformat(f"{found[1]}T{clock}{offset}")
            exact += timedelta(microseconds=int((fraction + "000000")[:6]))
            if 1 < exact.year < 9999:  # further out, another time zone leaves the calendar
                return exact.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise invalid(part.at, f"{part.field} wants {Kind.TIMESTAMP.value}, not '{text[:60]}'")
