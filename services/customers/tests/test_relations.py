"""Relations between customers, and groups added up."""

import asyncio
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from google.protobuf.empty_pb2 import Empty
from google.protobuf.field_mask_pb2 import FieldMask
from kehu.customers.v1 import (
    contact_pb2,
    contact_service_pb2,
    customer_facet_pb2,
    customer_pb2,
    customer_service_pb2,
    relation_pb2,
    relation_service_pb2,
)
from kehu.history.v1 import history_pb2

from chassis.errors import Code, Problem
from chassis.principal import Principal, Reach, Rights
from chassis.testing import Harness, refused, somebody
from customers.testing import Company, opportunity_event, order_event

pytestmark = pytest.mark.asyncio(loop_scope="module")
CUSTOMERS = "kehu.customers.v1.CustomerService/"
RELATIONS = "kehu.customers.v1.RelationService/"
SUPPLIER, PARTNER = relation_pb2.RELATION_TYPE_SUPPLIER, relation_pb2.RELATION_TYPE_PARTNER
PARENT, COMPETITOR = relation_pb2.RELATION_TYPE_PARENT, relation_pb2.RELATION_TYPE_COMPETITOR


class Market(Company):
    """A company whose customers are related."""

    async def relate(
        self, type: Any, first: str, second: str, who: Principal | None = None, notes: str = ""
    ) -> relation_pb2.CustomerRelation:
        request = relation_service_pb2.CreateCustomerRelationRequest(
            relation=relation_pb2.CustomerRelation(
                type=type, from_customer_id=first, to_customer_id=second, notes=notes
            )
        )
        return await self.service.ask(
            who or self.who, RELATIONS + "CreateCustomerRelation", request, relation_pb2.CustomerRelation
        )

    async def get(self, id: str, who: Principal | None = None) -> relation_pb2.CustomerRelation:
        request = relation_service_pb2.GetCustomerRelationRequest(id=id)
        return await self.service.ask(
            who or self.who, RELATIONS + "GetCustomerRelation", request, relation_pb2.CustomerRelation
        )

    async def listed(self, customer: str, who: Principal | None = None) -> list[tuple[str, str, str]]:
        """Type and names of all relations of a customer, read in pages of two."""
        found: list[tuple[str, str, str]] = []
        token = ""
        while True:
            request = relation_service_pb2.ListCustomerRelationsRequest(
                customer_id=customer, page_size=2, page_token=token
            )
            page = await self.service.ask(
                who or self.who, RELATIONS + "ListCustomerRelations", request,
                relation_service_pb2.ListCustomerRelationsResponse,
            )  # fmt: skip
            for one in page.relations:
                name = relation_pb2.RelationType.Name(one.type).removeprefix("RELATION_TYPE_")
                found.append((name, one.from_customer.display_name, one.to_customer.display_name))
            token = page.next_page_token
            if not token:
                return found

    async def annotate(
        self, id: str, notes: str, etag: str = "", who: Principal | None = None
    ) -> relation_pb2.CustomerRelation:
        request = relation_service_pb2.UpdateCustomerRelationRequest(
            relation=relation_pb2.CustomerRelation(id=id, notes=notes, etag=etag),
            update_mask=FieldMask(paths=["notes"]),
        )
        return await self.service.ask(
            who or self.who, RELATIONS + "UpdateCustomerRelation", request, relation_pb2.CustomerRelation
        )

    async def end(self, id: str, who: Principal | None = None) -> None:
        request = relation_service_pb2.DeleteCustomerRelationRequest(id=id)
        await self.service.ask(who or self.who, RELATIONS + "DeleteCustomerRelation", request, Empty)

    async def group(
        self, customer: str, who: Principal | None = None, most: int = 0
    ) -> relation_pb2.CustomerGroup:
        request = relation_service_pb2.GetCustomerGroupRequest(customer_id=customer, max_members=most)
        return await self.service.ask(
            who or self.who, RELATIONS + "GetCustomerGroup", request, relation_pb2.CustomerGroup
        )

    async def parent_of(self, customer: str) -> str:
        read = await self.service.ask(
            self.who, CUSTOMERS + "GetCustomer", customer_service_pb2.GetCustomerRequest(id=customer), customer_pb2.Customer
        )  # fmt: skip
        return read.parent_customer_id

    async def contact(self, customer: str) -> str:
        request = contact_service_pb2.CreateContactRequest(
            contact=contact_pb2.Contact(display_name="张伟", customer_id=customer)
        )
        return (
            await self.service.ask(
                self.who, "kehu.customers.v1.ContactService/CreateContact", request, contact_pb2.Contact
            )
        ).id


@pytest.fixture
def market(service: Harness) -> Market:
    return Market(service)


async def test_relations_are_seen_from_either_side(market: Market) -> None:
    steel, car, bank = [await market.customer(name) for name in ("宝钢", "上汽", "工行")]
    made = await market.relate(SUPPLIER, steel, car, notes="冷轧板")
    assert (made.from_customer.display_name, made.to_customer.display_name, made.etag) == (
        "宝钢",
        "上汽",
        "1",
    )
    assert await market.get(made.id) == made
    await market.relate(PARTNER, car, bank)
    await market.relate(COMPETITOR, bank, steel)
    group = await market.customer("集团")
    await market.relate(PARENT, group, car)
    daughter = await market.customer("子公司")
    await market.relate(PARENT, car, daughter)
    assert await market.listed(car) == [
        ("PARENT", "集团", "上汽"), ("PARENT", "上汽", "子公司"), ("SUPPLIER", "宝钢", "上汽"), ("PARTNER", "上汽", "工行"),
    ]  # fmt: skip
    assert await market.listed(steel) == [("SUPPLIER", "宝钢", "上汽"), ("COMPETITOR", "工行", "宝钢")]
    facet = await market.service.ask(
        market.who, "kehu.customers.v1.CustomerFacetService/GetCustomerFacet",
        customer_facet_pb2.GetCustomerFacetRequest(customer_id=car), customer_facet_pb2.CustomerFacet,
    )  # fmt: skip
    assert [one.type for one in facet.relations] == [SUPPLIER, PARTNER]
    assert facet.parent.display_name == "集团" and [c.display_name for c in facet.children] == ["子公司"]


async def test_neither_to_itself_nor_twice(market: Market) -> None:
    one, two = await market.customer("甲"), await market.customer("乙")
    for type in (SUPPLIER, PARTNER, PARENT, COMPETITOR):
        await refused(Code.INVALID_ARGUMENT, "RELATION_TO_ITSELF", market.relate(type, one, one))
    await refused(
        Code.INVALID_ARGUMENT,
        "INVALID_FIELD",
        market.relate(relation_pb2.RELATION_TYPE_UNSPECIFIED, one, two),
    )
    await market.relate(SUPPLIER, one, two)
    await refused(Code.ALREADY_EXISTS, "RELATION_EXISTS", market.relate(SUPPLIER, one, two))
    await market.relate(SUPPLIER, two, one)  # each may supply the other
    for type in (PARTNER, COMPETITOR):
        made = await market.relate(type, one, two)
        await refused(Code.ALREADY_EXISTS, "RELATION_EXISTS", market.relate(type, one, two))
        await refused(Code.ALREADY_EXISTS, "RELATION_EXISTS", market.relate(type, two, one))
        await market.end(made.id)
        await market.relate(type, two, one)
    await market.relate(PARENT, one, two)
    await refused(Code.ALREADY_EXISTS, "RELATION_EXISTS", market.relate(PARENT, one, two))
    await refused(
        Code.ALREADY_EXISTS, "RELATION_EXISTS", market.relate(PARENT, await market.customer("丙"), two)
    )
    await refused(Code.FAILED_PRECONDITION, "CUSTOMER_CIRCLE", market.relate(PARENT, two, one))


async def test_a_parent_is_the_same_however_it_is_written(market: Market) -> None:
    top, low = await market.customer("母"), await market.customer("子")
    made = await market.relate(PARENT, top, low)
    assert made.id == low and await market.parent_of(low) == top
    await refused(Code.INVALID_ARGUMENT, "INVALID_FIELD", market.annotate(low, "notes"))
    await market.end(low)
    assert await market.parent_of(low) == ""
    await refused(Code.NOT_FOUND, "NOT_FOUND", market.get(low))
    update = customer_service_pb2.UpdateCustomerRequest(
        customer=customer_pb2.Customer(id=low, parent_customer_id=top),
        update_mask=FieldMask(paths=["parent_customer_id"]),
    )
    await market.service.ask(market.who, CUSTOMERS + "UpdateCustomer", update, customer_pb2.Customer)
    assert (await market.get(low)).from_customer.display_name == "母"


async def test_two_who_close_a_circle_of_parents_together_do_not(market: Market) -> None:
    for _ in range(5):
        one, two, three = [await market.customer(name) for name in "一二三"]
        done = await asyncio.gather(
            market.relate(PARENT, one, two), market.relate(PARENT, two, three), market.relate(PARENT, three, one),
            return_exceptions=True,
        )  # fmt: skip
        assert all(isinstance(d, Problem) or not isinstance(d, BaseException) for d in done)
        parents = [await market.parent_of(id) for id in (one, two, three)]
        assert "" in parents and any(parents)


async def test_the_same_relation_made_by_many_at_once_is_one(market: Market) -> None:
    one, two = await market.customer("甲"), await market.customer("乙")
    done = await asyncio.gather(
        *[market.relate(PARTNER, *((one, two) if n % 2 else (two, one))) for n in range(8)],
        return_exceptions=True,
    )  # fmt: skip
    assert sum(isinstance(d, relation_pb2.CustomerRelation) for d in done) == 1
    assert len(await market.listed(one)) == 1


async def test_notes_change_and_are_told(market: Market) -> None:
    one, two = await market.customer("甲"), await market.customer("乙")
    made = await market.relate(SUPPLIER, one, two)
    changed = await market.annotate(made.id, "独家", made.etag)
    assert changed.notes == "独家" and changed.etag == "2"
    await refused(Code.ABORTED, "ETAG_MISMATCH", market.annotate(made.id, "x", made.etag))
    assert (await market.annotate(made.id, "独家")).etag == "2"
    wrong = relation_service_pb2.UpdateCustomerRelationRequest(
        relation=relation_pb2.CustomerRelation(id=made.id), update_mask=FieldMask(paths=["type"])
    )
    asked = market.service.ask(
        market.who, RELATIONS + "UpdateCustomerRelation", wrong, relation_pb2.CustomerRelation
    )
    await refused(Code.INVALID_ARGUMENT, "FIELD_NOT_WRITABLE", asked)
    await market.end(made.id)
    await refused(Code.NOT_FOUND, "NOT_FOUND", market.end(made.id))
    changes = await market.service.ask(
        market.who, "kehu.customers.v1.HistoryService/ListChanges",
        history_pb2.ListChangesRequest(record_type="relation", record_id=made.id), history_pb2.ListChangesResponse,
    )  # fmt: skip
    assert [c.act for c in changes.changes] == [
        history_pb2.CHANGE_ACT_DELETED, history_pb2.CHANGE_ACT_UPDATED, history_pb2.CHANGE_ACT_CREATED,
    ]  # fmt: skip
    rows = await market.service.running.database.read(
        market.who, "SELECT subject, headers FROM outbox WHERE record_id = $1 ORDER BY seq", UUID(made.id)
    )
    assert [row["subject"].rpartition(".")[2] for row in rows] == ["created", "updated", "deleted"]
    assert all(row["headers"]["kehu-owner"] == "none" for row in rows)


async def seller(market: Market, read: Reach = Reach.OWN) -> tuple[Principal, str]:
    who = somebody(market.who.tenant, rights={"customers": Rights(read, Reach.OWN)})
    return who, await Market(market.service, who).customer("自己的")


async def test_its_history_is_read_by_those_who_see_both(market: Market) -> None:
    who, mine = await seller(market)
    sees = Market(market.service, who)
    theirs, other = await sees.customer("也是我的"), await market.customer("别人的")
    shown, hidden = await market.relate(PARTNER, mine, theirs), await market.relate(PARTNER, mine, other)

    def history(id: str) -> Any:
        return market.service.ask(
            who, "kehu.customers.v1.HistoryService/ListChanges",
            history_pb2.ListChangesRequest(record_type="relation", record_id=id), history_pb2.ListChangesResponse,
        )  # fmt: skip

    assert len((await history(shown.id)).changes) == 1
    await refused(Code.NOT_FOUND, "NOT_FOUND", history(hidden.id))
    await market.end(shown.id)
    assert len((await history(shown.id)).changes) == 2, "also when it has ended"


async def test_a_relation_is_seen_by_those_who_see_both(market: Market) -> None:
    secret, other = await market.customer("机密客户"), await market.customer("别的")
    who, mine = await seller(market)
    made = await market.relate(SUPPLIER, secret, mine)
    await market.relate(PARENT, secret, mine)
    assert await market.listed(mine, who) == []
    for id in (made.id, mine):
        await refused(Code.NOT_FOUND, "NOT_FOUND", market.get(id, who))
        await refused(Code.NOT_FOUND, "NOT_FOUND", market.end(id, who))
    await refused(Code.NOT_FOUND, "NOT_FOUND", market.annotate(made.id, "x", who=who))
    await refused(Code.NOT_FOUND, "NOT_FOUND", market.listed(secret, who))
    await refused(Code.NOT_FOUND, "NOT_FOUND", market.group(secret, who))
    problem = await refused(
        Code.INVALID_ARGUMENT, "CUSTOMER_NOT_FOUND", market.relate(PARTNER, mine, other, who)
    )
    assert problem.violations[0].field == "relation.toCustomerId"
    reader, theirs = await seller(market, Reach.ALL)
    assert len(await market.listed(mine, reader)) == 2
    await refused(Code.PERMISSION_DENIED, "RECORD_READ_ONLY", market.end(made.id, reader))
    await refused(Code.PERMISSION_DENIED, "RECORD_READ_ONLY", market.relate(PARTNER, secret, other, reader))
    await market.relate(PARTNER, other, theirs, reader)  # one of the two is theirs
    await refused(Code.PERMISSION_DENIED, "RECORD_READ_ONLY", market.relate(PARENT, theirs, other, reader))


async def test_another_company_learns_and_changes_nothing(market: Market) -> None:
    one, two = await market.customer("甲"), await market.customer("乙")
    made = await market.relate(PARTNER, one, two)
    rival = Market(market.service)
    theirs = await rival.customer("对手")
    for call in (rival.get(made.id), rival.end(made.id), rival.listed(one), rival.group(one)):
        await refused(Code.NOT_FOUND, "NOT_FOUND", call)
    await refused(Code.INVALID_ARGUMENT, "CUSTOMER_NOT_FOUND", rival.relate(PARTNER, theirs, one))
    await refused(Code.INVALID_ARGUMENT, "CUSTOMER_NOT_FOUND", rival.relate(PARTNER, theirs, str(uuid4())))


async def test_a_customer_that_goes_takes_its_relations(market: Market) -> None:
    one, two = await market.customer("甲"), await market.customer("乙")
    await market.relate(PARTNER, one, two)
    delete = customer_service_pb2.DeleteCustomerRequest(id=one)
    await market.service.ask(market.who, CUSTOMERS + "DeleteCustomer", delete, Empty)
    assert await market.listed(two) == []


async def test_a_group_adds_up_what_is_kept_of_its_customers(market: Market) -> None:
    head = await market.customer("集团")
    east, west = await market.customer("东"), await market.customer("西")
    shop = await market.customer("门店")
    for first, second in ((head, east), (head, west), (east, shop)):
        await market.relate(PARENT, first, second)
    shared = await market.contact(east)
    await market.contact(shop)
    join = contact_service_pb2.JoinCustomerRequest(
        id=shared, affiliation=contact_pb2.Affiliation(customer_id=shop)
    )
    await market.service.ask(
        market.who, "kehu.customers.v1.ContactService/JoinCustomer", join, contact_pb2.Contact
    )
    for customer, minor in ((head, 100), (east, 2_000), (shop, 30_000)):
        costed = (minor, 50) if minor > 100 else None
        await market.hear(order_event("OrderPlaced", customer, str(uuid4()), minor, costed=costed))
    await market.hear(order_event("OrderPlaced", west, str(uuid4()), 500, currency="USD"))
    await market.hear(opportunity_event("OpportunityCreated", west, str(uuid4()), 1_000, 50))
    group = await market.group(head)
    assert group.customer.display_name == "集团"
    assert (group.customer_count, group.contact_count, group.order_count) == (4, 2, 4)
    sums = {
        a.currency_code: (
            a.order_count,
            Decimal(a.revenue.units) + Decimal(a.revenue.nanos).scaleb(-9),
            Decimal(a.potential.units) + Decimal(a.potential.nanos).scaleb(-9),
        )
        for a in group.amounts
    }
    assert sums == {"CNY": (3, Decimal("321"), Decimal("5")), "USD": (1, Decimal("5"), Decimal("0"))}
    assert (group.amounts[0].margin.units, group.amounts[0].costed_revenue.units) == (319, 320)
    assert not group.amounts[1].HasField("margin")
    assert [(m.customer.display_name, m.depth, m.contact_count, m.order_count) for m in group.members] == [
        ("东", 1, 1, 1), ("西", 1, 0, 1), ("门店", 2, 2, 1),
    ]  # fmt: skip
    part = await market.group(head, most=1)
    assert (part.customer_count, len(part.members), part.cut_off_count) == (4, 1, 2)
    alone = await market.group(shop)
    assert (alone.customer_count, alone.contact_count, len(alone.members)) == (1, 2, 0)


async def test_a_group_counts_what_the_caller_may_see(market: Market) -> None:
    who, mine = await seller(market)
    hidden = await market.customer("机密客户")
    below = await Market(market.service, who).customer("孙")
    await market.relate(PARENT, mine, hidden)
    await market.relate(PARENT, hidden, below)
    for customer in (mine, hidden, below):
        await market.contact(customer)
        await market.hear(order_event("OrderPlaced", customer, str(uuid4()), 100))
    group = await market.group(mine, who)
    assert (group.customer_count, group.contact_count, group.order_count) == (2, 2, 2)
    assert [m.customer.display_name for m in group.members] == ["孙"] and "机密" not in str(group)
    assert (await market.group(mine)).customer_count == 3
