"""Pairs as rows: two records that may be the same, until somebody merges them or says that they are two.

A pair says nothing of its records but why they are alike, so nothing of a person stands in it. Whether it is there for somebody
is asked of the records themselves: a pair of which one is deleted is not, and is again when that is restored. `first_at` and
`second_at` are where the two are now: with the survivor once they are merged.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Text, Uuid, bindparam, select, text
from sqlmodel import Field, col

from chassis.database import Database, Transaction
from chassis.duplicates.sweep import forget_frequent
from chassis.duplicates.swept import Swept
from chassis.errors import NotFound, Precondition
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
    came_by: UUID | None = None
    """The merge by which it was set aside: one of the two took in a record that is not the same as the other."""
    came_from: UUID | None = None
    """The pair that says so."""


class DuplicatePairMerged(Precondition):
    """The two were merged."""

    reason = "DUPLICATE_PAIR_MERGED"


class DuplicatePairNotSetAside(Precondition):
    """Only what is set aside can be opened again."""

    reason = "DUPLICATE_PAIR_NOT_SET_ASIDE"


async def _pair(
    tx: Transaction, kind: str, first: UUID, second: UUID, score: int, reasons: list[str]
) -> DuplicatePair:
    """The pair of the two, whose first has the lesser id, locked; a new one when there is none."""
    found = await tx.session.execute(
        select(DuplicatePair)
        .where(
            col(DuplicatePair.kind) == kind, col(DuplicatePair.first_id) == first, col(DuplicatePair.second_id) == second
        )
        .with_for_update()
    )  # fmt: skip
    pair = found.scalar_one_or_none()
    if pair is None:
        pair = DuplicatePair(
            kind=kind, first_id=first, second_id=second, first_at=first, second_at=second, score=score, reasons=reasons
        )  # fmt: skip
        tx.add(pair)
    return pair


async def _compared(tx: Transaction, swept: Swept, ids: Iterable[UUID]) -> tuple[int, list[str]]:
    """How likely two are the same, whom the caller may change. Raises NotFound, Denied."""
    one, other = [await swept.writable(tx, id) for id in sorted(ids)]
    score, reasons = swept.compare(*(swept.compared_by(partial(getattr, row)) for row in (one, other)))
    return score, list(reasons)


async def set_aside(tx: Transaction, swept: Swept, ids: Sequence[UUID]) -> DuplicatePair:
    """The two are not the same, says somebody who may change both. Raises NotFound, Denied, DuplicatePairMerged."""
    score, reasons = await _compared(tx, swept, ids)
    first, second = sorted(ids)
    await tx.hold(f"duplicate pair {swept.kind} {first} {second}")
    pair = await _pair(tx, swept.kind, first, second, score, reasons)
    if pair.state == MERGED:
        raise DuplicatePairMerged("The two were merged: undo the merge first.")
    if pair.state != SET_ASIDE or pair.came_by is not None:
        pair.state, pair.set_aside_by, pair.set_aside_at = SET_ASIDE, tx.who.person_id, tx.now
        pair.came_by = pair.came_from = None
    return pair


async def reopen(tx: Transaction, swept: Swept, pair: DuplicatePair, etag: str) -> None:
    """The two may be the same after all; the pair is locked. Raises NotFound, Denied, EtagMismatch, DuplicatePairNotSetAside."""
    score, reasons = await _compared(tx, swept, (pair.first_id, pair.second_id))
    tx.check_etag(pair, etag)
    if pair.state != SET_ASIDE:
        raise DuplicatePairNotSetAside(f"The pair is {pair.state}.")
    pair.state, pair.score, pair.reasons = OPEN, score, reasons
    pair.set_aside_by = pair.set_aside_at = pair.came_by = pair.came_from = None
    if score < swept.least:
        await tx.session.delete(pair)  # nothing would propose it


async def pair_of(tx: Transaction, id: UUID) -> DuplicatePair:
    """The pair, locked, whoever asks. Raises NotFound."""
    pair = await tx.find(DuplicatePair, id)
    if pair is None:
        raise NotFound("duplicate pair", id)
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
_BECOME_ONE = text(
    "UPDATE duplicate_pairs SET state_before = state, state = 'MERGED', merged_by = :merge, first_at = :survivor,"
    " second_at = :survivor, version = version + 1, updated_at = :now, updated_by = :by"
    " WHERE kind = :kind AND state <> 'MERGED' AND first_id = ANY(:ids) AND second_id = ANY(:ids)"
).bindparams(_IDS)
_ASIDE = text(
    "SELECT id, CASE WHEN first_id = ANY(:ids) THEN second_id ELSE first_id END AS other, score, reasons, set_aside_by,"
    " set_aside_at FROM duplicate_pairs WHERE kind = :kind AND state = 'SET_ASIDE'"
    " AND (first_id = ANY(:ids) OR second_id = ANY(:ids)) ORDER BY first_id, second_id"
).bindparams(_IDS)


async def pairs_merged(
    tx: Transaction, kind: str, merge_id: UUID, survivor: UUID, merged: Sequence[UUID]
) -> None:
    """Records went into one. Their pairs are MERGED; of whom one of them is not the same, the survivor is not either."""
    done: dict[str, Any] = {
        "kind": kind, "merge": merge_id, "survivor": survivor, "ids": [survivor, *merged], "now": tx.now,
        "by": tx.who.person_id,
    }  # fmt: skip
    await tx.session.execute(_BECOME_ONE, done)
    for row in (await tx.session.execute(_ASIDE, {"kind": kind, "ids": list(merged)})).all():
        other = UUID(str(row.other))
        first, second = sorted((survivor, other))
        pair = await _pair(tx, kind, first, second, row.score, list(row.reasons))
        if pair.state == OPEN:
            pair.state, pair.set_aside_by, pair.set_aside_at = SET_ASIDE, row.set_aside_by, row.set_aside_at
            pair.came_by, pair.came_from = merge_id, row.id
            await tx.session.flush()


_BECOME_TWO = text(
    "UPDATE duplicate_pairs SET state = state_before, state_before = '', merged_by = NULL, first_at = first_id,"
    " second_at = second_id, version = version + 1, updated_at = :now, updated_by = :by WHERE merged_by = :merge"
)
# What came by this merge may have gone further by later ones.
_BACK = text(
    "WITH RECURSIVE came AS (SELECT id FROM duplicate_pairs WHERE came_by = :merge"
    " UNION SELECT p.id FROM duplicate_pairs p JOIN came c ON p.came_from = c.id)"
    " UPDATE duplicate_pairs p SET state = CASE state WHEN 'MERGED' THEN 'MERGED' ELSE 'OPEN' END,"
    " state_before = CASE state WHEN 'MERGED' THEN 'OPEN' ELSE '' END, set_aside_by = NULL, set_aside_at = NULL,"
    " came_by = NULL, came_from = NULL, version = version + 1, updated_at = :now, updated_by = :by"
    " FROM came WHERE p.id = came.id RETURNING p.id"
)
_UNFOUND = text(
    "DELETE FROM duplicate_pairs WHERE id = ANY(:ids) AND state = 'OPEN' AND sweep_id IS NULL"
).bindparams(_IDS)


async def pairs_unmerged(tx: Transaction, merge_id: UUID) -> None:
    """The merge was undone: pairs are what they were."""
    await tx.session.flush()
    done = {"merge": merge_id, "now": tx.now, "by": tx.who.person_id}
    await tx.session.execute(_BECOME_TWO, done)
    back = [row.id for row in (await tx.session.execute(_BACK, done)).all()]
    if back:
        await tx.session.execute(_UNFOUND, {"ids": back})


_ERASE = text("DELETE FROM duplicate_pairs WHERE kind = :kind AND (first_id = :id OR second_id = :id)")


async def pairs_erased(tx: Transaction, kind: str, id: UUID) -> None:
    """A person was erased: nothing tells any more with whom they might have been taken for the same, nor what they had in
    common with many."""
    await tx.session.execute(_ERASE, {"kind": kind, "id": id})
    await forget_frequent(tx, kind)
