"""All services that hold data about persons, in this process, each with a database of its own."""

import os
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
import pytest_asyncio

from analytics.service import SERVICE as ANALYTICS
from chassis import wire
from chassis.principal import Principal
from chassis.rpc.face import messages_of
from chassis.testing import DatabaseUrls, Harness, Keys, eventually, running_service, somebody
from customers.service import SERVICE as CUSTOMERS
from leads.service import SERVICE as LEADS
from marketing.service import SERVICE as MARKETING
from notifications.service import SERVICE as NOTIFICATIONS
from proof.left_behind import places
from sales.service import SERVICE as SALES
from service_desk.service import SERVICE as SERVICE_DESK

SERVICES = (CUSTOMERS, LEADS, SALES, MARKETING, SERVICE_DESK, ANALYTICS, NOTIFICATIONS)


@dataclass
class House:
    """The services, and somebody in a tenant of their own who may do everything."""

    parts: dict[str, Harness]
    databases: dict[str, str]
    """Addresses of the databases as the server's administrator."""
    who: Principal = field(default_factory=lambda: somebody(f"p{uuid4().hex[:12]}"))

    async def ask(self, method: str, said: dict[str, Any], who: Principal | None = None) -> dict[str, Any]:
        """Calls `customers.ContactService/CreateContact` with JSON, and answers with JSON. Raises the Problem."""
        request, answer = messages_of("kehu." + method.replace(".", ".v1.", 1))
        part = self.parts[method.partition(".")[0]]
        path = "kehu." + method.replace(".", ".v1.", 1)
        return wire.to_dict(await part.ask(who or self.who, path, wire.from_dict(request, said), answer))

    async def at_rest(self) -> None:
        """Waits until all events are sent and every one that somebody hears has been heard."""

        async def looked() -> list[Any]:
            found: list[Any] = []
            for url in self.databases.values():
                connection: Any = await asyncpg.connect(url)
                try:
                    found.append(
                        await connection.fetchrow(
                            "SELECT (SELECT count(*) FROM outbox WHERE sent_at IS NULL) AS unsent,"
                            " (SELECT count(*) FROM inbox) AS heard, (SELECT count(*) FROM jobs WHERE due_at <= now()) AS due"
                        )
                    )
                finally:
                    await connection.close()
            return found

        last: list[Any] = []
        same = 0

        async def quiet() -> bool:
            nonlocal last, same
            now = await looked()
            idle = all(one["unsent"] == 0 and one["due"] == 0 for one in now)
            same = same + 1 if idle and now == last else 0
            last = now
            return same > 40  # some seconds in which nobody has had anything to do

        await eventually(quiet, 60)

    async def places(self, words: list[str]) -> list[str]:
        """Every table of every database in which one of these words stands, in rows of this tenant, with the word."""
        return await places(self.databases, self.who.tenant_id, words)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def parts(
    service_database: Callable[[str], DatabaseUrls], postgres_url: str, nats_url: str, keys: Keys
) -> AsyncGenerator[tuple[dict[str, Harness], dict[str, str]]]:
    running: dict[str, Harness] = {}
    databases: dict[str, str] = {}
    before = dict(os.environ)
    os.environ["KEHU_ERASURE_PAUSE_SECONDS"] = "0.5"
    try:
        async with AsyncExitStack() as stack:
            for service in SERVICES:
                urls = service_database(service.name)
                path = urlsplit(urls.app).path
                databases[service.name] = urlunsplit(urlsplit(postgres_url)._replace(path=path))
                started = running_service(service, urls, nats_url, keys)
                running[service.name] = await stack.enter_async_context(started)
                # Services look for each other when they ask.
                address = f"127.0.0.1:{running[service.name].running.port}"
                os.environ[f"KEHU_ADDRESS_{service.name.upper()}"] = address
            yield running, databases
    finally:
        os.environ.clear()
        os.environ.update(before)


@pytest_asyncio.fixture(loop_scope="module")
async def house(parts: tuple[dict[str, Harness], dict[str, str]]) -> House:
    """A tenant that no other test knows."""
    return House(*parts)
