"""CampaignAudienceService, and the job that takes a segment."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from kehu.customers.v1 import segment_pb2, segment_service_pb2
from kehu.marketing.v1 import campaign_audience_pb2 as pb
from kehu.marketing.v1 import campaign_audience_service_pb2 as service_pb

from chassis.acting import actor
from chassis.database import Transaction
from chassis.errors import Code, Problem
from chassis.fields import Field, Kind
from chassis.giving_up import FAULT, failed_again, giving_up
from chassis.ids import parse_id
from chassis.listing import OWNER_FIELDS, RECORD_FIELDS, Listing
from chassis.rpc import Call, Face
from marketing import errors
from marketing.audience import (
    FAILED,
    STATES,
    CampaignAudience,
    begin_anew,
    end,
    running,
    take,
    take_page,
)
from marketing.campaign import usable_campaign
from marketing.rpc.candidates import UNSEEN, customer_candidates
from marketing.rpc.messages import AUDIENCE

face = Face("kehu.marketing.v1.CampaignAudienceService")
AUDIENCES = Listing(
    CampaignAudience,
    "campaigns",
    {
        **RECORD_FIELDS,
        **OWNER_FIELDS,
        "campaignId": Field("campaign_id", Kind.UUID),
        "segmentId": Field("segment_id", Kind.UUID),
        "state": Field("state", Kind.ENUM, values=STATES, prefix="AUDIENCE_STATE_"),
    },
)
_AT_ONCE = 500
"""Customers of a page: so many become members in one transaction."""
_PATIENCE = timedelta(minutes=15)
"""How long customers may be away before an audience is given up; the job is tried again for longer."""
_PASSING = (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.RESOURCE_EXHAUSTED, Code.ABORTED)


@face.read("GetCampaignAudience")
async def get_audience(request: service_pb.GetCampaignAudienceRequest, call: Call) -> pb.CampaignAudience:
    return AUDIENCE.message(await AUDIENCES.get(call, request.id))


@face.read("ListCampaignAudiences")
async def list_audiences(
    request: service_pb.ListCampaignAudiencesRequest, call: Call
) -> service_pb.ListCampaignAudiencesResponse:
    page = await AUDIENCES.page(call, request)
    return service_pb.ListCampaignAudiencesResponse(
        campaign_audiences=[AUDIENCE.message(row) for row in page.rows], next_page_token=page.next_page_token
    )


async def _segment(request: service_pb.CreateCampaignAudienceRequest, call: Call) -> segment_pb2.Segment:
    asked = request.campaign_audience.segment_id
    try:
        return await call.ask(
            "kehu.customers.v1.SegmentService/GetSegment", segment_service_pb2.GetSegmentRequest(id=asked),
            segment_pb2.Segment,
        )  # fmt: skip
    except Problem as problem:
        if problem.code in UNSEEN:
            raise errors.segment_not_found(asked) from None
        raise


@face.write("CreateCampaignAudience", prepare=_segment)
async def create(
    request: service_pb.CreateCampaignAudienceRequest, tx: Transaction, segment: segment_pb2.Segment
) -> pb.CampaignAudience:
    field = "campaignAudience.campaignId"
    campaign = await usable_campaign(tx, parse_id(request.campaign_audience.campaign_id, field), field)
    id = (
        parse_id(request.campaign_audience_id, "campaignAudienceId") if request.campaign_audience_id else None
    )
    audience = await take(tx, campaign, UUID(segment.id), segment.display_name, id)
    await tx.session.flush()
    return AUDIENCE.message(audience)


async def take_audience(payload: Mapping[str, Any], call: Call) -> None:
    """The job: page by page, until there is none. What passes by is tried again, and given up after a while; and so is a fault
    that comes at the same place again and again."""
    id = UUID(payload["id"])

    async def given_up(_: Exception) -> bool:
        async with call.database.transaction(call.who, origin="job") as tx:
            found = await running(tx, id)
            if found is None:
                return False
            done = found[1].added_count + found[1].existing_count
            if not failed_again(found[1], done):
                return False
            end(tx, found[1], FAILED, FAULT)
            return True

    async with giving_up(given_up, counts=lambda error: not _passes(error)):
        await _take_pages(id, call)


def _passes(error: Exception) -> bool:
    return isinstance(error, Problem) and error.code in _PASSING


async def _take_pages(id: UUID, call: Call) -> None:
    while True:
        async with call.database.transaction(call.who, origin="job") as tx:
            found = await running(tx, id)
            if found is None:
                return
            _, audience = found
            segment_id, token, since = str(audience.segment_id), audience.page_token, audience.updated_at
            asked = replace(call, who=actor(audience.asked_as, call.who).within(call.service), token="")
        try:
            candidates, following = await _page(asked, segment_id, token)
        except Problem as problem:
            if _passes(problem) and datetime.now(UTC) < since + _PATIENCE:
                raise
            anew = problem.reason == "PAGE_TOKEN_MISMATCH" and token != ""
            async with call.database.transaction(call.who, origin="job") as tx:
                found = await running(tx, id)
                if found is not None and anew:
                    begin_anew(found[1])
                elif found is not None:
                    end(tx, found[1], FAILED, problem.reason)
            continue
        async with call.database.transaction(call.who, origin="job") as tx:
            found = await running(tx, id)
            if found is not None and found[1].page_token == token:  # else another has taken this page
                await take_page(tx, *found, candidates, following)


async def _page(call: Call, segment_id: str, token: str) -> tuple[list[Any], str]:
    """A page of the segment's customers, and where the next one begins; as whoever asked may read them."""
    page = await call.ask(
        "kehu.customers.v1.SegmentService/ListSegmentCustomerIds",
        segment_service_pb2.ListSegmentCustomerIdsRequest(id=segment_id, page_size=_AT_ONCE, page_token=token),
        segment_service_pb2.ListSegmentCustomerIdsResponse, 15.0,
    )  # fmt: skip
    return await customer_candidates(call, page.customer_ids), page.next_page_token
