"""When we last spoke with a customer, last sold to it and last served it, and when we are to speak with it next: kept by the
events of the services where it happens.

Of each activity its newest event counts: what it said before of a customer with whom it was not, in the end, is taken back. Other
last times only ever move forward. So repeats and disorder of events, and a replay of all of them, come to the same end. They are
no edit: they change neither the version nor the history of the
customer, and nobody's etag goes stale by them. But a prospect that buys for the first time is none any more, which is one.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import text

from chassis.database import Transaction
from chassis.events.event import Envelope
from customers.customer import Customer, CustomerUpdated, told
from customers.value_lists import prospects_become_active

PLANNED, COMPLETED, GONE = "PLANNED", "COMPLETED", "GONE"
DEAL = "deal"
KINDS = ("contact", DEAL, "service")

# Whoever is in touch with a customer keeps it from going back to the pool.
_TOUCH = {
    kind: text(
        f"UPDATE customers SET last_{kind}_time = greatest(last_{kind}_time, :at), return_time = CASE WHEN :at >"  # noqa: S608 (constants)
        " greatest(created_at, assign_time, last_contact_time, last_deal_time, last_service_time) THEN NULL"
        " ELSE return_time END WHERE id = :id"
    )
    for kind in KINDS
}


async def touch(tx: Transaction, kind: str, customer_id: UUID, at: datetime) -> None:
    """Notes a touch of that kind ('contact', 'deal' or 'service'); an unknown customer is nobody's fault."""
    await tx.session.execute(_TOUCH[kind], {"id": customer_id, "at": at})


_FIRST = text(
    "SELECT 1 FROM customers WHERE id = :id AND stage = 'PROSPECT' AND became_active_time IS NULL AND deleted_at IS NULL"
)


async def first_deal(tx: Transaction, customer_id: UUID) -> None:
    """A prospect becomes ACTIVE by its first deal, or by the next when it could not be told by that, as of one in the trash. Whom
    somebody makes a prospect again afterwards stays one."""
    if (await tx.session.execute(_FIRST, {"id": customer_id})).first() is None:
        return
    customer = await tx.find(Customer, customer_id)
    if customer is None or customer.stage != "PROSPECT" or customer.became_active_time is not None:
        return  # somebody was faster
    if await prospects_become_active(tx):
        customer.stage, customer.became_active_time = "ACTIVE", tx.now
        tx.record(CustomerUpdated(**told(customer), changed_fields=["stage"]), on=customer)
        await tx.session.flush()


@dataclass(frozen=True, kw_only=True)
class Touch:
    """A touch as an event tells it; `kind` is one of KINDS."""

    kind: str
    customer_id: UUID
    at: datetime


@dataclass(frozen=True, kw_only=True)
class ActivityFact:
    """An activity as an event tells it: with whom, and when it is due or was done. GONE is one that is neither."""

    id: UUID
    customer_id: UUID | None
    state: str
    at: datetime


_BEFORE = text("SELECT customer_id, state, at FROM customer_activities WHERE id = :id")
_KEEP = text(
    "INSERT INTO customer_activities AS t (tenant_id, id, version, event_id, customer_id, state, at)"
    " VALUES (:tenant, :id, :version, :event, :customer_id, :state, :at)"
    " ON CONFLICT (tenant_id, id) DO UPDATE SET version = excluded.version, event_id = excluded.event_id,"
    " customer_id = excluded.customer_id, state = excluded.state, at = excluded.at"
    " WHERE (t.version, t.event_id) < (excluded.version, excluded.event_id) RETURNING id"
)
# A time that another activity has given, or one of before activities were kept, stays.
_TAKE_BACK = text(
    "UPDATE customers SET last_contact_time = (SELECT max(a.at) FROM customer_activities a WHERE a.customer_id = customers.id"
    " AND a.state = 'COMPLETED') WHERE id = :id AND last_contact_time = :at"
)
_NEXT = text(
    "UPDATE customers SET next_contact_time = (SELECT min(a.at) FROM customer_activities a WHERE a.customer_id = customers.id"
    " AND a.state = 'PLANNED') WHERE id = ANY(:ids)"
)


async def keep_activity(tx: Transaction, fact: ActivityFact, envelope: Envelope) -> None:
    """Keeps what the event says, unless a newer one has spoken, and what follows for the customers it concerns."""
    before = (await tx.session.execute(_BEFORE, {"id": fact.id})).one_or_none()
    told = {
        **vars(fact), "tenant": envelope.tenant_id, "version": envelope.version, "event": envelope.event_id,
    }  # fmt: skip
    if (await tx.session.execute(_KEEP, told)).one_or_none() is None:
        return
    former = before.customer_id if before is not None else None
    # Rows are locked in one order, whoever comes first.
    for id in sorted({id for id in (fact.customer_id, former) if id is not None}):
        await tx.session.execute(_NEXT, {"ids": [id]})
    if before is not None and former is not None and before.state == COMPLETED:
        await tx.session.execute(_TAKE_BACK, {"id": former, "at": before.at})
    if fact.state == COMPLETED and fact.customer_id is not None:
        await touch(tx, "contact", fact.customer_id, fact.at)
