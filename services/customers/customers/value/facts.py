"""What events tell of orders and opportunities, as far as a customer's value needs it.

One row for each order, from its newest event; one row for each opportunity and month, from its newest event in that month: so
past months can be told again from the events alone. Which event is the newest is said by the record's version and, between events
of one change, by the event's id. So events may come late, twice or in any order, and the facts end up the same.
"""

from dataclasses import dataclass
from datetime import date
from uuid import UUID

from sqlalchemy import text

from chassis.database import Transaction
from chassis.events.event import Envelope
from chassis.months import month_of


@dataclass(frozen=True, kw_only=True)
class OrderFact:
    """Amounts in minor units: `revenue` without tax, `total` with it, `received` what was paid of that."""

    id: UUID
    customer_id: UUID
    cancelled: bool
    currency: str
    revenue: int
    total: int
    received: int
    order_date: date


@dataclass(frozen=True, kw_only=True)
class OpportunityFact:
    """`potential` is the amount x probability in minor units; 0 and no currency when the amount is unknown."""

    id: UUID
    customer_id: UUID
    open: bool
    currency: str
    potential: int


_KEEP_ORDER = text(
    "INSERT INTO customer_orders AS t (tenant_id, id, version, event_id, customer_id, cancelled, currency, revenue, total,"
    " received, order_date)"
    " VALUES (:tenant, :id, :version, :event, :customer_id, :cancelled, :currency, :revenue, :total, :received, :order_date)"
    " ON CONFLICT (tenant_id, id) DO UPDATE SET version = excluded.version, event_id = excluded.event_id,"
    " customer_id = excluded.customer_id, cancelled = excluded.cancelled, currency = excluded.currency,"
    " revenue = excluded.revenue, total = excluded.total, received = excluded.received, order_date = excluded.order_date"
    " WHERE (t.version, t.event_id) < (excluded.version, excluded.event_id)"
)
_IS_CANCELLED = text("SELECT cancelled FROM customer_orders WHERE id = :id")
_CUSTOMER_OF = text("SELECT customer_id FROM customer_orders WHERE id = :id")
_CUSTOMERS_OF = text("SELECT DISTINCT customer_id FROM customer_opportunities WHERE id = :id")
_KEEP_OPPORTUNITY = text(
    "INSERT INTO customer_opportunities AS t (tenant_id, id, month, version, event_id, customer_id, open, currency, potential)"
    " VALUES (:tenant, :id, :month, :version, :event, :customer_id, :open, :currency, :potential)"
    " ON CONFLICT (tenant_id, id, month) DO UPDATE SET version = excluded.version, event_id = excluded.event_id,"
    " customer_id = excluded.customer_id, open = excluded.open, currency = excluded.currency, potential = excluded.potential"
    " WHERE (t.version, t.event_id) < (excluded.version, excluded.event_id)"
)


async def keep_order(tx: Transaction, order: OrderFact, envelope: Envelope) -> bool:
    """Keeps what the event says, unless a newer one has spoken. Answers whether the order is cancelled, as far as is known."""
    told = {
        **vars(order),
        "tenant": envelope.tenant_id,
        "version": envelope.version,
        "event": envelope.event_id,
    }
    await tx.session.execute(_KEEP_ORDER, told)
    return bool((await tx.session.execute(_IS_CANCELLED, {"id": order.id})).scalar_one())


async def customer_of_order(tx: Transaction, id: UUID) -> set[UUID]:
    """Whose the order is, as far as is known."""
    return set((await tx.session.execute(_CUSTOMER_OF, {"id": id})).scalars())


async def customers_of_opportunity(tx: Transaction, id: UUID) -> set[UUID]:
    """Whom the opportunity is and was with, as far as is known."""
    return set((await tx.session.execute(_CUSTOMERS_OF, {"id": id})).scalars())


async def keep_opportunity(tx: Transaction, opportunity: OpportunityFact, envelope: Envelope) -> set[UUID]:
    """Keeps what the event says for its month. Answers whose value it concerns: also whom the opportunity was with before."""
    told = {
        **vars(opportunity), "tenant": envelope.tenant_id, "version": envelope.version, "event": envelope.event_id,
        "month": month_of(envelope.time.date()),
    }  # fmt: skip
    before = await customers_of_opportunity(tx, opportunity.id)
    await tx.session.execute(_KEEP_OPPORTUNITY, told)
    return {opportunity.customer_id, *before}
