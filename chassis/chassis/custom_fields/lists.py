"""Custom fields in the filter and the order of a list, and in a filter over a record at hand.

A comparison becomes a question to the index, which PostgreSQL answers by the field and the text (see
`chassis.custom_fields.definition`); an order reads the index in its own order and fetches the records by their key. Of a record
at hand the same is asked of the same texts.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, NoReturn
from uuid import UUID

from chassis.custom_fields.definition import (
    SORTABLE,
    Definition,
    Kind,
    money_text,
    number_text,
    plain_number,
)
from chassis.custom_fields.given import COLUMN, PREFIX
from chassis.custom_fields.known import Definitions
from chassis.errors import Invalid, Precondition
from chassis.fields import COMPARE, Test, Value, lower
from chassis.filters import And, Comparison, Node, Op, invalid

Parameter = Callable[[Value, str], str]


class CustomFieldBeingIndexed(Precondition):
    """The field was marked filterable a moment ago."""

    reason = "CUSTOM_FIELD_BEING_INDEXED"

    def __init__(self, key: str) -> None:
        super().__init__(
            f"{PREFIX}{key} was marked filterable and is being indexed: try again in a moment.",
            retry_after=2.0,
        )


def _filterable(known: Definitions, key: str) -> Definition | None:
    found = known.fields.get(key)
    return found if found is not None and found.filterable and not found.archived else None


def _usable(known: Definitions, key: str) -> Definition | None:
    found = _filterable(known, key)
    if found is not None and not found.indexed:
        raise CustomFieldBeingIndexed(key)
    return found


def _names(known: Definitions) -> str:
    return ", ".join([PREFIX + f.key for f in known.filterable if f.indexed and not f.archived]) or "none"


def ordered_by(known: Definitions, name: str) -> Definition:
    """The field that an order names. Raises Invalid naming orderBy, CustomFieldBeingIndexed."""
    found = _usable(known, name.removeprefix(PREFIX))
    if found is None or found.kind not in SORTABLE:
        text = f"there is no custom field '{name[:60]}' to order by; those marked filterable are: {_names(known)}"
        raise Invalid("orderBy", text, reason="ORDER_BY_INVALID")
    return found


def holds_days(known: Definitions, name: str) -> bool:
    """Whether a custom field of that name holds days."""
    found = known.fields.get(name.removeprefix(PREFIX)) if name.startswith(PREFIX) else None
    return found is not None and found.kind is Kind.DATE


_EQUAL = frozenset({Op.EQ, Op.NE, Op.HAS})
_ORDERED = frozenset(Op)


def condition(known: Definitions, part: Comparison, positive: bool, alias: str, parameter: Parameter) -> str:
    """The comparison as SQL. Raises Invalid naming the place in the filter, CustomFieldBeingIndexed."""
    field = _usable(known, part.field.removeprefix(PREFIX)) or _unknown(known, part)
    wanted, holds = _wanted(field, part)
    test = "".join([f" AND {one.sql(parameter)}" for one in wanted])
    place = parameter(field.id, "uuid")
    which = f"v.record_id = {alias}.id AND v.field_id = {place}{test}"
    found = f"EXISTS (SELECT 1 FROM custom_values AS v WHERE {which})"  # noqa: S608 (fixed words, numbered places)
    return found if holds == positive else f"NOT {found}"


def leading(known: Definitions, node: Node | None) -> Comparison | None:
    """The comparison of a filter that may lead a list: the values that equal its own, which all rows have, are read in the order
    of the records' making. None when the filter has none. Raises as `condition` does."""
    parts = node.parts if isinstance(node, And) else (node,)
    for part in parts:
        if isinstance(part, Comparison) and part.field.startswith(PREFIX):
            field = _usable(known, part.field.removeprefix(PREFIX)) or _unknown(known, part)
            wanted, holds = _wanted(field, part)
            if holds and len(wanted) == 1 and wanted[0].equal:
                return part
    return None


def led(known: Definitions, part: Comparison, args: list[object]) -> str:
    """The values that equal that of the leading comparison, as `k`, joined to the records `t`; parameters are added to `args`."""
    field = _usable(known, part.field.removeprefix(PREFIX)) or _unknown(known, part)
    args += [field.id, _wanted(field, part)[0][0].text]
    return f"JOIN custom_values AS k ON k.record_id = t.id AND k.field_id = ${len(args) - 1} AND k.value = ${len(args)}"


def held(known: Definitions, part: Comparison) -> Test:
    """The comparison as a function of a record at hand, whether the field is indexed yet or not. Raises Invalid naming the place
    in the filter."""
    field = _filterable(known, part.field.removeprefix(PREFIX)) or _unknown(known, part)
    wanted, holds = _wanted(field, part)

    def test(read: Callable[[str], Any]) -> bool:
        value = read(COLUMN).get(field.key)
        texts = field.index_texts(value) if value is not None and field.holds(value) else []
        return any(all(one.of(text) for one in wanted) for text in texts) == holds

    return test


def _unknown(known: Definitions, part: Comparison) -> NoReturn:
    text = f"there is no custom field '{part.field[:60]}' to filter by; those marked filterable are: {_names(known)}"
    raise invalid(part.at, text)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What a text of a value has to be like: as compared with another, in a currency, or with another in it."""

    op: Op
    text: str
    currency: bool = False

    @property
    def equal(self) -> bool:
        return self.op is Op.EQ and not self.currency

    def sql(self, parameter: Parameter) -> str:
        if self.currency:
            return f"right(v.value, 3) = {parameter(self.text, 'text')}"
        if self.op is Op.HAS:
            return f"strpos(lower(v.value), {parameter(self.text, 'text')}) > 0"
        return f"v.value {self.op.value} {parameter(self.text, 'text')}"

    def of(self, text: str) -> bool:
        if self.currency:
            return text[-3:] == self.text
        if self.op is Op.HAS:
            return self.text in lower(text)
        return COMPARE[self.op](text, self.text)


def _wanted(field: Definition, part: Comparison) -> tuple[Sequence[_Wanted], bool]:
    """What one of the value's texts has to be like, and whether there has to be such a text or may be none."""
    op, literal, positive = part.op, part.value, part.op is not Op.NE
    if not literal.quoted and literal.text == "*" and op in _EQUAL:
        return [], positive
    if not literal.quoted and literal.text.lower() == "null":
        if op not in (Op.EQ, Op.NE):
            raise invalid(part.at, "null can be compared with = and != only")
        return [], not positive
    if op is Op.NE:
        op = Op.EQ
    allowed = _ORDERED if field.kind in (Kind.TEXT, Kind.NUMBER, Kind.MONEY, Kind.DATE) else _EQUAL
    if op not in allowed:
        signs = " ".join(sorted(o.value for o in allowed))
        raise invalid(part.at, f"{part.field} cannot be compared with '{op.value}'; there are: {signs}")
    if field.kind is Kind.TEXT and op is Op.HAS:
        return [_Wanted(op, literal.text.lower())], positive
    if op is Op.HAS:
        op = Op.EQ
    if field.kind is Kind.MONEY:
        return _money(field, part, op), positive
    return [_Wanted(op, _text(field, part))], positive


def _text(field: Definition, part: Comparison) -> str:
    text = part.value.text
    match field.kind:
        case Kind.NUMBER:
            return number_text(_number(part, text))
        case Kind.DATE:
            try:
                if len(text) == 10:
                    return date.fromisoformat(text).isoformat()
            except ValueError:
                pass
            raise _unfit(part, "a day such as 2026-05-01")
        case Kind.CHOICE | Kind.MULTI_CHOICE:
            if all(choice.key != text for choice in field.choices):
                raise _unfit(part, "one of " + ", ".join([c.key for c in field.choices][:30]))
            return text
        case Kind.YES_NO:
            if text.lower() not in ("true", "false"):
                raise _unfit(part, "true or false")
            return text.lower()
        case Kind.REFERENCE:
            try:
                return str(UUID(text))
            except ValueError:
                raise _unfit(part, "an id") from None
        case _:
            return text


def _unfit(part: Comparison, wanted: str) -> Invalid:
    return invalid(part.at, f"{part.field} wants {wanted}, not '{part.value.text[:60]}'")


_MOST = Decimal(10) ** 18


def _number(part: Comparison, text: str) -> Decimal:
    number = plain_number(text.strip())
    if number is None:
        raise _unfit(part, "a number")
    if -int(number.normalize().as_tuple().exponent) > 9:
        raise _unfit(part, "a number with at most 9 digits behind the point")
    # What lies beyond every value may lie nearer.
    return max(-_MOST, min(_MOST, number))


def _money(field: Definition, part: Comparison, op: Op) -> Sequence[_Wanted]:
    """Amounts of all currencies, unless the value names one (`"1000.50 USD"`)."""
    figure, _, currency = part.value.text.strip().partition(" ")
    currency = currency.strip()
    if currency and not (len(currency) == 3 and currency.isascii() and currency.isupper()):
        raise _unfit(part, "an amount such as 1000.50 or '1000.50 USD'")
    amount = _number(part, figure)
    low, high = number_text(amount) + " ", number_text(amount) + "!"
    if currency and op is Op.EQ:
        return [_Wanted(op, money_text(amount, currency))]
    match op:
        case Op.EQ:
            wanted = [_Wanted(Op.GE, low), _Wanted(Op.LT, high)]
        case Op.LT:
            wanted = [_Wanted(Op.LT, low)]
        case Op.LE:
            wanted = [_Wanted(Op.LT, high)]
        case Op.GT:
            wanted = [_Wanted(Op.GE, high)]
        case _:
            wanted = [_Wanted(Op.GE, low)]
    return [*wanted, _Wanted(Op.EQ, currency, currency=True)] if currency else wanted
