"""What rules name may go: people are disabled and come back, teams and rules are deleted, cadences change. Leads go on."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.protobuf.empty_pb2 import Empty
from google.protobuf.field_mask_pb2 import FieldMask
from kehu.identity.v1 import person_pb2, person_service_pb2, team_service_pb2
from kehu.leads.v1 import (
    assignment_pb2,
    assignment_service_pb2,
    cadence_pb2,
    cadence_service_pb2,
    lead_pb2,
    lead_service_pb2,
)

from chassis.errors import Code
from chassis.principal import Principal
from chassis.testing import refused, somebody
from leads.rpc.jobs import expire_offer

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]
Make = Callable[[], Awaitable[Any]]
A = "AssignmentService/"


async def change(c: Any, rule: assignment_pb2.AssignmentRule, *names: str) -> assignment_pb2.AssignmentRule:
    request = assignment_service_pb2.UpdateAssignmentRuleRequest(
        rule=rule, update_mask=FieldMask(paths=names)
    )
    return await c.ask(A + "UpdateAssignmentRule", request, assignment_pb2.AssignmentRule)


async def delete_rule(c: Any, rule: assignment_pb2.AssignmentRule) -> None:
    request = assignment_service_pb2.DeleteAssignmentRuleRequest(id=rule.id)
    await c.ask(A + "DeleteAssignmentRule", request, Empty)


async def enable(c: Any, person: Principal) -> None:
    request = person_service_pb2.EnablePersonRequest(id=str(person.person_id))
    await c.identity.ask(c.boss, "kehu.identity.v1.PersonService/EnablePerson", request, person_pb2.Person)


async def captured(c: Any, **fields: Any) -> str:
    """Who gets a new lead."""
    lead = await c.lead(**fields)
    await c.settled()
    return c.people[(await c.now(lead.id)).owner_id]


async def test_people_who_leave_are_passed_over_and_come_back(company: Make) -> None:
    c = await company()
    ann, bob, eve = [await c.person(name) for name in ("Ann", "Bob", "Eve")]
    rule = await c.rule("First", ann, bob, position=1)
    await c.rule("Then", eve, position=2)
    assert await captured(c) == "Ann"
    for person in (ann, bob):
        await c.disable(person)
    assert await captured(c) == "Eve", "a rule that has nobody left is as if it were not there"
    # What the rule names already keeps nobody from changing it; others who are gone are refused as ever.
    rule.name = "Renamed"
    renamed = await change(c, rule, "name", "person_ids")
    assert (renamed.name, list(renamed.person_ids)) == ("Renamed", list(rule.person_ids))
    gone = await c.person("Gone")
    await c.disable(gone)
    renamed.person_ids.append(str(gone.person_id))
    problem = await refused(Code.INVALID_ARGUMENT, "OWNER_NOT_FOUND", change(c, renamed, "person_ids"))
    assert problem.violations[0].field == "rule.personIds[2]"
    await refused(Code.INVALID_ARGUMENT, "OWNER_NOT_FOUND", c.rule("New", ann))
    for person in (ann, bob):
        await enable(c, person)
    assert [await captured(c) for _ in range(2)] == ["Bob", "Ann"], "it goes on where it was"


async def test_a_team_that_is_deleted_is_passed_over(company: Make) -> None:
    c = await company()
    team = await c.team("South")
    ann, bob = await c.person("Ann", team), await c.person("Bob")
    rule = await c.rule("Team", team_id=team, position=1)
    await c.rule("Then", bob, position=2)
    assert await captured(c) == "Ann"
    moved = person_service_pb2.UpdatePersonRequest(
        person=person_pb2.Person(id=str(ann.person_id)), update_mask=FieldMask(paths=["team_id"])
    )
    await c.identity.ask(c.boss, "kehu.identity.v1.PersonService/UpdatePerson", moved, person_pb2.Person)
    assert await captured(c) == "Bob", "who has left the team gets none of its leads"
    delete = team_service_pb2.DeleteTeamRequest(id=team)
    await c.identity.ask(c.boss, "kehu.identity.v1.TeamService/DeleteTeam", delete, Empty)
    assert await captured(c) == "Bob"
    rule.active = False
    rule = await change(c, rule, "active", "team_id")
    assert not rule.active
    await refused(Code.INVALID_ARGUMENT, "TEAM_NOT_FOUND", c.rule("Again", team_id=team))
    rule.team_id = ""
    rule.person_ids.append(str(ann.person_id))
    rule.active = True
    await change(c, rule, "active", "team_id", "person_ids")
    assert await captured(c) == "Ann"


async def offer_ends(c: Any, lead: lead_pb2.Lead) -> lead_pb2.Lead:
    passed = datetime.now(UTC) - timedelta(seconds=1)
    await c.execute("UPDATE leads SET accept_until_time = :p0 WHERE id = CAST(:p1 AS uuid)", passed, lead.id)
    payload = {"lead_id": lead.id, "until": passed.isoformat()}
    await expire_offer(payload, c.leads.running.call(c.boss.acting_as("leads")))
    return await c.now(lead.id)


async def test_an_offer_outlives_who_has_it_and_the_rule_that_made_it(company: Make) -> None:
    c = await company()
    ann, bob = [await c.person(name) for name in ("Ann", "Bob")]
    rule = await c.rule("Asked", ann, bob, accept_minutes=30)
    lead = await c.lead()
    await c.settled()
    await c.disable(ann)
    lead = await offer_ends(c, await c.now(lead.id))
    assert c.people[lead.owner_id] == "Bob"
    await delete_rule(c, rule)
    assert (await c.now(lead.id)).assignment_rule_name == "Asked"
    lead = await offer_ends(c, lead)
    assert not lead.owner_id and lead.assignment_cause == lead_pb2.ASSIGNMENT_CAUSE_NOT_ACCEPTED


async def test_a_rule_deleted_while_leads_are_given_away(company: Make) -> None:
    """Either it still gave them away, or it did not; never half of a lead."""
    c = await company()
    ann = await c.person("Ann")
    rule = await c.rule("Going", ann)
    leads = [await c.lead(c.boss) for _ in range(12)]

    async def give(place: int) -> None:
        harness = (c.leads, c.other)[place % 2]
        request = lead_service_pb2.AssignLeadsByRulesRequest(ids=[leads[place].id])
        method = "kehu.leads.v1.LeadService/AssignLeadsByRules"
        await harness.ask(c.boss, method, request, lead_service_pb2.AssignLeadsByRulesResponse)

    work: list[Awaitable[None]] = [give(place) for place in range(12)]
    await asyncio.gather(*work[:6], delete_rule(c, rule), *work[6:])
    for lead in leads:
        now, told = await c.now(lead.id), await c.told(lead.id)
        given = c.people[now.owner_id] == "Ann"
        assert told == ["lead.created", *["lead.assigned"] * given]
        assert (now.assignment_rule_name == "Going") == given
    (kept,) = await c.rows("SELECT given_count FROM assignment_rules")
    assert kept["given_count"] == sum(name == "Ann" for name in await c.owners(leads))


async def test_a_cadence_that_changes_under_its_leads(company: Make) -> None:
    c = await company()
    phone = cadence_pb2.CadenceStep(channel=cadence_pb2.CONTACT_CHANNEL_PHONE)
    cadence = await c.cadence(phone, phone, phone)

    async def started() -> lead_pb2.Lead:
        lead = await c.lead(c.boss)
        request = lead_service_pb2.StartLeadCadenceRequest(id=lead.id, cadence_id=cadence.id)
        return await c.verb("StartLeadCadence", request)

    async def report(lead: lead_pb2.Lead) -> lead_pb2.Lead:
        outcome = cadence_pb2.CADENCE_OUTCOME_NO_ANSWER
        request = lead_service_pb2.ReportCadenceStepRequest(id=lead.id, outcome=outcome)
        return await c.verb("ReportCadenceStep", request)

    lead = await report(await started())
    assert lead.cadence_step == 2
    # It becomes shorter than where the lead stands, and nobody is put on it any longer.
    shorter = cadence_pb2.Cadence(id=cadence.id, steps=[phone])
    request = cadence_service_pb2.UpdateCadenceRequest(
        cadence=shorter, update_mask=FieldMask(paths=["steps", "active"])
    )
    await c.ask("CadenceService/UpdateCadence", request, cadence_pb2.Cadence)
    await refused(Code.INVALID_ARGUMENT, "CADENCE_NOT_FOUND", started())
    delete = cadence_service_pb2.DeleteCadenceRequest(id=cadence.id)
    await refused(
        Code.FAILED_PRECONDITION, "CADENCE_IN_USE", c.ask("CadenceService/DeleteCadence", delete, Empty)
    )
    lead = await report(lead)
    assert not lead.cadence_id and not lead.HasField("next_contact_time")
    await c.ask("CadenceService/DeleteCadence", delete, Empty)
    touches = lead_service_pb2.ListLeadTouchesRequest(lead_id=lead.id)
    answer = await c.ask("LeadService/ListLeadTouches", touches, lead_service_pb2.ListLeadTouchesResponse)
    assert [touch.step for touch in answer.touches] == [2, 1], "what was done stays to be read"
    rival = c.ask("CadenceService/DeleteCadence", delete, Empty, somebody("rival"))
    await refused(Code.NOT_FOUND, "NOT_FOUND", rival)
