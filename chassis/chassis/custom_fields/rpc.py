"""The gRPC face of custom fields: messages of kehu.customfields.v1 in and out. Any service mounts it in one line.

custom_fields_face("kehu.leads.v1.CustomFieldService", CUSTOM_FIELDS)
"""

from typing import Any

from google.protobuf.empty_pb2 import Empty
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.struct_pb2 import Value
from kehu.customfields.v1 import custom_fields_pb2 as pb

from chassis.custom_fields.field import CustomField, add_field, alone, change_field, delete_field
from chassis.custom_fields.switch import CustomFields
from chassis.database import Transaction
from chassis.errors import NotFound
from chassis.fields import Field, Kind
from chassis.ids import parse_id
from chassis.listing import Listing
from chassis.mapping import Mapping
from chassis.record_types import for_type
from chassis.rpc.call import Call
from chassis.rpc.face import Face
from chassis.wire import from_dict, to_dict

FIELD = Mapping(pb.CustomField, skip=["default_value", "choices"], columns={"record_type": "of_type"})
_OWN = ("default_value", "choices")

LIST = Listing(
    CustomField,
    right=None,
    fields={
        "position": Field("position", Kind.INTEGER, sortable=True),
        "createTime": Field("created_at", Kind.TIMESTAMP, sortable=True),
        "recordType": Field("of_type", Kind.TEXT),
    },
    default_order="position, createTime",
)


def field_message(row: Any) -> pb.CustomField:
    """A definition; `row` is a row object or a row of the read path."""
    message = FIELD.message(row)
    read = row.__getitem__ if hasattr(row, "keys") else row.__getattribute__
    for choice in read("choices"):
        message.choices.add(**choice)
    if read("default_value") is not None:
        message.default_value.CopyFrom(from_dict(Value, read("default_value")))
    return message


def field_values(message: pb.CustomField, mask: FieldMask | None = None) -> dict[str, Any]:
    """Column → value of what a client writes."""
    own = {"default_value": _default(message), "choices": _choices(message)}
    if mask is None:
        return {**FIELD.values(message), **own}
    rest = [path for path in mask.paths if path not in _OWN]
    values = FIELD.values(message, FieldMask(paths=rest)) if rest or not mask.paths else {}
    given = [n for n in _OWN if (n in mask.paths if mask.paths else _is_given(message, n))]
    return {**values, **{name: own[name] for name in given}}


def _is_given(message: pb.CustomField, name: str) -> bool:
    return message.HasField("default_value") if name == "default_value" else bool(message.choices)


def _default(message: pb.CustomField) -> Any:
    return to_dict(message.default_value) if message.HasField("default_value") else None


def _choices(message: pb.CustomField) -> list[dict[str, Any]]:
    return [
        {"key": c.key, "label_zh": c.label_zh.strip(), "label_en": c.label_en.strip(), "archived": c.archived}
        for c in message.choices
    ]


def custom_fields_face(service: str, custom: CustomFields) -> Face:
    """The face of that CustomFieldService."""
    face = Face(service)
    references = frozenset(custom.references)

    async def get(request: pb.GetCustomFieldRequest, call: Call) -> pb.CustomField:
        return field_message(await LIST.get(call, request.id))

    async def list_fields(request: pb.ListCustomFieldsRequest, call: Call) -> pb.ListCustomFieldsResponse:
        where = (
            {"recordType": _known(custom, request.record_type, "recordType")} if request.record_type else None
        )
        page = await LIST.page(call, request, where)
        return pb.ListCustomFieldsResponse(
            custom_fields=[field_message(row) for row in page.rows], next_page_token=page.next_page_token
        )

    async def create(request: pb.CreateCustomFieldRequest, tx: Transaction) -> pb.CustomField:
        _known(custom, request.custom_field.record_type, "customField.recordType")
        return await _answer(tx, await add_field(tx, field_values(request.custom_field), references))

    async def update(request: pb.UpdateCustomFieldRequest, tx: Transaction) -> pb.CustomField:
        field = await _field(tx, request.custom_field.id, request.custom_field.etag, "customField.id")
        values = field_values(request.custom_field, request.update_mask)
        await change_field(tx, field, values, references, custom.tables[field.of_type])
        return await _answer(tx, field)

    async def delete(request: pb.DeleteCustomFieldRequest, tx: Transaction) -> Empty:
        field = await _field(tx, request.id, request.etag, "id")
        await delete_field(tx, field, custom.tables[field.of_type])
        return Empty()

    face.read("GetCustomField")(get)
    face.read("ListCustomFields")(list_fields)
    face.write("CreateCustomField")(create)
    face.write("UpdateCustomField")(update)
    face.write("DeleteCustomField")(delete)
    return face


def _known(custom: CustomFields, record_type: str, field: str) -> str:
    for_type(custom.tables, record_type, field, "has no custom fields")
    return record_type


async def _field(tx: Transaction, id: str, etag: str, name: str) -> CustomField:
    """The field, locked, as the caller has read it."""
    key = parse_id(id, name)
    found = await tx.find(CustomField, key, lock=False)
    if found is not None:
        # Whoever indexes holds the definitions before the row, too: in this order nobody waits for the other for ever.
        await alone(tx, found.of_type)
        found = await tx.find(CustomField, key)
    if found is None:
        raise NotFound("custom field", key)
    tx.check_etag(found, etag)
    return found


async def _answer(tx: Transaction, field: CustomField) -> pb.CustomField:
    await tx.session.flush()
    return field_message(field)
