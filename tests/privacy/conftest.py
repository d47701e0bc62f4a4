"""All services that hold data about persons, in this process, each with a database of its own."""

import os
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
import nats
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
    broker: str
    """Its address, with a user in it."""
    who: Principal = field(default_factory=lambda: somebody(f"p{uuid4().hex[:12]}"))

    async def ask(self, method: str, said: dict[str, Any], who: Principal | None = None) -> dict[str, Any]:
        """Calls `customers.ContactService/CreateContact` with JSON, and answers with JSON. Raises the Problem."""
        request, answer = messages_of("kehu." + method.replace(".", ".v1.", 1))
        part = self.parts[method.partition(".")[0]]
        path = "kehu." + method.replace(".", ".v1.", 1)
        return wire.to_dict(await part.ask(who or self.who, path, wire.from_dict(request, said), answer))

    async def at_rest(self) -> None:
        """Waits until all events are sent and every one that somebody hears has been heard."""

        broker = await nats.connect(self.broker)
        databases = [await asyncpg.connect(url) for url in self.databases.values()]

        left: list[str] = []

        async def quiet() -> bool:
            """Who takes in an event may tell of more, so senders are asked before and after."""
            left[:] = await sending() or await hearing() or await sending()
            return not left

        async def sending() -> list[str]:
            sql = (
                "SELECT subject FROM outbox WHERE sent_at IS NULL"
                " UNION SELECT kind FROM jobs WHERE state = 'waiting' AND due_at <= now() + interval '2 s'"
            )
            found = [await database.fetch(sql) for database in databases]
            return [str(row[0]) for rows in found for row in rows]

        async def hearing() -> list[str]:
            js = broker.jetstream()
            consumers = [
                one for stream in await js.streams_info() for one in await js.consumers_info(stream.config.name or "")
            ]  # fmt: skip
            return [
                f"{one.name} of {one.stream_name}: {one.num_pending} to be told, {one.num_ack_pending} told"
                for one in consumers
                if one.name in self.parts and (one.num_pending or one.num_ack_pending)
            ]

        try:
            await eventually(quiet, 60)
        except TimeoutError:
            raise AssertionError(f"never at rest: {left}") from None
        finally:
            for database in databases:
                await database.close()
            await broker.close()

    async def written(self, service: str, statement: str, *values: Any) -> None:
        """Writes into a service's database past it."""
        database = await asyncpg.connect(self.databases[service])
        try:
            await database.execute(statement, *values)
        finally:
            await database.close()

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
async def house(parts: tuple[dict[str, Harness], dict[str, str]], nats_url: str) -> House:
    """A tenant that no other test knows."""
    return House(*parts, nats_url)
