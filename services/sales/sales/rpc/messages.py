"""Rows as messages."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from google.protobuf.field_mask_pb2 import FieldMask
from kehu.sales.v1 import activity_pb2, opportunity_pb2, order_pb2, pipeline_pb2, product_pb2

from chassis.ids import new_id, parse_id
from chassis.mapping import Mapping, to_datetime, to_money, to_timestamp, to_value
from chassis.money import Money
from chassis.rpc import Call
from sales.competition import NAMES
from sales.order_lines import (
    Delivery,
    DeliveryLine,
    Line,
    Receipt,
    costs_known,
    deliveries_of,
    lines_of,
    receipts_of,
)
from sales.pipeline import Stage

_SUMS = ("subtotal", "tax_total", "total", "received_total")
_COSTS = ("cost_total", "costed_subtotal", "margin")
PRODUCT = Mapping(product_pb2.Product)
PIPELINE = Mapping(pipeline_pb2.Pipeline, skip=["stages"])
OPPORTUNITY = Mapping(opportunity_pb2.Opportunity, skip=["rotting", "competitor_names"])
ACTIVITY = Mapping(activity_pb2.Activity, skip=["overdue"])
ORDER = Mapping(order_pb2.Order, skip=["lines", "deliveries", "receipts", *_SUMS, *_COSTS])


def _read(row: Any, name: str) -> Any:
    return row[name] if hasattr(row, "keys") else getattr(row, name)


async def competitor_names(call: Call, rows: Iterable[Any]) -> dict[UUID, str]:
    """The names of the competitors that these rows of opportunities name."""
    ids = sorted({id for row in rows for id in row["competitor_ids"]})
    found = await call.database.read(call.who, NAMES, ids) if ids else []
    return {row["id"]: row["name"] for row in found}


def opportunity_message(row: Any, names: dict[UUID, str]) -> opportunity_pb2.Opportunity:
    """An opportunity with the names of its competitors; `row` is a row object or a row of the read path."""
    message = OPPORTUNITY.message(row)
    message.competitor_names.extend(names.get(id, "") for id in _read(row, "competitor_ids"))
    rots = _read(row, "rot_time")
    message.rotting = rots is not None and _read(row, "status") == "OPEN" and rots < datetime.now(UTC)
    return message


def activity_message(row: Any) -> activity_pb2.Activity:
    """An activity."""
    message = ACTIVITY.message(row)
    message.overdue = _read(row, "status") == "PLANNED" and _read(row, "due_time") < datetime.now(UTC)
    return message


def stage_messages(stages: Sequence[Stage]) -> list[pipeline_pb2.Stage]:
    """The stages of a pipeline."""
    return [
        pipeline_pb2.Stage(
            id=str(stage.id), name=stage.name, probability=stage.probability, rotting_days=stage.rotting_days,
            exit_criteria=stage.exit_criteria,
        )
        for stage in stages
    ]  # fmt: skip


def order_message(row: Any, *, whole: bool = True, deliveries: bool = True) -> order_pb2.Order:
    """An order; not `whole`: without lines, deliveries and receipts."""
    message = ORDER.message(row)
    currency = _read(row, "currency_code")
    lines = lines_of(_read(row, "lines"), currency, _read(row, "line_costs"))
    if currency:
        for name in _SUMS:
            to_money(getattr(message, name), Money(_read(row, name), currency))
        known = costs_known(lines)
        if known is not None:
            for name, minor in zip(_COSTS, (known.cost, known.sold, known.margin), strict=True):
                to_money(getattr(message, name), Money(minor, currency))
    if not whole:
        return message
    for line in lines:
        one = message.lines.add(
            id=str(line.id), product_id=str(line.product_id), product_name=line.product_name, product_sku=line.product_sku,
            unit=line.unit, quantity=line.quantity, discount_percent=line.discount_percent, tax_percent=line.tax_percent,
            delivered_quantity=line.delivered_quantity, description=line.description,
        )  # fmt: skip
        to_money(one.unit_price, line.unit_price)
        to_money(one.amount, line.amount)
        to_money(one.tax, line.tax)
        if line.unit_cost is not None and line.cost is not None:
            to_money(one.unit_cost, line.unit_cost)
            to_money(one.cost, line.cost)
    if deliveries:
        for delivery in deliveries_of(_read(row, "deliveries")):
            out = message.deliveries.add(
                id=str(delivery.id), number=delivery.number, carrier=delivery.carrier,
                tracking_number=delivery.tracking_number, note=delivery.note,
            )  # fmt: skip
            to_timestamp(out.deliver_time, delivery.deliver_time)
            for part in delivery.lines:
                out.lines.add(order_line_id=str(part.order_line_id), quantity=part.quantity)
        for receipt in receipts_of(_read(row, "receipts")):
            paid = message.receipts.add(
                id=str(receipt.id), number=receipt.number, method=receipt.method, note=receipt.note
            )
            to_timestamp(paid.receive_time, receipt.receive_time)
            to_money(paid.amount, receipt.amount)
    return message


def order_values(
    message: order_pb2.Order, mask: FieldMask | None = None
) -> tuple[dict[str, Any], list[Line] | None]:
    """Column → value of what a client writes, and the lines; None when they stay."""
    if mask is None:
        return ORDER.values(message), lines_asked(message)
    named = {path.split(".")[0] for path in mask.paths}
    rest = [path for path in mask.paths if path.split(".")[0] != "lines"]
    values = ORDER.values(message, FieldMask(paths=rest)) if rest or not named else {}
    wanted = "lines" in named or "*" in named or (not named and bool(message.lines))
    return values, lines_asked(message) if wanted else None


def lines_asked(message: order_pb2.Order) -> list[Line]:
    """The lines of a request."""
    out: list[Line] = []
    for place, line in enumerate(message.lines):
        field = f"order.lines[{place}]"
        out.append(
            Line(
                id=parse_id(line.id, f"{field}.id") if line.id else None,
                product_id=parse_id(line.product_id, f"{field}.productId"),
                quantity=Decimal(line.quantity),
                unit_price=to_value(line.unit_price, f"{field}.unitPrice")
                if line.HasField("unit_price")
                else None,
                discount_percent=Decimal(line.discount_percent or 0),
                tax_percent=Decimal(line.tax_percent) if line.tax_percent else None,
                description=line.description.strip(),
            )
        )
    return out


def delivery_asked(message: order_pb2.Delivery, now: datetime) -> Delivery:
    """The delivery of a report."""
    return Delivery(
        id=new_id(), number=message.number.strip(), carrier=message.carrier.strip(),
        tracking_number=message.tracking_number.strip(), note=message.note.strip(),
        deliver_time=to_datetime(message.deliver_time) if message.HasField("deliver_time") else now,
        lines=[
            DeliveryLine(
                order_line_id=parse_id(line.order_line_id, f"delivery.lines[{place}].orderLineId"), quantity=line.quantity
            )
            for place, line in enumerate(message.lines)
        ],
    )  # fmt: skip


def receipt_asked(message: order_pb2.Receipt, now: datetime) -> Receipt:
    """The receipt of a report."""
    return Receipt(
        id=new_id(), number=message.number.strip(), method=message.method.strip(), note=message.note.strip(),
        receive_time=to_datetime(message.receive_time) if message.HasField("receive_time") else now,
        amount=to_value(message.amount, "receipt.amount"),
    )  # fmt: skip
