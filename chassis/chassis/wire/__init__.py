"""Messages to JSON and back: the proto3 JSON mapping, compiled once a message type.

`google.protobuf.json_format` looks every field up again for every message; here a message type becomes a
table of converters on first use. Names are lowerCamelCase (proto names are understood, too), enum values are
their names, 64-bit integers are strings, fields without a value are left out, unknown fields are refused.
`google.protobuf.Any` has no conversion: no contract of ours uses it.

Reading collects every refused field before it raises, each with its path in the document
(`lines[2].unitPrice.units`).
"""

from typing import Any, TypeVar, cast

import orjson
from google.protobuf.message import Message

from chassis.errors import Invalid, Violation
from chassis.wire.reading import MAX_VIOLATIONS, Refused, decoder, join
from chassis.wire.writing import camel, descriptor_of, encoder, snake

__all__ = [
    "Refused",
    "build",
    "camel",
    "decoder",
    "descriptor_of",
    "encoder",
    "from_dict",
    "from_json",
    "invalid",
    "join",
    "loads",
    "malformed",
    "snake",
    "to_dict",
    "to_json",
]

M = TypeVar("M", bound=Message)

MAX_DEPTH = 60
"""Levels of objects and lists in a document. Protobuf itself reads at most 100 levels of messages."""


def to_dict(message: Message) -> Any:
    """The message as plain values (dict, list, str, int, float, bool) in the proto3 JSON mapping."""
    return encoder(descriptor_of(message))(message)


def to_json(message: Message) -> bytes:
    """The message as UTF-8 JSON."""
    return orjson.dumps(encoder(descriptor_of(message))(message))


def from_dict(kind: type[M], data: object, *, newer: bool = False) -> M:
    """The message that plain values stand for. Raises Invalid naming the path of every refused field.

    With `newer` they may be of a sender of a newer version: what is unknown here of fields and of names of enum values is
    passed over instead.
    """
    try:
        return build(kind, data, newer=newer)
    except Refused as refused:
        raise invalid(refused) from None


def from_json(kind: type[M], data: bytes | bytearray | memoryview | str, *, newer: bool = False) -> M:
    """The message that UTF-8 JSON stands for; `newer` as for from_dict.

    Raises Invalid: reason MALFORMED_JSON when it is no JSON, else naming the path of every refused field.
    """
    return from_dict(kind, loads(data), newer=newer)


def loads(data: bytes | bytearray | memoryview | str) -> object:
    """The plain value that JSON text stands for.

    Raises Invalid naming `body` when it is no JSON (reason MALFORMED_JSON) or is nested too deeply.
    """
    try:
        value: object = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise malformed(error) from None
    if len(data) > 2 * MAX_DEPTH and _too_deep(value):
        raise Invalid("body", f"is nested more than {MAX_DEPTH} deep")
    return value


def _too_deep(value: object) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        below: list[object] = []
        for item in level:
            if isinstance(item, dict):
                below.extend(cast("dict[str, object]", item).values())
            elif isinstance(item, list):
                below.extend(cast("list[object]", item))
        if not below:
            return False
        level = below
    return True


def build(kind: type[M], data: object, *, newer: bool = False) -> M:
    """As from_dict, but raises Refused, for callers that know more of the path."""
    try:
        made = decoder(descriptor_of(kind), newer)(data)
        if isinstance(made, Message):
            return cast(M, made)
        return kind(**made)
    except RecursionError:
        raise Refused(("", "is nested too deeply")) from None


def invalid(refused: Refused, prefix: str = "") -> Invalid:
    """The problem to answer with; `prefix` is the path of the value that was refused."""
    found = refused.found[:MAX_VIOLATIONS]
    return Invalid.of(Violation(join(prefix, path) or "body", text) for path, text in found)


def malformed(error: orjson.JSONDecodeError) -> Invalid:
    """The problem to answer with when a body is no JSON."""
    return Invalid(
        "body",
        f"is not valid JSON: {error.msg.split(': line')[0]} at line {error.lineno}, column {error.colno}",
        reason="MALFORMED_JSON",
    )
