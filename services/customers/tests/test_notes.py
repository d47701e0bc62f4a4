"""Notes on customers and contacts: who reads, writes, changes and deletes them, whom they mention, and what is told of them."""

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from google.protobuf.empty_pb2 import Empty
from google.protobuf.field_mask_pb2 import FieldMask
from kehu.customers.v1 import contact_pb2, contact_service_pb2, customer_service_pb2
from kehu.history.v1 import history_pb2
from kehu.identity.v1 import person_pb2, person_service_pb2
from kehu.notes.v1 import notes_pb2 as pb

from chassis.errors import Code
from chassis.principal import Principal, Reach, Rights
from chassis.testing import DatabaseUrls, Harness, Keys, answering, refused, running_service, somebody
from customers.service import SERVICE
from customers.testing import Company

pytestmark = pytest.mark.asyncio(loop_scope="module")
NOTES = "kehu.customers.v1.NoteService/"
OWN = {"customers": Rights(Reach.OWN, Reach.OWN)}
READS = {"customers": Rights(Reach.ALL, Reach.NONE)}
WRITES_TEAM = {"customers": Rights(Reach.ALL, Reach.TEAM)}
WANG, LI, GONE = str(uuid4()), str(uuid4()), str(uuid4())


def people(asked: person_service_pb2.LookUpPeopleRequest) -> person_service_pb2.LookUpPeopleResponse:
    return person_service_pb2.LookUpPeopleResponse(people=[
        person_service_pb2.PersonCard(
            id=id, status=person_pb2.PERSON_STATUS_ACTIVE if id != GONE else person_pb2.PERSON_STATUS_DISABLED
        )
        for id in asked.ids if id in (WANG, LI, GONE)
    ])  # fmt: skip


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(
    service_database: Callable[[str], DatabaseUrls], nats_url: str, keys: Keys
) -> AsyncGenerator[Harness]:
    answers: Any = {
        "kehu.identity.v1.PersonService/LookUpPeople": (person_service_pb2.LookUpPeopleRequest, people)
    }
    async with (
        answering(answers) as identity,
        running_service(
            SERVICE, service_database("customers"), nats_url, keys, addresses={"identity": identity}
        ) as harness,
    ):
        yield harness


@dataclass
class Writers(Company):
    """A company whose people write notes."""

    def colleague(self, rights: dict[str, Rights], **more: Any) -> Principal:
        return replace(somebody(self.who.tenant, rights=rights, **more), tenant_id=self.who.tenant_id)

    async def write(
        self,
        record: str,
        text: str,
        who: Principal | None = None,
        *,
        kind: str = "customer",
        request_id: str = "",
        **more: Any,
    ) -> pb.Note:
        note = pb.Note(record_type=kind, record_id=record, text=text, **more)
        request = pb.CreateNoteRequest(note=note, request_id=request_id)
        return await self.service.ask(who or self.who, NOTES + "CreateNote", request, pb.Note)

    async def change(self, id: str, who: Principal | None = None, *paths: str, **values: Any) -> pb.Note:
        request = pb.UpdateNoteRequest(note=pb.Note(id=id, **values), update_mask=FieldMask(paths=paths))
        return await self.service.ask(who or self.who, NOTES + "UpdateNote", request, pb.Note)

    async def delete(self, id: str, who: Principal | None = None, etag: str = "") -> None:
        request = pb.DeleteNoteRequest(id=id, etag=etag)
        await self.service.ask(who or self.who, NOTES + "DeleteNote", request, Empty)

    async def get(self, id: str, who: Principal | None = None) -> pb.Note:
        return await self.service.ask(who or self.who, NOTES + "GetNote", pb.GetNoteRequest(id=id), pb.Note)

    async def listed(self, record: str, who: Principal | None = None, **more: Any) -> pb.ListNotesResponse:
        asked: dict[str, Any] = {"record_type": "customer", "record_id": record, **more}
        return await self.service.ask(
            who or self.who, NOTES + "ListNotes", pb.ListNotesRequest(**asked), pb.ListNotesResponse
        )

    async def events(self, subject: str) -> list[dict[str, Any]]:
        """What was told of notes, in order."""
        rows = await self.service.running.database.read(
            self.who,
            "SELECT convert_from(data, 'UTF8')::jsonb AS data, headers FROM outbox"
            " WHERE subject LIKE '%.note.' || $1 ORDER BY seq",
            subject,
        )
        return [{**row["data"], "headers": row["headers"]} for row in rows]


@pytest_asyncio.fixture(loop_scope="module")
async def company(service: Harness) -> Writers:
    return Writers(service)


async def test_notes_come_newest_first_and_are_texts(company: Writers) -> None:
    customer = await company.customer()
    text = "# 会议\r\n\r\n  - **王芳** <script>alert(1)</script>\n\u202b\u200b  \n"
    first = await company.write(customer, text, pinned=True)
    assert first.text == "# 会议\n\n  - **王芳** <script>alert(1)</script>\n\u202b"
    assert (first.creator_id, first.author_name, first.pinned) == (
        str(company.who.person_id), company.who.name, True,
    )  # fmt: skip
    assert not first.HasField("edit_time")
    others = [await company.write(customer, f"note {number}") for number in range(4)]
    page = await company.listed(customer, page_size=3)
    assert [note.id for note in page.notes] == [note.id for note in others[:0:-1]] and page.total_count == 5
    rest = await company.listed(customer, page_size=3, page_token=page.next_page_token)
    assert [note.id for note in rest.notes] == [others[0].id, first.id] and not rest.next_page_token
    pinned = await company.listed(customer, filter="pinned = true")
    assert [note.id for note in pinned.notes] == [first.id] and pinned.total_count == 5
    assert (await company.listed(await company.customer())).total_count == 0


async def test_contacts_have_notes_of_their_own(company: Writers) -> None:
    customer = await company.customer()
    contact = await company.service.ask(
        company.who, "kehu.customers.v1.ContactService/CreateContact",
        contact_service_pb2.CreateContactRequest(
            contact=contact_pb2.Contact(customer_id=customer, display_name="王芳")
        ),
        contact_pb2.Contact,
    )  # fmt: skip
    note = await company.write(contact.id, "rings back", kind="contact")
    listed = await company.listed(contact.id, record_type="contact")
    assert [one.id for one in listed.notes] == [note.id]
    assert (await company.listed(customer)).total_count == 0
    await refused(Code.NOT_FOUND, "NOT_FOUND", company.listed(contact.id, record_type="customer"))
    await refused(Code.INVALID_ARGUMENT, "RECORD_TYPE_UNKNOWN", company.listed(customer, record_type="card"))
    await refused(Code.INVALID_ARGUMENT, "RECORD_TYPE_UNKNOWN", company.write(customer, "x", kind="card"))


async def test_who_reads_the_record_reads_its_notes_and_nobody_else(company: Writers) -> None:
    customer = await company.customer()
    note = await company.write(customer, "secret")
    reader, stranger = company.colleague(READS), company.colleague(OWN)
    foreign = somebody(f"c{uuid4().hex[:12]}")
    assert (await company.get(note.id, reader)).text == "secret"
    assert (await company.listed(customer, reader)).total_count == 1
    for who in (stranger, foreign):
        await refused(Code.NOT_FOUND, "NOT_FOUND", company.get(note.id, who))
        await refused(Code.NOT_FOUND, "NOT_FOUND", company.listed(customer, who))
        await refused(Code.NOT_FOUND, "NOT_FOUND", company.write(customer, "x", who))
        await refused(Code.NOT_FOUND, "NOT_FOUND", company.change(note.id, who, text="x"))
        await refused(Code.NOT_FOUND, "NOT_FOUND", company.delete(note.id, who))
        changes = history_pb2.ListChangesRequest(record_type="note", record_id=note.id)
        asked = company.service.ask(
            who, "kehu.customers.v1.HistoryService/ListChanges", changes, history_pb2.ListChangesResponse
        )
        await refused(Code.NOT_FOUND, "NOT_FOUND", asked)
    await refused(Code.PERMISSION_DENIED, "RIGHT_MISSING", company.write(customer, "x", reader))
    only_own = company.colleague({"customers": Rights(Reach.ALL, Reach.OWN)})
    await refused(Code.PERMISSION_DENIED, "RECORD_READ_ONLY", company.write(customer, "x", only_own))
    await refused(Code.PERMISSION_DENIED, "RECORD_READ_ONLY", company.change(note.id, only_own, text="x"))
    assert (await company.listed(customer)).total_count == 1
    assert (await company.get(note.id)).text == "secret"


async def test_authors_and_who_writes_all_change_a_note_and_others_pin_it(company: Writers) -> None:
    team = uuid4()
    company.who = replace(company.who, team_id=team, team_ids=frozenset([team]))
    customer = await company.customer()
    author, other = (company.colleague(WRITES_TEAM, team=team) for _ in range(2))
    note = await company.write(customer, "mine", author)
    await refused(Code.PERMISSION_DENIED, "NOT_THE_AUTHOR", company.change(note.id, other, text="yours"))
    await refused(Code.PERMISSION_DENIED, "NOT_THE_AUTHOR", company.delete(note.id, other))
    pinned = await company.change(note.id, other, pinned=True)
    assert pinned.pinned and pinned.text == "mine" and not pinned.HasField("edit_time")
    unpinned = await company.change(note.id, other, "pinned")
    assert not unpinned.pinned
    edited = await company.change(note.id, author, text="mine, edited")
    assert edited.HasField("edit_time") and edited.creator_id == str(author.person_id)
    by_all = await company.change(note.id, text="by all")
    assert by_all.creator_id == str(author.person_id) and by_all.updater_id == str(company.who.person_id)
    await refused(Code.INVALID_ARGUMENT, "FIELD_NOT_WRITABLE", company.change(note.id, author, "record_id"))
    await refused(
        Code.INVALID_ARGUMENT, "INVALID_FIELD", company.change(note.id, author, "text", text=" \u200b ")
    )
    await company.delete(note.id, author)
    await refused(Code.NOT_FOUND, "NOT_FOUND", company.get(note.id))
    assert (await company.listed(customer)).total_count == 0


async def test_a_change_that_others_have_overtaken_is_refused(company: Writers) -> None:
    note = await company.write(await company.customer(), "one")
    await company.change(note.id, text="two", etag=note.etag)
    await refused(Code.ABORTED, "ETAG_MISMATCH", company.change(note.id, text="three", etag=note.etag))
    await refused(Code.ABORTED, "ETAG_MISMATCH", company.delete(note.id, etag=note.etag))
    assert (await company.get(note.id)).text == "two"


async def test_a_repeat_writes_one_note(company: Writers) -> None:
    customer, key = await company.customer(), uuid4().hex
    first = await company.write(customer, "once", request_id=key)
    assert (await company.write(customer, "once", request_id=key)).id == first.id
    await refused(
        Code.ALREADY_EXISTS, "IDEMPOTENCY_KEY_REUSED", company.write(customer, "twice", request_id=key)
    )
    assert (await company.listed(customer)).total_count == 1
    assert len(await company.events("created")) == 1


async def test_events_say_who_is_newly_mentioned_and_not_what_is_written(company: Writers) -> None:
    customer = await company.customer()
    note = await company.write(customer, "@王芳 please", mentioned_ids=[WANG])
    await company.change(
        note.id, None, "mentioned_ids", "text", mentioned_ids=[WANG, LI], text="@both please"
    )
    await company.change(note.id, None, "mentioned_ids", mentioned_ids=[LI])
    await company.delete(note.id)
    [created] = await company.events("created")
    assert (created["noteId"], created["recordType"], created["recordId"]) == (note.id, "customer", customer)
    assert created["mentionedIds"] == [WANG] and created["authorId"] == str(company.who.person_id)
    assert created["headers"]["kehu-owner"] == created["ownerId"] == str(company.who.person_id)
    more, fewer = await company.events("updated")
    assert more["mentionedIds"] == [LI] and set(more["changedFields"]) == {"text", "mentionedIds"}
    assert fewer["mentionedIds"] == []
    assert len(await company.events("deleted")) == 1
    assert "please" not in str([created, more, fewer])


@pytest.mark.parametrize("someone", [GONE, str(uuid4())], ids=["who has left", "nobody"])
async def test_only_people_who_are_there_are_mentioned(someone: str, company: Writers) -> None:
    customer = await company.customer()
    await refused(
        Code.INVALID_ARGUMENT, "PERSON_NOT_FOUND", company.write(customer, "x", mentioned_ids=[WANG, someone])
    )
    assert (await company.listed(customer)).total_count == 0
    note = await company.write(customer, "x", mentioned_ids=[WANG])
    await refused(Code.INVALID_ARGUMENT, "PERSON_NOT_FOUND", company.change(note.id, mentioned_ids=[someone]))


async def test_history_tells_what_a_note_was(company: Writers) -> None:
    note = await company.write(await company.customer(), "before")
    await company.change(note.id, text="after")
    await company.delete(note.id)
    request = history_pb2.ListChangesRequest(record_type="note", record_id=note.id)
    found = await company.service.ask(
        company.who, "kehu.customers.v1.HistoryService/ListChanges", request, history_pb2.ListChangesResponse
    )
    acts = [history_pb2.ChangeAct.Name(change.act) for change in found.changes]
    assert acts == ["CHANGE_ACT_DELETED", "CHANGE_ACT_UPDATED", "CHANGE_ACT_CREATED"]
    texts = {field.field: (field.old_value, field.new_value) for field in found.changes[1].fields}
    assert texts["text"] == ("before", "after")


async def test_notes_are_hidden_with_their_record_and_come_back_with_it(company: Writers) -> None:
    from kehu.customers.v1 import trash_pb2, trash_service_pb2

    customer = await company.customer()
    note = await company.write(customer, "kept")
    await company.service.ask(
        company.who, "kehu.customers.v1.CustomerService/DeleteCustomer",
        customer_service_pb2.DeleteCustomerRequest(id=customer), Empty,
    )  # fmt: skip
    await refused(Code.NOT_FOUND, "NOT_FOUND", company.get(note.id))
    await refused(Code.NOT_FOUND, "NOT_FOUND", company.change(note.id, text="x"))
    restore = trash_service_pb2.RestoreTrashItemRequest(id=customer)
    await company.service.ask(
        company.who, "kehu.customers.v1.TrashService/RestoreTrashItem", restore, trash_pb2.TrashItem
    )
    assert (await company.get(note.id)).text == "kept"
    assert UUID(note.id)
