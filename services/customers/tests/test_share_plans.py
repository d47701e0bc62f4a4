"""What lists cost with shares at tens of thousands of customers: what is read grows with what is seen, not with the table."""

import json
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio
from kehu.customers.v1 import contact_service_pb2, customer_service_pb2, pool_service_pb2
from sqlalchemy import text

from chassis.ids import new_id
from chassis.listing import Listing
from chassis.principal import Principal, Reach, Rights
from chassis.shares.entries import PERSON, TEAM, Grantee, share
from chassis.testing import (
    Asking,
    DatabaseUrls,
    Harness,
    Keys,
    Watched,
    parts_of,
    read_of,
    running_service,
    somebody,
)
from customers.customer import Customer
from customers.imports import find_customers
from customers.pool import _TO_RETURN, _TO_WARN  # pyright: ignore[reportPrivateUsage]
from customers.rpc.contacts import CONTACTS
from customers.rpc.customers import CUSTOMERS
from customers.rpc.pool import POOL
from customers.service import SERVICE

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]
MANY, OWNERS, TEAMS, SHARED = 40_000, 400, 20, 60
"""Each person owns a hundred, each team two thousand; sixty are shared with one person, or with a team."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def urls(service_database: Callable[[str], DatabaseUrls]) -> DatabaseUrls:
    return service_database("customers")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(urls: DatabaseUrls, nats_url: str, keys: Keys) -> AsyncGenerator[Harness]:
    async with running_service(SERVICE, urls, nats_url, keys) as harness:
        yield harness


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def callers(service: Harness, urls: DatabaseUrls) -> dict[str, Principal]:
    database, boss = service.running.database, somebody("many")
    people, teams = [new_id() for _ in range(OWNERS)], [new_id() for _ in range(TEAMS)]
    ids: list[UUID] = []
    for start in range(0, MANY, 1000):
        rows = [
            Customer(
                display_name=f"c{number * 7919 % MANY}", owner_id=people[number % OWNERS],
                team_id=teams[number % OWNERS % TEAMS],
            )
            for number in range(start, start + 1000)
        ]  # fmt: skip
        ids += [row.id for row in rows]
        async with database.transaction(boss) as tx:
            await tx.insert_all(rows)
    async with database.transaction(boss) as tx:
        for place in range(SHARED):
            row = await tx.find(Customer, ids[place * (MANY // SHARED) + 1])
            assert row is not None
            to = Grantee(PERSON, people[2]) if place % 2 else Grantee(TEAM, teams[2])
            share(row, to, writes=False, until=None, by=boss.person_id, at=tx.now)
    owner: Any = await asyncpg.connect(urls.owner)
    # As the owner: one long statement, which the service's own connections would not wait for.
    await owner.execute("ALTER TABLE contacts NO FORCE ROW LEVEL SECURITY")
    await owner.execute(
        "INSERT INTO contacts (tenant_id, id, version, created_at, created_by, updated_at, updated_by, owner_id, team_id,"
        " search, search_text, customer_id, display_name, title, department, decision_role, phones, emails,"
        ' im_account, notes, "primary", external_key) SELECT tenant_id, gen_random_uuid(), 1, created_at, created_by,'
        " updated_at, updated_by, owner_id, team_id, '{}', '', id, display_name, '', '', '', '[]', '[]', '', '', false,"
        " '' FROM customers"
    )
    await owner.execute("ALTER TABLE contacts FORCE ROW LEVEL SECURITY")
    await owner.execute("ANALYZE")
    await owner.close()

    def one(place: int, reach: Reach) -> Principal:
        team = teams[place % TEAMS]
        return replace(
            boss, person_id=people[place], team_id=team, team_ids=frozenset([team]),
            rights={"customers": Rights(reach, reach)},
        )  # fmt: skip

    return {
        "own": one(2, Reach.OWN), "team": one(2, Reach.TEAM), "own without shares": one(5, Reach.OWN),
        "team without shares": one(5, Reach.TEAM), "all": one(2, Reach.ALL),
    }  # fmt: skip


SEEN = {
    "own": MANY / OWNERS + SHARED, "team": MANY / TEAMS + SHARED, "own without shares": MANY / OWNERS,
    "team without shares": MANY / TEAMS, "all": MANY,
}  # fmt: skip


@pytest.mark.parametrize("who", SEEN)
@pytest.mark.parametrize("listing", [CUSTOMERS, CONTACTS], ids=["customers", "contacts"])
@pytest.mark.parametrize("order", ["", "displayName", "updateTime desc"])
async def test_a_page_reads_what_is_seen_and_not_the_table(
    service: Harness, callers: dict[str, Principal], who: str, listing: Listing, order: str
) -> None:
    asking = Asking(callers[who], Watched(service.running.database))
    request: Any = (
        customer_service_pb2.ListCustomersRequest(order_by=order)
        if listing is CUSTOMERS
        else contact_service_pb2.ListContactsRequest(order_by=order)
    )
    page = await listing.page(asking, request)
    assert len(page.rows) == 50
    (plan,) = asking.database.plans
    found = [node for node in parts_of(plan) if node.get("Relation Name") in ("customers", "contacts")]
    assert not [node for node in found if node["Node Type"] == "Seq Scan"], json.dumps(plan, indent=1)
    if who == "all":
        assert not [node for node in parts_of(plan) if node.get("Relation Name") == "shares"]
        assert read_of(plan) <= 60
        return
    # What is shared with the caller is asked for once, and not for each row.
    assert all(node["Actual Loops"] <= 1 for node in parts_of(plan) if node.get("Relation Name") == "shares")
    assert read_of(plan) <= 3 * SEEN[who] + 200, json.dumps(plan, indent=1)


@pytest.mark.parametrize("who", SEEN)
async def test_all_pages_show_what_is_seen(service: Harness, callers: dict[str, Principal], who: str) -> None:
    if who == "all":
        return
    asking = Asking(callers[who], Watched(service.running.database))
    count = await CUSTOMERS.count(asking, "")
    pages = [rows async for rows in CUSTOMERS.all(asking, customer_service_pb2.ListCustomersRequest())]
    assert len({row["id"] for rows in pages for row in rows}) == count
    assert SEEN[who] - SHARED <= count <= SEEN[who]


async def test_contacts_of_further_customers_are_found_too(
    service: Harness, callers: dict[str, Principal]
) -> None:
    """Somebody whose customers others' contacts belong to, besides."""
    asking = Asking(callers["own"], Watched(service.running.database))
    before = await CONTACTS.count(asking, "")
    async with service.running.database.transaction(callers["all"]) as tx:
        # Those of another person at customers of this one.
        await tx.session.execute(
            text(
                "INSERT INTO contact_affiliations (tenant_id, contact_id, customer_id, owner_id, team_id)"
                " SELECT t.tenant_id, t.id, c.id, c.owner_id, c.team_id FROM"
                " (SELECT *, row_number() OVER () AS n FROM contacts WHERE owner_id = :other) t"
                " JOIN (SELECT *, row_number() OVER () AS n FROM customers WHERE owner_id = :mine) c ON c.n = t.n"
            ),
            {"other": callers["own without shares"].person_id, "mine": callers["own"].person_id},
        )
    assert await CONTACTS.count(asking, "") == before + MANY // OWNERS
    page = await CONTACTS.page(asking, contact_service_pb2.ListContactsRequest())
    assert len(page.rows) == 50
    assert read_of(asking.database.plans[-1]) <= 4 * SEEN["own"] + 200, json.dumps(
        asking.database.plans[-1], indent=1
    )


async def test_customers_are_found_by_name_without_a_look_at_the_others(
    service: Harness, callers: dict[str, Principal], urls: DatabaseUrls
) -> None:
    """As an import of contacts does for each of its batches."""
    asking: Any = Asking(callers["all"], Watched(service.running.database))
    names = [f"C {number}" for number in range(500)]
    found = await find_customers(asking, names)
    assert len(found) == 500
    (plan,) = asking.database.plans
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] <= 500 * 12, json.dumps(plan, indent=1)
    owner: Any = await asyncpg.connect(urls.owner)
    try:
        tenant = callers["all"].tenant_id
        await owner.execute("SELECT set_config('kehu.tenant', $1, false)", str(tenant))
        told = await owner.fetch(
            "EXPLAIN SELECT f.id FROM (SELECT DISTINCT unnest($1::text[]) AS name) AS n, LATERAL (SELECT t.id FROM customers AS t"
            " WHERE t.tenant_id = nullif(current_setting('kehu.tenant', true), '')::uuid AND t.deleted_at IS NULL"
            " AND lower(replace(t.display_name, ' ', '')) = n.name OFFSET 0) AS f",
            names,
        )
        lines = "\n".join(row[0] for row in told)
        assert "customers_same_name" in lines and "Seq Scan" not in lines, lines
    finally:
        await owner.close()


async def test_one_is_read_by_its_key(service: Harness, callers: dict[str, Principal]) -> None:
    (some,) = await service.running.database.read(
        callers["all"], "SELECT record_id, grantee_id FROM shares WHERE grantee_id = $1 LIMIT 1", callers["own"].person_id
    )  # fmt: skip
    for who in ("own", "team", "all"):
        asking = Asking(callers[who], Watched(service.running.database))
        assert (await CUSTOMERS.get(asking, some["record_id"]))["id"] == some["record_id"]
        (plan,) = asking.database.plans
        own = [node for node in parts_of(plan) if node.get("Relation Name") == "customers"]
        assert [node["Index Name"] for node in own] == ["customers_pkey"], json.dumps(plan, indent=1)


async def test_the_pool_and_those_who_are_idle_are_found_by_indexes(
    service: Harness, callers: dict[str, Principal]
) -> None:
    asking = Asking(callers["own"], Watched(service.running.database))
    assert not (await POOL.page(asking, pool_service_pb2.ListPoolCustomersRequest(), {"ownerId": None})).rows
    (plan,) = asking.database.plans
    assert read_of(plan) == 0 and "customers_pool" in json.dumps(plan)
    now = datetime.now(UTC)
    asked = {"until": now - timedelta(days=30), "levels": ["A"], "stages": ["LOST"], "most": 100}
    async with service.running.database.transaction(callers["all"]) as tx:
        for statement, index, more in (
            (_TO_WARN, "customers_touched", {}),
            (_TO_RETURN, "customers_return_time", {"now": now}),
        ):
            told = await tx.session.execute(text(f"EXPLAIN {statement.text}"), asked | more)
            plan = "\n".join(told.scalars())
            assert index in plan and "Seq Scan" not in plan, plan


@pytest.mark.parametrize(
    ("filter", "index"),
    [
        ("satisfactionIndex >= 98.5", "customers_satisfaction_tenths"),
        ("satisfactionIndex > 98.45", "customers_satisfaction_tenths"),
        ('city = "苏州"', "customers_city"),
        ('province = "江苏"', "customers_province"),
    ],
)
async def test_few_of_one_value_are_found_by_an_index(
    service: Harness, callers: dict[str, Principal], urls: DatabaseUrls, filter: str, index: str
) -> None:
    """Row security lets none answer operators of jsonb or of numbers with a point: they are kept as texts and whole numbers."""
    boss = callers["all"]
    async with service.running.database.transaction(boss) as tx:
        some = text(
            "UPDATE customers SET satisfaction_index = 98.5, address = CAST(:address AS jsonb)"
            " FROM (SELECT id, row_number() OVER (ORDER BY id) AS place FROM customers) AS id_of"
            " WHERE id_of.id = customers.id AND id_of.place % 1000 = 0 AND satisfaction_tenths IS NULL"
        )
        await tx.session.execute(some, {"address": '{"city": "苏州", "province": "江苏"}'})
    owner: Any = await asyncpg.connect(urls.owner)
    await owner.execute("ANALYZE customers")
    await owner.close()
    asking = Asking(boss, Watched(service.running.database))
    page = await CUSTOMERS.page(asking, customer_service_pb2.ListCustomersRequest(filter=filter))
    assert len(page.rows) == MANY // 1000
    (plan,) = asking.database.plans
    assert index in json.dumps(plan) and read_of(plan) <= 3 * len(page.rows), json.dumps(plan, indent=1)
