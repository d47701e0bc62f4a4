"""The five reports over facts that came through the bus: exact, by currency, within reach."""

from collections.abc import Awaitable
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from google.type.date_pb2 import Date
from google.type.money_pb2 import Money
from kehu.analytics.v1 import report_service_pb2 as pb
from kehu.identity.v1 import events_pb2 as identity
from kehu.leads.v1 import events_pb2 as leads
from kehu.leads.v1 import lead_pb2
from kehu.sales.v1 import events_pb2 as sales
from kehu.sales.v1 import opportunity_pb2, order_pb2, pipeline_pb2
from kehu.servicedesk.v1 import events_pb2 as servicedesk
from kehu.servicedesk.v1 import ticket_pb2

from analytics.testing import (
    House,
    boss_of_a_new_tenant,
    cents,
    day,
    lead,
    line,
    opportunity,
    order,
    owned,
    ticket,
)
from chassis.errors import Code, Problem
from chassis.ids import new_id
from chassis.principal import Principal, Reach, Rights
from chassis.testing import somebody

pytestmark = pytest.mark.asyncio(loop_scope="module")

WON = opportunity_pb2.OPPORTUNITY_STATUS_WON
LOST = opportunity_pb2.OPPORTUNITY_STATUS_LOST
OPEN = opportunity_pb2.OPPORTUNITY_STATUS_OPEN


def sums(amounts: Any) -> dict[str, tuple[int, int]]:
    found: list[Money] = list(amounts)
    assert [money.currency_code for money in found] == sorted({money.currency_code for money in found})
    return {money.currency_code: (money.units, money.nanos) for money in found}


async def refused(code: Code, reason: str, field: str, call: Awaitable[Any]) -> None:
    with pytest.raises(Problem) as caught:
        await call
    assert (caught.value.code, caught.value.reason) == (code, reason)
    assert [violation.field for violation in caught.value.violations] == ([field] if field else [])


async def test_leads_by_source_with_what_was_won(house: House) -> None:
    boss = boss_of_a_new_tenant()
    form, fair = lead_pb2.LEAD_SOURCE_WEB_FORM, lead_pb2.LEAD_SOURCE_EXHIBITION
    converted = str(new_id())
    snapshots = {
        converted: lead(lead_pb2.LEAD_STATUS_CONVERTED, form, contacted=True, qualified=True),
        str(new_id()): lead(lead_pb2.LEAD_STATUS_NEW, form),
        str(new_id()): lead(lead_pb2.LEAD_STATUS_DISQUALIFIED, form, contacted=True, qualified=True),
        str(new_id()): lead(lead_pb2.LEAD_STATUS_CONTACTED, fair, contacted=True),
        str(new_id()): lead(lead_pb2.LEAD_STATUS_NEW, lead_pb2.LEAD_SOURCE_UNSPECIFIED),
    }
    for id, snapshot in snapshots.items():
        await house.tell(boss, leads.LeadCreated(lead_id=id, lead=snapshot, **owned(boss.person_id)), id)
    stage = (str(new_id()), "Negotiating", 3)
    for money in (cents(10_05), cents(20_10), cents(7, "USD"), None):
        deal = opportunity(WON, money, stage=stage, lead_id=converted, closed=date(2026, 4, 1))
        id = str(new_id())
        event = sales.OpportunityWon(opportunity_id=id, opportunity=deal, **owned(boss.person_id))
        await house.tell(boss, event, id)
    lost = opportunity(LOST, cents(99_00), stage=stage, lead_id=converted, closed=date(2026, 4, 1))
    id = str(new_id())
    await house.tell(boss, sales.OpportunityLost(opportunity_id=id, opportunity=lost), id)
    await house.caught_up(boss)

    report = await house.ask(boss, "GetLeadsBySource", pb.GetLeadsBySourceRequest(), pb.LeadsBySource)
    assert [row.source for row in report.rows] == [
        "LEAD_SOURCE_WEB_FORM", "LEAD_SOURCE_EXHIBITION", "LEAD_SOURCE_OTHER",
    ]  # fmt: skip
    first = report.rows[0]
    assert (first.lead_count, first.contacted_count, first.qualified_count) == (3, 2, 2)
    assert (first.converted_count, first.disqualified_count, first.open_count) == (1, 1, 1)
    assert first.conversion_percent == "33.33"
    assert first.won_opportunity_count == 4
    assert sums(first.won_amounts) == {"CNY": (30, 150_000_000), "USD": (0, 70_000_000)}
    assert (report.total.lead_count, report.total.source, report.total.conversion_percent) == (5, "", "20.00")
    assert sums(report.total.won_amounts) == sums(first.won_amounts)
    assert report.as_of_time.ToDatetime(tzinfo=UTC) == datetime(2026, 3, 5, 12, tzinfo=UTC)


async def test_leads_by_utm_with_what_was_won(house: House) -> None:
    boss = boss_of_a_new_tenant()
    own, new = lead_pb2.LEAD_SOURCE_UNSPECIFIED, lead_pb2.LEAD_STATUS_NEW
    converted = str(new_id())
    spring: dict[str, Any] = {"utm_source": "baidu", "utm_medium": "cpc", "utm_campaign": "spring"}
    mailed: dict[str, Any] = {**spring, "utm_medium": "email"}
    snapshots = {
        converted: lead(lead_pb2.LEAD_STATUS_CONVERTED, own, contacted=True, source_key="douyin", **spring),
        str(new_id()): lead(new, own, source_key="douyin", **spring),
        str(new_id()): lead(new, source_key="WEB_FORM", **mailed),
        str(new_id()): lead(new, utm_source="weixin"),
        str(new_id()): lead(new),
    }
    for id, snapshot in snapshots.items():
        await house.tell(boss, leads.LeadCreated(lead_id=id, lead=snapshot, **owned(boss.person_id)), id)
    won = opportunity(
        WON, cents(10_05), stage=(str(new_id()), "Won", 1), lead_id=converted, closed=date(2026, 4, 1)
    )
    id = str(new_id())
    await house.tell(
        boss, sales.OpportunityWon(opportunity_id=id, opportunity=won, **owned(boss.person_id)), id
    )
    await house.caught_up(boss)

    async def report(who: Principal = boss, **asked: Any) -> pb.LeadsByUtm:
        return await house.ask(who, "GetLeadsByUtm", pb.GetLeadsByUtmRequest(**asked), pb.LeadsByUtm)

    def shown(found: pb.LeadsByUtm) -> list[tuple[str, str, str, int]]:
        return [(row.utm_source, row.utm_medium, row.utm_campaign, row.lead_count) for row in found.rows]

    whole = await report()
    assert shown(whole) == [
        ("baidu", "cpc", "spring", 2), ("", "", "", 1), ("baidu", "email", "spring", 1), ("weixin", "", "", 1),
    ]  # fmt: skip
    first = whole.rows[0]
    assert (first.converted_count, first.conversion_percent, first.won_opportunity_count) == (1, "50.00", 1)
    assert sums(first.won_amounts) == sums(whole.total.won_amounts) == {"CNY": (10, 50_000_000)}
    assert (whole.total.lead_count, whole.HasField("rest")) == (5, False)
    by_source = await report(by=[pb.UTM_PARAMETER_SOURCE])
    assert shown(by_source) == [("baidu", "", "", 3), ("", "", "", 1), ("weixin", "", "", 1)]
    least = await report(max_rows=1)
    assert shown(least) == [("baidu", "cpc", "spring", 2)]
    assert (least.rest.lead_count, least.rest.won_opportunity_count, least.total.lead_count) == (3, 0, 5)
    assert shown(await report(utm_medium="cpc", by=[pb.UTM_PARAMETER_CAMPAIGN])) == [("", "", "spring", 2)]
    assert shown(await report(first_day=day(date(2030, 1, 1)))) == []
    assert shown(await report(boss_of_a_new_tenant())) == []
    assert shown(await report(somebody(boss.tenant, rights={"reports": Rights(Reach.OWN)}))) == []
    await refused(Code.PERMISSION_DENIED, "RIGHT_MISSING", "", report(somebody(boss.tenant, rights={})))
    for wrong in ([pb.UTM_PARAMETER_UNSPECIFIED], [pb.UTM_PARAMETER_SOURCE] * 2):
        with pytest.raises(Problem) as caught:
            await report(by=wrong)
        assert caught.value.code is Code.INVALID_ARGUMENT

    by = await house.ask(boss, "GetLeadsBySource", pb.GetLeadsBySourceRequest(), pb.LeadsBySource)
    assert [(row.source, row.source_key, row.lead_count) for row in by.rows] == [
        ("LEAD_SOURCE_WEB_FORM", "WEB_FORM", 3), ("douyin", "douyin", 2),
    ]  # fmt: skip


async def test_a_period_is_counted_in_the_time_zone_asked_for_or_the_tenants(house: House) -> None:
    boss = boss_of_a_new_tenant()
    campaign = str(new_id())
    for at in (datetime(2026, 3, 1, 15, 59, tzinfo=UTC), datetime(2026, 3, 1, 16, 0, tzinfo=UTC)):
        id = str(new_id())
        snapshot = lead(lead_pb2.LEAD_STATUS_NEW, at=at, campaign_id=campaign if at.hour == 16 else "")
        await house.tell(boss, leads.LeadCreated(lead_id=id, lead=snapshot), id)
    shanghai = identity.TenantCreated(tenant_id=str(boss.tenant_id), time_zone="Asia/Shanghai")
    await house.tell(boss, shanghai, str(boss.tenant_id))
    await house.caught_up(boss)

    async def count(**asked: Any) -> int:
        request = pb.GetLeadsBySourceRequest(**asked)
        report = await house.ask(boss, "GetLeadsBySource", request, pb.LeadsBySource)
        return report.total.lead_count

    second = day(date(2026, 3, 2))
    assert await count(first_day=second, last_day=second) == 1
    assert await count(first_day=second, time_zone="UTC") == 0
    assert await count(last_day=day(date(2026, 3, 1)), time_zone="UTC") == 2
    assert await count(first_day=day(date(1, 1, 1)), last_day=day(date(9999, 12, 31))) == 2
    assert await count(campaign_id=campaign) == 1
    assert await count(owner_id=str(uuid4())) == 0
    turned = count(first_day=second, last_day=day(date(2026, 3, 1)))
    await refused(Code.INVALID_ARGUMENT, "PERIOD_INVALID", "lastDay", turned)
    no_day = count(first_day=Date(year=2026, month=2, day=30))
    await refused(Code.INVALID_ARGUMENT, "INVALID_FIELD", "firstDay", no_day)
    with pytest.raises(Problem) as caught:
        await count(time_zone="Middle/Earth")
    assert [violation.field for violation in caught.value.violations] == ["timeZone"]


async def test_the_funnel_counts_how_far_opportunities_come(house: House) -> None:
    boss = boss_of_a_new_tenant()
    stages = [(str(new_id()), name, place) for place, name in enumerate(("First", "Second", "Third"), 1)]
    told = [
        opportunity(OPEN, cents(1_01), stage=stages[0], probability=50),
        opportunity(OPEN, cents(1_01), stage=stages[0], probability=50),
        opportunity(OPEN, cents(9, "USD"), stage=stages[1], probability=40),
        opportunity(WON, cents(500_00), stage=stages[2], probability=100, closed=date(2026, 3, 9)),
        opportunity(LOST, cents(70_00), stage=stages[1], closed=date(2026, 3, 9)),
        opportunity(WON, None, stage=stages[0], probability=100, closed=date(2026, 3, 9)),
    ]
    for snapshot in told:
        id = str(new_id())
        await house.tell(boss, sales.OpportunityCreated(opportunity_id=id, opportunity=snapshot), id)
    await house.caught_up(boss)

    async def funnel() -> pb.PipelineFunnel:
        return await house.ask(boss, "GetPipelineFunnel", pb.GetPipelineFunnelRequest(), pb.PipelineFunnel)

    report = await funnel()
    assert [(row.stage_name, row.position) for row in report.rows] == [
        ("First", 1), ("Second", 2), ("Third", 3),
    ]  # fmt: skip
    assert [row.open_count for row in report.rows] == [2, 1, 0]
    assert [row.reached_count for row in report.rows] == [6, 4, 2]
    assert [row.reached_percent for row in report.rows] == ["100.00", "66.67", "33.33"]
    assert [row.lost_count for row in report.rows] == [0, 1, 0]
    assert sums(report.rows[0].open_amounts) == {"CNY": (2, 20_000_000)}
    assert sums(report.rows[0].weighted_amounts) == {"CNY": (1, 20_000_000)}  # 0.505 each, rounded half up
    assert sums(report.rows[1].weighted_amounts) == {"USD": (0, 40_000_000)}
    total = report.total
    assert (total.opportunity_count, total.open_count, total.won_count, total.lost_count) == (6, 3, 2, 1)
    assert (total.win_percent, sums(total.lost_amounts)) == ("66.67", {"CNY": (70, 0)})
    assert sums(total.open_amounts) == {"CNY": (2, 20_000_000), "USD": (0, 90_000_000)}

    # The pipeline's own word is newer than what the opportunities say of it.
    turned = [pipeline_pb2.Stage(id=stages[place][0], name=stages[place][1]) for place in (1, 0, 2)]
    turned.append(pipeline_pb2.Stage(id=str(new_id()), name="Fourth"))
    pipeline = str(new_id())
    await house.tell(boss, sales.PipelineUpdated(pipeline_id=pipeline, stages=turned), pipeline, 2)
    await house.caught_up(boss)
    report = await funnel()
    assert [row.stage_name for row in report.rows] == ["Second", "First", "Third", "Fourth"]
    assert [row.reached_count for row in report.rows] == [6, 4, 2, 2]


async def test_sales_by_person_and_month(house: House) -> None:
    boss = boss_of_a_new_tenant()
    ann, bob, team = new_id(), new_id(), new_id()
    await house.tell(
        boss, identity.TeamCreated(team_id=str(team), team=identity.TeamSnapshot(name="North")), str(team)
    )
    for person, name in ((ann, "Ann"), (bob, "Bob")):
        snapshot = identity.PersonSnapshot(display_name=name, team_id=str(team) if person == ann else "")
        event = identity.PersonCreated(person_id=str(person), person=snapshot)
        await house.tell(boss, event, str(person))
    stage = (str(new_id()), "Third", 3)
    for person, status, minor, on in (
        (ann, WON, 100_01, date(2026, 3, 31)),
        (ann, WON, 200_02, date(2026, 4, 1)),
        (bob, WON, 1, date(2026, 3, 1)),
        (bob, LOST, 5_00, date(2026, 3, 2)),
        (bob, OPEN, 5_00, None),
    ):
        id, snapshot = str(new_id()), opportunity(status, cents(minor), stage=stage, closed=on)
        event = sales.OpportunityUpdated(opportunity_id=id, opportunity=snapshot, **owned(person))
        await house.tell(boss, event, id)
    product = str(new_id())
    for status, currency in (
        (order_pb2.ORDER_STATUS_PLACED, "CNY"),
        (order_pb2.ORDER_STATUS_DELIVERED, "JPY"),
        (order_pb2.ORDER_STATUS_PARTLY_DELIVERED, "CNY"),
        (order_pb2.ORDER_STATUS_DRAFT, "CNY"),
        (order_pb2.ORDER_STATUS_CANCELLED, "CNY"),
    ):
        bought = order(status, [line(product, "Pump", "1", 10_99, 1_43, currency)], currency=currency)
        id = str(new_id())
        await house.tell(boss, sales.OrderUpdated(order_id=id, order=bought, **owned(ann)), id)
    await house.caught_up(boss)

    async def report(**asked: Any) -> pb.SalesByPersonAndMonth:
        request = pb.GetSalesByPersonAndMonthRequest(**asked)
        return await house.ask(boss, "GetSalesByPersonAndMonth", request, pb.SalesByPersonAndMonth)

    found = await report()
    assert [(row.month.month, row.month.day, row.person_name) for row in found.rows] == [
        (3, 1, "Ann"), (3, 1, "Bob"), (4, 1, "Ann"),
    ]  # fmt: skip
    march = found.rows[0]
    assert (march.person_id, march.team_id, march.team_name) == (str(ann), str(team), "North")
    assert (march.won_count, march.order_count) == (1, 3)
    assert sums(march.won_amounts) == {"CNY": (100, 10_000_000)}
    assert sums(march.order_subtotals) == {"CNY": (21, 980_000_000), "JPY": (1099, 0)}
    assert sums(march.order_totals) == {"CNY": (24, 840_000_000), "JPY": (1242, 0)}
    assert (found.rows[1].won_count, found.rows[1].lost_count) == (1, 1)
    assert (found.total.won_count, found.total.lost_count, found.total.order_count) == (3, 1, 3)
    assert sums(found.total.won_amounts) == {"CNY": (300, 40_000_000)}
    only = await report(first_day=day(date(2026, 4, 1)), owner_id=str(ann))
    assert [row.person_name for row in only.rows] == ["Ann"]
    assert (only.total.won_count, only.total.order_count) == (1, 0)


async def test_orders_by_product(house: House) -> None:
    boss = boss_of_a_new_tenant()
    pump, valve, customer = str(new_id()), str(new_id()), str(new_id())
    placed = order_pb2.ORDER_STATUS_PLACED
    told = [
        order(
            placed,
            [line(pump, "Pump", "1.5", 15_01, 1_95, delivered="0.5"), line(pump, "Pump", "1", 10_00, 1_30)],
            customer_id=customer,
        ),
        order(placed, [line(pump, "Pump old", "2", 7_00, 0, "USD")], currency="USD", on=date(2026, 1, 5)),
        order(placed, [line(valve, "Valve", "10", 90_00, 11_70)]),
        order(order_pb2.ORDER_STATUS_CANCELLED, [line(valve, "Valve", "999", 90_00, 11_70)]),
    ]
    for snapshot in told:
        id = str(new_id())
        await house.tell(boss, sales.OrderPlaced(order_id=id, order=snapshot), id)
    await house.tell(
        boss,
        sales.ProductUpdated(product_id=valve, product=sales.ProductSnapshot(name="A valve", sku="V-1")),
        valve,
        2,
    )
    await house.caught_up(boss)

    async def report(**asked: Any) -> pb.OrdersByProduct:
        return await house.ask(
            boss, "GetOrdersByProduct", pb.GetOrdersByProductRequest(**asked), pb.OrdersByProduct
        )

    found = await report()
    assert [(row.product_id, row.product_name, row.product_sku) for row in found.rows] == [
        (valve, "A valve", "V-1"), (pump, "Pump", "SKU Pump"),
    ]  # fmt: skip
    row = found.rows[1]
    assert (row.order_count, row.quantity, row.delivered_quantity) == (2, "4.5", "0.5")
    assert sums(row.amounts) == {"CNY": (25, 10_000_000), "USD": (7, 0)}
    assert sums(row.taxes) == {"CNY": (3, 250_000_000), "USD": (0, 0)}
    total = found.total
    assert (total.order_count, total.quantity, total.product_name) == (3, "", "")
    assert sums(total.amounts) == {"CNY": (115, 10_000_000), "USD": (7, 0)}
    only = await report(customer_id=customer, first_day=day(date(2026, 3, 1)))
    assert [row.quantity for row in only.rows] == ["2.5"]
    assert only.total.order_count == 1


async def test_tickets_by_status_and_age(house: House) -> None:
    boss = boss_of_a_new_tenant()
    now = datetime.now(UTC)
    hour = timedelta(hours=1)
    resolved, closed = ticket_pb2.TICKET_STATUS_RESOLVED, ticket_pb2.TICKET_STATUS_CLOSED
    new, urgent = ticket_pb2.TICKET_STATUS_NEW, ticket_pb2.TICKET_PRIORITY_URGENT
    begun = now - 100 * 24 * hour
    told = [
        ticket(new, now - hour),
        ticket(new, now - 25 * hour, priority=urgent),
        ticket(new, begun, responded=begun + hour),
        ticket(resolved, begun, responded=begun + 2 * hour, resolved=begun + 24 * hour),
        ticket(closed, begun, closed=begun + 2 * hour),
    ]
    for snapshot in told:
        id = str(new_id())
        await house.tell(boss, servicedesk.TicketUpdated(ticket_id=id, ticket=snapshot), id)
    await house.caught_up(boss)

    async def report(priority: str = "") -> pb.TicketsByStatusAndAge:
        request = pb.GetTicketsByStatusAndAgeRequest(priority=priority)
        return await house.ask(boss, "GetTicketsByStatusAndAge", request, pb.TicketsByStatusAndAge)

    found = await report()
    assert [(row.status, row.age, row.ticket_count) for row in found.rows] == [
        ("TICKET_STATUS_NEW", pb.AGE_BUCKET_UNDER_1_DAY, 1),
        ("TICKET_STATUS_NEW", pb.AGE_BUCKET_1_TO_3_DAYS, 1),
        ("TICKET_STATUS_NEW", pb.AGE_BUCKET_OVER_30_DAYS, 1),
        ("TICKET_STATUS_RESOLVED", pb.AGE_BUCKET_1_TO_3_DAYS, 1),
        ("TICKET_STATUS_CLOSED", pb.AGE_BUCKET_UNDER_1_DAY, 1),
    ]
    total = found.total
    assert (total.ticket_count, total.unresolved_count, total.resolved_count) == (5, 3, 2)
    assert (total.responded_count, total.average_first_response_seconds) == (2, 5400)
    assert total.average_resolve_seconds == 13 * 3600
    assert (await report("TICKET_PRIORITY_URGENT")).total.ticket_count == 1
    for wrong in ("URGENT", "TICKET_PRIORITY_UNSPECIFIED"):
        await refused(Code.INVALID_ARGUMENT, "INVALID_FIELD", "priority", report(wrong))


async def test_a_report_counts_what_its_reader_reaches(house: House) -> None:
    boss = boss_of_a_new_tenant()
    north, south = new_id(), new_id()

    def reader(reach: Reach) -> Principal:
        return somebody(boss.tenant, rights={"reports": Rights(reach)}, team=north)

    own, team, everyone = reader(Reach.OWN), reader(Reach.TEAM), reader(Reach.ALL)
    converted = lead(lead_pb2.LEAD_STATUS_CONVERTED, contacted=True)
    stage = (str(new_id()), "Third", 3)
    for person, its_team in ((own.person_id, north), (new_id(), north), (new_id(), south)):
        id, deal = str(new_id()), str(new_id())
        owner = owned(person, its_team)
        await house.tell(boss, leads.LeadUpdated(lead_id=id, lead=converted, **owner), id)
        won = opportunity(WON, cents(1_00), stage=stage, lead_id=id, closed=date(2026, 3, 1))
        await house.tell(boss, sales.OpportunityWon(opportunity_id=deal, opportunity=won, **owner), deal)
    await house.caught_up(boss)

    async def counted(who: Principal, **asked: Any) -> tuple[int, dict[str, tuple[int, int]]]:
        request = pb.GetLeadsBySourceRequest(**asked)
        report = await house.ask(who, "GetLeadsBySource", request, pb.LeadsBySource)
        return report.total.lead_count, sums(report.total.won_amounts)

    assert await counted(own) == (1, {"CNY": (1, 0)})
    assert await counted(team) == (2, {"CNY": (2, 0)})
    assert await counted(everyone) == (3, {"CNY": (3, 0)})
    assert await counted(everyone, team_id=str(south)) == (1, {"CNY": (1, 0)})
    assert await counted(team, team_id=str(south)) == (0, {})
    assert await counted(team, owner_id=str(own.person_id)) == (1, {"CNY": (1, 0)})
    assert await counted(boss_of_a_new_tenant()) == (0, {})
    nobody = somebody(boss.tenant, rights={"leads": Rights(Reach.ALL)})
    await refused(Code.PERMISSION_DENIED, "RIGHT_MISSING", "", counted(nobody))


async def test_freshness_says_how_far_each_domain_is(house: House) -> None:
    boss = boss_of_a_new_tenant()
    at = datetime(2026, 5, 1, 8, 30, 15, 123456, tzinfo=UTC)
    id = str(new_id())
    event = leads.LeadCreated(lead_id=id, lead=lead(lead_pb2.LEAD_STATUS_NEW))
    await house.tell(boss, event, id, at=at)
    await house.tell(boss, event, id, at=at - timedelta(days=1))
    freshness = await house.caught_up(boss)
    assert [line.domain for line in freshness.domains] == ["identity", "leads", "sales", "servicedesk"]
    assert all(line.known and not line.pending_count for line in freshness.domains)
    found = {line.domain: line for line in freshness.domains}
    assert found["leads"].last_event_time.ToDatetime(tzinfo=UTC) == at
    assert not found["sales"].HasField("last_event_time")
