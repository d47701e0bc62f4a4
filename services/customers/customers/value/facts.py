"""What events tell of orders and opportunities, as far as a customer's value needs it.

One row for each order, from its newest event; one row for each opportunity and month, from its newest event in that month: so
past months can be told again from the events alone. Which event is the newest is said by the record's version and, between events
of one change, by the event's id. So events may come late, twice or in any order, and the facts end up the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Uuid, bindparam, text

from chassis.database import Transaction
from chassis.events.event import Envelope
from chassis.kept import Kept
from chassis.months import month_of


@dataclass(frozen=True, kw_only=True)
class OrderFact:
    """Amounts in minor units: `revenue` without tax, `total` with it, `received` what was paid of that. `costed_revenue` is the
    part of the revenue whose cost is known, and `cost` that cost; both are None when no cost is known."""

    id: UUID
    customer_id: UUID
    cancelled: bool
    currency: str
    revenue: int
    total: int
    received: int
    costed_revenue: int | None
    cost: int | None
    order_date: date


@dataclass(frozen=True, kw_only=True)
class OpportunityFact:
    """`potential` is the amount x probability in minor units; 0 and no currency when the amount is unknown."""

    id: UUID
    customer_id: UUID
    open: bool
    currency: str
    potential: int


FACTS: Mapping[str, tuple[str, str]] = {
    "order_fact": ("customer_orders", "order_date"),
    "opportunity_fact": ("customer_opportunities", "month"),
    "rating_fact": ("customer_ratings", "rated_on"),
}
"""What is known of a customer: by the name under which a merge keeps it, the table, and the day or month for which it counts. Of
an opportunity there is one row for each month."""
_IDS = bindparam("ids", type_=ARRAY(Uuid))
# Composed of the tables above.
_OF = {
    kind: text(
        f"SELECT id, customer_id, {day} AS day FROM {table} WHERE customer_id = ANY(:ids)"  # noqa: S608 (as above)
    ).bindparams(_IDS)
    for kind, (table, day) in FACTS.items()
}
_MOVE = {
    kind: text(f"UPDATE {table} SET customer_id = :to WHERE customer_id = ANY(:ids)").bindparams(_IDS)  # noqa: S608 (as above)
    for kind, (table, _) in FACTS.items()
}
_BACK = {
    kind: text(
        f"UPDATE {table} SET customer_id = :former WHERE id = :id AND customer_id = :survivor"  # noqa: S608 (as above)
        f" AND (CAST(:month AS date) IS NULL OR {day} = :month)"
    )
    for kind, (table, day) in FACTS.items()
}
_FIRST_DAY = text(
    "SELECT least("  # noqa: S608 (as above)
    + ", ".join(f"(SELECT min({day}) FROM {table} WHERE customer_id = :id)" for table, day in FACTS.values())  # noqa: S608 (as above)
    + ")"
)
_KEEP_ORDER = text(
    "INSERT INTO customer_orders AS t (tenant_id, id, version, event_id, customer_id, cancelled, currency, revenue, total,"
    " received, costed_revenue, cost, order_date)"
    " VALUES (:tenant, :id, :version, :event, :customer_id, :cancelled, :currency, :revenue, :total, :received, :costed_revenue,"
    " :cost, :order_date)"
    " ON CONFLICT (tenant_id, id) DO UPDATE SET version = excluded.version, event_id = excluded.event_id,"
    " customer_id = excluded.customer_id, cancelled = excluded.cancelled, currency = excluded.currency,"
    " revenue = excluded.revenue, total = excluded.total, received = excluded.received, costed_revenue = excluded.costed_revenue,"
    " cost = excluded.cost, order_date = excluded.order_date"
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


async def first_day(tx: Transaction, customer: UUID) -> date | None:
    """The first day for which something is known of the customer."""
    return (await tx.session.execute(_FIRST_DAY, {"id": customer})).scalar_one()


async def move_facts(tx: Transaction, ids: Sequence[UUID], to: UUID) -> tuple[Kept, list[date], set[UUID]]:
    """Lets that customer have what is known of those. Answers with what was moved, its days, and who had it."""
    kept: Kept = {}
    days: list[date] = []
    former: set[UUID] = set()
    for kind, found in _OF.items():
        for row in (await tx.session.execute(found, {"ids": list(ids)})).all():
            key = f"{row.id} {row.day}" if kind == "opportunity_fact" else str(row.id)
            kept.setdefault(kind, {})[key] = {"customer_id": [str(row.customer_id), str(to)]}
            days.append(row.day)
            former.add(row.customer_id)
        await tx.session.execute(_MOVE[kind], {"to": to, "ids": list(ids)})
    return kept, days, former


async def facts_back(tx: Transaction, kept: Mapping[str, Any], survivor: UUID) -> set[UUID]:
    """Lets those have what was moved to the survivor again, as far as it has it still. Answers with whom."""
    former: set[UUID] = set()
    for kind, back in _BACK.items():
        for key, changed in kept.get(kind, {}).items():
            id, _, month = key.partition(" ")
            had = UUID(changed["customer_id"][0])
            moved: dict[str, Any] = {
                "former": had, "survivor": survivor, "id": UUID(id), "month": date.fromisoformat(month) if month else None,
            }  # fmt: skip
            await tx.session.execute(back, moved)
            former.add(had)
    return former


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
