"""Conversions beside the real customers and sales: whole, once, within the caller's rights, taken back when refused."""

import asyncio
from collections.abc import Awaitable
from dataclasses import replace
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.type.date_pb2 import Date
from google.type.money_pb2 import Money
from kehu.customers.v1 import contact_pb2, contact_service_pb2
from kehu.leads.v1 import conversion_pb2, customer_facet_pb2, lead_pb2, lead_service_pb2
from kehu.sales.v1 import activity_pb2, activity_service_pb2, opportunity_pb2, opportunity_service_pb2

from chassis.errors import Code, Problem
from chassis.ids import new_id
from chassis.principal import Reach, Rights
from chassis.testing import EVERYTHING, eventually, somebody
from leads.conversion import Conversion
from leads.rpc.peers import Suite

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def refused(code: Code, reason: str, call: Awaitable[Any]) -> Problem:
    with pytest.raises(Problem) as caught:
        await call
    assert (caught.value.code, caught.value.reason) == (code, reason)
    return caught.value


async def test_a_lead_becomes_a_customer_and_a_contact_once(suites: Any) -> None:
    lead = await suites.lead(name="张三", company_name="Whole Ltd", phone="13800000000", email="a@b.cn")
    done = await suites.convert(suites.boss, lead.id, request_id="whole")
    assert done.state == conversion_pb2.CONVERSION_STATE_SUCCEEDED, done
    assert (
        await suites.convert(suites.boss, lead.id, request_id="whole")
        == done
        == await suites.conversion(done.id)
    )
    customer = await suites.customer(done.customer_id)
    assert (customer.display_name, customer.origin_lead_id) == ("Whole Ltd", lead.id)
    assert customer.owner_id == str(suites.boss.person_id)
    [contact] = await suites.contacts(customer.id)
    assert (contact.id, contact.display_name, contact.primary) == (done.contact_id, "张三", True)
    now = await suites.lead_now(lead.id)
    assert (now.status, now.customer_id) == (lead_pb2.LEAD_STATUS_CONVERTED, customer.id)
    facet = await suites.leads.ask(
        suites.boss,
        "kehu.leads.v1.CustomerFacetService/GetCustomerFacet",
        customer_facet_pb2.GetCustomerFacetRequest(customer_id=customer.id),
        customer_facet_pb2.CustomerFacet,
    )
    assert [one.id for one in facet.leads] == [lead.id] and facet.lead_count == 1
    await refused(Code.FAILED_PRECONDITION, "LEAD_NOT_CONVERTIBLE", suites.convert(suites.boss, lead.id))


async def test_a_lead_without_company_becomes_a_consumer_with_its_account(suites: Any) -> None:
    lead = await suites.lead(name="李四", im_account="wx-lisi")
    done = await suites.convert(suites.boss, lead.id)
    customer = await suites.customer(done.customer_id)
    assert [one.account for one in customer.accounts] == ["wx-lisi"]


async def test_a_request_id_is_not_used_for_something_else(suites: Any) -> None:
    lead = await suites.lead(name="Once", company_name="Once Ltd")
    await suites.convert(suites.boss, lead.id, request_id="once")
    customer = await suites.new_customer("Another")
    other = suites.convert(suites.boss, lead.id, request_id="once", customer_id=customer.id)
    await refused(Code.ALREADY_EXISTS, "IDEMPOTENCY_KEY_REUSED", other)


async def test_the_same_request_twice_at_once_is_one_conversion(suites: Any) -> None:
    lead = await suites.lead(name="Twice", company_name="Twice Ltd")
    answers = await asyncio.gather(
        *(suites.convert(suites.boss, lead.id, request_id="twice", etag=lead.etag) for _ in range(4))
    )
    assert len({answer.id for answer in answers}) == len({answer.customer_id for answer in answers}) == 1
    assert len(await suites.contacts(answers[0].customer_id)) == 1


async def test_a_customer_one_may_only_read_is_not_joined(suites: Any) -> None:
    customer = await suites.new_customer("Somebody else's")
    lead = await suites.lead(name="Joins", company_name="Joins Ltd")
    for write in (Reach.NONE, Reach.OWN, Reach.TEAM):
        reader = replace(
            somebody("acme"), rights={**EVERYTHING, "customers": Rights(read=Reach.ALL, write=write)}
        )
        joining = suites.convert(reader, lead.id, customer_id=customer.id)
        problem = await refused(Code.INVALID_ARGUMENT, "CUSTOMER_NOT_FOUND", joining)
        assert problem.violations[0].field == "customerId"
    assert await suites.contacts(customer.id) == []
    assert (await suites.lead_now(lead.id)).status == lead_pb2.LEAD_STATUS_NEW
    joined = await suites.convert(suites.boss, lead.id, customer_id=customer.id)
    assert (joined.customer_existed, joined.customer_id) == (True, customer.id)
    assert [contact.id for contact in await suites.contacts(customer.id)] == [joined.contact_id]


async def test_a_contact_of_another_customer_is_not_joined(suites: Any) -> None:
    lead = await suites.lead(name="First", company_name="First Ltd")
    first = await suites.convert(suites.boss, lead.id)
    second = await suites.new_customer("Second Ltd")
    again = await suites.lead(name="First")
    for contact_id in (first.contact_id, str(new_id())):
        joining = suites.convert(suites.boss, again.id, customer_id=second.id, contact_id=contact_id)
        problem = await refused(Code.INVALID_ARGUMENT, "CONTACT_NOT_FOUND", joining)
        assert problem.violations[0].field == "contactId"
    joined = await suites.convert(
        suites.boss, again.id, customer_id=first.customer_id, contact_id=first.contact_id
    )
    assert joined.state == conversion_pb2.CONVERSION_STATE_SUCCEEDED
    assert len(await suites.contacts(first.customer_id)) == 1


async def test_a_conversion_whose_call_died_is_carried_on_by_its_job(suites: Any) -> None:
    lead = await suites.lead(name="Died", company_name="Died Ltd")
    begun = await suites.begun(lead.id)
    # The call has made the customer and then died: the job must not make a second one.
    await Suite(suites.leads.running.call(suites.boss)).make_customer(begun)

    async def ended() -> bool:
        return (await suites.conversion(str(begun.id))).state == conversion_pb2.CONVERSION_STATE_SUCCEEDED

    await eventually(ended, 20)
    assert (await suites.lead_now(lead.id)).customer_id == str(begun.customer_id)
    assert len(await suites.contacts(str(begun.customer_id))) == 1


async def test_a_refused_step_takes_back_what_was_made(suites: Any) -> None:
    lead = await suites.lead(name="Refused", company_name="Refused Ltd")
    begun = await suites.begun(lead.id, title="x" * 101)  # longer than customers lets a contact's title be
    await suites.carry_on(begun)
    failed = await suites.conversion(str(begun.id))
    assert failed.state == conversion_pb2.CONVERSION_STATE_FAILED and failed.failure_reason
    assert failed.HasField("end_time")
    await refused(Code.NOT_FOUND, "NOT_FOUND", suites.customer(str(begun.customer_id)))
    now = await suites.lead_now(lead.id)
    assert (now.status, now.customer_id) == (lead_pb2.LEAD_STATUS_NEW, "")
    assert (await suites.convert(suites.boss, lead.id)).state == conversion_pb2.CONVERSION_STATE_SUCCEEDED


async def test_what_somebody_has_touched_stays(suites: Any) -> None:
    lead = await suites.lead(name="Touched", company_name="Touched Ltd")
    begun = await suites.begun(lead.id)
    suite = Suite(suites.leads.running.call(suites.boss))
    await suite.make_customer(begun)
    await suite.make_contact(begun)
    await suites.customers.ask(
        suites.boss,
        "kehu.customers.v1.ContactService/UpdateContact",
        contact_service_pb2.UpdateContactRequest(
            contact=contact_pb2.Contact(id=str(begun.contact_id), title="CEO"),
            update_mask=FieldMask(paths=["title"]),
        ),
        contact_pb2.Contact,
    )
    await suite.take_back(begun)
    [contact] = await suites.contacts(str(begun.customer_id))
    assert contact.title == "CEO"
    assert (await suites.customer(str(begun.customer_id))).display_name == "Touched Ltd"


async def test_a_lead_becomes_an_opportunity_too(suites: Any) -> None:
    lead = await suites.lead(
        name="李四", company_name="Chance Ltd", estimated_amount=Money(currency_code="CNY", units=900)
    )
    planned = await suites.activity(lead_id=lead.id)
    wanted = lead_service_pb2.ConversionOpportunity(
        name="First deal",
        amount=Money(currency_code="USD", units=1200, nanos=500_000_000),
        expected_close_date=Date(year=2027, month=3, day=31),
    )
    done = await suites.convert(suites.boss, lead.id, opportunity=wanted, request_id="chance")
    assert done.state == conversion_pb2.CONVERSION_STATE_SUCCEEDED, done
    assert await suites.convert(suites.boss, lead.id, opportunity=wanted, request_id="chance") == done
    [made] = await suites.opportunities(done.customer_id)
    assert (made.id, made.name, made.customer_name) == (done.opportunity_id, "First deal", "Chance Ltd")
    assert (made.contact_id, made.origin_lead_id, made.owner_id) == (
        done.contact_id, lead.id, str(suites.boss.person_id),
    )  # fmt: skip
    assert made.amount == Money(currency_code="USD", units=1200, nanos=500_000_000)
    assert (made.expected_close_date, made.stage_name) == (Date(year=2027, month=3, day=31), "Prospecting")
    assert (await suites.lead_now(lead.id)).opportunity_id == made.id

    async def followed() -> bool:
        request = activity_service_pb2.GetActivityRequest(id=planned.id)
        method = "kehu.sales.v1.ActivityService/GetActivity"
        now = await suites.sales.ask(suites.boss, method, request, activity_pb2.Activity)
        return now.customer_id == done.customer_id

    await eventually(followed)
    poor = await suites.lead(company_name="Poor Ltd", estimated_amount=Money(currency_code="CNY", units=900))
    done = await suites.convert(suites.boss, poor.id, opportunity=lead_service_pb2.ConversionOpportunity())
    [made] = await suites.opportunities(done.customer_id)
    assert (made.name, made.amount.units, made.contact_id) == ("Poor Ltd", 900, "")


async def test_an_opportunity_that_is_refused_takes_all_back(suites: Any) -> None:
    lead = await suites.lead(name="Back", company_name="Back Ltd")
    await suites.leads.ask(
        suites.boss,
        "kehu.leads.v1.LeadService/ContactLead",
        lead_service_pb2.ContactLeadRequest(id=lead.id),
        lead_pb2.Lead,
    )
    wanted = lead_service_pb2.ConversionOpportunity(product_id=str(new_id()))
    failed = await suites.convert(suites.boss, lead.id, opportunity=wanted, request_id="back")
    assert failed.state == conversion_pb2.CONVERSION_STATE_FAILED
    assert failed.failure_reason == "PRODUCT_NOT_FOUND" and failed.failure_message
    assert await suites.convert(suites.boss, lead.id, opportunity=wanted, request_id="back") == failed
    await refused(Code.NOT_FOUND, "NOT_FOUND", suites.customer(failed.customer_id))
    assert await suites.contacts(failed.customer_id) == []
    assert (await suites.lead_now(lead.id)).status == lead_pb2.LEAD_STATUS_CONTACTED
    again = await suites.convert(suites.boss, lead.id, request_id="back-2")
    assert again.state == conversion_pb2.CONVERSION_STATE_SUCCEEDED


async def test_what_others_added_keeps_all_that_was_made(suites: Any) -> None:
    """Undoing would take away what somebody works with already."""

    async def colleague(begun: Conversion) -> None:
        request = contact_service_pb2.CreateContactRequest(
            contact=contact_pb2.Contact(customer_id=str(begun.customer_id), display_name="Somebody else")
        )
        method = "kehu.customers.v1.ContactService/CreateContact"
        await suites.customers.ask(suites.boss, method, request, contact_pb2.Contact)

    async def plans_a_call(begun: Conversion) -> None:
        await suites.activity(customer_id=str(begun.customer_id))

    async def calls_about_it(begun: Conversion) -> None:
        await suites.activity(opportunity_id=str(begun.opportunity_id))

    async def deals(begun: Conversion) -> None:
        request = opportunity_service_pb2.CreateOpportunityRequest(
            opportunity=opportunity_pb2.Opportunity(name="Another", customer_id=str(begun.customer_id))
        )
        method = "kehu.sales.v1.OpportunityService/CreateOpportunity"
        await suites.sales.ask(suites.boss, method, request, opportunity_pb2.Opportunity)

    for number, touch in enumerate((colleague, plans_a_call, calls_about_it, deals)):
        lead = await suites.lead(name="Kept", company_name=f"Kept {number}")
        begun = await suites.begun(lead.id, opportunity={"name": "Kept"})
        suite = Suite(suites.leads.running.call(suites.boss))
        await suite.make_customer(begun)
        await suite.make_contact(begun)
        await suite.make_opportunity(begun)
        await touch(begun)
        before = await suites.contacts(str(begun.customer_id))
        await suite.take_back(begun)
        assert (await suites.customer(str(begun.customer_id))).display_name == f"Kept {number}"
        assert await suites.contacts(str(begun.customer_id)) == before
        # An opportunity that nobody has touched goes all the same.
        left = {one.id for one in await suites.opportunities(str(begun.customer_id))}
        assert (str(begun.opportunity_id) in left) == (touch is not colleague)


async def test_only_the_opportunity_goes_from_a_customer_that_was_there(suites: Any) -> None:
    customer = await suites.new_customer("There before")
    lead = await suites.lead(name="Joins", company_name="Joins")
    wanted = lead_service_pb2.ConversionOpportunity(stage_id=str(new_id()))
    failed = await suites.convert(suites.boss, lead.id, customer_id=customer.id, opportunity=wanted)
    assert (failed.state, failed.failure_reason) == (
        conversion_pb2.CONVERSION_STATE_FAILED, "STAGE_NOT_FOUND",
    )  # fmt: skip
    assert (await suites.customer(customer.id)).etag == customer.etag
    assert await suites.contacts(customer.id) == await suites.opportunities(customer.id) == []
