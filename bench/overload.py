"""More requests than the suite can bear, sent when they are due and not when the one before has been answered."""

import argparse
import asyncio
import time
from collections import Counter
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from bench import data
from bench.client import Connection
from bench.measure import percentile, times
from bench.stand import Stand

_TIMES = (0.5, 1.0, 2.0, 5.0)
_MOST = 1_000
"""Connections at once; a request that finds none free counts as not sent."""


async def measure(here: Stand, said: argparse.Namespace) -> dict[str, Any]:
    """Gets of one customer at several times the rate that closed-loop clients reach: what is answered, refused, and how soon."""
    rows = min(said.customers, 2_000)
    await data.load(here.pool[0], "customer", data.customers_file(rows))
    await here.at_rest()
    here.sign_in()
    ids = [str(row["id"]) for row in await here.floor.rows("customers", "SELECT id FROM customers")]

    async def get(http: Connection, number: int) -> bytes:
        return await http.get(f"/v1/customers/{ids[number * 7919 % len(ids)]}")

    closed, capacity = await times([partial(get, http) for http in here.pool], said.seconds * 2)
    print(f"closed loop, 16 clients: {capacity:.0f}/s, p50 {percentile(closed, 0.5):.1f} ms")
    found: list[dict[str, Any]] = []
    for factor in _TIMES:
        here.sign_in()
        one = await _open(here, ids, capacity * factor, said.seconds * 3)
        found.append({"times": factor, **one})
        print(
            f"{factor:3.1f} × capacity: {one['sent']:.0f}/s sent, {one['good']:.0f}/s answered"
            f" (p50 {one['p50']:.0f} ms, p99 {one['p99']:.0f} ms), refused {one['refused']:.0f}/s"
            f" (p99 {one['refused_p99']:.0f} ms), without answer {one['lost']}, without connection {one['unsent']}",
            flush=True,
        )
    return {"capacity": capacity, "overload": found}


async def _open(here: Stand, ids: list[str], rate: float, seconds: float) -> dict[str, Any]:
    address = urlsplit(here.suite.base_url)
    head = here.pool[0].head
    free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    good: list[float] = []
    refused: list[float] = []
    count: Counter[str] = Counter()
    under_way: set[asyncio.Task[None]] = set()

    async def ask(number: int) -> None:
        start = time.perf_counter()
        try:
            connection = free.pop() if free else await asyncio.open_connection(address.hostname, address.port)
            reader, writer = connection
            writer.write(f"GET /v1/customers/{ids[number % len(ids)]} HTTP/1.1\r\n{head}\r\n".encode())
            answer = (await reader.readuntil(b"\r\n\r\n")).lower()
            at = answer.index(b"content-length:") + 15
            await reader.readexactly(int(answer[at : answer.index(b"\r\n", at)]))
        except (OSError, asyncio.IncompleteReadError):
            count["lost"] += 1
            return
        spent = (time.perf_counter() - start) * 1000
        status = answer.split(b" ", 2)[1]
        if status == b"200":
            good.append(spent)
        elif status in (b"429", b"503") and b"retry-after:" in answer:
            refused.append(spent)
        else:
            count["lost"] += 1
        free.append(connection)

    began = time.perf_counter()
    number = 0
    while (now := time.perf_counter() - began) < seconds:
        while number < now * rate:
            number += 1
            if len(under_way) >= _MOST:
                count["unsent"] += 1
                continue
            task = asyncio.create_task(ask(number))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
        await asyncio.sleep(0.001)
    await asyncio.gather(*under_way)
    whole = time.perf_counter() - began
    for _, writer in free:
        writer.close()
    good.sort()
    refused.sort()
    return {
        "sent": (number - count["unsent"]) / seconds, "good": len(good) / whole, "refused": len(refused) / whole,
        "lost": count["lost"], "unsent": count["unsent"],
        "p50": percentile(good, 0.5) if good else 0.0, "p99": percentile(good, 0.99) if good else 0.0,
        "refused_p99": percentile(refused, 0.99) if refused else 0.0,
    }  # fmt: skip
