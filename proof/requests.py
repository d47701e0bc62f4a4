"""Requests made from the contracts: enough for each method's own checks to pass, naming records that belong to somebody."""

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from kehu.rules.v1 import rules_pb2

from chassis.validation.rules import OUTPUT_ONLY, REQUIRED, behaviors, rules_of
from gateway.contracts import Method
from gateway.routes import Route

_BY_FORMAT = {
    rules_pb2.FORMAT_EMAIL: "somebody@else.example",
    rules_pb2.FORMAT_PHONE: "13800001111",
    rules_pb2.FORMAT_CURRENCY: "CNY",
    rules_pb2.FORMAT_URL: "https://else.example/",
    rules_pb2.FORMAT_ORIGIN: "https://else.example",
    rules_pb2.FORMAT_DECIMAL: "1",
    rules_pb2.FORMAT_SLUG: "else",
    rules_pb2.FORMAT_TIME_ZONE: "Asia/Shanghai",
    rules_pb2.FORMAT_COUNTRY: "CN",
    rules_pb2.FORMAT_LANGUAGE: "zh-CN",
}
_SKIPPED = {"google.protobuf.FieldMask", "google.protobuf.Struct"}


def request_of(method: Method, ids: Mapping[str, str], id: str) -> Message:
    """A request about the record `id`; `ids` are other records, by the field that names them (`customer_id`)."""
    message = method.request()
    # A new record gets an id of its own: one that is taken would be refused for that.
    others: Mapping[str, str] = {} if method.name.startswith("Create") else ids
    _fill(message, {**others, "id": id, "record_id": id}, whole=False)
    if method.name.startswith("Create"):
        for field in message.DESCRIPTOR.fields:
            own = field.message_type is not None and field.message_type.full_name.startswith("kehu.")
            if own and not field.is_repeated:
                _fill(getattr(message, field.name), ids, whole=True)
    return message


def body_of(route: Route, request: Message) -> dict[str, Any]:
    """The JSON of the part of a request that goes in the route's body."""
    said = MessageToDict(request)
    if route.binding.body == "*":
        return said
    field = request.DESCRIPTOR.fields_by_name[route.binding.body]
    return said.get(field.json_name, {})


def _fill(message: Any, ids: Mapping[str, str], *, whole: bool) -> None:
    """Sets what is required, and whatever names a record; `whole` leaves nothing of it out."""
    for field in message.DESCRIPTOR.fields:
        kinds = behaviors(field)
        if OUTPUT_ONLY in kinds and field.name != "id":
            continue
        required = REQUIRED in kinds
        if field.is_repeated:
            if required or rules_of(field).min_items:
                _add(getattr(message, field.name), field, ids)
        elif field.message_type is not None:
            if required and field.message_type.full_name not in _SKIPPED:
                _set_message(getattr(message, field.name), field, ids)
        elif field.name in ids and (whole or required or field.name == "id"):
            setattr(message, field.name, ids[field.name])
        elif required and field.name != "id":
            setattr(message, field.name, _value(field))


def _add(items: Any, field: FieldDescriptor, ids: Mapping[str, str]) -> None:
    if field.message_type is not None:
        parts = {
            name: id for name, id in ids.items() if name != "id"
        }  # parts of a record have ids of their own
        _set_message(items.add(), field, parts)
    else:
        items.append(ids.get(field.name.removesuffix("s"), ids.get("id")) if _is_id(field) else _value(field))


def _set_message(message: Any, field: FieldDescriptor, ids: Mapping[str, str]) -> None:
    assert field.message_type is not None
    match field.message_type.full_name:
        case "google.protobuf.Timestamp":
            message.seconds = 1_700_000_000
        case "google.type.Date":
            message.year, message.month, message.day = 2026, 1, 2
        case "google.type.Money":
            message.currency_code, message.units = "CNY", 1
        case _:
            _fill(message, ids, whole=False)
            message.SetInParent()


def _is_id(field: FieldDescriptor) -> bool:
    return rules_of(field).format == rules_pb2.FORMAT_UUID


def _value(field: FieldDescriptor) -> Any:
    if field.enum_type is not None:
        return field.enum_type.values[1].number
    if field.type == FieldDescriptor.TYPE_BYTES:
        return b"Name\nSomebody\n"
    if field.type == FieldDescriptor.TYPE_BOOL:
        return True
    if field.type != FieldDescriptor.TYPE_STRING:
        return 1
    rule = rules_of(field)
    if _is_id(field):
        return str(uuid4())
    if rule.format:
        return _BY_FORMAT[rule.format]
    if field.name == "record_type":
        return "lead"
    if field.name == "filename":
        return "else.csv"
    return "elsewhere"[: rule.max_length or None].ljust(rule.min_length, "x")
