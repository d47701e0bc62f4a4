"""The ImportService of a service, over real gRPC: a file in, a mapping, the run behind, the refused rows."""

import csv
import io
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from google.api.httpbody_pb2 import HttpBody
from kehu.identity.v1 import person_pb2, person_service_pb2, tenant_pb2, tenant_service_pb2
from kehu.imports.v1 import imports_pb2 as pb
from kehu.leads.v1 import import_service_pb2
from sqlalchemy import text

from chassis.database import Transaction
from chassis.errors import Code, Problem
from chassis.ids import new_id
from chassis.imports import rpc as import_rpc
from chassis.imports.importer import Importer, ImportRow, Options, Outcome, created
from chassis.imports.mapping import Target
from chassis.imports.rpc import Imports, import_face
from chassis.imports.runs import EXPIRY, MOST_UNSTARTED, expire
from chassis.imports.values import Phone, Text
from chassis.owners import LOOK_UP
from chassis.principal import Principal, Reach, Rights
from chassis.records import Owned
from chassis.service import Service
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

SERVICE = "kehu.leads.v1.ImportService/"
assert import_service_pb2.DESCRIPTOR


class Guest(Owned, table=True):
    __tablename__ = "guests"  # pyright: ignore[reportAssignmentType]

    name: str
    phone: str = ""


async def save(tx: Transaction, rows: list[ImportRow], options: Options) -> list[Outcome]:
    new = [Guest(owner_id=options.owner_id, **row.values) for row in rows]
    await tx.insert_all(new)
    return [created(guest.id) for guest in new]


IMPORTS = Imports(
    Importer(
        record_type="lead",
        right="leads",
        targets=(
            Target("name", "Name", Text(50), aliases=("姓名",), required=True),
            Target("phone", "Phone", Phone(), aliases=("电话",)),
        ),
        save=save,
    )
)
_MIGRATION = '''
from alembic import op
from chassis.imports.schema import add_time_zone, install_import_tables, widen_imports
from chassis.schema import install_chassis_tables, protect

revision, down_revision = "0001", None


def upgrade() -> None:
    install_chassis_tables()
    install_import_tables()
    widen_imports()
    add_time_zone()
    op.execute("""CREATE TABLE guests (
        tenant_id uuid NOT NULL, id uuid NOT NULL, version integer NOT NULL, created_at timestamptz NOT NULL,
        created_by uuid NOT NULL, updated_at timestamptz NOT NULL, updated_by uuid NOT NULL,
        deleted_at timestamptz,
        owner_id uuid, team_id uuid, name text NOT NULL, phone text NOT NULL, PRIMARY KEY (tenant_id, id))""")
    protect("guests")
'''
ANN = somebody(rights={"leads": Rights(Reach.ALL, Reach.ALL)})
BOB = somebody(rights={"leads": Rights(Reach.OWN, Reach.OWN)}, name="Bob")
STRANGER = somebody("other")
FILE = "姓名,电话,other\n张三,13800001234,=1+1\n,1,\n李四,nope,\n".encode("gb18030")


@pytest.fixture
def leads_urls(service_database: Callable[..., DatabaseUrls]) -> DatabaseUrls:
    return service_database("leads", empty=True)


@pytest.fixture
async def leads(leads_urls: DatabaseUrls, nats_url: str, tmp_path: Path) -> AsyncIterator[Harness]:
    versions = tmp_path / "package" / "migrations" / "versions"
    versions.mkdir(parents=True)
    (versions / "0001_first.py").write_text(_MIGRATION)
    service = Service(
        name="leads",
        faces=[import_face("kehu.leads.v1.ImportService", IMPORTS)],
        migrations=versions.parent,
        jobs=IMPORTS.jobs,
    )
    answers: dict[str, Any] = {
        LOOK_UP: (person_service_pb2.LookUpPeopleRequest, people),
        "kehu.identity.v1.TenantService/GetTenant": (tenant_service_pb2.GetTenantRequest, which_company),
    }
    async with (
        answering(answers) as identity,
        running_service(
            service, leads_urls, nats_url, Keys(tmp_path), addresses={"identity": identity}
        ) as harness,
    ):
        yield harness


def which_company(asked: tenant_service_pb2.GetTenantRequest) -> tenant_pb2.Tenant:
    return tenant_pb2.Tenant()


def people(asked: person_service_pb2.LookUpPeopleRequest) -> person_service_pb2.LookUpPeopleResponse:
    active = person_pb2.PERSON_STATUS_ACTIVE
    known = [person_service_pb2.PersonCard(id=id, display_name="Bob", status=active) for id in asked.ids]
    return person_service_pb2.LookUpPeopleResponse(people=known)


async def ask(leads: Harness, who: Principal, method: str, request: Any, answer: Any = pb.Import) -> Any:
    return await leads.ask(who, SERVICE + method, request, answer)


def incoming(
    content: bytes = FILE,
    filename: str = "a.csv",
    record_type: str = "lead",
    **said: str,
) -> pb.CreateImportRequest:
    return pb.CreateImportRequest(record_type=record_type, filename=filename, content=content, **said)


async def finished(leads: Harness, who: Principal, id: str) -> pb.Import:
    found: list[pb.Import] = []

    async def ended() -> bool:
        found.append(await ask(leads, who, "GetImport", pb.GetImportRequest(id=id)))
        return found[-1].HasField("end_time")

    await eventually(ended)
    return found[-1]


async def test_a_file_becomes_records(leads: Harness) -> None:
    made = await ask(leads, ANN, "CreateImport", incoming())
    assert made.state == pb.IMPORT_STATE_READY
    assert (made.encoding, made.delimiter, made.total_rows) == ("gb18030", ",", 3)
    assert [c.name for c in made.columns] == ["姓名", "电话", "other"]
    assert list(made.columns[0].samples) == ["张三", "李四"]
    assert [(m.column, m.field) for m in made.proposed_mapping] == [(0, "name"), (1, "phone")]
    assert [f.field for f in made.fields] == ["name", "phone"]
    assert [[p.reason for p in row.problems] for row in made.preview] == [
        [],
        ["PHONE_INVALID", "REQUIRED"],
        ["PHONE_INVALID"],
    ]

    started = await ask(leads, ANN, "StartImport", pb.StartImportRequest(id=made.id, etag=made.etag))
    assert started.state == pb.IMPORT_STATE_RUNNING
    assert started.etag != made.etag
    ended = await finished(leads, ANN, made.id)
    assert ended.state == pb.IMPORT_STATE_SUCCEEDED
    assert (ended.total_rows, ended.processed_rows, ended.created_rows, ended.refused_rows) == (3, 3, 1, 2)

    body = await ask(leads, ANN, "GetRefusedRows", pb.GetRefusedRowsRequest(id=made.id), HttpBody)
    assert body.content_type.startswith("text/csv")
    lines = body.data.decode("utf-8-sig").splitlines()
    assert lines[0] == "Row,Verdict,Reasons,姓名,电话,other"
    assert [line.split(",")[:2] for line in lines[1:]] == [["3", "refused"], ["4", "refused"]]
    rows = await leads.running.database.read(ANN, "SELECT name, phone, owner_id FROM guests")
    assert [tuple(row) for row in rows] == [("张三", "+8613800001234", ANN.person_id)]


async def test_imports_are_seen_by_their_makers_and_by_those_who_may_change_all(leads: Harness) -> None:
    of_bob = (await ask(leads, BOB, "CreateImport", incoming())).id
    of_ann = (await ask(leads, ANN, "CreateImport", incoming())).id
    for who, id in [(BOB, of_ann), (STRANGER, of_ann), (STRANGER, of_bob), (ANN, str(uuid4()))]:
        for method, request in [
            ("GetImport", pb.GetImportRequest(id=id)),
            ("StartImport", pb.StartImportRequest(id=id)),
            ("CancelImport", pb.CancelImportRequest(id=id)),
            ("GetRefusedRows", pb.GetRefusedRowsRequest(id=id)),
        ]:
            with pytest.raises(Problem) as refused:
                await ask(leads, who, method, request)
            assert refused.value.code is Code.NOT_FOUND
    assert (await ask(leads, ANN, "GetImport", pb.GetImportRequest(id=of_bob))).id == of_bob
    seen = {}
    for who in (ANN, BOB, STRANGER):
        page = await ask(leads, who, "ListImports", pb.ListImportsRequest(), pb.ListImportsResponse)
        seen[who.name, who.tenant] = [found.id for found in page.imports]
    assert seen == {("Ann Li", "acme"): [of_ann, of_bob], ("Bob", "acme"): [of_bob], ("Ann Li", "other"): []}
    ready = pb.ListImportsRequest(filter='state = "IMPORT_STATE_READY" AND recordType = "lead"', page_size=1)
    page = await ask(leads, ANN, "ListImports", ready, pb.ListImportsResponse)
    assert [found.id for found in page.imports] == [of_ann]
    ready.page_token = page.next_page_token
    page = await ask(leads, ANN, "ListImports", ready, pb.ListImportsResponse)
    assert [found.id for found in page.imports] == [of_bob]


async def test_a_repeat_of_the_same_request_makes_one_import(leads: Harness) -> None:
    first = await ask(leads, ANN, "CreateImport", incoming(request_id="once"))
    again = await ask(leads, ANN, "CreateImport", incoming(request_id="once"))
    assert again.id == first.id
    with pytest.raises(Problem) as refused:
        await ask(leads, ANN, "CreateImport", incoming(request_id="once", content=FILE + b"x,,\n"))
    assert refused.value.reason == "IDEMPOTENCY_KEY_REUSED"
    start = pb.StartImportRequest(id=first.id, request_id="go")
    assert (await ask(leads, ANN, "StartImport", start)).state == pb.IMPORT_STATE_RUNNING
    assert (await ask(leads, ANN, "StartImport", start)).state == pb.IMPORT_STATE_RUNNING
    await finished(leads, ANN, first.id)
    assert len(await leads.running.database.read(ANN, "SELECT id FROM guests")) == 1


async def test_the_encoding_can_be_said_and_is_kept(leads: Harness) -> None:
    """What the bytes do not tell is put right by sending the file again."""
    content = "姓名\n陳怡君".encode("big5")
    guessed = await ask(leads, ANN, "CreateImport", incoming(content))
    assert (guessed.encoding, list(guessed.columns[0].samples)) == ("big5", ["陳怡君"])
    content = "姓名,電話\n田中,090-1234-5678\n".encode("shift_jis")
    guessed = await ask(leads, ANN, "CreateImport", incoming(content))
    assert list(guessed.columns[0].samples) != ["田中"]
    said = incoming(content, encoding="Shift_JIS", request_id="said")
    made = await ask(leads, ANN, "CreateImport", said)
    assert (made.encoding, list(made.columns[0].samples)) == ("Shift_JIS", ["田中"])
    assert (await ask(leads, ANN, "CreateImport", said)).id == made.id
    # Whoever says something else asks for something else.
    said.encoding = "gb18030"
    await refused(Code.ALREADY_EXISTS, "IDEMPOTENCY_KEY_REUSED", ask(leads, ANN, "CreateImport", said))
    for wrong in ("utf-8", "punycode", "../utf-8"):
        with pytest.raises(Problem) as no:
            await ask(leads, ANN, "CreateImport", incoming(content, encoding=wrong))
        assert (no.value.code, no.value.violations[0].field) == (Code.INVALID_ARGUMENT, "encoding"), wrong


async def test_the_delimiter_can_be_said_and_is_kept(leads: Harness) -> None:
    """A file in which more than one sign could part the cells: what is said counts for the rows, too."""
    content = "姓名;电话,other\n张三;13800001234,x\n李四;13800001235,y\n".encode()
    for sign, head in ((",", ["姓名;电话", "other"]), (";", ["姓名", "电话,other"])):
        read = await ask(leads, ANN, "CreateImport", incoming(content, delimiter=sign))
        assert (read.delimiter, [column.name for column in read.columns]) == (sign, head)
    said = incoming(
        '姓名;电话\n张三;13800001234\n"李;四";13800001235\n'.encode(), delimiter=";", request_id="said"
    )
    made = await ask(leads, ANN, "CreateImport", said)
    assert made.delimiter == ";" and [(m.column, m.field) for m in made.proposed_mapping] == [
        (0, "name"),
        (1, "phone"),
    ]
    assert (await ask(leads, ANN, "CreateImport", said)).id == made.id
    await ask(leads, ANN, "StartImport", pb.StartImportRequest(id=made.id, etag=made.etag))
    ended = await finished(leads, ANN, made.id)
    assert (ended.delimiter, ended.created_rows, ended.refused_rows) == (";", 2, 0)
    rows = await leads.running.database.read(ANN, "SELECT name, phone FROM guests ORDER BY phone")
    assert [tuple(row) for row in rows] == [("张三", "+8613800001234"), ("李;四", "+8613800001235")]
    # Whoever says something else asks for something else, and one sign is one.
    said.delimiter = ","
    await refused(Code.ALREADY_EXISTS, "IDEMPOTENCY_KEY_REUSED", ask(leads, ANN, "CreateImport", said))
    for wrong in ("::", "\n", "\r", '"', "a", "1", "张"):
        with pytest.raises(Problem) as no:
            await ask(leads, ANN, "CreateImport", incoming(content, delimiter=wrong))
        assert (no.value.code, no.value.violations[0].field) == (Code.INVALID_ARGUMENT, "delimiter"), wrong


@pytest.mark.parametrize(
    ("changes", "field", "reason"),
    [
        ({"record_type": "person"}, "recordType", "RECORD_TYPE_UNKNOWN"),
        ({"filename": "a.exe"}, "filename", "FILE_TYPE_UNKNOWN"),
        ({"filename": "a.xlsx"}, "content", "FILE_NOT_READABLE"),
        ({"content": b"name\n"}, "content", "FILE_EMPTY"),
        ({"content": b"\xff\xfe\xfd", "encoding": "utf-8"}, "encoding", "FILE_NOT_READABLE"),
    ],
)
async def test_what_cannot_be_taken_in_is_refused(
    leads: Harness, changes: dict[str, Any], field: str, reason: str
) -> None:
    with pytest.raises(Problem) as refused:
        await ask(leads, ANN, "CreateImport", incoming(**changes))
    assert (refused.value.code, refused.value.reason) == (Code.INVALID_ARGUMENT, reason)
    assert refused.value.violations[0].field == field


async def test_an_import_is_started_once_and_cancelled_before_its_end(leads: Harness) -> None:
    made = await ask(leads, ANN, "CreateImport", incoming())
    with pytest.raises(Problem) as stale:
        await ask(leads, ANN, "StartImport", pb.StartImportRequest(id=made.id, etag='"99"'))
    assert stale.value.reason == "ETAG_MISMATCH"
    wrong = pb.StartImportRequest(id=made.id, mapping=[pb.ColumnMapping(column=9, field="name")])
    with pytest.raises(Problem) as unmapped:
        await ask(leads, ANN, "StartImport", wrong)
    assert unmapped.value.reason == "MAPPING_INVALID"
    cancelled = await ask(leads, ANN, "CancelImport", pb.CancelImportRequest(id=made.id))
    assert cancelled.state == pb.IMPORT_STATE_CANCELLED
    for method, request, reason in [
        ("StartImport", pb.StartImportRequest(id=made.id), "IMPORT_NOT_READY"),
        ("CancelImport", pb.CancelImportRequest(id=made.id), "IMPORT_ENDED"),
    ]:
        with pytest.raises(Problem) as late:
            await ask(leads, ANN, method, request)
        assert (late.value.code, late.value.reason) == (Code.FAILED_PRECONDITION, reason)


async def test_a_mapping_and_an_owner_can_be_chosen(leads: Harness) -> None:
    made = await ask(leads, ANN, "CreateImport", incoming())
    mapping = [pb.ColumnMapping(column=0, field="phone"), pb.ColumnMapping(column=2, field="name")]
    start = pb.StartImportRequest(id=made.id, mapping=mapping, owner_id=str(BOB.person_id))
    await ask(leads, ANN, "StartImport", start)
    ended = await finished(leads, ANN, made.id)
    assert [(m.column, m.field) for m in ended.mapping] == [(0, "phone"), (2, "name")]
    assert (ended.created_rows, ended.refused_rows) == (0, 3)


async def test_a_file_that_nobody_starts_is_dropped_and_nobody_keeps_many(
    leads: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    who = somebody("unstarted", rights={"leads": Rights(Reach.OWN, Reach.OWN)})
    made = [
        await ask(leads, who, "CreateImport", incoming(request_id=f"r{n}")) for n in range(MOST_UNSTARTED)
    ]
    await refused(
        Code.FAILED_PRECONDITION, "TOO_MANY_IMPORTS_READY", ask(leads, who, "CreateImport", incoming())
    )
    # A repeat is no other file, and somebody else has room.
    assert (await ask(leads, who, "CreateImport", incoming(request_id="r0"))).id == made[0].id
    await ask(leads, replace(who, person_id=new_id()), "CreateImport", incoming())
    await ask(leads, who, "CancelImport", pb.CancelImportRequest(id=made[1].id))
    await ask(leads, who, "CreateImport", incoming())
    database = leads.running.database
    async with database.transaction(who) as tx:
        due = await tx.session.execute(
            text("UPDATE jobs SET due_at = now() WHERE kind = :kind AND key = :key RETURNING due_at > :now"),
            {"kind": EXPIRY, "key": made[0].id, "now": tx.now},
        )
        assert due.all()
    gone = await finished(leads, who, made[0].id)
    assert (gone.state, gone.failure_reason) == (pb.IMPORT_STATE_CANCELLED, "IMPORT_EXPIRED")
    assert not gone.preview and [list(column.samples) for column in gone.columns] == [[], [], []]
    # One that was kept before there was such a job goes when its person sends the next.
    async with database.transaction(who) as tx:
        old = {"id": made[2].id}
        await tx.session.execute(
            text("UPDATE import_runs SET created_at = now() - interval '8 days' WHERE id = :id"), old
        )
        await tx.session.execute(text("DELETE FROM jobs WHERE key = :id"), old)
    await ask(leads, who, "CreateImport", incoming())
    dropped = await ask(leads, who, "GetImport", pb.GetImportRequest(id=made[2].id))
    assert dropped.failure_reason == "IMPORT_EXPIRED"
    files = await database.read(who, "SELECT import_id FROM import_files")
    assert {str(row["import_id"]) for row in files}.isdisjoint({made[0].id, made[1].id, made[2].id})
    # What is under way is none of this one's business.
    begun = await ask(leads, who, "StartImport", pb.StartImportRequest(id=made[3].id))
    assert begun.state == pb.IMPORT_STATE_RUNNING
    await finished(leads, who, made[3].id)
    async with database.transaction(who) as tx:
        await expire(tx, UUID(made[3].id))
    ended = await ask(leads, who, "GetImport", pb.GetImportRequest(id=made[3].id))
    assert ended.state == pb.IMPORT_STATE_SUCCEEDED


async def test_many_refused_rows_come_page_by_page(leads: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    content = "姓名,电话\n".encode() + b"".join(b",%d\n" % n for n in range(3_000))
    made = await ask(leads, ANN, "CreateImport", incoming(content))
    await ask(leads, ANN, "StartImport", pb.StartImportRequest(id=made.id))
    await finished(leads, ANN, made.id)
    monkeypatch.setattr(import_rpc, "_MOST_ANSWER", 20_000)
    monkeypatch.setattr(import_rpc, "_SOME_ROWS", 5_000)
    numbers: list[int] = []
    after, asked = 0, 0
    while True:
        request = pb.GetRefusedRowsRequest(id=made.id, after_row=after)
        body = await ask(leads, ANN, "GetRefusedRows", request, HttpBody)
        lines = list(csv.reader(io.StringIO(body.data.decode("utf-8-sig"))))
        assert lines[0][:3] == ["Row", "Verdict", "Reasons"] and len(body.data) < 21_000
        cut = lines[-1][1] == "cut"
        numbers += [int(line[0]) for line in (lines[1:-1] if cut else lines[1:])]
        asked += 1
        if not cut:
            break
        after = int(lines[-1][0])
        assert f"afterRow={after}" in lines[-1][2] and after == numbers[-1]
    assert asked > 3 and len(numbers) == 3_000 and numbers == sorted(set(numbers))
    nothing = pb.GetRefusedRowsRequest(id=made.id, after_row=numbers[-1])
    assert (await ask(leads, ANN, "GetRefusedRows", nothing, HttpBody)).data.count(b"\r\n") == 1
