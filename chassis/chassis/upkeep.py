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


async def sweep_once(settings: Settings) -> int:
    """Removes the sent events that are past their keeping time. Returns their number."""
    connection: Any = await asyncpg.connect(
        settings.relay_database_url.get_secret_value(), command_timeout=30
    )
    removed = 0
    try:
        while True:
            done = await connection.execute(
                "DELETE FROM outbox WHERE (tenant_id, id) IN (SELECT tenant_id, id FROM outbox"
                " WHERE sent_at < now() - make_interval(days => $1) LIMIT $2)",
                settings.outbox_retention_days, _STEP,
            )  # fmt: skip
            count = int(done.split()[-1])
            removed += count
            if count < _STEP:
                return removed
    finally:
        await connection.close()
