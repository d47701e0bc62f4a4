"""What the contract says of one field, and the checks of a single value that follow from it."""

import operator
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from google.api import field_behavior_pb2  # pyright: ignore[reportMissingTypeStubs]
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from kehu.rules.v1 import rules_pb2

from chassis.validation import formats
from chassis.validation.formats import shown

DEFAULT_MAX_LENGTH = 10_000
"""Characters of a text without a rule of its own."""
DEFAULT_MAX_ITEMS = 1_000
"""Elements of a repeated field or map without a rule of its own."""

One = Callable[[Any], str | None]
"""A value → what is wrong with it, or None."""

REQUIRED = field_behavior_pb2.REQUIRED
OUTPUT_ONLY = field_behavior_pb2.OUTPUT_ONLY
IMMUTABLE = field_behavior_pb2.IMMUTABLE

# Line feed, carriage return and tab are text; everything else below space, DEL and the C1 controls are not.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_NUMBERS = {
    FieldDescriptor.TYPE_INT32,
    FieldDescriptor.TYPE_INT64,
    FieldDescriptor.TYPE_UINT32,
    FieldDescriptor.TYPE_UINT64,
    FieldDescriptor.TYPE_SINT32,
    FieldDescriptor.TYPE_SINT64,
    FieldDescriptor.TYPE_FIXED32,
    FieldDescriptor.TYPE_FIXED64,
    FieldDescriptor.TYPE_SFIXED32,
    FieldDescriptor.TYPE_SFIXED64,
    FieldDescriptor.TYPE_DOUBLE,
    FieldDescriptor.TYPE_FLOAT,
}


def rules_of(field: FieldDescriptor) -> rules_pb2.FieldRules:
    """The options the contract gives the field."""
    return field.GetOptions().Extensions[rules_pb2.field]


def behaviors(field: FieldDescriptor) -> frozenset[int]:
    """The field's google.api.field_behavior values."""
    options: Any = field.GetOptions()
    return frozenset(options.Extensions[field_behavior_pb2.field_behavior])


def is_number(field: FieldDescriptor) -> bool:
    return field.type in _NUMBERS


def target_of(field: FieldDescriptor) -> FieldDescriptor:
    """The field that says what each value is: for a map the value of its entries, else the field itself."""
    if is_map(field):
        assert field.message_type is not None
        return field.message_type.fields_by_name["value"]
    return field


def is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


def text_is_clean(text: str) -> str | None:
    """What is wrong with characters that no text may hold: PostgreSQL keeps no NUL, and nobody can read
    the others.
    """
    found = None if text.isascii() and text.isprintable() else _CONTROL.search(text)
    if found is None:
        return None
    return f"holds the control character U+{ord(found[0]):04X} at place {found.start() + 1}: take it out"


def single(field: FieldDescriptor) -> list[One]:
    """The checks that each value of the field must pass: the field itself, each element, or each value of
    a map.
    """
    rules = rules_of(field)
    target = target_of(field)
    if target.type == FieldDescriptor.TYPE_STRING:
        return _text(rules)
    if target.type == FieldDescriptor.TYPE_BYTES:
        return _bytes(rules)
    if target.enum_type is not None:
        return [_enum(target)]
    if is_number(target):
        return _range(rules, lambda value: value)
    if target.message_type is not None:
        return _known(target.message_type, rules)
    return []


def _text(rules: rules_pb2.FieldRules) -> list[One]:
    longest = rules.max_length or DEFAULT_MAX_LENGTH
    shortest = rules.min_length
    secret = rules.secret

    def length(text: str) -> str | None:
        if len(text) > longest:
            return f"is {len(text):,} characters long: at most {longest:,} are allowed"
        if shortest and len(text.strip()) < shortest:
            return f"must have at least {shortest:,} characters"
        return None

    checks: list[One] = [length, text_is_clean]
    if rules.pattern:
        pattern = re.compile(rules.pattern)

        def matches(text: str) -> str | None:
            if pattern.fullmatch(text):
                return None
            return f"{'the value' if secret else shown(text)} does not have the form {rules.pattern}"

        checks.append(matches)
    if rules.format == rules_pb2.FORMAT_DECIMAL:
        scale = rules.max_scale or 6
        checks.append(lambda text: formats.decimal(text, scale))
        checks.extend(_range(rules, lambda text: formats.number(text) or Decimal(0)))
    elif rules.format:
        checks.append(formats.CHECKS[rules.format])
    return checks


def _bytes(rules: rules_pb2.FieldRules) -> list[One]:
    longest, shortest = rules.max_length, rules.min_length

    def length(value: bytes) -> str | None:
        if longest and len(value) > longest:
            return f"has {len(value):,} bytes: at most {longest:,} are allowed"
        if len(value) < shortest:
            return f"must have at least {shortest:,} bytes"
        return None

    return [length] if longest or shortest else []


def _enum(field: FieldDescriptor) -> One:
    assert field.enum_type is not None
    known = frozenset(field.enum_type.values_by_number)
    names = [value.name for value in field.enum_type.values if value.number]

    def check(value: int) -> str | None:
        if value in known:
            return None
        return f"{value} is not one of {', '.join(names[:30])}"

    return check


def _size(rules: rules_pb2.FieldRules) -> list[One]:
    """A free value is bounded as a whole: by what it weighs on the wire."""
    most = rules.max_length

    def size(value: Any) -> str | None:
        weight: int = value.ByteSize()
        return f"takes {weight:,} bytes: at most {most:,} are allowed" if weight > most else None

    return [size] if most else []


def _range(rules: rules_pb2.FieldRules, number: Callable[[Any], Any]) -> list[One]:
    return [
        _bound(number, limit, allowed, says)
        for limit, allowed, says in (
            (rules.gte if rules.HasField("gte") else None, operator.ge, "must be at least"),
            (rules.gt if rules.HasField("gt") else None, operator.gt, "must be above"),
            (rules.lte if rules.HasField("lte") else None, operator.le, "must be at most"),
            (rules.lt if rules.HasField("lt") else None, operator.lt, "must be below"),
        )
        if limit is not None
    ]


def _bound(number: Callable[[Any], Any], limit: float, allowed: Callable[[Any, Any], bool], says: str) -> One:
    text = f"{limit:,.15g}"

    def check(value: Any) -> str | None:
        amount = number(value)
        # Written so that NaN, which compares with nothing, is refused.
        return None if allowed(amount, limit) else f"{says} {text}, and is {amount}"

    return check


def _known(message: Descriptor, rules: rules_pb2.FieldRules) -> list[One]:
    match message.full_name:
        case "google.type.Money":
            return [_money, *_range(rules, _amount)]
        case "google.type.Date":
            return [lambda value: formats.day(value.year, value.month, value.day)]
        case "google.protobuf.Timestamp":
            return [_timestamp]
        case "google.protobuf.Duration":
            return [_duration]
        case "google.protobuf.Struct" | "google.protobuf.Value" | "google.protobuf.ListValue":
            return [*_size(rules), free_is_clean]
        case "google.protobuf.StringValue":
            checks = _text(rules)
            return [lambda value, check=check: check(value.value) for check in checks]
        case _:
            return []


def _amount(money: Any) -> Decimal:
    return Decimal(money.units) + Decimal(money.nanos).scaleb(-9)


def _money(money: Any) -> str | None:
    if not money.currency_code:
        return "has no currencyCode: give an ISO 4217 code as CNY or USD"
    wrong = formats.currency(money.currency_code)
    if wrong is not None:
        return f"has a currencyCode that is none: {wrong}"
    if abs(money.nanos) > 999_999_999:
        return f"has {money.nanos} nanos: they are below one unit, -999,999,999 to 999,999,999"
    if (money.units > 0 > money.nanos) or (money.units < 0 < money.nanos):
        return "has units and nanos of different signs"
    return None


def _timestamp(moment: Any) -> str | None:
    if -62_135_596_800 <= moment.seconds <= 253_402_300_799 and 0 <= moment.nanos <= 999_999_999:
        return None
    return "is outside of the years 1 to 9999"


def _duration(span: Any) -> str | None:
    seconds, nanos = span.seconds, span.nanos
    if abs(seconds) > 315_576_000_000 or abs(nanos) > 999_999_999 or seconds * nanos < 0:
        return "is not a duration within 10,000 years"
    return None


def free_is_clean(value: Any) -> str | None:
    """The texts inside a google.protobuf.Struct, Value or ListValue, names included."""
    match value.DESCRIPTOR.name:
        case "Struct":
            for key, item in value.fields.items():
                wrong = text_is_clean(key) or free_is_clean(item)
                if wrong is not None:
                    return wrong
        case "ListValue":
            for item in value.values:
                wrong = free_is_clean(item)
                if wrong is not None:
                    return wrong
        case _:
            kind = value.WhichOneof("kind")
            if kind == "string_value":
                return text_is_clean(value.string_value)
            if kind == "struct_value":
                return free_is_clean(value.struct_value)
            if kind == "list_value":
                return free_is_clean(value.list_value)
    return None
