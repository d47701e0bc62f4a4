"""Leads beside real customers and sales."""

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pytest_asyncio
from google.protobuf.timestamp_pb2 import Timestamp
from kehu.customers.v1 import contact_pb2, contact_service_pb2, customer_pb2, customer_service_pb2
from kehu.leads.v1 import conversion_pb2, lead_pb2, lead_service_pb2
from kehu.sales.v1 import activity_pb2, activity_service_pb2, opportunity_pb2, opportunity_service_pb2

from chassis.ids import new_id
from chassis.principal import Principal
from chassis.testing import DatabaseUrls, Harness, Keys, running_service, somebody
from customers.service import SERVICE as CUSTOMERS
from leads.conversion import Conversion, begin, carry_on
from leads.lead import Lead
from leads.rpc.peers import Suite
from leads.service import SERVICE
from sales.service import SERVICE as SALES


@dataclass(frozen=True)
class Suites:
    """Leads, and the services that it reaches."""

    leads: Harness
    customers: Harness
    sales: Harness
    boss: Principal = field(default_factory=somebody)

    async def lead(self, **fields: Any) -> lead_pb2.Lead:
        request = lead_service_pb2.CreateLeadRequest(lead=lead_pb2.Lead(**fields))
        return await self.leads.ask(self.boss, "kehu.leads.v1.LeadService/CreateLead", request, lead_pb2.Lead)

    async def lead_now(self, id: str) -> lead_pb2.Lead:
        request = lead_service_pb2.GetLeadRequest(id=id)
        return await self.leads.ask(self.boss, "kehu.leads.v1.LeadService/GetLead", request, lead_pb2.Lead)

    async def convert(self, who: Principal, id: str, **fields: Any) -> conversion_pb2.Conversion:
        request = lead_service_pb2.ConvertLeadRequest(id=id, **fields)
        method = "kehu.leads.v1.LeadService/ConvertLead"
        return await self.leads.ask(who, method, request, conversion_pb2.Conversion)

    async def conversion(self, id: str) -> conversion_pb2.Conversion:
        request = lead_service_pb2.GetConversionRequest(id=id)
        method = "kehu.leads.v1.LeadService/GetConversion"
        return await self.leads.ask(self.boss, method, request, conversion_pb2.Conversion)

    async def new_customer(self, name: str) -> customer_pb2.Customer:
        request = customer_service_pb2.CreateCustomerRequest(
            customer=customer_pb2.Customer(display_name=name)
        )
        method = "kehu.customers.v1.CustomerService/CreateCustomer"
        return await self.customers.ask(self.boss, method, request, customer_pb2.Customer)

    async def customer(self, id: str) -> customer_pb2.Customer:
        request = customer_service_pb2.GetCustomerRequest(id=id)
        method = "kehu.customers.v1.CustomerService/GetCustomer"
        return await self.customers.ask(self.boss, method, request, customer_pb2.Customer)

    async def contacts(self, customer_id: str) -> list[contact_pb2.Contact]:
        request = contact_service_pb2.ListContactsRequest(filter=f'customerId = "{customer_id}"')
        method = "kehu.customers.v1.ContactService/ListContacts"
        answer = await self.customers.ask(
            self.boss, method, request, contact_service_pb2.ListContactsResponse
        )
        return list(answer.contacts)

    async def opportunities(self, customer_id: str) -> list[opportunity_pb2.Opportunity]:
        request = opportunity_service_pb2.ListOpportunitiesRequest(filter=f'customerId = "{customer_id}"')
        method = "kehu.sales.v1.OpportunityService/ListOpportunities"
        answer = await self.sales.ask(
            self.boss, method, request, opportunity_service_pb2.ListOpportunitiesResponse
        )
        return list(answer.opportunities)

    async def activity(self, **fields: Any) -> activity_pb2.Activity:
        activity = activity_pb2.Activity(
            kind=activity_pb2.ACTIVITY_KIND_CALL, subject="回访", due_time=Timestamp(seconds=1_900_000_000), **fields
        )  # fmt: skip
        request = activity_service_pb2.CreateActivityRequest(activity=activity)
        method = "kehu.sales.v1.ActivityService/CreateActivity"
        return await self.sales.ask(self.boss, method, request, activity_pb2.Activity)

    async def begun(self, lead_id: str, opportunity: dict[str, Any] | None = None, **plan: Any) -> Conversion:
        """A conversion that has begun and whose call has died; `plan` overrides what is to be made."""
        async with self.leads.running.database.transaction(self.boss) as tx:
            lead = await tx.get(Lead, UUID(lead_id), right="leads")
            begun = await begin(
                tx, lead, id=new_id(), customer_id=None, contact_id=None, opportunity=opportunity, asked=""
            )
            begun.plan = {**begun.plan, **plan}
        return begun

    async def carry_on(self, conversion: Conversion) -> None:
        running = self.leads.running
        await carry_on(running.database, self.boss, conversion.id, Suite(running.call(self.boss)))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def suites(
    service_database: Callable[[str], DatabaseUrls], nats_url: str, keys: Keys
) -> AsyncGenerator[Suites]:
    async with (
        running_service(CUSTOMERS, service_database("customers"), nats_url, keys) as customers,
        running_service(
            SALES, service_database("sales"), nats_url, keys,
            addresses={"customers": f"127.0.0.1:{customers.running.port}"},
        ) as sales,
        running_service(
            SERVICE, service_database("leads"), nats_url, keys,
            addresses={
                "customers": f"127.0.0.1:{customers.running.port}", "sales": f"127.0.0.1:{sales.running.port}",
            },
        ) as leads,
    ):  # fmt: skip
        yield Suites(leads, customers, sales)
