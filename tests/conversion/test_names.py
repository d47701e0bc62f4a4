"""Customers that are renamed, and leads that join customers: sales shows the right names and finds by them."""

from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from kehu.customers.v1 import customer_pb2, customer_service_pb2
from kehu.sales.v1 import activity_pb2, activity_service_pb2, opportunity_pb2, opportunity_service_pb2

from chassis.testing import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")
_ACTIVITIES = "kehu.sales.v1.ActivityService/"


async def activity_now(suites: Any, id: str) -> activity_pb2.Activity:
    request = activity_service_pb2.GetActivityRequest(id=id)
    return await suites.sales.ask(suites.boss, _ACTIVITIES + "GetActivity", request, activity_pb2.Activity)


async def opportunity(suites: Any, name: str, customer_id: str) -> opportunity_pb2.Opportunity:
    request = opportunity_service_pb2.CreateOpportunityRequest(
        opportunity=opportunity_pb2.Opportunity(name=name, customer_id=customer_id)
    )
    method = "kehu.sales.v1.OpportunityService/CreateOpportunity"
    return await suites.sales.ask(suites.boss, method, request, opportunity_pb2.Opportunity)


async def found(suites: Any, query: str) -> tuple[list[str], list[str]]:
    """The ids of the opportunities and the activities that are found by these words."""
    deals = await suites.sales.ask(
        suites.boss,
        "kehu.sales.v1.OpportunityService/ListOpportunities",
        opportunity_service_pb2.ListOpportunitiesRequest(query=query),
        opportunity_service_pb2.ListOpportunitiesResponse,
    )
    calls = await suites.sales.ask(
        suites.boss,
        _ACTIVITIES + "ListActivities",
        activity_service_pb2.ListActivitiesRequest(query=query),
        activity_service_pb2.ListActivitiesResponse,
    )
    return [one.id for one in deals.opportunities], [one.id for one in calls.activities]


async def test_a_renamed_customer_is_shown_and_found_by_its_new_name(suites: Any) -> None:
    customer = await suites.new_customer("旧名字公司")
    deal = await opportunity(suites, "Deal one", customer.id)
    call = await suites.activity(customer_id=customer.id)
    assert await found(suites, "jmz") == ([deal.id], [call.id])
    request = customer_service_pb2.UpdateCustomerRequest(
        customer=customer_pb2.Customer(id=customer.id, display_name="新华科技"),
        update_mask=FieldMask(paths=["display_name"]),
    )
    await suites.customers.ask(
        suites.boss, "kehu.customers.v1.CustomerService/UpdateCustomer", request, customer_pb2.Customer
    )

    async def renamed() -> bool:
        return (await activity_now(suites, call.id)).customer_name == "新华科技"

    await eventually(renamed)
    assert await found(suites, "xhkj") == ([deal.id], [call.id])
    assert await found(suites, "Deal 新华") == ([deal.id], [])
    assert await found(suites, "旧名字") == ([], [])
    [now] = await suites.opportunities(customer.id)
    # Nobody has changed the opportunity: who has read it may still write it.
    assert (now.customer_name, now.etag, now.update_time) == ("新华科技", deal.etag, deal.update_time)


async def test_the_activities_of_a_lead_that_joins_a_customer(suites: Any) -> None:
    customer = await suites.new_customer("Known before")
    lead = await suites.lead(name="Somebody", company_name="As the lead wrote it")
    call = await suites.activity(lead_id=lead.id)
    done = await suites.convert(suites.boss, lead.id, customer_id=customer.id)
    assert done.customer_existed

    async def named() -> bool:
        now = await activity_now(suites, call.id)
        return (now.customer_id, now.customer_name) == (customer.id, "Known before")

    await eventually(named)
    assert await found(suites, "known bef") == ([], [call.id])
    assert await found(suites, "wrote") == ([], [])
