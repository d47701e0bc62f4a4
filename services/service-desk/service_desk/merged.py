"""Customers and contacts that were merged: their tickets follow, and say so; fields of the tenant's own do as well."""

from chassis.custom_fields.references import CustomReferences
from chassis.database import Transaction
from chassis.following import Following, Reference, Target
from service_desk.custom_fields import CUSTOM_FIELDS
from service_desk.ticket import Ticket, TicketUpdated, told


def _tell(tx: Transaction, row: Ticket, *columns: str) -> None:
    row.derive()
    if row.deleted_at is None:
        tx.record(TicketUpdated(**told(row), changed_fields=[*columns]), on=row)


async def _to_customer(tx: Transaction, ticket: Ticket, to: Target, aside: bool) -> bool:
    ticket.customer_id = to.id
    ticket.customer_name = ticket.customer_name if to.name is None else to.name
    _tell(tx, ticket, "customer_id")
    return False


async def _to_contact(tx: Transaction, ticket: Ticket, to: Target, aside: bool) -> bool:
    ticket.contact_id = to.id
    ticket.contact_name = ticket.contact_name if to.name is None else to.name
    _tell(tx, ticket, "contact_id")
    return False


CUSTOMERS = Following(
    "customer",
    Reference(Ticket, "customer_id", _to_customer),
    custom=CustomReferences(CUSTOM_FIELDS, _tell),
)
CONTACTS = Following("contact", Reference(Ticket, "contact_id", _to_contact))
