"""`python -m analytics rebuild [--keep]`: the facts anew, from the events that the streams hold.

Empties the facts and the marks of events taken in, lets the bus forget how far this service has read, and reads everything
again. The service may run meanwhile; its reports are incomplete until this ends. Needs the owner's address of the database, as
`migrate` does.

Streams keep events for a limited time. When one has dropped any, emptying would lose the records that have not changed since,
so it is refused; with `--keep` such facts stay as they are and all others are written again.
"""

import asyncio
import sys
from typing import Any

import asyncpg

from analytics.facts import FACTS
from analytics.listens import SUBSCRIPTIONS
from chassis.events import backlog, streams
from chassis.events.subscriptions import Consumer
from chassis.service import Running
from chassis.settings import Settings

_TABLES = [fact.table for fact in FACTS]
_LOOK = 0.2
"""Seconds between looks at what still waits."""


class StreamsIncomplete(Exception):
    """Streams no longer hold the first events: the facts from those would be lost."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(
            f"{', '.join(names)} no longer hold their first events: emptied facts would not all come back."
            " With --keep, facts that the streams do not tell stay as they are."
        )


async def rebuild(running: Running, arguments: list[str]) -> None:
    """The command. Exits with a message when it cannot be done."""
    if arguments not in ([], ["--keep"]):
        sys.exit("rebuild takes nothing but --keep")
    if not running.settings.owner_database_url.get_secret_value():
        sys.exit("rebuild empties tables: it needs KEHU_OWNER_DATABASE_URL, as migrate does")
    try:
        await begin_anew(running.settings, running.service.name, keep=bool(arguments))
    except StreamsIncomplete as problem:
        sys.exit(str(problem))
    await read_all(running)
    print("the facts are rebuilt")


async def begin_anew(settings: Settings, service: str, *, keep: bool = False) -> None:
    """Empties the facts, or with `keep` lets any event overwrite them, and has the bus tell everything again.

    Raises StreamsIncomplete, having changed nothing; asyncpg's and nats' errors, having changed nothing that is not
    mended by another attempt.
    """
    client = await streams.connect(settings, f"{service}-rebuild")
    connection: Any = await asyncpg.connect(settings.owner_database_url.get_secret_value())
    try:
        js = client.jetstream(timeout=5)
        incomplete = await backlog.begun_late(js, SUBSCRIPTIONS.domains)
        if incomplete and not keep:
            raise StreamsIncomplete(incomplete)
        async with connection.transaction():
            await connection.execute("SET LOCAL lock_timeout = '30s'")
            # Locks out whoever takes events in. The bus forgets within the transaction: until it ends, nobody can take an
            # event told anew for one that has had its effect.
            # Composed of names of this file.
            await connection.execute(f"LOCK TABLE inbox, freshness, {', '.join(_TABLES)}")
            await connection.execute("TRUNCATE inbox, freshness")
            # Composed of names of this file.
            await connection.execute(_outdate() if keep else f"TRUNCATE {', '.join(_TABLES)}")
            await backlog.forget(js, service, SUBSCRIPTIONS.domains)
    finally:
        await connection.close()
        await streams.close(client)


def _outdate() -> str:
    """Makes every fact older than any event. Row security binds the owner too, unless it says otherwise for the moment."""
    return ";".join(
        f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY; UPDATE {table} SET version = 0;"  # noqa: S608 (tables of this file)
        f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY"
        for table in _TABLES
    )


async def read_all(running: Running) -> None:
    """Takes in what waits, beside the running service if there is one, until nothing does."""
    settings, name = running.settings, running.service.name
    pending = await backlog.waiting(settings, name, SUBSCRIPTIONS.domains)
    readers = [
        asyncio.create_task(Consumer(settings, running.database, name, domain, SUBSCRIPTIONS).run())
        for domain, count in pending.items()
        if count != 0
    ]
    try:
        while any(count != 0 for count in pending.values()):
            await asyncio.sleep(_LOOK)
            pending = await backlog.waiting(settings, name, SUBSCRIPTIONS.domains)
    finally:
        # As in the service itself: one request to end may be lost on the way.
        left = set(readers)
        while left:
            for reader in left:
                reader.cancel()
            _, left = await asyncio.wait(left, timeout=0.5)
