"""What search across finds in sales: each kind under its own right."""

from dataclasses import replace
from typing import Any

import pytest
from kehu.sales.v1 import order_pb2, order_service_pb2
from kehu.search.v1 import search_pb2 as pb

from chassis.principal import Principal, Reach, Rights
from chassis.testing import somebody

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def kinds(sales: Any, text: str, who: Principal | None = None, **asked: Any) -> dict[str, list[str]]:
    request = pb.SearchRecordsRequest(query=text, **asked)
    answer = await sales.ask("SearchService/SearchRecords", request, pb.SearchRecordsResponse, who)
    return {group.record_type: [hit.title for hit in group.hits] for group in answer.groups}


async def test_each_kind_under_its_own_right(sales: Any) -> None:
    product = await sales.product("蓝鲸泵", 9, sku="LJ-9")
    await sales.opportunity("蓝鲸二期")
    line = order_pb2.OrderLine(product_id=product.id, quantity="1")
    order = order_pb2.Order(customer_id=sales.customer_id, external_key="蓝鲸-77", lines=[line])
    made = await sales.ask(
        "OrderService/CreateOrder", order_service_pb2.CreateOrderRequest(order=order), order_pb2.Order
    )
    everything = {"opportunity": ["蓝鲸二期"], "order": [made.number], "product": ["蓝鲸泵"]}
    assert await kinds(sales, "蓝鲸") == everything
    assert await kinds(sales, "lanjing", record_types=["product"]) == {"product": ["蓝鲸泵"]}
    assert await kinds(sales, "lj-9") == {"product": ["蓝鲸泵"]}
    for right, kind in (("opportunities", "opportunity"), ("orders", "order"), ("products", "product")):
        reads = {right: Rights(Reach.ALL, Reach.NONE)}
        assert await kinds(sales, "蓝鲸", replace(sales.boss, rights=reads)) == {kind: everything[kind]}
        own = replace(
            sales.boss, person_id=somebody().person_id, rights={right: Rights(Reach.OWN, Reach.OWN)}
        )
        expected = {kind: everything[kind]} if kind == "product" else {}
        assert await kinds(sales, "蓝鲸", own) == expected
    assert await kinds(sales, "蓝鲸", replace(sales.boss, rights={})) == {}
    assert await kinds(sales, "蓝鲸", somebody("elsewhere")) == {}
