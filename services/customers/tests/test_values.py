"""What customers are worth: from events, once each, in any order, and the same after a replay."""

import asyncio
import json
import random
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from google.protobuf.message import Message
from kehu.customers.v1 import (
    customer_facet_pb2,
    customer_pb2,
    customer_service_pb2,
    customer_value_pb2,
    customer_value_service_pb2,
    merge_pb2,
    merge_service_pb2,
)
from kehu.identity.v1 import events_pb2 as identity
from nats.js.errors import NotFoundError
from sqlalchemy import text

from chassis import wire
from chassis.errors import Code
from chassis.events import streams
from chassis.events.event import subject_of
from chassis.events.subscriptions import Poison, take_in
from chassis.ids import new_id
from chassis.principal import Principal, Reach, Rights
from chassis.privacy.person import Person
from chassis.service import Running
from chassis.settings import Settings
from chassis.testing import DatabaseUrls, Harness, Keys, eventually, refused, running_service, somebody
from customers.listens import SUBSCRIPTIONS
from customers.privacy import PRIVACY
from customers.service import SERVICE
from customers.testing import Company, opportunity_event, order_event, ticket_event
from customers.value import shown
from customers.value.rebuild import rebuild_values
from customers.value.review import REVIEW, outdate
from customers.value.shown import hold_customers

pytestmark = pytest.mark.asyncio(loop_scope="module")
VALUES = "kehu.customers.v1.CustomerValueService/"
MERGES = "kehu.customers.v1.MergeService/"
NOW = datetime.now(UTC)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(
    service_database: Callable[[str], DatabaseUrls], nats_url: str, keys: Keys
) -> AsyncGenerator[Harness]:
    client = await streams.connect(Settings(nats_url=nats_url), "told-by-tests")
    js: Any = client.jetstream(timeout=5)
    for domain in SUBSCRIPTIONS.domains:
        # Whole from their first event, whatever other tests have told.
        with suppress(NotFoundError):
            await js.delete_stream(streams.stream_of(domain))
        await streams.ensure_stream(js, domain, 1)
    async with running_service(SERVICE, service_database("customers"), nats_url, keys) as harness:
        yield harness
    await streams.close(client)


async def value(company: Company, customer: str) -> customer_value_pb2.CustomerValue:
    request = customer_value_service_pb2.GetCustomerValueRequest(customer_id=customer)
    return await company.service.ask(
        company.who, VALUES + "GetCustomerValue", request, customer_value_pb2.CustomerValue
    )


async def months(company: Company, customer: str) -> list[customer_value_pb2.CustomerValueMonth]:
    """The months of the customer, the newest first, read in pages of two."""
    found: list[customer_value_pb2.CustomerValueMonth] = []
    token = ""
    while True:
        page = await company.service.ask(
            company.who, VALUES + "ListCustomerValueHistory",
            customer_value_service_pb2.ListCustomerValueHistoryRequest(
                customer_id=customer, page_size=2, page_token=token
            ),
            customer_value_service_pb2.ListCustomerValueHistoryResponse,
        )  # fmt: skip
        found += page.months
        token = page.next_page_token
        if not token:
            return found


def scores(it: Any) -> tuple[int, int, int, int]:
    return it.score.recency, it.score.frequency, it.score.monetary, it.score.tier


async def test_orders_count_once_and_cancelled_ones_not(company: Company) -> None:
    customer = await company.customer()
    assert (await value(company, customer)).order_count == 0
    first, second, dollars = str(new_id()), str(new_id()), str(new_id())
    placed, event_id = order_event("OrderPlaced", customer, first, 10_050, ordered=date(2026, 3, 5)), new_id()
    for _ in range(2):
        await company.hear(placed, event_id=event_id)
    await company.hear(order_event("OrderPlaced", customer, second, 20_000, ordered=date(2026, 5, 6)))
    await company.hear(
        order_event("OrderPlaced", customer, dollars, 700, currency="USD", ordered=date(2026, 4, 1))
    )
    await company.hear(order_event("OrderDelivered", customer, first, 10_050, ordered=date(2026, 3, 5)), 2)
    known = await value(company, customer)
    assert (known.order_count, known.last_order_date.month) == (3, 5)
    amounts = [(it.currency_code, it.order_count, it.revenue.units, it.revenue.nanos) for it in known.amounts]
    assert amounts == [("CNY", 2, 300, 500_000_000), ("USD", 1, 7, 0)]
    assert not known.HasField("main_amount") and not known.HasField("satisfaction_index")
    await company.hear(order_event("OrderCancelled", customer, second, 20_000, ordered=date(2026, 5, 6)), 2)
    # A late one of before.
    await company.hear(order_event("OrderPlaced", customer, second, 20_000, ordered=date(2026, 5, 6)), 1)
    known = await value(company, customer)
    assert (known.order_count, known.last_order_date.month, known.amounts[0].revenue.units) == (2, 4, 100)
    told = identity.TenantUpdated(tenant_id=str(company.who.tenant_id), currency_code="CNY")
    await company.hear(told)
    assert (await value(company, customer)).main_amount == known.amounts[0]


async def test_a_receipt_counts_no_order_away(company: Company) -> None:
    """A receipt of one order and the placing of another, taken in at once by two replicas: whoever counts last counts both."""
    customer, first, second = await company.customer(), str(new_id()), str(new_id())
    early, late = date(2026, 3, 1), date(2026, 4, 1)
    await company.hear(order_event("OrderPlaced", customer, first, 100, ordered=early), at=NOW)
    database = company.service.running.database
    placed = company.heard(order_event("OrderPlaced", customer, second, 100, ordered=late), at=NOW)
    receipt = company.heard(
        order_event("OrderReceiptRecorded", customer, first, 100, status="PLACED", ordered=early), 2, at=NOW
    )
    async with database.transaction(company.who, origin="event") as tx:
        await placed.listener.handle(placed.event, tx, placed.envelope)
        await tx.session.flush()
        other = asyncio.create_task(take_in(database, "customers", [receipt]))
        # It has written what it was told, and waits to count: or has counted without waiting, which is the fault.
        await eventually(partial(waits_or_is_done, company, other))
    await other
    row = await database.read(
        company.who,
        "SELECT order_count, last_order_date FROM customer_values WHERE customer_id = $1::uuid",
        customer,
    )
    assert tuple(row[0]) == (2, late)
    assert (await value(company, customer)).order_count == 2


async def waits_or_is_done(company: Company, task: asyncio.Task[Any]) -> bool:
    """Whether somebody waits for what a transaction has locked, or the task has ended."""
    waiting = "SELECT 1 FROM pg_locks WHERE NOT granted AND locktype IN ('transactionid', 'tuple')"
    return task.done() or bool(await company.service.running.database.read(company.who, waiting))


async def test_potential_is_what_open_opportunities_may_bring(company: Company) -> None:
    customer, other = await company.customer(), await company.customer()
    one, two = str(new_id()), str(new_id())
    await company.hear(opportunity_event("OpportunityCreated", customer, one, 10_001, 50))
    await company.hear(opportunity_event("OpportunityCreated", customer, two, 1_000, 10))
    (amount,) = (await value(company, customer)).amounts
    assert (amount.potential.units, amount.potential.nanos, amount.revenue.units) == (51, 10_000_000, 0)
    await company.hear(opportunity_event("OpportunityUpdated", other, two, 1_000, 10), 2)
    assert (await value(company, customer)).amounts[0].potential.units == 50
    assert (await value(company, other)).amounts[0].potential.units == 1
    await company.hear(opportunity_event("OpportunityWon", customer, one, 10_001, 100, "WON"), 2)
    await company.hear(opportunity_event("OpportunityCreated", customer, one, 10_001, 50))
    assert not (await value(company, customer)).amounts
    await company.hear(opportunity_event("OpportunityDeleted", other, two, 1_000, 10), 3)
    assert not (await value(company, other)).amounts


@pytest.mark.parametrize(
    ("revenues", "expected"),
    [
        ([5], [3]),
        ([5, 9], [2, 4]),
        ([1, 2, 3, 4, 5], [1, 2, 3, 4, 5]),
        ([7] * 6, [3] * 6),
        ([1] * 6 + [2, 3, 4, 5], [2] * 6 + [4, 4, 5, 5]),
        (list(range(1, 11)), [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]),
    ],
)
async def test_fifths_with_ties_and_few_customers(
    company: Company, revenues: list[int], expected: list[int]
) -> None:
    made = [await company.customer(f"客户{n}") for n in range(len(revenues))]
    await company.customer("who never bought")
    day = NOW.date()
    for customer, revenue in zip(made, revenues, strict=True):
        await company.hear(order_event("OrderPlaced", customer, str(new_id()), revenue * 100, ordered=day))
    await company.job(REVIEW)
    found = [scores(await value(company, customer)) for customer in made]
    # All have ordered once, on one day: the middle of both.
    assert found == [(3, 3, money, -(-(6 + money) // 3)) for money in expected]
    assert not (await value(company, await company.customer())).HasField("score")


async def test_currencies_are_ranked_apart(company: Company) -> None:
    rich, poor, abroad = [await company.customer() for _ in range(3)]
    for customer, minor, currency in ((rich, 90_000, "CNY"), (poor, 10_000, "CNY"), (abroad, 1, "USD")):
        await company.hear(order_event("OrderPlaced", customer, str(new_id()), minor, currency=currency))
    await company.job(REVIEW)
    assert [scores(await value(company, it))[2] for it in (rich, poor, abroad)] == [4, 2, 3]


def back(months: int) -> date:
    """A day so many months ago."""
    first = NOW.date().replace(day=1)
    for _ in range(months):
        first = (first - timedelta(days=1)).replace(day=1)
    return first


async def content(company: Company, customer: str) -> tuple[float | None, int]:
    """The index, and on how many ratings it rests."""
    it = await value(company, customer)
    return it.satisfaction_index if it.HasField("satisfaction_index") else None, it.rating_count


async def listed(company: Company, **asked: Any) -> list[str]:
    request = customer_service_pb2.ListCustomersRequest(**asked)
    answer = customer_service_pb2.ListCustomersResponse
    found = await company.service.ask(
        company.who, "kehu.customers.v1.CustomerService/ListCustomers", request, answer
    )
    return [one.id for one in found.customers]


async def test_ratings_make_an_index_that_follows_them(company: Company) -> None:
    customer, other = await company.customer(), await company.customer()
    tickets = [str(new_id()) for _ in range(4)]
    now = datetime.combine(back(0), datetime.min.time(), UTC)
    assert await content(company, customer) == (None, 0)
    rated, event_id = ticket_event("TicketRated", customer, tickets[0], 5, now), new_id()
    for _ in range(2):
        await company.hear(rated, 3, event_id=event_id)
    await company.hear(ticket_event("TicketRated", customer, tickets[1], 2, now), 3)
    assert await content(company, customer) == (62.5, 2)
    exactly = "satisfactionIndex = 62.5 AND satisfactionIndex < 62.55 AND satisfactionIndex > 62.4"
    exactly += " AND satisfactionIndex >= 62.41 AND satisfactionIndex <= 62.59 AND satisfactionIndex != 62.51"
    assert await listed(company, filter=exactly) == [customer]
    assert (
        await listed(
            company,
            filter="satisfactionIndex > 62.5 OR satisfactionIndex = 62.51 OR satisfactionIndex >= 99999999999999999999",
        )
        == []
    )
    # Thought better of; what comes late changes nothing.
    await company.hear(ticket_event("TicketRated", customer, tickets[1], 3, now), 4)
    await company.hear(ticket_event("TicketRated", customer, tickets[1], 1, now), 2)
    assert await content(company, customer) == (75.0, 2)
    # The twelve months end with the present one.
    for place, months_ago in ((2, 11), (3, 12)):
        at = datetime.combine(back(months_ago), datetime.min.time(), UTC)
        await company.hear(ticket_event("TicketRated", customer, tickets[place], 1, at), 3)
    assert await content(company, customer) == (50.0, 3)
    assert await listed(company, filter="satisfactionIndex <= 50") == [customer]
    await company.hear(ticket_event("TicketUpdated", other, tickets[2], 1, now), 4)
    assert (await content(company, customer), await content(company, other)) == ((75.0, 2), (0.0, 1))
    assert await listed(company, order_by="satisfactionIndex desc", filter="satisfactionIndex != null") == [
        customer, other,
    ]  # fmt: skip
    await company.hear(ticket_event("TicketDeleted", other, tickets[2], 1, now), 5)
    assert await content(company, other) == (None, 0)
    await company.job(REVIEW)
    assert (await content(company, customer), await content(company, other)) == ((75.0, 2), (None, 0))
    found = await months(company, customer)
    assert [it.rating_count for it in found] == [2, *[1] * 12]
    assert [it.satisfaction_index for it in found] == [75.0, *[0.0] * 12]
    assert [it.month.month for it in found[::12]] == [back(0).month, back(12).month]
    # What nobody can have said is put aside.
    broken = company.heard(ticket_event("TicketRated", customer, tickets[0], 9, now), 9)
    with pytest.raises(Poison):
        async with company.service.running.database.transaction(company.who, origin="event") as tx:
            await broken.listener.handle(broken.event, tx, broken.envelope)


async def test_a_rating_of_a_further_resolution_leaves_the_months_of_the_one_before(company: Company) -> None:
    customer, ticket = await company.customer(), str(new_id())
    first, second = (datetime.combine(back(n), datetime.min.time(), UTC) for n in (3, 1))
    await company.hear(ticket_event("TicketRated", customer, ticket, 2, first), 3)
    await company.job(REVIEW)
    assert [it.satisfaction_index for it in await months(company, customer)] == [25.0] * 4
    await company.hear(ticket_event("TicketRated", customer, ticket, 5, second), 6)
    await company.job(REVIEW)
    told = await months(company, customer)
    assert [(it.satisfaction_index, it.rating_count) for it in told] == [(100.0, 1)] * 2
    # What had been told before changes nothing, as in a replay.
    await company.hear(ticket_event("TicketRated", customer, ticket, 2, first), 3)
    await company.job(REVIEW)
    assert await months(company, customer) == told


@pytest.mark.parametrize(
    "kind", ["OrderDelivered", "OrderReceiptRecorded", "OrderUpdated", "opportunity", "rating"]
)
async def test_events_wait_for_whoever_merges_their_customer_and_hold_nothing_it_needs(
    company: Company, kind: str
) -> None:
    customer, id = await company.customer(), str(new_id())
    at = datetime.combine(back(0), datetime.min.time(), UTC)
    events: dict[str, tuple[Any, Any]] = {
        "opportunity": (
            opportunity_event("OpportunityCreated", customer, id, 100, 50),
            opportunity_event("OpportunityUpdated", customer, id, 100, 60),
        ),
        "rating": (
            ticket_event("TicketRated", customer, id, 2, at), ticket_event("TicketRated", customer, id, 4, at),
        ),
    }  # fmt: skip
    before, after = events.get(kind) or (
        order_event("OrderPlaced", customer, id, 100),
        order_event(kind, customer, id, 100, status="PLACED"),
    )
    await company.hear(before, 1)
    database = company.service.running.database
    async with database.transaction(company.who) as tx:
        await hold_customers(tx, [UUID(customer)])
        other = asyncio.create_task(take_in(database, "customers", [company.heard(after, 2)]))
        await eventually(partial(waits_or_is_done, company, other))
        assert not other.done()
        # As a merge goes on.
        outdate(tx, back(1))
        for table in ("customer_orders", "customer_opportunities", "customer_ratings"):
            await tx.session.execute(text(f"UPDATE {table} SET customer_id = customer_id"))
    assert await other == 1


async def test_what_says_something_else_is_put_right_some_at_a_time(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tenant may have a hundred thousand customers: no statement looks at all of them."""
    database = company.service.running.database
    ids = {UUID(await company.customer(f"c{n}")) for n in range(5)}
    async with database.transaction(company.who) as tx:
        await tx.session.execute(text("UPDATE customers SET order_count = 9 WHERE deleted_at IS NULL"))
    read, most = database.read, 0

    async def watched(who: Principal, sql: str, *given: object) -> list[Any]:
        nonlocal most
        rows = await read(who, sql, *given)
        if who == company.who:
            most = max(most, len(rows))
        return rows

    monkeypatch.setattr(shown, "_AT_ONCE", 2)
    monkeypatch.setattr(database, "read", watched)
    await shown.show_all(database, company.who)
    monkeypatch.undo()
    rows = await database.read(company.who, "SELECT id, order_count, version FROM customers")
    assert {row["id"]: (row["order_count"], row["version"]) for row in rows} == dict.fromkeys(ids, (0, 1))
    assert most == 2


async def test_ratings_go_with_a_merge_and_come_back(company: Company) -> None:
    stays, goes = await company.customer(), await company.customer()
    at = datetime.combine(back(0), datetime.min.time(), UTC)
    first, second = str(new_id()), str(new_id())
    await company.hear(ticket_event("TicketRated", stays, first, 5, at), 3)
    await company.hear(ticket_event("TicketRated", goes, second, 1, at), 3)
    request = merge_service_pb2.MergeCustomersRequest(id=stays, merged_ids=[goes])
    merge = await company.service.ask(company.who, MERGES + "MergeCustomers", request, merge_pb2.Merge)
    assert await content(company, stays) == (50.0, 2)
    # What is told of the one that went is the survivor's.
    await company.hear(ticket_event("TicketRated", goes, second, 3, at), 4)
    await company.hear(ticket_event("TicketRated", goes, str(new_id()), 4, at), 1)
    assert await content(company, stays) == (75.0, 3)
    undo = merge_service_pb2.UndoMergeRequest(id=merge.id)
    await company.service.ask(company.who, MERGES + "UndoMerge", undo, merge_pb2.Merge)
    assert await content(company, goes) == (50.0, 1)
    # The one that came meanwhile comes back when the service desk has led its ticket back.
    assert await content(company, stays) == (87.5, 2)
    assert await listed(company, order_by="satisfactionIndex") == [goes, stays]


async def test_lists_know_what_customers_are_worth(company: Company) -> None:
    rich, poor, never = [await company.customer(name) for name in ("rich", "poor", "never")]
    await company.hear(identity.TenantUpdated(tenant_id=str(company.who.tenant_id), currency_code="CNY"))
    await company.hear(order_event("OrderPlaced", rich, str(new_id()), 90_000, ordered=back(0)))
    await company.hear(order_event("OrderPlaced", rich, str(new_id()), 500, currency="USD", ordered=back(2)))
    await company.hear(order_event("OrderPlaced", poor, str(new_id()), 10_000, ordered=back(4)))
    await company.hear(opportunity_event("OpportunityCreated", poor, str(new_id()), 50_000, 50))
    before = await company.service.ask(
        company.who, "kehu.customers.v1.CustomerService/GetCustomer",
        customer_service_pb2.GetCustomerRequest(id=rich), customer_pb2.Customer,
    )  # fmt: skip
    assert await listed(company, order_by="revenue desc") == [rich, poor, never]
    assert await listed(company, filter="revenue >= 100", order_by="revenue") == [poor, rich]
    assert await listed(company, filter='revenue >= "100.01 CNY"') == [rich]
    assert await listed(company, filter='revenue >= "1 USD"') == []
    # Who bought nothing bought nothing in any currency, and says so without a review.
    assert await listed(company, filter='revenue <= "100 CNY"', order_by="revenue") == [never, poor]
    assert await listed(company, filter='NOT revenue <= "100 CNY"') == [rich]
    assert await listed(company, filter="orderCount = 0") == [never]
    assert await listed(company, filter="orderCount >= 2") == [rich]
    assert await listed(company, filter="potential > 200") == [poor]
    assert await listed(company, filter=f"lastOrderDate < {back(1)}") == [poor]
    assert await listed(company, filter="lastOrderDate = null") == [never]
    assert await listed(company, filter="rfmTier >= 4") == []
    await company.job(REVIEW)
    assert await listed(company, filter="rfmTier >= 4") == [rich]
    # Another currency is the tenant's own: the next review says so of everybody.
    await company.hear(identity.TenantUpdated(tenant_id=str(company.who.tenant_id), currency_code="USD"), 2)
    await company.job(REVIEW)
    assert await listed(company, filter='revenue >= "1 USD"') == [rich]
    after = await company.service.ask(
        company.who, "kehu.customers.v1.CustomerService/GetCustomer",
        customer_service_pb2.GetCustomerRequest(id=rich), customer_pb2.Customer,
    )  # fmt: skip
    assert after.etag == before.etag  # nobody has changed the customer


async def test_margin_is_told_of_what_was_sold_at_a_known_cost(company: Company) -> None:
    some, none, loss, never = [await company.customer(name) for name in ("some", "none", "loss", "never")]
    await company.hear(identity.TenantUpdated(tenant_id=str(company.who.tenant_id), currency_code="CNY"))

    async def buys(customer: str, minor: int, costed: tuple[int, int] | None, month: int, **more: Any) -> str:
        id = str(new_id())
        placed = order_event("OrderPlaced", customer, id, minor, ordered=back(month), costed=costed, **more)
        await company.hear(placed)
        return id

    await buys(some, 10_000, (6_000, 4_500), 1)
    await buys(some, 10_000, None, 0)
    cancelled = await buys(some, 99_000, (99_000, 1), 0)
    await company.hear(order_event("OrderCancelled", some, cancelled, 99_000, costed=(99_000, 1)), 2)
    await buys(some, 700, (700, 200), 0, currency="USD")
    await buys(none, 50_000, None, 0)
    # A gift costs, and brings nothing in.
    await buys(loss, 0, (0, 3_000), 0)
    known = await value(company, some)
    yuan_part, dollars = known.amounts
    assert (yuan_part.margin.units, yuan_part.costed_revenue.units) == (15, 60)
    assert (yuan_part.margin_coverage, dollars.margin.units, dollars.margin_coverage) == (30.0, 5, 100.0)
    assert known.main_amount == yuan_part
    unknown = (await value(company, none)).amounts[0]
    fields = ("margin", "costed_revenue", "margin_coverage")
    assert not any(unknown.HasField(name) for name in fields), "unknown is not nothing"
    gift = (await value(company, loss)).amounts[0]
    assert gift.margin.units == -30 and not gift.HasField("margin_coverage")

    assert await listed(company, order_by="margin") == [loss, some, none, never]
    assert await listed(company, order_by="margin desc", filter="margin != null") == [some, loss]
    assert await listed(company, filter='margin >= "15 CNY"') == [some]
    assert (
        await listed(company, filter="margin > 15") == [] == await listed(company, filter='margin > "1 USD"')
    )
    await company.job(REVIEW)
    found = [month.amounts[0] for month in await months(company, some)]
    assert [(it.HasField("margin"), it.total_margin.units) for it in found] == [(False, 15), (True, 15)]
    assert (found[1].margin.units, found[1].costed_revenue.units) == (15, 60)
    assert not (await months(company, none))[0].amounts[0].HasField("total_margin")
    # Money that is not the order's is no order's.
    mixed = order_event("OrderPlaced", some, str(new_id()), 100, costed=(100, 1))
    mixed.order.cost_total.currency_code = "USD"
    with pytest.raises(Poison):
        await company.hear(mixed)
    merge = merge_service_pb2.MergeCustomersRequest(id=loss, merged_ids=[some])
    merged = await company.service.ask(company.who, MERGES + "MergeCustomers", merge, merge_pb2.Merge)
    assert (await value(company, loss)).amounts[0].margin.units == -15
    undo = merge_service_pb2.UndoMergeRequest(id=merged.id)
    await company.service.ask(company.who, MERGES + "UndoMerge", undo, merge_pb2.Merge)
    assert [(await value(company, id)).amounts[0].margin.units for id in (loss, some)] == [-30, 15]
    # Told of the survivor before it is heard that it was placed.
    early = str(new_id())
    updated = order_event("OrderUpdated", never, early, 1_000, ordered=back(0), costed=(1_000, 400))
    updated.changed_fields.append("customerId")
    await company.hear(updated, 2)
    await company.hear(order_event("OrderPlaced", some, early, 1_000, ordered=back(0), costed=(1_000, 400)))
    assert (await value(company, never)).amounts[0].margin.units == 6
    assert (await value(company, some)).amounts[0].margin.units == 15

    # All but all of it is not all of it.
    nearly = await company.customer("nearly")
    await buys(nearly, 100_000, (99_960, 1), 0)
    assert (await value(company, nearly)).amounts[0].margin_coverage == 99.9
    await company.job(REVIEW)
    # A person who asks what is held about them is told what they bought, and not what that cost us.
    async with company.service.running.database.transaction(company.who) as tx:
        become = text("UPDATE customers SET kind = 'PERSON' WHERE id = CAST(:id AS uuid)")
        await tx.session.execute(become, {"id": nearly})
        person = Person(records=frozenset({("customer", UUID(nearly))}))
        held = {kind: row async for _, kind, _, row in PRIVACY.export(tx, person)}["customer"]
    assert held["revenue"] == held["value"]["amounts"][0]["revenue"] == 100_000
    assert held["value"]["months"] and "margin" not in json.dumps(held) and "costed" not in json.dumps(held)


async def test_months_are_kept_and_follow_what_becomes_known_later(company: Company) -> None:
    customer, other = await company.customer(), await company.customer()
    first, second = str(new_id()), str(new_id())
    await company.hear(order_event("OrderPlaced", customer, first, 10_000, ordered=back(3)))
    await company.hear(order_event("OrderPlaced", customer, second, 5_000, ordered=back(1)))
    await company.hear(order_event("OrderPlaced", other, str(new_id()), 20_000, ordered=back(2)))
    wish = opportunity_event("OpportunityCreated", customer, str(new_id()), 4_000, 50)
    at = datetime.combine(back(1), datetime.min.time(), UTC)
    await company.hear(wish, at=at)
    await company.job(REVIEW)
    found = await months(company, customer)
    assert [(it.month.year, it.month.month) for it in found] == [
        (back(n).year, back(n).month) for n in range(4)
    ]
    assert [(it.order_count, it.total_order_count) for it in found] == [(0, 2), (1, 2), (0, 1), (1, 1)]
    money = [
        (it.amounts[0].revenue.units, it.amounts[0].total_revenue.units, it.amounts[0].potential.units)
        for it in found
    ]
    assert money == [(0, 150, 20), (50, 150, 20), (0, 100, 0), (100, 100, 0)]
    # Alone at first, then the other bought more and later, then this one came back.
    assert [scores(it) for it in found] == [(4, 4, 2, 4), (4, 4, 2, 4), (2, 3, 2, 3), (3, 3, 3, 3)]
    await company.hear(order_event("OrderCancelled", customer, first, 10_000, ordered=back(3)), 2)
    await company.job(REVIEW)
    found = await months(company, customer)
    assert [(it.order_count, it.total_order_count) for it in found] == [(0, 1), (1, 1)]


async def test_a_review_comes_by_itself_and_again(company: Company) -> None:
    customer = await company.customer()
    await company.hear(order_event("OrderPlaced", customer, str(new_id()), 1_000, ordered=back(2)))
    database = company.service.running.database
    async with database.transaction(company.who) as tx:
        await tx.session.execute(text("UPDATE jobs SET due_at = now() WHERE kind = 'value review'"))

    async def reviewed() -> bool:
        return (await value(company, customer)).HasField("score")

    await eventually(reviewed, 40)
    waiting = "SELECT due_at FROM jobs WHERE kind = 'value review'"
    (job,) = await database.read(company.who, waiting)
    assert job["due_at"] > datetime.now(UTC)
    # A change after it brings the next one sooner than the night.
    await company.hear(order_event("OrderPlaced", customer, str(new_id()), 1_000))
    (job,) = await database.read(company.who, waiting)
    assert job["due_at"] < datetime.now(UTC) + timedelta(minutes=11)


async def test_a_review_that_dies_carries_on(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    customer = await company.customer()
    await company.hear(order_event("OrderPlaced", customer, str(new_id()), 1_000, ordered=back(4)))
    import customers.value.review as review

    whole, calls = review._review_one, 0  # pyright: ignore[reportPrivateUsage]

    async def dying(*arguments: Any) -> bool:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise RuntimeError("killed")
        return await whole(*arguments)

    monkeypatch.setattr(review, "_review_one", dying)
    with pytest.raises(RuntimeError):
        await company.job(REVIEW)
    assert len(await months(company, customer)) == 2
    monkeypatch.undo()
    await company.job(REVIEW)
    assert len(await months(company, customer)) == 5


async def test_who_may(company: Company, service: Harness) -> None:
    customer = await company.customer()
    await company.hear(order_event("OrderPlaced", customer, str(new_id()), 1_000))
    for who in (
        somebody(),
        somebody(company.who.tenant, rights={"customers": Rights(Reach.OWN, Reach.OWN)}),
    ):
        other = Company(service, who)
        await refused(Code.NOT_FOUND, "NOT_FOUND", value(other, customer))
        await refused(Code.NOT_FOUND, "NOT_FOUND", months(other, customer))
        facet = await service.ask(
            who, "kehu.customers.v1.CustomerFacetService/GetCustomerFacet",
            customer_facet_pb2.GetCustomerFacetRequest(customer_id=customer), customer_facet_pb2.CustomerFacet,
        )  # fmt: skip
        assert not facet.HasField("value") and not facet.HasField("membership_card")
    powerless = Company(service, somebody(company.who.tenant, rights={}))
    await refused(Code.PERMISSION_DENIED, "RIGHT_MISSING", value(powerless, customer))


_TABLES = {
    "customer_orders": "id, version, event_id, customer_id, cancelled, currency, revenue, costed_revenue, cost, order_date",
    "customer_opportunities": "id, month, version, event_id, customer_id, open, currency, potential",
    "customer_ratings": "id, version, event_id, customer_id, rating, rated_on",
    "customers": "id, order_count, last_order_date, revenue, margin, costed_revenue, potential, value_currency, rfm_tier,"
    " satisfaction_tenths",
    "customer_values": "customer_id, order_count, last_order_date, recency, frequency, monetary, tier, satisfaction, ratings",
    "customer_amounts": "customer_id, currency, order_count, revenue, costed_revenue, margin, potential",
    "customer_value_months": "customer_id, month, order_count, total_order_count, amounts, recency, frequency, monetary, tier,"
    " satisfaction, ratings",
    "membership_cards": "id, version, balance, owed, sequence",
    "points_transactions": "id, sequence, kind, member, balance",
}


async def everything(company: Company) -> dict[str, list[Any]]:
    """All that was derived from events in this company."""
    database = company.service.running.database
    return {
        table: [
            tuple(row)
            for row in await database.read(company.who, f"SELECT {columns} FROM {table} ORDER BY 1, 2")
        ]
        for table, columns in _TABLES.items()
    }


async def publish(js: Any, company: Company, event: Message, record: str, version: int, at: datetime) -> None:
    """Tells an event on the bus as sales would."""
    type_name = type(event).DESCRIPTOR.full_name
    domain = type_name.split(".")[1]
    headers = {
        "ce-id": str(new_id()), "ce-type": type_name, "ce-source": domain, "ce-subject": record, "ce-time": at.isoformat(),
        "ce-tenant": company.who.tenant, "ce-tenantid": str(company.who.tenant_id), "kehu-version": str(version),
    }  # fmt: skip
    subject = f"kehu.{company.who.tenant}.{domain}.{subject_of(type(event))[0]}"
    await js.publish(subject, wire.to_json(event), headers=headers)


async def test_a_replay_gives_an_equal_result(company: Company, nats_url: str) -> None:
    await company.programme(validity_months=12)
    customers = [await company.customer() for _ in range(4)]
    for customer in customers[:2]:
        await company.issue(customer)
    choose = random.Random(20260301)
    told: list[tuple[Any, str, int, datetime]] = []
    for n in range(24):
        customer, record = choose.choice(customers), str(uuid4())
        at = datetime.now(UTC) + timedelta(seconds=n)
        on, minor = back(choose.randrange(5)), choose.randrange(100, 90_000)
        if n % 4 == 1:
            rated = datetime.combine(on, datetime.min.time(), UTC)
            told.append((ticket_event("TicketRated", customer, record, n % 5 + 1, rated), record, 3, at))
            if n % 3:
                told.append(
                    (ticket_event("TicketDeleted", customer, record, n % 5 + 1, rated), record, 4, at)
                )
        elif n % 3:
            # Of some the cost is known, of some of a part.
            known = (minor // choose.choice((1, 2)), choose.randrange(90_000)) if n % 2 else None
            placed = order_event("OrderPlaced", customer, record, minor, ordered=on, costed=known)
            told.append((placed, record, 1, at))
            last = choose.choice(["OrderCancelled", "OrderDelivered", ""])
            if last:
                later = order_event(last, customer, record, minor, ordered=on, costed=known)
                told.append((later, record, 2, at))
        else:
            told.append((opportunity_event("OpportunityCreated", customer, record, minor, 40), record, 1, at))
            if n % 2:
                told.append(
                    (opportunity_event("OpportunityLost", customer, record, minor, 0, "LOST"), record, 2, at)
                )
    client = await streams.connect(Settings(nats_url=nats_url), "told-by-tests")
    try:
        js: Any = client.jetstream(timeout=5)
        for event, record, version, at in told:
            await publish(js, company, event, record, version, at)
    finally:
        await streams.close(client)
    orders = {record for _, record, _, _ in told}

    async def heard() -> bool:
        found = await everything(company)
        return len(
            {
                str(row[0])
                for table in ("customer_orders", "customer_opportunities", "customer_ratings")
                for row in found[table]
            }
        ) == len(orders)

    await eventually(heard, 40)
    last_marks = "SELECT count(*) AS n FROM inbox"

    async def all_taken() -> bool:
        return (await company.service.running.database.read(company.who, last_marks))[0]["n"] == len(told)

    await eventually(all_taken, 40)
    await company.job(REVIEW)
    before = await everything(company)
    assert before["customer_value_months"] and before["points_transactions"]
    command = Running(SERVICE, company.service.running.settings)
    try:
        await rebuild_values(command, [])
    finally:
        await command.clients.close()
        await command.database.close()

    async def told_again() -> bool:
        return len((await everything(company))["customer_orders"]) == len(before["customer_orders"])

    await eventually(told_again, 40)
    await eventually(all_taken, 40)
    await company.job(REVIEW)
    assert await everything(company) == before
    await company.sound()
