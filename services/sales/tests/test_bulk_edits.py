"""Many opportunities or products changed at once, each kind under its own right."""

from dataclasses import replace
from typing import Any

import pytest
from google.protobuf.struct_pb2 import Value
from kehu.bulkedits.v1 import bulk_edits_pb2 as pb
from kehu.sales.v1 import opportunity_pb2 as opp
from kehu.sales.v1 import opportunity_service_pb2 as opps
from kehu.sales.v1 import product_pb2, product_service_pb2

from chassis.errors import Code
from chassis.ids import new_id
from chassis.principal import Reach, Rights
from chassis.testing import eventually
from chassis.wire import from_dict

pytestmark = pytest.mark.asyncio(loop_scope="module")
EDITS = "BulkEditService/"


def wanted(record_type: str, values: dict[str, Any], **chosen: Any) -> pb.CreateBulkEditRequest:
    request = pb.CreateBulkEditRequest(record_type=record_type, **chosen)
    request.change.values.CopyFrom(from_dict(Value, values))
    return request


async def until(sales: Any, id: str, state: int) -> pb.BulkEdit:
    async def stands() -> bool:
        asked = pb.GetBulkEditRequest(id=id)
        return (await sales.ask(EDITS + "GetBulkEdit", asked, pb.BulkEdit)).state == state

    await eventually(stands, 60)
    return await sales.ask(EDITS + "GetBulkEdit", pb.GetBulkEditRequest(id=id), pb.BulkEdit)


async def test_opportunities_are_edited_and_put_back(sales: Any) -> None:
    made = [await sales.opportunity(f"Bulk {n}", probability=20) for n in range(3)]
    closed = await sales.opportunity("Won", probability=20)
    await sales.ask(
        "OpportunityService/WinOpportunity", opps.WinOpportunityRequest(id=closed.id), opp.Opportunity
    )
    ids = [*(one.id for one in made), closed.id]
    values = {
        "amount": {"currencyCode": "CNY", "units": "1200"},
        "expectedCloseDate": {"year": 2027, "month": 1, "day": 2},
    }
    begun = await sales.ask(EDITS + "CreateBulkEdit", wanted("opportunity", values, ids=ids), pb.BulkEdit)
    done = await until(sales, begun.id, pb.BULK_EDIT_STATE_SUCCEEDED)
    assert (done.changed_records, done.refused_records) == (3, 1)
    for one in made:
        found = await sales.opportunity_now(one.id)
        assert (found.amount.units, found.expected_close_date.year) == (1200, 2027)
    await sales.ask(EDITS + "UndoBulkEdit", pb.UndoBulkEditRequest(id=done.id), pb.BulkEdit)
    back = await until(sales, done.id, pb.BULK_EDIT_STATE_UNDONE)
    assert (back.undone_records, back.kept_records) == (3, 0)
    for one in made:
        found = await sales.opportunity_now(one.id)
        assert (found.amount, found.expected_close_date) == (one.amount, one.expected_close_date)
    for field in ({"customerId": str(new_id())}, {"stageId": str(new_id())}):
        await sales.refused(
            Code.INVALID_ARGUMENT, "FIELD_NOT_WRITABLE", EDITS + "CreateBulkEdit",
            wanted("opportunity", field, ids=ids), pb.BulkEdit,
        )  # fmt: skip


async def test_products_are_edited_by_those_who_may(sales: Any) -> None:
    products = [await sales.product(f"Bulk pump {n}", 10, series="A") for n in range(3)]
    ids = [one.id for one in products]
    reader = replace(sales.boss, person_id=new_id(), rights={"products": Rights(Reach.ALL, Reach.NONE)})
    cost = {"currencyCode": "CNY", "units": "4"}
    request = wanted("product", {"series": "B", "standardCost": cost}, ids=ids)
    await sales.refused(
        Code.PERMISSION_DENIED, "RIGHT_MISSING", EDITS + "CreateBulkEdit", request, pb.BulkEdit, reader
    )
    looked = pb.PreviewBulkEditRequest(record_type="product", ids=ids, change=request.change)
    shown = await sales.ask(EDITS + "PreviewBulkEdit", looked, pb.PreviewBulkEditResponse, reader)
    assert (shown.count, {one.reason for one in shown.records}) == (3, {"RECORD_READ_ONLY"})
    begun = await sales.ask(EDITS + "CreateBulkEdit", request, pb.BulkEdit)
    await until(sales, begun.id, pb.BULK_EDIT_STATE_SUCCEEDED)
    for id in ids:
        found = await sales.ask(
            "ProductService/GetProduct", product_service_pb2.GetProductRequest(id=id), product_pb2.Product
        )
        assert (found.series, found.standard_cost.units) == ("B", 4)
    for closed in ("competitorIds", "lostToCompetitorId"):
        bidding = wanted("opportunity", {closed: str(new_id())}, ids=[str(new_id())])
        await sales.refused(
            Code.INVALID_ARGUMENT, "FIELD_NOT_WRITABLE", EDITS + "CreateBulkEdit", bidding, pb.BulkEdit
        )
    tags = wanted("product", {}, ids=ids)
    tags.change.add_tags.append("x")
    await sales.refused(
        Code.INVALID_ARGUMENT, "FIELD_NOT_WRITABLE", EDITS + "CreateBulkEdit", tags, pb.BulkEdit
    )
    await sales.refused(
        Code.INVALID_ARGUMENT, "RECORD_TYPE_UNKNOWN", EDITS + "CreateBulkEdit", wanted("order", {"notes": "x"}, ids=ids),
        pb.BulkEdit,
    )  # fmt: skip
