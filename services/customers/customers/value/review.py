"""Scores and months of all customers of a tenant: a job, some minutes after something changed, and each night.

Scores are recency, frequency and money (RFM) in fifths, after A. M. Hughes, Strategic Database Marketing (1994): customers who
have bought are ordered by the day of their last order, by the number of their orders and by their revenue, and each fifth gets
a score from 1 to 5, the best 5. Over n customers, of whom b are below a customer and e are equal to it (itself included), the
score is ceil(5 (b + e/2) / n). Equal customers so get equal scores, that of the middle of their places (the mid-distribution
of E. Parzen), where cutting a sorted list would part them by chance; and of few customers none is called best of many: the only
one scores 3, two score 2 and 4, five score 1 to 5. Revenue is compared within each currency, for amounts of different
currencies are not; the customer's score is the best of its currencies. The tier is a third of the sum of the three, rounded up.
How content a customer is, `satisfaction` tells.

A month's row says what was so at its end, from the facts as they are known now: an order that was cancelled later is not in it.
All of it is derived, so a replay of the events leads to the same rows. Months begin at most 60 months back.
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from typing import Any

from sqlalchemy import text

from chassis.database import Database, Transaction
from chassis.months import month_of, months_later
from chassis.principal import Principal
from customers.value.satisfaction import INDEX, counts_from
from customers.value.shown import show_all

REVIEW = "value review"
"""The kind of the job. Its key is the tenant."""
_PAUSE = timedelta(minutes=10)
"""How long changes are gathered before a review."""
_NIGHT = time(hour=1, tzinfo=UTC)
_MONTHS_BACK = 60

# Locks the tenant's row even when it stays as it is, so that a review and events do not pass each other by.
_OUTDATE = text(
    "INSERT INTO value_reviews AS t (tenant_id, review_from, stale) VALUES (:tenant, :month, true)"
    " ON CONFLICT (tenant_id) DO UPDATE SET review_from = least(t.review_from, excluded.review_from), stale = true"
    " WHERE NOT t.stale OR excluded.review_from < t.review_from RETURNING tenant_id"
)
_WAITING = text("SELECT least(review_from, reviewing) FROM value_reviews FOR UPDATE")
_BEGIN = text("UPDATE value_reviews SET reviewing = :month, review_from = :from, stale = stale AND :more")
_DONE = text("UPDATE value_reviews SET reviewing = NULL WHERE reviewing = :month")
_END = text("UPDATE value_reviews SET reviewed_at = :now RETURNING stale")
_PATIENCE = text("SELECT set_config('statement_timeout', '300s', true)")
"""A tenant may have a hundred thousand customers."""

_SCORED = """
WITH orders AS (
    SELECT customer_id, currency, count(*) AS orders, sum(revenue) AS revenue, max(order_date) AS last,
        count(*) FILTER (WHERE order_date >= :month) AS month_orders,
        coalesce(sum(revenue) FILTER (WHERE order_date >= :month), 0) AS month_revenue,
        sum(costed_revenue) AS costed, sum(costed_revenue - cost) AS margin,
        sum(costed_revenue) FILTER (WHERE order_date >= :month) AS month_costed,
        sum(costed_revenue - cost) FILTER (WHERE order_date >= :month) AS month_margin
    FROM customer_orders WHERE order_date < :next AND NOT cancelled GROUP BY customer_id, currency
), buyers AS (
    SELECT customer_id, CAST(sum(orders) AS bigint) AS orders, max(last) AS last,
        CAST(sum(month_orders) AS bigint) AS month_orders
    FROM orders GROUP BY customer_id
), placed AS (
    SELECT customer_id, count(*) OVER () AS n,
        rank() OVER (ORDER BY last) - 1 AS r_below, count(*) OVER (PARTITION BY last) AS r_equal,
        rank() OVER (ORDER BY orders) - 1 AS f_below, count(*) OVER (PARTITION BY orders) AS f_equal
    FROM buyers
), paid AS (
    SELECT customer_id, count(*) OVER (PARTITION BY currency) AS n,
        rank() OVER (PARTITION BY currency ORDER BY revenue) - 1 AS below,
        count(*) OVER (PARTITION BY currency, revenue) AS equal
    FROM orders
), spent AS (
    SELECT customer_id, max((5 * (2 * below + equal) + 2 * n - 1) / (2 * n)) AS monetary FROM paid GROUP BY customer_id
), scores AS (
    SELECT customer_id, (5 * (2 * r_below + r_equal) + 2 * n - 1) / (2 * n) AS recency,
        (5 * (2 * f_below + f_equal) + 2 * n - 1) / (2 * n) AS frequency, monetary
    FROM placed JOIN spent USING (customer_id)
), latest AS (
    SELECT DISTINCT ON (id) id, customer_id, currency, open, potential FROM customer_opportunities
    WHERE month <= :month ORDER BY id, month DESC
), hoped AS (
    SELECT customer_id, currency, sum(potential) AS potential FROM latest
    WHERE open AND currency <> '' GROUP BY customer_id, currency
), amounts AS (
    SELECT customer_id, jsonb_agg(jsonb_build_object('currency', currency, 'revenue', coalesce(month_revenue, 0),
        'total_revenue', coalesce(revenue, 0), 'potential', coalesce(potential, 0), 'margin', month_margin,
        'costed_revenue', month_costed, 'total_margin', margin, 'total_costed_revenue', costed) ORDER BY currency) AS amounts
    FROM orders FULL JOIN hoped USING (customer_id, currency) GROUP BY customer_id
), content AS (
    SELECT customer_id, {index} AS satisfaction, count(*) AS ratings FROM customer_ratings
    WHERE rated_on >= :since AND rated_on < :next AND customer_id IS NOT NULL GROUP BY customer_id
), everybody AS (
    SELECT customer_id FROM buyers UNION SELECT customer_id FROM customer_opportunities WHERE month <= :month
    UNION SELECT customer_id FROM customer_ratings WHERE rated_on < :next AND customer_id IS NOT NULL
)
""".replace("{index}", INDEX)
# Composed of the text above.
_MONTH = text(
    _SCORED
    + """
INSERT INTO customer_value_months AS t (tenant_id, customer_id, month, order_count, total_order_count, amounts, recency,
    frequency, monetary, tier, satisfaction, ratings)
SELECT :tenant, customer_id, :month, coalesce(month_orders, 0), coalesce(orders, 0), coalesce(amounts, '[]'), recency, frequency,
    monetary, (recency + frequency + monetary + 2) / 3, satisfaction, coalesce(ratings, 0)
FROM everybody LEFT JOIN buyers USING (customer_id) LEFT JOIN scores USING (customer_id) LEFT JOIN amounts USING (customer_id)
LEFT JOIN content USING (customer_id)
ON CONFLICT (tenant_id, customer_id, month) DO UPDATE SET order_count = excluded.order_count,
    total_order_count = excluded.total_order_count, amounts = excluded.amounts, recency = excluded.recency,
    frequency = excluded.frequency, monetary = excluded.monetary, tier = excluded.tier, satisfaction = excluded.satisfaction,
    ratings = excluded.ratings
WHERE (t.order_count, t.total_order_count, t.amounts, t.recency, t.frequency, t.monetary, t.satisfaction, t.ratings)
    IS DISTINCT FROM (excluded.order_count, excluded.total_order_count, excluded.amounts, excluded.recency, excluded.frequency,
    excluded.monetary, excluded.satisfaction, excluded.ratings)
"""
)
# Whoever has no order, no opportunity and no rating up to the month's end any more has no row for it.
_GONE = text(
    "DELETE FROM customer_value_months m WHERE month = :month"
    " AND NOT EXISTS (SELECT FROM customer_orders o WHERE o.customer_id = m.customer_id AND o.order_date < :next"
    " AND NOT o.cancelled)"
    " AND NOT EXISTS (SELECT FROM customer_opportunities p WHERE p.customer_id = m.customer_id AND p.month <= :month)"
    " AND NOT EXISTS (SELECT FROM customer_ratings r WHERE r.customer_id = m.customer_id AND r.rated_on < :next)"
)
_SHOW = text(
    "UPDATE customer_values v SET recency = m.recency, frequency = m.frequency, monetary = m.monetary, tier = m.tier,"
    " satisfaction = m.satisfaction, ratings = coalesce(m.ratings, 0)"
    " FROM customer_values w LEFT JOIN customer_value_months m ON m.customer_id = w.customer_id AND m.month = :month"
    " WHERE v.customer_id = w.customer_id AND (v.recency, v.frequency, v.monetary, v.tier, v.satisfaction, v.ratings)"
    " IS DISTINCT FROM (m.recency, m.frequency, m.monetary, m.tier, m.satisfaction, coalesce(m.ratings, 0))"
)


def outdate(tx: Transaction, day: date) -> None:
    """Something of that day's month changes in this transaction: a review is to come.

    It is noted last of all: whoever holds the tenant's row waits for no customer. A review that begins before looks at the month
    again, and one that begins after sees what has changed.
    """
    month = month_of(day)
    tx.at_last(f"value review {month}", partial(_outdate, tx, month))


async def _outdate(tx: Transaction, month: date) -> None:
    first = {"tenant": tx.who.tenant_id, "month": month}
    if (await tx.session.execute(_OUTDATE, first)).first() is not None:
        await tx.enqueue(REVIEW, {}, due_at=tx.now + _PAUSE, key=str(tx.who.tenant_id))


async def review_values(payload: Mapping[str, Any], call: Any) -> None:
    """The job: reviews each month from the first that changed to the present one, each in a transaction of its own.

    How far it has come stands in the database, so it may die anywhere. `call` is that of the chassis' jobs.
    """
    database: Database = call.database
    who: Principal = call.who
    while not await _review_one(database, who):
        pass
    await show_all(database, who)


async def _review_one(database: Database, who: Principal) -> bool:
    """Reviews the first month that waits; True when it was the present one.

    Which month it is, is written down first, and the row that events lock is free while the months are written. What changes
    meanwhile is waiting again, for it comes after what is written down; a month that was begun and not ended is begun again.
    """
    async with database.transaction(who, origin="job") as tx:
        waits: date | None = (await tx.session.execute(_WAITING)).scalar_one_or_none()
        if waits is None:
            return True
        present = month_of(tx.now.date())
        month = min(max(waits, months_later(present, -_MONTHS_BACK)), present)
        following = months_later(month, 1)
        begun = {"month": month, "from": min(following, present), "more": month < present}
        await tx.session.execute(_BEGIN, begun)
    async with database.transaction(who, origin="job") as tx:
        await tx.session.execute(_PATIENCE)
        times = {
            "tenant": tx.who.tenant_id,
            "month": month,
            "next": following,
            "since": counts_from(month),
        }
        await tx.session.execute(_MONTH, times)
        await tx.session.execute(_GONE, times)
        if month == present:
            await tx.session.execute(_SHOW, times)
        await tx.session.execute(_DONE, {"month": month})
        if month < present:
            return False
        stale: bool = (await tx.session.execute(_END, {"now": tx.now})).scalar_one()
        due = tx.now + _PAUSE if stale else _next_night(tx.now)
        await tx.enqueue(REVIEW, {}, due_at=due, key=str(tx.who.tenant_id))
        return True


def _next_night(now: datetime) -> datetime:
    tonight = datetime.combine(now.date(), _NIGHT)
    return tonight if tonight > now else tonight + timedelta(days=1)
