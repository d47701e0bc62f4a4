"""Plain values, as orjson reads them, to what message constructors take: one table a message type.

Every refused field is collected with its path before a converter raises.
"""

import base64
import binascii
import math
import re
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, cast

from google.protobuf import struct_pb2
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message_factory import GetMessageClass

from chassis.wire.writing import camel, snake

Decode = Callable[[Any], Any]
"""A JSON value to what the message constructor takes. Raises Refused."""

MAX_VIOLATIONS = 50
_STRUCT_DEPTH = 30
"""google.protobuf.Struct nests three messages a level, and protobuf reads at most 100 levels."""
_EPOCH = datetime(1970, 1, 1)
_SURROGATE = re.compile("[\ud800-\udfff]")
_INTEGER = re.compile(r"-?[0-9]{1,20}")
_DECIMAL = re.compile(r"-?[0-9]{1,400}(\.[0-9]{1,400})?([eE][+-]?[0-9]{1,4})?")
_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_DURATION = re.compile(r"(-)?([0-9]{1,18})(?:\.([0-9]{1,9}))?s")
_PATH = re.compile(r"customFields\.[a-z][a-z0-9_]*|(?!customFields\.)[a-z][A-Za-z0-9]*(\.[a-z][A-Za-z0-9]*)*")
_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}

_decoders: dict[tuple[Descriptor, bool], Decode] = {}


class Refused(Exception):
    """JSON values that do not fit their fields: `(path below here, what is wrong)` each."""

    def __init__(self, *found: tuple[str, str]) -> None:
        super().__init__(found)
        self.found = found


def join(outer: str, inner: str) -> str:
    """Two parts of a path as one: `lines` and `[2].price` make `lines[2].price`."""
    if not outer or not inner or inner[0] == "[":
        return outer + inner
    return f"{outer}.{inner}"


def decoder(descriptor: Descriptor, newer: bool = False) -> Decode:
    """The compiled converter from plain values to constructor arguments, or to a message for Struct. With `newer` the values may
    be of a sender who knows more: fields that are unknown here are passed over, and so are names of enum values."""
    found = _decoders.get((descriptor, newer))
    if found is None:
        found = _WELL_KNOWN.get(descriptor.full_name) or _message_in(descriptor, newer)
        _decoders[descriptor, newer] = found
    return found


def _message_in(descriptor: Descriptor, newer: bool) -> Decode:
    fields: dict[str, tuple[str, Decode, bool]] = {}
    groups: dict[str, str] = {}

    def decode(data: Any) -> dict[str, Any]:
        if type(data) is not dict:
            raise Refused(("", f"must be an object, not {_shown(data)}"))
        out: dict[str, Any] = {}
        wrong: list[tuple[str, str]] | None = None
        for name, value in cast("dict[str, Any]", data).items():
            entry = fields.get(name)
            try:
                if entry is None:
                    if newer:
                        continue
                    raise Refused(("", "is not a field here: check its name"))
                target, convert, takes_null = entry
                if value is None and not takes_null:
                    continue
                if target in out:
                    raise Refused(("", "is given twice, under two spellings of its name"))
                out[target] = convert(value)
            except Refused as refused:
                wrong = wrong if wrong is not None else []
                wrong.extend((join(name[:100], path), text) for path, text in refused.found)
        if groups and len(out) > 1:
            wrong = _one_of(groups, out, wrong)
        if wrong:
            raise Refused(*wrong[:MAX_VIOLATIONS])
        return out

    _decoders[descriptor, newer] = decode
    for field in descriptor.fields:
        entry = (field.name, _field_in(field, newer), _takes_null(field))
        fields[field.name] = entry
        fields[field.json_name] = entry
        group = field.containing_oneof
        if group is not None and len(group.fields) > 1:
            groups[field.name] = group.name
    return decode


def _one_of(
    groups: dict[str, str], out: dict[str, Any], wrong: list[tuple[str, str]] | None
) -> list[tuple[str, str]] | None:
    first: dict[str, str] = {}
    for name in out:
        group = groups.get(name)
        if group is None:
            continue
        if group in first:
            text = f"cannot be given together with {camel(first[group])}: choose one"
            wrong = [*(wrong or ()), (camel(name), text)]
        first[group] = name
    return wrong


def _takes_null(field: FieldDescriptor) -> bool:
    if field.is_repeated:
        return False
    if field.message_type is not None:
        return field.message_type.full_name == "google.protobuf.Value"
    return field.enum_type is not None and field.enum_type.full_name == "google.protobuf.NullValue"


def _field_in(field: FieldDescriptor, newer: bool) -> Decode:
    message = field.message_type
    if field.is_repeated:
        if message is not None and message.GetOptions().map_entry:
            return _map_in(message, newer)
        return _list_in(_one_in(field, newer))
    return _one_in(field, newer)


def _list_in(one: Decode) -> Decode:
    def decode(data: Any) -> list[Any]:
        if type(data) is not list:
            raise Refused(("", f"must be a list, not {_shown(data)}"))
        out: list[Any] = []
        wrong: list[tuple[str, str]] = []
        for place, item in enumerate(cast("list[Any]", data)):
            try:
                out.append(one(item))
            except Refused as refused:
                wrong.extend((join(f"[{place}]", path), text) for path, text in refused.found)
                if len(wrong) >= MAX_VIOLATIONS:
                    break
        if wrong:
            raise Refused(*wrong)
        return out

    return decode


def _map_in(entry: Descriptor, newer: bool) -> Decode:
    key_in = _key_in(entry.fields_by_name["key"])
    value = entry.fields_by_name["value"]
    value_in = _one_in(value, newer)
    # The constructor takes messages, and no dicts, as values of a map.
    kind = GetMessageClass(value.message_type) if value.message_type is not None else None

    def decode(data: Any) -> dict[Any, Any]:
        if type(data) is not dict:
            raise Refused(("", f"must be an object, not {_shown(data)}"))
        out: dict[Any, Any] = {}
        wrong: list[tuple[str, str]] = []
        for key, item in cast("dict[str, Any]", data).items():
            try:
                made: Any = value_in(item)
                out[key_in(key)] = (
                    kind(**cast("dict[str, Any]", made)) if kind is not None and type(made) is dict else made
                )
            except Refused as refused:
                wrong.extend((join(key[:100], path), text) for path, text in refused.found)
        if wrong:
            raise Refused(*wrong[:MAX_VIOLATIONS])
        return out

    return decode


def _one_in(field: FieldDescriptor, newer: bool) -> Decode:
    if field.message_type is not None:
        return decoder(field.message_type, newer)
    if field.enum_type is not None:
        return _enum_in(field.enum_type, newer)
    return _SCALARS[field.type]


def _enum_in(enum: EnumDescriptor, newer: bool) -> Decode:
    if enum.full_name == "google.protobuf.NullValue":
        return lambda _: 0
    numbers = {value.name: value.number for value in enum.values}
    listed = _listed(numbers)

    def decode(data: Any) -> int:
        if type(data) is str:
            number = numbers.get(data)
            if number is not None:
                return number
            if newer:
                return 0
        elif type(data) is int and -(2**31) <= data < 2**31:
            # Whether the number is a known one is a rule of validation: proto3 enums are open.
            return data
        raise Refused(("", f"{_shown(data)} is not one of {listed}"))

    return decode


def _listed(names: Iterable[str]) -> str:
    shown = list(names)
    return ", ".join(shown[:30]) + (" …" if len(shown) > 30 else "")


def _string_in(data: Any) -> str:
    if type(data) is not str:
        raise Refused(("", f"must be a text in quotes, not {_shown(data)}"))
    # Lone surrogates cannot be written as UTF-8. Python knows at no cost whether a text is ASCII.
    if not data.isascii() and _SURROGATE.search(data):
        raise Refused(("", "holds half a surrogate pair, which is no character"))
    return data


def _bool_in(data: Any) -> bool:
    if type(data) is not bool:
        raise Refused(("", f"must be true or false, not {_shown(data)}"))
    return data


def _integer_in(low: int, high: int) -> Decode:
    def decode(data: Any) -> int:
        if type(data) is int:
            number = data
        elif (type(data) is str and _INTEGER.fullmatch(data)) or (type(data) is float and data.is_integer()):
            number = int(data)
        else:
            raise Refused(("", f"must be a whole number, not {_shown(data)}"))
        if not low <= number <= high:
            raise Refused(("", f"{_shown(data)} is out of range: allowed is {low} to {high}"))
        return number

    return decode


def _number_in(limit: float) -> Decode:
    def decode(data: Any) -> float:
        if type(data) is float or type(data) is int:
            number = float(data)
        elif type(data) is str:
            if data in _NOT_FINITE:
                return _NOT_FINITE[data]
            if not _DECIMAL.fullmatch(data):
                raise Refused(("", f"must be a number, not {_shown(data)}"))
            number = float(data)
        else:
            raise Refused(("", f"must be a number, not {_shown(data)}"))
        if abs(number) > limit:
            raise Refused(("", f"{_shown(data)} is out of range"))
        return number

    return decode


def _bytes_in(data: Any) -> bytes:
    if type(data) is bytes:
        # No JSON has them, but a document put together from a form may.
        return data
    if type(data) is not str:
        raise Refused(("", f"must be a text in base64, not {_shown(data)}"))
    try:
        standard = data.replace("-", "+").replace("_", "/").rstrip("=")
        return base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise Refused(("", "is not valid base64")) from None


def _timestamp_in(data: Any) -> dict[str, int]:
    found = _RFC3339.fullmatch(data) if type(data) is str else None
    if found is None:
        raise Refused(("", f"{_shown(data)} is not a time as 2026-03-01T08:30:00Z"))
    day, fraction, zone = found.groups()
    try:
        moment = datetime.fromisoformat(day.upper()) - _EPOCH
        offset = 0
        if zone not in ("Z", "z"):
            offset = (int(zone[1:3]) * 60 + int(zone[4:6])) * (-60 if zone[0] == "-" else 60)
            if int(zone[4:6]) > 59 or abs(offset) > 86_340:
                raise ValueError
    except ValueError:
        raise Refused(("", f"{_shown(data)} is not a time of the calendar")) from None
    seconds = moment.days * 86400 + moment.seconds - offset
    if not -62_135_596_800 <= seconds <= 253_402_300_799:
        raise Refused(("", f"{_shown(data)} is outside of the years 1 to 9999"))
    return {"seconds": seconds, "nanos": int((fraction or "0").ljust(9, "0"))}


def _duration_in(data: Any) -> dict[str, int]:
    found = _DURATION.fullmatch(data) if type(data) is str else None
    if found is None:
        raise Refused(("", f"{_shown(data)} is not a duration in seconds as 3.5s"))
    sign = -1 if found[1] else 1
    seconds = int(found[2])
    if seconds > 315_576_000_000:
        raise Refused(("", f"{_shown(data)} is longer than 10,000 years"))
    return {"seconds": sign * seconds, "nanos": sign * int((found[3] or "0").ljust(9, "0"))}


def _mask_in(data: Any) -> dict[str, list[str]]:
    if type(data) is not str:
        raise Refused(("", f"must be field names joined by commas, not {_shown(data)}"))
    paths = [part.strip() for part in data.split(",")] if data else []
    for path in paths:
        if not _PATH.fullmatch(path):
            raise Refused(("", f"{_shown(path)} is not a field name in lowerCamelCase"))
    return {"paths": [snake(path) for path in paths]}


def _value_in(data: Any, depth: int = 0) -> struct_pb2.Value:
    if depth > _STRUCT_DEPTH:
        raise Refused(("", f"is nested more than {_STRUCT_DEPTH} deep"))
    if data is None:
        return struct_pb2.Value(null_value=struct_pb2.NULL_VALUE)
    if type(data) is bool:
        return struct_pb2.Value(bool_value=data)
    if type(data) is str:
        return struct_pb2.Value(string_value=_string_in(data))
    if type(data) is dict:
        return struct_pb2.Value(struct_value=_struct_in(cast("dict[str, Any]", data), depth + 1))
    if type(data) is list:
        return struct_pb2.Value(list_value=_list_value_in(cast("list[Any]", data), depth + 1))
    return struct_pb2.Value(number_value=_double_in(data))


def _struct_in(data: Any, depth: int = 0) -> struct_pb2.Struct:
    if type(data) is not dict:
        raise Refused(("", f"must be an object, not {_shown(data)}"))
    out = struct_pb2.Struct()
    for key, item in cast("dict[str, Any]", data).items():
        try:
            out.fields[_string_in(key)].CopyFrom(_value_in(item, depth))
        except Refused as refused:
            raise Refused(*((join(key[:100], path), text) for path, text in refused.found)) from None
    return out


def _list_value_in(data: Any, depth: int = 0) -> struct_pb2.ListValue:
    if type(data) is not list:
        raise Refused(("", f"must be a list, not {_shown(data)}"))
    return struct_pb2.ListValue(values=[_value_in(item, depth) for item in cast("list[Any]", data)])


def _wrapper_in(convert: Decode) -> Decode:
    return lambda data: {"value": convert(data)}


def _empty_in(data: Any) -> dict[str, Any]:
    if type(data) is not dict:
        raise Refused(("", f"must be an empty object, not {_shown(data)}"))
    if data:
        unknown = str(next(iter(cast("dict[str, Any]", data))))
        raise Refused((unknown[:100], "is not a field here: the object must be empty"))
    return {}


def _shown(data: Any) -> str:
    """The value as a message may show it: short, whatever was sent."""
    if data is None:
        return "null"
    if type(data) is dict:
        return "an object"
    if type(data) is list:
        return "a list"
    if type(data) is bool:
        return "true" if data else "false"
    text = str(data)
    text = text if len(text) <= 40 else text[:40] + "…"
    return f"'{text}'" if type(data) is str else text


def _key_in(field: FieldDescriptor) -> Decode:
    if field.type == FieldDescriptor.TYPE_BOOL:
        return _bool_key
    return _SCALARS[field.type]


def _bool_key(key: str) -> bool:
    if key not in ("true", "false"):
        raise Refused(("", f"must be a key true or false, not {_shown(key)}"))
    return key == "true"


_INT32 = _integer_in(-(2**31), 2**31 - 1)
_UINT32 = _integer_in(0, 2**32 - 1)
_INT64 = _integer_in(-(2**63), 2**63 - 1)
_UINT64 = _integer_in(0, 2**64 - 1)
_double_in = _number_in(math.inf)
# Half a step above the largest 32-bit float, whose shortest decimal lies above it.
_float_in = _number_in(3.4028235677973362e38)
_SCALARS: dict[int, Decode] = {
    FieldDescriptor.TYPE_STRING: _string_in,
    FieldDescriptor.TYPE_BOOL: _bool_in,
    FieldDescriptor.TYPE_BYTES: _bytes_in,
    FieldDescriptor.TYPE_INT32: _INT32,
    FieldDescriptor.TYPE_SINT32: _INT32,
    FieldDescriptor.TYPE_SFIXED32: _INT32,
    FieldDescriptor.TYPE_UINT32: _UINT32,
    FieldDescriptor.TYPE_FIXED32: _UINT32,
    FieldDescriptor.TYPE_INT64: _INT64,
    FieldDescriptor.TYPE_SINT64: _INT64,
    FieldDescriptor.TYPE_SFIXED64: _INT64,
    FieldDescriptor.TYPE_UINT64: _UINT64,
    FieldDescriptor.TYPE_FIXED64: _UINT64,
    FieldDescriptor.TYPE_DOUBLE: _double_in,
    FieldDescriptor.TYPE_FLOAT: _float_in,
}
_WELL_KNOWN: dict[str, Decode] = {
    "google.protobuf.Timestamp": _timestamp_in,
    "google.protobuf.Duration": _duration_in,
    "google.protobuf.FieldMask": _mask_in,
    "google.protobuf.Struct": _struct_in,
    "google.protobuf.Value": _value_in,
    "google.protobuf.ListValue": _list_value_in,
    "google.protobuf.Empty": _empty_in,
    "google.protobuf.BoolValue": _wrapper_in(_bool_in),
    "google.protobuf.StringValue": _wrapper_in(_string_in),
    "google.protobuf.BytesValue": _wrapper_in(_bytes_in),
    "google.protobuf.Int32Value": _wrapper_in(_INT32),
    "google.protobuf.UInt32Value": _wrapper_in(_UINT32),
    "google.protobuf.Int64Value": _wrapper_in(_INT64),
    "google.protobuf.UInt64Value": _wrapper_in(_UINT64),
    "google.protobuf.DoubleValue": _wrapper_in(_double_in),
    "google.protobuf.FloatValue": _wrapper_in(_float_in),
}
