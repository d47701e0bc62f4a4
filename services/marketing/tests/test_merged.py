"""Customers that were merged, heard over the bus: members of campaigns follow, once in each campaign, and go back."""

from typing import Any
from uuid import UUID

import pytest
from google.protobuf.empty_pb2 import Empty
from kehu.customers.v1 import (
    customer_service_pb2,
    merge_pb2,
    merge_service_pb2,
    trash_pb2,
    trash_service_pb2,
)
from kehu.customfields.v1 import custom_fields_pb2 as fields
from kehu.leads.v1 import events_pb2 as leads
from kehu.marketing.v1 import campaign_member_pb2 as members_pb
from kehu.marketing.v1 import campaign_member_service_pb2 as members
from kehu.marketing.v1 import campaign_pb2 as pb
from kehu.marketing.v1 import campaign_service_pb2 as campaigns

from chassis.events.subscriptions import take_in
from chassis.testing import arriving, eventually, somebody
from marketing.listens import SUBSCRIPTIONS

pytestmark = pytest.mark.asyncio(loop_scope="module")
BOSS = somebody("merging")


async def _campaign(suite: Any, *customers: str) -> str:
    request = campaigns.CreateCampaignRequest(
        campaign=pb.Campaign(name="spring", channel=pb.CAMPAIGN_CHANNEL_EMAIL)
    )
    made = await suite.ask(BOSS, "CampaignService/CreateCampaign", request, pb.Campaign)
    for id in customers:
        member = members_pb.CampaignMember(campaign_id=made.id, customer_id=id)
        joining = members.CreateCampaignMemberRequest(campaign_member=member)
        await suite.ask(
            BOSS, "CampaignMemberService/CreateCampaignMember", joining, members_pb.CampaignMember
        )
    return made.id


async def _sponsored(suite: Any, customer: str) -> str:
    """A campaign whose sponsor, a field of the company's own, is that customer."""
    field = fields.CustomField(
        record_type="campaign", key="sponsor", label_en="Sponsor", kind=fields.CUSTOM_FIELD_KIND_REFERENCE,
        reference_type="customer",
    )  # fmt: skip
    adding = fields.CreateCustomFieldRequest(custom_field=field)
    await suite.ask(BOSS, "CustomFieldService/CreateCustomField", adding, fields.CustomField)
    campaign = pb.Campaign(name="sponsored", channel=pb.CAMPAIGN_CHANNEL_EMAIL)
    campaign.custom_fields["sponsor"].string_value = customer
    request = campaigns.CreateCampaignRequest(campaign=campaign)
    return (await suite.ask(BOSS, "CampaignService/CreateCampaign", request, pb.Campaign)).id


async def _sponsor(suite: Any, campaign: str) -> str:
    request = campaigns.GetCampaignRequest(id=campaign)
    found = await suite.ask(BOSS, "CampaignService/GetCampaign", request, pb.Campaign)
    return found.custom_fields["sponsor"].string_value


async def _members(suite: Any, campaign: str) -> set[tuple[str, str]]:
    request = members.ListCampaignMembersRequest(filter=f'campaignId = "{campaign}"')
    page = await suite.ask(
        BOSS, "CampaignMemberService/ListCampaignMembers", request, members.ListCampaignMembersResponse
    )
    return {(one.customer_id, one.display_name) for one in page.campaign_members}


async def test_members_follow_and_go_back(suite: Any) -> None:
    one, two = [(await suite.customer(BOSS, name)).id for name in ("One", "Two")]
    both, only = await _campaign(suite, one, two), await _campaign(suite, two)
    sponsored = await _sponsored(suite, two)
    merging = merge_service_pb2.MergeCustomersRequest(id=one, merged_ids=[two])
    merge = await suite.customers.ask(
        BOSS, "kehu.customers.v1.MergeService/MergeCustomers", merging, merge_pb2.Merge
    )

    async def merged() -> bool:
        there = [await _members(suite, campaign) for campaign in (both, only)]
        return there == [{(one, "One")}, {(one, "One")}] and await _sponsor(suite, sponsored) == one

    await eventually(merged)
    undoing = merge_service_pb2.UndoMergeRequest(id=merge.id)
    await suite.customers.ask(BOSS, "kehu.customers.v1.MergeService/UndoMerge", undoing, merge_pb2.Merge)

    async def undone() -> bool:
        there = [await _members(suite, campaign) for campaign in (both, only)]
        back = there == [{(one, "One"), (two, "Two")}, {(two, "Two")}]
        return back and await _sponsor(suite, sponsored) == two

    await eventually(undone)


async def test_members_come_back_with_their_customer(suite: Any) -> None:
    one = (await suite.customer(BOSS, "One")).id
    campaign = await _campaign(suite, one)
    deleting = customer_service_pb2.DeleteCustomerRequest(id=one)
    await suite.customers.ask(BOSS, "kehu.customers.v1.CustomerService/DeleteCustomer", deleting, Empty)

    async def gone() -> bool:
        return await _members(suite, campaign) == set()

    await eventually(gone)
    restoring = trash_service_pb2.RestoreTrashItemRequest(id=one)
    await suite.customers.ask(
        BOSS, "kehu.customers.v1.TrashService/RestoreTrashItem", restoring, trash_pb2.TrashItem
    )

    async def there() -> bool:
        return await _members(suite, campaign) == {(one, "One")}

    await eventually(there)


async def test_what_is_heard_behind_what_came_later_does_not_stick(suite: Any) -> None:
    lead, customer = await suite.lead(BOSS, name="A"), (await suite.customer(BOSS, "One")).id
    campaign = await _campaign(suite)
    joining = members.CreateCampaignMemberRequest(
        campaign_member=members_pb.CampaignMember(campaign_id=campaign, lead_id=lead.id)
    )
    await suite.ask(BOSS, "CampaignMemberService/CreateCampaignMember", joining, members_pb.CampaignMember)

    async def hear(event: Any, version: int) -> set[tuple[str, str]]:
        told = arriving(SUBSCRIPTIONS, event, BOSS, record_id=UUID(lead.id), version=version)
        await take_in(suite.marketing.running.database, "marketing", [told])
        return await _members(suite, campaign)

    attached = leads.LeadDisqualified(
        lead_id=lead.id, lead=leads.LeadSnapshot(duplicate_of_customer_id=customer)
    )
    assert await hear(attached, 13) == {(customer, "A")}
    assert await hear(leads.LeadReopened(lead_id=lead.id), 14) == {("", "A")}
    assert await hear(attached, 13) == {("", "A")}
    named = leads.LeadUpdated(lead_id=lead.id, lead=leads.LeadSnapshot(name="C"), changed_fields=["name"])
    assert await hear(named, 16) == {("", "C")}
    named.lead.name = "B"
    assert await hear(named, 15) == {("", "C")}
