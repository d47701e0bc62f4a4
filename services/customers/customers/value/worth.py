"""A customer's value now: orders, revenue and margin, and what open opportunities may bring, by currency; and how content it is.

Margin counts what was sold at a known cost, less that cost, and nothing else: revenue of unknown cost would be margin to the last
cent, or none of it, and either is a guess. `costed_revenue` says how much of the revenue it rests on; where no cost is known
there is no margin, which is another matter than one of 0.

Derived from the facts of that customer whenever one of them changes, in the same transaction; amounts of different currencies
are never added. Scores are another matter, for they depend on all customers: see `review`.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import JSONB

from chassis.database import Transaction
from chassis.events.event import Envelope
from customers.customer import Customer
from customers.value.arrears import all_owe_anew, owe_anew
from customers.value.satisfaction import INDEX, counts_from
from customers.value.shown import hold_customers, show

# Locks the row even when it stays as it is. Whoever waits here for another who values the same customer counts after that one has
# ended, by a statement of its own, and so knows of its order.
_HOLD = text(
    "INSERT INTO customer_values AS t (tenant_id, customer_id, order_count) VALUES (:tenant, :customer, 0)"
    " ON CONFLICT (tenant_id, customer_id) DO UPDATE SET order_count = t.order_count WHERE false"
)
# Composed of a constant.
_COUNT = text(
    "UPDATE customer_values v SET order_count = o.orders, last_order_date = o.latest, satisfaction = r.index, ratings = r.many"  # noqa: S608 (a constant)
    " FROM (SELECT count(*) AS orders, max(order_date) AS latest FROM customer_orders WHERE customer_id = :customer"
    f" AND NOT cancelled) o, (SELECT {INDEX} AS index, count(*) AS many FROM customer_ratings"
    " WHERE customer_id = :customer AND rated_on >= :since) r WHERE v.customer_id = :customer"
)
_FORGET = text("DELETE FROM customer_amounts WHERE customer_id = :customer")
_SUM = text(
    "WITH bought AS (SELECT currency, count(*) AS orders, sum(revenue) AS revenue,"
    " sum(costed_revenue) AS costed_revenue, sum(costed_revenue - cost) AS margin FROM customer_orders"
    " WHERE customer_id = :customer AND NOT cancelled GROUP BY currency),"
    " latest AS (SELECT DISTINCT ON (o.id) o.* FROM customer_opportunities o"
    " WHERE o.id IN (SELECT id FROM customer_opportunities WHERE customer_id = :customer) ORDER BY o.id, o.month DESC),"
    " hoped AS (SELECT currency, sum(potential) AS potential FROM latest"
    " WHERE customer_id = :customer AND open AND currency <> '' GROUP BY currency)"
    " INSERT INTO customer_amounts (tenant_id, customer_id, currency, order_count, revenue, costed_revenue, margin, potential)"
    " SELECT :tenant, :customer, currency, coalesce(orders, 0), coalesce(revenue, 0), costed_revenue, margin,"
    " coalesce(potential, 0)"
    " FROM bought FULL JOIN hoped USING (currency)"
)
_MAIN = text(
    "INSERT INTO main_currencies AS t (tenant_id, currency, version, event_id) VALUES (:tenant, :currency, :version, :event)"
    " ON CONFLICT (tenant_id) DO UPDATE SET currency = excluded.currency, version = excluded.version,"
    " event_id = excluded.event_id WHERE (t.version, t.event_id) < (excluded.version, excluded.event_id)"
)


_NOTHING = text(
    "DELETE FROM customer_values WHERE customer_id = :customer"
    " AND NOT EXISTS (SELECT FROM customer_orders WHERE customer_id = :customer)"
    " AND NOT EXISTS (SELECT FROM customer_opportunities WHERE customer_id = :customer)"
    " AND NOT EXISTS (SELECT FROM customer_ratings WHERE customer_id = :customer)"
)


async def revalue(tx: Transaction, customer_id: UUID) -> None:
    """Derives the customer's value anew; a customer nobody knows is nobody's fault."""
    whose = {"tenant": tx.who.tenant_id, "customer": customer_id}
    await hold_customers(tx, [customer_id])
    await tx.session.execute(_HOLD, whose)
    await tx.session.execute(_COUNT, {**whose, "since": counts_from(tx.now.date())})
    await tx.session.execute(_FORGET, whose)
    await tx.session.execute(_SUM, whose)
    await show(tx, [customer_id])
    await owe_anew(tx, customer_id)


async def forget_worthless(tx: Transaction, customer_id: UUID) -> None:
    """Removes the value of a customer of whom no order, no opportunity and no rating is known."""
    await tx.session.execute(_NOTHING, {"customer": customer_id})
    await show(tx, [customer_id])


_HELD = text(
    "SELECT (SELECT to_jsonb(v) - ARRAY['tenant_id', 'customer_id'] FROM customer_values v WHERE v.customer_id = :customer)"
    " AS now, (SELECT jsonb_agg(to_jsonb(a) - ARRAY['tenant_id', 'customer_id'] ORDER BY a.currency) FROM customer_amounts a"
    " WHERE a.customer_id = :customer) AS amounts, (SELECT jsonb_agg(to_jsonb(m) - ARRAY['tenant_id', 'customer_id']"
    " ORDER BY m.month) FROM customer_value_months m WHERE m.customer_id = :customer) AS months"
).columns(now=JSONB, amounts=JSONB, months=JSONB)


_OURS = frozenset({"margin", "costed_revenue", "total_margin", "total_costed_revenue"})
"""What tells of our costs, and so is told to no customer."""


def _theirs(amounts: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in one.items() if name not in _OURS} for one in amounts]


async def value_of(tx: Transaction, customer: Customer) -> dict[str, Any]:
    """What is derived of the customer's value, for whoever asks what is held about them, but for costs and margins. Amounts are
    in minor units."""
    held = (await tx.session.execute(_HELD, {"customer": customer.id})).mappings().one()
    months = [{**one, "amounts": _theirs(one["amounts"])} for one in held["months"] or ()]
    return {"value": {"now": held["now"], "amounts": _theirs(held["amounts"] or ()), "months": months}}


async def keep_main_currency(tx: Transaction, currency: str, envelope: Envelope) -> None:
    """The tenant's own currency, unless a newer event has told it."""
    told = {
        "tenant": envelope.tenant_id,
        "currency": currency,
        "version": envelope.version,
        "event": envelope.event_id,
    }
    await tx.session.execute(_MAIN, told)
    await all_owe_anew(tx)
