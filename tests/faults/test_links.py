"""The network that the proof puts between the parts of a suite does what it says, and nothing else."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any

import grpc.aio
import pytest

from kehu_local.composition import MEMBERS
from proof.errands import ERRANDS
from proof.links import NATS, Calls, Fault, Link, Links
from proof.topology import peers

LONG = bytes(range(256)) * 2000


@pytest.fixture
def links() -> Iterator[Links]:
    """A network of its own."""
    with Links(seed=1) as made:
        yield made


@pytest.fixture
async def echo() -> AsyncIterator[str]:
    """host:port of a server that says what it hears."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield "127.0.0.1:" + str(server.sockets[0].getsockname()[1])


class Speaker:
    """A connection through a link."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def say(self, data: bytes, within: float = 10.0) -> bytes:
        """What comes back of the same length. Raises TimeoutError, ConnectionResetError."""
        self.writer.write(data)
        async with asyncio.timeout(within):
            return await self.reader.readexactly(len(data))


async def speaker(link: Link) -> Speaker:
    """Connects to the link's address."""
    host, _, port = link.address.rpartition(":")
    return Speaker(*await asyncio.open_connection(host, int(port)))


@pytest.fixture
async def link(links: Links, echo: str) -> Link:
    """A sound link to the server."""
    links.via("leads", NATS, echo)
    return links.link("leads", NATS)


async def test_a_sound_link_carries_everything_both_ways(link: Link) -> None:
    one = await speaker(link)
    assert await one.say(b"short") == b"short"
    assert (link.begun, link.under_way) == (1, 0)
    assert await one.say(LONG) == LONG
    begun = link.begun
    one.writer.close()
    async with asyncio.timeout(5):
        while link.connections:
            await asyncio.sleep(0.01)
    assert link.begun == begun


async def test_a_delay_is_one_of_200_ms_a_round_trip_and_ends(links: Links, link: Link) -> None:
    one = await speaker(link)
    with links.suffering(link, Fault.DELAY) as hits:
        for _ in range(2):
            began = time.monotonic()
            assert await one.say(b"slow") == b"slow"
            assert time.monotonic() - began >= 0.199  # a loop wakes up to a tick of its clock early
    assert (hits.under_way, hits.begun) == (0, 2)
    one.writer.write(b"before")  # what is on its way stays before what comes after
    assert await one.say(LONG) == (b"before" + LONG)[: len(LONG)]


async def test_through_a_blackhole_nothing_passes_until_it_ends(links: Links, link: Link) -> None:
    one = await speaker(link)
    assert await one.say(b"here") == b"here"
    with links.suffering(link, Fault.BLACKHOLE):
        with pytest.raises(TimeoutError):
            await one.say(b"gone", within=0.3)
        other = await speaker(link)  # nobody is refused
        with pytest.raises(TimeoutError):
            await other.say(b"gone", within=0.3)
    async with asyncio.timeout(5):
        assert await one.reader.readexactly(4) == await other.reader.readexactly(4) == b"gone"
    assert await one.say(LONG) == LONG


async def test_what_comes_after_the_other_end_has_gone_is_lost_in_silence(
    links: Links, link: Link, caplog: pytest.LogCaptureFixture
) -> None:
    gone = asyncio.Event()

    async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.transport.abort()
        gone.set()

    async with await asyncio.start_server(leave, "127.0.0.1", 0) as server:
        link.target = "127.0.0.1:" + str(server.sockets[0].getsockname()[1])
        with links.suffering(link, Fault.SLICES):
            one = await speaker(link)
            one.writer.write(LONG)
            async with asyncio.timeout(10):
                await gone.wait()
                while link.connections:
                    await asyncio.sleep(0.01)
    assert "Exception in callback" not in caplog.text


async def test_who_is_under_way_when_a_fault_comes_counts_as_hit(links: Links, link: Link) -> None:
    one = await speaker(link)
    links.begin(link, Fault.DELAY)
    asked = asyncio.create_task(one.say(b"slow"))
    async with asyncio.timeout(5):
        while not link.under_way:
            await asyncio.sleep(0.005)
    with (
        links.suffering(link, Fault.RESET) as hits,
        pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)),
    ):
        await asked
    assert hits.under_way == 1


async def test_a_forgotten_connection_stays_silent_and_new_ones_pass(links: Links, link: Link) -> None:
    one = await speaker(link)
    assert await one.say(b"here") == b"here"
    with links.suffering(link, Fault.FORGOTTEN):
        assert await (await speaker(link)).say(b"new") == b"new"
        with pytest.raises(TimeoutError):
            await one.say(b"gone", within=0.2)
    with pytest.raises(TimeoutError):
        await one.say(b"gone", within=0.2)
    assert await (await speaker(link)).say(b"new") == b"new"


async def test_a_reset_is_no_orderly_end_and_new_connections_pass(links: Links, link: Link) -> None:
    one = await speaker(link)
    assert await one.say(b"here") == b"here"
    links.begin(link, Fault.RESET)
    with pytest.raises(ConnectionResetError):
        async with asyncio.timeout(5):
            await one.reader.read(1)
    assert await (await speaker(link)).say(b"new") == b"new"


async def test_slices_are_small_and_lose_nothing(links: Links, link: Link) -> None:
    one = await speaker(link)
    part = LONG[:4000]
    with links.suffering(link, Fault.SLICES):
        one.writer.write(part)
        seen: list[int] = []
        async with asyncio.timeout(20):
            while sum(seen) < len(part):
                piece = await one.reader.read(65536)
                assert piece == part[sum(seen) : sum(seen) + len(piece)]
                seen.append(len(piece))
    assert len(seen) > 20
    assert await one.say(LONG) == LONG


async def test_a_link_leads_elsewhere_when_it_is_told_to(links: Links, link: Link) -> None:
    old = await speaker(link)
    assert await old.say(b"old") == b"old"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"another")

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        link.target = "127.0.0.1:" + str(server.sockets[0].getsockname()[1])
        new = await speaker(link)
        new.writer.write(b"?")
        async with asyncio.timeout(5):
            assert await new.reader.readexactly(7) == b"another"
        assert await old.say(b"old") == b"old"


async def test_calls_are_counted_one_by_one(links: Links) -> None:
    """gRPC puts many calls on one connection: which are under way can be read from the heads of its frames."""
    go_on = asyncio.Event()

    async def wait(request: bytes, context: object) -> bytes:
        await go_on.wait()
        return request

    server = grpc.aio.server()
    rpc: Any = grpc  # untyped bytes are not what its stubs expect
    method = rpc.unary_unary_rpc_method_handler(wait)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("a.B", {"C": method}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    links.via("gateway", "leads", f"127.0.0.1:{port}")
    link = links.link("gateway", "leads")
    try:
        async with rpc.aio.insecure_channel(link.address) as channel:
            ask = channel.unary_unary("/a.B/C")
            calls = [asyncio.ensure_future(ask(LONG)) for _ in range(3)]
            given_up = ask(b"", timeout=0.2)
            with pytest.raises(grpc.aio.AioRpcError):
                await given_up
            async with asyncio.timeout(5):
                while link.under_way != 3:
                    await asyncio.sleep(0.01)
            go_on.set()
            assert await asyncio.gather(*calls) == [LONG] * 3
            assert (link.begun, link.under_way) == (4, 0)
    finally:
        await server.stop(None)


def test_frames_that_come_in_pieces_are_counted_once() -> None:
    def frame(kind: int, flags: int, stream: int, size: int) -> bytes:
        return size.to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + b"x" * size

    calls = Calls()
    for byte in b"p" * 24 + frame(4, 0, 0, 6) + frame(1, 4, 1, 30) + frame(0, 1, 1, 500) + frame(1, 4, 3, 9):
        calls.passed(bytes((byte,)), asked=True)
    assert (calls.begun, calls.open) == (2, {1, 3})
    for byte in frame(1, 4, 1, 20) + frame(0, 0, 1, 77) + frame(1, 5, 1, 8) + frame(3, 0, 3, 4):
        calls.passed(bytes((byte,)), asked=False)
    assert (calls.begun, calls.under_way) == (2, 0)


def test_links_between_services_are_read_from_the_services_and_each_has_an_errand() -> None:
    found = {(member.domain, peer) for member in MEMBERS for peer in peers(member.module)}
    found = {(origin, peer) for origin, peer in found if origin != peer}
    assert {("leads", "customers"), ("leads", "sales"), ("customers", "identity")} <= found
    assert found == ERRANDS.keys()
