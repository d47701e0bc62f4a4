"""Where leads come from: kept at capture, told to campaigns, and added to when somebody comes again."""

import asyncio
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from kehu.leads.v1 import (
    conversion_pb2,
    customer_facet_pb2,
    lead_pb2,
    lead_service_pb2,
)
from kehu.marketing.v1 import campaign_member_pb2

from chassis.errors import Code
from chassis.ids import new_id
from chassis.principal import NOBODY, Principal, Reach, Rights
from chassis.testing import eventually, refused, somebody

pytestmark = pytest.mark.asyncio(loop_scope="module")
UTM = lead_pb2.UtmParameters(source="baidu", medium="cpc", campaign="spring", term="crm", content="b")
PAGE: dict[str, Any] = {
    "referrer": "https://www.baidu.com/s?wd=crm", "landing_page": "https://kehu.example/?gclid=1", "click_id": "gclid=1",
}  # fmt: skip


async def test_where_a_lead_came_from_is_kept_and_stays(suite: Any) -> None:
    boss = somebody("sources")
    lead = await suite.lead(boss, name="张三", utm=UTM, **PAGE)
    assert (lead.utm, lead.click_id, lead.capture_count) == (UTM, "gclid=1", 1)
    (capture,) = await suite.captures(boss, lead.id)
    assert (capture.utm, capture.referrer, capture.repeated) == (UTM, PAGE["referrer"], False)
    for path in ("utm", "utm.source", "referrer", "landing_page", "click_id"):
        request = lead_service_pb2.UpdateLeadRequest(
            lead=lead_pb2.Lead(id=lead.id, utm=lead_pb2.UtmParameters(source="x"), referrer="x"),
            update_mask=FieldMask(paths=[path]),
        )
        await refused(
            Code.INVALID_ARGUMENT, "FIELD_NOT_WRITABLE",
            suite.ask(boss, "LeadService/UpdateLead", request, lead_pb2.Lead),
        )  # fmt: skip
    request = lead_service_pb2.UpdateLeadRequest(
        lead=lead_pb2.Lead(id=lead.id, name="李四", utm=lead_pb2.UtmParameters(source="x"), referrer="x")
    )
    changed = await suite.ask(boss, "LeadService/UpdateLead", request, lead_pb2.Lead)
    assert (changed.name, changed.utm, changed.referrer) == ("李四", UTM, PAGE["referrer"])
    for wanted in (
        'utmSource = "baidu" AND utmCampaign = "spring"',
        'clickId = "gclid=1"',
        "captureCount = 1",
    ):
        assert [one.id for one in await suite.leads_of(boss, wanted)] == [lead.id]
    assert (await suite.lead(boss, name="By hand")).capture_count == 0


async def test_utm_leads_to_the_campaign_and_the_campaign_to_the_lead(suite: Any) -> None:
    boss = somebody("attribution")
    keyed = await suite.campaign(boss, "Spring sale", external_key="spring")
    named = await suite.campaign(boss, "Autumn Fair")
    lead = await suite.lead(boss, name="A", utm=UTM)
    other = await suite.lead(boss, name="B", utm=lead_pb2.UtmParameters(campaign="autumn fair"))
    unknown = await suite.lead(boss, name="C", utm=lead_pb2.UtmParameters(campaign="nobody knows"))

    async def attributed() -> bool:
        found = [(await suite.now(boss, one.id)).campaign_id for one in (lead, other)]
        return found == [keyed.id, named.id]

    await eventually(attributed)
    (member,) = await suite.members(boss, keyed.id)
    assert (member.lead_id, member.status) == (lead.id, campaign_member_pb2.MEMBER_STATUS_RESPONDED)
    (capture,) = await suite.captures(boss, lead.id)
    assert capture.campaign_id == keyed.id
    assert (await suite.now(boss, unknown.id)).campaign_id == ""


async def test_another_companys_campaign_takes_no_lead(suite: Any) -> None:
    theirs = await suite.campaign(somebody("campaigning"), "Secret", external_key="shared-key")
    boss = somebody("bystander")
    lead = await suite.lead(boss, name="A", utm=lead_pb2.UtmParameters(campaign="shared-key"))
    marker = await suite.campaign(boss, "Marker")
    last = await suite.lead(boss, name="B", campaign_id=marker.id)

    async def heard() -> bool:
        return [one.lead_id for one in await suite.members(boss, marker.id)] == [last.id]

    await eventually(heard)
    assert (await suite.now(boss, lead.id)).campaign_id == ""
    assert await suite.members(somebody("campaigning"), theirs.id) == []


async def test_who_comes_again_stays_the_lead(suite: Any) -> None:
    boss = somebody("again")
    await suite.handling(boss, repeat_days=30)
    spring = await suite.campaign(boss, "spring")
    autumn = await suite.campaign(boss, "autumn")
    first = await suite.capture(
        boss, "1", name="王五", phone="138 0013 8111", source=lead_pb2.LEAD_SOURCE_WEB_FORM, utm=UTM, notes="first", **PAGE
    )  # fmt: skip
    answers = [
        lead_pb2.CapturedAnswer(question="预算？", answer="10 万"),
        lead_pb2.CapturedAnswer(question="何时？"),
    ]
    again = await suite.capture(
        boss, "2", answers, name="王  五", phone="+86-138-0013-8111", email="Wang@Example.com", notes="second",
        source=lead_pb2.LEAD_SOURCE_SURVEY, source_detail="满意度调查",
        utm=lead_pb2.UtmParameters(source="mail", campaign="autumn"),
    )  # fmt: skip
    assert again.id == first.id and (again.capture_count, again.email) == (2, "wang@example.com")
    assert (again.source, again.utm, again.referrer) == (lead_pb2.LEAD_SOURCE_WEB_FORM, UTM, PAGE["referrer"])
    assert (again.last_source, again.notes) == (lead_pb2.LEAD_SOURCE_SURVEY, "first\nsecond")
    newest, oldest = await suite.captures(boss, first.id)
    assert (newest.repeated, newest.source_detail, list(newest.answers)) == (True, "满意度调查", answers)
    assert (oldest.repeated, oldest.message) == (False, "first")
    # The same request again is answered as before, and nothing is noted twice.
    assert (await suite.capture(
        boss, "2", answers, name="王  五", phone="+86-138-0013-8111", email="Wang@Example.com", notes="second",
        source=lead_pb2.LEAD_SOURCE_SURVEY, source_detail="满意度调查",
        utm=lead_pb2.UtmParameters(source="mail", campaign="autumn"),
    )).id == first.id  # fmt: skip
    assert len(await suite.captures(boss, first.id)) == 2

    async def told() -> bool:
        now = await suite.now(boss, first.id)
        return (now.campaign_id, now.last_campaign_id) == (spring.id, autumn.id)

    await eventually(told)
    for campaign in (spring, autumn):
        assert [one.lead_id for one in await suite.members(boss, campaign.id)] == [first.id]


async def test_who_comes_again_is_another_lead_where_the_rule_says_so(suite: Any) -> None:
    boss = somebody("always-new")
    ids = {(await suite.capture(boss, str(n), name="A", email="a@b.cn")).id for n in range(2)}
    assert len(ids) == 2
    await suite.handling(boss, repeat_days=30)
    closed = await suite.capture(boss, "c", name="C", email="c@b.cn")
    disqualify = lead_service_pb2.DisqualifyLeadRequest(
        id=closed.id, reason=lead_pb2.DISQUALIFY_REASON_NO_NEED
    )
    await suite.ask(boss, "LeadService/DisqualifyLead", disqualify, lead_pb2.Lead)
    assert (await suite.capture(boss, "d", name="C", email="c@b.cn")).id != closed.id
    # Nor is it somebody whom one may not change: that would tell of them.
    seller = Principal(
        tenant_id=boss.tenant_id, tenant=boss.tenant, person_id=new_id(), name="S", rights={"leads": Rights(Reach.OWN, Reach.OWN)}
    )  # fmt: skip
    theirs = await suite.capture(boss, "e", name="E", email="e@b.cn")
    assert (await suite.capture(seller, "f", name="E", email="e@b.cn")).id != theirs.id
    robot = Principal(tenant_id=boss.tenant_id, tenant=boss.tenant, person_id=NOBODY, service="marketing")
    owner = str(seller.person_id)
    assert (await suite.capture(robot, "g", name="E", email="e@b.cn", owner_id=owner)).id not in (closed.id,)
    assert len(await suite.leads_of(boss, 'email = "e@b.cn"')) == 2


async def test_ten_who_are_one_are_captured_at_once(suite: Any) -> None:
    boss = somebody("at-once")
    await suite.handling(boss, repeat_days=1)
    leads = await asyncio.gather(
        *(suite.capture(boss, f"r{n}", name="Once", email="once@example.com", phone="13800139000") for n in range(10))
    )  # fmt: skip
    assert len({lead.id for lead in leads}) == 1
    assert (await suite.now(boss, leads[0].id)).capture_count == 10


async def test_who_may_not_capture(suite: Any) -> None:
    boss = somebody("rights")
    reader = somebody("rights", rights={"leads": Rights(Reach.ALL, Reach.NONE)})
    await refused(Code.PERMISSION_DENIED, "RIGHT_MISSING", suite.capture(reader, "1", name="A"))
    for service in ("sales", "customers"):
        robot = Principal(tenant_id=boss.tenant_id, tenant=boss.tenant, person_id=NOBODY, service=service)
        await refused(Code.PERMISSION_DENIED, "SERVICE_NOT_ALLOWED", suite.capture(robot, "1", name="A"))
    await refused(Code.INVALID_ARGUMENT, "INVALID_FIELD", suite.capture(boss, "", name="A"))
    await refused(Code.INVALID_ARGUMENT, "LEAD_WITHOUT_NAME", suite.capture(boss, "2", email="a@b.cn"))
    lead = await suite.capture(boss, "3", name="A", notes="secret")
    rival = somebody("rival-of-rights")
    await refused(Code.NOT_FOUND, "NOT_FOUND", suite.captures(rival, lead.id))
    own = somebody("rights", rights={"leads": Rights(Reach.OWN, Reach.OWN)})
    await refused(Code.NOT_FOUND, "NOT_FOUND", suite.captures(own, lead.id))


async def test_the_story_goes_along_when_the_lead_becomes_a_customer(suite: Any) -> None:
    boss = somebody("story")
    await suite.handling(boss, repeat_days=30)
    campaign = await suite.campaign(boss, "spring")
    source = lead_pb2.LEAD_SOURCE_WEB_FORM
    lead = await suite.capture(
        boss, "1", name="A", company_name="用友", email="a@b.cn", source=source, utm=UTM
    )
    survey = lead_pb2.LEAD_SOURCE_SURVEY
    await suite.capture(boss, "2", name="A", email="a@b.cn", source=survey, source_detail="NPS")

    async def member() -> Any:
        return await suite.members(boss, campaign.id)

    await eventually(member)
    convert = lead_service_pb2.ConvertLeadRequest(id=lead.id)
    conversion = await suite.ask(boss, "LeadService/ConvertLead", convert, conversion_pb2.Conversion)
    assert conversion.state == conversion_pb2.CONVERSION_STATE_SUCCEEDED, conversion
    facet = await suite.ask(
        boss, "CustomerFacetService/GetCustomerFacet",
        customer_facet_pb2.GetCustomerFacetRequest(customer_id=conversion.customer_id), customer_facet_pb2.CustomerFacet,
    )  # fmt: skip
    assert (facet.first_source, facet.last_source) == (source, survey)
    assert facet.first_campaign_id == campaign.id and [one.repeated for one in facet.captures] == [
        True,
        False,
    ]

    async def followed() -> bool:
        (one,) = await suite.members(boss, campaign.id)
        return one.customer_id == conversion.customer_id

    await eventually(followed)
