"""Importing leads: what becomes of those that are there already, what texts mean, what is remembered, and the undoing."""

import csv
import io
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
import pytest
import pytest_asyncio
from google.api.httpbody_pb2 import HttpBody
from google.protobuf.empty_pb2 import Empty
from google.protobuf.field_mask_pb2 import FieldMask
from kehu.attachments.v1 import attachments_pb2 as files_pb
from kehu.customfields.v1 import custom_fields_pb2
from kehu.imports.v1 import imports_pb2 as pb
from kehu.leads.v1 import lead_pb2, lead_service_pb2
from kehu.notes.v1 import notes_pb2
from sqlalchemy import text

from chassis.errors import Code
from chassis.ids import new_id
from chassis.principal import Principal, Reach, Rights
from chassis.testing import (
    DatabaseUrls,
    Harness,
    Keys,
    eventually,
    kinds_of_jobs,
    refused,
    running_service,
    somebody,
)
from leads.pool import worked_on
from leads.service import SERVICE

pytestmark = pytest.mark.asyncio(loop_scope="module")
LEADS = "kehu.leads.v1.LeadService/"
IMPORTS = "kehu.leads.v1.ImportService/"
SKIP, MERGE, ANYWAY = pb.DUPLICATE_POLICY_SKIP, pb.DUPLICATE_POLICY_MERGE, pb.DUPLICATE_POLICY_CREATE
UPDATE, UPSERT = pb.IMPORT_MODE_UPDATE, pb.IMPORT_MODE_UPSERT
ALL, OWN = Rights(Reach.ALL, Reach.ALL), Rights(Reach.OWN, Reach.OWN)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(
    service_database: Callable[[str], DatabaseUrls], nats_url: str, keys: Keys
) -> AsyncGenerator[Harness]:
    async with running_service(SERVICE, service_database("leads"), nats_url, keys) as harness:
        yield harness


def file(*rows: str, header: str = "Name,Company,Phone,E-mail,External key,Source,Notes") -> bytes:
    return "\n".join((header, *rows, "")).encode()


async def create(service: Harness, who: Principal, **fields: Any) -> lead_pb2.Lead:
    request = lead_service_pb2.CreateLeadRequest(lead=lead_pb2.Lead(**fields))
    return await service.ask(who, LEADS + "CreateLead", request, lead_pb2.Lead)


async def change(service: Harness, who: Principal, id: str, **fields: Any) -> lead_pb2.Lead:
    request = lead_service_pb2.UpdateLeadRequest(
        lead=lead_pb2.Lead(id=id, **fields), update_mask=FieldMask(paths=list(fields))
    )
    return await service.ask(who, LEADS + "UpdateLead", request, lead_pb2.Lead)


async def get(service: Harness, who: Principal, id: str) -> lead_pb2.Lead:
    return await service.ask(who, LEADS + "GetLead", lead_service_pb2.GetLeadRequest(id=id), lead_pb2.Lead)


async def listed(service: Harness, who: Principal) -> dict[str, lead_pb2.Lead]:
    request = lead_service_pb2.ListLeadsRequest(page_size=200)
    answer = await service.ask(who, LEADS + "ListLeads", request, lead_service_pb2.ListLeadsResponse)
    return {lead.name: lead for lead in answer.leads}


async def ask(service: Harness, who: Principal, method: str, request: Any, answer: Any = pb.Import) -> Any:
    return await service.ask(who, IMPORTS + method, request, answer)


async def taken_in(service: Harness, who: Principal, content: bytes, filename: str = "a.csv") -> pb.Import:
    request = pb.CreateImportRequest(record_type="lead", filename=filename, content=content)
    return await ask(service, who, "CreateImport", request)


async def settled(service: Harness, who: Principal, id: str) -> pb.Import:
    found: list[pb.Import] = []

    async def ended() -> bool:
        found.append(await ask(service, who, "GetImport", pb.GetImportRequest(id=id)))
        return found[-1].state not in (pb.IMPORT_STATE_RUNNING, pb.IMPORT_STATE_UNDOING)

    await eventually(ended, timeout=60)
    return found[-1]


async def imported(service: Harness, who: Principal, content: bytes, **options: Any) -> pb.Import:
    made = await taken_in(service, who, content)
    await ask(service, who, "StartImport", pb.StartImportRequest(id=made.id, **options))
    return await settled(service, who, made.id)


async def undone(service: Harness, who: Principal, id: str) -> pb.Import:
    await ask(service, who, "UndoImport", pb.UndoImportRequest(id=id))
    return await settled(service, who, id)


async def rows_of(service: Harness, who: Principal, method: str, id: str) -> list[dict[str, str]]:
    kinds: dict[str, Any] = {
        "GetRefusedRows": pb.GetRefusedRowsRequest,
        "GetKeptRecords": pb.GetKeptRecordsRequest,
    }
    body = await ask(service, who, method, kinds[method](id=id), HttpBody)
    return list(csv.DictReader(io.StringIO(body.data.decode("utf-8-sig"), newline="")))


def counts(run: pb.Import) -> tuple[int, int, int, int, int]:
    return run.created_rows, run.updated_rows, run.unchanged_rows, run.skipped_rows, run.refused_rows


# ---- duplicates


async def test_rows_that_are_there_are_skipped_by_key_mail_or_phone(service: Harness) -> None:
    boss = somebody("dup-skip")
    await create(service, boss, name="Mail", email="a@x.example")
    await create(service, boss, name="Phone", phone="13800001234")
    await create(service, boss, name="Key", external_key="K1")
    run = await imported(
        service, boss,
        file(
            "One,,,A@X.example,,,", "Two,,138 0000 1234,,,,", "Three,,,,K1,,", "Four,,,new@x.example,,,",
            "Five,,,new@x.example,,,",
        ),
        duplicates=SKIP,
    )  # fmt: skip
    # The last is the one above it in the same file.
    assert counts(run) == (1, 0, 4, 4, 0)
    assert set(await listed(service, boss)) == {"Mail", "Phone", "Key", "Four"}
    told = await rows_of(service, boss, "GetRefusedRows", run.id)
    assert [(row["Row"], row["Verdict"]) for row in told] == [
        ("2", "skipped"),
        ("3", "skipped"),
        ("4", "skipped"),
        ("6", "skipped"),
    ]
    assert told[0]["Reasons"].startswith("email: ")


async def test_rows_that_are_there_fill_what_is_empty_and_nothing_else(service: Harness) -> None:
    boss = somebody("dup-merge")
    mail = await create(service, boss, name="Mail", email="a@x.example", notes="mine")
    run = await imported(
        service, boss, file("Other,Acme,13800001234,a@x.example,K9,CALL,theirs", "Third,,13800001234,,,,again"), duplicates=MERGE
    )  # fmt: skip
    assert counts(run) == (0, 1, 1, 0, 0)  # the second is the same by the phone that the first has filled in
    lead = await get(service, boss, mail.id)
    assert (lead.name, lead.notes, lead.company_name, lead.phone) == (
        "Mail",
        "mine",
        "Acme",
        "+8613800001234",
    )
    assert lead.external_key == "K9" and lead.source == lead_pb2.LEAD_SOURCE_OTHER


async def test_rows_that_are_there_become_records_all_the_same(service: Harness) -> None:
    boss = somebody("dup-create")
    await create(service, boss, name="Mail", email="a@x.example", external_key="K1")
    run = await imported(service, boss, file("One,,,a@x.example,,,", "Two,,,,K1,,"), duplicates=ANYWAY)
    assert counts(run) == (1, 0, 0, 0, 1)  # a key is there once
    assert (await rows_of(service, boss, "GetRefusedRows", run.id))[0]["Reasons"].startswith("externalKey")


async def test_an_update_makes_nothing_new(service: Harness) -> None:
    boss = somebody("dup-update")
    old = await create(service, boss, name="Key", external_key="K1", notes="old")
    run = await imported(service, boss, file("Key,,,,K1,,new", "No,,,,K2,,", "None,,,,,,"), mode=UPDATE)
    assert counts(run) == (0, 1, 0, 0, 2)
    assert (await get(service, boss, old.id)).notes == "new"
    reasons = {row["Reasons"].split(":")[0] for row in await rows_of(service, boss, "GetRefusedRows", run.id)}
    assert reasons == {"externalKey"}


async def test_nobody_learns_by_an_import_what_they_may_not_read(service: Harness) -> None:
    boss = somebody("dup-hidden")
    mine = replace(somebody("dup-hidden"), rights={"leads": OWN})
    await create(service, boss, name="Hidden", email="a@x.example", phone="13800001234")
    for policy in (SKIP, MERGE):
        run = await imported(service, mine, file("Mine,,13800001234,a@x.example,,,"), duplicates=policy)
        assert counts(run)[0] == (1 if policy is SKIP else 0)  # the second time it is one's own that is there
    assert (await listed(service, boss))["Hidden"].notes == ""


# ---- what texts mean, and what is remembered


async def test_texts_are_given_values_and_remembered_for_the_same_headers(service: Harness) -> None:
    boss, other = somebody("words"), somebody("words-other")
    choices = [
        custom_fields_pb2.CustomFieldChoice(key=key, label_zh=zh)
        for key, zh in (("red", "红"), ("blue", "蓝"))
    ]
    field = custom_fields_pb2.CustomField(
        record_type="lead",
        key="colour",
        label_zh="颜色",
        kind=custom_fields_pb2.CUSTOM_FIELD_KIND_CHOICE,
        choices=choices,
    )
    await service.ask(
        boss, "kehu.leads.v1.CustomFieldService/CreateCustomField",
        custom_fields_pb2.CreateCustomFieldRequest(custom_field=field), custom_fields_pb2.CustomField,
    )  # fmt: skip
    header = "客户联系人,从哪来,颜色"
    content = file("张三,老板推荐,朱红", "李四,老板推荐,蓝", "王五,电话,朱红", header=header)
    made = await taken_in(service, boss, content)
    proposed = {m.column: m.field for m in made.proposed_mapping}
    assert proposed == {0: "name", 2: "customFields.colour"} and not made.mapping_remembered
    assert [(u.field, u.text, u.row_count) for u in made.unknown_values] == [
        ("customFields.colour", "朱红", 2)
    ]
    source = next(f for f in made.fields if f.field == "source")
    assert "REFERRAL" in {value.value for value in source.values}

    mapping = [
        pb.ColumnMapping(column=c, field=f)
        for c, f in ((0, "name"), (1, "source"), (2, "customFields.colour"))
    ]
    look = pb.PreviewImportRequest(id=made.id, mapping=mapping)
    seen = await ask(service, boss, "PreviewImport", look, pb.PreviewImportResponse)
    assert {(u.field, u.text) for u in seen.unknown_values} == {
        ("source", "老板推荐"),
        ("customFields.colour", "朱红"),
    }
    assert [p.reason for p in seen.preview[0].problems] == ["CHOICE_UNKNOWN", "CHOICE_UNKNOWN"]
    words = [
        pb.ValueMapping(field="source", text="老板推荐", value="REFERRAL"),
        pb.ValueMapping(field="customFields.colour", text="朱红", value="red"),
    ]
    look = pb.PreviewImportRequest(id=made.id, mapping=mapping, values=words)
    seen = await ask(service, boss, "PreviewImport", look, pb.PreviewImportResponse)
    assert not seen.unknown_values and not any(row.problems for row in seen.preview)
    start = pb.StartImportRequest(id=made.id, mapping=mapping, values=words)
    await ask(service, boss, "StartImport", start)
    assert (await settled(service, boss, made.id)).created_rows == 3
    leads = await listed(service, boss)
    assert leads["张三"].source == lead_pb2.LEAD_SOURCE_REFERRAL
    assert leads["王五"].custom_fields["colour"].string_value == "red"
    await refused(
        Code.FAILED_PRECONDITION,
        "IMPORT_NOT_READY",
        ask(service, boss, "PreviewImport", look, pb.PreviewImportResponse),
    )

    # The same headers in another order, a case and a width of their own.
    again = await taken_in(service, boss, file("朱红,老板推荐,赵六", header="颜 色,从哪来,客户联系人"))
    assert again.mapping_remembered
    assert {m.column: m.field for m in again.proposed_mapping} == {
        0: "customFields.colour",
        1: "source",
        2: "name",
    }
    assert not again.unknown_values and not again.preview[0].problems and len(again.proposed_values) == 2
    await ask(service, boss, "StartImport", pb.StartImportRequest(id=again.id))
    assert (await settled(service, boss, again.id)).created_rows == 1
    assert (await listed(service, boss))["赵六"].source == lead_pb2.LEAD_SOURCE_REFERRAL
    # Another company has its own.
    assert not (await taken_in(service, other, content)).mapping_remembered


@pytest.mark.parametrize(
    ("word", "field"),
    [
        (pb.ValueMapping(field="name", text="x", value="y"), "values[0].field"),
        (pb.ValueMapping(field="source", text="x", value="NOWHERE"), "values[0].value"),
        (pb.ValueMapping(field="nothing", text="x", value="y"), "values[0].field"),
    ],
)
async def test_wrong_words_are_refused(service: Harness, word: pb.ValueMapping, field: str) -> None:
    boss = somebody("words-wrong")
    made = await taken_in(service, boss, file("One,,,,,,"))
    for call in (
        ask(service, boss, "StartImport", pb.StartImportRequest(id=made.id, values=[word])),
        ask(service, boss, "PreviewImport", pb.PreviewImportRequest(id=made.id, values=[word]), pb.PreviewImportResponse),
    ):  # fmt: skip
        problem = await refused(Code.INVALID_ARGUMENT, "MAPPING_INVALID", call)
        assert problem.violations[0].field == field


# ---- undoing


async def test_a_whole_import_is_undone(service: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = kinds_of_jobs(monkeypatch)
    boss = somebody("undo")
    old = await create(
        service, boss, name="Old", external_key="K1", notes="as it was", phone="13800001234", tags=["a"]
    )
    before = await get(service, boss, old.id)
    rows = [f"New {n},,,,N{n},," for n in range(700)]
    run = await imported(
        service, boss, file(*rows, "Newer,Acme,13900001234,,K1,CALL,changed", "Newest,,,,K1,,", "New 3 again,,,,N3,,"),
        mode=UPSERT,
    )  # fmt: skip
    assert (run.created_rows, run.updated_rows) == (700, 3)
    # A version of the service that reads times as it pleases does not know this kind, and takes none of it.
    assert "import_measured" in kinds and "import" not in kinds
    assert run.undo_expire_time.ToDatetime(UTC) - run.end_time.ToDatetime(UTC) == timedelta(days=7)
    ended = await undone(service, boss, run.id)
    assert (ended.state, ended.undone_records, ended.kept_records) == (pb.IMPORT_STATE_UNDONE, 701, 0)
    after = await get(service, boss, old.id)
    for one in (before, after):
        one.ClearField("etag")
        one.ClearField("update_time")
    assert after == before
    assert set(await listed(service, boss)) == {"Old"}
    # What was undone is told to others like any other change, and stands in the history as an import's.
    told = await service.running.database.read(boss, "SELECT type, count(*) FROM outbox GROUP BY type")
    counted = {row["type"].rpartition(".")[2]: row["count"] for row in told}
    assert counted["LeadDeleted"] == 700
    origins = await service.running.database.read(
        boss, "SELECT DISTINCT origin FROM history WHERE record_type = 'lead' AND action <> 'created'"
    )
    assert [row["origin"] for row in origins] == ["import"]
    for method, request in (("UndoImport", pb.UndoImportRequest(id=run.id)),):
        await refused(Code.FAILED_PRECONDITION, "IMPORT_UNDONE", ask(service, boss, method, request))


async def test_what_was_changed_since_stays_and_is_told(service: Harness) -> None:
    boss = somebody("undo-kept")
    updated = await create(service, boss, name="Updated", external_key="U", notes="before")
    looked_after = await create(service, boss, name="Elsewhere", external_key="E", notes="before")
    run = await imported(
        service, boss,
        file(
            "Created,,,,C,,", "Gone,,,,G,,", "Converted,,,,V,,", "Updated,,,,U,,import",
            "Elsewhere,,,,E,,import", "Untouched,,,,T,,",
        ),
        mode=UPSERT,
    )  # fmt: skip
    leads = await listed(service, boss)
    await change(service, boss, leads["Created"].id, title="CEO")
    await service.ask(
        boss, LEADS + "DeleteLead", lead_service_pb2.DeleteLeadRequest(id=leads["Gone"].id), Empty
    )
    await change(service, boss, updated.id, notes="by hand")
    await change(service, boss, looked_after.id, title="CEO")  # not what the import had set
    async with service.running.database.transaction(boss, origin="event") as tx:
        # What the services keep up to date by themselves is nobody's change.
        from leads.lead import Lead

        touched = await tx.find(Lead, UUID(leads["Untouched"].id))
        assert touched is not None
        touched.score = 77
        converted = await tx.find(Lead, UUID(leads["Converted"].id))
        assert converted is not None
        converted.status, converted.customer_id = "CONVERTED", new_id()
    ended = await undone(service, boss, run.id)
    assert (ended.undone_records, ended.kept_records) == (2, 4)
    kept = {
        row["Record"]: (row["Row"], row["Reason"], row["Message"])
        for row in await rows_of(service, boss, "GetKeptRecords", run.id)
    }
    assert kept == {
        leads["Created"].id: ("2", "CHANGED_SINCE", "somebody has changed the record since"),
        leads["Gone"].id: ("3", "RECORD_GONE", "the record was deleted meanwhile"),
        leads["Converted"].id: ("4", "LEAD_CONVERTED", kept[leads["Converted"].id][2]),
        updated.id: ("5", "CHANGED_SINCE", "somebody has changed notes since"),
    }
    behind = pb.GetKeptRecordsRequest(id=run.id, after_row=3)
    body = (await ask(service, boss, "GetKeptRecords", behind, HttpBody)).data.decode("utf-8-sig")
    assert [line.split(",")[0] for line in body.splitlines()] == ["Row", "4", "5"]
    assert (await get(service, boss, updated.id)).notes == "by hand"
    elsewhere = await get(service, boss, looked_after.id)
    assert (elsewhere.notes, elsewhere.title) == ("before", "CEO")
    assert "Untouched" not in await listed(service, boss)


async def test_a_lead_with_notes_or_files_stays(service: Harness) -> None:
    boss = somebody("undo-papers")
    run = await imported(service, boss, file("Note,,,,N,,", "File,,,,F,,", "Call,,,,C,,", "Nothing,,,,X,,"))
    leads = await listed(service, boss)
    async with service.running.database.transaction(boss) as tx:
        await worked_on(tx, UUID(leads["Call"].id), tx.now)  # as sales tells of an activity
    note = notes_pb2.Note(record_type="lead", record_id=leads["Note"].id, text="rang")
    await service.ask(
        boss, "kehu.leads.v1.NoteService/CreateNote", notes_pb2.CreateNoteRequest(note=note), notes_pb2.Note
    )
    part = files_pb.CreateAttachmentRequest(
        record_type="lead", record_id=leads["File"].id, filename="a.txt", content=b"a", complete=True
    )
    path = "kehu.leads.v1.AttachmentService/CreateAttachment"
    await service.upload(boss, path, [part], files_pb.Attachment)
    ended = await undone(service, boss, run.id)
    assert (ended.undone_records, ended.kept_records) == (1, 3)
    kept = {row["Record"]: row for row in await rows_of(service, boss, "GetKeptRecords", run.id)}
    for name, words in (("Note", "notes"), ("File", "files"), ("Call", "activities")):
        row = kept[leads[name].id]
        assert row["Reason"] == "LEAD_TOUCHED" and row["Message"].endswith(f"it has {words}.")
    assert set(await listed(service, boss)) == {"Note", "File", "Call"}
    # Who deletes a lead deletes what is on it: nothing brings either back.
    for name in ("Note", "File"):
        delete = lead_service_pb2.DeleteLeadRequest(id=leads[name].id)
        await service.ask(boss, "kehu.leads.v1.LeadService/DeleteLead", delete, Empty)
    for held in ("SELECT 1 FROM notes", "SELECT 1 FROM attachments"):
        assert not await service.running.database.read(boss, held)


async def test_what_somebody_changed_between_two_rows_of_an_import_stays(service: Harness) -> None:
    boss = somebody("undo-between")
    lead = await create(service, boss, name="Lead", external_key="K", notes="0")
    made = await taken_in(service, boss, file("Lead,,,,K,,1"))
    await ask(service, boss, "StartImport", pb.StartImportRequest(id=made.id, mode=UPSERT))
    await settled(service, boss, made.id)
    await change(service, boss, lead.id, notes="2")
    second = await imported(service, boss, file("Lead,,,,K,,3"), mode=UPSERT)
    # The second import goes back to what the person had written, the first one no longer can.
    assert (await undone(service, boss, second.id)).undone_records == 1
    assert (await get(service, boss, lead.id)).notes == "2"
    assert (await undone(service, boss, made.id)).kept_records == 1
    assert (await get(service, boss, lead.id)).notes == "2"


async def test_who_may_undo_what(service: Harness) -> None:
    boss, bob = somebody("undo-rights"), replace(somebody("undo-rights", name="Bob"), rights={"leads": OWN})
    run = await imported(service, bob, file("Bob's,,,,B,,"))
    stranger = somebody("undo-elsewhere")
    reader = replace(bob, rights={"leads": Rights(Reach.OWN)})
    undo = pb.UndoImportRequest(id=run.id)
    await refused(Code.NOT_FOUND, "NOT_FOUND", ask(service, stranger, "UndoImport", undo))
    await refused(Code.PERMISSION_DENIED, "RIGHT_MISSING", ask(service, reader, "UndoImport", undo))
    colleague = replace(somebody("undo-rights"), rights={"leads": OWN})
    await refused(Code.NOT_FOUND, "NOT_FOUND", ask(service, colleague, "UndoImport", undo))
    # Those who may no longer change a record leave it.
    lead = (await listed(service, boss))["Bob's"]
    async with service.running.database.transaction(boss, origin="event") as tx:
        await tx.session.execute(
            text("UPDATE leads SET owner_id = :id WHERE id = :lead"), {"id": boss.person_id, "lead": lead.id}
        )
    ended = await undone(service, bob, run.id)
    assert (ended.undone_records, ended.kept_records) == (0, 1)
    assert [row["Reason"] for row in await rows_of(service, bob, "GetKeptRecords", run.id)] == ["NOT_FOUND"]

    ready = await taken_in(service, boss, file("One,,,,,,"))
    await refused(
        Code.FAILED_PRECONDITION,
        "IMPORT_NOT_ENDED",
        ask(service, boss, "UndoImport", pb.UndoImportRequest(id=ready.id)),
    )
    late = await imported(service, boss, file("Late,,,,,,"))
    async with service.running.database.transaction(boss) as tx:
        at = datetime.now(UTC) - timedelta(days=7, minutes=1)
        await tx.session.execute(
            text("UPDATE import_runs SET ended_at = :at WHERE id = :id"), {"at": at, "id": late.id}
        )
    await refused(
        Code.FAILED_PRECONDITION,
        "UNDO_EXPIRED",
        ask(service, boss, "UndoImport", pb.UndoImportRequest(id=late.id)),
    )
    assert "Late" in await listed(service, boss)


async def test_a_cancelled_import_is_undone_as_far_as_it_came(service: Harness) -> None:
    boss = somebody("undo-cancelled")
    made = await taken_in(service, boss, file(*(f"New {n},,,,,," for n in range(3_000))))
    await ask(service, boss, "StartImport", pb.StartImportRequest(id=made.id))

    async def begun() -> bool:
        return (await ask(service, boss, "GetImport", pb.GetImportRequest(id=made.id))).processed_rows > 0

    await eventually(begun)
    await ask(service, boss, "CancelImport", pb.CancelImportRequest(id=made.id))
    ended = await settled(service, boss, made.id)
    assert ended.state == pb.IMPORT_STATE_CANCELLED and 0 < ended.created_rows < 3_000
    gone = await undone(service, boss, made.id)
    assert gone.undone_records == ended.created_rows and not await listed(service, boss)


# ---- progress, vCards


async def test_who_looks_on_is_told_how_far_it_is(service: Harness) -> None:
    boss = somebody("progress")
    run = await imported(service, boss, file(*(f"New {n},,,,,," for n in range(1_200))))
    await undone(service, boss, run.id)
    rows = await service.running.database.read(
        boss,
        "SELECT subject, headers, convert_from(data, 'UTF8') AS data FROM outbox WHERE record_id = $1 ORDER BY id",
        UUID(run.id),
    )
    steps = [orjson.loads(row["data"])["progress"] for row in rows]
    assert [step.get("processedRows") for step in steps][:3] == [500, 1000, 1200]
    assert steps[2]["state"] == "IMPORT_STATE_SUCCEEDED" and steps[-1]["state"] == "IMPORT_STATE_UNDONE"
    assert [step["undoneRecords"] for step in steps if step.get("undoneRecords")][:2] == [200, 400]
    assert {row["subject"] for row in rows} == {"kehu.progress.leads.import.progressed"}
    headers = [
        orjson.loads(row["headers"]) if isinstance(row["headers"], str) else row["headers"] for row in rows
    ]
    assert {one["kehu-owner"] for one in headers} == {str(boss.person_id)} and {
        one["kehu-right"] for one in headers
    } == {"leads"}
    versions = [int(one["kehu-version"]) for one in headers]
    assert versions == sorted(set(versions))


async def test_leads_of_another_system_come_as_far_as_they_were(service: Harness) -> None:
    boss = somebody("moved-in")
    rows = """name,lead status,close reason,下次联系时间,website,微信
New,Open - Not Contacted,,2036-05-01 08:00,example.com,wx-new
Spoken,跟进中,,,,
Good,Qualified,,,,
Lost,Closed - Not Converted,lost to competitor,,,
Odd,dead,他们搬走了,2036-05-01 08:00,,
Won,Closed - Converted,,,,
Reason,,no need,,,
"""
    done = await imported(service, boss, rows.encode())
    assert (done.created_rows, done.refused_rows) == (7, 0)
    leads = await listed(service, boss)
    stands = {
        name: (
            lead_pb2.LeadStatus.Name(lead.status)[12:],
            lead_pb2.DisqualifyReason.Name(lead.disqualify_reason)[18:],
            lead.disqualify_note,
        )
        for name, lead in leads.items()
    }  # fmt: skip
    assert stands == {
        "New": ("NEW", "UNSPECIFIED", ""), "Spoken": ("CONTACTED", "UNSPECIFIED", ""), "Good": ("QUALIFIED", "UNSPECIFIED", ""),
        "Lost": ("DISQUALIFIED", "BOUGHT_ELSEWHERE", ""), "Odd": ("DISQUALIFIED", "OTHER", "他们搬走了"),
        "Won": ("DISQUALIFIED", "DUPLICATE", ""), "Reason": ("DISQUALIFIED", "NO_NEED", ""),
    }  # fmt: skip
    new = leads["New"]
    assert (new.website, new.im_account, new.next_contact_time.seconds) == (
        "example.com",
        "wx-new",
        2093212800,
    )
    assert leads["Good"].HasField("qualify_time") and leads["Lost"].HasField("disqualify_time")
    told = await service.running.database.read(
        boss, "SELECT record_id, subject FROM outbox WHERE subject LIKE '%.leads.lead.%' ORDER BY seq"
    )
    of_each = {
        name: [row["subject"].rpartition(".")[2] for row in told if str(row["record_id"]) == lead.id]
        for name, lead in leads.items()
    }
    assert of_each["New"] == ["created"] and of_each["Good"] == ["created", "qualified"]
    assert of_each["Lost"] == ["created", "disqualified"]
    (job,) = await service.running.database.read(
        boss, "SELECT due_at FROM jobs WHERE kind = 'contact_due' AND key = $1", new.id
    )
    assert job["due_at"].timestamp() == new.next_contact_time.seconds
    reopened = await service.ask(
        boss, LEADS + "ReopenLead", lead_service_pb2.ReopenLeadRequest(id=leads["Lost"].id), lead_pb2.Lead
    )
    assert reopened.status == lead_pb2.LEAD_STATUS_NEW


async def test_cards_become_leads(service: Harness) -> None:
    boss = somebody("cards")
    cards = """BEGIN:VCARD\r\nVERSION:3.0\r\nN:张;三;;;\r\nORG:北京用友;销售部\r\nTEL;TYPE=CELL:138 0000 1234\r\nEMAIL:Z@X.example
URL:https://yonyou.example\r\nX-WECHAT:zs\r\nUID:card-1\r\nNOTE:第一行\\n第二行\r\nEND:VCARD\r\nBEGIN:VCARD\r\nVERSION:2.1\r\nFN;CHARSET=GBK;ENCODING=QUOTED-PRINTABLE:=C0=EE=CB=C4
TEL;FAX:010 1234 5678\r\nEND:VCARD\r\n"""
    cards = cards.replace("UID:", "ADR:;;复兴路 1 号;北京;;100000;中国\r\nUID:")
    made = await taken_in(service, boss, cards.encode(), "cards.vcf")
    assert [c.name for c in made.columns] == [
        "Name",
        "Company",
        "Department",
        "Phone",
        "Further phones",
        "E-mail",
        "Address",
        "Website",
        "Messaging account",
        "External key",
        "Notes",
    ]
    assert len(made.proposed_mapping) == 10  # a lead has one number, and a fax is none by which to call it
    await ask(service, boss, "StartImport", pb.StartImportRequest(id=made.id))
    assert (await settled(service, boss, made.id)).created_rows == 2
    leads = await listed(service, boss)
    lead = leads["张三"]
    assert (lead.company_name, lead.department, lead.phone, lead.email) == (
        "北京用友",
        "销售部",
        "+8613800001234",
        "z@x.example",
    )
    assert (lead.website, lead.im_account) == ("https://yonyou.example", "wechat:zs")
    assert lead.address == "复兴路 1 号, 北京, 100000, CN"
    assert lead.notes == "第一行\n第二行" and leads["李四"].phone == ""
    for content in (b"BEGIN:VCARD\nFN:x\n", b"nothing"):
        await refused(
            Code.INVALID_ARGUMENT,
            "FILE_NOT_READABLE" if b"BEGIN" in content else "FILE_EMPTY",
            taken_in(service, boss, content, "a.vcf"),
        )
