"""Campaigns and their members over gRPC: statuses, money, rights, who belongs to them, and what becomes of that."""

import asyncio
import csv
import io
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from google.protobuf.empty_pb2 import Empty
from google.protobuf.field_mask_pb2 import FieldMask
from google.type.date_pb2 import Date
from google.type.money_pb2 import Money
from kehu.customers.v1 import (
    contact_pb2,
    contact_service_pb2,
    customer_pb2,
    customer_service_pb2,
    segment_pb2,
    segment_service_pb2,
)
from kehu.customfields.v1 import custom_fields_pb2 as fields
from kehu.exports.v1 import exports_pb2 as exports
from kehu.history.v1 import history_pb2
from kehu.leads.v1 import conversion_pb2, lead_pb2, lead_service_pb2
from kehu.marketing.v1 import campaign_audience_pb2 as audience_pb
from kehu.marketing.v1 import campaign_audience_service_pb2 as audiences
from kehu.marketing.v1 import campaign_member_pb2 as members_pb
from kehu.marketing.v1 import campaign_member_service_pb2 as members
from kehu.marketing.v1 import campaign_pb2 as pb
from kehu.marketing.v1 import campaign_service_pb2 as campaigns
from kehu.marketing.v1 import customer_facet_pb2 as facet

from chassis import giving_up
from chassis.errors import Code, Unavailable
from chassis.ids import new_id
from chassis.principal import Principal, Reach, Rights
from chassis.testing import NotesAndFiles, eventually, refused, somebody
from chassis.wire import from_dict, to_dict
from marketing.rpc import audiences as audiences_rpc

pytestmark = pytest.mark.asyncio(loop_scope="module")
BOSS = somebody("acme")


async def plan(
    suite: Any, name: str, who: Principal = BOSS, request_id: str = "", **fields: Any
) -> pb.Campaign:
    fields.setdefault("channel", pb.CAMPAIGN_CHANNEL_EMAIL)
    request = campaigns.CreateCampaignRequest(
        campaign=pb.Campaign(name=name, **fields), request_id=request_id
    )
    return await suite.ask(who, "CampaignService/CreateCampaign", request, pb.Campaign)


async def verb(suite: Any, name: str, request: Any, who: Principal = BOSS) -> pb.Campaign:
    return await suite.ask(who, f"CampaignService/{name}", request, pb.Campaign)


async def get(suite: Any, id: str, who: Principal = BOSS) -> pb.Campaign:
    return await verb(suite, "GetCampaign", campaigns.GetCampaignRequest(id=id), who)


async def found(suite: Any, who: Principal = BOSS, **asked: Any) -> list[str]:
    answer = await suite.ask(
        who,
        "CampaignService/ListCampaigns",
        campaigns.ListCampaignsRequest(**asked),
        campaigns.ListCampaignsResponse,
    )
    return [one.name for one in answer.campaigns]


async def join(suite: Any, who: Principal = BOSS, **fields: Any) -> members_pb.CampaignMember:
    request = members.CreateCampaignMemberRequest(campaign_member=members_pb.CampaignMember(**fields))
    return await suite.ask(
        who, "CampaignMemberService/CreateCampaignMember", request, members_pb.CampaignMember
    )


async def members_of(suite: Any, who: Principal = BOSS, **asked: Any) -> list[members_pb.CampaignMember]:
    answer = await suite.ask(
        who,
        "CampaignMemberService/ListCampaignMembers",
        members.ListCampaignMembersRequest(**asked),
        members.ListCampaignMembersResponse,
    )
    return list(answer.campaign_members)


async def test_a_campaign_goes_its_way(suite: Any) -> None:
    campaign = await plan(
        suite, "春季推广", budget=Money(currency_code="CNY", units=20_000), start_date=Date(year=2026, month=3, day=1),
        end_date=Date(year=2026, month=3, day=31), expected_response_percent=5,
    )  # fmt: skip
    assert (campaign.status, campaign.budget.units) == (pb.CAMPAIGN_STATUS_PLANNED, 20_000)
    early = campaigns.CompleteCampaignRequest(id=campaign.id)
    await refused(Code.FAILED_PRECONDITION, "CAMPAIGN_NOT_RUNNING", verb(suite, "CompleteCampaign", early))
    started = await verb(suite, "StartCampaign", campaigns.StartCampaignRequest(id=campaign.id))
    assert started.status == pb.CAMPAIGN_STATUS_RUNNING and started.HasField("start_time")
    again = campaigns.StartCampaignRequest(id=campaign.id)
    await refused(Code.FAILED_PRECONDITION, "CAMPAIGN_NOT_PLANNED", verb(suite, "StartCampaign", again))
    cost = Money(currency_code="CNY", units=18_000, nanos=500_000_000)
    done = await verb(
        suite, "CompleteCampaign", campaigns.CompleteCampaignRequest(id=campaign.id, actual_cost=cost)
    )
    assert (done.status, done.actual_cost) == (pb.CAMPAIGN_STATUS_COMPLETED, cost)
    cancel = campaigns.CancelCampaignRequest(id=campaign.id)
    await refused(Code.FAILED_PRECONDITION, "CAMPAIGN_ENDED", verb(suite, "CancelCampaign", cancel))
    other = await plan(suite, "Never")
    gone = await verb(suite, "CancelCampaign", campaigns.CancelCampaignRequest(id=other.id))
    assert gone.status == pb.CAMPAIGN_STATUS_CANCELLED and gone.HasField("end_time")

    rows = await suite.marketing.running.database.read(
        BOSS, "SELECT subject FROM outbox WHERE record_id = $1::uuid ORDER BY seq", campaign.id
    )
    assert [row["subject"].rpartition("campaign.")[2] for row in rows] == ["created", "started", "completed"]
    changes = await suite.ask(
        BOSS, "HistoryService/ListChanges",
        history_pb2.ListChangesRequest(record_type="campaign", record_id=campaign.id), history_pb2.ListChangesResponse,
    )  # fmt: skip
    assert [f.new_value for c in changes.changes for f in c.fields if f.field == "status"] == [
        "COMPLETED", "RUNNING",
    ]  # fmt: skip


async def test_costs_come_in_late_and_versions_are_checked(suite: Any) -> None:
    campaign = await plan(suite, "Late costs")
    change = pb.Campaign(id=campaign.id, etag=campaign.etag, actual_cost=Money(currency_code="CNY", units=7))
    update = campaigns.UpdateCampaignRequest(campaign=change, update_mask=FieldMask(paths=["actual_cost"]))
    assert (await verb(suite, "UpdateCampaign", update)).actual_cost.units == 7
    await refused(Code.ABORTED, "ETAG_MISMATCH", verb(suite, "UpdateCampaign", update))
    status = campaigns.UpdateCampaignRequest(
        campaign=pb.Campaign(id=campaign.id), update_mask=FieldMask(paths=["status"])
    )
    await refused(Code.INVALID_ARGUMENT, "FIELD_NOT_WRITABLE", verb(suite, "UpdateCampaign", status))


async def test_what_cannot_be(suite: Any) -> None:
    backwards: dict[str, Any] = {
        "start_date": Date(year=2026, month=3, day=2),
        "end_date": Date(year=2026, month=3, day=1),
    }
    problem = await refused(Code.INVALID_ARGUMENT, "END_BEFORE_START", plan(suite, "Back", **backwards))
    assert problem.violations[0].field == "campaign.endDate"
    unsaid = plan(suite, "No channel", channel=pb.CAMPAIGN_CHANNEL_UNSPECIFIED)
    problem = await refused(Code.INVALID_ARGUMENT, "INVALID_FIELD", unsaid)
    assert problem.violations[0].field == "campaign.channel"
    owing = plan(suite, "Minus", budget=Money(currency_code="CNY", units=-1))
    assert (await refused(Code.INVALID_ARGUMENT, "INVALID_FIELD", owing)).violations[
        0
    ].field == "campaign.budget"
    await plan(suite, "Keyed", external_key="ERP-1")
    await refused(Code.ALREADY_EXISTS, "EXTERNAL_KEY_TAKEN", plan(suite, "Keyed twice", external_key="ERP-1"))
    first = await plan(suite, "Once", request_id="once")
    assert await plan(suite, "Once", request_id="once") == first
    await refused(Code.ALREADY_EXISTS, "IDEMPOTENCY_KEY_REUSED", plan(suite, "Twice", request_id="once"))


async def test_lists_filter_and_find(suite: Any) -> None:
    await plan(suite, "深圳展会", channel=pb.CAMPAIGN_CHANNEL_CONFERENCE)
    assert await found(suite, query="szzh") == ["深圳展会"]
    assert await found(suite, filter="channel = CAMPAIGN_CHANNEL_CONFERENCE", order_by="name") == ["深圳展会"]
    await refused(Code.INVALID_ARGUMENT, "FILTER_INVALID", found(suite, filter="colour = 1"))


async def test_rights_teams_and_tenants(suite: Any) -> None:
    team = new_id()
    ann = somebody("acme", rights={"campaigns": Rights(Reach.TEAM, Reach.OWN)}, team=team)
    bob = somebody("acme", rights={"campaigns": Rights(Reach.TEAM, Reach.OWN)}, team=team)
    far = somebody("acme", rights={"campaigns": Rights(Reach.OWN, Reach.OWN)})
    none = somebody("acme", rights={"leads": Rights(Reach.ALL, Reach.ALL)})
    campaign = await plan(suite, "Of Ann", ann)
    assert (campaign.owner_id, campaign.team_id) == (str(ann.person_id), str(team))
    assert (await get(suite, campaign.id, bob)).name == "Of Ann"
    for who in (far, somebody("rival")):
        await refused(Code.NOT_FOUND, "NOT_FOUND", get(suite, campaign.id, who))
        assert await found(suite, who) == []
    await refused(Code.PERMISSION_DENIED, "RIGHT_MISSING", get(suite, campaign.id, none))
    start = campaigns.StartCampaignRequest(id=campaign.id)
    await refused(Code.PERMISSION_DENIED, "RECORD_READ_ONLY", verb(suite, "StartCampaign", start, bob))
    own = campaigns.AssignCampaignRequest(id=campaign.id, owner_id=str(ann.person_id))
    assert (await verb(suite, "AssignCampaign", own, ann)).etag == campaign.etag
    mine = campaigns.AssignCampaignRequest(id=campaign.id, owner_id=str(BOSS.person_id))
    assert (await verb(suite, "AssignCampaign", mine)).owner_id == str(BOSS.person_id)


async def test_leads_and_customers_become_members(suite: Any) -> None:
    campaign = await plan(suite, "Members")
    lead = await suite.lead(BOSS, name="王小明", company_name="Ming Ltd")
    customer = await suite.customer(BOSS, "上海宝钢")
    contact = await suite.customers.ask(
        BOSS, "kehu.customers.v1.ContactService/CreateContact",
        contact_service_pb2.CreateContactRequest(contact=contact_pb2.Contact(customer_id=customer.id, display_name="李")),
        contact_pb2.Contact,
    )  # fmt: skip
    member = await join(suite, campaign_id=campaign.id, lead_id=lead.id, note="met at the fair")
    assert (member.display_name, member.status) == ("王小明", members_pb.MEMBER_STATUS_PLANNED)
    assert member.owner_id == campaign.owner_id
    firm = await join(suite, campaign_id=campaign.id, customer_id=customer.id, contact_id=contact.id)
    assert (firm.display_name, firm.contact_id) == ("上海宝钢", contact.id)
    twice = join(suite, campaign_id=campaign.id, lead_id=lead.id)
    await refused(Code.ALREADY_EXISTS, "MEMBER_EXISTS", twice)
    both = join(suite, campaign_id=campaign.id, lead_id=lead.id, customer_id=customer.id)
    await refused(Code.INVALID_ARGUMENT, "MEMBER_AMBIGUOUS", both)
    nobody = join(suite, campaign_id=campaign.id, lead_id=str(new_id()))
    await refused(Code.INVALID_ARGUMENT, "LEAD_NOT_FOUND", nobody)
    nowhere = join(suite, campaign_id=str(new_id()), lead_id=lead.id)
    problem = await refused(Code.INVALID_ARGUMENT, "CAMPAIGN_NOT_FOUND", nowhere)
    assert problem.violations[0].field == "campaignMember.campaignId"
    other = await suite.customer(BOSS, "Another")
    wrong = join(suite, campaign_id=campaign.id, customer_id=other.id, contact_id=contact.id)
    await refused(Code.INVALID_ARGUMENT, "CONTACT_NOT_FOUND", wrong)

    answered = await suite.ask(
        BOSS,
        "CampaignMemberService/RecordCampaignResponse",
        members.RecordCampaignResponseRequest(id=firm.id, status=members_pb.MEMBER_STATUS_RESPONDED),
        members_pb.CampaignMember,
    )
    assert answered.HasField("response_time") and answered.etag != firm.etag
    now = await get(suite, campaign.id)
    assert (now.member_count, now.responded_count, now.etag) == (2, 1, campaign.etag)
    assert [m.id for m in await members_of(suite, filter=f'campaignId = "{campaign.id}"', query="wxm")] == [
        member.id
    ]
    status = f'campaignId = "{campaign.id}" AND status = MEMBER_STATUS_RESPONDED'
    assert [m.id for m in await members_of(suite, filter=status)] == [firm.id]
    blind = somebody("acme", rights={"campaigns": Rights(Reach.OWN, Reach.OWN)})
    assert await members_of(suite, blind) == []
    ask_one = members.GetCampaignMemberRequest(id=member.id)
    lone = suite.ask(blind, "CampaignMemberService/GetCampaignMember", ask_one, members_pb.CampaignMember)
    await refused(Code.NOT_FOUND, "NOT_FOUND", lone)

    facts = await suite.ask(
        BOSS, "CustomerFacetService/GetCustomerFacet", facet.GetCustomerFacetRequest(customer_id=customer.id),
        facet.CustomerFacet,
    )  # fmt: skip
    assert (facts.touch_count, facts.touches[0].campaign_name) == (1, "Members")
    assert facts.touches[0].status == members_pb.MEMBER_STATUS_RESPONDED
    unseen = await suite.ask(
        blind, "CustomerFacetService/GetCustomerFacet", facet.GetCustomerFacetRequest(customer_id=customer.id),
        facet.CustomerFacet,
    )  # fmt: skip
    assert unseen == facet.CustomerFacet()

    out = members.DeleteCampaignMemberRequest(id=firm.id, etag=firm.etag)
    await refused(
        Code.ABORTED,
        "ETAG_MISMATCH",
        suite.ask(BOSS, "CampaignMemberService/DeleteCampaignMember", out, Empty),
    )
    out.etag = answered.etag
    await suite.ask(BOSS, "CampaignMemberService/DeleteCampaignMember", out, Empty)
    assert (await get(suite, campaign.id)).member_count == 1
    again = await join(suite, campaign_id=campaign.id, customer_id=customer.id)
    assert again.id != firm.id


async def test_many_members_at_once(suite: Any) -> None:
    campaign = await plan(suite, "Many")
    leads = [await suite.lead(BOSS, name=f"Person {n}") for n in range(12)]
    customers = [await suite.customer(BOSS, f"Firm {n}") for n in range(3)]
    stranger, hidden = str(new_id()), await suite.lead(somebody("rival"), name="Rival")
    await join(suite, campaign_id=campaign.id, lead_id=leads[0].id)
    request = members.AddCampaignMembersRequest(
        id=campaign.id, lead_ids=[*(one.id for one in leads), stranger, hidden.id],
        customer_ids=[one.id for one in customers], request_id="many",
    )  # fmt: skip
    for _ in range(2):
        answer = await suite.ask(
            BOSS, "CampaignMemberService/AddCampaignMembers", request, members.AddCampaignMembersResponse
        )
        assert (answer.added_count, answer.existing_count) == (14, 1)
        assert set(answer.refused_ids) == {stranger, hidden.id}
    request.request_id = "once-more"
    answer = await suite.ask(
        BOSS, "CampaignMemberService/AddCampaignMembers", request, members.AddCampaignMembersResponse
    )
    assert (answer.added_count, answer.existing_count) == (0, 15)
    assert (await get(suite, campaign.id)).member_count == 15

    mine = somebody("acme")
    given = campaigns.AssignCampaignRequest(id=campaign.id, owner_id=str(mine.person_id))
    assert (await verb(suite, "AssignCampaign", given, mine)).owner_id == str(mine.person_id)
    page = await members_of(suite, filter=f'campaignId = "{campaign.id}"', page_size=20)
    assert {one.owner_id for one in page} == {str(mine.person_id)}

    await suite.ask(
        BOSS, "CampaignService/DeleteCampaign", campaigns.DeleteCampaignRequest(id=campaign.id), Empty
    )
    await refused(Code.NOT_FOUND, "NOT_FOUND", get(suite, campaign.id))
    assert await members_of(suite, filter=f'campaignId = "{campaign.id}"') == []


async def test_a_campaign_follows_its_leads(suite: Any) -> None:
    campaign = await plan(suite, "Followed")
    lead = await suite.lead(BOSS, name="赵六", company_name="北京新公司", campaign_id=campaign.id)
    lost = await suite.lead(BOSS, name="Lost", campaign_id=campaign.id)

    async def counts(leads: int, converted: int, members: int) -> bool:
        now = await get(suite, campaign.id)
        return (now.lead_count, now.converted_lead_count, now.member_count) == (leads, converted, members)

    # Who came by the campaign is its member, without anybody adding them.
    await eventually(lambda: counts(2, 0, 2))
    (member,) = await members_of(suite, filter=f'leadId = "{lead.id}"')
    await suite.leads.ask(
        BOSS, "kehu.leads.v1.LeadService/DeleteLead", lead_service_pb2.DeleteLeadRequest(id=lost.id), Empty
    )
    await eventually(lambda: counts(1, 0, 1))
    rename = lead_service_pb2.UpdateLeadRequest(
        lead=lead_pb2.Lead(id=lead.id, name="赵七"), update_mask=FieldMask(paths=["name"])
    )
    await suite.leads.ask(BOSS, "kehu.leads.v1.LeadService/UpdateLead", rename, lead_pb2.Lead)
    conversion = await suite.leads.ask(
        BOSS,
        "kehu.leads.v1.LeadService/ConvertLead",
        lead_service_pb2.ConvertLeadRequest(id=lead.id),
        conversion_pb2.Conversion,
    )
    assert conversion.state == conversion_pb2.CONVERSION_STATE_SUCCEEDED
    await eventually(lambda: counts(1, 1, 1))
    (now,) = await members_of(suite, filter=f'leadId = "{lead.id}"')
    assert (now.id, now.display_name) == (member.id, "赵七")
    assert (now.customer_id, now.contact_id) == (conversion.customer_id, conversion.contact_id)
    asked = facet.GetCustomerFacetRequest(customer_id=conversion.customer_id)
    facts = await suite.ask(BOSS, "CustomerFacetService/GetCustomerFacet", asked, facet.CustomerFacet)
    assert [touch.campaign_id for touch in facts.touches] == [campaign.id]
    known = join(suite, campaign_id=campaign.id, customer_id=conversion.customer_id)
    await refused(Code.ALREADY_EXISTS, "MEMBER_EXISTS", known)

    # Whoever was converted before comes with the customer.
    second = await plan(suite, "Second")
    late = await join(suite, campaign_id=second.id, lead_id=lead.id)
    assert late.customer_id == conversion.customer_id


async def test_members_follow_customers(suite: Any) -> None:
    campaign = await plan(suite, "Customers")
    customer = await suite.customer(BOSS, "Old name")
    await join(suite, campaign_id=campaign.id, customer_id=customer.id)
    rename = customer_service_pb2.UpdateCustomerRequest(
        customer=customer_pb2.Customer(id=customer.id, display_name="New name"),
        update_mask=FieldMask(paths=["display_name"]),
    )
    path = "kehu.customers.v1.CustomerService/"
    await suite.customers.ask(BOSS, path + "UpdateCustomer", rename, customer_pb2.Customer)
    mine = f'campaignId = "{campaign.id}"'

    async def renamed() -> bool:
        return [m.display_name for m in await members_of(suite, filter=mine, query="new")] == ["New name"]

    await eventually(renamed)
    await suite.customers.ask(
        BOSS, path + "DeleteCustomer", customer_service_pb2.DeleteCustomerRequest(id=customer.id), Empty
    )

    async def gone() -> bool:
        return not await members_of(suite, filter=mine)

    await eventually(gone)


class Segments:
    """Customers and segments of the customers service, and audiences made of them."""

    def __init__(self, suite: Any, who: Principal) -> None:
        self.suite, self.who = suite, who

    async def segment(self, filter: str, who: Principal | None = None) -> str:
        request = segment_service_pb2.CreateSegmentRequest(
            segment=segment_pb2.Segment(display_name=f"Segment {new_id()}", filter=filter)
        )
        return (await self._customers("CreateSegment", request, segment_pb2.Segment, who)).id

    async def rule(self, id: str, filter: str) -> None:
        request = segment_service_pb2.UpdateSegmentRequest(
            segment=segment_pb2.Segment(id=id, filter=filter), update_mask=FieldMask(paths=["filter"])
        )
        await self._customers("UpdateSegment", request, segment_pb2.Segment, None)

    async def drop(self, id: str) -> None:
        request = segment_service_pb2.DeleteSegmentRequest(id=id)
        await self._customers("DeleteSegment", request, Empty, None)

    async def _customers(self, name: str, request: Any, answer: Any, who: Principal | None) -> Any:
        return await self.suite.customers.ask(
            who or self.who, f"kehu.customers.v1.SegmentService/{name}", request, answer
        )

    async def take(
        self, campaign: str, segment: str, who: Principal | None = None, request_id: str = ""
    ) -> audience_pb.CampaignAudience:
        asked = audience_pb.CampaignAudience(campaign_id=campaign, segment_id=segment)
        request = audiences.CreateCampaignAudienceRequest(campaign_audience=asked, request_id=request_id)
        return await self._ask("CreateCampaignAudience", request, audience_pb.CampaignAudience, who)

    async def ended(self, id: str, who: Principal | None = None) -> audience_pb.CampaignAudience:
        """The audience, once it has ended."""
        seen: list[audience_pb.CampaignAudience] = []

        async def over() -> bool:
            request = audiences.GetCampaignAudienceRequest(id=id)
            seen.append(await self._ask("GetCampaignAudience", request, audience_pb.CampaignAudience, who))
            return seen[-1].state != audience_pb.AUDIENCE_STATE_RUNNING

        await eventually(over, 40)
        return seen[-1]

    async def _ask(self, name: str, request: Any, answer: Any, who: Principal | None) -> Any:
        return await self.suite.ask(who or self.who, f"CampaignAudienceService/{name}", request, answer)


async def test_a_campaign_takes_a_segment_as_its_audience(
    suite: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In pages, each once, within the rights of who asks, and again when a page has died."""
    monkeypatch.setattr(audiences_rpc, "_AT_ONCE", 2)
    boss = somebody("audience")
    own = Rights(Reach.OWN, Reach.OWN)
    seller = somebody("audience", rights={"customers": own, "campaigns": own})
    blind = somebody("audience", rights={"campaigns": own})
    desk = Segments(suite, boss)
    names = [f"Buyer {n}" for n in range(5)]
    made = [(await suite.customer(boss, name)).id for name in names]
    mine = (await suite.customer(seller, "Buyer of the seller's")).id
    await suite.customer(boss, "Somebody else")
    segment = await desk.segment("displayName:Buyer")
    campaign = await plan(suite, "To buyers", boss)
    await join(suite, boss, campaign_id=campaign.id, customer_id=made[0])

    whole, dies = audiences_rpc.take_page, iter([False, True, False, False, False])

    async def dying(*arguments: Any) -> None:
        await whole(*arguments)
        if next(dies):
            raise RuntimeError("killed before the commit")

    monkeypatch.setattr(audiences_rpc, "take_page", dying)
    taken = await desk.take(campaign.id, segment, request_id="once")
    assert (await desk.take(campaign.id, segment, request_id="once")).id == taken.id
    done = await desk.ended(taken.id)
    monkeypatch.setattr(audiences_rpc, "take_page", whole)
    assert (done.state, done.added_count, done.existing_count) == (audience_pb.AUDIENCE_STATE_DONE, 5, 1)
    assert done.segment_name.startswith("Segment ") and done.HasField("end_time")
    found = await members_of(suite, boss, filter=f'campaignId = "{campaign.id}"', page_size=100)
    assert sorted(one.customer_id for one in found) == sorted([*made, mine])
    # Who has come into the segment since comes when it is taken again, and nobody twice.
    late = (await suite.customer(boss, "Buyer too late")).id
    again = await desk.ended((await desk.take(campaign.id, segment)).id)
    assert (again.added_count, again.existing_count) == (1, 6)
    found = await members_of(suite, boss, filter=f'campaignId = "{campaign.id}"', page_size=100)
    assert sorted(one.customer_id for one in found) == sorted([*made, mine, late])
    told = "SELECT subject FROM outbox WHERE record_id = ANY($1::uuid[]) AND subject LIKE '%audience.ended'"
    rows = await suite.marketing.running.database.read(boss, told, [taken.id, again.id])
    assert len(rows) == 2

    # Within the rights of who asks, in the background, too.
    own_campaign = await plan(suite, "The seller's", seller)
    own_segment = await desk.segment("displayName:Buyer", seller)
    done = await desk.ended((await desk.take(own_campaign.id, own_segment, seller)).id, seller)
    assert (done.added_count, done.existing_count) == (1, 0)
    (one,) = await members_of(suite, seller, filter=f'campaignId = "{own_campaign.id}"')
    assert one.customer_id == mine
    # A service that keeps to somebody's rights has no others.
    asked = segment_service_pb2.GetSegmentRequest(id=segment)
    method = "kehu.customers.v1.SegmentService/GetSegment"
    for who, code, reason in (
        (seller, Code.NOT_FOUND, "NOT_FOUND"), (blind, Code.PERMISSION_DENIED, "RIGHT_MISSING"),
    ):  # fmt: skip
        call = suite.customers.ask(who.within("marketing"), method, asked, segment_pb2.Segment)
        await refused(code, reason, call)
    for who in (boss.within("marketing"), blind.acting_as("marketing")):
        assert (await suite.customers.ask(who, method, asked, segment_pb2.Segment)).id == segment
    # What is refused.
    blind_campaign = await plan(suite, "Blind", blind)
    stranger = somebody("audience-elsewhere")
    elsewhere = await plan(suite, "Elsewhere", stranger)
    for who, of, by in (
        (seller, own_campaign, segment),
        (blind, blind_campaign, segment),
        (stranger, elsewhere, segment),
    ):
        problem = await refused(Code.INVALID_ARGUMENT, "SEGMENT_NOT_FOUND", desk.take(of.id, by, who))
        assert problem.violations[0].field == "campaignAudience.segmentId"
    for of in (campaign.id, str(new_id())):
        await refused(Code.INVALID_ARGUMENT, "CAMPAIGN_NOT_FOUND", desk.take(of, own_segment, seller))
    for who in (seller, stranger):
        request = audiences.GetCampaignAudienceRequest(id=taken.id)
        await refused(
            Code.NOT_FOUND, "NOT_FOUND",
            suite.ask(who, "CampaignAudienceService/GetCampaignAudience", request, audience_pb.CampaignAudience),
        )  # fmt: skip
    request = audiences.ListCampaignAudiencesRequest(filter=f'campaignId = "{campaign.id}" AND state = DONE')
    listed = await suite.ask(
        boss,
        "CampaignAudienceService/ListCampaignAudiences",
        request,
        audiences.ListCampaignAudiencesResponse,
    )
    assert [one.id for one in listed.campaign_audiences] == [again.id, taken.id]


async def test_an_audience_bears_what_becomes_of_its_segment(
    suite: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audiences_rpc, "_AT_ONCE", 1)
    boss = somebody("segment-changes")
    desk = Segments(suite, boss)
    made = [(await suite.customer(boss, f"Guest {n}")).id for n in range(3)]
    segment = await desk.segment("displayName:Guest")
    campaign = await plan(suite, "To guests", boss)
    whole, pages = audiences_rpc.take_page, 0

    async def changing(*arguments: Any) -> None:
        nonlocal pages
        await whole(*arguments)
        pages += 1
        if pages == 1:
            await desk.rule(segment, 'displayName != "Guest 0"')

    monkeypatch.setattr(audiences_rpc, "take_page", changing)
    done = await desk.ended((await desk.take(campaign.id, segment)).id)
    monkeypatch.setattr(audiences_rpc, "take_page", whole)
    # The first page was taken twice, of one rule and of the other.
    assert (done.state, done.added_count, done.existing_count) == (audience_pb.AUDIENCE_STATE_DONE, 2, 1)
    found = await members_of(suite, boss, filter=f'campaignId = "{campaign.id}"')
    assert sorted(one.customer_id for one in found) == sorted(made[1:])

    # A segment that is gone when its turn comes.
    read = vars(audiences_rpc)["_page"]
    asked, may = asyncio.Event(), asyncio.Event()

    async def waiting(*arguments: Any) -> Any:
        asked.set()
        await may.wait()
        return await read(*arguments)

    monkeypatch.setattr(audiences_rpc, "_page", waiting)
    taken = await desk.take(campaign.id, segment)
    await asked.wait()
    await desk.drop(segment)
    may.set()
    failed = await desk.ended(taken.id)
    assert (failed.state, failed.problem) == (audience_pb.AUDIENCE_STATE_FAILED, "NOT_FOUND")

    # Customers may be away for a while, and not for ever.
    segment, calls = await desk.segment("displayName:Guest"), 0

    async def away(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise Unavailable("customers is away", reason="MODULE_UNAVAILABLE")
        return await read(*arguments)

    monkeypatch.setattr(audiences_rpc, "_page", away)
    done = await desk.ended((await desk.take(campaign.id, segment)).id)
    assert (done.state, done.added_count, done.existing_count) == (audience_pb.AUDIENCE_STATE_DONE, 1, 2)
    calls = 0
    monkeypatch.setattr(audiences_rpc, "_PATIENCE", timedelta(0))
    failed = await desk.ended((await desk.take(campaign.id, segment)).id)
    assert (failed.state, failed.problem) == (audience_pb.AUDIENCE_STATE_FAILED, "MODULE_UNAVAILABLE")

    # With its campaign an audience goes, and its job ends without it.
    other = await plan(suite, "To nobody", boss)
    asked, may = asyncio.Event(), asyncio.Event()
    monkeypatch.setattr(audiences_rpc, "_page", waiting)
    taken = await desk.take(other.id, segment)
    await asked.wait()
    drop = campaigns.DeleteCampaignRequest(id=other.id)
    await suite.ask(boss, "CampaignService/DeleteCampaign", drop, Empty)
    may.set()
    database = suite.marketing.running.database

    async def over() -> bool:
        return not await database.read(boss, "SELECT FROM jobs WHERE key = $1", str(taken.id))

    await eventually(over)
    request = audiences.GetCampaignAudienceRequest(id=taken.id)
    await refused(
        Code.NOT_FOUND, "NOT_FOUND",
        suite.ask(boss, "CampaignAudienceService/GetCampaignAudience", request, audience_pb.CampaignAudience),
    )  # fmt: skip
    told = "SELECT FROM outbox WHERE record_id = $1 AND subject LIKE '%audience.ended'"
    assert not await database.read(boss, told, UUID(taken.id))
    assert not await members_of(suite, boss, filter=f'campaignId = "{other.id}"')
    monkeypatch.undo()

    # A fault that stays is given up, and the job is done.
    async def broken(*arguments: Any) -> None:
        raise RuntimeError("a fault of the service")

    monkeypatch.setattr(audiences_rpc, "take_page", broken)
    monkeypatch.setattr(giving_up, "MOST_FAILURES", 2)  # each time is waited for longer
    failed = await desk.ended((await desk.take(campaign.id, segment)).id)
    assert (failed.state, failed.problem) == (audience_pb.AUDIENCE_STATE_FAILED, "INTERNAL")


async def test_campaigns_and_members_go_out_as_files(suite: Any) -> None:
    boss = somebody("marketing-exports")
    campaign = await plan(suite, "展会", boss, budget=Money(currency_code="CNY", units=2_000))
    customer = await suite.customer(boss, "=华为")
    await join(suite, boss, campaign_id=campaign.id, customer_id=customer.id)

    async def rows(kind: str, who: Principal = boss, **asked: Any) -> list[list[str]]:
        request = exports.CreateExportRequest(
            record_type=kind, format=exports.EXPORT_FORMAT_CSV, language_code="zh", **asked
        )
        method = "kehu.marketing.v1.ExportService/CreateExport"
        parts = await suite.marketing.parts(who, method, request, exports.ExportPart)
        text = b"".join(part.content for part in parts).decode("utf-8-sig")
        return list(csv.reader(io.StringIO(text, newline="")))

    columns = ["name", "channel", "status", "budget", "memberCount", "leadCount"]
    assert await rows("campaign", columns=columns) == [
        ["名称", "渠道", "状态", "预算", "预算 (币种)", "成员数", "线索数"],
        ["展会", "邮件", "计划中", "2000.00", "CNY", "1", "0"],
    ]
    of_it = f'campaignId = "{campaign.id}"'
    assert (await rows("campaign_member", columns=["displayName", "campaign", "status"], filter=of_it))[
        1:
    ] == [["'=华为", "展会", "计划"]]
    assert len(await rows("web_form", columns=["name"])) == 1
    nosy = somebody("marketing-exports", rights={
        "campaigns": Rights(Reach.ALL), "exports": Rights(Reach.ALL, Reach.OWN),
    })  # fmt: skip
    for who in (nosy, somebody("marketing-exports-elsewhere")):
        assert len(await rows("campaign", who, columns=columns)) == 1
        assert len(await rows("campaign_member", who, columns=["displayName"])) == 1


async def test_campaigns_have_fields_of_the_companys_own(suite: Any) -> None:
    boss, elsewhere = somebody("own-fields"), somebody("own-fields-elsewhere")

    async def field(who: Principal = boss, **said: Any) -> fields.CustomField:
        custom = from_dict(fields.CustomField, {"recordType": "campaign", "labelEn": said["key"], **said})
        request = fields.CreateCustomFieldRequest(custom_field=custom)
        return await suite.ask(who, "CustomFieldService/CreateCustomField", request, fields.CustomField)

    def own(**custom: Any) -> dict[str, Any]:
        return {"custom_fields": from_dict(pb.Campaign, {"customFields": custom}).custom_fields}

    async def wrong(who: Principal = boss, **custom: Any) -> set[str]:
        refusal = await refused(
            Code.INVALID_ARGUMENT, "INVALID_FIELD", plan(suite, "No", who, **own(**custom))
        )
        return {violation.field.removeprefix("customFields.") for violation in refusal.violations}

    agency: dict[str, Any] = {"key": "agency", "kind": "CUSTOM_FIELD_KIND_TEXT", "filterable": True}
    clerk = somebody("own-fields", rights={"campaigns": Rights(Reach.ALL, Reach.ALL)})
    await refused(Code.PERMISSION_DENIED, "RIGHT_MISSING", field(clerk, **agency))
    made = await field(**agency)
    await field(key="hall", kind="CUSTOM_FIELD_KIND_NUMBER", required=True)
    await field(key="sponsor", kind="CUSTOM_FIELD_KIND_REFERENCE", referenceType="customer")
    customer, theirs = await suite.customer(boss, "Sponsor"), await suite.customer(elsewhere, "Theirs")
    fair = await plan(suite, "Fair", boss, **own(agency="Ogilvy", hall=7, sponsor=customer.id))
    assert await wrong(agency=7, hall="big", stand="A") == {"agency", "hall", "stand"}
    assert await wrong(sponsor=theirs.id) == {"sponsor", "hall"}
    assert await wrong(elsewhere, agency="Ogilvy") == {"agency"}
    assert await found(
        suite, boss, filter="customFields.agency = Ogilvy", order_by="customFields.agency"
    ) == ["Fair"]
    request = campaigns.UpdateCampaignRequest(
        campaign=pb.Campaign(id=fair.id, **own(agency="BBDO")),
        update_mask=FieldMask(paths=["custom_fields.agency"]),
    )
    changed = await verb(suite, "UpdateCampaign", request, boss)
    kept = {"agency": "BBDO", "hall": "7", "sponsor": customer.id}
    assert {key: to_dict(value) for key, value in changed.custom_fields.items()} == kept
    rows = await suite.marketing.running.database.read(
        boss,
        "SELECT convert_from(data, 'UTF8')::jsonb AS data FROM outbox WHERE record_id = $1 ORDER BY seq DESC LIMIT 1",
        UUID(fair.id),
    )
    assert rows[0]["data"]["changedFields"] == ["customFields.agency"]
    assert rows[0]["data"]["campaign"]["customFields"] == kept
    export = exports.CreateExportRequest(
        record_type="campaign", format=exports.EXPORT_FORMAT_CSV, language_code="en", columns=["name", "customFields.agency"],
    )  # fmt: skip
    method = "kehu.marketing.v1.ExportService/CreateExport"
    parts = await suite.marketing.parts(boss, method, export, exports.ExportPart)
    text = b"".join(part.content for part in parts).decode("utf-8-sig")
    assert text.split() == ["Name,agency", "Fair,BBDO"]
    changes = await suite.ask(
        boss, "HistoryService/ListChanges",
        history_pb2.ListChangesRequest(record_type="campaign", record_id=fair.id), history_pb2.ListChangesResponse,
    )  # fmt: skip
    assert [f.field for f in changes.changes[0].fields] == ["customFields.agency"]
    gone = from_dict(fields.CustomField, {"id": made.id, "archived": True})
    archive = fields.UpdateCustomFieldRequest(custom_field=gone)
    await suite.ask(boss, "CustomFieldService/UpdateCustomField", archive, fields.CustomField)
    assert await wrong(agency="Ogilvy", hall=1) == {"agency"}


async def test_notes_and_files_follow_their_campaign(suite: Any) -> None:
    boss, papers = somebody("papers"), NotesAndFiles(suite.marketing, "kehu.marketing.v1")
    campaign = await plan(suite, "Fair", boss)
    await papers.put(boss, "campaign", campaign.id, "floor plan")
    reader = somebody("papers", rights={"campaigns": Rights(Reach.ALL, Reach.OWN)})
    assert await papers.on(reader, "campaign", campaign.id) == ["floor plan"]
    denied = papers.put(reader, "campaign", campaign.id, "no")
    await refused(Code.PERMISSION_DENIED, "RECORD_READ_ONLY", denied)
    own = somebody("papers", rights={"campaigns": Rights(Reach.OWN, Reach.OWN)})
    for who in (own, somebody("papers-elsewhere")):
        await refused(Code.NOT_FOUND, "NOT_FOUND", papers.on(who, "campaign", campaign.id))
        await refused(Code.NOT_FOUND, "NOT_FOUND", papers.put(who, "campaign", campaign.id, "no"))
    without = somebody("papers", rights={"leads": Rights(Reach.ALL, Reach.ALL)})
    await refused(Code.PERMISSION_DENIED, "RIGHT_MISSING", papers.on(without, "campaign", campaign.id))
    rows = await suite.marketing.running.database.read(
        boss,
        "SELECT split_part(subject, '.marketing.', 2) AS told FROM outbox"
        " WHERE convert_from(data, 'UTF8')::jsonb ->> 'recordId' = $1 ORDER BY seq",
        campaign.id,
    )
    assert [row["told"] for row in rows] == ["note.created", "attachment.created"]
    await suite.ask(
        boss, "CampaignService/DeleteCampaign", campaigns.DeleteCampaignRequest(id=campaign.id), Empty
    )
    assert await papers.rows(boss) == 0
    await eventually(lambda: papers.kept(boss) == [])
