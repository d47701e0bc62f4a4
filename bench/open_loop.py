"""Requests sent when they are due and not when the one before has been answered, by a client that takes little of the machine."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import uvloop

MOST = 2_000
"""Connections at once; a request that finds none free counts as not sent."""
_PATIENCE = 30.0
"""Seconds after the last request was sent in which all must be answered."""


@dataclass(frozen=True)
class Stream:
    """What one caller sends: whole requests in turns, at a rate of so many a second, as chance has it (Poisson)."""

    requests: Sequence[bytes]
    rate: float


@dataclass
class Told:
    """What came of a stream. Times are in milliseconds, from when a request was due to the end of its answer."""

    seconds: float = 0.0
    sent: int = 0
    good: list[float] = field(default_factory=list[float])
    refused: list[float] = field(default_factory=list[float])
    """Answers 429 and 503 with Retry-After."""
    wrong: Counter[str] = field(default_factory=Counter[str])
    """Other answers, by status."""
    lost: int = 0
    """Sent, and never answered."""
    unsent: int = 0

    @property
    def rate(self) -> float:
        """Good answers a second."""
        return len(self.good) / self.seconds


@dataclass(frozen=True)
class Run:
    """What came of all streams. `load` is the share of one core that the client took."""

    told: Mapping[str, Told]
    load: float


class _Wire(asyncio.Protocol):
    """A connection with one request under way; `free` is told when it may have the next."""

    def __init__(self, free: "Callable[[_Wire], None]", loop: asyncio.AbstractEventLoop) -> None:
        self._free, self._loop = free, loop
        self._transport: asyncio.WriteTransport | None = None
        self._data = b""
        self._told: Told | None = None
        self._due = 0.0
        self._request = b""
        self.gone = False

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        if self._request:
            transport.write(self._request)

    def send(self, request: bytes, due: float, told: Told) -> None:
        """Sends it, as soon as the connection stands."""
        self._told, self._due, self._request = told, due, request
        if self._transport is not None:
            self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        data = self._data + data if self._data else data
        end = data.find(b"\r\n\r\n")
        at = data.find(b"content-length: ", 0, end) + 16
        if end < 0 or at < 16 or len(data) < end + 4 + int(data[at : data.index(b"\r", at)]):
            self._data = data
            return
        self._data = b""
        told, self._told = self._told, None
        if told is None:
            return
        spent = (self._loop.time() - self._due) * 1000
        status = data[9:12]
        if status == b"200":
            told.good.append(spent)
        elif status in (b"429", b"503") and data.find(b"retry-after: ", 0, end) > 0:
            told.refused.append(spent)
        else:
            told.wrong[status.decode()] += 1
        if data.find(b"connection: close", 0, end) < 0:
            self._free(self)
        else:
            self.gone = True

    def connection_lost(self, exc: Exception | None) -> None:
        if self._told is not None:
            self._told.lost += 1
            self._told = None
        self.gone = True

    @property
    def waits(self) -> bool:
        """Whether an answer is still to come."""
        return self._told is not None

    def close(self) -> None:
        """Ends the connection; what was still to come is lost."""
        self.connection_lost(None)
        if self._transport is not None:
            self._transport.close()


class _Client:
    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._loop = asyncio.get_running_loop()
        self._free: list[_Wire] = []
        self._all: list[_Wire] = []
        self._opening: set[asyncio.Task[None]] = set()

    def send(self, request: bytes, due: float, told: Told) -> None:
        while self._free:
            wire = self._free.pop()
            if not wire.gone:
                told.sent += 1
                wire.send(request, due, told)
                return
        if len(self._all) < MOST:
            told.sent += 1
            wire = _Wire(self._free.append, self._loop)
            self._all.append(wire)
            wire.send(request, due, told)
            task = self._loop.create_task(self._open(wire))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)
        else:
            told.unsent += 1

    async def _open(self, wire: _Wire) -> None:
        try:
            await self._loop.create_connection(lambda: wire, self._host, self._port)
        except OSError as error:
            wire.connection_lost(error)

    async def answered(self) -> None:
        """Waits for what is still to come; what does not come is lost."""
        until = self._loop.time() + _PATIENCE
        while any(wire.waits for wire in self._all) and self._loop.time() < until:
            await asyncio.sleep(0.01)
        for wire in self._all:
            wire.close()


def run(host: str, port: int, streams: Mapping[str, Stream], seconds: float, chance: random.Random) -> Run:
    """Sends all streams for so many seconds, and waits until everything is answered. Runs a loop of its own."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_run(host, port, streams, seconds, chance))


async def _run(
    host: str, port: int, streams: Mapping[str, Stream], seconds: float, chance: random.Random
) -> Run:
    loop = asyncio.get_running_loop()
    told = {name: Told() for name in streams}
    plan = sorted(
        (due, name, number)
        for name, stream in streams.items()
        for number, due in enumerate(_dues(stream.rate, seconds, chance))
    )
    client = _Client(host, port)
    used, began = time.thread_time(), loop.time()
    for due, name, number in plan:
        while (early := began + due - loop.time()) > 0:
            await asyncio.sleep(max(early, 0.001))
        requests = streams[name].requests
        client.send(requests[number % len(requests)], began + due, told[name])
    await client.answered()
    took = loop.time() - began
    for one in told.values():
        one.seconds = took
    return Run(told, (time.thread_time() - used) / took)


def _dues(rate: float, seconds: float, chance: random.Random) -> list[float]:
    dues: list[float] = []
    at = chance.expovariate(rate)
    while at < seconds:
        dues.append(at)
        at += chance.expovariate(rate)
    return dues


def capacity(host: str, port: int, requests: Sequence[bytes], seconds: float, clients: int = 16) -> float:
    """Good answers a second that so many clients get who each send the next request when the one before is answered."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_capacity(host, port, requests, seconds, clients))


async def _capacity(host: str, port: int, requests: Sequence[bytes], seconds: float, clients: int) -> float:
    loop = asyncio.get_running_loop()
    told = Told()
    until = loop.time() + seconds

    def send_next(wire: _Wire) -> None:
        if loop.time() < until:
            told.sent += 1
            wire.send(requests[told.sent % len(requests)], loop.time(), told)

    wires = [_Wire(send_next, loop) for _ in range(clients)]
    for wire in wires:
        await loop.create_connection(lambda wire=wire: wire, host, port)
        send_next(wire)
    await asyncio.sleep(until - loop.time())
    for wire in wires:
        wire.close()
    return len(told.good) / seconds
