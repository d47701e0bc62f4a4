"""A list goes in and out whole: an import and exports beside COPY of the same rows, with the most memory that each takes.

The floor of the import is COPY of the records it made, with their history and events, into empty tables with the same indexes;
that of an export is COPY of the list to nobody, as CSV, by the statement of the list in one go. Memory is what the process has
beyond what it had at rest, sampled while the work goes on.
"""

import argparse
import asyncio
import itertools
import statistics
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import psutil

from bench import data
from bench.stand import Stand

_WATCHED = ("leads", "gateway")
_EVERY = 0.02
_FORMATS = {"CSV": "EXPORT_FORMAT_CSV", "XLSX": "EXPORT_FORMAT_XLSX"}


@dataclass
class Peak:
    """MiB by process, beyond what it had before."""

    before: dict[str, float] = field(default_factory=dict[str, float])
    most: dict[str, float] = field(default_factory=dict[str, float])

    def __str__(self) -> str:
        return ", ".join(f"{name} +{self.most[name] - self.before[name]:.0f} MiB" for name in self.before)


@asynccontextmanager
async def peak(here: Stand) -> AsyncGenerator[Peak]:
    """Watches the memory of the processes that the work goes through."""
    processes = {part.name: psutil.Process(part.pid) for part in here.suite.parts if part.name in _WATCHED}
    found = Peak({name: _mib(one) for name, one in processes.items()})
    found.most = dict(found.before)

    async def watch() -> None:
        while True:
            for name, one in processes.items():
                found.most[name] = max(found.most[name], _mib(one))
            await asyncio.sleep(_EVERY)

    watching = asyncio.create_task(watch())
    try:
        yield found
    finally:
        watching.cancel()


def _mib(process: psutil.Process) -> float:
    return process.memory_info().rss / 2**20


async def measure(here: Stand, said: argparse.Namespace) -> dict[str, Any]:
    """Prints rows a second, the ratio to the floor and the peak of memory of an import, of exports, and of the undoing."""
    rows = int(said.rows)
    out: dict[str, Any] = {"rows": rows}
    here.sign_in()
    async with peak(here) as used:
        took = await data.load(here.pool[0], "lead", data.leads_file(rows))
    await here.at_rest()
    floor = 0.0
    for table in ("leads", "history", "outbox"):
        floor += await here.floor.copy("leads", table, rows)
    out["import"] = _told("import, beside COPY with history, events", rows, took, floor, used)

    for name, format in _FORMATS.items():
        spent: list[tuple[float, float]] = []
        most = Peak()
        for _ in range(said.rounds):
            await here.at_rest()
            here.sign_in()
            async with peak(here) as used:
                took = await _exported(here, format, rows)
            most = used
            spent.append((took, await here.floor.copied_out("leads", "leads")))
        took, floor = (statistics.median(one) for one in zip(*spent, strict=True))
        out[f"export {name}"] = _told(f"export as {name}, beside COPY to nobody", rows, took, floor, most)

    here.sign_in()
    async with peak(here) as used:
        took = await _undone(here)
    out["undo"] = _told("undo, beside the export's floor", rows, took, floor, used)
    return out


def _told(what: str, rows: int, took: float, floor: float, used: Peak) -> dict[str, Any]:
    ratio = took / floor
    print(f"{what:<44}{rows / took:>9.0f} rows/s{ratio:>8.1f} ×   {used}", flush=True)
    most = {name: round(used.most[name] - used.before[name], 1) for name in used.before}
    return {"rows_per_second": rows / took, "ratio": ratio, "peak_mib": most}


async def _exported(here: Stand, format: str, rows: int) -> float:
    asked = {"recordType": "lead", "format": format, "orderBy": "createTime"}
    signed = {"authorization": here.pool[0].authorization}
    began = time.perf_counter()
    size = 0
    async with (
        httpx.AsyncClient(base_url=here.suite.base_url, timeout=900) as http,
        http.stream("POST", "/v1/leads/exports", json=asked, headers=signed) as answer,
    ):
        assert answer.status_code == 200, await answer.aread()
        async for part in answer.aiter_raw():
            size += len(part)
    assert size > rows * 20, size
    return time.perf_counter() - began


async def _undone(here: Stand) -> float:
    made = (await here.pool[0].read("/v1/leads/imports?pageSize=1"))["imports"][0]["id"]
    began = time.perf_counter()
    await here.pool[0].post(f"/v1/leads/imports/{made}:undo", {})
    for look in itertools.count():
        if look % 300 == 299:
            here.sign_in()  # a sign-in lasts five minutes
        run = await here.pool[0].read(f"/v1/leads/imports/{made}")
        if run["state"] == "IMPORT_STATE_UNDONE":
            assert not run.get("keptRecords"), run
            return time.perf_counter() - began
        await asyncio.sleep(0.2)
    raise AssertionError("unreachable")
