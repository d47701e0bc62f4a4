"""What tickets show customers and contacts as: the name they have now, and none once they left the trash for good. What somebody
has written into a ticket stays."""

from uuid import UUID

from sqlmodel import col

from chassis.database import Transaction
from chassis.privacy.person import GONE
from chassis.shown import show
from service_desk.ticket import Ticket


async def rename_customer(tx: Transaction, customer_id: UUID, name: str) -> None:
    """Shows that name on the customer's tickets."""
    await show(
        tx,
        Ticket,
        {"customer_name": name},
        Ticket.derive,
        col(Ticket.customer_id) == customer_id,
        col(Ticket.customer_name) != name,
    )


async def forget_customer(tx: Transaction, customer_id: UUID, person: bool) -> None:
    """Empties the customer's name on its tickets."""
    await rename_customer(tx, customer_id, GONE)


async def forget_contact(tx: Transaction, contact_id: UUID, person: bool) -> None:
    """Empties the contact's name on tickets; who has asked is told by the ticket itself, where somebody wrote it down."""
    named = (col(Ticket.contact_id) == contact_id, col(Ticket.contact_name) != "")
    await show(tx, Ticket, {"contact_name": ""}, Ticket.derive, *named)
