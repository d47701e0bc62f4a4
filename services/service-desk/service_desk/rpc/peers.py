"""Who asks, as customers knows them."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from kehu.customers.v1 import contact_pb2, contact_service_pb2
from kehu.customers.v1 import customer_service_pb2 as pb

from chassis.errors import Code, Problem
from chassis.rpc import Call
from service_desk.errors import contact_not_found, contact_without_customer, customer_not_found
from service_desk.ticket import Asker


async def asker_of(call: Call, values: Mapping[str, Any], customer_id: UUID | None = None) -> Asker:
    """Names of the customer and contact that the written `values` name; `customer_id` is the ticket's, when they name none.

    Raises Invalid (CUSTOMER_NOT_FOUND, CONTACT_NOT_FOUND) for what the caller may not read, Unavailable.
    """
    customer, contact = "", ""
    named: UUID | None = values.get("customer_id")
    if named:
        answer = await call.ask(
            "kehu.customers.v1.CustomerService/LookUpCustomers",
            pb.LookUpCustomersRequest(ids=[str(named)]),
            pb.LookUpCustomersResponse,
        )
        if not answer.customers:
            raise customer_not_found(named)
        customer = answer.customers[0].display_name
    if values.get("contact_id"):
        of = named if "customer_id" in values else customer_id
        contact = await _contact_name(call, values["contact_id"], of)
    return Asker(customer, contact)


async def _contact_name(call: Call, id: UUID, customer_id: UUID | None) -> str:
    if customer_id is None:
        raise contact_without_customer()
    try:
        contact = await call.ask(
            "kehu.customers.v1.ContactService/GetContact",
            contact_service_pb2.GetContactRequest(id=str(id)),
            contact_pb2.Contact,
        )
    except Problem as problem:
        if problem.code is Code.NOT_FOUND:
            raise contact_not_found(id) from None
        raise
    if UUID(contact.customer_id) != customer_id:
        raise contact_not_found(id)
    return contact.display_name
