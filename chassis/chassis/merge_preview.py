"""What a merge would do: it is done, looked at, and taken back before anybody sees it.

    async def look(tx: Transaction, merge: Merge) -> Preview: ...

    preview = await tried(call, do, look)

So it says what the merge does, and is refused as that is. `merged_fields` tells whose value is where, from what the records were
and what has become of the survivor.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

from google.protobuf.struct_pb2 import Value
from kehu.merges.v1 import merges_pb2 as pb
from sqlalchemy import text

from chassis.busy import patiently
from chassis.custom_fields.given import PREFIX
from chassis.database import Transaction
from chassis.errors import Conflict
from chassis.history import typed
from chassis.records import Record
from chassis.rpc.call import Call
from chassis.wire import from_dict

T = TypeVar("T")
R = TypeVar("R")
Told = Mapping[str, Any]
"""A record in JSON."""
_ONLY = text("SELECT pg_try_advisory_xact_lock(hashtextextended(:key, 0))")
_AT_ONCE = text("SET CONSTRAINTS ALL IMMEDIATE")


class _TakenBack(Exception):
    def __init__(self, seen: Any) -> None:
        super().__init__()
        self.seen = seen


async def tried(
    call: Call, do: Callable[[Transaction], Awaitable[T]], look: Callable[[Transaction, T], Awaitable[R]]
) -> R:
    """What has been seen of it. Raises what doing it raises, also what shows only when it is written.

    A tenant has one at a time: it holds what a merge holds. Who finds one under way, or anything locked, tries again as a merge
    does, and is told RECORD_BUSY then.
    """
    return await patiently(lambda: _once(call, do, look))


async def _once(
    call: Call, do: Callable[[Transaction], Awaitable[T]], look: Callable[[Transaction, T], Awaitable[R]]
) -> R:
    try:
        async with call.database.transaction(call.who) as tx:
            free = await tx.session.execute(_ONLY, {"key": f"{tx.who.tenant_id} merge preview"})
            if not free.scalar_one():
                raise Conflict(
                    "Another merge is being previewed: ask again.", reason="RECORD_BUSY", retry_after=1.0
                )
            done = await do(tx)
            await tx.settle()
            await tx.session.execute(_AT_ONCE)
            with tx.session.no_autoflush:
                raise _TakenBack(await look(tx, done))
    except _TakenBack as taken_back:
        return cast("R", taken_back.seen)


def as_it_was(row: Any, changed: Mapping[str, Sequence[Any]]) -> Any:
    """The row as it was before what was kept of it; for the eye alone, before it is taken back."""
    for name, (before, _) in changed.items():
        setattr(row, name, typed(cast("type[Record]", type(row)), name, before))
    return row


def merged_fields(
    names: Sequence[str],
    rows: Sequence[Told],
    after: Told,
    *,
    joined: Sequence[str] = (),
    elsewhere: Callable[[Told, str], bool] = lambda row, name: False,
) -> list[pb.MergedField]:
    """Those of the fields, and of the custom fields, of which any of the rows has a value. The texts among `joined` are written
    one under another; `elsewhere` says of a row's value that it is not lost though the survivor has another."""
    custom = dict.fromkeys(key for row in rows for key in row.get("customFields", {}))
    out: list[pb.MergedField] = []
    for name in (*names, *(f"{PREFIX}{key}" for key in custom)):
        given = [(row, value) for row in rows if _said(name, value := _value(row, name))]
        if not given:
            continue
        field = pb.MergedField(field=name)
        there = _value(after, name)
        for row, value in given:
            missing = _missing(value, there, name in joined)
            if missing != value:
                field.source_ids.append(row["id"])
            if missing is not None and not elsewhere(row, name):
                field.lost.add(record_id=row["id"], value=from_dict(Value, missing))
        out.append(field)
    return out


def _value(row: Told, name: str) -> Any:
    """A field that takes a value of a list is told by the value's key."""
    if name.startswith(PREFIX):
        return row.get("customFields", {}).get(name.removeprefix(PREFIX))
    return row.get(f"{name}Key") or row.get(name)


def _said(name: str, value: Any) -> bool:
    """Whether it is a value. Of a custom field No and nought are."""
    return value not in (None, "", [], {}) if name.startswith(PREFIX) else bool(value)


def _missing(value: Any, there: Any, joined: bool) -> Any:
    """What of a value is not there; None when all of it is."""
    if isinstance(value, list):
        kept = [_entry(one) for one in cast("list[Any]", there or [])]
        return [one for one in cast("list[Any]", value) if _entry(one) not in kept] or None
    if joined and isinstance(there, str):
        return None if f"\n{value}\n" in f"\n{there}\n" else value
    return None if value == there else value


def _entry(one: Any) -> Any:
    """An entry of a list, whether it is the primary one or not."""
    return {**cast("dict[str, Any]", one), "primary": True} if isinstance(one, dict) else one


def moved_records(counts: Mapping[str, int]) -> list[pb.MovedRecords]:
    """How many of each kind there are, as far as there are any."""
    return [pb.MovedRecords(record_type=kind, count=count) for kind, count in sorted(counts.items()) if count]


def papers_in(kept: Mapping[str, Any]) -> dict[str, int]:
    """How many notes and files a merge has moved, by what it has kept."""
    papers: Mapping[str, Mapping[str, Sequence[str]]] = kept.get("papers", {})
    return {
        kind: sum(len(ids) for ids in papers.get(table, {}).values())
        for kind, table in (("note", "notes"), ("attachment", "attachments"))
    }
