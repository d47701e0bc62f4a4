"""Redeeming and adjusting: what people do with points by hand."""

from uuid import UUID

from sqlalchemy import text

from chassis.database import Transaction
from chassis.errors import Invalid
from customers.errors import OrderCancelled, customer_mismatch
from customers.points.cards import card_for
from customers.points.earning import hold_order
from customers.points.ledger import Posting, Why, adjust, redeem
from customers.points.programme import programme_for

_ORDER = text("SELECT customer_id, cancelled FROM customer_orders WHERE id = :id")


async def redeem_points(
    tx: Transaction, card_id: UUID, points: int, reason: str, order_id: UUID | None
) -> Posting:
    """Redeems points of a card that the caller may change, perhaps for an order.

    Raises NotFound, Denied, CardNotActive, PointsInsufficient, OrderCancelled; Invalid (CUSTOMER_MISMATCH).
    """
    if order_id is not None:
        await hold_order(tx, order_id)
    card = await card_for(tx, card_id)
    if order_id is not None:
        known = (await tx.session.execute(_ORDER, {"id": order_id})).one_or_none()
        if known is not None and known.customer_id != card.customer_id:
            raise customer_mismatch()
        if known is not None and known.cancelled:
            raise OrderCancelled
    programme = await programme_for(tx)
    value = programme.worth(points) if programme else None
    return await redeem(tx, card, points, Why(order_id=order_id, value=value, reason=reason))


async def adjust_points(tx: Transaction, card_id: UUID, points: int, reason: str) -> Posting:
    """Gives or takes points by hand; given ones are valid as long as earned ones.

    Raises NotFound, Denied, PointsInsufficient; Invalid for nothing at all.
    """
    if not points:
        raise Invalid("points", "is 0: nothing would be given or taken")
    card = await card_for(tx, card_id)
    programme = await programme_for(tx)
    valid_until = programme.valid_until(tx.now.date()) if programme and points > 0 else None
    return await adjust(tx, card, points, Why(reason=reason, expire_date=valid_until))
