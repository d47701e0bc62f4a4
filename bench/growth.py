"""The same calls on 10,000, 100,000 and 1,000,000 customers: what grows with the data, and by which plans."""

import argparse
import itertools
import statistics
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import UUID

import asyncpg
import orjson

from bench import copied, data
from bench.client import Connection
from bench.measure import percentile, times
from bench.stand import Stand

_FULL = 20
_BATCH = 20_000
"""Customers of one import: it ends before the sign-in does, also on a busy machine."""
_SAMPLES = 64
"""Answers of a call whose customers its floor reads."""

_NEW = 50_000_000
"""Customers created while measuring are numbered from here on: none of those put in before has their names or numbers."""

_CREATE = "create, duplicates"

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
    found: dict[str, list[Grown]] = {}
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
        calls = {name: call for name, call in _calls(ids, full, size).items() if said.only in name}
        for name, call in calls.items():
            here.sign_in()
            found.setdefault(name, []).append(await _grown(here, call, said.seconds, said.rounds))
        if said.only in _CREATE:
            for name, grown in (await _creating(here, size, said.seconds, said.rounds)).items():
                found.setdefault(name, []).append(grown)
    _show(sizes, found)
    if said.folder:
        await plans(here, calls, said.folder)
    return {
        "sizes": sizes,
        "growth": {name: [round(one.p50, 3) for one in grown] for name, grown in found.items()},
        "floors": {
            name: [one.ratio and round(one.ratio, 2) for one in grown] for name, grown in found.items()
        },
    }


@dataclass(frozen=True)
class Grown:
    """One call at one size: the median of the rounds' p50 in ms, and of their ratios to the floor's p50, if it has one."""

    p50: float
    ratio: float | None


async def _grown(here: Stand, call: Call, seconds: float, rounds: int) -> Grown:
    """The call and its floor in turns: the very customers that the answers name, read by their ids, as somebody could who knows
    the answer beforehand. Calls that answer with other records have no floor, and no ratio."""
    http = here.pool[0]
    answers = [_customers(await call(http, n)) for n in range(_SAMPLES)]
    p50: list[float] = []
    ratios: list[float] = []
    for _ in range(rounds):
        spent, _ = await times([lambda n: call(http, n)], seconds)
        p50.append(percentile(spent, 0.5))
        if any(answers):
            beside, _ = await times([lambda n: here.floor.customers(answers[n % _SAMPLES])], seconds)
            ratios.append(p50[-1] / percentile(beside, 0.5))
    return Grown(statistics.median(p50), statistics.median(ratios) if ratios else None)


async def _creating(here: Stand, size: int, seconds: float, rounds: int) -> dict[str, Grown]:
    """A new customer by each of the tenant's rules for duplicates, in turns, beside the rows that one such call writes. The rule
    refuses whom it is certain of, so that it looks for everyone and all are created."""
    http, floor = here.pool[0], here.floor
    numbers = itertools.count(_NEW + size)

    async def create(n: int) -> str:
        number = next(numbers)
        body = {"displayName": data.company(number), "phone": f"139{number:08d}"}
        return (await http.post("/v1/customers", body))["id"]

    async def write(n: int) -> None:
        await floor.write("customers", "create")

    async def rule(action: str) -> None:
        here.sign_in()
        await http.patch("/v1/duplicateRule", {"customers": f"DUPLICATE_ACTION_{action}", "minScore": 100})

    spent: dict[str, list[float]] = {}
    ratios: dict[str, list[float]] = {}
    for _ in range(rounds):
        for action in ("OFF", "WARN", "REFUSE"):
            await rule(action)
            made = UUID(await create(0))
            kept = [("customers", "id = $1"), ("history", "record_id = $1"), ("outbox", "record_id = $1")]
            await floor.learn("create", "customers", [(table, where, made) for table, where in kept])
            took, _ = await times([create], seconds)
            beside, _ = await times([write], seconds)
            name = f"{_CREATE} {action.lower()}"
            spent.setdefault(name, []).append(percentile(took, 0.5))
            ratios.setdefault(name, []).append(percentile(took, 0.5) / percentile(beside, 0.5))
    await rule("WARN")
    await here.at_rest()
    return {name: Grown(statistics.median(spent[name]), statistics.median(ratios[name])) for name in spent}


def _customers(answer: object) -> list[UUID]:
    """The ids of the customers that a list, a search for duplicates or a get answers with."""
    told: Any = orjson.loads(answer) if isinstance(answer, bytes) else answer
    found = told.get("customers") or [one["customer"] for one in told.get("duplicates", ())]
    return [UUID(one["id"]) for one in found or ([told] if "displayName" in told else [])]


def _show(sizes: list[int], found: dict[str, list[Grown]]) -> None:
    head = "".join(f"{size:>12,}" for size in sizes)
    print(f"\n{'p50, ms':<32}{head}      last / first     times the floor:{head}")
    for name, grown in found.items():
        spent = "".join(f"{one.p50:>12.2f}" for one in grown)
        ratios = "".join(f"{one.ratio:>11.1f}×" if one.ratio else f"{'':>12}" for one in grown)
        print(f"{name:<32}{spent}{grown[-1].p50 / grown[0].p50:>14.2f} ×{'':>20}{ratios}")


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
