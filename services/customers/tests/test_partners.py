"""Partners: who they are, what they owe by the orders of sales, and who may know."""

import asyncio
import random
from typing import Any
from uuid import uuid4

import pytest
from google.protobuf.empty_pb2 import Empty
from google.type.money_pb2 import Money
from kehu.customers.v1 import (
    customer_pb2,
    customer_service_pb2,
    merge_pb2,
    merge_service_pb2,
    partner_pb2,
    partner_service_pb2,
    trash_pb2,
    trash_service_pb2,
)
from kehu.history.v1 import history_pb2
from kehu.identity.v1 import events_pb2 as identity
from sqlalchemy import text

from chassis.errors import Code
from chassis.ids import new_id
from chassis.principal import Principal, Reach, Rights
from chassis.testing import refused, somebody
from customers.testing import Company, order_event, yuan
from customers.value.arrears import derive_all

pytestmark = pytest.mark.asyncio(loop_scope="module")
API = "kehu.customers.v1."
OWN = {"customers": Rights(Reach.OWN, Reach.OWN)}


class Channel(Company):
    """A company that sells through others."""

    async def ask(self, method: str, request: Any, answer: type[Any], who: Principal | None = None) -> Any:
        return await self.service.ask(who or self.who, API + method, request, answer)

    async def partner(self, customer: str, who: Principal | None = None, **values: Any) -> Any:
        values.setdefault("type", "distributor")
        request = partner_service_pb2.CreatePartnerRequest(
            partner=partner_pb2.Partner(customer_id=customer, **values)
        )
        return await self.ask("PartnerService/CreatePartner", request, partner_pb2.Partner, who)

    async def get(self, id: str, who: Principal | None = None) -> partner_pb2.Partner:
        request = partner_service_pb2.GetPartnerRequest(id=id)
        return await self.ask("PartnerService/GetPartner", request, partner_pb2.Partner, who)

    async def change(self, id: str, *mask: str, who: Principal | None = None, **values: Any) -> Any:
        request = partner_service_pb2.UpdatePartnerRequest(partner=partner_pb2.Partner(id=id, **values))
        request.update_mask.paths.extend(mask)
        return await self.ask("PartnerService/UpdatePartner", request, partner_pb2.Partner, who)

    async def end(self, id: str, who: Principal | None = None, etag: str = "") -> None:
        request = partner_service_pb2.DeletePartnerRequest(id=id, etag=etag)
        await self.ask("PartnerService/DeletePartner", request, Empty, who)

    async def listed(self, filter: str = "", order_by: str = "", who: Principal | None = None) -> list[str]:
        """The names of the customers, read in pages of two."""
        found: list[str] = []
        request = partner_service_pb2.ListPartnersRequest(filter=filter, order_by=order_by, page_size=2)
        while True:
            page = await self.ask(
                "PartnerService/ListPartners", request, partner_service_pb2.ListPartnersResponse, who
            )
            found += [one.customer.display_name for one in page.partners]
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    async def order(self, kind: str, customer: str, id: str, minor: int, version: int, **fields: Any) -> None:
        received = fields.pop("received", 0)
        currency = fields.get("currency", "CNY")
        status = fields.pop("status", "PLACED" if kind == "OrderReceiptRecorded" else "")
        event = order_event(kind, customer, id, minor, status=status, **fields)
        event.order.received_total.CopyFrom(yuan(received, currency))
        await self.hear(event, version)

    async def events(self) -> list[tuple[str, dict[str, Any]]]:
        """What was recorded of partners, the oldest first."""
        found = await self.service.running.database.read(
            self.who,
            "SELECT type, convert_from(data, 'UTF8')::jsonb AS data FROM outbox WHERE type LIKE '%.Partner%' ORDER BY seq",
        )
        return [(row["type"].rpartition(".")[2], row["data"]) for row in found]


@pytest.fixture
def channel(company: Company) -> Channel:
    return Channel(company.service)


def owed(partner: partner_pb2.Partner) -> list[tuple[str, int, int]]:
    """Currency, minor units and orders of what is owed."""
    return [
        (it.amount.currency_code, it.amount.units * 100 + it.amount.nanos // 10_000_000, it.order_count)
        for it in partner.arrears
    ]


async def test_a_customer_becomes_a_partner_and_ceases_to_be_one(channel: Channel) -> None:
    customer = await channel.customer("神州数码")
    request_id = uuid4().hex
    request = partner_service_pb2.CreatePartnerRequest(
        partner=partner_pb2.Partner(
            customer_id=customer, type="经销商", discount_level="Gold", discount_percent="12.500",
            credit_limit=yuan(100_000), notes="since 2019",
        ),
        request_id=request_id,
    )  # fmt: skip
    made = await channel.ask("PartnerService/CreatePartner", request, partner_pb2.Partner)
    assert (made.type, made.discount_level, made.discount_percent) == ("distributor", "gold", "12.5")
    assert (made.etag, made.customer.display_name, made.over_credit, made.in_arrears) == (
        "1",
        "神州数码",
        False,
        False,
    )
    assert await channel.ask("PartnerService/CreatePartner", request, partner_pb2.Partner) == made
    assert await channel.get(made.id) == made
    await refused(Code.ALREADY_EXISTS, "PARTNER_ALREADY", channel.partner(customer))
    changed = await channel.change(made.id, etag="1", type="service_partner", discount_level="")
    assert (changed.type, changed.discount_level, changed.etag) == ("service_partner", "gold", "2")
    await refused(Code.ABORTED, "ETAG_MISMATCH", channel.change(made.id, etag="1", notes="late"))
    cleared = await channel.change(made.id, "discount_level", "credit_limit", "notes")
    assert not (cleared.discount_level or cleared.notes or cleared.HasField("credit_limit"))
    await refused(Code.INVALID_ARGUMENT, "FIELD_NOT_WRITABLE", channel.change(made.id, "over_credit"))
    await refused(Code.INVALID_ARGUMENT, "FIELD_NOT_WRITABLE", channel.change(made.id, "customer_id"))
    await refused(Code.ABORTED, "ETAG_MISMATCH", channel.end(made.id, etag="1"))
    await channel.end(made.id)
    await refused(Code.NOT_FOUND, "NOT_FOUND", channel.get(made.id))
    again = await channel.partner(customer)
    assert again.id != made.id
    told = await channel.events()
    assert [kind for kind, _ in told] == [
        "PartnerCreated", "PartnerUpdated", "PartnerUpdated", "PartnerDeleted", "PartnerCreated",
    ]  # fmt: skip
    assert told[0][1]["partner"]["creditLimit"] == {"currencyCode": "CNY", "units": "1000"}
    assert told[2][1]["changedFields"] == ["discountLevel", "creditLimit", "notes"]
    assert "since" not in str(told)
    history = await channel.ask(
        "HistoryService/ListChanges", history_pb2.ListChangesRequest(record_type="partner", record_id=again.id),
        history_pb2.ListChangesResponse,
    )  # fmt: skip
    assert [one.act for one in history.changes] == [history_pb2.CHANGE_ACT_CREATED]


async def test_what_makes_no_partner_is_refused(channel: Channel) -> None:
    customer = await channel.customer()
    await refused(
        Code.INVALID_ARGUMENT, "VALUE_UNKNOWN", channel.partner(customer, type="friend of the house")
    )
    await refused(
        Code.INVALID_ARGUMENT, "VALUE_UNKNOWN", channel.partner(customer, discount_level="platinum")
    )
    wrong: dict[str, Any]
    for wrong in (
        {"type": ""}, {"discount_percent": "101"}, {"discount_percent": "-1"}, {"discount_percent": "much"},
        {"credit_limit": Money(currency_code="CNY", units=-1)}, {"credit_limit": Money(currency_code="yuan", units=1)},
    ):  # fmt: skip
        await refused(Code.INVALID_ARGUMENT, "INVALID_FIELD", channel.partner(customer, **wrong))
    await refused(Code.INVALID_ARGUMENT, "CUSTOMER_NOT_FOUND", channel.partner(str(uuid4())))
    assert await channel.events() == []


async def test_who_may_not_have_the_customer_may_not_have_the_partner(channel: Channel) -> None:
    customer = await channel.customer()
    made = await channel.partner(customer, credit_limit=yuan(5))
    stranger, reader, nobody = (
        somebody(channel.who.tenant, rights=rights)
        for rights in (OWN, {"customers": Rights(Reach.ALL, Reach.OWN)}, {})
    )
    foreign = somebody(f"other{uuid4().hex[:8]}")
    for who in (stranger, foreign):
        await refused(Code.NOT_FOUND, "NOT_FOUND", channel.get(made.id, who))
        await refused(Code.NOT_FOUND, "NOT_FOUND", channel.change(made.id, who=who, notes="mine"))
        await refused(Code.NOT_FOUND, "NOT_FOUND", channel.end(made.id, who))
        await refused(Code.INVALID_ARGUMENT, "CUSTOMER_NOT_FOUND", channel.partner(customer, who))
        assert await channel.listed(who=who) == []
    assert await channel.get(made.id, reader) == made
    await refused(
        Code.PERMISSION_DENIED, "RECORD_READ_ONLY", channel.change(made.id, who=reader, notes="mine")
    )
    await refused(Code.PERMISSION_DENIED, "RECORD_READ_ONLY", channel.end(made.id, reader))
    await refused(Code.PERMISSION_DENIED, "RIGHT_MISSING", channel.get(made.id, nobody))
    # It goes with the customer to its new owner.
    me = somebody(channel.who.tenant, rights={"customers": Rights(Reach.ALL, Reach.ALL)})
    assign = customer_service_pb2.AssignCustomerRequest(id=customer, owner_id=str(me.person_id))
    await channel.ask("CustomerService/AssignCustomer", assign, customer_pb2.Customer, me)
    own = Principal(tenant_id=me.tenant_id, tenant=me.tenant, person_id=me.person_id, rights=OWN)
    assert (await channel.get(made.id, own)).owner_id == str(me.person_id)


async def test_arrears_are_what_is_ordered_and_unpaid_by_currency(channel: Channel) -> None:
    await channel.hear(identity.TenantUpdated(tenant_id=str(channel.who.tenant_id), currency_code="CNY"))
    customer = await channel.customer("渠道")
    first, second, dollars = str(new_id()), str(new_id()), str(new_id())
    await channel.order("OrderPlaced", customer, first, 60_000, 2)  # before it is a partner
    made = await channel.partner(customer, credit_limit=yuan(100_000))
    assert owed(made) == [("CNY", 60_000, 1)] and made.in_arrears and not made.over_credit
    await channel.order("OrderPlaced", customer, second, 50_000, 2)
    await channel.order("OrderPlaced", customer, dollars, 900_000, 2, currency="USD")
    now = await channel.get(made.id)
    assert owed(now) == [("CNY", 110_000, 2), ("USD", 900_000, 1)] and now.over_credit
    assert now.etag == "1", "what is owed is no change of the partner"
    for _ in range(2):  # a repeat, and a late one of before
        await channel.order("OrderReceiptRecorded", customer, first, 60_000, 4, received=25_000)
        await channel.order("OrderDelivered", customer, first, 60_000, 3)
    now = await channel.get(made.id)
    assert owed(now)[0] == ("CNY", 85_000, 2) and not now.over_credit
    await channel.order("OrderReceiptRecorded", customer, first, 60_000, 5, received=60_000)
    await channel.order("OrderCancelled", customer, second, 50_000, 3)
    now = await channel.get(made.id)
    assert owed(now) == [("USD", 900_000, 1)] and now.in_arrears and not now.over_credit
    assert (await channel.change(made.id, credit_limit=Money(currency_code="USD", units=8_999))).over_credit
    assert not (
        await channel.change(made.id, credit_limit=Money(currency_code="USD", units=9_000))
    ).over_credit
    await channel.order(
        "OrderReceiptRecorded", customer, dollars, 900_000, 3, received=900_000, currency="USD"
    )
    now = await channel.get(made.id)
    assert owed(now) == [] and not now.in_arrears


async def test_partners_are_found_by_type_and_by_what_they_owe(channel: Channel) -> None:
    for name, type, limit, minor in (
        ("甲", "supplier", 100, 0), ("乙", "distributor", 100, 50), ("丙", "distributor", 100, 200), ("丁", "reseller", None, 70),
    ):  # fmt: skip
        customer = await channel.customer(name)
        values: dict[str, Any] = {"credit_limit": yuan(limit)} if limit else {}
        await channel.partner(customer, type=type, **values)
        if minor:
            await channel.order("OrderPlaced", customer, str(new_id()), minor, 2)
    assert await channel.listed('type = "distributor"', "createTime") == ["乙", "丙"]
    assert await channel.listed("inArrears = true", "createTime") == ["乙", "丙", "丁"]
    assert await channel.listed("overCredit = true") == ["丙"]
    assert await channel.listed('arrears > "0.60 CNY"', "createTime") == ["丙"]
    # Without a limit the tenant's own currency counts, which was told but now.
    await channel.hear(identity.TenantUpdated(tenant_id=str(channel.who.tenant_id), currency_code="CNY"))
    assert await channel.listed("arrears > 0.60", "arrears desc") == ["丙", "丁"]
    assert await channel.listed('NOT type = "supplier" AND creditLimit >= 1', "createTime") == ["乙", "丙"]
    await refused(Code.INVALID_ARGUMENT, "FILTER_INVALID", channel.listed("owes > 3"))
    await refused(Code.INVALID_ARGUMENT, "ORDER_BY_INVALID", channel.listed("", "notes"))


async def test_a_merge_leaves_one_partner_and_undoing_it_leaves_both(channel: Channel) -> None:
    one, two, three = [await channel.customer(name) for name in "甲乙丙"]
    second, third = await channel.partner(two, credit_limit=yuan(100)), await channel.partner(three)
    for customer, minor in ((one, 10), (two, 20), (three, 30)):
        await channel.order("OrderPlaced", customer, str(new_id()), minor, 2)
    request = merge_service_pb2.MergeCustomersRequest(id=one, merged_ids=[two, three])
    merge = await channel.ask("MergeService/MergeCustomers", request, merge_pb2.Merge)
    joined = await channel.get(second.id)
    assert (joined.customer_id, owed(joined), joined.credit_limit) == (one, [("CNY", 60, 3)], yuan(100))
    await refused(Code.NOT_FOUND, "NOT_FOUND", channel.get(third.id))
    undo = merge_service_pb2.UndoMergeRequest(id=merge.id)
    await channel.ask("MergeService/UndoMerge", undo, merge_pb2.Merge)
    assert [(p.customer_id, owed(p)) for p in (await channel.get(second.id), await channel.get(third.id))] == [
        (two, [("CNY", 20, 1)]), (three, [("CNY", 30, 1)]),
    ]  # fmt: skip
    assert await channel.listed(order_by="createTime") == ["乙", "丙"]


async def test_the_partner_goes_to_the_trash_with_its_customer_and_comes_back(channel: Channel) -> None:
    customer = await channel.customer()
    made = await channel.partner(customer, notes="old friend")
    await channel.order("OrderPlaced", customer, str(new_id()), 40, 2)
    delete = customer_service_pb2.DeleteCustomerRequest(id=customer)
    await channel.ask("CustomerService/DeleteCustomer", delete, Empty)
    await refused(Code.NOT_FOUND, "NOT_FOUND", channel.get(made.id))
    await channel.order("OrderPlaced", customer, str(new_id()), 2, 2)
    restore = trash_service_pb2.RestoreTrashItemRequest(id=customer)
    await channel.ask("TrashService/RestoreTrashItem", restore, trash_pb2.TrashItem)
    back = await channel.get(made.id)
    assert (back.notes, owed(back)) == ("old friend", [("CNY", 42, 2)])


async def test_orders_heard_at_once_are_all_owed(channel: Channel) -> None:
    customer = await channel.customer()
    made = await channel.partner(customer)
    orders = [str(new_id()) for _ in range(12)]
    await asyncio.gather(*(channel.order("OrderPlaced", customer, id, 100, 2) for id in orders))
    assert owed(await channel.get(made.id)) == [("CNY", 1_200, 12)]


async def test_deriving_all_of_it_anew_comes_to_the_same(channel: Channel) -> None:
    any_of = random.Random(7)
    partners: list[str] = []
    for _ in range(5):
        customer = await channel.customer()
        partners.append((await channel.partner(customer, credit_limit=yuan(any_of.randrange(250)))).id)
        for _ in range(any_of.randrange(6)):
            id, minor, currency = str(new_id()), any_of.randrange(1, 400), any_of.choice(["CNY", "USD"])
            await channel.order("OrderPlaced", customer, id, minor, 2, currency=currency)
            if any_of.random() < 0.5:
                paid = any_of.randrange(1, minor + 1)
                await channel.order(
                    "OrderReceiptRecorded", customer, id, minor, 3, received=paid, currency=currency
                )
            elif any_of.random() < 0.3:
                await channel.order("OrderCancelled", customer, id, minor, 3, currency=currency)
    before = [await channel.get(id) for id in partners]
    assert any(one.over_credit for one in before) and any(owed(one) for one in before)
    async with channel.service.running.database.transaction(channel.who) as tx:
        await tx.session.execute(
            text(
                "UPDATE partners SET arrears = '[]', arrears_amount = 7, in_arrears = true, over_credit = true"
            )
        )
    await derive_all(channel.service.running.settings.owner_database_url.get_secret_value())
    assert [await channel.get(id) for id in partners] == before
