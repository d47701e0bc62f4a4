"""A share lets somebody change a customer, and by no way make it, or what belongs to it, their own."""

from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.struct_pb2 import Value
from kehu.bulkedits.v1 import bulk_edits_pb2 as edits
from kehu.customers.v1 import contact_pb2, contact_service_pb2, customer_pb2, customer_service_pb2

from chassis.errors import Code
from chassis.principal import Principal, Reach, Rights
from chassis.shares.entries import PERSON, Grantee
from chassis.testing import Harness, eventually, refused
from chassis.wire import from_dict
from customers.customer import Customer
from customers.sharing import WRITE, share_customer
from customers.testing import COLLEAGUE, CUSTOMERS, Company

pytestmark = pytest.mark.asyncio(loop_scope="module")
EDITS = "kehu.customers.v1.BulkEditService/"
CONTACTS = "kehu.customers.v1.ContactService/"


class Shared(Company):
    """A company in which a colleague, who has rights to his own customers, may write one of another's."""

    theirs: str
    contact: str

    @property
    def colleague(self) -> Principal:
        own = {"customers": Rights(Reach.OWN, Reach.OWN)}
        return replace(self.who, rights=own, person_id=UUID(COLLEAGUE.id), team_id=None)

    async def ask(self, who: Principal, method: str, request: Any, answer: type[Any]) -> Any:
        return await self.service.ask(who, method, request, answer)

    async def held(self) -> customer_pb2.Customer:
        request = customer_service_pb2.GetCustomerRequest(id=self.theirs)
        return await self.ask(self.who, CUSTOMERS + "GetCustomer", request, customer_pb2.Customer)

    async def met(self) -> contact_pb2.Contact:
        request = contact_service_pb2.GetContactRequest(id=self.contact)
        return await self.ask(self.who, CONTACTS + "GetContact", request, contact_pb2.Contact)

    async def edited(self, who: Principal, what: edits.BulkChange, ids: list[str]) -> edits.BulkEdit:
        request = edits.CreateBulkEditRequest(record_type="customer", ids=ids, change=what)
        return await self.ended((await self.ask(who, EDITS + "CreateBulkEdit", request, edits.BulkEdit)).id)

    async def ended(self, id: str) -> edits.BulkEdit:
        found: list[edits.BulkEdit] = []

        async def over() -> bool:
            request = edits.GetBulkEditRequest(id=id)
            found.append(await self.ask(self.who, EDITS + "GetBulkEdit", request, edits.BulkEdit))
            return found[-1].state in (edits.BULK_EDIT_STATE_SUCCEEDED, edits.BULK_EDIT_STATE_UNDONE)

        await eventually(over, 60)
        return found[-1]

    async def share(self) -> None:
        async with self.service.running.database.transaction(self.who) as tx:
            row = await tx.find(Customer, UUID(self.theirs))
            assert row is not None
            share_customer(tx, row, Grantee(PERSON, self.colleague.person_id), WRITE, None)


@pytest_asyncio.fixture(loop_scope="module")
async def shared(service: Harness) -> AsyncGenerator[Shared]:
    company = Shared(service)
    company.theirs = await company.customer("甲")
    request = contact_service_pb2.CreateContactRequest(
        contact=contact_pb2.Contact(customer_id=company.theirs, display_name="张三")
    )
    made = await company.ask(company.who, CONTACTS + "CreateContact", request, contact_pb2.Contact)
    company.contact = made.id
    await company.share()
    yield company


async def test_a_bulk_edit_takes_nothing_that_is_shared(shared: Shared) -> None:
    before = await shared.held()
    mine = await Company(shared.service, shared.colleague).customer("丙")
    what = edits.BulkChange(owner_id=COLLEAGUE.id, values=from_dict(Value, {"region": "华东"}))
    request = edits.PreviewBulkEditRequest(record_type="customer", ids=[shared.theirs], change=what)
    look = await shared.ask(
        shared.colleague, EDITS + "PreviewBulkEdit", request, edits.PreviewBulkEditResponse
    )
    assert [one.reason for one in look.records] == ["SHARED_ONLY"]
    done = await shared.edited(shared.colleague, what, [shared.theirs, mine])
    assert (done.changed_records, done.refused_records) == (1, 1)
    after, contact = await shared.held(), await shared.met()
    assert (after.owner_id, after.region, after.etag) == (before.owner_id, before.region, before.etag)
    assert contact.owner_id == str(shared.who.person_id)
    # Nor does it put such a customer into the trash.
    gone = await shared.edited(shared.colleague, edits.BulkChange(action="delete"), [shared.theirs, mine])
    assert (gone.changed_records, gone.refused_records) == (1, 1)
    assert (await shared.held()).etag == before.etag
    # What a share is for goes on.
    some = edits.BulkChange(values=from_dict(Value, {"region": "华东"}))
    assert (await shared.edited(shared.colleague, some, [shared.theirs])).changed_records == 1


async def test_an_undoing_takes_nothing_back_that_is_only_shared_by_now(shared: Shared) -> None:
    boss = replace(shared.who, person_id=UUID(COLLEAGUE.id))  # who may do everything, at first
    mine = await Company(shared.service, shared.colleague).customer("丁")
    given = await shared.edited(boss, edits.BulkChange(owner_id=str(shared.who.person_id)), [mine])
    assert given.changed_records == 1
    shared.theirs = mine
    await shared.share()
    undo = edits.UndoBulkEditRequest(id=given.id)
    await shared.ask(shared.colleague, EDITS + "UndoBulkEdit", undo, edits.BulkEdit)
    assert (await shared.ended(given.id)).kept_records == 1
    assert (await shared.held()).owner_id == str(shared.who.person_id)


async def test_a_contact_does_not_move_to_whom_its_customer_is_shared_with(shared: Shared) -> None:
    mine = await Company(shared.service, shared.colleague).customer("乙")

    def join(primary: bool, customer: str = mine) -> Any:
        request = contact_service_pb2.JoinCustomerRequest(
            id=shared.contact, affiliation=contact_pb2.Affiliation(customer_id=customer, primary=primary)
        )
        return shared.ask(shared.colleague, CONTACTS + "JoinCustomer", request, contact_pb2.Contact)

    await refused(Code.PERMISSION_DENIED, "SHARED_ONLY", join(True))
    contact = await shared.met()
    assert (contact.customer_id, contact.owner_id) == (shared.theirs, str(shared.who.person_id))
    await join(False)
    await join(True, shared.theirs)  # what it is where it is, a share lets him say
    assert [one.customer_id for one in (await shared.met()).affiliations] == [shared.theirs, mine]


async def test_an_update_names_no_owner(shared: Shared) -> None:
    for kind, record in (("customer", shared.theirs), ("contact", shared.contact)):
        messages: Any = customer_service_pb2 if kind == "customer" else contact_service_pb2
        row: Any = customer_pb2.Customer if kind == "customer" else contact_pb2.Contact
        title = kind.capitalize()
        request = getattr(messages, f"Update{title}Request")(
            **{kind: row(id=record, owner_id=COLLEAGUE.id, team_id=str(uuid4()))},
            update_mask=FieldMask(paths=["owner_id", "team_id"]),
        )
        method = f"kehu.customers.v1.{title}Service/Update{title}"
        asked = shared.ask(shared.colleague, method, request, row)
        await refused(Code.INVALID_ARGUMENT, "FIELD_NOT_WRITABLE", asked)
    assert (await shared.held()).owner_id == (await shared.met()).owner_id == str(shared.who.person_id)
