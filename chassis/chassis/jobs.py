"""Work that outlives the call that asked for it.

A job is written in the transaction that wants it and runs at least once after the commit, on any replica: it is leased, its
lease is prolonged while it runs, and a job whose process has died is taken up by another when the lease has ended. What a job
does must therefore bear a repeat. Timers are jobs with a later `due_at`; they live in PostgreSQL and not in the broker.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import asyncpg
import orjson

from chassis.database import CONNECTING, SILENCE
from chassis.errors import Code, Problem
from chassis.principal import Principal
from chassis.settings import Settings

log = logging.getLogger(__name__)

Job = Callable[[Mapping[str, Any], Any], Awaitable[None]]
"""`async (payload, call)`: `call` is a `chassis.rpc.Call` in which the service acts for the person who asked."""

_POLL = 1.0
_AT_ONCE = 8
_OF_ONE_KIND = 6
"""Jobs of a kind that wait for somebody who says nothing, as a mail server may, leave room for those of other kinds."""
_MAX_ATTEMPTS = 25
_LONGEST_PAUSE = 60.0

_CLAIM = """
UPDATE jobs SET leased_until = now() + make_interval(secs => $2), attempts = attempts + 1
WHERE (tenant_id, id) IN (
    SELECT tenant_id, id FROM jobs
    WHERE state = 'waiting' AND due_at <= now() AND (leased_until IS NULL OR leased_until < now()) AND kind = ANY($3)
    ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED
)
RETURNING tenant_id, id, kind, tenant, person_id, person_name, team_id, payload::text AS payload, attempts
"""
_PROLONG = "UPDATE jobs SET leased_until = now() + make_interval(secs => $3) WHERE tenant_id = $1 AND id = $2 AND attempts = $4"
_DONE = "DELETE FROM jobs WHERE tenant_id = $1 AND id = $2 AND attempts = $3"
_AGAIN = (
    "UPDATE jobs SET leased_until = NULL, due_at = now() + make_interval(secs => $3), last_error = $4, state = $5"
    " WHERE tenant_id = $1 AND id = $2 AND attempts = $6"
)


class Runner:
    """Runs the jobs of one service until cancelled; survives the loss of the database."""

    def __init__(
        self,
        settings: Settings,
        jobs: Mapping[str, Job],
        waiting: asyncio.Event,
        call_for: Callable[[Principal], Any],
        service: str,
    ) -> None:
        self._settings = settings
        self._lease = settings.job_lease_seconds
        self._jobs = jobs
        self._waiting = waiting
        self._call_for = call_for
        self._service = service
        self._running: dict[asyncio.Task[None], str] = {}

    async def run(self) -> None:
        """Runs jobs for ever."""
        while True:
            try:
                pool = await asyncpg.create_pool(
                    self._settings.relay_database_url.get_secret_value(), min_size=0, max_size=2,
                    timeout=CONNECTING, command_timeout=SILENCE,
                )  # fmt: skip
                async with pool:
                    await self._work(pool)
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                log.warning("jobs: %s: %s", type(error).__name__, error)
            await asyncio.sleep(_POLL)

    async def _work(self, pool: Any) -> None:
        try:
            while True:
                self._waiting.clear()
                free, kinds = self._room()
                rows: list[Any] = await pool.fetch(_CLAIM, free, self._lease, kinds) if free else []
                for row in rows:
                    task = asyncio.create_task(self._one(pool, row))
                    self._running[task] = row["kind"]
                    task.add_done_callback(self._running.pop)
                if rows and len(self._running) < _AT_ONCE:
                    continue
                try:
                    await asyncio.wait_for(self._waiting.wait(), _POLL)
                except TimeoutError:
                    continue
        finally:
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)

    def _room(self) -> tuple[int, list[str]]:
        """How many more jobs may begin, and of which kinds."""
        running = Counter(self._running.values())
        kinds = [kind for kind in self._jobs if running[kind] < _OF_ONE_KIND]
        most = max((running[kind] for kind in kinds), default=_OF_ONE_KIND)
        return min(_AT_ONCE - len(self._running), _OF_ONE_KIND - most), kinds

    async def _one(self, pool: Any, row: Any) -> None:
        key = (row["tenant_id"], row["id"])
        who = Principal(
            tenant_id=row["tenant_id"], tenant=row["tenant"], person_id=row["person_id"], name=row["person_name"],
            team_id=row["team_id"], service=self._service,
        )  # fmt: skip
        keeping = asyncio.create_task(self._keep(pool, key, row["attempts"]))
        try:
            await self._jobs[row["kind"]](orjson.loads(row["payload"]), self._call_for(who))
            await pool.execute(_DONE, *key, row["attempts"])
        except Exception as error:  # whatever a job raises, it is tried again or set aside, never lost
            passing = isinstance(error, Problem) and error.code in (
                Code.UNAVAILABLE,
                Code.ABORTED,
                Code.DEADLINE_EXCEEDED,
            )
            log.warning(
                "job %s failed (%d): %r",
                row["kind"],
                row["attempts"],
                error,
                exc_info=None if passing else error,
            )
            pause = min(_LONGEST_PAUSE, 0.5 * 2 ** min(row["attempts"], 10))
            state = "failed" if row["attempts"] >= _MAX_ATTEMPTS and not passing else "waiting"
            try:
                await pool.execute(_AGAIN, *key, pause, repr(error)[:2000], state, row["attempts"])
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                log.warning("job %s: its lease will end by itself", row["kind"])
        finally:
            keeping.cancel()

    async def _keep(self, pool: Any, key: tuple[object, object], attempt: int) -> None:
        while True:
            await asyncio.sleep(self._lease / 3)
            try:
                await pool.execute(_PROLONG, *key, self._lease, attempt)
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                log.warning("a lease could not be prolonged: %s", error)
