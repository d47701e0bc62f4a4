"""What the processes of a suite hold, looked at from outside again and again, and whether it grows."""

import asyncio
import json
import statistics
import time
import urllib.request
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import psutil

from kehu_local.suite import Suite
from proof.beside import Beside

MB = 1024 * 1024


@dataclass(frozen=True)
class Limit:
    """How far a quantity may have grown between the second and the last quarter: by a share of itself and by so much."""

    share: float
    more: float


LIMITS: Mapping[str, Limit] = {
    # Python gives freed memory back in arenas, and caches (statements, sessions, parsed filters) still fill for a while.
    # What a leak of one object of 1 KB for each call would come to is beyond that within a minute of load.
    "memory": Limit(0.04, 3 * MB),
    # The broker remembers the id of each message for the hour of its duplicate window.
    "memory of NATS": Limit(0.15, 10 * MB),
    # Pools open up to their size when they are needed: six connections, six threads on two cores.
    "files": Limit(0.0, 8),
    "threads": Limit(0.0, 6),
    # As many as there are requests in work, which swings; a leak does not swing.
    "tasks": Limit(0.3, 15),
    "database connections": Limit(0.0, 6),
    "bus connections": Limit(0.0, 1),
    "bus subscriptions": Limit(0.1, 8),
}
"""By the first words of a series' name."""


def growth(values: Sequence[float]) -> tuple[float, float]:
    """The medians of the second and of the last quarter. Raises ValueError for fewer than eight values."""
    if len(values) < 8:
        raise ValueError("too few values to see whether they grow")
    quarter = len(values) // 4
    return statistics.median(values[quarter : 2 * quarter]), statistics.median(values[-quarter:])


def growth_faults(series: Mapping[tuple[str, str], Sequence[float]]) -> list[str]:
    """What has grown beyond its limit. `series` maps quantity and process to the values in the order of time."""
    faults: list[str] = []
    for (quantity, who), values in sorted(series.items()):
        limit = LIMITS.get(f"{quantity} of {who}", LIMITS[quantity])
        before, after = growth(values)
        if after > before * (1 + limit.share) + limit.more:
            unit, name = (MB, " MB") if quantity == "memory" else (1, "")
            faults.append(f"{quantity} of {who} grew from {before / unit:.1f} to {after / unit:.1f}{name}")
    return faults


@dataclass
class Watch(Beside):
    """Looks every `every` seconds from entering the block to leaving it."""

    suite: Suite
    gauges: Mapping[str, Path]
    """Process → where it tells its tasks."""
    every: float = 1.0
    series: dict[tuple[str, str], list[float]] = field(default_factory=dict[tuple[str, str], list[float]])
    failure: BaseException | None = None

    def _run(self) -> None:
        try:
            while not self._ended.wait(self.every):
                for key, value in self.look().items():
                    self.series.setdefault(key, []).append(value)
        except BaseException as error:  # handed to whoever reads the series
            self.failure = error

    def look(self) -> dict[tuple[str, str], float]:
        """What there is now."""
        assert self.suite.nats is not None and self.suite.postgres is not None
        found: dict[tuple[str, str], float] = {}
        for name, pid in {
            **{part.name: part.pid for part in self.suite.parts},
            "NATS": self.suite.nats.pid,
        }.items():
            process = psutil.Process(pid)
            found["memory", name] = process.memory_full_info().pss
            found["files", name] = process.num_fds()
            found["threads", name] = process.num_threads()
        # What its processes share are the buffers, which fill with data by design.
        server = psutil.Process(self.suite.postgres.pid)
        private = 0.0
        for one in (server, *server.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                private += one.memory_full_info().uss
        found["memory", "PostgreSQL"] = private
        for domain, many in asyncio.run(_connections(self.suite.postgres.url)).items():
            found["database connections", domain] = many
        for who, file in self.gauges.items():
            told: dict[str, Any] = json.loads(file.read_text())
            found["tasks", who] = sum(told["tasks"].values())
        url = f"{self.suite.nats.monitor_url}/connz?limit=1024"
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5) as answer:
            connections: list[dict[str, Any]] = json.loads(answer.read())["connections"]
        found["bus connections", "all"] = len(connections)
        found["bus subscriptions", "all"] = sum(int(one["subscriptions"]) for one in connections)
        return found


async def _connections(url: str) -> Counter[str]:
    connection: Any = await asyncpg.connect(url, timeout=10)
    try:
        rows = await connection.fetch(
            "SELECT datname FROM pg_stat_activity WHERE datname LIKE 'kehu%' AND usename <> current_user"
        )
    finally:
        await connection.close()
    return Counter(str(row["datname"]).removeprefix("kehu_") for row in rows)


def settled(look: Mapping[tuple[str, str], float], before: Mapping[tuple[str, str], float]) -> list[str]:
    """Tasks that are left over once nothing is asked any more, against those there were before anything was asked."""
    return [
        f"{left:.0f} tasks of {who} are left, {before[quantity, who]:.0f} were there at first"
        for (quantity, who), left in look.items()
        if quantity == "tasks" and left > before[quantity, who] + 3
    ]


def wait_settled(watch: Watch, before: Mapping[tuple[str, str], float], seconds: float) -> list[str]:
    """What is still left over after waiting up to that long for it to end."""
    until = time.monotonic() + seconds
    while True:
        left = settled(watch.look(), before)
        if not left or time.monotonic() > until:
            return left
        time.sleep(0.5)
