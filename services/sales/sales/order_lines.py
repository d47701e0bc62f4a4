"""What stands in an order's row: its lines with what they cost us, deliveries and receipts, as they are asked for, told and kept.

Costs are kept beside the lines and not in them: replicas of the version before read lines of exactly the fields they know. A cost
counts for the line and the product for which it was written, so that lines which such a replica writes anew are of unknown cost
at worst; and sums of costs are always those of the lines as they are.
"""

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


def lines_of(
    kept: Sequence[Mapping[str, Any]], currency: str, costs: Mapping[str, Mapping[str, Any]]
) -> list[OrderLine]:
    """Lines from the form in which the order keeps them and, beside them, their costs."""
    out: list[OrderLine] = []
    for line in kept:
        values: dict[str, Any] = {**line, "id": UUID(line["id"]), "product_id": UUID(line["product_id"])}
        for name in ("unit_price", "amount", "tax"):
            values[name] = Money(line[name], currency)
        known = costs.get(line["id"])
        cost: Money | None = None
        if known is not None and known["product_id"] == line["product_id"]:
            cost = Money(known["unit_cost"], known["currency"])
        out.append(costed(OrderLine(**values, unit_cost=None, cost=None), cost))
    return out


def kept_line(line: OrderLine) -> dict[str, Any]:
    """The form in which the order keeps a line, without its cost."""
    kept = {
        **vars(line), "id": str(line.id), "product_id": str(line.product_id), "unit_price": line.unit_price.minor,
        "amount": line.amount.minor, "tax": line.tax.minor,
    }  # fmt: skip
    del kept["unit_cost"], kept["cost"]
    return kept


def kept_costs(lines: Sequence[OrderLine]) -> dict[str, dict[str, Any]]:
    """The form in which the order keeps what its lines cost, as far as it is known: by the line's id."""
    return {
        str(line.id): {
            "product_id": str(line.product_id), "unit_cost": line.unit_cost.minor, "currency": line.unit_cost.currency,
        }
        for line in lines
        if line.unit_cost is not None
    }  # fmt: skip


@dataclass(frozen=True)
class Costs:
    """What the lines of known cost cost us, and what they were sold for; minor units."""

    cost: int
    sold: int

    @property
    def margin(self) -> int:
        """What is left."""
        return self.sold - self.cost


def costs_known(lines: Sequence[OrderLine]) -> Costs | None:
    """The sums over the lines of known cost; None when there is no such line, which is another matter than a cost of 0."""
    known = [(line.cost.minor, line.amount.minor) for line in lines if line.cost is not None]
    return Costs(sum(cost for cost, _ in known), sum(sold for _, sold in known)) if known else None


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
