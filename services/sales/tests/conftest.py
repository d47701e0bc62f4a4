"""Sales running alone; who customers and people are is answered by a small server that stands for their services."""

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pytest_asyncio
from google.type.money_pb2 import Money
from kehu.customers.v1 import competitor_service_pb2, customer_service_pb2
from kehu.identity.v1 import person_pb2, person_service_pb2, tenant_pb2, tenant_service_pb2
from kehu.sales.v1 import opportunity_pb2 as opp
from kehu.sales.v1 import opportunity_service_pb2 as opps
from kehu.sales.v1 import (
    order_pb2,
    order_service_pb2,
    product_pb2,
    product_service_pb2,
)

from chassis.errors import Code, Problem
from chassis.events.subscriptions import take_in
from chassis.ids import new_id
from chassis.principal import Principal
from chassis.testing import (
    DatabaseUrls,
    Harness,
    Keys,
    answering,
    arriving,
    refused,
    running_service,
    somebody,
)
from sales.listens import SUBSCRIPTIONS
from sales.service import SERVICE


@dataclass
class Names:
    """The customers, competitors and people that there are."""

    customers: list[customer_service_pb2.CustomerCard] = field(
        default_factory=list[customer_service_pb2.CustomerCard]
    )
    competitors: list[competitor_service_pb2.CompetitorCard] = field(
        default_factory=list[competitor_service_pb2.CompetitorCard]
    )
    people: list[person_service_pb2.PersonCard] = field(default_factory=list[person_service_pb2.PersonCard])
    asked: list[list[str]] = field(default_factory=list[list[str]])
    """For which competitors customers was asked."""
    refusing: Problem | None = None
    """What customers answers to that instead."""

    away: Problem | None = None
    """What customers answers when it is asked for customers instead."""

    def customer(self, name: str, owner: UUID | None = None) -> str:
        """Adds one; its id."""
        card = customer_service_pb2.CustomerCard(
            id=str(new_id()), display_name=name, owner_id=str(owner or "")
        )
        self.customers.append(card)
        return card.id

    def competitor(self, name: str) -> str:
        """Adds one; its id."""
        card = competitor_service_pb2.CompetitorCard(id=str(new_id()), display_name=name, record_version=1)
        self.competitors.append(card)
        return card.id

    def person(self, name: str, team: UUID | None = None, *, active: bool = True) -> UUID:
        """Adds one; its id."""
        status = person_pb2.PERSON_STATUS_ACTIVE if active else person_pb2.PERSON_STATUS_DISABLED
        id = new_id()
        self.people.append(
            person_service_pb2.PersonCard(
                id=str(id), display_name=name, team_id=str(team or ""), status=status
            )
        )
        return id

    def look_up_customers(self, asked: Any) -> customer_service_pb2.LookUpCustomersResponse:
        """By id, key or name, as the customers service does."""
        if self.away is not None:
            raise self.away
        names = {name.casefold() for name in asked.names}
        return customer_service_pb2.LookUpCustomersResponse(
            customers=[
                c
                for c in self.customers
                if c.id in asked.ids
                or c.external_key in asked.external_keys
                or c.display_name.casefold() in names
            ]
        )

    def look_up_competitors(self, asked: Any) -> competitor_service_pb2.LookUpCompetitorsResponse:
        """By id, as the customers service does."""
        self.asked.append(list(asked.ids))
        if self.refusing is not None:
            raise self.refusing
        return competitor_service_pb2.LookUpCompetitorsResponse(
            competitors=[c for c in self.competitors if c.id in asked.ids]
        )

    def look_up_people(self, asked: Any) -> person_service_pb2.LookUpPeopleResponse:
        """By id or name, as identity does."""
        names = {name.casefold() for name in asked.names}
        return person_service_pb2.LookUpPeopleResponse(
            people=[p for p in self.people if p.id in asked.ids or p.display_name.casefold() in names]
        )


@dataclass
class Sales:
    """The service, and the customers and people it hears of."""

    harness: Harness
    names: Names
    customer_id: str
    urls: DatabaseUrls
    boss: Principal = field(default_factory=somebody)

    async def ask(self, method: str, request: Any, answer: Any, who: Principal | None = None) -> Any:
        """Calls `ProductService/CreateProduct`."""
        return await self.harness.ask(who or self.boss, "kehu.sales.v1." + method, request, answer)

    async def refused(
        self, code: Code, reason: str, method: str, request: Any, answer: Any, who: Principal | None = None
    ) -> Problem:
        """The problem with which it is refused."""
        return await refused(code, reason, self.ask(method, request, answer, who))

    async def product(self, name: str, units: int, tax: str = "13", **fields: Any) -> product_pb2.Product:
        """A product at so many CNY."""
        product = product_pb2.Product(
            name=name, list_price=Money(currency_code="CNY", units=units), tax_percent=tax, **fields
        )
        request = product_service_pb2.CreateProductRequest(product=product)
        return await self.ask("ProductService/CreateProduct", request, product_pb2.Product)

    async def opportunity(self, name: str, who: Principal | None = None, **fields: Any) -> opp.Opportunity:
        """An opportunity, of the fixture's customer unless another is given."""
        fields.setdefault("customer_id", self.customer_id)
        request = opps.CreateOpportunityRequest(opportunity=opp.Opportunity(name=name, **fields))
        return await self.ask("OpportunityService/CreateOpportunity", request, opp.Opportunity, who)

    async def opportunity_now(self, id: str, who: Principal | None = None) -> opp.Opportunity:
        """As it is."""
        request = opps.GetOpportunityRequest(id=id)
        return await self.ask("OpportunityService/GetOpportunity", request, opp.Opportunity, who)

    async def order(
        self, *lines: order_pb2.OrderLine, place: bool = True, request_id: str = "", who: Principal | None = None, **fields: Any
    ) -> order_pb2.Order:  # fmt: skip
        """An order, placed unless told otherwise."""
        fields.setdefault("customer_id", self.customer_id)
        request = order_service_pb2.CreateOrderRequest(
            order=order_pb2.Order(lines=lines, **fields), place=place, request_id=request_id
        )
        return await self.ask("OrderService/CreateOrder", request, order_pb2.Order, who)

    async def hear(self, event: Any, times: int = 1, version: int = 1) -> None:
        """Takes in an event of another service, as it comes from the stream."""
        told = arriving(SUBSCRIPTIONS, event, self.boss, version=version)
        for _ in range(times):
            await take_in(self.harness.running.database, "sales", [told])

    async def told(self, record_id: str) -> list[Any]:
        """What the events of a record say, oldest first."""
        rows = await self.harness.running.database.read(
            self.boss,
            "SELECT convert_from(data, 'UTF8')::jsonb AS data FROM outbox WHERE record_id = $1 ORDER BY id",
            UUID(record_id),
        )
        return [row["data"] for row in rows]

    async def outbox(self, record_id: str) -> list[str]:
        """The types of the events of a record, oldest first, without their package."""
        rows = await self.harness.running.database.read(
            self.boss, "SELECT type FROM outbox WHERE record_id = $1 ORDER BY id", UUID(record_id)
        )
        return [row["type"].rpartition(".")[2] for row in rows]


def which_company(asked: Any) -> tenant_pb2.Tenant:
    """One that has said nothing."""
    return tenant_pb2.Tenant()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sales(
    service_database: Callable[[str], DatabaseUrls], nats_url: str, keys: Keys
) -> AsyncGenerator[Sales]:
    """Sales with one customer, 华为."""
    names, urls = Names(), service_database("sales")
    answers: dict[str, Any] = {
        "kehu.customers.v1.CustomerService/LookUpCustomers": (
            customer_service_pb2.LookUpCustomersRequest, names.look_up_customers,
        ),
        "kehu.customers.v1.CompetitorService/LookUpCompetitors": (
            competitor_service_pb2.LookUpCompetitorsRequest, names.look_up_competitors,
        ),
        "kehu.identity.v1.PersonService/LookUpPeople": (
            person_service_pb2.LookUpPeopleRequest, names.look_up_people,
        ),
        "kehu.identity.v1.TenantService/GetTenant": (
            tenant_service_pb2.GetTenantRequest,
            which_company,
        ),
    }  # fmt: skip
    async with (
        answering(answers) as peer,
        running_service(
            SERVICE, urls, nats_url, keys, addresses={"customers": peer, "identity": peer}
        ) as harness,
    ):  # fmt: skip
        yield Sales(harness, names, names.customer("华为"), urls)
