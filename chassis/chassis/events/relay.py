"""From the outbox to the bus.

Rows are found by being unsent, never by an id greater than the last one seen: transactions commit out of order. One relay a
service works at a time, held by an advisory lock. Several events are in flight at once, but never two of one record, so that
the events of a record arrive in the order of its changes whatever fails. A row is marked as sent when the broker has
acknowledged it; between the two a crash sends it again, which the broker and every inbox take for the repeat it is.
"""

import asyncio
import logging
import re
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any
from urllib.parse import quote

import asyncpg
import nats.errors
import orjson
from nats.aio.client import Client
from nats.aio.msg import Msg

from chassis.database import CONNECTING, SILENCE, Database
from chassis.events import streams
from chassis.settings import Settings

log = logging.getLogger(__name__)

BATCH = 300
_PATIENCE = 2.0
"""Seconds to wait for the acknowledgements of a batch."""
_LOOK = 0.1
"""Seconds between looks whether the connection still stands."""
_POLL = 2.0
"""Seconds between looks at the outbox when nobody wakes the relay."""
_PAUSE = 0.5
_ABANDONED = 15.0
"""Seconds after which the server ends the session of a relay that asks nothing. A relay asks every two; the session of one
whose connection was lost on the way would else keep the lock, and every other relay out, until the server's TCP gives it up."""
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
            self._settings.relay_database_url.get_secret_value(),
            timeout=CONNECTING,
            command_timeout=SILENCE,
            server_settings={"idle_session_timeout": f"{_ABANDONED * 1000:.0f}"},
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
            broker = _Broker(client)
            await broker.open()
            self.connected = True
            while True:
                waiting.clear()
                while await self._pass_on(connection, broker):
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

    async def _pass_on(self, connection: Any, broker: "_Broker") -> bool:
        rows = await connection.fetch(_UNSENT, BATCH)
        while rows:
            wave: list[Any] = []
            later: list[Any] = []
            records: set[object] = set()
            for row in rows:
                (later if row["record_id"] in records else wave).append(row)
                records.add(row["record_id"])
            refusals = await broker.publish(wave)
            sent = [row for row, refusal in zip(wave, refusals, strict=True) if refusal == _TAKEN]
            if sent:
                await connection.execute(_SENT, [r["tenant_id"] for r in sent], [r["id"] for r in sent])
            for refusal in refusals:
                if refusal != _TAKEN:
                    raise _NotTaken(refusal)
            rows = later
            if not later:
                return True
        return False


class _NotTaken(nats.errors.Error):
    """The broker has not acknowledged an event."""


_TAKEN = ""
_SILENCE = "the broker has not answered in time"


class _Broker:
    """Publishes many events at once and waits for the acknowledgement of each on one subscription.

    A request of the library's own costs a task, a future and a timer for each event, which imports feel.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._inbox = client.new_inbox()
        self._first = self._next = 0
        self._answers: list[str] = []
        self._missing = 0
        self._complete = asyncio.Event()

    async def open(self) -> None:
        """Begins to listen for acknowledgements."""
        await self._client.subscribe(f"{self._inbox}.*", cb=self._answered)

    async def publish(self, rows: Sequence[Any]) -> list[str]:
        """For each event what the broker has against it, or `_TAKEN`. Raises nats.errors.Error when it cannot even be sent."""
        self._first = self._next
        self._next += len(rows)  # an answer that comes too late is nobody's
        self._answers = [_SILENCE] * len(rows)
        self._missing = len(rows)
        self._complete.clear()
        for number, row in enumerate(rows, self._first):
            await self._send(row, number)
        until = time.monotonic() + _PATIENCE
        # What a lost connection had under way is never answered.
        while self._missing and self._client.is_connected and time.monotonic() < until:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._complete.wait(), _LOOK)
        if self._missing:
            log.warning("outbox relay: %d events were not acknowledged in time", self._missing)
        return self._answers

    async def _send(self, row: Any, number: int) -> None:
        headers: dict[str, Any] = orjson.loads(row["headers"])
        headers["Nats-Msg-Id"] = str(row["id"])
        await self._client.publish(
            row["subject"], row["data"], f"{self._inbox}.{number}", headers=_header_safe(headers)
        )

    async def _answered(self, message: Msg) -> None:
        place = int(message.subject.rpartition(".")[2]) - self._first
        if not 0 <= place < len(self._answers) or self._answers[place] != _SILENCE:
            return
        self._answers[place] = _refusal(message)
        self._missing -= 1
        if not self._missing:
            self._complete.set()


def _refusal(message: Msg) -> str:
    """What an acknowledgement holds against the event; `_TAKEN` when it is on disk, now or since before."""
    if message.headers and "Status" in message.headers:
        return f"no stream takes it: status {message.headers['Status']}"
    answer: dict[str, Any] = orjson.loads(message.data)
    error: dict[str, Any] | None = answer.get("error")
    if error is not None or "seq" not in answer:
        return str((error or {}).get("description", "an answer that is none"))
    return _TAKEN


def _header_safe(headers: dict[str, Any]) -> dict[str, Any]:
    """Headers are printable ASCII on the bus: everything else percent-encoded, as CloudEvents' protocol bindings have it. A
    name with a line end in it would otherwise begin a header of its own."""
    return {k: v if _PLAIN.fullmatch(str(v)) else quote(str(v), safe=" ") for k, v in headers.items()}


_PLAIN = re.compile(r"[ -~]*")


async def republish(settings: Settings, since: str) -> int:
    """Marks the events sent since that time (ISO 8601) as unsent, so that the relay sends them again. Returns their number.

    For a broker that has lost its store: consumers that have an event already take it for a repeat.
    """
    connection: Any = await asyncpg.connect(settings.relay_database_url.get_secret_value())
    try:
        done = await connection.execute(
            "UPDATE outbox SET sent_at = NULL WHERE sent_at >= $1", datetime.fromisoformat(since)
        )
        await connection.execute("SELECT pg_notify('kehu_outbox', '')")
        return int(done.split()[-1])
    finally:
        await connection.close()
