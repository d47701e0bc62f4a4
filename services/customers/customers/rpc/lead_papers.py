"""A lead's notes and files follow it to the customer that it has become: they are copied, and the lead keeps its own.

Nothing is added to a lead that was converted, so one look is enough. Every copy has an id that follows from that of what was
copied: the job may be repeated, and go on where it ended. When it has ended that is noted, and whoever is told of the conversion
once more does nothing: what was deleted at the customer since, or emptied, stays so.
"""

import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any
from uuid import UUID, uuid5

from kehu.attachments.v1 import attachments_pb2 as files_pb
from kehu.notes.v1 import notes_pb2 as notes_pb
from sqlalchemy import text

from chassis.attachments.attachment import Attachment, attach, expect_file, forget_file
from chassis.attachments.files import files_at, new_key
from chassis.attachments.upkeep import look_tonight
from chassis.database import Transaction
from chassis.errors import Code, Problem
from chassis.mapping import to_datetime
from chassis.notes.note import Note, copy_note
from chassis.rpc import Call
from customers.customer import Customer, survivor_of
from customers.rpc.papers import SUBJECTS

log = logging.getLogger(__name__)

LEAD_PAPERS = "papers of a lead"
"""The kind of the job. Its key is the lead."""
_NOTES = "kehu.leads.v1.NoteService/ListNotes"
_FILES = "kehu.leads.v1.AttachmentService/ListAttachments"
_FILE = "kehu.leads.v1.AttachmentService/DownloadAttachment"
_PAGE = 100
_LOST = ("FILE_MISSING", "FILE_DAMAGED", "NOT_FOUND")
"""Why a file cannot be copied, now or later: what is lost there stops nothing here."""
_TAKEN = "SELECT 1 FROM papers_taken WHERE lead_id = $1"
_TAKE = text("INSERT INTO papers_taken (tenant_id, lead_id) VALUES (:tenant, :lead) ON CONFLICT DO NOTHING")


def copy_of(id: str) -> UUID:
    """The id of the customer's copy."""
    return uuid5(UUID(id), "of a lead that was converted")


async def take_over(payload: Mapping[str, Any], call: Call) -> None:
    """The job."""
    call = call.as_service()
    if await call.database.read(call.who, _TAKEN, UUID(payload["lead_id"])):
        return
    customer_id, on = UUID(payload["customer_id"]), {"record_type": "lead", "record_id": payload["lead_id"]}
    try:
        async for note in _notes(call, on):
            await _take_note(call, customer_id, note)
        async for file in _files(call, on):
            await _take_file(call, customer_id, file)
    except Problem as problem:
        if problem.code is not Code.NOT_FOUND:
            raise
        log.info("lead %s was deleted before its notes and files could follow it", payload["lead_id"])
    async with call.database.transaction(call.who, origin="event") as tx:
        await tx.session.execute(_TAKE, {"tenant": tx.who.tenant_id, "lead": UUID(payload["lead_id"])})


async def _notes(call: Call, on: Mapping[str, Any]) -> AsyncGenerator[notes_pb.Note]:
    token = ""
    while True:
        request = notes_pb.ListNotesRequest(**on, page_size=_PAGE, page_token=token)
        page = await call.ask(_NOTES, request, notes_pb.ListNotesResponse)
        for note in page.notes:
            yield note
        token = page.next_page_token
        if not token:
            return


async def _files(call: Call, on: Mapping[str, Any]) -> AsyncGenerator[files_pb.Attachment]:
    token = ""
    while True:
        request = files_pb.ListAttachmentsRequest(**on, page_size=_PAGE, page_token=token)
        page = await call.ask(_FILES, request, files_pb.ListAttachmentsResponse)
        for file in page.attachments:
            yield file
        token = page.next_page_token
        if not token:
            return


async def _customer(tx: Transaction, id: UUID) -> Customer | None:
    """The customer, or the one into which it went, locked; also one in the trash, which comes back with what is on it."""
    survivor = await survivor_of(tx, id)
    return await tx.session.get(Customer, (tx.who.tenant_id, survivor), with_for_update=True)


async def _take_note(call: Call, customer_id: UUID, note: notes_pb.Note) -> None:
    async with call.database.transaction(call.who, origin="event") as tx:
        id, customer = copy_of(note.id), await _customer(tx, customer_id)
        if customer is None or await tx.session.get(Note, (tx.who.tenant_id, id)) is not None:
            return
        copy = Note(
            id=id, of_type=Customer.record_type, record_id=customer.id, text=note.text, pinned=note.pinned,
            mentioned_ids=[UUID(one) for one in note.mentioned_ids], author_name=note.author_name,
            created_by=UUID(note.creator_id) if note.creator_id else tx.who.person_id, created_at=to_datetime(note.create_time),
            edit_time=to_datetime(note.edit_time) if note.HasField("edit_time") else None,
        )  # fmt: skip
        copy_note(tx, SUBJECTS.of(Customer.record_type, "recordType"), customer, copy)


async def _take_file(call: Call, customer_id: UUID, file: files_pb.Attachment) -> None:
    id, key = copy_of(file.id), new_key(call.service, call.who.tenant_id)
    async with call.database.transaction(call.who, origin="event") as tx:
        customer = await _customer(tx, customer_id)
        if customer is None or await tx.session.get(Attachment, (tx.who.tenant_id, id)) is not None:
            return
        await expect_file(tx, key)
    request = files_pb.DownloadAttachmentRequest(id=file.id)
    try:
        async with aclosing(call.parts(_FILE, request, files_pb.AttachmentPart)) as parts:
            bytes_of = (part.content async for part in parts if part.content)
            taken = await files_at(call.settings.files_url).take(key, bytes_of, file.size_bytes, _anything)
    except Problem as problem:
        async with call.database.transaction(call.who, origin="event") as tx:
            await forget_file(tx, key)
        if problem.reason not in _LOST:
            raise
        log.error("file %s of a lead could not be copied: %s", file.id, problem.reason)
        return
    async with call.database.transaction(call.who, origin="event") as tx:
        customer = await _customer(tx, customer_id)
        if customer is None or await tx.session.get(Attachment, (tx.who.tenant_id, id)) is not None:
            await forget_file(tx, key)
            return
        subject = SUBJECTS.of(Customer.record_type, "recordType")
        await attach(
            tx, subject, customer, key, file.filename, file.content_type, taken,
            id=id, author_name=file.author_name, created_at=to_datetime(file.create_time),
            created_by=UUID(file.creator_id) if file.creator_id else tx.who.person_id,
        )  # fmt: skip
        await look_tonight(tx)


def _anything(head: bytes) -> None:
    """It was looked at when it came to the lead."""
