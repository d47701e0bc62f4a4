"""The index of custom fields: that PostgreSQL uses it, that it says what the records say, and that its making survives."""

import asyncio
import os
import random
import signal
import sys
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
import pytest_asyncio
from google.protobuf.field_mask_pb2 import FieldMask
from kehu.customers.v1 import customer_pb2, customer_service_pb2
from kehu.customfields.v1 import custom_fields_pb2 as fields
from sqlalchemy import text

from chassis.custom_fields.field import CustomField, add_field, change_field
from chassis.custom_fields.index import entries
from chassis.custom_fields.known import definition_of
from chassis.database import Database
from chassis.errors import Code, Problem
from chassis.principal import Principal, Reach, Rights
from chassis.testing import (
    Asking,
    DatabaseUrls,
    Harness,
    Keys,
    Watched,
    eventually,
    parts_of,
    running_service,
    somebody,
)
from chassis.wire import from_dict
from customers.customer import Customer, change_customer
from customers.rpc.customers import CUSTOMERS
from customers.service import SERVICE

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240)]
MANY = 12_000
ACME = somebody("acme")
FIELDS = "kehu.customers.v1.CustomFieldService/"


@pytest.fixture(scope="module")
def urls(service_database: Callable[[str], DatabaseUrls]) -> DatabaseUrls:
    return service_database("customers")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(urls: DatabaseUrls, nats_url: str, keys: Keys) -> AsyncGenerator[Harness]:
    async with running_service(SERVICE, urls, nats_url, keys) as harness:
        yield harness


async def filled(database: Database, who: Principal, city_filterable: bool) -> dict[str, UUID]:
    """12,000 customers with a city out of 1,000, a region out of three and, every second one, a size; the fields' ids. Each tenth
    is the caller's own."""
    ids: dict[str, UUID] = {}
    async with database.transaction(who) as tx:
        for key, kind in (("city", "TEXT"), ("size", "NUMBER"), ("region", "TEXT")):
            said = {"of_type": "customer", "key": key, "label_en": key, "kind": kind}
            made = await add_field(tx, {**said, "filterable": city_filterable}, frozenset())
            ids[key] = made.id
    for start in range(0, MANY, 3000):
        rows: list[Customer] = []
        for number in range(start, start + 3000):
            custom: dict[str, Any] = {"city": f"city{number * 7919 % 1000}", "region": f"region{number % 3}"}
            if number % 2:
                custom["size"] = str(number * 104729 % MANY)
            owner = None if number % 10 else who.person_id
            rows.append(Customer(display_name=f"c{number}", custom_fields=custom, owner_id=owner))
        async with database.transaction(who) as tx:
            await tx.insert_all(rows)
    return ids


def answered_by_the_index(plan: Any, most: float = MANY / 4) -> bool:
    """Whether the values are found by the index of values, or by that of records, each asked for the very field, at most
    `most` of them looked at; and no table is read from its beginning."""
    nodes = parts_of(plan)
    asked = [n for n in nodes if str(n.get("Index Name", "")).startswith("custom_values")]
    read = sum(n["Actual Rows"] * n["Actual Loops"] + n.get("Rows Removed by Filter", 0) for n in asked)
    return (
        bool(asked)
        and all("field_id" in n["Index Cond"] for n in asked)
        and read < most
        and all(n["Node Type"] != "Seq Scan" for n in nodes)
    )


def told(plan: Any) -> list[str]:
    """The nodes of a plan, for a message."""
    names = ("Node Type", "Index Name", "Relation Name", "Actual Rows", "Actual Loops", "Index Cond")
    return [" ".join(str(n.get(name, "")) for name in names) for n in parts_of(plan)]


async def test_lists_are_answered_by_the_index(service: Harness, urls: DatabaseUrls) -> None:
    database = service.running.database
    await filled(database, ACME, city_filterable=True)
    await filled(database, somebody("neighbour"), city_filterable=True)
    owner: Any = await asyncpg.connect(urls.owner)
    await owner.execute("ANALYZE")
    request = customer_service_pb2.ListCustomersRequest
    asked = [
        request(filter="customFields.city = city5"),
        request(filter="customFields.city = city5", order_by="displayName"),
        request(filter="customFields.size >= 100 AND customFields.size < 200"),
        request(order_by="customFields.size"),
        request(order_by="customFields.size desc"),
    ]
    # Two fields at once: the one's values may be laid beside all of the other's.
    both = request(order_by="customFields.city", filter="customFields.size > 11000")

    async def plans(of: Any) -> list[dict[str, Any]]:
        watched = Watched(database, "custom_values")
        page = await CUSTOMERS.page(Asking(ACME, watched), of)
        assert page.rows
        if page.next_page_token:
            of.page_token = page.next_page_token
            await CUSTOMERS.page(Asking(ACME, watched), of)
            of.page_token = ""
        assert watched.plans
        return watched.plans

    for one in asked:
        for plan in await plans(one):
            assert answered_by_the_index(plan), (one, told(plan))
    for plan in await plans(both):
        assert answered_by_the_index(plan, most=2 * MANY), told(plan)
    # The check can fail: without the index of values the same questions read all values of the field.
    for index in ("custom_values_value", "custom_values_made"):
        await owner.execute(f"DROP INDEX {index}")
    assert not all(answered_by_the_index(plan) for plan in await plans(asked[2]))
    await owner.execute(
        "CREATE INDEX custom_values_value ON custom_values (tenant_id, field_id, value, record_id)"
    )
    # Of four thousand with one value, a page's worth is looked at and nothing is sorted, on whatever page.
    region = request(filter="customFields.region = region1 AND displayName != c1")
    of_many = await plans(region)
    assert not all(in_pages(plan) for plan in of_many), "the check can fail: without the index all are sorted"
    await owner.execute(
        "CREATE INDEX custom_values_made ON custom_values (tenant_id, field_id, value, created_at, record_id)"
    )
    await owner.execute("VACUUM ANALYZE custom_values")
    for order in ("", "createTime"):
        region.order_by = order
        found = await plans(region)
        assert len(found) == 2
        assert all(in_pages(plan) for plan in found), [told(plan) for plan in found]
    await owner.close()


def in_pages(plan: Any) -> bool:
    """Whether no more is looked at than a page holds, some rows more than are shown."""
    nodes = parts_of(plan)
    most = max(n["Actual Rows"] * n["Actual Loops"] + n.get("Rows Removed by Filter", 0) for n in nodes)
    return most <= 60 and nodes[0]["Shared Hit Blocks"] + nodes[0]["Shared Read Blocks"] < 500


async def test_a_list_by_a_value_is_the_list(service: Harness) -> None:
    """Whoever asks, a list of those with one value has each of them once, in the order of the list, on pages of any size."""
    database = service.running.database
    everybody = replace(ACME, person_id=uuid4())
    own = replace(ACME, rights={"customers": Rights(Reach.OWN, Reach.OWN)})
    nobody = replace(everybody, rights={"customers": Rights(Reach.OWN, Reach.OWN)})
    rows = await database.read(ACME, "SELECT * FROM customers WHERE deleted_at IS NULL")
    rows.sort(key=lambda row: (row["created_at"], row["id"]))

    async def walk(who: Principal, filter: str, order: str = "", size: int = 200) -> list[UUID]:
        request = customer_service_pb2.ListCustomersRequest(filter=filter, order_by=order, page_size=size)
        found: list[UUID] = []
        while True:
            page = await CUSTOMERS.page(Asking(who, Watched(database, "custom_values")), request)
            found += [row["id"] for row in page.rows]
            request.page_token = page.next_page_token
            if not page.next_page_token:
                return found

    def ids(key: str, value: str, own: bool = False) -> list[UUID]:
        return [
            row["id"] for row in rows
            if row["custom_fields"].get(key) == value and (not own or row["owner_id"] == ACME.person_id)
        ]  # fmt: skip

    regions = ids("region", "region1")
    assert len(regions) == MANY / 3
    assert await walk(ACME, "customFields.region = region1") == regions[::-1]
    assert await walk(everybody, 'customFields.region = "region1"', "createTime") == regions
    assert (
        await walk(own, "customFields.region = region1", size=7) == ids("region", "region1", own=True)[::-1]
    )
    assert await walk(nobody, "customFields.region = region1") == []
    # Another company has a field of that key, and none of the records.
    elsewhere = somebody("elsewhere")
    async with database.transaction(elsewhere) as tx:
        said = {"of_type": "customer", "key": "region", "label_en": "region", "kind": "TEXT"}
        await add_field(tx, {**said, "filterable": True}, frozenset())
    assert await walk(elsewhere, "") == await walk(elsewhere, "customFields.region = region1") == []
    both = await walk(ACME, "customFields.city = city5 AND customFields.region = region1")
    assert both == [id for id in ids("city", "city5")[::-1] if id in set(regions)]
    either = await walk(ACME, "customFields.city = city5 OR customFields.city = city6")
    assert set(either) == {*ids("city", "city5"), *ids("city", "city6")}
    none = await walk(ACME, "NOT customFields.region = region1 AND customFields.city = city5")
    assert set(none) == set(ids("city", "city5")) - set(regions)
    same = "customFields.region = region1"
    assert await walk(ACME, f"{same} AND NOT {same}") == []
    assert await walk(ACME, f"{same} AND ({same} OR displayName = nobody)") == regions[::-1]


async def test_values_of_a_replica_before_are_ordered_too(service: Harness) -> None:
    """A replica of the version before does not say when the record was made: the database asks the record."""
    database = service.running.database
    [row] = await database.read(ACME, "SELECT record_id, field_id FROM custom_values LIMIT 1")
    async with database.transaction(ACME) as tx:
        known = {"record": row["record_id"], "field": row["field_id"], "tenant": ACME.tenant_id}
        await tx.session.execute(
            text("DELETE FROM custom_values WHERE record_id = :record AND field_id = :field"), known
        )
        await tx.session.execute(
            text(
                "INSERT INTO custom_values (tenant_id, field_id, record_id, place, value)"
                " VALUES (:tenant, :field, :record, 0, 'x')"
            ),
            known,
        )
    [told] = await database.read(
        ACME,
        "SELECT v.created_at, c.created_at AS made FROM custom_values v JOIN customers c ON c.id = v.record_id"
        " WHERE v.record_id = $1 AND v.field_id = $2",
        row["record_id"],
        row["field_id"],
    )
    assert told["created_at"] == told["made"]


async def faults(database: Database, who: Principal) -> list[str]:
    """Where index and records disagree, and values that are none of their field."""
    found: list[str] = []
    definitions = [
        definition_of(dict(row))
        for row in await database.read(
            who, "SELECT * FROM custom_fields WHERE of_type = 'customer' AND deleted_at IS NULL"
        )
    ]
    records = await database.read(who, "SELECT id, created_at, custom_fields FROM customers")
    for one in definitions:
        wanted = {
            (entry["r"], entry["p"], entry["v"], entry["c"])
            for row in records
            for entry in entries(one, row["id"], row["created_at"], row["custom_fields"])
            if one.filterable
        }
        rows = await database.read(
            who, "SELECT record_id, place, value, created_at FROM custom_values WHERE field_id = $1", one.id
        )
        there = {
            (str(row["record_id"]), row["place"], row["value"], row["created_at"].isoformat()) for row in rows
        }
        found += [f"{one.key}: {entry} is not in the index" for entry in wanted - there]
        found += [f"{one.key}: {entry} is in the index alone" for entry in there - wanted]
        for row in records:
            value = row["custom_fields"].get(one.key)
            if value is not None and not one.holds(value):
                found.append(f"{one.key}: {value!r} is no {one.kind}")
    return found


async def settled(database: Database, who: Principal) -> None:
    """Waits until every field is in the index that shall be, and no work is left."""

    async def done() -> bool:
        rows = await database.read(
            who,
            "SELECT 1 FROM custom_fields WHERE filterable AND NOT indexed UNION ALL"
            " SELECT 1 FROM jobs WHERE kind = 'custom_field_index'",
        )
        return not rows

    await eventually(done, 120)


async def test_writers_and_changes_of_definitions_at_once(service: Harness) -> None:
    """Whoever writes does so by the definitions that hold; whatever is changed meanwhile, nothing is left over."""
    who = somebody("busy")
    database = service.running.database
    async with database.transaction(who) as tx:
        said = {"of_type": "customer", "key": "size", "label_en": "size", "kind": "TEXT"}
        made = await add_field(tx, {**said, "filterable": True}, frozenset())
    chance = random.Random(7)
    over = asyncio.Event()
    written = 0

    async def write(number: int) -> None:
        nonlocal written
        ids: list[str] = []
        while not over.is_set():
            value = chance.choice(["1", "2.5", "many", None])
            customer = from_dict(customer_pb2.Customer, {"customFields": {"size": value}})
            try:
                if len(ids) < 5 or chance.random() < 0.3:
                    customer.display_name = f"w{number}"
                    new = customer_service_pb2.CreateCustomerRequest(customer=customer)
                    answer = await service.ask(
                        who, "kehu.customers.v1.CustomerService/CreateCustomer", new, customer_pb2.Customer
                    )
                    ids.append(answer.id)
                else:
                    customer.id = chance.choice(ids)
                    changed = customer_service_pb2.UpdateCustomerRequest(
                        customer=customer, update_mask=FieldMask(paths=["custom_fields.size"])
                    )
                    await service.ask(
                        who,
                        "kehu.customers.v1.CustomerService/UpdateCustomer",
                        changed,
                        customer_pb2.Customer,
                    )
                written += 1
            except Problem as problem:
                assert problem.code in (Code.INVALID_ARGUMENT, Code.ABORTED), problem

    async def change(**said: Any) -> str:
        message = from_dict(fields.CustomField, said)
        message.id = str(made.id)
        request = fields.UpdateCustomFieldRequest(
            custom_field=message, update_mask=FieldMask(paths=list(said))
        )
        try:
            await service.ask(who, FIELDS + "UpdateCustomField", request, fields.CustomField)
            return "changed"
        except Problem as problem:
            assert problem.code in (Code.FAILED_PRECONDITION, Code.ABORTED), problem
            return problem.reason

    writers = [asyncio.create_task(write(number)) for number in range(4)]
    seen: set[str] = set()
    for number in range(24):
        before = written
        await eventually(lambda before=before: written > before + 4 or any(w.done() for w in writers), 60)
        if number % 4 == 1:
            seen.add(await change(filterable=False))
        elif number % 4 == 3:
            seen.add(await change(filterable=True))
        else:
            kind = chance.choice(["NUMBER", "TEXT"])
            seen.add(await change(kind=f"CUSTOM_FIELD_KIND_{kind}"))
    over.set()
    await asyncio.gather(*writers)
    await settled(database, who)
    assert {"changed", "CUSTOM_FIELD_IN_USE"} <= seen
    assert await faults(database, who) == []
    # The check can fail.
    async with database.transaction(who) as tx:
        await tx.session.execute(text("DELETE FROM custom_values"))
    assert await faults(database, who)


async def test_the_making_of_the_index_survives_a_kill(
    service_database: Callable[[str], DatabaseUrls], nats_url: str, keys: Keys
) -> None:
    urls = service_database("customers")
    async with running_service(SERVICE, urls, nats_url, keys) as harness:
        ids = await filled(harness.running.database, ACME, city_filterable=False)
    database = Database(urls.app, SERVICE.check())
    relay: Any = await asyncpg.connect(urls.relay)
    holder: Any = await asyncpg.connect(urls.app)
    try:
        async with database.transaction(ACME) as tx:
            marked = await tx.find(CustomField, ids["city"])
            assert marked is not None
            await change_field(tx, marked, {"filterable": True}, frozenset(), "customers")

        async def reached() -> Any:
            rows = await database.read(
                ACME, "SELECT indexed, indexed_to FROM custom_fields WHERE id = $1", ids["city"]
            )
            return rows[0]

        async def entered() -> int:
            rows = await database.read(
                ACME, "SELECT count(*) AS n FROM custom_values WHERE field_id = $1", ids["city"]
            )
            return rows[0]["n"]

        # One record that somebody else is changing stops the work half way, so that the kill comes to it there.
        held = holder.transaction()
        await held.start()
        # On a machine with much to do it holds for longer than a service may.
        await holder.execute("SET idle_in_transaction_session_timeout = 0")
        await holder.execute("SELECT set_config('kehu.tenant', $1, true)", str(ACME.tenant_id))
        await holder.execute(
            f"SELECT id FROM customers WHERE id = (SELECT id FROM customers ORDER BY id OFFSET {MANY // 2} LIMIT 1) FOR UPDATE"
        )
        process = await begun(urls, nats_url, keys)
        try:

            async def half_way() -> bool:
                return (await entered()) == MANY // 2

            await eventually(half_way, 90)
        finally:
            os.kill(process.pid, signal.SIGKILL)
            await process.wait()
        await held.rollback()
        at = await reached()
        assert at["indexed_to"] is not None and not at["indexed"]
        assert await entered() == MANY // 2
        # Meanwhile somebody changes a record that is in, and one that is not.
        for offset in (0, MANY - 1):
            async with database.transaction(ACME) as tx:
                await changed_city(tx, offset)
        # The dead worker's lease ends by itself after half a minute; nobody waits for it here.
        await relay.execute("UPDATE jobs SET leased_until = NULL, due_at = now()")
        process = await begun(urls, nats_url, keys)
        try:
            await settled(database, ACME)
        finally:
            process.terminate()
            await process.wait()
        assert (await reached())["indexed"] and await entered() == MANY
        assert await faults(database, ACME) == []
    finally:
        await holder.close()
        await relay.close()
        await database.close()


async def changed_city(tx: Any, offset: int) -> None:
    found = await tx.session.execute(
        text("SELECT id FROM customers ORDER BY id OFFSET :offset LIMIT 1"), {"offset": offset}
    )
    customer = await tx.get(Customer, found.scalar_one(), right="customers")
    await change_customer(
        tx, customer, {"custom_fields": {**customer.custom_fields, "city": f"new {offset}"}}
    )


async def begun(urls: DatabaseUrls, nats_url: str, keys: Keys) -> asyncio.subprocess.Process:
    """The service as a process of its own."""
    environment = {
        **os.environ,
        "KEHU_DATABASE_URL": urls.app,
        "KEHU_RELAY_DATABASE_URL": urls.relay,
        "KEHU_NATS_URL": nats_url,
        "KEHU_TOKEN_KEYS": str(keys.jwks),
        "KEHU_TOKEN_KEY": str(keys.private("customers")),
        "KEHU_PAGE_TOKEN_KEY": "a secret of this run of tests",
        "KEHU_LISTEN": "127.0.0.1:0",
    }
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "customers", "serve", env=environment,
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
