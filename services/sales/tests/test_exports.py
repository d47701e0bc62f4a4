"""Opportunities, products, orders and activities as files."""

import csv
import io
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.date_pb2 import Date
from google.type.money_pb2 import Money
from kehu.exports.v1 import exports_pb2 as pb
from kehu.sales.v1 import activity_pb2, activity_service_pb2, order_pb2

from chassis.errors import Code, Problem
from chassis.principal import Principal, Reach, Rights
from chassis.testing import somebody

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def table(sales: Any, kind: str, who: Principal | None = None, **asked: Any) -> list[list[str]]:
    said: dict[str, Any] = {"language_code": "en", "time_zone": "Asia/Shanghai", **asked}
    request = pb.CreateExportRequest(record_type=kind, format=pb.EXPORT_FORMAT_CSV, **said)
    method = "kehu.sales.v1.ExportService/CreateExport"
    parts = await sales.harness.parts(who or sales.boss, method, request, pb.ExportPart)
    text = b"".join(part.content for part in parts).decode("utf-8-sig")
    return list(csv.reader(io.StringIO(text, newline="")))


async def test_what_is_sold_and_to_whom(sales: Any) -> None:
    cost = Money(currency_code="CNY", units=700, nanos=500_000_000)
    product = await sales.product("GTX", 1200, sku="A-1", series="G", standard_cost=cost)
    deal = {
        "amount": Money(currency_code="CNY", units=7),
        "expected_close_date": Date(year=2030, month=1, day=2),
    }
    await sales.opportunity("Big deal", **deal)
    line = order_pb2.OrderLine(product_id=product.id, quantity="2")
    await sales.order(line, order_date=Date(year=2024, month=5, day=1))
    fields: dict[str, Any] = {"headers": pb.EXPORT_HEADERS_FIELDS}

    assert (await table(sales, "product", **fields))[1] == [
        "GTX", "A-1", "G", "", "1200 CNY", "700.5 CNY", "13", "",
    ]  # fmt: skip
    head, row = await table(
        sales, "opportunity", columns=["name", "customer", "stage", "amount", "expectedCloseDate"], **fields
    )
    assert head == ["name", "customer", "stage", "amount", "expectedCloseDate"]
    assert row[:2] + row[3:] == ["Big deal", "华为", "7 CNY", "2030-01-02"] and row[2]
    columns = ["customer", "orderDate", "status", "subtotal", "total", "margin"]
    assert await table(sales, "order", columns=columns, language_code="zh-CN") == [
        [
            "客户",
            "下单日期",
            "状态",
            "未税金额",
            "未税金额 (币种)",
            "总金额",
            "总金额 (币种)",
            "毛利",
            "毛利 (币种)",
        ],
        ["华为", "2024-05-01", "已下单", "2400.00", "CNY", "2712.00", "CNY", "999.00", "CNY"],
    ]
    whole = await table(sales, "order")
    assert len(whole[0]) == len(whole[1]) == 27  # six amounts have their currency beside them
    sums = dict(zip(*whole, strict=True))
    rests_on = [sums[name] for name in ("Subtotal of known cost", "Known cost", "Margin")]
    assert rests_on == ["2400.00", "1401.00", "999.00"]
    rival = sales.names.competitor("Rival")
    await sales.opportunity("Contested", competitor_ids=[rival, sales.names.competitor("Other")])
    columns = ["name", "competitors", "lostTo"]
    assert ["Contested", "Rival, Other", ""] in await table(sales, "opportunity", columns=columns)


async def test_what_is_planned_and_done_with_the_names_that_may_be_seen(sales: Any) -> None:
    mine = somebody(sales.boss.tenant, rights={
        "opportunities": Rights(Reach.OWN, Reach.OWN), "exports": Rights(Reach.ALL, Reach.ALL),
    })  # fmt: skip
    deal = await sales.opportunity("Told to the boss")
    for who, name in ((sales.boss, "=visit"), (mine, "call")):
        of_deal = {"opportunity_id": deal.id} if who is sales.boss else {}
        doing = activity_pb2.Activity(
            subject=name, kind=activity_pb2.ACTIVITY_KIND_VISIT, duration_minutes=30, **of_deal,
            due_time=Timestamp(seconds=1_900_000_000),
        )  # fmt: skip
        request = activity_service_pb2.CreateActivityRequest(activity=doing)
        await sales.ask("ActivityService/CreateActivity", request, activity_pb2.Activity, who)
    columns = ["subject", "kind", "status", "dueTime", "customer", "opportunity"]
    asked: dict[str, Any] = {"columns": columns, "order_by": "subject"}
    assert (await table(sales, "activity", **asked))[1:] == [
        ["'=visit", "Visit", "Planned", "2030-03-18 01:46:40", "华为", "Told to the boss"],
        ["call", "Visit", "Planned", "2030-03-18 01:46:40", "", ""],
    ]
    assert [row[0] for row in (await table(sales, "activity", mine, **asked))[1:]] == ["call"]
    assert len(await table(sales, "activity", filter="kind = CALL", **asked)) == 1
    assert (await table(sales, "activity", filter='subject = "call"', columns=["subject"], language_code="zh")) == [
        ["主题"], ["call"],
    ]  # fmt: skip


async def test_each_kind_of_record_under_its_own_right(sales: Any) -> None:
    everything = Rights(Reach.ALL, Reach.ALL)
    seller = somebody(rights={"opportunities": everything, "exports": everything})
    await sales.opportunity("Somebody's", who=None, customer_id=sales.customer_id)
    assert len(await table(sales, "opportunity", seller, columns=["name"])) > 1
    for kind in ("order", "product"):
        with pytest.raises(Problem) as refused:
            await table(sales, kind, seller)
        assert refused.value.code is Code.PERMISSION_DENIED
