"""The gRPC face of value lists: messages of kehu.valuelists.v1 in and out. Any service mounts it in one line.

value_lists_face("kehu.leads.v1.ValueListService", VALUE_LISTS)
"""

from collections.abc import Mapping
from typing import Any

from kehu.valuelists.v1 import value_lists_pb2 as pb

from chassis.database import Transaction
from chassis.errors import Invalid, NotFound
from chassis.ids import parse_id
from chassis.mapping import to_timestamp
from chassis.principal import NOBODY
from chassis.records import etag
from chassis.rpc.call import Call
from chassis.rpc.face import Face
from chassis.value_lists.kinds import ListKind, Offered, one_list
from chassis.value_lists.value_list import ValueLists

_ROWS = (
    "SELECT list_key, accepts_others, items, version, created_at, created_by, updated_at, updated_by"
    " FROM value_lists WHERE deleted_at IS NULL"
)
_WRITABLE = ("values", "accepts_others")


def list_message(kind: ListKind, tenant_id: Any, row: Mapping[str, Any] | None) -> pb.ValueList:
    """A list; `row` is None while it is as it came."""
    known = one_list(kind, row)
    message = pb.ValueList(
        id=str(kind.id_for(tenant_id)), etag=etag(row["version"] if row else 0), key=kind.key,
        name_zh=kind.name_zh, name_en=kind.name_en, accepts_others=known.accepts_others,
        values=[
            pb.ListedValue(
                key=one.key, name_zh=one.name_zh, name_en=one.name_en, retired=one.retired, built_in=one.built_in
            )
            for one in known.values
        ],
    )  # fmt: skip
    if row:
        to_timestamp(message.create_time, row["created_at"])
        to_timestamp(message.update_time, row["updated_at"])
        message.creator_id = "" if row["created_by"] == NOBODY else str(row["created_by"])
        message.updater_id = "" if row["updated_by"] == NOBODY else str(row["updated_by"])
    return message


def value_lists_face(service: str, lists: ValueLists) -> Face:
    """The face of that ValueListService."""
    face = Face(service)

    async def all_of(call: Call) -> list[pb.ValueList]:
        rows = {row["list_key"]: dict(row) for row in await call.database.read(call.who, _ROWS)}
        return [list_message(kind, call.who.tenant_id, rows.get(kind.key)) for kind in lists.kinds]

    async def get(request: pb.GetValueListRequest, call: Call) -> pb.ValueList:
        id = str(parse_id(request.id, "id"))
        found = next((one for one in await all_of(call) if one.id == id), None)
        if found is None:
            raise NotFound("value list", id)
        return found

    async def list_lists(request: pb.ListValueListsRequest, call: Call) -> pb.ListValueListsResponse:
        binding = f"value lists {call.who.tenant_id} {call.who.person_id}".encode()
        first = int(call.page_tokens.open(binding, request.page_token)[0]) if request.page_token else 0
        found = await all_of(call)
        end = first + (request.page_size or len(found))
        token = call.page_tokens.seal(binding, [end]) if end < len(found) else ""
        return pb.ListValueListsResponse(value_lists=found[first:end], next_page_token=token)

    async def update(request: pb.UpdateValueListRequest, tx: Transaction) -> pb.ValueList:
        written = request.value_list
        paths = list(request.update_mask.paths)
        wrong = [path for path in paths if path not in _WRITABLE and path != "*"]
        if wrong:
            raise Invalid(f"updateMask.{wrong[0]}", "cannot be changed here", reason="FIELD_NOT_WRITABLE")
        whole = "*" in paths
        values = [
            Offered(one.key, one.name_zh, one.name_en, one.retired) for one in written.values
        ] if whole or "values" in paths or (not paths and written.values) else None  # fmt: skip
        others = (
            written.accepts_others if whole or "accepts_others" in paths or (not paths and written.accepts_others)
            else None
        )  # fmt: skip
        kind, row = await lists.locked(tx, parse_id(written.id, "valueList.id"), written.etag)
        await lists.change(tx, kind, row, values, others)
        return list_message(kind, tx.who.tenant_id, vars(row) if row in tx.session else None)

    face.read("GetValueList")(get)
    face.read("ListValueLists")(list_lists)
    face.write("UpdateValueList")(update)
    return face
