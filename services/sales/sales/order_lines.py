"""What stands in an order's row: its lines, deliveries and receipts, as they are asked for, told and kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any
from uuid import UUID

from chassis.money import Money


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line as it was asked for. What is None comes from the product."""

    id: UUID | None
    product_id: UUID
    quantity: Decimal
    unit_price: Money | None
    discount_percent: Decimal
    tax_percent: Decimal | None
    description: str


@dataclass(frozen=True, kw_only=True)
class OrderLine:
    """A line of an order, as events and answers have it."""

    id: UUID
    product_id: UUID
    product_name: str
    product_sku: str
    unit: str
    quantity: str
    unit_price: Money
    discount_percent: str
    tax_percent: str
    amount: Money
    tax: Money
    delivered_quantity: str
    description: str
    unit_cost: Money | None
    cost: Money | None


@dataclass(frozen=True, kw_only=True)
class DeliveryLine:
    order_line_id: UUID
    quantity: str


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """What was brought at one time. No lines in a report mean all that is outstanding."""

    id: UUID
    number: str
    deliver_time: datetime
    lines: list[DeliveryLine]
    carrier: str
    tracking_number: str
    note: str


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """What was paid at one time."""

    id: UUID
    number: str
    receive_time: datetime
    amount: Money
    method: str
    note: str


_COSTS = ("unit_cost", "cost")


def lines_of(kept: Sequence[Mapping[str, Any]], currency: str) -> list[OrderLine]:
    """Lines from the form in which the order keeps them."""
    out: list[OrderLine] = []
    for line in kept:
        values: dict[str, Any] = {**line, "id": UUID(line["id"]), "product_id": UUID(line["product_id"])}
        for name in ("unit_price", "amount", "tax"):
            values[name] = Money(line[name], currency)
        for name in _COSTS:
            # Lines of before costs were kept know nothing of them.
            known = line.get(name)
            values[name] = None if known is None else Money(known, currency)
        out.append(OrderLine(**values))
    return out


def kept_line(line: OrderLine) -> dict[str, Any]:
    """The form in which the order keeps a line."""
    return {
        **vars(line), "id": str(line.id), "product_id": str(line.product_id), "unit_price": line.unit_price.minor,
        "amount": line.amount.minor, "tax": line.tax.minor,
        "unit_cost": None if line.unit_cost is None else line.unit_cost.minor,
        "cost": None if line.cost is None else line.cost.minor,
    }  # fmt: skip


def rounded(amount: Decimal) -> int:
    """Whole minor units, half up."""
    return int(amount.quantize(Decimal(1), rounding=ROUND_HALF_UP))


def costed(line: OrderLine, unit_cost: Money | None) -> OrderLine:
    """The line with what it costs us: quantity x unit cost, rounded half up. A cost in another currency than the line's is as
    good as unknown, for amounts of different currencies are never compared."""
    if unit_cost is None or unit_cost.currency != line.amount.currency:
        return replace(line, unit_cost=None, cost=None)
    cost = Money(rounded(Decimal(line.quantity) * unit_cost.minor), unit_cost.currency)
    return replace(line, unit_cost=unit_cost, cost=cost)


def deliveries_of(kept: Sequence[Mapping[str, Any]]) -> list[Delivery]:
    """Deliveries from the form in which the order keeps them."""
    out: list[Delivery] = []
    for delivery in kept:
        values: dict[str, Any] = {**delivery, "id": UUID(delivery["id"])}
        values["deliver_time"] = datetime.fromisoformat(delivery["deliver_time"])
        values["lines"] = [
            DeliveryLine(order_line_id=UUID(line["order_line_id"]), quantity=line["quantity"])
            for line in delivery["lines"]
        ]
        out.append(Delivery(**values))
    return out


def kept_delivery(delivery: Delivery) -> dict[str, Any]:
    """The form in which the order keeps a delivery."""
    return {
        **vars(delivery), "id": str(delivery.id), "deliver_time": delivery.deliver_time.isoformat(),
        "lines": [{"order_line_id": str(x.order_line_id), "quantity": x.quantity} for x in delivery.lines],
    }  # fmt: skip


def receipts_of(kept: Sequence[Mapping[str, Any]]) -> list[Receipt]:
    """Receipts from the form in which the order keeps them."""
    return [
        Receipt(
            id=UUID(one["id"]), number=one["number"], receive_time=datetime.fromisoformat(one["receive_time"]),
            amount=Money(one["amount"], one["currency"]), method=one["method"], note=one["note"],
        )
        for one in kept
    ]  # fmt: skip


def kept_receipt(receipt: Receipt) -> dict[str, Any]:
    """The form in which the order keeps a receipt."""
    return {
        "id": str(receipt.id), "number": receipt.number, "receive_time": receipt.receive_time.isoformat(),
        "amount": receipt.amount.minor, "currency": receipt.amount.currency, "method": receipt.method, "note": receipt.note,
    }  # fmt: skip
