"""Competitors: what is known of them and their products, and who may know."""

from typing import Any
from uuid import UUID, uuid4

import pytest
from google.protobuf.empty_pb2 import Empty
from google.type.money_pb2 import Money
from kehu.customers.v1 import (
    competitor_pb2,
    competitor_service_pb2,
    merge_pb2,
    merge_service_pb2,
)
from kehu.history.v1 import history_pb2

from chassis.errors import Code
from chassis.principal import Principal, Reach, Rights
from chassis.testing import refused, somebody
from customers.testing import Company, yuan

pytestmark = pytest.mark.asyncio(loop_scope="module")
API = "kehu.customers.v1."
Product = competitor_pb2.CompetitorProduct


class Market(Company):
    """A company that is not alone."""

    async def ask(self, method: str, request: Any, answer: type[Any], who: Principal | None = None) -> Any:
        return await self.service.ask(who or self.who, API + method, request, answer)

    async def rival(self, name: str, who: Principal | None = None, **values: Any) -> Any:
        request = competitor_service_pb2.CreateCompetitorRequest(
            competitor=competitor_pb2.Competitor(display_name=name, **values)
        )
        return await self.ask("CompetitorService/CreateCompetitor", request, competitor_pb2.Competitor, who)

    async def get(self, id: str, who: Principal | None = None) -> competitor_pb2.Competitor:
        request = competitor_service_pb2.GetCompetitorRequest(id=id)
        return await self.ask("CompetitorService/GetCompetitor", request, competitor_pb2.Competitor, who)

    async def change(self, id: str, *mask: str, who: Principal | None = None, **values: Any) -> Any:
        request = competitor_service_pb2.UpdateCompetitorRequest(
            competitor=competitor_pb2.Competitor(id=id, **values)
        )
        request.update_mask.paths.extend(mask)
        return await self.ask("CompetitorService/UpdateCompetitor", request, competitor_pb2.Competitor, who)

    async def drop(self, id: str, who: Principal | None = None) -> None:
        request = competitor_service_pb2.DeleteCompetitorRequest(id=id)
        await self.ask("CompetitorService/DeleteCompetitor", request, Empty, who)

    async def listed(self, who: Principal | None = None, **asked: Any) -> list[str]:
        request = competitor_service_pb2.ListCompetitorsRequest(page_size=2, **asked)
        names: list[str] = []
        while True:
            page = await self.ask(
                "CompetitorService/ListCompetitors",
                request,
                competitor_service_pb2.ListCompetitorsResponse,
                who,
            )
            names += [one.display_name for one in page.competitors]
            if not page.next_page_token:
                return names
            request.page_token = page.next_page_token

    async def looked_up(self, ids: list[str], who: Principal | None = None) -> dict[str, str]:
        request = competitor_service_pb2.LookUpCompetitorsRequest(ids=ids)
        answer = competitor_service_pb2.LookUpCompetitorsResponse
        found = await self.ask("CompetitorService/LookUpCompetitors", request, answer, who)
        return {one.id: one.display_name for one in found.competitors}


@pytest.fixture
def market(company: Company) -> Market:
    return Market(company.service)


async def test_a_competitor_with_its_products(market: Market) -> None:
    products = [
        Product(
            name="云星空", notes="ERP for the middle", lowest_price=yuan(10_000), highest_price=yuan(90_000)
        ),
        Product(name="精斗云", highest_price=yuan(500)),
        Product(name="by request"),
    ]
    made = await market.rival(
        "金蝶软件",
        strengths="cloud",
        weaknesses="manufacturing",
        website="https://kingdee.example",
        products=products,
    )
    assert [one.name for one in made.products] == ["云星空", "精斗云", "by request"]
    assert made.products[0].lowest_price == yuan(10_000) and not made.products[1].HasField("lowest_price")
    assert await market.get(made.id) == made
    first = made.products[0]
    changed = await market.change(
        made.id,
        products=[first, Product(name="苍穹", lowest_price=Money(currency_code="USD", units=9))],
        etag=made.etag,
    )
    assert changed.products[0] == first and changed.products[1].id and changed.strengths == "cloud"
    cleared = await market.change(made.id, "products", "weaknesses")
    assert not cleared.products and not cleared.weaknesses
    await refused(Code.ABORTED, "ETAG_MISMATCH", market.change(made.id, notes="x", etag=made.etag))
    history = await market.ask(
        "HistoryService/ListChanges", history_pb2.ListChangesRequest(record_type="competitor", record_id=made.id),
        history_pb2.ListChangesResponse,
    )  # fmt: skip
    told = {field.field: field for change in history.changes for field in change.fields}
    assert told[f"products.{first.id}"].old_value == "云星空 / 10000 - 90000 CNY / ERP for the middle"
    await market.drop(made.id)
    await refused(Code.NOT_FOUND, "NOT_FOUND", market.get(made.id))
    rows = await market.service.running.database.read(
        market.who,
        "SELECT type, convert_from(data, 'UTF8') AS data FROM outbox WHERE type LIKE '%.Competitor%' ORDER BY seq",
    )
    assert [row["type"].rpartition(".")[2] for row in rows] == [
        "CompetitorCreated", "CompetitorUpdated", "CompetitorUpdated", "CompetitorDeleted",
    ]  # fmt: skip
    assert not any("manufacturing" in row["data"] for row in rows), "what is thought of it stays in the house"


async def test_what_cannot_be_is_refused(market: Market) -> None:
    await market.rival("用友")
    await refused(Code.ALREADY_EXISTS, "COMPETITOR_NAME_TAKEN", market.rival("用友"))
    for products in (
        [Product(name="x", lowest_price=yuan(2), highest_price=yuan(1))],
        [Product(name="")],
        [Product(name="x", lowest_price=Money(currency_code="CNY", units=-1))],
        [Product(name="x" * 201)],
    ):
        await refused(Code.INVALID_ARGUMENT, "INVALID_FIELD", market.rival("甲", products=products))
    dollars = Money(currency_code="USD", units=1)
    mixed = [Product(name="x", lowest_price=yuan(1), highest_price=dollars)]
    problem = await refused(Code.INVALID_ARGUMENT, "CURRENCY_MISMATCH", market.rival("甲", products=mixed))
    assert problem.violations[0].field == "competitor.products[0].highestPrice"
    id = str(uuid4())
    twice = [Product(id=id, name="x"), Product(id=id, name="y")]
    await refused(Code.INVALID_ARGUMENT, "INVALID_FIELD", market.rival("甲", products=twice))
    await refused(Code.INVALID_ARGUMENT, "CUSTOMER_NOT_FOUND", market.rival("甲", customer_id=id))
    assert await market.listed() == ["用友"]


async def test_competitors_are_found_by_part_of_their_name_and_of_a_products(market: Market) -> None:
    await market.rival("北京金蝶软件", products=[Product(name="云星空")])
    await market.rival("SAP")
    await market.rival("Oracle", products=[Product(name="Fusion")])
    assert await market.listed() == ["Oracle", "SAP", "北京金蝶软件"]
    assert await market.listed(query="金蝶") == ["北京金蝶软件"] == await market.listed(query="bjjd")
    assert await market.listed(query="fusio") == ["Oracle"]
    assert await market.listed(filter='displayName = "SAP"') == ["SAP"]
    assert await market.listed(order_by="createTime") == ["北京金蝶软件", "SAP", "Oracle"]
    assert await market.listed(query="微软") == []


async def test_who_may_not_may_not(market: Market) -> None:
    hidden = await market.customer("hidden")
    made = await market.rival("SAP", customer_id=hidden)
    own = {"customers": Rights(Reach.OWN, Reach.OWN)}
    stranger, foreign = somebody(market.who.tenant, rights=own), somebody(f"o{uuid4().hex[:8]}")
    gone = await market.rival("gone")
    await market.drop(gone.id)
    ids = [made.id, gone.id, made.id, str(uuid4())]
    assert await market.looked_up(ids) == {made.id: "SAP"}
    # Sales holds the name against those of events: both count the same versions.
    await market.change(made.id, display_name="SAP SE")
    lookup = competitor_service_pb2.LookUpCompetitorsRequest(ids=[made.id])
    answer = competitor_service_pb2.LookUpCompetitorsResponse
    (card,) = (await market.ask("CompetitorService/LookUpCompetitors", lookup, answer)).competitors
    rows = await market.service.running.database.read(
        market.who, "SELECT headers FROM outbox WHERE record_id = $1 ORDER BY seq DESC LIMIT 1", UUID(made.id)
    )
    assert card.record_version == 2 and rows[0]["headers"]["kehu-version"] == "2"
    assert (card.display_name, await market.looked_up(ids)) == ("SAP SE", {made.id: "SAP SE"})
    for who in (stranger, foreign):
        assert await market.looked_up(ids, who) == {}
        await refused(Code.NOT_FOUND, "NOT_FOUND", market.get(made.id, who))
        await refused(Code.NOT_FOUND, "NOT_FOUND", market.change(made.id, who=who, notes="mine"))
        await refused(Code.NOT_FOUND, "NOT_FOUND", market.drop(made.id, who))
        await refused(
            Code.INVALID_ARGUMENT, "CUSTOMER_NOT_FOUND", market.rival("甲", who, customer_id=hidden)
        )
        assert await market.listed(who) == []
    reader = somebody(market.who.tenant, rights={"customers": Rights(Reach.ALL, Reach.OWN)})
    await refused(
        Code.PERMISSION_DENIED, "RECORD_READ_ONLY", market.change(made.id, who=reader, notes="mine")
    )
    nobody = somebody(market.who.tenant, rights={})
    await refused(Code.PERMISSION_DENIED, "RIGHT_MISSING", market.listed(nobody))
    # The other company's own may have the same name.
    assert (await market.rival("SAP", foreign)).id != made.id


async def test_the_customer_that_it_is_follows_a_merge_and_its_undoing(market: Market) -> None:
    one, two = await market.customer("SAP China"), await market.customer("SAP")
    made = await market.rival("SAP", customer_id=two)
    request = merge_service_pb2.MergeCustomersRequest(id=one, merged_ids=[two])
    merge = await market.ask("MergeService/MergeCustomers", request, merge_pb2.Merge)
    assert (await market.get(made.id)).customer_id == one
    await market.ask(
        "MergeService/UndoMerge", merge_service_pb2.UndoMergeRequest(id=merge.id), merge_pb2.Merge
    )
    assert (await market.get(made.id)).customer_id == two
