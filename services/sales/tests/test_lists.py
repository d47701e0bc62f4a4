"""The lists of sales: every field that contracts promise filters and orders, words find, pages neither lose nor repeat; and the
sums of the 360° view."""

from dataclasses import replace
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.date_pb2 import Date
from google.type.money_pb2 import Money
from kehu.sales.v1 import (
    activity_pb2,
    activity_service_pb2,
    order_pb2,
    order_service_pb2,
    product_service_pb2,
)
from kehu.sales.v1 import customer_facet_pb2 as facets
from kehu.sales.v1 import opportunity_pb2 as opp
from kehu.sales.v1 import opportunity_service_pb2 as opps

from chassis.errors import Code
from chassis.ids import new_id
from chassis.principal import Reach, Rights
from chassis.testing import EVERYTHING, somebody

pytestmark = pytest.mark.asyncio(loop_scope="module")
LISTS: dict[str, Any] = {
    "opportunities": opps, "activities": activity_service_pb2, "orders": order_service_pb2, "products": product_service_pb2,
}  # fmt: skip
SERVICES = {
    "opportunities": "OpportunityService", "activities": "ActivityService", "orders": "OrderService",
    "products": "ProductService",
}  # fmt: skip


async def listed(sales: Any, plural: str, *, size: int = 2, **asked: Any) -> list[Any]:
    """All pages, two rows each."""
    name = plural.capitalize()
    request = getattr(LISTS[plural], f"List{name}Request")(page_size=size, **asked)
    found: list[Any] = []
    while True:
        page = await sales.ask(
            f"{SERVICES[plural]}/List{name}", request, getattr(LISTS[plural], f"List{name}Response")
        )
        rows = list(getattr(page, plural))
        assert len(rows) <= size
        found += rows
        if not page.next_page_token:
            assert len({one.id for one in found}) == len(found)
            return found
        request.page_token = page.next_page_token


async def names(sales: Any, plural: str, **asked: Any) -> list[str]:
    field = {"activities": "subject", "orders": "external_key"}.get(plural, "name")
    return [getattr(one, field) for one in await listed(sales, plural, **asked)]


async def test_opportunities(sales: Any) -> None:
    item = await sales.product("Listed thing", 1)
    tenth = sales.names.customer("第十机床厂")
    ids: dict[str, Any] = {name: str(new_id()) for name in ("contact_id", "campaign_id", "origin_lead_id")}
    full = await sales.opportunity(
        "Full", customer_id=tenth, product_id=item.id, external_key="X-1", probability=55,
        amount=Money(currency_code="CNY", units=300, nanos=500_000_000), engage_date=Date(year=2026, month=1, day=2),
        expected_close_date=Date(year=2026, month=5, day=1), **ids,
    )  # fmt: skip
    for number in range(1, 4):
        await sales.opportunity(
            f"Deal {number}", customer_id=tenth, probability=number, amount=Money(currency_code="CNY", units=number * 100)
        )  # fmt: skip
    won = await sales.opportunity("Won", customer_id=tenth)
    await sales.ask(
        "OpportunityService/WinOpportunity", opps.WinOpportunityRequest(id=won.id), opp.Opportunity
    )
    lost = await sales.opportunity("Lost", customer_id=tenth)
    lose = opps.LoseOpportunityRequest(id=lost.id, reason=opp.LOSS_REASON_PRICE)
    await sales.ask("OpportunityService/LoseOpportunity", lose, opp.Opportunity)
    mine = f'customerId = "{tenth}" AND '
    for text, expected in (
        ('status = "OPPORTUNITY_STATUS_WON"', ["Won"]),
        ('lossReason = "LOSS_REASON_PRICE"', ["Lost"]),
        (f'contactId = "{ids["contact_id"]}" AND productId = "{item.id}"', ["Full"]),
        (f'campaignId = "{ids["campaign_id"]}" AND originLeadId = "{ids["origin_lead_id"]}"', ["Full"]),
        ('externalKey = "X-1"', ["Full"]),
        ("amount > 300", ["Full"]),
        ("amount >= 200 AND amount <= 300", ["Deal 3", "Deal 2"]),
        ("probability < 3 AND probability > 0", ["Deal 2", "Deal 1"]),
        ('engageDate < "2026-02-01"', ["Full"]),
        ('expectedCloseDate = "2026-05-01"', ["Full"]),
        ('closeDate > "2026-01-01" AND NOT name = "Won"', ["Lost"]),
        (f'stageId = "{full.stage_id}" AND (name = "Won" OR name = "Deal 1")', ["Won", "Deal 1"]),
        (f'ownerId = "{sales.boss.person_id}" AND createTime > "2020-01-01T00:00:00Z" AND name = "Full"', ["Full"]),
        ('updateTime < "2020-01-01T00:00:00Z"', []),
    ):  # fmt: skip
        assert await names(sales, "opportunities", filter=mine + f"({text})") == expected, text
    own = f'customerId = "{tenth}" AND status = "OPPORTUNITY_STATUS_OPEN"'
    for field, expected in (
        ("amount", ["Deal 1", "Deal 2", "Deal 3", "Full"]), ("probability desc", ["Full", "Deal 3", "Deal 2", "Deal 1"]),
        ("name", ["Deal 1", "Deal 2", "Deal 3", "Full"]), ("createTime", ["Full", "Deal 1", "Deal 2", "Deal 3"]),
        ("", ["Deal 3", "Deal 2", "Deal 1", "Full"]),
    ):  # fmt: skip
        assert await names(sales, "opportunities", filter=own, order_by=field) == expected, field
    for field in ("updateTime", "engageDate", "expectedCloseDate", "closeDate"):
        for way in ("", " desc"):
            assert len(await names(sales, "opportunities", filter=own, order_by=field + way)) == 4, field
    assert sorted(await names(sales, "opportunities", query="djcc")) == []
    assert "Full" in await names(sales, "opportunities", query="full 机床")
    assert await names(sales, "opportunities", query="full dsjcc") == ["Full"]


async def test_activities(sales: Any) -> None:
    lead = str(new_id())
    deal = await sales.opportunity("Of activities")
    made = activity_pb2.Activity()
    for number in range(5):
        request = activity_service_pb2.CreateActivityRequest(
            activity=activity_pb2.Activity(
                kind=activity_pb2.ACTIVITY_KIND_VISIT if number % 2 else activity_pb2.ACTIVITY_KIND_CALL,
                subject=f"回访 {number}", due_time=Timestamp(seconds=1_900_000_000 + number), lead_id=lead,
                opportunity_id=deal.id if number == 4 else "",
            )
        )  # fmt: skip
        made = await sales.ask("ActivityService/CreateActivity", request, activity_pb2.Activity)
    done = activity_service_pb2.CompleteActivityRequest(id=made.id, result="ok")
    await sales.ask("ActivityService/CompleteActivity", done, activity_pb2.Activity)
    mine = f'leadId = "{lead}"'
    assert await names(sales, "activities", filter=mine) == [f"回访 {number}" for number in range(5)]
    assert await names(sales, "activities", filter=mine + ' AND kind = "ACTIVITY_KIND_VISIT"') == [
        "回访 1",
        "回访 3",
    ]
    for text in (
        'status = "ACTIVITY_STATUS_COMPLETED"', f'opportunityId = "{deal.id}"', f'customerId = "{sales.customer_id}"',
        'completeTime > "2020-01-01T00:00:00Z"', 'dueTime >= "2030-03-17T17:46:44Z"',
    ):  # fmt: skip
        assert await names(sales, "activities", filter=f"{mine} AND {text}") == ["回访 4"], text
    for field in ("dueTime", "subject", "createTime"):
        down = await names(sales, "activities", filter=mine, order_by=field + " desc")
        assert down == [f"回访 {number}" for number in reversed(range(5))]
    for field in ("completeTime", "updateTime"):
        assert len(await names(sales, "activities", filter=mine, order_by=field + ",subject")) == 5
    assert await names(sales, "activities", query="hf 3", filter=mine) == ["回访 3"]
    assert await names(sales, "activities", query="回访 华为", filter=mine) == ["回访 4"]


async def test_orders(sales: Any) -> None:
    item = await sales.product("Ordered", 100, tax="0")
    buyer = sales.names.customer("买家公司")
    for number in range(1, 5):
        await sales.order(
            order_pb2.OrderLine(product_id=item.id, quantity=str(number)), customer_id=buyer, external_key=f"E-{number}",
            order_date=Date(year=2026, month=number, day=1), place=number > 1,
        )  # fmt: skip
    mine = f'customerId = "{buyer}"'
    every = [f"E-{number}" for number in range(1, 5)]
    assert await names(sales, "orders", filter=mine) == every[::-1]
    for text, expected in (
        ('status = "ORDER_STATUS_DRAFT"', every[:1]), ("total > 300", every[3:]), ('currencyCode = "CNY"', every[::-1]),
        ('orderDate < "2026-03-01"', every[1::-1]), ('placeTime > "2020-01-01T00:00:00Z"', every[:0:-1]),
        ('externalKey = "E-2"', every[1:2]),
    ):  # fmt: skip
        assert await names(sales, "orders", filter=f"{mine} AND {text}") == expected, text
    for field in ("orderDate", "number", "total", "createTime"):
        assert await names(sales, "orders", filter=mine, order_by=field) == every, field
    for field in ("placeTime", "updateTime"):
        assert len(await names(sales, "orders", filter=mine, order_by=field + " desc")) == 4
    [third] = await listed(sales, "orders", filter=mine, query="e-3")
    assert third.external_key == "E-3" and third.total == Money(currency_code="CNY", units=300)
    assert [o.id for o in await listed(sales, "orders", query=third.number)] == [third.id]
    assert len(await listed(sales, "orders", query="mjgs")) == 4


async def test_products(sales: Any) -> None:
    for name, sku, series in (
        ("Alpha", "L-1", "One"),
        ("Beta", "L-2", "One"),
        ("Gamma", "L-3", "Two"),
        ("激光器", "L-4", "Two"),
    ):
        await sales.product(name, 1, sku=sku, series=series)
    assert await names(sales, "products", filter='series = "One"') == ["Alpha", "Beta"]
    assert await names(sales, "products", filter='sku = "L-3" AND status = "PRODUCT_STATUS_ACTIVE"') == [
        "Gamma"
    ]
    two = 'series = "One" OR series = "Two"'
    assert (await names(sales, "products", filter=two, order_by="series desc, sku desc"))[-2:] == [
        "Beta",
        "Alpha",
    ]
    for field in ("name", "createTime", "updateTime"):
        assert len(await names(sales, "products", filter=two, order_by=field)) == 4
    assert await names(sales, "products", query="l-2") == ["Beta"]
    assert await names(sales, "products", query="jgq") == ["激光器"]


async def test_what_no_list_takes(sales: Any) -> None:
    for plural, requests in LISTS.items():
        name = plural.capitalize()
        method, answer = f"{SERVICES[plural]}/List{name}", getattr(requests, f"List{name}Response")
        for fields, reason in (
            ({"filter": "nonsense = 1"}, "FILTER_INVALID"), ({"filter": "name ="}, "FILTER_INVALID"),
            ({"order_by": "description"}, "ORDER_BY_INVALID"), ({"page_token": "made-up"}, "PAGE_TOKEN_MISMATCH"),
            ({"page_size": 1001}, "INVALID_FIELD"),
        ):  # fmt: skip
            request = getattr(requests, f"List{name}Request")(**fields)
            await sales.refused(Code.INVALID_ARGUMENT, reason, method, request, answer)
        for number in range(2):
            if plural == "products":
                await sales.product(f"Token {number}", 1)
            if plural == "orders":
                await sales.order(place=False)
        first = await sales.ask(method, getattr(requests, f"List{name}Request")(page_size=1), answer)
        other = getattr(requests, f"List{name}Request")(
            page_size=1, page_token=first.next_page_token, order_by="createTime"
        )
        await sales.refused(Code.INVALID_ARGUMENT, "PAGE_TOKEN_MISMATCH", method, other, answer)


async def test_the_sums_of_the_facet_by_currency(sales: Any) -> None:
    who = sales.names.customer("Two currencies")
    item = await sales.product("Summed", 10, tax="0")
    for currency, units in (("USD", 5), ("CNY", 7), ("CNY", 3)):
        await sales.opportunity(
            "Open", customer_id=who, amount=Money(currency_code=currency, units=units, nanos=10_000_000)
        )
        won = await sales.opportunity(
            "Won", customer_id=who, amount=Money(currency_code=currency, units=units)
        )
        await sales.ask(
            "OpportunityService/WinOpportunity", opps.WinOpportunityRequest(id=won.id), opp.Opportunity
        )
    await sales.opportunity("No amount", customer_id=who)
    lost = await sales.opportunity("Lost", customer_id=who, amount=Money(currency_code="CNY", units=1000))
    lose = opps.LoseOpportunityRequest(id=lost.id, reason=opp.LOSS_REASON_PRICE)
    await sales.ask("OpportunityService/LoseOpportunity", lose, opp.Opportunity)
    line = order_pb2.OrderLine(product_id=item.id, quantity="2")
    dear = order_pb2.OrderLine(
        product_id=item.id, quantity="1", unit_price=Money(currency_code="USD", units=9)
    )
    await sales.order(line, customer_id=who, order_date=Date(year=2026, month=3, day=1))
    await sales.order(dear, customer_id=who, order_date=Date(year=2026, month=2, day=1))
    await sales.order(line, customer_id=who, place=False)
    cancelled = await sales.order(line, customer_id=who, order_date=Date(year=2026, month=4, day=1))
    cancel = order_service_pb2.CancelOrderRequest(id=cancelled.id)
    await sales.ask("OrderService/CancelOrder", cancel, order_pb2.Order)
    request = facets.GetCustomerFacetRequest(customer_id=who)
    method = "CustomerFacetService/GetCustomerFacet"
    facet = await sales.ask(method, request, facets.CustomerFacet)
    assert (facet.opportunity_count, facet.open_opportunity_count, facet.won_opportunity_count) == (8, 4, 3)
    assert list(facet.open_amounts) == [
        Money(currency_code="CNY", units=10, nanos=20_000_000), Money(currency_code="USD", units=5, nanos=10_000_000),
    ]  # fmt: skip
    assert list(facet.won_amounts) == [
        Money(currency_code="CNY", units=10), Money(currency_code="USD", units=5),
    ]  # fmt: skip
    assert (facet.order_count, len(facet.orders), facet.last_order_date) == (
        2,
        3,
        Date(year=2026, month=3, day=1),
    )
    assert list(facet.order_totals) == [
        Money(currency_code="CNY", units=20), Money(currency_code="USD", units=9),
    ]  # fmt: skip
    assert [one.name for one in facet.opportunities][:4].count("Won") == 0, "open ones come first"
    blind = replace(sales.boss, rights={**EVERYTHING, "orders": Rights(Reach.NONE, Reach.NONE)})
    facet = await sales.ask(method, request, facets.CustomerFacet, blind)
    assert (
        facet.orders_withheld and not facet.orders and not facet.order_totals and facet.opportunity_count == 8
    )
    own = somebody(
        "acme", rights={"opportunities": Rights(Reach.OWN, Reach.OWN), "orders": Rights(Reach.OWN, Reach.OWN)}
    )
    mine = await sales.opportunity("Mine", own, customer_id=who)
    facet = await sales.ask(method, request, facets.CustomerFacet, own)
    assert [one.id for one in facet.opportunities] == [mine.id]
    assert (facet.opportunity_count, facet.order_count, list(facet.won_amounts)) == (1, 0, [])
    assert await sales.ask(method, request, facets.CustomerFacet, somebody("rival")) == facets.CustomerFacet()
    nothing = somebody("acme", rights={"orders": Rights(Reach.ALL, Reach.ALL)})
    await sales.refused(
        Code.PERMISSION_DENIED, "RIGHT_MISSING", method, request, facets.CustomerFacet, nothing
    )
