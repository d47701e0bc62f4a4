"""Claims by many people at once: nobody ever owns more by claiming than the rule allows, and each customer is claimed and put
back in turns."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chassis.errors import Problem
from chassis.owners import Owner
from chassis.principal import Principal
from chassis.testing import DatabaseUrls, Harness, Keys, running_service, somebody
from customers.customer import Customer, enrolled
from customers.pool import change_rule, claim, give_back
from customers.service import SERVICE

PEOPLE, CUSTOMERS = 3, 6
STEPS = st.lists(
    st.lists(
        st.tuples(st.sampled_from(["claim", "return"]), st.integers(0, PEOPLE - 1), st.integers(0, CUSTOMERS - 1)),
        min_size=1,
        max_size=8,
    ),
    min_size=1,
    max_size=4,
)  # fmt: skip


@pytest.fixture(scope="module")
def house(
    service_database: Callable[[str], DatabaseUrls], nats_url: str, keys: Keys
) -> Iterator[tuple[asyncio.AbstractEventLoop, Harness]]:
    loop = asyncio.new_event_loop()
    entered = running_service(SERVICE, service_database("customers"), nats_url, keys)
    harness = loop.run_until_complete(entered.__aenter__())
    yield loop, harness
    loop.run_until_complete(entered.__aexit__(None, None, None))
    loop.close()


async def round_of(
    harness: Harness, people: list[Principal], ids: list[UUID], steps: Any, limit: int
) -> None:
    database = harness.running.database

    async def one(act: str, person: int, place: int) -> None:
        try:
            async with database.transaction(people[person]) as tx:
                if act == "claim":
                    await claim(tx, ids[place])
                else:
                    row = await tx.get(Customer, ids[place], right="customers")
                    if row.owner_id == people[person].person_id:
                        await give_back(tx, row, "enough")
        except Problem as problem:
            assert problem.reason in (
                "CUSTOMER_NOT_IN_POOL", "CLAIM_LIMIT_REACHED", "RECORD_BUSY", "CUSTOMER_IN_POOL", "DATABASE_UNAVAILABLE",
            ), problem  # fmt: skip

    for at_once in steps:
        await asyncio.gather(*(one(*step) for step in at_once))
        rows = await database.read(
            people[0], "SELECT owner_id, count(*) AS n FROM customers GROUP BY owner_id"
        )
        owned = {row["owner_id"]: row["n"] for row in rows}
        assert sum(owned.values()) == len(ids)
        for person in people:
            assert owned.pop(person.person_id, 0) <= limit
        assert set(owned) <= {None}
    told = await database.read(
        people[0],
        "SELECT record_id, array_agg(split_part(subject, '.', 5) ORDER BY seq) AS acts FROM outbox"
        " WHERE subject LIKE '%.customer.%' GROUP BY record_id",
    )
    for row in told:  # created in the pool, then claimed and put back in turns
        turns = [act for act in row["acts"] if act in ("assigned", "returned")]
        assert turns == [("assigned", "returned")[place % 2] for place in range(len(turns))]


@settings(
    max_examples=15, derandomize=True, database=None, print_blob=False,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(steps=STEPS, limit=st.integers(1, 3))
def test_nobody_claims_beyond_the_limit(house: Any, steps: Any, limit: int) -> None:
    loop, harness = house
    tenant = f"claims-{uuid4().hex[:12]}"
    boss = somebody(tenant)
    people = [somebody(tenant) for _ in range(PEOPLE)]

    async def found() -> list[UUID]:
        async with harness.running.database.transaction(boss) as tx:
            await change_rule(tx, {"claim_limit": limit}, "")
            made = [
                enrolled(tx, {"display_name": f"Free {n}"}, Owner(boss.person_id, None))
                for n in range(CUSTOMERS)
            ]
            await tx.session.flush()
            for customer in made:
                customer.owner_id = None
            return [customer.id for customer in made]

    async def play() -> None:
        await round_of(harness, people, await found(), steps, limit)

    loop.run_until_complete(play())
