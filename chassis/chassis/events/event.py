"""Events as the use cases write them, and their form on the wire.

A use case records a plain dataclass (`LeadConverted(...)`); the service's composition pairs each class with the proto message
that is its contract. The pairing is compiled and checked at start-up: every field of the dataclass must be a field of the
message, so an event without a wire form cannot be recorded. Data on the wire is the proto3 JSON of the message.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, cast, get_type_hints
from uuid import UUID

import orjson
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from chassis.money import Money
from chassis.wire import camel


class Event:
    """Something that has happened to a record. Subclasses are frozen, keyword-only dataclasses with plain values:
    str, int, bool, UUID, datetime (UTC), date, Decimal, Money, None, lists of these, and dataclasses of these.
    Enum values are their names without the prefix (`"WON"`)."""


@dataclass(frozen=True, kw_only=True)
class OwnedEvent(Event):
    """What has happened to a record that nobody owns, and is heard by one person and by those who read all."""

    owner_id: UUID
    team_id: UUID | None


@dataclass(frozen=True, slots=True)
class Envelope:
    """What stands around an event on the bus (CloudEvents 1.0 attributes as message headers)."""

    event_id: UUID
    type: str
    """Full name of the proto message."""
    source: str
    """The producing service."""
    subject: str
    tenant_id: UUID
    tenant: str
    record_id: UUID
    version: int
    """The record's version after the change: the order of events of one record."""
    time: datetime
    person_id: UUID
    person_name: str
    traceparent: str


Encoder = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Wire:
    """How one event class travels."""

    type: str
    suffix: str
    """Subject below the domain: `lead.converted`."""
    right: str
    """The kind of right that lets a person see this event; empty for events that only services read."""
    encode: Callable[[Event], bytes]
    personal: bool = False
    """Whether nobody but its owner may see it, whatever their rights."""


class Catalog:
    """All events a service may record, compiled for the wire.

    Raises ValueError when a class and its message disagree or a message has no subject.
    """

    def __init__(self, domain: str, publishes: Mapping[type[Event], type[Message]]) -> None:
        self.domain = domain
        self._wires = {event: _wire(event, message) for event, message in publishes.items()}

    def wire(self, event: Event) -> Wire:
        """The wire form of that event. Raises LookupError for a class the composition does not publish."""
        try:
            return self._wires[type(event)]
        except KeyError:
            raise LookupError(
                f"{type(event).__name__} is not among the events this service publishes"
            ) from None

    def __contains__(self, event: type[Event]) -> bool:
        return event in self._wires


def subject_of(message: type[Message]) -> tuple[str, str]:
    """The `(subject suffix, right)` an event message declares in its contract."""
    option = _option(message)
    return option.subject, option.right


def _option(message: type[Message]) -> Any:
    from kehu.rules.v1 import rules_pb2

    option = message.DESCRIPTOR.GetOptions().Extensions[rules_pb2.event]
    if not option.subject:
        raise ValueError(f"{message.DESCRIPTOR.full_name} declares no subject")
    if option.personal and option.right:
        raise ValueError(f"{message.DESCRIPTOR.full_name} is for one person and has a right for others")
    return option


def _wire(event: type[Event], message: type[Message]) -> Wire:
    option = _option(message)
    if option.personal and not issubclass(event, OwnedEvent):
        raise ValueError(f"{event.__name__} is for one person: it must be an OwnedEvent")
    shape = _shape(event, cast("Descriptor", message.DESCRIPTOR))
    return Wire(
        message.DESCRIPTOR.full_name, option.subject, option.right, lambda value: orjson.dumps(shape(value)), option.personal
    )  # fmt: skip


def _shape(kind: type[Any], descriptor: Descriptor) -> Encoder:
    hints = get_type_hints(kind)
    parts: list[tuple[str, str, Encoder]] = []
    for field in fields(kind):
        target = descriptor.fields_by_name.get(field.name)
        if target is None:
            raise ValueError(f"{kind.__name__}.{field.name} is no field of {descriptor.full_name}")
        parts.append((field.name, target.json_name, _value(hints[field.name], target)))

    def encode(value: Any) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for name, json_name, part in parts:
            item = getattr(value, name)
            if item is not None:
                out[json_name] = part(item)
        return out

    return encode


def _value(hint: Any, field: FieldDescriptor) -> Encoder:
    if field.name == "changed_fields":
        return _field_names
    if field.name == "custom_fields":
        return dict  # they are kept as they stand on the wire
    if field.is_repeated:
        one = _one(hint, field)
        return lambda items: [one(item) for item in items]
    return _one(hint, field)


def _field_names(columns: list[str]) -> list[str]:
    """Use cases name columns; the contract names fields, in lowerCamelCase, and an amount with its currency is one field."""
    return list(dict.fromkeys(
        camel(name if name.startswith("custom_fields.") else name.removesuffix("_currency"))
        for name in columns
    ))  # fmt: skip


def _one(hint: Any, field: FieldDescriptor) -> Encoder:
    message = field.message_type
    if message is not None:
        encoder = _WELL_KNOWN.get(message.full_name)
        if encoder is not None:
            return encoder
        nested = _dataclass_in(hint)
        if nested is None:
            raise ValueError(f"{field.full_name} needs a dataclass, not {hint}")
        return _shape(nested, message)
    if field.enum_type is not None:
        return _enum(field)
    if field.type in _INT64:
        return str
    if field.type == FieldDescriptor.TYPE_STRING:
        return str
    if field.type in _PLAIN:
        return _same
    raise ValueError(f"{field.full_name}: fields of this type do not belong into events")


def _dataclass_in(hint: Any) -> type[Any] | None:
    if hasattr(hint, "__dataclass_fields__"):
        return cast("type[Any]", hint)
    for inner in getattr(hint, "__args__", ()):
        found = _dataclass_in(inner)
        if found is not None:
            return found
    return None


def enum_prefix(names: list[str]) -> str:
    """The prefix all values of a proto enum share (`LEAD_STATUS_`), read off its zero value."""
    return names[0].removesuffix("UNSPECIFIED")


def _enum(field: FieldDescriptor) -> Encoder:
    assert field.enum_type is not None
    names = [value.name for value in field.enum_type.values]
    prefix = enum_prefix(names)
    full = {name.removeprefix(prefix): name for name in names} | {name: name for name in names}
    return full.__getitem__


def _same(value: Any) -> Any:
    return value


def timestamp_text(value: datetime) -> str:
    """RFC 3339 in UTC with microseconds when there are any, as proto3 JSON wants it."""
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _date(value: date) -> dict[str, int]:
    return {"year": value.year, "month": value.month, "day": value.day}


def _money(value: Money) -> dict[str, Any]:
    out: dict[str, Any] = {"currencyCode": value.currency, "units": str(value.units)}
    if value.nanos:
        out["nanos"] = value.nanos
    return out


_WELL_KNOWN: dict[str, Encoder] = {
    "google.protobuf.Timestamp": timestamp_text,
    "google.type.Date": _date,
    "google.type.Money": _money,
    "google.type.Decimal": lambda value: {"value": format(cast("Decimal", value), "f")},
}
_INT64 = {
    FieldDescriptor.TYPE_INT64,
    FieldDescriptor.TYPE_UINT64,
    FieldDescriptor.TYPE_SINT64,
    FieldDescriptor.TYPE_FIXED64,
    FieldDescriptor.TYPE_SFIXED64,
}
_PLAIN = {
    FieldDescriptor.TYPE_BOOL,
    FieldDescriptor.TYPE_INT32,
    FieldDescriptor.TYPE_UINT32,
    FieldDescriptor.TYPE_SINT32,
    FieldDescriptor.TYPE_DOUBLE,
    FieldDescriptor.TYPE_FLOAT,
}
