"""Measures beside their floor: both in turns, in one run, so that a noisy machine disturbs both alike."""

import asyncio
import itertools
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

from bench.client import Connection
from bench.stand import Stand, processor

CLIENTS = (1, 16)
Work = Callable[[Connection, int], Awaitable[object]]
Ground = Callable[[int], Awaitable[object]]


@dataclass(frozen=True)
class Figure:
    """One measure: times in milliseconds, medians over the rounds; `ratio` is the median of the rounds' ratios of p50."""

    name: str
    clients: int
    rate: float
    p50: float
    p99: float
    floor_p50: float
    ratio: float
    aim: float | None
    processor: dict[str, float] = field(default_factory=dict[str, float])
    """Milliseconds of processor time of one call, by process."""

    def line(self) -> str:
        """The figure for people."""
        aim = f"(aim {self.aim:.0f})" if self.aim else ""
        return (
            f"{self.name:<30}{self.clients:>3}  {self.rate:8.0f}/s  p50 {self.p50:8.2f} ms"
            f"  p99 {self.p99:8.2f} ms  floor {self.floor_p50:8.2f} ms  {self.ratio:6.1f} × {aim}"
        )


class Measures:
    """What was measured of one suite."""

    def __init__(self, stand: Stand, seconds: float, rounds: int) -> None:
        self.stand, self.seconds, self.rounds = stand, seconds, rounds
        self.figures: list[Figure] = []

    async def compare(
        self,
        name: str,
        work: Work,
        ground: Ground,
        aim: float | None = None,
        clients: tuple[int, ...] = CLIENTS,
    ) -> None:
        """Measures both in turns and prints a line for each number of clients."""
        for number in clients:
            ours = [partial(work, http) for http in self.stand.pool[:number]]
            await asyncio.gather(*(call(n) for n, call in enumerate(ours)))  # warm
            await ground(0)
            rounds: list[tuple[float, ...]] = []
            used: list[dict[str, float]] = []
            for _ in range(self.rounds):
                before = processor(self.stand.suite)
                spent, rate = await times(ours, self.seconds)
                after = processor(self.stand.suite)
                used.append({part: (after[part] - before[part]) * 1000 / len(spent) for part in after})
                beside, _rate = await times([ground] * number, self.seconds)
                p50, floor = statistics.median(spent), statistics.median(beside)
                rounds.append((rate, p50, percentile(spent, 0.99), floor, p50 / floor))
            rate, p50, p99, floor, ratio = (statistics.median(column) for column in zip(*rounds, strict=True))
            each = {
                part: round(statistics.median(max(0.0, one[part]) for one in used), 3) for part in used[0]
            }
            self.show(Figure(name, number, rate, p50, p99, floor, ratio, aim, each))

    def show(self, figure: Figure) -> None:
        """Keeps a figure and prints its line."""
        self.figures.append(figure)
        print(figure.line(), flush=True)

    def show_processor(self) -> None:
        """Prints what a call costs each process, for those where it is felt."""
        print("\nProcessor time of one call, ms")
        for one in self.figures:
            costs = {part: cost for part, cost in one.processor.items() if cost >= 0.02}
            if costs:
                told = "  ".join(f"{part} {cost:.2f}" for part, cost in costs.items())
                print(f"{one.name:<30}{one.clients:>3}  {sum(costs.values()):6.2f}: {told}")

    def as_json(self) -> list[dict[str, Any]]:
        """The figures for programs."""
        return [asdict(figure) for figure in self.figures]


async def times(calls: list[Callable[[int], Awaitable[object]]], seconds: float) -> tuple[list[float], float]:
    """Times of calls in milliseconds, sorted, and calls a second; each of `calls` is a client of its own."""
    found: list[float] = []
    numbers = itertools.count()
    began = time.perf_counter()
    until = began + seconds

    async def client(call: Callable[[int], Awaitable[object]]) -> None:
        while time.perf_counter() < until:
            start = time.perf_counter()
            await call(next(numbers))
            found.append((time.perf_counter() - start) * 1000)

    await asyncio.gather(*(client(call) for call in calls))
    return sorted(found), len(found) / (time.perf_counter() - began)


def percentile(ordered: list[float], share: float) -> float:
    """The value below which that share of the sorted values lies."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
