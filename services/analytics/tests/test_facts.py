"""What events do to facts: once, in the order of versions, and again from the beginning when asked to."""

from datetime import date
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from kehu.analytics.v1 import report_service_pb2 as pb
from kehu.leads.v1 import events_pb2 as leads
from kehu.leads.v1 import lead_pb2
from kehu.sales.v1 import events_pb2 as sales
from kehu.sales.v1 import opportunity_pb2, order_pb2
from kehu.servicedesk.v1 import events_pb2 as servicedesk
from kehu.servicedesk.v1 import ticket_pb2

from analytics import facts
from analytics.listens import SUBSCRIPTIONS
from analytics.rebuild import StreamsIncomplete, begin_anew, read_all, rebuild
from analytics.service import SERVICE
from analytics.testing import (
    MARCH,
    House,
    boss_of_a_new_tenant,
    cents,
    lead,
    line,
    opportunity,
    order,
    owned,
    ticket,
)
from chassis import wire
from chassis.events import dead_letters
from chassis.events.streams import stream_of
from chassis.ids import new_id
from chassis.principal import Principal
from chassis.service import Running
from chassis.testing import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")
NEW, QUALIFIED = lead_pb2.LEAD_STATUS_NEW, lead_pb2.LEAD_STATUS_QUALIFIED


async def rows_of(house: House, who: Principal) -> dict[str, list[tuple[Any, ...]]]:
    """All facts of the tenant."""
    database = house.service.running.database
    return {
        fact.table: [
            tuple(row) for row in await database.read(who, f"SELECT * FROM {fact.table} ORDER BY id")
        ]
        for fact in facts.FACTS
    }


async def open_amounts(house: House, who: Principal) -> list[int]:
    report = await house.ask(who, "GetPipelineFunnel", pb.GetPipelineFunnelRequest(), pb.PipelineFunnel)
    return [money.units for money in report.total.open_amounts]


async def test_late_and_repeated_events_change_nothing(house: House) -> None:
    boss = boss_of_a_new_tenant()
    id, stage = str(new_id()), (str(new_id()), "First", 1)

    def at(units: int) -> sales.OpportunityUpdated:
        snapshot = opportunity(opportunity_pb2.OPPORTUNITY_STATUS_OPEN, cents(units * 100), stage=stage)
        return sales.OpportunityUpdated(opportunity_id=id, opportunity=snapshot)

    earlier, later = new_id(), new_id()
    third = await house.tell(boss, at(30), id, 3)
    for event_id in (third, new_id()):  # the same event, and the same news in another
        await house.tell(boss, at(30), id, 3, event_id=event_id)
    await house.tell(boss, at(10), id, 1)
    await house.tell(boss, at(20), id, 2)
    await house.caught_up(boss)
    assert await open_amounts(house, boss) == [30]

    # Two events of one change: the one that was recorded later holds, whichever comes first.
    await house.tell(boss, at(42), id, 4, event_id=later)
    await house.tell(boss, at(41), id, 4, event_id=earlier)
    await house.caught_up(boss)
    assert await open_amounts(house, boss) == [42]

    gone = sales.OpportunityDeleted(opportunity_id=id, opportunity=at(42).opportunity)
    await house.tell(boss, gone, id, 6)
    await house.tell(boss, at(50), id, 5)
    await house.caught_up(boss)
    assert await open_amounts(house, boss) == []


async def test_an_event_that_cannot_be_applied_is_mended_and_replayed(house: House) -> None:
    boss = boss_of_a_new_tenant()
    settings = house.service.running.settings
    id, other = str(new_id()), str(new_id())
    good = leads.LeadQualified(lead_id=id, lead=lead(QUALIFIED, qualified=True), **owned(boss.person_id))
    created = leads.LeadCreated(lead_id=id, lead=lead(NEW), **owned(boss.person_id))
    await house.tell(boss, created, id, 1)
    spoilt = wire.to_json(good).replace(str(boss.person_id).encode(), b"nobody")
    event_id = await house.tell(boss, good, id, 2, data=spoilt)
    await house.tell(boss, leads.LeadCreated(lead_id=other, lead=lead(NEW)), other, 1)
    await house.caught_up(boss)

    async def qualified() -> tuple[int, int]:
        report = await house.ask(boss, "GetLeadsBySource", pb.GetLeadsBySourceRequest(), pb.LeadsBySource)
        return report.total.lead_count, report.total.qualified_count

    assert await qualified() == (2, 0)  # the flow went on without it
    letters = [
        letter for letter in await dead_letters.listed(settings) if letter["tenant_id"] == boss.tenant_id
    ]
    assert [letter["subject"] for letter in letters] == [f"kehu.{boss.tenant}.leads.lead.qualified"]
    assert "the snapshot is not readable" in letters[0]["reason"]
    letter_id: UUID = letters[0]["id"]

    connection: Any = await asyncpg.connect(settings.relay_database_url.get_secret_value())
    try:
        await connection.execute(
            "UPDATE dead_letters SET data = $2 WHERE id = $1", letter_id, wire.to_json(good)
        )
    finally:
        await connection.close()
    running = house.service.running
    replay = (settings, running.database, SERVICE.name, SERVICE.subscriptions)
    assert await dead_letters.replay(*replay, letter_id)
    assert await qualified() == (2, 1)
    left = [letter for letter in await dead_letters.listed(settings) if letter["id"] == letter_id]
    assert left == []
    await house.tell(boss, good, id, 2, event_id=event_id)
    await house.caught_up(boss)
    assert await qualified() == (2, 1)


UNCOUNTED = {
    "LeadAccepted",
    "LeadReclaimWarned",
    "LeadCadenceStarted",
    "LeadCadenceStopped",
    "LeadContactDue",
    "LeadCaptured",
    "LeadMerged",
    "LeadUnmerged",
}
"""What happens to a lead and changes neither its owner nor its status."""


async def test_whatever_changes_a_lead_is_heard(house: House) -> None:
    of_leads = {
        name for name, message in leads.DESCRIPTOR.message_types_by_name.items() if "lead" in message.fields_by_name
    }  # fmt: skip
    heard = {one.message.DESCRIPTOR.name for one in SUBSCRIPTIONS if one.domain == "leads"}
    assert of_leads - heard == UNCOUNTED
    boss = boss_of_a_new_tenant()
    id = str(new_id())
    told = leads.LeadCreated(lead_id=id, lead=lead(NEW), **owned(boss.person_id))
    await house.tell(boss, told, id, 1)
    reached = lead(lead_pb2.LEAD_STATUS_CONTACTED, contacted=True)
    await house.tell(boss, leads.LeadCadenceStepReported(lead_id=id, lead=reached), id, 2)
    await house.caught_up(boss)
    report = await house.ask(boss, "GetLeadsBySource", pb.GetLeadsBySourceRequest(), pb.LeadsBySource)
    assert (report.total.lead_count, report.total.contacted_count) == (1, 1)


async def _tell_a_story(house: House, boss: Principal) -> str:
    """Something of every kind of fact that reports read. Returns the id of the lead."""
    id, deal, bought, asked = (str(new_id()) for _ in range(4))
    owner = owned(boss.person_id)
    stage = (str(new_id()), "First", 1)
    won = opportunity(
        opportunity_pb2.OPPORTUNITY_STATUS_WON, cents(12_34), stage=stage, lead_id=id, closed=date(2026, 3, 9)
    )
    lines = [line(str(new_id()), "Pump", "2", 24_68, 3_21)]
    placed = order(order_pb2.ORDER_STATUS_PLACED, lines)
    for version, snapshot in ((2, lead(QUALIFIED, qualified=True)), (1, lead(NEW))):
        await house.tell(boss, leads.LeadUpdated(lead_id=id, lead=snapshot, **owner), id, version)
    await house.tell(boss, sales.OpportunityWon(opportunity_id=deal, opportunity=won, **owner), deal, 3)
    await house.tell(boss, sales.OrderPlaced(order_id=bought, order=placed, **owner), bought, 2)
    closed = ticket(ticket_pb2.TICKET_STATUS_CLOSED, MARCH, closed=MARCH)
    await house.tell(boss, servicedesk.TicketClosed(ticket_id=asked, ticket=closed, **owner), asked, 4)
    await house.caught_up(boss)
    return id


async def _invent(house: House, boss: Principal, id: str) -> UUID:
    """A fact that no event has told, and a lie about one that was told. Returns the id of the first."""
    running = house.service.running
    invented = new_id()
    async with running.database.transaction(boss) as tx:
        connection = await tx.session.connection()
        await connection.exec_driver_sql(
            "INSERT INTO teams (tenant_id, id, version, event_id, deleted, name) VALUES ($1, $2, 1, $2, false, 'Ghosts')",
            (boss.tenant_id, invented),
        )
        await connection.exec_driver_sql("UPDATE leads SET source = 'A lie' WHERE id = $1", (UUID(id),))
    return invented


async def test_facts_rebuilt_from_the_streams_are_the_same(house: House) -> None:
    boss, neighbour = boss_of_a_new_tenant(), boss_of_a_new_tenant()
    id = await _tell_a_story(house, boss)
    await _tell_a_story(house, neighbour)
    before, reports = await rows_of(house, boss), await house.reports(boss)
    beside = await rows_of(house, neighbour)
    assert all(before[table] for table in ("leads", "opportunities", "orders", "tickets"))
    await _invent(house, boss, id)
    assert await rows_of(house, boss) != before

    command = Running(SERVICE, house.service.running.settings)
    try:
        await rebuild(command, [])
    finally:
        await command.clients.close()
        await command.database.close()
    assert await rows_of(house, boss) == before
    assert await rows_of(house, neighbour) == beside
    assert await house.reports(boss) == reports

    # The running service reads on from there.
    last = str(new_id())
    await house.tell(boss, leads.LeadCreated(lead_id=last, lead=lead(NEW)), last)

    async def counted() -> bool:
        return len((await rows_of(house, boss))["leads"]) == 2

    await eventually(counted, 60)


async def test_facts_that_the_streams_no_longer_tell_are_not_thrown_away(house: House) -> None:
    boss = boss_of_a_new_tenant()
    id = await _tell_a_story(house, boss)
    before = await rows_of(house, boss)
    invented = await _invent(house, boss, id)
    running = house.service.running
    stream = stream_of("identity")
    await house.bus.publish(f"kehu.{boss.tenant}.identity.something.else", b"{}")
    await house.bus.purge_stream(stream)
    with pytest.raises(StreamsIncomplete, match=stream):
        await begin_anew(running.settings, SERVICE.name)
    assert await rows_of(house, boss) != before

    await begin_anew(running.settings, SERVICE.name, keep=True)
    await read_all(running)
    after = await rows_of(house, boss)
    assert [row[1] for row in after.pop("teams")] == [invented]
    assert after == {table: rows for table, rows in before.items() if table != "teams"}
