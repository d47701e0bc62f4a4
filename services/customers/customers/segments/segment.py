"""Segments: named sets of customers. A static one is a list in `segment_customers`, of customers that are there; one by
rule is read anew each time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import BigInteger, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import UUID as UUID_TYPE
from sqlmodel import Field, col, select

from chassis.database import Transaction
from chassis.errors import Invalid
from chassis.events.event import Event
from chassis.ids import new_id
from chassis.mapping import change
from chassis.owners import Owner
from chassis.principal import Act
from chassis.records import Owned
from chassis.visibility import visible
from customers.customer import Customer
from customers.errors import SegmentByRule, SegmentFull, customer_not_found

STATIC, RULE = "STATIC", "RULE"
KINDS = (STATIC, RULE)
MOST_MEMBERS = 200_000
"""Customers of a static segment: larger sets are what rules are for."""


class Segment(Owned, table=True):
    """A segment. `member_count` counts the rows of a static one and is kept with them under the segment's lock."""

    __tablename__ = "segments"  # pyright: ignore[reportAssignmentType]
    record_type: ClassVar[str] = "segment"

    display_name: str
    description: str = ""
    kind: str
    filter: str = ""
    member_count: int = Field(default=0, sa_type=BigInteger)


@dataclass(frozen=True, kw_only=True)
class SegmentSnapshot:
    display_name: str
    kind: str
    filter: str
    member_count: int


@dataclass(frozen=True, kw_only=True)
class SegmentEvent(Event):
    """What every event says of a segment."""

    segment_id: UUID
    owner_id: UUID | None
    team_id: UUID | None
    segment: SegmentSnapshot


class SegmentCreated(SegmentEvent):
    pass


@dataclass(frozen=True, kw_only=True)
class SegmentUpdated(SegmentEvent):
    changed_fields: list[str]


class SegmentDeleted(SegmentEvent):
    pass


@dataclass(frozen=True, kw_only=True)
class SegmentCustomersAdded(SegmentEvent):
    customer_ids: list[UUID]


@dataclass(frozen=True, kw_only=True)
class SegmentCustomersRemoved(SegmentEvent):
    customer_ids: list[UUID]


def told(segment: Segment) -> dict[str, Any]:
    """What every event says of a segment."""
    return {
        "segment_id": segment.id, "owner_id": segment.owner_id, "team_id": segment.team_id,
        "segment": SegmentSnapshot(
            display_name=segment.display_name, kind=segment.kind, filter=segment.filter, member_count=segment.member_count
        ),
    }  # fmt: skip


def found_segment(tx: Transaction, values: Mapping[str, Any], owner: Owner, id: UUID | None) -> Segment:
    """A new segment. Its rule has been checked before. Raises Invalid for a rule on a static one, and for none on the other."""
    filter = values["filter"].strip()
    kind = values["kind"] or (RULE if filter else STATIC)
    columns: dict[str, Any] = {
        **values,
        "display_name": values["display_name"].strip(),
        "filter": filter,
        "kind": kind,
    }
    _check_rule(kind, filter)
    segment = Segment(id=id or new_id(), owner_id=owner.person_id, team_id=owner.team_id, **columns)
    tx.add(segment)
    tx.record(SegmentCreated(**told(segment)), on=segment)
    return segment


def change_segment(tx: Transaction, segment: Segment, values: Mapping[str, Any]) -> None:
    """Changes name, description and rule, which has been checked before. Raises Invalid as `found_segment` does."""
    tidy = {name: value.strip() for name, value in values.items()}
    _check_rule(segment.kind, tidy.get("filter", segment.filter))
    changed = change(segment, tidy)
    if changed:
        tx.record(SegmentUpdated(**told(segment), changed_fields=changed), on=segment)


def _check_rule(kind: str, filter: str) -> None:
    if kind == RULE and not filter:
        raise Invalid("segment.filter", "is needed by a segment by rule")
    if kind == STATIC and filter:
        raise Invalid("segment.filter", "is for segments by rule: customers are put into a static one")


_ADD = text(
    "INSERT INTO segment_customers (tenant_id, segment_id, customer_id, added_at, added_by)"
    " SELECT :tenant, :segment, id, :now, :person FROM unnest(:ids) AS id ON CONFLICT DO NOTHING RETURNING customer_id"
).bindparams(bindparam("ids", type_=ARRAY(UUID_TYPE(as_uuid=True))))
_REMOVE = text(
    "DELETE FROM segment_customers WHERE segment_id = :segment AND customer_id = ANY(:ids) RETURNING customer_id"
).bindparams(bindparam("ids", type_=ARRAY(UUID_TYPE(as_uuid=True))))


async def add_customers(tx: Transaction, segment: Segment, ids: Sequence[UUID]) -> None:
    """Puts customers into a static segment, which is locked. Raises SegmentByRule, SegmentFull; Invalid (CUSTOMER_NOT_FOUND)
    for one that the caller may not read."""
    if segment.kind != STATIC:
        raise SegmentByRule
    seen = visible(Customer, tx.who, "customers", Act.READ)
    # Locked, so that who is thrown away meanwhile is not put in after all.
    known = (
        select(Customer.id)
        .where(col(Customer.id).in_(ids), col(Customer.deleted_at).is_(None), seen)
        .with_for_update(read=True, key_share=True)
    )
    there = set((await tx.session.execute(known)).scalars())
    for id in ids:
        if id not in there:
            raise customer_not_found("customerIds", id)
    values = {
        "tenant": tx.who.tenant_id, "segment": segment.id, "now": tx.now, "person": tx.who.person_id, "ids": sorted(there)
    }  # fmt: skip
    added = list((await tx.session.execute(_ADD, values)).scalars())
    if segment.member_count + len(added) > MOST_MEMBERS:
        raise SegmentFull
    if added:
        segment.member_count += len(added)
        tx.record(SegmentCustomersAdded(**told(segment), customer_ids=added), on=segment)


async def remove_customers(tx: Transaction, segment: Segment, ids: Sequence[UUID]) -> None:
    """Takes customers out of a static segment, which is locked. Raises SegmentByRule."""
    if segment.kind != STATIC:
        raise SegmentByRule
    removed = list((await tx.session.execute(_REMOVE, {"segment": segment.id, "ids": list(ids)})).scalars())
    if removed:
        segment.member_count -= len(removed)
        tx.record(SegmentCustomersRemoved(**told(segment), customer_ids=removed), on=segment)
