"""What a custom field is, and what its values may be.

A value is kept as it stands on the wire, so that reading a record needs no definition: numbers as canonical decimal
texts, days as ISO texts, money as google.type.Money in JSON. For filtering and ordering each value has a text as well
by whose order the values are ordered: row-level security lets indexes answer only leakproof operators, and PostgreSQL
holds those of texts for leakproof and those of numeric and jsonb not.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import Enum
from typing import Any, cast
from uuid import UUID

from chassis import texts
from chassis.errors import Invalid
from chassis.money import from_units

DEFAULT_LENGTH = 200
MOST_INDEXED = 500
"""The most characters of a text that is filterable: an index entry holds 2,704 bytes."""
DEFAULT_DECIMALS = 6
_DIGITS = 15
_SCALE = 9
_WIDTH = 19 + _SCALE
_NUMBER = re.compile(r"[+-]?[0-9]{1,40}(\.[0-9]{1,40})?")
_WHOLE = re.compile(r"-?[0-9]{1,18}")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


class Kind(Enum):
    TEXT = "TEXT"
    NUMBER = "NUMBER"
    MONEY = "MONEY"
    DATE = "DATE"
    CHOICE = "CHOICE"
    MULTI_CHOICE = "MULTI_CHOICE"
    YES_NO = "YES_NO"
    REFERENCE = "REFERENCE"


SORTABLE = frozenset({Kind.TEXT, Kind.NUMBER, Kind.MONEY, Kind.DATE, Kind.CHOICE, Kind.YES_NO})


class Unfit(Exception):
    """A value that the field cannot hold; the text says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Choice:
    key: str
    label_zh: str = ""
    label_en: str = ""
    archived: bool = False


@dataclass(frozen=True, slots=True)
class Definition:
    """One field of one kind of record."""

    id: UUID
    key: str
    kind: Kind
    label_zh: str = ""
    label_en: str = ""
    required: bool = False
    default: Any = None
    filterable: bool = False
    indexed: bool = False
    archived: bool = False
    max_length: int = DEFAULT_LENGTH
    decimals: int = DEFAULT_DECIMALS
    reference_type: str = ""
    choices: tuple[Choice, ...] = ()

    def value(self, given: Any) -> Any:
        """The value as it is kept; None when there is none. Raises Unfit."""
        if given is None:
            return None
        return _READ[self.kind](self, given)

    def check_offered(self, value: Any, present: Any) -> None:
        """Raises Unfit for archived choices that the record does not have already."""
        if self.kind not in (Kind.CHOICE, Kind.MULTI_CHOICE):
            return
        archived = {choice.key for choice in self.choices if choice.archived}
        had = set(_listed(present))
        for key in _listed(value):
            if key in archived and key not in had:
                raise Unfit(f"'{key}' is archived: choose one of {self._offered()}")

    def holds(self, value: Any) -> bool:
        """Whether a value that is kept is one of this field, as it stands."""
        try:
            read = self.value(value)
        except Unfit:
            return False
        if self.kind is Kind.NUMBER:  # 12.50 is a number, though it would be kept as 12.5
            return isinstance(value, str)
        return set(_listed(read)) == set(_listed(value)) if self.kind is Kind.MULTI_CHOICE else read == value

    def index_texts(self, value: Any) -> list[str]:
        """What a value is filtered and ordered by."""
        match self.kind:
            case Kind.NUMBER:
                return [number_text(Decimal(value))]
            case Kind.MONEY:
                return [money_text(amount_of(value), value["currencyCode"])]
            case Kind.YES_NO:
                return ["true" if value else "false"]
            case Kind.MULTI_CHOICE:
                return list(value)
            case _:
                return [value]

    def _offered(self) -> str:
        return ", ".join([choice.key for choice in self.choices if not choice.archived][:30]) or "none"

    def known_choice(self, key: Any) -> str:
        """The key of a choice, archived or not. Raises Unfit."""
        if not isinstance(key, str) or all(choice.key != key for choice in self.choices):
            raise Unfit(f"{_shown(key)} is no choice: choose one of {self._offered()}")
        return key


def definition_of(row: Mapping[str, Any]) -> Definition:
    """What a row says, for those who check values."""
    return Definition(
        id=row["id"], key=row["key"], kind=Kind(row["kind"]), label_zh=row["label_zh"], label_en=row["label_en"],
        required=row["required"], default=row["default_value"], filterable=row["filterable"], indexed=row["indexed"],
        archived=row["archived"], max_length=row["max_length"] or DEFAULT_LENGTH,
        decimals=DEFAULT_DECIMALS if row["decimals"] is None else row["decimals"], reference_type=row["reference_type"],
        choices=tuple(Choice(**choice) for choice in row["choices"]),
    )  # fmt: skip


def _listed(value: Any) -> list[str]:
    if value is None:
        return []
    return cast("list[str]", value) if isinstance(value, list) else [str(value)]


def amount_of(money: Any) -> Decimal:
    """The units of a money value that is kept."""
    return Decimal(int(money["units"])) + Decimal(money.get("nanos", 0)).scaleb(-_SCALE)


def number_text(number: Decimal) -> str:
    """A text whose order, byte by byte, is that of the numbers; for at most 19 digits before the point and 9 behind."""
    scaled = int(number.scaleb(_SCALE))
    return f"1{scaled:0{_WIDTH}d}" if scaled >= 0 else f"0{10**_WIDTH + scaled:0{_WIDTH}d}"


def money_text(amount: Decimal, currency: str) -> str:
    """Ordered by amount, equal ones by currency."""
    return f"{number_text(amount)} {currency}"


def plain_number(text: str) -> Decimal | None:
    """The decimal that plain notation says, or None."""
    return Decimal(text) if _NUMBER.fullmatch(text) else None


def _text(field: Definition, given: Any) -> str | None:
    if not isinstance(given, str):
        raise Unfit(f"must be a text, not {_shown(given)}")
    text = texts.lines(given)
    if len(text) > field.max_length:
        raise Unfit(f"has {len(text):,} characters: at most {field.max_length:,} are allowed")
    return text or None


def _number(field: Definition, given: Any) -> str | None:
    if given == "":
        return None
    number = None
    if isinstance(given, str):
        number = plain_number(given)
    elif isinstance(given, int | float) and not isinstance(given, bool):
        number = Decimal(repr(given)) if given == given and abs(given) < 1e40 else None
    if number is None:
        raise Unfit(f"must be a number as 12.5, not {_shown(given)}")
    number = number.normalize()
    exponent = cast(int, number.as_tuple().exponent)
    if number and number.adjusted() >= _DIGITS:
        raise Unfit(f"{_shown(given)} is too large: at most {_DIGITS} digits stand before the point")
    if -exponent > field.decimals:
        raise Unfit(f"{_shown(given)} has more than {field.decimals} digits behind the point")
    return format(number, "f") if number else "0"


def _money(field: Definition, given: Any) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise Unfit(f'must be an amount as {{"currencyCode": "CNY", "units": "12"}}, not {_shown(given)}')
    parts = cast("dict[str, Any]", given)
    unknown = parts.keys() - {"currencyCode", "units", "nanos"}
    if unknown:
        raise Unfit(f"has no part '{min(unknown)[:40]}': an amount has currencyCode, units and nanos")
    units, nanos, currency = (
        _whole(parts.get("units", 0)),
        _whole(parts.get("nanos", 0)),
        parts.get("currencyCode"),
    )
    if units is None or nanos is None:
        raise Unfit("has units or nanos that are no whole numbers")
    if not isinstance(currency, str):
        raise Unfit("has no currencyCode: give an ISO 4217 code as CNY or USD")
    try:
        money = from_units(units, nanos, currency, "")
    except Invalid as problem:
        violation = problem.violations[0]
        raise Unfit(f"{violation.field.removeprefix('.')} {violation.description}") from None
    if abs(money.units) >= 10**_DIGITS:
        raise Unfit(f"is too large: at most {_DIGITS} digits stand before the point")
    kept: dict[str, Any] = {"currencyCode": currency, "units": str(money.units)}
    if money.nanos:
        kept["nanos"] = money.nanos
    return kept


def _whole(given: Any) -> int | None:
    if isinstance(given, str) and _WHOLE.fullmatch(given):
        return int(given)
    if isinstance(given, int) and not isinstance(given, bool):
        return given
    return None


def _date(field: Definition, given: Any) -> str | None:
    if given == "":
        return None
    if isinstance(given, str) and _DAY.fullmatch(given):
        try:
            return date.fromisoformat(given).isoformat()
        except ValueError:
            raise Unfit(f"{_shown(given)} is not a day of the calendar") from None
    raise Unfit(f"must be a day as 2026-05-01, not {_shown(given)}")


def _choice(field: Definition, given: Any) -> str | None:
    return None if given == "" else field.known_choice(given)


def _multi_choice(field: Definition, given: Any) -> list[str] | None:
    if not isinstance(given, list):
        raise Unfit(f"must be a list of choices, not {_shown(given)}")
    wanted = [field.known_choice(key) for key in cast("list[Any]", given)]
    if len(set(wanted)) < len(wanted):
        raise Unfit("names a choice twice")
    return [choice.key for choice in field.choices if choice.key in wanted] or None


def _yes_no(field: Definition, given: Any) -> bool:
    if not isinstance(given, bool):
        raise Unfit(f"must be true or false, not {_shown(given)}")
    return given


def _reference(field: Definition, given: Any) -> str | None:
    if given == "":
        return None
    try:
        if isinstance(given, str) and len(given) == 36:
            return str(UUID(given))
    except ValueError:
        pass
    raise Unfit(f"must be the id of a {field.reference_type}, not {_shown(given)}")


_READ: dict[Kind, Callable[[Definition, Any], Any]] = {
    Kind.TEXT: _text,
    Kind.NUMBER: _number,
    Kind.MONEY: _money,
    Kind.DATE: _date,
    Kind.CHOICE: _choice,
    Kind.MULTI_CHOICE: _multi_choice,
    Kind.YES_NO: _yes_no,
    Kind.REFERENCE: _reference,
}


def _shown(given: Any) -> str:
    if given is None or isinstance(given, bool):
        return {None: "null", True: "true", False: "false"}[given]
    if isinstance(given, dict):
        return "an object"
    if isinstance(given, list):
        return "a list"
    text = str(given)
    text = text if len(text) <= 40 else text[:40] + "…"
    return f"'{text}'" if isinstance(given, str) else text


def narrows(before: Definition, after: Definition) -> bool:
    """Whether values of the one may be none of the other."""
    return (
        before.kind is not after.kind
        or after.max_length < before.max_length
        or after.decimals < before.decimals
        or before.reference_type != after.reference_type
        or not {c.key for c in before.choices} <= {c.key for c in after.choices}
    )


def standing_in_the_way(
    before: Definition, after: Definition, values: Sequence[tuple[Any, int]]
) -> tuple[int, list[Any]]:
    """How many records have a value that the changed field could not hold, and some of these values.

    `values` are those that records have, each with their number. Nobody has looked whether what was a text, or an id of
    something else, names a record: so all of them stand in the way of a reference.
    """
    unchecked = after.kind is Kind.REFERENCE and (before.kind, before.reference_type) != (
        after.kind,
        after.reference_type,
    )
    wrong = [(value, rows) for value, rows in values if unchecked or not after.holds(value)]
    return sum(rows for _, rows in wrong), [value for value, _ in wrong[:3]]
