"""What sales knows of a customer, for the 360° view."""

from typing import Any

from google.type.date_pb2 import Date
from google.type.money_pb2 import Money as MoneyMessage
from kehu.sales.v1 import customer_facet_pb2 as pb

from chassis.ids import parse_id
from chassis.mapping import to_money
from chassis.money import Money
from chassis.principal import Act, Reach
from chassis.rpc import Call, Face
from chassis.visibility import visible_text
from sales.rpc.messages import activity_message, competitor_names, opportunity_message, order_message

face = Face("kehu.sales.v1.CustomerFacetService")
_MINE = "t.customer_id = $1 AND t.deleted_at IS NULL AND {rule}"
_OPPORTUNITIES = (
    f"SELECT t.* FROM opportunities t WHERE {_MINE}"  # noqa: S608 (a constant of this file)
    " ORDER BY t.status = 'OPEN' DESC, t.updated_at DESC, t.id LIMIT 50"
)
_OPPORTUNITY_SUMS = (
    "SELECT t.status, t.amount_currency AS currency, count(*) AS count, sum(t.amount) AS amount FROM opportunities t"  # noqa: S608 (a constant of this file)
    f" WHERE {_MINE} GROUP BY t.status, t.amount_currency ORDER BY t.amount_currency"
)
_ACTIVITIES = (
    f"SELECT t.*, count(*) OVER () AS all_of_them FROM activities t WHERE {_MINE} ORDER BY t.status <> 'PLANNED',"  # noqa: S608 (a constant of this file)
    " CASE WHEN t.status = 'PLANNED' THEN t.due_time END, t.complete_time DESC NULLS LAST, t.id LIMIT 50"
)
_ORDERS = f"SELECT t.* FROM orders t WHERE {_MINE} AND t.status <> 'DRAFT' ORDER BY t.order_date DESC, t.id LIMIT 50"  # noqa: S608 (a constant of this file)
_ORDER_SUMS = (
    "SELECT t.currency_code AS currency, count(*) AS count, sum(t.total) AS amount, max(t.order_date) AS last FROM orders t"  # noqa: S608 (a constant of this file)
    f" WHERE {_MINE} AND t.status NOT IN ('DRAFT', 'CANCELLED') GROUP BY t.currency_code ORDER BY t.currency_code"
)


def _sum(row: Any) -> MoneyMessage:
    message = MoneyMessage()
    to_money(message, Money(int(row["amount"]), row["currency"]))
    return message


@face.read("GetCustomerFacet")
async def get_customer_facet(request: pb.GetCustomerFacetRequest, call: Call) -> pb.CustomerFacet:
    id = parse_id(request.customer_id, "customerId")

    async def rows(sql: str, right: str) -> list[Any]:
        rule, values = visible_text(call.who, right, Act.READ, "owner_id", "team_id", first=2)
        return await call.database.read(call.who, sql.replace("{rule}", rule), id, *values)

    opportunities = await rows(_OPPORTUNITIES, "opportunities")
    names = await competitor_names(call, opportunities)
    facet = pb.CustomerFacet(opportunities=[opportunity_message(row, names) for row in opportunities])
    for row in await rows(_OPPORTUNITY_SUMS, "opportunities"):
        facet.opportunity_count += row["count"]
        if row["status"] == "OPEN":
            facet.open_opportunity_count += row["count"]
        elif row["status"] == "WON":
            facet.won_opportunity_count += row["count"]
        if row["amount"] is not None and row["status"] != "LOST":
            (facet.open_amounts if row["status"] == "OPEN" else facet.won_amounts).append(_sum(row))
    activities = await rows(_ACTIVITIES, "opportunities")
    facet.activities.extend(activity_message(row) for row in activities)
    facet.activity_count = activities[0]["all_of_them"] if activities else 0
    if call.who.reach("orders", Act.READ) is Reach.NONE:
        facet.orders_withheld = True
        return facet
    facet.orders.extend(order_message(row, whole=False) for row in await rows(_ORDERS, "orders"))
    for row in await rows(_ORDER_SUMS, "orders"):
        facet.order_count += row["count"]
        facet.order_totals.append(_sum(row))
        last = row["last"]
        known = facet.last_order_date
        if (last.year, last.month, last.day) > (known.year, known.month, known.day):
            facet.last_order_date.CopyFrom(Date(year=last.year, month=last.month, day=last.day))
    return facet
