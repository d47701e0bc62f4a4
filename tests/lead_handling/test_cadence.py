"""A cadence proposes what comes next, and when; who is late stands in a list."""

from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.protobuf.empty_pb2 import Empty
from google.protobuf.struct_pb2 import Value
from kehu.bulkedits.v1 import bulk_edits_pb2
from kehu.leads.v1 import cadence_pb2, cadence_service_pb2, lead_pb2, lead_service_pb2

from chassis.errors import Code
from chassis.testing import eventually, refused, somebody
from chassis.wire import from_dict
from leads.rpc.pool import day_of

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]
Make = Callable[[], Awaitable[Any]]
EMAIL = cadence_pb2.CadenceStep(
    channel=cadence_pb2.CONTACT_CHANNEL_EMAIL, hint_en="Say hello", hint_zh="打招呼"
)
PHONE = cadence_pb2.CadenceStep(channel=cadence_pb2.CONTACT_CHANNEL_PHONE, delay_days=2, delay_hours=3)
VISIT = cadence_pb2.CadenceStep(channel=cadence_pb2.CONTACT_CHANNEL_VISIT, delay_days=7)


def report(
    c: Any, lead: lead_pb2.Lead, outcome: str, who: Any = None, **more: Any
) -> Awaitable[lead_pb2.Lead]:
    request = lead_service_pb2.ReportCadenceStepRequest(
        id=lead.id, outcome=cadence_pb2.CadenceOutcome.Value(f"CADENCE_OUTCOME_{outcome}"), **more
    )
    return c.verb("ReportCadenceStep", request, who)


async def due(c: Any, when: int, who: Any = None, **more: Any) -> list[str]:
    request = lead_service_pb2.ListDueLeadsRequest(when=when, page_size=1, **more)  # pyright: ignore[reportArgumentType]
    found: list[str] = []
    while True:
        page = await c.ask("LeadService/ListDueLeads", request, lead_service_pb2.ListDueLeadsResponse, who)
        found += [lead.name for lead in page.leads]
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


async def test_first_second_third_contact(company: Make) -> None:
    c = await company()
    ann = await c.person("Ann")
    cadence = await c.cadence(EMAIL, PHONE, VISIT, automatic=True, condition="source = WEB_FORM")
    assert [step.hint_zh for step in cadence.steps] == ["打招呼", "", ""]
    assert not (await c.lead(ann)).cadence_id
    lead = await c.lead(ann, source=lead_pb2.LEAD_SOURCE_WEB_FORM)
    assert (lead.cadence_id, lead.cadence_step, lead.next_contact_channel) == (
        cadence.id, 1, cadence_pb2.CONTACT_CHANNEL_EMAIL,
    )  # fmt: skip
    assert lead.next_contact_time == lead.create_time
    sent = await report(c, lead, "SENT", ann, note="mailed", step=1)
    assert (sent.cadence_step, sent.next_contact_channel) == (2, cadence_pb2.CONTACT_CHANNEL_PHONE)
    waits = sent.next_contact_time.ToDatetime() - sent.update_time.ToDatetime()
    assert abs(waits - timedelta(days=2, hours=3)) < timedelta(seconds=1)
    assert (sent.status, sent.contact_count, sent.notes) == (lead_pb2.LEAD_STATUS_NEW, 0, "mailed")
    # A second click reports no second step.
    await refused(Code.ABORTED, "STEP_NOT_PROPOSED", report(c, lead, "SENT", ann, step=1))
    once: dict[str, Any] = {"request_id": "r1", "step": 2}
    reached = await report(c, lead, "REACHED", ann, **once)
    assert await report(c, lead, "REACHED", ann, **once) == reached
    assert (reached.status, reached.contact_count) == (lead_pb2.LEAD_STATUS_CONTACTED, 1)
    # Somebody who speaks with the lead otherwise does not lose what is proposed.
    spoken = await c.verb("ContactLead", lead_service_pb2.ContactLeadRequest(id=lead.id), ann)
    assert spoken.next_contact_time == reached.next_contact_time and spoken.cadence_step == 3
    ended = await report(c, lead, "NO_ANSWER", ann)
    assert not ended.cadence_id and not ended.HasField("next_contact_time") and ended.cadence_step == 0
    await refused(Code.FAILED_PRECONDITION, "LEAD_WITHOUT_CADENCE", report(c, lead, "SENT", ann))
    touches = await c.ask(
        "LeadService/ListLeadTouches",
        lead_service_pb2.ListLeadTouchesRequest(lead_id=lead.id),
        lead_service_pb2.ListLeadTouchesResponse,
        ann,
    )
    assert [(one.step, cadence_pb2.CadenceOutcome.Name(one.outcome)[16:]) for one in touches.touches] == [
        (3, "NO_ANSWER"), (2, "REACHED"), (1, "SENT"),
    ]  # fmt: skip
    assert Counter(await c.told(lead.id))["lead.cadence_step_reported"] == 3


async def test_who_is_late_and_what_is_due_today(company: Make) -> None:
    c = await company()
    ann, bob = [await c.person(name) for name in ("Ann", "Bob")]
    now = datetime.now(UTC)
    begin, end = day_of(now, "Asia/Shanghai")
    times = {
        "Long since": now - timedelta(days=3), "Yesterday": begin - timedelta(seconds=1), "At midnight": begin,
        "Late today": end - timedelta(seconds=1), "Tomorrow": end,
    }  # fmt: skip
    for name, at in times.items():
        lead = await c.lead(ann, name=name)
        await c.execute("UPDATE leads SET next_contact_time = :p0 WHERE id = CAST(:p1 AS uuid)", at, lead.id)
    await c.lead(ann, name="Whenever")
    late = await c.lead(bob, name="Bob's")
    await c.execute(
        "UPDATE leads SET next_contact_time = :p0 WHERE id = CAST(:p1 AS uuid)",
        now - timedelta(days=9),
        late.id,
    )
    closed = await c.lead(ann, name="Closed")
    no_need = lead_service_pb2.DisqualifyLeadRequest(id=closed.id, reason=lead_pb2.DISQUALIFY_REASON_NO_NEED)
    await c.verb("DisqualifyLead", no_need)
    await c.execute(
        "UPDATE leads SET next_contact_time = :p0 WHERE id = CAST(:p1 AS uuid)",
        now - timedelta(days=9),
        closed.id,
    )
    today: dict[str, Any] = {"when": lead_service_pb2.DUE_WHEN_TODAY, "time_zone": "Asia/Shanghai"}
    assert await due(c, who=ann, **today) == ["At midnight", "Late today"]
    overdue = [name for name, at in times.items() if at < now]
    assert await due(c, lead_service_pb2.DUE_WHEN_OVERDUE, ann) == overdue
    assert await due(c, lead_service_pb2.DUE_WHEN_OVERDUE) == ["Bob's", *overdue]
    # What is asked for cannot get out of the list: it is taken apart, not pasted in.
    everything = 'name = "x") OR (name != "x"'
    await refused(
        Code.INVALID_ARGUMENT, "FILTER_INVALID", due(c, lead_service_pb2.DUE_WHEN_OVERDUE, filter=everything)
    )
    either = 'name = "Whenever" OR name = "Long since"'
    assert await due(c, lead_service_pb2.DUE_WHEN_OVERDUE, filter=either) == ["Long since"]
    assert await due(c, lead_service_pb2.DUE_WHEN_OVERDUE, somebody("rival")) == []
    assert await due(c, lead_service_pb2.DUE_WHEN_UNSPECIFIED, ann) == overdue


async def test_by_hand_until_the_lead_is_settled(company: Make) -> None:
    c = await company()
    ann = await c.person("Ann")
    cadence = await c.cadence(PHONE)
    lead = await c.lead(ann)
    start = lead_service_pb2.StartLeadCadenceRequest(id=lead.id, cadence_id=cadence.id)
    await refused(Code.NOT_FOUND, "NOT_FOUND", c.verb("StartLeadCadence", start, await c.person("Bob")))
    started = await c.verb("StartLeadCadence", start, ann)
    assert started.next_contact_channel == cadence_pb2.CONTACT_CHANNEL_PHONE
    delete = cadence_service_pb2.DeleteCadenceRequest(id=cadence.id)
    await refused(
        Code.FAILED_PRECONDITION, "CADENCE_IN_USE", c.ask("CadenceService/DeleteCadence", delete, Empty)
    )
    stop = lead_service_pb2.StopLeadCadenceRequest(id=lead.id)
    assert not (await c.verb("StopLeadCadence", stop, ann)).HasField("next_contact_time")
    await refused(Code.FAILED_PRECONDITION, "LEAD_WITHOUT_CADENCE", c.verb("StopLeadCadence", stop, ann))
    await c.verb("StartLeadCadence", start, ann)
    no_need = lead_service_pb2.DisqualifyLeadRequest(id=lead.id, reason=lead_pb2.DISQUALIFY_REASON_NO_NEED)
    assert not (await c.verb("DisqualifyLead", no_need, ann)).cadence_id
    await refused(Code.FAILED_PRECONDITION, "CADENCE_NOT_STARTABLE", c.verb("StartLeadCadence", start, ann))
    assert await c.told(lead.id) == [
        "lead.created", "lead.cadence_started", "lead.cadence_stopped", "lead.cadence_started", "lead.disqualified",
    ]  # fmt: skip
    await c.ask("CadenceService/DeleteCadence", delete, Empty)
    other = await c.lead(ann)
    start.id = other.id
    await refused(Code.INVALID_ARGUMENT, "CADENCE_NOT_FOUND", c.verb("StartLeadCadence", start, ann))
    await refused(Code.INVALID_ARGUMENT, "FILTER_INVALID", c.cadence(PHONE, condition="colour = red"))
    seller = c.ask(
        "CadenceService/CreateCadence",
        cadence_service_pb2.CreateCadenceRequest(cadence=cadence),
        cadence_pb2.Cadence,
        ann,
    )
    await refused(Code.PERMISSION_DENIED, "RIGHT_MISSING", seller)


async def test_when_its_time_has_come_it_is_told_once(company: Make) -> None:
    c = await company()
    cadence = await c.cadence(EMAIL, PHONE, automatic=True)
    lead = await c.lead(c.boss)

    async def told() -> bool:
        return "lead.contact_due" in await c.told(lead.id)

    await eventually(told, 60)
    await report(c, lead, "SKIPPED")
    await c.settled()
    assert Counter(await c.told(lead.id))["lead.contact_due"] == 1
    (job,) = await c.rows("SELECT payload FROM jobs WHERE kind = 'contact_due' AND key = $1", lead.id)
    assert job["payload"]["at"] and cadence.automatic


async def moved(c: Any, lead: lead_pb2.Lead, at: datetime, who: Any = None) -> lead_pb2.Lead:
    request = lead_service_pb2.UpdateLeadRequest(lead=lead_pb2.Lead(id=lead.id))
    request.lead.next_contact_time.FromDatetime(at)
    return await c.verb("UpdateLead", request, who)


async def test_every_time_for_the_next_contact_is_told_when_it_comes(company: Make) -> None:
    c = await company()
    ann = await c.person("Ann")
    soon, later = datetime.now(UTC) + timedelta(hours=1), datetime.now(UTC) + timedelta(days=3)
    jobs = "SELECT due_at FROM jobs WHERE kind = 'contact_due' AND key = $1"

    async def due_at(lead: lead_pb2.Lead) -> list[datetime]:
        return [row["due_at"] for row in await c.rows(jobs, lead.id)]

    # Without a cadence, whoever says the time.
    made = lead_pb2.Lead(name="Made", owner_id=str(ann.person_id))
    made.next_contact_time.FromDatetime(soon)
    by_hand = await c.verb("CreateLead", lead_service_pb2.CreateLeadRequest(lead=made))
    assert await due_at(by_hand) == [soon]
    spoken = await c.lead(ann)
    contact = lead_service_pb2.ContactLeadRequest(id=spoken.id)
    contact.next_contact_time.FromDatetime(later)
    await c.verb("ContactLead", contact, ann)
    assert await due_at(spoken) == [later]
    # With one, and moved.
    await c.cadence(PHONE, automatic=True, condition="source = WEB_FORM")
    proposed = await c.lead(ann, source=lead_pb2.LEAD_SOURCE_WEB_FORM)
    await moved(c, proposed, soon, ann)
    assert await due_at(proposed) == [soon]
    edit = bulk_edits_pb2.CreateBulkEditRequest(record_type="lead", ids=[spoken.id, proposed.id])
    at = (datetime.now(UTC) + timedelta(seconds=2)).isoformat()
    edit.change.values.CopyFrom(from_dict(Value, {"nextContactTime": at}))
    await c.ask("BulkEditService/CreateBulkEdit", edit, bulk_edits_pb2.BulkEdit)

    async def all_told() -> bool:
        return all(["lead.contact_due" in await c.told(lead.id) for lead in (spoken, proposed)])

    await eventually(all_told, 60)
    await moved(c, by_hand, datetime.now(UTC) - timedelta(seconds=1), ann)
    await c.settled()
    # Each once; and what somebody says long after is in the list of what is late.
    await moved(c, spoken, datetime.now(UTC) - timedelta(days=2), ann)
    await c.settled()
    for lead in (by_hand, spoken, proposed):
        assert Counter(await c.told(lead.id))["lead.contact_due"] == 1
    assert spoken.name in await due(c, lead_service_pb2.DUE_WHEN_OVERDUE, ann)
