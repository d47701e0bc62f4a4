"""A network of our own between the parts of a suite, whose every link can be slow, silent, broken or crumbling.

Each link is a relay on loopback: whoever asks (`origin`) is told its address instead of the one that is asked (`peer`).
Nothing in the services knows of it. Faults are switched on and off while everything runs, and each says how much it has hit.
"""

import asyncio
import random
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, TypeVar

import uvloop

NATS, POSTGRES = "NATS", "PostgreSQL"
_DELAY = 0.2
_SLICE, _PAUSE = 64, 0.001
"""Bytes in the largest slice, and seconds between two."""
_HELD = 256 * 1024
"""Bytes a direction holds back before it reads no more."""
T = TypeVar("T")


class Fault(Enum):
    """What a link can suffer from."""

    DELAY = "200 ms later"
    """What is asked comes later; answers come at once, so that a round trip takes 200 ms more."""
    BLACKHOLE = "blackhole"
    """Nothing passes and nothing is refused. When it ends all that was sent arrives, as by a network's own repeats."""
    RESET = "reset"
    """All connections are reset, once. New ones pass."""
    SLICES = "slices"
    """Everything comes in pieces of a few bytes."""
    FORGOTTEN = "forgotten"
    """A blackhole for the connections there are, and it never ends for them: a router has forgotten them. New ones pass."""


@dataclass
class Hits:
    """What a fault has met: requests under way when it began, and begun while it was there."""

    under_way: int = 0
    begun: int = 0

    @property
    def total(self) -> int:
        return self.under_way + self.begun


class Calls:
    """Counts the calls on an HTTP/2 connection by the heads of its frames: gRPC puts each call on a stream of its own."""

    _PREFACE = 24
    _HEADERS, _RST_STREAM, _DATA, _END_STREAM = 1, 3, 0, 1

    def __init__(self) -> None:
        self.begun = 0
        self.open: set[int] = set()
        self._rest = {True: b"", False: b""}
        self._skip = {True: self._PREFACE, False: 0}

    @property
    def under_way(self) -> int:
        """Calls that are asked and not yet answered."""
        return len(self.open)

    def passed(self, data: bytes, asked: bool) -> None:
        """Takes note of what has passed; `asked` when the one who calls has sent it."""
        data = self._rest[asked] + data
        at = self._skip[asked]
        while len(data) - at >= 9:
            length = int.from_bytes(data[at : at + 3], "big")
            kind, flags, stream = data[at + 3], data[at + 4], int.from_bytes(data[at + 5 : at + 9], "big")
            self._frame(asked, kind, flags, stream)
            at += 9 + length
        self._skip[asked] = max(0, at - len(data))
        self._rest[asked] = data[at:]

    def _frame(self, asked: bool, kind: int, flags: int, stream: int) -> None:
        if asked and kind == self._HEADERS:
            self.begun += 1
            self.open.add(stream)
        elif kind == self._RST_STREAM or (
            not asked and kind in (self._DATA, self._HEADERS) and flags & self._END_STREAM
        ):
            self.open.discard(stream)


class Turns:
    """Counts requests on a connection of which only the direction is known: one is under way while the asker spoke last.
    What comes unasked, as messages of the bus do, counts as well, and as under way for a moment.
    """

    _MOMENT = 0.5

    def __init__(self) -> None:
        self.begun = 0
        self._asked = False
        self._pushed = 0.0

    @property
    def under_way(self) -> int:
        """0 or 1."""
        return int(self._asked or time.monotonic() - self._pushed < self._MOMENT)

    def passed(self, data: bytes, asked: bool) -> None:
        """Takes note of what has passed."""
        if asked != self._asked:
            self.begun += asked
        elif not asked:
            self.begun += 1
            self._pushed = time.monotonic()
        self._asked = asked


@dataclass(eq=False)
class Link:
    """From one part of the suite to another."""

    origin: str
    peer: str
    target: str
    """host:port of the peer. When it changes, new connections go there."""
    address: str = ""
    """host:port that the origin is told."""
    fault: Fault | None = None
    connections: "set[_Connection]" = field(default_factory=set["_Connection"], repr=False)
    ended: int = 0
    """Calls of connections that are no more."""

    @property
    def name(self) -> str:
        return f"{self.origin} → {self.peer}"

    @property
    def under_way(self) -> int:
        """Calls that are asked and not yet answered."""
        return sum(one.count.under_way for one in [*self.connections] if not one.forgotten)

    @property
    def begun(self) -> int:
        """Calls since the link is there."""
        return self.ended + sum(one.count.begun for one in [*self.connections])


class Links:
    """All links of a suite, served by a thread of their own. `close` cuts them."""

    def __init__(self, seed: int = 0) -> None:
        self.all: list[Link] = []
        self._chance = random.Random(seed)
        self._loop = uvloop.new_event_loop()
        self._servers: list[Any] = []
        self._thread = threading.Thread(target=self._loop.run_forever, name="links", daemon=True)
        self._thread.start()

    def via(self, origin: str, peer: str, address: str) -> str:
        """The address of a new link to that address: what `start_suite` asks for every address it gives away."""
        link = Link(origin, peer, address)
        self._do(self._listen(link))
        self.all.append(link)
        return link.address

    def link(self, origin: str, peer: str) -> Link:
        """The link of those two. Raises StopIteration when there is none."""
        return next(one for one in self.all if (one.origin, one.peer) == (origin, peer))

    def begin(self, link: Link, fault: Fault) -> None:
        """The fault comes over that link; a reset is over as soon as it has come."""
        self._do(self._begin(link, fault))

    def end(self, link: Link) -> None:
        """The link is sound again. What a blackhole has held back arrives; what is forgotten stays so."""
        self._do(self._end(link))

    @contextmanager
    def suffering(self, link: Link, fault: Fault) -> Generator[Hits]:
        """Inside the block that link has that fault. What it has hit is complete when the block has ended."""
        hits = Hits(link.under_way)
        begun = link.begun
        self.begin(link, fault)
        try:
            yield hits
        finally:
            hits.begun = link.begun - begun
            self.end(link)

    def close(self) -> None:
        """Cuts all connections and listens no more."""
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> "Links":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _do(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _listen(self, link: Link) -> None:
        server: Any = await self._loop.create_server(
            lambda: _Connection(link, self._loop, self._chance), "127.0.0.1", 0, backlog=256
        )
        self._servers.append(server)
        link.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"

    async def _begin(self, link: Link, fault: Fault) -> None:
        if fault is Fault.RESET:
            for one in [*link.connections]:
                one.reset()
            return
        link.fault = fault
        for one in [*link.connections]:
            if fault is Fault.FORGOTTEN:
                one.forgotten = True
            if fault in (Fault.BLACKHOLE, Fault.FORGOTTEN):
                one.hold()

    async def _end(self, link: Link) -> None:
        link.fault = None
        for one in [*link.connections]:
            one.go_on()

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        for link in self.all:
            for one in [*link.connections]:
                one.reset()


class _Direction:
    """What one side sends, on its way to the other."""

    def __init__(self, connection: "_Connection", asked: bool) -> None:
        self._connection = connection
        self._asked = asked
        self._queue: deque[tuple[float, bytes]] = deque()
        self._held = 0
        self._timer: asyncio.TimerHandle | None = None
        self._ended = False
        self.source: Any = None
        self.sink: Any = None

    def carry(self, data: bytes) -> None:
        """Takes what has come and sends it on, now or later."""
        link, loop = self._connection.link, self._connection.loop
        self._connection.count.passed(data, self._asked)
        match link.fault:
            case Fault.SLICES:
                at = 0
                while at < len(data):
                    size = self._connection.chance.randint(1, _SLICE)
                    self._put(0.0, data[at : at + size])
                    at += size
            case Fault.DELAY if self._asked:
                self._put(loop.time() + _DELAY, data)
            case _ if self._queue or self.sink is None or self._connection.held:
                self._put(0.0, data)
            case _:
                self._pass(data)
        self.go_on()

    def end(self) -> None:
        """The source says no more."""
        self._ended = True
        self.go_on()

    def go_on(self) -> None:
        """Sends what is due, unless it is to wait."""
        if self._timer is None and not self._connection.held:
            self._send()

    def _pass(self, data: bytes) -> None:
        """What comes after the other end has gone is lost, as in any network."""
        if not self.sink.is_closing():
            self.sink.write(data)

    def _put(self, due: float, data: bytes) -> None:
        self._queue.append((due, data))
        self._held += len(data)
        if self._held > _HELD and self.source is not None:
            self.source.pause_reading()

    def _send(self) -> None:
        self._timer = None
        if self._connection.held or self.sink is None:
            return
        loop = self._connection.loop
        while self._queue:
            due, data = self._queue[0]
            if due > loop.time():
                self._timer = loop.call_at(due, self._send)
                return
            self._queue.popleft()
            self._held -= len(data)
            self._pass(data)
            if self._connection.link.fault is Fault.SLICES and self._queue:
                self._timer = loop.call_later(_PAUSE, self._send)
                break
        if self._held <= _HELD and self.source is not None and not self.source.is_closing():
            self.source.resume_reading()
        if self._ended and not self._queue:
            self.sink.close()


class _Connection(asyncio.Protocol):
    """One connection through a link: this end speaks with the one who asks, and opens the other."""

    def __init__(self, link: Link, loop: asyncio.AbstractEventLoop, chance: random.Random) -> None:
        self.link = link
        self.loop = loop
        self.chance = chance
        self.count: Calls | Turns = Turns() if link.peer in (NATS, POSTGRES) else Calls()
        self.held = False
        self.forgotten = False
        self.there = _Direction(self, True)
        self.back = _Direction(self, False)
        self._opening: asyncio.Task[None] | None = None

    def connection_made(self, transport: Any) -> None:
        """Somebody asks: while nothing passes nobody hears of it."""
        self.there.source = self.back.sink = transport
        self.link.connections.add(self)
        transport.pause_reading()
        if self.link.fault is Fault.BLACKHOLE:
            self.held = True
        else:
            self._opening = self.loop.create_task(self._open())

    async def _open(self) -> None:
        host, _, port = self.link.target.rpartition(":")
        try:
            transport, _ = await self.loop.create_connection(lambda: _Far(self), host, int(port))
        except OSError:
            self.reset()
            return
        if self.there.source.is_closing():
            transport.abort()
            return
        self.back.source = self.there.sink = transport
        if self.held:
            transport.pause_reading()
        else:
            self.there.source.resume_reading()
            self.there.go_on()

    def data_received(self, data: bytes) -> None:
        """Asked."""
        self.there.carry(data)

    def eof_received(self) -> bool:
        """The asker says no more; what is on its way still arrives."""
        self.there.end()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """The asker has gone: so does the other end, after what was sent."""
        if self in self.link.connections:
            self.link.connections.discard(self)
            self.link.ended += self.count.begun
        if exc is not None and self.there.sink is not None:
            self.there.sink.abort()
        elif self.there.sink is not None:
            self.there.end()
        elif self._opening is not None:
            self._opening.cancel()

    def pause_writing(self) -> None:
        """The asker reads slowly."""
        if self.back.source is not None:
            self.back.source.pause_reading()

    def resume_writing(self) -> None:
        """The asker reads again."""
        if self.back.source is not None and not self.held:
            self.back.source.resume_reading()

    def hold(self) -> None:
        """Nothing passes any more."""
        self.held = True
        for transport in (self.there.source, self.back.source):
            if transport is not None and not transport.is_closing():
                transport.pause_reading()

    def go_on(self) -> None:
        """What was held passes, unless the connection is forgotten."""
        if self.forgotten:
            return
        was, self.held = self.held, False
        if was and self.there.sink is None and self._opening is None:
            self._opening = self.loop.create_task(self._open())
            return
        if was:
            for transport in (self.there.source, self.back.source):
                if transport is not None and not transport.is_closing():
                    transport.resume_reading()
        self.there.go_on()
        self.back.go_on()

    def reset(self) -> None:
        """Ends it at both ends as a reset, and not as an orderly end."""
        for transport in (self.there.source, self.back.source):
            if transport is None or transport.is_closing():
                continue
            with suppress(OSError):
                raw = transport.get_extra_info("socket")
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()


class _Far(asyncio.Protocol):
    """The end that speaks with the one who is asked."""

    def __init__(self, near: _Connection) -> None:
        self._near = near

    def data_received(self, data: bytes) -> None:
        """Answered."""
        self._near.back.carry(data)

    def eof_received(self) -> bool:
        """The peer says no more."""
        self._near.back.end()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """The peer has gone."""
        if exc is not None:
            self._near.reset()
        else:
            self._near.back.end()

    def pause_writing(self) -> None:
        """The peer reads slowly."""
        self._near.there.source.pause_reading()

    def resume_writing(self) -> None:
        """The peer reads again."""
        if not self._near.held:
            self._near.there.source.resume_reading()
