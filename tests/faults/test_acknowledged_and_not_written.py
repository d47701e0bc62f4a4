"""A database that acknowledges before it writes loses what was acknowledged when it is killed: the checker sees it, and no
service starts on such a database.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest
from kehu.customers.v1 import customer_pb2, customer_service_pb2

from chassis.database import Database
from chassis.testing import DatabaseUrls, Harness, Keys, running_service, somebody
from customers.service import SERVICE
from kehu_local.databases import make_databases, urls_of
from kehu_local.postgres import Postgres
from proof.checkers import RecordFound, record_faults

_SECRET = "the secret of a server of its own"
_NO_BROKER = "nats://127.0.0.1:1"
_WRITES = 20


@pytest.fixture
def server(open_folder: Path) -> Iterator[Postgres]:
    """A PostgreSQL for one test alone, not started."""
    folder = open_folder / f"postgres-{uuid4().hex[:8]}"
    made = Postgres(folder, "not secret", folder.with_suffix(".log"))
    yield made
    made.kill()


async def urls(server: Postgres) -> DatabaseUrls:
    await make_databases(server.url, ["customers"], _SECRET)
    found = urls_of(server.url, "customers", _SECRET)
    return DatabaseUrls(found.owner, found.app, found.relay)


async def told(server: Postgres, sql: str, database: str = "postgres") -> list[asyncpg.Record]:
    connection = await asyncpg.connect(server.url.rpartition("/")[0] + f"/{database}")
    try:
        return await connection.fetch(sql)
    finally:
        await connection.close()


@asynccontextmanager
async def customers(server: Postgres, keys: Keys) -> AsyncGenerator[Harness]:
    async with running_service(SERVICE, await urls(server), _NO_BROKER, keys) as service:
        yield service


@pytest.mark.parametrize("commits", ["on", "off"])
async def test_what_was_acknowledged_and_not_written_is_missed(
    commits: str, server: Postgres, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def trusted(_: Database) -> str:
        return ""

    monkeypatch.setattr(Database, "lax", trusted)  # a service that asks for nothing
    # Nobody else writes out what waits to be written, for as long as the test takes.
    server.settings = {"synchronous_commit": commits, "wal_writer_delay": "10s"}
    server.start()
    acknowledged: dict[str, tuple[str, str, int]] = {}
    who = somebody()
    async with customers(server, keys) as service:
        await told(server, "CHECKPOINT")  # the tables themselves are written
        for number in range(_WRITES):
            customer = customer_pb2.Customer(display_name=f"load {number} 1")
            request = customer_service_pb2.CreateCustomerRequest(customer=customer)
            path = "kehu.customers.v1.CustomerService/CreateCustomer"
            made = await service.ask(who, path, request, customer_pb2.Customer)
            acknowledged[str(number)] = (made.id, made.display_name, 1)
        server.kill()
        await asyncio.to_thread(server.start)
    rows = await told(server, "SELECT id, display_name AS text, version FROM customers", "kehu_customers")
    there = [RecordFound(str(row["id"]), row["text"].split()[1], row["text"], row["version"]) for row in rows]
    lost, doubled = record_faults(acknowledged, there)
    assert doubled == []
    if commits == "on":
        assert lost == []
    else:
        assert lost and "is not there" in lost[0]


async def test_no_service_starts_on_a_server_that_is_lax(server: Postgres, keys: Keys) -> None:
    server.settings = {"fsync": "off"}
    server.start()
    with pytest.raises(SystemExit, match="'fsync' is off"):
        async with customers(server, keys):
            pass


async def test_no_service_starts_as_a_role_that_is_lax(server: Postgres, keys: Keys) -> None:
    server.start()
    await urls(server)
    await told(server, "ALTER ROLE kehu_customers SET synchronous_commit = off")
    with pytest.raises(SystemExit, match="'synchronous_commit' is off"):
        async with customers(server, keys):
            pass
