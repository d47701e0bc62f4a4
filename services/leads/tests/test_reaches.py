"""Owners, captures, lists, deletions and history of leads: who may, and what is found."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from google.protobuf.empty_pb2 import Empty
from google.protobuf.field_mask_pb2 import FieldMask
from kehu.history.v1 import history_pb2
from kehu.leads.v1 import lead_pb2, lead_service_pb2

from chassis.errors import Code
from chassis.ids import new_id
from chassis.principal import Principal, Reach, Rights
from chassis.testing import DatabaseUrls, Harness, Keys, refused, running_service, somebody
from leads.service import SERVICE

pytestmark = pytest.mark.asyncio(loop_scope="module")
LEADS = "kehu.leads.v1.LeadService/"
BOSS = somebody("acme")
READER = somebody("acme", rights={"leads": Rights(read=Reach.ALL, write=Reach.OWN)})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(
    service_database: Callable[[str], DatabaseUrls], nats_url: str, keys: Keys
) -> AsyncGenerator[Harness]:
    async with running_service(SERVICE, service_database("leads"), nats_url, keys) as harness:
        yield harness


async def create(service: Harness, who: Principal = BOSS, **fields: Any) -> lead_pb2.Lead:
    request = lead_service_pb2.CreateLeadRequest(lead=lead_pb2.Lead(**fields))
    return await service.ask(who, LEADS + "CreateLead", request, lead_pb2.Lead)


async def found(service: Harness, who: Principal, **asked: Any) -> list[str]:
    names: list[str] = []
    request = lead_service_pb2.ListLeadsRequest(**asked)
    request.page_size = 2
    while True:
        page = await service.ask(who, LEADS + "ListLeads", request, lead_service_pb2.ListLeadsResponse)
        names += [lead.name for lead in page.leads]
        if not page.next_page_token:
            return names
        request.page_token = page.next_page_token


def changes(service: Harness, who: Principal, id: str, **fields: Any) -> Awaitable[Any]:
    request = history_pb2.ListChangesRequest(record_id=id, **fields)
    request.record_type = request.record_type or "lead"
    method = "kehu.leads.v1.HistoryService/ListChanges"
    return service.ask(who, method, request, history_pb2.ListChangesResponse)


async def test_lists_filter_order_search_and_page(service: Harness) -> None:
    for number in range(5):
        await create(service, name=f"Listed {number}", region="华东", score=number * 20)
    await create(service, name="Elsewhere", region="华北", score=100)
    east: dict[str, Any] = {"filter": 'region = "华东" AND score >= 40', "order_by": "score desc"}
    assert await found(service, BOSS, **east) == ["Listed 4", "Listed 3", "Listed 2"]
    assert await found(service, BOSS, query="elsewh") == ["Elsewhere"]
    own = somebody("acme", rights={"leads": Rights(Reach.OWN, Reach.OWN)})
    await create(service, own, name="Mine", region="华东", score=50)
    assert await found(service, own, **east) == ["Mine"]
    assert await found(service, somebody("rival"), **east) == []
    unknown = found(service, BOSS, filter="nonsense = 1")
    problem = await refused(Code.INVALID_ARGUMENT, "FILTER_INVALID", unknown)
    assert problem.violations[0].field == "filter"


async def test_a_deleted_lead_is_gone(service: Harness) -> None:
    lead = await create(service, name="Goes")
    stale = lead_service_pb2.DeleteLeadRequest(id=lead.id, etag="99")
    await refused(Code.ABORTED, "ETAG_MISMATCH", service.ask(BOSS, LEADS + "DeleteLead", stale, Empty))
    request = lead_service_pb2.DeleteLeadRequest(id=lead.id)
    await refused(
        Code.PERMISSION_DENIED, "RECORD_READ_ONLY", service.ask(READER, LEADS + "DeleteLead", request, Empty)
    )
    await service.ask(BOSS, LEADS + "DeleteLead", request, Empty)
    await refused(Code.NOT_FOUND, "NOT_FOUND", service.ask(BOSS, LEADS + "DeleteLead", request, Empty))


async def test_a_lead_is_given_to_oneself_but_to_nobody_unknown(service: Harness) -> None:
    lead = await create(service, name="Given")
    other = somebody("acme")
    take = lead_service_pb2.AssignLeadRequest(id=lead.id, owner_id=str(other.person_id))
    taken = await service.ask(other, LEADS + "AssignLead", take, lead_pb2.Lead)
    assert taken.owner_id == str(other.person_id)
    # Identity is not there to say who that is: nothing changes.
    give = lead_service_pb2.AssignLeadRequest(id=lead.id, owner_id=str(new_id()))
    asked = service.ask(BOSS, LEADS + "AssignLead", give, lead_pb2.Lead)
    await refused(Code.UNAVAILABLE, "MODULE_NOT_INSTALLED", asked)


async def test_of_the_services_only_marketing_captures(service: Harness) -> None:
    owner, team, form = new_id(), new_id(), new_id()
    request = lead_service_pb2.CaptureLeadRequest(
        lead=lead_pb2.Lead(name="From a form", owner_id=str(owner), team_id=str(team), form_id=str(form)),
        request_id="form-1",
    )
    reader = replace(BOSS, rights={"leads": Rights(Reach.ALL)})
    for who, reason in ((reader, "RIGHT_MISSING"), (BOSS.acting_as("sales"), "SERVICE_NOT_ALLOWED")):
        call = service.ask(who, LEADS + "CaptureLead", request, lead_pb2.Lead)
        await refused(Code.PERMISSION_DENIED, reason, call)
    marketing = BOSS.acting_as("marketing")
    lead = await service.ask(marketing, LEADS + "CaptureLead", request, lead_pb2.Lead)
    assert (UUID(lead.owner_id), UUID(lead.team_id), UUID(lead.form_id)) == (owner, team, form)
    assert await service.ask(marketing, LEADS + "CaptureLead", request, lead_pb2.Lead) == lead


async def test_history_tells_who_changed_what_to_those_who_may_read(service: Harness) -> None:
    lead = await create(service, name="Kept", region="华东")
    for region in ("华北", "华南"):
        request = lead_service_pb2.UpdateLeadRequest(
            lead=lead_pb2.Lead(id=lead.id, region=region), update_mask=FieldMask(paths=["region"])
        )
        await service.ask(BOSS, LEADS + "UpdateLead", request, lead_pb2.Lead)
    first = await changes(service, READER, lead.id, page_size=2)
    [field] = first.changes[0].fields
    assert (field.field, field.old_value, field.new_value) == ("region", "华北", "华南")
    assert first.changes[0].actor_id == str(BOSS.person_id)
    rest = await changes(service, READER, lead.id, page_size=2, page_token=first.next_page_token)
    assert [change.act for change in rest.changes] == [history_pb2.CHANGE_ACT_CREATED]
    assert not rest.next_page_token
    own = somebody("acme", rights={"leads": Rights(Reach.OWN, Reach.OWN)})
    for who in (own, somebody("rival")):
        await refused(Code.NOT_FOUND, "NOT_FOUND", changes(service, who, lead.id))
    unknown = changes(service, BOSS, lead.id, record_type="ticket")
    await refused(Code.INVALID_ARGUMENT, "RECORD_TYPE_UNKNOWN", unknown)
