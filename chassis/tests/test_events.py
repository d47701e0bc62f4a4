"""Events on their way into a service, over a real broker: once, in order, together, and none lost to a bad one among them."""

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import nats
import pytest
from kehu.customers.v1 import events_pb2 as customers
from nats.js import JetStreamContext
from sqlalchemy import text

from chassis import wire
from chassis.database import Transaction
from chassis.events import dead_letters, streams, subscriptions
from chassis.events.event import Envelope
from chassis.events.subscriptions import Subscriptions
from chassis.ids import new_id
from chassis.principal import Principal
from chassis.service import Service
from chassis.testing import DatabaseUrls, Harness, Keys, eventually, running_service, somebody

_MIGRATION = '''
from alembic import op
from chassis.schema import install_chassis_tables, protect

revision, down_revision = "0001", None


def upgrade() -> None:
    install_chassis_tables()
    op.execute("""CREATE TABLE heard (tenant_id uuid NOT NULL, place bigint GENERATED ALWAYS AS IDENTITY,
        contact_id uuid NOT NULL, xact bigint NOT NULL, PRIMARY KEY (tenant_id, place))""")
    protect("heard")
'''
_HEAR = text(
    "INSERT INTO heard (tenant_id, contact_id, xact) VALUES (:tenant, :contact, CAST(txid_current() AS bigint))"
)
BAD: set[str] = set()
"""Contacts whose events no handler can bear."""
IDLE: set[str] = set()
"""Contacts that mean nothing to the service."""
SUBSCRIPTIONS = Subscriptions()


@SUBSCRIPTIONS.on(customers.ContactDeleted, when=lambda event: event.contact_id not in IDLE)
async def contact_deleted(event: customers.ContactDeleted, tx: Transaction, envelope: Envelope) -> None:
    await tx.session.execute(_HEAR, {"tenant": tx.who.tenant_id, "contact": UUID(event.contact_id)})
    if event.contact_id in BAD:
        raise RuntimeError("cannot bear it")


@dataclass
class House:
    service: Harness
    bus: JetStreamContext
    who: Principal

    async def tell(
        self, id: str, *, event_id: UUID | None = None, data: bytes | None = None, person: str = ""
    ) -> UUID:
        """Publishes that a contact is gone, by `person`."""
        event_id = event_id or new_id()
        headers = {
            "ce-id": str(event_id),
            "ce-type": "kehu.customers.v1.ContactDeleted",
            "ce-source": "customers",
            "ce-subject": id,
            "ce-time": "2026-11-24T00:00:00+00:00",
            "ce-tenant": self.who.tenant,
            "ce-tenantid": str(self.who.tenant_id),
            "kehu-version": "1",
            **({"kehu-person": person} if person else {}),
        }
        body = wire.to_json(customers.ContactDeleted(contact_id=id)) if data is None else data
        await self.bus.publish(f"kehu.{self.who.tenant}.customers.contact.deleted", body, headers=headers)
        return event_id

    async def heard(self) -> list[Any]:
        sql = "SELECT contact_id::text AS id, xact FROM heard ORDER BY place"
        return await self.service.running.database.read(self.who, sql)

    async def letters(self) -> list[dict[str, Any]]:
        found = await dead_letters.listed(self.service.running.settings)
        return [one for one in found if one["tenant_id"] == self.who.tenant_id]


@pytest.fixture
async def house(
    service_database: Callable[..., DatabaseUrls], nats_url: str, tmp_path: Path
) -> AsyncGenerator[House]:
    versions = tmp_path / "package" / "migrations" / "versions"
    versions.mkdir(parents=True)
    (versions / "0001_first.py").write_text(_MIGRATION)
    service = Service(name="leads", faces=[], migrations=versions.parent, subscriptions=SUBSCRIPTIONS)
    client = await nats.connect(nats_url)
    try:
        await streams.ensure_stream(client.jetstream(), "customers", 1)
        async with running_service(
            service, service_database("leads", empty=True), nats_url, Keys(tmp_path)
        ) as harness:
            yield House(harness, client.jetstream(), somebody(f"t-{uuid4().hex[:12]}"))
    finally:
        await client.close()


async def test_events_take_effect_once_in_order_and_together(house: House) -> None:
    ids = [str(uuid4()) for _ in range(300)]
    told = [await house.tell(id) for id in ids]
    for id, event_id in zip(ids[:50], told[:50], strict=True):  # the relay died after publishing
        await house.tell(id, event_id=event_id)
    last = str(uuid4())
    # By a sender of a newer version, whose events say more.
    await house.tell(last, data=b'{"contactId": "%b", "added": {"since": 2}}' % last.encode())

    async def all_heard() -> bool:
        return any(row["id"] == last for row in await house.heard())

    await eventually(all_heard)
    rows = await house.heard()
    assert [row["id"] for row in rows] == [*ids, last]
    assert len({row["xact"] for row in rows}) < 150


async def test_one_that_cannot_be_borne_costs_nothing_else(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriptions, "_DELAYS", (0.01,))
    ids = [str(uuid4()) for _ in range(30)]
    bad, unreadable = ids[7], str(uuid4())
    BAD.add(bad)
    for id in ids[:20]:
        await house.tell(id)
    await house.tell(unreadable, data=b'{"contactId": 7}')
    for id in ids[20:]:
        await house.tell(id)

    async def buried() -> bool:
        return len(await house.letters()) == 2

    await eventually(buried)
    assert sorted(row["id"] for row in await house.heard()) == sorted(set(ids) - {bad})
    letters = {one["reason"].split(":")[0]: one for one in await house.letters()}
    assert letters.keys() == {"RuntimeError", "the event does not fit its contract"}

    # The handler is mended: the letter is replayed, once.
    BAD.discard(bad)
    running = house.service.running
    letter = letters["RuntimeError"]["id"]
    assert await dead_letters.replay(running.settings, running.database, "leads", SUBSCRIPTIONS, letter)
    assert [row["id"] for row in await house.heard()].count(bad) == 1
    assert [one["reason"].split(":")[0] for one in await house.letters()] == [
        "the event does not fit its contract"
    ]


async def test_what_different_people_cause_keeps_its_order_and_its_author(house: House) -> None:
    ids = [str(uuid4()) for _ in range(20)]
    people = [str(uuid4()), str(uuid4())]
    for number, id in enumerate(ids):
        await house.tell(id, person=people[number % 2])

    async def all_heard() -> bool:
        return len(await house.heard()) == len(ids)

    await eventually(all_heard)
    rows = await house.heard()
    assert [row["id"] for row in rows] == ids
    assert len({row["xact"] for row in rows}) == len(ids)


async def test_events_that_mean_nothing_leave_no_mark(house: House) -> None:
    idle, last = [str(uuid4()) for _ in range(5)], str(uuid4())
    IDLE.update(idle)
    for id in idle:
        await house.tell(id, person=str(uuid4()))  # each is taken by itself
    for id in idle:
        await house.tell(id)
    told = await house.tell(last)

    async def last_heard() -> bool:
        return bool(await house.heard())

    await eventually(last_heard)
    assert [row["id"] for row in await house.heard()] == [last]
    marks = await house.service.running.database.read(house.who, "SELECT event_id::text AS id FROM inbox")
    assert [row["id"] for row in marks] == [str(told)]
