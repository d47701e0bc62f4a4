"""Many leads changed at once, by the rules that one is changed by; and the views by which they are looked at."""

import csv
import io
from collections.abc import AsyncGenerator, Callable
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from google.api.httpbody_pb2 import HttpBody
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.struct_pb2 import Value
from google.protobuf.timestamp_pb2 import Timestamp
from kehu.bulkedits.v1 import bulk_edits_pb2 as pb
from kehu.identity.v1 import person_pb2, person_service_pb2
from kehu.leads.v1 import (
    cadence_pb2,
    cadence_service_pb2,
    lead_pb2,
    lead_service_pb2,
    score_pb2,
    score_service_pb2,
)
from kehu.savedviews.v1 import saved_views_pb2 as views_pb

from chassis.errors import Code
from chassis.ids import new_id
from chassis.principal import Principal
from chassis.testing import (
    DatabaseUrls,
    Harness,
    Keys,
    answering,
    eventually,
    refused,
    running_service,
    somebody,
)
from chassis.wire import from_dict
from leads.handling import hold
from leads.lead import Lead
from leads.merging import attach
from leads.service import SERVICE

pytestmark = pytest.mark.asyncio(loop_scope="module")
LEADS = "kehu.leads.v1.LeadService/"
EDITS = "kehu.leads.v1.BulkEditService/"
VIEWS = "kehu.leads.v1.SavedViewService/"
LI = str(new_id())


def looked_up(request: person_service_pb2.LookUpPeopleRequest) -> person_service_pb2.LookUpPeopleResponse:
    known = person_service_pb2.PersonCard(id=LI, display_name="李娜", status=person_pb2.PERSON_STATUS_ACTIVE)
    return person_service_pb2.LookUpPeopleResponse(people=[known] if LI in request.ids else [])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(
    service_database: Callable[[str], DatabaseUrls], nats_url: str, keys: Keys
) -> AsyncGenerator[Harness]:
    answers = {
        "kehu.identity.v1.PersonService/LookUpPeople": (person_service_pb2.LookUpPeopleRequest, looked_up)
    }
    async with (
        answering(answers) as identity,
        running_service(
            SERVICE, service_database("leads"), nats_url, keys, addresses={"identity": identity}
        ) as harness,
    ):
        yield harness


async def lead(service: Harness, who: Principal, **values: Any) -> lead_pb2.Lead:
    told: dict[str, Any] = {"name": "张三", **values}
    request = lead_service_pb2.CreateLeadRequest(lead=lead_pb2.Lead(**told))
    return await service.ask(who, LEADS + "CreateLead", request, lead_pb2.Lead)


async def now(service: Harness, who: Principal, id: str) -> lead_pb2.Lead:
    return await service.ask(who, LEADS + "GetLead", lead_service_pb2.GetLeadRequest(id=id), lead_pb2.Lead)


async def until(service: Harness, who: Principal, id: str, state: int) -> pb.BulkEdit:
    async def stands() -> bool:
        return (
            await service.ask(who, EDITS + "GetBulkEdit", pb.GetBulkEditRequest(id=id), pb.BulkEdit)
        ).state == state

    await eventually(stands, 60)
    return await service.ask(who, EDITS + "GetBulkEdit", pb.GetBulkEditRequest(id=id), pb.BulkEdit)


async def run(
    service: Harness, who: Principal, values: dict[str, Any], ids: list[str], **more: Any
) -> pb.BulkEdit:
    request = pb.CreateBulkEditRequest(record_type="lead", ids=ids, change=pb.BulkChange(**more))
    if values:
        request.change.values.CopyFrom(from_dict(Value, values))
    begun = await service.ask(who, EDITS + "CreateBulkEdit", request, pb.BulkEdit)
    return await until(service, who, begun.id, pb.BULK_EDIT_STATE_SUCCEEDED)


async def undo(service: Harness, who: Principal, id: str) -> pb.BulkEdit:
    await service.ask(who, EDITS + "UndoBulkEdit", pb.UndoBulkEditRequest(id=id), pb.BulkEdit)
    return await until(service, who, id, pb.BULK_EDIT_STATE_UNDONE)


async def test_scores_follow_and_go_back(service: Harness) -> None:
    who = somebody("bulk-scores")
    rule = score_service_pb2.CreateScoreRuleRequest(
        rule=score_pb2.ScoreRule(active=True, name="South", condition='region = "华南"', points=20)
    )
    await service.ask(who, "kehu.leads.v1.ScoreService/CreateScoreRule", rule, score_pb2.ScoreRule)
    made = [await lead(service, who, region="华东") for _ in range(3)]
    done = await run(service, who, {"region": "华南"}, [one.id for one in made], add_tags=["moved"])
    assert done.changed_records == 3
    for one in made:
        found = await now(service, who, one.id)
        assert (found.region, list(found.tags), found.score) == ("华南", ["moved"], one.score + 20)
    back = await undo(service, who, done.id)
    assert (back.undone_records, back.kept_records) == (3, 0)
    for one in made:
        found = await now(service, who, one.id)
        assert (found.region, list(found.tags), found.score) == ("华东", [], one.score)


async def test_leads_are_given_to_somebody_and_back(service: Harness) -> None:
    who = somebody("bulk-owners")
    one = await lead(service, who)
    done = await run(service, who, {}, [one.id], owner_id=LI)
    assert (await now(service, who, one.id)).owner_id == LI
    back = await undo(service, who, done.id)
    assert (back.undone_records, back.kept_records) == (1, 0)
    assert (await now(service, who, one.id)).owner_id == str(who.person_id)


async def told(service: Harness, who: Principal, id: str) -> list[str]:
    rows = await service.running.database.read(
        who, "SELECT type FROM outbox WHERE record_id = $1::uuid ORDER BY seq", id
    )
    return [row["type"].rpartition(".")[2] for row in rows]


async def test_leads_are_disqualified_and_opened_again(service: Harness) -> None:
    who = somebody("bulk-disqualified")
    later = Timestamp(seconds=1_900_000_000)
    fresh, good, touched, closed = [await lead(service, who, next_contact_time=later) for _ in range(4)]
    qualify = lead_service_pb2.QualifyLeadRequest(id=good.id)
    await service.ask(who, LEADS + "QualifyLead", qualify, lead_pb2.Lead)
    other = lead_service_pb2.DisqualifyLeadRequest(
        id=closed.id, reason=lead_pb2.DISQUALIFY_REASON_OTHER, note="moved away"
    )
    before = await service.ask(who, LEADS + "DisqualifyLead", other, lead_pb2.Lead)
    ids = [one.id for one in (fresh, good, touched, closed)]
    invalid, unknown = "INVALID_FIELD", "ACTION_UNKNOWN"
    for wrong, field, reason in (
        (pb.BulkChange(action="disqualify"), "change.reason", invalid),
        (pb.BulkChange(action="disqualify", reason="no idea"), "change.reason", invalid),
        (pb.BulkChange(action="disqualify", reason="DISQUALIFY_REASON_OTHER"), "change.note", invalid),
        (pb.BulkChange(action="reopen", reason="DISQUALIFY_REASON_SPAM"), "change.reason", invalid),
        (pb.BulkChange(action="reopen", add_tags=["x"]), "change.action", invalid),
        (pb.BulkChange(action="convert"), "change.action", unknown),
        (pb.BulkChange(action="delete"), "change.action", unknown),  # leads have no trash
        (pb.BulkChange(reason="DISQUALIFY_REASON_SPAM"), "change.action", unknown),
    ):
        for method, kind in (("Create", pb.CreateBulkEditRequest), ("Preview", pb.PreviewBulkEditRequest)):
            asked: Any = kind(record_type="lead", ids=ids, change=wrong)
            answer: Any = pb.BulkEdit if method == "Create" else pb.PreviewBulkEditResponse
            problem = await refused(
                Code.INVALID_ARGUMENT, reason, service.ask(who, f"{EDITS}{method}BulkEdit", asked, answer)
            )
            assert problem.violations[0].field == field
    spam = pb.BulkChange(action="disqualify", reason="DISQUALIFY_REASON_SPAM", note="a robot")
    shown = await service.ask(
        who, EDITS + "PreviewBulkEdit", pb.PreviewBulkEditRequest(record_type="lead", ids=ids, change=spam),
        pb.PreviewBulkEditResponse,
    )  # fmt: skip
    reasons = {one.record_id: one.reason for one in shown.records}
    assert reasons == {fresh.id: "", good.id: "", touched.id: "", closed.id: "LEAD_NOT_DISQUALIFIABLE"}
    first = next(one for one in shown.records if one.record_id == fresh.id)
    assert {"status", "disqualifyReason"} <= {one.field for one in first.fields}
    assert (await now(service, who, fresh.id)).status == lead_pb2.LEAD_STATUS_NEW

    done = await run(
        service, who, {}, ids, action="disqualify", reason="DISQUALIFY_REASON_SPAM", note="a robot"
    )
    assert (done.changed_records, done.refused_records) == (3, 1)
    assert (done.change.action, done.change.reason, done.change.note) == (
        "disqualify", "DISQUALIFY_REASON_SPAM", "a robot",
    )  # fmt: skip
    found = await now(service, who, good.id)
    assert (found.status, found.disqualify_reason, found.disqualify_note) == (
        lead_pb2.LEAD_STATUS_DISQUALIFIED, lead_pb2.DISQUALIFY_REASON_SPAM, "a robot",
    )  # fmt: skip
    assert (await told(service, who, good.id))[-1] == "LeadDisqualified"
    for verb in (
        lead_service_pb2.ReopenLeadRequest(id=touched.id),
        lead_service_pb2.DisqualifyLeadRequest(id=touched.id, reason=lead_pb2.DISQUALIFY_REASON_NO_NEED),
    ):
        name = type(verb).__name__.removesuffix("Request")
        await service.ask(who, LEADS + name, verb, lead_pb2.Lead)
    back = await undo(service, who, done.id)
    assert (back.undone_records, back.kept_records) == (2, 1)
    # One that was qualified is that again, which reopening alone would not make of it.
    for one, status in ((fresh, lead_pb2.LEAD_STATUS_NEW), (good, lead_pb2.LEAD_STATUS_QUALIFIED)):
        found = await now(service, who, one.id)
        assert (found.status, found.disqualify_note, found.next_contact_time) == (status, "", later)
        assert (await told(service, who, one.id))[-1] == "LeadReopened"
    assert (await now(service, who, touched.id)).disqualify_reason == lead_pb2.DISQUALIFY_REASON_NO_NEED

    opened = await run(service, who, {}, [closed.id, fresh.id], action="reopen", note="is back")
    assert (opened.changed_records, opened.refused_records) == (1, 1)
    found = await now(service, who, closed.id)
    assert (found.status, found.notes) == (lead_pb2.LEAD_STATUS_NEW, "is back")
    await undo(service, who, opened.id)
    found = await now(service, who, closed.id)
    assert (found.status, found.disqualify_reason, found.disqualify_note, found.disqualify_time, found.notes) == (
        before.status, before.disqualify_reason, "moved away", before.disqualify_time, "",
    )  # fmt: skip
    assert (await told(service, who, closed.id))[-1] == "LeadDisqualified"


async def on_cadence(service: Harness, who: Principal, *ids: str) -> cadence_pb2.Cadence:
    """A cadence of two steps, with these leads on it."""
    steps = [
        cadence_pb2.CadenceStep(channel=cadence_pb2.CONTACT_CHANNEL_PHONE, delay_days=days) for days in (2, 9)
    ]
    request = cadence_service_pb2.CreateCadenceRequest(
        cadence=cadence_pb2.Cadence(name="First weeks", active=True, steps=steps)
    )
    made = await service.ask(who, "kehu.leads.v1.CadenceService/CreateCadence", request, cadence_pb2.Cadence)
    for id in ids:
        begin = lead_service_pb2.StartLeadCadenceRequest(id=id, cadence_id=made.id)
        await service.ask(who, LEADS + "StartLeadCadence", begin, lead_pb2.Lead)
    return made


async def kept(service: Harness, who: Principal, id: str) -> dict[str, tuple[str, str]]:
    answer = await service.ask(who, EDITS + "GetKeptRecords", pb.GetKeptRecordsRequest(id=id), HttpBody)
    rows = csv.DictReader(io.StringIO(answer.data.decode("utf-8-sig")))
    return {row["Record"]: (row["Reason"], row["Message"]) for row in rows}


async def test_leads_that_were_closed_stand_as_they_stood(service: Harness) -> None:
    """With the step that was proposed, where its cadence is still there, and with the offer that nobody had accepted."""
    who = somebody("bulk-standing")
    stepped, stopped, offered = [await lead(service, who) for _ in range(3)]
    await on_cadence(service, who, stepped.id)
    left = await on_cadence(service, who, stopped.id)
    offer = lead_service_pb2.AssignLeadRequest(id=offered.id, owner_id=LI, accept_minutes=60)
    await service.ask(who, LEADS + "AssignLead", offer, lead_pb2.Lead)
    ids = [stepped.id, stopped.id, offered.id]
    before = [await now(service, who, id) for id in ids]
    assert before[2].acceptance == lead_pb2.ACCEPTANCE_STATE_PENDING
    done = await run(service, who, {}, ids, action="disqualify", reason="DISQUALIFY_REASON_SPAM")
    assert (await now(service, who, offered.id)).acceptance == lead_pb2.ACCEPTANCE_STATE_ACCEPTED
    off = cadence_service_pb2.UpdateCadenceRequest(
        cadence=cadence_pb2.Cadence(id=left.id, active=False), update_mask=FieldMask(paths=["active"])
    )
    await service.ask(who, "kehu.leads.v1.CadenceService/UpdateCadence", off, cadence_pb2.Cadence)
    back = await undo(service, who, done.id)
    assert (back.undone_records, back.kept_records) == (3, 0)
    step = ("cadence_id", "cadence_step", "next_contact_time", "next_contact_channel")
    accepting = ("acceptance", "accept_until_time", "offer_count", "owner_id")
    after = [await now(service, who, id) for id in ids]
    assert [getattr(after[0], name) for name in step] == [getattr(before[0], name) for name in step]
    assert (after[1].cadence_id, after[1].cadence_step, after[1].HasField("next_contact_time")) == (
        "", 0, False,
    )  # fmt: skip
    assert [getattr(after[2], name) for name in accepting] == [getattr(before[2], name) for name in accepting]
    rows = await service.running.database.read(
        who, "SELECT offered_to::text[] AS people FROM leads WHERE id = $1::uuid", offered.id
    )
    assert list(rows[0]["people"]) == [LI]


async def test_who_has_taken_a_lead_in_hand_keeps_it_open(service: Harness) -> None:
    """One that was opened again is closed by the undoing only if nobody has worked on it since; and one that was a customer's,
    or another lead's, is given to none of them again: to the customer belongs only what one may add to it."""
    who = somebody("bulk-reopened")
    still, called, given, planned, theirs, twin = [await lead(service, who) for _ in range(6)]
    for one in (still, called, given, planned, theirs, twin):
        spoken = lead_service_pb2.ContactLeadRequest(id=one.id)
        await service.ask(who, LEADS + "ContactLead", spoken, lead_pb2.Lead)
    for one in (still, called, given, planned):
        spam = lead_service_pb2.DisqualifyLeadRequest(id=one.id, reason=lead_pb2.DISQUALIFY_REASON_SPAM)
        await service.ask(who, LEADS + "DisqualifyLead", spam, lead_pb2.Lead)
    async with service.running.database.transaction(who) as tx:
        handling = await hold(tx)
        for id, customer in ((theirs.id, new_id()), (twin.id, None)):
            row = await tx.find(Lead, UUID(id))
            assert row is not None
            attach(tx, row, handling, customer or new_id(), None)
            if customer is None:
                row.duplicate_of_customer_id, row.duplicate_of_lead_id = None, UUID(still.id)
    ids = [one.id for one in (still, called, given, planned, theirs, twin)]
    done = await run(service, who, {}, ids, action="reopen", note="is back")
    assert done.changed_records == 6
    again = lead_service_pb2.ContactLeadRequest(id=called.id)
    await service.ask(who, LEADS + "ContactLead", again, lead_pb2.Lead)
    assign = lead_service_pb2.AssignLeadRequest(id=given.id, owner_id=LI)
    await service.ask(who, LEADS + "AssignLead", assign, lead_pb2.Lead)
    await on_cadence(service, who, planned.id)
    back = await undo(service, who, done.id)
    assert (back.undone_records, back.kept_records) == (1, 5)
    reasons = {id: reason for id, (reason, _) in (await kept(service, who, done.id)).items()}
    since, elsewhere = "CHANGED_SINCE", "LEAD_WENT_ELSEWHERE"
    assert reasons == {
        called.id: since, given.id: since, planned.id: since, theirs.id: elsewhere, twin.id: elsewhere,
    }  # fmt: skip
    assert (await now(service, who, still.id)).status == lead_pb2.LEAD_STATUS_DISQUALIFIED
    for id in reasons:
        found = await now(service, who, id)
        assert found.status == lead_pb2.LEAD_STATUS_CONTACTED
        assert (found.duplicate_of_customer_id, found.duplicate_of_lead_id) == ("", "")


async def test_times_go_back(service: Harness) -> None:
    who = somebody("bulk-times")
    before, after = Timestamp(seconds=1_900_000_000), Timestamp(seconds=1_950_000_000)
    one = await lead(service, who, next_contact_time=before)
    done = await run(service, who, {"nextContactTime": after.ToJsonString()}, [one.id])
    assert (await now(service, who, one.id)).next_contact_time == after
    back = await undo(service, who, done.id)
    assert (back.undone_records, back.kept_records) == (1, 0)
    assert (await now(service, who, one.id)).next_contact_time == before


async def test_leads_of_the_pool_go_back_there(service: Harness) -> None:
    who = somebody("bulk-pool")
    one, kept = [await lead(service, who) for _ in range(2)]
    for id in (one.id, kept.id):
        give = lead_service_pb2.ReturnLeadRequest(id=id, reason="not mine")
        assert not (await service.ask(who, LEADS + "ReturnLead", give, lead_pb2.Lead)).owner_id
    done = await run(service, who, {}, [one.id, kept.id], owner_id=LI)
    assert (await now(service, who, one.id)).owner_id == LI
    take = lead_service_pb2.AssignLeadRequest(id=kept.id, owner_id=str(who.person_id))
    await service.ask(who, LEADS + "AssignLead", take, lead_pb2.Lead)
    back = await undo(service, who, done.id)
    # Of one that somebody has given to another since it is said so, and of the other nothing is to be said.
    assert (back.undone_records, back.kept_records) == (1, 1)
    found = await now(service, who, one.id)
    assert not found.owner_id
    assert (await now(service, who, kept.id)).owner_id == str(who.person_id)


async def test_one_that_its_rules_refuse_leaves_the_others_whole(service: Harness) -> None:
    """A lead needs a name or a company: what its use case had set before it refused is not written."""
    who = somebody("bulk-names")
    named = [await lead(service, who, company_name=f"C{n}") for n in range(5)]
    nameless = [await lead(service, who, region="old") for _ in range(2)]
    ids = [one.id for one in (named[0], nameless[0], *named[1:3], nameless[1], *named[3:])]
    done = await run(service, who, {"region": "new"}, ids, fields=["name", "region"])
    assert (done.changed_records, done.refused_records) == (5, 2)
    for one in nameless:
        found = await now(service, who, one.id)
        assert (found.name, found.region, found.etag) == ("张三", "old", one.etag)
    for one in named:
        found = await now(service, who, one.id)
        assert (found.name, found.region) == ("", "new")
    told = await service.running.database.read(
        who, "SELECT count(*) AS many FROM outbox WHERE type LIKE '%LeadUpdated'"
    )
    assert told[0]["many"] == 5


async def test_views_of_leads(service: Harness) -> None:
    who = somebody("lead-views")
    await lead(service, who, region="北方")
    request = views_pb.CreateSavedViewRequest(
        saved_view=views_pb.SavedView(
            record_type="lead", display_name="North", filter='region = "北方" AND score >= 0',
            columns=["name", "companyName", "score"], order_by="score desc",
        )
    )  # fmt: skip
    made = await service.ask(who, VIEWS + "CreateSavedView", request, views_pb.SavedView)
    counted = await service.ask(
        who,
        VIEWS + "CountSavedView",
        views_pb.CountSavedViewRequest(id=made.id),
        views_pb.CountSavedViewResponse,
    )
    assert (counted.count, counted.more) == (1, False)
