"""From the outbox to the bus.

Rows are found by being unsent, never by an id greater than the last one seen: transactions commit out of order. One relay a
service works at a time, held by an advisory lock. Several events are in flight at once, but never two of one record, so that
the events of a record arrive in the order of its changes whatever fails. A row is marked as sent when the broker has
acknowledged it; between the two a crash sends it again, which the broker and every inbox take for the repeat it is.
"""

import asyncio
import logging
from typing import Any

import asyncpg
import nats.errors
import orjson
from nats.aio.client import Client
from nats.js import JetStreamContext

from chassis.database import Database
from chassis.events import streams
from chassis.settings import Settings

log = logging.getLogger(__name__)

BATCH = 300
_PATIENCE = 2.0
"""Seconds to wait for an acknowledgement."""
_POLL = 2.0
"""Seconds between looks at the outbox when nobody wakes the relay."""
_PAUSE = 0.5
_LOCK = 0x6B656875
"""Key of the advisory lock by which one relay a database works at a time."""

_UNSENT = (
    "SELECT tenant_id, id, subject, headers::text AS headers, data, record_id"
    " FROM outbox WHERE sent_at IS NULL ORDER BY seq LIMIT $1"
)
_SENT = (
    "UPDATE outbox SET sent_at = now() FROM unnest($1::uuid[], $2::uuid[]) AS s(tenant_id, id)"
    " WHERE outbox.tenant_id = s.tenant_id AND outbox.id = s.id"
)


class Relay:
    """Runs until cancelled; survives the loss of database and broker."""

    def __init__(self, settings: Settings, database: Database, domain: str) -> None:
        self._settings = settings
        self._database = database
        self._domain = domain
        self.connected = False
        """Whether the broker could be reached at the last attempt."""

    async def run(self) -> None:
        """Relays for ever."""
        while True:
            try:
                await self._leading()
            except (
                OSError,
                TimeoutError,
                asyncpg.PostgresError,
                asyncpg.InterfaceError,
                nats.errors.Error,
            ) as error:
                log.warning("outbox relay: %s: %s", type(error).__name__, error)
            finally:
                self._database.relays_here = False
            await asyncio.sleep(_PAUSE)

    async def _leading(self) -> None:
        connection: Any = await asyncpg.connect(
            self._settings.relay_database_url.get_secret_value(), timeout=5, command_timeout=10
        )
        client: Client | None = None
        try:
            while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK):
                await asyncio.sleep(_POLL)
            self._database.relays_here = True
            waiting = self._database.events_waiting

            def woken(*_: object) -> None:
                waiting.set()

            await connection.add_listener("kehu_outbox", woken)
            client = await streams.connect(self._settings, f"{self._domain}-relay")
            js = client.jetstream(timeout=_PATIENCE)
            await streams.ensure_stream(js, self._domain, self._settings.nats_replicas)
            self.connected = True
            while True:
                waiting.clear()
                while await self._pass_on(connection, js):
                    pass
                await connection.execute(
                    "SELECT 1"
                )  # the lock goes with the connection: notice when it is lost
                try:
                    await asyncio.wait_for(waiting.wait(), _POLL)
                except TimeoutError:
                    continue
        finally:
            self.connected = False
            if client is not None:
                await streams.close(client)
            await connection.close(timeout=1)

    async def _pass_on(self, connection: Any, js: JetStreamContext) -> bool:
        rows = await connection.fetch(_UNSENT, BATCH)
        while rows:
            wave: list[Any] = []
            later: list[Any] = []
            records: set[object] = set()
            for row in rows:
                (later if row["record_id"] in records else wave).append(row)
                records.add(row["record_id"])
            results = await asyncio.gather(*(self._publish(js, row) for row in wave), return_exceptions=True)
            sent = [row for row, error in zip(wave, results, strict=True) if error is None]
            if sent:
                await connection.execute(_SENT, [r["tenant_id"] for r in sent], [r["id"] for r in sent])
            for error in results:
                if isinstance(error, BaseException):
                    raise error
            rows = later
            if not later:
                return True
        return False

    @staticmethod
    async def _publish(js: JetStreamContext, row: Any) -> None:
        headers: dict[str, Any] = orjson.loads(row["headers"])
        headers["Nats-Msg-Id"] = str(row["id"])
        await js.publish(row["subject"], row["data"], timeout=_PATIENCE, headers=_header_safe(headers))


def _header_safe(headers: dict[str, Any]) -> dict[str, Any]:
    """Headers are ASCII on the bus: everything else percent-encoded, as CloudEvents' protocol bindings have it."""
    from urllib.parse import quote

    return {k: v if str(v).isascii() else quote(str(v), safe=" ") for k, v in headers.items()}


async def republish(settings: Settings, since: str) -> int:
    """Marks the events sent since that time (ISO 8601) as unsent, so that the relay sends them again. Returns their number.

    For a broker that has lost its store: consumers that have an event already take it for a repeat.
    """
    from datetime import datetime

    connection: Any = await asyncpg.connect(settings.relay_database_url.get_secret_value())
    try:
        done = await connection.execute(
            "UPDATE outbox SET sent_at = NULL WHERE sent_at >= $1", datetime.fromisoformat(since)
        )
        await connection.execute("SELECT pg_notify('kehu_outbox', '')")
        return int(done.split()[-1])
    finally:
        await connection.close()
