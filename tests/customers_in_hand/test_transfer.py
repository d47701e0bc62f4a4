"""Customers that are given to another owner in bulk, with what goes along, and what stays and why."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from kehu.customers.v1 import customer_pb2, customer_service_pb2
from kehu.shares.v1 import shares_pb2

from chassis.errors import Code
from chassis.principal import Principal, Reach, Rights
from chassis.testing import eventually, refused
from customers.rpc import transfers
from customers.transfer import AT_ONCE

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]
Make = Callable[[], Awaitable[Any]]
WRITE = shares_pb2.SHARE_ACCESS_WRITE
TEAM = Rights(Reach.TEAM, Reach.TEAM)


def counts(answer: Any) -> tuple[int, int, int]:
    return answer.transferred_count, answer.unchanged_count, answer.refused_count


def why(answer: Any) -> dict[str, str]:
    return {one.customer_id: one.reason for one in answer.refusals}


async def test_everything_of_somebody_who_leaves(company: Make) -> None:
    c = await company()
    team = await c.team("Sales")
    ann, bob, cy = await c.person("Ann"), await c.person("Bob", team), await c.person("Cy")
    mine = [await c.customer(ann) for _ in range(AT_ONCE + 5)]
    await c.contact(mine[0], "张伟")
    theirs = await c.customer(cy)
    deals = [await c.opportunity(mine[0], ann), await c.opportunity(mine[0], cy)]
    calls = [await c.activity(mine[1], ann), await c.activity(mine[1], cy)]
    everything = {
        "filter": f'ownerId = "{ann.person_id}"', "with_activities": True, "with_opportunities": True,
    }  # fmt: skip
    look = await c.transfer(bob, **everything, validate_only=True)
    assert counts(look) == (len(mine), 0, 0)
    assert (look.contact_count, look.activity_count, look.opportunity_count) == (1, 1, 1)
    assert await c.listed(ann) == set(mine), "a look changes nothing"
    done = await c.transfer(bob, **everything)
    assert counts(done) == (len(mine), 0, 0) and done.contact_count == 1
    assert not done.HasField("activity_count")
    assert (
        await c.listed(bob) == set(mine) and await c.listed(ann) == set() and await c.listed(cy) == {theirs}
    )
    assert (await c.get(mine[0])).team_id == team

    async def followed() -> bool:
        return (await c.opportunity_now(deals[0])).owner_id == str(bob.person_id) and (
            await c.activity_now(calls[0])
        ).owner_id == str(bob.person_id)

    await eventually(followed)
    assert (await c.opportunity_now(deals[0])).team_id == team
    assert (await c.opportunity_now(deals[1])).owner_id == str(cy.person_id)
    assert (await c.activity_now(calls[1])).owner_id == str(cy.person_id)
    again = await c.transfer(bob, ids=mine[:3], with_activities=True)
    assert counts(again) == (0, 3, 0)
    assert await c.told(mine[0]) == ["customer.created", "customer.assigned"]


async def test_what_does_not_go_along_stays(company: Make) -> None:
    c = await company()
    ann, bob = [await c.person(name) for name in ("Ann", "Bob")]
    id = await c.customer(ann)
    deal, call = await c.opportunity(id, ann), await c.activity(id, ann)
    await c.transfer(bob, ids=[id], with_activities=True)

    async def followed() -> bool:
        return (await c.activity_now(call)).owner_id == str(bob.person_id)

    await eventually(followed)
    assert (await c.opportunity_now(deal)).owner_id == str(ann.person_id)


async def test_each_needs_a_right_and_the_answer_says_which_stay(company: Make) -> None:
    c, rival = await company(), await company()
    team = await c.team("Sales")
    lead = await c.person("Lead", team, customers=Rights(Reach.ALL, Reach.TEAM), opportunities=TEAM)
    ann, outside = await c.person("Ann", team), await c.person("Outside")
    inside, far = await c.customer(ann), await c.customer(outside)
    shared, missing, foreign = await c.customer(outside), str(uuid4()), await rival.customer()
    await c.share(shared, WRITE, outside, person_id=str(lead.person_id))
    done = await c.transfer(lead, lead, ids=[inside, far, shared, missing, foreign])
    assert counts(done) == (1, 0, 4)
    assert why(done) == {
        far: "RECORD_READ_ONLY", shared: "SHARED_ONLY", missing: "CUSTOMER_NOT_FOUND", foreign: "CUSTOMER_NOT_FOUND",
    }  # fmt: skip
    names = {one.customer_id: one.display_name for one in done.refusals}
    assert names[far] and not names[foreign]
    owners = [(await c.get(id)).owner_id for id in (inside, far, shared)]
    assert owners == [str(who.person_id) for who in (lead, outside, outside)]
    # By a filter only what one sees is found.
    seller = await c.person("Seller")
    every = await c.transfer(seller, seller, filter='displayName != "x"')
    assert counts(every) == (0, 0, 0)
    # The open work needs a right of its own.
    await c.transfer(ann, ids=[inside])
    narrow = replace(lead, rights={**lead.rights, "opportunities": Rights(Reach.ALL, Reach.OWN)})
    held = await c.transfer(lead, narrow, ids=[inside], with_opportunities=True)
    assert why(held) == {inside: "OPPORTUNITIES_OUT_OF_REACH"}
    none = replace(lead, rights={"customers": TEAM})
    without = c.transfer(lead, none, ids=[inside], with_activities=True)
    await refused(Code.PERMISSION_DENIED, "RIGHT_MISSING", without)
    assert counts(await c.transfer(lead, none, ids=[inside])) == (1, 0, 0)


async def test_the_wrong_way(company: Make) -> None:
    c, rival = await company(), await company()
    ann, bob = [await c.person(name) for name in ("Ann", "Bob")]
    id = await c.customer(ann)
    bad = (Code.INVALID_ARGUMENT, "INVALID_FIELD")
    await refused(*bad, c.transfer(bob))
    await refused(*bad, c.transfer(bob, ids=[id], filter='displayName = "x"'))
    await refused(*bad, c.transfer(bob, ids=[id, id]))
    await refused(Code.INVALID_ARGUMENT, "FILTER_INVALID", c.transfer(bob, filter="nonsense ="))
    await refused(Code.INVALID_ARGUMENT, "OWNER_NOT_FOUND", c.transfer(rival.boss, ids=[id]))
    await refused(Code.PERMISSION_DENIED, "OWNER_OUT_OF_REACH", c.transfer(bob, ann, ids=[id]))
    reader = await c.person("Reader", customers=Rights(Reach.ALL, Reach.NONE))
    await refused(Code.PERMISSION_DENIED, "RIGHT_MISSING", c.transfer(reader, reader, ids=[id]))
    await c.disable(bob)
    await refused(Code.INVALID_ARGUMENT, "OWNER_NOT_FOUND", c.transfer(bob, ids=[id]))
    assert (await c.get(id)).owner_id == str(ann.person_id)


async def test_a_filter_that_finds_too_many_gives_nobody_away(
    company: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    c = await company()
    ann, bob = [await c.person(name) for name in ("Ann", "Bob")]
    ids = {await c.customer(ann) for _ in range(4)}
    monkeypatch.setattr(transfers, "MOST", 3)
    every = c.transfer(bob, filter=f'ownerId = "{ann.person_id}"')
    await refused(Code.FAILED_PRECONDITION, "TRANSFER_TOO_LARGE", every)
    assert await c.listed(ann) == ids


async def test_transfers_at_once_lose_and_double_nothing(company: Make) -> None:
    c = await company()
    ann, bob, cy = [await c.person(name) for name in ("Ann", "Bob", "Cy")]
    ids = [await c.customer(ann) for _ in range(40)]
    deal = await c.opportunity(ids[0], ann)

    async def to(owner: Principal, order: list[str]) -> Any:
        return await c.transfer(owner, ids=order, with_opportunities=True)

    answers = await asyncio.gather(to(bob, ids), to(cy, ids[::-1]), to(bob, ids[::-1]))
    for answer in answers:
        assert sum(counts(answer)) == len(ids) and not answer.refusals
    owners = {(await c.get(id)).owner_id for id in ids}
    assert owners <= {str(bob.person_id), str(cy.person_id)}
    given = sum(answer.transferred_count for answer in answers)
    told = [event for id in ids for event in await c.told(id) if event == "customer.assigned"]
    assert len(told) == given

    async def together() -> bool:
        return (await c.opportunity_now(deal)).owner_id == (await c.get(ids[0])).owner_id

    await eventually(together)


async def test_a_person_cut_off_half_way_asks_again(company: Make) -> None:
    """The first hundred are given, then the process dies: whoever asks again gives the rest."""
    c = await company()
    ann, bob = [await c.person(name) for name in ("Ann", "Bob")]
    ids = [await c.customer(ann) for _ in range(AT_ONCE + 3)]
    assert counts(await c.transfer(bob, ids=ids[:AT_ONCE])) == (AT_ONCE, 0, 0)
    assert counts(await c.transfer(bob, ids=ids)) == (3, AT_ONCE, 0)
    assert [await c.told(id) for id in (ids[0], ids[-1])] == [["customer.created", "customer.assigned"]] * 2
    request = customer_service_pb2.AssignCustomerRequest(id=ids[0], owner_id=str(ann.person_id))
    back = await c.ask("CustomerService/AssignCustomer", request, customer_pb2.Customer)
    assert back.owner_id == str(ann.person_id)
