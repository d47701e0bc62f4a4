"""Requests made up from the contracts, by a seed: values at and beyond their limits, and bytes that are no message at all."""

import random
import struct
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from kehu.rules.v1 import rules_pb2

from chassis.validation.rules import is_map, rules_of

_DEEP = 4
_INTEGERS = {
    FieldDescriptor.TYPE_INT32: (-(2**31), 2**31 - 1), FieldDescriptor.TYPE_SINT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_SFIXED32: (-(2**31), 2**31 - 1), FieldDescriptor.TYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.TYPE_FIXED32: (0, 2**32 - 1), FieldDescriptor.TYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_SINT64: (-(2**63), 2**63 - 1), FieldDescriptor.TYPE_SFIXED64: (-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_UINT64: (0, 2**64 - 1), FieldDescriptor.TYPE_FIXED64: (0, 2**64 - 1),
}  # fmt: skip
_FLOATS = (0.0, -0.0, 1.5, -1.0, 1e308, -1e308, 5e-324, float("nan"), float("inf"), float("-inf"), 2.0**63)
_TEXTS = (
    "", " ", "x", "a" * 201, "名" * 70_000, "\0", "a\0b", "\u202e\u200b\ufeff",
    "é" * 300, "\U0001f600" * 50, "'; DROP TABLE leads; --",
    "%00", "../../etc/passwd", "{{7*7}}", "=1+1", "\r\nX-A: b", "null", "NaN", "1e400", "-0", "9" * 400, "0.1e-4000", "Infinity",
    "2024-02-30", "0000-00-00T00:00:00Z", "ﷺ" * 20, "İ", "\u0344" * 100, "\ufdd0\uffff",
)  # fmt: skip
_FILTERS = (
    "(" * 5_000 + "a = 1" + ")" * 5_000, "NOT " * 5_000 + "a = 1",
    'createTime > "0001-01-01T00:00:00Z"', 'createTime < "9999-12-31T23:59:59Z"',
    'createTime > "2024-05-01T08:00:00+23:59"', 'ownerId = ""', 'name : "%_\\"', 'a = "' + "b" * 60_000 + '"',
    "a = 1e999", "a AND", "a = b = c",
    'createTime > "10000-01-01T00:00:00Z"', 'etag = "1" OR ' * 300 + 'etag = "2"', "-a = 1", 'NOT NOT createTime = "x"',
)  # fmt: skip
_BY_FORMAT: Mapping[int, Sequence[str]] = {
    rules_pb2.FORMAT_EMAIL: ("a@b.example", "A@B.X", "a@b", '"a b"@c.example', "a@" + "b" * 250 + ".example", "ä@ö.example"),
    rules_pb2.FORMAT_PHONE: ("13800001111", "+86 138 0000 1111", "+" * 30, "0" * 40, "1 x 12345678", "+999999999999999"),
    rules_pb2.FORMAT_CURRENCY: ("CNY", "JPY", "KWD", "XXX", "cny", "ZZZ"),
    rules_pb2.FORMAT_URL: ("https://a.example/", "http://[::1]:99999/", "https://a" + "/b" * 1_100, "javascript:alert(1)", "https://xn--/"),
    rules_pb2.FORMAT_ORIGIN: ("https://a.example", "https://a.example:443", "null", "https://*"),
    rules_pb2.FORMAT_DECIMAL: ("1", "-1", "0", "1.5", "0.000001", "999999999999999.999999999999", "1e5", "-0", "."),
    rules_pb2.FORMAT_SLUG: ("a", "acme", "a-", "-" * 40),
    rules_pb2.FORMAT_TIME_ZONE: ("Asia/Shanghai", "UTC", "../etc/passwd", "Asia", "Etc/GMT+14", "posixrules"),
    rules_pb2.FORMAT_COUNTRY: ("CN", "ZZ", "cn"),
    rules_pb2.FORMAT_LANGUAGE: ("zh-CN", "x" * 40, "en-"),
}  # fmt: skip
_ORDERS = (
    "createTime",
    "createTime desc",
    "name",
    "displayName desc",
    "createTime,createTime",
    "a;b",
    ", ",
    "updateTime asc , name",
)
_FILES = (b"", b"Name\nLi Lei\n", b"PK\x03\x04", b"\xff\xfeN\0", b'a,b\n"c', b"\0" * 50, b"\x8b" * 300)


def request_of(
    kind: type[Message], chance: random.Random, ids: Mapping[str, Sequence[str]], own: Sequence[str]
) -> Any:
    """A message of that type; `ids` are those of records that are there by the name of the field that names one
    (`customer_id`), `own` those of the kind of record that the method is about.
    """
    message = kind()
    _fill(message, chance, ids, own, 0)
    return message


def bytes_of(message: Message, chance: random.Random) -> bytes:
    """The message on the wire; in one case of three damaged: cut, altered, with unknown fields, bad UTF-8 or groups without
    end, or nothing but noise.
    """
    whole = message.SerializeToString()
    match chance.randrange(24):
        case 0:
            return whole[: chance.randrange(len(whole) + 1)]
        case 1:
            return _altered(whole, chance)
        case 2:
            return whole + _unknown(chance)
        case 3:
            return _unknown(chance) + whole + _unknown(chance)
        case 4:
            return whole + b"\x0a\x03\xff\xfe\xc0"  # field 1, a text that is no UTF-8
        case 5:
            return whole + b"\x12\x04\xed\xa0\x80x"  # field 2, a lone surrogate
        case 6:
            return whole + b"\x0b" * 10_000  # groups that are opened and never closed
        case 7:
            return chance.randbytes(chance.randrange(200))
        case _:
            return whole


def _altered(whole: bytes, chance: random.Random) -> bytes:
    out = bytearray(whole)
    for _ in range(min(len(out), 1 + chance.randrange(4))):
        out[chance.randrange(len(out))] = chance.randrange(256)
    return bytes(out)


def _unknown(chance: random.Random) -> bytes:
    """A field with a number that no contract has."""
    text = chance.randbytes(chance.randrange(40))
    return b"\xf2\xff\x07" + bytes([len(text)]) + text


def _fill(
    message: Any, chance: random.Random, ids: Mapping[str, Sequence[str]], own: Sequence[str], depth: int
) -> None:
    descriptor: Descriptor = message.DESCRIPTOR
    well_known = _WELL_KNOWN.get(descriptor.full_name)
    if well_known is not None:
        well_known(message, chance)
        return
    dense = chance.choice((0.2, 0.6, 0.95))
    for field in descriptor.fields:
        named = field.name in ("id", "recordId") or rules_of(field).format == rules_pb2.FORMAT_UUID
        if chance.random() > (0.9 if named and depth == 0 else dense):
            continue
        if is_map(field):
            _fill_map(getattr(message, field.name), field, chance)
        elif field.is_repeated:
            for _ in range(chance.choice((0, 1, 1, 2, 3, 300) if depth < 2 else (0, 1, 2))):
                _append(getattr(message, field.name), field, chance, ids, own, depth)
        elif field.message_type is not None:
            if depth < _DEEP:
                inner = getattr(message, field.name)
                inner.SetInParent()
                _fill(inner, chance, ids, own, depth + 1)
        else:
            setattr(message, field.name, _value(field, chance, ids, own))


def _append(
    items: Any, field: FieldDescriptor, chance: random.Random, ids: Mapping[str, Sequence[str]], own: Sequence[str], depth: int
) -> None:  # fmt: skip
    if field.message_type is None:
        items.append(_value(field, chance, ids, own))
    elif depth < _DEEP:
        _fill(items.add(), chance, ids, own, depth + 1)


def _fill_map(items: Any, field: FieldDescriptor, chance: random.Random) -> None:
    assert field.message_type is not None
    value = field.message_type.fields_by_name["value"]
    if (
        value.message_type is None
        and field.message_type.fields_by_name["key"].type == FieldDescriptor.TYPE_STRING
    ):
        for _ in range(chance.choice((0, 1, 3, 300))):
            items[chance.choice(_TEXTS)[:500] + str(chance.randrange(9))] = _value(value, chance, {}, ())


def _value(
    field: FieldDescriptor, chance: random.Random, ids: Mapping[str, Sequence[str]], own: Sequence[str]
) -> Any:
    if field.enum_type is not None:
        known = [value.number for value in field.enum_type.values]
        return chance.choice([*known, *known, *known, len(known) + 7, -1, 2**31 - 1])
    if field.type in _INTEGERS:
        least, most = _INTEGERS[field.type]
        return chance.choice((0, 1, max(least, -1), 7, 50, least, most, chance.randint(least, most)))
    if field.type == FieldDescriptor.TYPE_BOOL:
        return chance.random() < 0.5
    if field.type in (FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT):
        found = chance.choice(_FLOATS)
        return (
            struct.unpack("<f", struct.pack("<f", max(-3e38, min(3e38, found))))[0]
            if found == found
            else found
        )
    if field.type == FieldDescriptor.TYPE_BYTES:
        return chance.choice((*_FILES, chance.randbytes(chance.randrange(2_000))))
    return _text(field, chance, ids, own)


def _text(
    field: FieldDescriptor, chance: random.Random, ids: Mapping[str, Sequence[str]], own: Sequence[str]
) -> str:
    rules = rules_of(field)
    if chance.random() < 0.15:
        return chance.choice(_TEXTS)
    if rules.format == rules_pb2.FORMAT_UUID:
        known = ids.get(field.name.removesuffix("s"), own)
        if known and chance.random() < 0.8:
            return chance.choice(known)
        return chance.choice(
            (str(UUID(int=chance.getrandbits(128))), "0" * 36, "not-a-uuid", str(UUID(int=0)))
        )
    if rules.format in _BY_FORMAT:
        return chance.choice(_BY_FORMAT[rules.format])
    if field.name == "filter":
        return chance.choice(_FILTERS)
    if field.name == "order_by":
        return chance.choice(_ORDERS)
    if field.name in ("etag", "page_token", "request_id") and chance.random() < 0.7:
        return ""
    most = rules.max_length or 400
    length = chance.choice((max(1, rules.min_length), 3, 12, most, most + 1))
    return "".join(chance.choice("abc 中文Äß9-_.@") for _ in range(min(length, 5_000)))


def _timestamp(message: Any, chance: random.Random) -> None:
    message.seconds = chance.choice(
        (
            0,
            1_900_000_000,
            -1,
            253_402_300_799,
            253_402_300_800,
            -62_135_596_800,
            -62_135_596_801,
            2**63 - 1,
            -(2**63),
        )
    )
    message.nanos = chance.choice((0, 0, 1, 999_999_999, 10**9, -1, 2**31 - 1))


def _date(message: Any, chance: random.Random) -> None:
    message.year = chance.choice((2026, 2024, 0, 1, 9999, 10_000, -1, 2**31 - 1))
    message.month = chance.choice((1, 2, 12, 0, 13, -1))
    message.day = chance.choice((1, 28, 29, 31, 0, 32, -(2**31)))


def _money(message: Any, chance: random.Random) -> None:
    message.currency_code = chance.choice(("CNY", "USD", "JPY", "KWD", "", "XXX", "cny", "名名名"))
    message.units = chance.choice((0, 1, -1, 10**12, 2**63 - 1, -(2**63)))
    message.nanos = chance.choice((0, 0, 10_000_000, 1, -1, 999_999_999, 10**9, -(2**31)))


def _mask(message: Any, chance: random.Random) -> None:
    paths = (
        "name",
        "display_name",
        "etag",
        "id",
        "*",
        "a.b.c.d",
        "",
        "name.name",
        "x" * 5_000,
        "tenant_id",
        "lines",
        "owner_id",
    )
    message.paths.extend(chance.choice(paths) for _ in range(chance.choice((0, 1, 2, 1_500))))


def _struct(message: Any, chance: random.Random) -> None:
    message.update({"a": None, "b": [1, {"c": chance.choice(_TEXTS)[:100]}]})


_WELL_KNOWN: Mapping[str, Any] = {
    "google.protobuf.Timestamp": _timestamp,
    "google.protobuf.Duration": _timestamp,
    "google.type.Date": _date,
    "google.type.Money": _money,
    "google.protobuf.FieldMask": _mask,
    "google.protobuf.Struct": _struct,
}
