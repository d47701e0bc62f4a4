"""A suite under measure: signed-in connections, its databases, and whether it is at rest."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import asyncpg
import httpx
import jwt
import psutil

from bench.client import Connection
from bench.floor import Floor
from kehu_local.suite import Suite

MOST_CLIENTS = 16
_PATIENCE = 60
_PAUSE = 1.0


@dataclass
class Stand:
    """One suite, and the floor beside it."""

    suite: Suite
    floor: Floor
    pool: list[Connection]
    refusals: int = 0

    def sign_in(self) -> None:
        """Gives new connections to what is measured next: a token lives five minutes."""
        self.refusals += sum(http.refusals for http in self.pool)
        self.pool = connections(self.suite)

    async def at_rest(self, seconds: float = 3600.0) -> None:
        """Waits until every event is sent and taken in: what came before a measure must not be measured with it.

        Raises TimeoutError.
        """
        async with asyncio.timeout(seconds):
            for urls in self.suite.databases.values():
                while await unsent(urls.relay):
                    await asyncio.sleep(0.5)
            while pending(self.suite):
                await asyncio.sleep(0.5)


async def stand(suite: Suite) -> Stand:
    """Signs in as the first administrator and opens the floor of that tenant."""
    claims: Mapping[str, Any] = jwt.decode(_token(suite), options={"verify_signature": False})
    floor = Floor(suite, UUID(claims["tid"]))
    await floor.open()
    return Stand(suite, floor, connections(suite))


def connections(suite: Suite) -> list[Connection]:
    """Connections to the gateway, with one fresh token."""
    address, token = urlsplit(suite.base_url), _token(suite)
    assert address.hostname and address.port
    return [Connection(address.hostname, address.port, token) for _ in range(MOST_CLIENTS)]


def _token(suite: Suite) -> str:
    assert suite.sign_in is not None
    person = {
        "tenant": suite.sign_in.tenant,
        "email": suite.sign_in.email,
        "password": suite.sign_in.password,
    }
    for _ in range(_PATIENCE):
        answer = httpx.post(f"{suite.base_url}/v1/sessions:signIn", json=person, timeout=60)
        if answer.status_code not in (429, 503, 504):
            return str(answer.json()["accessToken"])
        time.sleep(_PAUSE)  # a suite under measure may have no time for it just now
    raise AssertionError("nobody can sign in")


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


def processor(suite: Suite) -> dict[str, float]:
    """Seconds of processor time each part has used, by the kernel's account; the servers with their children."""
    found = {part.name: _seconds(psutil.Process(part.pid)) for part in suite.parts}
    for name, server in (("postgres", suite.postgres), ("nats", suite.nats)):
        if server is not None:
            process = psutil.Process(server.pid)
            found[name] = sum(_seconds(one) for one in (process, *process.children(recursive=True)))
    return found


def _seconds(process: psutil.Process) -> float:
    try:
        used = process.cpu_times()
    except psutil.NoSuchProcess:  # a backend that has just ended
        return 0.0
    return used.user + used.system
