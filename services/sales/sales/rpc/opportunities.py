"""OpportunityService."""

from dataclasses import dataclass

from google.protobuf.empty_pb2 import Empty
from kehu.sales.v1 import opportunity_pb2 as pb
from kehu.sales.v1 import opportunity_service_pb2 as service_pb

from chassis.database import Transaction
from chassis.errors import Invalid
from chassis.fields import Field, Kind
from chassis.ids import parse_id
from chassis.listing import OWNER_FIELDS, RECORD_FIELDS, Listing
from chassis.mapping import to_date, to_value
from chassis.owners import Owner, owner_for
from chassis.rpc import Call, Face
from sales import opportunity as use
from sales.custom_fields import CUSTOM_FIELDS
from sales.opportunity import REASONS, STATUSES, Opportunity
from sales.rpc.messages import OPPORTUNITY, opportunity_message
from sales.rpc.peers import customer_name

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
    },
    search=True,
    custom_fields=True,
)


@dataclass(frozen=True, slots=True)
class _Outside:
    """What other services know of a new opportunity."""

    owner: Owner
    customer_name: str


async def _opportunity(tx: Transaction, id: str, etag: str, field: str = "id") -> Opportunity:
    opportunity = await tx.get(Opportunity, parse_id(id, field), right=RIGHT)
    tx.check_etag(opportunity, etag)
    return opportunity


async def _answer(tx: Transaction, opportunity: Opportunity) -> pb.Opportunity:
    await tx.session.flush()
    return opportunity_message(opportunity)


@face.read("GetOpportunity")
async def get_opportunity(request: service_pb.GetOpportunityRequest, call: Call) -> pb.Opportunity:
    return opportunity_message(await OPPORTUNITIES.get(call, request.id))


@face.read("ListOpportunities")
async def list_opportunities(
    request: service_pb.ListOpportunitiesRequest, call: Call
) -> service_pb.ListOpportunitiesResponse:
    page = await OPPORTUNITIES.page(call, request)
    return service_pb.ListOpportunitiesResponse(
        opportunities=[opportunity_message(row) for row in page.rows], next_page_token=page.next_page_token
    )


async def _outside(request: service_pb.CreateOpportunityRequest, call: Call) -> _Outside:
    owner = await owner_for(call, request.opportunity.owner_id, RIGHT, "opportunity.ownerId")
    id = parse_id(request.opportunity.customer_id, "opportunity.customerId")
    return _Outside(owner, await customer_name(call, id, "opportunity.customerId"))


@face.write("CreateOpportunity", prepare=_outside)
async def create(
    request: service_pb.CreateOpportunityRequest, tx: Transaction, outside: _Outside
) -> pb.Opportunity:
    values = OPPORTUNITY.values(request.opportunity)
    id = parse_id(request.opportunity_id, "opportunityId") if request.opportunity_id else None
    return await _answer(
        tx, await use.create_opportunity(tx, values, outside.customer_name, outside.owner, id)
    )


async def _new_customer(request: service_pb.UpdateOpportunityRequest, call: Call) -> str | None:
    field = "opportunity.customerId"
    if not request.opportunity.customer_id:
        return None
    return await customer_name(call, parse_id(request.opportunity.customer_id, field), field)


@face.write("UpdateOpportunity", prepare=_new_customer)
async def update(
    request: service_pb.UpdateOpportunityRequest, tx: Transaction, customer: str | None
) -> pb.Opportunity:
    asked = request.opportunity
    opportunity = await _opportunity(tx, asked.id, asked.etag, "opportunity.id")
    values = OPPORTUNITY.values(asked, request.update_mask)
    if values.get("customer_id", opportunity.customer_id) is None:
        raise Invalid("opportunity.customerId", "cannot be empty")
    if "stage_id" in values and values["stage_id"] is None:
        del values["stage_id"]
    await use.change_opportunity(tx, opportunity, values, customer)
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


@face.write("LoseOpportunity")
async def lose(request: service_pb.LoseOpportunityRequest, tx: Transaction) -> pb.Opportunity:
    opportunity = await _opportunity(tx, request.id, request.etag)
    day = to_date(request.close_date, "closeDate") if request.HasField("close_date") else None
    reason = pb.LossReason.Name(request.reason).removeprefix("LOSS_REASON_")
    use.lose(tx, opportunity, reason, day, request.competitor.strip(), request.note.strip())
    return await _answer(tx, opportunity)


@face.write("ReopenOpportunity")
async def reopen(request: service_pb.ReopenOpportunityRequest, tx: Transaction) -> pb.Opportunity:
    opportunity = await _opportunity(tx, request.id, request.etag)
    stage = parse_id(request.stage_id, "stageId") if request.stage_id else None
    await use.reopen(tx, opportunity, stage, request.note.strip())
    return await _answer(tx, opportunity)
