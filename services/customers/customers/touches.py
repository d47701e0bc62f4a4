"""When we last spoke with a customer, last sold to it and last served it, and when we are to speak with it next: kept by the
events of the services where it happens.

The last times only ever move forward, and of each activity its newest event counts, so repeats and disorder of events, and
a replay of all of them, come to the same end. They are no edit: they change neither the version nor the history of the
customer, and nobody's etag goes stale by them.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import text

from chassis.database import Transaction
from chassis.events.event import Envelope

PLANNED, COMPLETED, GONE = "PLANNED", "COMPLETED", "GONE"
KINDS = ("contact", "deal", "service")

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

    @property
    def touch(self) -> Touch | None:
        """That somebody was in touch with the customer, if it says so."""
        if self.state != COMPLETED or self.customer_id is None:
            return None
        return Touch(kind="contact", customer_id=self.customer_id, at=self.at)


_CUSTOMER_OF = text("SELECT customer_id FROM customer_activities WHERE id = :id")
_KEEP = text(
    "INSERT INTO customer_activities AS t (tenant_id, id, version, event_id, customer_id, state, at)"
    " VALUES (:tenant, :id, :version, :event, :customer_id, :state, :at)"
    " ON CONFLICT (tenant_id, id) DO UPDATE SET version = excluded.version, event_id = excluded.event_id,"
    " customer_id = excluded.customer_id, state = excluded.state, at = excluded.at"
    " WHERE (t.version, t.event_id) < (excluded.version, excluded.event_id)"
)
_NEXT = text(
    "UPDATE customers SET next_contact_time = (SELECT min(a.at) FROM customer_activities a WHERE a.customer_id = customers.id"
    " AND a.state = 'PLANNED') WHERE id = ANY(:ids)"
)


async def keep_activity(tx: Transaction, fact: ActivityFact, envelope: Envelope) -> None:
    """Keeps what the event says, unless a newer one has spoken, and what follows for the customers it concerns."""
    before = (await tx.session.execute(_CUSTOMER_OF, {"id": fact.id})).scalars().all()
    told = {
        **vars(fact), "tenant": envelope.tenant_id, "version": envelope.version, "event": envelope.event_id,
    }  # fmt: skip
    await tx.session.execute(_KEEP, told)
    concerned = {id for id in (fact.customer_id, *before) if id is not None}
    # Rows are locked in one order, whoever comes first.
    for id in sorted(concerned):
        await tx.session.execute(_NEXT, {"ids": [id]})
    if fact.touch is not None:
        await touch(tx, "contact", fact.touch.customer_id, fact.at)
