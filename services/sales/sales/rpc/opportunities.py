"""OpportunityService."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID

from google.protobuf.empty_pb2 import Empty
from kehu.sales.v1 import opportunity_pb2 as pb
from kehu.sales.v1 import opportunity_service_pb2 as service_pb

from chassis.database import Transaction
from chassis.errors import Invalid, NotFound
from chassis.fields import Field, Kind
from chassis.ids import parse_id
from chassis.listing import OWNER_FIELDS, RECORD_FIELDS, Listing
from chassis.mapping import to_date, to_money, to_value
from chassis.money import Money
from chassis.owners import Owner, owner_for
from chassis.principal import Act
from chassis.rpc import Call, Face
from chassis.visibility import visible_text
from sales import opportunity as use
from sales.competition import (
    LINK,
    NAME_OF_ONE,
    WIN_LOSS,
    WIN_LOSS_OF_ONE,
    Known,
    WinLoss,
    check_period,
    names_of,
    win_loss,
)
from sales.custom_fields import CUSTOM_FIELDS
from sales.opportunity import REASONS, STATUSES, Opportunity
from sales.rpc.messages import OPPORTUNITY, competitor_names, opportunity_message
from sales.rpc.peers import competitors_known, customer_name

face = Face("kehu.sales.v1.OpportunityService", custom_fields=CUSTOM_FIELDS)
RIGHT = "opportunities"
OPPORTUNITIES = Listing(
    Opportunity,
    RIGHT,
    {
        **RECORD_FIELDS,
        **OWNER_FIELDS,
        "name": Field("name", Kind.TEXT, sortable=True),
        "status": Field("status", Kind.ENUM, values=STATUSES, prefix="OPPORTUNITY_STATUS_"),
        "stageId": Field("stage_id", Kind.UUID),
        "customerId": Field("customer_id", Kind.UUID),
        "contactId": Field("contact_id", Kind.UUID, nullable=True),
        "productId": Field("product_id", Kind.UUID, nullable=True),
        "campaignId": Field("campaign_id", Kind.UUID, nullable=True),
        "originLeadId": Field("origin_lead_id", Kind.UUID, nullable=True),
        "externalKey": Field("external_key", Kind.TEXT),
        "amount": Field(
            "amount", Kind.MONEY, sortable=True, nullable=True, currency_column="amount_currency"
        ),
        "probability": Field("probability", Kind.INTEGER, sortable=True),
        "engageDate": Field("engage_date", Kind.DATE, sortable=True, nullable=True),
        "expectedCloseDate": Field("expected_close_date", Kind.DATE, sortable=True, nullable=True),
        "closeDate": Field("close_date", Kind.DATE, sortable=True, nullable=True),
        "lossReason": Field("loss_reason", Kind.ENUM, values=REASONS, prefix="LOSS_REASON_"),
        "competitorIds": Field("competitor_ids", Kind.UUIDS, linked=LINK),
        "lostToCompetitorId": Field("lost_to_competitor_id", Kind.UUID, nullable=True),
    },
    search=True,
    custom_fields=True,
)


@dataclass(frozen=True, slots=True)
class _Outside:
    """What other services know of a new opportunity."""

    owner: Owner
    customer_name: str
    competitors: Known


@dataclass(frozen=True, slots=True)
class _Named:
    """What other services know of what a change names."""

    customer_name: str | None
    competitors: Known


async def _opportunity(tx: Transaction, id: str, etag: str, field: str = "id") -> Opportunity:
    opportunity = await tx.get(Opportunity, parse_id(id, field), right=RIGHT)
    tx.check_etag(opportunity, etag)
    return opportunity


async def _answer(tx: Transaction, opportunity: Opportunity) -> pb.Opportunity:
    await tx.session.flush()
    return opportunity_message(opportunity, await names_of(tx, opportunity.competitor_ids))


@face.read("GetOpportunity")
async def get_opportunity(request: service_pb.GetOpportunityRequest, call: Call) -> pb.Opportunity:
    row = await OPPORTUNITIES.get(call, request.id)
    return opportunity_message(row, await competitor_names(call, [row]))


@face.read("ListOpportunities")
async def list_opportunities(
    request: service_pb.ListOpportunitiesRequest, call: Call
) -> service_pb.ListOpportunitiesResponse:
    page = await OPPORTUNITIES.page(call, request)
    names = await competitor_names(call, page.rows)
    return service_pb.ListOpportunitiesResponse(
        opportunities=[opportunity_message(row, names) for row in page.rows],
        next_page_token=page.next_page_token,
    )


async def _outside(request: service_pb.CreateOpportunityRequest, call: Call) -> _Outside:
    owner = await owner_for(call, request.opportunity.owner_id, RIGHT, "opportunity.ownerId")
    id = parse_id(request.opportunity.customer_id, "opportunity.customerId")
    name = await customer_name(call, id, "opportunity.customerId")
    return _Outside(owner, name, await competitors_known(call, request.opportunity.competitor_ids))


@face.write("CreateOpportunity", prepare=_outside)
async def create(
    request: service_pb.CreateOpportunityRequest, tx: Transaction, outside: _Outside
) -> pb.Opportunity:
    values = OPPORTUNITY.values(request.opportunity)
    id = parse_id(request.opportunity_id, "opportunityId") if request.opportunity_id else None
    made = await use.create_opportunity(
        tx, values, outside.customer_name, outside.owner, id, outside.competitors
    )
    return await _answer(tx, made)


async def _named(request: service_pb.UpdateOpportunityRequest, call: Call) -> _Named:
    field, asked = "opportunity.customerId", request.opportunity
    name = await customer_name(call, parse_id(asked.customer_id, field), field) if asked.customer_id else None
    wanted = OPPORTUNITY.values(asked, request.update_mask).get("competitor_ids", ())
    id = parse_id(asked.id, "opportunity.id")
    return _Named(name, await _asked_anew(call, id, [str(one) for one in wanted]))


_BIDDING = "SELECT competitor_ids FROM opportunities WHERE id = $1"


async def _asked_anew(call: Call, id: UUID, wanted: Sequence[str]) -> Known:
    """Those of these competitors that the opportunity does not name already, if the caller may see them."""
    rows = await call.database.read(call.who, _BIDDING, id) if wanted else []
    there = {str(one) for row in rows for one in row["competitor_ids"]}
    return await competitors_known(call, [one for one in wanted if one not in there])


@face.write("UpdateOpportunity", prepare=_named)
async def update(
    request: service_pb.UpdateOpportunityRequest, tx: Transaction, named: _Named
) -> pb.Opportunity:
    asked = request.opportunity
    opportunity = await _opportunity(tx, asked.id, asked.etag, "opportunity.id")
    values = OPPORTUNITY.values(asked, request.update_mask)
    if values.get("customer_id", opportunity.customer_id) is None:
        raise Invalid("opportunity.customerId", "cannot be empty")
    if "stage_id" in values and values["stage_id"] is None:
        del values["stage_id"]
    await use.change_opportunity(tx, opportunity, values, named.customer_name, named.competitors)
    return await _answer(tx, opportunity)


@face.write("DeleteOpportunity")
async def delete(request: service_pb.DeleteOpportunityRequest, tx: Transaction) -> Empty:
    await use.drop(tx, await _opportunity(tx, request.id, request.etag))
    return Empty()


async def _new_owner(request: service_pb.AssignOpportunityRequest, call: Call) -> Owner:
    return await owner_for(call, request.owner_id, RIGHT, "ownerId")


@face.write("AssignOpportunity", prepare=_new_owner)
async def assign(
    request: service_pb.AssignOpportunityRequest, tx: Transaction, owner: Owner
) -> pb.Opportunity:
    opportunity = await _opportunity(tx, request.id, request.etag)
    use.assign_opportunity(tx, opportunity, owner)
    return await _answer(tx, opportunity)


@face.write("MoveOpportunityStage")
async def move(request: service_pb.MoveOpportunityStageRequest, tx: Transaction) -> pb.Opportunity:
    opportunity = await _opportunity(tx, request.id, request.etag)
    await use.move(tx, opportunity, parse_id(request.stage_id, "stageId"), request.probability)
    return await _answer(tx, opportunity)


@face.write("WinOpportunity")
async def win(request: service_pb.WinOpportunityRequest, tx: Transaction) -> pb.Opportunity:
    opportunity = await _opportunity(tx, request.id, request.etag)
    day = to_date(request.close_date, "closeDate") if request.HasField("close_date") else None
    amount = to_value(request.amount, "amount") if request.HasField("amount") else None
    use.win(tx, opportunity, day, amount, request.note.strip())
    return await _answer(tx, opportunity)


async def _winner(request: service_pb.LoseOpportunityRequest, call: Call) -> Known:
    wanted = [request.competitor_id] if request.competitor_id else []
    return await _asked_anew(call, parse_id(request.id, "id"), wanted)


@face.write("LoseOpportunity", prepare=_winner)
async def lose(request: service_pb.LoseOpportunityRequest, tx: Transaction, known: Known) -> pb.Opportunity:
    opportunity = await _opportunity(tx, request.id, request.etag)
    lost_to = parse_id(request.competitor_id, "competitorId") if request.competitor_id else None
    day = to_date(request.close_date, "closeDate") if request.HasField("close_date") else None
    reason = pb.LossReason.Name(request.reason).removeprefix("LOSS_REASON_")
    competitor, note = request.competitor.strip(), request.note.strip()
    await use.lose(tx, opportunity, reason, day, competitor, note, lost_to, known)
    return await _answer(tx, opportunity)


@face.write("ReopenOpportunity")
async def reopen(request: service_pb.ReopenOpportunityRequest, tx: Transaction) -> pb.Opportunity:
    opportunity = await _opportunity(tx, request.id, request.etag)
    stage = parse_id(request.stage_id, "stageId") if request.stage_id else None
    await use.reopen(tx, opportunity, stage, request.note.strip())
    return await _answer(tx, opportunity)


def _day(request: Any, name: str, field: str) -> date | None:
    return to_date(getattr(request, name), field) if request.HasField(name) else None


async def _read(call: Call, sql: str, *values: Any) -> list[Any]:
    """What it says of the opportunities that the caller may read: it has a place for the rule of visibility, and `values`."""
    rule, reach = visible_text(call.who, RIGHT, Act.READ, "owner_id", "team_id", first=1 + len(values))
    return await call.database.read(call.who, sql.replace("{rule}", rule), *values, *reach)


def _period(request: Any) -> tuple[date | None, date | None]:
    first, last = _day(request, "first_day", "firstDay"), _day(request, "last_day", "lastDay")
    check_period(first, last)
    return first, last


def _win_loss_message(one: WinLoss) -> service_pb.CompetitorWinLoss:
    message = service_pb.CompetitorWinLoss(
        competitor_id=str(one.id), display_name=one.name, open_count=one.open_count, won_count=one.won_count,
        lost_count=one.lost_count, lost_to_count=one.lost_to_count,
    )  # fmt: skip
    if one.win_rate is not None:
        message.win_rate = float(one.win_rate)
    for currency, sums in one.amounts.items():
        amount = message.amounts.add(currency_code=currency)
        for name, minor in sums.items():
            to_money(getattr(amount, name), Money(minor, currency))
    return message


@face.read("GetCompetitorWinLoss")
async def get_competitor_win_loss(
    request: service_pb.GetCompetitorWinLossRequest, call: Call
) -> service_pb.CompetitorWinLoss:
    id = parse_id(request.competitor_id, "competitorId")
    counted = win_loss(await _read(call, WIN_LOSS_OF_ONE, *_period(request), id))
    if counted:
        return _win_loss_message(counted[0])
    named = await _read(call, NAME_OF_ONE, id)
    if not named:
        raise NotFound("competitor", id)
    return _win_loss_message(WinLoss(id, named[0]["name"]))


@face.read("ReportWinLoss")
async def report_win_loss(
    request: service_pb.ReportWinLossRequest, call: Call
) -> service_pb.ReportWinLossResponse:
    counted = win_loss(await _read(call, WIN_LOSS, *_period(request)))
    return service_pb.ReportWinLossResponse(competitors=[_win_loss_message(one) for one in counted])
