"""The public pool: claimed up to the limit, put back, and taken back by the rule after a warning; each once, whoever asks."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from kehu.customers.v1 import (
    contact_pb2,
    contact_service_pb2,
    customer_pb2,
    customer_service_pb2,
    pool_pb2,
    pool_service_pb2,
)
from kehu.history.v1 import history_pb2

from chassis.errors import Code, Problem
from chassis.principal import Principal, Reach, Rights
from chassis.testing import eventually, refused, somebody
from customers.customer import enrolled
from customers.pool import RETURN, return_idle, return_idle_customers, warn_idle
from customers.touches import touch

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]
Make = Callable[[], Awaitable[Any]]
GONE = (Code.NOT_FOUND, "NOT_FOUND")


def claim(c: Any, id: str, who: Principal | None = None, **fields: Any) -> Awaitable[customer_pb2.Customer]:
    request = pool_service_pb2.ClaimCustomerRequest(id=id, **fields)
    return c.ask("PoolService/ClaimCustomer", request, customer_pb2.Customer, who)


def give_back(
    c: Any, id: str, who: Principal | None = None, **fields: Any
) -> Awaitable[customer_pb2.Customer]:
    request = pool_service_pb2.ReturnCustomerRequest(id=id, **{"reason": "not my region", **fields})
    return c.ask("PoolService/ReturnCustomer", request, customer_pb2.Customer, who)


def rule(c: Any, *names: str, who: Principal | None = None, **values: Any) -> Awaitable[pool_pb2.PoolRule]:
    request = pool_service_pb2.UpdatePoolRuleRequest(rule=pool_pb2.PoolRule(**values))
    request.update_mask.paths.extend(names or values)
    return c.ask("PoolService/UpdatePoolRule", request, pool_pb2.PoolRule, who)


async def pool(c: Any, who: Principal, **asked: Any) -> set[str]:
    request = pool_service_pb2.ListPoolCustomersRequest(page_size=2, **asked)
    found = set[str]()
    while True:
        page = await c.ask(
            "PoolService/ListPoolCustomers", request, pool_service_pb2.ListPoolCustomersResponse, who
        )
        found |= {one.id for one in page.customers}
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


async def in_pool(c: Any, owner: Principal, **fields: Any) -> str:
    id = await c.customer(owner, **fields)
    await give_back(c, id, owner)
    return id


async def test_it_is_put_back_seen_by_all_and_claimed_with_what_belongs_to_it(company: Make) -> None:
    c, rival = await company(), await company()
    ann, bob = [await c.person(name) for name in ("Ann", "Bob")]
    id = await c.customer(ann, "北京用友")
    contact = await c.contact(id, "张伟")
    await refused(*GONE, give_back(c, id, bob))
    await refused(*GONE, give_back(c, id, rival.boss))
    await refused(Code.INVALID_ARGUMENT, "INVALID_FIELD", give_back(c, id, ann, reason=""))
    await refused(Code.ABORTED, "ETAG_MISMATCH", give_back(c, id, ann, etag="9"))
    back = await give_back(c, id, ann)
    assert (back.owner_id, back.team_id, back.return_reason) == ("", "", "not my region")
    assert back.previous_owner_id == str(ann.person_id) and back.HasField("pool_time")
    await refused(Code.FAILED_PRECONDITION, "CUSTOMER_IN_POOL", give_back(c, id, c.boss))
    for who in (ann, bob, c.boss):
        assert await pool(c, who) == {id}
    assert await pool(c, bob, query="bjyy") == {id} == await pool(c, bob, filter='displayName = "北京用友"')
    assert await pool(c, bob, filter='displayName = "x"') == set() == await pool(c, rival.boss)
    nobody = await c.person("Nobody", customers=Rights())
    await refused(Code.PERMISSION_DENIED, "RIGHT_MISSING", pool(c, nobody))
    assert await c.listed(ann) == set(), "by a right of its own nobody of these sees it"
    reader = await c.person("Reader", customers=Rights(Reach.OWN, Reach.NONE))
    await refused(Code.PERMISSION_DENIED, "RIGHT_MISSING", claim(c, id, reader))
    await refused(*GONE, claim(c, id, rival.boss))
    mine = await claim(c, id, bob, request_id="once")
    assert mine.owner_id == str(bob.person_id) and not mine.HasField("pool_time")
    assert (mine.previous_owner_id, mine.return_reason) == ("", "")
    assert (await claim(c, id, bob, request_id="once")).etag == mine.etag
    get = contact_service_pb2.GetContactRequest(id=contact)
    found = await c.ask("ContactService/GetContact", get, contact_pb2.Contact, bob)
    assert found.owner_id == str(bob.person_id)
    await refused(*GONE, claim(c, id, ann))
    await refused(Code.FAILED_PRECONDITION, "CUSTOMER_NOT_IN_POOL", claim(c, id, bob))
    assert await pool(c, bob) == set()
    assert await c.told(id) == ["customer.created", "customer.returned", "customer.assigned"]
    fields = {one.field for change in await c.history(id) for one in change.fields}
    assert {"ownerId", "returnReason", "poolTime"} <= fields


async def test_fifty_claim_one_customer_and_one_gets_it(company: Make) -> None:
    c = await company()
    ann = await c.person("Ann")
    id = await in_pool(c, ann)
    sellers = [replace(ann, person_id=somebody(str(n)).person_id) for n in range(50)]

    async def one(place: int) -> bool:
        harness = (c.first, c.other)[place % 2]
        request = pool_service_pb2.ClaimCustomerRequest(id=id)
        method = "kehu.customers.v1.PoolService/ClaimCustomer"
        try:
            await harness.ask(sellers[place], method, request, customer_pb2.Customer)
        except Problem as problem:
            assert problem.code in (Code.NOT_FOUND, Code.ABORTED, Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED)
            return False
        return True

    won = await asyncio.gather(*(one(place) for place in range(50)))
    assert sum(won) == 1
    assert (await c.get(id)).owner_id == str(sellers[won.index(True)].person_id)
    assert Counter(await c.told(id))["customer.assigned"] == 1


async def test_claims_have_a_limit_and_a_pause(company: Make) -> None:
    c = await company()
    ann, bob = [await c.person(name) for name in ("Ann", "Bob")]
    ids = [await in_pool(c, ann) for _ in range(6)]
    await rule(c, claim_limit=3, claim_pause_hours=1)
    await refused(Code.FAILED_PRECONDITION, "CLAIM_TOO_SOON", claim(c, ids[0], ann))
    await c.customer(bob)  # what one has made counts
    done = await asyncio.gather(*(claim(c, id, bob) for id in ids), return_exceptions=True)
    reasons = [one.reason for one in done if isinstance(one, Problem)]
    assert reasons == ["CLAIM_LIMIT_REACHED"] * 4, done
    assert len(await c.listed(bob)) == 3
    later = datetime.now(UTC) - timedelta(hours=2)
    await c.execute("UPDATE customers SET pool_time = :p0 WHERE owner_id IS NULL", later)
    (left, *_) = await pool(c, ann)
    assert (await claim(c, left, ann)).owner_id == str(ann.person_id)


async def idle(c: Any, days: float, *ids: str) -> None:
    """Nobody has been in touch with them for so many days."""
    await c.execute(
        "UPDATE customers SET created_at = :p0, assign_time = :p0, last_contact_time = NULL, last_deal_time = NULL,"
        " last_service_time = NULL WHERE id = ANY(CAST(:p1 AS uuid[]))",
        datetime.now(UTC) - timedelta(days=days),
        list(ids),
    )


async def work(c: Any, some: Any, harness: Any) -> bool:
    async with harness.running.database.transaction(c.boss.acting_as("customers")) as tx:
        return await some(tx)


async def spoken(c: Any, id: str, days: float = 0) -> None:
    async with c.other.running.database.transaction(c.boss.acting_as("customers")) as tx:
        await touch(tx, "contact", UUID(id), datetime.now(UTC) - timedelta(days=days))


async def test_idle_customers_go_back_after_one_warning(company: Make) -> None:
    c = await company()
    ann = await c.person("Ann")
    fresh, touched, gone, important, won = [
        await c.customer(ann, **fields)
        for fields in ({}, {}, {}, {"level_key": "A"}, {"stage_key": "ACTIVE"})
    ]
    await c.contact(gone, "李娜")
    await idle(c, 25, touched, gone, important, won)
    await rule(c, idle_days=30, warning_days=7, kept_level_keys=["A"], kept_stage_keys=["ACTIVE"])

    async def warned() -> bool:  # by the job that the change of the rule began
        return (await c.told(gone))[-1] == "customer.return_warned"

    await eventually(warned, 60)
    day = (await c.get(gone, ann)).return_time.ToDatetime(tzinfo=UTC)
    assert timedelta(days=6.9) < day - datetime.now(UTC) <= timedelta(days=7)
    assert await c.listed(ann, filter=f'returnTime <= "{day.isoformat()}"') == {touched, gone}
    for id in (fresh, important, won):
        assert await c.told(id) == ["customer.created"]
    # A second look warns nobody again; a touch that is older than the last one changes nothing, a new one takes the day away.
    assert not await work(c, warn_idle, c.first)
    await spoken(c, touched, 40)
    assert (await c.get(touched)).HasField("return_time")
    await spoken(c, touched)
    assert not (await c.get(touched)).HasField("return_time")
    await idle(c, 31, gone, important, won)
    await c.execute(
        "UPDATE customers SET return_time = :p0 WHERE id = CAST(:p1 AS uuid)", datetime.now(UTC), gone
    )
    await asyncio.gather(
        *(work(c, some, one) for some in (return_idle, warn_idle) for one in (c.first, c.other))
    )
    await asyncio.gather(*(work(c, return_idle, one) for one in (c.first, c.other)))
    now = await c.get(gone)
    assert (now.owner_id, now.previous_owner_id, now.return_reason) == ("", str(ann.person_id), "")
    assert not now.HasField("return_time") and await pool(c, ann) == {gone}
    assert await c.told(gone) == ["customer.created", "customer.return_warned", "customer.returned"]
    assert await c.listed(ann) == {fresh, touched, important, won}
    # Left idle once more, it is warned of once more.
    await idle(c, 25, touched)
    assert not await work(c, warn_idle, c.other)
    assert Counter(await c.told(touched))["customer.return_warned"] == 2


async def test_whom_the_rule_keeps_by_now_loses_the_day(company: Make) -> None:
    c = await company()
    ann = await c.person("Ann")
    id = await c.customer(ann)
    await rule(c, idle_days=30)
    await idle(c, 31, id)
    await work(c, warn_idle, c.first)
    await eventually(lambda: _goes_back(c, id), 30)  # the job may be at it just now
    await c.execute("UPDATE customers SET level = 'A'")
    await c.execute("UPDATE pool_rules SET kept_level_keys = '{A}'")
    await c.execute("UPDATE customers SET return_time = :p0", datetime.now(UTC) - timedelta(hours=1))
    assert not await work(c, return_idle, c.first)
    now = await c.get(id)
    assert now.owner_id == str(ann.person_id) and not now.HasField("return_time")
    # Another rule warns anew.
    await idle(c, 31, id)
    await rule(c, "kept_level_keys")
    await eventually(lambda: _warned(c, id, 2), 60)
    await rule(c, idle_days=60)
    assert not (await c.get(id)).HasField("return_time")


async def _goes_back(c: Any, id: str) -> bool:
    return (await c.get(id)).HasField("return_time")


async def _warned(c: Any, id: str, times: int) -> bool:
    return Counter(await c.told(id))["customer.return_warned"] == times


async def test_the_rule_is_kept_and_refused(company: Make) -> None:
    c, rival = await company(), await company()
    get = pool_service_pb2.GetPoolRuleRequest()
    first = await c.ask("PoolService/GetPoolRule", get, pool_pb2.PoolRule)
    assert (first.idle_days, first.warning_days, first.claim_limit) == (0, 7, 0)
    seller = await c.person("Seller")
    await refused(Code.PERMISSION_DENIED, "RIGHT_MISSING", rule(c, who=seller, claim_limit=1))
    bad = (Code.INVALID_ARGUMENT, "INVALID_FIELD")
    await refused(*bad, rule(c, idle_days=7))
    await refused(*bad, rule(c, idle_days=10, warning_days=10))
    await refused(*bad, rule(c, idle_days=-1))
    changed = await rule(c, idle_days=10, warning_days=3, claim_limit=5)
    await refused(*bad, rule(c, "warning_days"))
    await refused(Code.ABORTED, "ETAG_MISMATCH", rule(c, "claim_limit", etag="77"))
    assert (await c.ask("PoolService/GetPoolRule", get, pool_pb2.PoolRule)) == changed
    assert (await rival.ask("PoolService/GetPoolRule", get, pool_pb2.PoolRule)).idle_days == 0
    assert changed.id == first.id  # by which its history is asked for, made or not
    assert await c.told(changed.id) == ["pool_rule.updated"]
    request = history_pb2.ListChangesRequest(record_id=changed.id, record_type="pool_rule")
    told = await c.ask("HistoryService/ListChanges", request, history_pb2.ListChangesResponse)
    assert {one.field for one in told.changes[0].fields} >= {"idleDays"}


async def test_the_job_comes_again_and_survives_a_death(company: Make) -> None:
    c = await company()
    ann = await c.person("Ann")
    ids = [await c.customer(ann) for _ in range(3)]
    await rule(c, idle_days=30)

    async def waits() -> bool:
        jobs = await c.rows(
            "SELECT due_at FROM jobs WHERE kind = $1 AND due_at > now() + interval '8 minutes'", RETURN
        )
        return len(jobs) == 1

    await eventually(waits, 60)
    # It has died in the middle: one customer is warned of, its lease has ended, and it is due.
    await idle(c, 25, ids[0])
    await work(c, warn_idle, c.first)
    await idle(c, 25, *ids[1:])
    await c.execute(
        "UPDATE jobs SET due_at = now(), leased_until = now() - interval '1 second' WHERE kind = :p0", RETURN
    )

    async def all_warned() -> bool:
        return all([(await c.get(id)).HasField("return_time") for id in ids])

    await eventually(all_warned, 60)
    assert [Counter(await c.told(id))["customer.return_warned"] for id in ids] == [1, 1, 1]
    await rule(c, "idle_days")
    await c.execute("DELETE FROM jobs WHERE kind = :p0", RETURN)
    await return_idle_customers({}, c.other.running.call(c.boss.acting_as("customers")))
    assert not await c.rows("SELECT id FROM jobs WHERE kind = $1", RETURN)


async def test_two_replicas_return_many_and_none_twice(company: Make) -> None:
    """Several workers of each, on connections of their own, until none of them finds anything, while owners are in touch with
    some and give others away."""
    c = await company()
    ann, bob = [await c.person(name) for name in ("Ann", "Bob")]
    count = 250  # more than two batches
    from chassis.owners import Owner

    async with c.other.running.database.transaction(c.boss) as tx:
        for number in range(count):
            enrolled(tx, {"display_name": f"Idle {number}"}, Owner(ann.person_id, None))
    await rule(c, idle_days=30)
    await c.execute("UPDATE jobs SET due_at = now() + interval '1 hour' WHERE kind = :p0", RETURN)
    rows = await c.rows("SELECT id FROM customers ORDER BY id DESC LIMIT 10")
    every = [str(row["id"]) for row in await c.rows("SELECT id FROM customers")]
    await idle(c, 40, *every)
    await c.execute("UPDATE customers SET return_time = :p0", datetime.now(UTC) - timedelta(days=1))

    async def patiently(what: Callable[[], Awaitable[Any]]) -> Any:
        """As jobs, events and callers do: who finds a row held by another for long comes again."""
        while True:
            try:
                return await what()
            except Problem as problem:
                assert problem.code in (Code.ABORTED, Code.UNAVAILABLE), problem

    async def worker(harness: Any) -> None:
        while await patiently(partial(work, c, return_idle, harness)):
            pass

    async def given(id: str) -> None:
        request = customer_service_pb2.AssignCustomerRequest(id=id, owner_id=str(bob.person_id))
        await patiently(partial(c.ask, "CustomerService/AssignCustomer", request, customer_pb2.Customer))

    kept = [str(row["id"]) for row in rows]
    await asyncio.gather(
        *(worker(harness) for harness in (c.first, c.other) * 3),
        *(patiently(partial(spoken, c, id)) for id in kept[:5]),
        *(given(id) for id in kept[5:]),
    )
    await asyncio.gather(*(worker(harness) for harness in (c.first, c.other)))
    told = await c.rows(
        "SELECT record_id, count(*) AS n FROM outbox WHERE subject LIKE '%customer.returned' GROUP BY record_id"
    )
    assert {row["n"] for row in told} == {1}
    (free,) = await c.rows("SELECT count(*) AS n FROM customers WHERE owner_id IS NULL")
    returned = {str(row["record_id"]) for row in told}
    assert set(every) - set(kept) <= returned
    for id in kept[5:]:
        assert (await c.get(id)).owner_id == str(bob.person_id), "whoever was given it has it"
    assert free["n"] == len(returned - set(kept[5:]))
