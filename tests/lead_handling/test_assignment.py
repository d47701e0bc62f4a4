"""Rules give leads to people whom identity knows: in turn, within limits, told and explained; once, by however many replicas."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from google.protobuf.empty_pb2 import Empty
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from kehu.customfields.v1 import custom_fields_pb2
from kehu.history.v1 import history_pb2
from kehu.imports.v1 import imports_pb2
from kehu.leads.v1 import (
    absence_service_pb2,
    assignment_pb2,
    assignment_service_pb2,
    cadence_pb2,
    cadence_service_pb2,
    lead_pb2,
    lead_service_pb2,
    mail_capture_pb2,
    mail_capture_service_pb2,
    score_pb2,
    score_service_pb2,
)

from chassis.errors import Code
from chassis.ids import new_id
from chassis.imports.importer import ImportRow, Options
from chassis.principal import Principal, Reach, Rights
from chassis.testing import eventually, refused, somebody
from leads.handling import hold
from leads.imports import save
from leads.lead import Lead
from leads.mail_capture import MailCapture
from leads.pool import give_back

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]
Make = Callable[[], Awaitable[Any]]
A = "AssignmentService/"


def by_rules(c: Any, leads: list[lead_pb2.Lead], who: Principal | None = None, **more: Any) -> Awaitable[Any]:
    request = lead_service_pb2.AssignLeadsByRulesRequest(ids=[lead.id for lead in leads], **more)
    return c.ask("LeadService/AssignLeadsByRules", request, lead_service_pb2.AssignLeadsByRulesResponse, who)


def away(c: Any, person: Principal, *, hours: int = 1, who: Principal | None = None) -> Awaitable[Any]:
    now = int(datetime.now(UTC).timestamp())
    absence = assignment_pb2.Absence(
        owner_id=str(person.person_id), from_time=Timestamp(seconds=now - 60), until_time=Timestamp(seconds=now + 3600 * hours)
    )  # fmt: skip
    request = absence_service_pb2.CreateAbsenceRequest(absence=absence)
    return c.ask("AbsenceService/CreateAbsence", request, assignment_pb2.Absence, who)


async def test_what_is_captured_goes_in_turn_past_those_who_are_away(company: Make) -> None:
    c = await company()
    ann, bob, cy, gone = [await c.person(name) for name in ("Ann", "Bob", "Cy", "Gone")]
    rule = await c.rule("Round", ann, bob, cy, gone)
    await c.disable(gone)
    absence = await away(c, bob)
    leads: list[lead_pb2.Lead] = []
    for _ in range(4):
        leads.append(await c.lead())
        await c.settled()
    assert await c.owners(leads) == ["Ann", "Cy", "Ann", "Cy"]
    delete = absence_service_pb2.DeleteAbsenceRequest(id=absence.id)
    await c.ask("AbsenceService/DeleteAbsence", delete, Empty)
    back = await c.lead()
    await c.settled()
    taken = await c.now(back.id)
    assert c.people[taken.owner_id] == "Ann"
    # Why it is hers stands on the lead, in its history and in the event.
    assert (taken.assignment_cause, taken.assignment_rule_id, taken.assignment_rule_name) == (
        lead_pb2.ASSIGNMENT_CAUSE_RULE, rule.id, "Round",
    )  # fmt: skip
    assert await c.told(back.id) == ["lead.created", "lead.assigned"]
    (data,) = await c.rows(
        "SELECT convert_from(data, 'UTF8')::jsonb -> 'lead' ->> 'assignmentRuleName' AS name FROM outbox"
        " WHERE record_id = $1::uuid AND subject LIKE '%assigned'",
        back.id,
    )
    assert data["name"] == "Round"
    given = next(one for one in await c.history(back.id) if any(f.field == "ownerId" for f in one.fields))
    assert given.origin == history_pb2.CHANGE_ORIGIN_RULE
    changed = {field.field for change in await c.history(back.id) for field in change.fields}
    assert {"assignmentRuleName", "ownerId"} <= changed
    now = await c.ask(
        A + "GetAssignmentRule",
        assignment_service_pb2.GetAssignmentRuleRequest(id=rule.id),
        assignment_pb2.AssignmentRule,
    )
    assert (now.given_count, now.last_person_id) == (5, str(ann.person_id))
    assert now.etag == rule.etag, "turns are no changes of the rule"
    mine = await c.lead(bob)
    await c.settled()
    assert await c.owners([mine]) == ["Bob"], "who names an owner is not overruled"


async def test_rules_are_asked_in_order_and_the_default_last(company: Make) -> None:
    c = await company()
    east, north, rest = [await c.person(name) for name in ("East", "North", "Rest")]
    await c.rule("Left", rest, default_rule=True)
    await c.rule("Second", north, condition='region = "华东" OR region = "华北"', position=2)
    await c.rule("First", east, condition='region = "华东" AND source = WEB_FORM', position=1)
    asleep = await c.rule("Asleep", rest, position=0)
    asleep.active = False
    asleep = await c.ask(
        A + "UpdateAssignmentRule",
        assignment_service_pb2.UpdateAssignmentRuleRequest(
            rule=asleep, update_mask=FieldMask(paths=["active"])
        ),
        assignment_pb2.AssignmentRule,
    )
    assert not asleep.active
    leads = [
        await c.lead(c.boss, region="华东", source=lead_pb2.LEAD_SOURCE_WEB_FORM),
        await c.lead(c.boss, region="华东"),
        await c.lead(c.boss),
    ]
    answer = await by_rules(c, leads)
    assert [one.rule_name for one in answer.decisions] == ["First", "Second", "Left"]
    assert await c.owners(leads) == ["East", "North", "Rest"]


async def test_a_selection_is_decided_as_a_whole_once_and_within_limits(company: Make) -> None:
    c = await company()
    ann, bob = [await c.person(name) for name in ("Ann", "Bob")]
    await c.rule("Two each", ann, bob, open_lead_limit=2, condition="region = x")
    leads = [await c.lead(c.boss, region="x") for _ in range(5)] + [await c.lead(c.boss)]
    closed = await c.lead(c.boss, region="x")
    no_need = lead_service_pb2.DisqualifyLeadRequest(id=closed.id, reason=lead_pb2.DISQUALIFY_REASON_NO_NEED)
    await c.verb("DisqualifyLead", no_need)
    first = await by_rules(c, [*leads, closed], request_id="once")
    names = [lead_service_pb2.RuleOutcome.Name(one.outcome)[13:] for one in first.decisions]
    assert names == ["ASSIGNED"] * 4 + ["NOBODY_AVAILABLE", "NO_RULE", "NOT_ASSIGNABLE"]
    assert await by_rules(c, [*leads, closed], request_id="once") == first
    assert await c.owners(leads) == ["Ann", "Bob", "Ann", "Bob", "Boss", "Boss"]
    assert Counter(await c.told(leads[0].id))["lead.assigned"] == 1
    # All or none: one that is not there, or that the caller may not change.
    unknown = lead_pb2.Lead(id=str(new_id()))
    await refused(Code.NOT_FOUND, "NOT_FOUND", by_rules(c, [leads[4], unknown]))
    await refused(Code.NOT_FOUND, "NOT_FOUND", by_rules(c, [leads[4]], somebody("rival")))
    reader = somebody(c.boss.tenant, rights={"leads": Rights(read=Reach.ALL, write=Reach.OWN)})
    reader = replace(reader, tenant_id=c.boss.tenant_id)
    await refused(Code.PERMISSION_DENIED, "RECORD_READ_ONLY", by_rules(c, [leads[4]], reader))
    powerless = replace(reader, rights={})
    await refused(Code.PERMISSION_DENIED, "RIGHT_MISSING", by_rules(c, [leads[4]], powerless))


async def test_two_replicas_give_no_lead_twice_and_skip_no_turn(company: Make) -> None:
    c = await company()
    people = [await c.person(name) for name in ("Ann", "Bob", "Cy", "Dee")]
    await c.rule("Round", *people, open_lead_limit=10)
    leads = [await c.lead(c.boss) for _ in range(32)]
    method = "kehu.leads.v1.LeadService/AssignLeadsByRules"

    async def half(place: int) -> None:
        harness = (c.leads, c.other)[place % 2]
        request = lead_service_pb2.AssignLeadsByRulesRequest(ids=[lead.id for lead in leads[place::8]])
        await harness.ask(c.boss, method, request, lead_service_pb2.AssignLeadsByRulesResponse)

    await asyncio.gather(*(half(place) for place in range(8)))
    owners: Counter[str] = Counter(await c.owners(leads))
    assert owners == {"Ann": 8, "Bob": 8, "Cy": 8, "Dee": 8}
    counts = await c.rows(
        "SELECT count(*) AS n FROM outbox WHERE subject LIKE '%lead.assigned' GROUP BY record_id"
    )
    assert [row["n"] for row in counts] == [1] * 32


async def test_whom_the_rules_do_not_name_anybody_for_stays_as_it_is(company: Make) -> None:
    """Also what somebody has been asked to accept, and whom it was offered to before."""
    c = await company()
    ann, bob = [await c.person(name) for name in ("Ann", "Bob")]
    rule = await c.rule("Asked", ann, bob, condition="region = x", accept_minutes=30)
    lead = await c.lead(c.boss, region="x")
    await by_rules(c, [lead])
    given = await c.now(lead.id)
    assert given.acceptance == lead_pb2.ACCEPTANCE_STATE_PENDING and given.offer_count == 1
    delete = assignment_service_pb2.DeleteAssignmentRuleRequest(id=rule.id)
    await c.ask(A + "DeleteAssignmentRule", delete, Empty)
    for name, outcome in (("Elsewhere", "NO_RULE"), ("Away", "NOBODY_AVAILABLE")):
        await c.rule(name, ann, condition="region = y" if name == "Elsewhere" else "")
        await away(c, ann)
        (decision,) = (await by_rules(c, [lead])).decisions
        assert lead_service_pb2.RuleOutcome.Name(decision.outcome) == f"RULE_OUTCOME_{outcome}"
        assert await c.now(lead.id) == given
    assert Counter(await c.told(lead.id)) == {"lead.created": 1, "lead.assigned": 1}


async def test_the_least_loaded_of_a_team_gets_it(company: Make) -> None:
    c = await company()
    team = await c.team("North")
    ann, bob = [await c.person(name, team) for name in ("Ann", "Bob")]
    await c.person("Stranger")
    for _ in range(3):
        await c.lead(ann)
    await c.rule("Team", team_id=team, distribution=assignment_pb2.DISTRIBUTION_LEAST_LOADED)
    leads = [await c.lead(c.boss) for _ in range(5)]
    await by_rules(c, leads)
    assert await c.owners(leads) == ["Bob", "Bob", "Bob", "Ann", "Bob"]
    assert (await c.now(leads[0].id)).team_id == team
    assert bob.person_id != ann.person_id


async def test_an_import_is_given_away_when_the_tenant_wants_it(company: Make) -> None:
    c = await company()
    ann, bob = [await c.person(name) for name in ("Ann", "Bob")]
    await c.rule("Round", ann, bob)
    text = "name\n" + "".join(f"Imported {number}\n" for number in range(6))

    async def imported() -> dict[str, int]:
        request = imports_pb2.CreateImportRequest(record_type="lead", filename="a.csv", content=text.encode())
        made = await c.ask("ImportService/CreateImport", request, imports_pb2.Import)
        start = imports_pb2.StartImportRequest(id=made.id)
        await c.ask("ImportService/StartImport", start, imports_pb2.Import)

        async def ended() -> bool:
            get = imports_pb2.GetImportRequest(id=made.id)
            now = await c.ask("ImportService/GetImport", get, imports_pb2.Import)
            return now.state == imports_pb2.IMPORT_STATE_SUCCEEDED

        await eventually(ended, 60)
        await c.settled()
        rows = await c.rows("SELECT owner_id, count(*) AS n FROM leads GROUP BY owner_id")
        return {c.people[str(row["owner_id"])]: row["n"] for row in rows}

    assert await imported() == {"Boss": 6}
    await c.handling(assign_imported=True)
    assert await imported() == {"Boss": 6, "Ann": 3, "Bob": 3}


async def test_rules_that_cannot_be_asked_are_refused(company: Make) -> None:
    c = await company()
    ann = await c.person("Ann")
    stranger = somebody(c.boss.tenant)
    await refused(Code.INVALID_ARGUMENT, "OWNER_NOT_FOUND", c.rule("x", stranger))
    await refused(Code.INVALID_ARGUMENT, "TEAM_NOT_FOUND", c.rule("x", team_id=str(new_id())))
    await refused(Code.INVALID_ARGUMENT, "INVALID_FIELD", c.rule("neither"))
    problem = await refused(
        Code.INVALID_ARGUMENT, "FILTER_INVALID", c.rule("x", ann, condition="colour = red")
    )
    assert problem.violations[0].field == "rule.condition" and "colour" in problem.message
    await refused(
        Code.INVALID_ARGUMENT, "INVALID_FIELD", c.rule("x", ann, default_rule=True, condition="score > 1")
    )
    await c.rule("Left", ann, default_rule=True)
    await refused(Code.ALREADY_EXISTS, "DEFAULT_RULE_EXISTS", c.rule("Left too", ann, default_rule=True))
    seller = replace(ann, rights={"leads": Rights(Reach.ALL, Reach.ALL)})
    list_rules = assignment_service_pb2.ListAssignmentRulesRequest()
    answer = assignment_service_pb2.ListAssignmentRulesResponse
    asked = c.ask(A + "ListAssignmentRules", list_rules, answer, seller)
    await refused(Code.PERMISSION_DENIED, "RIGHT_MISSING", asked)
    assert not (
        await c.ask(A + "ListAssignmentRules", list_rules, answer, somebody("rival"))
    ).assignment_rules
    (kept,) = (await c.ask(A + "ListAssignmentRules", list_rules, answer)).assignment_rules
    delete = assignment_service_pb2.DeleteAssignmentRuleRequest(id=kept.id, etag="99")
    await refused(Code.ABORTED, "ETAG_MISMATCH", c.ask(A + "DeleteAssignmentRule", delete, Empty))
    delete.etag = kept.etag
    await c.ask(A + "DeleteAssignmentRule", delete, Empty)
    await c.rule("Left again", ann, default_rule=True)


async def test_absences_are_ones_own_or_within_ones_reach(company: Make) -> None:
    c = await company()
    ann, bob = [await c.person(name) for name in ("Ann", "Bob")]
    own = await away(c, ann, who=ann)
    await refused(Code.PERMISSION_DENIED, "OWNER_OUT_OF_REACH", away(c, bob, who=ann))
    await away(c, bob)
    backwards = away(c, ann, hours=-1)
    problem = await refused(Code.INVALID_ARGUMENT, "INVALID_FIELD", backwards)
    assert problem.violations[0].field == "absence.untilTime"
    delete = absence_service_pb2.DeleteAbsenceRequest(id=own.id)
    await refused(Code.NOT_FOUND, "NOT_FOUND", c.ask("AbsenceService/DeleteAbsence", delete, Empty, bob))
    listed = absence_service_pb2.ListAbsencesRequest()
    answer = absence_service_pb2.ListAbsencesResponse
    assert len((await c.ask("AbsenceService/ListAbsences", listed, answer, ann)).absences) == 1
    assert len((await c.ask("AbsenceService/ListAbsences", listed, answer)).absences) == 2
    past = await c.rows("SELECT $1::timestamptz AS at", datetime.now(UTC) - timedelta(minutes=1))
    await c.execute(
        "UPDATE absences SET from_time = :p0, until_time = :p1", past[0]["at"] - timedelta(1), past[0]["at"]
    )
    assert not (await c.ask("AbsenceService/ListAbsences", listed, answer)).absences
    listed.include_past = True
    assert len((await c.ask("AbsenceService/ListAbsences", listed, answer)).absences) == 2


async def test_what_is_set_has_a_history(company: Make) -> None:
    c = await company()
    ann = await c.person("Ann")
    rule = await c.rule("Round", ann)
    handling = await c.handling(claim_limit=5)
    cadence = await c.cadence(cadence_pb2.CadenceStep(channel=cadence_pb2.CONTACT_CHANNEL_PHONE))
    score = await c.score_rule("", 5)
    absence = await away(c, ann)
    rule.name = "Renamed"
    request = assignment_service_pb2.UpdateAssignmentRuleRequest(
        rule=rule, update_mask=FieldMask(paths=["name"])
    )
    await c.ask(A + "UpdateAssignmentRule", request, assignment_pb2.AssignmentRule)
    await c.lead()  # it moves the cursor, which is no change of the rule
    await c.settled()
    changed, made = await c.history(rule.id, "assignment_rule")
    assert [(field.field, changed.actor_name) for field in changed.fields] == [("name", "Boss")]
    assert "turnOrder" not in {field.field for field in made.fields}
    for kind, record in (
        ("lead_handling", handling),
        ("cadence", cadence),
        ("score_rule", score),
        ("absence", absence),
    ):
        assert await c.history(record.id, kind), kind
    await refused(Code.NOT_FOUND, "NOT_FOUND", c.history(rule.id, "assignment_rule", ann))
    await refused(Code.NOT_FOUND, "NOT_FOUND", c.history(absence.id, "absence", await c.person("Bob")))


async def test_what_is_returned_takes_no_turn_from_what_was_imported_with_it(company: Make) -> None:
    c = await company()
    ann, bob = [await c.person(name) for name in ("Ann", "Bob")]
    await c.rule("Round", ann, bob)
    await c.handling(assign_imported=True)
    # Both wait for the rules at the same time.
    async with c.leads.running.database.transaction(c.boss) as tx:
        rows = [ImportRow(number, {"name": f"Imported {number}"}) for number in range(6)]
        first = (await save(tx, rows, Options()))[0].id
        assert first is not None
        lead = await tx.find(Lead, first)
        assert lead is not None
        await give_back(tx, lead, await hold(tx), "not mine")
    await c.settled()
    causes = await c.rows(
        "SELECT assignment_cause AS cause, count(*) AS n FROM leads GROUP BY assignment_cause"
    )
    assert {row["cause"]: row["n"] for row in causes} == {"RULE": 5, "PASSED_ON": 1}


async def test_what_is_changed_about_rules_is_told_and_kept(company: Make) -> None:
    """Whoever assigns, counts or reads mailboxes by rule can be followed: each rule says what became of it, as every record."""
    c = await company()

    async def deleted(method: str, request: Any) -> None:
        await c.ask(method, request, Empty)

    async def says(record: Any, kind: str, *events: str, changes: str = "") -> None:
        assert await c.told(record.id) == [f"{kind}.{event}" for event in events]
        assert len(await c.history(record.id, kind)) == len(events)
        if changes:
            rows = await c.rows(
                "SELECT convert_from(data, 'UTF8') AS data FROM outbox WHERE record_id = $1::uuid AND subject LIKE '%.updated'"
                " ORDER BY seq",
                record.id,
            )
            assert changes in [row["data"] for row in rows][-1]

    whole = ("created", "updated", "deleted")
    rule = await c.rule("East", c.boss)
    change: Any = assignment_service_pb2.UpdateAssignmentRuleRequest(
        rule=assignment_pb2.AssignmentRule(id=rule.id, name="West"), update_mask=FieldMask(paths=["name"])
    )
    for _ in range(2):  # the second changes nothing
        await c.ask("AssignmentService/UpdateAssignmentRule", change, assignment_pb2.AssignmentRule)
    await deleted(
        "AssignmentService/DeleteAssignmentRule",
        assignment_service_pb2.DeleteAssignmentRuleRequest(id=rule.id),
    )
    await says(rule, "assignment_rule", *whole, changes='"name":"West","changedFields":["name"]')

    cadence = await c.cadence(cadence_pb2.CadenceStep(channel=cadence_pb2.CONTACT_CHANNEL_PHONE))
    change = cadence_service_pb2.UpdateCadenceRequest(
        cadence=cadence_pb2.Cadence(id=cadence.id, position=3), update_mask=FieldMask(paths=["position"])
    )
    await c.ask("CadenceService/UpdateCadence", change, cadence_pb2.Cadence)
    await deleted("CadenceService/DeleteCadence", cadence_service_pb2.DeleteCadenceRequest(id=cadence.id))
    await says(cadence, "cadence", *whole, changes='"changedFields":["position"]')

    score = await c.score_rule("", 5)
    change = score_service_pb2.UpdateScoreRuleRequest(
        rule=score_pb2.ScoreRule(id=score.id, points=6), update_mask=FieldMask(paths=["points"])
    )
    await c.ask("ScoreService/UpdateScoreRule", change, score_pb2.ScoreRule)
    await deleted("ScoreService/DeleteScoreRule", score_service_pb2.DeleteScoreRuleRequest(id=score.id))
    await says(score, "score_rule", *whole, changes='"changedFields":["points"]')

    absence = assignment_pb2.Absence(owner_id=str(c.boss.person_id), note="in hospital")
    absence.from_time.FromJsonString("2030-01-01T00:00:00Z")
    absence.until_time.FromJsonString("2030-01-02T00:00:00Z")
    asked: Any = absence_service_pb2.CreateAbsenceRequest(absence=absence)
    absence = await c.ask("AbsenceService/CreateAbsence", asked, assignment_pb2.Absence)
    await deleted("AbsenceService/DeleteAbsence", absence_service_pb2.DeleteAbsenceRequest(id=absence.id))
    await says(absence, "absence", "created", "deleted")
    told = await c.rows(
        "SELECT convert_from(data, 'UTF8') AS data FROM outbox WHERE record_id = $1::uuid", absence.id
    )
    assert not [row for row in told if "hospital" in row["data"]]  # why somebody is away is nobody's affair

    mailbox = mail_capture_pb2.MailCapture(name="Sales box", host="imap.example", user_name="u")
    asked = mail_capture_service_pb2.CreateMailCaptureRequest(mail_capture=mailbox)
    mailbox = await c.ask("MailCaptureService/CreateMailCapture", asked, mail_capture_pb2.MailCapture)

    async def moved(host: str) -> None:
        change = mail_capture_service_pb2.UpdateMailCaptureRequest(
            mail_capture=mail_capture_pb2.MailCapture(id=mailbox.id, host=host),
            update_mask=FieldMask(paths=["host"]),
        )
        await c.ask("MailCaptureService/UpdateMailCapture", change, mail_capture_pb2.MailCapture)

    await moved("imap2.example")
    await says(mailbox, "mail_capture", "created", "updated", changes='"changedFields":["host"]')
    async with c.leads.running.database.transaction(c.boss) as tx:
        source = await tx.find(MailCapture, UUID(mailbox.id))
        assert source is not None
        source.sealed_password = b"sealed"
    await moved("mail.example")
    await deleted(
        "MailCaptureService/DeleteMailCapture",
        mail_capture_service_pb2.DeleteMailCaptureRequest(id=mailbox.id),
    )
    # Another host is told no password that was meant for the first.
    often = ("created", "updated", "updated", "deleted")
    await says(mailbox, "mail_capture", *often, changes='"changedFields":["host","passwordSet"]')

    field = custom_fields_pb2.CustomField(
        record_type="lead", key="size", label_zh="规模", kind=custom_fields_pb2.CUSTOM_FIELD_KIND_CHOICE,
        choices=[custom_fields_pb2.CustomFieldChoice(key="s", label_en="Small")],
    )  # fmt: skip
    asked = custom_fields_pb2.CreateCustomFieldRequest(custom_field=field)
    field = await c.ask("CustomFieldService/CreateCustomField", asked, custom_fields_pb2.CustomField)
    change = custom_fields_pb2.UpdateCustomFieldRequest(
        custom_field=custom_fields_pb2.CustomField(
            id=field.id, label_en="Size", kind=custom_fields_pb2.CUSTOM_FIELD_KIND_TEXT
        ),
        update_mask=FieldMask(paths=["label_en", "kind"]),
    )
    await c.ask("CustomFieldService/UpdateCustomField", change, custom_fields_pb2.CustomField)
    await deleted(
        "CustomFieldService/DeleteCustomField", custom_fields_pb2.DeleteCustomFieldRequest(id=field.id)
    )
    # A text has no choices any more.
    await says(field, "custom_field", *whole, changes='"changedFields":["labelEn","kind","choices"]')
