"""What is on a lead follows it to the customer that it has become, or to which it was attached: notes and files are copied, and
the lead keeps its own. What was written in the lead itself becomes a note, unless the customer was made of the lead and has it
already. Of a lead that was converted, the telephone number and the e-mail address are added to those of its contact, or of the
customer where there is no contact; what is there stays as it is. Nothing is added to a contact that whoever converted the lead
may not change: one that is another customer's in the first place, and only also at this one.

Nothing is added to a lead that is a customer, so one look is enough. Every copy has an id that follows from that of what was
copied: the job may be repeated, and go on where it ended. It asks where the lead is now, and no event: what was copied for a lead
that was reopened since is taken back, unless somebody has changed it. When all has followed that is noted, and whoever is told of
it once more does nothing: what was deleted at the customer since, or emptied, stays so.
"""

import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID, uuid5

from kehu.attachments.v1 import attachments_pb2 as files_pb
from kehu.leads.v1 import lead_pb2, lead_service_pb2
from kehu.notes.v1 import notes_pb2 as notes_pb
from sqlalchemy import text

from chassis.attachments.attachment import Attachment, attach, expect_file, forget_file, uncopy_file
from chassis.attachments.files import LOST, files_at, new_key
from chassis.attachments.upkeep import look_tonight
from chassis.database import Transaction
from chassis.errors import Code, Invalid, Problem
from chassis.mapping import to_datetime
from chassis.notes.note import Note, copy_note, uncopy_note
from chassis.rpc import Call
from customers.contact import Contact, change_contact
from customers.customer import Customer, change_customer, survivor_of
from customers.rpc.papers import SUBJECTS

log = logging.getLogger(__name__)

Kind = TypeVar("Kind", Note, Attachment)
LEAD_PAPERS = "papers of a lead"
"""The kind of the job. Its key is the lead."""
_LEAD = "kehu.leads.v1.LeadService/GetLead"
_NOTES = "kehu.leads.v1.NoteService/ListNotes"
_FILES = "kehu.leads.v1.AttachmentService/ListAttachments"
_FILE = "kehu.leads.v1.AttachmentService/DownloadAttachment"
_PAGE = 100
_MOST_WAYS = 10
"""Numbers, or addresses, that a contact may have."""
_TAKEN = text("SELECT customer_id, moved_at FROM papers_taken WHERE lead_id = :lead")
_TAKE = text(
    "INSERT INTO papers_taken (tenant_id, lead_id, customer_id, moved_at) VALUES (:tenant, :lead, :customer, :moved)"
    " ON CONFLICT (tenant_id, lead_id) DO UPDATE"
    " SET customer_id = excluded.customer_id, moved_at = excluded.moved_at, taken_at = now()"
)
_TAKEN_BACK = text("DELETE FROM papers_taken WHERE lead_id = :lead")


def copy_of(id: str) -> UUID:
    """The id of the customer's copy."""
    return uuid5(UUID(id), "of a lead that was converted")


async def take_over(payload: Mapping[str, Any], call: Call) -> None:
    """The job. Begins again when the lead has moved on while it was at it."""
    call = call.as_service()
    on = {"record_type": "lead", "record_id": payload["lead_id"]}
    try:
        request = lead_service_pb2.GetLeadRequest(id=payload["lead_id"])
        lead = await call.ask(_LEAD, request, lead_pb2.Lead)
        customer, moved = _customer_of(lead)
        if not customer:
            await _take_back(call, lead, on)
            return
        customer_id = UUID(customer)
        if await _taken(call, customer_id, lead):
            return
        await _take_words(call, customer_id, lead)
        async for note in _notes(call, on):
            await _take_note(call, customer_id, note)
        async for file in _files(call, on):
            await _take_file(call, customer_id, file)
        if lead.status == lead_pb2.LEAD_STATUS_CONVERTED:
            await _take_ways(call, customer_id, lead, payload.get("changes_contact", False))
        if _customer_of(await call.ask(_LEAD, request, lead_pb2.Lead)) != (customer, moved):
            await take_over(payload, call)
            return
        async with call.database.transaction(call.who, origin="event") as tx:
            taken = {
                "tenant": tx.who.tenant_id,
                "lead": UUID(lead.id),
                "customer": customer_id,
                "moved": moved,
            }
            await tx.session.execute(_TAKE, taken)
    except Problem as problem:
        if problem.code is not Code.NOT_FOUND:
            raise
        log.info("lead %s was deleted before its notes and files could follow it", payload["lead_id"])


async def _taken(call: Call, customer_id: UUID, lead: lead_pb2.Lead) -> bool:
    """Whether all has followed the lead to that customer already, or to one that went into it."""
    async with call.database.transaction(call.who, origin="event") as tx:
        before = (await tx.session.execute(_TAKEN, {"lead": UUID(lead.id)})).one_or_none()
        if before is None or before.moved_at not in (None, _customer_of(lead)[1]):
            return False
        return await survivor_of(tx, before.customer_id) == await survivor_of(tx, customer_id)


def _customer_of(lead: lead_pb2.Lead) -> tuple[str, datetime]:
    """The customer that the lead is now, and since when; none for an open one."""
    if lead.status == lead_pb2.LEAD_STATUS_CONVERTED:
        return lead.customer_id, to_datetime(lead.convert_time)
    return lead.duplicate_of_customer_id, to_datetime(lead.disqualify_time)


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


async def _is_there(tx: Transaction, kind: type[Note | Attachment], id: UUID, customer: Customer) -> bool:
    """Whether there is a copy. One with another customer, to which the lead was attached before, comes along."""
    found: Any = await tx.session.get(kind, (tx.who.tenant_id, id))
    if found is not None and found.record_id != customer.id:
        found.record_id = customer.id
    return found is not None


async def _take_words(call: Call, customer_id: UUID, lead: lead_pb2.Lead) -> None:
    """What was written in the lead itself."""
    async with call.database.transaction(call.who, origin="event") as tx:
        id, customer = copy_of(lead.id), await _customer(tx, customer_id)
        if not lead.notes or customer is None or str(customer.origin_lead_id) == lead.id:
            return
        if not await _is_there(tx, Note, id, customer):
            copy = Note(
                id=id, of_type=Customer.record_type, record_id=customer.id, text=lead.notes, author_name=tx.who.name,
                created_by=tx.who.person_id, created_at=tx.now,
            )  # fmt: skip
            copy_note(tx, SUBJECTS.of(Customer.record_type, "recordType"), customer, copy)


async def _take_ways(call: Call, customer_id: UUID, lead: lead_pb2.Lead, changes_contact: bool) -> None:
    """How the lead was reached. Who converted it may change the customer, and with it the contacts that are its own."""
    ways = (
        ("phones", "number", lead.phone), ("emails", "address", lead.email), ("accounts", "account", lead.im_account),
    )  # fmt: skip
    for name, value, given in ways:
        try:
            async with call.database.transaction(call.who, origin="event") as tx:
                if lead.contact_id:
                    contact = await tx.find(Contact, UUID(lead.contact_id))
                    if contact is None or not (
                        changes_contact or contact.customer_id == await survivor_of(tx, customer_id)
                    ):
                        return
                    if more := _with(contact, name, value, given):
                        await change_contact(tx, contact, {name: more})
                else:
                    customer = await _customer(tx, customer_id)
                    gone = customer is None or customer.deleted_at is not None
                    if customer is not None and not gone and (more := _with(customer, name, value, given)):
                        await change_customer(tx, customer, {name: more})
        except Invalid as problem:
            # Leads take numbers that nobody could dial.
            log.info("%s of lead %s do not go along: %s", name, lead.id, problem.message)


def _with(record: Contact | Customer, name: str, value: str, given: str) -> list[dict[str, Any]]:
    """The entries of the record with that one behind them; none when it is there, or there is no room for it."""
    there = record.entries(name)
    if not given or len(there) >= _MOST_WAYS or any(one[value] == given for one in there):
        return []
    return [*there, {"label": "", value: given}]


async def _take_back(call: Call, lead: lead_pb2.Lead, on: Mapping[str, Any]) -> None:
    """The lead is no customer after all."""
    texts = {copy_of(note.id): (note.text, note.pinned) async for note in _notes(call, on)}
    files = [copy_of(file.id) async for file in _files(call, on)]
    subject = SUBJECTS.of(Customer.record_type, "recordType")
    async with call.database.transaction(call.who, origin="event") as tx:
        words = await _copy(tx, Note, copy_of(lead.id))
        # What is written in the lead may have grown since.
        if words is not None and words.edit_time is None and not words.pinned:
            await uncopy_note(tx, subject, await _on(tx, words.record_id), words)
        for id, told in texts.items():
            note = await _copy(tx, Note, id)
            if note is not None and (note.text, note.pinned) == told:
                await uncopy_note(tx, subject, await _on(tx, note.record_id), note)
        for id in files:
            file = await _copy(tx, Attachment, id)
            if file is not None:
                await uncopy_file(tx, subject, await _on(tx, file.record_id), file)
        await tx.session.execute(_TAKEN_BACK, {"lead": UUID(lead.id)})


async def _copy(tx: Transaction, kind: type[Kind], id: UUID) -> Kind | None:
    """The copy, locked. Of one that was deleted even the mark goes, so that it may come again."""
    found = await tx.session.get(kind, (tx.who.tenant_id, id), with_for_update=True)
    if found is not None and found.deleted_at is not None:
        await tx.session.delete(found)
        return None
    return found


async def _on(tx: Transaction, id: UUID) -> Customer:
    customer = await tx.session.get(Customer, (tx.who.tenant_id, id))
    assert customer is not None
    return customer


async def _take_note(call: Call, customer_id: UUID, note: notes_pb.Note) -> None:
    async with call.database.transaction(call.who, origin="event") as tx:
        id, customer = copy_of(note.id), await _customer(tx, customer_id)
        if customer is None or await _is_there(tx, Note, id, customer):
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
        if customer is None or await _is_there(tx, Attachment, id, customer):
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
        if problem.reason not in LOST:
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
