"""A list goes in and out whole and is changed at once: an import, exports and a bulk edit beside COPY of the same rows, with the
most memory that each takes.

The floor of the import is COPY of the records it made, with their history and events, into empty tables with the same indexes,
and that of the bulk edit, which writes as many of each, the same; that of an export is COPY of the list to nobody, as CSV, by the
statement of the list in one go. Memory is what the process has beyond what it had at rest, sampled while the work goes on.
"""

import argparse
import asyncio
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
_SIGNED_IN = 120.0
"""Seconds after which somebody who waits signs in again: a sign-in lasts five minutes."""
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
    await _import(here, rows, out)

    floor = 0.0
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
    out["undo"] = _told("undo of the import, beside the export's floor", rows, took, floor, used)

    # An import whose records have been edited since would keep them, so what is edited comes in anew.
    await _import(here, rows, out)
    for name, work in (("bulk edit", _edited), ("undo of it", _put_back)):
        await here.at_rest()
        here.sign_in()
        async with peak(here) as used:
            took = await work(here, rows)
        await here.at_rest()
        out[name] = _told(
            f"{name}, beside COPY with history, events", rows, took, await _copied(here, rows), used
        )
    return out


async def _import(here: Stand, rows: int, out: dict[str, Any]) -> None:
    await here.at_rest()
    here.sign_in()
    async with peak(here) as used:
        took = await _imported(here, rows)
    await here.at_rest()
    what = "import, beside COPY with history, events"
    out["import"] = _told(what, rows, took, await _copied(here, rows), used)


async def _copied(here: Stand, rows: int) -> float:
    """Seconds of COPY of so many leads, with as much history and as many events."""
    took = 0.0
    for table in ("leads", "history", "outbox"):
        took += await here.floor.copy("leads", table, rows)
    return took


def _told(what: str, rows: int, took: float, floor: float, used: Peak) -> dict[str, Any]:
    ratio = took / floor
    print(f"{what:<46}{rows / took:>9.0f} rows/s{ratio:>8.1f} ×   {used}", flush=True)
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


async def _imported(here: Stand, rows: int) -> float:
    made = await here.pool[0].upload(
        "/v1/leads/imports", {"recordType": "lead"}, "leads.csv", data.leads_file(rows)
    )
    path = f"/v1/leads/imports/{made['id']}"
    began = time.perf_counter()
    await here.pool[0].post(f"{path}:start", {})
    run = await _ended(here, path, ("IMPORT_STATE_READY", "IMPORT_STATE_RUNNING"))
    assert run["createdRows"] == rows, run
    return time.perf_counter() - began


async def _edited(here: Stand, rows: int) -> float:
    began = time.perf_counter()
    change = {"values": {"region": "华东"}, "addTags": ["bench"]}
    asked = {"recordType": "lead", "filter": "status = NEW", "change": change}
    made = await here.pool[0].post("/v1/leads/bulkEdits", asked)
    run = await _ended(here, f"/v1/leads/bulkEdits/{made['id']}", ("BULK_EDIT_STATE_RUNNING",))
    assert run["changedRecords"] == rows, run
    return time.perf_counter() - began


async def _put_back(here: Stand, rows: int) -> float:
    made = (await here.pool[0].read("/v1/leads/bulkEdits?pageSize=1"))["bulkEdits"][0]["id"]
    began = time.perf_counter()
    await here.pool[0].post(f"/v1/leads/bulkEdits/{made}:undo", {})
    run = await _ended(here, f"/v1/leads/bulkEdits/{made}", ("BULK_EDIT_STATE_UNDOING",))
    assert run["undoneRecords"] == rows, run
    return time.perf_counter() - began


async def _undone(here: Stand) -> float:
    made = (await here.pool[0].read("/v1/leads/imports?pageSize=1"))["imports"][0]["id"]
    began = time.perf_counter()
    await here.pool[0].post(f"/v1/leads/imports/{made}:undo", {})
    run = await _ended(here, f"/v1/leads/imports/{made}", ("IMPORT_STATE_UNDOING",))
    assert run["state"] == "IMPORT_STATE_UNDONE" and not run.get("keptRecords"), run
    return time.perf_counter() - began


async def _ended(here: Stand, path: str, at_work: tuple[str, ...]) -> dict[str, Any]:
    """What was done in the background, once it is in none of these states."""
    signed_in = time.monotonic()
    while True:
        run: dict[str, Any] = await here.pool[0].read(path)
        if run["state"] not in at_work:
            return run
        if time.monotonic() - signed_in > _SIGNED_IN:
            here.sign_in()
            signed_in = time.monotonic()
        await asyncio.sleep(0.2)
