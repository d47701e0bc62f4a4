"""Merges: the row that says which records went into which, until when that can be undone, and what they were before."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import ARRAY, Uuid
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field

from chassis.database import Transaction
from chassis.errors import Invalid
from chassis.events.event import Event
from chassis.ids import new_id
from chassis.kept import Kept
from chassis.records import Owned
from customers.contact import ContactSnapshot
from customers.customer import CustomerSnapshot

CUSTOMER, CONTACT = "CUSTOMER", "CONTACT"
KINDS = (CUSTOMER, CONTACT)
MERGED, UNDONE = "MERGED", "UNDONE"
STATES = (MERGED, UNDONE)
UNDO_WITHIN = timedelta(days=30)


class Merge(Owned, table=True):
    """A merge. Owner and team are those of the survivor when it was made."""

    __tablename__ = "merges"  # pyright: ignore[reportAssignmentType]
    record_type: ClassVar[str] = "merge"
    history_hidden: ClassVar[frozenset[str]] = frozenset({"kept"})

    kind: str
    survivor_id: UUID
    merged_ids: list[UUID] = Field(sa_type=ARRAY(Uuid))  # pyright: ignore[reportArgumentType]
    state: str = MERGED
    undo_end_time: datetime
    undo_time: datetime | None = None
    kept: Kept = Field(default_factory=dict, sa_type=JSONB)


@dataclass(frozen=True, kw_only=True)
class CustomerMerged(Event):
    customer_id: UUID
    owner_id: UUID | None
    team_id: UUID | None
    customer: CustomerSnapshot
    merge_id: UUID
    merged_customer_ids: list[UUID]


@dataclass(frozen=True, kw_only=True)
class RestoredRecord:
    id: UUID
    display_name: str


@dataclass(frozen=True, kw_only=True)
class CustomerUnmerged(Event):
    customer_id: UUID
    owner_id: UUID | None
    team_id: UUID | None
    customer: CustomerSnapshot
    merge_id: UUID
    restored_customers: list[RestoredRecord]


@dataclass(frozen=True, kw_only=True)
class ContactMerged(Event):
    contact_id: UUID
    owner_id: UUID | None
    team_id: UUID | None
    contact: ContactSnapshot
    merge_id: UUID
    merged_contact_ids: list[UUID]


@dataclass(frozen=True, kw_only=True)
class ContactUnmerged(Event):
    contact_id: UUID
    owner_id: UUID | None
    team_id: UUID | None
    contact: ContactSnapshot
    merge_id: UUID
    restored_contacts: list[RestoredRecord]


def merge_of(tx: Transaction, kind: str, survivor: Any, merged: list[UUID], kept: Kept) -> Merge:
    """The row of a merge that has just been made."""
    merge = Merge(
        id=new_id(), kind=kind, survivor_id=survivor.id, merged_ids=merged, undo_end_time=tx.now + UNDO_WITHIN, kept=kept,
        owner_id=survivor.owner_id, team_id=survivor.team_id,
    )  # fmt: skip
    tx.add(merge)
    return merge


def check_ids(survivor_id: UUID, merged_ids: list[UUID]) -> None:
    """Raises Invalid (MERGE_WITH_ITSELF)."""
    if survivor_id in merged_ids:
        raise Invalid("mergedIds", "names the survivor itself", reason="MERGE_WITH_ITSELF")
