"""Leads over gRPC: capture, statuses, rights, import; and conversion when nobody answers."""

import socket
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from google.protobuf.field_mask_pb2 import FieldMask
from google.type import money_pb2
from kehu.exports.v1 import exports_pb2
from kehu.imports.v1 import imports_pb2
from kehu.leads.v1 import conversion_pb2, lead_pb2, lead_service_pb2, score_pb2, score_service_pb2
from kehu.valuelists.v1 import value_lists_pb2

from chassis.errors import Code
from chassis.principal import Principal, Reach, Rights
from chassis.testing import DatabaseUrls, Harness, Keys, eventually, refused, running_service, somebody
from leads.service import SERVICE

pytestmark = pytest.mark.asyncio(loop_scope="module")
LEADS = "kehu.leads.v1.LeadService/"
IMPORTS = "kehu.leads.v1.ImportService/"
LISTS = "kehu.leads.v1.ValueListService/"
BOSS = somebody("acme")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(
    service_database: Callable[[str], DatabaseUrls], nats_url: str, keys: Keys
) -> AsyncGenerator[Harness]:
    with socket.socket() as taken:  # bound and not listening: nobody answers there
        taken.bind(("127.0.0.1", 0))
        nobody = {"customers": f"127.0.0.1:{taken.getsockname()[1]}"}
        async with running_service(
            SERVICE, service_database("leads"), nats_url, keys, addresses=nobody
        ) as harness:
            yield harness


async def create(service: Harness, who: Principal, request_id: str = "", **fields: Any) -> lead_pb2.Lead:
    request = lead_service_pb2.CreateLeadRequest(lead=lead_pb2.Lead(**fields), request_id=request_id)
    return await service.ask(who, LEADS + "CreateLead", request, lead_pb2.Lead)


async def verb(service: Harness, name: str, request: Any, who: Principal = BOSS) -> lead_pb2.Lead:
    return await service.ask(who, LEADS + name, request, lead_pb2.Lead)


async def get(service: Harness, who: Principal, id: str) -> lead_pb2.Lead:
    return await service.ask(who, LEADS + "GetLead", lead_service_pb2.GetLeadRequest(id=id), lead_pb2.Lead)


async def test_a_lead_goes_its_way(service: Harness) -> None:
    lead = await create(
        service, BOSS, name="张三", company_name="深圳华为", phone="0755 2878 0808", tags=["a"]
    )
    assert (lead.status, lead.phone, lead.source) == (
        lead_pb2.LEAD_STATUS_NEW, "+8675528780808", lead_pb2.LEAD_SOURCE_OTHER,
    )  # fmt: skip
    lead = await verb(service, "ContactLead", lead_service_pb2.ContactLeadRequest(id=lead.id, note="rang"))
    assert (lead.status, lead.contact_count, lead.notes) == (lead_pb2.LEAD_STATUS_CONTACTED, 1, "rang")
    lead = await verb(service, "QualifyLead", lead_service_pb2.QualifyLeadRequest(id=lead.id, score=80))
    assert (lead.status, lead.score) == (lead_pb2.LEAD_STATUS_QUALIFIED, 80)
    again = lead_service_pb2.QualifyLeadRequest(id=lead.id)
    await refused(Code.FAILED_PRECONDITION, "LEAD_NOT_QUALIFIABLE", verb(service, "QualifyLead", again))
    other = lead_service_pb2.DisqualifyLeadRequest(id=lead.id, reason=lead_pb2.DISQUALIFY_REASON_OTHER)
    problem = await refused(Code.INVALID_ARGUMENT, "INVALID_FIELD", verb(service, "DisqualifyLead", other))
    assert problem.violations[0].field == "note"
    no_need = lead_service_pb2.DisqualifyLeadRequest(id=lead.id, reason=lead_pb2.DISQUALIFY_REASON_NO_NEED)
    assert (await verb(service, "DisqualifyLead", no_need)).status == lead_pb2.LEAD_STATUS_DISQUALIFIED
    reopened = await verb(service, "ReopenLead", lead_service_pb2.ReopenLeadRequest(id=lead.id))
    assert reopened.status == lead_pb2.LEAD_STATUS_CONTACTED


async def test_bad_values_repeats_and_stale_versions(service: Harness) -> None:
    problem = await refused(
        Code.INVALID_ARGUMENT, "LEAD_WITHOUT_NAME", create(service, BOSS, phone="13800000000")
    )
    assert problem.violations[0].field == "lead.name"
    first = await create(service, BOSS, "same", name="Once")
    assert (await create(service, BOSS, "same", name="Once")) == first
    await refused(Code.ALREADY_EXISTS, "IDEMPOTENCY_KEY_REUSED", create(service, BOSS, "same", name="Twice"))
    update = lead_service_pb2.UpdateLeadRequest(
        lead=lead_pb2.Lead(id=first.id, etag=first.etag, region="华东"),
        update_mask=FieldMask(paths=["region"]),
    )
    assert (await verb(service, "UpdateLead", update)).region == "华东"
    await refused(Code.ABORTED, "ETAG_MISMATCH", verb(service, "UpdateLead", update))


async def test_lists_are_filtered_by_what_a_lead_says_and_how_it_went(service: Harness) -> None:
    who = somebody("filtering")
    chief = await create(
        service, who, name="Chief", title="CEO", department="Board", phone="13800000017", source_detail="NPS 2026",
        estimated_amount=money_pb2.Money(currency_code="CNY", units=5000),
    )  # fmt: skip
    clerk = await create(service, who, name="Clerk", title="Clerk", phone="13900000017")
    await verb(service, "ContactLead", lead_service_pb2.ContactLeadRequest(id=chief.id), who)
    await verb(service, "QualifyLead", lead_service_pb2.QualifyLeadRequest(id=chief.id), who)
    no_budget = lead_service_pb2.DisqualifyLeadRequest(
        id=clerk.id, reason=lead_pb2.DISQUALIFY_REASON_NO_BUDGET
    )
    await verb(service, "DisqualifyLead", no_budget, who)
    for condition, found in (
        ("title = CEO", chief), ("NOT title = CEO", clerk), ("department:oar", chief), ("department = null", clerk),
        ("phone:1380", chief), ("sourceDetail:nps", chief), ("estimatedAmount >= 5000", chief),
        ('estimatedAmount > "4000 CNY"', chief), ("estimatedAmount = null", clerk), ("contactCount > 0", chief),
        ("firstContactTime > -1d", chief), ("qualifyTime = null", clerk), ("disqualifyReason = NO_BUDGET", clerk),
        ("disqualifyReason = DISQUALIFY_REASON_NO_BUDGET AND convertTime = null", clerk),
    ):  # fmt: skip
        page = await service.ask(
            who, "kehu.leads.v1.LeadService/ListLeads",
            lead_service_pb2.ListLeadsRequest(filter=condition), lead_service_pb2.ListLeadsResponse,
        )  # fmt: skip
        assert [lead.name for lead in page.leads] == [found.name], condition


async def test_rights_and_tenants(service: Harness) -> None:
    lead = await create(service, BOSS, name="Hidden")
    own = somebody("acme", rights={"leads": Rights(Reach.OWN, Reach.OWN)})
    for who in (own, somebody("rival")):
        await refused(Code.NOT_FOUND, "NOT_FOUND", get(service, who, lead.id))
        await refused(
            Code.NOT_FOUND,
            "NOT_FOUND",
            service.ask(
                who,
                LEADS + "ConvertLead",
                lead_service_pb2.ConvertLeadRequest(id=lead.id),
                conversion_pb2.Conversion,
            ),
        )
    assert (await get(service, BOSS, lead.id)).status == lead_pb2.LEAD_STATUS_NEW


async def test_events_leave_in_order(service: Harness) -> None:
    lead = await create(service, BOSS, name="Events")
    await verb(service, "QualifyLead", lead_service_pb2.QualifyLeadRequest(id=lead.id))

    async def sent() -> bool:
        rows = await service.running.database.read(
            BOSS, "SELECT subject, sent_at FROM outbox WHERE record_id = $1::uuid ORDER BY seq", lead.id
        )
        subjects = [row["subject"] for row in rows]
        assert subjects == ["kehu.acme.leads.lead.created", "kehu.acme.leads.lead.qualified"]
        return all(row["sent_at"] for row in rows)

    await eventually(sent)


async def test_a_conversion_waits_for_services_that_do_not_answer(service: Harness) -> None:
    lead = await create(service, BOSS, name="李四", company_name="Patient Ltd")
    request = lead_service_pb2.ConvertLeadRequest(id=lead.id, request_id="c1")
    answer = await service.ask(BOSS, LEADS + "ConvertLead", request, conversion_pb2.Conversion)
    assert answer.state == conversion_pb2.CONVERSION_STATE_RUNNING
    assert answer.failure_reason == "MODULE_UNAVAILABLE" and answer.contact_id and not answer.opportunity_id
    assert (await get(service, BOSS, lead.id)).status == lead_pb2.LEAD_STATUS_CONVERTING
    update = lead_service_pb2.UpdateLeadRequest(
        lead=lead_pb2.Lead(id=lead.id, region="x"), update_mask=FieldMask(paths=["region"])
    )
    await refused(Code.ABORTED, "LEAD_CONVERTING", verb(service, "UpdateLead", update))
    again = await service.ask(BOSS, LEADS + "ConvertLead", request, conversion_pb2.Conversion)
    assert (again.id, again.customer_id, again.contact_id) == (
        answer.id,
        answer.customer_id,
        answer.contact_id,
    )


async def test_import_of_gb18030_adds_up(service: Harness) -> None:
    text = "姓名,公司,手机,来源\n王五,北京公司,13800000001,展会\n,,13800000002,\n赵六,上海公司,not a phone,广告\n"
    started = await service.ask(
        BOSS,
        IMPORTS + "CreateImport",
        imports_pb2.CreateImportRequest(
            record_type="lead", filename="线索.csv", content=text.encode("gb18030")
        ),
        imports_pb2.Import,
    )
    assert started.encoding == "gb18030" and len(started.proposed_mapping) == 4
    await service.ask(
        BOSS, IMPORTS + "StartImport", imports_pb2.StartImportRequest(id=started.id), imports_pb2.Import
    )
    done = imports_pb2.Import()

    async def ended() -> bool:
        done.CopyFrom(
            await service.ask(
                BOSS, IMPORTS + "GetImport", imports_pb2.GetImportRequest(id=started.id), imports_pb2.Import
            )
        )
        return done.state == imports_pb2.IMPORT_STATE_SUCCEEDED

    await eventually(ended)
    assert (done.total_rows, done.created_rows, done.refused_rows) == (3, 1, 2)
    page = await service.ask(
        BOSS,
        LEADS + "ListLeads",
        lead_service_pb2.ListLeadsRequest(query="wangwu"),
        lead_service_pb2.ListLeadsResponse,
    )
    assert [(lead.name, lead.source) for lead in page.leads] == [("王五", lead_pb2.LEAD_SOURCE_EXHIBITION)]


async def offer(
    service: Harness, who: Principal, *values: value_lists_pb2.ListedValue, drop: str = ""
) -> value_lists_pb2.ValueList:
    """The list of sources with these values behind what there is, but for one."""
    asked: Any = value_lists_pb2.ListValueListsRequest()
    lists = await service.ask(who, LISTS + "ListValueLists", asked, value_lists_pb2.ListValueListsResponse)
    (sources,) = lists.value_lists
    assert sources.key == "source"
    stay = [one for one in sources.values if one.key not in {drop, *(value.key for value in values)}]
    changed = value_lists_pb2.UpdateValueListRequest(
        value_list=value_lists_pb2.ValueList(id=sources.id, etag=sources.etag, values=[*stay, *values])
    )
    changed.update_mask.paths.append("values")
    return await service.ask(who, LISTS + "UpdateValueList", changed, value_lists_pb2.ValueList)


async def test_sources_are_the_tenants_own(service: Harness) -> None:
    boss = somebody("own-sources")
    plain = await create(service, boss, name="早", source=lead_pb2.LEAD_SOURCE_PHONE)
    assert plain.source_key == "PHONE"
    douyin = value_lists_pb2.ListedValue(key="douyin", name_zh="抖音直播", name_en="Douyin live")
    await offer(service, boss, douyin)
    lead = await create(
        service, boss, name="张三", source_key=" 抖音直播 ", utm=lead_pb2.UtmParameters(source="dy")
    )
    assert (lead.source, lead.source_key) == (lead_pb2.LEAD_SOURCE_UNSPECIFIED, "douyin")
    assert (lead.last_source, lead.last_source_key) == (lead_pb2.LEAD_SOURCE_UNSPECIFIED, "douyin")
    assert (
        await create(service, boss, name="李四", source_key="exhibition")
    ).source == lead_pb2.LEAD_SOURCE_EXHIBITION

    async def update(**fields: Any) -> lead_pb2.Lead:
        request = lead_service_pb2.UpdateLeadRequest(lead=lead_pb2.Lead(id=lead.id, **fields))
        request.update_mask.paths.extend(fields)
        return await service.ask(boss, LEADS + "UpdateLead", request, lead_pb2.Lead)

    # A client from before sends back what it was told; one that writes the enum means it.
    whole = lead_service_pb2.UpdateLeadRequest(lead=lead)
    whole.update_mask.paths.extend(["title", "source", "source_key"])
    whole.lead.title = "经理"
    kept = await service.ask(boss, LEADS + "UpdateLead", whole, lead_pb2.Lead)
    assert (kept.title, kept.source_key) == ("经理", "douyin")
    assert (await update(source=lead_pb2.LEAD_SOURCE_PARTNER)).source_key == "PARTNER"
    assert (await update(source_key="Douyin live")).source_key == "douyin"
    for wrong, reason in (
        ({"source_key": "kuaishou"}, "VALUE_UNKNOWN"),
        ({"source_key": "WEB_FORM", "source": lead_pb2.LEAD_SOURCE_EMAIL}, "VALUE_MISMATCH"),
    ):
        await refused(Code.INVALID_ARGUMENT, reason, update(**wrong))
    elsewhere = somebody("other-sources")
    await refused(
        Code.INVALID_ARGUMENT, "VALUE_UNKNOWN", create(service, elsewhere, name="x", source_key="douyin")
    )

    # Lists, rules and files know it.
    async def found(filter: str) -> list[str]:
        request = lead_service_pb2.ListLeadsRequest(filter=filter, order_by="createTime")
        answer = await service.ask(boss, LEADS + "ListLeads", request, lead_service_pb2.ListLeadsResponse)
        return [one.name for one in answer.leads]

    assert await found('sourceKey = "douyin"') == ["张三"]
    assert await found("source = PHONE") == await found('sourceKey = "PHONE"') == ["早"]
    rule = score_pb2.ScoreRule(name="抖音", condition='sourceKey = "douyin"', points=30, active=True)
    await service.ask(
        boss, "kehu.leads.v1.ScoreService/CreateScoreRule", score_service_pb2.CreateScoreRuleRequest(rule=rule),
        score_pb2.ScoreRule,
    )  # fmt: skip
    assert (await create(service, boss, name="王五", source_key="douyin")).score == 30
    done = await imported(service, "Name,Source\n赵六,抖音直播\n钱七,快手\n", who=boss)
    assert (done.created_rows, done.refused_rows) == (1, 1)
    assert await found('sourceKey = "douyin"') == ["张三", "王五", "赵六"]
    request = exports_pb2.CreateExportRequest(
        record_type="lead", format=exports_pb2.EXPORT_FORMAT_CSV, columns=["name", "source"], order_by="createTime",
        language_code="zh", time_zone="UTC", filter='sourceKey = "douyin" OR source = PHONE',
    )  # fmt: skip
    parts = await service.parts(
        boss, "kehu.leads.v1.ExportService/CreateExport", request, exports_pb2.ExportPart
    )
    text = b"".join(part.content for part in parts).decode("utf-8-sig")
    assert text.splitlines() == ["姓名,来源", "早,电话", "张三,抖音直播", "王五,抖音直播", "赵六,抖音直播"]
    rows = await service.running.database.read(
        boss, "SELECT convert_from(data, 'UTF8')::jsonb AS data FROM outbox WHERE record_id = $1 ORDER BY seq LIMIT 1",
        UUID(lead.id),
    )  # fmt: skip
    told = rows[0]["data"]["lead"]
    assert (told.get("source"), told["sourceKey"]) == (None, "douyin")

    # What is held cannot go, only be retired: then it stays where it is and nobody chooses it any more.
    problem = await refused(Code.FAILED_PRECONDITION, "VALUE_IN_USE", offer(service, boss, drop="douyin"))
    assert problem.metadata["rules"] == "score rules: 1"
    await refused(Code.FAILED_PRECONDITION, "VALUE_BUILT_IN", offer(service, boss, drop="WEB_FORM"))
    member = replace(boss, rights={"leads": Rights(Reach.ALL, Reach.ALL)})
    await refused(Code.PERMISSION_DENIED, "RIGHT_MISSING", offer(service, member, douyin))
    douyin.retired = True
    await offer(service, boss, douyin)
    assert (await update(title="总监")).source_key == "douyin"
    await refused(
        Code.INVALID_ARGUMENT, "VALUE_RETIRED", create(service, boss, name="y", source_key="douyin")
    )


async def imported(service: Harness, text: str, who: Principal = BOSS, **options: Any) -> imports_pb2.Import:
    request = imports_pb2.CreateImportRequest(
        record_type="lead", filename="a.csv", content=text.encode(), encoding="utf-8", delimiter=","
    )
    ready = await service.ask(who, IMPORTS + "CreateImport", request, imports_pb2.Import)
    start = imports_pb2.StartImportRequest(id=ready.id, **options)
    await service.ask(who, IMPORTS + "StartImport", start, imports_pb2.Import)
    done = imports_pb2.Import()

    async def ended() -> bool:
        get = imports_pb2.GetImportRequest(id=ready.id)
        done.CopyFrom(await service.ask(who, IMPORTS + "GetImport", get, imports_pb2.Import))
        return done.state == imports_pb2.IMPORT_STATE_SUCCEEDED

    await eventually(ended)
    return done


async def test_an_import_may_change_what_is_there(service: Harness) -> None:
    first = "id,姓名,公司,邮箱,备注\nK1,甲,A,a@b.cn,old\nK2,乙,B,,\nK3,丙,C,no address,\n"
    done = await imported(service, first)
    assert (done.created_rows, done.refused_rows) == (2, 1)
    second = "id,姓名,公司,邮箱,备注\nK1,,,,new\nK2,乙,B,,\nK4,丁,D,,\nK4,丁,E,,\nK5,,,,\n"
    done = await imported(service, second)
    assert (done.created_rows, done.refused_rows) == (1, 4)
    done = await imported(service, second, mode=imports_pb2.IMPORT_MODE_UPSERT)
    assert (done.created_rows, done.updated_rows, done.unchanged_rows, done.refused_rows) == (0, 2, 2, 1)
    page = await service.ask(
        BOSS,
        LEADS + "ListLeads",
        lead_service_pb2.ListLeadsRequest(filter='externalKey = "K1" OR externalKey = "K4"', order_by="name"),
        lead_service_pb2.ListLeadsResponse,
    )
    by_key = {lead.external_key: lead for lead in page.leads}
    assert (by_key["K1"].name, by_key["K1"].email, by_key["K1"].notes) == ("甲", "a@b.cn", "new")
    assert by_key["K4"].company_name == "E"
