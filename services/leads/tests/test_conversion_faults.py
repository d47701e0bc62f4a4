"""Conversions beside services that answer wrongly: a lead is never left CONVERTING. And giving leads to others."""

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from google.protobuf.empty_pb2 import Empty
from kehu.customers.v1 import contact_service_pb2, customer_service_pb2
from kehu.identity.v1 import person_pb2, person_service_pb2
from kehu.leads.v1 import conversion_pb2, lead_pb2, lead_service_pb2

from chassis.errors import Code, Problem
from chassis.ids import new_id
from chassis.owners import LOOK_UP
from chassis.principal import Principal, Reach, Rights
from chassis.rpc import Call
from chassis.testing import (
    EVERYTHING,
    DatabaseUrls,
    Harness,
    Keys,
    answering,
    refused,
    running_service,
    somebody,
)
from leads.conversion import carry_on
from leads.rpc.peers import Suite
from leads.service import SERVICE

pytestmark = pytest.mark.asyncio(loop_scope="module")
LEADS = "kehu.leads.v1.LeadService/"
BOSS = somebody("acme")


@dataclass
class World:
    """Leads; `people` that identity knows; `asked` of customers, which fails at whatever is asked of it while `broken`."""

    leads: Harness
    people: list[person_service_pb2.PersonCard] = field(default_factory=list[person_service_pb2.PersonCard])
    asked: list[str] = field(default_factory=list[str])
    broken: bool = True

    async def lead(self, **fields: Any) -> lead_pb2.Lead:
        request = lead_service_pb2.CreateLeadRequest(lead=lead_pb2.Lead(**fields))
        return await self.leads.ask(BOSS, LEADS + "CreateLead", request, lead_pb2.Lead)

    async def now(self, id: str) -> lead_pb2.Lead:
        return await self.leads.ask(
            BOSS, LEADS + "GetLead", lead_service_pb2.GetLeadRequest(id=id), lead_pb2.Lead
        )

    async def convert(self, id: str, request_id: str = "") -> conversion_pb2.Conversion:
        request = lead_service_pb2.ConvertLeadRequest(id=id, request_id=request_id)
        return await self.leads.ask(BOSS, LEADS + "ConvertLead", request, conversion_pb2.Conversion)

    async def assign(self, id: str, owner: UUID, who: Principal = BOSS, **fields: Any) -> lead_pb2.Lead:
        request = lead_service_pb2.AssignLeadRequest(id=id, owner_id=str(owner), **fields)
        return await self.leads.ask(who, LEADS + "AssignLead", request, lead_pb2.Lead)

    def person(self, team: UUID | None = None, *, active: bool = True) -> UUID:
        status = person_pb2.PERSON_STATUS_ACTIVE if active else person_pb2.PERSON_STATUS_DISABLED
        id = new_id()
        self.people.append(
            person_service_pb2.PersonCard(
                id=str(id), display_name="Bob", team_id=str(team or ""), status=status
            )
        )
        return id

    def look_up(self, asked: Any) -> person_service_pb2.LookUpPeopleResponse:
        return person_service_pb2.LookUpPeopleResponse(people=[p for p in self.people if p.id in asked.ids])

    def answer(self, request: Any) -> Any:
        self.asked.append(type(request).__name__)
        if self.broken:
            raise RuntimeError("a fault of the customers service")
        return Empty()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(
    service_database: Callable[[str], DatabaseUrls], nats_url: str, keys: Keys
) -> AsyncGenerator[World]:
    known: list[World] = []
    answers: dict[str, Any] = {
        LOOK_UP: (person_service_pb2.LookUpPeopleRequest, lambda asked: known[0].look_up(asked))  # pyright: ignore[reportUnknownLambdaType]
    }
    for method, request in (
        ("CustomerService/CreateCustomer", customer_service_pb2.CreateCustomerRequest),
        ("CustomerService/DeleteCustomer", customer_service_pb2.DeleteCustomerRequest),
        ("ContactService/CreateContact", contact_service_pb2.CreateContactRequest),
    ):
        answers["kehu.customers.v1." + method] = (request, lambda asked: known[0].answer(asked))  # pyright: ignore[reportUnknownLambdaType]
    async with (
        answering(answers) as peer,
        running_service(
            SERVICE, service_database("leads"), nats_url, keys, addresses={"customers": peer, "identity": peer}
        ) as harness,
    ):  # fmt: skip
        known.append(World(harness))
        yield known[0]


async def test_a_conversion_that_keeps_failing_ends(world: World) -> None:
    lead = await world.lead(name="Stuck", company_name="Stuck Ltd")
    begun = await world.convert(lead.id, "stuck")
    assert (begun.state, begun.attempts) == (conversion_pb2.CONVERSION_STATE_RUNNING, 1)
    assert begun.failure_reason and begun.failure_message
    assert (await world.now(lead.id)).status == lead_pb2.LEAD_STATUS_CONVERTING
    await refused(Code.ABORTED, "LEAD_CONVERTING", world.convert(lead.id, "another"))
    tried = begun
    while tried.state == conversion_pb2.CONVERSION_STATE_RUNNING:
        assert tried.attempts < 60
        tried = await world.convert(lead.id, "stuck")  # as the job does
    assert tried.state == conversion_pb2.CONVERSION_STATE_FAILED
    assert (tried.failure_reason, tried.failure_message) == (begun.failure_reason, begun.failure_message)
    # The undoing failed as often, and was left as well.
    assert world.asked.count("DeleteCustomerRequest") >= 15
    assert (await world.now(lead.id)).status == lead_pb2.LEAD_STATUS_NEW
    world.broken = False
    try:
        again = await world.convert(lead.id, "again")
    finally:
        world.broken = True
    assert again.state == conversion_pb2.CONVERSION_STATE_SUCCEEDED
    assert (await world.now(lead.id)).status == lead_pb2.LEAD_STATUS_CONVERTED


async def test_a_service_that_does_not_answer_is_waited_for(world: World) -> None:
    class Down(Suite):
        def __init__(self, call: Call) -> None:
            super().__init__(call)

        async def make_customer(self, conversion: Any) -> None:
            raise Problem("down", code=Code.UNAVAILABLE, reason="MODULE_UNAVAILABLE")

    lead = await world.lead(name="Waits", company_name="Waits Ltd")
    begun = await world.convert(lead.id, "waits")
    running = world.leads.running
    for _ in range(40):
        with pytest.raises(Problem):
            await carry_on(running.database, BOSS, UUID(begun.id), Down(running.call(BOSS)))
    assert (await world.now(lead.id)).status == lead_pb2.LEAD_STATUS_CONVERTING
    world.broken = False
    try:
        done = await world.convert(lead.id, "waits")
    finally:
        world.broken = True
    assert done.state == conversion_pb2.CONVERSION_STATE_SUCCEEDED


async def test_what_is_not_installed_locks_no_lead(world: World) -> None:
    lead = await world.lead(name="Wants more", company_name="More Ltd")
    request = lead_service_pb2.ConvertLeadRequest(
        id=lead.id, opportunity=lead_service_pb2.ConversionOpportunity(name="Deal")
    )
    wanted = world.leads.ask(BOSS, LEADS + "ConvertLead", request, conversion_pb2.Conversion)
    await refused(Code.UNAVAILABLE, "MODULE_NOT_INSTALLED", wanted)
    assert (await world.now(lead.id)).status == lead_pb2.LEAD_STATUS_NEW


async def test_a_lead_is_given_to_another_person(world: World) -> None:
    team = new_id()
    mate, other, gone = world.person(team), world.person(new_id()), world.person(active=False)
    lead = await world.lead(name="Given")
    given = await world.assign(lead.id, mate, request_id="given")
    assert (given.owner_id, given.team_id) == (str(mate), str(team)) and given.HasField("assign_time")
    assert await world.assign(lead.id, mate, request_id="given") == given
    rows = await world.leads.running.database.read(
        BOSS,
        "SELECT convert_from(data, 'UTF8')::jsonb AS data FROM outbox WHERE record_id = $1 AND type LIKE '%Assigned'",
        UUID(lead.id),
    )
    assert [row["data"]["previousOwnerId"] for row in rows] == [str(BOSS.person_id)]
    assert (await world.assign(lead.id, mate)).etag == given.etag  # the present owner changes nothing
    await refused(Code.ABORTED, "ETAG_MISMATCH", world.assign(lead.id, other, etag=lead.etag))
    await refused(Code.INVALID_ARGUMENT, "OWNER_NOT_FOUND", world.assign(lead.id, gone))
    await refused(Code.INVALID_ARGUMENT, "OWNER_NOT_FOUND", world.assign(lead.id, new_id()))
    reach = {"leads": Rights(Reach.TEAM, Reach.TEAM)}
    leader = somebody("acme", team=team, rights={**EVERYTHING, **reach})
    await refused(Code.PERMISSION_DENIED, "OWNER_OUT_OF_REACH", world.assign(lead.id, other, leader))
    assert (await world.assign(lead.id, leader.person_id, leader)).owner_id == str(leader.person_id)
    own = somebody("acme", team=team, rights={"leads": Rights(Reach.TEAM, Reach.OWN)})
    await refused(Code.PERMISSION_DENIED, "OWNER_OUT_OF_REACH", world.assign(lead.id, mate, own))
