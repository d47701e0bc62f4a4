"""The ledger of points.

Every posting is one row of `points_transactions` with a column for each account, and its sum is zero. Nothing in the ledger is
ever changed or removed. The card's row, locked by whoever posts, carries the sum of the member's account; the database itself
holds that a posting begins where the card's last one ended, that the card says what its last posting says, and that neither
the balance nor what is owed falls below zero.

Points come in lots that expire together. They leave the lots that expire first before others, and of those that expire on one day
the older ones first. Lots whose day is over are expired before anything is taken, whether or not the night that does it has been.

An order that is cancelled takes back what it has earned, but for what has expired meanwhile. What was spent already is owed: it
never makes the balance negative, and the next points earned or given pay it first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Date, text
from sqlmodel import Field

from chassis.database import Transaction
from chassis.ids import new_id
from chassis.money import Money
from chassis.privacy.holding import Fact
from customers.errors import PointsInsufficient, PointsTooMany
from customers.points.cards import Card, CardEvent, told
from customers.points.programme import MOST_POINTS

EARN, REDEEM, EXPIRE, ADJUST = "EARN", "REDEEM", "EXPIRE", "ADJUST"
TAKE_BACK, GIVE_BACK = "TAKE_BACK", "GIVE_BACK"
ACCOUNTS = ("issued", "member", "redeemed", "expired", "adjusted", "owing")
"""The columns of the accounts."""


class Entry(Fact, table=True):
    """A posting as it stands in the ledger, for whoever asks what is held about a member. It is made by `_post` alone."""

    __tablename__ = "points_transactions"  # pyright: ignore[reportAssignmentType]

    card_id: UUID
    sequence: int = Field(sa_type=BigInteger)
    kind: str
    member: int = Field(sa_type=BigInteger)
    balance: int = Field(sa_type=BigInteger)
    owed: int = Field(sa_type=BigInteger)
    order_id: UUID | None
    order_number: str
    reason: str = ""
    expire_date: date | None = Field(sa_type=Date)
    created_at: datetime
    created_by: UUID


@dataclass(frozen=True, kw_only=True)
class PointsEvent(CardEvent):
    """What every event says of a posting."""

    transaction_id: UUID
    points: int
    order_id: UUID | None


class PointsEarned(PointsEvent):
    pass


class PointsTakenBack(PointsEvent):
    pass


class PointsRedeemed(PointsEvent):
    pass


class PointsGivenBack(PointsEvent):
    pass


class PointsExpired(PointsEvent):
    pass


class PointsAdjusted(PointsEvent):
    pass


_EVENTS: dict[str, type[PointsEvent]] = {
    EARN: PointsEarned, TAKE_BACK: PointsTakenBack, REDEEM: PointsRedeemed, GIVE_BACK: PointsGivenBack, EXPIRE: PointsExpired,
    ADJUST: PointsAdjusted,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Why:
    """What a posting was for."""

    order_id: UUID | None = None
    order_number: str = ""
    reverses_id: UUID | None = None
    value: Money | None = None
    reason: str = ""
    expire_date: date | None = None


@dataclass(frozen=True, kw_only=True)
class Posting:
    """A row of the ledger: what came to each account, and what the card had afterwards."""

    id: UUID
    card_id: UUID
    sequence: int
    kind: str
    issued: int
    member: int
    redeemed: int
    expired: int
    adjusted: int
    owing: int
    balance: int
    owed: int
    order_id: UUID | None
    order_number: str
    value: int | None
    value_currency: str
    reason: str
    expire_date: date | None
    created_at: datetime
    created_by: UUID


_POST = text(
    "INSERT INTO points_transactions (tenant_id, id, card_id, sequence, previous_sequence, kind, issued, member, redeemed,"
    " expired, adjusted, owing, balance_before, balance, owed_before, owed, order_id, order_number, reverses_id, value,"
    " value_currency, reason, expire_date, created_at, created_by) VALUES (:tenant_id, :id, :card_id, :sequence,"
    " :previous_sequence, :kind, :issued, :member, :redeemed, :expired, :adjusted, :owing, :balance_before, :balance,"
    " :owed_before, :owed, :order_id, :order_number, :reverses_id, :value, :value_currency, :reason, :expire_date,"
    " :created_at, :created_by)"
)
_NEW_LOT = text(
    "INSERT INTO points_lots (tenant_id, id, card_id, points, remaining, expire_date, created_at)"
    " VALUES (:tenant, :id, :card, :points, :points, :expire_date, :now)"
)
_CHANGE_LOT = text("UPDATE points_lots SET remaining = remaining + :points WHERE id = :id")
_MOVE = text(
    "INSERT INTO points_lot_moves (tenant_id, transaction_id, lot_id, points) VALUES (:tenant, :transaction, :lot, :points)"
)
_LOTS_LEFT = text(
    "SELECT id, remaining FROM points_lots WHERE card_id = :card AND remaining > 0"
    " ORDER BY id IS DISTINCT FROM CAST(:first AS uuid), expire_date NULLS LAST, id"
)
_LOTS_DUE = text(
    "SELECT id, remaining FROM points_lots WHERE card_id = :card AND remaining > 0 AND expire_date < :today"
    " ORDER BY expire_date, id"
)


async def _post(tx: Transaction, card: Card, kind: str, why: Why, **accounts: int) -> Posting:
    """Writes a posting on a locked card. The accounts but the member's are given; the member's is what is missing to zero."""
    moved = {name: accounts.get(name, 0) for name in ACCOUNTS}
    moved["member"] = -sum(accounts.values())
    before, owed_before, last = card.balance, card.owed, card.sequence
    balance, owed = before + moved["member"], owed_before - moved["owing"]
    if balance > MOST_POINTS or owed > MOST_POINTS:
        raise PointsTooMany
    posting = Posting(
        id=new_id(), card_id=card.id, sequence=(last or 0) + 1, kind=kind, **moved, balance=balance, owed=owed,
        order_id=why.order_id, order_number=why.order_number, value=why.value.minor if why.value else None,
        value_currency=why.value.currency if why.value else "", reason=why.reason, expire_date=why.expire_date,
        created_at=tx.now, created_by=tx.who.person_id,
    )  # fmt: skip
    row = {
        **vars(posting), "tenant_id": tx.who.tenant_id, "previous_sequence": last, "balance_before": before,
        "owed_before": owed_before, "reverses_id": why.reverses_id,
    }  # fmt: skip
    await tx.session.execute(_POST, row)
    card.balance, card.owed, card.sequence = balance, owed, posting.sequence
    event = _EVENTS[kind](
        **told(card), transaction_id=posting.id, points=posting.member, order_id=why.order_id
    )
    tx.record(event, on=card)
    return posting


async def _bring(tx: Transaction, card: Card, posting: Posting, expire_date: date | None) -> None:
    """The points of the posting come as a lot of their own."""
    if posting.member <= 0:
        return
    await tx.session.execute(
        _NEW_LOT,
        {
            "tenant": tx.who.tenant_id, "id": posting.id, "card": card.id, "points": posting.member,
            "expire_date": expire_date, "now": tx.now,
        },
    )  # fmt: skip
    await _moved(tx, posting, posting.id, posting.member)


async def _moved(tx: Transaction, posting: Posting, lot_id: UUID, points: int) -> None:
    await tx.session.execute(
        _MOVE, {"tenant": tx.who.tenant_id, "transaction": posting.id, "lot": lot_id, "points": points}
    )


async def _change_lot(tx: Transaction, posting: Posting, lot_id: UUID, points: int) -> None:
    await tx.session.execute(_CHANGE_LOT, {"id": lot_id, "points": points})
    await _moved(tx, posting, lot_id, points)


async def _spend(tx: Transaction, card: Card, posting: Posting, first: UUID | None = None) -> None:
    """The points that the posting takes leave the lots: the one of `first` before all others, then by their days."""
    wanted = -posting.member
    if wanted <= 0:
        return
    for lot in (await tx.session.execute(_LOTS_LEFT, {"card": card.id, "first": first})).all():
        taken = min(wanted, lot.remaining)
        await _change_lot(tx, posting, lot.id, -taken)
        wanted -= taken
        if not wanted:
            return
    raise AssertionError(f"the lots of card {card.id} hold {wanted} points less than its balance")


async def expire_points(tx: Transaction, card: Card) -> Posting | None:
    """Expires the points whose last day is over; None when there are none."""
    due = (await tx.session.execute(_LOTS_DUE, {"card": card.id, "today": tx.now.date()})).all()
    if not due:
        return None
    posting = await _post(tx, card, EXPIRE, Why(), expired=sum(lot.remaining for lot in due))
    for lot in due:
        await _change_lot(tx, posting, lot.id, -lot.remaining)
    return posting


async def earn(tx: Transaction, card: Card, points: int, why: Why) -> Posting:
    """Points that an order has earned: they pay what is owed, the rest is the member's until the day in `why`."""
    paid = min(card.owed, points)
    posting = await _post(tx, card, EARN, why, issued=-points, owing=paid)
    await _bring(tx, card, posting, why.expire_date)
    return posting


async def redeem(tx: Transaction, card: Card, points: int, why: Why) -> Posting:
    """Takes points for something. Raises CardNotActive, PointsInsufficient."""
    card.need_active(tx.now.date())
    await expire_points(tx, card)
    if points > card.balance:
        raise PointsInsufficient(card.balance)
    posting = await _post(tx, card, REDEEM, why, redeemed=points)
    await _spend(tx, card, posting)
    return posting


async def adjust(tx: Transaction, card: Card, points: int, why: Why) -> Posting:
    """Gives points by hand, or takes them when `points` is below zero. Raises PointsInsufficient."""
    await expire_points(tx, card)
    if points < 0:
        if -points > card.balance:
            raise PointsInsufficient(card.balance)
        posting = await _post(tx, card, ADJUST, why, adjusted=-points)
        await _spend(tx, card, posting)
        return posting
    posting = await _post(tx, card, ADJUST, why, adjusted=-points, owing=min(card.owed, points))
    await _bring(tx, card, posting, why.expire_date)
    return posting


async def charge(tx: Transaction, card: Card, points: int, why: Why) -> Posting:
    """Takes points, though there may not be so many: what is missing is owed."""
    await expire_points(tx, card)
    posting = await _post(tx, card, ADJUST, why, adjusted=points, owing=-max(points - card.balance, 0))
    await _spend(tx, card, posting)
    return posting


async def release(tx: Transaction, card: Card, points: int, why: Why) -> Posting:
    """So many points are no longer owed."""
    return await _post(tx, card, ADJUST, why, adjusted=-points, owing=points)


async def take_from(tx: Transaction, card: Card, lots: Mapping[UUID, int], why: Why) -> Posting:
    """Takes points out of these lots of the card, from each so many."""
    posting = await _post(tx, card, ADJUST, why, adjusted=sum(lots.values()))
    for id, points in lots.items():
        await _change_lot(tx, posting, id, -points)
    return posting


async def give_into(
    tx: Transaction, card: Card, taken_id: UUID, by_day: Mapping[date | None, int], why: Why
) -> Posting:
    """Gives points back into the lots out of which a posting has taken them: of each last day so many, and no more than were
    taken."""
    posting = await _post(tx, card, ADJUST, why, adjusted=-sum(by_day.values()))
    left = dict(by_day)
    for lot in (await tx.session.execute(_SPENT_BY, {"transaction": taken_id})).all():
        back = min(left.get(lot.expire_date, 0), lot.points)
        if back:
            await _change_lot(tx, posting, lot.lot_id, back)
            left[lot.expire_date] -= back
    return posting


@dataclass(frozen=True, kw_only=True)
class Undone:
    """A posting that is to be undone. `card_id` is another card's when that has gone into the one on which it is undone."""

    id: UUID
    card_id: UUID
    kind: str
    points: int


_TO_UNDO = text(
    "SELECT t.id, t.card_id, t.kind, CASE t.kind WHEN 'EARN' THEN -t.issued ELSE t.redeemed END AS points"
    " FROM points_transactions t"
    " WHERE t.card_id IN (SELECT c.id FROM membership_cards c WHERE c.id = :card OR c.merged_into_id = :card)"
    " AND t.order_id = :order AND t.kind IN ('EARN', 'REDEEM')"
    " AND NOT EXISTS (SELECT FROM points_transactions b WHERE b.reverses_id = t.id) ORDER BY t.created_at, t.sequence"
)
# What has gone to another card, and whose day is over, has expired there, or was spent before.
_EXPIRED_OF = text(
    "SELECT CAST(coalesce(sum(-m.points), 0) AS bigint) FROM points_lot_moves m JOIN points_transactions t"
    " ON t.id = m.transaction_id JOIN points_lots l ON l.id = m.lot_id WHERE m.lot_id = :lot AND (t.kind = 'EXPIRE'"
    " OR (t.kind = 'ADJUST' AND l.card_id <> :card AND l.expire_date < :today))"
)
_SPENT_BY = text(
    "SELECT m.lot_id, -m.points AS points, l.expire_date FROM points_lot_moves m JOIN points_lots l ON l.id = m.lot_id"
    " WHERE m.transaction_id = :transaction ORDER BY l.expire_date DESC NULLS FIRST, l.id DESC"
)


async def undo_order(tx: Transaction, card: Card, order_id: UUID, order_number: str) -> list[Posting]:
    """The order was cancelled: what was redeemed for it is given back, then what it has earned is taken back.

    A second time finds nothing left to undo.
    """
    await expire_points(tx, card)
    found = (await tx.session.execute(_TO_UNDO, {"card": card.id, "order": order_id})).all()
    undone: Sequence[Undone] = [
        Undone(id=it.id, card_id=UUID(str(it.card_id)), kind=it.kind, points=it.points) for it in found
    ]
    done: list[Posting] = []
    # What comes back may pay what is taken back.
    for one in sorted(undone, key=lambda one: one.kind == EARN):
        why = Why(order_id=order_id, order_number=order_number, reverses_id=one.id)
        if one.kind == EARN:
            done.append(await _take_back(tx, card, one, why))
        else:
            done.append(await _give_back(tx, card, one, why))
    return done


async def _take_back(tx: Transaction, card: Card, earned: Undone, why: Why) -> Posting:
    """Takes back what was earned but for what has expired of it; what is not there is owed."""
    asked = {"lot": earned.id, "card": card.id, "today": tx.now.date()}
    expired: Any = (await tx.session.execute(_EXPIRED_OF, asked)).scalar_one()
    points = earned.points - expired
    posting = await _post(tx, card, TAKE_BACK, why, issued=points, owing=-max(points - card.balance, 0))
    await _spend(tx, card, posting, first=earned.id)
    return posting


async def _give_back(tx: Transaction, card: Card, spent: Undone, why: Why) -> Posting:
    """Gives back what was redeemed, into the lots it came from, those that last longest before others; what another card gave
    that has gone into this one comes as a lot that lasts as long as the longest of them."""
    paid = min(card.owed, spent.points)
    lots = (await tx.session.execute(_SPENT_BY, {"transaction": spent.id})).all()
    until = lots[0].expire_date if lots and spent.card_id != card.id else None
    posting = await _post(
        tx, card, GIVE_BACK, replace(why, expire_date=until), redeemed=-spent.points, owing=paid
    )
    if spent.card_id != card.id:
        await _bring(tx, card, posting, until)
        return posting
    left = posting.member
    for lot in lots:
        back = min(left, lot.points)
        if back:
            await _change_lot(tx, posting, lot.lot_id, back)
        left -= back
    return posting
