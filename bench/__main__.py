"""`python -m bench`: what the suite takes through the gateway, beside the same SQL by plain asyncpg and orjson.

Both sides run in one go on the same data, so their ratio can be trusted on a noisy machine; the times alone cannot.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import jwt
import orjson
import psutil

from kehu_local.suite import Suite, start_suite

Work = Callable[[int], Awaitable[None]]


@dataclass(frozen=True)
class Figure:
    """Calls a second, and times of one call in milliseconds."""

    rate: float
    p50: float
    p99: float


async def measure(work: Work, clients: int, seconds: float) -> Figure:
    """Runs `work(number)` by that many clients at once for that long."""
    times: list[float] = []
    numbers = iter(range(10**9))
    until = time.perf_counter() + seconds

    async def client() -> None:
        while time.perf_counter() < until:
            began = time.perf_counter()
            await work(next(numbers))
            times.append((time.perf_counter() - began) * 1000)

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    took = time.perf_counter() - began
    times.sort()
    return Figure(
        len(times) / took, statistics.median(times), times[min(len(times) - 1, int(len(times) * 0.99))]
    )


def show(name: str, clients: int, ours: Figure, floor: Figure | None) -> None:
    """One line of the table."""
    beside = f"{floor.p50:8.2f} ms  {ours.p50 / floor.p50:6.1f} ×" if floor else " " * 20
    print(
        f"{name:<28}{clients:>3}  {ours.rate:8.0f}/s  p50 {ours.p50:8.2f} ms  p99 {ours.p99:8.2f} ms  floor {beside}"
    )


class Bench:
    """One suite under measure."""

    def __init__(self, suite: Suite, http: httpx.AsyncClient, pool: Any, tenant: UUID) -> None:
        self.suite, self.http, self.pool, self.tenant = suite, http, pool, tenant
        self.ids: list[UUID] = []

    async def _floor(self, sql: str, *args: Any) -> list[Any]:
        async with self.pool.acquire() as connection, connection.transaction(readonly=True):
            await connection.execute("SELECT set_config('kehu.tenant', $1, true)", str(self.tenant))
            return await connection.fetch(sql, *args)

    async def floor_get(self, number: int) -> None:
        rows = await self._floor(
            "SELECT * FROM customers WHERE id = $1", self.ids[number * 7919 % len(self.ids)]
        )
        orjson.dumps(dict(rows[0]), default=str)

    async def floor_list(self, number: int) -> None:
        rows = await self._floor(
            "SELECT * FROM customers WHERE deleted_at IS NULL ORDER BY display_name, id LIMIT 50"
        )
        orjson.dumps([dict(row) for row in rows], default=str)

    async def read(self, path: str) -> None:
        answer = await self.http.get(path)
        assert answer.status_code == 200, answer.text

    async def get(self, number: int) -> None:
        await self.read(f"/v1/customers/{self.ids[number * 7919 % len(self.ids)]}")

    async def list(self, number: int) -> None:
        await self.read("/v1/customers?pageSize=50&orderBy=displayName")

    async def view(self, number: int) -> None:
        await self.read(f"/v1/customers/{self.ids[number * 7919 % len(self.ids)]}:view360")

    async def search(self, number: int) -> None:
        await self.read(f"/v1/customers?query=bench%20{number % len(self.ids)}&pageSize=20")

    async def create(self, number: int) -> str:
        answer = await self.http.post(
            "/v1/leads", json={"name": f"Bench {number}", "companyName": f"Company {number}"}
        )
        assert answer.status_code == 200, answer.text
        return str(answer.json()["id"])

    async def create_only(self, number: int) -> None:
        await self.create(number)

    async def convert(self, number: int) -> None:
        answer = await self.http.post(f"/v1/leads/{await self.create(number)}:convert", json={})
        assert answer.json()["state"] == "CONVERSION_STATE_SUCCEEDED", answer.text

    async def fill(self, rows: int) -> float:
        """Imports that many customers; returns the seconds it took."""
        lines = [f"Bench {n} 有限公司,A,138{n:08d}" for n in range(rows)]
        content = ("Name,Level,Phone\n" + "\n".join(lines)).encode()
        made = await self.http.post(
            "/v1/customers/imports",
            data={"recordType": "customer"},
            files={"file": ("c.csv", content, "text/csv")},
        )
        assert made.status_code == 200, made.text
        began = time.perf_counter()
        path = f"/v1/customers/imports/{made.json()['id']}"
        assert (await self.http.post(path + ":start", json={})).status_code == 200
        while True:
            state = (await self.http.get(path)).json()
            if state["state"] not in ("IMPORT_STATE_READY", "IMPORT_STATE_RUNNING"):
                break
            await asyncio.sleep(0.1)
        took = time.perf_counter() - began
        assert state.get("createdRows") == rows, state
        self.ids = [row["id"] for row in await self._floor("SELECT id FROM customers")]
        return took


async def run(suite: Suite, rows: int, seconds: float) -> None:
    """Measures everything and prints the table."""
    assert suite.sign_in is not None
    said = {"tenant": suite.sign_in.tenant, "email": suite.sign_in.email, "password": suite.sign_in.password}
    async with httpx.AsyncClient(
        base_url=suite.base_url, timeout=60, limits=httpx.Limits(max_connections=32)
    ) as http:
        token = (await http.post("/v1/sessions:signIn", json=said)).json()["accessToken"]
        http.headers["authorization"] = f"Bearer {token}"
        tenant = UUID(jwt.decode(token, options={"verify_signature": False})["tid"])
        async with asyncpg.create_pool(suite.databases["customers"].app, min_size=1, max_size=8) as pool:
            bench = Bench(suite, http, pool, tenant)
            took = await bench.fill(rows)
            print(f"import of {rows} customers: {rows / took:.0f} rows/s")
            for clients in (1, 16):
                show(
                    "get one customer",
                    clients,
                    await measure(bench.get, clients, seconds),
                    await measure(bench.floor_get, clients, seconds),
                )
                show(
                    "list 50 by name",
                    clients,
                    await measure(bench.list, clients, seconds),
                    await measure(bench.floor_list, clients, seconds),
                )
                show("360° view", clients, await measure(bench.view, clients, seconds), None)
                show("search", clients, await measure(bench.search, clients, seconds), None)
                show("create lead", clients, await measure(bench.create_only, clients, seconds), None)
                show("create and convert lead", clients, await measure(bench.convert, clients, seconds), None)
    for part in suite.parts:
        print(
            f"memory of {part.name:<12}{psutil.Process(part.pid).memory_full_info().pss / 2**20:6.0f} MiB (PSS)"
        )


def main() -> None:
    """Starts a suite of its own in a temporary folder and measures it."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--customers", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=3.0, help="for each figure")
    said = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        with start_suite(Path(folder) / "var", keep_password=True) as suite:
            print(f"started in {time.perf_counter() - began:.1f} s")
            asyncio.run(run(suite, said.customers, said.seconds))


main()
