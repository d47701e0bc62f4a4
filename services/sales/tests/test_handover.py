"""Open work follows a customer to its new owner: once, and to the last one, in whatever order sales hears of it."""

import itertools
from typing import Any
from uuid import UUID, uuid4

import pytest
from kehu.customers.v1 import events_pb2 as customers
from kehu.sales.v1 import activity_pb2, activity_service_pb2, open_work_service_pb2

from chassis.errors import Code
from chassis.events.subscriptions import take_in
from chassis.testing import arriving, refused
from sales.listens import SUBSCRIPTIONS

pytestmark = pytest.mark.asyncio(loop_scope="module")


def assigned(customer: str, former: UUID, owner: UUID, **along: bool) -> customers.CustomerAssigned:
    wanted: dict[str, Any] = {**along} or {"with_activities": True, "with_opportunities": True}
    return customers.CustomerAssigned(
        customer_id=customer, owner_id=str(owner), previous_owner_id=str(former), **wanted
    )


async def hear(sales: Any, event: customers.CustomerAssigned, version: int, times: int = 1) -> None:
    told = arriving(SUBSCRIPTIONS, event, sales.boss, record_id=UUID(event.customer_id), version=version)
    assert told.listener.concerns(event)
    for _ in range(times):
        await take_in(sales.harness.running.database, "sales", [told])


async def plan(sales: Any, customer: str, owner: UUID) -> str:
    activity = activity_pb2.Activity(
        subject="call", kind=activity_pb2.ACTIVITY_KIND_TASK, customer_id=customer, owner_id=str(owner)
    )
    activity.due_time.FromSeconds(1_800_000_000)
    request = activity_service_pb2.CreateActivityRequest(activity=activity)
    return (await sales.ask("ActivityService/CreateActivity", request, activity_pb2.Activity)).id


async def owner_of(sales: Any, id: str) -> str:
    request = activity_service_pb2.GetActivityRequest(id=id)
    return (await sales.ask("ActivityService/GetActivity", request, activity_pb2.Activity)).owner_id


async def test_open_work_of_the_former_owner_follows_once(sales: Any) -> None:
    ann, bob, cy = [sales.names.person(name) for name in ("Ann", "Bob", "Cy")]
    customer, elsewhere = sales.names.customer("One"), sales.names.customer("Two")
    mine = await sales.opportunity("mine", customer_id=customer, owner_id=str(ann))
    theirs = await sales.opportunity("theirs", customer_id=customer, owner_id=str(cy))
    other = await sales.opportunity("other", customer_id=elsewhere, owner_id=str(ann))
    task, done = await plan(sales, customer, ann), await plan(sales, customer, ann)
    complete = activity_service_pb2.CompleteActivityRequest(id=done, result="spoke")
    await sales.ask("ActivityService/CompleteActivity", complete, activity_pb2.Activity)
    await hear(sales, assigned(customer, ann, bob), 2, times=2)
    owners = [(await sales.opportunity_now(one.id)).owner_id for one in (mine, theirs, other)]
    assert owners == [str(bob), str(cy), str(ann)]
    assert [await owner_of(sales, id) for id in (task, done)] == [str(bob), str(ann)]
    assert await sales.outbox(mine.id) == ["OpportunityCreated", "OpportunityAssigned"]
    # Only what was asked for goes along.
    await hear(sales, assigned(customer, bob, cy, with_activities=True), 3)
    assert (await sales.opportunity_now(mine.id)).owner_id == str(bob)
    assert await owner_of(sales, task) == str(cy)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
async def test_late_events_lead_to_where_the_newest_went(sales: Any, order: tuple[int, ...]) -> None:
    people = [sales.names.person(name) for name in ("Ann", "Bob", "Cy", "Di")]
    customer = sales.names.customer(f"Customer {uuid4()}")
    deal = await sales.opportunity("deal", customer_id=customer, owner_id=str(people[0]))
    task = await plan(sales, customer, people[0])
    for place in order:
        await hear(sales, assigned(customer, people[place], people[place + 1]), place + 2)
    assert (await sales.opportunity_now(deal.id)).owner_id == str(people[3]) == await owner_of(sales, task)


async def test_open_work_is_counted_for_customers_alone(sales: Any) -> None:
    ann = sales.names.person("Ann")
    customer = sales.names.customer("Counted")
    await sales.opportunity("one", customer_id=customer, owner_id=str(ann))
    await plan(sales, customer, ann)
    await plan(sales, customer, sales.names.person("Bob"))
    works = [open_work_service_pb2.OpenWorkOf(customer_id=customer, owner_id=str(ann))]
    request = open_work_service_pb2.CountOpenWorkRequest(works=works)
    answer = open_work_service_pb2.CountOpenWorkResponse
    method = "OpenWorkService/CountOpenWork"
    counted = await sales.ask(method, request, answer, sales.boss.acting_as("customers"))
    assert (counted.opportunity_count, counted.activity_count) == (1, 1)
    await refused(Code.PERMISSION_DENIED, "RIGHT_MISSING", sales.ask(method, request, answer))
    theirs = sales.ask(method, request, answer, sales.boss.acting_as("leads"))
    await refused(Code.PERMISSION_DENIED, "SERVICE_NOT_ALLOWED", theirs)
