"""Leads as files: what stands in them, who may take them, that they come in parts, and what the log says."""

import csv
import io
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio
from google.protobuf import struct_pb2
from google.type.money_pb2 import Money
from kehu.customfields.v1 import custom_fields_pb2
from kehu.exports.v1 import exports_pb2 as pb
from kehu.identity.v1 import (
    person_pb2,
    person_service_pb2,
    session_pb2,
    session_service_pb2,
    tenant_pb2,
    tenant_service_pb2,
)
from kehu.imports.v1 import imports_pb2
from kehu.leads.v1 import absence_service_pb2, assignment_pb2, lead_pb2, lead_service_pb2

from chassis.errors import Code, Problem
from chassis.imports.reading import unpack
from chassis.imports.workbook import read_workbook
from chassis.principal import Principal, Reach, Rights
from chassis.testing import (
    EVERYTHING,
    DatabaseUrls,
    Harness,
    Keys,
    answering,
    eventually,
    running_service,
    somebody,
)
from leads.service import SERVICE

pytestmark = pytest.mark.asyncio(loop_scope="module")
EXPORT = "kehu.leads.v1.ExportService/CreateExport"
CSV, XLSX = pb.EXPORT_FORMAT_CSV, pb.EXPORT_FORMAT_XLSX
FIELDS = pb.EXPORT_HEADERS_FIELDS


def people(asked: person_service_pb2.LookUpPeopleRequest) -> person_service_pb2.LookUpPeopleResponse:
    active = person_pb2.PERSON_STATUS_ACTIVE
    return person_service_pb2.LookUpPeopleResponse(people=[
        person_service_pb2.PersonCard(id=id, display_name="王芳", email=f"{id[-4:]}@acme.example", status=active)
        for id in asked.ids
    ])  # fmt: skip


def me(asked: session_service_pb2.GetMeRequest) -> session_pb2.Me:
    return session_pb2.Me(
        person=person_pb2.Person(language_code="en"), tenant=tenant_pb2.Tenant(time_zone="America/New_York")
    )


def company(asked: tenant_service_pb2.GetTenantRequest) -> tenant_pb2.Tenant:
    return tenant_pb2.Tenant(time_zone="America/New_York", currency_code="USD")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(
    service_database: Callable[[str], DatabaseUrls], nats_url: str, keys: Keys
) -> AsyncGenerator[Harness]:
    answers: Any = {
        "kehu.identity.v1.PersonService/LookUpPeople": (person_service_pb2.LookUpPeopleRequest, people),
        "kehu.identity.v1.SessionService/GetMe": (session_service_pb2.GetMeRequest, me),
        "kehu.identity.v1.TenantService/GetTenant": (tenant_service_pb2.GetTenantRequest, company),
    }
    async with (
        answering(answers) as identity,
        running_service(
            SERVICE, service_database("leads"), nats_url, keys, addresses={"identity": identity}
        ) as harness,
    ):
        yield harness


async def create(service: Harness, who: Principal, **fields: Any) -> lead_pb2.Lead:
    request = lead_service_pb2.CreateLeadRequest(lead=lead_pb2.Lead(**fields))
    return await service.ask(who, "kehu.leads.v1.LeadService/CreateLead", request, lead_pb2.Lead)


def opened(service: Harness, who: Principal, **asked: Any) -> Any:
    """The running call."""
    whole: dict[str, Any] = {"record_type": "lead", "format": CSV, **asked}
    return service.opened(who, EXPORT, pb.CreateExportRequest(**whole), pb.ExportPart)


async def parts(service: Harness, who: Principal, **asked: Any) -> list[pb.ExportPart]:
    whole: dict[str, Any] = {"record_type": "lead", "format": CSV, **asked}
    return await service.parts(who, EXPORT, pb.CreateExportRequest(**whole), pb.ExportPart)


async def exported(service: Harness, who: Principal, **asked: Any) -> bytes:
    return b"".join(part.content for part in await parts(service, who, **asked))


def table(content: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline="")))


async def log(service: Harness, who: Principal) -> list[pb.Export]:
    answer = await service.ask(
        who, "kehu.leads.v1.ExportService/ListExports", pb.ListExportsRequest(), pb.ListExportsResponse
    )
    return list(answer.exports)


async def test_a_list_as_it_is_filtered_ordered_and_chosen(service: Harness) -> None:
    boss = somebody("export-list")
    amount = Money(currency_code="USD", units=1200, nanos=500_000_000)
    await create(service, boss, name="张三", company_name="北京用友", source=lead_pb2.LEAD_SOURCE_WEB_FORM, tags=["a", "b"],
                 estimated_amount=amount, notes="第一行\nsecond, \"line\"")  # fmt: skip
    await create(service, boss, name="李四", company_name="上海金蝶")
    await create(service, boss, name="Bob", company_name="Other", industry="steel")

    content = await exported(
        service, boss, filter='companyName != "Other"', order_by="companyName",
        columns=["companyName", "source", "estimatedAmount", "tags", "notes", "owner", "status"], language_code="zh-CN",
    )  # fmt: skip
    assert content.startswith("\ufeff公司名称,".encode())
    assert table(content) == [
        ["公司名称", "来源", "预计金额", "预计金额 (币种)", "标签", "备注", "负责人", "状态"],
        ["上海金蝶", "其他", "", "", "", "", "王芳", "新线索"],
        ["北京用友", "网站", "1200.50", "USD", "a, b", '第一行\nsecond, "line"', "王芳", "新线索"],
    ]
    english = table(await exported(service, boss, query="Bob", columns=["name", "source", "status"]))
    assert english == [["Name", "Source", "Status"], ["Bob", "Other", "New"]]  # the person's own language

    first, *_ = await parts(service, boss, format=XLSX, language_code="zh")
    assert first.filename.startswith("线索 20") and first.filename.endswith(".xlsx")
    sheet = await read_workbook(
        await exported(service, boss, format=XLSX, order_by="name", language_code="en"), ""
    )
    assert sheet.total == 3 and sheet.header[:2] == ["Name", "Company"] and sheet.sheet == "Leads"
    first, second, third, *_ = unpack(sheet.packed)
    assert first.cells[:2] == ["Bob", "Other"]
    assert "1200.5" in second.cells + third.cells


async def test_nothing_in_a_file_is_a_formula(service: Harness) -> None:
    boss = somebody("export-formulas")
    evil = ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\uff1d1+1", " =1+1", "\u200b=HYPERLINK(1)"]
    for name in evil:
        await create(service, boss, name=name, company_name="x")
    for row in table(await exported(service, boss, columns=["name"]))[1:]:
        assert row[0].startswith("'"), row
    content = await exported(service, boss, format=XLSX, columns=["name"])
    assert not [cell for cell in await _sheet_xml(content) if "<f" in cell]
    # The texts are there as they were, and stay texts when their cells are edited.
    sheet = await read_workbook(content, "")
    assert {row.cells[0].strip() for row in unpack(sheet.packed)} >= {"=1+1", "@SUM(A1)", "-2+3"}
    assert all('s="4"' in cell for cell in (await _sheet_xml(content))[1:])


async def _sheet_xml(content: bytes) -> list[str]:
    import zipfile

    with zipfile.ZipFile(io.BytesIO(content)) as file:
        assert file.testzip() is None
        return file.read("xl/worksheets/sheet1.xml").decode().split("<c ")[1:]


async def imported(
    service: Harness, who: Principal, content: bytes, name: str = "a.csv", **options: Any
) -> tuple[imports_pb2.Import, imports_pb2.Import]:
    """An import as it was proposed and as it ended."""
    imports = "kehu.leads.v1.ImportService/"
    request = imports_pb2.CreateImportRequest(record_type="lead", filename=name, content=content)
    made = await service.ask(who, imports + "CreateImport", request, imports_pb2.Import)
    assert len(made.proposed_mapping) == len(made.columns)
    start = imports_pb2.StartImportRequest(id=made.id, **options)
    await service.ask(who, imports + "StartImport", start, imports_pb2.Import)
    ended: list[imports_pb2.Import] = []

    async def over() -> bool:
        request = imports_pb2.GetImportRequest(id=made.id)
        ended.append(await service.ask(who, imports + "GetImport", request, imports_pb2.Import))
        return ended[-1].HasField("end_time")

    await eventually(over)
    return made, ended[-1]


async def test_what_was_exported_for_people_comes_back(service: Harness) -> None:
    here, there = somebody("export-people"), somebody("export-people-again")
    for who in (here, there):
        field = custom_fields_pb2.CustomField(
            record_type="lead", key="budget", label_zh="预算", kind=custom_fields_pb2.CUSTOM_FIELD_KIND_MONEY
        )
        await service.ask(
            who, "kehu.leads.v1.CustomFieldService/CreateCustomField",
            custom_fields_pb2.CreateCustomFieldRequest(custom_field=field), custom_fields_pb2.CustomField,
        )  # fmt: skip
    # What says neither zone nor currency is meant as the company counts, a summer's day as one of summer.
    rows = ('张三,2026-07-01 09:00,5,1000 JPY,"甲, b\\\\, c"', "李四,2026-12-01T09:00:00+01:00,7.5 EUR,3,")
    content = "\n".join(("姓名,下次联系时间,预计金额,预算,标签", *rows, "")).encode()
    made, ended = await imported(service, here, content)
    assert (ended.created_rows, ended.refused_rows) == (2, 0)
    described = {field.field: field.description for field in made.fields}
    assert "America/New_York" in described["nextContactTime"] and "USD" in described["estimatedAmount"]
    columns = ["name", "nextContactTime", "estimatedAmount", "customFields.budget", "tags"]
    asked: dict[str, Any] = {"columns": columns, "order_by": "name", "headers": FIELDS}
    rows = table(await exported(service, here, **asked))[1:]
    assert rows == [
        ["张三", "2026-07-01T13:00:00Z", "5 USD", "1000 JPY", "甲, b\\\\, c"],
        ["李四", "2026-12-01T08:00:00Z", "7.5 EUR", "3 USD", ""],
    ]
    for language in ("zh", "en"):
        read = await exported(service, here, columns=columns, language_code=language)
        _, ended = await imported(service, there, read)
        assert (ended.created_rows, ended.refused_rows, ended.repaired_rows) == (2, 0, 0)
    assert table(await exported(service, there, **asked))[1:] == [rows[0], rows[0], rows[1], rows[1]]
    # Whoever imports may say another currency, and what is none is told.
    _, ended = await imported(service, there, b"Name,Amount\nx,9\n", currency_code="GBP")
    assert ended.created_rows == 1
    _, ended = await imported(service, there, b"Name,Amount,Amount (currency)\ny,9,??\nz,9,CHF\n")
    assert (ended.created_rows, ended.refused_rows) == (1, 1)
    amounts = {row[0]: row[2] for row in table(await exported(service, there, **asked))[1:]}
    assert (amounts["x"], amounts["z"]) == ("9 GBP", "9 CHF")


@pytest.mark.parametrize("kind", [CSV, XLSX])
async def test_what_was_exported_imports_into_another_company_and_comes_out_the_same(
    service: Harness, kind: Any
) -> None:
    here, there = somebody(f"export-from-{kind}"), somebody(f"export-to-{kind}")
    for who in (here, there):
        for key, kind_of in (
            ("size", custom_fields_pb2.CUSTOM_FIELD_KIND_NUMBER),
            ("budget", custom_fields_pb2.CUSTOM_FIELD_KIND_MONEY),
            ("since", custom_fields_pb2.CUSTOM_FIELD_KIND_DATE),
            ("vip", custom_fields_pb2.CUSTOM_FIELD_KIND_YES_NO),
            ("colours", custom_fields_pb2.CUSTOM_FIELD_KIND_MULTI_CHOICE),
        ):
            choices = [custom_fields_pb2.CustomFieldChoice(key=one, label_zh=one) for one in ("red", "blue")]
            field = custom_fields_pb2.CustomField(
                record_type="lead",
                key=key,
                label_zh=key,
                kind=kind_of,
                choices=choices if key == "colours" else [],
            )
            await service.ask(
                who, "kehu.leads.v1.CustomFieldService/CreateCustomField",
                custom_fields_pb2.CreateCustomFieldRequest(custom_field=field), custom_fields_pb2.CustomField,
            )  # fmt: skip
    values = struct_pb2.Struct()
    values.update({"size": "12.5", "since": "2024-05-01", "vip": True, "colours": ["red", "blue"],
                   "budget": {"currencyCode": "EUR", "units": "7", "nanos": 250000000}})  # fmt: skip
    await create(
        service, here, name="=张三", company_name="北京, 用友", phone="138 0000 1234", email="Z@Example.com", tags=["甲", "乙"],
        source=lead_pb2.LEAD_SOURCE_SOCIAL_MEDIA, external_key="K-1", notes="one\ntwo", title="'quoted",
        estimated_amount=Money(currency_code="JPY", units=1000), custom_fields=dict(values.fields),
    )  # fmt: skip
    await create(service, here, name="李四", company_name="-", external_key="K-2", department="+1")
    asked: dict[str, Any] = {"headers": FIELDS, "format": kind, "order_by": "name"}
    content = await exported(service, here, **asked)

    made, ended = await imported(service, there, content, "a.csv" if kind == CSV else "a.xlsx")
    assert [made.columns[m.column].name for m in made.proposed_mapping] == [
        m.field for m in made.proposed_mapping
    ]
    assert (ended.created_rows, ended.refused_rows, ended.repaired_rows) == (2, 0, 0)
    again = await exported(service, there, **asked)
    if kind == CSV:
        assert again == content
    else:
        assert [*unpack((await read_workbook(again, "")).packed)] == [
            *unpack((await read_workbook(content, "")).packed)
        ]


async def test_a_right_of_its_own_says_whose_records_go_out(service: Harness) -> None:
    boss = somebody("export-rights")
    own = replace(somebody("export-rights", name="Own"))
    reads_all = Rights(Reach.ALL, Reach.ALL)
    await create(service, boss, name="of the boss")
    await create(service, own, name="of their own")

    def may(**rights: Rights) -> Principal:
        return replace(own, rights=rights)

    async def names(who: Principal) -> list[str]:
        content = await exported(service, who, columns=["name"], order_by="name")
        return [row[0] for row in table(content)[1:]]

    assert await names(boss) == ["of the boss", "of their own"]
    assert await names(may(leads=reads_all, exports=Rights(Reach.ALL, Reach.OWN))) == ["of their own"]
    assert await names(may(leads=Rights(Reach.OWN), exports=reads_all)) == ["of their own"]
    assert await names(replace(somebody("elsewhere"), rights=EVERYTHING)) == []
    for who in (
        may(leads=reads_all),
        may(leads=reads_all, exports=Rights(Reach.ALL)),
        may(exports=reads_all),
    ):
        with pytest.raises(Problem) as refused:
            await parts(service, who)
        assert (refused.value.code, refused.value.reason) == (Code.PERMISSION_DENIED, "RIGHT_MISSING")

    seen = await log(service, boss)
    assert {(entry.owner_name, entry.state) for entry in seen} == {
        ("Ann Li", pb.EXPORT_STATE_SUCCEEDED), ("Own", pb.EXPORT_STATE_SUCCEEDED),
    }  # fmt: skip
    mine = await log(service, may(exports=Rights(Reach.OWN)))
    assert {entry.owner_id for entry in mine} == {str(own.person_id)}
    assert [entry.row_count for entry in seen] == [1, 1, 2]


async def test_the_pool_and_what_belongs_to_a_lead(service: Harness) -> None:
    boss = somebody("export-parents")
    lead = await create(
        service, boss, name="张三", utm=lead_pb2.UtmParameters(source="=wx", campaign="spring")
    )
    pooled = await create(service, boss, name="nobody's")
    request = lead_service_pb2.ReturnLeadRequest(id=pooled.id, reason="no time")
    await service.ask(boss, "kehu.leads.v1.LeadService/ReturnLead", request, lead_pb2.Lead)

    async def rows(kind: str, who: Principal = boss, **asked: Any) -> list[list[str]]:
        return table(await exported(service, who, record_type=kind, language_code="zh", **asked))

    captures: dict[str, Any] = {"parent_id": lead.id, "columns": ["source", "utmSource", "utmCampaign"]}
    assert await rows("lead_capture", **captures) == [
        ["来源", "UTM 来源", "UTM 活动"], ["其他", "'=wx", "spring"]
    ]  # fmt: skip
    assert len(await rows("lead_touch", parent_id=lead.id)) == 1
    pooled = await rows("pool_lead", columns=["name", "returnReason"], filter="status = NEW")
    assert pooled[1:] == [["nobody's", "no time"]]
    absence = assignment_pb2.Absence(owner_id=str(boss.person_id), note="away")
    absence.from_time.FromJsonString("2024-01-01T00:00:00Z")
    absence.until_time.FromJsonString("2024-01-02T00:00:00Z")
    away = absence_service_pb2.CreateAbsenceRequest(absence=absence)
    await service.ask(boss, "kehu.leads.v1.AbsenceService/CreateAbsence", away, assignment_pb2.Absence)
    assert (await rows("absence", columns=["note"]))[1:] == [["away"]]
    own = replace(boss, rights={"leads": Rights(Reach.ALL), "exports": Rights(Reach.ALL, Reach.OWN)},
                  person_id=somebody("export-parents").person_id)  # fmt: skip
    for who, kind, asked, code in (
        (own, "pool_lead", {}, Code.PERMISSION_DENIED),
        (own, "lead_capture", captures, Code.NOT_FOUND),
        (somebody("export-parents-elsewhere"), "lead_capture", captures, Code.NOT_FOUND),
        (boss, "lead_touch", {}, Code.INVALID_ARGUMENT),
    ):
        with pytest.raises(Problem) as refused:
            await rows(kind, who, **asked)
        assert refused.value.code is code, kind


@pytest.mark.parametrize(
    ("asked", "reason", "field"),
    [
        ({"filter": "nothing = 1"}, "FILTER_INVALID", "filter"),
        ({"order_by": "nothing"}, "ORDER_BY_INVALID", "orderBy"),
        ({"columns": ["nothing"]}, "COLUMNS_INVALID", "columns[0]"),
        ({"columns": ["name", "name"]}, "COLUMNS_INVALID", "columns[1]"),
        ({"columns": ["name; DROP TABLE leads"]}, "COLUMNS_INVALID", "columns[0]"),
        ({"record_type": "customer"}, "RECORD_TYPE_UNKNOWN", "recordType"),
        ({"format": 0}, "REQUIRED", "format"),
        ({"time_zone": "Nowhere/Atall"}, "INVALID_FIELD", "timeZone"),
    ],
)
async def test_wrong_requests_are_refused_before_a_file_begins(
    service: Harness, asked: dict[str, Any], reason: str, field: str
) -> None:
    boss = somebody("export-refusals")
    with pytest.raises(Problem) as refused:
        await parts(service, boss, **asked)
    problem = refused.value
    assert problem.code is Code.INVALID_ARGUMENT
    assert problem.violations[0].field == field, problem
    assert await log(service, boss) == []


async def test_exports_at_once_are_limited_and_one_that_is_left_ends_at_once(service: Harness) -> None:
    boss = somebody("export-crowd")
    rows = 2_000
    content = "Name,Notes\n" + "".join(f"Somebody {n},{'x' * 9000} {n}\n" for n in range(rows))
    imports = "kehu.leads.v1.ImportService/"
    made = await service.ask(
        boss, imports + "CreateImport",
        imports_pb2.CreateImportRequest(record_type="lead", filename="a.csv", content=content.encode()),
        imports_pb2.Import,
    )  # fmt: skip
    await service.ask(
        boss, imports + "StartImport", imports_pb2.StartImportRequest(id=made.id), imports_pb2.Import
    )

    async def over() -> bool:
        request = imports_pb2.GetImportRequest(id=made.id)
        return (
            await service.ask(boss, imports + "GetImport", request, imports_pb2.Import)
        ).created_rows == rows

    await eventually(over, timeout=60)
    # Nobody reads on: what is on the way fills the windows, and the service waits.
    calls = [opened(service, boss, columns=["name", "notes"]) for _ in range(3)]
    for call in calls:
        assert (await call.read()).filename
    with pytest.raises(Problem) as refused:
        await parts(service, boss)
    assert (refused.value.code, refused.value.reason) == (Code.RESOURCE_EXHAUSTED, "TOO_MANY_EXPORTS")
    assert await exported(service, somebody("export-others"))  # another company is not held up
    for call in calls:
        call.cancel()

    async def left() -> bool:
        entries = await log(service, boss)
        return [entry.state for entry in entries] == [pb.EXPORT_STATE_BROKEN_OFF] * 3

    await eventually(left)
    entries = await log(service, boss)
    assert {entry.failure_reason for entry in entries} == {"CLIENT_GONE"}
    assert all(entry.row_count < rows for entry in entries)
    whole = await exported(service, boss, columns=["name"], order_by="createTime")
    assert len({row[0] for row in table(whole)[1:]}) == rows
    # Memory: no part holds more than a stretch of the list.
    sizes = [len(part.content) for part in await parts(service, boss, columns=["name", "notes"])]
    assert max(sizes) <= 512 * 1024 and len(sizes) > rows // 500


async def test_an_export_whose_process_died_takes_no_place(service: Harness, service_database: Any) -> None:
    boss = somebody("export-dead")
    for _ in range(3):
        await exported(service, boss)
    database = service.running.database
    async with database.transaction(boss) as tx:
        from sqlalchemy import text

        await tx.session.execute(
            text(
                "UPDATE exports SET state = 'RUNNING', ended_at = NULL, leased_until = now() + interval '1 minute'"
            )
        )
    with pytest.raises(Problem):
        await exported(service, boss)
    async with database.transaction(boss) as tx:
        await tx.session.execute(text("UPDATE exports SET leased_until = now() - interval '1 second'"))
    assert await exported(service, boss)
    reasons = [entry.failure_reason for entry in await log(service, boss)]
    assert reasons == ["", "PROCESS_DIED", "PROCESS_DIED", "PROCESS_DIED"]


async def test_the_log_cannot_be_tidied(service: Harness) -> None:
    import asyncpg

    boss = somebody("export-log")
    await exported(service, boss)
    with pytest.raises(Exception) as refused:
        async with service.running.database.transaction(boss) as tx:
            from sqlalchemy import text

            await tx.session.execute(text("DELETE FROM exports"))
    assert isinstance(refused.value.__cause__, asyncpg.InsufficientPrivilegeError) or "permission" in str(
        refused.value
    )
