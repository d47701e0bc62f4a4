"""From the bus into a service: each event takes effect once.

The event's id and its effect commit in one transaction; a repeat finds the id and changes nothing. Events that one person
caused in a row, as an import does, share a transaction. The broker is told only after the commit. What fails is tried again
with growing delays; after `MAX_DELIVERIES` it goes to the dead letters with the reason, where it can be looked at, replayed or
discarded, and the flow goes on.
"""

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import unquote
from uuid import UUID

import nats.errors
from google.protobuf.message import Message
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from opentelemetry.trace import SpanKind
from sqlalchemy import text

from chassis import telemetry, wire
from chassis.database import Database, Transaction
from chassis.errors import Problem
from chassis.events import streams
from chassis.events.event import Envelope, subject_of
from chassis.ids import new_id
from chassis.principal import NOBODY, Principal
from chassis.settings import Settings

log = logging.getLogger(__name__)

E = TypeVar("E", bound=Message)
Handler = Callable[[Any, Transaction, Envelope], Awaitable[None]]

BATCH = 100
MAX_DELIVERIES = 6
_DELAYS = (0.2, 1.0, 5.0, 15.0, 30.0)
_PATIENCE = 0.9
"""Seconds one fetch waits; longer ones are known to stall in the client."""
_PAUSE = 0.5
_EMPTY_BEFORE_LOOK = 20


@dataclass(frozen=True, slots=True)
class Listener:
    """What a service does when it hears of one kind of event."""

    message: type[Message]
    domain: str
    suffix: str
    handle: Handler
    concerns: Callable[[Any], bool]
    """Whether an event means anything to the service at all."""


class Subscriptions:
    """The events of others that a service listens to, filled by decorators in its `listens.py`."""

    def __init__(self) -> None:
        self._listeners: dict[str, Listener] = {}

    def on(
        self, message: type[E], *, when: Callable[[E], bool] = lambda event: True
    ) -> Callable[
        [Callable[[E, Transaction, Envelope], Awaitable[None]]],
        Callable[[E, Transaction, Envelope], Awaitable[None]],
    ]:
        """The decorated function is called once for each such event, in a transaction that commits with the inbox.

        Events for which `when` is false cost no transaction and leave no mark. It may look at nothing but the event.
        """
        full_name = message.DESCRIPTOR.full_name
        domain = full_name.split(".")[1]
        suffix, _ = subject_of(message)

        def decorate(
            handle: Callable[[E, Transaction, Envelope], Awaitable[None]],
        ) -> Callable[[E, Transaction, Envelope], Awaitable[None]]:
            if full_name in self._listeners:
                raise ValueError(f"{full_name} is listened to twice")
            self._listeners[full_name] = Listener(message, domain, suffix, handle, when)
            return handle

        return decorate

    def only(self, *messages: type[Message]) -> "Subscriptions":
        """Those of them that are about these kinds of events. Raises KeyError for one that is not listened to."""
        some = Subscriptions()
        for message in messages:
            name = message.DESCRIPTOR.full_name
            some._listeners[name] = self._listeners[name]
        return some

    def filters(self, domain: str) -> list[str]:
        """The subjects of that domain that are listened to."""
        return sorted(f"kehu.*.{one.domain}.{one.suffix}" for one in self if one.domain == domain)

    def __iter__(self) -> Iterator[Listener]:
        return iter(self._listeners.values())

    def listener(self, type_name: str) -> Listener | None:
        """The listener for events of that proto type."""
        return self._listeners.get(type_name)

    @property
    def domains(self) -> list[str]:
        """The producing domains."""
        return sorted({listener.domain for listener in self})


class Poison(Exception):
    """A message that no number of attempts will make understandable."""


def envelope_of(subject: str, headers: dict[str, str]) -> Envelope:
    """The envelope in a message's headers. Raises Poison when it is no event of ours."""
    try:
        return Envelope(
            event_id=UUID(headers["ce-id"]),
            type=headers["ce-type"],
            source=headers["ce-source"],
            subject=subject,
            tenant_id=UUID(headers["ce-tenantid"]),
            tenant=headers["ce-tenant"],
            record_id=UUID(headers["ce-subject"]),
            version=int(headers["kehu-version"]),
            time=datetime.fromisoformat(headers["ce-time"]),
            person_id=UUID(headers.get("kehu-person", str(NOBODY))),
            person_name=unquote(headers.get("kehu-name", "")),
            traceparent=headers.get("traceparent", ""),
        )
    except (KeyError, ValueError) as error:
        raise Poison(f"the envelope is not readable: {error!r}") from error


@dataclass(frozen=True, slots=True)
class Arrival:
    """An event that has come, understood."""

    listener: Listener
    envelope: Envelope
    event: Message


def arrival(listener: Listener, envelope: Envelope, data: bytes) -> Arrival:
    """Reads the event. Raises Poison when it does not fit its contract."""
    try:
        return Arrival(listener, envelope, wire.from_json(listener.message, data, newer=True))
    except Problem as error:
        raise Poison(f"the event does not fit its contract: {error}") from error


def concerning(listener: Listener, envelope: Envelope, data: bytes) -> list[Arrival]:
    """The event, if it means anything to the service. Raises Poison."""
    came = arrival(listener, envelope, data)
    return [came] if listener.concerns(came.event) else []


_MARK = text(
    "INSERT INTO inbox (tenant_id, consumer, event_id) SELECT :tenant, :consumer, unnest(CAST(:events AS uuid[]))"
    " ON CONFLICT DO NOTHING RETURNING event_id"
)


async def take_in(database: Database, service: str, arrivals: Sequence[Arrival]) -> int:
    """Lets events that one person caused take effect in their order, in one transaction with their marks in the inbox.

    Answers how many had not had their effect before. When one fails, none has taken effect.
    """
    first = arrivals[0].envelope
    who = Principal(
        tenant_id=first.tenant_id, tenant=first.tenant, person_id=first.person_id, name=first.person_name, service=service
    )  # fmt: skip
    done = 0
    async with database.transaction(who, origin="event") as tx:
        events = [one.envelope.event_id for one in arrivals]
        found = await tx.session.execute(
            _MARK, {"tenant": first.tenant_id, "consumer": service, "events": events}
        )
        fresh = set(found.scalars())
        for one in arrivals:
            if one.envelope.event_id not in fresh:
                continue
            fresh.discard(one.envelope.event_id)
            headers = {"traceparent": one.envelope.traceparent}
            with telemetry.span(f"consume {one.envelope.type}", SpanKind.CONSUMER, headers):
                await one.listener.handle(one.event, tx, one.envelope)
            done += 1
    return done


class Consumer:
    """Takes in the events of one producing domain. Runs until cancelled; survives the loss of broker and database."""

    def __init__(
        self, settings: Settings, database: Database, service: str, domain: str, subscriptions: Subscriptions
    ) -> None:
        self._settings = settings
        self._database = database
        self._service = service
        self._domain = domain
        self._subscriptions = subscriptions
        self._stream = streams.stream_of(domain)

    async def run(self) -> None:
        """Consumes for ever."""
        while True:
            try:
                client = await streams.connect(self._settings, f"{self._service}-{self._domain}")
                try:
                    await self._consume(client.jetstream(timeout=2))
                finally:
                    await streams.close(client)
            except (OSError, TimeoutError, nats.errors.Error, Problem) as error:
                log.info("waiting for stream %s: %s", self._stream, error or type(error).__name__)
            await asyncio.sleep(_PAUSE)

    async def _consume(self, js: JetStreamContext) -> None:
        config = ConsumerConfig(
            durable_name=self._service,
            deliver_policy=DeliverPolicy.ALL,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=self._settings.event_lease_seconds,
            max_ack_pending=BATCH * 2,
            filter_subjects=self._subscriptions.filters(self._domain),
        )
        await js.add_consumer(self._stream, config)
        pull = await js.pull_subscribe_bind(durable=self._service, stream=self._stream)
        empty = 0
        while True:
            try:
                messages = await pull.fetch(BATCH, timeout=_PATIENCE)
                empty = 0
            except TimeoutError:
                empty += 1
                if empty % _EMPTY_BEFORE_LOOK == 0:
                    await js.consumer_info(
                        self._stream, self._service
                    )  # raises when the broker has forgotten it
                continue
            for run in _runs(messages):
                if len(run) == 1 or not await self._take_together(run):
                    for message in run:
                        await self._take(message)

    async def _take_together(self, messages: list[Msg]) -> bool:
        """One transaction for many events. False when that does not go: each is then taken by itself."""
        try:
            arrivals: list[Arrival] = []
            for message in messages:
                envelope = envelope_of(message.subject, dict(message.headers or {}))
                listener = self._subscriptions.listener(envelope.type)
                if listener is not None:
                    arrivals += concerning(listener, envelope, message.data)
            if arrivals:
                await take_in(self._database, self._service, arrivals)
        except Exception as error:  # whatever a handler raises: the one that cannot be taken is found alone
            log.info("%d events are taken one by one: %r", len(messages), error)
            return False
        await asyncio.gather(*(message.ack_sync(timeout=2) for message in messages))
        return True

    async def _take(self, message: Msg) -> None:
        headers = dict(message.headers or {})
        try:
            envelope = envelope_of(message.subject, headers)
            listener = self._subscriptions.listener(envelope.type)
            if listener is not None and (arrivals := concerning(listener, envelope, message.data)):
                await take_in(self._database, self._service, arrivals)
            await message.ack_sync(timeout=2)
        except Poison as error:
            await self._bury(message, headers, str(error))
        except (nats.errors.Error, TimeoutError):
            raise
        except Exception as error:  # whatever a handler raises must not stop the flow
            deliveries = message.metadata.num_delivered
            log.warning("event %s failed (%d): %r", headers.get("ce-id"), deliveries, error, exc_info=error)
            if deliveries >= MAX_DELIVERIES and not _passing(error):
                await self._bury(message, headers, f"{type(error).__name__}: {error}")
            else:
                await message.nak(delay=_DELAYS[min(deliveries, len(_DELAYS)) - 1])

    async def _bury(self, message: Msg, headers: dict[str, str], reason: str) -> None:
        tenant = NOBODY
        with suppress(ValueError):
            tenant = UUID(headers.get("ce-tenantid", ""))
        who = Principal(tenant_id=tenant, tenant="", person_id=NOBODY, service=self._service)
        meta = message.metadata
        async with self._database.transaction(who, origin="event") as tx:
            await tx.session.execute(
                text(
                    "INSERT INTO dead_letters (tenant_id, id, consumer, event_id, stream, stream_seq, subject, headers, data,"
                    " reason, deliveries) VALUES (:tenant, :id, :consumer, :event, :stream, :seq, :subject,"
                    " CAST(:headers AS jsonb), :data,"
                    " :reason, :deliveries) ON CONFLICT (tenant_id, consumer, event_id) DO UPDATE SET reason = excluded.reason"
                ),
                {
                    "tenant": tenant, "id": new_id(), "consumer": self._service,
                    "event": headers.get("ce-id") or f"{meta.stream}:{meta.sequence.stream}",
                    "stream": meta.stream, "seq": meta.sequence.stream, "subject": message.subject,
                    "headers": _json(headers), "data": message.data, "reason": reason[:2000], "deliveries": meta.num_delivered,
                },
            )  # fmt: skip
        log.error("dead letter: %s", reason, extra={"subject": message.subject})
        await message.term()


def _runs(messages: Iterable[Msg]) -> list[list[Msg]]:
    """Messages in their order, those of one tenant and person that follow each other together."""

    def cause(message: Msg) -> tuple[str, str]:
        headers = message.headers or {}
        return headers.get("ce-tenantid", ""), headers.get("kehu-person", "")

    return [list(run) for _, run in itertools.groupby(messages, cause)]


def _json(headers: dict[str, str]) -> str:
    import orjson

    return orjson.dumps(headers).decode()


def _passing(error: Exception) -> bool:
    from chassis.errors import Code

    return isinstance(error, Problem) and error.code in (
        Code.UNAVAILABLE,
        Code.ABORTED,
        Code.DEADLINE_EXCEEDED,
    )
