"""Doing sweeps: durable, some records at a time, so that a death at any instruction neither leaves out a pair nor counts one
twice.

A step is one transaction: the pairs of some records, and the new cursor. It begins by locking the sweep and looking whether the
cursor is where the step started; so a second worker that took the job over stops at once and comes again later, and a cancel
takes effect between two steps. When all records are looked at, pairs that this sweep has not found and that nobody has decided
are compared once more: those that are alike no more go, and those of which one is in the trash, or came back behind the cursor,
stay.
"""

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from uuid import UUID

import orjson
from sqlalchemy import ARRAY, Uuid, bindparam, text

from chassis.database import Database, Transaction
from chassis.duplicates.sweep import FAILED, MOST_FREQUENT, RUNNING, SUCCEEDED, DuplicateSweep, tell
from chassis.duplicates.swept import Found, Swept, look, unlike
from chassis.effects import passes
from chassis.errors import Problem
from chassis.giving_up import Overtaken, giving_up, one_too_many
from chassis.ids import new_id
from chassis.principal import NOBODY, Principal
from chassis.rpc.call import Call

STEP = 100
_TOLD_EACH = 1000
_UNMET_AT_ONCE = 500
_log = logging.getLogger(__name__)


class _Ended(Exception):
    """The sweep was cancelled, or somebody else has ended it."""


class TooSlow(Exception):
    """Looking for the duplicates of a single record takes longer than a statement may."""


_NEXT = (
    "SELECT {columns} FROM {table} AS t WHERE t.deleted_at IS NULL AND t.id > $1 AND t.created_at <= $2 AND {such}"
    " ORDER BY t.id LIMIT $3"
)
COUNTING = "SELECT count(*) FROM {table} AS t WHERE t.deleted_at IS NULL AND {such}"
# A pair that this sweep has found from its other record is found already. The rows travel as one JSON parameter.
_KEEP = text(
    "INSERT INTO duplicate_pairs AS p (tenant_id, id, version, created_at, created_by, updated_at, updated_by, kind, first_id,"
    " second_id, first_at, second_at, score, reasons, state, state_before, sweep_id)"
    " SELECT CAST(:tenant AS uuid), r.id, 1, CAST(:now AS timestamptz), CAST(:by AS uuid), CAST(:now AS timestamptz),"
    " CAST(:by AS uuid), :kind, r.first_id, r.second_id, r.first_id, r.second_id, r.score,"
    " ARRAY(SELECT jsonb_array_elements_text(r.reasons)), 'OPEN', '', CAST(:sweep AS uuid)"
    " FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(id uuid, first_id uuid, second_id uuid, score integer, reasons jsonb)"
    " ON CONFLICT (tenant_id, kind, first_id, second_id) DO UPDATE SET score = excluded.score, reasons = excluded.reasons,"
    " sweep_id = excluded.sweep_id, updated_at = excluded.updated_at, version = p.version"
    " + CASE WHEN (p.score, p.reasons) IS DISTINCT FROM (excluded.score, excluded.reasons) THEN 1 ELSE 0 END"
    " WHERE p.state <> 'MERGED' AND p.sweep_id IS DISTINCT FROM excluded.sweep_id"
    " RETURNING p.state, p.id"
)
_UNMET = (
    "SELECT id, first_id, second_id FROM duplicate_pairs WHERE kind = $1 AND state = 'OPEN' AND sweep_id IS DISTINCT FROM $2"
    " AND id > $3 ORDER BY id LIMIT $4"
)
# Of each that it waits for it asks once more how it stands: somebody may have decided meanwhile.
_GONE = text(
    "DELETE FROM duplicate_pairs WHERE id IN (SELECT id FROM duplicate_pairs WHERE id = ANY(:ids) AND kind = :kind"
    " AND state = 'OPEN' AND sweep_id IS DISTINCT FROM CAST(:sweep AS uuid) ORDER BY first_id, second_id FOR UPDATE)"
).bindparams(bindparam("ids", type_=ARRAY(Uuid)))


class Sweeping:
    """A sweep being carried on from wherever it stands to its end."""

    def __init__(self, swept: Swept, call: Call, id: UUID) -> None:
        """`call` is what the job gets: the service acting for whoever started the sweep."""
        self._swept = swept
        self._database: Database = call.database
        self._who: Principal = call.who
        self._id = id
        self._at_once = STEP

    async def carry_on(self) -> None:
        """Does what remains. Returns when the sweep has ended or was cancelled.

        Problems that may pass by themselves (the database does not answer, somebody else carries it on) are raised for the job to
        be repeated.
        """
        async with giving_up(self._given_up, counts=_counts):
            with suppress(_Ended):
                while await self._step():
                    pass
                await self._forget()
                await self._end()

    async def _step(self) -> bool:
        """Looks at some records; False when there are no more."""
        async with self._database.transaction(self._who) as tx:
            sweep = await self._held(tx)
            last, until = sweep.last_id, sweep.created_at
        rows = await self._database.read(self._who, self._swept.sql(_NEXT), last, until, self._at_once)
        if not rows:
            return False
        try:
            pairs, frequent = await look(self._swept, self._database, self._who, rows)
        except Problem as error:
            if error.reason != "DATABASE_SLOW":
                raise
            if len(rows) == 1:
                raise TooSlow from error
            self._at_once = len(rows) // 2  # a repeat of as many would take as long
            return True
        async with self._database.transaction(self._who) as tx:
            sweep = await self._held(tx)
            if sweep.last_id != last:
                raise Overtaken
            await self._keep(tx, sweep, pairs)
            _note(sweep, frequent)
            told = sweep.processed_records // _TOLD_EACH
            sweep.processed_records += len(rows)
            sweep.last_id = rows[-1]["id"]
            if sweep.processed_records // _TOLD_EACH > told:
                tell(tx, self._swept.progressed, sweep)
        return True

    async def _held(self, tx: Transaction) -> DuplicateSweep:
        """The sweep, locked, if it goes on. Raises _Ended."""
        sweep = await tx.find(DuplicateSweep, self._id)
        if sweep is None or sweep.state != RUNNING:
            raise _Ended
        return sweep

    async def _keep(self, tx: Transaction, sweep: DuplicateSweep, pairs: Sequence[Found]) -> None:
        if not pairs:
            return
        # In one order, so that a merge that changes pairs and this do not wait for each other.
        rows = [
            {"id": new_id(), "first_id": one.first, "second_id": one.second, "score": one.score, "reasons": one.reasons}
            for one in sorted(pairs, key=lambda one: (one.first, one.second))
        ]  # fmt: skip
        payload = {
            "tenant": tx.who.tenant_id, "now": tx.now, "by": tx.who.person_id, "kind": sweep.kind, "sweep": sweep.id,
            "rows": orjson.dumps(rows, default=str).decode(),
        }  # fmt: skip
        kept = (await tx.session.execute(_KEEP, payload)).all()
        aside = sum(row.state == "SET_ASIDE" for row in kept)
        sweep.set_aside_pairs += aside
        sweep.found_pairs += len(kept) - aside
        sweep.new_pairs += len({row["id"] for row in rows} & {row.id for row in kept})

    async def _forget(self) -> None:
        """Drops pairs that are alike no more."""
        last = NOBODY
        while some := await self._database.read(
            self._who, _UNMET, self._swept.kind, self._id, last, _UNMET_AT_ONCE
        ):
            pairs = {row["id"]: (row["first_id"], row["second_id"]) for row in some}
            gone = await unlike(self._swept, self._database, self._who, pairs)
            async with self._database.transaction(self._who) as tx:
                sweep = await self._held(tx)
                if gone:
                    await tx.session.execute(_GONE, {"ids": gone, "kind": sweep.kind, "sweep": sweep.id})
            last = some[-1]["id"]

    async def _end(self) -> None:
        async with self._database.transaction(self._who) as tx:
            sweep = await self._held(tx)
            sweep.state, sweep.ended_at = SUCCEEDED, tx.now
            tell(tx, self._swept.progressed, sweep)

    async def _given_up(self, error: Exception) -> bool:
        """Counts a failure that does not lie in the moment; true when it was one too many."""
        _log.error("duplicate sweep %s: %r", self._id, error, exc_info=error)
        async with self._database.transaction(self._who) as tx:
            sweep = await tx.find(DuplicateSweep, self._id)
            if sweep is None or sweep.state != RUNNING:
                return True
            done = sweep.processed_records
            if not one_too_many(sweep, done, f"The sweep stopped behind {done} records"):
                return False
            sweep.state, sweep.ended_at = FAILED, tx.now
            tell(tx, self._swept.progressed, sweep)
            return True


def _counts(error: Exception) -> bool:
    return not isinstance(error, Problem) or not passes(error) or error.reason == "INTERNAL"


def _note(sweep: DuplicateSweep, frequent: Mapping[tuple[str, str], None]) -> None:
    known = {(reason, value): None for reason, value in sweep.frequent}
    more = [one for one in frequent if one not in known][: MOST_FREQUENT - len(known)]
    if more:
        sweep.frequent = [*sweep.frequent, *map(list, more)]
        # An erasure may have forgotten some meanwhile, which were counted.
        sweep.frequent_values = max(sweep.frequent_values, len(sweep.frequent))
