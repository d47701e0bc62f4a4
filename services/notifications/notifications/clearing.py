"""What is cleared away: notifications after 90 days, with what caused them, and reminders of what is done.

One job for each tenant that has been told anything. Every inbox has a transaction of its own under its lock, so that the job may
die anywhere and be repeated.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import text

from chassis.database import Database, Transaction
from chassis.principal import Principal
from notifications.inbox import inbox_of, tell_changes

CLEARING = "clearing"
"""The kind of the job. Its key is the tenant."""
KEPT = timedelta(days=90)
_EACH = timedelta(days=1)
_STEP = 500

_KNOWN = text("SELECT 1 FROM jobs WHERE kind = :kind AND key = :key AND state = 'waiting'")
_WHOSE = "SELECT DISTINCT person_id FROM notifications WHERE created_at < $1 LIMIT $2"
_CLEAR = text("DELETE FROM notifications WHERE person_id = :person AND created_at < :before")
_FORGET = (
    text("DELETE FROM causes WHERE created_at < :before"),
    text("DELETE FROM reminders WHERE NOT waiting AND told_at < :before"),
)


async def await_clearing(tx: Transaction) -> None:
    """Sees to it that it is cleared away for this tenant."""
    key = str(tx.who.tenant_id)
    if (await tx.session.execute(_KNOWN, {"kind": CLEARING, "key": key})).first() is None:
        await tx.enqueue(CLEARING, {}, due_at=tx.now + _EACH, key=key)


async def clear_away(payload: Mapping[str, Any], call: Any) -> None:
    """The job; then it waits for the next day. `call` is that of the chassis' jobs."""
    database: Database = call.database
    who: Principal = call.who
    async with database.transaction(who, origin="job") as tx:
        before = tx.now - KEPT
    while rows := await database.read(who, _WHOSE, before, _STEP):
        for row in rows:
            async with database.transaction(who, origin="job") as tx:
                inbox = await inbox_of(tx, UUID(str(row["person_id"])))
                await tx.session.execute(_CLEAR, {"person": inbox.id, "before": before})
                await tell_changes(tx, inbox)
    async with database.transaction(who, origin="job") as tx:
        for statement in _FORGET:
            await tx.session.execute(statement, {"before": before})
        await tx.enqueue(CLEARING, {}, due_at=tx.now + _EACH, key=str(tx.who.tenant_id))
