"""OrderService."""

from dataclasses import dataclass

from google.protobuf.empty_pb2 import Empty
from kehu.sales.v1 import order_pb2 as pb
from kehu.sales.v1 import order_service_pb2 as service_pb

from chassis.database import Transaction
from chassis.errors import Invalid
from chassis.fields import Field, Kind
from chassis.ids import parse_id
from chassis.listing import OWNER_FIELDS, RECORD_FIELDS, Listing
from chassis.owners import Owner, owner_for
from chassis.rpc import Call, Face
from sales import order as use
from sales.custom_fields import CUSTOM_FIELDS
from sales.errors import customer_mismatch
from sales.order import STATUSES, Order
from sales.rpc.links import opportunity_seen
from sales.rpc.messages import delivery_asked, order_message, order_values, receipt_asked
from sales.rpc.peers import customer_name

face = Face("kehu.sales.v1.OrderService", custom_fields=CUSTOM_FIELDS)
RIGHT = "orders"
ORDERS = Listing(
    Order,
    RIGHT,
    {
        **RECORD_FIELDS,
        **OWNER_FIELDS,
        "status": Field("status", Kind.ENUM, values=STATUSES, prefix="ORDER_STATUS_"),
        "number": Field("number", Kind.TEXT, sortable=True),
        "customerId": Field("customer_id", Kind.UUID),
        "contactId": Field("contact_id", Kind.UUID, nullable=True),
        "opportunityId": Field("opportunity_id", Kind.UUID, nullable=True),
        "orderDate": Field("order_date", Kind.DATE, sortable=True),
        "total": Field("total", Kind.MONEY, sortable=True, currency_column="currency_code"),
        "currencyCode": Field("currency_code", Kind.TEXT),
        "placeTime": Field("place_time", Kind.TIMESTAMP, sortable=True, nullable=True),
        "externalKey": Field("external_key", Kind.TEXT),
    },
    default_order="orderDate desc",
    search=True,
    custom_fields=True,
)


@dataclass(frozen=True, slots=True)
class _Outside:
    """What other services know of a new order."""

    owner: Owner
    customer_name: str


async def _order(tx: Transaction, id: str, etag: str, field: str = "id") -> Order:
    order = await tx.get(Order, parse_id(id, field), right=RIGHT)
    tx.check_etag(order, etag)
    return order


async def _answer(tx: Transaction, order: Order) -> pb.Order:
    await tx.session.flush()
    return order_message(order)


@face.read("GetOrder")
async def get_order(request: service_pb.GetOrderRequest, call: Call) -> pb.Order:
    return order_message(await ORDERS.get(call, request.id))


@face.read("ListOrders")
async def list_orders(request: service_pb.ListOrdersRequest, call: Call) -> service_pb.ListOrdersResponse:
    page = await ORDERS.page(call, request)
    return service_pb.ListOrdersResponse(
        orders=[order_message(row, deliveries=False) for row in page.rows],
        next_page_token=page.next_page_token,
    )


async def _check_opportunity(asked: pb.Order, call: Call) -> None:
    if asked.opportunity_id:
        seen = await opportunity_seen(call, asked.opportunity_id, "order.opportunityId")
        if asked.customer_id and str(seen["customer_id"]) != asked.customer_id:
            raise customer_mismatch("order.opportunityId")


async def _outside(request: service_pb.CreateOrderRequest, call: Call) -> _Outside:
    asked = request.order
    owner = await owner_for(call, asked.owner_id, RIGHT, "order.ownerId")
    name = await customer_name(call, parse_id(asked.customer_id, "order.customerId"), "order.customerId")
    await _check_opportunity(asked, call)
    return _Outside(owner, name)


@face.write("CreateOrder", prepare=_outside)
async def create(request: service_pb.CreateOrderRequest, tx: Transaction, outside: _Outside) -> pb.Order:
    values, lines = order_values(request.order)
    id = parse_id(request.order_id, "orderId") if request.order_id else None
    order = await use.write_order(
        tx, values, lines or [], outside.customer_name, outside.owner, id=id, place=request.place
    )
    return await _answer(tx, order)


async def _new_customer(request: service_pb.UpdateOrderRequest, call: Call) -> str | None:
    asked = request.order
    await _check_opportunity(asked, call)
    if not asked.customer_id:
        return None
    return await customer_name(call, parse_id(asked.customer_id, "order.customerId"), "order.customerId")


@face.write("UpdateOrder", prepare=_new_customer)
async def update(request: service_pb.UpdateOrderRequest, tx: Transaction, customer: str | None) -> pb.Order:
    order = await _order(tx, request.order.id, request.order.etag, "order.id")
    values, lines = order_values(request.order, request.update_mask)
    if values.get("customer_id", order.customer_id) is None:
        raise Invalid("order.customerId", "cannot be empty")
    await use.change_order(tx, order, values, lines, customer)
    return await _answer(tx, order)


@face.write("DeleteOrder")
async def delete(request: service_pb.DeleteOrderRequest, tx: Transaction) -> Empty:
    await use.drop_order(tx, await _order(tx, request.id, request.etag))
    return Empty()


@face.write("PlaceOrder")
async def place(request: service_pb.PlaceOrderRequest, tx: Transaction) -> pb.Order:
    order = await _order(tx, request.id, request.etag)
    await use.place_order(tx, order)
    return await _answer(tx, order)


@face.write("CancelOrder")
async def cancel(request: service_pb.CancelOrderRequest, tx: Transaction) -> pb.Order:
    order = await _order(tx, request.id, request.etag)
    use.cancel_order(tx, order, request.reason.strip())
    return await _answer(tx, order)


@face.write("RecordDelivery")
async def record_delivery(request: service_pb.RecordDeliveryRequest, tx: Transaction) -> pb.Order:
    order = await _order(tx, request.id, request.etag)
    use.record_delivery(tx, order, delivery_asked(request.delivery, tx.now))
    return await _answer(tx, order)


@face.write("RecordReceipt")
async def record_receipt(request: service_pb.RecordReceiptRequest, tx: Transaction) -> pb.Order:
    order = await _order(tx, request.id, request.etag)
    use.record_receipt(tx, order, receipt_asked(request.receipt, tx.now))
    return await _answer(tx, order)
