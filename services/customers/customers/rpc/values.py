"""CustomerValueService."""

from collections.abc import Mapping
from datetime import date
from typing import Any
from uuid import UUID

from google.type.date_pb2 import Date
from kehu.customers.v1 import customer_value_pb2 as pb
from kehu.customers.v1 import customer_value_service_pb2 as service_pb

from chassis.ids import parse_id
from chassis.mapping import to_money, to_timestamp
from chassis.money import Money
from chassis.percent import percent
from chassis.rpc import Call, Face
from customers.rpc.customers import CUSTOMERS
from customers.rpc.pages import page_of

face = Face("kehu.customers.v1.CustomerValueService")
VALUE = (
    "SELECT v.*, r.reviewed_at, m.currency AS main_currency, a.amounts FROM customer_values v LEFT JOIN value_reviews r ON true"
    " LEFT JOIN main_currencies m ON true LEFT JOIN LATERAL (SELECT jsonb_agg(to_jsonb(c) ORDER BY c.currency) AS amounts"
    " FROM customer_amounts c WHERE c.customer_id = v.customer_id) a ON true WHERE v.customer_id = $1"
)
"""The value of the customer $1 in one round trip."""
_MONTHS = (
    "SELECT * FROM customer_value_months WHERE customer_id = $1 AND month < $2 ORDER BY month DESC LIMIT $3"
)


def _date(day: date) -> Date:
    return Date(year=day.year, month=day.month, day=day.day)


def _score(message: Any, row: Any) -> None:
    if row["tier"] is not None:
        score = pb.CustomerScore(
            recency=row["recency"], frequency=row["frequency"], monetary=row["monetary"], tier=row["tier"]
        )
        message.score.CopyFrom(score)


def _satisfaction(message: Any, row: Any) -> None:
    message.rating_count = row["ratings"]
    if row["satisfaction"] is not None:
        message.satisfaction_index = float(row["satisfaction"])


def put_known(message: Any, amount: Mapping[str, Any], *names: str) -> None:
    """Fills the amounts of these names that are known."""
    for name in names:
        # Months that were reviewed before costs were kept say nothing of them.
        minor = amount.get(name)
        if minor is not None:
            to_money(getattr(message, name), Money(minor, amount["currency"]))


def value_message(customer_id: UUID, row: Any) -> pb.CustomerValue:
    """A row of VALUE."""
    message = pb.CustomerValue(customer_id=str(customer_id), order_count=row["order_count"])
    if row["last_order_date"] is not None:
        message.last_order_date.CopyFrom(_date(row["last_order_date"]))
    for amount in row["amounts"] or ():
        currency = amount["currency"]
        out = message.amounts.add(currency_code=currency, order_count=amount["order_count"])
        to_money(out.revenue, Money(amount["revenue"], currency))
        to_money(out.potential, Money(amount["potential"], currency))
        put_known(out, amount, "margin", "costed_revenue")
        if amount["costed_revenue"] is not None and amount["revenue"]:
            out.margin_coverage = float(percent(amount["costed_revenue"], amount["revenue"]))
        if currency == row["main_currency"]:
            message.main_amount.CopyFrom(out)
    _score(message, row)
    _satisfaction(message, row)
    if row["reviewed_at"] is not None:
        to_timestamp(message.review_time, row["reviewed_at"])
    return message


@face.read("GetCustomerValue")
async def get_value(request: service_pb.GetCustomerValueRequest, call: Call) -> pb.CustomerValue:
    customer = await CUSTOMERS.get(call, parse_id(request.customer_id, "customerId"))
    rows = await call.database.read(call.who, VALUE, customer["id"])
    if not rows:
        return pb.CustomerValue(customer_id=request.customer_id)
    return value_message(customer["id"], rows[0])


@face.read("ListCustomerValueHistory")
async def list_history(
    request: service_pb.ListCustomerValueHistoryRequest, call: Call
) -> service_pb.ListCustomerValueHistoryResponse:
    customer = await CUSTOMERS.get(call, parse_id(request.customer_id, "customerId"))
    rows, token = await page_of(
        call, request, customer["id"], _MONTHS, [date.max], lambda row: [row["month"].isoformat()],
        lambda place: [date.fromisoformat(place[0])],
    )  # fmt: skip
    answer = service_pb.ListCustomerValueHistoryResponse(next_page_token=token)
    for row in rows:
        month = answer.months.add(
            month=_date(row["month"]),
            order_count=row["order_count"],
            total_order_count=row["total_order_count"],
        )
        for amount in row["amounts"]:
            currency = amount["currency"]
            out = month.amounts.add(currency_code=currency)
            to_money(out.revenue, Money(amount["revenue"], currency))
            to_money(out.total_revenue, Money(amount["total_revenue"], currency))
            to_money(out.potential, Money(amount["potential"], currency))
            put_known(out, amount, "margin", "costed_revenue", "total_margin", "total_costed_revenue")
        _score(month, row)
        _satisfaction(month, row)
    return answer
