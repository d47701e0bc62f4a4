"""Merges and their undoing as a state machine: customers come, change, meet people, are related, merged and parted again in any
order. Whatever happens, who is there is who the model says; what went by a merge comes back as it went; and where nothing has
happened in between, every row of the service is what it was.

Marks are what can be told apart: each is a tag, a number, a share or a custom value that one customer was given and no other. The
model knows who has which, whatever was merged and undone in whichever order: so nothing stays behind and nothing gets lost.
"""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Value
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from kehu.customers.v1 import (
    contact_pb2,
    contact_service_pb2,
    customer_pb2,
    customer_service_pb2,
    merge_pb2,
    merge_service_pb2,
    relation_pb2,
    relation_service_pb2,
    share_service_pb2,
)
from kehu.customfields.v1 import custom_fields_pb2
from kehu.identity.v1 import person_service_pb2
from kehu.shares.v1 import shares_pb2

from chassis.errors import Problem
from chassis.testing import DatabaseUrls, Harness, Keys, answering, running_service
from customers.merging import undo as undoing
from customers.service import SERVICE
from customers.testing import Company, look_up_people, yuan

API = "kehu.customers.v1."
TABLES = (
    "customers", "contacts", "contact_affiliations", "customer_relations", "customer_values", "custom_values", "segments",
    "segment_customers", "shares",
)  # fmt: skip
FIELDS = 4
MARKS = st.sampled_from(["tag", "phone", "share", "field"])
PLACES = st.integers(0, 99)
TEXTS = st.sampled_from(["", "a", "b"])


@pytest.fixture(scope="module")
def house(
    service_database: Callable[[str], DatabaseUrls], nats_url: str, keys: Keys
) -> Iterator[tuple[asyncio.AbstractEventLoop, Harness]]:
    """A service in a loop of its own, for tests that are no coroutines."""
    loop = asyncio.new_event_loop()
    answers: dict[str, Any] = {
        "kehu.identity.v1.PersonService/LookUpPeople": (
            person_service_pb2.LookUpPeopleRequest,
            look_up_people,
        )
    }
    answer = answering(answers)
    addresses = {"identity": loop.run_until_complete(answer.__aenter__())}
    running = running_service(SERVICE, service_database("customers"), nats_url, keys, addresses=addresses)
    harness = loop.run_until_complete(running.__aenter__())
    yield loop, harness
    loop.run_until_complete(running.__aexit__(None, None, None))
    loop.run_until_complete(answer.__aexit__(None, None, None))
    loop.close()


@dataclass
class Done:
    """A merge that was not undone: who went into whom, what all rows were before it and behind it, and who they were."""

    merge_id: str
    survivor: str
    gone: dict[str, customer_pb2.Customer]
    before: Any
    after: Any
    marks: dict[str, set[str]]
    """What those who went had."""


class Machine(RuleBasedStateMachine):
    """An address book."""

    loop: asyncio.AbstractEventLoop
    service: Harness

    def __init__(self) -> None:
        super().__init__()
        self.company = Company(self.service)
        self.there: list[str] = []
        self.people: list[str] = []
        self.merges: list[Done] = []
        self.marks: dict[str, set[str]] = {}
        self.made = 0
        for number in range(FIELDS):
            field = custom_fields_pb2.CustomField(
                record_type="customer", key=f"c{number}", label_en="C",
                kind=custom_fields_pb2.CUSTOM_FIELD_KIND_TEXT,
            )  # fmt: skip
            made = custom_fields_pb2.CreateCustomFieldRequest(custom_field=field)
            self.ask("CustomFieldService/CreateCustomField", made, custom_fields_pb2.CustomField)
        for number in range(3):
            self.come(f"K{number}", "", [])

    def ask(self, method: str, request: Message, answer: type[Any]) -> Any:
        return self.loop.run_until_complete(self.service.ask(self.company.who, API + method, request, answer))

    def rows(self) -> Any:
        """All that the company has in the service's own tables, but for what counts and dates the writes."""

        async def look() -> dict[str, Any]:
            out: dict[str, Any] = {}
            for table in TABLES:
                found = await self.service.running.database.read(
                    self.company.who,
                    f"SELECT to_jsonb(t) - '{{version,updated_at,updated_by}}'::text[] AS row FROM {table} t",
                )
                out[table] = sorted((row["row"] for row in found), key=str)
            return out

        return self.loop.run_until_complete(look())

    def one(self, place: int) -> str:
        return self.there[place % len(self.there)]

    def customer(self, id: str) -> customer_pb2.Customer:
        request = customer_service_pb2.GetCustomerRequest(id=id)
        return self.ask("CustomerService/GetCustomer", request, customer_pb2.Customer)

    @rule(
        key=st.sampled_from(["", "K1", "K2"]),
        industry=TEXTS,
        tags=st.lists(st.sampled_from("xyz"), unique=True),
    )
    def come(self, key: str, industry: str, tags: list[str]) -> None:
        """A customer is entered; a key that is taken is refused."""
        customer = customer_pb2.Customer(
            display_name=f"客户{uuid4().hex[:6]}",
            external_key=key,
            industry=industry,
            tags=tags,
            notes=industry,
        )
        request = customer_service_pb2.CreateCustomerRequest(customer=customer)
        try:
            self.there.append(self.ask("CustomerService/CreateCustomer", request, customer_pb2.Customer).id)
            self.marks[self.there[-1]] = set()
        except Problem as problem:
            assert problem.reason == "EXTERNAL_KEY_TAKEN"

    def update(self, id: str, **values: Any) -> None:
        request = customer_service_pb2.UpdateCustomerRequest(customer=customer_pb2.Customer(id=id, **values))
        request.update_mask.paths.extend(values)
        self.ask("CustomerService/UpdateCustomer", request, customer_pb2.Customer)

    @rule(place=PLACES, industry=TEXTS, revenue=st.integers(0, 2))
    def change(self, place: int, industry: str, revenue: int) -> None:
        money = {"annual_revenue": yuan(revenue * 100)} if revenue else {}
        self.update(self.one(place), industry=industry, **money)

    @rule(place=PLACES, kind=MARKS)
    def mark(self, place: int, kind: str) -> None:
        """A customer is given something that no other has."""
        id, number = self.one(place), self.made
        now = self.customer(id)
        self.made += 1
        if kind == "tag":
            self.update(id, tags=[*now.tags, f"t{number}"])
            self.marks[id].add(f"t{number}")
        elif kind == "phone":
            one = f"+861380000{number:04}"
            self.update(id, phones=[*now.phones, customer_pb2.Phone(number=one)])
            self.marks[id].add(one)
        elif kind == "share":
            person = str(uuid4())
            shared = share_service_pb2.ShareCustomerRequest(
                id=id, person_id=person, access=shares_pb2.SHARE_ACCESS_READ
            )
            self.ask("ShareService/ShareCustomer", shared, customer_pb2.Customer)
            self.marks[id].add(person)
        else:
            taken = {mark for marks in self.marks.values() for mark in marks}
            taken |= {mark for done in self.merges for marks in done.marks.values() for mark in marks}
            free = [f"c{n}" for n in range(FIELDS) if f"c{n}" not in taken]
            if free:
                values = dict(now.custom_fields) | {free[0]: Value(string_value="x")}
                self.update(id, custom_fields=values)
                self.marks[id].add(free[0])

    @rule(place=PLACES)
    def drop(self, place: int) -> None:
        """A tag is taken away, wherever it came from."""
        id = self.one(place)
        tags = sorted(mark for mark in self.marks[id] if mark.startswith("t"))
        if tags:
            now = self.customer(id)
            self.update(id, tags=[tag for tag in now.tags if tag != tags[0]])
            self.marks[id].discard(tags[0])

    @rule(place=PLACES, parent=PLACES)
    def belong(self, place: int, parent: int) -> None:
        customer = customer_pb2.Customer(id=self.one(place), parent_customer_id=self.one(parent))
        request = customer_service_pb2.UpdateCustomerRequest(customer=customer)
        request.update_mask.paths.append("parent_customer_id")
        try:
            self.ask("CustomerService/UpdateCustomer", request, customer_pb2.Customer)
        except Problem as problem:
            assert problem.reason == "CUSTOMER_CIRCLE"

    @rule(place=PLACES, primary=st.booleans())
    def meet(self, place: int, primary: bool) -> None:
        contact = contact_pb2.Contact(customer_id=self.one(place), display_name="Li", primary=primary)
        request = contact_service_pb2.CreateContactRequest(contact=contact)
        self.people.append(self.ask("ContactService/CreateContact", request, contact_pb2.Contact).id)

    @rule(first=PLACES, second=PLACES, kind=st.sampled_from(["PARTNER", "SUPPLIER"]))
    def relate(self, first: int, second: int, kind: str) -> None:
        relation = relation_pb2.CustomerRelation(
            type=relation_pb2.RelationType.Value(f"RELATION_TYPE_{kind}"), from_customer_id=self.one(first),
            to_customer_id=self.one(second),
        )  # fmt: skip
        request = relation_service_pb2.CreateCustomerRelationRequest(relation=relation)
        try:
            self.ask("RelationService/CreateCustomerRelation", request, relation_pb2.CustomerRelation)
        except Problem as problem:
            assert problem.reason in ("RELATION_EXISTS", "RELATION_TO_ITSELF"), problem

    @precondition(lambda self: len(self.there) > 1)
    @rule(survivor=PLACES, places=st.lists(PLACES, min_size=1, max_size=2))
    def merge(self, survivor: int, places: list[int]) -> None:
        first = self.one(survivor)
        others = list(dict.fromkeys(id for id in map(self.one, places) if id != first))
        if not others:
            return
        gone = {id: self.customer(id) for id in others}
        before = self.rows()
        request = merge_service_pb2.MergeCustomersRequest(id=first, merged_ids=others)
        merged = self.ask("MergeService/MergeCustomers", request, merge_pb2.Merge)
        self.there = [id for id in self.there if id not in others]
        marks = {id: self.marks.pop(id) for id in others}
        self.marks[first] |= set().union(*marks.values())
        self.merges.append(Done(merged.id, first, gone, before, self.rows(), marks))

    @precondition(lambda self: len(self.there) > 1)
    @rule(survivor=PLACES, place=PLACES, first=MARKS, second=MARKS, last=st.booleans())
    def merge_and_undo(self, survivor: int, place: int, first: str, second: str, last: bool) -> None:
        """What chance alone seldom brings together: a merge, work on the survivor, and the undoing of this merge or another."""
        self.mark(place, first)
        id = self.one(survivor)
        self.merge(survivor, [place])
        self.mark(self.there.index(id), second)
        if self.merges:
            self.undo(place, last)

    @precondition(lambda self: bool(self.merges))
    @rule(place=PLACES, last=st.booleans())
    def undo(self, place: int, last: bool) -> None:
        done = self.merges[-1 if last else place % len(self.merges)]
        request = merge_service_pb2.UndoMergeRequest(id=done.merge_id)
        untouched = self.rows() == done.after
        try:
            self.ask("MergeService/UndoMerge", request, merge_pb2.Merge)
        except Problem as problem:
            if problem.reason == "EXTERNAL_KEY_TAKEN":
                # Somebody has taken the key since: nothing is undone.
                assert not untouched
                return
            assert problem.reason == "MERGE_SURVIVOR_GONE" and done.survivor not in self.there, problem
            return
        assert done.survivor in self.there
        self.merges.remove(done)
        self.there += done.gone
        self.marks[done.survivor] -= set().union(*done.marks.values())
        self.marks |= done.marks
        if untouched:
            assert self.rows() == done.before
        for id, was in done.gone.items():
            found = self.customer(id)
            for name in (
                "display_name",
                "industry",
                "tags",
                "notes",
                "external_key",
                "owner_id",
                "stage_key",
            ):
                assert getattr(found, name) == getattr(was, name), name

    @invariant()
    def everybody_has_their_own(self) -> None:
        found = self.loop.run_until_complete(
            self.service.running.database.read(
                self.company.who,
                "SELECT id, tags, phone, other_phones, shared_with, custom_fields FROM customers WHERE deleted_at IS NULL",
            )
        )
        for row in found:
            numbers = {row["phone"], *(one["number"] for one in row["other_phones"])} - {""}
            shared = {one["to"] for one in row["shared_with"]}
            tags = {tag for tag in row["tags"] if tag.startswith("t")}
            assert tags | numbers | shared | set(row["custom_fields"]) == self.marks[str(row["id"])]
            assert row["phone"] or not row["other_phones"]

    @invariant()
    def who_is_there_is_who_the_model_says(self) -> None:
        request = customer_service_pb2.ListCustomersRequest(page_size=200)
        listed = self.ask(
            "CustomerService/ListCustomers", request, customer_service_pb2.ListCustomersResponse
        )
        assert sorted(one.id for one in listed.customers) == sorted(self.there)
        asked = contact_service_pb2.ListContactsRequest(page_size=200)
        people = self.ask("ContactService/ListContacts", asked, contact_service_pb2.ListContactsResponse)
        assert sorted(one.id for one in people.contacts) == sorted(self.people)
        assert {one.customer_id for one in people.contacts} <= set(self.there)
        for done in self.merges:
            for id in done.gone:
                with pytest.raises(Problem) as refused:
                    self.customer(id)
                assert refused.value.reason == "CUSTOMER_MERGED"
                assert refused.value.metadata["survivorId"] in self.there


_SETTINGS = settings(
    max_examples=8, stateful_step_count=18, derandomize=True, print_blob=False, database=None,
    phases=[Phase.generate],
)  # fmt: skip


def test_whatever_happens_what_went_comes_back_as_it_went(
    house: tuple[asyncio.AbstractEventLoop, Harness],
) -> None:
    Machine.loop, Machine.service = house
    run_state_machine_as_test(Machine, settings=_SETTINGS)


def test_the_model_notices_an_undoing_that_forgets_a_field(
    house: tuple[asyncio.AbstractEventLoop, Harness], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test can fail: those that come back still say into whom they went."""
    Machine.loop, Machine.service = house
    right = undoing.put_back

    def forgetful(row: Any, kept: Any) -> Any:
        return right(row, {name: one for name, one in kept.items() if name != "merged_into_id"})

    monkeypatch.setattr(undoing, "put_back", forgetful)
    with pytest.raises(AssertionError):
        run_state_machine_as_test(Machine, settings=_SETTINGS)
