"""What partners owe (欠款), derived from the orders of sales.

Of one customer and one currency::

    arrears = Σ (total with tax - what was received) over its orders that were placed and not cancelled and of which
              something is unpaid

An order counts from the moment it is placed, whether or not it was delivered: that is when the credit is given. What was paid too
much for one order does not pay for another. Amounts of different currencies are never added. A partner is over its credit when
the arrears in the currency of its limit are above it.

The amounts stand in the partner's row, that lists may be filtered and ordered by them. They follow from the facts of orders in
the transaction that changes these, and are no change of the partner: neither its version nor its history moves by them.
"""

from uuid import UUID

import asyncpg
from sqlalchemy import text

from chassis.database import Transaction

# What is owed in the limit's currency, or in the tenant's own where there is no limit. Sums stay within a bigint: whatever lies
# beyond is as much over the limit.
_SET = (
    "UPDATE partners AS p SET arrears = o.all_of_it, in_arrears = o.all_of_it <> '[]', arrears_amount = o.main,"
    " arrears_currency = o.counted, over_credit = p.credit_limit IS NOT NULL AND o.main > p.credit_limit"
    " FROM (SELECT q.tenant_id, q.id, coalesce(nullif(q.credit_limit_currency, ''), m.currency, '') AS counted,"
    " coalesce(jsonb_agg(jsonb_build_object('currency', d.currency, 'amount', d.due, 'order_count', d.orders)"
    " ORDER BY d.currency) FILTER (WHERE d.currency IS NOT NULL), '[]') AS all_of_it,"
    " coalesce(max(d.due) FILTER (WHERE d.currency = coalesce(nullif(q.credit_limit_currency, ''), m.currency)), 0) AS main"
    " FROM partners q LEFT JOIN main_currencies m ON m.tenant_id = q.tenant_id LEFT JOIN LATERAL ("
    "SELECT f.currency, CAST(least(sum(f.total - f.received), 9223372036854775807) AS bigint) AS due, count(*) AS orders"
    " FROM customer_orders f WHERE f.tenant_id = q.tenant_id AND f.customer_id = q.customer_id AND NOT f.cancelled"
    " AND f.total > f.received GROUP BY f.currency) d ON true WHERE q.deleted_at IS NULL"
)
_MADE = (
    " GROUP BY q.tenant_id, q.id, m.currency) o WHERE p.tenant_id = o.tenant_id AND p.id = o.id"
    " AND (p.arrears, p.in_arrears, p.arrears_amount, p.arrears_currency, p.over_credit) IS DISTINCT FROM"
    " (o.all_of_it, o.all_of_it <> '[]', o.main, o.counted, p.credit_limit IS NOT NULL AND o.main > p.credit_limit)"
)
# Whoever waits for another that derives the same looks at the orders after that one has ended, and so knows of its order.
_HOLD = text("SELECT id FROM partners WHERE deleted_at IS NULL AND customer_id = :customer FOR UPDATE")
_HOLD_ALL = text("SELECT id FROM partners WHERE deleted_at IS NULL ORDER BY id FOR UPDATE")
# Composed of two constants of this file.
_OF_ONE = text(_SET + " AND q.customer_id = :customer" + _MADE)
_OF_ALL = text(_SET + _MADE)


async def owe_anew(tx: Transaction, customer_id: UUID) -> None:
    """Derives what the customer owes, if it is a partner."""
    if (await tx.session.execute(_HOLD, {"customer": customer_id})).first() is not None:
        await tx.session.execute(_OF_ONE, {"customer": customer_id})


async def all_owe_anew(tx: Transaction) -> None:
    """The same for all partners of the tenant, when its own currency has become another."""
    await tx.session.execute(_HOLD_ALL)
    await tx.session.execute(_OF_ALL)


_TABLES = ("partners", "customer_orders", "main_currencies")


async def derive_all(owner_url: str) -> None:
    """The same for all partners of all tenants, as the tables' owner: for a rebuild. Raises asyncpg's errors."""
    connection: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(owner_url)
    try:
        async with connection.transaction():
            await connection.execute("SET LOCAL lock_timeout = '30s'")
            # Row security binds the owner too, unless it says otherwise for the moment.
            for table in _TABLES:
                # Composed of names of this file.
                await connection.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
            await connection.execute(_SET + _MADE)
            for table in _TABLES:
                # Composed of names of this file.
                await connection.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    finally:
        await connection.close()
