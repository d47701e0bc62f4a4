"""Tickets: a customer's request, from opening to closing.

    NEW -> OPEN <-> PENDING        NEW, OPEN, PENDING -> RESOLVED -> CLOSED        PENDING, RESOLVED, CLOSED -> OPEN

A rating is of a resolution. Reopening leaves it, so that nobody gets rid of a bad one by that; the customer may rate the next
resolution anew.

The first response is the first reply to the customer, or the resolution when there was none before; the time of resolution is
that of the last one. Both are kept as times, so that a report may measure them from the opening as it likes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import ARRAY, SmallInteger, Text, text
from sqlmodel import Field

from chassis.custom_fields.definitions import taken
from chassis.database import Transaction
from chassis.errors import Invalid
from chassis.events.event import Event
from chassis.ids import new_id
from chassis.mapping import change
from chassis.owners import Owner
from chassis.papers import drop_papers
from chassis.phones import normalised_phone
from chassis.records import Customized, Owned
from chassis.search import Searchable
from service_desk.errors import (
    RatingFixed,
    TicketClosed,
    TicketNotPendable,
    TicketNotRatable,
    TicketNotReopenable,
    TicketNotResolvable,
    TicketNotResolved,
)

NEW, OPEN, PENDING, RESOLVED, CLOSED = "NEW", "OPEN", "PENDING", "RESOLVED", "CLOSED"
STATUSES = (NEW, OPEN, PENDING, RESOLVED, CLOSED)
UNRESOLVED = (NEW, OPEN, PENDING)
PRIORITIES = {"LOW": 1, "NORMAL": 2, "HIGH": 3, "URGENT": 4}
CHANNELS = ("PHONE", "EMAIL", "WEB", "CHAT", "VISIT")
CHANGEABLE = timedelta(days=30)
"""How long a customer may think better of a rating."""


class Ticket(Owned, Searchable, Customized, table=True):
    """A request of a customer. Its owner is the person who works on it."""

    __tablename__ = "tickets"  # pyright: ignore[reportAssignmentType]
    record_type: ClassVar[str] = "ticket"
    history_hidden: ClassVar[frozenset[str]] = frozenset({"urgency", "contact_name"})

    number: str
    subject: str
    description: str = ""
    customer_id: UUID | None = None
    contact_id: UUID | None = None
    customer_name: str = ""
    contact_name: str = ""
    """As it was when the contact was named: who speaks when the customer's message has no author."""
    channel: str = "PHONE"
    priority: str = "NORMAL"
    urgency: int = Field(default=PRIORITIES["NORMAL"], sa_type=SmallInteger)
    """The priority's place, for ordering."""
    status: str = NEW
    category: str = ""
    tags: list[str] = Field(default_factory=list[str], sa_type=ARRAY(Text))  # pyright: ignore[reportArgumentType]
    requester_name: str = ""
    requester_phone: str = ""
    requester_email: str = ""
    order_id: UUID | None = None
    product_id: UUID | None = None
    assign_time: datetime | None = None
    first_response_time: datetime | None = None
    resolve_time: datetime | None = None
    close_time: datetime | None = None
    reopen_count: int = 0
    resolution: str = ""
    pend_reason: str = ""
    reply_count: int = 0
    external_key: str = ""
    rating: int | None = Field(default=None, sa_type=SmallInteger)
    """From 1 to 5."""
    rating_comment: str = ""
    rate_time: datetime | None = None
    """When the resolution was first rated; from before `resolve_time` when that was an earlier one."""

    def derive(self) -> None:
        """Keeps the words for searching and the order of urgency true to the fields."""
        self.urgency = PRIORITIES[self.priority]
        self.find_by(
            names=[self.subject, self.customer_name],
            people=[self.requester_name],
            phones=[self.requester_phone],
            texts=[self.number, self.requester_email, self.external_key, *self.tags],
        )

    def need_unclosed(self) -> None:
        """Raises TicketClosed."""
        if self.status == CLOSED:
            raise TicketClosed


@dataclass(frozen=True, kw_only=True)
class TicketSnapshot:
    number: str
    subject: str
    customer_id: UUID | None
    contact_id: UUID | None
    channel: str
    priority: str
    status: str
    category: str
    create_time: datetime
    first_response_time: datetime | None
    resolve_time: datetime | None
    close_time: datetime | None
    reopen_count: int
    order_id: UUID | None
    product_id: UUID | None
    rating: int | None
    rate_time: datetime | None
    custom_fields: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class TicketEvent(Event):
    """What every event says of a ticket."""

    ticket_id: UUID
    owner_id: UUID | None
    team_id: UUID | None
    ticket: TicketSnapshot


class TicketOpened(TicketEvent):
    pass


@dataclass(frozen=True, kw_only=True)
class TicketUpdated(TicketEvent):
    changed_fields: list[str]


@dataclass(frozen=True, kw_only=True)
class TicketAssigned(TicketEvent):
    previous_owner_id: UUID | None


@dataclass(frozen=True, kw_only=True)
class TicketResponded(TicketEvent):
    first: bool


class TicketPended(TicketEvent):
    pass


class TicketResolved(TicketEvent):
    pass


class TicketReopened(TicketEvent):
    pass


class TicketHasClosed(TicketEvent):
    """ticket.closed; the refusal has the shorter name."""


@dataclass(frozen=True, kw_only=True)
class TicketRated(TicketEvent):
    previous_rating: int | None


class TicketDeleted(TicketEvent):
    pass


def told(ticket: Ticket) -> dict[str, Any]:
    """What every event says of a ticket."""
    it = ticket
    return {
        "ticket_id": it.id,
        "owner_id": it.owner_id,
        "team_id": it.team_id,
        "ticket": TicketSnapshot(
            number=it.number, subject=it.subject, customer_id=it.customer_id, contact_id=it.contact_id, channel=it.channel,
            priority=it.priority, status=it.status, category=it.category, create_time=it.created_at,
            first_response_time=it.first_response_time, resolve_time=it.resolve_time, close_time=it.close_time,
            reopen_count=it.reopen_count, order_id=it.order_id, product_id=it.product_id, rating=it.rating,
            rate_time=it.rate_time, custom_fields=dict(it.custom_fields),
        ),
    }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Asker:
    """The customer and contact of a ticket, as customers knows them."""

    customer_name: str = ""
    contact_name: str = ""


_NEXT_NUMBER = text(
    "INSERT INTO counters (tenant_id, name, value) VALUES (:tenant, :name, 1)"
    " ON CONFLICT (tenant_id, name) DO UPDATE SET value = counters.value + 1 RETURNING value"
)


def _tidy(values: Mapping[str, Any]) -> dict[str, Any]:
    tidy = dict(values)
    if tidy.get("requester_phone"):
        tidy["requester_phone"] = normalised_phone(tidy["requester_phone"])
    if tidy.get("requester_email"):
        tidy["requester_email"] = tidy["requester_email"].lower()
    if tidy.get("channel") == "":
        tidy["channel"] = "PHONE"
    if tidy.get("priority") == "":
        tidy["priority"] = "NORMAL"
    if tidy.get("subject") == "":
        raise Invalid("ticket.subject", "cannot be empty")
    return tidy


async def open_ticket(
    tx: Transaction, values: Mapping[str, Any], asker: Asker, owner: Owner, id: UUID | None
) -> Ticket:
    """A new ticket of that owner. Raises Invalid for custom fields that are wrong."""
    year = tx.now.year
    columns: dict[str, Any] = {
        **_tidy(await taken(tx, Ticket.record_type, values)), "id": id or new_id(), "owner_id": owner.person_id,
        "team_id": owner.team_id, "customer_name": asker.customer_name, "contact_name": asker.contact_name, "number": "",
    }  # fmt: skip
    ticket = Ticket(**columns)
    # The counter's row is held until the end, so it is asked last.
    counted = await tx.session.execute(_NEXT_NUMBER, {"tenant": tx.who.tenant_id, "name": f"ticket {year}"})
    ticket.number = f"T-{year}-{counted.scalar_one():06d}"
    ticket.derive()
    tx.add(ticket)
    tx.record(TicketOpened(**told(ticket)), on=ticket)
    return ticket


async def change_ticket(tx: Transaction, ticket: Ticket, values: Mapping[str, Any], asker: Asker) -> None:
    """Changes fields; `asker` counts as far as `values` name a customer or contact. Raises TicketClosed; Invalid for custom
    fields that are wrong."""
    ticket.need_unclosed()
    columns = _tidy(await taken(tx, ticket.record_type, values, ticket.custom_fields))
    if "customer_id" in columns:
        columns["customer_name"] = asker.customer_name
        if columns["customer_id"] != ticket.customer_id:
            columns.setdefault("contact_id", None)  # the former customer's contact does not ask for this one
    if "contact_id" in columns:
        columns["contact_name"] = asker.contact_name
    changed = [name for name in change(ticket, columns) if name not in ("customer_name", "contact_name")]
    if changed:
        ticket.derive()
        tx.record(TicketUpdated(**told(ticket), changed_fields=changed), on=ticket)


def assign_ticket(tx: Transaction, ticket: Ticket, owner: Owner) -> None:
    """Gives it to a person to work on; a new ticket becomes open. Raises TicketClosed."""
    ticket.need_unclosed()
    if ticket.owner_id == owner.person_id and ticket.status != NEW:
        return
    previous = ticket.owner_id
    ticket.owner_id, ticket.team_id = owner.person_id, owner.team_id
    ticket.assign_time = tx.now
    if ticket.status == NEW:
        ticket.status = OPEN
    tx.record(TicketAssigned(**told(ticket), previous_owner_id=previous), on=ticket)


def answer_customer(tx: Transaction, ticket: Ticket) -> None:
    """The customer got a reply; a new ticket becomes open. Raises TicketClosed."""
    ticket.need_unclosed()
    first = ticket.first_response_time is None
    if first:
        ticket.first_response_time = tx.now
    ticket.reply_count += 1
    if ticket.status == NEW:
        ticket.status = OPEN
    tx.record(TicketResponded(**told(ticket), first=first), on=ticket)


def hear_customer(tx: Transaction, ticket: Ticket) -> None:
    """The customer wrote; what waited is open again. Raises TicketClosed."""
    ticket.need_unclosed()
    if ticket.status == PENDING:
        ticket.status, ticket.pend_reason = OPEN, ""
        tx.record(TicketUpdated(**told(ticket), changed_fields=["status"]), on=ticket)


def pend(tx: Transaction, ticket: Ticket, reason: str) -> None:
    """It waits. Raises TicketNotPendable."""
    if ticket.status not in (NEW, OPEN):
        raise TicketNotPendable(ticket.status)
    ticket.status, ticket.pend_reason = PENDING, reason
    tx.record(TicketPended(**told(ticket)), on=ticket)


def resolve(tx: Transaction, ticket: Ticket, resolution: str) -> None:
    """It is answered. Raises TicketNotResolvable."""
    if ticket.status not in UNRESOLVED:
        raise TicketNotResolvable(ticket.status)
    ticket.status, ticket.resolution, ticket.pend_reason = RESOLVED, resolution, ""
    ticket.resolve_time = tx.now
    ticket.first_response_time = ticket.first_response_time or tx.now
    tx.record(TicketResolved(**told(ticket)), on=ticket)


def reopen(tx: Transaction, ticket: Ticket) -> None:
    """It is open again; after PENDING that does not count as reopened. Raises TicketNotReopenable."""
    if ticket.status not in (PENDING, RESOLVED, CLOSED):
        raise TicketNotReopenable(ticket.status)
    if ticket.status != PENDING:
        ticket.reopen_count += 1
    ticket.status, ticket.pend_reason = OPEN, ""
    ticket.resolve_time = ticket.close_time = None
    tx.record(TicketReopened(**told(ticket)), on=ticket)


def close(tx: Transaction, ticket: Ticket) -> None:
    """It is over. Raises TicketNotResolved."""
    if ticket.status != RESOLVED:
        raise TicketNotResolved(ticket.status)
    ticket.status, ticket.close_time = CLOSED, tx.now
    tx.record(TicketHasClosed(**told(ticket)), on=ticket)


def rate(tx: Transaction, ticket: Ticket, rating: int, comment: str) -> None:
    """The customer says how content it was with the resolution. Raises TicketNotRatable, RatingFixed."""
    if ticket.status not in (RESOLVED, CLOSED) or ticket.resolve_time is None:
        raise TicketNotRatable(ticket.status)
    first = ticket.rate_time is None or ticket.rate_time < ticket.resolve_time
    if not first and (ticket.rating, ticket.rating_comment) == (rating, comment):
        return
    if first:
        ticket.rate_time = tx.now
    elif ticket.rate_time is not None and tx.now > ticket.rate_time + CHANGEABLE:
        raise RatingFixed(CHANGEABLE.days)
    previous = ticket.rating
    ticket.rating, ticket.rating_comment = rating, comment
    tx.record(TicketRated(**told(ticket), previous_rating=previous), on=ticket)


async def drop_ticket(tx: Transaction, ticket: Ticket) -> None:
    """Deletes it with what is on it."""
    await drop_papers(tx, ticket.record_type, [ticket.id])
    tx.delete(ticket)
    tx.record(TicketDeleted(**told(ticket)), on=ticket)
