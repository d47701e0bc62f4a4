"""TrashService."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from kehu.customers.v1 import trash_pb2 as pb
from kehu.customers.v1 import trash_service_pb2 as service_pb

from chassis.database import Transaction
from chassis.ids import parse_id
from chassis.mapping import Mapping, to_timestamp
from chassis.principal import NOBODY, Act
from chassis.records import etag
from chassis.rpc import Call, Face
from chassis.visibility import visible_text
from customers.rpc.messages import rule_message, rule_now
from customers.rpc.pages import page_of
from customers.trash import TrashItem, TrashRule, keep_for, restore, rule_id, trash_rule

face = Face("kehu.customers.v1.TrashService")
TRASH_RULE = Mapping(pb.TrashRule)
# The first place counts from the end of days, and $1 is nobody's id: the page is of the whole trash.
_PAGE = (
    "SELECT t.*, r.keep_days FROM trash t LEFT JOIN trash_rules r ON true WHERE t.deleted_at IS NULL AND $1::uuid IS NOT NULL"
    " AND (t.created_at, t.id) < (coalesce($2::timestamptz, 'infinity'), $3::uuid) AND {rule}"
    " ORDER BY t.created_at DESC, t.id DESC LIMIT $4"
)
_RULE = "SELECT * FROM trash_rules WHERE id = $1"


def _item(row: Any, keep_days: int | None) -> pb.TrashItem:
    read: Any = row.__getitem__ if hasattr(row, "keys") else row.__getattribute__
    deleter: UUID = read("created_by")
    item = pb.TrashItem(
        id=str(read("id")), kind=pb.TrashKind.Value(f"TRASH_KIND_{read('kind')}"), display_name=read("display_name"),
        owner_id=str(read("owner_id") or ""), team_id=str(read("team_id") or ""),
        etag=etag(read("version")), deleter_id="" if deleter == NOBODY else str(deleter),
    )  # fmt: skip
    to_timestamp(item.delete_time, read("created_at"))
    if keep_days:
        to_timestamp(item.purge_time, read("created_at") + timedelta(days=keep_days))
    return item


def _place(row: Any) -> list[Any]:
    return [row["created_at"].isoformat(), str(row["id"])]


def _read(place: list[Any]) -> list[Any]:
    return [datetime.fromisoformat(place[0]), UUID(place[1])]


@face.read("ListTrash")
async def list_trash(request: service_pb.ListTrashRequest, call: Call) -> service_pb.ListTrashResponse:
    rule, values = visible_text(call.who, "customers", Act.WRITE, "owner_id", "team_id", first=5)
    rows, token = await page_of(
        call, request, NOBODY, _PAGE.replace("{rule}", rule), [None, UUID(int=0)], _place, _read, values
    )
    return service_pb.ListTrashResponse(
        items=[_item(row, row["keep_days"]) for row in rows], next_page_token=token
    )


@face.write("RestoreTrashItem")
async def restore_item(request: service_pb.RestoreTrashItemRequest, tx: Transaction) -> pb.TrashItem:
    item: TrashItem = await restore(tx, parse_id(request.id, "id"), request.etag)
    return _item(item, None)


@face.read("GetTrashRule")
async def get_rule(request: service_pb.GetTrashRuleRequest, call: Call) -> pb.TrashRule:
    return await rule_now(call, TRASH_RULE, _RULE, TrashRule(id=rule_id(call.who.tenant_id)))


@face.write("UpdateTrashRule")
async def update_rule(request: service_pb.UpdateTrashRuleRequest, tx: Transaction) -> pb.TrashRule:
    rule = await trash_rule(tx)
    tx.check_etag(rule, request.rule.etag)
    values = TRASH_RULE.values(request.rule, request.update_mask)
    if "keep_days" in values:
        await keep_for(tx, rule, values["keep_days"])
    await tx.session.flush()
    return rule_message(TRASH_RULE, rule)
