"""Places and seats: who comes in, who is served next."""

import asyncio
from collections import Counter

import pytest

from gateway import turns
from gateway.turns import Held, Places, Seats

SOON = 0.2
"""Seconds in which something is to happen that waits for nobody."""


def entered(places: Places, tenant: str, many: int) -> list[Held]:
    """The places that tenant gets of so many requests."""
    return [place for place in (places.enter(tenant) for _ in range(many)) if place is not None]


async def crowd(seats: Seats, tenant: str, many: int) -> list[asyncio.Task[Held]]:
    """So many requests that ask for a seat."""
    tasks = [asyncio.create_task(seats.sit(tenant)) for _ in range(many)]
    await asyncio.sleep(0)
    return tasks


def seated(tasks: list[asyncio.Task[Held]]) -> int:
    return sum(task.done() for task in tasks)


def test_one_tenant_alone_has_half_of_the_places() -> None:
    places = Places(100)
    assert len(entered(places, "noisy", 1_000)) == 50
    assert len(entered(places, "quiet", 10)) == 10


def test_many_that_flood_leave_room_for_one_that_does_not() -> None:
    places = Places(120)
    for _ in range(120):
        for number in range(5):
            places.enter(f"noisy {number}")
    assert places.inside == 100
    assert places.enter("quiet") is not None


def test_places_come_back_once() -> None:
    places = Places(4)
    held = entered(places, "a", 4)
    assert len(held) == 2
    for place in held * 2:
        place.leave()
    assert places.inside == 0
    assert len(entered(places, "a", 4)) == 2


async def test_a_tenant_that_floods_leaves_seats_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "_CONTENDED", 3600.0)
    seats = Seats(16)
    quiet = [await seats.sit("quiet")]
    flood = await crowd(seats, "noisy", 100)
    assert seated(flood) == 4  # three of them leave twelve free, four leave eleven
    quiet += [await asyncio.wait_for(seats.sit("quiet"), SOON) for _ in range(2)]
    for seat in quiet:
        seat.leave()
    assert seated(flood) == 4
    for task in flood:
        task.cancel()


async def test_a_tenant_alone_has_half_of_the_seats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "_CONTENDED", 0.0)
    flood = await crowd(Seats(16), "only", 100)
    assert seated(flood) == 8
    for task in flood:
        task.cancel()


async def test_seats_go_round_the_tenants() -> None:
    seats = Seats(1)
    served: list[str] = []

    async def request(tenant: str) -> None:
        seat = await seats.sit(tenant)
        served.append(tenant)
        await asyncio.sleep(0)
        seat.leave()

    async with asyncio.TaskGroup() as tasks:
        for tenant in ["noisy"] * 100 + ["quiet"] * 10 + ["shy"] * 5:
            tasks.create_task(request(tenant))
    assert Counter(served[1:16]) == {"noisy": 5, "quiet": 5, "shy": 5}
    assert len(served) == 115


async def test_a_request_that_lasts_gives_its_seat_to_the_next() -> None:
    seats = Seats(1)
    slow = await seats.sit("a")
    began = asyncio.get_running_loop().time()
    second = await asyncio.wait_for(seats.sit("b"), 5)
    assert asyncio.get_running_loop().time() - began > turns.HOLD / 2
    slow.leave()
    waiting = await crowd(seats, "c", 1)
    assert not seated(waiting)  # the seat of the one who left late was counted once
    second.leave()
    await asyncio.wait_for(waiting[0], SOON)


async def test_who_no_longer_waits_takes_no_seat() -> None:
    seats = Seats(1)
    first = await seats.sit("a")
    second, third, fourth = await crowd(seats, "a", 3)
    second.cancel()
    await asyncio.wait([second])
    first.leave()
    third.cancel()  # in the moment in which its turn has come
    await asyncio.wait([third])
    await asyncio.wait_for(fourth, SOON)


async def test_nobody_waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "PATIENCE", 0.01)
    seats = Seats(1)
    first = await seats.sit("a")
    with pytest.raises(TimeoutError):
        await seats.sit("a")
    first.leave()
    await asyncio.wait_for(seats.sit("a"), SOON)
