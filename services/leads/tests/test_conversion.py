"""Conversions beside the real customers service: whole, once, within the caller's rights, taken back when refused."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from google.protobuf.field_mask_pb2 import FieldMask
from kehu.customers.v1 import contact_pb2, contact_service_pb2, customer_pb2, customer_service_pb2
from kehu.leads.v1 import conversion_pb2, customer_facet_pb2, lead_pb2, lead_service_pb2

from chassis.errors import Code, Problem
from chassis.ids import new_id
from chassis.principal import Principal, Reach, Rights
from chassis.testing import EVERYTHING, DatabaseUrls, Harness, Keys, eventually, running_service, somebody
from customers.service import SERVICE as CUSTOMERS
from leads.conversion import Conversion, begin, carry_on
from leads.lead import Lead
from leads.rpc.peers import Suite
from leads.service import SERVICE

pytestmark = pytest.mark.asyncio(loop_scope="module")
BOSS = somebody("acme")


@dataclass(frozen=True)
class Both:
    """Leads, and the customers service that it reaches."""

    leads: Harness
    customers: Harness

    async def lead(self, **fields: Any) -> lead_pb2.Lead:
        request = lead_service_pb2.CreateLeadRequest(lead=lead_pb2.Lead(**fields))
        return await self.leads.ask(BOSS, "kehu.leads.v1.LeadService/CreateLead", request, lead_pb2.Lead)

    async def lead_now(self, id: str) -> lead_pb2.Lead:
        request = lead_service_pb2.GetLeadRequest(id=id)
        return await self.leads.ask(BOSS, "kehu.leads.v1.LeadService/GetLead", request, lead_pb2.Lead)

    async def convert(self, who: Principal, id: str, **fields: Any) -> conversion_pb2.Conversion:
        request = lead_service_pb2.ConvertLeadRequest(id=id, **fields)
        method = "kehu.leads.v1.LeadService/ConvertLead"
        return await self.leads.ask(who, method, request, conversion_pb2.Conversion)

    async def conversion(self, id: str) -> conversion_pb2.Conversion:
        request = lead_service_pb2.GetConversionRequest(id=id)
        method = "kehu.leads.v1.LeadService/GetConversion"
        return await self.leads.ask(BOSS, method, request, conversion_pb2.Conversion)

    async def new_customer(self, name: str) -> customer_pb2.Customer:
        request = customer_service_pb2.CreateCustomerRequest(
            customer=customer_pb2.Customer(display_name=name)
        )
        method = "kehu.customers.v1.CustomerService/CreateCustomer"
        return await self.customers.ask(BOSS, method, request, customer_pb2.Customer)

    async def customer(self, id: str) -> customer_pb2.Customer:
        request = customer_service_pb2.GetCustomerRequest(id=id)
        method = "kehu.customers.v1.CustomerService/GetCustomer"
        return await self.customers.ask(BOSS, method, request, customer_pb2.Customer)

    async def contacts(self, customer_id: str) -> list[contact_pb2.Contact]:
        request = contact_service_pb2.ListContactsRequest(filter=f'customerId = "{customer_id}"')
        method = "kehu.customers.v1.ContactService/ListContacts"
        answer = await self.customers.ask(BOSS, method, request, contact_service_pb2.ListContactsResponse)
        return list(answer.contacts)

    async def begun(self, lead_id: str, **plan: Any) -> Conversion:
        """A conversion that has begun and whose call has died; `plan` overrides what is to be made."""
        async with self.leads.running.database.transaction(BOSS) as tx:
            lead = await tx.get(Lead, UUID(lead_id), right="leads")
            begun = await begin(
                tx, lead, id=new_id(), customer_id=None, contact_id=None, opportunity=None, asked=""
            )
            begun.plan = {**begun.plan, **plan}
        return begun

    async def carry_on(self, conversion: Conversion) -> None:
        running = self.leads.running
        await carry_on(running.database, BOSS, conversion.id, Suite(running.call(BOSS)))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def both(
    service_database: Callable[[str], DatabaseUrls], nats_url: str, keys: Keys
) -> AsyncGenerator[Both]:
    async with (
        running_service(CUSTOMERS, service_database("customers"), nats_url, keys) as customers,
        running_service(
            SERVICE, service_database("leads"), nats_url, keys,
            addresses={"customers": f"127.0.0.1:{customers.running.port}"},
        ) as leads,
    ):  # fmt: skip
        yield Both(leads, customers)


async def refused(code: Code, reason: str, call: Awaitable[Any]) -> Problem:
    with pytest.raises(Problem) as caught:
        await call
    assert (caught.value.code, caught.value.reason) == (code, reason)
    return caught.value


async def test_a_lead_becomes_a_customer_and_a_contact_once(both: Both) -> None:
    lead = await both.lead(name="张三", company_name="Whole Ltd", phone="13800000000", email="a@b.cn")
    done = await both.convert(BOSS, lead.id, request_id="whole")
    assert done.state == conversion_pb2.CONVERSION_STATE_SUCCEEDED, done
    assert await both.convert(BOSS, lead.id, request_id="whole") == done == await both.conversion(done.id)
    customer = await both.customer(done.customer_id)
    assert (customer.display_name, customer.origin_lead_id) == ("Whole Ltd", lead.id)
    assert customer.owner_id == str(BOSS.person_id)
    [contact] = await both.contacts(customer.id)
    assert (contact.id, contact.display_name, contact.primary) == (done.contact_id, "张三", True)
    now = await both.lead_now(lead.id)
    assert (now.status, now.customer_id) == (lead_pb2.LEAD_STATUS_CONVERTED, customer.id)
    facet = await both.leads.ask(
        BOSS,
        "kehu.leads.v1.CustomerFacetService/GetCustomerFacet",
        customer_facet_pb2.GetCustomerFacetRequest(customer_id=customer.id),
        customer_facet_pb2.CustomerFacet,
    )
    assert [one.id for one in facet.leads] == [lead.id] and facet.lead_count == 1
    await refused(Code.FAILED_PRECONDITION, "LEAD_NOT_CONVERTIBLE", both.convert(BOSS, lead.id))


async def test_a_request_id_is_not_used_for_something_else(both: Both) -> None:
    lead = await both.lead(name="Once", company_name="Once Ltd")
    await both.convert(BOSS, lead.id, request_id="once")
    customer = await both.new_customer("Another")
    other = both.convert(BOSS, lead.id, request_id="once", customer_id=customer.id)
    await refused(Code.ALREADY_EXISTS, "IDEMPOTENCY_KEY_REUSED", other)


async def test_the_same_request_twice_at_once_is_one_conversion(both: Both) -> None:
    lead = await both.lead(name="Twice", company_name="Twice Ltd")
    answers = await asyncio.gather(
        *(both.convert(BOSS, lead.id, request_id="twice", etag=lead.etag) for _ in range(4))
    )
    assert len({answer.id for answer in answers}) == len({answer.customer_id for answer in answers}) == 1
    assert len(await both.contacts(answers[0].customer_id)) == 1


async def test_a_customer_one_may_only_read_is_not_joined(both: Both) -> None:
    customer = await both.new_customer("Somebody else's")
    lead = await both.lead(name="Joins", company_name="Joins Ltd")
    for write in (Reach.NONE, Reach.OWN, Reach.TEAM):
        reader = replace(
            somebody("acme"), rights={**EVERYTHING, "customers": Rights(read=Reach.ALL, write=write)}
        )
        joining = both.convert(reader, lead.id, customer_id=customer.id)
        problem = await refused(Code.INVALID_ARGUMENT, "CUSTOMER_NOT_FOUND", joining)
        assert problem.violations[0].field == "customerId"
    assert await both.contacts(customer.id) == []
    assert (await both.lead_now(lead.id)).status == lead_pb2.LEAD_STATUS_NEW
    joined = await both.convert(BOSS, lead.id, customer_id=customer.id)
    assert (joined.customer_existed, joined.customer_id) == (True, customer.id)
    assert [contact.id for contact in await both.contacts(customer.id)] == [joined.contact_id]


async def test_a_contact_of_another_customer_is_not_joined(both: Both) -> None:
    lead = await both.lead(name="First", company_name="First Ltd")
    first = await both.convert(BOSS, lead.id)
    second = await both.new_customer("Second Ltd")
    again = await both.lead(name="First")
    for contact_id in (first.contact_id, str(new_id())):
        joining = both.convert(BOSS, again.id, customer_id=second.id, contact_id=contact_id)
        problem = await refused(Code.INVALID_ARGUMENT, "CONTACT_NOT_FOUND", joining)
        assert problem.violations[0].field == "contactId"
    joined = await both.convert(BOSS, again.id, customer_id=first.customer_id, contact_id=first.contact_id)
    assert joined.state == conversion_pb2.CONVERSION_STATE_SUCCEEDED
    assert len(await both.contacts(first.customer_id)) == 1


async def test_what_is_not_installed_locks_no_lead(both: Both) -> None:
    lead = await both.lead(name="Wants more", company_name="More Ltd")
    wanted = both.convert(BOSS, lead.id, opportunity=lead_service_pb2.ConversionOpportunity(name="Deal"))
    await refused(Code.UNAVAILABLE, "MODULE_NOT_INSTALLED", wanted)
    assert (await both.lead_now(lead.id)).status == lead_pb2.LEAD_STATUS_NEW


async def test_a_conversion_whose_call_died_is_carried_on_by_its_job(both: Both) -> None:
    lead = await both.lead(name="Died", company_name="Died Ltd")
    begun = await both.begun(lead.id)
    # The call has made the customer and then died: the job must not make a second one.
    await Suite(both.leads.running.call(BOSS)).make_customer(begun)

    async def ended() -> bool:
        return (await both.conversion(str(begun.id))).state == conversion_pb2.CONVERSION_STATE_SUCCEEDED

    await eventually(ended, 20)
    assert (await both.lead_now(lead.id)).customer_id == str(begun.customer_id)
    assert len(await both.contacts(str(begun.customer_id))) == 1


async def test_a_refused_step_takes_back_what_was_made(both: Both) -> None:
    lead = await both.lead(name="Refused", company_name="Refused Ltd")
    begun = await both.begun(lead.id, title="x" * 101)  # longer than customers lets a contact's title be
    await both.carry_on(begun)
    failed = await both.conversion(str(begun.id))
    assert failed.state == conversion_pb2.CONVERSION_STATE_FAILED and failed.failure_reason
    assert failed.HasField("end_time")
    await refused(Code.NOT_FOUND, "NOT_FOUND", both.customer(str(begun.customer_id)))
    now = await both.lead_now(lead.id)
    assert (now.status, now.customer_id) == (lead_pb2.LEAD_STATUS_NEW, "")
    assert (await both.convert(BOSS, lead.id)).state == conversion_pb2.CONVERSION_STATE_SUCCEEDED


async def test_what_somebody_has_touched_stays(both: Both) -> None:
    lead = await both.lead(name="Touched", company_name="Touched Ltd")
    begun = await both.begun(lead.id)
    suite = Suite(both.leads.running.call(BOSS))
    await suite.make_customer(begun)
    await suite.make_contact(begun)
    await both.customers.ask(
        BOSS,
        "kehu.customers.v1.ContactService/UpdateContact",
        contact_service_pb2.UpdateContactRequest(
            contact=contact_pb2.Contact(id=str(begun.contact_id), title="CEO"),
            update_mask=FieldMask(paths=["title"]),
        ),
        contact_pb2.Contact,
    )
    await suite.take_back(begun)
    [contact] = await both.contacts(str(begun.customer_id))
    assert contact.title == "CEO"
    assert (await both.customer(str(begun.customer_id))).display_name == "Touched Ltd"
