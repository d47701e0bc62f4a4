"""Customers and contacts that were merged: what sales knows of them follows and goes back, in whatever order it hears of it.
Competitors that opportunities name, what they are called, and what was won against them."""

import itertools
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from google.protobuf.empty_pb2 import Empty
from google.protobuf.field_mask_pb2 import FieldMask
from google.type.date_pb2 import Date
from google.type.money_pb2 import Money
from kehu.customers.v1 import events_pb2 as customers
from kehu.customers.v1 import merge_pb2
from kehu.history.v1 import history_pb2
from kehu.leads.v1 import events_pb2 as leads
from kehu.sales.v1 import (
    activity_pb2,
    activity_service_pb2,
    opportunity_pb2,
    opportunity_service_pb2,
    order_pb2,
    order_service_pb2,
)

from chassis.errors import Code
from chassis.events.event import Envelope
from chassis.events.subscriptions import Arrival, take_in
from chassis.ids import new_id
from chassis.principal import Reach, Rights
from chassis.testing import EVERYTHING, refused, somebody
from sales import merged
from sales.activity import Activity
from sales.listens import SUBSCRIPTIONS

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def hear(sales: Any, event: Any, times: int = 1, version: int = 1) -> None:
    type_name = event.DESCRIPTOR.full_name
    listener = SUBSCRIPTIONS.listener(type_name)
    assert listener is not None
    who = sales.boss
    envelope = Envelope(
        event_id=new_id(), type=type_name, source=listener.domain, subject="", tenant_id=who.tenant_id, tenant=who.tenant,
        record_id=uuid4(), version=version, time=datetime.now(UTC), person_id=who.person_id, person_name="", traceparent="",
    )  # fmt: skip
    for _ in range(times):
        await take_in(sales.harness.running.database, "sales", [Arrival(listener, envelope, event)])


def went(merge: str, survivor: str, *gone: str, name: str = "S") -> customers.CustomerMerged:
    snapshot = customers.CustomerSnapshot(display_name=name)
    return customers.CustomerMerged(
        customer_id=survivor, customer=snapshot, merge_id=merge, merged_customer_ids=gone
    )


def back(merge: str, survivor: str, **restored: str) -> customers.CustomerUnmerged:
    ids = [merge_pb2.RestoredRecord(id=id, display_name=name) for name, id in restored.items()]
    snapshot = customers.CustomerSnapshot(display_name="S")
    return customers.CustomerUnmerged(
        customer_id=survivor, customer=snapshot, merge_id=merge, restored_customers=ids
    )


async def order_now(sales: Any, id: str) -> order_pb2.Order:
    return await sales.ask("OrderService/GetOrder", order_service_pb2.GetOrderRequest(id=id), order_pb2.Order)


async def plan(sales: Any, **fields: Any) -> activity_pb2.Activity:
    activity = activity_pb2.Activity(subject="call", kind=activity_pb2.ACTIVITY_KIND_TASK, **fields)
    activity.due_time.FromSeconds(1_800_000_000)
    request = activity_service_pb2.CreateActivityRequest(activity=activity)
    return await sales.ask("ActivityService/CreateActivity", request, activity_pb2.Activity)


async def test_all_follow_and_go_back_and_say_so(sales: Any) -> None:
    one, two = sales.names.customer("One"), sales.names.customer("Two")
    deal = await sales.opportunity("deal", customer_id=two)
    own = await sales.opportunity("own", customer_id=one)
    product = await sales.product(f"p{uuid4()}", 10)
    order = await sales.order(order_pb2.OrderLine(product_id=product.id, quantity="1"), customer_id=two)
    task = await plan(sales, customer_id=two)
    merge = str(new_id())
    await hear(sales, went(merge, one, two, name="One"), times=2)
    moved = await sales.opportunity_now(deal.id)
    assert (moved.customer_id, moved.customer_name) == (one, "One")
    now = await order_now(sales, order.id)
    assert (now.customer_id, now.customer_name) == (one, "Two")
    assert (await sales.told(task.id))[-1]["activity"]["customerId"] == one
    assert (await sales.outbox(deal.id)) == ["OpportunityCreated", "OpportunityUpdated"]
    assert (await sales.told(deal.id))[-1]["changedFields"] == ["customerId"]
    late = await sales.opportunity("since", customer_id=one)
    await hear(sales, back(merge, one, Two=two), times=2)
    found = [(await sales.opportunity_now(it.id)).customer_name for it in (deal, own, late)]
    assert found == ["Two", "One", "One"]
    assert (await order_now(sales, order.id)).customer_id == two
    # A second telling of the merge, as another event, does not bring it back.
    await hear(sales, went(merge, one, two))
    assert (await sales.opportunity_now(deal.id)).customer_id == two


async def test_what_comes_late_follows(sales: Any) -> None:
    one, two = sales.names.customer("One"), sales.names.customer("Two")
    merge = str(new_id())
    await hear(sales, went(merge, one, two, name="One"))
    # Sales had asked for the customer before, and writes after it has heard.
    late = await sales.opportunity("late", customer_id=two)
    call = sales.harness.running.call(sales.boss.acting_as("sales"))
    (job,) = merged.CUSTOMERS.jobs.values()
    await job({"ids": [two]}, call)
    assert (await sales.opportunity_now(late.id)).customer_id == one
    # A lead was converted into the one that went.
    lead = str(uuid4())
    async with sales.harness.running.database.transaction(sales.boss) as tx:
        tx.add(
            Activity(
                id=new_id(), subject="of a lead", kind="TASK", lead_id=new_id(), due_time=datetime.now(UTC)
            )
        )
        activity = Activity(
            id=new_id(), subject="of the lead", kind="TASK", lead_id=UUID(lead), due_time=datetime.now(UTC)
        )
        tx.add(activity)
    snapshot = leads.LeadSnapshot(customer_id=two, company_name="Two")
    await hear(sales, leads.LeadConverted(lead_id=lead, lead=snapshot))
    assert (await sales.told(str(activity.id)))[-1]["activity"]["customerId"] == one
    await hear(sales, back(merge, one, Two=two))
    assert (await sales.opportunity_now(late.id)).customer_id == two


async def test_an_attaching_that_is_heard_behind_its_taking_back_does_not_stick(sales: Any) -> None:
    customer, lead, id = sales.names.customer("One"), str(uuid4()), new_id()
    async with sales.harness.running.database.transaction(sales.boss) as tx:
        tx.add(Activity(id=id, subject="call", kind="TASK", lead_id=UUID(lead), due_time=datetime.now(UTC)))
    attached = leads.LeadDisqualified(
        lead_id=lead, lead=leads.LeadSnapshot(duplicate_of_customer_id=customer)
    )
    await hear(sales, attached, version=3)
    assert (await sales.told(str(id)))[-1]["activity"]["customerId"] == customer
    await hear(sales, leads.LeadReopened(lead_id=lead), version=4)
    told = await sales.told(str(id))
    assert "customerId" not in told[-1]["activity"]
    await hear(sales, attached, version=3)
    assert await sales.told(str(id)) == told


def _stories(one: str, two: str, three: str) -> tuple[list[Callable[[], Any]], list[Callable[[], Any]]]:
    first, second = str(new_id()), str(new_id())
    merges = [lambda: went(first, two, three, name="Two"), lambda: went(second, one, two, name="One")]
    undone = [lambda: back(second, one, Two=two), lambda: back(first, two, Three=three)]
    return merges, undone


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
async def test_merges_of_merges_come_to_one_end_in_any_order(sales: Any, order: tuple[int, ...]) -> None:
    """Three went into two, two into one, and both were undone: different survivors, so that no order is promised."""
    one, two, three = (sales.names.customer(name) for name in ("One", "Two", "Three"))
    deals = {id: await sales.opportunity("deal", customer_id=id) for id in (one, two, three)}
    merges, undone = _stories(one, two, three)
    events = [*merges, *undone]
    for number in order:
        await hear(sales, events[number]())
    for id, deal in deals.items():
        assert (await sales.opportunity_now(deal.id)).customer_id == id


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_merges_of_merges(sales: Any, order: tuple[int, ...]) -> None:
    one, two, three = (sales.names.customer(name) for name in ("One", "Two", "Three"))
    deals = {id: await sales.opportunity("deal", customer_id=id) for id in (one, two, three)}
    merges, undone = _stories(one, two, three)
    for number in order:
        await hear(sales, merges[number]())
    found = [await sales.opportunity_now(deal.id) for deal in deals.values()]
    assert {it.customer_id for it in found} == {one}
    assert [it.customer_name for it in found[1:]] == ["One", "One"]
    await hear(sales, undone[0]())
    assert (await sales.opportunity_now(deals[three].id)).customer_id == two


async def test_what_was_given_to_another_since_stays(sales: Any) -> None:
    one, two, three = (sales.names.customer(name) for name in ("One", "Two", "Three"))
    deal = await sales.opportunity("deal", customer_id=two)
    merge = str(new_id())
    await hear(sales, went(merge, one, two))
    request = opportunity_service_pb2.UpdateOpportunityRequest(
        opportunity=opportunity_pb2.Opportunity(id=deal.id, customer_id=three)
    )
    request.update_mask.paths.append("customer_id")
    await sales.ask("OpportunityService/UpdateOpportunity", request, opportunity_pb2.Opportunity)
    await hear(sales, back(merge, one, Two=two))
    assert (await sales.opportunity_now(deal.id)).customer_id == three


async def test_contacts_follow(sales: Any) -> None:
    lina, twin = str(uuid4()), str(uuid4())
    deal = await sales.opportunity("deal", contact_id=twin)
    merge = str(new_id())
    contact = customers.ContactSnapshot(display_name="李娜")
    event = customers.ContactMerged(
        contact_id=lina, contact=contact, merge_id=merge, merged_contact_ids=[twin]
    )
    await hear(sales, event)
    assert (await sales.opportunity_now(deal.id)).contact_id == lina
    restored = [merge_pb2.RestoredRecord(id=twin, display_name="Li Na")]
    await hear(
        sales,
        customers.ContactUnmerged(
            contact_id=lina, contact=contact, merge_id=merge, restored_contacts=restored
        ),
    )
    assert (await sales.opportunity_now(deal.id)).contact_id == twin


async def verb(sales: Any, name: str, id: str, who: Any = None, **fields: Any) -> opportunity_pb2.Opportunity:
    request = getattr(opportunity_service_pb2, f"{name}OpportunityRequest")(id=id, **fields)
    return await sales.ask(f"OpportunityService/{name}Opportunity", request, opportunity_pb2.Opportunity, who)


async def change(sales: Any, id: str, *mask: str, **fields: Any) -> opportunity_pb2.Opportunity:
    request = opportunity_service_pb2.UpdateOpportunityRequest(
        opportunity=opportunity_pb2.Opportunity(id=id, **fields), update_mask=FieldMask(paths=mask)
    )
    return await sales.ask("OpportunityService/UpdateOpportunity", request, opportunity_pb2.Opportunity)


async def win_loss(sales: Any, id: str, who: Any = None, **period: Any) -> Any:
    request = opportunity_service_pb2.GetCompetitorWinLossRequest(competitor_id=id, **period)
    answer = opportunity_service_pb2.CompetitorWinLoss
    return await sales.ask("OpportunityService/GetCompetitorWinLoss", request, answer, who)


async def reported(sales: Any, who: Any = None, **period: Any) -> dict[str, Any]:
    request = opportunity_service_pb2.ReportWinLossRequest(**period)
    answer = opportunity_service_pb2.ReportWinLossResponse
    told = await sales.ask("OpportunityService/ReportWinLoss", request, answer, who)
    return {one.display_name: one for one in told.competitors}


async def filtered(sales: Any, filter: str) -> list[str]:
    request = opportunity_service_pb2.ListOpportunitiesRequest(filter=filter, order_by="name")
    answer = opportunity_service_pb2.ListOpportunitiesResponse
    return [
        one.name
        for one in (await sales.ask("OpportunityService/ListOpportunities", request, answer)).opportunities
    ]


async def test_who_bids_and_who_got_it(sales: Any) -> None:
    kingdee, sap, oracle = (sales.names.competitor(name) for name in ("金蝶", "SAP", "Oracle"))
    named = {"competitor_ids": [kingdee, sap, kingdee]}
    deal = await sales.opportunity("Bid for", **named)
    assert (list(deal.competitor_ids), list(deal.competitor_names)) == ([kingdee, sap], ["金蝶", "SAP"])
    assert (await sales.told(deal.id))[-1]["opportunity"]["competitorIds"] == [kingdee, sap]
    unknown = str(new_id())
    for wrong, reason in (
        (sales.opportunity("x", competitor_ids=[unknown]), "COMPETITOR_NOT_FOUND"),
        (sales.opportunity("x", competitor_ids=["SAP"]), "INVALID_FIELD"),
        (sales.opportunity("x", competitor_ids=[str(new_id()) for _ in range(21)]), "INVALID_FIELD"),
        (sales.opportunity("x", competitor_ids=[sap], lost_to_competitor_id=sap), "OPPORTUNITY_NOT_LOST"),
        (change(sales, deal.id, "competitor_ids", competitor_ids=[unknown]), "COMPETITOR_NOT_FOUND"),
        (change(sales, deal.id, "lost_to_competitor_id", lost_to_competitor_id=sap), "OPPORTUNITY_NOT_LOST"),
        (change(sales, deal.id, "competitor_names"), "FIELD_NOT_WRITABLE"),
        (verb(sales, "Lose", deal.id, reason=2, competitor_id=unknown), "COMPETITOR_NOT_FOUND"),
    ):
        await refused(Code.INVALID_ARGUMENT, reason, wrong)
    assert await sales.opportunity_now(deal.id) == deal

    lost = await verb(sales, "Lose", deal.id, reason=2, competitor_id=oracle)
    assert (list(lost.competitor_names), lost.lost_to_competitor_id) == (["金蝶", "SAP", "Oracle"], oracle)
    assert (await sales.told(deal.id))[-1]["opportunity"]["lostToCompetitorId"] == oracle
    # It is learnt later who has bid, and who got it; which must be one of them.
    now = await change(sales, deal.id, "lost_to_competitor_id", lost_to_competitor_id=sap)
    assert now.lost_to_competitor_id == sap
    for wrong in (
        change(sales, deal.id, "lost_to_competitor_id", lost_to_competitor_id=unknown),
        change(sales, deal.id, "competitor_ids", competitor_ids=[kingdee]),
    ):
        await refused(Code.INVALID_ARGUMENT, "COMPETITOR_NOT_NAMED", wrong)
    now = await change(sales, deal.id, "competitor_ids", competitor_ids=[sap, kingdee])
    assert list(now.competitor_names) == ["SAP", "金蝶"]
    request = history_pb2.ListChangesRequest(record_type="opportunity", record_id=deal.id)
    answer = history_pb2.ListChangesResponse
    (latest, *_) = (await sales.ask("HistoryService/ListChanges", request, answer)).changes
    assert {field.field for field in latest.fields} == {"competitorIds", "competitorNames"}

    # A new name is shown, whichever telling of it comes last; and it is no change of the opportunity.
    for version, name in ((3, "SAP SE"), (2, "SAP AG"), (3, "SAP SE")):
        snapshot = customers.CompetitorSnapshot(display_name=name)
        told: dict[str, Any] = {
            "competitor_id": sap,
            "competitor": snapshot,
            "changed_fields": ["displayName"],
        }
        await hear(sales, customers.CompetitorUpdated(**told), version=version)
    renamed = await sales.opportunity_now(deal.id)
    assert (list(renamed.competitor_names), renamed.etag) == (["SAP SE", "金蝶"], now.etag)
    # One that was deleted stays named, and is named no more anew.
    sales.names.competitors[:] = [one for one in sales.names.competitors if one.id != sap]
    kept = await change(sales, deal.id, "competitor_ids", competitor_ids=[kingdee, sap])
    assert list(kept.competitor_names) == ["金蝶", "SAP SE"]
    await refused(Code.INVALID_ARGUMENT, "COMPETITOR_NOT_FOUND", sales.opportunity("x", competitor_ids=[sap]))
    await refused(Code.NOT_FOUND, "NOT_FOUND", win_loss(sales, sap))
    assert await filtered(sales, f'competitorIds:"{sap}"') == ["Bid for"]
    assert await filtered(sales, f'lostToCompetitorId = "{sap}" AND competitorIds:"{oracle}"') == []
    await refused(Code.INVALID_ARGUMENT, "FILTER_INVALID", filtered(sales, 'competitorIds:"SAP"'))
    reopened = await verb(sales, "Reopen", deal.id)
    assert not reopened.lost_to_competitor_id and list(reopened.competitor_ids) == [kingdee, sap]


async def test_what_was_won_against_a_competitor_and_lost_to_it(sales: Any) -> None:
    mine = somebody(sales.boss.tenant)
    ours = somebody(sales.boss.tenant, rights={**EVERYTHING, "opportunities": Rights(Reach.OWN, Reach.OWN)})
    one, other = sales.names.competitor("Won and lost"), sales.names.competitor("Another")
    both = [one, other]

    async def made(name: str, units: int, who: Any, currency: str = "CNY", **fields: Any) -> str:
        amount = Money(currency_code=currency, units=units) if units else None
        fields.setdefault("competitor_ids", both)
        return (await sales.opportunity(name, who, amount=amount, **fields)).id

    may, june = Date(year=2026, month=5, day=31), Date(year=2026, month=6, day=1)
    await verb(sales, "Win", await made("a", 100, mine), mine, close_date=may)
    await verb(sales, "Win", await made("b", 20, mine, "USD"), mine, close_date=june)
    await verb(sales, "Win", await made("c", 0, mine), mine, close_date=june)
    lost = await made("d", 300, ours)
    await verb(sales, "Lose", lost, ours, close_date=june, reason=2, competitor_id=one)
    await verb(sales, "Lose", await made("e", 50, mine), mine, close_date=june, reason=3)
    await verb(sales, "Lose", await made("f", 7, mine), mine, close_date=june, reason=2, competitor_id=other)
    await made("g", 11, mine)
    await made("of the other alone", 1000, mine, competitor_ids=[other])
    gone = await made("deleted", 5, mine)
    delete = opportunity_service_pb2.DeleteOpportunityRequest(id=gone)
    await sales.ask("OpportunityService/DeleteOpportunity", delete, Empty)

    told = await win_loss(sales, one)
    counts = ("open_count", "won_count", "lost_count", "lost_to_count")
    assert [getattr(told, name) for name in counts] == [1, 3, 3, 1]
    assert (told.display_name, told.win_rate) == ("Won and lost", 75.0)
    yuan, dollars = told.amounts
    assert [getattr(yuan, name).units for name in ("open", "won", "lost", "lost_to")] == [11, 100, 357, 300]
    assert (dollars.currency_code, dollars.won.units, dollars.lost.units) == ("USD", 20, 0)
    only_june = await win_loss(sales, one, first_day=june, last_day=june)
    assert (only_june.won_count, only_june.lost_to_count, only_june.win_rate) == (2, 1, 66.7)
    assert not (await win_loss(sales, one, last_day=Date(year=2026, month=1, day=1))).HasField("win_rate")
    await refused(Code.INVALID_ARGUMENT, "PERIOD_INVALID", win_loss(sales, one, first_day=june, last_day=may))
    # Whoever reads few opportunities counts few; another company has none of them.
    theirs = await win_loss(sales, one, ours)
    assert [getattr(theirs, name) for name in counts] == [0, 0, 1, 1] and theirs.win_rate == 0
    stranger = await win_loss(sales, one, somebody(f"o{uuid4().hex[:8]}"))
    assert [getattr(stranger, name) for name in counts] == [0, 0, 0, 0] and not stranger.amounts
    blind = somebody(sales.boss.tenant, rights={"customers": Rights(Reach.ALL, Reach.ALL)})
    await refused(Code.PERMISSION_DENIED, "RIGHT_MISSING", win_loss(sales, one, blind))
    whole = await reported(sales)
    assert whole["Won and lost"] == told and whole["Another"].lost_to_count == 1
    assert (await reported(sales, ours)).keys() == {"Won and lost", "Another"}
    assert await reported(sales, somebody(f"o{uuid4().hex[:8]}")) == {}
