"""What a service derives from events, anew from the events that the streams hold.

There are two ways. What follows from all that a service hears is told to it again, by `begin_anew` and `read_all`. What follows
from a few kinds of events is read beside it, by `Beside`: the service is not disturbed, does nothing else again that it does
besides, and what was derived is put in place when it is whole.

Telling again empties the derived tables and the marks of events taken in, lets the bus forget how far the service has read, and
reads all again. The service may run meanwhile; what it derives is incomplete until this ends. Whatever else its handlers do must
bear being done again. Needs the owner's address of the database, as `migrate` does.

Streams keep events for a limited time. When one has dropped any, emptying would lose the records that have not changed since,
so it is refused; with `keep`, rows that the streams do not tell stay as they are and all others are written again.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import asyncpg
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import NotFoundError

from chassis.events import backlog, streams
from chassis.events.subscriptions import (
    BATCH,
    Arrival,
    Consumer,
    Poison,
    Subscriptions,
    concerning,
    envelope_of,
)
from chassis.settings import Settings

if TYPE_CHECKING:
    from chassis.service import Running

log = logging.getLogger(__name__)

_LOOK = 0.2
"""Seconds between looks at what still waits."""
_FORGOTTEN = 300.0
"""Seconds after which the bus forgets who reads beside a service and has died."""


class StreamsIncomplete(Exception):
    """Streams no longer hold the first events: what was derived from those would be lost."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(
            f"{', '.join(names)} no longer hold their first events: emptied facts would not all come back."
            " With --keep, facts that the streams do not tell stay as they are."
        )


async def begin_anew(
    settings: Settings,
    service: str,
    domains: Sequence[str],
    facts: Sequence[str],
    *,
    others: Sequence[str] = (),
    columns: Mapping[str, Sequence[str]] | None = None,
    keep: bool = False,
) -> None:
    """Empties the tables of facts, or with `keep` lets any event overwrite them, and has the bus tell everything again.

    Facts carry the `version` of the event they follow. `others` are emptied either way, and so are these `columns` of tables that
    stay. Raises StreamsIncomplete, having changed
    nothing; asyncpg's and nats' errors, having changed nothing that is not mended by another attempt.
    """
    client = await streams.connect(settings, f"{service}-rebuild")
    connection: Any = await asyncpg.connect(settings.owner_database_url.get_secret_value())
    try:
        js = client.jetstream(timeout=5)
        incomplete = await backlog.begun_late(js, domains)
        if incomplete and not keep:
            raise StreamsIncomplete(incomplete)
        async with connection.transaction():
            await connection.execute("SET LOCAL lock_timeout = '30s'")
            # Locks out whoever takes events in. The bus forgets within the transaction: until it ends, nobody can take an
            # event told anew for one that has had its effect.
            emptied = ", ".join(["inbox", *others])
            # Composed of names that a service gives.
            await connection.execute(f"LOCK TABLE {emptied}, {', '.join(facts)}")
            # Composed of names that a service gives.
            await connection.execute(f"TRUNCATE {emptied}")
            # Composed of names that a service gives.
            await connection.execute(_outdate(facts) if keep else f"TRUNCATE {', '.join(facts)}")
            for table, names in (columns or {}).items():
                # Composed of names that a service gives.
                await connection.execute(_for_all(table, ", ".join(f"{name} = NULL" for name in names)))
            await backlog.forget(js, service, domains)
    finally:
        await connection.close()
        await streams.close(client)


def _outdate(facts: Sequence[str]) -> str:
    """Makes every fact older than any event."""
    return ";".join(_for_all(table, "version = 0") for table in facts)


def _for_all(table: str, change: str) -> str:
    """Changes the rows of all tenants. Row security binds the owner too, unless it says otherwise for the moment."""
    return (
        f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY; UPDATE {table} SET {change};"  # noqa: S608 (names that a service gives)
        f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY"
    )


async def read_all(running: "Running") -> None:
    """Takes in what waits, beside the running service if there is one, until nothing does."""
    settings, name, subscriptions = running.settings, running.service.name, running.service.subscriptions
    domains = subscriptions.domains
    pending = await backlog.waiting(settings, name, domains)
    readers = [
        asyncio.create_task(Consumer(settings, running.database, name, domain, subscriptions).run())
        for domain, count in pending.items()
        if count != 0
    ]
    try:
        while any(count != 0 for count in pending.values()):
            await asyncio.sleep(_LOOK)
            pending = await backlog.waiting(settings, name, domains)
    finally:
        # As in the service itself: one request to end may be lost on the way.
        left = set(readers)
        while left:
            for reader in left:
                reader.cancel()
            _, left = await asyncio.wait(left, timeout=0.5)


class Beside:
    """The events that these subscriptions are about, read beside the service and from the first on."""

    def __init__(self, js: JetStreamContext, service: str, subscriptions: Subscriptions) -> None:
        self._js = js
        self._name = f"{service}-anew"
        self._subscriptions = subscriptions
        self._pulls: dict[str, JetStreamContext.PullSubscription] = {}

    async def further(self) -> AsyncGenerator[list[Arrival]]:
        """What the streams hold beyond what was read before, to their present ends, a batch at a time. What cannot be understood
        is passed over: the service has told it to the dead letters. Raises nats' errors."""
        for domain in self._subscriptions.domains:
            stream = streams.stream_of(domain)
            if domain not in self._pulls and not await self._open(domain, stream):
                continue
            while (await self._js.consumer_info(stream, self._name)).num_pending:
                with suppress(TimeoutError):
                    messages = await self._pulls[domain].fetch(BATCH, timeout=0.9)
                    yield [one for message in messages for one in self._understood(message)]

    async def _open(self, domain: str, stream: str) -> bool:
        """False for a domain that has never published."""
        config = ConsumerConfig(
            name=self._name, deliver_policy=DeliverPolicy.ALL, ack_policy=AckPolicy.NONE, mem_storage=True,
            inactive_threshold=_FORGOTTEN, filter_subjects=self._subscriptions.filters(domain),
        )  # fmt: skip
        try:
            # One that has died half way is no beginning.
            with suppress(NotFoundError):
                await self._js.delete_consumer(stream, self._name)
            await self._js.add_consumer(stream, config)
        except NotFoundError:
            return False
        self._pulls[domain] = await self._js.pull_subscribe_bind(consumer=self._name, stream=stream)
        return True

    def _understood(self, message: Msg) -> list[Arrival]:
        try:
            envelope = envelope_of(message.subject, dict(message.headers or {}))
            listener = self._subscriptions.listener(envelope.type)
            return [] if listener is None else concerning(listener, envelope, message.data)
        except Poison as error:
            log.info("an event is passed over: %s", error)
            return []

    async def end(self) -> None:
        """Has the bus forget that anybody reads."""
        for domain in self._pulls:
            with suppress(NotFoundError):
                await self._js.delete_consumer(streams.stream_of(domain), self._name)


@asynccontextmanager
async def beside(
    settings: Settings, service: str, subscriptions: Subscriptions, *, keep: bool
) -> AsyncGenerator[Beside]:
    """A reader beside the service. Raises StreamsIncomplete unless what the streams do not tell is kept; nats' errors."""
    client = await streams.connect(settings, f"{service}-anew")
    try:
        js = client.jetstream(timeout=5)
        incomplete = await backlog.begun_late(js, subscriptions.domains)
        if incomplete and not keep:
            raise StreamsIncomplete(incomplete)
        reader = Beside(js, service, subscriptions)
        try:
            yield reader
        finally:
            await reader.end()
    finally:
        await streams.close(client)
