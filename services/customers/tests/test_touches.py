"""When customers were contacted, bought and were served, and are to be contacted next: by events, and the same by a replay."""

import asyncio
import random
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import pytest
import pytest_asyncio
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st
from kehu.customers.v1 import customer_pb2, customer_service_pb2, merge_pb2, merge_service_pb2
from kehu.history.v1 import history_pb2
from kehu.sales.v1 import activity_pb2
from kehu.sales.v1 import events_pb2 as sales
from kehu.servicedesk.v1 import events_pb2 as desk
from kehu.valuelists.v1 import value_lists_pb2 as lists_pb
from nats.js.errors import NotFoundError
from sqlalchemy import text

from chassis import wire
from chassis.events import streams
from chassis.events.subscriptions import subject_of
from chassis.ids import new_id
from chassis.service import Running
from chassis.settings import Settings
from chassis.testing import DatabaseUrls, Harness, Keys, eventually, running_service
from customers.listens import SUBSCRIPTIONS
from customers.rebuild import rebuild_touches
from customers.service import SERVICE
from customers.testing import CUSTOMERS, Company, opportunity_event, order_event
from customers.touches import DEAL, touch
from customers.weeks import week_of

pytestmark = pytest.mark.timeout(300)
NOW = datetime.now(UTC).replace(microsecond=0)
MERGES = "kehu.customers.v1.MergeService/"
_TIMES = "last_contact_time, next_contact_time, last_deal_time, last_service_time"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(
    service_database: Callable[[str], DatabaseUrls], nats_url: str, keys: Keys
) -> AsyncGenerator[Harness]:
    client = await streams.connect(Settings(nats_url=nats_url), "told-by-tests")
    js: Any = client.jetstream(timeout=5)
    for domain in SUBSCRIPTIONS.domains:
        # Whole from their first event, whatever other tests have told.
        with suppress(NotFoundError):
            await js.delete_stream(streams.stream_of(domain))
        await streams.ensure_stream(js, domain, 1)
    async with running_service(SERVICE, service_database("customers"), nats_url, keys) as harness:
        yield harness
    await streams.close(client)


def stamp(at: datetime) -> Timestamp:
    out = Timestamp()
    out.FromDatetime(at)
    return out


def activity(kind: str, id: str, customer: str, due: datetime, done: datetime | None = None) -> Any:
    """ActivityPlanned, ActivityUpdated, ActivityCompleted, ActivityCancelled or ActivityDeleted."""
    status = "COMPLETED" if done else "CANCELLED" if kind == "ActivityCancelled" else "PLANNED"
    snapshot = sales.ActivitySnapshot(
        subject="call", customer_id=customer, due_time=stamp(due),
        status=activity_pb2.ActivityStatus.Value(f"ACTIVITY_STATUS_{status}"),
    )  # fmt: skip
    if done:
        snapshot.complete_time.CopyFrom(stamp(done))
    return getattr(sales, kind)(activity_id=id, activity=snapshot)


async def times(company: Company, customer: str) -> list[datetime | None]:
    rows = await company.service.running.database.read(
        company.who, f"SELECT {_TIMES} FROM customers WHERE id = $1::uuid", customer
    )
    return list(rows[0])


@pytest.mark.asyncio(loop_scope="module")
async def test_of_each_activity_its_newest_event_counts(company: Company) -> None:
    one, two = await company.customer(), await company.customer()
    version = await company.service.running.database.read(
        company.who, "SELECT version, updated_at FROM customers"
    )
    call, visit = str(new_id()), str(new_id())
    soon, later = NOW + timedelta(days=1), NOW + timedelta(days=9)
    await company.hear(activity("ActivityPlanned", call, one, soon))
    await company.hear(activity("ActivityPlanned", visit, one, later))
    assert await times(company, one) == [None, soon, None, None]
    # It was moved to another customer, and the event of that comes twice, and a late one behind.
    moved, event_id = activity("ActivityUpdated", call, two, soon), new_id()
    for _ in range(2):
        await company.hear(moved, 2, event_id=event_id)
    await company.hear(activity("ActivityUpdated", call, one, soon + timedelta(hours=1)), 1)
    assert (await times(company, one))[1] == later and (await times(company, two))[1] == soon
    done = NOW - timedelta(days=2)
    await company.hear(activity("ActivityCompleted", call, two, soon, done), 3)
    assert await times(company, two) == [done, None, None, None]
    await company.hear(activity("ActivityCancelled", visit, one, later), 2)
    assert await times(company, one) == [None, None, None, None]
    overdue = str(new_id())
    await company.hear(activity("ActivityPlanned", overdue, one, NOW - timedelta(days=3)))
    assert (await times(company, one))[1] == NOW - timedelta(days=3)
    await company.hear(activity("ActivityDeleted", overdue, one, NOW - timedelta(days=3)), 2)
    assert (await times(company, one))[1] is None
    after = await company.service.running.database.read(
        company.who, "SELECT version, updated_at FROM customers"
    )
    assert sorted(map(tuple, after)) == sorted(map(tuple, version)), "it is no edit"


@pytest.mark.asyncio(loop_scope="module")
async def test_orders_won_opportunities_and_tickets_touch(company: Company) -> None:
    one = await company.customer()
    await company.hear(opportunity_event("OpportunityCreated", one, str(new_id()), 100, 50), at=NOW)
    assert await times(company, one) == [None] * 4
    won = NOW - timedelta(days=3)
    await company.hear(opportunity_event("OpportunityWon", one, str(new_id()), 100, 100, "WON"), at=won)
    assert (await times(company, one))[2] == won
    await company.hear(order_event("OrderPlaced", one, str(new_id()), 100), at=NOW)
    await company.hear(order_event("OrderPlaced", one, str(new_id()), 100), at=won)
    opened = desk.TicketOpened(ticket_id=str(new_id()), ticket=desk.TicketSnapshot(customer_id=one))
    await company.hear(opened, at=NOW)
    assert (await times(company, one))[2:] == [NOW, NOW]
    # An activity with nobody, and one of a customer whom nobody knows, are nobody's fault.
    await company.hear(activity("ActivityCompleted", str(new_id()), "", NOW, NOW))
    await company.hear(activity("ActivityCompleted", str(new_id()), str(uuid4()), NOW, NOW))


async def stage(company: Company, customer: str) -> str:
    rows = await company.service.running.database.read(
        company.who, "SELECT stage FROM customers WHERE id = $1::uuid", customer
    )
    return rows[0]["stage"]


async def make(company: Company, customer: str, name: str) -> None:
    """Gives the customer that stage, as somebody at a screen does."""
    request = customer_service_pb2.UpdateCustomerRequest(
        customer=customer_pb2.Customer(id=customer, stage=customer_pb2.CustomerStage.Value(f"CUSTOMER_STAGE_{name}")),
        update_mask=FieldMask(paths=["stage"]),
    )  # fmt: skip
    await company.service.ask(company.who, CUSTOMERS + "UpdateCustomer", request, customer_pb2.Customer)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_prospect_becomes_active_by_its_first_deal(company: Company) -> None:
    customers = one, two, lost, gone, loser = [await company.customer() for _ in range(5)]
    for customer in customers:
        assert await stage(company, customer) == "PROSPECT"
    # Who had bought before anybody looked at it is none any more by the next deal.
    async with company.service.running.database.transaction(company.who) as tx:
        await touch(tx, DEAL, UUID(two), NOW - timedelta(days=90))
    await make(company, lost, "LOST")
    ordered, order_id, event_id = order_event("OrderPlaced", one, str(new_id()), 100), str(new_id()), new_id()
    for _ in range(2):
        await company.hear(ordered, at=NOW, event_id=event_id)
    won = opportunity_event("OpportunityWon", two, str(new_id()), 100, 100, "WON")
    await company.hear(won, at=NOW)
    for kind in ("OpportunityCreated", "OpportunityLost"):
        await company.hear(opportunity_event(kind, gone, str(new_id()), 100, 50), at=NOW)
    await company.hear(order_event("OrderPlaced", lost, str(new_id()), 100), at=NOW)
    assert [await stage(company, customer) for customer in customers] == [
        "ACTIVE",
        "ACTIVE",
        "LOST",
        "PROSPECT",
        "PROSPECT",
    ]
    # It follows from what happened elsewhere, is told, and says so once.
    asked = history_pb2.ListChangesRequest(record_type="customer", record_id=one)
    changes = await company.service.ask(
        company.who, "kehu.customers.v1.HistoryService/ListChanges", asked, history_pb2.ListChangesResponse
    )
    (change,) = [found for found in changes.changes if found.fields]
    assert change.origin == history_pb2.CHANGE_ORIGIN_EVENT
    assert [(found.field, found.old_value, found.new_value) for found in change.fields] == [
        ("stage", "PROSPECT", "ACTIVE")
    ]
    told = await company.service.running.database.read(
        company.who, "SELECT convert_from(data, 'UTF8')::jsonb AS data FROM outbox WHERE record_id = $1"
        " AND type = 'kehu.customers.v1.CustomerUpdated'", UUID(one),
    )  # fmt: skip
    (event,) = [row["data"] for row in told]
    assert (event["changedFields"], event["customer"]["stage"]) == (["stage"], "CUSTOMER_STAGE_ACTIVE")
    # Whom somebody makes a prospect again stays one.
    await make(company, one, "PROSPECT")
    await company.hear(order_event("OrderPlaced", one, order_id, 100), at=NOW)
    assert await stage(company, one) == "PROSPECT"
    # What was with a merged customer is with the survivor.
    merge = merge_service_pb2.MergeCustomersRequest(id=gone, merged_ids=[loser])
    await company.service.ask(company.who, MERGES + "MergeCustomers", merge, merge_pb2.Merge)
    await company.hear(order_event("OrderPlaced", loser, str(new_id()), 100), at=NOW)
    assert await stage(company, gone) == "ACTIVE"


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("how", ["ACTIVE retired", "PROSPECT renamed"])
async def test_a_company_with_stages_of_its_own_keeps_them(company: Company, how: str) -> None:
    lists, answer = "kehu.customers.v1.ValueListService/", lists_pb.ListValueListsResponse
    found = await company.service.ask(
        company.who, lists + "ListValueLists", lists_pb.ListValueListsRequest(), answer
    )
    (stages,) = [one for one in found.value_lists if one.key == "stage"]
    for value in stages.values:
        if value.key == how.partition(" ")[0]:
            value.retired = how.endswith("retired")
            value.name_en = value.name_en if value.retired else "Visitor"
    request = lists_pb.UpdateValueListRequest(value_list=stages, update_mask=FieldMask(paths=["values"]))
    await company.service.ask(company.who, lists + "UpdateValueList", request, lists_pb.ValueList)
    one = await company.customer()
    await company.hear(order_event("OrderPlaced", one, str(new_id()), 100), at=NOW)
    assert (await stage(company, one), (await times(company, one))[2]) == ("PROSPECT", NOW)


async def publish(js: Any, company: Company, event: Message, record: str, version: int, at: datetime) -> None:
    """Tells an event on the bus as its service would."""
    type_name = type(event).DESCRIPTOR.full_name
    domain = type_name.split(".")[1]
    headers = {
        "ce-id": str(new_id()), "ce-type": type_name, "ce-source": domain, "ce-subject": record, "ce-time": at.isoformat(),
        "ce-tenant": company.who.tenant, "ce-tenantid": str(company.who.tenant_id), "kehu-version": str(version),
    }  # fmt: skip
    subject = f"kehu.{company.who.tenant}.{domain}.{subject_of(type(event))[0]}"
    await js.publish(subject, wire.to_json(event), headers=headers)


async def kept(company: Company) -> dict[str, list[Any]]:
    database, who = company.service.running.database, company.who
    facts = "SELECT id, version, event_id, customer_id, state, at FROM customer_activities ORDER BY id"
    rows = await database.read(who, f"SELECT id, {_TIMES} FROM customers ORDER BY id")
    return {
        "customers": [tuple(row) for row in rows],
        "facts": [tuple(row) for row in await database.read(who, facts)],
    }


@pytest.mark.asyncio(loop_scope="module")
async def test_a_replay_gives_an_equal_result_and_so_does_another(company: Company, nats_url: str) -> None:
    customers = [await company.customer() for _ in range(6)]
    choose = random.Random(20261127)
    told: list[tuple[Any, str, int, datetime]] = []
    for n in range(60):
        customer, record, at = choose.choice(customers), str(uuid4()), NOW + timedelta(seconds=n)
        due = NOW + timedelta(hours=choose.randrange(-200, 200))
        match n % 4:
            case 0:
                told.append((order_event("OrderPlaced", customer, record, 100), record, 1, at))
            case 1:
                ticket = desk.TicketOpened(ticket_id=record, ticket=desk.TicketSnapshot(customer_id=customer))
                told.append((ticket, record, 1, at))
            case _:
                told.append((activity("ActivityPlanned", record, customer, due), record, 1, at))
                last = choose.choice(
                    ["ActivityCompleted", "ActivityUpdated", "ActivityCancelled", "ActivityDeleted", ""]
                )
                other = choose.choice(customers)
                if last:
                    done = (
                        NOW - timedelta(hours=choose.randrange(300)) if last == "ActivityCompleted" else None
                    )
                    told.append((activity(last, record, other, due, done), record, 2, at))
    # Disorder between two events of one record, too.
    choose.shuffle(told)
    client = await streams.connect(Settings(nats_url=nats_url), "told-by-tests")
    try:
        js: Any = client.jetstream(timeout=5)
        for event, record, version, at in told:
            await publish(js, company, event, record, version, at)
    finally:
        await streams.close(client)
    marks = "SELECT count(*) AS n FROM inbox"

    async def all_taken() -> bool:
        return (await company.service.running.database.read(company.who, marks))[0]["n"] == len(told)

    await eventually(all_taken, 60)
    before = await kept(company)
    assert all(any(row[place] for row in before["customers"]) for place in range(1, 5))
    for _ in range(2):
        command = Running(SERVICE, company.service.running.settings)
        try:
            await rebuild_touches(command, [])
        finally:
            await command.clients.close()
            await command.database.close()
        await eventually(all_taken, 60)
        assert await kept(company) == before
    # What the streams do not tell stays with --keep, and goes without.
    async with company.service.running.database.transaction(company.who) as tx:
        from customers.touches import touch

        await touch(tx, "contact", UUID(customers[0]), NOW + timedelta(days=100))
    for arguments, stays in ((["--keep"], True), ([], False)):
        command = Running(SERVICE, company.service.running.settings)
        try:
            await rebuild_touches(command, arguments)
        finally:
            await command.clients.close()
            await command.database.close()
        await eventually(all_taken, 60)
        assert ((await times(company, customers[0]))[0] == NOW + timedelta(days=100)) is stays
    assert await kept(company) == before


@pytest.mark.asyncio(loop_scope="module")
async def test_a_rebuild_shows_nothing_half_done_and_does_nothing_else(
    company: Company, nats_url: str
) -> None:
    """Who looks on sees the old times or the new ones. What the service does besides with events is not done again."""
    customer, wrong = await company.customer(), NOW + timedelta(days=200)
    record, at = str(uuid4()), NOW - timedelta(days=3)
    client = await streams.connect(Settings(nats_url=nats_url), "told-by-tests")
    try:
        js: Any = client.jetstream(timeout=5)
        for number in range(300):
            call = activity("ActivityPlanned", str(uuid4()), customer, NOW + timedelta(days=1 + number))
            await publish(js, company, call, call.activity_id, 1, NOW)
        placed = order_event("OrderPlaced", customer, record, 100)
        await publish(js, company, placed, record, 1, at)
    finally:
        await streams.close(client)
    database = company.service.running.database
    marks = "SELECT count(*) AS n FROM inbox"

    async def all_taken() -> bool:
        return (await database.read(company.who, marks))[0]["n"] == 301

    await eventually(all_taken, 60)
    right = await times(company, customer)
    async with database.transaction(company.who) as tx:
        await tx.session.execute(
            text("UPDATE customers SET last_service_time = :wrong, next_contact_time = NULL"),
            {"wrong": wrong},
        )
    false = await times(company, customer)
    inbox = "SELECT event_id, received_at FROM inbox ORDER BY event_id"
    taken = [tuple(row) for row in await database.read(company.who, inbox)]
    command = Running(SERVICE, company.service.running.settings)
    rebuilding = asyncio.create_task(rebuild_touches(command, []))
    seen = [false]
    while not rebuilding.done():
        now = await times(company, customer)
        if now != seen[-1]:
            seen.append(now)
    await rebuilding
    await command.clients.close()
    await command.database.close()
    assert [*seen, await times(company, customer)][:3] in ([false, right], [false, right, right])
    assert [tuple(row) for row in await database.read(company.who, inbox)] == taken, (
        "no event was taken in anew"
    )


@pytest.mark.asyncio(loop_scope="module")
async def test_what_a_merge_took_is_rebuilt_with_the_survivor_and_its_undoing_gives_it_back(
    company: Company, nats_url: str
) -> None:
    survivor, loser, record = await company.customer(), await company.customer(), str(uuid4())
    earlier, later = NOW - timedelta(days=9), NOW - timedelta(days=4)

    async def tell(kind: str, customer: str, record: str, version: int, at: datetime) -> None:
        """Tells it, and waits until it is heard."""
        client = await streams.connect(Settings(nats_url=nats_url), "told-by-tests")
        try:
            done = activity(kind, record, customer, NOW, at)
            await publish(client.jetstream(timeout=5), company, done, record, version, NOW)
        finally:
            await streams.close(client)
        heard = "SELECT 1 FROM customer_activities WHERE id = $1::uuid AND version = $2"

        async def taken() -> bool:
            return bool(await company.service.running.database.read(company.who, heard, record, version))

        await eventually(taken, 60)

    async def rebuilt() -> None:
        command = Running(SERVICE, company.service.running.settings)
        try:
            await rebuild_touches(command, [])
        finally:
            await command.clients.close()
            await command.database.close()

    await tell("ActivityCompleted", survivor, str(uuid4()), 1, earlier)
    await tell("ActivityCompleted", loser, record, 1, later)
    request = merge_service_pb2.MergeCustomersRequest(id=survivor, merged_ids=[loser])
    merge = await company.service.ask(company.who, MERGES + "MergeCustomers", request, merge_pb2.Merge)
    async with company.service.running.database.transaction(company.who) as tx:
        await tx.session.execute(text("UPDATE customers SET last_contact_time = NULL"))
    await rebuilt()
    assert await times(company, survivor) == [later, None, None, None]
    assert await times(company, loser) == [None] * 4
    # The activity follows its customer there and back, and leaves nothing behind.
    await tell("ActivityUpdated", survivor, record, 2, later)
    assert await times(company, survivor) == [later, None, None, None]
    undo = merge_service_pb2.UndoMergeRequest(id=merge.id)
    await company.service.ask(company.who, MERGES + "UndoMerge", undo, merge_pb2.Merge)
    await tell("ActivityUpdated", loser, record, 3, later)
    for _ in range(2):
        assert [(await times(company, one))[0] for one in (survivor, loser)] == [earlier, later]
        await rebuilt()
    # So does one of a lead that was attached to a customer by mistake, and one that is deleted.
    await tell("ActivityCompleted", survivor, record, 4, later)
    await company.hear(activity("ActivityUpdated", record, "", NOW, later), 5)
    assert [(await times(company, one))[0] for one in (survivor, loser)] == [earlier, None]


def test_the_command_takes_nothing_else(tmp_path: Any) -> None:
    for arguments in (["--all"], ["--keep", "--keep"], ["x"]):
        with pytest.raises(SystemExit, match="nothing but --keep"):
            asyncio.run(rebuild_touches(None, arguments))


ZONES = st.sampled_from(
    ["Asia/Shanghai", "Europe/Berlin", "America/New_York", "Pacific/Auckland", "UTC", "Asia/Kolkata"]
)
MOMENTS = st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1), timezones=st.just(UTC))


@settings(derandomize=True, database=None)
@given(MOMENTS, ZONES, st.integers(-60, 60))
def test_weeks_begin_on_monday_at_midnight_and_leave_no_gap(now: datetime, zone: str, offset: int) -> None:
    begin, end = week_of(now, zone, offset)
    for moment in (begin, end):
        there = moment.astimezone(ZoneInfo(zone))
        assert (there.weekday(), there.hour, there.minute, there.second) == (0, 0, 0, 0)
    assert timedelta(days=6, hours=22) < end - begin < timedelta(days=7, hours=2)
    assert week_of(now, zone, offset + 1)[0] == end
    here, over = week_of(now, zone)
    assert here <= now < over


def test_the_week_of_a_change_of_clocks() -> None:
    sunday = datetime(2026, 3, 29, 12, tzinfo=UTC)  # Berlin loses an hour on that day
    begin, end = week_of(sunday, "Europe/Berlin")
    assert end - begin == timedelta(days=7) - timedelta(hours=1)
    # Sunday evening in London is Monday in Shanghai.
    late = datetime(2026, 11, 29, 20, tzinfo=UTC)
    assert week_of(late, "Asia/Shanghai")[0] == week_of(late, "UTC", 1)[0] - timedelta(hours=8)
