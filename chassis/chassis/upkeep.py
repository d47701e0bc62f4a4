"""What every service clears away: sent events past their keeping time, old marks of the inbox, answers kept for repeats.

The inbox keeps its marks a week longer than the outbox keeps events, so that nothing that can still be published again can
take effect twice.
"""

import asyncio
import logging
from typing import Any

import asyncpg

from chassis.settings import Settings

log = logging.getLogger(__name__)

_EVERY = 3600.0
_STEP = 5_000


async def sweep(settings: Settings) -> None:
    """Clears for ever, hourly."""
    while True:
        await asyncio.sleep(_EVERY)
        try:
            await sweep_once(settings)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            log.warning("upkeep: %s", error)


_CLEAR = {
    "outbox": (
        "DELETE FROM outbox WHERE (tenant_id, id) IN (SELECT tenant_id, id FROM outbox"
        " WHERE sent_at < now() - make_interval(days => $1) LIMIT $2)"
    ),
    "answers": (
        "DELETE FROM idempotency WHERE (tenant_id, person_id, method, request_id) IN (SELECT tenant_id, person_id, method,"
        " request_id FROM idempotency WHERE created_at < now() - make_interval(days => $1) LIMIT $2)"
    ),
}


async def sweep_once(settings: Settings) -> int:
    """Removes the sent events, and the answers for repeats, that are past their keeping time. Returns their number."""
    connection: Any = await asyncpg.connect(
        settings.relay_database_url.get_secret_value(), command_timeout=30
    )
    days = {"outbox": settings.outbox_retention_days, "answers": settings.answer_retention_days}
    removed = 0
    try:
        for what, statement in _CLEAR.items():
            count = _STEP
            while count == _STEP:
                count = int((await connection.execute(statement, days[what], _STEP)).split()[-1])
                removed += count
        return removed
    finally:
        await connection.close()
