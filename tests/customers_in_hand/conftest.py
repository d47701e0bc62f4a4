"""Two replicas of customers on one database, beside a real identity and real sales."""

import itertools
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pytest_asyncio
from google.protobuf.message import Message
from google.type.date_pb2 import Date
from kehu.customers.v1 import (
    contact_pb2,
    contact_service_pb2,
    customer_pb2,
    customer_service_pb2,
    share_service_pb2,
    transfer_service_pb2,
)
from kehu.history.v1 import history_pb2
from kehu.identity.v1 import (
    person_pb2,
    person_service_pb2,
    team_pb2,
    team_service_pb2,
    tenant_pb2,
    tenant_service_pb2,
)
from kehu.sales.v1 import (
    activity_pb2,
    activity_service_pb2,
    opportunity_pb2,
    opportunity_service_pb2,
)
from kehu.shares.v1 import shares_pb2

from chassis.principal import NOBODY, Principal, Reach, Rights
from chassis.testing import EVERYTHING, DatabaseUrls, Harness, Keys, running_service
from customers.service import SERVICE
from identity.service import SERVICE as IDENTITY
from sales.service import SERVICE as SALES

OPERATOR = Principal(tenant_id=NOBODY, tenant="", person_id=NOBODY, service="operator")
_NUMBERS = itertools.count()
OWN = {"customers": Rights(Reach.OWN, Reach.OWN), "opportunities": Rights(Reach.OWN, Reach.OWN)}
READ, WRITE = shares_pb2.SHARE_ACCESS_READ, shares_pb2.SHARE_ACCESS_WRITE


@dataclass
class Company:
    """A tenant of its own, with people that identity knows, and what they do with customers."""

    first: Harness
    """A replica of customers."""
    other: Harness
    """Another one on the same database, which knows where sales is."""
    sales: Harness
    identity: Harness
    boss: Principal
    people: dict[str, Principal] = field(default_factory=dict[str, Principal])

    async def ask(self, method: str, request: Message, answer: Any, who: Principal | None = None) -> Any:
        return await self.other.ask(who or self.boss, f"kehu.customers.v1.{method}", request, answer)

    async def person(self, name: str, team_id: str = "", **rights: Rights) -> Principal:
        """A new active person, who works with their own customers unless told otherwise."""
        person = person_pb2.Person(
            email=f"{name.lower()}{next(_NUMBERS)}@{self.boss.tenant}.example", display_name=name, team_id=team_id
        )  # fmt: skip
        made = await self.identity.ask(
            self.boss,
            "kehu.identity.v1.PersonService/CreatePerson",
            person_service_pb2.CreatePersonRequest(person=person),
            person_service_pb2.CreatePersonResponse,
        )
        team = UUID(team_id) if team_id else None
        who = Principal(
            tenant_id=self.boss.tenant_id, tenant=self.boss.tenant, person_id=UUID(made.person.id), name=name,
            rights={**OWN, **rights}, team_id=team, team_ids=frozenset([team] if team else []),
        )  # fmt: skip
        self.people[made.person.id] = who
        return who

    async def disable(self, person: Principal) -> None:
        request = person_service_pb2.DisablePersonRequest(id=str(person.person_id))
        method = "kehu.identity.v1.PersonService/DisablePerson"
        await self.identity.ask(self.boss, method, request, person_pb2.Person)

    async def team(self, name: str) -> str:
        request = team_service_pb2.CreateTeamRequest(team=team_pb2.Team(name=name))
        method = "kehu.identity.v1.TeamService/CreateTeam"
        return (await self.identity.ask(self.boss, method, request, team_pb2.Team)).id

    async def customer(self, owner: Principal | None = None, name: str = "", **fields: Any) -> str:
        """A new customer of that person, else of the administrator."""
        customer = customer_pb2.Customer(display_name=name or f"Customer {next(_NUMBERS)}", **fields)
        request = customer_service_pb2.CreateCustomerRequest(customer=customer)
        made = await self.ask("CustomerService/CreateCustomer", request, customer_pb2.Customer, owner)
        return made.id

    async def contact(self, customer: str, name: str, **fields: Any) -> str:
        contact = contact_pb2.Contact(customer_id=customer, display_name=name, **fields)
        request = contact_service_pb2.CreateContactRequest(contact=contact)
        return (await self.ask("ContactService/CreateContact", request, contact_pb2.Contact)).id

    async def get(self, id: str, who: Principal | None = None) -> customer_pb2.Customer:
        request = customer_service_pb2.GetCustomerRequest(id=id)
        return await self.ask("CustomerService/GetCustomer", request, customer_pb2.Customer, who)

    async def rename(self, id: str, name: str, who: Principal) -> customer_pb2.Customer:
        request = customer_service_pb2.UpdateCustomerRequest(
            customer=customer_pb2.Customer(id=id, display_name=name)
        )
        return await self.ask("CustomerService/UpdateCustomer", request, customer_pb2.Customer, who)

    async def listed(self, who: Principal, **asked: Any) -> set[str]:
        """The ids of the customers that somebody sees, through all pages."""
        found = set[str]()
        request = customer_service_pb2.ListCustomersRequest(page_size=2, **asked)
        while True:
            page = await self.ask(
                "CustomerService/ListCustomers", request, customer_service_pb2.ListCustomersResponse, who
            )
            found |= {one.id for one in page.customers}
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    async def share(
        self, id: str, access: Any = READ, who: Principal | None = None, **fields: Any
    ) -> customer_pb2.Customer:
        request = share_service_pb2.ShareCustomerRequest(id=id, access=access, **fields)
        return await self.ask("ShareService/ShareCustomer", request, customer_pb2.Customer, who)

    async def unshare(self, id: str, who: Principal | None = None, **fields: Any) -> customer_pb2.Customer:
        request = share_service_pb2.UnshareCustomerRequest(id=id, **fields)
        return await self.ask("ShareService/UnshareCustomer", request, customer_pb2.Customer, who)

    async def transfer(self, owner: Principal, who: Principal | None = None, **fields: Any) -> Any:
        request = transfer_service_pb2.TransferCustomersRequest(owner_id=str(owner.person_id), **fields)
        answer = transfer_service_pb2.TransferCustomersResponse
        return await self.ask("TransferService/TransferCustomers", request, answer, who)

    async def opportunity(self, customer: str, owner: Principal, **fields: Any) -> str:
        day = Date(year=2027, month=1, day=1)
        it = opportunity_pb2.Opportunity(
            name=f"Deal {next(_NUMBERS)}", customer_id=customer, owner_id=str(owner.person_id), expected_close_date=day,
            **fields,
        )  # fmt: skip
        request = opportunity_service_pb2.CreateOpportunityRequest(opportunity=it)
        method = "kehu.sales.v1.OpportunityService/CreateOpportunity"
        return (await self.sales.ask(self.boss, method, request, opportunity_pb2.Opportunity)).id

    async def opportunity_now(self, id: str) -> opportunity_pb2.Opportunity:
        request = opportunity_service_pb2.GetOpportunityRequest(id=id)
        method = "kehu.sales.v1.OpportunityService/GetOpportunity"
        return await self.sales.ask(self.boss, method, request, opportunity_pb2.Opportunity)

    async def activity(self, customer: str, owner: Principal, due: int = 1_900_000_000) -> str:
        it = activity_pb2.Activity(
            subject="call", kind=activity_pb2.ACTIVITY_KIND_CALL, customer_id=customer, owner_id=str(owner.person_id)
        )  # fmt: skip
        it.due_time.FromSeconds(due)
        request = activity_service_pb2.CreateActivityRequest(activity=it)
        method = "kehu.sales.v1.ActivityService/CreateActivity"
        return (await self.sales.ask(self.boss, method, request, activity_pb2.Activity)).id

    async def activity_now(self, id: str) -> activity_pb2.Activity:
        request = activity_service_pb2.GetActivityRequest(id=id)
        method = "kehu.sales.v1.ActivityService/GetActivity"
        return await self.sales.ask(self.boss, method, request, activity_pb2.Activity)

    async def rows(self, sql: str, *args: object) -> list[Any]:
        return await self.other.running.database.read(self.boss, sql, *args)

    async def execute(self, sql: str, *args: object) -> None:
        """Changes rows behind the service's back: what only time would change."""
        from sqlalchemy import text

        async with self.other.running.database.transaction(self.boss) as tx:
            await tx.session.execute(text(sql), {f"p{place}": value for place, value in enumerate(args)})

    async def told(self, id: str) -> list[str]:
        """The events of a record, in their order."""
        rows = await self.rows("SELECT subject FROM outbox WHERE record_id = $1::uuid ORDER BY seq", id)
        return [row["subject"].removeprefix(f"kehu.{self.boss.tenant}.customers.") for row in rows]

    async def history(self, id: str, who: Principal | None = None) -> list[history_pb2.Change]:
        request = history_pb2.ListChangesRequest(record_id=id, record_type="customer")
        answer = await self.ask("HistoryService/ListChanges", request, history_pb2.ListChangesResponse, who)
        return list(answer.changes)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def company(
    service_database: Callable[[str], DatabaseUrls], nats_url: str, keys: Keys
) -> AsyncGenerator[Callable[[], Awaitable[Company]]]:
    """Makes companies."""
    urls = service_database("customers")

    def at(**services: Harness) -> dict[str, str]:
        return {name: f"127.0.0.1:{one.running.port}" for name, one in services.items()}

    async with (
        running_service(IDENTITY, service_database("identity"), nats_url, keys) as identity,
        running_service(SERVICE, urls, nats_url, keys, addresses=at(identity=identity)) as first,
        running_service(
            SALES, service_database("sales"), nats_url, keys, addresses=at(identity=identity, customers=first)
        ) as sales,
        running_service(
            SERVICE, urls, nats_url, keys, addresses=at(identity=identity, sales=sales)
        ) as other,
    ):  # fmt: skip

        async def make() -> Company:
            slug = f"in-hand-{next(_NUMBERS)}"
            request = tenant_service_pb2.CreateTenantRequest(
                tenant=tenant_pb2.Tenant(name=slug, slug=slug),
                administrator_email=f"boss@{slug}.example",
                administrator_name="Boss",
            )
            method = "kehu.identity.v1.TenantService/CreateTenant"
            made = await identity.ask(OPERATOR, method, request, tenant_service_pb2.CreateTenantResponse)
            boss = Principal(
                tenant_id=UUID(made.tenant.id), tenant=slug, person_id=UUID(made.administrator.id), name="Boss",
                rights=EVERYTHING,
            )  # fmt: skip
            return Company(first, other, sales, identity, boss, {made.administrator.id: boss})

        yield make
