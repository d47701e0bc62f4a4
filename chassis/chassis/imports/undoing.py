"""Undoing a whole import: what it created goes, what it changed goes back, what others have changed since, or have begun to work
with, stays.

What an import does to a record is noted in the batch that does it. The undoing takes these notes from the last row to the
first, some hundred in a transaction that also says what became of them; so one that dies goes on where it stood, and nothing
is undone twice. It runs with the rights that the person had who asked for it.

A record counts as changed since when somebody has changed it, or another import; not for what the services themselves keep up
to date in it, as when it was last spoken to. Of a changed record the fields that the import had set are looked at: when they
are as the import left them, they go back, whatever became of others.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import bindparam, select, text, update
from sqlmodel import col

from chassis.acting import acting, actor
from chassis.custom_fields.switch import Changes
from chassis.database import Database, Transaction
from chassis.effects import differing, effects, former, passes
from chassis.errors import Precondition, Problem
from chassis.giving_up import begun_again, giving_up, one_too_many
from chassis.imports.importer import Importer, Undo
from chassis.imports.progress import Progress
from chassis.imports.tables import EFFECTS, ENDED, READY, RUNNING, UNDOING, UNDONE, ImportRun
from chassis.principal import Principal
from chassis.rpc.call import Call
from chassis.wire import camel

JOB = "import_undo"
KEPT_FOR = timedelta(days=7)
BATCH = 200
ORIGIN = "import"
"""Where changes come from, as their history says, that an import or its undoing has made."""
_OWN_ORIGINS = ("event", "job", "rule", "command")
"""Where changes come from that nobody has made."""

_log = logging.getLogger(__name__)


class ImportNotEnded(Precondition):
    """Only an import that has ended can be undone."""

    reason = "IMPORT_NOT_ENDED"


class ImportUndone(Precondition):
    """The import is undone, or being undone, already."""

    reason = "IMPORT_UNDONE"


class ImportNotUndone(Precondition):
    """Only an undoing keeps records."""

    reason = "IMPORT_NOT_UNDONE"


class UndoExpired(Precondition):
    """It is too late."""

    reason = "UNDO_EXPIRED"


class NotUndoable(Precondition):
    """Imports of such records cannot be undone."""

    reason = "IMPORT_NOT_UNDOABLE"


async def note(tx: Transaction, importer: Importer, run_id: UUID, rows: Mapping[UUID, int]) -> None:
    """Notes what this transaction has done to records; `rows` says which row of the file made or changed which."""
    if importer.undo is None or not rows:
        return
    found = await effects(tx, importer.record_type, rows)
    if not found:
        return
    values: list[dict[str, Any]] = [
        {
            "tenant_id": str(tx.who.tenant_id), "import_id": str(run_id), "record_id": str(id), "row_number": rows[id],
            "effect": "CREATED" if one.created else "UPDATED", "first": one.first, "version": one.version,
            "changes": {} if one.created else one.changes,
        }
        for id, one in found.items()
    ]  # fmt: skip
    await tx.session.execute(_NOTE, {"rows": orjson.dumps(values, default=str).decode()})


# The rows travel as one JSON parameter. A record that the import has changed before keeps its first state; when its version is
# not the one that the import left, somebody else was there in between.
_NOTE = text(
    "INSERT INTO import_effects AS e"
    " (tenant_id, import_id, record_id, row_number, effect, version, changes, touched, state, reason, message)"
    " SELECT tenant_id, import_id, record_id, row_number, effect, version, changes, false, 'DONE', '', ''"
    " FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(tenant_id uuid, import_id uuid, record_id uuid, row_number integer,"
    " effect text, first integer, version integer, changes jsonb)"
    " ON CONFLICT (tenant_id, import_id, record_id) DO UPDATE SET version = excluded.version,"
    " touched = e.touched OR e.version + 1 <> ("
    "   SELECT r.first FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(record_id uuid, first integer)"
    "   WHERE r.record_id = e.record_id LIMIT 1),"
    " changes = CASE WHEN e.effect = 'CREATED' THEN e.changes ELSE (SELECT coalesce(jsonb_object_agg(key,"
    "   jsonb_build_array(coalesce(e.changes -> key -> 0, excluded.changes -> key -> 0),"
    "     coalesce(excluded.changes -> key -> 1, e.changes -> key -> 1))), '{}'::jsonb)"
    "   FROM jsonb_object_keys(e.changes || excluded.changes) AS key) END"
)


def expiry(importer: Importer, state: str, undo_state: str, ended: datetime | None) -> datetime | None:
    """Until when a run can be undone; None when it cannot."""
    if importer.undo is None or state not in ENDED or undo_state or ended is None:
        return None
    return ended + KEPT_FOR


async def undo(tx: Transaction, importer: Importer, run: ImportRun) -> None:
    """Lets the undoing begin. Raises ImportNotEnded, ImportUndone, UndoExpired, NotUndoable."""
    if importer.undo is None:
        raise NotUndoable(f"An import of {run.kind} records cannot be undone.")
    if run.state in (READY, RUNNING):
        raise ImportNotEnded(f"The import is {run.state}: cancel it before it is undone.")
    if run.undo_state:
        raise ImportUndone(f"The import is {run.undo_state} already.")
    until = expiry(importer, run.state, run.undo_state, run.ended_at)
    if until is None or until < tx.now:
        raise UndoExpired("An import can be undone for seven days after it has ended.")
    run.undo_as = acting(tx.who)
    begun_again(run)
    run.undo_state = UNDOING
    await tx.enqueue(JOB, {"import_id": str(run.id)}, key=str(run.id))


class Undoing:
    """An undoing being carried on, from wherever it stands to its end."""

    def __init__(
        self, importer: Importer, database: Database, who: Principal, id: UUID, call: Call | None = None
    ) -> None:
        """`call` asks other services about the records to which custom fields refer."""
        if importer.undo is None:
            raise ValueError(f"imports of {importer.record_type} cannot be undone")
        self._importer = importer
        self._undo: Undo = importer.undo
        self._database = database
        self._who = who
        self._id = id
        self._call = call

    async def carry_on(self) -> None:
        """Takes the remaining records. Returns when the undoing has ended, or is carried on by somebody else."""
        async with self._database.transaction(self._who, origin=ORIGIN) as tx:
            run = await tx.find(ImportRun, self._id)
            if run is None or run.undo_state != UNDOING:
                return
            self._who = actor(run.undo_as, self._who)
        async with giving_up(self._given_up):
            while ids := await self._left():
                await self._batch(ids)
        async with self._database.transaction(self._who, origin=ORIGIN) as tx:
            run = await tx.find(ImportRun, self._id)
            if run is not None and run.undo_state == UNDOING:
                run.undo_state = UNDONE
                tell(tx, self._importer, run)

    async def _given_up(self, error: Exception) -> bool:
        """Counts a failure that lies neither in a record nor in the moment; true when it was one too many: the undoing may be
        asked for again, and what it has undone stays undone."""
        _log.error("undoing of import %s: %r", self._id, error, exc_info=error)
        async with self._database.transaction(self._who) as tx:
            run = await tx.find(ImportRun, self._id)
            if run is None or run.undo_state != UNDOING:
                return True
            done = run.undone_records + run.kept_records
            if not one_too_many(run, done, f"The undoing stopped behind {done} records"):
                return False
            run.undo_state = ""
            tell(tx, self._importer, run)
            return True

    async def _left(self) -> list[UUID]:
        rows = await self._database.read(
            self._who,
            "SELECT record_id FROM import_effects WHERE import_id = $1 AND state = 'DONE'"
            " ORDER BY row_number DESC, record_id LIMIT $2",
            self._id,
            BATCH,
        )
        return [row["record_id"] for row in rows]

    async def _batch(self, ids: Sequence[UUID]) -> None:
        """Undoes what was done to these records; where that fails, halves of them, so that in the end one alone is kept."""
        try:
            await self._take(ids, "")
        except Problem as error:
            if passes(error):
                raise
            if len(ids) > 1:
                half = len(ids) // 2
                await self._batch(ids[:half])
                await self._batch(ids[half:])
            else:
                _log.info("import %s: a record is kept: %r", self._id, error)
                await self._take(ids, f"{error.reason} {error.message}")

    async def _take(self, ids: Sequence[UUID], failed: str) -> None:
        # Those to whom the records referred are asked for before anything is locked.
        changes, seen = await self._former(ids)
        async with self._database.transaction(self._who, origin=ORIGIN) as tx:
            tx.seen = seen
            run = await tx.find(ImportRun, self._id)
            if run is None or run.undo_state != UNDOING:
                return
            found = await tx.session.execute(
                select(EFFECTS)
                .where(
                    EFFECTS.c.import_id == self._id, EFFECTS.c.record_id.in_(ids), EFFECTS.c.state == "DONE"
                )
                .order_by(EFFECTS.c.row_number.desc())
                .with_for_update()
            )
            effects = found.all()
            there = await self._there(tx, effects)
            others = await self._changed_by_others(tx, effects)
            dealt_with = await self._dealt_with(tx, effects, there)
            outcomes: list[dict[str, Any]] = []
            for effect in effects:
                reason, message = (
                    failed.split(" ", 1)
                    if failed
                    else await self._one(
                        tx, effect, changes.get(effect.record_id, effect.changes), there, others, dealt_with
                    )
                )
                outcomes.append({
                    "tenant": tx.who.tenant_id, "import": self._id, "record": effect.record_id,
                    "state_": "KEPT" if reason else "UNDONE", "reason_": reason, "message_": message,
                })  # fmt: skip
            if outcomes:
                await tx.session.execute(_SETTLED, outcomes)
            kept = sum(one["state_"] == "KEPT" for one in outcomes)
            run.kept_records += kept
            run.undone_records += len(outcomes) - kept
            tell(tx, self._importer, run)

    async def _former(self, ids: Sequence[UUID]) -> tuple[Mapping[UUID, Changes], frozenset[tuple[str, str]]]:
        custom = self._importer.custom_fields
        if custom is None or self._call is None:
            return {}, frozenset()
        rows = await self._database.read(self._who, _CHANGES, self._id, list(ids))
        call = replace(self._call, who=self._who)
        done = [(row["record_id"], row["changes"]) for row in rows]
        now, seen = await custom.former(call, self._importer.record_type, done)
        return {row["record_id"]: one for row, one in zip(rows, now, strict=True)}, seen

    async def _changed_by_others(self, tx: Transaction, effects: Sequence[Any]) -> set[UUID]:
        """Those of the records that somebody has changed after the import."""
        rows = [{"id": str(one.record_id), "version": one.version} for one in effects]
        found = await tx.session.execute(
            text(
                "SELECT DISTINCT h.record_id FROM history h JOIN jsonb_to_recordset(CAST(:rows AS jsonb))"
                " AS r(id uuid, version integer) ON h.record_id = r.id AND h.version > r.version"
                " WHERE h.record_type = :type AND h.origin <> ALL(:own)"
            ),
            {
                "rows": orjson.dumps(rows).decode(),
                "type": self._importer.record_type,
                "own": list(_OWN_ORIGINS),
            },
        )
        return {row.record_id for row in found}

    async def _there(self, tx: Transaction, effects: Sequence[Any]) -> dict[UUID, Any]:
        """Those of the records that are not deleted, locked from here on."""
        table = self._undo.table
        found = await tx.session.execute(
            select(table)
            .where(col(table.id).in_([one.record_id for one in effects]), col(table.deleted_at).is_(None))
            .order_by(col(table.id))
            .with_for_update()
        )
        return {row.id: row for row in found.scalars()}

    async def _dealt_with(
        self, tx: Transaction, effects: Sequence[Any], there: Mapping[UUID, Any]
    ) -> Mapping[UUID, Problem]:
        """Why those of the records stay that the import has made and somebody has begun to work with."""
        made = [one.record_id for one in effects if one.effect == "CREATED" and one.record_id in there]
        return await self._undo.dealt_with(tx, made) if made and self._undo.dealt_with is not None else {}

    async def _one(
        self,
        tx: Transaction,
        effect: Any,
        changes: Changes,
        there: Mapping[UUID, Any],
        others: set[UUID],
        dealt_with: Mapping[UUID, Problem],
    ) -> tuple[str, str]:
        """Why the record stays, as reason and message; empty when it is undone."""
        if effect.record_id not in there:
            return "RECORD_GONE", "the record was deleted meanwhile"
        try:
            # It is locked, and as it was read then.
            record: Any = await tx.get(
                self._undo.table, effect.record_id, right=self._importer.right, lock=False
            )
            if effect.effect == "CREATED":
                if effect.touched or effect.record_id in others:
                    return "CHANGED_SINCE", "somebody has changed the record since"
                if effect.record_id in dealt_with:
                    raise dealt_with[effect.record_id]
                await self._undo.remove(tx, record)
            else:
                changed = differing(record, changes)
                if effect.touched or changed:
                    fields = ", ".join(map(camel, changed)) or "the record"
                    return "CHANGED_SINCE", f"somebody has changed {fields} since"
                await self._undo.change(tx, record, former(self._undo.table, changes))
        except Problem as error:
            if passes(error):
                raise
            return error.reason, error.message
        return "", ""


def tell(tx: Transaction, importer: Importer, run: ImportRun) -> None:
    """Records how far a run is, for those who look on."""
    if importer.progressed is None:
        return
    progress = Progress(
        record_type=run.kind, state=run.undo_state or run.state, total_rows=run.total_rows, processed_rows=run.processed_rows,
        created_rows=run.created_rows, updated_rows=run.updated_rows, unchanged_rows=run.unchanged_rows,
        refused_rows=run.refused_rows, undone_records=run.undone_records, kept_records=run.kept_records,
    )  # fmt: skip
    tx.record(
        importer.progressed(
            import_id=run.id, owner_id=tx.who.person_id, team_id=tx.who.team_id, progress=progress
        ),
        on=run,
    )


_CHANGES = "SELECT record_id, changes FROM import_effects WHERE import_id = $1 AND record_id = ANY($2::uuid[]) AND state = 'DONE'"
_SETTLED = (
    update(EFFECTS)
    .where(
        EFFECTS.c.tenant_id == bindparam("tenant"),
        EFFECTS.c.import_id == bindparam("import"),
        EFFECTS.c.record_id == bindparam("record"),
    )
    .values(state=bindparam("state_"), reason=bindparam("reason_"), message=bindparam("message_"))
)


async def forget(tx: Transaction) -> None:
    """Drops notes of imports that can be undone no longer, some thousand of one at a time: called when another begins.

    In steps of which each reads by the primary key, whatever PostgreSQL believes of the tenant: it knows nothing of one whose
    first import has just ended, and took all notes for one.
    """
    before = tx.now - KEPT_FOR - timedelta(days=1)
    found = await tx.session.execute(_FORGOTTEN, {"ended": list(ENDED), "before": before})
    id = found.scalar_one_or_none()
    if id is not None:
        await tx.session.execute(_FORGET, {"id": id})


_FORGOTTEN = text(
    "SELECT r.id FROM import_runs r WHERE r.state = ANY(:ended) AND r.ended_at < :before"
    " AND (SELECT e.record_id FROM import_effects e WHERE e.tenant_id = r.tenant_id AND e.import_id = r.id LIMIT 1) IS NOT NULL"
    " LIMIT 1"
)
_FORGET = text(
    "DELETE FROM import_effects WHERE import_id = :id AND record_id <= coalesce((SELECT record_id FROM import_effects"
    " WHERE import_id = :id ORDER BY record_id OFFSET 4999 LIMIT 1), 'ffffffff-ffff-ffff-ffff-ffffffffffff')"
)


def kept_records_sql() -> str:
    """Reads what an undoing of one import, $1, has left behind row $2, in the order of the file: no more than 20,000. A row
    makes or changes one record, and a record stands with the first row that did."""
    return (
        "SELECT row_number, record_id, reason, message FROM import_effects"
        " WHERE import_id = $1 AND state = 'KEPT' AND row_number > $2 ORDER BY row_number LIMIT 20000"
    )
