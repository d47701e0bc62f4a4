"""Merges: what the survivor has, who follows, who may, and that undoing one leaves nothing behind."""

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import date, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Value
from kehu.customers.v1 import (
    contact_pb2,
    contact_service_pb2,
    customer_facet_pb2,
    customer_pb2,
    customer_service_pb2,
    customer_value_pb2,
    customer_value_service_pb2,
    merge_pb2,
    merge_service_pb2,
    relation_pb2,
    relation_service_pb2,
    segment_pb2,
    segment_service_pb2,
    trash_pb2,
    trash_service_pb2,
)
from kehu.customfields.v1 import custom_fields_pb2
from kehu.history.v1 import history_pb2
from sqlalchemy import text

from chassis import following
from chassis.errors import Code, Problem
from chassis.merge_preview import moved_records
from chassis.principal import Principal, Reach, Rights
from chassis.testing import eventually, refused, somebody
from chassis.wire import from_dict, to_dict
from customers.customer import Customer
from customers.merging import referring
from customers.merging.merge import Merge
from customers.merging.preview import brought_along
from customers.testing import Company, opportunity_event, order_event

pytestmark = pytest.mark.asyncio(loop_scope="module")
API = "kehu.customers.v1."
OWN = {"customers": Rights(Reach.OWN, Reach.OWN)}


async def said(asking: Awaitable[Any]) -> Any:
    """The answer, or the problem with which it is refused."""
    try:
        return await asking
    except Problem as problem:
        return problem


class Book(Company):
    """A company with an address book that has duplicates."""

    foreseen: Any = None
    """What the last preview has said."""

    async def ask(
        self, method: str, request: Message, answer: type[Any], who: Principal | None = None
    ) -> Any:
        return await self.service.ask(who or self.who, API + method, request, answer)

    async def add(self, name: str, who: Principal | None = None, **values: Any) -> str:
        request = customer_service_pb2.CreateCustomerRequest(
            customer=customer_pb2.Customer(display_name=name, **values)
        )
        return (await self.ask("CustomerService/CreateCustomer", request, customer_pb2.Customer, who)).id

    async def read(self, id: str, who: Principal | None = None) -> customer_pb2.Customer:
        request = customer_service_pb2.GetCustomerRequest(id=id)
        return await self.ask("CustomerService/GetCustomer", request, customer_pb2.Customer, who)

    async def change(self, id: str, **values: Any) -> None:
        request = customer_service_pb2.UpdateCustomerRequest(customer=customer_pb2.Customer(id=id, **values))
        request.update_mask.paths.extend(values)
        await self.ask("CustomerService/UpdateCustomer", request, customer_pb2.Customer)

    async def meet(self, customer: str, name: str, **values: Any) -> str:
        request = contact_service_pb2.CreateContactRequest(
            contact=contact_pb2.Contact(customer_id=customer, display_name=name, **values)
        )
        return (await self.ask("ContactService/CreateContact", request, contact_pb2.Contact)).id

    async def contact(self, id: str) -> contact_pb2.Contact:
        request = contact_service_pb2.GetContactRequest(id=id)
        return await self.ask("ContactService/GetContact", request, contact_pb2.Contact)

    async def join(self, contact: str, customer: str, **values: Any) -> None:
        request = contact_service_pb2.JoinCustomerRequest(
            id=contact, affiliation=contact_pb2.Affiliation(customer_id=customer, **values)
        )
        await self.ask("ContactService/JoinCustomer", request, contact_pb2.Contact)

    async def relate(self, type: str, first: str, second: str) -> None:
        request = relation_service_pb2.CreateCustomerRelationRequest(
            relation=relation_pb2.CustomerRelation(
                type=relation_pb2.RelationType.Value(f"RELATION_TYPE_{type}"), from_customer_id=first,
                to_customer_id=second,
            )
        )  # fmt: skip
        await self.ask("RelationService/CreateCustomerRelation", request, relation_pb2.CustomerRelation)

    async def gather(self, name: str, *customers: str) -> str:
        request = segment_service_pb2.CreateSegmentRequest(segment=segment_pb2.Segment(display_name=name))
        made = await self.ask("SegmentService/CreateSegment", request, segment_pb2.Segment)
        adding = segment_service_pb2.AddSegmentCustomersRequest(id=made.id, customer_ids=customers)
        await self.ask("SegmentService/AddSegmentCustomers", adding, segment_pb2.Segment)
        return made.id

    async def merge(
        self, survivor: str, *others: str, who: Principal | None = None, etag: str = "", **choices: str
    ) -> merge_pb2.Merge:
        """Merges them as the preview has said, and is refused as that was."""
        asked: dict[str, Any] = {"id": survivor, "merged_ids": others, "field_choices": choices, "etag": etag}
        request = merge_service_pb2.MergeCustomersRequest(**asked)
        answer = merge_service_pb2.PreviewMergeCustomersResponse
        looking = merge_service_pb2.PreviewMergeCustomersRequest(**asked)
        foreseen = await said(self.ask("MergeService/PreviewMergeCustomers", looking, answer, who))
        merge = await said(self.ask("MergeService/MergeCustomers", request, merge_pb2.Merge, who))
        await self.as_foreseen(merge, foreseen, "customer", self.read)
        return merge

    async def merge_people(self, survivor: str, *others: str, **choices: str) -> merge_pb2.Merge:
        asked: dict[str, Any] = {"id": survivor, "merged_ids": others, "field_choices": choices}
        request = merge_service_pb2.MergeContactsRequest(**asked)
        answer = merge_service_pb2.PreviewMergeContactsResponse
        looking = merge_service_pb2.PreviewMergeContactsRequest(**asked)
        foreseen = await said(self.ask("MergeService/PreviewMergeContacts", looking, answer))
        merge = await said(self.ask("MergeService/MergeContacts", request, merge_pb2.Merge))
        await self.as_foreseen(merge, foreseen, "contact", self.contact)
        return merge

    async def as_foreseen(self, merge: Any, foreseen: Any, kind: str, read: Callable[[str], Any]) -> None:
        """Raises the problem if that was foreseen."""
        self.foreseen = foreseen
        if isinstance(merge, Problem):
            assert isinstance(foreseen, Problem) and vars(foreseen) == vars(merge)
            raise merge
        now, then = await read(merge.survivor_id), getattr(foreseen, kind)
        for one in (now, then):
            one.ClearField("update_time")
        assert now == then
        async with self.service.running.database.transaction(self.who) as tx:
            made = await tx.find(Merge, UUID(merge.id))
            assert made is not None
            assert list(foreseen.moved) == moved_records(await brought_along(tx, made))

    async def undo(
        self, merge: merge_pb2.Merge, who: Principal | None = None, etag: str = ""
    ) -> merge_pb2.Merge:
        request = merge_service_pb2.UndoMergeRequest(id=merge.id, etag=etag)
        return await self.ask("MergeService/UndoMerge", request, merge_pb2.Merge, who)

    async def field(self, key: str, of: str = "customer", refers: str = "customer", **said: Any) -> str:
        """A field of the company's own that refers to such records; its id."""
        field = custom_fields_pb2.CustomField(
            record_type=of, key=key, label_en=key, kind=custom_fields_pb2.CUSTOM_FIELD_KIND_REFERENCE,
            reference_type=refers, **said,
        )  # fmt: skip
        request = custom_fields_pb2.CreateCustomFieldRequest(custom_field=field)
        made = await self.ask("CustomFieldService/CreateCustomField", request, custom_fields_pb2.CustomField)
        return made.id

    async def named(self, id: str, key: str = "distributor", table: str = "customers") -> str | None:
        """To whom a field of a record refers, also of one that is gone."""
        rows = await self.service.running.database.read(
            self.who, f"SELECT custom_fields ->> $1 AS id FROM {table} WHERE id = $2", key, UUID(id)
        )
        return rows[0]["id"]

    async def follow(self, id: str) -> None:
        """The job that goes on when many name a customer that was merged, twice at a time."""
        job, call = referring.CUSTOMERS.jobs["follow customer on"], self.service.running.call(self.who)
        await asyncio.gather(*(job({"id": id}, call) for _ in range(2)), return_exceptions=True)
        await job({"id": id}, call)

    async def followed(self) -> bool:
        """Whether nothing is left for that job."""
        waiting = "SELECT count(*) AS count FROM jobs WHERE kind = 'follow customer on'"
        return not (await self.service.running.database.read(self.who, waiting))[0]["count"]

    @asynccontextmanager
    async def held(self, *ids: str) -> AsyncGenerator[None]:
        """Somebody else writes these meanwhile."""
        async with self.service.running.database.transaction(self.who) as tx:
            # On a machine with much to do it holds for longer than a service may.
            await tx.session.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
            for id in ids:
                await tx.get(Customer, UUID(id), right="customers")
            yield

    async def facet(self, id: str) -> customer_facet_pb2.CustomerFacet:
        request = customer_facet_pb2.GetCustomerFacetRequest(customer_id=id)
        return await self.ask(
            "CustomerFacetService/GetCustomerFacet", request, customer_facet_pb2.CustomerFacet
        )

    async def worth(self, id: str) -> int:
        request = customer_value_service_pb2.GetCustomerValueRequest(customer_id=id)
        value = await self.ask(
            "CustomerValueService/GetCustomerValue", request, customer_value_pb2.CustomerValue
        )
        return value.order_count

    async def rows(self) -> dict[str, Any]:
        """All that this company has in the service's own tables, but for what counts and dates the writes."""
        out: dict[str, Any] = {}
        for table in (
            "customers", "contacts", "contact_affiliations", "customer_relations", "membership_cards", "customer_orders",
            "customer_opportunities", "customer_values", "customer_amounts", "custom_values", "segments", "segment_customers",
            "partners", "competitors", "custom_references", "moved_references",
        ):  # fmt: skip
            there = await self.service.running.database.read(
                self.who, "SELECT to_regclass($1) IS NOT NULL AS there", table
            )
            if there[0]["there"]:
                found = await self.service.running.database.read(
                    self.who,
                    f"SELECT to_jsonb(t) - '{{version,updated_at,updated_by}}'::text[] AS row FROM {table} t",
                )
                out[table] = sorted((row["row"] for row in found), key=str)
        return out

    async def events(self) -> list[tuple[str, dict[str, Any]]]:
        """What was recorded, the oldest first, by the end of its subject."""
        found = await self.service.running.database.read(
            self.who, "SELECT subject, convert_from(data, 'UTF8')::jsonb AS data FROM outbox ORDER BY seq"
        )
        return [(row["subject"].split(".customers.")[1], row["data"]) for row in found]


@pytest.fixture
def book(company: Company) -> Book:
    return Book(company.service)


async def test_a_preview_tells_of_each_field_and_changes_nothing(book: Book) -> None:
    book.foreseen = None
    one = await book.add("用友", tags=["a", "b"], industry="it", notes="first")
    two = await book.add(
        "用友软件", tags=["b", "c"], industry="software", website="https://u.example", notes="second", phone="13800000002",
        level_key="A",
    )  # fmt: skip
    child = await book.add("子公司", parent_customer_id=two)
    person = await book.meet(two, "李娜")
    await book.relate("PARTNER", two, child)
    await book.gather("all", two)
    asked: dict[str, Any] = {"id": one, "merged_ids": [two], "field_choices": {"tags": two, "industry": two}}
    request = merge_service_pb2.PreviewMergeCustomersRequest(**asked)
    answer = merge_service_pb2.PreviewMergeCustomersResponse
    before, heard = await book.rows(), await book.events()
    # It holds what a merge holds, so a tenant has one at a time; who finds one under way tries again.
    async with book.service.running.database.transaction(book.who) as tx:
        await tx.hold("merge preview")
        looking = book.ask("MergeService/PreviewMergeCustomers", request, answer)
        await refused(Code.ABORTED, "RECORD_BUSY", looking)
    seen = await book.ask("MergeService/PreviewMergeCustomers", request, answer)
    assert (await book.rows(), await book.events()) == (before, heard)
    assert (await book.read(one)).etag == "1"
    assert (list(seen.customer.tags), seen.customer.industry) == (["b", "c"], "software")
    fields = {
        told.field: (list(told.source_ids), [(lost.record_id, to_dict(lost.value)) for lost in told.lost])
        for told in seen.fields
    }
    assert fields == {
        "displayName": ([one], [(two, "用友软件")]),
        "industry": ([two], [(one, "it")]),
        "website": ([two], []),
        "level": ([two], []),
        "stage": ([one, two], []),
        "tags": ([one, two], [(one, ["a"])]),
        "phones": ([two], []),
        "notes": ([one, two], []),
    }
    moved = {told.record_type: told.count for told in seen.moved}
    assert moved == {"customer": 1, "contact": 1, "relation": 1, "segment": 1}
    merge = await book.merge(one, two, tags=two, industry=two)
    assert list((await book.read(one)).tags) == ["b", "c"]
    assert (await book.contact(person)).customer_id == one
    await book.undo(merge)
    assert list((await book.read(one)).tags) == ["a", "b"]


async def test_fields_are_filled_joined_and_chosen(book: Book) -> None:
    one = await book.add(
        "用友", phone="13800000001", tags=["a"], notes="first", industry="it", employee_count=5
    )
    two = await book.add(
        "用友软件", phone="13800000002", email="two@u.example", tags=["b", "a"], notes="second", website="https://u.example",
        industry="software", external_key="U2", level=customer_pb2.CUSTOMER_LEVEL_A,
    )  # fmt: skip
    three = await book.add("用友集团", phone="13800000001", tax_number="T3", industry="trade")
    merge = await book.merge(one, two, three, industry=three, displayName=two, phones=two)
    assert (merge.kind, merge.state) == (merge_pb2.MERGE_KIND_CUSTOMER, merge_pb2.MERGE_STATE_MERGED)
    assert list(merge.merged_ids) == [two, three]
    now = await book.read(one)
    assert (now.display_name, now.industry, now.level_key, now.external_key) == (
        "用友软件",
        "trade",
        "A",
        "U2",
    )
    assert [phone.number for phone in now.phones] == ["+8613800000002", "+8613800000001"]
    assert (now.email, now.website, now.tax_number, now.employee_count) == (
        "two@u.example",
        "https://u.example",
        "T3",
        5,
    )
    assert list(now.tags) == ["a", "b"]
    assert now.notes == "first\n\nsecond"


async def test_whoever_asks_for_one_that_went_is_told_where(book: Book) -> None:
    one, two, three = [await book.add(name) for name in "甲乙丙"]
    await book.merge(two, three)
    await book.merge(one, two)
    for gone in (two, three):
        problem = await refused(Code.NOT_FOUND, "CUSTOMER_MERGED", book.read(gone))
        assert problem.metadata["survivorId"] == one
    stranger = somebody(book.who.tenant, rights=OWN)
    await refused(Code.NOT_FOUND, "NOT_FOUND", book.read(three, stranger))
    listed = await book.ask(
        "CustomerService/ListCustomers", customer_service_pb2.ListCustomersRequest(),
        customer_service_pb2.ListCustomersResponse,
    )  # fmt: skip
    assert [found.id for found in listed.customers] == [one]


async def test_whatever_refers_to_them_comes_along(book: Book) -> None:
    one, two, other = [await book.add(name) for name in ("甲", "乙", "丙")]
    child = await book.add("子", parent_customer_id=two)
    await book.relate("PARTNER", two, other)
    await book.relate("PARTNER", other, one)
    await book.relate("SUPPLIER", two, one)
    await book.relate("SUPPLIER", two, other)
    boss = await book.meet(one, "老板", primary=True)
    aide = await book.meet(two, "助理", primary=True, title="aide")
    both = await book.meet(other, "顾问")
    await book.join(both, one, title="adviser")
    await book.join(both, two, department="board")
    await book.programme()
    card = await book.issue(two)
    order, deal = str(uuid4()), str(uuid4())
    await book.hear(order_event("OrderPlaced", two, order, 10_000))
    await book.hear(opportunity_event("OpportunityCreated", two, deal, 5_000, 50))
    await book.merge(one, two)
    facet = await book.facet(one)
    assert {found.id for found in facet.contacts} == {boss, aide, both}
    assert [found.id for found in facet.contacts if found.primary] == [boss]
    assert [found.display_name for found in facet.children] == ["子"]
    types = [relation_pb2.RelationType.Name(found.type)[14:] for found in facet.relations]
    assert sorted(types) == ["PARTNER", "SUPPLIER"]
    assert facet.membership_card.id == card.id
    assert facet.value.order_count == 1
    assert (await book.read(child)).parent_customer_id == one
    adviser = await book.contact(both)
    assert [(at.customer_id, at.title, at.department) for at in adviser.affiliations] == [
        (other, "", ""), (one, "adviser", "board"),
    ]  # fmt: skip
    assert (await book.contact(aide)).owner_id == (await book.read(one)).owner_id
    # What others tell of the one that went, later, is about the survivor.
    await book.hear(order_event("OrderPlaced", two, str(uuid4()), 10_000))
    await book.hear(opportunity_event("OpportunityUpdated", two, deal, 6_000, 50), 2)
    assert await book.worth(one) == 2
    assert (await book.read(one)).HasField("last_deal_time")
    subjects = [subject for subject, _ in await book.events()]
    assert subjects.count("customer.merged") == 1
    assert "customer.deleted" not in subjects and "contact.deleted" not in subjects
    told = next(data for subject, data in await book.events() if subject == "customer.merged")
    assert (told["customerId"], told["mergedCustomerIds"]) == (one, [two])


async def test_the_survivor_is_in_a_segment_once(book: Book) -> None:
    one, two, three = [await book.add(name) for name in "甲乙丙"]
    both, other = await book.gather("both", one, two), await book.gather("other", two, three)
    before = await book.rows()

    async def members(segment: str) -> tuple[int, list[str]]:
        got = segment_service_pb2.GetSegmentRequest(id=segment)
        count = (await book.ask("SegmentService/GetSegment", got, segment_pb2.Segment)).member_count
        rows = await book.service.running.database.read(
            book.who, "SELECT customer_id FROM segment_customers WHERE segment_id = $1", UUID(segment)
        )
        return count, sorted(str(row["customer_id"]) for row in rows)

    merge = await book.merge(one, two, three)
    assert [await members(segment) for segment in (both, other)] == [(1, [one]), (1, [one])]
    await book.undo(merge)
    assert await book.rows() == before


async def test_circles_do_not_come_about(book: Book) -> None:
    top = await book.add("上")
    middle = await book.add("中", parent_customer_id=top)
    low = await book.add("下", parent_customer_id=middle)
    await book.merge(low, top)
    assert (await book.read(low)).parent_customer_id == ""
    assert (await book.read(middle)).parent_customer_id == low
    one, two = await book.add("甲"), await book.add("乙")
    first, second = await book.meet(one, "一"), await book.meet(two, "二")
    await book.join(first, two, reports_to_id=second)
    await book.join(second, one)
    request = contact_service_pb2.UpdateContactRequest(contact=contact_pb2.Contact(id=first, title="x"))
    await book.ask("ContactService/UpdateContact", request, contact_pb2.Contact)
    await book.join(second, one, reports_to_id=first)
    await book.merge(one, two)
    superiors = {id: (await book.contact(id)).reports_to_id for id in (first, second)}
    assert sorted(map(bool, superiors.values())) == [False, True]


async def test_refused(book: Book) -> None:
    one, two = await book.add("甲"), await book.add("乙")
    person = await book.add("张三", kind=customer_pb2.CUSTOMER_KIND_PERSON)
    await refused(Code.INVALID_ARGUMENT, "MERGE_WITH_ITSELF", book.merge(one, two, one))
    await refused(Code.FAILED_PRECONDITION, "MERGE_KINDS_DIFFER", book.merge(one, person))
    await refused(Code.NOT_FOUND, "NOT_FOUND", book.merge(one, str(uuid4())))
    await refused(Code.INVALID_ARGUMENT, "INVALID_FIELD", book.merge(one))
    await refused(Code.INVALID_ARGUMENT, "FIELD_NOT_WRITABLE", book.merge(one, two, ownerId=two))
    await refused(Code.INVALID_ARGUMENT, "INVALID_FIELD", book.merge(one, two, industry=person))
    await refused(Code.ABORTED, "ETAG_MISMATCH", book.merge(one, two, etag="9"))
    mine = somebody(book.who.tenant, rights=OWN)
    own = await book.add("丙", mine)
    await refused(Code.NOT_FOUND, "NOT_FOUND", book.merge(own, one, who=mine))
    reads = somebody(book.who.tenant, rights={"customers": Rights(Reach.ALL, Reach.OWN)})
    await refused(Code.PERMISSION_DENIED, "RECORD_READ_ONLY", book.merge(one, two, who=reads))
    elsewhere = Book(book.service)
    await refused(Code.NOT_FOUND, "NOT_FOUND", elsewhere.merge(one, two))
    assert {(await book.read(id)).etag for id in (one, two)} == {"1"}


async def test_undo_refused(book: Book) -> None:
    one, two, three = [await book.add(name) for name in "甲乙丙"]
    first = await book.merge(two, three)
    second = await book.merge(one, two)
    await refused(Code.FAILED_PRECONDITION, "MERGE_SURVIVOR_GONE", book.undo(first))
    await refused(Code.ABORTED, "ETAG_MISMATCH", book.undo(second, etag="7"))
    stranger = somebody(book.who.tenant, rights=OWN)
    await refused(Code.NOT_FOUND, "NOT_FOUND", book.undo(second, stranger))
    reads = somebody(book.who.tenant, rights={"customers": Rights(Reach.ALL, Reach.OWN)})
    await refused(Code.PERMISSION_DENIED, "RECORD_READ_ONLY", book.undo(second, reads))
    await refused(Code.NOT_FOUND, "NOT_FOUND", Book(book.service).undo(second))
    done = await book.undo(second)
    assert done.state == merge_pb2.MERGE_STATE_UNDONE
    await refused(Code.FAILED_PRECONDITION, "MERGE_UNDONE", book.undo(second))
    async with book.service.running.database.transaction(book.who) as tx:
        await tx.session.execute(text("UPDATE merges SET undo_end_time = now() - interval '1 s'"))
    await refused(Code.FAILED_PRECONDITION, "MERGE_TOO_OLD", book.undo(first))


async def test_what_was_changed_since_stays(book: Book) -> None:
    one = await book.add("甲", industry="it")
    two = await book.add("乙", website="https://b.example", region="north", phone="13800000002")
    contact = await book.meet(two, "李娜")
    merge = await book.merge(one, two)
    await book.change(one, region="south")
    added = await book.meet(one, "新人")
    await book.undo(merge)
    now, back = await book.read(one), await book.read(two)
    assert (now.region, now.website, now.phone) == ("south", "", "")
    assert (back.region, back.website, back.phone) == ("north", "https://b.example", "+8613800000002")
    assert [found.id for found in (await book.facet(one)).contacts] == [added]
    assert [found.id for found in (await book.facet(two)).contacts] == [contact]
    told = [data for subject, data in await book.events() if subject == "customer.unmerged"]
    assert told[0]["restoredCustomers"] == [{"id": two, "displayName": "乙"}]


async def test_contacts_go_into_one_and_come_out_of_it(book: Book) -> None:
    one, two = await book.add("甲"), await book.add("乙")
    boss = await book.meet(one, "老板")
    lina = await book.meet(one, "李娜", title="CFO", phones=[contact_pb2.ContactPhone(number="13700000001")])
    twin = await book.meet(
        two, "Li Na", title="board", phones=[contact_pb2.ContactPhone(number="13700000002")]
    )
    twin2 = await book.meet(one, "李 娜", reports_to_id=boss, department="finance")
    aide = await book.meet(two, "助理", reports_to_id=twin)
    before = await book.rows()
    merge = await book.merge_people(lina, twin, twin2, displayName=twin)
    # What one of them is at another customer it is there still.
    lost = {told.field: [one.record_id for one in told.lost] for told in book.foreseen.fields}
    assert lost == {"displayName": [lina, twin2], "title": [], "department": [], "phones": []}
    assert {told.record_type: told.count for told in book.foreseen.moved} == {"contact": 1}
    now = await book.contact(lina)
    assert (now.display_name, now.title, now.department, now.reports_to_id) == (
        "Li Na",
        "CFO",
        "finance",
        boss,
    )
    assert [(at.customer_id, at.title) for at in now.affiliations] == [(one, "CFO"), (two, "board")]
    assert [phone.number for phone in now.phones] == ["+8613700000001", "+8613700000002"]
    assert (await book.contact(aide)).reports_to_id == lina
    problem = await refused(Code.NOT_FOUND, "CONTACT_MERGED", book.contact(twin))
    assert problem.metadata["survivorId"] == lina
    await book.undo(merge)
    assert await book.rows() == before
    subjects = [subject for subject, _ in await book.events()]
    assert subjects.count("contact.merged") == subjects.count("contact.unmerged") == 1


@pytest.mark.parametrize("seed", range(12))
async def test_merge_then_undo_is_the_identity(book: Book, seed: int) -> None:
    """On all own tables, whatever there was: the choices come from the seed."""
    any_of = random.Random(seed)
    some = [
        await book.add(
            f"客户{number}", tags=any_of.sample(["a", "b", "c"], any_of.randint(0, 3)),
            phone=any_of.choice(["", f"1380000000{number}"]), email=any_of.choice(["", f"x{number}@u.example"]),
            industry=any_of.choice(["", "it"]), notes=any_of.choice(["", f"note {number}"]),
            external_key=any_of.choice(["", f"K{number}"]),
        )
        for number in range(6)
    ]  # fmt: skip
    for _ in range(4):
        child, parent = any_of.sample(some, 2)
        try:
            await book.change(child, parent_customer_id=parent)
        except Problem as problem:
            assert problem.reason == "CUSTOMER_CIRCLE"
    for _ in range(6):
        first, second = any_of.sample(some, 2)
        try:
            await book.relate(any_of.choice(["PARTNER", "SUPPLIER", "COMPETITOR"]), first, second)
        except Problem as problem:
            assert problem.reason == "RELATION_EXISTS"
    people = [
        await book.meet(
            any_of.choice(some), f"人{n}", primary=any_of.random() < 0.4, title=any_of.choice(["", "t"])
        )
        for n in range(8)
    ]
    for _ in range(10):
        person, at = any_of.choice(people), any_of.choice(some)
        superior = any_of.choice(["", *people])
        try:
            await book.join(person, at, reports_to_id=superior, department=any_of.choice(["", "d"]))
        except Problem as problem:
            assert problem.reason in ("SUPERIOR_NOT_FOUND", "CONTACT_CIRCLE")
    await book.issue(any_of.choice(some))
    for number in range(3):
        await book.gather(f"segment {number}", *any_of.sample(some, any_of.randint(1, 5)))
    for _ in range(4):
        await book.hear(
            order_event("OrderPlaced", any_of.choice(some), str(uuid4()), 100, ordered=date(2026, 3, 2))
        )
        await book.hear(opportunity_event("OpportunityCreated", any_of.choice(some), str(uuid4()), 100, 10))
    before = [await book.rows()]
    merges: list[merge_pb2.Merge] = []
    left = list(some)
    for _ in range(2):
        survivor, *others = any_of.sample(left, any_of.randint(2, 3))
        merges.append(await book.merge(survivor, *others, displayName=others[0]))
        left = [id for id in left if id not in others]
        before.append(await book.rows())
    for merge in reversed(merges):
        before.pop()
        await book.undo(merge)
        assert await book.rows() == before[-1]


async def test_two_merges_at_once_do_not_swallow_each_other(book: Book) -> None:
    one, two, three = [await book.add(name) for name in "甲乙丙"]

    async def merging(survivor: str, other: str) -> Any:
        request = merge_service_pb2.MergeCustomersRequest(id=survivor, merged_ids=[other])
        return await book.ask("MergeService/MergeCustomers", request, merge_pb2.Merge)

    done = await asyncio.gather(
        merging(one, two), merging(two, one), merging(three, one), return_exceptions=True
    )
    merges = [found for found in done if isinstance(found, merge_pb2.Merge)]
    assert 1 <= len(merges) <= 2
    for found in done:
        if isinstance(found, Problem):
            assert found.code in (Code.NOT_FOUND, Code.ABORTED), found
    listed = await book.ask(
        "CustomerService/ListCustomers", customer_service_pb2.ListCustomersRequest(),
        customer_service_pb2.ListCustomersResponse,
    )  # fmt: skip
    assert len(listed.customers) == 3 - len(merges)


async def test_history_tells_of_it(book: Book) -> None:
    one, two = await book.add("甲"), await book.add("乙", website="https://b.example")
    merge = await book.merge(one, two)
    kept = merge.undo_end_time.ToDatetime() - merge.create_time.ToDatetime()
    assert kept == timedelta(days=30)
    await book.undo(merge)
    undone, made = await book.history("merge", merge.id)
    assert made.act == history_pb2.CHANGE_ACT_CREATED
    assert ("state", "MERGED", "UNDONE") in {(f.field, f.old_value, f.new_value) for f in undone.fields}
    assert not any(f.field == "kept" for f in undone.fields)
    request = history_pb2.ListChangesRequest(record_type="customer", record_id=two)
    changes = (await book.ask("HistoryService/ListChanges", request, history_pb2.ListChangesResponse)).changes
    acts = [history_pb2.ChangeAct.Name(change.act) for change in changes]
    assert [act.rpartition("_")[2] for act in acts] == ["RESTORED", "DELETED", "CREATED"]


async def test_a_repeat_changes_nothing(book: Book) -> None:
    one, two = await book.add("甲"), await book.add("乙")
    request = merge_service_pb2.MergeCustomersRequest(id=one, merged_ids=[two], request_id=uuid4().hex)
    first = await book.ask("MergeService/MergeCustomers", request, merge_pb2.Merge)
    assert await book.ask("MergeService/MergeCustomers", request, merge_pb2.Merge) == first
    listed = await book.ask(
        "MergeService/ListMerges", merge_service_pb2.ListMergesRequest(filter=f'survivorId = "{one}"'),
        merge_service_pb2.ListMergesResponse,
    )  # fmt: skip
    assert [found.id for found in listed.merges] == [first.id]
    assert UUID(first.id) and Empty() is not None


def named(**ids: str) -> dict[str, Value]:
    return {key: Value(string_value=id) for key, id in ids.items()}


async def test_fields_of_ones_own_follow_and_go_back(book: Book) -> None:
    await book.field("distributor", filterable=True)
    await book.field("buyer", refers="contact")
    await book.field("patron", of="contact")
    old = await book.field("old")
    one, two = await book.add("One"), await book.add("Two")
    three = await book.add("Three", custom_fields=named(distributor=two, old=two))
    thrown = await book.add("Thrown away", custom_fields=named(distributor=two))
    await book.change(two, custom_fields=named(distributor=two))
    person = await book.meet(three, "Li", custom_fields=named(patron=two))
    twin = await book.meet(three, "Li Na", custom_fields=named(patron=one))
    await book.change(one, custom_fields=named(buyer=twin))
    await book.ask(
        "CustomerService/DeleteCustomer", customer_service_pb2.DeleteCustomerRequest(id=thrown), Empty
    )
    archived = custom_fields_pb2.UpdateCustomFieldRequest(
        custom_field=custom_fields_pb2.CustomField(id=old, archived=True)
    )
    archived.update_mask.paths.append("archived")
    await book.ask("CustomFieldService/UpdateCustomField", archived, custom_fields_pb2.CustomField)
    before = await book.rows()

    merge = await book.merge(one, two)
    # Those of archived fields, in the trash and of those who went themselves among them.
    for id, key in ((three, "distributor"), (three, "old"), (thrown, "distributor"), (two, "distributor")):
        assert await book.named(id, key) == one
    assert await book.named(person, "patron", "contacts") == one
    request = customer_service_pb2.ListCustomersRequest(filter=f"customFields.distributor = {one}")
    page = await book.ask(
        "CustomerService/ListCustomers", request, customer_service_pb2.ListCustomersResponse
    )
    # The survivor has what the other said of itself.
    assert sorted(found.id for found in page.customers) == sorted([one, three])
    told = [
        (what, data["customerId"], data["changedFields"])
        for what, data in await book.events()
        if what == "customer.updated" and data["customerId"] == three
    ]
    # Both of its fields at once.
    assert [names for _, _, names in told] == [["customFields.distributor", "customFields.old"]]
    assert [data["changedFields"] for what, data in await book.events() if what == "contact.updated"] == [
        ["customFields.patron"]
    ]
    people = await book.merge_people(person, twin)
    assert await book.named(one, "buyer") == person
    for done in (people, merge):
        await book.undo(done)
    assert await book.rows() == before
    # Who comes out of the trash refers to the survivor.
    again = await book.merge(one, two)
    restoring = trash_service_pb2.RestoreTrashItemRequest(id=thrown)
    await book.ask("TrashService/RestoreTrashItem", restoring, trash_pb2.TrashItem)
    assert (await book.read(thrown)).custom_fields["distributor"].string_value == one
    await book.undo(again)
    assert await book.named(thrown) == two


@pytest.mark.parametrize("at_once", [following.AT_ONCE, 0])
async def test_what_a_merge_brought_is_known_again_where_it_went_since(
    book: Book, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where what refers to them has not followed yet."""
    await book.field("distributor")
    a, b, c, d, mine, yours = [await book.add(name) for name in ("A", "B", "C", "D", "Mine", "Yours")]
    empty, full = await book.add("Empty"), await book.add("Full", custom_fields=named(distributor=a))
    await book.change(mine, custom_fields=named(distributor=c))
    await book.change(yours, custom_fields=named(distributor=a))
    filled = await book.merge(empty, full)
    choices: dict[str, Any] = {"customFields.distributor": yours}
    chosen = await book.merge(mine, yours, **choices)
    assert [await book.named(id) for id in (empty, mine)] == [a, a]
    monkeypatch.setattr(following, "AT_ONCE", at_once)
    went, gone = await book.merge(b, a), await book.merge(d, c)
    assert [await book.named(id) for id in (empty, mine, full)] == [b if at_once else a] * 3
    # What came with the others goes with them, and what was there before is there again, where it is now.
    await book.undo(filled)
    await book.undo(chosen)
    monkeypatch.undo()
    for id in (a, c):
        await book.follow(id)
    assert [await book.named(id) for id in (empty, full, mine, yours)] == [None, b, d, b]
    for merge in (gone, went):
        await book.undo(merge)
    assert [await book.named(id) for id in (empty, full, mine, yours)] == [None, a, c, a]


async def test_what_is_written_while_they_are_merged_follows_a_little_later(book: Book) -> None:
    await book.field("distributor")
    one, two, three = [await book.add(name) for name in ("One", "Two", "Three")]
    other = await book.add("Other", custom_fields=named(distributor=two))
    merge = await book.merge(one, two)
    # Somebody had asked whether it is there.
    async with book.service.running.database.transaction(book.who) as tx:
        late = await tx.get(Customer, UUID(three), right="customers")
        late.custom_fields = {"distributor": two}
    look = referring.CUSTOMERS.jobs["follow customer"]
    call = book.service.running.call(book.who)
    for _ in range(2):
        await look({"ids": [two]}, call)
    assert await book.named(three) == one
    # What somebody has changed since stays as it was changed.
    await book.change(other, custom_fields=named(distributor=three))
    await book.undo(merge)
    assert (await book.named(three), await book.named(other)) == (two, three)


async def test_however_many_name_them_a_merge_is_done_at_once_and_the_rest_follows(
    book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    await book.field("distributor")
    monkeypatch.setattr(following, "AT_ONCE", 3)
    two, three = await book.add("Two"), await book.add("Three")
    many = [await book.add(f"N{number}", custom_fields=named(distributor=two)) for number in range(8)]
    one = await book.add("One")
    # It names itself: what the survivor has of that comes last of all.
    await book.change(two, custom_fields=named(distributor=two))
    before = await book.rows()

    async def names() -> list[str | None]:
        return [await book.named(id) for id in many]

    async def merged(survivor: str, gone: str) -> merge_pb2.Merge:
        # Until what was foreseen is compared with what the merge itself has moved, the job moves no more.
        async with book.held(*many[2:]):
            done = await book.merge(survivor, gone)
        await eventually(book.followed)
        return done

    # It waits for nobody, and is undone while it is half way.
    async with book.held(*many[2:]):
        merge = await book.merge(one, two)
        assert await names() == [one] * 2 + [two] * 6
        await book.undo(merge)
        assert await names() == [two] * 8
    await eventually(book.followed)
    assert await book.rows() == before

    # The rest follows, once each, and what the undoing puts back itself does not wait for the rest.
    merge = await merged(one, two)
    assert [*await names(), await book.named(one), await book.named(two)] == [one] * 10
    told = [
        data
        for what, data in await book.events()
        if what == "customer.updated" and data["customerId"] == many[7]
    ]
    assert [data["changedFields"] for data in told] == [["customFields.distributor"]]
    async with book.held(*many[2:]):
        await book.undo(merge)
        assert (await names())[2:] == [one] * 6 and await book.named(one) is None
        # The survivor goes on meanwhile: they do not come along.
        further = await book.merge(three, one)
        assert (await names())[2:] == [one] * 6
    await book.follow(one)
    await eventually(book.followed)
    assert await names() == [two] * 8
    await book.undo(further)
    await eventually(book.followed)
    assert await book.rows() == before

    # Or it takes in the same one again before all are back: that moves four, the survivor last, and leaves none of these to the
    # job, which would move it while what was foreseen is compared.
    monkeypatch.setattr(following, "AT_ONCE", 4)
    merge = await merged(one, two)
    async with book.held(*many[2:]):
        await book.undo(merge)
        merge = await book.merge(one, two)
    await eventually(book.followed)
    assert await names() == [one] * 8
    await book.undo(merge)
    await eventually(book.followed)
    assert await book.rows() == before


async def test_an_undoing_finds_what_a_step_was_moving(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    await book.field("distributor")
    one, two = await book.add("One"), await book.add("Two")
    for number in range(3):
        await book.add(f"N{number}", custom_fields=named(distributor=two))
    before = await book.rows()
    monkeypatch.setattr(following, "AT_ONCE", 0)
    merge = await book.merge(one, two)
    monkeypatch.undo()
    async with book.service.running.database.transaction(book.who) as tx:
        await referring.CUSTOMERS.follow(tx, [UUID(two)])
        undoing = asyncio.create_task(book.undo(merge))
        await asyncio.wait({undoing}, timeout=0.3)
    await undoing
    await eventually(book.followed)
    assert await book.rows() == before


async def test_what_was_of_another_kind_does_not_follow(book: Book) -> None:
    choices = [{"key": "a", "labelEn": "A"}, {"key": "b", "labelEn": "B"}]
    await book.field("distributor")
    field = from_dict(
        custom_fields_pb2.CustomField,
        {
            "recordType": "customer", "key": "mood", "labelEn": "Mood", "kind": "CUSTOM_FIELD_KIND_MULTI_CHOICE",
            "choices": choices,
        },
    )  # fmt: skip
    request = custom_fields_pb2.CreateCustomFieldRequest(custom_field=field)
    made = await book.ask("CustomFieldService/CreateCustomField", request, custom_fields_pb2.CustomField)
    one, two, three, four = [await book.add(name) for name in ("One", "Two", "Three", "Four")]
    await book.change(one, custom_fields={"mood": from_dict(Value, ["a"])})
    await book.change(two, custom_fields=named(distributor=three))
    merge = await book.merge(one, two)
    await book.change(one, custom_fields={"mood": Value(null_value=0)})  # pyright: ignore[reportArgumentType]
    gone = custom_fields_pb2.DeleteCustomFieldRequest(id=made.id)
    await book.ask("CustomFieldService/DeleteCustomField", gone, Empty)
    await book.field("mood")
    await book.merge(four, three)
    await book.undo(merge)
    assert [await book.named(id) for id in (one, two)] == [None, four]
