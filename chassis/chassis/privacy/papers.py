"""Notes and files on records, as holdings: those on a person's record go with it, those on other records lose what tells of the
person."""

from typing import Any

from chassis.attachments.attachment import Attachment, forget_file
from chassis.database import Transaction
from chassis.notes.note import Note
from chassis.privacy.holding import Holding


async def _gone(tx: Transaction, row: Note | Attachment) -> None:
    there: Any = await tx.session.get(type(row), (row.tenant_id, row.id))
    if there is None:
        return
    if isinstance(there, Attachment):
        await forget_file(tx, there.storage_key)
    await tx.session.delete(there)
    await tx.session.flush()


def papers_of(*persons: str) -> tuple[Holding, Holding]:
    """The holdings of a service whose records of these types are persons."""
    return (
        Holding(Note, about={"record_id": persons}, texts=("text",), swept=("author_name",), after=_gone),
        Holding(
            Attachment, about={"record_id": persons}, texts=("filename",), swept=("author_name",), after=_gone
        ),
    )


def papers_with(*records: str) -> tuple[Holding, Holding]:
    """The holdings of a service whose records of these types are business with persons, which stays."""
    return (
        Holding(Note, ties={"record_id": records}, swept=("text", "author_name"), keeps="BUSINESS_RECORD"),
        Holding(
            Attachment,
            ties={"record_id": records},
            swept=("filename", "author_name"),
            keeps="BUSINESS_RECORD",
        ),
    )
