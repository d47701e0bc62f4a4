"""Pairs as rows: two records that may be the same, until somebody merges them or says that they are two.

A pair says nothing of its records but why they are alike, so nothing of a person stands in it. Whether it is there for somebody
is asked of the records themselves: a pair of which one is deleted is not, and is again when that is restored. `first_at` and
`second_at` are where the two are now: with the survivor once they are merged.

A pair is also set aside when one of the two takes in a record that is not the same as the other. By which merges it came to be
so, and from which pairs, stands beside it in `duplicate_pair_origins`; it is open again when none of them is left, or when
somebody says so. One that was made for that, and that nothing else has found, is then gone.

Records are locked before a sweep, a sweep before pairs, and pairs in the order of their records' ids, those that are made among
those that are there: so merges, sweeps, erasures and decisions do not wait for each other in a circle.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import ARRAY, Text, Uuid, bindparam, select, text
from sqlmodel import Field, col

from chassis.database import Database, Transaction
from chassis.duplicates.sweep import forget_frequent
from chassis.duplicates.swept import Swept
from chassis.errors import NotFound, Precondition
from chassis.ids import new_id
from chassis.principal import Principal
from chassis.records import Record

OPEN, SET_ASIDE, MERGED = "OPEN", "SET_ASIDE", "MERGED"
STATES = (OPEN, SET_ASIDE, MERGED)


class DuplicatePair(Record, table=True):
    """Two records; `first_id` is the lesser id."""

    __tablename__ = "duplicate_pairs"  # pyright: ignore[reportAssignmentType]

    kind: str
    first_id: UUID
    second_id: UUID
    first_at: UUID
    second_at: UUID
    score: int
    reasons: list[str] = Field(sa_type=ARRAY(Text))  # pyright: ignore[reportArgumentType]
    state: str = OPEN
    state_before: str = ""
    """What it was when the two were merged."""
    sweep_id: UUID | None = None
    """The sweep that found it last."""
    set_aside_by: UUID | None = None
    set_aside_at: datetime | None = None
    merged_by: UUID | None = None
    """The merge that made one of the two."""
    made_by_merge: bool = False
    """Nobody has said it of the two: what was merged into one of them is not the same as the other."""


class DuplicatePairMerged(Precondition):
    """The two were merged."""

    reason = "DUPLICATE_PAIR_MERGED"


class DuplicatePairNotSetAside(Precondition):
    """Only what is set aside can be opened again."""

    reason = "DUPLICATE_PAIR_NOT_SET_ASIDE"


# A sweep may find it at the same moment.
_MAKE = text(
    "INSERT INTO duplicate_pairs (tenant_id, id, version, created_at, created_by, updated_at, updated_by, kind, first_id,"
    " second_id, first_at, second_at, score, reasons, state, state_before, made_by_merge)"
    " VALUES (:tenant, :id, 1, :now, :by, :now, :by, :kind, :first, :second, :first, :second, :score, :reasons, 'OPEN', '',"
    " :made_by_merge)"
    " ON CONFLICT (tenant_id, kind, first_id, second_id) DO NOTHING"
).bindparams(bindparam("reasons", type_=ARRAY(Text)))


async def _pair(
    tx: Transaction,
    kind: str,
    one: UUID,
    other: UUID,
    score: int,
    reasons: list[str],
    *,
    made_by_merge: bool = False,
) -> DuplicatePair:
    """The pair of the two, locked; a new one when there is none."""
    first, second = sorted((one, other))
    made: dict[str, Any] = {
        "tenant": tx.who.tenant_id, "id": new_id(), "now": tx.now, "by": tx.who.person_id, "kind": kind, "first": first,
        "second": second, "score": score, "reasons": reasons, "made_by_merge": made_by_merge,
    }  # fmt: skip
    await tx.session.execute(_MAKE, made)
    found = await tx.session.execute(
        select(DuplicatePair)
        .where(
            col(DuplicatePair.kind) == kind, col(DuplicatePair.first_id) == first, col(DuplicatePair.second_id) == second
        )
        .with_for_update()
        .execution_options(populate_existing=True)
    )  # fmt: skip
    return found.scalar_one()


async def _compared(tx: Transaction, swept: Swept, ids: Iterable[UUID]) -> tuple[int, list[str]]:
    """How likely two are the same, whom the caller may change. Raises NotFound, Denied."""
    one, other = [await swept.writable(tx, id) for id in sorted(ids)]
    score, reasons = swept.compare(*(swept.compared_by(partial(getattr, row)) for row in (one, other)))
    return score, list(reasons)


_SAY = text("DELETE FROM duplicate_pair_origins WHERE pair_id = :pair RETURNING merge_id")


async def set_aside(tx: Transaction, swept: Swept, ids: Sequence[UUID]) -> DuplicatePair:
    """The two are not the same, says somebody who may change both. Raises NotFound, Denied, DuplicatePairMerged."""
    score, reasons = await _compared(tx, swept, ids)
    pair = await _pair(tx, swept.kind, ids[0], ids[1], score, reasons)
    if pair.state == MERGED:
        raise DuplicatePairMerged("The two were merged: undo the merge first.")
    # Whoever says it of the two says it whatever becomes of the merges by which it was so.
    came = (await tx.session.execute(_SAY, {"pair": pair.id})).all()
    if pair.state != SET_ASIDE or came:
        pair.state, pair.set_aside_by, pair.set_aside_at = SET_ASIDE, tx.who.person_id, tx.now
        pair.made_by_merge = False
    return pair


async def reopen(tx: Transaction, swept: Swept, id: UUID, etag: str) -> DuplicatePair:
    """The two may be the same after all. Raises NotFound, Denied, EtagMismatch, DuplicatePairNotSetAside."""
    there = await _aside(tx, id, lock=False)
    score, reasons = await _compared(tx, swept, (there.first_id, there.second_id))
    pair = await _aside(tx, id, lock=True)
    tx.check_etag(pair, etag)
    await tx.session.execute(_SAY, {"pair": pair.id})
    pair.state, pair.score, pair.reasons = OPEN, score, reasons
    pair.set_aside_by = pair.set_aside_at = None
    pair.made_by_merge = False
    if score < swept.least:
        await tx.session.delete(pair)  # nothing would propose it
    return pair


async def _aside(tx: Transaction, id: UUID, *, lock: bool) -> DuplicatePair:
    pair = await tx.find(DuplicatePair, id, lock=lock)
    if pair is None:
        raise NotFound("duplicate pair", id)
    if pair.state != SET_ASIDE:
        raise DuplicatePairNotSetAside(f"The pair is {pair.state}.")
    return pair


_APART = (
    "SELECT second_id AS id FROM duplicate_pairs WHERE kind = $1 AND state = 'SET_ASIDE' AND first_id = $2"
    " AND second_id = ANY($3::uuid[]) UNION ALL SELECT first_id FROM duplicate_pairs WHERE kind = $1 AND state = 'SET_ASIDE'"
    " AND second_id = $2 AND first_id = ANY($3::uuid[])"
)


async def set_apart(
    database: Database, who: Principal, kind: str, id: UUID | None, others: Sequence[UUID]
) -> frozenset[UUID]:
    """Those of the others of whom somebody has said that they are not the same as that record."""
    if id is None or not others:
        return frozenset()
    rows = await database.read(who, _APART, kind, id, list(others))
    return frozenset(row["id"] for row in rows)


_IDS = bindparam("ids", type_=ARRAY(Uuid))
_HOLD = text(
    "SELECT id FROM duplicate_pairs WHERE kind = :kind AND (first_id = ANY(:ids) OR second_id = ANY(:ids))"
    " ORDER BY first_id, second_id FOR UPDATE"
).bindparams(_IDS)
_THERE = text(
    "SELECT first_id, second_id, score, reasons, state FROM duplicate_pairs WHERE kind = :kind"
    " AND (first_id = ANY(:ids) OR second_id = ANY(:ids))"
).bindparams(_IDS)
# All are locked, and none is changed. The rows travel as one JSON parameter.
_HOLD_OR_MAKE = text(
    "INSERT INTO duplicate_pairs AS p (tenant_id, id, version, created_at, created_by, updated_at, updated_by, kind, first_id,"
    " second_id, first_at, second_at, score, reasons, state, state_before, made_by_merge)"
    " SELECT CAST(:tenant AS uuid), r.id, 1, CAST(:now AS timestamptz), CAST(:by AS uuid), CAST(:now AS timestamptz),"
    " CAST(:by AS uuid), :kind, r.first_id, r.second_id, r.first_id, r.second_id, r.score,"
    " ARRAY(SELECT jsonb_array_elements_text(r.reasons)), 'OPEN', '', true"
    " FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(id uuid, first_id uuid, second_id uuid, score integer, reasons jsonb)"
    " ON CONFLICT (tenant_id, kind, first_id, second_id) DO UPDATE SET version = p.version WHERE false RETURNING p.id"
)
_BECOME_ONE = text(
    "UPDATE duplicate_pairs SET state_before = state, state = 'MERGED', merged_by = :merge, first_at = :survivor,"
    " second_at = :survivor, version = version + 1, updated_at = :now, updated_by = :by"
    " WHERE kind = :kind AND state <> 'MERGED' AND first_id = ANY(:ids) AND second_id = ANY(:ids)"
).bindparams(_IDS)
_ASIDE = text(
    "SELECT id, CASE WHEN first_id = ANY(:ids) THEN second_id ELSE first_id END AS other, score, reasons, set_aside_by,"
    " set_aside_at FROM duplicate_pairs WHERE kind = :kind AND state = 'SET_ASIDE'"
    " AND (first_id = ANY(:ids) OR second_id = ANY(:ids))"
).bindparams(_IDS)
_CAME = text("SELECT 1 FROM duplicate_pair_origins WHERE pair_id = :pair LIMIT 1")
_COME = text(
    "INSERT INTO duplicate_pair_origins (tenant_id, pair_id, merge_id, from_id) VALUES (:tenant, :pair, :merge, :from)"
)


async def _hold_or_make(
    tx: Transaction, kind: str, survivor: UUID, merged: Sequence[UUID], done: Mapping[str, Any]
) -> list[UUID]:
    """Locks the pairs of records that go into one, and makes those of the survivor that will be set aside, all in one order.
    Answers with those that were made."""
    there = (await tx.session.execute(_THERE, {"kind": kind, "ids": [survivor, *merged]})).all()
    wanted = {(row.first_id, row.second_id): (row.score, row.reasons) for row in there}
    for row in there:
        others = {row.first_id, row.second_id} - {survivor, *merged}
        if row.state == SET_ASIDE and others:
            first, second = sorted((survivor, others.pop()))
            wanted.setdefault((first, second), (row.score, row.reasons))
    rows = [
        {"id": new_id(), "first_id": first, "second_id": second, "score": score, "reasons": reasons}
        for (first, second), (score, reasons) in sorted(wanted.items())
    ]
    payload = {**done, "tenant": tx.who.tenant_id, "rows": orjson.dumps(rows, default=str).decode()}
    return list((await tx.session.execute(_HOLD_OR_MAKE, payload)).scalars())


async def pairs_merged(
    tx: Transaction, kind: str, merge_id: UUID, survivor: UUID, merged: Sequence[UUID]
) -> None:
    """Records went into one. Their pairs are MERGED; of whom one of them is not the same, the survivor is not either."""
    done: dict[str, Any] = {
        "kind": kind, "merge": merge_id, "survivor": survivor, "ids": [survivor, *merged], "now": tx.now,
        "by": tx.who.person_id,
    }  # fmt: skip
    made = await _hold_or_make(tx, kind, survivor, merged, done)
    await tx.session.execute(_BECOME_ONE, done)
    aside = (await tx.session.execute(_ASIDE, {"kind": kind, "ids": list(merged)})).all()
    for row in sorted(aside, key=lambda row: sorted((survivor, UUID(str(row.other))))):
        other = UUID(str(row.other))
        pair = await _pair(tx, kind, survivor, other, row.score, list(row.reasons), made_by_merge=True)
        if OPEN in (pair.state, pair.state_before):
            if pair.state == OPEN:
                pair.state = SET_ASIDE
            else:
                pair.state_before = SET_ASIDE
            pair.set_aside_by, pair.set_aside_at = row.set_aside_by, row.set_aside_at
            await tx.session.flush()
        elif (await tx.session.execute(_CAME, {"pair": pair.id})).first() is None:
            continue  # somebody has said it of the two themselves
        origin = {"tenant": tx.who.tenant_id, "pair": pair.id, "merge": merge_id, "from": row.id}
        await tx.session.execute(_COME, origin)
    # Somebody may have decided otherwise before they were locked.
    await tx.session.execute(_UNFOUND, {"ids": made})


_BECOME_TWO = text(
    "UPDATE duplicate_pairs SET state = state_before, state_before = '', merged_by = NULL, first_at = first_id,"
    " second_at = second_id, version = version + 1, updated_at = :now, updated_by = :by WHERE merged_by = :merge"
    " RETURNING id"
)
# What came by this merge may have gone further by later ones.
_HOLD_BACK = text(
    "WITH RECURSIVE came AS (SELECT pair_id FROM duplicate_pair_origins WHERE merge_id = :merge"
    " UNION SELECT o.pair_id FROM duplicate_pair_origins o JOIN came c ON o.from_id = c.pair_id)"
    " SELECT id FROM duplicate_pairs WHERE id IN (SELECT id FROM duplicate_pairs WHERE merged_by = :merge"
    " UNION ALL SELECT pair_id FROM came) ORDER BY first_id, second_id FOR UPDATE"
)
_BACK = text("DELETE FROM duplicate_pair_origins WHERE merge_id = :merge RETURNING pair_id")
_BACK_FROM = text(
    "DELETE FROM duplicate_pair_origins WHERE from_id = ANY(:ids) RETURNING pair_id"
).bindparams(_IDS)
_OPEN_AGAIN = text(
    "UPDATE duplicate_pairs p SET state = CASE state WHEN 'MERGED' THEN 'MERGED' ELSE 'OPEN' END,"
    " state_before = CASE state WHEN 'MERGED' THEN 'OPEN' ELSE '' END, set_aside_by = NULL, set_aside_at = NULL,"
    " version = version + 1, updated_at = :now, updated_by = :by WHERE id = ANY(:ids)"
    " AND NOT EXISTS (SELECT FROM duplicate_pair_origins o WHERE o.pair_id = p.id) RETURNING id"
).bindparams(_IDS)
_UNFOUND = text(
    "DELETE FROM duplicate_pairs WHERE id = ANY(:ids) AND state = 'OPEN' AND made_by_merge AND sweep_id IS NULL"
).bindparams(_IDS)


async def pairs_unmerged(tx: Transaction, merge_id: UUID) -> None:
    """The merge was undone: pairs are what they were."""
    await tx.session.flush()
    done = {"now": tx.now, "by": tx.who.person_id}
    await tx.session.execute(_HOLD_BACK, {"merge": merge_id})
    opened = list((await tx.session.execute(_BECOME_TWO, {"merge": merge_id, **done})).scalars())
    lost = (await tx.session.execute(_BACK, {"merge": merge_id})).scalars().all()
    while lost:
        # Those that came by another merge, too, stay as they are.
        again = (await tx.session.execute(_OPEN_AGAIN, {"ids": list(lost), **done})).scalars().all()
        opened += again
        lost = (await tx.session.execute(_BACK_FROM, {"ids": list(again)})).scalars().all()
    await tx.session.execute(_UNFOUND, {"ids": opened})


_ERASE = text(
    "DELETE FROM duplicate_pairs WHERE kind = :kind AND (first_id = ANY(:ids) OR second_id = ANY(:ids))"
).bindparams(_IDS)


async def pairs_erased(tx: Transaction, kind: str, id: UUID) -> None:
    """A person was erased: nothing tells any more with whom they might have been taken for the same, nor what they had in
    common with many. Done at last, for all of the transaction at once: what is left to be erased locks records."""
    erased: set[UUID] = tx.session.info.setdefault(f"pairs erased {kind}", set())
    erased.add(id)
    tx.at_last(f"pairs erased {kind}", partial(_erase, tx, kind, erased))


async def _erase(tx: Transaction, kind: str, erased: set[UUID]) -> None:
    ids = list(erased)
    await forget_frequent(tx, kind)
    await tx.session.execute(_HOLD, {"kind": kind, "ids": ids})
    await tx.session.execute(_ERASE, {"kind": kind, "ids": ids})
