"""What each user of the broker may do, and that an acknowledged message outlives a kill."""

import asyncio
import json
import socket
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import nats
import pytest
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.errors import TimeoutError as NatsTimeout
from nats.js.api import AckPolicy, ConsumerConfig, StreamConfig

from kehu_local import erp
from kehu_local.composition import MEMBERS
from kehu_local.nats import ADMIN, Nats, admin, erp_user, gateway_user, inbox, service_user

LEADS, SALES = "leads", "sales"


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nats]:
    folder = tmp_path_factory.mktemp("broker")
    users = [admin("secret"), gateway_user("secret"), *(service_user(member, "secret") for member in MEMBERS)]
    server = Nats(folder / "nats", [*users, erp_user("acme", "secret")], folder / "nats.log")
    server.start()
    asyncio.run(prepared(server))
    yield server
    server.kill()


async def prepared(server: Nats) -> None:
    """The stream of sales as the service makes it, an order of each of two tenants in it, and the way in for an ERP."""
    async with connected(server, SALES) as client:
        js = client.jetstream(timeout=2)
        await js.add_stream(StreamConfig(name="SALES", subjects=["kehu.*.sales.>"]))
        await js.publish("kehu.acme.sales.order.placed", b"acme")
        await js.publish("kehu.other.sales.order.placed", b"other")
        await js.publish("kehu.acme.sales.opportunity.won", b"no order")
    await erp.open_to(server, "acme")


@asynccontextmanager
async def connected(server: Nats, user: str) -> AsyncGenerator[Client]:
    """A connection as that user, whose refusals are told and not raised."""

    async def refused(_: Exception) -> None:
        """Asserted on by what does not happen."""

    client = await nats.connect(server.url_for(user), inbox_prefix=inbox(user).encode(), error_cb=refused)
    try:
        yield client
    finally:
        await client.close()


def refusal(server: Nats, user: str, subject: str, *, subscribe: bool = False) -> str:
    """What the broker says to that user about that subject; empty when it lets them.

    Spoken in the broker's own language, where a refusal stands before the answer to the next ping.
    """
    sign_in = json.dumps({"user": user, "pass": "secret", "verbose": False, "pedantic": False})
    asked = f"SUB {subject} 1" if subscribe else f"PUB {subject} 2\r\n{{}}"
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(f"CONNECT {sign_in}\r\n{asked}\r\nPING\r\n".encode())
        said = b""
        while b"PONG" not in said:
            said += connection.recv(4096)
    return " ".join(line for line in said.decode().splitlines() if line.startswith("-ERR")).lower()


def test_each_service_publishes_in_its_own_domain_only(broker: Nats) -> None:
    for member in MEMBERS:
        assert refusal(broker, member.domain, f"kehu.acme.{member.domain}.thing.made") == ""
        for other in MEMBERS:
            if other is not member:
                assert "permissions violation" in refusal(
                    broker, member.domain, f"kehu.acme.{other.domain}.thing.made"
                )


@pytest.mark.parametrize(
    "subject",
    [
        "$JS.API.STREAM.DELETE.LEADS",
        "$JS.API.STREAM.PURGE.LEADS",
        "$JS.API.STREAM.UPDATE.SALES",
        "$JS.API.STREAM.MSG.GET.SALES",
        "$JS.API.CONSUMER.CREATE.SALES.marketing",
        "$JS.API.CONSUMER.DELETE.SALES.marketing",
        "$JS.API.CONSUMER.MSG.NEXT.SALES.marketing",
        "$JS.ACK.SALES.marketing.1.1.1.1.1",
        "$SYS.REQ.SERVER.PING",
    ],
)
def test_a_service_has_no_hand_in_what_is_not_its_own(broker: Nats, subject: str) -> None:
    assert "permissions violation" in refusal(broker, LEADS, subject)


@pytest.mark.parametrize("subject", ["kehu.>", "_INBOX.>", "_INBOX_sales.>", "$JS.ACK.>", ">"])
def test_a_service_hears_its_own_answers_only(broker: Nats, subject: str) -> None:
    assert "permissions violation" in refusal(broker, LEADS, subject, subscribe=True)


async def test_a_service_reads_the_events_of_others_through_its_own_consumer(broker: Nats) -> None:
    async with connected(broker, LEADS) as client:
        js = client.jetstream(timeout=2)
        await js.add_consumer("SALES", ConsumerConfig(durable_name=LEADS, ack_policy=AckPolicy.EXPLICIT))
        pull = await js.pull_subscribe_bind(durable=LEADS, stream="SALES")
        first = (await pull.fetch(1, timeout=2))[0]
        await first.ack_sync()
        assert first.data == b"acme"


def test_the_gateway_hears_all_and_says_nothing(broker: Nats) -> None:
    assert refusal(broker, "gateway", "kehu.>", subscribe=True) == ""
    for subject in (
        "kehu.acme.sales.order.placed",
        "$JS.API.STREAM.DELETE.SALES",
        "$JS.API.CONSUMER.CREATE.SALES.x",
    ):
        assert "permissions violation" in refusal(broker, "gateway", subject)


async def test_an_erp_reads_the_orders_of_its_tenant_and_nothing_else(broker: Nats) -> None:
    async with connected(broker, "erp-acme") as client:
        js = client.jetstream(timeout=2)
        pull = await js.pull_subscribe_bind(durable="erp-acme", stream="SALES")
        messages = await pull.fetch(10, timeout=1)
        assert [message.data for message in messages] == [b"acme"]
        await messages[0].ack_sync()
        with pytest.raises(NatsTimeout):
            await pull.fetch(1, timeout=0.3)


@pytest.mark.parametrize(
    "subject",
    [
        "kehu.acme.sales.order.placed",
        "$JS.API.CONSUMER.CREATE.SALES.erp-acme",
        "$JS.API.CONSUMER.CREATE.SALES.erp-acme.kehu.other.sales.order.>",
        "$JS.API.CONSUMER.DURABLE.CREATE.SALES.erp-acme",
        "$JS.API.CONSUMER.MSG.NEXT.SALES.leads",
        "$JS.API.STREAM.MSG.GET.SALES",
    ],
)
def test_an_erp_may_ask_for_nothing_else(broker: Nats, subject: str) -> None:
    assert "permissions violation" in refusal(broker, "erp-acme", subject)


async def test_nobody_comes_in_without_a_password(broker: Nats) -> None:
    with pytest.raises(NatsError):
        await nats.connect(broker.url, allow_reconnect=False)
    with pytest.raises(NatsError):
        await nats.connect(broker.url, user=ADMIN, password="wrong", allow_reconnect=False)


async def test_one_more_user_comes_in_without_a_restart(broker: Nats) -> None:
    pid = broker.pid
    async with connected(broker, LEADS) as staying:
        await asyncio.to_thread(broker.allow, erp_user("late", "secret"))
        await erp.open_to(broker, "late")
        async with connected(broker, "erp-late") as client:
            info = await client.jetstream(timeout=2).consumer_info("SALES", "erp-late")
            assert info.config.filter_subject == "kehu.late.sales.order.>"
        assert staying.is_connected
    assert broker.pid == pid


async def test_what_was_acknowledged_outlives_a_kill(tmp_path: Path) -> None:
    server = Nats(tmp_path / "nats", [admin("secret")], tmp_path / "nats.log")
    server.start()
    port = server.port
    try:
        async with connected(server, ADMIN) as client:
            js = client.jetstream(timeout=2)
            await js.add_stream(StreamConfig(name="LEADS", subjects=["kehu.*.leads.>"]))
            for _ in range(50):
                await js.publish("kehu.acme.leads.lead.created", b"{}")
            server.kill()
        assert not server.alive
        server.start()
        assert server.port == port
        async with connected(server, ADMIN) as client:
            assert (await client.jetstream(timeout=2).stream_info("LEADS")).state.messages == 50
    finally:
        server.kill()


def test_each_message_is_flushed_and_only_the_loopback_interface_listens(broker: Nats) -> None:
    from chassis.events.streams import flushes_each_message

    assert flushes_each_message(broker.monitor_url)
    configuration = (broker.folder / "nats.conf").read_text()
    assert "0.0.0.0" not in configuration
    assert (broker.folder / "nats.conf").stat().st_mode & 0o077 == 0
