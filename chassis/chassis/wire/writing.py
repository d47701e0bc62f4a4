"""Messages to plain values that orjson writes: one table of converters a message type."""

import base64
import math
import re
import struct
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any, cast

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

Encode = Callable[[Any], Any]
"""A field's value to what orjson writes."""

_encoders: dict[Descriptor, Encode] = {}
_EPOCH = date(1970, 1, 1)
_MINUTES = [f"{minute // 60:02d}:{minute % 60:02d}:" for minute in range(24 * 60)]
_SECONDS = [f"{second:02d}" for second in range(60)]
_days: dict[int, str] = {}
_FLOAT = struct.Struct("<f")
_CUSTOM = "custom_fields."


def descriptor_of(message: Message | type[Message]) -> Descriptor:
    """The descriptor of a message or its type, as the type stubs of descriptors know it."""
    return cast(Descriptor, message.DESCRIPTOR)


def encoder(descriptor: Descriptor) -> Encode:
    """The compiled converter from messages of that type to plain values."""
    found = _encoders.get(descriptor)
    if found is None:
        found = _WELL_KNOWN.get(descriptor.full_name) or _message_out(descriptor)
        _encoders[descriptor] = found
    return found


def _message_out(descriptor: Descriptor) -> Encode:
    # Keyed by the descriptors that ListFields hands out: one look-up a field, without reading its number.
    table: dict[FieldDescriptor, tuple[str, Encode | None]] = {}

    def encode(message: Message) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for field, value in message.ListFields():
            name, convert = table[field]
            out[name] = value if convert is None else convert(value)
        return out

    # Registered before its fields are compiled, since a message may hold itself.
    _encoders[descriptor] = encode
    for field in descriptor.fields:
        table[field] = (field.json_name, _field_out(field))
    return encode


def _field_out(field: FieldDescriptor) -> Encode | None:
    message = field.message_type
    if field.is_repeated:
        if message is not None and message.GetOptions().map_entry:
            key, value = message.fields_by_name["key"], message.fields_by_name["value"]
            return _map_out(_bool_key if key.type == FieldDescriptor.TYPE_BOOL else str, _one_out(value))
        one = _one_out(field)
        if one is None:
            return list
        return lambda items: [one(item) for item in items]
    return _one_out(field)


def _map_out(key: Callable[[Any], str], value: Encode | None) -> Encode:
    if value is None:
        return lambda pairs: {key(k): v for k, v in pairs.items()}
    return lambda pairs: {key(k): value(v) for k, v in pairs.items()}


def _one_out(field: FieldDescriptor) -> Encode | None:
    if field.message_type is not None:
        return encoder(field.message_type)
    if field.enum_type is not None:
        return _enum_out(field.enum_type)
    return _SCALARS.get(field.type)


def _enum_out(enum: EnumDescriptor) -> Encode:
    if enum.full_name == "google.protobuf.NullValue":
        return lambda _: None
    names = {number: value.name for number, value in enum.values_by_number.items()}
    return lambda number: names.get(number, number)


def _double_out(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if value != value else ("Infinity" if value > 0 else "-Infinity")


def _float_out(value: float) -> float | str:
    # The shortest decimal that reads back as the same 32-bit number: 0.1 rather than 0.10000000149011612.
    if math.isfinite(value):
        for digits in (6, 7, 8, 9):  # nine tell any two of them apart
            short = float(f"{value:.{digits}g}")
            if _as_float32(short) == value:
                return short
    return _double_out(value)


def _as_float32(value: float) -> float:
    try:
        return _FLOAT.unpack(_FLOAT.pack(value))[0]
    except OverflowError:
        return math.inf


def _base64_out(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")


def _fraction(nanos: int) -> str:
    if nanos % 1_000_000 == 0:
        return f".{nanos // 1_000_000:03d}"
    if nanos % 1000 == 0:
        return f".{nanos // 1000:06d}"
    return f".{nanos:09d}"


def _timestamp_out(message: Any) -> str:
    # Table look-ups take a third of the time of datetime and isoformat, and every record has several times.
    day, second = divmod(int(message.seconds), 86_400)
    text = (_days.get(day) or _day(day)) + _MINUTES[second // 60] + _SECONDS[second % 60]
    nanos: int = message.nanos
    return f"{text}{_fraction(nanos)}Z" if nanos else text + "Z"


def _day(day: int) -> str:
    if len(_days) >= 4096:
        _days.clear()
    text = _days[day] = (_EPOCH + timedelta(days=day)).isoformat() + "T"
    return text


def _duration_out(message: Any) -> str:
    seconds: int = message.seconds
    nanos: int = message.nanos
    sign = "-" if seconds < 0 or nanos < 0 else ""
    return f"{sign}{abs(seconds)}{_fraction(abs(nanos)) if nanos else ''}s"


def camel(path: str) -> str:
    """`owner_id` as `ownerId`; dots stay, and so do the keys of custom fields, which are nobody's names but the tenant's."""
    if path.startswith(_CUSTOM):
        return "customFields." + path.removeprefix(_CUSTOM)
    return re.sub(r"_([a-z0-9])", lambda found: found[1].upper(), path)


def snake(path: str) -> str:
    """`ownerId` as `owner_id`; dots stay."""
    return re.sub(r"[A-Z]", lambda found: "_" + found[0].lower(), path)


def _mask_out(message: Any) -> str:
    return ",".join(camel(path) for path in message.paths)


def _value_out(message: Any) -> Any:
    kind = message.WhichOneof("kind")
    if kind is None or kind == "null_value":
        return None
    if kind == "struct_value":
        return _struct_out(message.struct_value)
    if kind == "list_value":
        return _list_out(message.list_value)
    if kind == "number_value":
        number: float = message.number_value
        if number == 0:
            return 0 if math.copysign(1, number) > 0 else number  # -0.0 keeps its sign, as in the reference
        return int(number) if number.is_integer() and abs(number) < 2**53 else number
    return getattr(message, kind)


def _struct_out(message: Any) -> dict[str, Any]:
    return {key: _value_out(value) for key, value in message.fields.items()}


def _list_out(message: Any) -> list[Any]:
    return [_value_out(value) for value in message.values]


def _wrapper_out(convert: Encode | None) -> Encode:
    if convert is None:
        return lambda message: message.value
    return lambda message: convert(message.value)


def _bool_key(key: bool) -> str:
    return "true" if key else "false"


_SCALARS: dict[int, Encode] = {
    FieldDescriptor.TYPE_INT64: str,
    FieldDescriptor.TYPE_UINT64: str,
    FieldDescriptor.TYPE_SINT64: str,
    FieldDescriptor.TYPE_FIXED64: str,
    FieldDescriptor.TYPE_SFIXED64: str,
    FieldDescriptor.TYPE_DOUBLE: _double_out,
    FieldDescriptor.TYPE_FLOAT: _float_out,
    FieldDescriptor.TYPE_BYTES: _base64_out,
}
_WELL_KNOWN: dict[str, Encode] = {
    "google.protobuf.Timestamp": _timestamp_out,
    "google.protobuf.Duration": _duration_out,
    "google.protobuf.FieldMask": _mask_out,
    "google.protobuf.Struct": _struct_out,
    "google.protobuf.Value": _value_out,
    "google.protobuf.ListValue": _list_out,
    "google.protobuf.BoolValue": _wrapper_out(None),
    "google.protobuf.StringValue": _wrapper_out(None),
    "google.protobuf.Int32Value": _wrapper_out(None),
    "google.protobuf.UInt32Value": _wrapper_out(None),
    "google.protobuf.Int64Value": _wrapper_out(str),
    "google.protobuf.UInt64Value": _wrapper_out(str),
    "google.protobuf.DoubleValue": _wrapper_out(_double_out),
    "google.protobuf.FloatValue": _wrapper_out(_float_out),
    "google.protobuf.BytesValue": _wrapper_out(_base64_out),
}
