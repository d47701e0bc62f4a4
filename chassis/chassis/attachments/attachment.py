"""Files as rows: who may add and delete them, and what is told of it. Of their bytes it is known where they are."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import BigInteger
from sqlmodel import Field

from chassis.attachments.files import Taken
from chassis.database import Transaction
from chassis.events.event import OwnedEvent
from chassis.records import Record
from chassis.subjects import Subject, holder_of

FORGET = "forget file"
"""The kind of the job that removes bytes of which no row speaks. Its key is theirs."""
UNCLAIMED = timedelta(minutes=15)
"""After that the bytes of an upload that nobody has claimed by a row are removed: longer than an upload may take."""


class Attachment(Record, table=True):
    """A file on a record."""

    __tablename__ = "attachments"  # pyright: ignore[reportAssignmentType]
    record_type: ClassVar[str] = "attachment"
    history_hidden: ClassVar[frozenset[str]] = frozenset({"storage_key", "missing_time"})

    of_type: str
    record_id: UUID
    filename: str
    content_type: str
    size_bytes: int = Field(sa_type=BigInteger)
    sha256: str
    storage_key: str
    author_name: str = ""
    missing_time: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class AttachmentEvent(OwnedEvent):
    """What every event says of a file."""

    attachment_id: UUID
    record_type: str
    record_id: UUID
    author_id: UUID
    filename: str
    content_type: str
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class AttachmentCreated(AttachmentEvent):
    pass


@dataclass(frozen=True, kw_only=True)
class AttachmentDeleted(AttachmentEvent):
    pass


def _told(attachment: Attachment, record: Record) -> dict[str, Any]:
    return {
        **holder_of(record), "attachment_id": attachment.id, "record_type": attachment.of_type,
        "record_id": attachment.record_id, "author_id": attachment.created_by, "filename": attachment.filename,
        "content_type": attachment.content_type, "size_bytes": attachment.size_bytes,
    }  # fmt: skip


async def expect_file(tx: Transaction, key: str) -> None:
    """Bytes are about to come under that key: should nobody claim them, they are removed."""
    await tx.enqueue(FORGET, {"storage_key": key}, due_at=tx.now + UNCLAIMED, key=key)


async def forget_file(tx: Transaction, key: str) -> None:
    """Has the bytes under that key removed soon, unless a row speaks of them."""
    await tx.enqueue(FORGET, {"storage_key": key}, key=key)


async def attach(
    tx: Transaction,
    subject: Subject,
    record: Record,
    key: str,
    filename: str,
    content_type: str,
    taken: Taken,
    **copied: Any,
) -> Attachment:
    """A file on that record, which is locked and may be written; its bytes are there under the key. Of one that was copied from
    elsewhere, `copied` says what stays: its id, author and time."""
    more: dict[str, Any] = {"author_name": tx.who.name, **copied}
    attachment = Attachment(
        of_type=subject.record_type, record_id=record.id, filename=filename, content_type=content_type,
        size_bytes=taken.size, sha256=taken.sha256, storage_key=key, **more,
    )  # fmt: skip
    tx.add(attachment)
    attachment.created_by = copied.get("created_by", attachment.created_by)
    await tx.dequeue(FORGET, key)
    tx.record(subject.told_by(AttachmentCreated)(**_told(attachment, record)), on=attachment)
    return attachment


async def uncopy_file(tx: Transaction, subject: Subject, record: Record, attachment: Attachment) -> None:
    """Takes out a file that was copied, so that it can be copied again. Where it was added it stays."""
    tx.record(subject.told_by(AttachmentDeleted)(**_told(attachment, record)), on=attachment)
    await forget_file(tx, attachment.storage_key)
    await tx.session.delete(attachment)


async def detach(tx: Transaction, subject: Subject, record: Record, attachment: Attachment) -> None:
    """Deletes a file; it and its record are locked, and the record may be written. Raises NotTheAuthor."""
    subject.check_author(tx.who, attachment.created_by, "file")
    tx.delete(attachment)
    await forget_file(tx, attachment.storage_key)
    tx.record(subject.told_by(AttachmentDeleted)(**_told(attachment, record)), on=attachment)
