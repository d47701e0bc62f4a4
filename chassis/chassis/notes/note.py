"""Notes as rows: what may be written, who may change it, and what is told of it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import ARRAY, Uuid
from sqlmodel import Field

from chassis.database import Transaction
from chassis.errors import Invalid
from chassis.events.event import OwnedEvent
from chassis.mapping import change
from chassis.records import Record
from chassis.subjects import Subject, holder_of
from chassis.texts import prose

_AUTHORS = frozenset({"text", "mentioned_ids"})
"""What only the author changes."""


class Note(Record, table=True):
    """A note on a record."""

    __tablename__ = "notes"  # pyright: ignore[reportAssignmentType]
    record_type: ClassVar[str] = "note"

    of_type: str
    record_id: UUID
    text: str
    pinned: bool = False
    mentioned_ids: list[UUID] = Field(default_factory=list[UUID], sa_type=ARRAY(Uuid))  # pyright: ignore[reportArgumentType]
    edit_time: datetime | None = None
    author_name: str = ""


@dataclass(frozen=True, kw_only=True)
class NoteEvent(OwnedEvent):
    """What every event says of a note."""

    note_id: UUID
    record_type: str
    record_id: UUID
    author_id: UUID
    pinned: bool


@dataclass(frozen=True, kw_only=True)
class NoteCreated(NoteEvent):
    mentioned_ids: list[UUID]


@dataclass(frozen=True, kw_only=True)
class NoteUpdated(NoteEvent):
    mentioned_ids: list[UUID]
    changed_fields: list[str]


@dataclass(frozen=True, kw_only=True)
class NoteDeleted(NoteEvent):
    pass


def _told(note: Note, record: Record) -> dict[str, Any]:
    return {
        **holder_of(record), "note_id": note.id, "record_type": note.of_type, "record_id": note.record_id,
        "author_id": note.created_by, "pinned": note.pinned,
    }  # fmt: skip


def _tidy(values: Mapping[str, Any]) -> dict[str, Any]:
    tidy = dict(values)
    if "text" in tidy:
        tidy["text"] = prose(tidy["text"])
        if not tidy["text"]:
            raise Invalid("note.text", "is needed: nothing that can be read is in it")
    return tidy


def _check_people(mentioned: Sequence[UUID], active: Collection[UUID]) -> None:
    for place, id in enumerate(mentioned):
        if id not in active:
            raise Invalid(
                f"note.mentionedIds[{place}]", f"there is no active person {id}", reason="PERSON_NOT_FOUND"
            )


def write_note(
    tx: Transaction, subject: Subject, record: Record, values: Mapping[str, Any], active: Collection[UUID]
) -> Note:
    """A new note on that record, which is locked and may be written. `active` are those of the people mentioned who are there.

    Raises Invalid (PERSON_NOT_FOUND).
    """
    note = Note(of_type=subject.record_type, record_id=record.id, author_name=tx.who.name, **_tidy(values))
    _check_people(note.mentioned_ids, active)
    tx.add(note)
    event = subject.told_by(NoteCreated)
    tx.record(event(**_told(note, record), mentioned_ids=list(note.mentioned_ids)), on=note)
    return note


def copy_note(tx: Transaction, subject: Subject, record: Record, note: Note) -> None:
    """Takes in a note that was written elsewhere, with its author and times. Nobody is newly mentioned by that."""
    author, at = note.created_by, note.created_at
    tx.add(note)
    note.created_by, note.created_at = author, at
    tx.record(subject.told_by(NoteCreated)(**_told(note, record), mentioned_ids=[]), on=note)


async def uncopy_note(tx: Transaction, subject: Subject, record: Record, note: Note) -> None:
    """Takes out a note that was copied, so that it can be copied again. Where it was written it stays."""
    tx.record(subject.told_by(NoteDeleted)(**_told(note, record)), on=note)
    await tx.session.delete(note)


def change_note(
    tx: Transaction,
    subject: Subject,
    record: Record,
    note: Note,
    values: Mapping[str, Any],
    active: Collection[UUID],
) -> None:
    """Changes a note; it and its record are locked, and the record may be written. Raises NotTheAuthor, Invalid."""
    before = set(note.mentioned_ids)
    tidy = {name: value for name, value in _tidy(values).items() if getattr(note, name) != value}
    if not tidy:
        return
    if tidy.keys() & _AUTHORS:
        subject.check_author(tx.who, note.created_by, "note")
    newly = [id for id in tidy.get("mentioned_ids", ()) if id not in before]
    _check_people(tidy.get("mentioned_ids", ()), {*active, *before})
    changed = change(note, tidy)
    if "text" in changed:
        note.edit_time = tx.now
    event = subject.told_by(NoteUpdated)
    tx.record(event(**_told(note, record), mentioned_ids=newly, changed_fields=changed), on=note)


def drop_note(tx: Transaction, subject: Subject, record: Record, note: Note) -> None:
    """Deletes a note; it and its record are locked, and the record may be written. Raises NotTheAuthor."""
    subject.check_author(tx.who, note.created_by, "note")
    tx.delete(note)
    tx.record(subject.told_by(NoteDeleted)(**_told(note, record)), on=note)
