"""Doing bulk edits and undoing them: durable, batch by batch, so that a death at any instruction neither leaves out a record nor
changes one twice.

A batch is one transaction: the records, their events and history, what became of each, and the new cursor. It begins by locking
the edit and looking whether the cursor is where the batch starts; so a second worker that took the job over stops at once and
comes again later, and a cancel takes effect between two batches. Records are locked in the order of their ids, which is that of
their places; an undoing begins at the last, so that whatever was done to a record for another's sake is taken back before it.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, cast
from uuid import UUID

import orjson
from sqlalchemy import select, text
from sqlmodel import col

from chassis.acting import actor
from chassis.bulk_edits.edit import (
    FAILED,
    ORIGIN,
    RUNNING,
    SUCCEEDED,
    UNDOING,
    UNDONE,
    BulkEdit,
    Wanted,
    tell,
    wanted_of,
)
from chassis.bulk_edits.editor import Editor, Plan, Work, edit_one, goes_back, planned, put_back
from chassis.database import Database, Transaction, shared_only
from chassis.effects import differing, effects, now, passes
from chassis.errors import Code, Denied, Invalid, NotFound, Problem
from chassis.giving_up import (
    MOST_FAILURES,
    MOST_UNREAD,
    Overtaken,
    Unreadable,
    counted,
    giving_up,
    one_too_many,
)
from chassis.history import plain
from chassis.owners import Owner, active_owners, reaches
from chassis.principal import Act, Principal
from chassis.rpc.call import Call
from chassis.visibility import covers
from chassis.wire import camel

BATCH = 200
_DELETED = "deleted_at"
_log = logging.getLogger(__name__)


class _Ended(Exception):
    """The edit was cancelled, or somebody else has ended it."""


class _Again(Exception):
    """A use case has refused a record after it had changed something: the batch is done again without that record."""

    def __init__(self, id: UUID, problem: Problem) -> None:
        super().__init__(id)
        self.id, self.problem = id, problem


@dataclass(frozen=True, slots=True)
class Row:
    """A record of an edit."""

    place: int
    id: UUID
    state: str
    changes: Mapping[str, Sequence[Any]]
    reason: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Said:
    """What became of a record."""

    state: str
    reason: str = ""
    message: str = ""
    changes: Mapping[str, Sequence[Any]] | None = None


Refused = Mapping[UUID, Problem]

_NEXT = (
    "SELECT place, record_id, state, changes, reason, message FROM bulk_edit_records WHERE bulk_edit_id = $1 AND place > $2"
    " ORDER BY place LIMIT $3"
)
_LEFT = (
    "SELECT place, record_id, state, changes, reason, message FROM bulk_edit_records WHERE bulk_edit_id = $1"
    " AND state = 'CHANGED' ORDER BY place DESC LIMIT $2"
)
# The rows travel as one JSON parameter.
_SAID = text(
    "UPDATE bulk_edit_records b SET state = r.state, changes = coalesce(r.changes, b.changes), reason = r.reason,"
    " message = r.message FROM jsonb_to_recordset(CAST(:rows AS jsonb))"
    " AS r(place integer, state text, changes jsonb, reason text, message text)"
    " WHERE b.bulk_edit_id = :edit AND b.place = r.place"
)


async def locked(tx: Transaction, editor: Editor, ids: Sequence[UUID]) -> dict[UUID, Any]:
    """Those of the records that are not deleted, locked from here on."""
    table = editor.table
    found = await tx.session.execute(
        select(table)
        .where(col(table.id).in_(ids), col(table.deleted_at).is_(None))
        .order_by(col(table.id))
        .with_for_update()
    )
    return {row.id: row for row in found.scalars()}


def check_changeable(
    tx: Transaction, editor: Editor, id: UUID, record: Any, disposes: Callable[[Any], bool]
) -> None:
    """Raises NotFound for a record that is gone, Denied for one that the caller may see and not change, and for one that would be
    disposed of and that the caller may change by a share alone."""
    if record is None:
        raise NotFound(editor.record_type, id)
    if not covers(record, tx.who, editor.right, Act.WRITE):
        raise Denied(f"You may see this {editor.record_type} but not change it.", reason="RECORD_READ_ONLY")
    if disposes(record) and not covers(record, tx.who, editor.right, Act.WRITE, shares=False):
        raise shared_only(editor.record_type)


async def told(tx: Transaction, edit: BulkEdit, said: Mapping[int, Said]) -> None:
    """Notes what became of the records at these places."""
    rows = [
        {"place": place, "state": one.state, "changes": one.changes, "reason": one.reason, "message": one.message}
        for place, one in said.items()
    ]  # fmt: skip
    payload = orjson.dumps(rows, default=str).decode()
    await tx.session.execute(_SAID, {"edit": edit.id, "rows": payload})


def held(record: Any, name: str) -> Any:
    """What a column holds, as JSON holds it, also a list of ids."""
    value = now(record, name)
    return [plain(one) for one in cast("list[Any]", value)] if isinstance(value, list) else value


def _most(error: Exception) -> int:
    return MOST_UNREAD if isinstance(error, Unreadable) else MOST_FAILURES


class Running:
    """An edit, or its undoing, being carried on from wherever it stands to its end."""

    def __init__(self, editor: Editor, call: Call, id: UUID) -> None:
        """`call` is what the job gets: whoever it is of the tenant."""
        self._editor = editor
        self._call = call
        self._database: Database = call.database
        self._who: Principal = call.who
        self._id = id
        self._seen: frozenset[tuple[str, str]] = frozenset()
        self._owners: dict[UUID, Owner] = {}

    async def carry_on(self) -> None:
        """Does what remains, as the person who asked for it. Returns when the edit has ended or was cancelled.

        Problems that may pass by themselves (the database does not answer, somebody else carries it on) are raised for the job to
        be repeated.
        """
        async with self._database.transaction(self._call.who) as tx:
            edit = await tx.find(BulkEdit, self._id)
            if edit is None or (edit.undo_state != UNDOING if self.undoes else edit.state != RUNNING):
                return
            self._who = actor(edit.undo_as if self.undoes else edit.started_as, self._call.who)
            self._done = edit.processed_records
            wanted = wanted_of(edit)
        async with giving_up(self._given_up, counted):
            plan = self._planned(wanted)
            if self._editor.custom_fields is not None:
                as_them = replace(self._call, who=self._who)
                self._seen = await self._editor.custom_fields.seen(as_them, plan.request)
            with suppress(_Ended):
                while rows := await self._next():
                    if self._editor.learn is not None:
                        await self._editor.learn(self._call)
                    await self._batch(rows, plan)
                await self._end()

    undoes = False

    def _planned(self, wanted: Wanted) -> Plan:
        """What was read when the edit was started. Raises Unreadable where it was by another version of the service."""
        try:
            return planned(self._editor, wanted)
        except Invalid as problem:
            raise Unreadable(problem) from problem

    async def _next(self) -> list[Row]:
        rows = await self._database.read(self._who, _NEXT, self._id, self._done, BATCH)
        return [Row(*row.values()) for row in rows]

    async def _batch(self, rows: Sequence[Row], plan: Plan) -> None:
        """Does a batch; when it cannot be written, its halves, so that in the end one record alone is refused."""
        refused: dict[UUID, Problem] = {}
        while True:
            try:
                await self._take(rows, plan, refused)
                return
            except _Again as again:
                refused[again.id] = again.problem
            except Problem as error:
                if passes(error):
                    raise
                if len(rows) == 1:
                    if rows[0].id in refused:
                        raise
                    refused[rows[0].id] = error
                    continue
                half = len(rows) // 2
                await self._batch(rows[:half], plan)
                await self._batch(rows[half:], plan)
                return

    async def _take(self, rows: Sequence[Row], plan: Plan, refused: Refused) -> None:
        async with self._database.transaction(self._who, origin=ORIGIN) as tx:
            edit = await self._held(tx, rows)
            tx.seen = self._seen
            work = await self._editor.begin(tx)
            there = await self._there(tx, [row.id for row in rows if row.state != "REFUSED"], plan)
            said: dict[int, Said] = {}
            for row in rows:
                problem = refused.get(row.id)
                if row.state == "REFUSED":
                    said[row.place] = Said("REFUSED", row.reason, row.message)
                elif problem is not None:
                    said[row.place] = self._refusal(problem)
                else:
                    said[row.place] = await self._guarded(tx, work, row, there.get(row.id), plan)
            await self._count(tx, edit, rows, said)
            tell(tx, self._editor.progressed, edit)
        self._done = rows[-1].place

    async def _there(self, tx: Transaction, ids: Sequence[UUID], plan: Plan) -> Mapping[UUID, Any]:
        return await locked(tx, self._editor, ids)

    async def _guarded(self, tx: Transaction, work: Work, row: Row, record: Any, plan: Plan) -> Said:
        mark = tx.mark()
        try:
            check_changeable(tx, self._editor, row.id, record, self._disposes(row, plan))
            return await self._one(tx, work, row, record, plan)
        except Problem as error:
            if passes(error):
                raise
            if record is not None and not tx.take_back(record, mark):
                raise _Again(row.id, error) from None
            return self._refusal(error)

    def _disposes(self, row: Row, plan: Plan) -> Callable[[Any], bool]:
        """Whether the record of that row gets another owner, or goes."""
        return plan.disposes

    def _refusal(self, problem: Problem) -> Said:
        message = problem.violations[0].description if problem.violations else problem.message
        if problem.violations:
            message = f"{problem.violations[0].field.rpartition('.')[2]}: {message}"
        return Said("REFUSED", problem.reason, message)

    async def _one(self, tx: Transaction, work: Work, row: Row, record: Any, plan: Plan) -> Said:
        noted = () if plan.action is None else (*plan.action.left, *plan.action.noted)
        before = {name: held(record, name) for name in noted}
        await edit_one(work, tx, record, plan)
        if plan.trashes:
            return Said("CHANGED", changes={_DELETED: [None, plain(record.deleted_at)]})
        return Said("UNCHANGED", changes={name: [before[name], held(record, name)] for name in noted})

    async def _held(self, tx: Transaction, rows: Sequence[Row]) -> BulkEdit:
        """The edit, locked, if it is still where this batch starts. Raises _Ended, Overtaken."""
        edit = await tx.find(BulkEdit, self._id)
        if edit is None or edit.state != RUNNING:
            raise _Ended
        if edit.processed_records != rows[0].place - 1:
            raise Overtaken
        return edit

    async def _count(
        self, tx: Transaction, edit: BulkEdit, rows: Sequence[Row], said: dict[int, Said]
    ) -> None:
        found = await effects(tx, edit.kind, {row.id for row in rows})
        for row in rows:
            if row.id in found and said[row.place].state == "UNCHANGED":
                changes = {**(said[row.place].changes or {}), **found[row.id].changes}
                said[row.place] = Said("CHANGED", changes=changes)
        await told(tx, edit, said)
        states = [one.state for one in said.values()]
        edit.changed_records += states.count("CHANGED")
        edit.unchanged_records += states.count("UNCHANGED")
        edit.refused_records += states.count("REFUSED")
        edit.processed_records += len(rows)
        if edit.processed_records == edit.total_records:
            edit.state, edit.ended_at = SUCCEEDED, tx.now

    async def _end(self) -> None:
        """The last batch has said that it was the last."""

    async def _given_up(self, error: Exception) -> bool:
        """Counts a failure that lies neither in a record nor in the moment; true when it was one too many."""
        _log.error("bulk edit %s, behind record %d: %r", self._id, self._done, error, exc_info=error)
        async with self._database.transaction(self._who) as tx:
            edit = await tx.find(BulkEdit, self._id)
            if edit is None or edit.state != RUNNING:
                return True
            done = edit.processed_records
            if not one_too_many(edit, done, f"The edit stopped behind {done} records", _most(error)):
                return False
            edit.state, edit.ended_at = FAILED, tx.now
            tell(tx, self._editor.progressed, edit)
            return True


class Undoing(Running):
    """An undoing being carried on."""

    undoes = True

    async def _next(self) -> list[Row]:
        rows = await self._database.read(self._who, _LEFT, self._id, BATCH)
        return [Row(*row.values()) for row in rows]

    async def _held(self, tx: Transaction, rows: Sequence[Row]) -> BulkEdit:
        edit = await tx.find(BulkEdit, self._id)
        if edit is None or edit.undo_state != UNDOING:
            raise _Ended
        # The edit is locked: nobody else settles what is left now, and what was settled since these were read is not left.
        left = await tx.session.execute(_FIRST_LEFT, {"edit": self._id})
        if left.scalar_one_or_none() != rows[0].place:
            raise Overtaken
        return edit

    async def _take(self, rows: Sequence[Row], plan: Plan, refused: Refused) -> None:
        # Who may have left meanwhile is asked before anything is locked.
        former = {person for row in rows if (person := self._former_owner(row, plan)) is not None}
        as_them = replace(self._call, who=self._who)
        self._owners = await active_owners(as_them, former - {self._who.person_id}) if former else {}
        custom = self._editor.custom_fields
        if custom is not None:
            # So is where those went to whom the records referred.
            changes, self._seen = await custom.former(
                as_them, self._editor.record_type, [(row.id, row.changes) for row in rows]
            )
            rows = [replace(row, changes=one) for row, one in zip(rows, changes, strict=True)]
        await super()._take(rows, plan, refused)

    def _former_owner(self, row: Row, plan: Plan) -> UUID | None:
        """To whom the record of that row would be given back."""
        before = row.changes["owner_id"][0] if plan.owner is not None and "owner_id" in row.changes else None
        return None if before is None else UUID(before)

    def _owner(self, person: UUID) -> Owner:
        """Them as they are now, as whenever a record is given to somebody: whoever has changed teams takes it along. Raises
        Invalid (OWNER_NOT_FOUND), Denied (OWNER_OUT_OF_REACH)."""
        if person == self._who.person_id:
            return Owner(person, self._who.team_id)
        owner = self._owners.get(person)
        if owner is None:
            raise Invalid("ownerId", f"there is no active person {person}", reason="OWNER_NOT_FOUND")
        if not reaches(self._who, self._editor.right, owner):
            raise Denied(f"Your rights do not reach the former owner {person}.", reason="OWNER_OUT_OF_REACH")
        return owner

    async def _one(self, tx: Transaction, work: Work, row: Row, record: Any, plan: Plan) -> Said:
        if plan.action is None:
            # Whose it was matters only if it is to be theirs again.
            former = self._former_owner(row, plan) if goes_back(record, row.changes, plan) else None
            owner = None if former is None else self._owner(former)
            kept = await put_back(self._editor, work, tx, record, row.changes, plan, owner)
        else:
            left = {name: row.changes[name] for name in plan.action.left if name in row.changes}
            kept = differing(record, left)
            if not kept:
                await work.deeds[plan.name].back(tx, record, row.changes)
        if not kept:
            return Said("UNDONE")
        fields = ", ".join(camel(name) for name in kept)
        return Said("KEPT", "CHANGED_SINCE", f"somebody has changed {fields} since")

    async def _there(self, tx: Transaction, ids: Sequence[UUID], plan: Plan) -> Mapping[UUID, Any]:
        """The records. Those in the trash are locked one by one by whatever brings them back."""
        return {} if plan.trashes else await super()._there(tx, ids, plan)

    async def _guarded(self, tx: Transaction, work: Work, row: Row, record: Any, plan: Plan) -> Said:
        if not plan.trashes:
            return await super()._guarded(tx, work, row, record, plan)
        mark = tx.mark()
        try:
            await work.deeds[plan.name].back(tx, row.id, row.changes)
        except Problem as error:
            if passes(error):
                raise
            if tx.mark() != mark or error.code not in (Code.NOT_FOUND, Code.FAILED_PRECONDITION):
                raise _Again(row.id, error) from None
            return self._refusal(error)
        return Said("UNDONE")

    def _disposes(self, row: Row, plan: Plan) -> Callable[[Any], bool]:
        return lambda record: goes_back(record, row.changes, plan)

    def _refusal(self, problem: Problem) -> Said:
        said = super()._refusal(problem)
        return Said("KEPT", said.reason, said.message)

    async def _count(
        self, tx: Transaction, edit: BulkEdit, rows: Sequence[Row], said: dict[int, Said]
    ) -> None:
        await told(tx, edit, said)
        kept = sum(one.state == "KEPT" for one in said.values())
        edit.kept_records += kept
        edit.undone_records += len(said) - kept

    async def _given_up(self, error: Exception) -> bool:
        """The same of the undoing, which may be asked for again: what it has undone stays undone."""
        _log.error("undoing of bulk edit %s: %r", self._id, error, exc_info=error)
        async with self._database.transaction(self._who) as tx:
            edit = await tx.find(BulkEdit, self._id)
            if edit is None or edit.undo_state != UNDOING:
                return True
            done = edit.undone_records + edit.kept_records
            if not one_too_many(edit, done, f"The undoing stopped behind {done} records", _most(error)):
                return False
            edit.undo_state = ""
            tell(tx, self._editor.progressed, edit)
            return True

    async def _end(self) -> None:
        async with self._database.transaction(self._who, origin=ORIGIN) as tx:
            edit = await tx.find(BulkEdit, self._id)
            if edit is not None and edit.undo_state == UNDOING:
                edit.undo_state = UNDONE
                tell(tx, self._editor.progressed, edit)


_FIRST_LEFT = text(
    "SELECT place FROM bulk_edit_records WHERE bulk_edit_id = :edit AND state = 'CHANGED' ORDER BY place DESC LIMIT 1"
)
