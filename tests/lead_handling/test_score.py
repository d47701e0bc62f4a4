"""Scores are what the rules say of a lead as it is now, after whatever changed it, and can be explained."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from google.protobuf.empty_pb2 import Empty
from google.protobuf.field_mask_pb2 import FieldMask
from google.type import money_pb2
from kehu.leads.v1 import lead_pb2, lead_service_pb2, score_pb2, score_service_pb2
from sqlalchemy import text

from chassis.errors import Code
from chassis.principal import Reach, Rights
from chassis.testing import eventually, refused, somebody
from leads import score
from leads.handling import hold
from leads.lead import Lead

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]
Make = Callable[[], Awaitable[Any]]


async def explained(c: Any, lead: lead_pb2.Lead, who: Any = None) -> score_pb2.LeadScore:
    request = lead_service_pb2.GetLeadScoreRequest(id=lead.id)
    return await c.ask("LeadService/GetLeadScore", request, score_pb2.LeadScore, who)


def update(c: Any, lead: lead_pb2.Lead, **fields: Any) -> Awaitable[lead_pb2.Lead]:
    request = lead_service_pb2.UpdateLeadRequest(
        lead=lead_pb2.Lead(id=lead.id, **fields), update_mask=FieldMask(paths=list(fields))
    )
    return c.verb("UpdateLead", request)


async def test_every_change_counts_anew_and_is_explained(company: Make) -> None:
    c = await company()
    east = await c.score_rule("region = 华东", 30, name="East")
    await c.score_rule("status = CONTACTED", 25, name="Spoken with")
    await c.score_rule("ownerId = null", -20, name="Nobody's")
    await c.score_rule("tags:spam", -100, name="Spam")
    await c.score_rule("region = 华东", 50, name="Asleep", active=False)
    await c.score_rule('title:CEO AND estimatedAmount >= "1000 CNY"', 40, name="Decides")
    lead = await c.lead(c.boss, region="华东")
    assert (lead.score, lead.score_points, lead.score_adjustment) == (30, 30, 0)
    lead = await c.verb("ContactLead", lead_service_pb2.ContactLeadRequest(id=lead.id))
    assert lead.score == 55
    lead = await update(c, lead, score=80)
    assert (lead.score, lead.score_points, lead.score_adjustment) == (80, 55, 25)
    lead = await update(c, lead, region="华北")
    assert (lead.score, lead.score_adjustment) == (50, 25), "what a person said is kept apart"
    lead = await update(c, lead, tags=["spam"])
    assert (lead.score, lead.score_points) == (25, 0)
    adjust = lead_service_pb2.AdjustLeadScoreRequest(id=lead.id, adjustment=-10, note="too small")
    lead = await c.verb("AdjustLeadScore", adjust)
    assert (lead.score, lead.score_adjustment, lead.notes) == (0, -10, "too small")
    lead = await update(c, lead, tags=[], region="华东")
    why = await explained(c, lead)
    assert (why.score, why.rule_points, why.adjustment, why.outdated) == (45, 55, -10, False)
    assert {(part.rule_name, part.points) for part in why.parts} == {("East", 30), ("Spoken with", 25)}
    assert east.id in {part.rule_id for part in why.parts}
    returned = await c.verb("ReturnLead", lead_service_pb2.ReturnLeadRequest(id=lead.id, reason="x"))
    assert returned.score == 25, "nobody's, by 20"
    page = await c.ask(
        "LeadService/ListLeads",
        lead_service_pb2.ListLeadsRequest(filter="score >= 25", order_by="score desc"),
        lead_service_pb2.ListLeadsResponse,
    )
    assert [one.id for one in page.leads] == [lead.id]
    amount = money_pb2.Money(currency_code="CNY", units=1000)
    assert (await c.lead(c.boss, title="Founder, CEO", estimated_amount=amount)).score_points == 40
    qualified = await c.lead(c.boss, score=70)
    assert (qualified.score, qualified.score_adjustment) == (70, 70)


async def test_wrong_rules_missing_rights_and_other_tenants(company: Make) -> None:
    c = await company()
    problem = await refused(Code.INVALID_ARGUMENT, "FILTER_INVALID", c.score_rule("score > 5", 1))
    assert problem.violations[0].field == "rule.condition"
    await refused(Code.INVALID_ARGUMENT, "INVALID_FIELD", c.score_rule("", 101))
    lead = await c.lead(c.boss)
    own = somebody(c.boss.tenant, rights={"leads": Rights(Reach.OWN, Reach.OWN)})
    for who in (own, somebody("rival")):
        await refused(Code.NOT_FOUND, "NOT_FOUND", explained(c, lead, who))
    rule = await c.score_rule("", 1)
    delete = score_service_pb2.DeleteScoreRuleRequest(id=rule.id)
    await refused(
        Code.PERMISSION_DENIED, "RIGHT_MISSING", c.ask("ScoreService/DeleteScoreRule", delete, Empty, own)
    )
    rival = c.ask("ScoreService/DeleteScoreRule", delete, Empty, somebody("rival"))
    await refused(Code.NOT_FOUND, "NOT_FOUND", rival)


async def many(c: Any, count: int) -> None:
    """So many leads, past the use case."""
    async with c.leads.running.database.transaction(c.boss) as tx:
        await tx.insert_all(
            [
                Lead(name=f"L{n}", owner_id=c.boss.person_id, search=[1], touch_time=tx.now)
                for n in range(count)
            ]
        )


async def scores(c: Any) -> dict[int, int]:
    rows = await c.rows("SELECT score, count(*) AS n FROM leads WHERE deleted_at IS NULL GROUP BY score")
    return {row["score"]: row["n"] for row in rows}


async def test_a_changed_rule_counts_all_leads_anew_whoever_dies(company: Make, monkeypatch: Any) -> None:
    c = await company()
    monkeypatch.setattr(score, "_BATCH", 20)
    await many(c, 90)
    # The job dies after its second batch, and nobody takes it up yet.
    async with c.leads.running.database.transaction(c.boss) as tx:
        await score.count_all(tx)
        tx.add(score.ScoreRule(name="all", points=40))
        await tx.session.execute(
            text("UPDATE jobs SET due_at = now() + interval '1 hour' WHERE kind = 'rescore'")
        )
    for _ in range(2):
        async with c.leads.running.database.transaction(c.boss.acting_as("leads")) as tx:
            assert await score.count_some(tx, await hold(tx))
    assert await scores(c) == {40: 40, 0: 50}
    versions = "SELECT id, version FROM leads WHERE score = 40"
    done = {row["id"]: row["version"] for row in await c.rows(versions)}
    await c.execute("UPDATE jobs SET due_at = now() WHERE kind = 'rescore'")

    async def all_counted() -> bool:
        return await scores(c) == {40: 90}

    await eventually(all_counted, 60)
    now = {row["id"]: row["version"] for row in await c.rows(versions)}
    assert {id: now[id] for id in done} == done, "it went on where it was"
    events = await c.rows("SELECT count(*) AS n FROM outbox WHERE subject LIKE '%lead.updated'")
    assert events[0]["n"] >= 90


async def test_leads_that_change_while_rules_change_end_right(company: Make) -> None:
    """Two replicas create and change leads while the rules change under them."""
    c = await company()
    rule = await c.score_rule("region = x", 10)
    made: list[str] = []

    async def create(place: int) -> None:
        harness = (c.leads, c.other)[place % 2]
        lead = lead_pb2.Lead(name=f"L{place}", region="x" if place % 3 else "y")
        request = lead_service_pb2.CreateLeadRequest(lead=lead)
        answer = await harness.ask(c.boss, "kehu.leads.v1.LeadService/CreateLead", request, lead_pb2.Lead)
        made.append(answer.id)

    async def change(points: int) -> None:
        request = score_service_pb2.UpdateScoreRuleRequest(
            rule=score_pb2.ScoreRule(id=rule.id, points=points), update_mask=FieldMask(paths=["points"])
        )
        await c.ask("ScoreService/UpdateScoreRule", request, score_pb2.ScoreRule)

    work = [create(place) for place in range(40)]
    for points in (20, 30, 40):
        work.insert(points // 2, change(points))
    await asyncio.gather(*work)
    (last,) = await c.rows("SELECT points FROM score_rules WHERE id = $1::uuid", rule.id)

    async def right() -> bool:
        rows = await c.rows("SELECT region, score FROM leads")
        return all(row["score"] == (last["points"] if row["region"] == "x" else 0) for row in rows)

    await eventually(right, 90)
    assert len(made) == 40
