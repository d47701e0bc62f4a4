"""What search across finds among leads, and that those with tags from before are found by them."""

from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from kehu.leads.v1 import lead_pb2, lead_service_pb2
from kehu.search.v1 import search_pb2 as pb

from chassis.principal import Principal, Reach, Rights
from chassis.schema import find_by_tags
from chassis.testing import DatabaseUrls, Harness, Keys, running_service, somebody, upgraded
from leads.service import SERVICE

pytestmark = pytest.mark.asyncio(loop_scope="module")
BOSS = somebody("searching")


@pytest.fixture(scope="module")
def urls(service_database: Callable[[str], DatabaseUrls]) -> DatabaseUrls:
    return service_database("leads")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(urls: DatabaseUrls, nats_url: str, keys: Keys) -> AsyncGenerator[Harness]:
    async with running_service(SERVICE, urls, nats_url, keys) as harness:
        yield harness


async def search(service: Harness, text: str, who: Principal = BOSS) -> list[pb.SearchHit]:
    request = pb.SearchRecordsRequest(query=text)
    answer = await service.ask(
        who, "kehu.leads.v1.SearchService/SearchRecords", request, pb.SearchRecordsResponse
    )
    return [hit for group in answer.groups for hit in group.hits]


async def create(service: Harness, **fields: Any) -> str:
    request = lead_service_pb2.CreateLeadRequest(lead=lead_pb2.Lead(**fields))
    return (await service.ask(BOSS, "kehu.leads.v1.LeadService/CreateLead", request, lead_pb2.Lead)).id


@pytest.mark.parametrize(
    ("text", "field", "part"),
    [
        ("单小", "name", "单小"), ("shanxiaowei", "name", "单小伟"), ("dxw", "name", "单小伟"),
        ("lxkg", "companyName", "联想控股"), ("9998888", "phone", "9998888"), ("@legend", "email", "@legend"),
        ("展会2026", "tags", "展会2026"), ("erp-77", "externalKey", "ERP-77"),
    ],
)  # fmt: skip
async def test_by_any_part(service: Harness, text: str, field: str, part: str) -> None:
    if not await search(service, "ERP-77"):
        await create(
            service, name="单小伟", company_name="联想控股", phone="13799998888", email="dan@legend.example",
            tags=["展会2026"], external_key="ERP-77", region="华北",
        )  # fmt: skip
    (hit,) = await search(service, text)
    assert (hit.title, hit.subtitle) == ("单小伟", "联想控股 · 华北")
    assert [(one.field, one.part) for one in hit.matches] == [(field, part)]


async def test_a_lead_without_a_person_is_called_by_its_company(service: Harness) -> None:
    await create(service, company_name="无名氏贸易")
    (hit,) = await search(service, "wmsmy")
    assert (hit.title, hit.subtitle) == ("无名氏贸易", "")


async def test_others_and_other_tenants_find_nothing(service: Harness) -> None:
    await create(service, name="Hidden Hopper")
    assert len(await search(service, "hidden hopper")) == 1
    assert await search(service, "hidden", somebody("elsewhere")) == []
    for rights in ({"leads": Rights(Reach.OWN, Reach.OWN)}, {"customers": Rights(Reach.ALL, Reach.ALL)}):
        assert await search(service, "hidden", replace(somebody("searching"), rights=rights)) == []


async def test_leads_with_tags_from_before_are_found_by_them(service: Harness, urls: DatabaseUrls) -> None:
    id, other = await create(service, name="Early", tags=["早鸟 VIP"]), await create(service, name="Untagged")
    connection: Any = await asyncpg.connect(urls.app)
    async with connection.transaction():
        await connection.execute("SELECT set_config('kehu.tenant', $1, true)", str(BOSS.tenant_id))
        before = "UPDATE leads SET search_text = 'early', search = $2 WHERE id = $1"
        await connection.execute(before, id, [1, 2])
    await connection.close()
    assert await search(service, "早鸟") == []
    for _ in range(2):  # it may be repeated when it was cut off
        await upgraded(urls.owner, lambda: find_by_tags("leads"))
    assert [hit.id for hit in await search(service, "早鸟")] == [id]
    assert [hit.id for hit in await search(service, "vip")] == [id]
    assert [hit.id for hit in await search(service, "untagged")] == [other]
