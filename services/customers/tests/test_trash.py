"""The trash: what was deleted comes back as it was, for those who may delete it, until it is emptied."""

import asyncio
from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid4

import pytest
from google.protobuf.empty_pb2 import Empty
from kehu.customers.v1 import (
    contact_pb2,
    contact_service_pb2,
    customer_pb2,
    customer_service_pb2,
    merge_pb2,
    merge_service_pb2,
    relation_pb2,
    relation_service_pb2,
    trash_pb2,
    trash_service_pb2,
)
from kehu.history.v1 import history_pb2
from sqlalchemy import text

from chassis.database import Transaction
from chassis.errors import Code, Problem
from chassis.principal import Principal, Reach, Rights
from chassis.testing import eventually, refused, somebody
from customers import purge
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

    async def merge(self, survivor: str, *others: str) -> merge_pb2.Merge:
        request = merge_service_pb2.MergeCustomersRequest(id=survivor, merged_ids=others)
        return await self.ask("MergeService/MergeCustomers", request, merge_pb2.Merge)

    async def undo(self, merge: merge_pb2.Merge) -> None:
        await self.ask(
            "MergeService/UndoMerge", merge_service_pb2.UndoMergeRequest(id=merge.id), merge_pb2.Merge
        )

    async def merge_people(self, survivor: str, *others: str) -> merge_pb2.Merge:
        request = merge_service_pb2.MergeContactsRequest(id=survivor, merged_ids=others)
        return await self.ask("MergeService/MergeContacts", request, merge_pb2.Merge)

    async def contact(self, id: str) -> contact_pb2.Contact:
        request = contact_service_pb2.GetContactRequest(id=id)
        return await self.ask("ContactService/GetContact", request, contact_pb2.Contact)

    async def read(self, id: str) -> customer_pb2.Customer:
        request = customer_service_pb2.GetCustomerRequest(id=id)
        return await self.ask("CustomerService/GetCustomer", request, customer_pb2.Customer)

    async def join(self, contact: str, customer: str, **values: Any) -> None:
        request = contact_service_pb2.JoinCustomerRequest(
            id=contact, affiliation=contact_pb2.Affiliation(customer_id=customer, **values)
        )
        await self.ask("ContactService/JoinCustomer", request, contact_pb2.Contact)

    async def relate(self, first: str, second: str, kind: str = "PARTNER") -> None:
        relation = relation_pb2.CustomerRelation(
            type=relation_pb2.RelationType.Value(f"RELATION_TYPE_{kind}"),
            from_customer_id=first,
            to_customer_id=second,
        )
        request = relation_service_pb2.CreateCustomerRelationRequest(relation=relation)
        await self.ask("RelationService/CreateCustomerRelation", request, relation_pb2.CustomerRelation)

    async def related(self, customer: str) -> list[tuple[str, str, str]]:
        """Kind and ends of its relations."""
        request = relation_service_pb2.ListCustomerRelationsRequest(customer_id=customer)
        found = await self.ask(
            "RelationService/ListCustomerRelations",
            request,
            relation_service_pb2.ListCustomerRelationsResponse,
        )
        return sorted(
            (relation_pb2.RelationType.Name(one.type)[14:], one.from_customer_id, one.to_customer_id)
            for one in found.relations
        )

    async def places(self, contact: str) -> list[tuple[str, str]]:
        """To which customers a contact belongs, with its title there."""
        return [(at.customer_id, at.title) for at in (await self.contact(contact)).affiliations]

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


async def test_a_contact_comes_back_to_the_survivor_of_its_customer(bin: Bin) -> None:
    one, two = await bin.add("甲"), await bin.add("乙")
    await bin.meet(one, "老板", primary=True)
    person = await bin.meet(two, "李娜", primary=True, title="CFO")
    await bin.delete_contact(person)
    merge = await bin.merge(one, two)
    await bin.restore(person)
    now = await bin.contact(person)
    assert (now.customer_id, now.title, now.primary) == (one, "CFO", False)
    assert await bin.places(person) == [(one, "CFO")]
    await bin.delete_contact(person)
    await bin.undo(merge)
    await bin.delete(one)
    await refused(Code.FAILED_PRECONDITION, "CUSTOMER_IN_TRASH", bin.restore(person))


async def test_a_contact_comes_back_to_its_customer_when_the_merge_is_undone_first(bin: Bin) -> None:
    one, two = await bin.add("甲"), await bin.add("乙")
    person = await bin.meet(two, "李娜")
    before = await bin.rows()
    await bin.delete_contact(person)
    merge = await bin.merge(one, two)
    await bin.undo(merge)
    await bin.restore(person)
    assert await bin.rows() == before


async def test_a_customer_has_one_primary_contact_whoever_comes_back(bin: Bin) -> None:
    one, two = await bin.add("甲"), await bin.add("乙")
    marked = (
        'SELECT count(*) AS many FROM contacts WHERE customer_id = $1 AND "primary" AND deleted_at IS NULL'
    )

    async def primaries() -> int:
        return (await bin.service.running.database.read(bin.who, marked, UUID(one)))[0]["many"]

    # Who comes back later loses the mark, and the history says so.
    first = await bin.meet(one, "张伟", primary=True)
    await bin.delete_contact(first)
    second = await bin.meet(one, "李娜", primary=True)
    await bin.restore(first)
    assert (await bin.contact(first)).primary is False and (await bin.contact(second)).primary is True
    asked = history_pb2.ListChangesRequest(record_type="contact", record_id=first)
    history = await bin.ask("HistoryService/ListChanges", asked, history_pb2.ListChangesResponse)
    told = [(one.act, one.fields) for one in history.changes if "primary" in {f.field for f in one.fields}]
    assert [act for act, _ in told if act == history_pb2.CHANGE_ACT_RESTORED] == [
        history_pb2.CHANGE_ACT_RESTORED
    ]
    # The survivor gives up what it took before the other has it again, whichever of their ids comes first.
    for survivor, other in ((first, second), (second, first)):
        holder = second if (await bin.contact(second)).primary else first
        merge = await bin.merge_people(survivor, other)
        assert (await bin.contact(survivor)).primary is True
        await bin.undo(merge)
        assert (await bin.contact(holder)).primary is True and await primaries() == 1
    # One moves away with its customer, and finds another in its place when it comes back.
    merge = await bin.merge(two, one)
    await bin.undo(merge)
    assert (await bin.contact(second)).primary is True and await primaries() == 1
    # Of several at once one is it.
    for n in range(3):
        await bin.delete_contact(second)
        outcomes = await asyncio.gather(
            bin.restore(second), *(bin.meet(one, f"{n} {m}", primary=True) for m in range(2)), return_exceptions=True
        )  # fmt: skip
        refused = [failed for failed in outcomes if isinstance(failed, BaseException)]
        reasons = {getattr(failed, "reason", repr(failed)) for failed in refused}
        assert reasons <= {"PRIMARY_CONTACT_TAKEN", "RECORD_BUSY"}, outcomes
        assert len(refused) < 3 and await primaries() == 1
        if "李娜" in await bin.listed():
            await bin.restore(second)
    # The database holds it, whatever is written.
    with pytest.raises(Problem) as refusal:
        async with bin.service.running.database.transaction(bin.who) as tx:
            await tx.session.execute(
                text('UPDATE contacts SET "primary" = true WHERE customer_id = :id'), {"id": UUID(one)}
            )
    assert refusal.value.reason == "PRIMARY_CONTACT_TAKEN"


async def test_who_comes_back_refers_to_the_survivors(bin: Bin) -> None:
    """The customer's parent, relations, visitors and those to whom they report were merged while it was in the trash."""
    gone, survivor = await bin.add("去"), await bin.add("留")
    one = await bin.add("甲", parent_customer_id=gone)
    other, both = await bin.add("乙"), await bin.add("丙")
    await bin.relate(one, gone)
    await bin.relate(one, other, "SUPPLIER")
    await bin.relate(one, both, "SUPPLIER")
    guest = await bin.meet(one, "顾问")
    await bin.join(guest, gone, title="adviser")
    visitor = await bin.meet(gone, "访客", title="buyer")
    await bin.join(visitor, one, title="member")
    await bin.delete(one)
    await bin.merge(survivor, gone)
    await bin.merge(other, both)
    await bin.restore(one)
    assert (await bin.read(one)).parent_customer_id == survivor
    assert await bin.related(one) == [
        ("PARENT", survivor, one), ("PARTNER", one, survivor), ("SUPPLIER", one, other),
    ]  # fmt: skip
    assert await bin.places(guest) == [(one, ""), (survivor, "adviser")]
    assert await bin.places(visitor) == [(survivor, "buyer"), (one, "member")]
    # And once more, with what has become of them.
    before = await bin.rows()
    await bin.delete(one)
    await bin.restore(one)
    assert await bin.rows() == before


async def test_a_merge_is_undone_that_refers_to_those_who_were_merged_since(bin: Bin) -> None:
    one, two, other, last = [await bin.add(name) for name in "甲乙丙丁"]
    await bin.relate(one, other)
    await bin.relate(two, other)
    person, twin = await bin.meet(one, "李娜"), await bin.meet(other, "李 娜", title="board")
    people = await bin.merge_people(person, twin)
    merge = await bin.merge(one, two)
    await bin.merge(last, other)
    await bin.undo(merge)
    assert await bin.related(one) == [("PARTNER", one, last)]
    assert await bin.related(two) == [("PARTNER", two, last)]
    await bin.undo(people)
    assert await bin.places(twin) == [(last, "board")]


async def test_a_child_that_was_in_the_trash_belongs_to_whom_it_belonged(bin: Bin) -> None:
    one, two = await bin.add("甲"), await bin.add("乙")
    child = await bin.add("子", parent_customer_id=two)
    merge = await bin.merge(one, two)
    await bin.delete(child)
    await bin.undo(merge)
    await bin.restore(child)
    assert (await bin.read(child)).parent_customer_id == two


async def test_a_successor_from_further_down_goes_back_to_its_place(bin: Bin) -> None:
    one = await bin.add("甲")
    top = await bin.meet(one, "总")
    boss = await bin.meet(one, "老板", reports_to_id=top)
    middle = await bin.meet(one, "经理", reports_to_id=boss)
    low = await bin.meet(one, "助理", reports_to_id=middle)
    before = await bin.rows()
    await bin.delete_contact(boss, reports_go_to_id=low)
    assert (await bin.contact(low)).reports_to_id == top
    assert (await bin.contact(middle)).reports_to_id == low
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
    # Who had everything destroyed after so many days stands in the history, and is told.
    await bin.rule(7)
    told = await bin.service.running.database.read(
        bin.who, "SELECT type FROM outbox WHERE record_id = $1", UUID(rule.id)
    )
    assert [row["type"] for row in told] == ["kehu.customers.v1.TrashRuleUpdated"]
    changes = await bin.ask(
        "HistoryService/ListChanges",
        history_pb2.ListChangesRequest(record_type="trash_rule", record_id=rule.id),
        history_pb2.ListChangesResponse,
    )
    assert [(f.field, f.new_value) for f in changes.changes[0].fields] == [("keepDays", "7")]
    assert changes.changes[0].actor_id == str(bin.who.person_id)


async def test_many_are_emptied_at_once_and_one_that_is_there_blocks_nobody(
    bin: Bin, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [await bin.add(f"客户{n}") for n in range(6)]
    for id in ids:
        await bin.delete(id)
    database = bin.service.running.database
    async with database.transaction(bin.who) as tx:
        await tx.session.execute(text("UPDATE trash SET created_at = now() - interval '8 days'"))
        # As nothing does by itself: its row in the trash says more than is true.
        await tx.session.execute(
            text("UPDATE customers SET deleted_at = NULL WHERE id = :id"), {"id": ids[0]}
        )
    looked: list[int] = []
    look = purge._out_of_kept  # pyright: ignore[reportPrivateUsage]

    async def out_of_kept(tx: Transaction, such: Mapping[str, Any]) -> None:
        looked.append(len(such["all"]))
        await look(tx, such)
        if len(looked) == 1:
            raise RuntimeError("as a statement that takes too long")

    monkeypatch.setattr(purge, "_out_of_kept", out_of_kept)
    monkeypatch.setattr(purge, "_PAGE", 2)
    # The job that the rule makes runs by itself: it has failed once, then.
    await bin.rule(7)
    await eventually(lambda: looked == [5])
    later = "SELECT due_at > now() + interval '50 minutes' AS later FROM jobs WHERE kind = $1"

    async def waits() -> bool:
        return [row["later"] for row in await database.read(bin.who, later, PURGE)] == [True]

    await eventually(waits)
    assert len(await bin.listed()) == 6
    await asyncio.wait_for(bin.job(PURGE), 60)
    assert await bin.listed() == [] and looked == [5, 5], "all of them by one look"
    rows = {row["id"]: row["display_name"] for row in (await bin.rows())["customers"]}
    assert [rows[id] for id in ids] == ["客户0", *["-"] * 5]
    assert await waits()
