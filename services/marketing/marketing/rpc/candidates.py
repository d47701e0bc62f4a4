"""Leads and customers that shall become members, asked of the services that keep them, as the caller sees them."""

import asyncio
from collections.abc import Sequence
from uuid import UUID

from kehu.customers.v1 import contact_pb2, contact_service_pb2, customer_service_pb2
from kehu.leads.v1 import lead_pb2, lead_service_pb2

from chassis.errors import Code, Problem
from chassis.rpc import Call
from marketing import errors
from marketing.member import Candidate

_AT_ONCE = 6
UNSEEN = (Code.NOT_FOUND, Code.PERMISSION_DENIED)
"""What is not there and what one may not know of are the same to the caller."""


async def lead_candidate(call: Call, id: str) -> Candidate | None:
    """The lead of that id; None when the caller cannot read it. Raises Unavailable."""
    try:
        lead = await call.ask(
            "kehu.leads.v1.LeadService/GetLead", lead_service_pb2.GetLeadRequest(id=id), lead_pb2.Lead
        )
    except Problem as problem:
        if problem.code in UNSEEN:
            return None
        raise
    return Candidate(
        display_name=lead.name or lead.company_name,
        lead_id=UUID(lead.id),
        customer_id=UUID(lead.customer_id) if lead.customer_id else None,
        contact_id=UUID(lead.contact_id) if lead.customer_id and lead.contact_id else None,
    )


async def lead_candidates(call: Call, ids: Sequence[str]) -> list[Candidate]:
    """The leads of these ids that the caller can read. Raises Unavailable."""
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(id: str) -> Candidate | None:
        async with gate:
            return await lead_candidate(call, id)

    found = await asyncio.gather(*(one(id) for id in ids))
    return [candidate for candidate in found if candidate is not None]


async def customer_candidates(call: Call, ids: Sequence[str], contact_id: str = "") -> list[Candidate]:
    """The customers of these ids that the caller can read. Raises Unavailable."""
    if not ids:
        return []
    try:
        answer = await call.ask(
            "kehu.customers.v1.CustomerService/LookUpCustomers",
            customer_service_pb2.LookUpCustomersRequest(ids=ids),
            customer_service_pb2.LookUpCustomersResponse,
        )
    except Problem as problem:
        if problem.code in UNSEEN:
            return []
        raise
    contact = UUID(contact_id) if contact_id else None
    return [
        Candidate(card.display_name, customer_id=UUID(card.id), contact_id=contact)
        for card in answer.customers
    ]


async def check_contact(call: Call, id: str, customer_id: str) -> None:
    """Raises Invalid (CONTACT_NOT_FOUND) unless the customer has that contact and the caller can read it."""
    try:
        contact = await call.ask(
            "kehu.customers.v1.ContactService/GetContact",
            contact_service_pb2.GetContactRequest(id=id),
            contact_pb2.Contact,
        )
    except Problem as problem:
        if problem.code in UNSEEN:
            raise errors.contact_not_found(id) from None
        raise
    if contact.customer_id != customer_id:
        raise errors.contact_not_found(id)
