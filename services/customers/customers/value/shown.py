"""What customers are worth, beside their names: columns of the customer's row, by which lists and segments are filtered and
ordered.

They follow from the customer's value in the transaction that changes it, and from the review; they are no change of the customer:
neither its version nor its history moves by them. Revenue, margin and potential are those in the tenant's own currency.
Satisfaction is written as replicas of the version before read it, and the database keeps the tenths true to it.
"""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import text

from chassis.database import Database, Transaction
from chassis.principal import NOBODY, Principal

SHOWN = (
    "order_count", "last_order_date", "revenue", "margin", "costed_revenue", "potential", "value_currency", "rfm_tier",
    "satisfaction_tenths",
)  # fmt: skip
"""The columns."""
_AT_ONCE = 1000

_HOLD = text("SELECT id FROM customers WHERE id = ANY(:ids) ORDER BY id FOR NO KEY UPDATE")
_IS = (
    "(SELECT k.id, coalesce(v.order_count, 0) AS order_count, v.last_order_date, coalesce(a.revenue, 0) AS revenue, a.margin,"
    " a.costed_revenue, coalesce(a.potential, 0) AS potential, coalesce(a.currency, '') AS value_currency, v.tier AS rfm_tier,"
    " v.satisfaction AS satisfaction_index FROM customers k LEFT JOIN customer_values v ON v.customer_id = k.id"
    " LEFT JOIN main_currencies m ON true LEFT JOIN customer_amounts a ON a.customer_id = k.id AND a.currency = m.currency"
)
_OTHER = (
    " d WHERE c.id = d.id AND (c.order_count, c.last_order_date, c.revenue, c.margin, c.costed_revenue, c.potential,"
    " c.value_currency, c.rfm_tier, c.satisfaction_index) IS DISTINCT FROM (d.order_count, d.last_order_date, d.revenue,"
    " d.margin, d.costed_revenue, d.potential, d.value_currency, d.rfm_tier, d.satisfaction_index)"
)
# Composed of constants of this file.
_SHOW = text(
    "UPDATE customers c SET order_count = d.order_count, last_order_date = d.last_order_date, revenue = d.revenue,"  # noqa: S608 (constants of this file)
    " margin = d.margin, costed_revenue = d.costed_revenue, potential = d.potential, value_currency = d.value_currency,"
    " rfm_tier = d.rfm_tier, satisfaction_index = d.satisfaction_index FROM "
    + _IS
    + " WHERE k.id = ANY(:ids))"
    + _OTHER
)
_SOME = "SELECT id FROM customers WHERE deleted_at IS NULL AND id > $1 ORDER BY id LIMIT $2"
# Composed of constants of this file.
_OUTDATED = (
    "SELECT c.id FROM customers c, "  # noqa: S608 (constants of this file)
    + _IS
    + " WHERE k.id = ANY($1::uuid[]))"
    + _OTHER
    + " AND c.id = ANY($1::uuid[]) ORDER BY c.id"
)


async def hold_customers(tx: Transaction, ids: Sequence[UUID]) -> None:
    """Locks customers before what is derived of them, in one order, as whoever merges them does."""
    await tx.session.execute(_HOLD, {"ids": list(ids)})


async def show(tx: Transaction, ids: Sequence[UUID]) -> None:
    """Makes the columns of customers that are held say what is so."""
    await tx.session.execute(_SHOW, {"ids": list(ids)})


async def show_all(database: Database, who: Principal) -> None:
    """The same for all customers of the tenant that say something else, some of them looked at and fewer locked at a time: a
    tenant may have a hundred thousand, and no statement takes longer for that."""
    last = NOBODY
    while some := [row["id"] for row in await database.read(who, _SOME, last, _AT_ONCE)]:
        last = some[-1]
        outdated = [row["id"] for row in await database.read(who, _OUTDATED, some)]
        if outdated:
            async with database.transaction(who, origin="job") as tx:
                await hold_customers(tx, outdated)
                await show(tx, outdated)
