"""Two replicas of leads on one database, beside a real identity."""

import itertools
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pytest_asyncio
from google.protobuf.message import Message
from kehu.history.v1 import history_pb2
from kehu.identity.v1 import (
    person_pb2,
    person_service_pb2,
    team_pb2,
    team_service_pb2,
    tenant_pb2,
    tenant_service_pb2,
)
from kehu.leads.v1 import (
    assignment_pb2,
    assignment_service_pb2,
    cadence_pb2,
    cadence_service_pb2,
    lead_pb2,
    lead_service_pb2,
    score_pb2,
    score_service_pb2,
)

from chassis.principal import NOBODY, Principal, Reach, Rights
from chassis.testing import (
    EVERYTHING,
    DatabaseUrls,
    Harness,
    Keys,
    eventually,
    running_service,
)
from identity.service import SERVICE as IDENTITY
from leads.service import SERVICE

OPERATOR = Principal(tenant_id=NOBODY, tenant="", person_id=NOBODY, service="operator")
_NUMBERS = itertools.count()
OWN = {"leads": Rights(Reach.OWN, Reach.OWN)}


@dataclass
class Company:
    """A tenant of its own, with people that identity knows, and what its administrator does with leads."""

    leads: Harness
    other: Harness
    """Another replica of leads on the same database."""
    identity: Harness
    boss: Principal
    people: dict[str, str] = field(default_factory=dict[str, str])

    async def ask(self, method: str, request: Message, answer: Any, who: Principal | None = None) -> Any:
        return await self.leads.ask(who or self.boss, f"kehu.leads.v1.{method}", request, answer)

    async def person(self, name: str, team_id: str = "") -> Principal:
        """A new active person, who works with their own leads."""
        number = next(_NUMBERS)
        made = await self.identity.ask(
            self.boss,
            "kehu.identity.v1.PersonService/CreatePerson",
            person_service_pb2.CreatePersonRequest(
                person=person_pb2.Person(
                    email=f"{name.lower()}{number}@{self.boss.tenant}.example",
                    display_name=name,
                    team_id=team_id,
                )
            ),
            person_service_pb2.CreatePersonResponse,
        )
        self.people[made.person.id] = name
        return Principal(
            tenant_id=self.boss.tenant_id, tenant=self.boss.tenant, person_id=UUID(made.person.id), name=name, rights=OWN,
            team_id=UUID(team_id) if team_id else None,
        )  # fmt: skip

    async def team(self, name: str) -> str:
        request = team_service_pb2.CreateTeamRequest(team=team_pb2.Team(name=name))
        made = await self.identity.ask(
            self.boss, "kehu.identity.v1.TeamService/CreateTeam", request, team_pb2.Team
        )
        return str(made.id)

    async def disable(self, person: Principal) -> None:
        request = person_service_pb2.DisablePersonRequest(id=str(person.person_id))
        method = "kehu.identity.v1.PersonService/DisablePerson"
        await self.identity.ask(self.boss, method, request, person_pb2.Person)

    async def rule(self, name: str = "Everybody", *people: Principal, **fields: Any) -> Any:
        rule = assignment_pb2.AssignmentRule(
            name=name, active=True, person_ids=[str(person.person_id) for person in people], **fields
        )
        request = assignment_service_pb2.CreateAssignmentRuleRequest(rule=rule)
        return await self.ask(
            "AssignmentService/CreateAssignmentRule", request, assignment_pb2.AssignmentRule
        )

    async def handling(self, *names: str, **values: Any) -> assignment_pb2.LeadHandling:
        request = assignment_service_pb2.UpdateLeadHandlingRequest(
            handling=assignment_pb2.LeadHandling(**values)
        )
        request.update_mask.paths.extend(names or values)
        return await self.ask("AssignmentService/UpdateLeadHandling", request, assignment_pb2.LeadHandling)

    async def cadence(self, *steps: cadence_pb2.CadenceStep, **fields: Any) -> cadence_pb2.Cadence:
        values: dict[str, Any] = {"name": "First weeks", "active": True, **fields}
        cadence = cadence_pb2.Cadence(**values, steps=steps)
        request = cadence_service_pb2.CreateCadenceRequest(cadence=cadence)
        return await self.ask("CadenceService/CreateCadence", request, cadence_pb2.Cadence)

    async def score_rule(self, condition: str, points: int, **fields: Any) -> score_pb2.ScoreRule:
        values: dict[str, Any] = {"name": condition or "all", "active": True, **fields}
        rule = score_pb2.ScoreRule(**values, condition=condition, points=points)
        request = score_service_pb2.CreateScoreRuleRequest(rule=rule)
        return await self.ask("ScoreService/CreateScoreRule", request, score_pb2.ScoreRule)

    async def lead(self, owner: Principal | None = None, **fields: Any) -> lead_pb2.Lead:
        """A new lead; of that owner, else of the administrator or whom the rules name."""
        values: dict[str, Any] = {"name": f"Lead {next(_NUMBERS)}", **fields}
        if owner is not None:
            values["owner_id"] = str(owner.person_id)
        request = lead_service_pb2.CreateLeadRequest(lead=lead_pb2.Lead(**values))
        return await self.verb("CreateLead", request)

    async def now(self, id: str, who: Principal | None = None) -> lead_pb2.Lead:
        return await self.verb("GetLead", lead_service_pb2.GetLeadRequest(id=id), who)

    async def verb(self, name: str, request: Message, who: Principal | None = None) -> lead_pb2.Lead:
        return await self.ask(f"LeadService/{name}", request, lead_pb2.Lead, who)

    async def settled(self) -> None:
        """When no job is due any longer."""

        async def idle() -> bool:
            rows = await self.rows("SELECT id FROM jobs WHERE due_at <= now() AND state = 'waiting'")
            return not rows

        await eventually(idle, 60)

    async def rows(self, sql: str, *args: object) -> list[Any]:
        return await self.leads.running.database.read(self.boss, sql, *args)

    async def execute(self, sql: str, *args: object) -> None:
        """Changes rows behind the service's back: what only time would change."""
        from sqlalchemy import text

        async with self.leads.running.database.transaction(self.boss) as tx:
            await tx.session.execute(text(sql), {f"p{place}": value for place, value in enumerate(args)})

    async def told(self, id: str) -> list[str]:
        """The events of a record, in their order."""
        rows = await self.rows("SELECT subject FROM outbox WHERE record_id = $1::uuid ORDER BY seq", id)
        return [row["subject"].removeprefix(f"kehu.{self.boss.tenant}.leads.") for row in rows]

    async def history(
        self, id: str, kind: str = "lead", who: Principal | None = None
    ) -> list[history_pb2.Change]:
        request = history_pb2.ListChangesRequest(record_id=id, record_type=kind)
        answer = await self.ask("HistoryService/ListChanges", request, history_pb2.ListChangesResponse, who)
        return list(answer.changes)

    async def owners(self, leads: list[lead_pb2.Lead]) -> list[str]:
        """Whose they are now, by name."""
        return [self.people.get((await self.now(lead.id)).owner_id, "") for lead in leads]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def company(
    service_database: Callable[[str], DatabaseUrls], nats_url: str, keys: Keys
) -> AsyncGenerator[Callable[[], Any]]:
    """Makes companies."""
    urls = service_database("leads")
    async with running_service(IDENTITY, service_database("identity"), nats_url, keys) as identity:
        known = {"identity": f"127.0.0.1:{identity.running.port}"}
        async with (
            running_service(SERVICE, urls, nats_url, keys, addresses=known) as leads,
            running_service(SERVICE, urls, nats_url, keys, addresses=known) as other,
        ):

            async def make() -> Company:
                slug = f"company-{next(_NUMBERS)}"
                request = tenant_service_pb2.CreateTenantRequest(
                    tenant=tenant_pb2.Tenant(name=slug, slug=slug),
                    administrator_email=f"boss@{slug}.example",
                    administrator_name="Boss",
                )
                method = "kehu.identity.v1.TenantService/CreateTenant"
                made = await identity.ask(OPERATOR, method, request, tenant_service_pb2.CreateTenantResponse)
                person = made.administrator
                boss = Principal(
                    tenant_id=UUID(made.tenant.id), tenant=slug, person_id=UUID(person.id), name="Boss", rights=EVERYTHING
                )  # fmt: skip
                return Company(leads, other, identity, boss, {person.id: "Boss"})

            yield make
