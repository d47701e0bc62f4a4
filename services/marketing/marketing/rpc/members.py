"""CampaignMemberService."""

from dataclasses import dataclass
from datetime import timedelta

from google.protobuf.empty_pb2 import Empty
from kehu.marketing.v1 import campaign_member_pb2 as pb
from kehu.marketing.v1 import campaign_member_service_pb2 as service_pb

from chassis.database import Transaction
from chassis.errors import Invalid
from chassis.fields import Field, Kind
from chassis.ids import parse_id
from chassis.listing import RECORD_FIELDS, Listing
from chassis.mapping import to_datetime
from chassis.rpc import Call, Face
from marketing import errors
from marketing.campaign import usable_campaign
from marketing.member import (
    STATUSES,
    CampaignMember,
    Candidate,
    MemberResponded,
    enlist,
    enlist_all,
    remove,
    told,
)
from marketing.rpc.campaigns import locked as locked_campaign
from marketing.rpc.candidates import check_contact, customer_candidates, lead_candidate, lead_candidates
from marketing.rpc.messages import MEMBER

face = Face("kehu.marketing.v1.CampaignMemberService")

MEMBERS = Listing(
    CampaignMember,
    "campaigns",
    {
        **RECORD_FIELDS,
        "campaignId": Field("campaign_id", Kind.UUID),
        "leadId": Field("lead_id", Kind.UUID, nullable=True),
        "customerId": Field("customer_id", Kind.UUID, nullable=True),
        "status": Field("status", Kind.ENUM, values=STATUSES, prefix="MEMBER_STATUS_"),
        "responseTime": Field("response_time", Kind.TIMESTAMP, sortable=True, nullable=True),
        "displayName": Field("display_name", Kind.TEXT, sortable=True),
    },
    search=True,
)
_SKEW = timedelta(minutes=1)


async def _locked(tx: Transaction, id: str, etag: str) -> CampaignMember:
    member = await tx.get(CampaignMember, parse_id(id, "id"), right="campaigns")
    tx.check_etag(member, etag)
    return member


async def _answer(tx: Transaction, member: CampaignMember) -> pb.CampaignMember:
    await tx.session.flush()
    return MEMBER.message(member)


@face.read("GetCampaignMember")
async def get_member(request: service_pb.GetCampaignMemberRequest, call: Call) -> pb.CampaignMember:
    return MEMBER.message(await MEMBERS.get(call, request.id))


@face.read("ListCampaignMembers")
async def list_members(
    request: service_pb.ListCampaignMembersRequest, call: Call
) -> service_pb.ListCampaignMembersResponse:
    page = await MEMBERS.page(call, request)
    return service_pb.ListCampaignMembersResponse(
        campaign_members=[MEMBER.message(row) for row in page.rows], next_page_token=page.next_page_token
    )


async def _candidate(request: service_pb.CreateCampaignMemberRequest, call: Call) -> Candidate:
    asked = request.campaign_member
    if bool(asked.lead_id) == bool(asked.customer_id):
        raise errors.MemberAmbiguous
    if asked.contact_id and not asked.customer_id:
        raise Invalid("campaignMember.contactId", "goes only with customerId")
    if asked.lead_id:
        lead = await lead_candidate(call, asked.lead_id)
        if lead is None:
            raise errors.lead_not_found(asked.lead_id)
        return lead
    if asked.contact_id:
        await check_contact(call, asked.contact_id, asked.customer_id)
    customers = await customer_candidates(call, [asked.customer_id], asked.contact_id)
    if not customers:
        raise errors.customer_not_found(asked.customer_id)
    return customers[0]


@face.write("CreateCampaignMember", prepare=_candidate)
async def create(
    request: service_pb.CreateCampaignMemberRequest, tx: Transaction, candidate: Candidate
) -> pb.CampaignMember:
    asked = request.campaign_member
    field = "campaignMember.campaignId"
    campaign = await usable_campaign(tx, parse_id(asked.campaign_id, field), field)
    id = parse_id(request.campaign_member_id, "campaignMemberId") if request.campaign_member_id else None
    return await _answer(tx, await enlist(tx, campaign, candidate, id=id, note=asked.note.strip()))


@dataclass(frozen=True, slots=True)
class _Found:
    candidates: list[Candidate]
    refused: list[str]


async def _candidates(request: service_pb.AddCampaignMembersRequest, call: Call) -> _Found:
    leads = await lead_candidates(call, request.lead_ids)
    customers = await customer_candidates(call, request.customer_ids)
    seen = {str(one.lead_id) for one in leads} | {str(one.customer_id) for one in customers}
    asked = [*request.lead_ids, *request.customer_ids]
    return _Found([*leads, *customers], [id for id in asked if id not in seen])


@face.write("AddCampaignMembers", prepare=_candidates)
async def add(
    request: service_pb.AddCampaignMembersRequest, tx: Transaction, found: _Found
) -> service_pb.AddCampaignMembersResponse:
    campaign = await locked_campaign(tx, request.id, request.etag)
    added = await enlist_all(tx, campaign, found.candidates)
    return service_pb.AddCampaignMembersResponse(
        added_count=added, existing_count=len(found.candidates) - added, refused_ids=found.refused
    )


@face.write("DeleteCampaignMember")
async def delete(request: service_pb.DeleteCampaignMemberRequest, tx: Transaction) -> Empty:
    remove(tx, await _locked(tx, request.id, request.etag))
    return Empty()


@face.write("RecordCampaignResponse")
async def record_response(
    request: service_pb.RecordCampaignResponseRequest, tx: Transaction
) -> pb.CampaignMember:
    member = await _locked(tx, request.id, request.etag)
    at = to_datetime(request.response_time) if request.HasField("response_time") else None
    if at is not None and at > tx.now + _SKEW:
        raise Invalid("responseTime", "is in the future")
    status = pb.MemberStatus.Name(request.status).removeprefix("MEMBER_STATUS_")
    member.respond(status, at, tx.now, request.note.strip())
    tx.record(MemberResponded(**told(member)), on=member)
    return await _answer(tx, member)
