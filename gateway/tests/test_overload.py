"""More requests at once than the gateway takes in: those inside go on, the others are told when to come again."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
from kehu.leads.v1 import lead_pb2

from chassis.testing import Keys
from gateway import turns
from gateway.testing import House, running_gateway

LEAD = "/v1/leads/0198c5a2-7d2e-7c3b-9a70-3f1f0e5b6a11"
MOST = 3
"""One tenant may have half of six places."""


class Held:
    """Requests that are inside until they are let go. `ann` and `bob`, of another tenant, have been here before."""

    def __init__(self, house: House, ann: dict[str, str], bob: dict[str, str]) -> None:
        self.ann, self.bob = ann, bob
        self.inside = 0
        self.go = asyncio.Event()
        self.one_more = asyncio.Event()
        house.on("leads.LeadService/GetLead", self._answer)

    async def _answer(self, request: Any) -> lead_pb2.Lead:
        self.inside += 1
        self.one_more.set()
        await self.go.wait()
        return lead_pb2.Lead(id=request.id)

    async def until(self, inside: int) -> None:
        """Waits until so many have come in."""
        async with asyncio.timeout(20):
            while self.inside < inside:
                self.one_more.clear()
                await self.one_more.wait()


class Wire:
    """A connection that says exactly what a test wants it to say."""

    def __init__(
        self, headers: dict[str, str], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._reader, self._writer = reader, writer
        self._always = f"host: 127.0.0.1\r\nauthorization: {headers['authorization']}\r\n"

    def head(self, line: str, *more: str) -> bytes:
        """The head of a request."""
        return (
            f"{line} HTTP/1.1\r\n{self._always}" + "".join(f"{one}\r\n" for one in more) + "\r\n"
        ).encode()

    def say(self, data: bytes) -> None:
        """Sends it."""
        self._writer.write(data)

    async def answer(self, *, body: bool = True) -> httpx.Response:
        """The next answer on this connection."""
        async with asyncio.timeout(20):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = httpx.Headers([tuple(line.split(": ", 1)) for line in head[1:-2]])  # pyright: ignore[reportArgumentType]
            content = await self._reader.readexactly(int(headers["content-length"])) if body else b""
        return httpx.Response(int(head[0].split(" ")[1]), headers=headers, content=content)

    async def ended(self) -> bool:
        """Whether nothing more comes."""
        async with asyncio.timeout(20):
            return await self._reader.read() == b""


@pytest.fixture
async def small(keys: Keys, nats_url: str) -> AsyncIterator[House]:
    """A gateway with six places."""
    async with running_gateway(keys, nats_url, max_concurrent_requests=2 * MOST) as house:
        yield house


@pytest.fixture
async def idle(small: House) -> Held:
    """Nobody is inside."""
    small.on("leads.LeadService/GetLead", lambda request: lead_pb2.Lead(id=request.id))
    known = [small.bearer(), small.bearer(small.somebody_of("other"))]
    for headers in known:
        assert (await small.http.get(LEAD, headers=headers)).status_code == 200
    return Held(small, *known)


@pytest.fixture
async def held(small: House, idle: Held) -> AsyncIterator[Held]:
    """Ann's tenant has its share inside."""
    waiting = [asyncio.create_task(small.http.get(LEAD, headers=idle.ann)) for _ in range(MOST)]
    await idle.until(MOST)
    yield idle
    idle.go.set()
    async with asyncio.timeout(20):
        assert [(await task).status_code for task in waiting] == [200] * MOST


@pytest.fixture
async def wire(small: House, idle: Held) -> AsyncIterator[Wire]:
    """A connection of Ann's."""
    async with AsyncExitStack() as ends:
        reader, writer = await asyncio.open_connection(small.http.base_url.host, small.http.base_url.port)
        ends.callback(writer.close)
        yield Wire(idle.ann, reader, writer)


async def test_one_too_many_is_told_when_to_come_again(small: House, held: Held) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    answer = await small.http.get(
        LEAD, headers={**held.ann, "traceparent": f"00-{trace}-b7ad6b7169203331-01"}
    )
    assert (answer.status_code, answer.json()["reason"]) == (503, "TOO_BUSY")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["retry-after"] == "1"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.json()["traceId"] == answer.headers["traceparent"].split("-")[1] == trace
    assert held.inside == MOST


async def test_another_tenant_still_comes_in(small: House, held: Held) -> None:
    asked = asyncio.create_task(small.http.get(LEAD, headers=held.bob))
    await held.until(MOST + 1)
    held.go.set()
    assert (await asyncio.wait_for(asked, 20)).status_code == 200


async def test_who_floods_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, keys: Keys, nats_url: str
) -> None:
    """Of a hundred requests of one tenant few are at the service at once, and another's goes past those that wait."""
    monkeypatch.setattr(turns, "HOLD", 3600.0)
    monkeypatch.setattr(turns, "PATIENCE", 3600.0)
    async with running_gateway(keys, nats_url, seats=16) as house:
        house.on("leads.LeadService/GetLead", lambda request: lead_pb2.Lead(id=request.id))
        ann, bob = house.bearer(), house.bearer(house.somebody_of("other"))
        for headers in (ann, bob):
            assert (await house.http.get(LEAD, headers=headers)).status_code == 200
        held = Held(house, ann, bob)
        flood = [asyncio.create_task(house.http.get(LEAD, headers=ann)) for _ in range(100)]
        await held.until(4)
        other = asyncio.create_task(house.http.get(LEAD, headers=bob))
        while not any(
            who is not None and who.tenant == "other" for _, _, who in house.peers["leads"].calls[2:]
        ):
            held.one_more.clear()
            await asyncio.wait_for(held.one_more.wait(), 20)
        assert held.inside <= 9  # at most eight of one tenant, which thought that it was alone
        held.go.set()
        answers = await asyncio.wait_for(asyncio.gather(other, *flood), 60)
        assert {answer.status_code for answer in answers} == {200}


async def test_pages_and_probes_are_not_counted(small: House, held: Held) -> None:
    for path in ("/livez", "/readyz", "/docs"):
        assert (await small.http.get(path)).status_code == 200


async def test_the_connection_serves_the_next(held: Held, wire: Wire) -> None:
    """Also when the request turned away had a body that nobody has read."""
    wire.say(wire.head("POST /v1/leads", "content-length: 20") + b'{"name": "A')
    assert (await wire.answer()).status_code == 503
    wire.say(b' lead."}x' + wire.head(f"HEAD {LEAD}"))
    refused = await wire.answer(body=False)
    assert refused.status_code == 503 and int(refused.headers["content-length"]) > 0
    wire.say(wire.head("POST /v1/leads", "transfer-encoding: chunked") + b"3\r\nabc\r\n0\r\n\r\n")
    assert (await wire.answer()).status_code == 503
    wire.say(wire.head("GET /v1/no-such-thing") + wire.head("GET /livez") + wire.head("GET /livez"))
    assert [(await wire.answer()).status_code for _ in range(3)] == [503, 200, 200]


async def test_requests_behind_another_are_asked_about_in_their_turn(idle: Held, wire: Wire) -> None:
    idle.go.set()
    many = 4 * MOST
    wire.say(wire.head(f"GET {LEAD}") * many)
    assert [(await wire.answer()).status_code for _ in range(many)] == [200] * many


@pytest.mark.parametrize("more", ["expect: 100-continue", "connection: close"])
async def test_it_is_closed_where_nobody_knows_what_comes_next(held: Held, wire: Wire, more: str) -> None:
    wire.say(wire.head("POST /v1/leads", "content-length: 5", more))
    refused = await wire.answer()
    assert (refused.status_code, refused.headers["connection"]) == (503, "close")
    assert await wire.ended()


async def test_nothing_behind_the_last_answer_is_done(small: House, held: Held, wire: Wire) -> None:
    made = len(small.peers["leads"].calls)
    held.go.set()
    wire.say(wire.head(f"GET {LEAD}", "connection: close") + wire.head(f"GET {LEAD}"))
    assert (await wire.answer()).status_code in (200, 503)
    assert await wire.ended()
    assert len(small.peers["leads"].calls) <= made + 1


async def test_no_place_is_lost(small: House, idle: Held) -> None:
    """To addresses that are none, to clients that are gone, to answers of every kind."""
    address = small.http.base_url

    async def nowhere() -> None:
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(b"GET /v1/\xe4\xb8\xad HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
        await asyncio.wait_for(reader.read(), 20)
        writer.close()

    await asyncio.gather(*(nowhere() for _ in range(3 * MOST)))
    gone = [asyncio.create_task(small.http.get(LEAD, headers=idle.ann)) for _ in range(MOST)]
    await idle.until(MOST)
    for task in gone:
        task.cancel()
    await asyncio.wait(gone)
    idle.go.set()
    for path, headers in ((LEAD, {}), ("/v1/no-such-thing", {}), (LEAD, {"host": "evil.example"})) * MOST:
        assert (await small.http.get(path, headers=headers)).status_code in (401, 404, 421, 503)
    async with asyncio.timeout(20):
        while (await small.http.get(LEAD, headers=idle.ann)).status_code == 503:
            await asyncio.sleep(0.01)
    answers = await asyncio.gather(*(small.http.get(LEAD, headers=idle.ann) for _ in range(MOST)))
    assert [answer.status_code for answer in answers] == [200] * MOST
