"""Orders: drafts that change, currencies that may not mix, customers that must fit, deliveries that come out of order."""

from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.money_pb2 import Money
from kehu.sales.v1 import order_pb2 as pb
from kehu.sales.v1 import order_service_pb2 as service_pb
from kehu.sales.v1 import product_pb2, product_service_pb2

from chassis.errors import Code, Problem

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
