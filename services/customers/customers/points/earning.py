"""Orders and points: an order earns once, and gives back when it is cancelled.

The programme says when: when the order is paid, when it is delivered or when it is placed. Paid is what is paid in full. Points
for each part that is paid would be rounded down each time, would have to guess which lines a part pays and whether the order's
minimum is to be reached by it, and would tempt to order much and pay little; a member who has paid all has all of them at once.

Events of one order may come late, twice or in another order than they happened: what is done follows from the order's newest
state, and what an order earned is decided once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import text

from chassis.database import Transaction
from customers.points.cards import ACTIVE, Card, card_of, relevel
from customers.points.ledger import Why, earn, undo_order
from customers.points.programme import (
    AT_PAYMENT,
    AT_PLACING,
    Bought,
    Programme,
    earned_by,
    programme_for,
    rules_of,
)

PLACED, DELIVERED, RECEIVED, OTHER = "placed", "delivered", "received", ""


@dataclass(frozen=True, kw_only=True)
class SoldOrder:
    """An order as an event tells it, which says what has happened (`step`); `delivered` when nothing is outstanding, `paid` when
    nothing is unpaid."""

    id: UUID
    number: str
    customer_id: UUID
    currency: str
    lines: Sequence[Bought]
    delivered: bool
    paid: bool
    step: str
    placed_at: datetime | None
    delivered_at: datetime | None


_DECIDE = text(
    "INSERT INTO points_orders (tenant_id, order_id, card_id, decided_at) VALUES (:tenant, :order, :card, :now)"
    " ON CONFLICT DO NOTHING RETURNING order_id"
)
_CONCERNED = text(
    "SELECT DISTINCT card_id FROM points_transactions WHERE order_id = :order AND kind IN ('EARN', 'REDEEM') ORDER BY card_id"
)


async def hold_order(tx: Transaction, order_id: UUID) -> None:
    """Nobody else redeems for the order or learns of its end until this transaction ends."""
    await tx.hold(f"order {order_id}")


async def order_earns(tx: Transaction, order: SoldOrder, at: datetime) -> None:
    """Lets an order that is not cancelled earn what it earns, if this is its moment and it has not been decided yet.

    `at` is when it happened. Orders from before the card or the programme earn nothing, so that a replay gives nobody points
    that the first telling did not.
    """
    programme = await programme_for(tx)
    if programme is None or not programme.enabled or programme.enable_time is None:
        return
    card = await card_of(tx, order.customer_id)
    if card is None or not _is_moment(programme, order, at, max(programme.enable_time, card.created_at)):
        return
    decided = await tx.session.execute(
        _DECIDE, {"tenant": tx.who.tenant_id, "order": order.id, "card": card.id, "now": tx.now}
    )
    if decided.first() is None or card.state_on(at.date()) != ACTIVE:
        return
    points = earned_by(rules_of(programme.rules), order.lines, order.currency, at.date(), card.level_id)
    if points:
        valid_until = programme.valid_until(at.date())
        await earn(
            tx, card, points, Why(order_id=order.id, order_number=order.number, expire_date=valid_until)
        )
        await relevel(tx, card, programme)


def _is_moment(programme: Programme, order: SoldOrder, at: datetime, begun: datetime) -> bool:
    """Whether this is when the order earns; `begun` is since when there is both card and programme.

    What happened before the programme had its present moment is past. An order that had passed the present moment by then, but
    not the one that counted, would fall between the two: it earns with what was still to come.
    """
    since = programme.moment_since
    if at < begun or (since is not None and at < since):
        return False

    def passed(then: datetime | None) -> bool:
        return then is not None and since is not None and begun <= then < since

    if programme.earn_moment == AT_PAYMENT:
        # A delivery tells that it was paid, and not when.
        return order.paid and (order.step in (PLACED, RECEIVED) or passed(order.placed_at))
    if programme.earn_moment == AT_PLACING:
        return order.step != RECEIVED or (order.paid and passed(order.placed_at))
    return order.delivered and (order.step != RECEIVED or (order.paid and passed(order.delivered_at)))


async def _heir(tx: Transaction, card_id: UUID) -> UUID:
    """The card into which that one went; itself when it did not."""
    card = await tx.session.get(
        Card, (tx.who.tenant_id, card_id), with_for_update=True, populate_existing=True
    )
    return card_id if card is None else card.merged_into_id or card_id


async def order_cancelled(tx: Transaction, order_id: UUID, number: str) -> None:
    """Undoes what an order did on the cards that it earned or was paid with."""
    await hold_order(tx, order_id)
    programme = await programme_for(tx)
    concerned = (await tx.session.execute(_CONCERNED, {"order": order_id})).scalars().all()
    for card_id in dict.fromkeys([await _heir(tx, UUID(str(id))) for id in concerned]):
        card = await tx.find(Card, card_id)
        if card is not None and await undo_order(tx, card, order_id, number) and programme is not None:
            await relevel(tx, card, programme)
