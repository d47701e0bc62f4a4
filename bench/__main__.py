"""`python -m bench`: what the suite takes through the gateway, beside the same work by plain asyncpg and orjson.

`python -m bench` measures reads, writes, imports and events; `growth`, `overload`, `flames` and `exchange` as first
word measure those.
"""

import argparse
import asyncio
import json
import platform
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from bench import data, events, exchange, flames, growth, overload
from bench.measure import Measures
from bench.measures import imports, reads, writes
from bench.stand import Stand, memory, stand
from kehu_local.suite import Suite, start_suite

FULL = 20
"""Full customers: five contacts, ten opportunities, twenty orders, thirty activities, ten tickets each."""


async def measures(here: Stand, said: argparse.Namespace) -> dict[str, Any]:
    """Fills the suite and measures it beside its floor."""
    idle = memory(here.suite)
    found = Measures(here, said.seconds, said.rounds)
    took = await data.load(here.pool[0], "customer", data.customers_file(said.customers))
    print(f"{said.customers} customers imported, {said.customers / took:.0f} rows/s", flush=True)
    ids = [row["id"] for row in await here.floor.rows("customers", "SELECT id FROM customers ORDER BY id")]
    full = ids[:: max(1, len(ids) // FULL)][:FULL]
    here.sign_in()
    await data.fill(here.pool[:8], [str(id) for id in full])
    await imports(found, said.rows)
    leads = [row["id"] for row in await here.floor.rows("leads", "SELECT id FROM leads WHERE status = 'NEW'")]
    for measure in (
        lambda: reads(found, ids, full),
        lambda: writes(found, leads),
        lambda: events.latency(found),
        lambda: events.throughput(found),
    ):
        await here.at_rest()
        here.sign_in()
        await measure()
    found.show_processor()
    busy = memory(here.suite)
    for name, size in busy.items():
        print(f"memory of {name:<12}{idle[name]:6.0f} MiB at first, {size:6.0f} MiB after the measure")
    here.sign_in()
    print(f"{here.refusals} calls were refused for the moment (429 or 503) and repeated")
    return {
        "customers": said.customers, "figures": found.as_json(), "refusals": here.refusals, "memory_mib": busy,
        "idle_memory_mib": idle, "import_rows_per_second": said.customers / took,
    }  # fmt: skip


MEASURES: dict[str, Callable[[Stand, argparse.Namespace], Awaitable[dict[str, Any]]]] = {
    "measures": measures,
    "growth": growth.measure,
    "overload": overload.measure,
    "flames": flames.measure,
    "exchange": exchange.measure,
}


async def _measure(suite: Suite, said: argparse.Namespace) -> dict[str, Any]:
    here = await stand(suite)
    try:
        return await MEASURES[said.what](here, said)
    finally:
        await here.floor.close()


def main() -> None:
    """Starts a suite of its own in a temporary folder and measures it."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("what", nargs="?", choices=list(MEASURES), default="measures")
    parser.add_argument("--customers", type=int, default=100_000)
    parser.add_argument("--sizes", default="10000,100000,1000000", help="numbers of customers for growth")
    parser.add_argument(
        "--rows", type=int, default=10_000, help="of the import and the exports that are measured"
    )
    parser.add_argument("--seconds", type=float, default=2.0, help="for each side in each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--copied", action="store_true", help="for growth: customers are put in by COPY")
    parser.add_argument("--only", default="", help="for growth: only calls in whose names this stands")
    parser.add_argument("--json", type=Path, help="writes the figures there, too, for bench/compare")
    parser.add_argument("--folder", type=Path, help="where plans and flame graphs are written")
    said = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        with start_suite(Path(folder) / "var", keep_password=True) as suite:
            started = time.perf_counter() - began
            print(f"started from nothing in {started:.1f} s", flush=True)
            found = asyncio.run(_measure(suite, said))
    if said.json:
        head = {"what": said.what, "machine": platform.platform(), "start_seconds": started}
        said.json.write_text(json.dumps({**head, **found}, indent=1, ensure_ascii=False) + "\n")


main()
