"""Where the time goes: a flame graph of each process that serves a load, drawn by py-spy."""

import argparse
import asyncio
import subprocess
import sysconfig
from functools import partial
from pathlib import Path
from typing import Any

from bench import data
from bench.client import Connection
from bench.measure import times
from bench.stand import Stand

_SECONDS = 10


async def measure(here: Stand, said: argparse.Namespace) -> dict[str, Any]:
    """Records gateway and customers under reads, and leads under an import; the graphs are SVG files in `--folder`."""
    folder: Path = said.folder or Path("flames")
    folder.mkdir(parents=True, exist_ok=True)
    await data.load(here.pool[0], "customer", data.customers_file(min(said.customers, 2_000)))
    await here.at_rest()
    here.sign_in()
    ids = [str(row["id"]) for row in await here.floor.rows("customers", "SELECT id FROM customers")]
    gateway = here.suite.gateway
    assert gateway is not None
    recorders = [
        _record(gateway.pid, folder / "get-gateway.svg"),
        _record(here.suite.services["customers"].pid, folder / "get-customers.svg"),
    ]

    async def get(http: Connection, number: int) -> bytes:
        return await http.get(f"/v1/customers/{ids[number * 7919 % len(ids)]}")

    await times([partial(get, http) for http in here.pool], _SECONDS + 1.0)
    await asyncio.gather(*(asyncio.to_thread(one.wait) for one in recorders))
    here.sign_in()
    recorder = _record(here.suite.services["leads"].pid, folder / "import-leads.svg")
    await data.load(here.pool[0], "lead", data.leads_file(said.rows * 2))
    await asyncio.to_thread(recorder.wait)
    drawn = sorted(str(path) for path in folder.glob("*.svg"))
    print("\n".join(drawn))
    return {"flames": drawn}


def _record(pid: int, path: Path) -> "subprocess.Popen[bytes]":
    program = Path(sysconfig.get_path("scripts")) / "py-spy"
    command = [str(program), "record", "--rate", "200", "--duration", str(_SECONDS), "--output", str(path)]
    return subprocess.Popen(
        [*command, "--pid", str(pid)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
