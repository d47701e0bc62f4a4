"""How long an event takes from the commit of its cause to the commit of its effect, and how many a service takes in."""

import asyncio
import statistics
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import nats
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, RetentionPolicy, StorageType, StreamConfig

from bench import data
from bench.measure import Figure, Measures, percentile
from bench.stand import Stand, pending, unsent
from kehu_local.nats import ADMIN, inbox

_EVENTS = 200
_BACKLOG = 5_000
_STREAM = "BENCH"
_TELL = """
    CREATE FUNCTION bench_tell() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN PERFORM pg_notify('bench', {column}::text); RETURN NULL; END $$;
    CREATE TRIGGER bench_tell AFTER INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION bench_tell();
"""


async def latency(measures: Measures) -> None:
    """From the commit that makes a lead to the commit that counts it in the reports, one lead at a time.

    Both commits are told by the database itself. The floor is the same way without suite and database: a message on a stream of
    its own, acknowledged by the broker, fetched by a durable consumer.
    """
    stand = measures.stand
    began: dict[str, float] = {}
    ended: dict[str, float] = {}
    async with (
        _told(stand, "leads", "outbox", "id", began),
        _told(stand, "analytics", "inbox", "event_id", ended),
    ):
        for number in range(_EVENTS):
            await stand.pool[0].post("/v1/leads", {"name": f"Event {number}", "source": "LEAD_SOURCE_PHONE"})
            async with asyncio.timeout(30):
                while not began or not began.keys() <= ended.keys():
                    await asyncio.sleep(0.0005)
    spent = sorted((ended[event] - at) * 1000 for event, at in began.items())
    async with _stream(stand) as js:
        pull = await js.pull_subscribe("bench.event", durable="bench", stream=_STREAM)
        bare: list[float] = []
        for _ in range(_EVENTS):
            start = time.perf_counter()
            waiting = asyncio.create_task(pull.fetch(1, timeout=5))
            await js.publish("bench.event", b"x" * 600)
            await (await waiting)[0].ack()
            bare.append((time.perf_counter() - start) * 1000)
    p50, floor = statistics.median(spent), statistics.median(bare)
    measures.show(
        Figure(
            "event, commit to commit", 1, 1000 / p50, p50, percentile(spent, 0.99), floor, p50 / floor, None
        )
    )


async def throughput(measures: Measures) -> None:
    """A backlog of events taken in by analytics, beside a bare durable consumer that fetches and acknowledges as many."""
    stand = measures.stand
    analytics = stand.suite.services["analytics"]
    analytics.stop()
    await data.load(stand.pool[0], "lead", data.leads_file(_BACKLOG))
    while await unsent(stand.suite.databases["leads"].relay):
        await asyncio.sleep(0.2)
    waiting = pending(stand.suite)
    analytics.start()
    began, left = time.perf_counter(), pending(stand.suite)
    while pending(stand.suite):
        await asyncio.sleep(0.05)
    took = (time.perf_counter() - began) / max(1, left)
    assert waiting >= _BACKLOG, f"only {waiting} events were waiting"
    async with _stream(stand) as js:
        for at in range(0, _BACKLOG, 200):
            await asyncio.gather(*(js.publish("bench.event", b"x" * 600) for _ in range(at, at + 200)))
        pull = await js.pull_subscribe("bench.event", durable="bench", stream=_STREAM)
        start, done = time.perf_counter(), 0
        while done < _BACKLOG:
            for message in await pull.fetch(100, timeout=5):
                await message.ack()
                done += 1
        bare = (time.perf_counter() - start) / done
    measures.show(
        Figure(
            "event, backlog taken in", 1, 1 / took, took * 1000, took * 1000, bare * 1000, took / bare, None
        )
    )


@asynccontextmanager
async def _told(
    stand: Stand, domain: str, table: str, column: str, at: dict[str, float]
) -> AsyncGenerator[None]:
    """Notes in `at` when rows of that table are committed, by the value of that column."""
    owner: Any = await asyncpg.connect(stand.suite.databases[domain].owner)

    def heard(*said: Any) -> None:
        at[said[-1]] = time.perf_counter()

    try:
        await owner.execute(_TELL.format(table=table, column=f"NEW.{column}"))
        await owner.add_listener("bench", heard)
        yield
    finally:
        await owner.execute("DROP FUNCTION IF EXISTS bench_tell() CASCADE")
        await owner.close()


@asynccontextmanager
async def _stream(stand: Stand) -> AsyncGenerator[JetStreamContext]:
    """The broker with a fresh stream for the floor, kept on disk like those of the services."""
    broker = stand.suite.nats
    assert broker is not None
    client = await nats.connect(broker.url_for(ADMIN), inbox_prefix=inbox(ADMIN).encode())
    js = client.jetstream()
    await js.add_stream(
        StreamConfig(
            name=_STREAM, subjects=["bench.>"], storage=StorageType.FILE, retention=RetentionPolicy.LIMITS
        )
    )
    await js.add_consumer(
        _STREAM,
        ConsumerConfig(durable_name="bench", deliver_policy=DeliverPolicy.ALL, ack_policy=AckPolicy.EXPLICIT),
    )
    try:
        yield js
    finally:
        await js.delete_stream(_STREAM)
        await client.close()
