"""Accepting, returning, running out of time, being idle, and claiming: each once, whoever asks at the same time or again."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from kehu.leads.v1 import (
    absence_service_pb2,
    assignment_pb2,
    cleaning_service_pb2,
    lead_merge_pb2,
    lead_pb2,
    lead_service_pb2,
)
from kehu.sales.v1 import events_pb2 as sales

from chassis.errors import Code, Problem
from chassis.events.subscriptions import take_in
from chassis.owners import Owner
from chassis.principal import Principal
from chassis.testing import arriving, eventually, refused, somebody
from leads.handling import RECLAIM, hold
from leads.lead import capture
from leads.listens import SUBSCRIPTIONS
from leads.pool import forget_days, reclaim_idle, warn_idle
from leads.rpc.jobs import expire_offer, reclaim

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]
Make = Callable[[], Awaitable[Any]]


def accept(c: Any, lead: lead_pb2.Lead, who: Principal) -> Awaitable[lead_pb2.Lead]:
    return c.verb("AcceptLead", lead_service_pb2.AcceptLeadRequest(id=lead.id), who)


def give_back(c: Any, lead: lead_pb2.Lead, who: Principal) -> Awaitable[lead_pb2.Lead]:
    request = lead_service_pb2.ReturnLeadRequest(id=lead.id, reason="not my region")
    return c.verb("ReturnLead", request, who)


def claim(c: Any, lead: lead_pb2.Lead, who: Principal) -> Awaitable[lead_pb2.Lead]:
    return c.verb("ClaimLead", lead_service_pb2.ClaimLeadRequest(id=lead.id), who)


async def offered(c: Any, **fields: Any) -> lead_pb2.Lead:
    lead = await c.lead(**fields)
    await c.settled()
    return await c.now(lead.id)


async def run_out(c: Any, lead: lead_pb2.Lead) -> datetime:
    """The time to accept passes."""
    passed = datetime.now(UTC) - timedelta(seconds=1)
    await c.execute("UPDATE leads SET accept_until_time = :p0 WHERE id = CAST(:p1 AS uuid)", passed, lead.id)
    return passed


async def test_an_offer_is_accepted_by_its_owner_or_by_working_on_it(company: Make) -> None:
    c = await company()
    ann, bob = [await c.person(name) for name in ("Ann", "Bob")]
    await c.rule("Asked", ann, bob, accept_minutes=30)
    lead = await offered(c)
    assert (lead.acceptance, c.people[lead.owner_id]) == (lead_pb2.ACCEPTANCE_STATE_PENDING, "Ann")
    assert 29 * 60 < lead.accept_until_time.seconds - lead.assign_time.seconds <= 30 * 60
    await refused(Code.NOT_FOUND, "NOT_FOUND", accept(c, lead, bob))
    await refused(Code.PERMISSION_DENIED, "LEAD_NOT_YOURS", accept(c, lead, c.boss))
    taken = await accept(c, lead, ann)
    assert taken.acceptance == lead_pb2.ACCEPTANCE_STATE_ACCEPTED and not taken.HasField("accept_until_time")
    assert (await accept(c, lead, ann)).etag == taken.etag
    assert (await c.told(lead.id))[-1] == "lead.accepted"
    worked_on = await offered(c)
    contact = lead_service_pb2.ContactLeadRequest(id=worked_on.id)
    assert (await c.verb("ContactLead", contact, bob)).acceptance == lead_pb2.ACCEPTANCE_STATE_ACCEPTED
    plain = await c.lead(ann)
    await refused(Code.FAILED_PRECONDITION, "LEAD_NOT_PENDING", accept(c, plain, ann))


async def test_an_offer_goes_on_when_its_time_has_passed_and_ends_at_the_default(company: Make) -> None:
    c = await company()
    people = [await c.person(name) for name in ("Ann", "Bob", "Cy")]
    chief = await c.person("Chief")
    await c.handling(max_offers=2)
    await c.rule("Asked", *people, accept_minutes=30)
    await c.rule("Left", chief, default_rule=True, accept_minutes=30)
    lead = await offered(c)
    owners = [c.people[lead.owner_id]]
    for _ in range(2):
        passed = await run_out(c, lead)
        payload = {"lead_id": lead.id, "until": passed.isoformat()}
        # The job runs twice in each of two replicas: after a kill, or when a lease has ended too soon.
        jobs = [
            expire_offer(payload, one.running.call(c.boss.acting_as("leads")))
            for one in (c.leads, c.other) * 2
        ]
        await asyncio.gather(*jobs)
        lead = await c.now(lead.id)
        owners.append(c.people[lead.owner_id])
    assert owners == ["Ann", "Bob", "Chief"]
    assert lead.acceptance == lead_pb2.ACCEPTANCE_STATE_UNSPECIFIED, "the last one is not asked"
    assert (
        lead.assignment_cause == lead_pb2.ASSIGNMENT_CAUSE_PASSED_ON and lead.assignment_rule_name == "Left"
    )
    assert Counter(await c.told(lead.id)) == {"lead.created": 1, "lead.assigned": 3}


async def test_nobody_left_means_the_pool_and_the_timer_runs_by_itself(company: Make) -> None:
    c = await company()
    ann = await c.person("Ann")
    await c.rule("Asked", ann, accept_minutes=30)
    lead = await offered(c)
    passed = await run_out(c, lead)
    await c.execute(
        "UPDATE jobs SET due_at = :p0, payload = jsonb_set(payload, '{until}', to_jsonb(CAST(:p1 AS text)))"
        " WHERE kind = 'acceptance'",
        passed,
        passed.isoformat(),
    )

    async def in_pool() -> bool:
        return not (await c.now(lead.id)).owner_id

    await eventually(in_pool, 60)
    now = await c.now(lead.id)
    assert now.assignment_cause == lead_pb2.ASSIGNMENT_CAUSE_NOT_ACCEPTED and now.HasField("pool_time")
    assert (await c.told(lead.id))[-1] == "lead.reclaimed"


async def test_what_is_returned_goes_to_somebody_else(company: Make) -> None:
    c = await company()
    ann, bob = [await c.person(name) for name in ("Ann", "Bob")]
    await c.rule("Round", ann, bob)
    lead = await offered(c)
    await refused(Code.PERMISSION_DENIED, "LEAD_NOT_YOURS", give_back(c, lead, c.boss))
    await refused(Code.NOT_FOUND, "NOT_FOUND", give_back(c, lead, bob))
    returned = await give_back(c, lead, ann)
    assert not returned.owner_id and returned.return_reason == "not my region"
    await c.settled()
    now = await c.now(lead.id)
    assert c.people[now.owner_id] == "Bob"
    assert now.assignment_cause == lead_pb2.ASSIGNMENT_CAUSE_PASSED_ON
    await give_back(c, lead, bob)
    await c.settled()
    assert not (await c.now(lead.id)).owner_id, "both have returned it"
    assert Counter(await c.told(lead.id)) == {"lead.created": 1, "lead.assigned": 2, "lead.returned": 2}
    empty = lead_service_pb2.ReturnLeadRequest(id=lead.id)
    await refused(Code.INVALID_ARGUMENT, "INVALID_FIELD", c.verb("ReturnLead", empty, bob))


async def test_by_hand_with_a_time_limit(company: Make) -> None:
    c = await company()
    ann = await c.person("Ann")
    lead = await c.lead(c.boss)
    request = lead_service_pb2.AssignLeadRequest(id=lead.id, owner_id=str(ann.person_id), accept_minutes=5)
    given = await c.verb("AssignLead", request)
    assert given.acceptance == lead_pb2.ACCEPTANCE_STATE_PENDING
    assert given.assignment_cause == lead_pb2.ASSIGNMENT_CAUSE_BY_HAND
    (job,) = await c.rows("SELECT due_at FROM jobs WHERE kind = 'acceptance'")
    assert job["due_at"] == given.accept_until_time.ToDatetime(tzinfo=UTC)


async def in_pool(c: Any, owner: Principal) -> lead_pb2.Lead:
    lead = await c.lead(owner)
    return await give_back(c, lead, owner)


async def test_fifty_claim_one_lead_and_one_gets_it(company: Make) -> None:
    c = await company()
    ann = await c.person("Ann")
    lead = await in_pool(c, ann)
    await c.settled()
    sellers = [replace(ann, person_id=somebody(str(n)).person_id) for n in range(50)]
    pool = lead_service_pb2.ListPoolLeadsRequest()
    answer = lead_service_pb2.ListPoolLeadsResponse
    seen = await c.ask("LeadService/ListPoolLeads", pool, answer, sellers[0])
    assert [one.id for one in seen.leads] == [lead.id]
    assert not (await c.ask("LeadService/ListPoolLeads", pool, answer, somebody("rival"))).leads

    async def one(place: int) -> bool:
        harness = (c.leads, c.other)[place % 2]
        method = "kehu.leads.v1.LeadService/ClaimLead"
        request = lead_service_pb2.ClaimLeadRequest(id=lead.id)
        try:
            await harness.ask(sellers[place], method, request, lead_pb2.Lead)
        except Problem as problem:
            assert problem.code in (Code.NOT_FOUND, Code.ABORTED, Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED)
            return False
        return True

    won = await asyncio.gather(*(one(place) for place in range(50)))
    assert sum(won) == 1
    assert (await c.now(lead.id)).owner_id == str(sellers[won.index(True)].person_id)
    assert Counter(await c.told(lead.id))["lead.assigned"] == 1
    await refused(Code.FAILED_PRECONDITION, "LEAD_NOT_IN_POOL", claim(c, lead, c.boss))


async def test_claims_have_a_limit_and_a_pause(company: Make) -> None:
    c = await company()
    ann, bob = [await c.person(name) for name in ("Ann", "Bob")]
    await c.handling(claim_limit=2, claim_pause_hours=1)
    leads = [await in_pool(c, ann) for _ in range(4)]
    await c.settled()
    await refused(Code.FAILED_PRECONDITION, "CLAIM_TOO_SOON", claim(c, leads[0], ann))
    asked = [claim(c, lead, bob) for lead in leads]
    done = await asyncio.gather(*asked, return_exceptions=True)
    refusals = [one.reason for one in done if isinstance(one, Problem)]
    assert refusals == ["CLAIM_LIMIT_REACHED"] * 2, done
    mine = [one for one in done if not isinstance(one, BaseException)]
    assert {one.assignment_cause for one in mine} == {lead_pb2.ASSIGNMENT_CAUSE_CLAIMED}
    await refused(Code.NOT_FOUND, "NOT_FOUND", claim(c, leads[0], somebody("rival")))


async def idle(c: Any, days: float, *leads: lead_pb2.Lead) -> None:
    """Nobody has touched them for so many days."""
    await c.execute(
        "UPDATE leads SET touch_time = :p0 WHERE id = ANY(CAST(:p1 AS uuid[]))",
        datetime.now(UTC) - timedelta(days=days),
        [lead.id for lead in leads],
    )


async def work(c: Any, some: Any, harness: Any) -> None:
    async with harness.running.database.transaction(c.boss.acting_as("leads")) as tx:
        await some(tx, await hold(tx))


async def test_idle_leads_go_back_after_a_warning_once(company: Make) -> None:
    c = await company()
    ann = await c.person("Ann")
    kept, touched, gone, partner = [await c.lead(ann) for _ in range(3)] + [
        await c.lead(ann, source=lead_pb2.LEAD_SOURCE_PARTNER)
    ]
    await idle(c, 6.5, touched, gone, partner)
    await c.handling(reclaim_idle_days=7, reclaim_warning_days=1, reclaim_condition="NOT source = PARTNER")

    async def warned() -> bool:  # by the job that the change of the handling began
        return (await c.told(gone.id))[-1] == "lead.reclaim_warned"

    await eventually(warned, 60)
    assert (await c.now(gone.id)).HasField("reclaim_time")
    assert "lead.reclaim_warned" not in await c.told(kept.id) + await c.told(partner.id)
    contact = lead_service_pb2.ContactLeadRequest(id=touched.id)
    assert not (await c.verb("ContactLead", contact, ann)).HasField("reclaim_time")
    await idle(c, 8, gone)
    await c.execute(
        "UPDATE leads SET reclaim_time = now() - interval '1 minute' WHERE reclaim_time IS NOT NULL"
    )
    # Two replicas at once, and again after that.
    both = [work(c, some, one) for some in (reclaim_idle, warn_idle) for one in (c.leads, c.other)]
    await asyncio.gather(*both)
    await asyncio.gather(*[work(c, reclaim_idle, one) for one in (c.leads, c.other)])
    now = await c.now(gone.id)
    assert not now.owner_id and now.assignment_cause == lead_pb2.ASSIGNMENT_CAUSE_IDLE
    assert Counter(await c.told(gone.id)) == {
        "lead.created": 1, "lead.reclaim_warned": 1, "lead.reclaimed": 1,
    }  # fmt: skip
    assert [(await c.now(one.id)).owner_id for one in (kept, touched, partner)] == [str(ann.person_id)] * 3


async def owner_now(c: Any, *leads: lead_pb2.Lead) -> list[str]:
    """Whose they are after all that is idle was taken back, forgotten and warned of."""
    for some in (reclaim_idle, forget_days, warn_idle):
        await work(c, some, c.leads)
    return await c.owners(list(leads))


async def warned_until(c: Any, id: str) -> None:
    """The owner was warned, and the day has passed."""
    await c.execute(
        "UPDATE leads SET reclaim_time = now() - interval '1 minute' WHERE id = CAST(:p0 AS uuid)", id
    )


async def no_job(c: Any) -> None:
    """What follows is done by hand, and not by the job."""
    await c.settled()
    await c.execute("UPDATE jobs SET due_at = now() + interval '1 hour' WHERE kind = :p0", RECLAIM)


async def test_a_warning_holds_for_the_rule_by_which_it_was_given(company: Make) -> None:
    c = await company()
    ann = await c.person("Ann")
    lead = await c.lead(ann)
    await c.handling(reclaim_idle_days=7)
    await no_job(c)
    await idle(c, 8, lead)
    await warned_until(c, lead.id)
    await c.handling("reclaim_idle_days", reclaim_idle_days=90)
    await no_job(c)
    assert await owner_now(c, lead) == ["Ann"]
    # Off, and on again a long time later: nobody loses a lead unwarned.
    await c.handling(reclaim_idle_days=7)
    await no_job(c)
    await warned_until(c, lead.id)
    await c.handling("reclaim_idle_days", reclaim_idle_days=0)
    await c.handling(reclaim_idle_days=7, reclaim_condition="NOT source = PARTNER")
    await no_job(c)
    assert await owner_now(c, lead) == ["Ann"]
    assert (await c.now(lead.id)).reclaim_time.ToDatetime(tzinfo=UTC) > datetime.now(UTC) + timedelta(
        hours=23
    )
    # What the rule keeps by now, and again takes later, is warned of anew.
    await warned_until(c, lead.id)
    await c.execute("UPDATE leads SET source = 'PARTNER' WHERE id = CAST(:p0 AS uuid)", lead.id)
    assert await owner_now(c, lead) == ["Ann"] and not (await c.now(lead.id)).HasField("reclaim_time")
    await c.execute("UPDATE leads SET source = 'OTHER' WHERE id = CAST(:p0 AS uuid)", lead.id)
    assert await owner_now(c, lead) == ["Ann"]
    await warned_until(c, lead.id)
    assert await owner_now(c, lead) == [""]


async def away(c: Any, person: Principal, begin: float, end: float) -> None:
    """The person is away from so many days ago until so many days ago."""
    now = datetime.now(UTC)
    absence = assignment_pb2.Absence(owner_id=str(person.person_id))
    absence.from_time.FromDatetime(now - timedelta(days=begin))
    absence.until_time.FromDatetime(now - timedelta(days=end))
    request = absence_service_pb2.CreateAbsenceRequest(absence=absence)
    await c.ask("AbsenceService/CreateAbsence", request, assignment_pb2.Absence)


async def test_the_days_of_an_absence_do_not_count(company: Make) -> None:
    c = await company()
    ann, bob, cy = [await c.person(name) for name in ("Ann", "Bob", "Cy")]
    leads = [await c.lead(person) for person in (ann, bob, cy)]
    await c.handling(reclaim_idle_days=7, reclaim_warning_days=1)
    await no_job(c)
    await idle(c, 18, *leads)
    # Two that overlap are counted once: Ann has worked for five days, Bob for eight, and Cy is not back.
    await away(c, ann, 16, 8)
    await away(c, ann, 10, 3)
    await away(c, bob, 14, 4)
    await away(c, cy, 10, -2)
    for lead in leads:
        await warned_until(c, lead.id)
    assert await owner_now(c, *leads) == ["Ann", "", "Cy"]
    assert [(await c.now(lead.id)).HasField("reclaim_time") for lead in leads] == [False] * 3
    assert "lead.reclaim_warned" not in await c.told(leads[0].id) + await c.told(leads[2].id)
    # Six and a half days of work: Ann is warned, and has as many hours as the rule says.
    await idle(c, 19.5, leads[0])
    assert await owner_now(c, leads[0]) == ["Ann"]
    until = (await c.now(leads[0].id)).reclaim_time.ToDatetime(tzinfo=UTC)
    assert timedelta(hours=23) < until - datetime.now(UTC) < timedelta(hours=25)


async def test_activities_with_a_lead_count_as_work(company: Make) -> None:
    c = await company()
    ann = await c.person("Ann")
    leads = [await c.lead(ann) for _ in range(4)]
    called, planned, before, merged = leads
    await c.handling(reclaim_idle_days=7)
    await no_job(c)
    await idle(c, 8, *leads)
    for lead in leads:
        await warned_until(c, lead.id)
    request = cleaning_service_pb2.MergeLeadsRequest(id=called.id, merged_ids=[merged.id])
    await c.ask("CleaningService/MergeLeads", request, lead_merge_pb2.LeadMerge)
    await idle(c, 8, called)
    await warned_until(c, called.id)

    async def hear(event: Any, lead: lead_pb2.Lead, at: datetime) -> None:
        event.activity.lead_id = lead.id
        if isinstance(event, sales.ActivityCompleted):
            event.activity.complete_time.FromDatetime(at)
        told = arriving(SUBSCRIPTIONS, event, ann, at=at)
        assert told.listener.concerns(event)
        for _ in range(2):
            await take_in(c.leads.running.database, "leads", [told])

    now = datetime.now(UTC)
    await hear(sales.ActivityCompleted(), merged, now - timedelta(days=2))
    await hear(sales.ActivityPlanned(), planned, now)
    await hear(sales.ActivityCompleted(), before, now - timedelta(days=9))
    assert await owner_now(c, called, planned, before) == ["Ann", "Ann", ""]
    touched = await c.now(called.id)
    assert abs(touched.touch_time.ToDatetime(tzinfo=UTC) - (now - timedelta(days=2))) < timedelta(seconds=1)
    assert not touched.HasField("reclaim_time")
    ended = SUBSCRIPTIONS.listener(sales.ActivityCompleted.DESCRIPTOR.full_name)
    assert ended is not None and not ended.concerns(sales.ActivityCompleted())


async def test_a_merge_that_is_undone_leaves_no_offer_without_end(company: Make) -> None:
    c = await company()
    ann, bob = [await c.person(name) for name in ("Ann", "Bob")]
    kept = await c.lead(ann)
    lead = await c.lead(c.boss)
    request = lead_service_pb2.AssignLeadRequest(id=lead.id, owner_id=str(bob.person_id), accept_minutes=30)
    await c.verb("AssignLead", request)
    merge = cleaning_service_pb2.MergeLeadsRequest(id=kept.id, merged_ids=[lead.id])
    made = await c.ask("CleaningService/MergeLeads", merge, lead_merge_pb2.LeadMerge)
    # The time to accept it passes while it is merged, and so does the day on which it would go to the pool.
    passed = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    await c.execute("DELETE FROM jobs WHERE kind = 'acceptance'")
    await c.execute(
        "UPDATE lead_merges SET kept = jsonb_set(kept, CAST(:p0 AS text[]), to_jsonb(CAST(:p1 AS text)))",
        ["lead", lead.id, "accept_until_time", "0"], passed,
    )  # fmt: skip
    undo = cleaning_service_pb2.UndoLeadMergeRequest(id=made.id)
    await c.ask("CleaningService/UndoLeadMerge", undo, lead_merge_pb2.LeadMerge)

    async def in_the_pool() -> bool:
        return not (await c.now(lead.id)).owner_id

    await eventually(in_the_pool, 30)
    assert (await c.now(lead.id)).assignment_cause == lead_pb2.ASSIGNMENT_CAUSE_NOT_ACCEPTED


async def test_the_job_that_reclaims_comes_again_and_survives_a_death(company: Make) -> None:
    c = await company()
    ann = await c.person("Ann")
    leads = [await c.lead(ann) for _ in range(3)]
    await c.handling(reclaim_idle_days=7)
    await c.settled()
    (job,) = await c.rows("SELECT due_at, leased_until FROM jobs WHERE kind = $1", RECLAIM)
    assert job["due_at"] > datetime.now(UTC) + timedelta(minutes=8)
    # It has died in the middle: one lead is warned, its lease has ended, and it is due.
    await idle(c, 6.5, *leads)
    async with c.leads.running.database.transaction(c.boss.acting_as("leads")) as tx:
        assert not await warn_idle(tx, await hold(tx))
    await c.execute("UPDATE leads SET reclaim_time = NULL WHERE id <> CAST(:p0 AS uuid)", leads[0].id)
    await c.execute(
        "UPDATE jobs SET due_at = now(), leased_until = now() - interval '1 second' WHERE kind = :p0", RECLAIM
    )

    async def all_warned() -> bool:
        return all([(await c.now(lead.id)).HasField("reclaim_time") for lead in leads])

    await eventually(all_warned, 60)
    assert Counter(await c.told(leads[0].id))["lead.reclaim_warned"] == 1
    await c.handling("reclaim_idle_days", reclaim_idle_days=0)
    await reclaim({}, c.leads.running.call(c.boss.acting_as("leads")))
    await refused(Code.INVALID_ARGUMENT, "INVALID_FIELD", c.handling(reclaim_idle_days=1))


async def test_two_replicas_reclaim_many_leads_and_none_twice(company: Make) -> None:
    """Several workers of each, on connections of their own, until none of them finds anything."""
    c = await company()
    ann = await c.person("Ann")
    count = 250  # more than two batches
    async with c.leads.running.database.transaction(c.boss) as tx:
        handling = await hold(tx)
        for number in range(count):
            await capture(tx, {"name": f"Idle {number}"}, Owner(ann.person_id, None), handling)
    await c.handling(reclaim_idle_days=7)
    await c.settled()
    await c.execute("UPDATE jobs SET due_at = now() + interval '1 hour' WHERE kind = :p0", RECLAIM)
    long_ago = datetime.now(UTC) - timedelta(days=8)
    await c.execute("UPDATE leads SET touch_time = :p0, reclaim_time = :p0", long_ago)
    found: list[bool] = []

    async def worker(harness: Any) -> None:
        more = True
        while more:
            async with harness.running.database.transaction(c.boss.acting_as("leads")) as tx:
                more = await reclaim_idle(tx, await hold(tx))
            found.append(more)

    # Meanwhile their owner takes some in hand: what they get first stays theirs.
    kept = await c.rows("SELECT id FROM leads ORDER BY id DESC LIMIT 5")

    async def contact(id: str) -> bool:
        try:
            await c.verb("ContactLead", lead_service_pb2.ContactLeadRequest(id=id), ann)
        except Problem as problem:
            assert problem.code in (Code.NOT_FOUND, Code.UNAVAILABLE, Code.ABORTED), problem
            return False
        return True

    workers = [worker(harness) for harness in (c.leads, c.other) * 3]
    touched = asyncio.gather(*(contact(str(row["id"])) for row in kept))
    await asyncio.gather(*workers)
    stayed = sum(await touched)
    events = await c.rows(
        "SELECT record_id, count(*) AS n FROM outbox WHERE subject LIKE '%lead.reclaimed' GROUP BY record_id"
    )
    assert {row["n"] for row in events} == {1}
    assert len(events) == count - stayed
    (pool,) = await c.rows(
        "SELECT count(*) AS n FROM leads WHERE owner_id IS NULL AND assignment_cause = 'IDLE' AND version = 2"
    )
    assert pool["n"] == count - stayed
    assert len(found) >= 6


async def test_two_replicas_end_many_offers_and_none_twice(company: Make) -> None:
    """Each offer runs out in both replicas at once; everybody gets as many, and the rule counts each of them once."""
    c = await company()
    people = [await c.person(name) for name in ("Ann", "Bob", "Cy")]
    rule = await c.rule("Asked", *people, accept_minutes=30)
    leads = [await offered(c) for _ in range(12)]
    assert Counter(await c.owners(leads)) == {"Ann": 4, "Bob": 4, "Cy": 4}
    passed = datetime.now(UTC) - timedelta(seconds=1)
    await c.execute("UPDATE leads SET accept_until_time = :p0 WHERE acceptance = 'PENDING'", passed)

    async def ends(lead: lead_pb2.Lead, harness: Any) -> None:
        payload = {"lead_id": lead.id, "until": passed.isoformat()}
        try:
            await expire_offer(payload, harness.running.call(c.boss.acting_as("leads")))
        except Problem as problem:  # the job would come again
            assert problem.code in (Code.UNAVAILABLE, Code.ABORTED), problem

    for _ in range(2):
        await asyncio.gather(*(ends(lead, harness) for lead in leads for harness in (c.leads, c.other)))
    assert [Counter(await c.told(lead.id)) for lead in leads] == [
        {"lead.created": 1, "lead.assigned": 2}
    ] * 12
    owners = await c.owners(leads)
    assert set(owners) == {"Ann", "Bob", "Cy"}
    (kept,) = await c.rows("SELECT given_count FROM assignment_rules WHERE id = $1::uuid", rule.id)
    assert kept["given_count"] == 24
