"""Membership cards: what a member holds. The card's row carries the balance of its points, see `ledger`.

A customer holds one card. A card that is lost or worn gets another number and stays the same card, so that points, level and
history stay with it; numbers are given once and never again.
"""

import secrets
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, Date, Text, text
from sqlmodel import Field, col, select

from chassis.database import Transaction
from chassis.errors import Invalid
from chassis.events.event import Event
from chassis.ids import new_id
from chassis.months import months_later
from chassis.records import EPOCH, Owned
from customers.customer import Customer, get_with_customer
from customers.errors import CardAlreadyBlocked, CardNotActive, CardNotBlocked
from customers.points.programme import Programme, level_for, levels_of, programme_for

ACTIVE, BLOCKED, EXPIRED = "ACTIVE", "BLOCKED", "EXPIRED"
STATES = (ACTIVE, BLOCKED, EXPIRED)


class Card(Owned, table=True):
    """A membership card. `sequence` is that of its last posting in the ledger, `owed` what it could not give back."""

    __tablename__ = "membership_cards"  # pyright: ignore[reportAssignmentType]
    record_type: ClassVar[str] = "card"
    history_hidden: ClassVar[frozenset[str]] = frozenset({"balance", "owed", "sequence"})

    customer_id: UUID
    number: str
    state: str = ACTIVE
    expire_date: date | None = Field(default=None, sa_type=Date)
    level_id: UUID | None = None
    previous_numbers: list[str] = Field(default_factory=list[str], sa_type=ARRAY(Text))  # pyright: ignore[reportArgumentType]
    block_reason: str = ""
    balance: int = Field(default=0, sa_type=BigInteger)
    owed: int = Field(default=0, sa_type=BigInteger)
    sequence: int | None = Field(default=None, sa_type=BigInteger)
    merged_into_id: UUID | None = None
    """The card to which its points went, when it was closed because its customer was merged: one that is there."""

    def state_on(self, day: date) -> str:
        """The state on that day, whether or not the night has been that writes it down."""
        over = self.expire_date is not None and self.expire_date < day
        return EXPIRED if over and self.state == ACTIVE else self.state

    def need_active(self, day: date) -> None:
        """Raises CardNotActive."""
        state = self.state_on(day)
        if state != ACTIVE:
            raise CardNotActive(state)


@dataclass(frozen=True, kw_only=True)
class CardSnapshot:
    customer_id: UUID
    number: str
    state: str
    level_id: UUID | None
    balance: int
    owed: int


@dataclass(frozen=True, kw_only=True)
class CardEvent(Event):
    """What every event says of a card."""

    card_id: UUID
    owner_id: UUID | None
    team_id: UUID | None
    card: CardSnapshot


class CardIssued(CardEvent):
    pass


@dataclass(frozen=True, kw_only=True)
class CardBlocked(CardEvent):
    reason: str


class CardUnblocked(CardEvent):
    pass


@dataclass(frozen=True, kw_only=True)
class CardReplaced(CardEvent):
    previous_number: str


class CardRenewed(CardEvent):
    pass


class CardExpired(CardEvent):
    pass


@dataclass(frozen=True, kw_only=True)
class CardLevelChanged(CardEvent):
    previous_level_id: UUID | None


def told(card: Card) -> dict[str, Any]:
    """What every event says of a card."""
    return {
        "card_id": card.id, "owner_id": card.owner_id, "team_id": card.team_id,
        "card": CardSnapshot(
            customer_id=card.customer_id, number=card.number, state=card.state, level_id=card.level_id, balance=card.balance,
            owed=card.owed,
        ),
    }  # fmt: skip


_GIVE_NUMBER = text("INSERT INTO card_numbers (tenant_id, number, card_id) VALUES (:tenant, :number, :card)")


def _chosen_number() -> str:
    """Sixteen digits of which the last one checks the others (Luhn, ISO/IEC 7812-1): nobody guesses a neighbour's number."""
    digits = [secrets.randbelow(9) + 1, *(secrets.randbelow(10) for _ in range(14))]
    doubled = [sum(divmod(2 * digit, 10)) if place % 2 == 0 else digit for place, digit in enumerate(digits)]
    return "".join(map(str, digits)) + str(-sum(doubled) % 10)


async def _take_number(tx: Transaction, card: Card) -> None:
    """The card's number is its own from now on, for ever."""
    await tx.session.flush()
    await tx.session.execute(
        _GIVE_NUMBER, {"tenant": tx.who.tenant_id, "number": card.number, "card": card.id}
    )


async def issue(
    tx: Transaction, customer: Customer, number: str, expire_date: date | None, id: UUID | None
) -> Card:
    """A card for a customer, on the lowest level. Raises Invalid for a day that is over."""
    _check_day(tx, expire_date, "card.expireDate")
    programme = await programme_for(tx)
    card = Card(
        id=id or new_id(), customer_id=customer.id, owner_id=customer.owner_id, team_id=customer.team_id,
        number=number.strip().upper() or _chosen_number(), expire_date=expire_date,
        level_id=level_for(levels_of(programme.levels), 0) if programme else None,
    )  # fmt: skip
    tx.add(card)
    await _take_number(tx, card)
    tx.record(CardIssued(**told(card)), on=card)
    return card


def _check_day(tx: Transaction, day: date | None, field: str) -> None:
    if day is not None and day < tx.now.date():
        raise Invalid(field, "is over")


def block(tx: Transaction, card: Card, reason: str) -> None:
    """Nothing is earned or redeemed until it is unblocked. Raises CardAlreadyBlocked."""
    if card.state == BLOCKED:
        raise CardAlreadyBlocked
    card.state, card.block_reason = BLOCKED, reason
    tx.record(CardBlocked(**told(card), reason=reason), on=card)


def unblock(tx: Transaction, card: Card) -> None:
    """It can be used again, unless its last day is over. Raises CardNotBlocked."""
    if card.state != BLOCKED:
        raise CardNotBlocked
    card.state, card.block_reason = ACTIVE, ""
    card.state = card.state_on(tx.now.date())
    tx.record(CardUnblocked(**told(card)), on=card)


async def give_another_number(tx: Transaction, card: Card, number: str) -> None:
    """Replaces the card: the old number opens nothing any more, all else stays."""
    previous, card.number = card.number, number.strip().upper() or _chosen_number()
    card.previous_numbers = [*card.previous_numbers, previous]
    await _take_number(tx, card)
    tx.record(CardReplaced(**told(card), previous_number=previous), on=card)


def renew(tx: Transaction, card: Card, expire_date: date | None) -> None:
    """Another last day. Raises Invalid for one that is over."""
    _check_day(tx, expire_date, "expireDate")
    card.expire_date = expire_date
    if card.state == EXPIRED:
        card.state = ACTIVE
    tx.record(CardRenewed(**told(card)), on=card)


def expire_card(tx: Transaction, card: Card) -> None:
    """Writes down that the card's last day is over, if it is."""
    if card.state == ACTIVE and card.state_on(tx.now.date()) == EXPIRED:
        card.state = EXPIRED
        tx.record(CardExpired(**told(card)), on=card)


async def card_of(tx: Transaction, customer_id: UUID) -> Card | None:
    """The customer's card, locked; None when there is none."""
    wanted = (
        select(Card)
        .where(col(Card.customer_id) == customer_id, col(Card.deleted_at).is_(None))
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    return (await tx.session.execute(wanted)).scalar_one_or_none()


async def card_for(tx: Transaction, id: UUID) -> Card:
    """The card, locked, whose customer the caller may change, by a share of it, too. Raises NotFound, Denied."""
    return await get_with_customer(tx, Card, id, lambda card: card.customer_id)


async def withdraw_card(tx: Transaction, customer: Customer) -> None:
    """The card goes with its customer; its ledger stays."""
    card = await card_of(tx, customer.id)
    if card is not None:
        tx.delete(card)


async def has_card(tx: Transaction, customer: Customer) -> bool:
    """Whether the customer holds a card."""
    found = await tx.session.execute(
        text("SELECT 1 FROM membership_cards WHERE customer_id = :id AND deleted_at IS NULL"),
        {"id": customer.id},
    )
    return found.first() is not None


# What an order earned that was cancelled does not count; points that have been spent or have expired do, and those that other
# cards earned which went into this one.
_COUNTED = text(
    "SELECT CAST(coalesce(sum(-issued), 0) AS bigint) FROM points_transactions e WHERE kind = 'EARN'"
    " AND card_id IN (SELECT c.id FROM membership_cards c WHERE c.id = :card OR c.merged_into_id = :card)"
    " AND created_at >= :since AND NOT EXISTS (SELECT FROM points_transactions b WHERE b.reverses_id = e.id)"
)


def counts_since(programme: Programme, today: date) -> datetime:
    """From when on earned points count for the level on that day."""
    first = (
        months_later(today, -programme.level_months) + timedelta(days=1)
        if programme.level_months
        else EPOCH.date()
    )
    return datetime.combine(first, time(tzinfo=UTC))


async def relevel(tx: Transaction, card: Card, programme: Programme) -> None:
    """Gives the card the level that its earned points reach, up or down."""
    since = counts_since(programme, tx.now.date())
    counted = await tx.session.execute(_COUNTED, {"card": card.id, "since": since})
    level = level_for(levels_of(programme.levels), counted.scalar_one())
    if level != card.level_id:
        previous, card.level_id = card.level_id, level
        tx.record(CardLevelChanged(**told(card), previous_level_id=previous), on=card)
