"""What a night does to cards: those whose last day is over expire, points expire, levels follow what was earned.

One job for each tenant that has a card. Every card has a transaction of its own under its lock and is looked at anew in it, so
that the job may die anywhere, be repeated, or run twice at once. The transaction that ends a night sets the next one.
"""

import logging
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, time, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import text

from chassis.database import Database, Transaction
from chassis.principal import Principal
from customers.points.audit import faults
from customers.points.cards import Card, counts_since, expire_card, relevel
from customers.points.ledger import expire_points
from customers.points.programme import levels_of, programme_for

log = logging.getLogger(__name__)

NIGHT = "membership night"
"""The kind of the job. Its key is the tenant."""
_AT = time(hour=2, tzinfo=UTC)
_STEP = 500
_KNOWN = text("SELECT 1 FROM jobs WHERE kind = :kind AND key = :key AND state = 'waiting'")

_ENDING = (
    "SELECT id FROM membership_cards WHERE state = 'ACTIVE' AND expire_date < $2 AND deleted_at IS NULL AND id > $1"
    " ORDER BY id LIMIT $3"
)
_DUE = (
    "SELECT DISTINCT l.card_id AS id FROM points_lots l JOIN membership_cards c ON c.id = l.card_id WHERE l.remaining > 0"
    " AND l.expire_date < $2 AND c.deleted_at IS NULL AND l.card_id > $1 ORDER BY l.card_id LIMIT $3"
)
# The level of each card as it should be: the highest threshold of the programme that the points counted reach.
_MISPLACED = (
    "SELECT c.id FROM membership_cards c CROSS JOIN LATERAL (SELECT coalesce(sum(-e.issued), 0) AS points"
    " FROM points_transactions e WHERE e.card_id = ANY(ARRAY(SELECT c.id UNION ALL SELECT m.id FROM membership_cards m"
    " WHERE m.merged_into_id = c.id)) AND e.kind = 'EARN' AND e.created_at >= $4"
    " AND NOT EXISTS (SELECT FROM points_transactions b WHERE b.reverses_id = e.id)) AS counted"
    " CROSS JOIN LATERAL (SELECT max(threshold) AS threshold FROM unnest($2::bigint[]) AS threshold"
    " WHERE threshold <= counted.points) AS reached"
    " WHERE c.deleted_at IS NULL AND c.id > $1"
    " AND c.level_id IS DISTINCT FROM ($5::uuid[])[array_position($2::bigint[], reached.threshold)] ORDER BY c.id LIMIT $3"
)


def next_night(now: datetime) -> datetime:
    """When the next night begins, after `now`: two o'clock, UTC."""
    tonight = datetime.combine(now.date(), _AT)
    return tonight if tonight > now else tonight + timedelta(days=1)


async def await_night(tx: Transaction) -> None:
    """Sees to it that a night is coming for this tenant."""
    key = str(tx.who.tenant_id)
    if (await tx.session.execute(_KNOWN, {"kind": NIGHT, "key": key})).first() is None:
        await tx.enqueue(NIGHT, {}, due_at=next_night(tx.now), key=key)


async def _cards(database: Database, who: Principal, sql: str, *args: object) -> AsyncIterator[UUID]:
    last = UUID(int=0)
    while True:
        rows = await database.read(who, sql, last, args[0], _STEP, *args[1:])
        for row in rows:
            yield row["id"]
        if len(rows) < _STEP:
            return
        last = rows[-1]["id"]


async def spend_night(payload: Mapping[str, Any], call: Any) -> None:
    """The job. `call` is that of the chassis' jobs."""
    database: Database = call.database
    who: Principal = call.who
    today = datetime.now(UTC).date()
    async for id in _cards(database, who, _ENDING, today):
        async with database.transaction(who, origin="job") as tx:
            card = await tx.find(Card, id)
            if card is not None:
                expire_card(tx, card)
    async for id in _cards(database, who, _DUE, today):
        async with database.transaction(who, origin="job") as tx:
            card = await tx.find(Card, id)
            if card is not None:
                await expire_points(tx, card)
    await _relevel_all(database, who)
    for fault in await faults(database, who):
        log.critical("points of tenant %s: %s", who.tenant, fault)
    async with database.transaction(who, origin="job") as tx:
        await tx.enqueue(NIGHT, {}, due_at=next_night(tx.now), key=str(who.tenant_id))


async def _relevel_all(database: Database, who: Principal) -> None:
    async with database.transaction(who, origin="job") as tx:
        programme = await programme_for(tx)
    if programme is None:
        return
    levels = levels_of(programme.levels)
    since = counts_since(programme, datetime.now(UTC).date())
    thresholds, ids = [level.threshold for level in levels], [level.id for level in levels]
    async for id in _cards(database, who, _MISPLACED, thresholds, since, ids):
        async with database.transaction(who, origin="job") as tx:
            card = await tx.find(Card, id)
            if card is not None:
                await relevel(tx, card, programme)
