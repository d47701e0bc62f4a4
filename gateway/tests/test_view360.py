"""The 360° view: whole when all is well, and named gaps when something is not."""

import asyncio
from typing import Any

import pytest
from kehu.customers.v1 import customer_facet_pb2, customer_pb2
from kehu.leads.v1 import customer_facet_pb2 as leads_facet_pb2
from kehu.marketing.v1 import customer_facet_pb2 as marketing_facet_pb2
from kehu.sales.v1 import customer_facet_pb2 as sales_facet_pb2

from chassis.errors import Denied, NotFound
from gateway.testing import House

ID = "0198c5a2-7d2e-7c3b-9a70-3f1f0e5b6a11"


@pytest.fixture
def customer(house: House) -> Any:
    """A customer with a section from every module there is."""
    facet = "CustomerFacetService/GetCustomerFacet"
    house.on("customers.CustomerService/GetCustomer", lambda r: customer_pb2.Customer(id=r.id, etag="1"))
    house.on(f"customers.{facet}", lambda r: customer_facet_pb2.CustomerFacet())
    house.on(f"leads.{facet}", lambda r: leads_facet_pb2.CustomerFacet(lead_count=3))
    house.on(f"sales.{facet}", lambda r: sales_facet_pb2.CustomerFacet())
    house.on(f"marketing.{facet}", lambda r: marketing_facet_pb2.CustomerFacet())
    return house


async def view(house: House) -> dict[str, Any]:
    answer = await house.http.get(f"/v1/customers/{ID}:view360", headers=house.bearer())
    assert answer.status_code == 200, answer.text
    return answer.json()


def gaps(body: dict[str, Any]) -> dict[str, str]:
    return {gap["section"]: gap["reason"] for gap in body["missing"]}


async def test_all_sections_but_that_of_a_module_not_installed(customer: House) -> None:
    body = await view(customer)
    assert body["customer"]["id"] == ID
    assert body["sections"]["leads"] == {"leadCount": 3}
    assert gaps(body) == {"servicedesk": "MODULE_NOT_INSTALLED"}


async def test_a_service_that_is_down_costs_its_section(customer: House) -> None:
    await customer.peers["leads"].stop()
    body = await view(customer)
    assert gaps(body).keys() == {"leads", "servicedesk"}
    assert "sales" in body["sections"]


async def test_a_service_that_hangs_costs_its_section_and_no_more_than_its_deadline(customer: House) -> None:
    async def never(request: Any) -> Any:
        await asyncio.Event().wait()

    customer.on("leads.CustomerFacetService/GetCustomerFacet", never)
    async with asyncio.timeout(3):
        body = await view(customer)
    assert gaps(body)["leads"] == "DEADLINE_EXCEEDED"


async def test_a_section_the_person_may_not_read_is_named(customer: House) -> None:
    def deny(request: Any) -> Any:
        raise Denied("You may not read leads.")

    customer.on("leads.CustomerFacetService/GetCustomerFacet", deny)
    assert gaps(await view(customer))["leads"] == "PERMISSION_DENIED"


async def test_customers_decides(customer: House) -> None:
    def hide(request: Any) -> Any:
        raise NotFound("customer", request.id)

    customer.on("customers.CustomerService/GetCustomer", hide)
    answer = await customer.http.get(f"/v1/customers/{ID}:view360", headers=customer.bearer())
    assert (answer.status_code, answer.json()["reason"]) == (404, "NOT_FOUND")
    assert "sections" not in answer.text
    assert (await customer.http.get(f"/v1/customers/{ID}:view360")).status_code == 401
