"""How content a customer is: an index from 0 to 100, by the ratings that it gave for what was done about its tickets.

Over the ratings of the present month and the eleven before it, each from 1 to 5::

    index = (mean - 1) x 25, rounded to one decimal

so that all 1 are 0, all 3 are 50 and all 5 are 100. The mean of a five-point scale, stretched to a hundred, is what is known as
a CSAT mean score; months are taken whole, so that the index of a month's end and that of today are counted alike and nobody's
changes from one day to another but by a rating, or when a month begins. How many ratings it rests on stands beside it; without
any there is none.

One row for each ticket that was ever rated, from its newest event, as `facts` has it. A ticket that was deleted, or has no
customer any more, keeps its row with no customer. A rating that was changed counts as it is now, in the month in which it was
first given; one of a further resolution takes the place of that before it, in the month of its own.
"""

from dataclasses import dataclass
from datetime import date
from uuid import UUID

from sqlalchemy import text

from chassis.database import Transaction
from chassis.events.event import Envelope
from chassis.months import month_of, months_later

MONTHS = 12
"""How many months are looked at, the present one among them."""


@dataclass(frozen=True, kw_only=True)
class RatingFact:
    """The rating of a ticket, whose id it has, as an event tells it; of no customer when the ticket is gone or nobody's."""

    id: UUID
    customer_id: UUID | None
    rating: int
    rated_on: date


_KEEP = text(
    "INSERT INTO customer_ratings AS t (tenant_id, id, version, event_id, customer_id, rating, rated_on)"
    " VALUES (:tenant, :id, :version, :event, :customer_id, :rating, :rated_on)"
    " ON CONFLICT (tenant_id, id) DO UPDATE SET version = excluded.version, event_id = excluded.event_id,"
    " customer_id = excluded.customer_id, rating = excluded.rating, rated_on = excluded.rated_on"
    " WHERE (t.version, t.event_id) < (excluded.version, excluded.event_id)"
)
_CUSTOMER_OF = text("SELECT customer_id FROM customer_ratings WHERE id = :id AND customer_id IS NOT NULL")
_DAY_OF = text("SELECT rated_on FROM customer_ratings WHERE id = :id")
INDEX = "round((avg(rating) - 1) * 25, 1)"
"""The index in SQL, of the rows of `customer_ratings` at hand."""


def counts_from(day: date) -> date:
    """The first day whose ratings count on that day."""
    return months_later(month_of(day), 1 - MONTHS)


async def customers_of_rating(tx: Transaction, id: UUID) -> set[UUID]:
    """Whose the ticket is, as far as is known."""
    return set((await tx.session.execute(_CUSTOMER_OF, {"id": id})).scalars())


async def day_of_rating(tx: Transaction, id: UUID) -> date | None:
    """On which day the ticket was rated, as far as is known."""
    return (await tx.session.execute(_DAY_OF, {"id": id})).scalar_one_or_none()


async def keep_rating(tx: Transaction, fact: RatingFact, envelope: Envelope) -> set[UUID]:
    """Keeps what the event says, unless a newer one has spoken. Answers with the customers whom it concerns: also whose the
    ticket was before."""
    told = {
        **vars(fact), "tenant": envelope.tenant_id, "version": envelope.version, "event": envelope.event_id,
    }  # fmt: skip
    before = await customers_of_rating(tx, fact.id)
    await tx.session.execute(_KEEP, told)
    return before if fact.customer_id is None else {fact.customer_id, *before}
