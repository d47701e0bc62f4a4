"""More requests than the suite can bear: what is answered, what is refused, and how soon."""

import argparse
import asyncio
import random
from typing import Any
from urllib.parse import urlsplit

from bench import data, open_loop
from bench.measure import percentile
from bench.open_loop import Stream
from bench.stand import Stand

_TIMES = (0.5, 1.0, 2.0, 5.0)


async def measure(here: Stand, said: argparse.Namespace) -> dict[str, Any]:
    """Gets of one customer at several times the rate that closed-loop clients reach."""
    rows = min(said.customers, 2_000)
    await data.load(here.pool[0], "customer", data.customers_file(rows))
    await here.at_rest()
    ids = [str(row["id"]) for row in await here.floor.rows("customers", "SELECT id FROM customers")]
    address = urlsplit(here.suite.base_url)
    host, port = str(address.hostname), int(address.port or 80)

    def requests() -> list[bytes]:
        here.sign_in()
        return [f"GET /v1/customers/{id} HTTP/1.1\r\n{here.pool[0].head}\r\n".encode() for id in ids]

    capacity = await asyncio.to_thread(open_loop.capacity, host, port, requests(), said.seconds * 2)
    print(f"closed loop, 16 clients: {capacity:.0f}/s")
    found: list[dict[str, Any]] = []
    for factor in _TIMES:
        streams = {"all": Stream(requests(), capacity * factor)}
        run = await asyncio.to_thread(open_loop.run, host, port, streams, said.seconds * 3, random.Random(1))
        told = run.told["all"]
        good, refused = sorted(told.good) or [0.0], sorted(told.refused) or [0.0]
        one = {
            "sent": told.sent / told.seconds, "good": told.rate, "refused": len(told.refused) / told.seconds,
            "wrong": told.wrong.total(), "lost": told.lost, "unsent": told.unsent, "client": run.load,
            "p50": percentile(good, 0.5), "p99": percentile(good, 0.99), "refused_p99": percentile(refused, 0.99),
        }  # fmt: skip
        found.append({"times": factor, **one})
        print(
            f"{factor:3.1f} × capacity: {one['sent']:.0f}/s sent, {one['good']:.0f}/s answered"
            f" (p50 {one['p50']:.0f} ms, p99 {one['p99']:.0f} ms), refused {one['refused']:.0f}/s"
            f" (p99 {one['refused_p99']:.0f} ms), otherwise {one['wrong']}, without answer {one['lost']}, not sent"
            f" {one['unsent']}; the client took {one['client']:.0%} of a core",
            flush=True,
        )
    return {"capacity": capacity, "overload": found}
