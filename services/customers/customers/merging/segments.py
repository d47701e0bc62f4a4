"""The survivor of a merge is in every static segment in which one of the merged customers was, once; who is in the trash is in
none, and in them again when it is restored."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any
from uuid import UUID

from sqlalchemy import text

from chassis.database import Transaction
from chassis.kept import Kept
from customers.segments.segment import Segment, SegmentCustomersAdded, SegmentCustomersRemoved, told

_OF = text(
    "SELECT segment_id, customer_id, added_at, added_by FROM segment_customers WHERE customer_id = ANY(:ids)"
    " ORDER BY segment_id, added_at, customer_id"
)
_PUT = text(
    "INSERT INTO segment_customers (tenant_id, segment_id, customer_id, added_at, added_by)"
    " VALUES (:tenant, :segment, :customer, :at, :by) ON CONFLICT DO NOTHING RETURNING customer_id"
)
_TAKE = text(
    "DELETE FROM segment_customers WHERE segment_id = :segment AND customer_id = ANY(:ids) RETURNING customer_id"
)
_KEPT = "segment_member"


async def join_segments(tx: Transaction, survivor_id: UUID, ids: Sequence[UUID]) -> Kept:
    """Puts the survivor where the others were, and takes these out. Answers with what has changed by it."""
    rows = (await tx.session.execute(_OF, {"ids": list(ids)})).all()
    kept: Kept = {}
    for segment_id, members in groupby(rows, key=lambda row: row.segment_id):
        gone = list(members)
        segment = await tx.find(Segment, UUID(str(segment_id)))
        joined = await _put(tx, segment_id, survivor_id, gone[0].added_at, gone[0].added_by)
        left = await _take(tx, segment_id, [row.customer_id for row in gone])
        for row in gone:
            kept.setdefault(_KEPT, {})[f"{segment_id} {row.customer_id}"] = {
                "added": [row.added_at.isoformat(), str(row.added_by)],
                "joined": [bool(joined), str(survivor_id)],
            }
        _tell(tx, segment, joined, left)
    return kept


async def leave_segments(tx: Transaction, customer_id: UUID) -> Kept:
    """Takes a customer that is deleted out of its segments. Answers with what has changed by it."""
    kept: Kept = {}
    for row in (await tx.session.execute(_OF, {"ids": [customer_id]})).all():
        segment = await tx.find(Segment, UUID(str(row.segment_id)))
        kept.setdefault(_KEPT, {})[f"{row.segment_id} {customer_id}"] = {
            "added": [row.added_at.isoformat(), str(row.added_by)],
            "joined": [False, str(customer_id)],
        }
        _tell(tx, segment, [], await _take(tx, row.segment_id, [customer_id]))
    return kept


async def part_segments(tx: Transaction, kept: Mapping[str, Any]) -> None:
    """Puts the others where they were, and takes the survivor out where it came by the merge."""
    found = sorted(kept.get(_KEPT, {}).items())
    for segment_id, members in groupby(found, key=lambda one: one[0].partition(" ")[0]):
        segment = await tx.find(Segment, UUID(segment_id))
        back: list[UUID] = []
        left: list[UUID] = []
        for key, was in members:
            at, by = was["added"]
            loser = UUID(key.partition(" ")[2])
            back += await _put(tx, UUID(segment_id), loser, datetime.fromisoformat(at), UUID(by))
            came, survivor = was["joined"]
            if came:
                left += await _take(tx, UUID(segment_id), [UUID(survivor)])
        _tell(tx, segment, back, left)


async def _put(tx: Transaction, segment_id: UUID, customer_id: UUID, at: datetime, by: UUID) -> list[UUID]:
    row = {"tenant": tx.who.tenant_id, "segment": segment_id, "customer": customer_id, "at": at, "by": by}
    return list((await tx.session.execute(_PUT, row)).scalars())


async def _take(tx: Transaction, segment_id: UUID, ids: Sequence[UUID]) -> list[UUID]:
    return list((await tx.session.execute(_TAKE, {"segment": segment_id, "ids": list(ids)})).scalars())


def _tell(tx: Transaction, segment: Segment | None, came: list[UUID], left: list[UUID]) -> None:
    if segment is None:
        return
    segment.member_count += len(came) - len(left)
    if came:
        tx.record(SegmentCustomersAdded(**told(segment), customer_ids=came), on=segment)
    if left:
        tx.record(SegmentCustomersRemoved(**told(segment), customer_ids=left), on=segment)
