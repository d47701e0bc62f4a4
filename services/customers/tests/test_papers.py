"""Notes and files go with their record: into a merge and out of it, into the trash and back, and not beyond its emptying."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from google.protobuf.empty_pb2 import Empty
from kehu.attachments.v1 import attachments_pb2 as files_pb
from kehu.customers.v1 import (
    contact_pb2,
    contact_service_pb2,
    customer_service_pb2,
    merge_pb2,
    merge_service_pb2,
    trash_pb2,
    trash_service_pb2,
)
from kehu.notes.v1 import notes_pb2
from sqlalchemy import text

from chassis.errors import Code
from chassis.testing import Harness, eventually, refused
from customers.testing import Company
from customers.trash import PURGE

pytestmark = pytest.mark.asyncio(loop_scope="module")
API = "kehu.customers.v1."


@dataclass
class Desk(Company):
    """A company with notes and files on its records."""

    async def ask(self, method: str, request: Any, answer: type[Any]) -> Any:
        return await self.service.ask(self.who, API + method, request, answer)

    async def meet(self, customer: str, name: str = "王芳") -> str:
        contact = contact_pb2.Contact(customer_id=customer, display_name=name)
        request = contact_service_pb2.CreateContactRequest(contact=contact)
        return (await self.ask("ContactService/CreateContact", request, contact_pb2.Contact)).id

    async def put(self, kind: str, record: str, text: str) -> None:
        """A note and a file of that text."""
        note = notes_pb2.Note(record_type=kind, record_id=record, text=text)
        await self.ask("NoteService/CreateNote", notes_pb2.CreateNoteRequest(note=note), notes_pb2.Note)
        first = files_pb.CreateAttachmentRequest(
            record_type=kind, record_id=record, filename=f"{text}.txt", content=text.encode(), complete=True
        )
        path = API + "AttachmentService/CreateAttachment"
        await self.service.upload(self.who, path, [first], files_pb.Attachment)

    async def on(self, kind: str, record: str) -> list[str]:
        """What is on that record: the texts of its notes, which are those of its files."""
        asked: dict[str, Any] = {"record_type": kind, "record_id": record}
        notes = await self.ask(
            "NoteService/ListNotes", notes_pb2.ListNotesRequest(**asked), notes_pb2.ListNotesResponse
        )
        files = await self.ask(
            "AttachmentService/ListAttachments", files_pb.ListAttachmentsRequest(**asked), files_pb.ListAttachmentsResponse
        )  # fmt: skip
        texts = sorted(note.text for note in notes.notes)
        assert texts == sorted(file.filename.removesuffix(".txt") for file in files.attachments)
        assert notes.total_count == files.total_count == len(texts)
        return texts

    async def rows(self) -> int:
        counted = "SELECT (SELECT count(*) FROM notes) + (SELECT count(*) FROM attachments) AS n"
        return int((await self.service.running.database.read(self.who, counted))[0]["n"])

    def kept(self) -> list[Path]:
        folder = Path(self.service.running.settings.files_url) / "customers" / str(self.who.tenant_id)
        return list(folder.glob("*"))

    async def empty_trash(self) -> None:
        rule = trash_service_pb2.UpdateTrashRuleRequest(rule=trash_pb2.TrashRule(keep_days=1))
        await self.ask("TrashService/UpdateTrashRule", rule, trash_pb2.TrashRule)
        async with self.service.running.database.transaction(self.who) as tx:
            await tx.session.execute(text("UPDATE trash SET created_at = created_at - interval '2 days'"))
        await self.job(PURGE)


@pytest_asyncio.fixture(loop_scope="module")
async def desk(service: Harness) -> Desk:
    return Desk(service)


@pytest.mark.parametrize("kind", ["customer", "contact"])
async def test_a_merge_takes_them_along_and_its_undoing_brings_them_back(kind: str, desk: Desk) -> None:
    survivor, loser, other = [await desk.customer(f"c {uuid4()}") for _ in range(3)]
    service = "MergeCustomers"
    if kind == "contact":
        service = "MergeContacts"
        survivor, loser, other = [await desk.meet(survivor, f"p {number}") for number in range(3)]
    for record, said in ((survivor, "mine"), (loser, "yours"), (other, "theirs")):
        await desk.put(kind, record, said)
    request = getattr(merge_service_pb2, f"{service}Request")(id=survivor, merged_ids=[loser, other])
    merge = await desk.ask(f"MergeService/{service}", request, merge_pb2.Merge)
    assert await desk.on(kind, survivor) == ["mine", "theirs", "yours"]
    await desk.put(kind, survivor, "later")
    undo = merge_service_pb2.UndoMergeRequest(id=merge.id)
    await desk.ask("MergeService/UndoMerge", undo, merge_pb2.Merge)
    assert await desk.on(kind, survivor) == ["later", "mine"]
    assert await desk.on(kind, loser) == ["yours"] and await desk.on(kind, other) == ["theirs"]


async def test_an_emptied_trash_leaves_nothing_of_them(desk: Desk) -> None:
    customer, stays = await desk.customer(), await desk.customer()
    contact = await desk.meet(customer)
    for kind, record in (("customer", customer), ("contact", contact), ("customer", stays)):
        await desk.put(kind, record, kind)
    assert len(desk.kept()) == 3
    delete = customer_service_pb2.DeleteCustomerRequest(id=customer)
    await desk.ask("CustomerService/DeleteCustomer", delete, Empty)
    await refused(Code.NOT_FOUND, "NOT_FOUND", desk.on("customer", customer))
    await refused(Code.NOT_FOUND, "NOT_FOUND", desk.on("contact", contact))
    restore = trash_service_pb2.RestoreTrashItemRequest(id=customer)
    await desk.ask("TrashService/RestoreTrashItem", restore, trash_pb2.TrashItem)
    assert await desk.on("customer", customer) == ["customer"]
    assert await desk.on("contact", contact) == ["contact"]
    await desk.ask("CustomerService/DeleteCustomer", delete, Empty)
    await desk.empty_trash()
    assert await desk.rows() == 2 and await desk.on("customer", stays) == ["customer"]
    await eventually(lambda: len(desk.kept()) == 1)


async def test_a_contact_that_is_emptied_leaves_nothing_of_them(desk: Desk) -> None:
    customer = await desk.customer()
    contact = await desk.meet(customer)
    await desk.put("contact", contact, "gone")
    await desk.put("customer", customer, "stays")
    await desk.ask(
        "ContactService/DeleteContact", contact_service_pb2.DeleteContactRequest(id=contact), Empty
    )
    await desk.empty_trash()
    assert await desk.rows() == 2 and await desk.on("customer", customer) == ["stays"]


async def test_a_customer_with_a_note_is_not_as_it_was_made(desk: Desk) -> None:
    """A conversion that is taken back leaves a customer whom somebody has begun to work with."""
    customer = await desk.customer()
    await desk.put("customer", customer, "rang")
    request = customer_service_pb2.DeleteCustomerRequest(id=customer, untouched_only=True)
    leads = desk.who.acting_as("leads")
    asked = desk.service.ask(leads, API + "CustomerService/DeleteCustomer", request, Empty)
    await refused(Code.ABORTED, "CUSTOMER_TOUCHED", asked)
