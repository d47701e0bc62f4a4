"""What a bulk edit would do: it is done to the first records, and taken back before anybody sees it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from chassis.bulk_edits.edit import MOST_RECORDS, ORIGIN, Chosen, TooManyRecords
from chassis.bulk_edits.editor import Editor, Plan, edit_one
from chassis.bulk_edits.runs import check_changeable, locked
from chassis.custom_fields.known import Definitions
from chassis.effects import passes
from chassis.errors import NotFound, Problem
from chassis.rpc.call import Call

SHOWN = 20


@dataclass(frozen=True)
class Previewed:
    """What would become of one record: `changes` maps columns to `[before, after]`, or a problem says why nothing."""

    id: UUID
    changes: Mapping[str, Sequence[Any]] = field(default_factory=dict[str, Sequence[Any]])
    problem: Problem | None = None


class _TakenBack(Exception):
    pass


async def preview(
    editor: Editor, call: Call, plan: Plan, chosen: Chosen, custom: Definitions | None
) -> tuple[int, list[Previewed]]:
    """How many records are chosen, and what would become of the first. Raises TooManyRecords, Invalid naming filter."""
    args: list[object] = []
    readable = chosen.readable(editor.listing, call.who, custom, args)
    counting = "SELECT count(*) AS many FROM ({readable} LIMIT {most}) AS c"
    counting = counting.replace("{readable}", readable).replace("{most}", str(MOST_RECORDS + 1))
    # Composed of what the listing makes of declared columns.
    count = int((await call.database.read(call.who, counting, *args))[0]["many"])
    if count > MOST_RECORDS:
        raise TooManyRecords
    # Composed of the same.
    rows = await call.database.read(call.who, f"{readable} ORDER BY t.id LIMIT {SHOWN}", *args)
    ids: list[UUID] = [row["id"] for row in rows]
    seen = frozenset[tuple[str, str]]()
    if editor.custom_fields is not None:
        seen = await editor.custom_fields.seen(call, plan.request)
    if editor.learn is not None:
        await editor.learn(call)
    shown = [await _one(editor, call, plan, id, seen) for id in ids]
    missing = (
        [id for id in sorted(chosen.ids) if id not in ids][: SHOWN - len(shown)] if len(ids) < SHOWN else []
    )
    return count, shown + [Previewed(id, problem=NotFound(editor.record_type, id)) for id in missing]


async def _one(
    editor: Editor, call: Call, plan: Plan, id: UUID, seen: frozenset[tuple[str, str]]
) -> Previewed:
    shown = Previewed(id)
    try:
        async with call.database.transaction(call.who, origin=ORIGIN) as tx:
            tx.seen = seen
            work = await editor.begin(tx)
            record = (await locked(tx, editor, [id])).get(id)
            check_changeable(tx, editor, id, record, plan.disposes)
            await edit_one(work, tx, record, plan)
            for entry in await tx.changes():
                if entry["record_id"] == id:
                    shown = Previewed(id, entry["changes"])
            raise _TakenBack
    except _TakenBack:
        return shown
    except Problem as problem:
        if passes(problem):
            raise
        return Previewed(id, problem=problem)
