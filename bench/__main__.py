"""`python -m bench`: what the suite takes through the gateway, beside the same work by plain asyncpg and orjson.

Both sides run in turns on the same data, so their ratio can be trusted on a noisy machine; the times alone cannot.
"""

import argparse
import asyncio
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import asyncpg
import httpx
import jwt
import psutil

from bench import data
from bench.client import Connection
from bench.floor import Floor
from kehu_local.suite import Suite, start_suite

FULL = 20
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


async def _times(
    calls: list[Callable[[int], Awaitable[object]]], seconds: float
) -> tuple[list[float], float]:
    """Times of calls in milliseconds, sorted, and calls a second; each of `calls` is a client of its own."""
    times: list[float] = []
    numbers = itertools.count()
    began = time.perf_counter()
    until = began + seconds

    async def client(call: Callable[[int], Awaitable[object]]) -> None:
        while time.perf_counter() < until:
            start = time.perf_counter()
            await call(next(numbers))
            times.append((time.perf_counter() - start) * 1000)

    await asyncio.gather(*(client(call) for call in calls))
    return sorted(times), len(times) / (time.perf_counter() - began)


class Bench:
    """One suite under measure."""

    def __init__(self, pool: list[Connection], floor: Floor, seconds: float, rounds: int) -> None:
        self.pool, self.floor, self.seconds, self.rounds = pool, floor, seconds, rounds
        self.ids: list[UUID] = []
        self.figures: list[Figure] = []
        self.refusals = 0

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
            ours = [partial(work, http) for http in self.pool[:number]]
            await asyncio.gather(*(call(n) for n, call in enumerate(ours)))  # warm
            await ground(0)
            rounds: list[tuple[float, ...]] = []
            for _ in range(self.rounds):
                times, rate = await _times(ours, self.seconds)
                beside, _rate = await _times([ground] * number, self.seconds)
                p50, floor = statistics.median(times), statistics.median(beside)
                p99 = times[min(len(times) - 1, int(len(times) * 0.99))]
                rounds.append((rate, p50, p99, floor, p50 / floor))
            rate, p50, p99, floor, ratio = (statistics.median(column) for column in zip(*rounds, strict=True))
            self.show(Figure(name, number, rate, p50, p99, floor, ratio, aim))

    def show(self, figure: Figure) -> None:
        """Keeps a figure and prints its line."""
        self.figures.append(figure)
        aim = f"(aim {figure.aim:.0f})" if figure.aim else ""
        print(
            f"{figure.name:<26}{figure.clients:>3}  {figure.rate:8.0f}/s  p50 {figure.p50:8.2f} ms"
            f"  p99 {figure.p99:8.2f} ms  floor {figure.floor_p50:8.2f} ms  {figure.ratio:6.1f} × {aim}",
            flush=True,
        )


def _any(ids: list[Any], number: int) -> Any:
    return ids[number * 7919 % len(ids)]


async def reads(bench: Bench, full: list[UUID]) -> None:
    """One, fifty, and all that is known of a full customer."""
    floor = bench.floor
    await bench.compare(
        "get one customer",
        lambda http, n: http.get(f"/v1/customers/{_any(bench.ids, n)}"),
        lambda n: floor.get(_any(bench.ids, n)),
        5,
    )
    await bench.compare(
        "list 50 by name",
        lambda http, n: http.get("/v1/customers?pageSize=50&orderBy=displayName"),
        lambda n: floor.list(),
    )
    await bench.compare(
        "360° of a full customer",
        lambda http, n: http.get(f"/v1/customers/{_any(full, n)}:view360"),
        lambda n: floor.view(_any(full, n)),
        6,
    )


async def writes(bench: Bench, leads: list[UUID]) -> None:
    """A lead is created; leads are converted, each once."""
    floor, waiting = bench.floor, iter(leads)

    async def create(http: Connection, number: int) -> str:
        body = {"name": f"李明 {number}", "companyName": data.company(number), "phone": f"137{number:08d}"}
        return (await http.post("/v1/leads", body))["id"]

    async def convert(http: Connection, number: int) -> dict[str, Any]:
        made = await http.post(f"/v1/leads/{next(waiting)}:convert", {})
        assert made["state"] == "CONVERSION_STATE_SUCCEEDED", made
        return made

    lead = UUID(await create(bench.pool[0], 0))
    of_lead = [
        ("leads", "id = $1", lead),
        ("history", "record_id = $1", lead),
        ("outbox", "record_id = $1", lead),
    ]
    await floor.learn("create", "leads", of_lead)
    await bench.compare("create lead", create, lambda n: floor.write("leads", "create"))

    made = await convert(bench.pool[0], 0)
    lead, kept = UUID(made["leadId"]), [("history", "record_id = $1"), ("outbox", "record_id = $1")]
    await floor.learn(
        "begin", "leads", [("leads", "id = $1", lead), ("history", "record_id = $1 AND version = 2", lead)]
    )
    for step, table in (("customerId", "customers"), ("contactId", "contacts")):
        id = UUID(made[step])
        await floor.learn(
            table, "customers", [(table, "id = $1", id), *((name, where, id) for name, where in kept)]
        )
    await floor.learn(
        "end", "leads", [("leads", "id = $1", lead), *((name, where, lead) for name, where in kept)]
    )

    async def by_hand(number: int) -> None:
        await floor.write("leads", "begin")
        await floor.write("customers", "customers")
        await floor.write("customers", "contacts")
        await floor.write("leads", "end")

    await bench.compare("convert lead", convert, by_hand)


async def imports(bench: Bench, rows: int) -> None:
    """An import of leads beside the COPY of the rows it has made."""
    for _ in range(max(1, bench.rounds - 1)):
        took = await data.load(bench.pool[0], "lead", data.leads_file(rows))
        bare = await bench.floor.copy("leads", "leads", rows)
        whole = (
            bare
            + await bench.floor.copy("leads", "history", rows)
            + await bench.floor.copy("leads", "outbox", rows)
        )
        for name, seconds in (("COPY of the leads", bare), ("COPY with history, events", whole)):
            per = 1000 / rows
            bench.show(
                Figure(
                    f"import, beside {name}"[:60],
                    1,
                    rows / took,
                    took * per,
                    took * per,
                    seconds * per,
                    took / seconds,
                    5,
                )
            )


async def run(suite: Suite, said: argparse.Namespace) -> tuple[Bench, dict[str, float]]:
    """Fills the suite and measures everything."""
    assert suite.sign_in is not None
    address = urlsplit(suite.base_url)
    assert address.hostname and address.port
    person = {
        "tenant": suite.sign_in.tenant,
        "email": suite.sign_in.email,
        "password": suite.sign_in.password,
    }

    def token() -> str:
        return str(
            httpx.post(f"{suite.base_url}/v1/sessions:signIn", json=person, timeout=30).json()["accessToken"]
        )

    def connections() -> list[Connection]:
        # A token lives five minutes: every part of the measure begins with a new one.
        fresh = token()
        return [Connection(str(address.hostname), int(address.port or 0), fresh) for _ in range(max(CLIENTS))]

    tenant = UUID(jwt.decode(token(), options={"verify_signature": False})["tid"])
    floor = Floor(suite, tenant)
    await floor.open()
    idle = memory(suite)
    bench = Bench(connections(), floor, said.seconds, said.rounds)
    took = await data.load(bench.pool[0], "customer", data.customers_file(said.customers))
    print(f"{said.customers} customers imported, {said.customers / took:.0f} rows/s", flush=True)
    bench.ids = [row["id"] for row in await floor.rows("customers", "SELECT id FROM customers ORDER BY id")]
    full = bench.ids[:: max(1, len(bench.ids) // FULL)][:FULL]
    bench.pool = connections()
    await data.fill(bench.pool[:8], [str(id) for id in full])
    bench.pool = connections()
    await at_rest(suite)
    bench.pool = connections()
    await imports(bench, said.rows)
    leads = [row["id"] for row in await floor.rows("leads", "SELECT id FROM leads WHERE status = 'NEW'")]
    for measure in (partial(reads, full=full), partial(writes, leads=leads)):
        await at_rest(suite)
        bench.pool = connections()
        await measure(bench)
        bench.refusals += sum(http.refusals for http in bench.pool)
    await floor.close()
    return bench, idle


async def at_rest(suite: Suite, seconds: float = 900.0) -> None:
    """Waits until every event is sent and taken in: what came before a measure must not be measured with it.

    Raises TimeoutError.
    """
    async with asyncio.timeout(seconds):
        while any([await unsent(urls.relay) for urls in suite.databases.values()]) or pending(suite):
            await asyncio.sleep(0.5)


async def unsent(url: str) -> int:
    """Events in an outbox that wait for the relay."""
    connection: Any = await asyncpg.connect(url)
    try:
        return await connection.fetchval("SELECT count(*) FROM outbox WHERE sent_at IS NULL")
    finally:
        await connection.close()


def pending(suite: Suite) -> int:
    """Events on the bus that wait for a service. An ERP that nobody runs has all the orders waiting for it."""
    assert suite.nats is not None
    told = httpx.get(f"{suite.nats.monitor_url}/jsz?consumers=true", timeout=10).json()
    return sum(
        consumer["num_pending"] + consumer["num_ack_pending"]
        for account in told.get("account_details", ())
        for stream in account.get("stream_detail", ())
        for consumer in stream.get("consumer_detail") or ()
        if consumer["name"] in suite.services
    )


def memory(suite: Suite) -> dict[str, float]:
    """MiB of each process: its proportional set size, which counts shared pages once."""
    return {part.name: psutil.Process(part.pid).memory_full_info().pss / 2**20 for part in suite.parts}


def main() -> None:
    """Starts a suite of its own in a temporary folder and measures it."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--customers", type=int, default=100_000)
    parser.add_argument("--rows", type=int, default=10_000, help="of the import that is measured")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each side in each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="writes the figures there, too")
    said = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        with start_suite(Path(folder) / "var", keep_password=True) as suite:
            started = time.perf_counter() - began
            print(f"started from nothing in {started:.1f} s", flush=True)
            bench, idle = asyncio.run(run(suite, said))
            busy = memory(suite)
    for name, size in busy.items():
        print(f"memory of {name:<12}{idle[name]:6.0f} MiB at first, {size:6.0f} MiB after the measure")
    print(f"{bench.refusals} calls were refused for the moment (429 or 503) and repeated")
    if said.json:
        found = {
            "customers": said.customers, "start_seconds": started, "figures": [asdict(one) for one in bench.figures],
            "refusals": bench.refusals, "memory_mib": busy, "idle_memory_mib": idle,
        }  # fmt: skip
        said.json.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")


main()
