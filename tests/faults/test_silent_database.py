"""A database behind a link that goes silent: whoever is let go is let go in time, and no connection is lost for ever."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import pytest
from sqlalchemy import text

import chassis.database
from chassis.database import Database
from chassis.errors import Problem
from chassis.events.event import Catalog
from chassis.principal import Principal
from proof.links import POSTGRES, Fault, Links

WHO = Principal(tenant_id=uuid4(), tenant="silent", person_id=uuid4())
Ask = Callable[[Database], Awaitable[int]]
DEADLINE = 0.5
LEFT = 4.0
"""Seconds by which a call that was let go is over; SQLAlchemy gives a connection two to end, the pool of reads one and a half."""


@pytest.fixture
def links() -> Iterator[Links]:
    """A network of its own."""
    with Links() as made:
        yield made


def _database(url: str, links: Links) -> Database:
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    address = links.via("leads", POSTGRES, host)
    return Database(
        urlunsplit(parts._replace(netloc=f"{user}@{address}")),
        Catalog("leads", {}),
        pool_size=2,
        acquire_timeout=1.5,
    )


async def _write(database: Database) -> int:
    async with database.transaction(WHO) as tx:
        return int((await tx.session.execute(text("SELECT 1"))).scalar_one())


async def _read(database: Database) -> int:
    return int((await database.read(WHO, "SELECT 1 AS one"))[0]["one"])


async def _commit_in_silence(database: Database, links: Links) -> None:
    async with database.transaction(WHO) as tx:
        await tx.session.execute(text("SELECT txid_current()"))
        await asyncio.to_thread(links.begin, links.link("leads", POSTGRES), Fault.FORGOTTEN)


async def _both(database: Database, ask: Ask) -> bool:
    """Whether two at once are answered in time, which takes both connections."""
    try:
        async with asyncio.timeout(DEADLINE * 2):
            await asyncio.gather(ask(database), ask(database))
            return True
    except (TimeoutError, Problem):
        return False


@pytest.mark.parametrize(("fault", "ask"), [(Fault.BLACKHOLE, _write), (Fault.BLACKHOLE, _read)])
async def test_a_call_is_over_soon_after_its_deadline_and_the_pool_is_whole_again(
    postgres_url: str, links: Links, fault: Fault, ask: Ask
) -> None:
    database = _database(postgres_url, links)
    link = links.link("leads", POSTGRES)
    try:
        assert await asyncio.gather(ask(database), ask(database)) == [1, 1]
        await asyncio.to_thread(links.begin, link, fault)
        let_go = 0
        for _ in range(3):  # one more than there are connections
            began = time.monotonic()
            try:
                async with asyncio.timeout(DEADLINE):
                    await ask(database)
            except (TimeoutError, Problem):
                let_go += 1
            assert time.monotonic() - began < LEFT
        assert let_go > 0, "the fault has hit nothing"
        await asyncio.to_thread(links.end, link)
        # A forgotten connection that nobody has used since costs one more call its deadline.
        assert any([await _both(database, ask) for _ in range(3)])
        assert await _both(database, ask)
    finally:
        links.end(link)
        await database.close()


async def test_a_commit_that_is_not_answered_is_given_up(postgres_url: str, links: Links) -> None:
    database = _database(postgres_url, links)
    try:
        began = time.monotonic()
        with pytest.raises((TimeoutError, Problem)):
            async with asyncio.timeout(DEADLINE):
                await _commit_in_silence(database, links)
        assert time.monotonic() - began < LEFT
        links.end(links.link("leads", POSTGRES))
        assert await _write(database) == 1
    finally:
        await database.close()


async def test_work_without_a_deadline_does_not_wait_for_ever(
    postgres_url: str, links: Links, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A consumer's transaction has no caller whose time runs out."""
    monkeypatch.setattr(chassis.database, "SILENCE", 1.0)
    database = _database(postgres_url, links)
    link = links.link("leads", POSTGRES)
    try:
        assert await _write(database) == 1
        await asyncio.to_thread(links.begin, link, Fault.FORGOTTEN)
        await asyncio.to_thread(links.end, link)
        with pytest.raises(Problem):
            async with asyncio.timeout(1.0 + LEFT):
                await _write(database)
        assert await _write(database) == 1
    finally:
        await database.close()
