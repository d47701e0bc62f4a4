"""Orders: drafts that change, currencies that may not mix, customers that must fit, deliveries that come out of order."""

import json
from typing import Any
from uuid import UUID

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.money_pb2 import Money
from kehu.sales.v1 import order_pb2 as pb
from kehu.sales.v1 import order_service_pb2 as service_pb
from kehu.sales.v1 import product_pb2, product_service_pb2
from sqlalchemy import text

from chassis.errors import Code, Problem
from chassis.privacy.person import Person
from sales.privacy import PRIVACY

pytestmark = pytest.mark.asyncio(loop_scope="module")
UPDATE = "OrderService/UpdateOrder"


def update(order: pb.Order, *mask: str) -> service_pb.UpdateOrderRequest:
    return service_pb.UpdateOrderRequest(order=order, update_mask=FieldMask(paths=mask))


async def test_a_draft_changes_and_keeps_one_currency(sales: Any) -> None:
    yuan = await sales.product("Yuan thing", 10, tax="13")
    usd = pb.OrderLine(
        product_id=yuan.id, quantity="2", unit_price=Money(currency_code="USD", units=3), tax_percent="0"
    )
    cny = pb.OrderLine(product_id=yuan.id, quantity="1")
    draft = await sales.order(cny, place=False)
    assert (draft.currency_code, draft.total) == (
        "CNY",
        Money(currency_code="CNY", units=11, nanos=300_000_000),
    )
    mixed = update(pb.Order(id=draft.id, lines=[cny, usd]), "lines")
    problem = await sales.refused(Code.INVALID_ARGUMENT, "CURRENCY_MISMATCH", UPDATE, mixed, pb.Order)
    assert problem.violations[0].field == "order.lines[1].unitPrice"
    named = update(pb.Order(id=draft.id, currency_code="CNY", lines=[usd]), "lines", "currency_code")
    await sales.refused(Code.INVALID_ARGUMENT, "CURRENCY_MISMATCH", UPDATE, named, pb.Order)
    dollars = await sales.ask(UPDATE, update(pb.Order(id=draft.id, lines=[usd]), "lines"), pb.Order)
    assert (dollars.currency_code, dollars.total) == ("USD", Money(currency_code="USD", units=6))
    other = update(pb.Order(id=draft.id, currency_code="CNY"), "currency_code")
    await sales.refused(Code.INVALID_ARGUMENT, "CURRENCY_MISMATCH", UPDATE, other, pb.Order)
    kept = await sales.ask(
        UPDATE, update(pb.Order(id=draft.id, lines=[dollars.lines[0], usd]), "lines"), pb.Order
    )
    assert kept.lines[0].id == dollars.lines[0].id != kept.lines[1].id
    twice = update(pb.Order(id=draft.id, lines=[kept.lines[0], kept.lines[0]]), "lines")
    await sales.refused(Code.INVALID_ARGUMENT, "INVALID_FIELD", UPDATE, twice, pb.Order)
    placed = await sales.ask("OrderService/PlaceOrder", service_pb.PlaceOrderRequest(id=draft.id), pb.Order)
    assert placed.status == pb.ORDER_STATUS_PLACED and placed.HasField("place_time")
    late = update(pb.Order(id=draft.id, lines=[usd]), "lines")
    await sales.refused(Code.FAILED_PRECONDITION, "ORDER_NOT_DRAFT", UPDATE, late, pb.Order)
    delete = service_pb.DeleteOrderRequest(id=draft.id)
    await sales.refused(
        Code.FAILED_PRECONDITION, "ORDER_NOT_DRAFT", "OrderService/DeleteOrder", delete, pb.Order
    )
    noted = update(
        pb.Order(id=draft.id, external_key="ERP-1", delivery_address="仓库"),
        "external_key",
        "delivery_address",
    )
    assert (await sales.ask(UPDATE, noted, pb.Order)).external_key == "ERP-1"
    with pytest.raises(Problem) as caught:
        await sales.order(place=False, external_key="ERP-1")
    assert (caught.value.code, caught.value.reason) == (Code.ALREADY_EXISTS, "EXTERNAL_KEY_TAKEN")
    assert await sales.outbox(draft.id) == [
        "OrderCreated",
        "OrderUpdated",
        "OrderUpdated",
        "OrderPlaced",
        "OrderUpdated",
    ]


async def test_an_opportunity_of_another_customer_is_refused(sales: Any) -> None:
    elsewhere = sales.names.customer("Elsewhere")
    deal, other = await sales.opportunity("Ours"), await sales.opportunity("Theirs", customer_id=elsewhere)
    with pytest.raises(Problem) as caught:
        await sales.order(place=False, opportunity_id=other.id)
    assert caught.value.reason == "CUSTOMER_MISMATCH"
    draft = await sales.order(place=False, opportunity_id=deal.id)
    for asked in (
        update(pb.Order(id=draft.id, opportunity_id=other.id), "opportunity_id"),
        update(pb.Order(id=draft.id, customer_id=elsewhere), "customer_id"),
    ):
        problem = await sales.refused(Code.INVALID_ARGUMENT, "CUSTOMER_MISMATCH", UPDATE, asked, pb.Order)
        assert problem.violations[0].field == "order.opportunityId"
    both = update(
        pb.Order(id=draft.id, customer_id=elsewhere, opportunity_id=other.id), "customer_id", "opportunity_id"
    )
    moved = await sales.ask(UPDATE, both, pb.Order)
    assert (moved.customer_name, moved.opportunity_id) == ("Elsewhere", other.id)


async def test_what_is_retired_or_has_no_price_is_not_sold(sales: Any) -> None:
    thing = await sales.product("Retiring", 5)
    line = pb.OrderLine(product_id=thing.id, quantity="1")
    retire = product_service_pb2.RetireProductRequest(id=thing.id)
    await sales.ask("ProductService/RetireProduct", retire, product_pb2.Product)
    with pytest.raises(Problem) as caught:
        await sales.order(line)
    assert caught.value.reason == "PRODUCT_NOT_FOUND"
    request = product_service_pb2.CreateProductRequest(product=product_pb2.Product(name="No price"))
    free = await sales.ask("ProductService/CreateProduct", request, product_pb2.Product)
    with pytest.raises(Problem) as caught:
        await sales.order(pb.OrderLine(product_id=free.id, quantity="1"))
    assert caught.value.violations[0].field == "order.lines[0].unitPrice"
    with pytest.raises(Problem) as caught:
        await sales.order(pb.OrderLine(product_id=free.id, quantity="0"))
    assert caught.value.violations[0].field == "order.lines[0].quantity"


async def test_deliveries_stand_in_the_order_of_their_time(sales: Any) -> None:
    thing = await sales.product("Delivered", 5)
    order = await sales.order(pb.OrderLine(product_id=thing.id, quantity="2.5"))
    line = order.lines[0].id

    def report(number: str, seconds: int, quantity: str) -> service_pb.RecordDeliveryRequest:
        lines = [pb.DeliveryLine(order_line_id=line, quantity=quantity)]
        return service_pb.RecordDeliveryRequest(
            id=order.id,
            request_id=number,
            delivery=pb.Delivery(number=number, deliver_time=Timestamp(seconds=seconds), lines=lines),
        )

    method = "OrderService/RecordDelivery"
    await sales.ask(method, report("second", 1_700_000_100, "1.50"), pb.Order)
    done = await sales.ask(method, report("first", 1_700_000_000, "1"), pb.Order)
    assert [one.number for one in done.deliveries] == ["first", "second"]
    assert [one.lines[0].quantity for one in done.deliveries] == ["1", "1.5"]
    assert (done.status, done.deliver_time.seconds) == (pb.ORDER_STATUS_DELIVERED, 1_700_000_100)
    await sales.refused(
        Code.FAILED_PRECONDITION,
        "ORDER_NOT_DELIVERABLE",
        method,
        report("third", 1_700_000_000, "1"),
        pb.Order,
    )
    other = await sales.order(pb.OrderLine(product_id=thing.id, quantity="1"))
    wrong = report("wrong", 1_700_000_000, "1")
    wrong.id = other.id
    await sales.refused(Code.INVALID_ARGUMENT, "ORDER_LINE_NOT_FOUND", method, wrong, pb.Order)
    future = report("future", 4_000_000_000, "1")
    await sales.refused(Code.FAILED_PRECONDITION, "ORDER_NOT_DELIVERABLE", method, future, pb.Order)
    future.id = other.id
    await sales.refused(Code.INVALID_ARGUMENT, "INVALID_FIELD", method, future, pb.Order)
    without = service_pb.RecordDeliveryRequest(id=other.id)
    await sales.refused(Code.INVALID_ARGUMENT, "INVALID_FIELD", method, without, pb.Order)


def receipt(order: pb.Order, units: int, request_id: str, **fields: Any) -> service_pb.RecordReceiptRequest:
    amount = Money(currency_code=fields.pop("currency", "CNY"), units=units)
    return service_pb.RecordReceiptRequest(
        id=order.id, request_id=request_id, receipt=pb.Receipt(amount=amount, **fields)
    )


async def test_receipts_add_up_to_the_total_and_no_further(sales: Any) -> None:
    record = "OrderService/RecordReceipt"
    product = await sales.product("Paid thing", 100, tax="0")
    draft = await sales.order(pb.OrderLine(product_id=product.id, quantity="2"), place=False)
    await sales.refused(
        Code.FAILED_PRECONDITION, "ORDER_NOT_PAYABLE", record, receipt(draft, 1, "draft"), pb.Order
    )
    order = await sales.ask("OrderService/PlaceOrder", service_pb.PlaceOrderRequest(id=draft.id), pb.Order)
    assert order.received_total == Money(currency_code="CNY")
    part = receipt(
        order,
        150,
        "first",
        number="R-1",
        method="bank transfer",
        receive_time=Timestamp(seconds=1_700_000_000),
    )
    paid = await sales.ask(record, part, pb.Order)
    assert paid.received_total.units == 150 and paid.receipts[0].number == "R-1"
    assert await sales.ask(record, part, pb.Order) == paid
    for wrong, reason in (
        (receipt(order, 51, "more"), "RECEIPT_EXCEEDS_ORDER"),
        (receipt(order, 10, "usd", currency="USD"), "CURRENCY_MISMATCH"),
        (receipt(order, 10, "late", receive_time=Timestamp(seconds=33_000_000_000)), "INVALID_FIELD"),
        (receipt(order, 0, "nothing"), "INVALID_FIELD"),
        (receipt(order, -5, "back"), "INVALID_FIELD"),
        (receipt(order, 5, ""), "INVALID_FIELD"),
    ):
        code = Code.FAILED_PRECONDITION if reason == "RECEIPT_EXCEEDS_ORDER" else Code.INVALID_ARGUMENT
        await sales.refused(code, reason, record, wrong, pb.Order)
    early = receipt(order, 50, "rest", receive_time=Timestamp(seconds=1_600_000_000))
    whole = await sales.ask(record, early, pb.Order)
    assert whole.received_total == whole.total
    assert [one.amount.units for one in whole.receipts] == [50, 150]
    told = await sales.told(order.id)
    assert [one["settled"] for one in told if "receipt" in one] == [False, True] or told[-1]["settled"]
    assert (await sales.outbox(order.id))[-2:] == ["OrderReceiptRecorded"] * 2


async def test_an_order_keeps_what_it_cost_when_it_was_placed(sales: Any) -> None:
    def yuan(units: int, nanos: int = 0, currency: str = "CNY") -> Money:
        return Money(currency_code=currency, units=units, nanos=nanos)

    def costs(order: pb.Order) -> list[Money | None]:
        return [line.cost if line.HasField("cost") else None for line in order.lines]

    async def cost(product: product_pb2.Product, money: Money | None) -> None:
        request = product_service_pb2.UpdateProductRequest(
            product=product_pb2.Product(id=product.id, standard_cost=money),
            update_mask=FieldMask(paths=["standard_cost"]),
        )
        await sales.ask("ProductService/UpdateProduct", request, product_pb2.Product)

    known = await sales.product("Costs known", 10, standard_cost=yuan(6, 330_000_000))
    unknown = await sales.product("Costs unknown", 10)
    abroad = await sales.product("Costs dollars", 10, standard_cost=yuan(1, currency="USD"))
    assert known.standard_cost == yuan(6, 330_000_000)
    assert (await sales.told(known.id))[-1]["product"]["standardCost"]["units"] == "6"
    lines = [
        pb.OrderLine(product_id=known.id, quantity="1.5", discount_percent="20"),
        pb.OrderLine(product_id=unknown.id, quantity="1"), pb.OrderLine(product_id=abroad.id, quantity="1"),
    ]  # fmt: skip
    draft = await sales.order(*lines, place=False)
    # 1.5 x 6.33 = 9.495, half up; dollars are no yuan.
    assert costs(draft) == [yuan(9, 500_000_000), None, None]
    assert (draft.cost_total, draft.costed_subtotal) == (yuan(9, 500_000_000), yuan(12))
    assert draft.margin == yuan(2, 500_000_000)
    # What a client says of costs is not listened to.
    claimed = update(
        pb.Order(id=draft.id, lines=[pb.OrderLine(product_id=known.id, quantity="1", unit_cost=yuan(0))]),
        "lines",
    )
    assert (await sales.ask(UPDATE, claimed, pb.Order)).lines[0].unit_cost == known.standard_cost
    forbidden = update(pb.Order(id=draft.id, cost_total=yuan(0)), "cost_total")
    await sales.refused(Code.INVALID_ARGUMENT, "FIELD_NOT_WRITABLE", UPDATE, forbidden, pb.Order)
    await sales.ask(UPDATE, update(pb.Order(id=draft.id, lines=lines), "lines"), pb.Order)

    await cost(known, yuan(20))
    await cost(unknown, yuan(1))
    place = service_pb.PlaceOrderRequest(id=draft.id)
    placed = await sales.ask("OrderService/PlaceOrder", place, pb.Order)
    assert costs(placed) == [yuan(30), yuan(1), None] and placed.lines[0].amount == yuan(12)
    assert (placed.cost_total, placed.costed_subtotal, placed.margin) == (yuan(31), yuan(22), yuan(-9))
    await cost(known, None)
    delivered = service_pb.RecordDeliveryRequest(id=draft.id, request_id="costed")
    after = await sales.ask("OrderService/RecordDelivery", delivered, pb.Order)
    assert costs(after) == costs(placed), "what is placed stays as it was"
    told = (await sales.told(draft.id))[-1]["order"]
    assert (told["costTotal"]["units"], told["costedSubtotal"]["units"]) == ("31", "22")
    assert told["lines"][0]["cost"]["units"] == "30"
    plain = await sales.order(pb.OrderLine(product_id=known.id, quantity="1"))
    assert not any(plain.HasField(name) for name in ("cost_total", "costed_subtotal", "margin"))
    # Replicas of the version before read lines of these fields, and of no others.
    async with sales.harness.running.database.transaction(sales.boss) as tx:
        kept = text("SELECT lines FROM orders WHERE id = CAST(:id AS uuid)")
        (line, *_) = (await tx.session.execute(kept, {"id": draft.id})).scalar_one()
    assert line.keys() == {
        "id", "product_id", "product_name", "product_sku", "unit", "quantity", "unit_price", "discount_percent", "tax_percent",
        "amount", "tax", "delivered_quantity", "description",
    }  # fmt: skip
    async with sales.harness.running.database.transaction(sales.boss) as tx:
        person = Person(records=frozenset({("customer", UUID(sales.customer_id))}))
        told = [row async for _, _kind, id, row in PRIVACY.export(tx, person) if str(id) == draft.id]
    assert told[0]["history"] and "cost" not in json.dumps(told), "what it cost us is no data of theirs"
    # They write lines without a word of costs: a line of the same product costs by its quantity, any other is of unknown cost.
    await cost(known, yuan(5))
    draft = await sales.order(*lines[:2], place=False)
    async with sales.harness.running.database.transaction(sales.boss) as tx:
        change = text(
            "UPDATE orders SET lines = jsonb_set(jsonb_set(lines, '{0,quantity}', '\"3\"'), '{1,product_id}',"
            " to_jsonb(CAST(:other AS text))) WHERE id = CAST(:id AS uuid)"
        )
        await tx.session.execute(change, {"id": draft.id, "other": abroad.id})
    get = service_pb.GetOrderRequest(id=draft.id)
    now = await sales.ask("OrderService/GetOrder", get, pb.Order)
    assert costs(now) == [yuan(15), None] and now.cost_total == yuan(15)
    dear = await sales.product("Dear", 1, standard_cost=yuan(90_000_000_000_000_000))
    with pytest.raises(Problem) as caught:
        await sales.order(pb.OrderLine(product_id=dear.id, quantity="9"))
    assert caught.value.reason == "VALUE_OUT_OF_RANGE"
    with pytest.raises(Problem) as caught:
        await sales.product("Below nothing", 1, standard_cost=yuan(-1))
    assert caught.value.reason == "INVALID_FIELD"
