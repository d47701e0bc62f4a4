"""The same calls on 10,000, 100,000 and 1,000,000 customers: what grows with the data, and by which plans."""

import argparse
import statistics
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import asyncpg

from bench import copied, data
from bench.client import Connection
from bench.measure import percentile, times
from bench.stand import Stand

_FULL = 20
_BATCH = 20_000
"""Customers of one import: it ends before the sign-in does, also on a busy machine."""

Call = Callable[[Connection, int], Awaitable[object]]


def _calls(ids: list[str], full: list[str], last: int) -> dict[str, Call]:
    """The calls by name. Each asks for another customer, word or page every time."""

    def some(number: int) -> int:
        return number * 7919 % last

    return {
        "get one": lambda http, n: http.get(f"/v1/customers/{ids[some(n) % len(ids)]}"),
        "list 50, newest": lambda http, n: http.get("/v1/customers?pageSize=50"),
        "list 50 by name": lambda http, n: http.get("/v1/customers?pageSize=50&orderBy=displayName"),
        "list 50 of a level": lambda http, n: http.get(
            "/v1/customers?pageSize=50&filter=level%20%3D%20%22CUSTOMER_LEVEL_A%22"
        ),
        "list 50 of a custom field": lambda http, n: http.get(
            f"/v1/customers?pageSize=50&filter=customFields.seats%20%3D%20{data.seats(n)}"
        ),
        "list 50 by a custom field": lambda http, n: http.get(
            "/v1/customers?pageSize=50&orderBy=customFields.seats%20desc"
        ),
        "search, one hit": lambda http, n: http.get(f"/v1/customers?query=138{some(n):08d}"),
        "search, a name": lambda http, n: http.get(f"/v1/customers?query={quote(data.company(some(n)))}"),
        "search, a frequent word": lambda http, n: http.get("/v1/customers?query=" + quote("科技")),
        "search, a common place": lambda http, n: http.get("/v1/customers?query=" + quote("上海")),
        "search, initials": lambda http, n: http.get("/v1/customers?pageSize=20&query=bjhhkj"),
        "search across, one hit": lambda http, n: http.get(f"/v1/search?q=138{some(n):08d}"),
        "search across, a name": lambda http, n: http.get(f"/v1/search?q={quote(data.company(some(n)))}"),
        "search across, a frequent word": lambda http, n: http.get("/v1/search?q=" + quote("科技")),
        "search across, customers only": lambda http, n: http.get(
            f"/v1/search?q=138{some(n):08d}&types=customer"
        ),
        "duplicates of a new one": lambda http, n: http.post(
            "/v1/customers:findDuplicates",
            {"customer": {"displayName": data.company(some(n)), "phone": f"138{some(n):08d}"}},
        ),
        "duplicates of a bare name": lambda http, n: http.post(
            "/v1/customers:findDuplicates",
            {"customer": {"displayName": data.company(some(n)).rpartition(" ")[0]}},
        ),
        "360°": lambda http, n: http.get(f"/v1/customers/{full[n % len(full)]}:view360"),
        "360° of a plain one": lambda http, n: http.get(f"/v1/customers/{ids[some(n) % len(ids)]}:view360"),
    }


async def measure(here: Stand, said: argparse.Namespace) -> dict[str, Any]:
    """p50 of each call at each size by one client, and its ratio to the first size. Plans go to `--folder`."""
    sizes = [int(size) for size in str(said.sizes).split(",")]
    found: dict[str, list[float]] = {}
    full: list[str] = []
    have = 0
    calls: dict[str, Call] = {}
    await here.pool[0].post("/v1/customers/customFields", data.SEATS)
    for size in sizes:
        while have < size:
            more = min(_BATCH, size - have)
            here.sign_in()
            if said.copied:
                more = size - have
                took = await copied.customers(here, more, have)
            else:
                file = data.customers_file(more, first=have, with_seats=True)
                took = await data.load(here.pool[0], "customer", file)
            have += more
            print(f"{have} customers, the last {more} at {more / took:.0f} rows/s", flush=True)
        await here.at_rest()
        here.sign_in()
        rows = await here.floor.rows("customers", "SELECT id FROM customers ORDER BY id LIMIT 20000")
        ids = [str(row["id"]) for row in rows]
        if not full:
            full = ids[:: max(1, len(ids) // _FULL)][:_FULL]
            await data.fill(here.pool[:8], full)
            await here.at_rest()
        calls = _calls(ids, full, size)
        for name, call in calls.items():
            here.sign_in()
            p50 = [await _p50(here, call, said.seconds) for _ in range(said.rounds)]
            found.setdefault(name, []).append(statistics.median(p50))
    print(f"\n{'p50, ms':<32}" + "".join(f"{size:>12,}" for size in sizes) + "      last / first")
    for name, spent in found.items():
        print(f"{name:<32}" + "".join(f"{p50:>12.2f}" for p50 in spent) + f"{spent[-1] / spent[0]:>14.2f} ×")
    if said.folder:
        await plans(here, calls, said.folder)
    return {
        "sizes": sizes,
        "growth": {name: [round(p50, 3) for p50 in spent] for name, spent in found.items()},
    }


async def _p50(here: Stand, call: Call, seconds: float) -> float:
    http = here.pool[0]
    await call(http, 1)
    spent, _ = await times([lambda n: call(http, n)], seconds)
    return percentile(spent, 0.5)


async def plans(here: Stand, calls: dict[str, Call], folder: Path) -> None:
    """Writes the plans that PostgreSQL takes for the statements of each call, as auto_explain tells them: `plans-<call>.txt`."""
    server, suite = here.suite.postgres, here.suite
    assert server is not None
    folder.mkdir(parents=True, exist_ok=True)
    connection: Any = await asyncpg.connect(server.url)
    settings = {
        "session_preload_libraries": "'auto_explain'", "auto_explain.log_min_duration": "0",
        "auto_explain.log_analyze": "on", "auto_explain.log_buffers": "on", "auto_explain.log_nested_statements": "on",
    }  # fmt: skip
    for name, value in settings.items():
        await connection.execute(f"ALTER ROLE ALL SET {name} = {value}")
    await connection.close()
    for part in suite.services.values():
        part.restart()  # its connections begin anew, with the library in them
    here.sign_in()
    for name, call in calls.items():
        await call(here.pool[0], 1)
        at = server.log.stat().st_size
        await call(here.pool[0], 2)
        with server.log.open("rb") as log:
            log.seek(at)
            text = log.read().decode()
        kept = "".join(line for line in text.splitlines(keepends=True) if not _idle(line))
        (folder / f"plans-{name.replace(' ', '-').replace(',', '')}.txt").write_text(kept)


def _idle(line: str) -> bool:
    """Whether the line is of the relay, which looks into the outbox all the time."""
    return "outbox" in line
