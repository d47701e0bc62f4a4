"""The trash: what was deleted comes back as it was, for those who may delete it, until it is emptied."""

from typing import Any
from uuid import uuid4

import pytest
from google.protobuf.empty_pb2 import Empty
from kehu.customers.v1 import (
    contact_pb2,
    contact_service_pb2,
    customer_pb2,
    customer_service_pb2,
    relation_pb2,
    relation_service_pb2,
    trash_pb2,
    trash_service_pb2,
)
from sqlalchemy import text

from chassis.errors import Code
from chassis.principal import Principal, Reach, Rights
from chassis.testing import refused, somebody
from customers.testing import Company
from customers.trash import PURGE

pytestmark = pytest.mark.asyncio(loop_scope="module")
API = "kehu.customers.v1."
OWN = {"customers": Rights(Reach.OWN, Reach.OWN)}


class Bin(Company):
    """A company that throws away."""

    async def ask(self, method: str, request: Any, answer: type[Any], who: Principal | None = None) -> Any:
        return await self.service.ask(who or self.who, API + method, request, answer)

    async def add(self, name: str, who: Principal | None = None, **values: Any) -> str:
        request = customer_service_pb2.CreateCustomerRequest(
            customer=customer_pb2.Customer(display_name=name, **values)
        )
        return (await self.ask("CustomerService/CreateCustomer", request, customer_pb2.Customer, who)).id

    async def meet(self, customer: str, name: str, **values: Any) -> str:
        request = contact_service_pb2.CreateContactRequest(
            contact=contact_pb2.Contact(customer_id=customer, display_name=name, **values)
        )
        return (await self.ask("ContactService/CreateContact", request, contact_pb2.Contact)).id

    async def delete(self, id: str, who: Principal | None = None, **fields: Any) -> None:
        request = customer_service_pb2.DeleteCustomerRequest(id=id, **fields)
        await self.ask("CustomerService/DeleteCustomer", request, Empty, who)

    async def delete_contact(self, id: str, **fields: Any) -> None:
        request = contact_service_pb2.DeleteContactRequest(id=id, **fields)
        await self.ask("ContactService/DeleteContact", request, Empty)

    async def restore(self, id: str, who: Principal | None = None, etag: str = "") -> trash_pb2.TrashItem:
        request = trash_service_pb2.RestoreTrashItemRequest(id=id, etag=etag)
        return await self.ask("TrashService/RestoreTrashItem", request, trash_pb2.TrashItem, who)

    async def listed(self, who: Principal | None = None) -> list[str]:
        names: list[str] = []
        request = trash_service_pb2.ListTrashRequest(page_size=2)
        while True:
            page = await self.ask("TrashService/ListTrash", request, trash_service_pb2.ListTrashResponse, who)
            names += [item.display_name for item in page.items]
            if not page.next_page_token:
                return names
            request.page_token = page.next_page_token

    async def rule(self, days: int, who: Principal | None = None) -> trash_pb2.TrashRule:
        request = trash_service_pb2.UpdateTrashRuleRequest(rule=trash_pb2.TrashRule(keep_days=days))
        request.update_mask.paths.append("keep_days")
        return await self.ask("TrashService/UpdateTrashRule", request, trash_pb2.TrashRule, who)

    async def rows(self) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for table in (
            "customers",
            "contacts",
            "contact_affiliations",
            "customer_relations",
            "membership_cards",
        ):
            found = await self.service.running.database.read(
                self.who,
                f"SELECT to_jsonb(t) - '{{version,updated_at,updated_by}}'::text[] AS row FROM {table} t",
            )
            out[table] = sorted((row["row"] for row in found), key=str)
        return out


@pytest.fixture
def bin(company: Company) -> Bin:
    return Bin(company.service)


async def test_a_customer_comes_back_with_all_that_went_with_it(bin: Bin) -> None:
    parent = await bin.add("母")
    one, other = await bin.add("甲", parent_customer_id=parent, phone="13800000001"), await bin.add("乙")
    await bin.meet(one, "李娜", primary=True)
    visitor = await bin.meet(one, "顾问")
    request = contact_service_pb2.JoinCustomerRequest(
        id=visitor, affiliation=contact_pb2.Affiliation(customer_id=other, title="adviser")
    )
    await bin.ask("ContactService/JoinCustomer", request, contact_pb2.Contact)
    relation = relation_pb2.CustomerRelation(
        type=relation_pb2.RELATION_TYPE_PARTNER, from_customer_id=one, to_customer_id=other
    )
    await bin.ask(
        "RelationService/CreateCustomerRelation",
        relation_service_pb2.CreateCustomerRelationRequest(relation=relation), relation_pb2.CustomerRelation,
    )  # fmt: skip
    await bin.programme()
    await bin.issue(one)
    before = await bin.rows()
    await bin.delete(one)
    assert await bin.listed() == ["甲"]
    item = await bin.restore(one)
    assert (item.kind, item.deleter_id) == (trash_pb2.TRASH_KIND_CUSTOMER, str(bin.who.person_id))
    assert await bin.rows() == before
    assert await bin.listed() == []
    await refused(Code.NOT_FOUND, "NOT_FOUND", bin.restore(one))
    # And once more.
    await bin.delete(one)
    await bin.restore(one)
    assert await bin.rows() == before


async def test_a_contact_comes_back(bin: Bin) -> None:
    one = await bin.add("甲")
    boss = await bin.meet(one, "老板")
    await bin.meet(one, "助理", reports_to_id=boss)
    before = await bin.rows()
    await bin.delete_contact(boss)
    assert await bin.listed() == ["老板"]
    await bin.restore(boss)
    assert await bin.rows() == before
    await bin.delete_contact(boss)
    await bin.delete(one)
    await refused(Code.FAILED_PRECONDITION, "CUSTOMER_IN_TRASH", bin.restore(boss))
    await bin.restore(one)
    await bin.restore(boss)
    assert await bin.rows() == before


async def test_only_who_may_delete_may_restore(bin: Bin) -> None:
    one = await bin.add("甲")
    mine = somebody(bin.who.tenant, rights=OWN)
    own = await bin.add("丙", mine)
    await bin.delete(one)
    await bin.delete(own, mine)
    assert await bin.listed(mine) == ["丙"]
    reads = somebody(bin.who.tenant, rights={"customers": Rights(Reach.ALL, Reach.OWN)})
    assert await bin.listed(reads) == []
    for who in (mine, reads, Bin(bin.service).who):
        await refused(Code.NOT_FOUND, "NOT_FOUND", bin.restore(one, who))
    await refused(Code.NOT_FOUND, "NOT_FOUND", bin.restore(str(uuid4())))
    await refused(Code.ABORTED, "ETAG_MISMATCH", bin.restore(one, etag="9"))
    await bin.restore(own, mine)
    assert await bin.listed() == ["甲"]


async def test_what_has_taken_its_place_stays(bin: Bin) -> None:
    one = await bin.add("甲", external_key="K")
    await bin.delete(one)
    other = await bin.add("乙", external_key="K")
    await refused(Code.ALREADY_EXISTS, "EXTERNAL_KEY_TAKEN", bin.restore(one))
    await bin.delete(other)
    await bin.restore(one)


async def test_a_creation_that_is_taken_back_is_not_in_the_trash(bin: Bin) -> None:
    await bin.delete(await bin.add("甲"), untouched_only=True)
    assert await bin.listed() == []


async def test_the_trash_is_emptied_by_the_rule(bin: Bin) -> None:
    one, new, there = await bin.add("甲", phone="13800000001"), await bin.add("乙"), await bin.add("丙")
    contact = await bin.meet(one, "李娜")
    await bin.delete(one)
    await bin.job(PURGE)
    assert await bin.listed() == ["甲"]
    async with bin.service.running.database.transaction(bin.who) as tx:
        await tx.session.execute(text("UPDATE trash SET created_at = now() - interval '8 days'"))
    await bin.delete(new)
    nobody = somebody(bin.who.tenant, rights=OWN)
    await refused(Code.PERMISSION_DENIED, "RIGHT_MISSING", bin.rule(7, nobody))
    await refused(Code.INVALID_ARGUMENT, "INVALID_FIELD", bin.rule(-1))
    assert (await bin.rule(7)).keep_days == 7
    await bin.job(PURGE)
    await bin.job(PURGE)
    assert await bin.listed() == ["乙"]
    await refused(Code.NOT_FOUND, "NOT_FOUND", bin.restore(one))
    rows = await bin.rows()
    kept = {row["id"]: (row["display_name"], row["phone"], row["search_text"]) for row in rows["customers"]}
    assert kept[one] == ("-", "", "")
    assert kept[there][0] == "丙"
    assert {row["id"]: row["display_name"] for row in rows["contacts"]}[contact] == "-"
    rule = await bin.ask(
        "TrashService/GetTrashRule", trash_service_pb2.GetTrashRuleRequest(), trash_pb2.TrashRule
    )
    assert rule.keep_days == 7
