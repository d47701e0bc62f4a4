"""Two cards become one when their customers are merged: points, days, debts and levels go over, and come back."""

import random
from typing import Any

import pytest
from kehu.customers.v1 import membership_pb2, merge_pb2, merge_service_pb2
from sqlalchemy import text

from chassis.errors import Code, Problem
from chassis.ids import new_id
from chassis.testing import refused
from customers.points.night import NIGHT
from customers.testing import Company, order_event

pytestmark = pytest.mark.asyncio(loop_scope="module")
API = "kehu.customers.v1.MergeService/"


class Club(Company):
    """A company with members who are known twice."""

    async def merge(self, survivor: str, *others: str) -> merge_pb2.Merge:
        request = merge_service_pb2.MergeCustomersRequest(id=survivor, merged_ids=others)
        return await self.service.ask(self.who, API + "MergeCustomers", request, merge_pb2.Merge)

    async def undo(self, merge: merge_pb2.Merge) -> None:
        request = merge_service_pb2.UndoMergeRequest(id=merge.id)
        await self.service.ask(self.who, API + "UndoMerge", request, merge_pb2.Merge)

    async def member(self, points: int = 0) -> tuple[str, str]:
        """A customer and its card, which has earned so many points."""
        customer = await self.customer()
        card = (await self.issue(customer)).id
        if points:
            await self.order(customer, points)
        return customer, card

    async def order(self, customer: str, points: int) -> str:
        order = str(new_id())
        await self.hear(order_event("OrderPlaced", customer, order, points * 100))
        return order

    async def cancel(self, customer: str, order: str, points: int) -> None:
        await self.hear(order_event("OrderCancelled", customer, order, points * 100), 2)

    async def held(self, card: str) -> tuple[int, int]:
        found = await self.card(card)
        return found.balance, found.owed

    async def older(self, card: str, days: int) -> None:
        """The card's points were earned so many days earlier."""
        async with self.service.running.database.transaction(self.who) as tx:
            await tx.session.execute(
                text(
                    "UPDATE points_lots SET expire_date = expire_date - CAST(:d AS integer) WHERE card_id = :c"
                ),
                {"d": days, "c": card},
            )

    async def days(self, card: str) -> list[tuple[int, Any]]:
        return [(lot.points, lot.expire_date) for lot in await self.lots(card)]


@pytest.fixture
def club(company: Company) -> Club:
    return Club(company.service)


async def test_points_go_over_with_their_days_and_come_back(club: Club) -> None:
    await club.programme(validity_months=12)
    one, stays = await club.member(100)
    two, goes = await club.member(60)
    await club.older(goes, 30)
    await club.order(two, 40)
    await club.redeem(goes, 10)
    before = [await club.days(card) for card in (stays, goes)]
    merge = await club.merge(one, two)
    assert await club.held(stays) == (190, 0)
    # What expires first is spent first, wherever it came from; of one day all is together.
    assert [points for points, _ in await club.days(stays)] == [50, 100, 40]
    await refused(Code.NOT_FOUND, "NOT_FOUND", club.card(goes))
    await club.sound()
    await club.undo(merge)
    assert [await club.days(card) for card in (stays, goes)] == before
    await club.sound()
    for card in (stays, goes):
        for posting in await club.ledger(card):
            assert sum(entry.points for entry in posting.entries) == 0
    # And once more.
    await club.undo(await club.merge(one, two))
    assert [await club.days(card) for card in (stays, goes)] == before
    await club.sound()


async def test_what_was_spent_or_expired_does_not_come_back(club: Club) -> None:
    await club.programme(validity_months=12)
    one, stays = await club.member(100)
    two, goes = await club.member(60)
    await club.older(goes, 30)
    merge = await club.merge(one, two)
    await club.redeem(stays, 45)
    await club.undo(merge)
    assert [await club.held(card) for card in (stays, goes)] == [(100, 0), (15, 0)]
    merge = await club.merge(one, two)
    await club.older(stays, 400)
    await club.undo(merge)
    assert [await club.held(card) for card in (stays, goes)] == [(0, 0), (0, 0)]
    await club.sound()


async def test_the_first_card_there_is_stays(club: Club) -> None:
    await club.programme()
    one = await club.customer()
    two, second = await club.member(20)
    three, third = await club.member(30)
    merge = await club.merge(one, two, three)
    held = await club.card(second)
    assert (held.customer_id, held.balance) == (one, 50)
    await club.undo(merge)
    cards = [await club.card(card) for card in (second, third)]
    assert [(card.customer_id, card.balance) for card in cards] == [(two, 20), (three, 30)]
    await club.sound()


async def test_debts_go_over_and_are_paid(club: Club) -> None:
    await club.programme()

    async def in_debt(points: int) -> tuple[str, str]:
        customer, card = await club.member()
        order = await club.order(customer, points)
        await club.redeem(card, points)
        await club.cancel(customer, order, points)
        assert await club.held(card) == (0, points)
        return customer, card

    one, stays = await club.member(100)
    two, goes = await in_debt(30)
    merge = await club.merge(one, two)
    assert await club.held(stays) == (70, 0)
    await club.undo(merge)
    assert [await club.held(card) for card in (stays, goes)] == [(100, 0), (0, 30)]
    merge = await club.merge(two, one)
    assert await club.held(goes) == (70, 0)
    await club.undo(merge)
    assert [await club.held(card) for card in (stays, goes)] == [(100, 0), (0, 30)]
    other, more = await in_debt(50)
    merge = await club.merge(other, two)
    assert await club.held(more) == (0, 80)
    await club.order(other, 60)
    await club.undo(merge)
    assert [await club.held(card) for card in (more, goes)] == [(10, 0), (0, 30)]
    await club.sound()


async def test_orders_of_a_card_that_went_are_undone_on_the_one_that_stayed(club: Club) -> None:
    levels = [
        membership_pb2.MemberLevel(name_en="Member", name_zh="会员", threshold=0),
        membership_pb2.MemberLevel(name_en="Gold", name_zh="金卡", threshold=150),
    ]
    programme = await club.programme(levels=levels, validity_months=12)
    gold = programme.levels[1].id
    one, stays = await club.member(100)
    two, goes = await club.member()
    order, paid = await club.order(two, 80), str(new_id())
    await club.redeem(goes, 20, order_id=paid)
    merge = await club.merge(one, two)
    assert await club.held(stays) == (160, 0)
    assert (await club.card(stays)).level_id == gold
    await club.job(NIGHT)
    assert (await club.card(stays)).level_id == gold
    await club.cancel(two, paid, 1)
    assert await club.held(stays) == (180, 0)
    await club.cancel(two, order, 80)
    assert await club.held(stays) == (100, 0)
    assert (await club.card(stays)).level_id != gold
    await club.cancel(two, order, 80)
    assert await club.held(stays) == (100, 0)
    await club.sound()
    await club.undo(merge)
    await club.sound()
    # What was redeemed was given back where the member was then.
    assert sum([(await club.held(card))[0] for card in (stays, goes)]) == 100


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_happens_no_point_is_lost_or_made(club: Club, seed: int) -> None:
    """Merges, orders, redemptions and undoings in any order: all cards together have what was earned less what was spent."""
    chance = random.Random(seed)
    await club.programme(validity_months=12)
    members = dict([await club.member(chance.randrange(50)) for _ in range(4)])
    total = sum([balance - owed for balance, owed in [await club.held(card) for card in members.values()]])
    merges: list[tuple[merge_pb2.Merge, dict[str, str]]] = []
    orders: list[tuple[str, str, int]] = []
    for _ in range(14):
        customer = chance.choice(list(members))
        match chance.choice(["order", "redeem", "cancel", "merge", "undo"]):
            case "order":
                points = chance.randrange(1, 40)
                orders.append((customer, await club.order(customer, points), points))
                total += points
            case "redeem":
                balance, _ = await club.held(members[customer])
                if balance:
                    points = chance.randrange(1, balance + 1)
                    await club.redeem(members[customer], points)
                    total -= points
            case "cancel" if orders:
                whose, order, points = orders.pop(chance.randrange(len(orders)))
                await club.cancel(whose, order, points)
                total -= points
            case "merge" if len(members) > 1:
                other = chance.choice([id for id in members if id != customer])
                merge = await club.merge(customer, other)
                merges.append((merge, {other: members.pop(other)}))
            case "undo" if merges:
                merge, gone = merges[chance.randrange(len(merges))]
                try:
                    await club.undo(merge)
                except Problem as problem:
                    assert problem.reason == "MERGE_SURVIVOR_GONE", problem
                else:
                    merges = [one for one in merges if one[0].id != merge.id]
                    members |= gone
            case _:
                pass
        held = [await club.held(card) for card in members.values()]
        assert sum(balance - owed for balance, owed in held) == total
        await club.sound()
