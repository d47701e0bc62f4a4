"""Server-sent events: what happens in the tenant, live, as far as the signed-in person may see it.

Fed by the bus. Each event names the right it stands under and the owner and team of its record; the person's read reach decides.
A client that does not keep up is let go, and comes back by itself; what it missed it reads from the lists. One that wants to
hear of one thing alone, as of an import among the thousand records it makes, names its subject.
"""

import asyncio
import logging
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from urllib.parse import unquote

import orjson
from nats.aio.client import Client
from nats.aio.msg import Msg

from chassis.errors import Invalid
from chassis.principal import Act, Principal, Reach
from chassis.validation.formats import shown
from chassis.visibility import grantees
from gateway import forms
from gateway.exchanges import Answer, Exchange
from gateway.limits import Limits
from gateway.problems import Refusal
from gateway.sessions import Sessions
from gateway.settings import Settings

log = logging.getLogger("gateway")

PATH = "/v1/events:stream"
_QUEUE = 256
_HEARTBEAT = 10.0
_RECHECK = 0.5
"""Seconds after which an open stream asks whether its session still lives. Most answers come from what Sessions remembers:
this, that and a second of waiting for events together stay below the five seconds in which a session must be dead."""


def may_see(who: Principal, headers: Mapping[str, str]) -> bool:
    """Whether the person may see an event with these headers. Events without a right are for services only, but for those
    for one person: these are seen by that person and by nobody else, whatever their rights.

    No owner header means a kind of record that nobody owns; an owner `none` means a record that has none at present.
    """
    right = headers.get("kehu-right", "")
    if headers.get("ce-tenant") != who.tenant:
        return False
    if "kehu-for" in headers:
        return headers["kehu-for"] == str(who.person_id)
    if not right:
        return False
    reach = who.reach(right, Act.READ)
    owner, team = headers.get("kehu-owner"), headers.get("kehu-team")
    if reach is Reach.ALL or (reach is not Reach.NONE and owner is None):
        return True
    if reach is Reach.NONE:
        return False
    if owner == str(who.person_id):
        return True
    if reach is Reach.TEAM and team is not None and team in {str(id) for id in who.team_ids}:
        return True
    shared = headers.get("kehu-shared", "")
    return bool(shared) and not {str(id) for id in grantees(who, reach)}.isdisjoint(shared.split(","))


@dataclass(eq=False)
class _Listener:
    who: Principal
    wanted: frozenset[str] = frozenset()
    """Subjects below the tenant that it asks for; empty for all."""
    queue: asyncio.Queue[bytes] = field(default_factory=lambda: asyncio.Queue(_QUEUE))
    lost: bool = False


class Streams:
    """All open streams of one gateway. Make it inside the running loop."""

    def __init__(self, settings: Settings, subjects: Set[str], sessions: Sessions, limits: Limits) -> None:
        self._settings = settings
        self._subjects = subjects
        self._sessions = sessions
        self._limits = limits
        self._listeners: dict[str, set[_Listener]] = {}
        self._client: Client | None = None
        self._task: asyncio.Task[None] | None = None
        self._ending = False

    def open(self) -> None:
        """Begins to connect to the bus, and goes on until it is there."""
        self._task = asyncio.create_task(self._connect())

    async def _connect(self) -> None:
        async def failed(error: Exception) -> None:
            log.warning("broker: %s", error or type(error).__name__)

        async def disconnected() -> None:
            # What is told while the bus is away is never told again: whoever comes back reads the lists anew.
            for listeners in self._listeners.values():
                for listener in listeners:
                    listener.lost = True

        settings = self._settings
        while True:
            client = Client()
            try:
                await client.connect(
                    servers=[settings.nats_url], name="gateway", user=settings.nats_user or None,
                    password=settings.nats_password.get_secret_value() or None, max_reconnect_attempts=-1, ping_interval=10,
                    connect_timeout=2, error_cb=failed, disconnected_cb=disconnected,
                )  # fmt: skip
                await client.subscribe("kehu.>", cb=self._heard)
                self._client = client
                return
            except (OSError, TimeoutError, Exception) as error:
                log.warning("broker: %s", error or type(error).__name__)
            await asyncio.sleep(1.0)

    def end(self) -> None:
        """Lets all open streams end within a second, so that a server that stops need not wait for its readers."""
        self._ending = True

    async def close(self) -> None:
        """Ends the connection."""
        if self._task is not None:
            self._task.cancel()
        if self._client is not None:
            await self._client.close()

    @property
    def connected(self) -> bool:
        """Whether the bus is there now."""
        return self._client is not None and self._client.is_connected

    async def _heard(self, message: Msg) -> None:
        headers = {str(key): str(value) for key, value in (message.headers or {}).items()}
        listeners = self._listeners.get(message.subject.split(".")[1])
        if not listeners or "ce-id" not in headers:
            return
        frame: bytes | None = None
        subject = message.subject.split(".", 2)[2]
        for listener in listeners:
            if listener.wanted and subject not in listener.wanted:
                continue
            if may_see(listener.who, headers):
                frame = frame or _frame(message, headers)
                try:
                    listener.queue.put_nowait(frame)
                except asyncio.QueueFull:
                    listener.lost = True

    async def __call__(self, exchange: Exchange) -> Answer | None:
        exchange.rpc = "events"
        caller = await self._sessions.caller(exchange)
        assert caller is not None
        wanted = _wanted(exchange, self._subjects)
        if not self.connected:
            raise Refusal(
                503, "STREAM_UNAVAILABLE", "Live events are not available now. Try again.", retry_after=2.0
            )
        self._limits.streams.enter()
        if exchange.place is not None:
            exchange.place.leave()  # streams are counted by themselves
        listener = _Listener(caller.who, wanted)
        listeners = self._listeners.setdefault(caller.who.tenant, set())
        listeners.add(listener)
        try:
            await self._send_all(exchange, listener)
        finally:
            listeners.discard(listener)
            self._limits.streams.leave()
        return None

    async def _send_all(self, exchange: Exchange, listener: _Listener) -> None:
        headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-store")]
        await exchange.send({"type": "http.response.start", "status": 200, "headers": headers})
        await exchange.part(b"retry: 2000\n\n")
        gone = asyncio.create_task(exchange.hung_up())
        loop = asyncio.get_running_loop()
        checked = beat = loop.time()
        try:
            while not (gone.done() or listener.lost or self._ending):
                try:
                    await exchange.part(await asyncio.wait_for(listener.queue.get(), 1.0))
                except TimeoutError:
                    if loop.time() - beat > _HEARTBEAT:
                        beat = loop.time()
                        await exchange.part(b": still here\n\n")
                if loop.time() - checked > _RECHECK:
                    checked = loop.time()
                    caller = await self._sessions.caller(exchange)
                    assert caller is not None
                    listener.who = caller.who
        except Refusal:
            pass  # the session has ended: so does the stream
        finally:
            gone.cancel()
        await exchange.send({"type": "http.response.body", "body": b"", "more_body": False})


_MOST_SUBJECTS = 50


def _wanted(exchange: Exchange, known: Set[str]) -> frozenset[str]:
    """The subjects that the query asks for. Raises Invalid for other parameters, and for a subject that no event has."""
    found: set[str] = set()
    for name, value in forms.pairs(exchange.query, "query"):
        if name != "subject":
            raise Invalid(name[:100] or "(empty name)", "is no parameter of the stream: there is subject")
        found.add(value)
    if len(found) > _MOST_SUBJECTS:
        raise Invalid("subject", f"is given at most {_MOST_SUBJECTS} times")
    if unknown := found - known:
        raise Invalid(
            "subject", f"no event has the subject {shown(min(unknown))}: it is one as leads.import.progressed"
        )
    return frozenset(found)


def _frame(message: Msg, headers: Mapping[str, str]) -> bytes:
    event = {
        "id": headers["ce-id"],
        "type": headers.get("ce-type", ""),
        "subject": message.subject,
        "recordId": headers.get("ce-subject", ""),
        "time": headers.get("ce-time", ""),
        "personId": headers.get("kehu-person", ""),
        "personName": unquote(headers.get("kehu-name", "")),
        "data": orjson.Fragment(message.data),
    }
    return (
        b"id: "
        + headers["ce-id"].encode()
        + b"\nevent: "
        + message.subject.split(".", 2)[2].encode()
        + b"\ndata: "
        + (orjson.dumps(event) + b"\n\n")
    )
