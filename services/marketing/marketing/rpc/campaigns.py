"""CampaignService."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from google.protobuf.empty_pb2 import Empty
from kehu.marketing.v1 import campaign_pb2 as pb
from kehu.marketing.v1 import campaign_service_pb2 as service_pb

from chassis.database import Transaction
from chassis.fields import Field, Kind
from chassis.ids import parse_id
from chassis.listing import OWNER_FIELDS, RECORD_FIELDS, Listing
from chassis.mapping import to_value
from chassis.owners import Owner, owner_for
from chassis.rpc import Call, Face
from marketing.attribution import NONE, RESULTS, Results, results_of
from marketing.campaign import (
    CHANNELS,
    STATUSES,
    Campaign,
    CampaignCancelled,
    CampaignCompleted,
    CampaignStarted,
    assign_campaign,
    change_campaign,
    drop_campaign,
    plan_campaign,
    told,
)
from marketing.custom_fields import CUSTOM_FIELDS
from marketing.rpc.messages import CAMPAIGN, campaign_message

face = Face("kehu.marketing.v1.CampaignService", custom_fields=CUSTOM_FIELDS)

CAMPAIGNS = Listing(
    Campaign,
    "campaigns",
    {
        **RECORD_FIELDS,
        **OWNER_FIELDS,
        "name": Field("name", Kind.TEXT, sortable=True),
        "channel": Field("channel", Kind.ENUM, values=CHANNELS, prefix="CAMPAIGN_CHANNEL_"),
        "status": Field("status", Kind.ENUM, values=STATUSES, prefix="CAMPAIGN_STATUS_"),
        "startDate": Field("start_date", Kind.DATE, sortable=True, nullable=True),
        "endDate": Field("end_date", Kind.DATE, sortable=True, nullable=True),
        "externalKey": Field("external_key", Kind.TEXT),
    },
    search=True,
    custom_fields=True,
)
_RESULTS = RESULTS.replace("{ids}", "$1::uuid[]")


async def results_by_id(call: Call, rows: Sequence[Any]) -> dict[UUID, Results]:
    """What became of these campaigns; one of which nothing became is not among them."""
    if not rows:
        return {}
    found = await call.database.read(call.who, _RESULTS, [row["id"] for row in rows])
    return {
        row["campaign_id"]: Results(row["members"], row["responded"], row["leads"], row["converted"])
        for row in found
    }


async def _messages(call: Call, rows: list[Any]) -> list[pb.Campaign]:
    results = await results_by_id(call, rows)
    return [campaign_message(row, results.get(row["id"], NONE)) for row in rows]


async def locked(tx: Transaction, id: str, etag: str, field: str = "id") -> Campaign:
    """The campaign, locked, if the caller may change it and has read its present version."""
    campaign = await tx.get(Campaign, parse_id(id, field), right="campaigns")
    tx.check_etag(campaign, etag)
    return campaign


async def _answer(tx: Transaction, campaign: Campaign) -> pb.Campaign:
    await tx.session.flush()
    return campaign_message(campaign, await results_of(tx, campaign.id))


@face.read("GetCampaign")
async def get_campaign(request: service_pb.GetCampaignRequest, call: Call) -> pb.Campaign:
    return (await _messages(call, [await CAMPAIGNS.get(call, request.id)]))[0]


@face.read("ListCampaigns")
async def list_campaigns(
    request: service_pb.ListCampaignsRequest, call: Call
) -> service_pb.ListCampaignsResponse:
    page = await CAMPAIGNS.page(call, request)
    return service_pb.ListCampaignsResponse(
        campaigns=await _messages(call, page.rows), next_page_token=page.next_page_token
    )


async def _owner_of_new(request: service_pb.CreateCampaignRequest, call: Call) -> Owner:
    return await owner_for(call, request.campaign.owner_id, "campaigns", "campaign.ownerId")


@face.write("CreateCampaign", prepare=_owner_of_new)
async def create(request: service_pb.CreateCampaignRequest, tx: Transaction, owner: Owner) -> pb.Campaign:
    id = parse_id(request.campaign_id, "campaignId") if request.campaign_id else None
    return await _answer(tx, await plan_campaign(tx, CAMPAIGN.values(request.campaign), owner, id))


@face.write("UpdateCampaign")
async def update(request: service_pb.UpdateCampaignRequest, tx: Transaction) -> pb.Campaign:
    campaign = await locked(tx, request.campaign.id, request.campaign.etag, "campaign.id")
    await change_campaign(tx, campaign, CAMPAIGN.values(request.campaign, request.update_mask))
    return await _answer(tx, campaign)


@face.write("DeleteCampaign")
async def delete(request: service_pb.DeleteCampaignRequest, tx: Transaction) -> Empty:
    await drop_campaign(tx, await locked(tx, request.id, request.etag))
    return Empty()


async def _new_owner(request: service_pb.AssignCampaignRequest, call: Call) -> Owner:
    return await owner_for(call, request.owner_id, "campaigns", "ownerId")


@face.write("AssignCampaign", prepare=_new_owner)
async def assign(request: service_pb.AssignCampaignRequest, tx: Transaction, owner: Owner) -> pb.Campaign:
    campaign = await locked(tx, request.id, request.etag)
    await assign_campaign(tx, campaign, owner)
    return await _answer(tx, campaign)


@face.write("StartCampaign")
async def start(request: service_pb.StartCampaignRequest, tx: Transaction) -> pb.Campaign:
    campaign = await locked(tx, request.id, request.etag)
    campaign.start(tx.now)
    tx.record(CampaignStarted(**told(campaign)), on=campaign)
    return await _answer(tx, campaign)


@face.write("CompleteCampaign")
async def complete(request: service_pb.CompleteCampaignRequest, tx: Transaction) -> pb.Campaign:
    campaign = await locked(tx, request.id, request.etag)
    cost = to_value(request.actual_cost, "actualCost") if request.HasField("actual_cost") else None
    campaign.complete(tx.now, cost)
    tx.record(CampaignCompleted(**told(campaign)), on=campaign)
    return await _answer(tx, campaign)


@face.write("CancelCampaign")
async def cancel(request: service_pb.CancelCampaignRequest, tx: Transaction) -> pb.Campaign:
    campaign = await locked(tx, request.id, request.etag)
    campaign.cancel(tx.now)
    tx.record(CampaignCancelled(**told(campaign)), on=campaign)
    return await _answer(tx, campaign)
