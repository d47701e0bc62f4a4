"""Inboxes: whose notifications they are, how many of them are unread, and what their people want to be told."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Text, text
from sqlmodel import Field

from chassis.database import Transaction
from chassis.events.event import OwnedEvent
from chassis.records import Record

ASSIGNED, MENTIONED, DUE, POOL, CAME_AGAIN = "ASSIGNED", "MENTIONED", "DUE", "POOL", "CAME_AGAIN"
KINDS = (ASSIGNED, MENTIONED, DUE, POOL, CAME_AGAIN)


class Inbox(Record, table=True):
    """One person's. Its id is the person's, and its lock orders all that happens in it."""

    __tablename__ = "inboxes"  # pyright: ignore[reportAssignmentType]

    unread_count: int = 0
    """As it was last told."""


class Preferences(Record, table=True):
    """What one person wants to be told. Its id is the person's."""

    __tablename__ = "preferences"  # pyright: ignore[reportAssignmentType]

    muted_kinds: list[str] = Field(default_factory=list[str], sa_type=ARRAY(Text))  # pyright: ignore[reportArgumentType]


@dataclass(frozen=True, kw_only=True)
class InboxChanged(OwnedEvent):
    inbox_id: UUID
    unread_count: int


# Two who make the same one at once make one.
_OPEN = text(
    "INSERT INTO inboxes (tenant_id, id, version, created_at, created_by, updated_at, updated_by, unread_count)"
    " VALUES (:tenant, :id, 1, :now, :by, :now, :by, 0) ON CONFLICT DO NOTHING"
)
_COUNT = text(
    "SELECT count(*) FROM notifications WHERE person_id = :person AND unread AND NOT archived AND deleted_at IS NULL"
)


async def inbox_of(tx: Transaction, person_id: UUID) -> Inbox:
    """The person's inbox, locked; made when there is none."""
    inbox = await tx.find(Inbox, person_id)
    if inbox is None:
        made: dict[str, Any] = {
            "tenant": tx.who.tenant_id,
            "id": person_id,
            "now": tx.now,
            "by": tx.who.person_id,
        }
        await tx.session.execute(_OPEN, made)
        inbox = await tx.find(Inbox, person_id)
    assert inbox is not None
    return inbox


async def recount(tx: Transaction, inbox: Inbox) -> bool:
    """Counts what is unread, under the inbox' lock. True when it is another number than was told last."""
    await tx.session.flush()
    count = (await tx.session.execute(_COUNT, {"person": inbox.id})).scalar_one()
    changed = count != inbox.unread_count
    inbox.unread_count = count
    return changed


async def tell_changes(tx: Transaction, inbox: Inbox, *, anyway: bool = False) -> None:
    """Tells the person's screens how many are unread, if that is another number now, or `anyway`."""
    if await recount(tx, inbox) or anyway:
        told = InboxChanged(
            inbox_id=inbox.id, owner_id=inbox.id, team_id=None, unread_count=inbox.unread_count
        )
        tx.record(told, on=inbox)


async def muted(tx: Transaction, person_id: UUID, kind: str) -> bool:
    """Whether the person does not want to be told of such things."""
    found = await tx.find(Preferences, person_id, lock=False)
    return found is not None and kind in found.muted_kinds


async def mute(tx: Transaction, kinds: list[str] | None, etag: str) -> Preferences:
    """The caller wants to be told of no kind among these, and of every other; None changes nothing. Raises EtagMismatch."""
    await inbox_of(tx, tx.who.person_id)  # whose lock keeps two from making them at once
    found = await tx.find(Preferences, tx.who.person_id)
    if found is None:
        found = Preferences(id=tx.who.person_id, version=0)
        tx.check_etag(found, etag)
        found.version = 1
        tx.add(found)
    else:
        tx.check_etag(found, etag)
    if kinds is not None:
        found.muted_kinds = [kind for kind in KINDS if kind in kinds]
    return found
