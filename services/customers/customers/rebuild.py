"""`python -m customers rebuild-touches [--keep]`: when customers were last contacted, bought and were served, and are to be
contacted next, anew from the events that the streams hold.

The events are read beside the service, which goes on, and what follows from them is gathered aside; nobody sees it before all of
it is there. Then it takes its place in one transaction, for which taking events in waits a moment: what has come meanwhile is
read, too, before anything is written. Customers of whom nothing changes are not touched. See `chassis.events.rebuild`.
"""

import sys
from collections.abc import Iterable
from typing import Any
from uuid import UUID

import asyncpg

from chassis.events.rebuild import Beside, StreamsIncomplete, beside
from chassis.events.subscriptions import Arrival, Poison
from customers.listens import TOUCHING, told_of
from customers.touches import ActivityFact

_AT_ONCE = 5000
_KINDS = ("deal", "service")
"""The touches that are told one by one; contacts follow from the activities."""
_TABLES = (
    "CREATE TEMPORARY TABLE told_activities (tenant_id uuid, id uuid, version integer, event_id uuid, customer_id uuid,"
    " state text, at timestamptz, PRIMARY KEY (tenant_id, id))",
    "CREATE TEMPORARY TABLE told_touches (tenant_id uuid, customer_id uuid, kind text, at timestamptz,"
    " PRIMARY KEY (tenant_id, customer_id, kind))",
)
# Of each activity its newest event counts, of each other kind of touch the last.
_NOTE_ACTIVITY = (
    "INSERT INTO told_activities AS t VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (tenant_id, id) DO UPDATE"
    " SET version = excluded.version, event_id = excluded.event_id, customer_id = excluded.customer_id, state = excluded.state,"
    " at = excluded.at WHERE (t.version, t.event_id) < (excluded.version, excluded.event_id)"
)
_NOTE_TOUCH = (
    "INSERT INTO told_touches AS t VALUES ($1, $2, $3, $4) ON CONFLICT (tenant_id, customer_id, kind) DO UPDATE"
    " SET at = greatest(t.at, excluded.at)"
)
_TENANTS = "SELECT DISTINCT tenant_id FROM customers ORDER BY tenant_id"
_ACTIVITIES = (
    "SELECT id, version, event_id, customer_id, state, at FROM told_activities WHERE tenant_id = $1 AND id > $2"
    " ORDER BY id LIMIT $3"
)
_TOUCHES = "SELECT customer_id, kind, at FROM told_touches WHERE tenant_id = $1"
_SET_TENANT = "SELECT set_config('kehu.tenant', $1, true)"
_BEGIN = (
    "SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL lock_timeout = '30s';"
    # Nobody takes events in from here on: what was taken in before is in the streams, and is read before anything is written.
    " LOCK TABLE inbox, customer_activities IN SHARE ROW EXCLUSIVE MODE"
)
_FORGET = "DELETE FROM customer_activities"
_KEEP = (
    "INSERT INTO customer_activities AS t (tenant_id, id, version, event_id, customer_id, state, at)"
    " SELECT $1, a.id, a.version, a.event_id, a.customer_id, a.state, a.at FROM"
    " unnest($2::uuid[], $3::int[], $4::uuid[], $5::uuid[], $6::text[], $7::timestamptz[])"
    " AS a(id, version, event_id, customer_id, state, at)"
    " ON CONFLICT (tenant_id, id) DO UPDATE SET version = excluded.version, event_id = excluded.event_id,"
    " customer_id = excluded.customer_id, state = excluded.state, at = excluded.at"
)
# What was with a customer that was merged is with the survivor.
_SURVIVORS = (
    "WITH RECURSIVE gone AS (SELECT id AS former, id, merged_into_id FROM customers WHERE merged_into_id IS NOT NULL"
    " UNION SELECT g.former, c.id, c.merged_into_id FROM gone g JOIN customers c ON c.id = g.merged_into_id)"
    " SELECT former, id FROM gone WHERE merged_into_id IS NULL"
)
_MET = (
    "SELECT customer_id, max(at) FILTER (WHERE state = 'COMPLETED') AS last, min(at) FILTER (WHERE state = 'PLANNED') AS next"
    " FROM customer_activities GROUP BY customer_id"
)
# Whoever was in touch with a customer later than was known keeps it from going back to the pool, as ever.
_PLACE = (
    "WITH told AS (SELECT * FROM unnest($1::uuid[], $2::timestamptz[], $3::timestamptz[]) AS t(id, deal, service)),"  # noqa: S608 (a constant)
    f" met AS ({_MET}),"
    " anew AS (SELECT c.id, CASE WHEN $4 THEN greatest(c.last_contact_time, m.last) ELSE m.last END AS contact,"
    " CASE WHEN $4 THEN greatest(c.last_deal_time, t.deal) ELSE t.deal END AS deal,"
    " CASE WHEN $4 THEN greatest(c.last_service_time, t.service) ELSE t.service END AS service,"
    " CASE WHEN $4 AND m.customer_id IS NULL THEN c.next_contact_time ELSE m.next END AS next"
    " FROM customers c LEFT JOIN told t ON t.id = c.id LEFT JOIN met m ON m.customer_id = c.id)"
    " UPDATE customers c SET last_contact_time = a.contact, last_deal_time = a.deal, last_service_time = a.service,"
    " next_contact_time = a.next, return_time = CASE WHEN greatest(a.contact, a.deal, a.service) > greatest(c.created_at,"
    " c.assign_time, c.last_contact_time, c.last_deal_time, c.last_service_time) THEN NULL ELSE c.return_time END"
    " FROM anew a WHERE c.id = a.id AND c.merged_into_id IS NULL"
    " AND (c.last_contact_time, c.last_deal_time, c.last_service_time, c.next_contact_time)"
    " IS DISTINCT FROM (a.contact, a.deal, a.service, a.next)"
)


async def rebuild_touches(running: Any, arguments: list[str]) -> None:
    """The command. Exits with a message when it cannot be done."""
    if arguments not in ([], ["--keep"]):
        sys.exit("rebuild-touches takes nothing but --keep")
    owner_url = running.settings.owner_database_url.get_secret_value()
    if not owner_url:
        sys.exit("rebuild-touches gathers aside: it needs KEHU_OWNER_DATABASE_URL, as migrate does")
    keep = bool(arguments)
    aside: Any = await asyncpg.connect(owner_url)
    service: Any = await asyncpg.connect(running.settings.database_url.get_secret_value())
    try:
        async with beside(running.settings, running.service.name, TOUCHING, keep=keep) as reader:
            for table in _TABLES:
                await aside.execute(table)
            await _gather(aside, reader)
            async with service.transaction():
                await service.execute(_BEGIN)
                await _gather(aside, reader)
                for row in await aside.fetch(_TENANTS):
                    await _put_in_place(aside, service, row["tenant_id"], keep=keep)
    except StreamsIncomplete as problem:
        sys.exit(str(problem))
    finally:
        await service.close()
        await aside.close()
    print("the times are rebuilt")


async def _gather(aside: Any, reader: Beside) -> None:
    async for arrivals in reader.further():
        await _note(aside, arrivals)


async def _note(aside: Any, arrivals: Iterable[Arrival]) -> None:
    activities: list[tuple[Any, ...]] = []
    touches: list[tuple[Any, ...]] = []
    for one in arrivals:
        envelope = one.envelope
        try:
            told = told_of(one.event, envelope)
        except Poison:
            continue  # it is among the dead letters
        if isinstance(told, ActivityFact):
            activities.append((
                envelope.tenant_id, told.id, envelope.version, envelope.event_id, told.customer_id, told.state, told.at,
            ))  # fmt: skip
        elif told is not None:
            touches.append((envelope.tenant_id, told.customer_id, told.kind, told.at))
    await aside.executemany(_NOTE_ACTIVITY, activities)
    await aside.executemany(_NOTE_TOUCH, touches)


async def _put_in_place(aside: Any, service: Any, tenant_id: UUID, *, keep: bool) -> None:
    """What was told of a tenant takes the place of what was there; with `keep`, of what was told alone."""
    await service.execute(_SET_TENANT, str(tenant_id))
    survivors: dict[UUID, UUID] = {row["former"]: row["id"] for row in await service.fetch(_SURVIVORS)}
    if not keep:
        await service.execute(_FORGET)
    last = UUID(int=0)
    while rows := await aside.fetch(_ACTIVITIES, tenant_id, last, _AT_ONCE):
        last = rows[-1]["id"]
        ids, versions, events, customers, states, times = (list(column) for column in zip(*rows, strict=True))
        customers = [survivors.get(id, id) for id in customers]
        await service.execute(_KEEP, tenant_id, ids, versions, events, customers, states, times)
    told: dict[UUID, list[Any]] = {}
    for row in await aside.fetch(_TOUCHES, tenant_id):
        named: UUID = row["customer_id"]
        times = told.setdefault(survivors.get(named, named), [None] * len(_KINDS))
        place = _KINDS.index(row["kind"])
        times[place] = row["at"] if times[place] is None else max(row["at"], times[place])
    columns = [[times[place] for times in told.values()] for place in range(len(_KINDS))]
    await service.execute(_PLACE, list(told), *columns, keep)
