"""Places and seats: who comes in, who is served next."""

import asyncio
from collections import Counter

from gateway.turns import HOLD, Place, Turns


def entered(turns: Turns, tenant: str, many: int) -> list[Place]:
    """The places that tenant gets of so many requests."""
    return [place for place in (turns.enter(tenant) for _ in range(many)) if place is not None]


def test_one_tenant_alone_has_half_of_the_places() -> None:
    turns = Turns(places=100, seats=1)
    assert len(entered(turns, "noisy", 1_000)) == 50
    assert len(entered(turns, "quiet", 10)) == 10


def test_many_that_flood_leave_room_for_one_that_does_not() -> None:
    turns = Turns(places=120, seats=1)
    for _ in range(120):
        for number in range(5):
            turns.enter(f"noisy {number}")
    assert turns.inside == 100
    assert turns.enter("quiet") is not None


def test_places_come_back_once() -> None:
    turns = Turns(places=4, seats=1)
    places = entered(turns, "a", 4)
    assert len(places) == 2
    for place in places * 2:
        place.leave()
    assert turns.inside == 0
    assert len(entered(turns, "a", 4)) == 2


async def test_seats_go_round_the_tenants() -> None:
    turns = Turns(places=1_000, seats=1)
    served: list[str] = []

    async def request(tenant: str) -> None:
        place = turns.enter(tenant)
        assert place is not None
        await place.seat()
        served.append(tenant)
        await asyncio.sleep(0)
        place.leave()

    async with asyncio.TaskGroup() as tasks:
        for tenant in ["noisy"] * 100 + ["quiet"] * 10 + ["shy"] * 5:
            tasks.create_task(request(tenant))
    assert Counter(served[1:16]) == {"noisy": 5, "quiet": 5, "shy": 5}
    assert len(served) == 115


async def test_a_request_that_lasts_gives_its_seat_to_the_next() -> None:
    turns = Turns(places=100, seats=2)
    slow = entered(turns, "a", 2)
    for place in slow:
        await place.seat()
    third = turns.enter("b")
    assert third is not None
    began = asyncio.get_running_loop().time()
    await asyncio.wait_for(third.seat(), 5)
    assert asyncio.get_running_loop().time() - began > HOLD / 2
    for place in slow:
        place.leave()
    fourth = turns.enter("b")
    assert fourth is not None
    await asyncio.wait_for(fourth.seat(), HOLD / 2)  # the seats of those who left late were counted once


async def test_who_no_longer_waits_takes_no_seat() -> None:
    turns = Turns(places=100, seats=1)
    first, second, third = entered(turns, "a", 3)
    await first.seat()
    waiting = asyncio.create_task(second.seat())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    second.leave()
    last = asyncio.create_task(third.seat())
    await asyncio.sleep(0)
    first.leave()
    await asyncio.wait_for(last, HOLD / 2)
    third.leave()
    assert turns.inside == 0
