"""Leads beside real customers and marketing, each hearing what the others tell."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest_asyncio
from google.protobuf.message import Message
from kehu.customers.v1 import contact_pb2, contact_service_pb2, customer_pb2, customer_service_pb2
from kehu.leads.v1 import (
    assignment_pb2,
    assignment_service_pb2,
    cleaning_service_pb2,
    lead_pb2,
    lead_service_pb2,
)
from kehu.marketing.v1 import (
    campaign_member_pb2,
    campaign_member_service_pb2,
    campaign_pb2,
    campaign_service_pb2,
)

from chassis.principal import Principal
from chassis.testing import DatabaseUrls, Harness, Keys, running_service
from customers.service import SERVICE as CUSTOMERS
from leads.service import SERVICE as LEADS
from marketing.service import SERVICE as MARKETING


@dataclass
class Suite:
    """Three services, and what somebody does with them."""

    leads: Harness
    customers: Harness
    marketing: Harness

    async def ask(self, who: Principal | None, method: str, request: Message, answer: Any) -> Any:
        """`LeadService/GetLead` of leads."""
        return await self.leads.ask(who, f"kehu.leads.v1.{method}", request, answer)

    async def lead(self, who: Principal, **fields: Any) -> lead_pb2.Lead:
        request = lead_service_pb2.CreateLeadRequest(lead=lead_pb2.Lead(**fields))
        return await self.ask(who, "LeadService/CreateLead", request, lead_pb2.Lead)

    async def now(self, who: Principal, id: str) -> lead_pb2.Lead:
        request = lead_service_pb2.GetLeadRequest(id=id)
        return await self.ask(who, "LeadService/GetLead", request, lead_pb2.Lead)

    async def leads_of(self, who: Principal, filter: str = "") -> list[lead_pb2.Lead]:
        request = lead_service_pb2.ListLeadsRequest(filter=filter, page_size=200)
        answer = await self.ask(who, "LeadService/ListLeads", request, lead_service_pb2.ListLeadsResponse)
        return list(answer.leads)

    async def capture(
        self, who: Principal, request_id: str, answers: Any = (), lead_id: str = "", **fields: Any
    ) -> lead_pb2.Lead:
        request = lead_service_pb2.CaptureLeadRequest(
            lead=lead_pb2.Lead(**fields), request_id=request_id, answers=answers, lead_id=lead_id
        )
        return await self.ask(who, "LeadService/CaptureLead", request, lead_pb2.Lead)

    async def captures(self, who: Principal, id: str) -> list[lead_pb2.LeadCapture]:
        request = lead_service_pb2.ListLeadCapturesRequest(lead_id=id)
        answer = await self.ask(
            who, "LeadService/ListLeadCaptures", request, lead_service_pb2.ListLeadCapturesResponse
        )
        return list(answer.captures)

    async def handling(self, who: Principal, **values: Any) -> None:
        request = assignment_service_pb2.UpdateLeadHandlingRequest(
            handling=assignment_pb2.LeadHandling(**values)
        )
        request.update_mask.paths.extend(values)
        await self.ask(who, "AssignmentService/UpdateLeadHandling", request, assignment_pb2.LeadHandling)

    async def findings(
        self, who: Principal, filter: str = ""
    ) -> cleaning_service_pb2.ListCleaningFindingsResponse:
        request = cleaning_service_pb2.ListCleaningFindingsRequest(filter=filter, page_size=50)
        return await self.ask(
            who, "CleaningService/ListCleaningFindings", request, cleaning_service_pb2.ListCleaningFindingsResponse
        )  # fmt: skip

    async def clean(self, who: Principal, *steps: Any) -> list[cleaning_service_pb2.CleaningOutcome]:
        request = cleaning_service_pb2.CleanLeadsRequest(steps=steps)
        answer = await self.ask(
            who, "CleaningService/CleanLeads", request, cleaning_service_pb2.CleanLeadsResponse
        )
        return list(answer.outcomes)

    async def customer(self, who: Principal, name: str, **fields: Any) -> customer_pb2.Customer:
        request = customer_service_pb2.CreateCustomerRequest(
            customer=customer_pb2.Customer(display_name=name, **fields)
        )
        method = "kehu.customers.v1.CustomerService/CreateCustomer"
        return await self.customers.ask(who, method, request, customer_pb2.Customer)

    async def contact(self, who: Principal, customer_id: str, name: str, phone: str) -> contact_pb2.Contact:
        contact = contact_pb2.Contact(customer_id=customer_id, display_name=name)
        contact.phones.add(number=phone)
        request = contact_service_pb2.CreateContactRequest(contact=contact)
        method = "kehu.customers.v1.ContactService/CreateContact"
        return await self.customers.ask(who, method, request, contact_pb2.Contact)

    async def campaign(self, who: Principal, name: str, **fields: Any) -> campaign_pb2.Campaign:
        made = campaign_pb2.Campaign(name=name, channel=campaign_pb2.CAMPAIGN_CHANNEL_WEB, **fields)
        request = campaign_service_pb2.CreateCampaignRequest(campaign=made)
        method = "kehu.marketing.v1.CampaignService/CreateCampaign"
        return await self.marketing.ask(who, method, request, campaign_pb2.Campaign)

    async def members(self, who: Principal, campaign_id: str) -> list[campaign_member_pb2.CampaignMember]:
        request = campaign_member_service_pb2.ListCampaignMembersRequest(
            filter=f'campaignId = "{campaign_id}"'
        )
        answer = await self.marketing.ask(
            who, "kehu.marketing.v1.CampaignMemberService/ListCampaignMembers", request,
            campaign_member_service_pb2.ListCampaignMembersResponse,
        )  # fmt: skip
        return list(answer.campaign_members)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def suite(
    service_database: Callable[[str], DatabaseUrls], nats_url: str, keys: Keys
) -> AsyncGenerator[Suite]:
    async with AsyncExitStack() as stack:

        async def run(service: Any, addresses: dict[str, str]) -> Harness:
            urls = service_database(service.name)
            return await stack.enter_async_context(
                running_service(service, urls, nats_url, keys, addresses=addresses)
            )

        customers = await run(CUSTOMERS, {})
        at = {"customers": f"127.0.0.1:{customers.running.port}"}
        leads = await run(LEADS, at)
        at = {**at, "leads": f"127.0.0.1:{leads.running.port}"}
        yield Suite(leads, customers, await run(MARKETING, at))
