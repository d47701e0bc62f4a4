"""`python -m customers check-points`: whether every card says what the ledger says, and every lot what was moved.

The database holds most of this by its constraints; the check trusts none of them and adds everything up anew. It runs each night
as well.
"""

import sys
from typing import Any

from sqlalchemy import text

from chassis.database import Database, read_across
from chassis.principal import NOBODY, Principal

_FAULTS = text("""
WITH posted AS (
    SELECT card_id, sum(member) AS balance, sum(-owing) AS owed, count(*) AS postings, max(sequence) AS sequence,
        count(*) FILTER (WHERE issued + member + redeemed + expired + adjusted + owing <> 0) AS uneven
    FROM points_transactions GROUP BY card_id
), held AS (
    SELECT card_id, sum(remaining) AS remaining FROM points_lots GROUP BY card_id
), moved AS (
    SELECT lot_id, sum(points) AS remaining FROM points_lot_moves GROUP BY lot_id
), spent AS (
    SELECT t.id, t.card_id, t.member, coalesce(sum(m.points), 0) AS moved FROM points_transactions t
    LEFT JOIN points_lot_moves m ON m.transaction_id = t.id GROUP BY t.id, t.card_id, t.member
)
SELECT c.id AS card_id, 'the card has ' || c.balance || ' points, its ledger ' || coalesce(p.balance, 0) AS fault
    FROM membership_cards c LEFT JOIN posted p ON p.card_id = c.id WHERE c.balance <> coalesce(p.balance, 0)
UNION ALL SELECT c.id, 'the card owes ' || c.owed || ' points, its ledger says ' || coalesce(p.owed, 0)
    FROM membership_cards c LEFT JOIN posted p ON p.card_id = c.id WHERE c.owed <> coalesce(p.owed, 0)
UNION ALL SELECT c.id, 'the card has ' || c.balance || ' points, its lots ' || coalesce(h.remaining, 0)
    FROM membership_cards c LEFT JOIN held h ON h.card_id = c.id WHERE c.balance <> coalesce(h.remaining, 0)
UNION ALL SELECT c.id, 'the card counts ' || coalesce(c.sequence, 0) || ' postings, its ledger has ' || coalesce(p.postings, 0)
    FROM membership_cards c LEFT JOIN posted p ON p.card_id = c.id
    WHERE coalesce(c.sequence, 0) <> coalesce(p.postings, 0) OR coalesce(p.sequence, 0) <> coalesce(p.postings, 0)
UNION ALL SELECT p.card_id, p.uneven || ' postings do not add up to zero' FROM posted p WHERE p.uneven > 0
UNION ALL SELECT l.card_id, 'lot ' || l.id || ' has ' || l.remaining || ' points, its moves say ' || coalesce(m.remaining, 0)
    FROM points_lots l LEFT JOIN moved m ON m.lot_id = l.id WHERE l.remaining <> coalesce(m.remaining, 0)
UNION ALL SELECT s.card_id, 'posting ' || s.id || ' moves ' || s.member || ' points, ' || s.moved || ' in lots'
    FROM spent s WHERE s.member <> s.moved
UNION ALL SELECT c.id, 'the balance is below zero' FROM membership_cards c WHERE c.balance < 0 OR c.owed < 0
ORDER BY 1, 2
""")
_PATIENCE = text("SELECT set_config('statement_timeout', '300s', true)")
"""Ledgers grow for ever."""
_TENANTS = "SELECT DISTINCT tenant_id, tenant FROM jobs WHERE kind = 'membership night' ORDER BY tenant"
"""Every tenant with a card has a night before it, and jobs are what can be seen of all tenants."""


async def faults(database: Database, who: Principal) -> list[str]:
    """What is wrong with the points of that caller's tenant, one text for each fault; empty when all is well."""
    async with database.transaction(who, origin="job") as tx:
        await tx.session.execute(_PATIENCE)
        return [f"card {row.card_id}: {row.fault}" for row in await tx.session.execute(_FAULTS)]


async def check_points(running: Any, arguments: list[str]) -> None:
    """The command: every tenant's points. Exits with 1 when something is wrong."""
    if arguments:
        sys.exit("check-points takes no arguments")
    wrong = 0
    tenants = await read_across(running.settings.relay_database_url.get_secret_value(), _TENANTS)
    for row in tenants:
        who = Principal(
            tenant_id=row["tenant_id"], tenant=row["tenant"], person_id=NOBODY, service="customers"
        )
        for fault in await faults(running.database, who):
            print(f"{row['tenant']}: {fault}")
            wrong += 1
    print(f"{len(tenants)} tenants, {wrong} faults")
    if wrong:
        sys.exit(1)
