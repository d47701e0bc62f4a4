"""What a service derives from events, anew from the events that the streams hold.

Empties the derived tables and the marks of events taken in, lets the bus forget how far the service has read, and reads all
again. The service may run meanwhile; what it derives is incomplete until this ends. Whatever else its handlers do must bear being
done again. Needs the owner's address of the database, as `migrate` does.

Streams keep events for a limited time. When one has dropped any, emptying would lose the records that have not changed since,
so it is refused; with `keep`, rows that the streams do not tell stay as they are and all others are written again.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import asyncpg

from chassis.events import backlog, streams
from chassis.events.subscriptions import Consumer
from chassis.settings import Settings

if TYPE_CHECKING:
    from chassis.service import Running

_LOOK = 0.2
"""Seconds between looks at what still waits."""


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
