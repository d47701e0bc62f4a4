"""ConvertLead and GetConversion."""

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from uuid import UUID, uuid5

from kehu.leads.v1 import conversion_pb2 as pb
from kehu.leads.v1 import lead_service_pb2 as service_pb

from chassis.errors import IdempotencyKeyReused, Invalid, NotFound, Problem, Unavailable
from chassis.ids import new_id, parse_id
from chassis.mapping import to_date, to_value
from chassis.principal import Act
from chassis.rpc import Call
from chassis.visibility import visible_text
from leads.conversion import Conversion, begin, carry_on
from leads.lead import Lead
from leads.rpc.leads import face, locked
from leads.rpc.messages import CONVERSION
from leads.rpc.peers import Suite, changes_customer, check_contact, check_customer

_REQUESTS = UUID("b0a7f2a4-7a53-4f3e-9b6d-0d6b6c1c7d10")


@face.process("ConvertLead")
async def convert(request: service_pb.ConvertLeadRequest, call: Call) -> pb.Conversion:
    """A repeated request_id goes on with the conversion it began."""
    who = call.who
    id = new_id()
    if request.request_id:
        id = uuid5(_REQUESTS, f"{who.tenant_id} {who.person_id} {request.id} {request.request_id}")
    asked = hashlib.sha256(request.SerializeToString(deterministic=True)).hexdigest()
    begun = None
    if not (request.request_id and await _begun(call, id, asked)):
        begun = await _begin(request, call, id, asked)
    with suppress(Problem):
        # When something needed does not answer now, the job goes on by itself; the answer says RUNNING and why.
        await carry_on(call.database, who, id, Suite(call), begun)
    return await _conversion(call, id)


async def _begun(call: Call, id: UUID, asked: str) -> bool:
    """Whether an earlier call of the same request began it. Raises IdempotencyKeyReused when that asked for something else."""
    rows = await call.database.read(
        call.who, "SELECT plan ->> 'asked' AS asked FROM conversions WHERE id = $1", id
    )
    if rows and rows[0]["asked"] != asked:
        raise IdempotencyKeyReused
    return bool(rows)


async def _begin(
    request: service_pb.ConvertLeadRequest, call: Call, id: UUID, asked: str
) -> Conversion | None:
    """The conversion begun; None when the same request, come twice at once, has begun it elsewhere."""
    opportunity = _wanted(request)
    if request.contact_id and not request.customer_id:
        raise Invalid("contactId", "goes only with customerId")
    if request.customer_id:
        async with call.database.transaction(call.who) as tx:
            # Whoever may not change the lead learns nothing of customers. No lock is held while others are asked.
            await tx.get(Lead, parse_id(request.id, "id"), right="leads", lock=False)
        await check_customer(call, request.customer_id)
    changes_contact = False
    if request.contact_id:
        contact = await check_contact(call, request.contact_id, request.customer_id)
        # It may belong to another customer in the first place, by whose owner it is changed.
        elsewhere = parse_id(contact.customer_id, "contactId") != parse_id(request.customer_id, "customerId")
        changes_contact = elsewhere and await changes_customer(call, contact.customer_id)
    async with call.database.transaction(call.who) as tx:
        lead, _ = await locked(tx, request.id, "")
        if await tx.find(Conversion, id, lock=False) is not None:
            return None
        tx.check_etag(lead, request.etag)
        _check_installed(call, request)
        return await begin(
            tx,
            lead,
            id=id,
            customer_id=parse_id(request.customer_id, "customerId") if request.customer_id else None,
            contact_id=parse_id(request.contact_id, "contactId") if request.contact_id else None,
            changes_contact=changes_contact,
            opportunity=opportunity,
            asked=asked,
        )


def _check_installed(call: Call, request: service_pb.ConvertLeadRequest) -> None:
    # What is down comes back; what is not installed would leave the lead CONVERTING for ever.
    for domain in ("customers", "sales") if request.HasField("opportunity") else ("customers",):
        call.clients.channel(domain)


def _wanted(request: service_pb.ConvertLeadRequest) -> dict[str, Any] | None:
    if not request.HasField("opportunity"):
        return None
    asked = request.opportunity
    wanted: dict[str, Any] = {"name": asked.name, "product_id": asked.product_id, "stage_id": asked.stage_id}
    if asked.HasField("amount"):
        amount = to_value(asked.amount, "opportunity.amount")
        wanted["minor"], wanted["currency"] = amount.minor, amount.currency
    if asked.HasField("expected_close_date"):
        wanted["close"] = to_date(asked.expected_close_date, "opportunity.expectedCloseDate").isoformat()
    return wanted


_ONE = "SELECT c.* FROM conversions c JOIN leads t ON t.id = c.lead_id WHERE c.id = $1 AND t.deleted_at IS NULL AND "


async def _conversion(call: Call, id: UUID) -> pb.Conversion:
    rule, values = visible_text(call.who, "leads", Act.READ, "owner_id", "team_id", first=2)
    rows = await call.database.read(call.who, _ONE + rule, id, *values)
    if not rows:
        raise NotFound("conversion", id)
    return CONVERSION.message(rows[0])


@face.read("GetConversion")
async def get_conversion(request: service_pb.GetConversionRequest, call: Call) -> pb.Conversion:
    return await _conversion(call, parse_id(request.id, "id"))


async def conversion_job(payload: Mapping[str, Any], call: Call) -> None:
    """Goes on with a conversion whose call has died or could not end it."""
    try:
        await carry_on(call.database, call.who, UUID(payload["conversion_id"]), Suite(call))
    except Problem as problem:
        # The conversion counts its faults and ends by itself: the job may not be given up before.
        raise Unavailable(problem.message, reason=problem.reason) from problem
