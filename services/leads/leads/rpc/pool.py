"""LeadService: giving leads away by rules, accepting, returning and claiming them, and the lists of the pool and of the day."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from kehu.leads.v1 import lead_pb2 as pb
from kehu.leads.v1 import lead_service_pb2 as service_pb

from chassis.database import Transaction
from chassis.errors import Denied, NotFound
from chassis.events.event import timestamp_text
from chassis.ids import parse_id
from chassis.listing import Listing
from chassis.principal import Act
from chassis.rpc import Call
from chassis.visibility import covers
from leads.assignment import Decision, Roster, assign_by_rules, lock_leads
from leads.conditions import LISTED
from leads.handling import hold
from leads.lead import Lead
from leads.pool import accept, claim, give_back
from leads.rpc.leads import LEADS, answer, face, locked
from leads.rpc.messages import lead_message
from leads.rpc.roster import roster_of
from leads.words import OPEN

STILL_OPEN = " OR ".join(f"status = {status}" for status in OPEN)
"""What the lists of the pool and of the day are about: an ended lead is nobody's to claim or to call."""
POOL = Listing(Lead, None, LISTED, search=True, custom_fields=True)


async def _roster(request: service_pb.AssignLeadsByRulesRequest, call: Call) -> Roster:
    return await roster_of(call)


@face.write("AssignLeadsByRules", prepare=_roster)
async def assign_selection(
    request: service_pb.AssignLeadsByRulesRequest, tx: Transaction, roster: Roster
) -> service_pb.AssignLeadsByRulesResponse:
    handling = await hold(tx)
    ids = [parse_id(id, "ids") for id in request.ids]
    leads = await lock_leads(tx, ids)
    there = {lead.id for lead in leads if covers(lead, tx.who, "leads", Act.READ)}
    for id in ids:
        if id not in there:
            raise NotFound("lead", id)
    for lead in leads:
        if not covers(lead, tx.who, "leads", Act.WRITE):
            raise Denied(f"You may see the lead {lead.id} but not change it.", reason="RECORD_READ_ONLY")
        lead.check_not_converting()
    decisions = await assign_by_rules(tx, leads, handling, roster)
    return service_pb.AssignLeadsByRulesResponse(decisions=[_decision(one) for one in decisions])


def _decision(decision: Decision) -> service_pb.RuleDecision:
    return service_pb.RuleDecision(
        lead_id=str(decision.lead.id), outcome=service_pb.RuleOutcome.Value(f"RULE_OUTCOME_{decision.outcome}"),
        owner_id=str(decision.lead.owner_id or ""), rule_id=str(decision.rule_id or ""), rule_name=decision.rule_name,
    )  # fmt: skip


@face.write("AcceptLead")
async def accept_lead(request: service_pb.AcceptLeadRequest, tx: Transaction) -> pb.Lead:
    lead, handling = await locked(tx, request.id, request.etag)
    accept(tx, lead, handling)
    return await answer(tx, lead)


@face.write("ReturnLead")
async def return_lead(request: service_pb.ReturnLeadRequest, tx: Transaction) -> pb.Lead:
    lead, handling = await locked(tx, request.id, request.etag)
    await give_back(tx, lead, handling, request.reason.strip())
    return await answer(tx, lead)


@face.write("ClaimLead")
async def claim_lead(request: service_pb.ClaimLeadRequest, tx: Transaction) -> pb.Lead:
    handling = await hold(tx)
    return await answer(tx, await claim(tx, parse_id(request.id, "id"), handling))


@face.read("ListPoolLeads")
async def list_pool(request: service_pb.ListPoolLeadsRequest, call: Call) -> service_pb.ListPoolLeadsResponse:
    page = await POOL.page(call, request, {"ownerId": None}, such=STILL_OPEN)
    return service_pb.ListPoolLeadsResponse(
        leads=[lead_message(row) for row in page.rows], next_page_token=page.next_page_token
    )


@face.read("ListDueLeads")
async def list_due(request: service_pb.ListDueLeadsRequest, call: Call) -> service_pb.ListDueLeadsResponse:
    such = f"({STILL_OPEN}) AND {_due(request, datetime.now(UTC))}"
    asked = service_pb.ListLeadsRequest(
        page_size=request.page_size,
        page_token=request.page_token,
        filter=request.filter,
        order_by="nextContactTime",
    )
    page = await LEADS.page(call, asked, such=such)
    return service_pb.ListDueLeadsResponse(
        leads=[lead_message(row) for row in page.rows], next_page_token=page.next_page_token
    )


def _due(request: service_pb.ListDueLeadsRequest, now: datetime) -> str:
    if request.when != service_pb.DUE_WHEN_TODAY:
        return f'nextContactTime < "{timestamp_text(now)}"'
    begin, end = day_of(now, request.time_zone or "UTC")
    return f'nextContactTime >= "{timestamp_text(begin)}" AND nextContactTime < "{timestamp_text(end)}"'


def day_of(now: datetime, time_zone: str) -> tuple[datetime, datetime]:
    """When that zone's present day begins and ends; it may have 23 or 25 hours."""
    zone = ZoneInfo(time_zone)
    begin = now.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    following = (begin + timedelta(days=1)).replace(fold=0)
    return begin.astimezone(UTC), following.astimezone(UTC)
