"""Customers and contacts that left the trash for good: tickets no longer say what they were called. What somebody has written
into a ticket stays."""

from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, select, update
from sqlmodel import col

from chassis.database import Transaction
from chassis.privacy.person import GONE
from service_desk.ticket import Ticket


async def forget_customer(tx: Transaction, customer_id: UUID, person: bool) -> None:
    """Empties the customer's name on its tickets."""
    named = (col(Ticket.customer_id) == customer_id, col(Ticket.customer_name) != GONE)
    await _empty(tx, named, "customer_name", GONE)


async def forget_contact(tx: Transaction, contact_id: UUID, person: bool) -> None:
    """Empties the contact's name on tickets; who has asked is told by the ticket itself, where somebody wrote it down."""
    named = (col(Ticket.contact_id) == contact_id, col(Ticket.contact_name) != "")
    await _empty(tx, named, "contact_name", "")


async def _empty(tx: Transaction, named: tuple[ColumnElement[bool], ...], column: str, value: str) -> None:
    """It is no change of the tickets: their history would keep the name."""
    # Those that are there and deleted ones have an index each, and none has both.
    for there in (col(Ticket.deleted_at).is_(None), col(Ticket.deleted_at).is_not(None)):
        wanted = select(Ticket).where(*named, there).order_by(col(Ticket.id)).with_for_update()
        for ticket in (await tx.session.execute(wanted)).scalars().all():
            tx.session.expunge(ticket)
            setattr(ticket, column, value)
            ticket.derive()
            values: dict[str, Any] = {
                column: value, "search": ticket.search, "search_text": ticket.search_text
            }  # fmt: skip
            await tx.session.execute(update(Ticket).where(col(Ticket.id) == ticket.id).values(**values))
