"""LeadService: capture, fields and statuses."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from google.protobuf.empty_pb2 import Empty
from kehu.leads.v1 import lead_pb2 as pb
from kehu.leads.v1 import lead_service_pb2 as service_pb

from chassis.database import Transaction
from chassis.errors import Invalid
from chassis.fields import Field, Kind
from chassis.ids import parse_id
from chassis.listing import RECORD_FIELDS, Listing
from chassis.mapping import to_datetime
from chassis.owners import Owner, owner_for
from chassis.papers import drop_papers
from chassis.probable import MOST_NAMED, WARN, beside
from chassis.rpc import Call, Face
from leads.assignment import watch_acceptance
from leads.captures import LeadCapture, follow, note_first, take_in, tells_origin
from leads.cleaning import leads_like
from leads.conditions import LISTED
from leads.custom_fields import CUSTOM_FIELDS
from leads.duplicates import check_new, draft
from leads.handling import Handling, LeadHandling, handling_id, hold
from leads.lead import Lead, assign_lead, capture, change_lead, disqualify_lead, kept, remind, reopen_lead
from leads.lead_events import (
    LeadContacted,
    LeadDeleted,
    LeadQualified,
    tell,
    told,
)
from leads.rpc.lists import learn
from leads.rpc.messages import capture_message, lead_message, lead_values

face = Face("kehu.leads.v1.LeadService", custom_fields=CUSTOM_FIELDS)

LEADS = Listing(Lead, "leads", LISTED, search=True, custom_fields=True)
_SKEW = timedelta(minutes=1)


async def locked(tx: Transaction, id: str, etag: str, field: str = "id") -> tuple[Lead, Handling]:
    """The lead, locked, if the caller may change it and has read its present version; and how leads are handled."""
    handling = await hold(tx)
    lead = await tx.get(Lead, parse_id(id, field), right="leads")
    tx.check_etag(lead, etag)
    return lead, handling


async def answer(tx: Transaction, lead: Lead) -> pb.Lead:
    await tx.session.flush()
    return lead_message(lead)


@face.read("GetLead")
async def get_lead(request: service_pb.GetLeadRequest, call: Call) -> pb.Lead:
    return lead_message(await LEADS.get(call, request.id))


@face.read("ListLeads")
async def list_leads(request: service_pb.ListLeadsRequest, call: Call) -> service_pb.ListLeadsResponse:
    page = await LEADS.page(call, request)
    return service_pb.ListLeadsResponse(
        leads=[lead_message(row) for row in page.rows], next_page_token=page.next_page_token
    )


async def _owner_of_new(request: service_pb.CreateLeadRequest, call: Call) -> Owner:
    if request.lead.industry or request.lead.region:
        await learn(call)
    return await owner_for(call, request.lead.owner_id, "leads", "lead.ownerId")


async def _leads_beside(request: service_pb.CreateLeadRequest, made: pb.Lead, call: Call) -> str:
    """Which leads the new one may be, where the company's rule is to warn. What services create was decided on elsewhere."""
    if call.who.service is not None or request.allow_duplicate:
        return ""
    rows = await call.database.read(call.who, _RULE, handling_id(call.who.tenant_id))
    rule: Any = rows[0] if rows else vars(LeadHandling())
    if rule["duplicates"] != WARN:
        return ""
    # From the answer: by the company's rules it may be another's already, whom the creator may not see.
    said = {"name": made.name, "company_name": made.company_name, "phone": made.phone, "email": made.email}
    lead = draft(said, to_datetime(made.create_time), UUID(made.id))
    twins, hidden = await leads_like(call.database, call.who, lead, rule["duplicates_min_score"])
    return beside([(one.id, one.score, one.reasons) for one in twins[:MOST_NAMED]], hidden)


_RULE = "SELECT duplicates, duplicates_min_score FROM lead_handling WHERE id = $1"


@face.write("CreateLead", prepare=_owner_of_new, beside=_leads_beside)
async def create(request: service_pb.CreateLeadRequest, tx: Transaction, owner: Owner) -> pb.Lead:
    id = parse_id(request.lead_id, "leadId") if request.lead_id else None
    values = lead_values(request.lead)
    if tx.who.service is None and not request.allow_duplicate:
        await check_new(tx, await kept(tx, values), id)
    handling = await hold(tx)
    lead = await capture(tx, values, owner, handling, id)
    if tells_origin(vars(lead)):
        await note_first(tx, lead, handling)
    await follow(tx, lead, handling.assign_created and not request.lead.owner_id)
    return await answer(tx, lead)


async def _owner_of_captured(request: service_pb.CaptureLeadRequest, call: Call) -> Owner:
    lead = request.lead
    if lead.industry or lead.region:
        await learn(call)
    if call.who.service is None:
        return await owner_for(call, lead.owner_id, "leads", "lead.ownerId")
    return Owner(parse_id(lead.owner_id, "lead.ownerId"), UUID(lead.team_id) if lead.team_id else None)


@face.write("CaptureLead", prepare=_owner_of_captured)
async def capture_lead(request: service_pb.CaptureLeadRequest, tx: Transaction, owner: Owner) -> pb.Lead:
    values = lead_values(request.lead)
    if tx.who.service is not None:
        values["form_id"] = UUID(request.lead.form_id) if request.lead.form_id else None
    id = parse_id(request.lead_id, "leadId") if request.lead_id else None
    answers = [{"question": one.question.strip(), "answer": one.answer.strip()} for one in request.answers]
    return await answer(tx, await take_in(tx, values, owner, await hold(tx), id, answers))


CAPTURES = Listing(LeadCapture, None, {**RECORD_FIELDS, "leadId": Field("lead_id", Kind.UUID)})


@face.read("ListLeadCaptures")
async def list_captures(
    request: service_pb.ListLeadCapturesRequest, call: Call
) -> service_pb.ListLeadCapturesResponse:
    lead = await LEADS.get(call, request.lead_id, "leadId")
    page = await CAPTURES.page(call, request, {"leadId": lead["id"]})
    return service_pb.ListLeadCapturesResponse(
        captures=[capture_message(row) for row in page.rows], next_page_token=page.next_page_token
    )


async def _lists_for_update(request: service_pb.UpdateLeadRequest, call: Call) -> None:
    if request.lead.industry or request.lead.region:
        await learn(call)


@face.write("UpdateLead", prepare=_lists_for_update)
async def update(request: service_pb.UpdateLeadRequest, tx: Transaction, known: None) -> pb.Lead:
    lead, handling = await locked(tx, request.lead.id, request.lead.etag, "lead.id")
    await change_lead(tx, lead, handling, lead_values(request.lead, request.update_mask))
    return await answer(tx, lead)


@face.write("DeleteLead")
async def delete(request: service_pb.DeleteLeadRequest, tx: Transaction) -> Empty:
    lead, _ = await locked(tx, request.id, request.etag)
    lead.check_editable()
    # Nothing brings a lead back, and nobody would find what was on it.
    await drop_papers(tx, Lead.record_type, [lead.id])
    tx.delete(lead)
    tx.record(LeadDeleted(**told(lead)), on=lead)
    return Empty()


async def _new_owner(request: service_pb.AssignLeadRequest, call: Call) -> Owner:
    return await owner_for(call, request.owner_id, "leads", "ownerId")


@face.write("AssignLead", prepare=_new_owner)
async def assign(request: service_pb.AssignLeadRequest, tx: Transaction, owner: Owner) -> pb.Lead:
    lead, handling = await locked(tx, request.id, request.etag)
    assign_lead(tx, lead, handling, owner, request.accept_minutes)
    await watch_acceptance(tx, lead)
    return await answer(tx, lead)


@face.write("ContactLead")
async def contact(request: service_pb.ContactLeadRequest, tx: Transaction) -> pb.Lead:
    lead, handling = await locked(tx, request.id, request.etag)
    at = to_datetime(request.contact_time) if request.HasField("contact_time") else tx.now
    if at > tx.now + _SKEW:
        raise Invalid("contactTime", "is in the future")
    following = to_datetime(request.next_contact_time) if request.HasField("next_contact_time") else None
    before = lead.next_contact_time
    lead.contact(at, request.note, following)
    lead.touch(tx.now)
    tell(tx, lead, handling, LeadContacted, contact_time=at)
    if lead.next_contact_time != before:
        await remind(tx, lead)
    return await answer(tx, lead)


@face.write("QualifyLead")
async def qualify(request: service_pb.QualifyLeadRequest, tx: Transaction) -> pb.Lead:
    lead, handling = await locked(tx, request.id, request.etag)
    lead.qualify(tx.now, request.note)
    lead.touch(tx.now)
    tell(tx, lead, handling, LeadQualified, score=request.score or None)
    return await answer(tx, lead)


@face.write("DisqualifyLead")
async def disqualify(request: service_pb.DisqualifyLeadRequest, tx: Transaction) -> pb.Lead:
    lead, handling = await locked(tx, request.id, request.etag)
    disqualify_lead(tx, lead, handling, pb.DisqualifyReason.Name(request.reason), request.note)
    return await answer(tx, lead)


@face.write("ReopenLead")
async def reopen(request: service_pb.ReopenLeadRequest, tx: Transaction) -> pb.Lead:
    lead, handling = await locked(tx, request.id, request.etag)
    reopen_lead(tx, lead, handling, request.note)
    return await answer(tx, lead)
