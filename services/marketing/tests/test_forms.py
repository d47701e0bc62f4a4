"""Web forms over gRPC: how they are kept, the HTML they give, and what strangers send becoming leads, once."""

import asyncio
import socket
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from google.api.httpbody_pb2 import HttpBody
from google.protobuf.empty_pb2 import Empty
from google.protobuf.field_mask_pb2 import FieldMask
from kehu.leads.v1 import lead_pb2, lead_service_pb2
from kehu.marketing.v1 import campaign_member_pb2, campaign_pb2, campaign_service_pb2
from kehu.marketing.v1 import campaign_member_service_pb2 as members
from kehu.marketing.v1 import web_form_pb2 as pb
from kehu.marketing.v1 import web_form_service_pb2 as forms
from kehu.valuelists.v1 import value_lists_pb2

from chassis.errors import Code
from chassis.ids import new_id
from chassis.principal import NOBODY, Principal, Reach, Rights
from chassis.testing import DatabaseUrls, Harness, Keys, eventually, refused, running_service, somebody
from marketing.floods import Floods
from marketing.rpc import submissions
from marketing.service import SERVICE
from marketing.submission import Captured, note

pytestmark = pytest.mark.asyncio(loop_scope="module")
BOSS = somebody("acme")
FIELDS = [
    pb.FormField(
        key="full_name", label="姓名", kind=pb.FORM_FIELD_KIND_TEXT, required=True, lead_field=pb.LEAD_FIELD_NAME
    ),
    pb.FormField(key="phone", label="Phone", kind=pb.FORM_FIELD_KIND_PHONE, lead_field=pb.LEAD_FIELD_PHONE),
    pb.FormField(key="mail", label="E-mail", kind=pb.FORM_FIELD_KIND_EMAIL, lead_field=pb.LEAD_FIELD_EMAIL),
    pb.FormField(key="size", label="Size", kind=pb.FORM_FIELD_KIND_CHOICE, choices=["1-10", "11-100"]),
    pb.FormField(key="wish", label="Wish", kind=pb.FORM_FIELD_KIND_LONG_TEXT, lead_field=pb.LEAD_FIELD_NOTES),
    pb.FormField(key="consent", label="I agree", kind=pb.FORM_FIELD_KIND_CHECKBOX, required=True),
]  # fmt: skip


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def alone(
    service_database: Callable[[str], DatabaseUrls], nats_url: str, keys: Keys
) -> AsyncGenerator[Harness]:
    """Marketing while leads is down."""
    with socket.socket() as taken:  # bound and not listening: nobody answers there
        taken.bind(("127.0.0.1", 0))
        nobody = {"leads": f"127.0.0.1:{taken.getsockname()[1]}"}
        urls = service_database("marketing")
        async with running_service(SERVICE, urls, nats_url, keys, addresses=nobody) as harness:
            yield harness


async def put_up(suite: Any, who: Principal = BOSS, **fields: Any) -> pb.WebForm:
    values: dict[str, Any] = {"name": "Contact us", "fields": FIELDS, **fields}
    request = forms.CreateWebFormRequest(web_form=pb.WebForm(**values))
    return await suite.ask(who, "WebFormService/CreateWebForm", request, pb.WebForm)


async def verb(suite: Any, name: str, request: Any, who: Principal = BOSS) -> pb.WebForm:
    return await suite.ask(who, f"WebFormService/{name}", request, pb.WebForm)


async def get(suite: Any, id: str) -> pb.WebForm:
    return await verb(suite, "GetWebForm", forms.GetWebFormRequest(id=id))


async def send(
    suite: Any, form: pb.WebForm, values: dict[str, str] | None = None, /, address: str = "", **more: Any
) -> forms.SubmitWebFormResponse:
    """A stranger's submission; each from an address of its own unless said otherwise."""
    request = forms.SubmitWebFormRequest(
        public_key=form.public_key, values={"full_name": "张三", "consent": "yes"} if values is None else values,
        client_address=address or str(new_id()), **more,
    )  # fmt: skip
    return await suite.ask(None, "WebFormService/SubmitWebForm", request, forms.SubmitWebFormResponse)


async def leads_of(suite: Any, form: pb.WebForm, who: Principal = BOSS) -> list[lead_pb2.Lead]:
    answer = await suite.leads.ask(
        who, "kehu.leads.v1.LeadService/ListLeads",
        lead_service_pb2.ListLeadsRequest(filter=f'formId = "{form.id}"'), lead_service_pb2.ListLeadsResponse,
    )  # fmt: skip
    return list(answer.leads)


async def campaign_of(suite: Any, name: str) -> campaign_pb2.Campaign:
    made = campaign_pb2.Campaign(name=name, channel=campaign_pb2.CAMPAIGN_CHANNEL_WEB)
    request = campaign_service_pb2.CreateCampaignRequest(campaign=made)
    return await suite.ask(BOSS, "CampaignService/CreateCampaign", request, campaign_pb2.Campaign)


async def test_a_stranger_becomes_a_lead_of_the_forms_owner_and_campaign(suite: Any) -> None:
    campaign = await campaign_of(suite, "Web")
    owner = somebody("acme", team=new_id())
    form = await put_up(suite, owner, campaign_id=campaign.id, thank_you_text="谢谢")
    assert len(form.public_key) == 32 and form.status == pb.WEB_FORM_STATUS_OPEN
    values = {
        "full_name": "  张   三 ", "phone": "138 0013 8000", "mail": "San@Example.com", "size": "11-100",
        "wish": "two\r\nlines", "consent": "on", "utm_source": "baidu", "unknown": "ignored",
    }  # fmt: skip
    page = "https://www.example.com/contact?utm_source=other&utm_medium=cpc"
    answer = await send(suite, form, values, referrer=page)
    assert (answer.thank_you_text, answer.redirect_url) == ("谢谢", "")
    (lead,) = await leads_of(suite, form)
    assert (lead.name, lead.phone, lead.email) == ("张 三", "+8613800138000", "san@example.com")
    assert lead.notes == "Size: 11-100\ntwo\nlines\nI agree: yes"
    assert (lead.source, lead.source_detail) == (lead_pb2.LEAD_SOURCE_WEB_FORM, "Contact us")
    assert (lead.campaign_id, lead.form_id) == (campaign.id, form.id)
    assert (lead.owner_id, lead.team_id, lead.creator_id) == (
        str(owner.person_id), str(owner.team_id), "",
    )  # fmt: skip
    assert lead.utm == lead_pb2.UtmParameters(source="baidu", medium="cpc")

    now = await get(suite, form.id)
    assert (now.submission_count, now.etag) == (1, form.etag) and now.HasField("last_submission_time")
    found = await suite.ask(
        BOSS,
        "CampaignMemberService/ListCampaignMembers",
        members.ListCampaignMembersRequest(filter=f'campaignId = "{campaign.id}"'),
        members.ListCampaignMembersResponse,
    )
    (member,) = found.campaign_members
    assert (member.lead_id, member.display_name) == (lead.id, "张 三")
    assert member.status == campaign_member_pb2.MEMBER_STATUS_RESPONDED
    rows = await suite.marketing.running.database.read(
        BOSS, "SELECT subject FROM outbox WHERE record_id = $1::uuid ORDER BY seq", form.id
    )
    assert [row["subject"] for row in rows] == [
        "kehu.acme.marketing.form.created", "kehu.acme.marketing.form.submitted",
    ]  # fmt: skip


async def test_the_landing_page_says_where_its_visitor_came_from(suite: Any) -> None:
    form = await put_up(suite, somebody("acme", team=new_id()))
    landing = "https://www.example.com/?utm_source=baidu&utm_campaign=spring&bd_vid=17"
    page = "https://www.example.com/contact?utm_source=newsletter&utm_medium=mail"
    plain = "https://www.example.com/contact?id=1"
    for values, referrer, utm, click in (
        ({"kehu_landing_page": landing}, plain, ("baidu", "", "spring"), "bd_vid=17"),
        ({"kehu_landing_page": landing}, page, ("baidu", "", "spring"), "bd_vid=17"),
        ({"kehu_landing_page": plain}, page, ("newsletter", "mail", ""), ""),
        ({"kehu_landing_page": landing, "utm_source": "own"}, page, ("own", "", "spring"), "bd_vid=17"),
    ):
        before = {lead.id for lead in await leads_of(suite, form)}
        await send(suite, form, {"full_name": "张三", "consent": "yes", **values}, referrer=referrer)
        (lead,) = [lead for lead in await leads_of(suite, form) if lead.id not in before]
        assert (lead.utm.source, lead.utm.medium, lead.utm.campaign) == utm
        assert (lead.click_id, lead.landing_page) == (click, values["kehu_landing_page"])


async def test_leads_of_a_form_come_from_where_it_says(suite: Any) -> None:
    lists = await suite.leads.ask(
        BOSS, "kehu.leads.v1.ValueListService/ListValueLists", value_lists_pb2.ListValueListsRequest(),
        value_lists_pb2.ListValueListsResponse,
    )  # fmt: skip
    own = value_lists_pb2.ListedValue(key="douyin", name_zh="抖音直播")
    changed = value_lists_pb2.UpdateValueListRequest()
    changed.value_list.id = lists.value_lists[0].id
    changed.value_list.values.extend([*lists.value_lists[0].values, own])
    method = "kehu.leads.v1.ValueListService/UpdateValueList"
    await suite.leads.ask(BOSS, method, changed, value_lists_pb2.ValueList)
    for said, key in (("抖音直播", "douyin"), ("gone by now", "WEB_FORM"), ("", "WEB_FORM")):
        form = await put_up(suite, lead_source_key=said)
        assert form.lead_source_key == said
        await send(suite, form)
        (lead,) = await leads_of(suite, form)
        assert lead.source_key == key, said


async def test_the_same_submission_makes_one_lead(suite: Any) -> None:
    form = await put_up(suite)
    values = {"full_name": "Once", "consent": "yes"}
    await asyncio.gather(*(send(suite, form, values, request_id="r1") for _ in range(4)))
    await send(suite, form, values, request_id="r1")
    other = {"full_name": "Someone else", "consent": "yes"}
    await refused(Code.ALREADY_EXISTS, "IDEMPOTENCY_KEY_REUSED", send(suite, form, other, request_id="r1"))
    assert [lead.name for lead in await leads_of(suite, form)] == ["Once"]
    # A form that was changed or closed since does not refuse the repeat of what it has taken.
    await verb(suite, "CloseWebForm", forms.CloseWebFormRequest(id=form.id))
    await send(suite, form, values, request_id="r1")
    await verb(suite, "ReopenWebForm", forms.ReopenWebFormRequest(id=form.id))

    # Without a request id: the same from one address is a repeat, from another it is somebody else.
    await asyncio.gather(*(send(suite, form, other, address="192.0.2.1") for _ in range(3)))
    await send(suite, form, other, address="192.0.2.2")
    assert len(await leads_of(suite, form)) == 3
    assert (await get(suite, form.id)).submission_count == 3


async def test_a_call_that_died_half_way_is_made_whole_by_the_leads_event(suite: Any) -> None:
    campaign = await campaign_of(suite, "Healed")
    form = await put_up(suite, campaign_id=campaign.id)
    itself = Principal(tenant_id=BOSS.tenant_id, tenant="acme", person_id=NOBODY, service="marketing")
    lead = lead_pb2.Lead(
        name="Half way", owner_id=str(BOSS.person_id), form_id=form.id, campaign_id=campaign.id,
        source=lead_pb2.LEAD_SOURCE_WEB_FORM,
    )  # fmt: skip
    request = lead_service_pb2.CaptureLeadRequest(
        lead=lead, lead_id=str(new_id()), request_id="died-after-this"
    )
    await suite.leads.ask(itself, "kehu.leads.v1.LeadService/CaptureLead", request, lead_pb2.Lead)

    async def whole() -> bool:
        asked = campaign_service_pb2.GetCampaignRequest(id=campaign.id)
        now = await suite.ask(BOSS, "CampaignService/GetCampaign", asked, campaign_pb2.Campaign)
        counted = (await get(suite, form.id)).submission_count
        return (counted, now.member_count, now.responded_count, now.lead_count) == (1, 1, 1, 1)

    await eventually(whole)


async def test_a_submission_whose_lead_is_heard_of_first_is_known_by_what_was_sent(suite: Any) -> None:
    form = await put_up(suite)
    told = Captured(new_id(), new_id(), UUID(form.id), None, "Heard first", datetime.now(UTC))
    for sent in (told, replace(told, digest=b"what was sent"), told, replace(told, digest=b"something else")):
        async with suite.marketing.running.database.transaction(BOSS) as tx:
            await note(tx, sent)
    kept = await suite.marketing.running.database.read(
        BOSS, "SELECT digest FROM form_submissions WHERE id = $1", told.submission_id
    )
    assert [row["digest"] for row in kept] == [b"what was sent"]
    assert (await get(suite, form.id)).submission_count == 1


async def test_while_leads_is_down_nothing_is_kept(alone: Harness) -> None:
    form = await alone.ask(
        BOSS,
        "kehu.marketing.v1.WebFormService/CreateWebForm",
        forms.CreateWebFormRequest(web_form=pb.WebForm(name="Down", fields=FIELDS)),
        pb.WebForm,
    )
    request = forms.SubmitWebFormRequest(
        public_key=form.public_key, values={"full_name": "张三", "consent": "yes"}, request_id="later"
    )
    problem = await refused(
        Code.UNAVAILABLE,
        "MODULE_UNAVAILABLE",
        alone.ask(
            None, "kehu.marketing.v1.WebFormService/SubmitWebForm", request, forms.SubmitWebFormResponse
        ),
    )
    assert problem.retry_after
    counts = await alone.running.database.read(
        BOSS,
        "SELECT (SELECT count(*) FROM form_submissions) AS submissions, (SELECT count(*) FROM outbox) AS events,"
        " (SELECT max(submission_count) FROM web_forms) AS counted",
    )
    assert tuple(counts[0]) == (0, 1, 0)


async def test_wrong_values_are_named(suite: Any) -> None:
    form = await put_up(suite)
    wrong = {"phone": "12", "mail": "nobody", "size": "huge", "wish": "x" * 1999}
    problem = await refused(Code.INVALID_ARGUMENT, "INVALID_FIELD", send(suite, form, wrong))
    assert {v.field for v in problem.violations} == {
        "values.full_name", "values.phone", "values.mail", "values.size", "values.consent",
    }  # fmt: skip
    assert all(": " in v.description for v in problem.violations)
    long = {"full_name": "n" * 201, "consent": "yes"}
    problem = await refused(Code.INVALID_ARGUMENT, "INVALID_FIELD", send(suite, form, long))
    assert [v.field for v in problem.violations] == ["values.full_name"]
    unnamed = await put_up(
        suite, fields=[pb.FormField(key="firm", label="Firm", kind=pb.FORM_FIELD_KIND_TEXT,
                                    lead_field=pb.LEAD_FIELD_COMPANY_NAME)],
    )  # fmt: skip
    problem = await refused(Code.INVALID_ARGUMENT, "INVALID_FIELD", send(suite, unnamed, {"firm": " "}))
    assert [v.field for v in problem.violations] == ["values.firm"]
    assert await leads_of(suite, form) == []


async def test_robots_floods_foreign_sites_and_closed_forms(suite: Any) -> None:
    form = await put_up(suite, allowed_origins=["https://www.Example.com"])
    good = {"origin": "https://www.example.com"}
    robot = await send(suite, form, kehu_website="https://spam.example", **good)
    assert robot.thank_you_text == "Thank you."
    for bad in ({"origin": "https://evil.example"}, {"origin": "null"}, {}):
        await refused(Code.PERMISSION_DENIED, "ORIGIN_NOT_ALLOWED", send(suite, form, **bad))
    await send(suite, form, referrer="https://www.example.com/contact")
    assert len(await leads_of(suite, form)) == 1

    closed = await verb(suite, "CloseWebForm", forms.CloseWebFormRequest(id=form.id))
    assert closed.status == pb.WEB_FORM_STATUS_CLOSED
    again = forms.CloseWebFormRequest(id=form.id, etag=closed.etag)
    assert await verb(suite, "CloseWebForm", again) == closed
    await refused(Code.FAILED_PRECONDITION, "FORM_CLOSED", send(suite, form, **good))
    await verb(suite, "ReopenWebForm", forms.ReopenWebFormRequest(id=form.id))
    flood = [send(suite, form, request_id=f"f{n}", address="198.51.100.7", **good) for n in range(10)]
    await asyncio.gather(*flood)
    problem = await refused(
        Code.RESOURCE_EXHAUSTED,
        "TOO_MANY_SUBMISSIONS",
        send(suite, form, request_id="f11", address="198.51.100.7", **good),
    )
    assert problem.retry_after and problem.retry_after > 1
    await suite.ask(BOSS, "WebFormService/DeleteWebForm", forms.DeleteWebFormRequest(id=form.id), Empty)
    await refused(Code.NOT_FOUND, "NOT_FOUND", send(suite, form, **good))
    unknown = pb.WebForm(public_key="x" * 32)
    await refused(Code.NOT_FOUND, "NOT_FOUND", send(suite, unknown))


async def test_many_addresses_of_one_network_are_one_and_a_form_has_a_budget(
    suite: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    form, other = await put_up(suite), await put_up(suite)
    spread = [
        send(suite, form, request_id=f"v6.{n}", address=f"2001:db8:7:7:{n:x}::{n + 1:x}") for n in range(10)
    ]
    await asyncio.gather(*spread)
    next_one = send(suite, form, request_id="v6.11", address="2001:db8:7:7:ffff::1")
    await refused(Code.RESOURCE_EXHAUSTED, "TOO_MANY_SUBMISSIONS", next_one)
    await send(suite, form, request_id="v6.12", address="2001:db8:7:8::1")
    monkeypatch.setattr(submissions, "_FORMS", Floods(5, "by this form"))
    for n in range(5):
        await send(suite, form, request_id=f"b{n}", address=f"203.0.113.{n}")
    await send(suite, form, request_id="b0", address="203.0.113.0")  # a repeat is none
    full = send(suite, form, request_id="b5", address="203.0.113.5")
    problem = await refused(Code.RESOURCE_EXHAUSTED, "TOO_MANY_SUBMISSIONS", full)
    assert "form" in problem.message
    await send(suite, other, request_id="b6", address="203.0.113.6")
    assert len(await leads_of(suite, form)) == 10 + 1 + 5


async def test_each_tenants_form_makes_that_tenants_lead(suite: Any) -> None:
    rival = somebody("rival")
    theirs = await put_up(suite, rival)
    await send(suite, theirs)
    assert len(await leads_of(suite, theirs, rival)) == 1
    assert await leads_of(suite, theirs) == []
    for who in (BOSS, somebody("acme", rights={"campaigns": Rights(Reach.OWN, Reach.OWN)})):
        unseen = verb(suite, "GetWebForm", forms.GetWebFormRequest(id=theirs.id), who)
        await refused(Code.NOT_FOUND, "NOT_FOUND", unseen)


async def test_forms_that_cannot_be(suite: Any) -> None:
    def text(key: str, **more: Any) -> pb.FormField:
        return pb.FormField(key=key, label=key, kind=pb.FORM_FIELD_KIND_TEXT, **more)

    name = text("n", lead_field=pb.LEAD_FIELD_NAME)
    await refused(Code.INVALID_ARGUMENT, "FORM_WITHOUT_NAME", put_up(suite, fields=[text("a")]))
    cases = [
        ([name, text("n")], "webForm.fields[1].key"),
        ([name, text("kehu_website")], "webForm.fields[1].key"),
        ([name, text("utm_source")], "webForm.fields[1].key"),
        ([name, text("x", lead_field=pb.LEAD_FIELD_NAME)], "webForm.fields[1].leadField"),
        ([name, text("x", lead_field=pb.LEAD_FIELD_PHONE)], "webForm.fields[1].leadField"),
        ([name, text("x", choices=["a"])], "webForm.fields[1].choices"),
        ([name, pb.FormField(key="c", label="c", kind=pb.FORM_FIELD_KIND_CHOICE)], "webForm.fields[1].choices"),
    ]  # fmt: skip
    for fields, field in cases:
        problem = await refused(Code.INVALID_ARGUMENT, "INVALID_FIELD", put_up(suite, fields=fields))
        assert [v.field for v in problem.violations] == [field]
    nowhere = put_up(suite, campaign_id=str(new_id()))
    problem = await refused(Code.INVALID_ARGUMENT, "CAMPAIGN_NOT_FOUND", nowhere)
    assert problem.violations[0].field == "webForm.campaignId"


async def test_forms_are_kept_like_other_records(suite: Any) -> None:
    campaign = await campaign_of(suite, "Kept")
    form = await put_up(suite, name="报名表", campaign_id=campaign.id)
    change = pb.WebForm(id=form.id, etag=form.etag, name="报名", fields=FIELDS[:1])
    update = forms.UpdateWebFormRequest(web_form=change, update_mask=FieldMask(paths=["name", "fields"]))
    changed = await verb(suite, "UpdateWebForm", update)
    assert (changed.name, len(changed.fields), changed.public_key) == ("报名", 1, form.public_key)
    await refused(Code.ABORTED, "ETAG_MISMATCH", verb(suite, "UpdateWebForm", update))
    found = await suite.ask(
        BOSS, "WebFormService/ListWebForms",
        forms.ListWebFormsRequest(filter=f'campaignId = "{campaign.id}"', query="bm", order_by="submissionCount desc"),
        forms.ListWebFormsResponse,
    )  # fmt: skip
    assert list(found.web_forms) == [changed]
    away = campaign_service_pb2.DeleteCampaignRequest(id=campaign.id)
    held = suite.ask(BOSS, "CampaignService/DeleteCampaign", away, Empty)
    await refused(Code.FAILED_PRECONDITION, "CAMPAIGN_HAS_OPEN_FORMS", held)
    await verb(suite, "CloseWebForm", forms.CloseWebFormRequest(id=form.id))
    await suite.ask(BOSS, "CampaignService/DeleteCampaign", away, Empty)
    reopen = forms.ReopenWebFormRequest(id=form.id)
    await refused(Code.FAILED_PRECONDITION, "CAMPAIGN_DELETED", verb(suite, "ReopenWebForm", reopen))
    other = somebody("acme")
    mine = forms.AssignWebFormRequest(id=form.id, owner_id=str(other.person_id))
    assert (await verb(suite, "AssignWebForm", mine, other)).owner_id == str(other.person_id)


class _Inputs(HTMLParser):
    """What a page with the form holds."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


async def test_the_snippet_is_plain_and_escaped(suite: Any) -> None:
    evil = '"><script>alert(1)</script>'
    fields = [
        *FIELDS,
        pb.FormField(key="evil", label=evil, kind=pb.FORM_FIELD_KIND_TEXT, placeholder=evil),
        pb.FormField(
            key="pick", label="Pick", kind=pb.FORM_FIELD_KIND_CHOICE, choices=[evil], placeholder=evil
        ),
    ]
    form = await put_up(suite, fields=fields, submit_label=evil)
    html = await suite.ask(
        BOSS,
        "WebFormService/GetWebFormSnippet",
        forms.GetWebFormSnippetRequest(id=form.id, gateway_url='https://crm.example.com/"x'),
        HttpBody,
    )
    assert html.content_type == "text/html; charset=utf-8"
    parsed = _Inputs()
    parsed.feed(html.data.decode())
    tags = {tag for tag, _ in parsed.tags}
    assert tags == {"form", "p", "label", "br", "input", "select", "option", "textarea", "button"}
    form_tag = parsed.tags[0][1]
    assert (form_tag["method"], form_tag["action"]) == (
        "post", f'https://crm.example.com/"x/v1/forms/{form.public_key}:submit',
    )  # fmt: skip
    named = {a["name"]: a for _, a in parsed.tags if a.get("name")}
    assert set(named) == {one.key for one in fields} | {"kehu_website"}
    assert named["evil"]["placeholder"] == evil and parsed.text.count(evil) == 4
    assert "required" in named["full_name"] and "required" not in named["phone"]
    assert named["mail"]["type"] == "email" and named["kehu_website"]["tabindex"] == "-1"
    # What the form asks is what it takes.
    await send(suite, form, {"full_name": "王", "consent": str(named["consent"]["value"])})
    assert len(await leads_of(suite, form)) == 1
