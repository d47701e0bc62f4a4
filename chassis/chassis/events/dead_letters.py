"""Events that could not take effect: listed, replayed or discarded by the operator.

Reached with `python -m <service> dead-letters`; replaying runs the same path as the bus does, inbox and all.
"""

from typing import Any
from uuid import UUID

import asyncpg

from chassis.database import Database
from chassis.errors import NotFound
from chassis.events.subscriptions import Subscriptions, arrival, envelope_of, take_in
from chassis.settings import Settings


async def listed(settings: Settings) -> list[dict[str, Any]]:
    """All dead letters of the service, of every tenant, oldest first."""
    connection: Any = await asyncpg.connect(settings.relay_database_url.get_secret_value())
    try:
        rows = await connection.fetch(
            "SELECT id, tenant_id, subject, reason, deliveries, died_at FROM dead_letters ORDER BY died_at"
        )
        return [dict(row) for row in rows]
    finally:
        await connection.close()


async def replay(
    settings: Settings, database: Database, service: str, subscriptions: Subscriptions, id: UUID
) -> bool:
    """Lets a dead letter take effect after all and removes it. False when it had taken effect before.

    Raises NotFound for an unknown id, and whatever the effect raises; the letter then stays.
    """
    connection: Any = await asyncpg.connect(settings.relay_database_url.get_secret_value())
    try:
        row = await connection.fetchrow(
            "SELECT subject, headers::text AS headers, data FROM dead_letters WHERE id = $1", id
        )
        if row is None:
            raise NotFound("dead letter", id)
        import orjson

        envelope = envelope_of(row["subject"], orjson.loads(row["headers"]))
        listener = subscriptions.listener(envelope.type)
        done = 0
        if listener is not None:
            done = await take_in(database, service, [arrival(listener, envelope, row["data"])])
        await connection.execute("DELETE FROM dead_letters WHERE id = $1", id)
        return bool(done)
    finally:
        await connection.close()


async def discard(settings: Settings, id: UUID) -> bool:
    """Removes a dead letter for good. False when there is none of that id."""
    connection: Any = await asyncpg.connect(settings.relay_database_url.get_secret_value())
    try:
        return bool(int((await connection.execute("DELETE FROM dead_letters WHERE id = $1", id)).split()[-1]))
    finally:
        await connection.close()
