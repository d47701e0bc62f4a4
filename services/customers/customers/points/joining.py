"""Cards of customers that are merged become one: one stays, the points of the others go over to it, and come back when the
merge is undone.

Points go over by postings on both cards that adjust the one by as much as the other, so that all cards together have what they
had. They keep their last days, and what expires first is spent first as before. What the card that stays owes is paid by
what comes; what another one owes goes over as a debt, which the card that stays pays from what it has. A card that went is closed
and its ledger stays: what it earned counts for the level of the one that stays, and when an order is cancelled that it earned or
was redeemed for, that one takes it back or is given it.

Undone, each card has again what is left of what it had: what was spent or has expired since stays so, and nothing falls below
zero. What was paid for another is taken back as far as it is there, and owed else.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any
from uuid import UUID

from sqlalchemy import select, text
from sqlmodel import col

from chassis.database import Transaction
from chassis.kept import Before
from customers.customer import Customer
from customers.points.cards import Card, card_of, relevel
from customers.points.ledger import Why, adjust, charge, expire_points, give_into, release, take_from
from customers.points.programme import programme_for

KEPT = "points"
"""Where a merge keeps what went over: by the card from which it came."""
_LOTS_LEFT = text(
    "SELECT expire_date, CAST(sum(remaining) AS bigint) AS points FROM points_lots WHERE card_id = :card AND remaining > 0"
    " GROUP BY expire_date ORDER BY expire_date"
)
_OF_LOTS = text(
    "SELECT id, expire_date, remaining FROM points_lots WHERE id = ANY(:ids) AND remaining > 0 ORDER BY expire_date, id"
)


async def join_cards(
    tx: Transaction, survivor: Customer, losers: Sequence[Customer], before: Before
) -> dict[str, dict[str, list[Any]]]:
    """Leaves the survivor of a merge with one card: its own, else that of the first of the others which has one. Answers with
    what went over, for `part_cards`. Raises PointsTooMany."""
    cards = [card for row in (survivor, *losers) if (card := await card_of(tx, row.id)) is not None]
    moved: dict[str, dict[str, list[Any]]] = {}
    if not cards:
        return moved
    stays, *others = cards
    before.note([*others, *([] if stays.customer_id == survivor.id else [stays])])
    for card in others:
        heirs = await tx.session.execute(
            select(Card).where(col(Card.merged_into_id) == card.id).order_by(col(Card.id)).with_for_update()
        )
        for heir in heirs.scalars():
            before.note([heir])
            heir.merged_into_id = stays.id
        moved[str(card.id)] = await _go_over(tx, card, stays)
        card.merged_into_id = stays.id
        tx.delete(card)
    # The customer's place is free before another card takes it.
    await tx.session.flush()
    if stays.customer_id != survivor.id:
        stays.customer_id, stays.owner_id, stays.team_id = survivor.id, survivor.owner_id, survivor.team_id
    programme = await programme_for(tx)
    if others and programme is not None:
        await relevel(tx, stays, programme)
    return moved


async def _go_over(tx: Transaction, card: Card, to: Card) -> dict[str, list[Any]]:
    """What went: the card to which it did, the posting that took it, the lots that it became there, and by days what it paid
    there, or what was owed."""
    await expire_points(tx, to)
    await expire_points(tx, card)
    moved: dict[str, list[Any]] = {
        "to": [str(to.id)],
        "taken": [],
        "lots": [],
        "paid": [],
        "owed": [card.owed],
    }
    went, came = Why(reason=f"→ {to.number}"), Why(reason=f"← {card.number}")
    if card.owed:
        owed = card.owed
        await release(tx, card, owed, went)
        await charge(tx, to, owed, came)
    lots = (await tx.session.execute(_LOTS_LEFT, {"card": card.id})).all()
    if lots:
        moved["taken"] = [str((await adjust(tx, card, -card.balance, went)).id)]
    for lot in lots:
        owed = to.owed
        posting = await adjust(tx, to, lot.points, Why(reason=came.reason, expire_date=lot.expire_date))
        if posting.member:
            moved["lots"].append(str(posting.id))
        if owed > to.owed:
            moved["paid"].append([lot.expire_date and lot.expire_date.isoformat(), owed - to.owed])
    return moved


async def part_cards(tx: Transaction, kept: Mapping[str, Any]) -> None:
    """Gives the cards that are there again what is left of what went over from them."""
    programme = await programme_for(tx)
    for id, moved in sorted(kept.get(KEPT, {}).items()):
        card, held = await tx.find(Card, UUID(id)), await tx.find(Card, UUID(moved["to"][0]))
        if card is None or held is None:
            continue
        await _come_back(tx, card, held, moved)
        if programme is not None:
            await relevel(tx, card, programme)
            await relevel(tx, held, programme)


async def _come_back(tx: Transaction, card: Card, held: Card, moved: Mapping[str, list[Any]]) -> None:
    await expire_points(tx, held)
    came, went = Why(reason=f"← {held.number}"), Why(reason=f"→ {card.number}")
    back: dict[date | None, int] = {}
    lots = (await tx.session.execute(_OF_LOTS, {"ids": [UUID(one) for one in moved["lots"]]})).all()
    for lot in lots:
        back[lot.expire_date] = back.get(lot.expire_date, 0) + lot.remaining
    if lots:
        await take_from(tx, held, {lot.id: lot.remaining for lot in lots}, went)
    for day, points in moved["paid"]:
        until = date.fromisoformat(day) if day else None
        back[until] = back.get(until, 0) + points
        await charge(tx, held, points, went)
    if back:
        await give_into(tx, card, UUID(moved["taken"][0]), back, came)
    owed = moved["owed"][0]
    if owed:
        programme = await programme_for(tx)
        valid_until = programme.valid_until(tx.now.date()) if programme else None
        await adjust(tx, held, owed, Why(reason=went.reason, expire_date=valid_until))
        await charge(tx, card, owed, came)
