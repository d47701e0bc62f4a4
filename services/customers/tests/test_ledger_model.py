"""The ledger beside a model of it, whatever is done in whatever order.

The model is a list of lots in the order in which they came, and what is owed. After every step the database must hold the same
lots with the same points left, which is first-in-first-out to the point; the sum of the lots, of the postings and the card's
balance must be one number, and no posting may leave a sum other than zero.
"""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import text

from chassis.database import Transaction
from chassis.ids import new_id
from chassis.testing import DatabaseUrls, Harness, Keys, running_service
from customers.errors import PointsInsufficient
from customers.points import ledger
from customers.points.audit import faults
from customers.points.cards import Card
from customers.points.ledger import Why
from customers.service import SERVICE
from customers.testing import Company

POINTS = st.integers(1, 60)
DAYS = st.one_of(st.none(), st.integers(0, 40))


@dataclass
class Lot:
    """Points of one posting, as the model has them."""

    until: date | None
    points: int
    remaining: int
    expired: int = 0


@dataclass
class Order:
    """What an order earned and what was redeemed for it."""

    id: UUID
    earned: list[tuple[int, Lot | None]] = field(default_factory=list[tuple[int, Lot | None]])
    redeemed: list[list[tuple[int, Lot]]] = field(default_factory=list[list[tuple[int, Lot]]])


@pytest.fixture(scope="module")
def house(
    service_database: Callable[[str], DatabaseUrls], nats_url: str, keys: Keys
) -> Iterator[tuple[asyncio.AbstractEventLoop, Harness]]:
    """A service in a loop of its own, for tests that are no coroutines."""
    loop = asyncio.new_event_loop()
    running = running_service(SERVICE, service_database("customers"), nats_url, keys)
    harness = loop.run_until_complete(running.__aenter__())
    yield loop, harness
    loop.run_until_complete(running.__aexit__(None, None, None))
    loop.close()


class Machine(RuleBasedStateMachine):
    """One card and everything that can happen to its points."""

    loop: asyncio.AbstractEventLoop
    service: Harness
    orders: Bundle[Order] = Bundle("orders")

    def __init__(self) -> None:
        super().__init__()
        self.company = Company(self.service)
        self.lots: list[Lot] = []
        self.owed = 0
        self.today = datetime.now(UTC).date()
        self.card_id = UUID(self.run(self._issue()))

    async def _issue(self) -> str:
        return (await self.company.issue(await self.company.customer())).id

    def run(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    def post(self, do: Callable[[Transaction, Card], Any]) -> Any:
        """Does that in a transaction, with the card locked."""

        async def within() -> Any:
            async with self.service.running.database.transaction(self.company.who) as tx:
                card = await tx.find(Card, self.card_id)
                assert card is not None
                return await do(tx, card)

        return self.run(within())

    @property
    def balance(self) -> int:
        return sum(lot.remaining for lot in self.lots)

    def expire(self) -> None:
        for lot in self.lots:
            if lot.until is not None and lot.until < self.today:
                lot.expired += lot.remaining
                lot.remaining = 0

    def bring(self, points: int, until: date | None) -> Lot | None:
        paid = min(self.owed, points)
        self.owed -= paid
        if points == paid:
            return None
        self.lots.append(Lot(until, points - paid, points - paid))
        return self.lots[-1]

    def take(self, points: int, first: Lot | None = None) -> list[tuple[int, Lot]]:
        taken: list[tuple[int, Lot]] = []
        ordered = sorted(self.lots, key=lambda lot: (lot is not first, lot.until or date.max))
        for lot in ordered:
            part = min(points, lot.remaining)
            if part:
                lot.remaining -= part
                points -= part
                taken.append((part, lot))
        assert not points
        return taken

    def until(self, days: int | None) -> date | None:
        return None if days is None else self.today + timedelta(days=days)

    @rule(target=orders, points=POINTS, days=DAYS)
    def earn(self, points: int, days: int | None) -> Any:
        order, until = Order(new_id()), self.until(days)
        self.post(lambda tx, card: ledger.earn(tx, card, points, Why(order_id=order.id, expire_date=until)))
        order.earned.append((points, self.bring(points, until)))
        return order

    @rule(points=POINTS)
    def redeem(self, points: int) -> None:
        self._redeem(points, None)

    @rule(order=orders, points=POINTS)
    def redeem_for(self, order: Order, points: int) -> None:
        self._redeem(points, order)

    def _redeem(self, points: int, order: Order | None) -> None:
        why = Why(order_id=order.id if order else None)
        left = sum(lot.remaining for lot in self.lots if lot.until is None or lot.until >= self.today)
        if points > left:
            with pytest.raises(PointsInsufficient):
                self.post(lambda tx, card: ledger.redeem(tx, card, points, why))
            return
        self.post(lambda tx, card: ledger.redeem(tx, card, points, why))
        self.expire()
        taken = self.take(points)
        if order:
            order.redeemed.append(taken)

    @rule(points=POINTS, days=DAYS)
    def give(self, points: int, days: int | None) -> None:
        until = self.until(days)
        self.post(lambda tx, card: ledger.adjust(tx, card, points, Why(expire_date=until)))
        self.expire()
        self.bring(points, until)

    @rule(points=POINTS)
    def take_by_hand(self, points: int) -> None:
        left = sum(lot.remaining for lot in self.lots if lot.until is None or lot.until >= self.today)
        if points > left:
            with pytest.raises(PointsInsufficient):
                self.post(lambda tx, card: ledger.adjust(tx, card, -points, Why()))
            return
        self.post(lambda tx, card: ledger.adjust(tx, card, -points, Why()))
        self.expire()
        self.take(points)

    @rule(days=st.integers(1, 30))
    def days_pass(self, days: int) -> None:
        """All days move, for the clock cannot."""

        async def move(tx: Transaction, card: Card) -> None:
            await tx.session.execute(
                text(
                    "UPDATE points_lots SET expire_date = expire_date - CAST(:days AS integer) WHERE card_id = :card"
                ),
                {"days": days, "card": card.id},
            )

        self.post(move)
        for lot in self.lots:
            lot.until = lot.until and lot.until - timedelta(days=days)

    @rule()
    def night(self) -> None:
        self.post(ledger.expire_points)
        self.expire()

    @rule(target=orders, order=consumes(orders), again=st.booleans())
    def cancel(self, order: Order, again: bool) -> Any:
        for _ in range(2 if again else 1):
            self.post(lambda tx, card: ledger.undo_order(tx, card, order.id, ""))
        self.expire()
        for taken in order.redeemed:
            points = sum(part for part, _ in taken)
            paid = min(self.owed, points)
            self.owed -= paid
            back = points - paid
            place = {id(lot): n for n, lot in enumerate(self.lots)}
            for part, lot in sorted(
                taken, key=lambda it: (it[1].until or date.max, place[id(it[1])]), reverse=True
            ):
                restored = min(back, part)
                lot.remaining += restored
                back -= restored
        for points, lot in order.earned:
            wanted = points - (lot.expired if lot else 0)
            missing = max(wanted - self.balance, 0)
            self.owed += missing
            self.take(wanted - missing, lot)
        order.redeemed, order.earned = [], []
        return multiple(order)

    @invariant()
    def the_database_says_the_same(self) -> None:
        database, who = self.service.running.database, self.company.who

        async def look() -> tuple[list[Any], Any, list[str]]:
            lots = await database.read(
                who, "SELECT remaining, points, expire_date FROM points_lots ORDER BY id"
            )
            (card,) = await database.read(who, "SELECT balance, owed FROM membership_cards")
            return lots, card, await faults(database, who)

        lots, card, wrong = self.run(look())
        assert wrong == []
        assert [(row["remaining"], row["points"], row["expire_date"]) for row in lots] == [
            (lot.remaining, lot.points, lot.until) for lot in self.lots
        ]
        assert (card["balance"], card["owed"]) == (self.balance, self.owed)
        assert card["balance"] >= 0 and card["owed"] >= 0
        assert not (card["owed"] and card["balance"]), "what is owed is paid from what is there"


_SETTINGS = settings(
    max_examples=8, stateful_step_count=20, derandomize=True, print_blob=False, database=None,
    phases=[Phase.generate],
)  # fmt: skip


def test_whatever_happens_the_ledger_is_the_models(
    house: tuple[asyncio.AbstractEventLoop, Harness],
) -> None:
    Machine.loop, Machine.service = house
    run_state_machine_as_test(Machine, settings=_SETTINGS)


def test_the_model_notices_a_ledger_that_spends_the_newest_first(
    house: tuple[asyncio.AbstractEventLoop, Harness], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test can fail: the order in which lots are spent is turned around."""
    Machine.loop, Machine.service = house
    right = str(ledger._LOTS_LEFT)  # pyright: ignore[reportPrivateUsage]
    wrong = right.replace("expire_date NULLS LAST, id", "expire_date DESC NULLS FIRST, id DESC")
    assert wrong != right
    monkeypatch.setattr(ledger, "_LOTS_LEFT", text(wrong))
    with pytest.raises(AssertionError):
        run_state_machine_as_test(Machine, settings=_SETTINGS)
