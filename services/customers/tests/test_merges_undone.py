"""What is left on the survivor when a merge is undone that somebody has worked with since, and who may see it then."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Value
from hypothesis import given
from hypothesis import strategies as st
from kehu.customers.v1 import (
    contact_pb2,
    contact_service_pb2,
    customer_pb2,
    customer_service_pb2,
    merge_pb2,
    merge_service_pb2,
    share_service_pb2,
)
from kehu.customfields.v1 import custom_fields_pb2
from kehu.shares.v1 import shares_pb2

from chassis.errors import Code, Problem
from chassis.ids import new_id
from chassis.kept import Before, put_back
from chassis.principal import Principal, Reach, Rights
from chassis.testing import eventually, refused, somebody
from customers.contact import Contact, change_contact
from customers.customer import Customer
from customers.testing import Company, yuan

loop = pytest.mark.asyncio(loop_scope="module")
API = "kehu.customers.v1."
OWN = {"customers": Rights(Reach.OWN, Reach.OWN)}
READ, WRITE = shares_pb2.SHARE_ACCESS_READ, shares_pb2.SHARE_ACCESS_WRITE
P1, P2, P3 = "+8613800000001", "+8613800000002", "+8613800000003"


class Book(Company):
    """A company with an address book that has duplicates."""

    async def ask(
        self, method: str, request: Message, answer: type[Any], who: Principal | None = None
    ) -> Any:
        return await self.service.ask(who or self.who, API + method, request, answer)

    async def fields(self, *keys: str) -> None:
        for key in keys:
            field = custom_fields_pb2.CustomField(
                record_type="customer", key=key, kind=custom_fields_pb2.CUSTOM_FIELD_KIND_TEXT, label_en=key
            )
            request = custom_fields_pb2.CreateCustomFieldRequest(custom_field=field)
            await self.ask("CustomFieldService/CreateCustomField", request, custom_fields_pb2.CustomField)

    def colleague(self) -> Principal:
        return somebody(self.who.tenant, rights=OWN)

    async def add(self, name: str, **values: Any) -> str:
        request = customer_service_pb2.CreateCustomerRequest(
            customer=customer_pb2.Customer(display_name=name, **values)
        )
        return (await self.ask("CustomerService/CreateCustomer", request, customer_pb2.Customer)).id

    async def read(self, id: str, who: Principal | None = None) -> customer_pb2.Customer:
        request = customer_service_pb2.GetCustomerRequest(id=id)
        return await self.ask("CustomerService/GetCustomer", request, customer_pb2.Customer, who)

    async def change(self, id: str, *, who: Principal | None = None, **values: Any) -> None:
        request = customer_service_pb2.UpdateCustomerRequest(customer=customer_pb2.Customer(id=id, **values))
        request.update_mask.paths.extend(values)
        await self.ask("CustomerService/UpdateCustomer", request, customer_pb2.Customer, who)

    async def share(
        self, id: str, person: Principal, access: Any = READ, until: datetime | None = None
    ) -> None:
        request = share_service_pb2.ShareCustomerRequest(
            id=id, person_id=str(person.person_id), access=access
        )
        if until is not None:
            request.until_time.FromDatetime(until)
        await self.ask("ShareService/ShareCustomer", request, customer_pb2.Customer)

    async def merge(self, survivor: str, *others: str, **choices: str) -> merge_pb2.Merge:
        request = merge_service_pb2.MergeCustomersRequest(
            id=survivor, merged_ids=others, field_choices=choices
        )
        return await self.ask("MergeService/MergeCustomers", request, merge_pb2.Merge)

    async def undo(self, merge: merge_pb2.Merge) -> None:
        request = merge_service_pb2.UndoMergeRequest(id=merge.id)
        await self.ask("MergeService/UndoMerge", request, merge_pb2.Merge)

    async def meet(self, customer: str, name: str, **values: Any) -> str:
        request = contact_service_pb2.CreateContactRequest(
            contact=contact_pb2.Contact(customer_id=customer, display_name=name, **values)
        )
        return (await self.ask("ContactService/CreateContact", request, contact_pb2.Contact)).id

    async def contact(self, id: str) -> contact_pb2.Contact:
        request = contact_service_pb2.GetContactRequest(id=id)
        return await self.ask("ContactService/GetContact", request, contact_pb2.Contact)

    async def report(self, id: str, superior: str) -> None:
        request = contact_service_pb2.UpdateContactRequest(
            contact=contact_pb2.Contact(id=id, reports_to_id=superior)
        )
        request.update_mask.paths.append("reports_to_id")
        await self.ask("ContactService/UpdateContact", request, contact_pb2.Contact)

    async def merge_people(self, survivor: str, *others: str) -> merge_pb2.Merge:
        request = merge_service_pb2.MergeContactsRequest(id=survivor, merged_ids=others)
        return await self.ask("MergeService/MergeContacts", request, merge_pb2.Merge)

    async def sees(self, id: str, who: Principal) -> bool:
        try:
            await self.read(id, who)
        except Problem as problem:
            assert problem.code is Code.NOT_FOUND, problem
            return False
        return True


@pytest.fixture
def book(company: Company) -> Book:
    return Book(company.service)


def phones(*numbers: str) -> list[customer_pb2.Phone]:
    return [customer_pb2.Phone(number=number) for number in numbers]


def texts(**values: str) -> dict[str, Value]:
    return {key: Value(string_value=value) for key, value in values.items()}


def custom(found: customer_pb2.Customer) -> dict[str, str]:
    return {key: value.string_value for key, value in found.custom_fields.items()}


@loop
async def test_no_share_is_more_or_lasts_longer_by_a_merge(book: Book) -> None:
    one, two = await book.add("甲"), await book.add("乙")
    cy, dan, eva = (book.colleague() for _ in range(3))
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    await book.share(one, cy)
    await book.share(two, cy, WRITE, tomorrow)
    await book.share(one, dan)
    await book.share(two, dan, WRITE, tomorrow)
    await book.share(two, eva, WRITE)
    async with book.service.running.database.transaction(book.who) as tx:
        row = await tx.find(Customer, UUID(two))
        assert row is not None
        # Cy's share to write has ended.
        past = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
        row.shared_with = [
            {**share, "until": past} if share["to"] == str(cy.person_id) else share
            for share in row.shared_with
        ]
    merge = await book.merge(one, two)
    for who in (cy, dan):
        assert await book.sees(one, who)
        await refused(Code.PERMISSION_DENIED, "RECORD_READ_ONLY", book.change(one, who=who, notes="x"))
    await book.change(one, who=eva, notes="x")
    asked = share_service_pb2.ListCustomerSharesRequest(customer_id=one)
    found = await book.ask(
        "ShareService/ListCustomerShares", asked, share_service_pb2.ListCustomerSharesResponse
    )
    shares = {share.person_id: share for share in found.shares}
    assert {share.access for id, share in shares.items() if id != str(eva.person_id)} == {READ}
    assert not any(share.HasField("until_time") for share in shares.values())
    await book.undo(merge)
    assert not await book.sees(one, eva)
    assert await book.sees(one, cy)


@loop
async def test_nothing_of_the_other_stays_though_somebody_has_added_to_it(book: Book) -> None:
    await book.fields("own", "theirs", "later")
    one = await book.add("甲", tags=["a"], custom_fields=texts(own="1"))
    two = await book.add(
        "乙", tags=["b"], phones=phones(P2), notes="theirs", custom_fields=texts(own="2", theirs="2")
    )
    bob, cy = book.colleague(), book.colleague()
    await book.share(two, bob, WRITE)
    merge = await book.merge(one, two)
    assert await book.sees(one, bob)
    await book.share(one, cy)
    await book.change(
        one, tags=["a", "b", "c"], phones=phones(P2, P3), notes="theirs\nlater",
        custom_fields=texts(own="1", theirs="2", later="3"),
    )  # fmt: skip
    await book.undo(merge)
    now, back = await book.read(one), await book.read(two)
    assert (list(now.tags), now.phone, now.notes) == (["a", "c"], P3, "later")
    assert [phone.number for phone in now.phones] == [P3]
    assert custom(now) == {"own": "1", "later": "3"}
    assert [await book.sees(one, who) for who in (bob, cy)] == [False, True]
    assert [await book.sees(two, who) for who in (bob, cy)] == [True, False]
    assert (list(back.tags), back.phone, custom(back)) == (["b"], P2, {"own": "2", "theirs": "2"})


@loop
async def test_merges_are_undone_in_any_order(book: Book) -> None:
    one = await book.add("甲", tags=["a"])
    two = await book.add("乙", tags=["b"], region="north", phones=phones(P2))
    three = await book.add("丙", tags=["c"], region="south", phones=phones(P3))
    bob, cy = book.colleague(), book.colleague()
    await book.share(two, bob)
    await book.share(three, cy)
    first = await book.merge(one, two)
    second = await book.merge(one, three, region=three)
    await book.undo(first)
    now = await book.read(one)
    assert (list(now.tags), now.region, now.phone) == (["a", "c"], "south", P3)
    assert [await book.sees(one, who) for who in (bob, cy)] == [False, True]
    await book.undo(second)
    now = await book.read(one)
    # Neither has left anything, though the second one found what the first had brought.
    assert (list(now.tags), now.region, now.phone) == (["a"], "", "")
    assert [await book.sees(one, who) for who in (bob, cy)] == [False, False]


@loop
async def test_columns_that_belong_together_go_together(book: Book) -> None:
    one = await book.add("甲")
    two = await book.add("乙", annual_revenue=yuan(10_000), phones=phones(P2))
    merge = await book.merge(one, two)
    await book.change(one, annual_revenue=yuan(20_000), phones=phones(P2, P3))
    await book.undo(merge)
    now = await book.read(one)
    assert now.annual_revenue == yuan(20_000)
    assert (now.phone, [phone.number for phone in now.phones]) == (P3, [P3])
    # What follows from others is put back with them, and never by itself.
    before, row = Before(), Customer(display_name="丙", address={"city": "上海"}, city="上海")
    before.note([row])
    row.city, row.revenue = "北京", 5
    assert before.kept() == {} and put_back(row, {"city": ["上海", "北京"]}) == []


@loop
async def test_a_contact_that_moved_on_keeps_its_place_and_its_owner(book: Book) -> None:
    one, two, other = await book.add("甲"), await book.add("乙"), await book.add("丙")
    person = await book.meet(two, "李娜", title="CFO")
    merge = await book.merge(one, two)
    request = contact_service_pb2.JoinCustomerRequest(
        id=person, affiliation=contact_pb2.Affiliation(customer_id=other, title="CEO", primary=True)
    )
    await book.ask("ContactService/JoinCustomer", request, contact_pb2.Contact)
    await book.undo(merge)
    now = await book.contact(person)
    assert [(at.customer_id, at.title) for at in now.affiliations] == [(other, "CEO"), (two, "CFO")]


@loop
async def test_two_at_once_close_no_circle_of_superiors(book: Book) -> None:
    """Anna reports to Xu, Ding to Cai, and Cai to Bo, who is Anna. While Xu comes to report to Ding, and nobody can see it yet,
    the two are merged."""
    home = await book.add("甲")
    xu = await book.meet(home, "徐")
    anna = await book.meet(home, "安", reports_to_id=xu)
    bo = await book.meet(home, "安娜")
    cai = await book.meet(home, "蔡", reports_to_id=bo)
    ding = await book.meet(home, "丁", reports_to_id=cai)
    database = book.service.running.database
    async with database.transaction(book.who) as tx:
        contact = await tx.find(Contact, UUID(xu))
        assert contact is not None
        await change_contact(tx, contact, {"reports_to_id": UUID(ding)})
        await tx.session.flush()
        merging = asyncio.create_task(book.merge_people(anna, bo))

        async def merged_or_waiting() -> bool:
            waiting = await database.read(book.who, "SELECT 1 FROM pg_locks WHERE NOT granted")
            return merging.done() or bool(waiting)

        await eventually(merged_or_waiting)
    try:
        await merging
    except Problem as problem:
        # Whoever has waited too long asks again.
        assert problem.reason == "RECORD_BUSY"
        await book.merge_people(anna, bo)
    request = contact_service_pb2.GetOrgChartRequest(customer_id=home)
    chart = await book.ask("ContactService/GetOrgChart", request, contact_pb2.OrgChart)
    assert sorted(one.contact_id for one in chart.members) == sorted([xu, anna, cai, ding])


NUMBERS = st.lists(st.sampled_from([P1, P2, P3]), unique=True)


def customer(numbers: list[str], tags: list[str], revenue: int | None) -> dict[str, Any]:
    entries = [{"label": "", "number": number} for number in numbers]
    first, *others = entries or [{"label": "", "number": ""}]
    return {
        "phone": first["number"], "phone_label": "", "other_phones": others, "tags": tags, "annual_revenue": revenue,
        "annual_revenue_currency": "" if revenue is None else "CNY",
    }  # fmt: skip


STATES = st.builds(
    customer, NUMBERS, st.lists(st.sampled_from("xyz"), unique=True), st.one_of(st.none(), st.integers(1, 3))
)


@given(STATES, STATES, STATES)
def test_whatever_is_undone_the_row_is_one_that_can_be(
    before: dict[str, Any], after: dict[str, Any], now: dict[str, Any]
) -> None:
    row = Customer(display_name="甲", **before)
    noted = Before()
    noted.note([row])
    for name, value in after.items():
        setattr(row, name, value)
    kept = noted.kept().get("customer", {}).get(str(row.id), {})
    untouched = Customer(id=row.id, display_name="甲", **after)
    put_back(untouched, kept)
    assert {name: getattr(untouched, name) for name in before} == before
    changed = Customer(id=row.id, display_name="甲", **now)
    put_back(changed, kept)
    assert bool(changed.phone) or not changed.other_phones
    assert (changed.annual_revenue is None) == (changed.annual_revenue_currency == "")


@given(
    *[
        st.lists(st.sampled_from([UUID(int=n) for n in range(1, 5)]), unique=True, min_size=1)
        for _ in range(3)
    ]
)
def test_a_contact_always_has_a_primary_customer(
    before: list[UUID], after: list[UUID], now: list[UUID]
) -> None:
    def at(ids: list[UUID]) -> dict[str, Any]:
        nothing = {"title": "", "department": "", "decision_role": "", "reports_to_id": None}
        return {
            "customer_id": ids[0],
            "affiliations": [{"customer_id": str(id), **nothing} for id in ids[1:]],
        }

    row = Contact(id=new_id(), display_name="李娜", **at(before))
    noted = Before()
    noted.note([row])
    for name, value in at(after).items():
        setattr(row, name, value)
    kept = noted.kept().get("contact", {}).get(str(row.id), {})
    put_back(row, kept)
    assert {name: getattr(row, name) for name in at(before)} == at(before)
    other = Contact(id=row.id, display_name="李娜", **at(now))
    put_back(other, kept)
    ids = [other.customer_id, *(UUID(one["customer_id"]) for one in other.affiliations)]
    assert len(ids) == len(set(ids))
    assert set(ids) >= set(now) - set(after)
