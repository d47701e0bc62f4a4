"""Notes and files go with their record: into a merge and out of it, into the trash and back, and not beyond its emptying."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from google.protobuf.empty_pb2 import Empty
from kehu.customers.v1 import (
    competitor_pb2,
    competitor_service_pb2,
    contact_pb2,
    contact_service_pb2,
    customer_service_pb2,
    merge_pb2,
    merge_service_pb2,
    segment_pb2,
    segment_service_pb2,
    trash_pb2,
    trash_service_pb2,
)
from kehu.notes.v1 import notes_pb2
from sqlalchemy import text

from chassis.errors import Code
from chassis.principal import Reach, Rights
from chassis.testing import Harness, NotesAndFiles, eventually, refused, somebody
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

    @property
    def papers(self) -> NotesAndFiles:
        return NotesAndFiles(self.service, "kehu.customers.v1")

    async def put(self, kind: str, record: str, text: str) -> None:
        await self.papers.put(self.who, kind, record, text)

    async def on(self, kind: str, record: str) -> list[str]:
        return await self.papers.on(self.who, kind, record)

    async def rows(self) -> int:
        return await self.papers.rows(self.who)

    def kept(self) -> list[Path]:
        return self.papers.kept(self.who)

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


async def test_competitors_and_segments_have_them_and_take_them_along(desk: Desk) -> None:
    """Nothing brings these back when they are deleted, and nobody would find what was on them."""
    rival = competitor_pb2.Competitor(display_name=f"r {uuid4()}")
    request = competitor_service_pb2.CreateCompetitorRequest(competitor=rival)
    competitor = await desk.ask("CompetitorService/CreateCompetitor", request, competitor_pb2.Competitor)
    group = segment_service_pb2.CreateSegmentRequest(segment=segment_pb2.Segment(display_name=f"s {uuid4()}"))
    segment = await desk.ask("SegmentService/CreateSegment", group, segment_pb2.Segment)
    own = somebody(desk.who.tenant, rights={"customers": Rights(Reach.OWN, Reach.OWN)})
    reader = somebody(desk.who.tenant, rights={"customers": Rights(Reach.ALL, Reach.OWN)})
    for kind, id in (("competitor", competitor.id), ("segment", segment.id)):
        await desk.put(kind, id, kind)
        assert await desk.papers.on(reader, kind, id) == [kind]
        for who in (own, somebody("elsewhere")):
            await refused(Code.NOT_FOUND, "NOT_FOUND", desk.papers.on(who, kind, id))
            await refused(Code.NOT_FOUND, "NOT_FOUND", desk.papers.put(who, kind, id, "no"))
        await refused(Code.PERMISSION_DENIED, "RECORD_READ_ONLY", desk.papers.put(reader, kind, id, "no"))
    drop = competitor_service_pb2.DeleteCompetitorRequest(id=competitor.id)
    await desk.ask("CompetitorService/DeleteCompetitor", drop, Empty)
    await desk.ask(
        "SegmentService/DeleteSegment", segment_service_pb2.DeleteSegmentRequest(id=segment.id), Empty
    )
    assert await desk.rows() == 0
    await eventually(lambda: desk.kept() == [])
    # A partner's are those of its customer.
    partner = notes_pb2.Note(record_type="partner", record_id=competitor.id, text="no")
    asked = desk.ask("NoteService/CreateNote", notes_pb2.CreateNoteRequest(note=partner), notes_pb2.Note)
    await refused(Code.INVALID_ARGUMENT, "RECORD_TYPE_UNKNOWN", asked)
