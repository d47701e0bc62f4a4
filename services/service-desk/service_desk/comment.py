"""Comments: what was said about a ticket. They are added, never changed."""

from uuid import UUID

from chassis.database import Transaction
from chassis.ids import new_id
from chassis.records import Record
from service_desk.ticket import Ticket

REPLY, CUSTOMER_MESSAGE, NOTE = "REPLY", "CUSTOMER_MESSAGE", "NOTE"


class TicketComment(Record, table=True):
    """A reply, a customer's message or a note. Whoever sees the ticket sees it."""

    __tablename__ = "ticket_comments"  # pyright: ignore[reportAssignmentType]

    ticket_id: UUID
    kind: str
    body: str
    author_name: str = ""


def comment(tx: Transaction, ticket: Ticket, kind: str, body: str, author_name: str = "") -> TicketComment:
    """Adds a comment. The author of a customer's message is the contact or requester unless named."""
    if kind != CUSTOMER_MESSAGE:
        author_name = tx.who.name
    elif not author_name:
        author_name = ticket.contact_name or ticket.requester_name or ticket.customer_name
    made = TicketComment(id=new_id(), ticket_id=ticket.id, kind=kind, body=body, author_name=author_name)
    tx.add(made)
    return made
