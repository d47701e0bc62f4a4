"""Membership cards and points over gRPC: who earns, who redeems, and what nobody can do."""

import asyncio
import random
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from google.type.date_pb2 import Date
from google.type.money_pb2 import Money
from kehu.customers.v1 import (
    customer_facet_pb2,
    customer_service_pb2,
    membership_pb2,
    membership_service_pb2,
    points_pb2,
    points_service_pb2,
)
from sqlalchemy import text

from chassis.errors import Code, Problem
from chassis.ids import new_id
from chassis.principal import Reach, Rights
from chassis.testing import Harness, eventually, refused, somebody
from customers.points.audit import check_points, faults
from customers.points.cards import Card
from customers.points.night import NIGHT
from customers.testing import MEMBERSHIP, POINTS, PRODUCT, Company, day, order_event, yuan

pytestmark = pytest.mark.asyncio(loop_scope="module")
TODAY = datetime.now(UTC).date
KIND = points_pb2.PointsTransactionKind


async def member(company: Company, points: int = 0, **programme: Any) -> tuple[str, str]:
    """A customer with a card that has earned so many points. Both ids."""
    await company.programme(**programme)
    customer = await company.customer()
    card = await company.issue(customer)
    if points:
        assert await company.hear(order_event("OrderPlaced", customer, str(new_id()), points * 100)) == 1
    return customer, card.id


async def travel(company: Company, card: str, days: int) -> None:
    """The card's lots were made so many days earlier."""
    async with company.service.running.database.transaction(company.who) as tx:
        await tx.session.execute(
            text(
                "UPDATE points_lots SET expire_date = expire_date - CAST(:days AS integer) WHERE card_id = :card"
            ),
            {"days": days, "card": card},
        )


async def test_an_order_earns_once_and_its_cancelling_takes_back(company: Company) -> None:
    customer, card = await member(company, validity_months=12)
    order = str(new_id())
    placed = order_event("OrderPlaced", customer, order, 12_345)
    event_id = new_id()
    assert await company.hear(placed, event_id=event_id) == 1
    assert await company.hear(placed, event_id=event_id) == 0
    # Told again under another id, as after a replay, and paid twice: it still earns once.
    assert await company.hear(placed) == 1
    assert await company.hear(order_event("OrderDelivered", customer, order, 12_345), 2) == 1
    assert (await company.card(card)).balance == 123
    (posting,) = await company.ledger(card)
    assert {entry.account: entry.points for entry in posting.entries} == {
        points_pb2.POINTS_ACCOUNT_ISSUED: -123,
        points_pb2.POINTS_ACCOUNT_MEMBER: 123,
    }
    assert (posting.order_id, posting.sequence, posting.balance) == (order, 1, 123)
    assert posting.HasField("expire_date")
    for _ in range(2):
        await company.hear(order_event("OrderCancelled", customer, order, 12_345), 3)
    assert (await company.card(card)).balance == 0
    assert [one.points for one in await company.ledger(card)] == [123, -123]
    # What comes late changes nothing.
    await company.hear(placed)
    assert (await company.card(card)).balance == 0
    await company.sound()
    assert "PointsTakenBack" in await company.told(card)


async def test_a_programme_begins_with_payment_and_a_part_of_it_earns_nothing(company: Company) -> None:
    begun = await company.programme(earn_moment=membership_pb2.EARN_MOMENT_UNSPECIFIED)
    assert begun.earn_moment == membership_pb2.EARN_MOMENT_AT_PAYMENT
    customer = await company.customer()
    card = (await company.issue(customer)).id
    order, free = str(new_id()), str(new_id())

    async def paid(received: int, version: int, of: str = order, at: datetime | None = None) -> None:
        event = order_event("OrderReceiptRecorded", customer, of, 12_345, received=received)
        await company.hear(event, version, at=at)

    await company.hear(order_event("OrderPlaced", customer, order, 12_345))
    await company.hear(order_event("OrderPlaced", customer, free, 0))
    await paid(12_344, 2)
    assert await company.ledger(card) == []
    await paid(12_345, 3)
    await paid(12_345, 3)
    delivered = order_event("OrderDelivered", customer, order, 12_345, received=12_345)
    await company.hear(delivered, 4)
    assert [one.points for one in await company.ledger(card)] == [123]
    await company.hear(order_event("OrderCancelled", customer, order, 12_345, received=12_345), 5)
    await paid(12_345, 3)
    assert [one.points for one in await company.ledger(card)] == [123, -123]
    # What was paid before the card was there earns nothing; a moment that is changed lets nothing earn twice.
    await paid(12_345, 2, str(new_id()), datetime.now(UTC) - timedelta(days=1))
    other = str(new_id())
    await company.programme(earn_moment=membership_pb2.EARN_MOMENT_AT_PLACING)
    await company.hear(order_event("OrderPlaced", customer, other, 5_000))
    await company.programme(earn_moment=membership_pb2.EARN_MOMENT_AT_PAYMENT)
    await company.hear(order_event("OrderReceiptRecorded", customer, other, 5_000, received=5_000), 2)
    # Receipts are nothing to a programme that asks for delivery.
    await company.programme(earn_moment=membership_pb2.EARN_MOMENT_AFTER_DELIVERY)
    await paid(12_345, 2, str(new_id()))
    assert (await company.card(card)).balance == 50
    await company.sound()


async def test_an_order_between_two_moments_earns_with_what_was_still_to_come(company: Company) -> None:
    """And what was over when the moment changed, or before there was a card, never does."""
    after, payment = membership_pb2.EARN_MOMENT_AFTER_DELIVERY, membership_pb2.EARN_MOMENT_AT_PAYMENT
    early = datetime.now(UTC)
    customer, card = await member(company, earn_moment=after)
    minor, begun = 1_000, datetime.now(UTC)
    paid_early, sent, before_card = (str(new_id()) for _ in range(3))

    async def tell(kind: str, order: str, version: int, of: datetime = begun, **more: Any) -> None:
        event = order_event(kind, customer, order, minor, placed=of, **more)
        await company.hear(event, version, at=more.get("delivered"))

    receipt = order_event("OrderReceiptRecorded", customer, paid_early, minor, placed=begun, received=minor)
    at = datetime.now(UTC)
    await company.hear(receipt, 2, at=at)
    assert (await company.card(card)).balance == 0
    await company.programme(earn_moment=payment)
    # The receipt is told again, as when values are rebuilt: it was over before the moment changed.
    await company.hear(receipt, 2, at=at)
    assert (await company.card(card)).balance == 0
    await tell("OrderDelivered", paid_early, 3, received=minor, delivered=datetime.now(UTC))
    assert (await company.card(card)).balance == 10
    # Paid before there was a card, which the delivery does not tell.
    await tell("OrderDelivered", before_card, 3, early, received=minor, delivered=datetime.now(UTC))
    delivered = datetime.now(UTC)
    await tell("OrderDelivered", sent, 2, delivered=delivered)
    assert (await company.card(card)).balance == 10
    await company.programme(earn_moment=after)
    for order, then in ((sent, delivered), (str(new_id()), early)):
        for received in (minor - 1, minor, minor):
            event = order_event(
                "OrderReceiptRecorded", customer, order, minor, status="DELIVERED", received=received, delivered=then
            )  # fmt: skip
            await company.hear(event, 3)
    assert [one.points for one in await company.ledger(card)] == [10, 10]
    await company.sound()


async def test_whatever_the_order_of_events_an_order_that_is_paid_earns_and_one_that_is_cancelled_does_not(
    company: Company,
) -> None:
    """Orders with all that may become of them, told in any order and partly twice; points are spent meanwhile."""
    customer, card = await member(company, earn_moment=membership_pb2.EARN_MOMENT_AT_PAYMENT)
    choose = random.Random(20261127)
    told: list[tuple[Any, int]] = []
    wanted = 0
    for _ in range(12):
        order, yuan_paid = str(new_id()), choose.randrange(1, 90)
        whole, cancelled = choose.random() < 0.7, choose.random() < 0.4
        received = 0
        life: list[tuple[str, int]] = [("OrderPlaced", 0)]
        for _ in range(choose.randrange(3)):
            received += (yuan_paid * 100 - received) // 2
            life.append(("OrderReceiptRecorded", received))
        if whole:
            received = yuan_paid * 100
            life.append(("OrderReceiptRecorded", received))
        life.append(("OrderCancelled" if cancelled else "OrderDelivered", received))
        for version, (kind, had) in enumerate(life, 1):
            event = order_event(kind, customer, order, yuan_paid * 100, received=had)
            told += [(event, version)] * choose.choice([1, 1, 2])
        wanted += yuan_paid if whole and not cancelled else 0
    choose.shuffle(told)
    redeemed = 0
    for place, (event, version) in enumerate(told):
        await company.hear(event, version)
        held = await company.card(card)
        assert held.balance >= 0 and held.owed >= 0
        if place % 9 == 4 and held.balance:
            points = choose.randrange(1, held.balance + 1)
            await company.redeem(card, points)
            redeemed += points
    held = await company.card(card)
    assert held.balance - held.owed == wanted - redeemed
    assert held.balance == sum(one.points for one in await company.ledger(card))
    assert all(sum(entry.points for entry in one.entries) == 0 for one in await company.ledger(card))
    await company.sound()


async def test_a_cancelling_that_overtakes_its_order_leaves_nothing(company: Company) -> None:
    customer, card = await member(company)
    order = str(new_id())
    await company.hear(order_event("OrderCancelled", customer, order, 10_000), 2)
    await company.hear(order_event("OrderPlaced", customer, order, 10_000), 1)
    assert await company.ledger(card) == []


async def test_points_that_were_spent_are_owed_and_paid_by_the_next(company: Company) -> None:
    customer, card = await member(company)
    order = str(new_id())
    await company.hear(order_event("OrderPlaced", customer, order, 10_000))
    await company.redeem(card, 70)
    await company.hear(order_event("OrderCancelled", customer, order, 10_000), 2)
    held = await company.card(card)
    assert (held.balance, held.owed) == (0, 70)
    await refused(Code.FAILED_PRECONDITION, "POINTS_INSUFFICIENT", company.redeem(card, 1))
    await company.hear(order_event("OrderPlaced", customer, str(new_id()), 5_000))
    held = await company.card(card)
    assert (held.balance, held.owed) == (0, 20)
    await company.adjust(card, 50)
    held = await company.card(card)
    assert (held.balance, held.owed) == (30, 0)
    assert [sum(entry.points for entry in one.entries) for one in await company.ledger(card)] == [0] * 5
    await company.sound()


async def test_what_was_redeemed_for_a_cancelled_order_comes_back(company: Company) -> None:
    customer, card = await member(company, 100, validity_months=6)
    before = [(lot.points, lot.expire_date) for lot in await company.lots(card)]
    order = str(new_id())
    await company.redeem(card, 40, order_id=order)
    await company.hear(order_event("OrderPlaced", customer, order, 2_000))
    assert (await company.card(card)).balance == 80
    await company.hear(order_event("OrderCancelled", customer, order, 2_000), 2)
    assert [(lot.points, lot.expire_date) for lot in await company.lots(card)] == before
    assert [one.kind for one in await company.ledger(card)][-2:] == [
        KIND.POINTS_TRANSACTION_KIND_GIVE_BACK, KIND.POINTS_TRANSACTION_KIND_TAKE_BACK,
    ]  # fmt: skip
    await refused(Code.FAILED_PRECONDITION, "ORDER_CANCELLED", company.redeem(card, 1, order_id=order))
    other = await company.customer()
    theirs = str(new_id())
    await company.hear(order_event("OrderPlaced", other, theirs, 100))
    await refused(Code.INVALID_ARGUMENT, "CUSTOMER_MISMATCH", company.redeem(card, 1, order_id=theirs))
    await company.sound()
    assert "PointsGivenBack" in await company.told(card)


async def test_fifty_redemptions_at_once_never_go_below_zero(company: Company) -> None:
    _, card = await member(company, 100)
    channels = [company.redeem(card, 7, f"redeem-{n}") for n in range(50)]
    answers = await asyncio.gather(*channels, return_exceptions=True)
    done = [one for one in answers if isinstance(one, points_pb2.PointsTransaction)]
    # What a busy server turned away changed nothing and may be asked again.
    problems = [one for one in answers if isinstance(one, Problem)]
    assert len(done) + len(problems) == 50
    assert {one.reason for one in problems} <= {
        "POINTS_INSUFFICIENT",
        "RECORD_BUSY",
        "OVERLOADED",
        "DATABASE_UNAVAILABLE",
    }
    for n, answer in enumerate(answers):
        if isinstance(answer, Problem) and answer.reason != "POINTS_INSUFFICIENT":
            try:
                done.append(await company.redeem(card, 7, f"redeem-{n}"))
            except Problem as problem:
                assert problem.reason == "POINTS_INSUFFICIENT"
    assert len(done) == 14
    assert sorted(one.balance for one in done) == [100 - 7 * n for n in range(14, 0, -1)]
    assert (await company.card(card)).balance == 2
    await company.sound()


async def test_a_repeated_redemption_takes_once(company: Company) -> None:
    _, card = await member(company, 100)
    answers = await asyncio.gather(
        *(company.redeem(card, 10, "once") for _ in range(5)), return_exceptions=True
    )
    good = [one for one in answers if isinstance(one, points_pb2.PointsTransaction)]
    assert good and {one.id for one in good} == {good[0].id}
    assert (await company.redeem(card, 10, "once")).id == good[0].id
    assert (await company.card(card)).balance == 90
    await refused(Code.ALREADY_EXISTS, "IDEMPOTENCY_KEY_REUSED", company.redeem(card, 11, "once"))
    assert (await company.adjust(card, 5, "given")).id == (await company.adjust(card, 5, "given")).id
    assert (await company.card(card)).balance == 95
    with pytest.raises(Problem, match="requestId"):
        await company.service.ask(
            company.who, POINTS + "RedeemPoints", points_service_pb2.RedeemPointsRequest(id=card, points=1),
            points_pb2.PointsTransaction,
        )  # fmt: skip


async def test_lots_are_spent_by_their_days_and_expire(company: Company) -> None:
    customer, card = await member(company, 100, validity_months=3)
    await company.programme(validity_months=1)
    await company.hear(order_event("OrderPlaced", customer, str(new_id()), 5_000))
    await company.programme(validity_months=0)
    await company.hear(order_event("OrderPlaced", customer, str(new_id()), 2_000))
    await company.redeem(card, 60)
    assert [(lot.points, lot.original_points, lot.HasField("expire_date")) for lot in await company.lots(card)] == [
        (90, 100, True), (20, 20, False),
    ]  # fmt: skip
    await travel(company, card, 100)
    # Before the night has been: points whose day is over are not spent.
    await refused(Code.FAILED_PRECONDITION, "POINTS_INSUFFICIENT", company.redeem(card, 21))
    await company.redeem(card, 5)
    assert (await company.card(card)).balance == 15
    await company.job(NIGHT)
    await company.job(NIGHT)
    assert [(one.kind, one.points) for one in await company.ledger(card)][-2:] == [
        (KIND.POINTS_TRANSACTION_KIND_EXPIRE, -90), (KIND.POINTS_TRANSACTION_KIND_REDEEM, -5),
    ]  # fmt: skip
    await company.sound()
    assert "PointsExpired" in await company.told(card)


async def test_points_of_an_order_that_have_expired_are_not_taken_back(company: Company) -> None:
    customer, card = await member(company, validity_months=1)
    order = str(new_id())
    await company.hear(order_event("OrderPlaced", customer, order, 10_000))
    await company.redeem(card, 30)
    await travel(company, card, 60)
    await company.job(NIGHT)
    await company.hear(order_event("OrderCancelled", customer, order, 10_000), 2)
    held = await company.card(card)
    assert (held.balance, held.owed) == (0, 30)
    await company.sound()


async def test_a_night_that_dies_half_way_is_ended_by_the_next(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    await company.programme(validity_months=1)
    cards: list[str] = []
    for _ in range(3):
        customer = await company.customer()
        cards.append((await company.issue(customer)).id)
        await company.hear(order_event("OrderPlaced", customer, str(new_id()), 1_000))
        await travel(company, cards[-1], 60)
    import customers.points.night as night

    whole, calls = night.expire_points, 0

    async def dying(tx: Any, card: Card) -> Any:
        nonlocal calls
        calls += 1
        posting = await whole(tx, card)
        if calls == 2:
            raise RuntimeError("killed in the middle of a transaction")
        return posting

    monkeypatch.setattr(night, "expire_points", dying)
    with pytest.raises(RuntimeError):
        await company.job(NIGHT)
    assert sorted([(await company.card(id)).balance for id in cards]) == [0, 10, 10]
    await company.sound()
    # Two replicas that take it up at once.
    await asyncio.gather(company.job(NIGHT), company.job(NIGHT))
    assert [(await company.card(id)).balance for id in cards] == [0, 0, 0]
    assert [len(await company.ledger(id)) for id in cards] == [2, 2, 2]
    await company.sound()


async def test_the_night_comes_by_itself_and_sets_the_next(company: Company) -> None:
    _, card = await member(company, 10, validity_months=1)
    await travel(company, card, 60)
    database = company.service.running.database
    due = "SELECT due_at FROM jobs WHERE kind = 'membership night'"
    assert (await database.read(company.who, due))[0]["due_at"] > datetime.now(UTC)
    async with database.transaction(company.who) as tx:
        await tx.session.execute(text("UPDATE jobs SET due_at = now() WHERE kind = 'membership night'"))

    async def expired() -> bool:
        return (await company.card(card)).balance == 0

    await eventually(expired, 40)

    async def awaited() -> bool:
        rows = await database.read(company.who, due)
        return len(rows) == 1 and rows[0]["due_at"] > datetime.now(UTC)

    await eventually(awaited, 40)


async def test_rules_by_product_level_amount_and_day(company: Company) -> None:
    special = str(uuid4())
    low, high = str(uuid4()), str(uuid4())
    rule = membership_pb2.EarningRule
    yesterday, tomorrow = TODAY() - timedelta(days=1), TODAY() + timedelta(days=1)
    customer, card = await member(
        company,
        levels=[
            membership_pb2.MemberLevel(id=low, name_en="Silver", name_zh="银卡", threshold=0),
            membership_pb2.MemberLevel(id=high, name_en="Gold", name_zh="金卡", threshold=3_000),
        ],
        rules=[
            rule(points=1, per_amount=yuan(1_000)),
            rule(points=5, per_amount=yuan(1_000), product_id=special),
            rule(points=2, per_amount=yuan(1_000), level_id=high),
            rule(points=3, per_amount=yuan(1_000), minimum_amount=yuan(500_000)),
            rule(points=99, per_amount=yuan(100), end_date=day(yesterday)),
            rule(points=99, per_amount=yuan(100), start_date=day(tomorrow)),
            rule(points=7, per_amount=Money(currency_code="USD", units=1)),
        ],
    )  # fmt: skip
    assert (await company.card(card)).level_id == low

    async def buys(minor: int, **more: Any) -> int:
        before = (await company.card(card)).balance
        await company.hear(order_event("OrderPlaced", customer, str(new_id()), minor, **more))
        return (await company.card(card)).balance - before

    assert await buys(1_999) == 1
    assert await buys(3_000, lines=[(PRODUCT, 1_000), (special, 2_000)]) == 11
    assert await buys(500_000) == 1_500
    assert await buys(300, currency="USD") == 21
    assert await buys(100, currency="EUR") == 0
    assert await buys(500_000) == 1_500
    assert (await company.card(card)).level_id == high
    assert await buys(1_500) == 3
    levels = [membership_pb2.MemberLevel(name_en="Only", name_zh="唯一", threshold=0)]
    await refused(Code.FAILED_PRECONDITION, "LEVEL_IN_USE", company.programme(levels=levels))


async def test_levels_fall_in_the_night_and_by_cancelling(company: Company) -> None:
    low, high = str(uuid4()), str(uuid4())
    customer, card = await member(
        company,
        level_months=12,
        levels=[
            membership_pb2.MemberLevel(id=low, name_en="Silver", name_zh="银卡", threshold=0),
            membership_pb2.MemberLevel(id=high, name_en="Gold", name_zh="金卡", threshold=100),
        ],
    )
    order = str(new_id())
    await company.hear(order_event("OrderPlaced", customer, order, 10_000))
    await company.redeem(card, 100)
    assert (await company.card(card)).level_id == high
    await company.hear(order_event("OrderCancelled", customer, order, 10_000), 2)
    assert (await company.card(card)).level_id == low
    await company.hear(order_event("OrderPlaced", customer, str(new_id()), 10_000))
    await company.job(NIGHT)
    assert (await company.card(card)).level_id == high
    levels = [
        membership_pb2.MemberLevel(id=low, name_en="Silver", name_zh="银卡", threshold=0),
        membership_pb2.MemberLevel(id=high, name_en="Gold", name_zh="金卡", threshold=101),
    ]
    await company.programme(levels=levels)
    await company.job(NIGHT)
    assert (await company.card(card)).level_id == low
    assert "CardLevelChanged" in await company.told(card)


async def test_the_moment_of_earning(company: Company) -> None:
    customer, card = await member(company, earn_moment=membership_pb2.EARN_MOMENT_AFTER_DELIVERY)
    order = str(new_id())
    await company.hear(order_event("OrderPlaced", customer, order, 1_000))
    await company.hear(order_event("OrderDelivered", customer, order, 1_000, status="PARTLY_DELIVERED"), 2)
    assert (await company.card(card)).balance == 0
    await company.hear(order_event("OrderDelivered", customer, order, 1_000), 3)
    assert (await company.card(card)).balance == 10
    # Orders from before the card or the programme earn nothing, also when they are told again.
    long_ago = datetime.now(UTC) - timedelta(days=1)
    await company.hear(order_event("OrderDelivered", customer, str(new_id()), 1_000), at=long_ago)
    await company.programme(enabled=False)
    await company.hear(order_event("OrderDelivered", customer, str(new_id()), 1_000))
    assert (await company.card(card)).balance == 10


async def test_cards_are_blocked_replaced_and_renewed(company: Company) -> None:
    customer, card = await member(company, 100)
    number = (await company.card(card)).number
    assert number.isdigit() and len(number) == 16
    blocked = await company.verb("Block", card, reason="lost")
    assert (blocked.state, blocked.block_reason) == (membership_pb2.CARD_STATE_BLOCKED, "lost")
    await refused(Code.FAILED_PRECONDITION, "CARD_BLOCKED", company.verb("Block", card))
    await refused(Code.FAILED_PRECONDITION, "CARD_NOT_ACTIVE", company.redeem(card, 1))
    await company.hear(order_event("OrderPlaced", customer, str(new_id()), 1_000))
    replaced = await company.verb("Replace", card, number="gold-1")
    assert (replaced.number, list(replaced.previous_numbers), replaced.balance) == ("GOLD-1", [number], 100)
    await company.verb("Unblock", card)
    await refused(Code.FAILED_PRECONDITION, "CARD_NOT_BLOCKED", company.verb("Unblock", card))
    assert (await company.redeem(card, 10)).balance == 90
    other = await company.customer()
    for taken in (number, "Gold-1"):
        await refused(Code.ALREADY_EXISTS, "CARD_NUMBER_TAKEN", company.issue(other, number=taken))
    await refused(Code.ALREADY_EXISTS, "CARD_HELD_ALREADY", company.issue(customer))
    over = Date(year=2020, month=1, day=1)
    await refused(Code.INVALID_ARGUMENT, "INVALID_FIELD", company.issue(other, expire_date=over))
    second = await company.issue(other, expire_date=day(TODAY()))
    async with company.service.running.database.transaction(company.who) as tx:
        await tx.session.execute(
            text("UPDATE membership_cards SET expire_date = :day WHERE id = :id"),
            {"day": date(2026, 1, 1), "id": second.id},
        )
    await company.adjust(second.id, 5)
    await refused(Code.FAILED_PRECONDITION, "CARD_NOT_ACTIVE", company.redeem(second.id, 1))
    await company.job(NIGHT)
    assert (await company.card(second.id)).state == membership_pb2.CARD_STATE_EXPIRED
    renewed = await company.verb("Renew", second.id, expire_date=day(TODAY()))
    assert renewed.state == membership_pb2.CARD_STATE_ACTIVE
    assert (await company.redeem(second.id, 5)).balance == 0
    await refused(Code.ABORTED, "ETAG_MISMATCH", company.verb("Block", second.id, etag="1"))
    # All of it is told, and stands in the histories.
    assert await company.told(card) == [
        "CardIssued", "PointsEarned", "CardBlocked", "CardReplaced", "CardUnblocked", "PointsRedeemed",
    ]  # fmt: skip
    assert await company.told(second.id) == [
        "CardIssued", "PointsAdjusted", "CardExpired", "CardRenewed", "PointsRedeemed",
    ]  # fmt: skip
    programme = await company.programme(validity_months=7)
    assert await company.told(programme.id) == ["ProgrammeUpdated", "ProgrammeUpdated"]
    (change, *_) = await company.history("programme", programme.id)
    assert ("validityMonths", "0", "7") in {(f.field, f.old_value, f.new_value) for f in change.fields}


async def test_redeemed_points_have_a_value(company: Company) -> None:
    _, card = await member(company, 1_000, redemption_points=100, redemption_value=yuan(150))
    done = await company.redeem(card, 333)
    assert (done.value.units, done.value.nanos, done.value.currency_code) == (4, 990_000_000, "CNY")
    await refused(
        Code.INVALID_ARGUMENT,
        "INVALID_FIELD",
        company.programme(redemption_points=0, redemption_value=yuan(1)),
    )


async def test_what_cannot_be_asked(company: Company) -> None:
    _, card = await member(company, 10)
    for points in (0, -1, 10**13):
        await refused(Code.INVALID_ARGUMENT, "INVALID_FIELD", company.redeem(card, points))
    await refused(Code.INVALID_ARGUMENT, "INVALID_FIELD", company.adjust(card, 0))
    await refused(Code.FAILED_PRECONDITION, "POINTS_INSUFFICIENT", company.adjust(card, -11))
    await refused(Code.NOT_FOUND, "NOT_FOUND", company.redeem(str(uuid4()), 1))
    level = membership_pb2.MemberLevel
    for levels in (
        [level(name_en="A", name_zh="甲", threshold=5)],
        [level(name_en="A", name_zh="甲"), level(name_en="a", name_zh="乙", threshold=5)],
        [level(name_en="A", name_zh="甲"), level(name_en="B", name_zh="乙", threshold=0)],
        [level(name_en="A", name_zh="")],
    ):
        with pytest.raises(Problem) as caught:
            await company.programme(levels=levels)
        assert caught.value.code == Code.INVALID_ARGUMENT
    rule = membership_pb2.EarningRule
    for wrong in (
        rule(points=1, per_amount=yuan(0)),
        rule(points=0, per_amount=yuan(1)),
        rule(points=1, per_amount=yuan(1), level_id=str(uuid4())),
        rule(points=1, per_amount=yuan(1), minimum_amount=Money(currency_code="USD", units=1)),
        rule(points=1, per_amount=yuan(1), start_date=day(date(2026, 2, 1)), end_date=day(date(2026, 1, 1))),
    ):
        with pytest.raises(Problem) as caught:
            await company.programme(rules=[wrong])
        assert caught.value.code == Code.INVALID_ARGUMENT


async def test_who_may(company: Company, service: Harness) -> None:
    _, card = await member(company, 10)
    stranger = Company(service)
    await refused(Code.NOT_FOUND, "NOT_FOUND", stranger.card(card))
    await refused(Code.NOT_FOUND, "NOT_FOUND", stranger.redeem(card, 1))
    await refused(Code.NOT_FOUND, "NOT_FOUND", stranger.ledger(card))
    await refused(Code.NOT_FOUND, "NOT_FOUND", stranger.lots(card))
    tenant = company.who.tenant
    none = somebody(tenant, rights={})
    reader = somebody(tenant, rights={"customers": Rights(Reach.ALL, Reach.OWN)})
    seller = somebody(tenant, rights={"customers": Rights(Reach.ALL, Reach.ALL)})
    owner = somebody(
        tenant, rights={"customers": Rights(Reach.OWN, Reach.OWN), "settings": Rights(Reach.ALL, Reach.ALL)}
    )
    await refused(Code.PERMISSION_DENIED, "RIGHT_MISSING", company.redeem(card, 1, who=none))
    await refused(Code.PERMISSION_DENIED, "RECORD_READ_ONLY", company.redeem(card, 1, who=reader))
    await refused(Code.NOT_FOUND, "NOT_FOUND", company.redeem(card, 1, who=owner))
    await refused(Code.NOT_FOUND, "NOT_FOUND", company.adjust(card, 1, who=owner))
    await refused(Code.PERMISSION_DENIED, "RIGHT_MISSING", company.adjust(card, 1, who=seller))
    assert (await company.redeem(card, 1, who=seller)).balance == 9
    company.who = seller
    await refused(Code.PERMISSION_DENIED, "RIGHT_MISSING", company.programme())


async def test_cards_follow_their_customer(company: Company) -> None:
    customer, card = await member(company, 10)
    service, who = company.service, company.who
    page = await service.ask(
        who, MEMBERSHIP + "ListMembershipCards",
        membership_service_pb2.ListMembershipCardsRequest(
            filter=f'customerId = "{customer}" AND balance >= 10 AND state = "CARD_STATE_ACTIVE"', order_by="balance desc"
        ),
        membership_service_pb2.ListMembershipCardsResponse,
    )  # fmt: skip
    assert [one.id for one in page.cards] == [card]
    facet = await service.ask(
        who, "kehu.customers.v1.CustomerFacetService/GetCustomerFacet",
        customer_facet_pb2.GetCustomerFacetRequest(customer_id=customer), customer_facet_pb2.CustomerFacet,
    )  # fmt: skip
    assert (facet.membership_card.id, facet.value.order_count) == (card, 1)
    from google.protobuf.empty_pb2 import Empty

    delete = customer_service_pb2.DeleteCustomerRequest(id=customer)
    delete.untouched_only = True
    await refused(
        Code.ABORTED,
        "CUSTOMER_TOUCHED",
        service.ask(who, "kehu.customers.v1.CustomerService/DeleteCustomer", delete, Empty),
    )
    delete.untouched_only = False
    await service.ask(who, "kehu.customers.v1.CustomerService/DeleteCustomer", delete, Empty)
    await refused(Code.NOT_FOUND, "NOT_FOUND", company.card(card))
    await company.hear(order_event("OrderPlaced", customer, str(new_id()), 1_000))
    await company.job(NIGHT)
    await company.sound()


_PLANTS = {
    "a card with more than its ledger": "UPDATE membership_cards SET balance = balance + 1",
    "a card that owes": "UPDATE membership_cards SET owed = 5",
    "a lot with more than was moved": "UPDATE points_lots SET remaining = remaining - 1",
    "a posting that is not even": "UPDATE points_transactions SET issued = issued - 1",
    "a posting that is gone": "DELETE FROM points_transactions WHERE kind = 'REDEEM'",
    "a move that is gone": "DELETE FROM points_lot_moves WHERE points < 0",
}


@pytest.mark.parametrize("plant", _PLANTS)
async def test_the_database_refuses_what_would_break_the_ledger_and_the_check_finds_it(
    plant: str, company: Company, postgres_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _, card = await member(company, 100)
    await company.redeem(card, 30)
    await company.sound()
    running = company.service.running
    sql = _PLANTS[plant] + (" AND" if "WHERE" in _PLANTS[plant] else " WHERE") + " tenant_id = $1"
    # The service itself cannot.
    app: Any = await asyncpg.connect(running.settings.database_url.get_secret_value())
    try:
        with pytest.raises((asyncpg.InsufficientPrivilegeError, asyncpg.IntegrityConstraintViolationError)):
            async with app.transaction():
                await app.execute("SELECT set_config('kehu.tenant', $1, true)", str(company.who.tenant_id))
                await app.execute(sql, company.who.tenant_id)
                if "points_lots" in sql:  # the one that only the check finds
                    raise asyncpg.InsufficientPrivilegeError
    finally:
        await app.close()
    # An administrator who switches all rules off can, and it is found.
    path = running.settings.database_url.get_secret_value().rpartition("/")[2]
    above: Any = await asyncpg.connect(postgres_url.rpartition("/")[0] + "/" + path)
    try:
        undo = above.transaction()
        await undo.start()
        await above.execute("SET LOCAL session_replication_role = replica")
        for name in ("points_add_up_to_zero",):
            await above.execute(f"ALTER TABLE points_transactions DROP CONSTRAINT {name}")
        await above.execute(sql, company.who.tenant_id)
        await undo.commit()
        assert await faults(running.database, company.who)
        with pytest.raises(SystemExit):
            await check_points(running, [])
        assert company.who.tenant in capsys.readouterr().out
    finally:
        await above.execute("SET session_replication_role = replica")
        for table in (
            "points_lot_moves",
            "points_lots",
            "points_orders",
            "card_numbers",
            "points_transactions",
            "membership_cards",
        ):
            await above.execute(f"DELETE FROM {table} WHERE tenant_id = $1", company.who.tenant_id)
        await above.execute(
            "ALTER TABLE points_transactions DROP CONSTRAINT IF EXISTS points_add_up_to_zero,"
            " ADD CONSTRAINT points_add_up_to_zero CHECK (issued + member + redeemed + expired + adjusted + owing = 0)"
        )
        await above.close()
