"""How customers are related: supplier and buyer, partners, competitors; parent and child.

A parent stands at the child (`parent_customer_id`), for a customer belongs to one at most: it is shown among the relations under
the child's id, and made and ended here as well as there. All others are rows. Where there is no direction one row stands for
both, and an index refuses the same in the other order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import or_, select
from sqlmodel import col

from chassis.database import Transaction
from chassis.errors import Denied, Invalid, NotFound
from chassis.events.event import Event
from chassis.ids import new_id
from chassis.principal import Act
from chassis.records import Owned
from chassis.visibility import covers
from customers.customer import Customer, change_customer
from customers.errors import customer_not_found, relation_exists


class CustomerRelation(Owned, table=True):
    """A relation other than that of parent and child.

    It has no owner: who may see it is decided by the two customers, and live events of it reach those alone who see all.
    """

    __tablename__ = "customer_relations"  # pyright: ignore[reportAssignmentType]
    record_type: ClassVar[str] = "relation"

    type: str
    from_customer_id: UUID
    to_customer_id: UUID
    notes: str = ""


@dataclass(frozen=True, kw_only=True)
class RelationSnapshot:
    type: str
    from_customer_id: UUID
    to_customer_id: UUID


@dataclass(frozen=True, kw_only=True)
class RelationCreated(Event):
    relation_id: UUID
    relation: RelationSnapshot


@dataclass(frozen=True, kw_only=True)
class RelationUpdated(Event):
    relation_id: UUID
    relation: RelationSnapshot
    changed_fields: list[str]


@dataclass(frozen=True, kw_only=True)
class RelationDeleted(Event):
    relation_id: UUID
    relation: RelationSnapshot


@dataclass(frozen=True)
class Related:
    """A relation with its two customers. `row` is None for parent and child."""

    row: CustomerRelation | None
    first: Customer
    second: Customer


def told(row: CustomerRelation) -> dict[str, Any]:
    """What every event says of a relation."""
    snapshot = RelationSnapshot(
        type=row.type, from_customer_id=row.from_customer_id, to_customer_id=row.to_customer_id
    )
    return {"relation_id": row.id, "relation": snapshot}


async def relate(tx: Transaction, type: str, first_id: UUID, second_id: UUID, notes: str) -> Related:
    """Relates two customers. Raises Invalid (RELATION_TO_ITSELF, CUSTOMER_NOT_FOUND), Denied, CustomerCircle, AlreadyExists."""
    if first_id == second_id:
        raise Invalid("relation.toCustomerId", "is the first customer itself", reason="RELATION_TO_ITSELF")
    ends = await _locked(tx, first_id, second_id)
    for field, id in (("fromCustomerId", first_id), ("toCustomerId", second_id)):
        if id not in ends or not covers(ends[id], tx.who, "customers", Act.READ):
            raise customer_not_found(f"relation.{field}", id)
    first, second = ends[first_id], ends[second_id]
    if type == "PARENT":
        _check_writes(tx, second)
        if notes:
            raise Invalid("relation.notes", "a parent has none: write them at the customer")
        if second.parent_customer_id is not None:
            raise relation_exists()
        await change_customer(tx, second, {"parent_customer_id": first_id})
        return Related(None, first, second)
    _check_writes(tx, first, second)
    row = CustomerRelation(
        id=new_id(), type=type, from_customer_id=first_id, to_customer_id=second_id, notes=notes
    )
    tx.add(row)
    tx.record(RelationCreated(**told(row)), on=row)
    return Related(row, first, second)


async def related(tx: Transaction, id: UUID) -> Related:
    """The relation, its row and customers locked, if the caller may change it. Raises NotFound, Denied."""
    row = await tx.find(CustomerRelation, id, lock=False)
    if row is not None:
        ends = await _locked(tx, row.from_customer_id, row.to_customer_id)
        row = await tx.find(CustomerRelation, id)
        if row is None:
            raise NotFound("relation", id)
        first, second = ends.get(row.from_customer_id), ends.get(row.to_customer_id)
    else:
        second = await tx.find(Customer, id)
        if second is None or second.parent_customer_id is None:
            raise NotFound("relation", id)
        first = await tx.find(Customer, second.parent_customer_id, lock=False)
    if first is None or second is None:
        raise NotFound("relation", id)
    if not all(covers(one, tx.who, "customers", Act.READ) for one in (first, second)):
        raise NotFound("relation", id)
    _check_writes(tx, *((second,) if row is None else (first, second)))
    return Related(row, first, second)


def annotate(tx: Transaction, found: Related, notes: str | None) -> None:
    """Changes the notes; None leaves them. Raises Invalid for those of a parent."""
    if notes is None:
        return
    if found.row is None:
        if notes:
            raise Invalid("relation.notes", "a parent has none: write them at the customer")
        return
    if found.row.notes != notes:
        found.row.notes = notes
        tx.record(RelationUpdated(**told(found.row), changed_fields=["notes"]), on=found.row)


async def end(tx: Transaction, found: Related) -> None:
    """Ends a relation."""
    if found.row is None:
        await change_customer(tx, found.second, {"parent_customer_id": None})
    else:
        _end(tx, found.row)


def _end(tx: Transaction, row: CustomerRelation) -> None:
    tx.delete(row)
    tx.record(RelationDeleted(**told(row)), on=row)


async def relations_of(tx: Transaction, ids: Sequence[UUID]) -> Sequence[CustomerRelation]:
    """The relations of these customers, locked."""
    found = await tx.session.execute(
        select(CustomerRelation)
        .where(
            or_(
                col(CustomerRelation.from_customer_id).in_(ids),
                col(CustomerRelation.to_customer_id).in_(ids),
            ),
            col(CustomerRelation.deleted_at).is_(None),
        )
        .order_by(col(CustomerRelation.id))
        .with_for_update()
    )
    return found.scalars().all()


async def same_relation(tx: Transaction, row: CustomerRelation) -> bool:
    """Whether the customers of this relation are related in that way by another one."""
    ends = (row.from_customer_id, row.to_customer_id)
    found = await tx.session.execute(
        select(CustomerRelation).where(
            col(CustomerRelation.id) != row.id, col(CustomerRelation.type) == row.type,
            col(CustomerRelation.from_customer_id).in_(ends), col(CustomerRelation.to_customer_id).in_(ends),
            col(CustomerRelation.deleted_at).is_(None),
        )
    )  # fmt: skip
    there = [(one.from_customer_id, one.to_customer_id) for one in found.scalars()]
    return ends in there or (row.type != "SUPPLIER" and ends[::-1] in there)


async def end_all(tx: Transaction, customer: Customer) -> None:
    """Ends the relations of a customer that goes."""
    for row in await relations_of(tx, [customer.id]):
        _end(tx, row)


async def _locked(tx: Transaction, *ids: UUID) -> dict[UUID, Customer]:
    """Those of the customers that there are, locked in one order, whoever asks."""
    found = [await tx.find(Customer, id) for id in sorted(set(ids))]
    return {one.id: one for one in found if one is not None}


def _check_writes(tx: Transaction, *ends: Customer) -> None:
    """Raises Denied unless the caller may change one of these."""
    if not any(covers(one, tx.who, "customers", Act.WRITE) for one in ends):
        raise Denied("You may see these customers but not change them.", reason="RECORD_READ_ONLY")
