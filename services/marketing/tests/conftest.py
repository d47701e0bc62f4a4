"""Marketing among the services it asks: leads and customers run beside it, over the same broker."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest_asyncio
from kehu.customers.v1 import customer_pb2, customer_service_pb2
from kehu.leads.v1 import lead_pb2, lead_service_pb2

from chassis.principal import Principal
from chassis.testing import DatabaseUrls, Harness, Keys, running_service
from customers.service import SERVICE as CUSTOMERS
from leads.service import SERVICE as LEADS
from marketing.service import SERVICE as MARKETING


@dataclass
class Suite:
    """Three services."""

    marketing: Harness
    leads: Harness
    customers: Harness

    async def lead(self, who: Principal, **fields: Any) -> lead_pb2.Lead:
        """A new lead."""
        request = lead_service_pb2.CreateLeadRequest(lead=lead_pb2.Lead(**fields))
        return await self.leads.ask(who, "kehu.leads.v1.LeadService/CreateLead", request, lead_pb2.Lead)

    async def customer(self, who: Principal, name: str) -> customer_pb2.Customer:
        """A new customer."""
        request = customer_service_pb2.CreateCustomerRequest(
            customer=customer_pb2.Customer(display_name=name)
        )
        method = "kehu.customers.v1.CustomerService/CreateCustomer"
        return await self.customers.ask(who, method, request, customer_pb2.Customer)

    async def ask(self, who: Principal | None, method: str, request: Any, answer: Any) -> Any:
        """`CampaignService/GetCampaign` of marketing."""
        return await self.marketing.ask(who, f"kehu.marketing.v1.{method}", request, answer)


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
        yield Suite(await run(MARKETING, at), leads, customers)
