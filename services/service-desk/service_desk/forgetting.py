"""Customers and contacts that left the trash for good: tickets no longer say what they were called. What somebody has written
into a ticket stays."""

from uuid import UUID

from sqlmodel import col

from chassis.database import Transaction
from chassis.privacy.person import GONE
from chassis.shown import show
from service_desk.ticket import Ticket


async def forget_customer(tx: Transaction, customer_id: UUID, person: bool) -> None:
    """Empties the customer's name on its tickets."""
    named = (col(Ticket.customer_id) == customer_id, col(Ticket.customer_name) != GONE)
    await show(tx, Ticket, {"customer_name": GONE}, Ticket.derive, *named)


async def forget_contact(tx: Transaction, contact_id: UUID, person: bool) -> None:
    """Empties the contact's name on tickets; who has asked is told by the ticket itself, where somebody wrote it down."""
    named = (col(Ticket.contact_id) == contact_id, col(Ticket.contact_name) != "")
    await show(tx, Ticket, {"contact_name": ""}, Ticket.derive, *named)
