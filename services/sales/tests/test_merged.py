"""Customers and contacts that were merged: what sales knows of them follows and goes back, in whatever order it hears of it."""

import itertools
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from google.protobuf.struct_pb2 import Value
from kehu.customers.v1 import events_pb2 as customers
from kehu.customers.v1 import merge_pb2
from kehu.customfields.v1 import custom_fields_pb2
from kehu.leads.v1 import events_pb2 as leads
from kehu.sales.v1 import (
    activity_pb2,
    activity_service_pb2,
    opportunity_pb2,
    opportunity_service_pb2,
    order_pb2,
    order_service_pb2,
)

from chassis import following
from chassis.ids import new_id
from chassis.testing import eventually
from sales import merged
from sales.activity import Activity
from sales.opportunity import Opportunity

pytestmark = pytest.mark.asyncio(loop_scope="module")


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


async def own_field(sales: Any, of: str, key: str) -> None:
    field = custom_fields_pb2.CustomField(
        record_type=of, key=key, label_en=key, kind=custom_fields_pb2.CUSTOM_FIELD_KIND_REFERENCE,
        reference_type="customer", filterable=True,
    )  # fmt: skip
    request = custom_fields_pb2.CreateCustomFieldRequest(custom_field=field)
    await sales.ask("CustomFieldService/CreateCustomField", request, custom_fields_pb2.CustomField)


def named(**ids: str) -> dict[str, Value]:
    return {key: Value(string_value=id) for key, id in ids.items()}


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def fields_of_ones_own(sales: Any) -> None:
    await own_field(sales, "opportunity", "introduced_by")
    await own_field(sales, "opportunity", "rival")
    await own_field(sales, "product", "made_for")
    await own_field(sales, "order", "billed_to")


async def test_all_follow_and_go_back_and_say_so(sales: Any) -> None:
    one, two = sales.names.customer("One"), sales.names.customer("Two")
    deal = await sales.opportunity("deal", customer_id=two)
    own = await sales.opportunity("own", customer_id=one)
    product = await sales.product(f"p{uuid4()}", 10)
    order = await sales.order(order_pb2.OrderLine(product_id=product.id, quantity="1"), customer_id=two)
    task = await plan(sales, customer_id=two)
    merge = str(new_id())
    await sales.hear(went(merge, one, two, name="One"), times=2)
    moved = await sales.opportunity_now(deal.id)
    assert (moved.customer_id, moved.customer_name) == (one, "One")
    now = await order_now(sales, order.id)
    assert (now.customer_id, now.customer_name) == (one, "Two")
    assert (await sales.told(task.id))[-1]["activity"]["customerId"] == one
    assert (await sales.outbox(deal.id)) == ["OpportunityCreated", "OpportunityUpdated"]
    assert (await sales.told(deal.id))[-1]["changedFields"] == ["customerId"]
    late = await sales.opportunity("since", customer_id=one)
    await sales.hear(back(merge, one, Two=two), times=2)
    found = [(await sales.opportunity_now(it.id)).customer_name for it in (deal, own, late)]
    assert found == ["Two", "One", "One"]
    assert (await order_now(sales, order.id)).customer_id == two
    # A second telling of the merge, as another event, does not bring it back.
    await sales.hear(went(merge, one, two))
    assert (await sales.opportunity_now(deal.id)).customer_id == two


async def test_what_comes_late_follows(sales: Any) -> None:
    one, two = sales.names.customer("One"), sales.names.customer("Two")
    merge = str(new_id())
    await sales.hear(went(merge, one, two, name="One"))
    # Sales had asked for the customer before, and writes after it has heard.
    late = await sales.opportunity("late", customer_id=two)
    call = sales.harness.running.call(sales.boss.acting_as("sales"))
    job = merged.CUSTOMERS.jobs["follow customer"]
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
    await sales.hear(leads.LeadConverted(lead_id=lead, lead=snapshot))
    assert (await sales.told(str(activity.id)))[-1]["activity"]["customerId"] == one
    await sales.hear(back(merge, one, Two=two))
    assert (await sales.opportunity_now(late.id)).customer_id == two


async def test_an_attaching_that_is_heard_behind_its_taking_back_does_not_stick(sales: Any) -> None:
    customer, lead, id = sales.names.customer("One"), str(uuid4()), new_id()
    async with sales.harness.running.database.transaction(sales.boss) as tx:
        tx.add(Activity(id=id, subject="call", kind="TASK", lead_id=UUID(lead), due_time=datetime.now(UTC)))
    attached = leads.LeadDisqualified(
        lead_id=lead, lead=leads.LeadSnapshot(duplicate_of_customer_id=customer)
    )
    await sales.hear(attached, version=3)
    assert (await sales.told(str(id)))[-1]["activity"]["customerId"] == customer
    await sales.hear(leads.LeadReopened(lead_id=lead), version=4)
    told = await sales.told(str(id))
    assert "customerId" not in told[-1]["activity"]
    await sales.hear(attached, version=3)
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
    deals = {
        id: await sales.opportunity("deal", customer_id=id, custom_fields=named(introduced_by=id))
        for id in (one, two, three)
    }
    merges, undone = _stories(one, two, three)
    events = [*merges, *undone]
    for number in order:
        await sales.hear(events[number]())
    for id, deal in deals.items():
        now = await sales.opportunity_now(deal.id)
        assert now.customer_id == now.custom_fields["introduced_by"].string_value == id


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_merges_of_merges(sales: Any, order: tuple[int, ...]) -> None:
    one, two, three = (sales.names.customer(name) for name in ("One", "Two", "Three"))
    deals = {id: await sales.opportunity("deal", customer_id=id) for id in (one, two, three)}
    merges, undone = _stories(one, two, three)
    for number in order:
        await sales.hear(merges[number]())
    found = [await sales.opportunity_now(deal.id) for deal in deals.values()]
    assert {it.customer_id for it in found} == {one}
    assert [it.customer_name for it in found[1:]] == ["One", "One"]
    await sales.hear(undone[0]())
    assert (await sales.opportunity_now(deals[three].id)).customer_id == two


async def test_what_was_given_to_another_since_stays(sales: Any) -> None:
    one, two, three = (sales.names.customer(name) for name in ("One", "Two", "Three"))
    deal = await sales.opportunity("deal", customer_id=two)
    merge = str(new_id())
    await sales.hear(went(merge, one, two))
    request = opportunity_service_pb2.UpdateOpportunityRequest(
        opportunity=opportunity_pb2.Opportunity(id=deal.id, customer_id=three)
    )
    request.update_mask.paths.append("customer_id")
    await sales.ask("OpportunityService/UpdateOpportunity", request, opportunity_pb2.Opportunity)
    await sales.hear(back(merge, one, Two=two))
    assert (await sales.opportunity_now(deal.id)).customer_id == three


async def test_contacts_follow(sales: Any) -> None:
    lina, twin = str(uuid4()), str(uuid4())
    deal = await sales.opportunity("deal", contact_id=twin)
    merge = str(new_id())
    contact = customers.ContactSnapshot(display_name="李娜")
    event = customers.ContactMerged(
        contact_id=lina, contact=contact, merge_id=merge, merged_contact_ids=[twin]
    )
    await sales.hear(event)
    assert (await sales.opportunity_now(deal.id)).contact_id == lina
    restored = [merge_pb2.RestoredRecord(id=twin, display_name="Li Na")]
    await sales.hear(
        customers.ContactUnmerged(
            contact_id=lina, contact=contact, merge_id=merge, restored_contacts=restored
        ),
    )
    assert (await sales.opportunity_now(deal.id)).contact_id == twin


async def test_fields_of_ones_own_follow_like_the_others(sales: Any) -> None:
    one, two, three = (sales.names.customer(name) for name in ("One", "Two", "Three"))
    # The customer itself, and two fields of one record, go along together.
    deal = await sales.opportunity("d", customer_id=two, custom_fields=named(introduced_by=two, rival=two))
    other = await sales.opportunity(
        "o", customer_id=three, custom_fields=named(introduced_by=two, rival=three)
    )
    product = await sales.product(f"p{uuid4()}", 10, custom_fields=named(made_for=two))
    order = await sales.order(place=False, customer_id=three, custom_fields=named(billed_to=two))

    async def of(id: str) -> tuple[str, ...]:
        now = await sales.opportunity_now(id)
        return now.customer_id, *(now.custom_fields[key].string_value for key in ("introduced_by", "rival"))

    async def found(id: str) -> list[str]:
        request = opportunity_service_pb2.ListOpportunitiesRequest(
            filter=f"customFields.introduced_by = {id}"
        )
        answer = opportunity_service_pb2.ListOpportunitiesResponse
        page = await sales.ask("OpportunityService/ListOpportunities", request, answer)
        return sorted(each.name for each in page.opportunities)

    merge = str(new_id())
    await sales.hear(went(merge, one, two), times=2)
    assert (await of(deal.id), await of(other.id)) == ((one, one, one), (three, one, three))
    assert (await found(one), await found(two)) == (["d", "o"], [])
    told = await sales.told(product.id)
    assert told[-1]["changedFields"] == ["customFields.made_for"]
    assert told[-1]["product"]["customFields"] == {"made_for": one}
    billed = (await sales.told(order.id))[-1]
    assert (billed["changedFields"], billed["order"]["customFields"]) == (
        ["customFields.billed_to"],
        {"billed_to": one},
    )
    rows = await sales.harness.running.database.read(
        sales.boss,
        "SELECT changes, origin FROM history WHERE record_id = $1 ORDER BY version",
        UUID(other.id),
    )
    assert (rows[-1]["changes"], rows[-1]["origin"]) == ({"custom_fields.introduced_by": [two, one]}, "event")
    # Somebody says otherwise: that stays.
    request = opportunity_service_pb2.UpdateOpportunityRequest(
        opportunity=opportunity_pb2.Opportunity(id=deal.id, custom_fields=named(rival=three))
    )
    request.update_mask.paths.append("custom_fields.rival")
    await sales.ask("OpportunityService/UpdateOpportunity", request, opportunity_pb2.Opportunity)
    await sales.hear(back(merge, one, Two=two), times=2)
    await sales.hear(went(merge, one, two))
    assert (await of(deal.id), await of(other.id)) == ((two, two, three), (three, two, three))
    assert await found(two) == ["d", "o"] and await found(one) == []
    assert (await sales.told(product.id))[-1]["product"]["customFields"] == {"made_for": two}


async def test_what_is_too_many_for_one_event_follows_in_steps(
    sales: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "AT_ONCE", 2)
    one, two, three = (sales.names.customer(name) for name in ("One", "Two", "Three"))
    own = named(introduced_by=two, rival=two)
    deals = [await sales.opportunity("d", customer_id=three, custom_fields=own) for _ in range(5)]
    mine = await sales.opportunity("m", customer_id=two)

    async def now() -> list[tuple[str, ...]]:
        found = [(await sales.opportunity_now(deal.id)).custom_fields for deal in deals]
        return [tuple(custom[key].string_value for key in ("introduced_by", "rival")) for custom in found]

    async def followed() -> bool:
        waiting = "SELECT count(*) AS count FROM jobs WHERE kind = 'follow customer on'"
        return not (await sales.harness.running.database.read(sales.boss, waiting))[0]["count"]

    merge = str(new_id())
    async with sales.harness.running.database.transaction(sales.boss) as tx:
        for deal in deals[1:]:
            await tx.get(Opportunity, UUID(deal.id), right="opportunities")
        # What is no custom field is there at once, whoever holds others, and it is undone half way.
        await sales.hear(went(merge, one, two), times=2)
        assert (await sales.opportunity_now(mine.id)).customer_id == one
        assert await now() == [(one, one)] + [(two, two)] * 4
        await sales.hear(back(merge, one, Two=two), times=2)
        await sales.hear(went(merge, one, two))
    await eventually(followed)
    assert await now() == [(two, two)] * 5
    again = str(new_id())
    await sales.hear(went(again, one, two), times=2)
    await eventually(followed)
    assert await now() == [(one, one)] * 5
    told = await sales.told(deals[4].id)
    both = ["customFields.introduced_by", "customFields.rival"]
    assert [data.get("changedFields") for data in told[1:]] == [both]
    await sales.hear(back(again, one, Two=two))
    await eventually(followed)
    assert await now() == [(two, two)] * 5
    assert (await sales.opportunity_now(mine.id)).customer_id == two
