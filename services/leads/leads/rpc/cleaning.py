"""CleaningService: what is found about leads, and what is done with it."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import UUID

from kehu.customers.v1 import contact_pb2, customer_pb2, duplicate_pb2, duplicate_service_pb2
from kehu.leads.v1 import cleaning_service_pb2 as service_pb
from kehu.leads.v1 import lead_merge_pb2 as pb
from kehu.leads.v1 import lead_pb2, lead_service_pb2

from chassis.database import Transaction
from chassis.errors import Code, Denied, Invalid, NotFound, Problem
from chassis.fields import Field, Kind
from chassis.home import home_country_of
from chassis.ids import parse_id
from chassis.listing import OWNER_FIELDS, RECORD_FIELDS, Listing
from chassis.mapping import Mapping as MessageMapping
from chassis.mapping import camel
from chassis.merge_preview import as_it_was, merged_fields, moved_records, tried
from chassis.principal import Act
from chassis.rpc import Call, Face
from chassis.visibility import covers
from chassis.wire import to_dict
from leads.cleaning import (
    ATTACH,
    CONTACT,
    CUSTOMER,
    DISQUALIFY,
    LEAST_SCORE,
    MERGE,
    MOST_SHOWN,
    REPAIR,
    Columns,
    Finding,
    Twin,
    leads_like,
)
from leads.duplicates import draft
from leads.handling import Handling, hold
from leads.lead import Lead, change_lead, disqualify_lead
from leads.lists import LISTED, remembered, spelled
from leads.merging import SHOWN as SHOWN_IN_MERGES
from leads.merging import STATES, Choices, LeadMerge, attach, brought_along, may_undo, merge_leads, undo
from leads.rpc.leads import LEADS, answer, locked
from leads.rpc.lists import learn
from leads.rpc.messages import lead_message
from leads.rpc.peers import changeable_customers, check_contact, check_customer, may_change
from leads.tidying import SHOWN, tidied
from leads.words import OPEN

face = Face("kehu.leads.v1.CleaningService")
MERGE_MESSAGES = MessageMapping(pb.LeadMerge, skip=["merged_ids"])
MERGES = Listing(
    LeadMerge,
    "leads",
    {
        **RECORD_FIELDS,
        **OWNER_FIELDS,
        "survivorId": Field("survivor_id", Kind.UUID),
        "state": Field("state", Kind.ENUM, values=STATES, prefix="LEAD_MERGE_STATE_"),
    },
)
_OPEN = " OR ".join(f"status = {status}" for status in OPEN)
_MOST_LEADS, _LEADS = 50, 20
_AT_ONCE = 6
_DUPLICATES = "kehu.customers.v1.DuplicateService/"
_ACTIONS: Mapping[str, pb.CleaningAction.ValueType] = {
    name: pb.CleaningAction.Value(f"CLEANING_ACTION_{name}") for name in (REPAIR, MERGE, ATTACH, DISQUALIFY)
}


# ---- finding


@face.read("ListCleaningFindings")
async def list_findings(
    request: service_pb.ListCleaningFindingsRequest, call: Call
) -> service_pb.ListCleaningFindingsResponse:
    asked = lead_service_pb2.ListLeadsRequest(
        page_size=min(request.page_size or _LEADS, _MOST_LEADS), page_token=request.page_token, filter=request.filter,
        query=request.query, order_by="createTime",
    )  # fmt: skip
    page = await LEADS.page(call, asked, such=_OPEN)
    await learn(call)
    country = await home_country_of(call.database, call.who)
    gate = asyncio.Semaphore(_AT_ONCE)
    customers = _Customers(call)

    async def found(row: Any) -> Finding:
        async with gate:
            return await _finding(call, row, country, customers)

    findings = await asyncio.gather(*(found(row) for row in page.rows))
    await customers.part(findings)
    return service_pb.ListCleaningFindingsResponse(
        findings=[_message(one) for one in findings if one], next_page_token=page.next_page_token,
        customers_missing=customers.missing,
    )  # fmt: skip


async def _finding(call: Call, row: Any, country: str, customers: "_Customers") -> Finding:
    lists = remembered(call.database, call.who.tenant_id) or {}
    lead = Columns(row)
    over = {name: tidied({name: row[name]}, country)[name] for name in SHOWN}
    over |= {name: spelled(lists, name, over[name]) for name in LISTED if name in lists}
    found = Finding(row, {name: text for name, text in over.items() if text != getattr(lead, name)})
    tidy = Columns(row, over)
    found.twins, found.hidden = await leads_like(call.database, call.who, tidy)
    twins, hidden = await customers.like(tidy)
    found.twins = sorted([*found.twins, *twins], key=lambda twin: -twin.score)[:MOST_SHOWN]
    found.hidden += hidden
    return found


class _Customers:
    """Customers and contacts like leads, asked as the caller."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._changes: dict[UUID, bool] = {}
        self.missing = False

    async def part(self, findings: Sequence[Finding]) -> None:
        """Notes with what was found which customers the caller may not change; of those that nobody tells of now, none."""
        named = {twin.customer_id for found in findings for twin in found.twins if twin.customer_id}
        try:
            asked = named - self._changes.keys()
            changeable = await changeable_customers(self._call, asked) if asked else set[UUID]()
        except Problem as problem:
            if problem.code not in (Code.PERMISSION_DENIED, Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED):
                raise
            self.missing, changeable = True, set[UUID]()
        read_only = {id for id in named if not self._changes.get(id, id in changeable)}
        for found in findings:
            found.read_only |= read_only

    async def like(
        self, lead: Any, least: int = LEAST_SCORE, most: int = MOST_SHOWN
    ) -> tuple[list[Twin], int]:
        """Those that may be the same as the lead, and how many more there are that the caller may not see."""
        twins: list[Twin] = []
        hidden = 0
        company = lead.company_name or lead.name
        if not company:
            return [], 0
        customer = customer_pb2.Customer(
            kind=customer_pb2.CUSTOMER_KIND_COMPANY if lead.company_name else customer_pb2.CUSTOMER_KIND_PERSON,
            display_name=company,
        )  # fmt: skip
        _reached_by(customer, lead)
        request = duplicate_service_pb2.CheckCustomerDuplicatesRequest(
            customer=customer, min_score=least, max_results=most
        )
        told = await self._ask("CheckCustomerDuplicates", request, duplicate_pb2.CustomerDuplicates)
        if told is not None:
            hidden += told.hidden_count
            self._changes |= {
                UUID(one.customer.id): may_change(self._call.who, one.customer) for one in told.duplicates
            }
            twins += [
                Twin(CUSTOMER, UUID(one.customer.id), one.customer.display_name, one.score, _reasons(one), UUID(one.customer.id))
                for one in told.duplicates
            ]  # fmt: skip
        if lead.name and not self.missing:
            # A contact belongs to somebody; the lead's own id is nobody's.
            likeliest = str(twins[0].id if twins else lead.id)
            contact = contact_pb2.Contact(display_name=lead.name, customer_id=likeliest)
            _reached_by(contact, lead)
            request = duplicate_service_pb2.CheckContactDuplicatesRequest(
                contact=contact, min_score=least, max_results=most
            )
            told = await self._ask("CheckContactDuplicates", request, duplicate_pb2.ContactDuplicates)
            if told is not None:
                hidden += told.hidden_count
                twins += [
                    Twin(
                        CONTACT, UUID(one.contact.id), one.contact.display_name, one.score, _reasons(one),
                        UUID(one.contact.customer_id) if one.contact.customer_id else None,
                    )
                    for one in told.duplicates
                ]  # fmt: skip
        return twins, hidden

    async def _ask(self, method: str, request: Any, kind: Any) -> Any:
        if self.missing:
            return None
        try:
            return await self._call.ask(_DUPLICATES + method, request, kind)
        except Problem as problem:
            if problem.code is Code.INVALID_ARGUMENT:
                return None  # a number or an address that no customer could have
            if problem.code not in (Code.PERMISSION_DENIED, Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED):
                raise
            self.missing = True
            return None


@face.read("FindLeadDuplicates")
async def find_duplicates(
    request: service_pb.FindLeadDuplicatesRequest, call: Call
) -> service_pb.LeadDuplicates:
    country = await home_country_of(call.database, call.who)
    if request.lead_id:
        lead = _tidy(await LEADS.get(call, request.lead_id, "leadId"), country)
    else:
        lead = draft(
            tidied({name: getattr(request.lead, name) for name in SHOWN}, country), datetime.now(UTC)
        )
    least, most = request.min_score or LEAST_SCORE, request.max_results or MOST_SHOWN
    customers = _Customers(call)
    twins, hidden = await leads_like(call.database, call.who, lead, least)
    others, unseen = await customers.like(lead, least, most)
    return _duplicates([*twins, *others], hidden + unseen, most, customers)


@face.read("GetConversionTargets")
async def conversion_targets(
    request: service_pb.GetConversionTargetsRequest, call: Call
) -> service_pb.LeadDuplicates:
    lead = _tidy(await LEADS.get(call, request.id), await home_country_of(call.database, call.who))
    customers = _Customers(call)
    return _duplicates(*await customers.like(lead), MOST_SHOWN, customers)


def _tidy(row: Any, country: str) -> Columns:
    """A lead that is there, with what is compared as it would be kept."""
    return Columns(row, {name: tidied({name: row[name]}, country)[name] for name in SHOWN})


def _duplicates(
    twins: list[Twin], hidden: int, most: int, customers: "_Customers"
) -> service_pb.LeadDuplicates:
    likeliest = sorted(twins, key=lambda twin: -twin.score)[:most]
    return service_pb.LeadDuplicates(
        duplicates=[_twin_message(twin) for twin in likeliest], hidden_count=hidden, customers_missing=customers.missing
    )  # fmt: skip


def _twin_message(twin: Twin) -> pb.LeadDuplicate:
    return pb.LeadDuplicate(
        kind=pb.LeadDuplicateKind.Value(f"LEAD_DUPLICATE_KIND_{twin.kind}"), id=str(twin.id), display_name=twin.name,
        customer_id=str(twin.customer_id or ""), score=twin.score, reasons=twin.reasons,
        status=lead_pb2.LeadStatus.Value(f"LEAD_STATUS_{twin.status}") if twin.status else lead_pb2.LEAD_STATUS_UNSPECIFIED,
    )  # fmt: skip


def _reached_by(message: Any, lead: Any) -> None:
    if lead.phone.startswith("+"):
        message.phones.add(number=lead.phone)
    if lead.email:
        message.emails.add(address=lead.email)


def _reasons(one: Any) -> list[str]:
    prefix = "DUPLICATE_REASON_KIND_"
    return [
        duplicate_pb2.DuplicateReasonKind.Name(reason.kind).removeprefix(prefix) for reason in one.reasons
    ]


def _message(found: Finding) -> pb.CleaningFinding:
    lead = lead_message(found.lead)
    message = pb.CleaningFinding(lead=lead, hidden_count=found.hidden)
    for column, after in found.repairs.items():
        message.repairs.add(field=camel(column), before=found.lead[column], after=after)
    message.duplicates.extend(_twin_message(twin) for twin in found.twins)
    proposal = found.proposal
    if proposal.action:
        message.proposal.CopyFrom(
            pb.CleaningStep(
                lead_id=lead.id, etag=lead.etag, action=_ACTIONS[proposal.action],
                survivor_id=str(proposal.survivor_id or ""), customer_id=str(proposal.customer_id or ""),
                contact_id=str(proposal.contact_id or ""),
                reason=lead_pb2.DisqualifyReason.Value(f"DISQUALIFY_REASON_{proposal.reason or 'UNSPECIFIED'}"),
            )
        )  # fmt: skip
    return message


# ---- doing


async def _check_target(call: Call, customer_id: str, contact_id: str, field: str = "") -> None:
    """Raises Invalid (CUSTOMER_NOT_FOUND) for a customer that the caller may not change, since all that is on the lead is added
    to it, and CONTACT_NOT_FOUND for a contact that they may not read, naming fields behind `field`."""
    await check_customer(call, customer_id, f"{field}customerId")
    if contact_id:
        await check_contact(call, contact_id, customer_id, f"{field}contactId")


async def _may_change(call: Call, id: str, field: str = "id") -> None:
    """Whoever may not change the lead learns nothing of customers."""
    async with call.database.transaction(call.who) as tx:
        await tx.get(Lead, parse_id(id, field), right="leads", lock=False)


async def _before_attaching(request: service_pb.AttachLeadRequest, call: Call) -> None:
    await _may_change(call, request.id)
    await _check_target(call, request.customer_id, request.contact_id)


@face.write("AttachLead", prepare=_before_attaching)
async def attach_lead(request: service_pb.AttachLeadRequest, tx: Transaction, known: None) -> lead_pb2.Lead:
    lead, handling = await locked(tx, request.id, request.etag)
    contact = parse_id(request.contact_id, "contactId") if request.contact_id else None
    attach(tx, lead, handling, parse_id(request.customer_id, "customerId"), contact)
    return await answer(tx, lead)


@dataclass(frozen=True)
class _Step:
    """A step with its ids read."""

    lead_id: UUID
    survivor_id: UUID | None
    customer_id: UUID | None
    contact_id: UUID | None
    asked: pb.CleaningStep


async def _before_cleaning(request: service_pb.CleanLeadsRequest, call: Call) -> list[_Step]:
    steps: list[_Step] = []
    for place, asked in enumerate(request.steps):
        at = f"steps[{place}]."
        id = partial(_optional, at)
        steps.append(
            _Step(
                parse_id(asked.lead_id, f"{at}leadId"), id(asked.survivor_id, "survivorId"),
                id(asked.customer_id, "customerId"), id(asked.contact_id, "contactId"), asked,
            )
        )  # fmt: skip
        needed = {_ACTIONS[MERGE]: "survivor_id", _ACTIONS[ATTACH]: "customer_id"}.get(asked.action)
        if needed and not getattr(asked, needed):
            raise Invalid(f"{at}{camel(needed)}", "is needed for this action")
        if asked.action == _ACTIONS[DISQUALIFY] and not asked.reason:
            raise Invalid(f"{at}reason", "is needed for this action")
    await _check_leads(call, steps)
    asked_for = {(step.asked.customer_id, step.asked.contact_id): place for place, step in enumerate(steps)}
    for (customer, contact), place in asked_for.items():
        if customer:
            await _check_target(call, customer, contact, f"steps[{place}].")
        elif contact:
            raise Invalid(f"steps[{place}].contactId", "goes only with customerId")
    await learn(call)
    return steps


def _optional(at: str, id: str, name: str) -> UUID | None:
    return parse_id(id, f"{at}{name}") if id else None


_HOLDERS = "SELECT id, owner_id, team_id FROM leads WHERE id = ANY($1::uuid[]) AND deleted_at IS NULL"


async def _check_leads(call: Call, steps: list[_Step]) -> None:
    ids = list(dict.fromkeys(id for step in steps for id in (step.lead_id, step.survivor_id) if id))
    rows = {row["id"]: Columns(row) for row in await call.database.read(call.who, _HOLDERS, ids)}
    for id in ids:
        if id not in rows or not covers(rows[id], call.who, "leads", Act.READ):
            raise NotFound("lead", id)
    for id in ids:
        if not covers(rows[id], call.who, "leads", Act.WRITE):
            raise Denied(f"You may see the lead {id} but not change it.", reason="RECORD_READ_ONLY")


@face.write("CleanLeads", prepare=_before_cleaning)
async def clean(
    request: service_pb.CleanLeadsRequest, tx: Transaction, steps: list[_Step]
) -> service_pb.CleanLeadsResponse:
    handling = await hold(tx)
    # Always in one order, so that two who want the same leads do not wait for each other.
    for id in sorted({id for step in steps for id in (step.lead_id, step.survivor_id) if id}):
        await tx.find(Lead, id)
    outcomes = [await _taken(tx, handling, step) for step in steps]
    return service_pb.CleanLeadsResponse(outcomes=outcomes)


async def _taken(tx: Transaction, handling: Handling, step: _Step) -> service_pb.CleaningOutcome:
    outcome = service_pb.CleaningOutcome(lead_id=step.asked.lead_id)
    try:
        # None of these changes anything before it knows that it may.
        outcome.merge_id = await _take(tx, handling, step)
    except Problem as problem:
        outcome.reason, outcome.message = problem.reason, problem.message
    else:
        outcome.done = True
        await tx.session.flush()
    return outcome


async def _take(tx: Transaction, handling: Handling, step: _Step) -> str:
    """Takes a step. Answers with the id of the merge that it was, if it was one."""
    lead = await tx.get(Lead, step.lead_id, right="leads")
    tx.check_etag(lead, step.asked.etag)
    match _NAMES[step.asked.action]:
        case "MERGE" if step.survivor_id is not None:
            merge = await merge_leads(tx, handling, step.survivor_id, [lead.id], {}, "")
            return str(merge.id)
        case "ATTACH" if step.customer_id is not None:
            attach(tx, lead, handling, step.customer_id, step.contact_id)
        case "DISQUALIFY":
            reason = lead_pb2.DisqualifyReason.Name(step.asked.reason)
            disqualify_lead(tx, lead, handling, reason, step.asked.note)
        case _:
            await change_lead(tx, lead, handling, {name: getattr(lead, name) for name in SHOWN})
    return ""


_NAMES: Mapping[int, str] = {number: name for name, number in _ACTIONS.items()}


# ---- merges


def _merge_message(row: Any) -> pb.LeadMerge:
    message = MERGE_MESSAGES.message(row)
    ids: list[UUID] = row["merged_ids"] if hasattr(row, "keys") else row.merged_ids
    message.merged_ids.extend(str(id) for id in ids)
    return message


async def _merge_answer(tx: Transaction, merge: LeadMerge) -> pb.LeadMerge:
    await tx.session.flush()
    return _merge_message(merge)


@face.write("MergeLeads")
async def merge(request: service_pb.MergeLeadsRequest, tx: Transaction) -> pb.LeadMerge:
    return await _merge_answer(tx, await _merged(request, tx))


async def _merged(
    request: service_pb.MergeLeadsRequest | service_pb.PreviewMergeLeadsRequest, tx: Transaction
) -> LeadMerge:
    ids = [parse_id(id, f"mergedIds[{place}]") for place, id in enumerate(request.merged_ids)]
    choices: Choices = {
        name: parse_id(id, f"fieldChoices.{name}") for name, id in request.field_choices.items()
    }
    handling = await hold(tx)
    survivor = parse_id(request.id, "id")
    return await merge_leads(tx, handling, survivor, ids, choices, request.etag)


@face.read("PreviewMergeLeads")
async def preview_merge(
    request: service_pb.PreviewMergeLeadsRequest, call: Call
) -> service_pb.PreviewMergeLeadsResponse:
    async def do(tx: Transaction) -> LeadMerge:
        return await _merged(request, tx)

    async def look(tx: Transaction, merge: LeadMerge) -> service_pb.PreviewMergeLeadsResponse:
        rows = [
            await tx.session.get(Lead, (tx.who.tenant_id, id))
            for id in (merge.survivor_id, *(UUID(str(id)) for id in merge.merged_ids))
        ]
        moved = moved_records(await brought_along(tx, merge))
        answer = service_pb.PreviewMergeLeadsResponse(lead=lead_message(rows[0]), moved=moved)
        kept = merge.kept.get("lead", {})
        before = [
            to_dict(lead_message(as_it_was(row, kept.get(str(row.id), {}))))
            for row in rows
            if row is not None
        ]
        answer.fields.extend(merged_fields(SHOWN_IN_MERGES, before, to_dict(answer.lead), joined=["notes"]))
        return answer

    return await tried(call, do, look)


@face.read("GetLeadMerge")
async def get_merge(request: service_pb.GetLeadMergeRequest, call: Call) -> pb.LeadMerge:
    return _merge_message(await MERGES.get(call, request.id))


@face.read("ListLeadMerges")
async def list_merges(
    request: service_pb.ListLeadMergesRequest, call: Call
) -> service_pb.ListLeadMergesResponse:
    page = await MERGES.page(call, request)
    return service_pb.ListLeadMergesResponse(
        lead_merges=[_merge_message(row) for row in page.rows], next_page_token=page.next_page_token
    )


@face.write("UndoLeadMerge")
async def undo_merge(request: service_pb.UndoLeadMergeRequest, tx: Transaction) -> pb.LeadMerge:
    id = parse_id(request.id, "id")
    handling = await hold(tx)
    found = await tx.find(LeadMerge, id)
    if found is None:
        raise NotFound("lead_merge", id)
    if not may_undo(found, await tx.find(Lead, found.survivor_id), tx):
        if covers(found, tx.who, "leads", Act.READ):
            raise Denied("You may see this merge but not undo it.", reason="RECORD_READ_ONLY")
        raise NotFound("lead_merge", id)
    tx.check_etag(found, request.etag)
    await undo(tx, handling, found)
    return await _merge_answer(tx, found)
