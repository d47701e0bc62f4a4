"""Orders: what customers have bought, and what of it was delivered.

Lines and deliveries are part of the order and are kept in its row: they are read, written and locked with it. Amounts are
whole minor units; a line's amount is quantity x unit price x (1 - discount), rounded half up, its tax likewise, and sums are
the sums of the lines.

What it costs us is kept as it was when the order was placed. Margin counts the lines whose cost is known, and no others:
what these were sold for says of how much of the subtotal it is told.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import BigInteger, Date, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field

from chassis.custom_fields.definitions import taken
from chassis.database import Transaction
from chassis.errors import Invalid
from chassis.events.event import Event
from chassis.ids import new_id
from chassis.mapping import change, plain_decimal
from chassis.money import Money
from chassis.owners import Owner
from chassis.papers import drop_papers
from chassis.records import Customized, Owned
from chassis.search import Searchable
from sales.errors import (
    DeliveryExceedsOrder,
    OrderNotCancellable,
    OrderNotDeliverable,
    OrderNotDraft,
    OrderNotPayable,
    OrderWithoutLines,
    ReceiptExceedsOrder,
)
from sales.opportunity import check_customer
from sales.order_lines import (
    Delivery,
    DeliveryLine,
    Line,
    OrderLine,
    Receipt,
    costed,
    costs_known,
    deliveries_of,
    kept_costs,
    kept_delivery,
    kept_line,
    kept_receipt,
    lines_of,
    receipts_of,
    rounded,
)
from sales.product import costs_of, sellable

DRAFT, PLACED, PARTLY_DELIVERED = "DRAFT", "PLACED", "PARTLY_DELIVERED"
DELIVERED, CANCELLED = "DELIVERED", "CANCELLED"
STATUSES = (DRAFT, PLACED, PARTLY_DELIVERED, DELIVERED, CANCELLED)
_CHANGEABLE_WHEN_PLACED = frozenset(
    {"contact_id", "delivery_address", "requested_delivery_date", "notes", "external_key", "custom_fields"}
)
_LARGEST = 2**63 - 1


class Order(Owned, Searchable, Customized, table=True):
    """An order with its lines and deliveries; sums in minor units of `currency_code`."""

    __tablename__ = "orders"  # pyright: ignore[reportAssignmentType]
    record_type: ClassVar[str] = "order"
    history_hidden: ClassVar[frozenset[str]] = frozenset({"line_costs"})

    number: str
    customer_id: UUID
    customer_name: str
    contact_id: UUID | None = None
    opportunity_id: UUID | None = None
    order_date: date = Field(sa_type=Date)
    currency_code: str = ""
    lines: list[dict[str, Any]] = Field(default_factory=list[dict[str, Any]], sa_type=JSONB)
    subtotal: int = Field(default=0, sa_type=BigInteger)
    tax_total: int = Field(default=0, sa_type=BigInteger)
    total: int = Field(default=0, sa_type=BigInteger)
    status: str = DRAFT
    place_time: datetime | None = None
    cancel_time: datetime | None = None
    cancel_reason: str = ""
    deliver_time: datetime | None = None
    delivery_address: str = ""
    requested_delivery_date: date | None = Field(default=None, sa_type=Date)
    notes: str = ""
    external_key: str = ""
    deliveries: list[dict[str, Any]] = Field(default_factory=list[dict[str, Any]], sa_type=JSONB)
    received_total: int = Field(default=0, sa_type=BigInteger)
    receipts: list[dict[str, Any]] = Field(default_factory=list[dict[str, Any]], sa_type=JSONB)
    line_costs: dict[str, dict[str, Any]] = Field(default_factory=dict[str, dict[str, Any]], sa_type=JSONB)

    @property
    def all_lines(self) -> list[OrderLine]:
        """Its lines with what they cost."""
        return lines_of(self.lines, self.currency_code, self.line_costs)

    def findable(self) -> None:
        """Keeps the words for searching true to number, key and customer."""
        self.find_by(names=[self.customer_name], texts=[self.number, self.external_key])

    def need_draft(self) -> None:
        """Raises OrderNotDraft."""
        if self.status != DRAFT:
            raise OrderNotDraft(self.status)


@dataclass(frozen=True, kw_only=True)
class OrderSnapshot:
    number: str
    customer_id: UUID
    customer_name: str
    contact_id: UUID | None
    opportunity_id: UUID | None
    order_date: date
    currency_code: str
    lines: list[OrderLine]
    subtotal: Money | None
    tax_total: Money | None
    total: Money | None
    status: str
    place_time: datetime | None
    cancel_time: datetime | None
    deliver_time: datetime | None
    delivery_address: str
    requested_delivery_date: date | None
    external_key: str
    create_time: datetime
    received_total: Money | None
    cost_total: Money | None
    costed_subtotal: Money | None
    custom_fields: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class OrderEvent(Event):
    """What every event says of an order."""

    order_id: UUID
    owner_id: UUID | None
    team_id: UUID | None
    order: OrderSnapshot


class OrderCreated(OrderEvent):
    pass


@dataclass(frozen=True, kw_only=True)
class OrderUpdated(OrderEvent):
    changed_fields: list[str]


class OrderPlaced(OrderEvent):
    pass


@dataclass(frozen=True, kw_only=True)
class OrderCancelled(OrderEvent):
    reason: str


@dataclass(frozen=True, kw_only=True)
class OrderDelivered(OrderEvent):
    delivery: Delivery
    complete: bool


@dataclass(frozen=True, kw_only=True)
class OrderReceiptRecorded(OrderEvent):
    receipt: Receipt
    settled: bool


class OrderDeleted(OrderEvent):
    pass


def told(order: Order) -> dict[str, Any]:
    """What every event says of an order."""
    it = order
    lines = it.all_lines
    costs = costs_known(lines)

    def money(minor: int | None) -> Money | None:
        return Money(minor, it.currency_code) if it.currency_code and minor is not None else None

    return {
        "order_id": it.id,
        "owner_id": it.owner_id,
        "team_id": it.team_id,
        "order": OrderSnapshot(
            number=it.number, customer_id=it.customer_id, customer_name=it.customer_name, contact_id=it.contact_id,
            opportunity_id=it.opportunity_id, order_date=it.order_date, currency_code=it.currency_code,
            lines=lines, subtotal=money(it.subtotal), tax_total=money(it.tax_total),
            total=money(it.total), status=it.status, place_time=it.place_time, cancel_time=it.cancel_time,
            deliver_time=it.deliver_time, delivery_address=it.delivery_address,
            requested_delivery_date=it.requested_delivery_date, external_key=it.external_key, create_time=it.created_at,
            received_total=money(it.received_total), cost_total=money(costs and costs.cost),
            costed_subtotal=money(costs and costs.sold), custom_fields=dict(it.custom_fields),
        ),
    }  # fmt: skip


async def _priced(tx: Transaction, line: Line, currency: str, field: str) -> OrderLine:
    product = await sellable(tx, line.product_id, f"{field}.productId")
    price = line.unit_price or product.price
    if price is None:
        raise Invalid(f"{field}.unitPrice", "is needed, for the product has no list price")
    if currency and price.currency != currency:
        raise Invalid(
            f"{field}.unitPrice",
            f"is in {price.currency}, the order in {currency}",
            reason="CURRENCY_MISMATCH",
        )
    tax_percent = line.tax_percent if line.tax_percent is not None else product.tax_percent or Decimal(0)
    amount = rounded(line.quantity * price.minor * (100 - line.discount_percent) / 100)
    tax = rounded(amount * tax_percent / 100)
    if amount + tax > _LARGEST:
        raise Invalid(f"{field}.quantity", "makes the amount too large", reason="VALUE_OUT_OF_RANGE")
    priced = OrderLine(
        id=line.id or new_id(), product_id=product.id, product_name=product.name, product_sku=product.sku, unit=product.unit,
        quantity=plain_decimal(line.quantity), unit_price=price, discount_percent=plain_decimal(line.discount_percent),
        tax_percent=plain_decimal(tax_percent), amount=Money(amount, price.currency), tax=Money(tax, price.currency),
        delivered_quantity="0", description=line.description, unit_cost=None, cost=None,
    )  # fmt: skip
    return costed(priced, product.cost)


async def _fill(tx: Transaction, order: Order, lines: Sequence[Line]) -> None:
    priced: list[OrderLine] = []
    # Locked in the order of their ids, so that two orders cannot wait for each other.
    for id in sorted({line.product_id for line in lines}):
        place = next(n for n, line in enumerate(lines) if line.product_id == id)
        await sellable(tx, id, f"order.lines[{place}].productId")
    for place, line in enumerate(lines):
        done = await _priced(tx, line, order.currency_code, f"order.lines[{place}]")
        if any(other.id == done.id for other in priced):
            raise Invalid(f"order.lines[{place}].id", "stands in the order twice")
        order.currency_code = done.amount.currency
        priced.append(done)
    order.lines = [kept_line(line) for line in priced]
    _keep_costs(order, priced)
    order.subtotal = sum(line.amount.minor for line in priced)
    order.tax_total = sum(line.tax.minor for line in priced)
    order.total = order.subtotal + order.tax_total
    if order.total > _LARGEST:
        raise Invalid("order.lines", "make the total too large", reason="VALUE_OUT_OF_RANGE")


def _keep_costs(order: Order, lines: Sequence[OrderLine]) -> None:
    """Keeps what the lines cost. Raises Invalid."""
    order.line_costs = kept_costs(lines)
    known = costs_known(lines)
    if known is not None and known.cost > _LARGEST:
        raise Invalid("order.lines", "make the cost too large", reason="VALUE_OUT_OF_RANGE")


_NEXT_NUMBER = text(
    "INSERT INTO counters (tenant_id, name, value) VALUES (:tenant, :name, 1)"
    " ON CONFLICT (tenant_id, name) DO UPDATE SET value = counters.value + 1 RETURNING value"
)


async def write_order(
    tx: Transaction,
    values: Mapping[str, Any],
    lines: Sequence[Line],
    customer_name: str,
    owner: Owner,
    *,
    id: UUID | None = None,
    place: bool = False,
) -> Order:
    """A new draft, or an order placed at once. Raises Invalid for lines that cannot be and custom fields that are wrong,
    OrderWithoutLines."""
    columns: dict[str, Any] = {
        **await taken(tx, Order.record_type, values), "id": id or new_id(), "owner_id": owner.person_id,
        "team_id": owner.team_id, "number": "",
        "customer_name": customer_name, "order_date": values.get("order_date") or tx.now.date(),
    }  # fmt: skip
    order = Order(**columns)
    await _fill(tx, order, lines)
    # The counter's row is held until the end, so it is asked last.
    year = tx.now.year
    counted = await tx.session.execute(_NEXT_NUMBER, {"tenant": tx.who.tenant_id, "name": f"order {year}"})
    order.number = f"SO-{year}-{counted.scalar_one():06d}"
    order.findable()
    tx.add(order)
    if place:
        _place(tx, order)
    else:
        tx.record(OrderCreated(**told(order)), on=order)
    return order


def _place(tx: Transaction, order: Order) -> None:
    if not order.lines:
        raise OrderWithoutLines
    order.status = PLACED
    order.place_time = tx.now
    tx.record(OrderPlaced(**told(order)), on=order)


async def place_order(tx: Transaction, order: Order) -> None:
    """The customer has ordered: what that costs us is kept as of now. Raises OrderNotDraft, OrderWithoutLines; Invalid when the
    sum of the costs has become too large."""
    order.need_draft()
    lines = order.all_lines
    costs = await costs_of(tx, [line.product_id for line in lines])
    _keep_costs(order, [costed(line, costs.get(line.product_id)) for line in lines])
    _place(tx, order)


async def change_order(
    tx: Transaction,
    order: Order,
    values: Mapping[str, Any],
    lines: Sequence[Line] | None,
    customer_name: str | None,
) -> None:
    """Changes fields; `lines` replace the present ones. Raises OrderNotDraft; Invalid for lines that cannot be and custom
    fields that are wrong."""
    values = await taken(tx, order.record_type, values, order.custom_fields)
    columns = {name: value for name, value in values.items() if getattr(order, name) != value}
    if order.status != DRAFT and (lines is not None or columns.keys() - _CHANGEABLE_WHEN_PLACED):
        raise OrderNotDraft(order.status)
    if "customer_id" in columns and customer_name is not None:
        columns["customer_name"] = customer_name
    if columns.get("order_date", order.order_date) is None:
        columns["order_date"] = tx.now.date()
    changed = change(order, columns)
    if order.opportunity_id is not None and not {"opportunity_id", "customer_id"}.isdisjoint(changed):
        await check_customer(tx, order.opportunity_id, order.customer_id, "order.opportunityId")
    if lines is not None:
        order.currency_code = values.get("currency_code", "")
        await _fill(tx, order, lines)
        changed.append("lines")
    elif "currency_code" in changed and any(order.lines):
        raise Invalid("order.currencyCode", "the lines are in another one", reason="CURRENCY_MISMATCH")
    if changed:
        order.findable()
        tx.record(OrderUpdated(**told(order), changed_fields=changed), on=order)


def cancel_order(tx: Transaction, order: Order, reason: str) -> None:
    """The customer will not have it. Raises OrderNotCancellable."""
    if order.status != PLACED:
        raise OrderNotCancellable(order.status)
    order.status = CANCELLED
    order.cancel_time = tx.now
    order.cancel_reason = reason
    tx.record(OrderCancelled(**told(order), reason=reason), on=order)


async def drop_order(tx: Transaction, order: Order) -> None:
    """Deletes a draft with what is on it. Raises OrderNotDraft."""
    order.need_draft()
    await drop_papers(tx, order.record_type, [order.id])
    tx.delete(order)
    tx.record(OrderDeleted(**told(order)), on=order)


def record_delivery(tx: Transaction, order: Order, delivery: Delivery) -> None:
    """Something was delivered; the last of it makes the order DELIVERED.

    Raises OrderNotDeliverable, DeliveryExceedsOrder; Invalid for a time that is yet to come or a line of another order.
    """
    if order.status not in (PLACED, PARTLY_DELIVERED):
        raise OrderNotDeliverable(order.status)
    if delivery.deliver_time > tx.now:
        raise Invalid("delivery.deliverTime", "is yet to come")
    lines = {line.id: line for line in order.all_lines}
    brought = delivery.lines or [
        DeliveryLine(order_line_id=line.id, quantity=plain_decimal(_outstanding(line)))
        for line in lines.values()
        if _outstanding(line)
    ]
    for place, part in enumerate(brought):
        line = lines.get(part.order_line_id)
        if line is None:
            raise Invalid(
                f"delivery.lines[{place}].orderLineId",
                "is no line of this order",
                reason="ORDER_LINE_NOT_FOUND",
            )
        if Decimal(part.quantity) > _outstanding(line):
            raise DeliveryExceedsOrder(line.product_name, plain_decimal(_outstanding(line)))
        so_far = Decimal(line.delivered_quantity) + Decimal(part.quantity)
        lines[line.id] = replace(line, delivered_quantity=plain_decimal(so_far))
    brought = [replace(part, quantity=plain_decimal(Decimal(part.quantity))) for part in brought]
    delivery = replace(delivery, lines=brought)
    complete = not any(_outstanding(line) for line in lines.values())
    order.lines = [kept_line(line) for line in lines.values()]
    # Reports may come out of order.
    known = [*deliveries_of(order.deliveries), delivery]
    order.deliveries = [kept_delivery(one) for one in sorted(known, key=lambda one: one.deliver_time)]
    order.status = DELIVERED if complete else PARTLY_DELIVERED
    if complete:
        order.deliver_time = max(one.deliver_time for one in known)
    tx.record(OrderDelivered(**told(order), delivery=delivery, complete=complete), on=order)


def record_receipt(tx: Transaction, order: Order, receipt: Receipt) -> None:
    """Money was received.

    Raises OrderNotPayable, ReceiptExceedsOrder; Invalid for a time that is yet to come or another currency.
    """
    if order.status not in (PLACED, PARTLY_DELIVERED, DELIVERED):
        raise OrderNotPayable(order.status)
    if receipt.receive_time > tx.now:
        raise Invalid("receipt.receiveTime", "is yet to come")
    if receipt.amount.currency != order.currency_code:
        raise Invalid(
            "receipt.amount", f"is in {receipt.amount.currency}, the order in {order.currency_code}",
            reason="CURRENCY_MISMATCH",
        )  # fmt: skip
    unpaid = order.total - order.received_total
    if receipt.amount.minor > unpaid:
        raise ReceiptExceedsOrder(Money(unpaid, order.currency_code))
    order.received_total += receipt.amount.minor
    # Reports may come out of order.
    known = [*receipts_of(order.receipts), receipt]
    order.receipts = [kept_receipt(one) for one in sorted(known, key=lambda one: one.receive_time)]
    settled = order.received_total == order.total
    tx.record(OrderReceiptRecorded(**told(order), receipt=receipt, settled=settled), on=order)


def _outstanding(line: OrderLine) -> Decimal:
    return Decimal(line.quantity) - Decimal(line.delivered_quantity)
