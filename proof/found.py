"""What the services and the broker really hold, read past the services."""

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID

import asyncpg
import nats
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import NotFoundError

from kehu_local.nats import ADMIN, inbox
from kehu_local.suite import Suite


@dataclass(frozen=True)
class Message:
    """One event as the broker has it."""

    event_id: str
    record_id: str
    version: int = 0
    """The record's version the event tells of."""
    kind: str = ""
    """What has happened, e.g. `lead.created`."""


@dataclass(frozen=True)
class LeadFound:
    """What there is of one lead and what came of it, by ids. Deleted records count: they were made."""

    id: str
    status: str
    links: tuple[str, str, str]
    """Customer, contact and opportunity as the lead names them; empty where there is none."""
    customers: tuple[str, ...]
    contacts: tuple[str, ...]
    opportunities: tuple[str, ...]
    events: int
    """Messages `lead.converted` about it in the stream."""


def rows(suite: Suite, domain: str, sql: str, *values: object) -> list[dict[str, Any]]:
    """Rows of that service's database, whatever tenant they belong to."""
    return _asked.rows(_administrator(suite, domain), sql, *values)


class _Asked:
    """One connection to each database that was asked, in a thread of its own: what is looked for again and again would else cost
    the server a process each time."""

    def __init__(self) -> None:
        self._connections: dict[str, Any] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._starting = threading.Lock()

    def rows(self, url: str, sql: str, *values: object) -> list[dict[str, Any]]:
        with self._starting:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="found", daemon=True).start()
        return asyncio.run_coroutine_threadsafe(self._rows(url, sql, values), self._loop).result()

    async def _rows(self, url: str, sql: str, values: Sequence[object]) -> list[dict[str, Any]]:
        async with self._locks.setdefault(url, asyncio.Lock()):
            kept = self._connections.get(url)
            if kept is not None:
                with suppress(*_GONE):
                    return [dict(row) for row in await kept.fetch(sql, *values)]
            # None yet, or the server has been away since.
            fresh: Any = await asyncpg.connect(url, statement_cache_size=0)
            self._connections[url] = fresh
            return [dict(row) for row in await fresh.fetch(sql, *values)]


_GONE = (
    OSError, asyncpg.InterfaceError, asyncpg.PostgresConnectionError, asyncpg.exceptions.OperatorInterventionError
)  # fmt: skip
_asked = _Asked()


def _administrator(suite: Suite, domain: str) -> str:
    assert suite.postgres is not None
    server, database = urlsplit(suite.postgres.url), urlsplit(suite.databases[domain].app)
    return urlunsplit(server._replace(path=database.path))


@asynccontextmanager
async def broker(suite: Suite) -> AsyncGenerator[JetStreamContext]:
    """The broker as its administrator sees it."""
    assert suite.nats is not None
    client = await nats.connect(suite.nats.url_for(ADMIN), inbox_prefix=inbox(ADMIN).encode())
    try:
        yield client.jetstream()
    finally:
        await client.close()


def messages(suite: Suite, subject: str) -> list[Message]:
    """All messages in the streams on that subject, in their order."""
    return asyncio.run(_messages(suite, subject))


async def _messages(suite: Suite, subject: str) -> list[Message]:
    async with broker(suite) as js:
        stream = await js.find_stream_name_by_subject(subject)
        config = ConsumerConfig(
            deliver_policy=DeliverPolicy.ALL, ack_policy=AckPolicy.NONE, filter_subject=subject
        )
        made = await js.add_consumer(stream, config)
        left = made.num_pending or 0
        pull = await js.pull_subscribe_bind(made.name, stream)
        found: list[Message] = []
        while left:
            for message in await pull.fetch(min(left, 200), timeout=5):
                headers = dict(message.headers or {})
                kind = message.subject.split(".", 3)[3]
                version = int(headers.get("kehu-version", 0))
                # What is no event of ours has no id.
                found.append(Message(headers.get("ce-id", ""), headers.get("ce-subject", ""), version, kind))
                left -= 1
        await js.delete_consumer(stream, made.name)
        return found


def last_message(suite: Suite, stream: str, subject: str) -> tuple[dict[str, str], bytes]:
    """Headers and data of the last message on that subject; nothing when there is none."""

    async def read() -> tuple[dict[str, str], bytes]:
        async with broker(suite) as js:
            try:
                message = await js.get_last_msg(stream, subject)
            except NotFoundError:
                return {}, b""
            return cast("dict[str, str]", message.headers or {}), message.data or b""

    return asyncio.run(read())


def waiting(suite: Suite, stream: str, service: str) -> int:
    """Messages of that stream which the service has not acknowledged."""

    async def read() -> int:
        async with broker(suite) as js:
            info = await js.consumer_info(stream, service)
            return (info.num_pending or 0) + (info.num_ack_pending or 0)

    return asyncio.run(read())


def backlog(suite: Suite) -> int:
    """Messages that some service has not acknowledged, of all streams."""

    async def read() -> int:
        async with broker(suite) as js:
            left = 0
            for stream in await js.streams_info():
                for one in await js.consumers_info(str(stream.config.name)):
                    if one.name in suite.services:
                        left += (one.num_pending or 0) + (one.num_ack_pending or 0)
            return left

    return asyncio.run(read())


def leads(suite: Suite, ids: list[str], tenant: str, *, deleted: bool = True) -> dict[str, LeadFound]:
    """What there is of those leads, by id; without `deleted`, what there still is.

    Raises KeyError for a lead that is not there.
    """
    wanted = [UUID(id) for id in ids]
    own = {
        str(row["id"]): row
        for row in rows(
            suite,
            "leads",
            "SELECT id, status, customer_id, contact_id, opportunity_id FROM leads WHERE id = ANY($1)",
            wanted,
        )
    }
    sql = "SELECT id, origin_lead_id FROM {} WHERE origin_lead_id = ANY($1) AND (deleted_at IS NULL OR $2)"
    made: dict[tuple[str, str], list[str]] = {}
    for domain, table in (("customers", "customers"), ("customers", "contacts"), ("sales", "opportunities")):
        for row in rows(suite, domain, sql.format(table), wanted, deleted):
            made.setdefault((table, str(row["origin_lead_id"])), []).append(str(row["id"]))
    told = Counter(message.record_id for message in messages(suite, f"kehu.{tenant}.leads.lead.converted"))

    def of(table: str, id: str) -> tuple[str, ...]:
        return tuple(made.get((table, id), ()))

    return {
        id: LeadFound(
            id=id,
            status=own[id]["status"],
            links=(
                str(own[id]["customer_id"] or ""),
                str(own[id]["contact_id"] or ""),
                str(own[id]["opportunity_id"] or ""),
            ),
            customers=of("customers", id),
            contacts=of("contacts", id),
            opportunities=of("opportunities", id),
            events=told[id],
        )
        for id in ids
    }


def unsent(suite: Suite) -> int:
    """Events that wait in the outboxes of all services."""
    sql = "SELECT count(*) AS many FROM outbox WHERE sent_at IS NULL"
    return sum(rows(suite, domain, sql)[0]["many"] for domain in suite.services)


@contextmanager
def tallied(suite: Suite, domain: str) -> Generator[None]:
    """The table in which a service under the plant `tally` notes each effect of an event."""
    rows(suite, domain, "DROP TABLE IF EXISTS tally")
    rows(
        suite, domain,
        "CREATE TABLE tally (event_id uuid NOT NULL, record_id uuid NOT NULL, at timestamptz DEFAULT clock_timestamp())",
    )  # fmt: skip
    rows(suite, domain, f"GRANT INSERT ON tally TO kehu_{domain}")
    try:
        yield
    finally:
        rows(suite, domain, "DROP TABLE tally")


def effects(suite: Suite, domain: str) -> list[str]:
    """Ids of the events that took effect in that service, one for each time."""
    return [str(row["event_id"]) for row in rows(suite, domain, "SELECT event_id FROM tally")]
