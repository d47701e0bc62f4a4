"""Customers' names on what sales keeps: the latest is shown in whatever order they are heard of, and none after the trash was
emptied, but on vouchers that a company was sent."""

from typing import Any

import pytest
from kehu.customers.v1 import customer_pb2
from kehu.customers.v1 import events_pb2 as customers
from kehu.sales.v1 import order_pb2, order_service_pb2

from chassis.privacy.person import GONE

pytestmark = pytest.mark.asyncio(loop_scope="module")


def renamed(id: str, name: str) -> customers.CustomerUpdated:
    snapshot = customers.CustomerSnapshot(display_name=name)
    return customers.CustomerUpdated(customer_id=id, customer=snapshot, changed_fields=["displayName"])


async def order_name(sales: Any, id: str) -> str:
    request = order_service_pb2.GetOrderRequest(id=id)
    return (await sales.ask("OrderService/GetOrder", request, order_pb2.Order)).customer_name


async def test_a_name_that_is_told_late_is_not_shown(sales: Any) -> None:
    customer = sales.names.customer("First")
    deal = await sales.opportunity("Pumps", customer_id=customer)
    for name, version, shown in (("Third", 3, "Third"), ("Second", 2, "Third"), ("Fourth", 4, "Fourth")):
        await sales.hear(renamed(customer, name), version=version)
        assert (await sales.opportunity_now(deal.id)).customer_name == shown


@pytest.mark.parametrize("kind", [customer_pb2.CUSTOMER_KIND_PERSON, customer_pb2.CUSTOMER_KIND_COMPANY])
async def test_who_left_the_trash_for_good_gets_no_name_again(sales: Any, kind: Any) -> None:
    customer = sales.names.customer("Wang Fang")
    deal = await sales.opportunity("Pumps", customer_id=customer)
    pump = await sales.product(f"Pump {kind}", 100)
    line = order_pb2.OrderLine(product_id=pump.id, quantity="1")
    placed = await sales.order(line, customer_id=customer)
    draft = await sales.order(line, customer_id=customer, place=False)
    await sales.hear(customers.CustomerPurged(customer_id=customer, kind=kind), version=7)

    person = kind == customer_pb2.CUSTOMER_KIND_PERSON
    kept = GONE if person else "Wang Fang"
    for late in (None, renamed(customer, "Wang Fang again")):
        if late is not None:
            await sales.hear(late, version=6)
        assert (await sales.opportunity_now(deal.id)).customer_name == GONE
        assert await order_name(sales, draft.id) == GONE
        assert await order_name(sales, placed.id) == kept
