"""What may be the same as a lead: before it is created, where the tenant refuses it, and when it is converted."""

import json
from dataclasses import replace
from typing import Any

import pytest
from kehu.leads.v1 import (
    assignment_pb2,
    cleaning_service_pb2,
    lead_merge_pb2,
    lead_pb2,
    lead_service_pb2,
)

from chassis.errors import Code, Problem
from chassis.ids import new_id
from chassis.principal import Principal, Reach, Rights
from chassis.testing import refused, somebody

pytestmark = pytest.mark.asyncio(loop_scope="module")
LEAD, CUSTOMER, CONTACT = (
    lead_merge_pb2.LEAD_DUPLICATE_KIND_LEAD, lead_merge_pb2.LEAD_DUPLICATE_KIND_CUSTOMER,
    lead_merge_pb2.LEAD_DUPLICATE_KIND_CONTACT,
)  # fmt: skip


async def find(suite: Any, who: Principal, id: str = "", **lead: Any) -> cleaning_service_pb2.LeadDuplicates:
    request = cleaning_service_pb2.FindLeadDuplicatesRequest(lead_id=id)
    if lead:
        request.lead.CopyFrom(lead_pb2.Lead(**lead))
    return await suite.ask(
        who, "CleaningService/FindLeadDuplicates", request, cleaning_service_pb2.LeadDuplicates
    )


async def targets(suite: Any, who: Principal, id: str) -> cleaning_service_pb2.LeadDuplicates:
    request = cleaning_service_pb2.GetConversionTargetsRequest(id=id)
    return await suite.ask(
        who, "CleaningService/GetConversionTargets", request, cleaning_service_pb2.LeadDuplicates
    )


def shown(found: cleaning_service_pb2.LeadDuplicates) -> list[tuple[Any, str]]:
    return [(one.kind, one.id) for one in found.duplicates]


async def test_found_among_leads_customers_and_contacts(suite: Any) -> None:
    boss = somebody("twins")
    lead = await suite.lead(boss, name="张三", company_name="北京市用友软件股份有限公司", phone="13800138001")
    customer = await suite.customer(boss, "用友软件（上海）有限公司")
    contact = await suite.contact(boss, customer.id, "张三", "13800138001")
    found = await find(suite, boss, company_name="用友软件", name="张三", phone="138 0013 8001")
    assert set(shown(found)) == {(LEAD, lead.id), (CUSTOMER, customer.id), (CONTACT, contact.id)}
    scores = [one.score for one in found.duplicates]
    assert scores == sorted(scores, reverse=True) and min(scores) >= 50
    by_kind = {one.kind: one for one in found.duplicates}
    assert set(by_kind[LEAD].reasons) == {"PHONE", "CORE_NAME", "NAME"}
    assert by_kind[CONTACT].customer_id == customer.id and "PHONE" in by_kind[CONTACT].reasons
    # By its id, without itself; and what it might be converted into.
    twin = await suite.lead(boss, name="张三", company_name="用友软件有限公司", phone="13800138001")
    assert set(shown(await find(suite, boss, twin.id))) == set(shown(found))
    assert set(shown(await targets(suite, boss, twin.id))) == {(CUSTOMER, customer.id), (CONTACT, contact.id)}
    slip = await find(suite, boss, company_name="深圳市华为技木开发")
    assert not slip.duplicates
    huawei = await suite.lead(boss, company_name="深圳市华为技术开发有限公司")
    (near,) = (await find(suite, boss, company_name="深圳市华为技木开发")).duplicates
    assert (near.id, list(near.reasons)) == (huawei.id, ["SIMILAR_NAME"])
    # Two people of one company are two leads.
    assert not [
        one
        for one in (await find(suite, boss, company_name="用友软件", name="李四")).duplicates
        if one.kind == LEAD
    ]


async def test_of_what_nobody_may_see_the_number_is_told(suite: Any) -> None:
    boss = somebody("hidden-twins")
    lead = await suite.lead(boss, name="张三", email="san@example.com")
    await suite.customer(boss, "张三", emails=[{"address": "san@example.com"}])
    clerk = replace(
        boss,
        person_id=new_id(),
        rights={"leads": Rights(Reach.OWN, Reach.OWN), "customers": Rights(Reach.OWN)},
    )
    found = await find(suite, clerk, name="张三", email="san@example.com")
    assert (list(found.duplicates), found.hidden_count, found.customers_missing) == ([], 2, False)
    without = replace(clerk, rights={"leads": Rights(Reach.ALL, Reach.ALL)})
    found = await find(suite, without, name="张三", email="san@example.com")
    assert (shown(found), found.customers_missing) == ([(LEAD, lead.id)], True)
    await refused(Code.NOT_FOUND, "NOT_FOUND", find(suite, clerk, lead.id))
    await refused(Code.NOT_FOUND, "NOT_FOUND", targets(suite, clerk, lead.id))
    assert not (await find(suite, somebody("other-twins"), name="张三", email="san@example.com")).duplicates
    assert not (await find(suite, boss)).duplicates


async def test_who_cannot_read_the_lead_they_made_is_warned_too(suite: Any) -> None:
    boss = somebody("warned")
    await suite.lead(boss, name="张三", phone="13800138007")
    # As somebody whose lead a rule has given to another at once.
    clerk = replace(boss, person_id=new_id(), rights={"leads": Rights(Reach.NONE, Reach.OWN)})
    request = lead_service_pb2.CreateLeadRequest(lead=lead_pb2.Lead(name="张三", phone="13800138007"))
    channel: Any = suite.leads.channel
    ask = channel.unary_unary(
        "/kehu.leads.v1.LeadService/CreateLead", request_serializer=lead_service_pb2.CreateLeadRequest.SerializeToString,
        response_deserializer=lead_pb2.Lead.FromString,
    )  # fmt: skip
    running = ask(request, metadata=[("authorization", f"Bearer {suite.leads.token(clerk)}")], timeout=15)
    assert (await running).id
    told = dict(await running.trailing_metadata())["kehu-possible-duplicates"]
    assert json.loads(told) == {"duplicates": [], "hiddenCount": 1}


async def test_a_rule_refuses_what_is_probably_a_lead(suite: Any) -> None:
    boss = somebody("refusing")
    lead = await suite.lead(boss, name="张三", phone="13800138009")
    await suite.lead(boss, name="张三", phone="13800138009")  # WARN, as at first, creates
    refuse = assignment_pb2.LEAD_DUPLICATE_ACTION_REFUSE
    await suite.handling(boss, duplicates=refuse)
    with pytest.raises(Problem) as told:
        await suite.lead(boss, name="张小三", phone="138 0013 8009")
    assert (told.value.code, told.value.reason) == (Code.ALREADY_EXISTS, "PROBABLE_DUPLICATES")
    assert lead.id in told.value.metadata["ids"] and len(told.value.violations) == 2
    clerk = replace(boss, person_id=new_id(), rights={"leads": Rights(Reach.OWN, Reach.OWN)})
    with pytest.raises(Problem) as hidden:
        await suite.lead(clerk, name="李四", phone="13800138009")
    assert hidden.value.metadata == {"ids": "", "hiddenCount": "2"} and "张" not in hidden.value.message
    request = lead_service_pb2.CreateLeadRequest(
        lead=lead_pb2.Lead(name="张小三", phone="13800138009"), allow_duplicate=True
    )
    assert (await suite.ask(boss, "LeadService/CreateLead", request, lead_pb2.Lead)).id
    await suite.lead(boss, name="王五", phone="13800138010")
    named = lead_service_pb2.CreateLeadRequest(
        lead=lead_pb2.Lead(name="赵六", phone="13800138011"), lead_id=str(new_id())
    )
    await suite.ask(boss, "LeadService/CreateLead", named, lead_pb2.Lead)
    again = suite.ask(boss, "LeadService/CreateLead", named, lead_pb2.Lead)
    await refused(Code.ALREADY_EXISTS, "ID_TAKEN", again)
    # Captures have a rule of their own, and so do imports.
    await suite.capture(boss, "form", name="张三", phone="13800138009")
    await suite.handling(boss, duplicates=assignment_pb2.LEAD_DUPLICATE_ACTION_UNSPECIFIED)
    await suite.lead(boss, name="王五", phone="13800138010")
