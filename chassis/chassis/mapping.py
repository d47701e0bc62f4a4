"""Rows to messages and messages to values, compiled from the contract.

    LEAD = Mapping(lead_pb2.Lead)
    LEAD.message(row)                       # a row object, or a row of the read path
    LEAD.values(request.lead)               # {column: value} of all fields a client may write
    LEAD.values(request.lead, request.update_mask)

A field and its column have the same name, except for what every record has (`create_time` is `created_at`, `etag` is
`version` …). Ids are UUID columns, enums text columns with the name without its prefix (`NEW`), times timestamptz, days date,
Money the two columns `<field>` (bigint, minor units) and `<field>_currency`, decimals written as text numeric columns,
repeated texts text[], repeated ids uuid[]. Fields of other messages are left to the service (`skip`).
"""

from collections.abc import Callable, Iterable
from collections.abc import Mapping as Table
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Generic, TypeVar, cast
from uuid import UUID

from google.api import field_behavior_pb2
from google.protobuf import struct_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from kehu.rules.v1 import rules_pb2

from chassis.custom_fields.given import COLUMN as CUSTOM
from chassis.custom_fields.given import Given
from chassis.errors import Invalid, Violation
from chassis.events.event import enum_prefix
from chassis.money import Money, from_units
from chassis.principal import NOBODY
from chassis.records import etag
from chassis.wire import camel, descriptor_of, from_dict, to_dict

M = TypeVar("M", bound=Message)

_COLUMNS = {
    "create_time": "created_at", "update_time": "updated_at", "delete_time": "deleted_at",
    "creator_id": "created_by", "updater_id": "updated_by",
}  # fmt: skip
Setter = Callable[[Any, Callable[[str], Any]], None]
Getter = Callable[[Any], dict[str, Any]]


class Mapping(Generic[M]):
    """One message type and its row. `skip` names fields the service fills and reads itself.

    Raises ValueError when a field has no rule and is not skipped.
    """

    def __init__(
        self,
        message: type[M],
        *,
        skip: Iterable[str] = (),
        columns: Table[str, str] | None = None,
        open_enums: Iterable[str] = (),
    ) -> None:
        """`open_enums` are enums whose columns may hold more than the enum names: that is shown as unspecified, and written
        through another field."""
        self._message = message
        self._setters: list[Setter] = []
        self._getters: dict[str, Getter] = {}
        known = {**_COLUMNS, **(columns or {})}
        left_out = set(skip)
        partial = set(open_enums)
        descriptor = descriptor_of(message)
        self.columns: list[str] = []
        """The columns that `message` reads."""
        for field in descriptor.fields:
            if field.name in left_out:
                continue
            column = known.get(field.name, field.name)
            if field.name == CUSTOM:
                self._setters.append(_put_custom)
                self.columns.append(CUSTOM)
                self._getters[CUSTOM] = lambda message: {CUSTOM: Given(_plain_custom(message), whole=True)}
                continue
            self._setters.append(_setter(field, column, known_only=field.name not in partial))
            self.columns += _columns_of(field, column)
            if _writable(field):
                self._getters[field.name] = _getter(field, column)
        self._fields = {field.name for field in descriptor.fields}
        self._immutable = {
            field.name for field in descriptor.fields if field_behavior_pb2.IMMUTABLE in _behaviours(field)
        }

    def message(self, row: Any) -> M:
        """The row (an object with attributes, or a row of the read path) as the message."""
        out = self._message()
        read: Callable[[str], Any] = row.__getitem__ if hasattr(row, "keys") else row.__getattribute__
        for put in self._setters:
            put(out, read)
        return out

    def values(self, message: M, mask: FieldMask | None = None) -> dict[str, Any]:
        """Column → value of the fields a client may write; with a mask, of those it names (an empty field means NULL or empty).

        With an empty mask (AIP-134), the fields that have a value. Raises Invalid naming fields that cannot be changed.
        """
        if mask is None:
            return {k: v for get in self._getters.values() for k, v in get(message).items()}
        named = {path.removeprefix(f"{CUSTOM}.") for path in mask.paths if path.startswith(f"{CUSTOM}.")}
        names = [path.split(".")[0] for path in mask.paths]
        given = _plain_custom(message) if CUSTOM in self._getters else {}
        if (given and not names) or (named and CUSTOM in self._getters and CUSTOM not in mask.paths):
            # One by one: what is not named, or not given where nothing is named, stays.
            picked = {key: given.get(key) for key in named} if names else given
            rest = [path for path in mask.paths if path.split(".")[0] != CUSTOM]
            others = self.values(_without_custom(message), FieldMask(paths=rest)) if rest or not names else {}
            return {**others, CUSTOM: Given(picked)} if picked else others
        if not names or names == ["*"]:
            present = {field.name for field, _ in message.ListFields()}
            names = [
                n for n in self._getters if n not in self._immutable and (n in present or mask.paths)
            ]  # fmt: skip
        wrong = [
            Violation(
                camel(name),
                "cannot be changed here" if name in self._fields else "is no field of this record",
            )
            for name in names
            if name not in self._getters or name in self._immutable
        ]
        if wrong:
            problem = Invalid.of(wrong)
            problem.reason = "FIELD_NOT_WRITABLE"
            raise problem
        return {k: v for name in names for k, v in self._getters[name](message).items()}


def change(row: Any, values: Table[str, Any]) -> list[str]:
    """Sets columns of a row; returns the names of those that had another value, custom fields one by one."""
    changed = [name for name, value in values.items() if getattr(row, name) != value]
    named: list[str] = []
    for name in changed:
        if name == CUSTOM:
            old, new = getattr(row, CUSTOM), values[CUSTOM]
            named += [f"{CUSTOM}.{key}" for key in {**old, **new} if old.get(key) != new.get(key)]
        else:
            named.append(name)
        setattr(row, name, values[name])
    return named


def _put_custom(out: Any, read: Callable[[str], Any]) -> None:
    values: dict[str, Any] = read(CUSTOM)
    for key, value in values.items():
        if isinstance(value, str):
            out.custom_fields[key].string_value = value
        else:
            out.custom_fields[key].CopyFrom(from_dict(struct_pb2.Value, value))


def _plain_custom(message: Any) -> dict[str, Any]:
    return {key: to_dict(value) for key, value in message.custom_fields.items()}


def _without_custom(message: M) -> M:
    copy = type(message)()
    copy.CopyFrom(message)
    copy.ClearField(CUSTOM)
    return copy


def _behaviours(field: FieldDescriptor) -> list[int]:
    behaviour: Any = field_behavior_pb2.field_behavior
    return list(field.GetOptions().Extensions[behaviour])


def _writable(field: FieldDescriptor) -> bool:
    return field.name != "etag" and field_behavior_pb2.OUTPUT_ONLY not in _behaviours(field)


def _format(field: FieldDescriptor) -> int:
    return int(field.GetOptions().Extensions[rules_pb2.field].format)


def _columns_of(field: FieldDescriptor, column: str) -> list[str]:
    if field.name == "etag":
        return ["version"]
    if field.message_type is not None and field.message_type.full_name == "google.type.Money":
        return [column, f"{column}_currency"]
    return [column]


def to_timestamp(target: Any, at: datetime) -> None:
    """Fills a google.protobuf.Timestamp."""
    micros = (
        int((at - _EPOCH).total_seconds() * 1_000_000 + 0.5)
        if at.microsecond
        else int((at - _EPOCH).total_seconds()) * 1_000_000
    )
    target.seconds, rest = divmod(micros, 1_000_000)
    target.nanos = rest * 1000


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_money(target: Any, value: Money) -> None:
    """Fills a google.type.Money."""
    target.currency_code = value.currency
    target.units = value.units
    target.nanos = value.nanos


def _setter(field: FieldDescriptor, column: str, *, known_only: bool = True) -> Setter:
    name = field.name
    if name == "etag":
        return lambda out, read: setattr(out, "etag", etag(read("version")))
    if field.message_type is not None and not field.is_repeated:
        return _message_setter(field, column)
    if field.enum_type is not None and not field.is_repeated:
        prefix = enum_prefix([v.name for v in field.enum_type.values])
        numbers = {v.name.removeprefix(prefix): v.number for v in field.enum_type.values} | {"": 0, None: 0}
        if not known_only:
            return lambda out, read: setattr(out, name, numbers.get(read(column), 0))
        return lambda out, read: setattr(out, name, numbers[read(column)])
    if field.is_repeated and _format(field) == rules_pb2.FORMAT_UUID:
        return lambda out, read: getattr(out, name).extend([str(id) for id in read(column) or ()])
    if field.is_repeated and field.message_type is None and field.enum_type is None:
        return lambda out, read: getattr(out, name).extend(read(column) or ())
    if field.message_type is not None or field.is_repeated:
        raise ValueError(f"{field.full_name} has no rule for its column: name it in `skip`")
    if field.type == FieldDescriptor.TYPE_STRING:

        def put(out: Any, read: Callable[[str], Any]) -> None:
            value = read(column)
            if value is None:
                return
            if isinstance(value, str):
                setattr(out, name, value)
            elif isinstance(value, UUID):
                if value != NOBODY:
                    setattr(out, name, str(value))
            elif isinstance(value, Decimal):
                setattr(out, name, plain_decimal(value))
            else:
                setattr(out, name, str(value))

        return put

    def put_plain(out: Any, read: Callable[[str], Any]) -> None:
        value = read(column)
        if value is not None:
            setattr(out, name, value)

    return put_plain


def plain_decimal(value: Decimal) -> str:
    """A decimal in plain notation without trailing zeros."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _message_setter(field: FieldDescriptor, column: str) -> Setter:
    name = field.name
    assert field.message_type is not None
    match field.message_type.full_name:
        case "google.protobuf.Timestamp":

            def put_time(out: Any, read: Callable[[str], Any]) -> None:
                value = read(column)
                if value is not None:
                    to_timestamp(getattr(out, name), value)

            return put_time
        case "google.type.Date":

            def put_day(out: Any, read: Callable[[str], Any]) -> None:
                value = read(column)
                if value is not None:
                    day = getattr(out, name)
                    day.year, day.month, day.day = value.year, value.month, value.day

            return put_day
        case "google.type.Money":
            currency = f"{column}_currency"

            def put_money(out: Any, read: Callable[[str], Any]) -> None:
                value = read(column)
                if value is not None:
                    to_money(getattr(out, name), Money(value, read(currency)))

            return put_money
        case other:
            raise ValueError(f"{field.full_name}: {other} has no rule for its column: name it in `skip`")


def _getter(field: FieldDescriptor, column: str) -> Getter:
    name = field.name
    if field.message_type is not None and not field.is_repeated:
        return _message_getter(field, column)
    if field.enum_type is not None and not field.is_repeated:
        prefix = enum_prefix([v.name for v in field.enum_type.values])
        names = {v.number: v.name.removeprefix(prefix) for v in field.enum_type.values} | {0: ""}
        return lambda message: {column: names[getattr(message, name)]}
    if field.is_repeated and _format(field) == rules_pb2.FORMAT_UUID:
        return lambda message: {column: [UUID(id) for id in getattr(message, name)]}
    if field.is_repeated:
        return lambda message: {column: list(getattr(message, name))}
    if field.type == FieldDescriptor.TYPE_STRING:
        kind = _format(field)
        if kind == rules_pb2.FORMAT_UUID:
            return lambda message: {column: UUID(getattr(message, name)) if getattr(message, name) else None}
        if kind == rules_pb2.FORMAT_DECIMAL:
            return lambda message: {
                column: Decimal(getattr(message, name)) if getattr(message, name) else None
            }
        return lambda message: {column: getattr(message, name).strip()}
    if field.has_presence:
        return lambda message: {column: getattr(message, name) if message.HasField(name) else None}
    return lambda message: {column: getattr(message, name)}


def _message_getter(field: FieldDescriptor, column: str) -> Getter:
    name = field.name
    assert field.message_type is not None
    match field.message_type.full_name:
        case "google.protobuf.Timestamp":
            return lambda m: {column: to_datetime(getattr(m, name)) if m.HasField(name) else None}
        case "google.type.Date":
            return lambda m: {column: to_date(getattr(m, name), camel(name)) if m.HasField(name) else None}
        case "google.type.Money":

            def get_money(message: Any) -> dict[str, Any]:
                if not message.HasField(name):
                    return {column: None, f"{column}_currency": ""}
                value = to_value(getattr(message, name), camel(name))
                return {column: value.minor, f"{column}_currency": value.currency}

            return get_money
        case other:
            raise ValueError(f"{field.full_name}: {other} has no rule for its column: name it in `skip`")


def to_datetime(value: Any) -> datetime:
    """A google.protobuf.Timestamp as a UTC time (microseconds)."""
    return cast("datetime", value.ToDatetime(tzinfo=UTC))


def to_date(value: Any, field: str) -> date:
    """A whole google.type.Date. Raises Invalid naming `field`."""
    try:
        return date(value.year, value.month, value.day)
    except ValueError:
        raise Invalid(field, "is not a day of the calendar") from None


def to_value(value: Any, field: str) -> Money:
    """A google.type.Money as Money. Raises Invalid naming `field`."""
    return from_units(value.units, value.nanos, value.currency_code, field)
