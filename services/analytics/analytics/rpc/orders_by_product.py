"""What is bought."""

from collections import defaultdict
from dataclasses import dataclass, field
from decimal import Decimal
from uuid import UUID

from kehu.analytics.v1 import report_service_pb2 as pb

from analytics.figures import Amounts
from analytics.rpc.face import face, period_of, put_as_of, put_money
from analytics.scope import Scope
from chassis.mapping import plain_decimal
from chassis.rpc import Call

# A row without a product is all orders together; one with a currency holds the money of it, one without the counts.
_STATEMENT = """
WITH bought AS (
    SELECT t.id AS order_id, t.currency, t.order_date, l.*
    FROM orders t CROSS JOIN LATERAL jsonb_to_recordset(t.lines)
        AS l(product_id uuid, name text, sku text, quantity numeric, delivered numeric, amount numeric, tax numeric)
    WHERE {orders}
        AND t.status IN ('ORDER_STATUS_PLACED', 'ORDER_STATUS_PARTLY_DELIVERED', 'ORDER_STATUS_DELIVERED')
), summed AS (
    SELECT product_id, currency, count(DISTINCT order_id) AS number, sum(quantity) AS quantity,
        sum(delivered) AS delivered, sum(amount) AS amount, sum(tax) AS tax,
        (array_agg(name ORDER BY order_date DESC, order_id DESC))[1] AS name,
        (array_agg(sku ORDER BY order_date DESC, order_id DESC))[1] AS sku
    FROM bought GROUP BY GROUPING SETS ((product_id), (product_id, currency), (currency), ())
)
SELECT s.product_id, s.currency, s.number, s.quantity, s.delivered, s.amount, s.tax,
    coalesce(p.name, s.name) AS name, coalesce(p.sku, s.sku) AS sku
FROM summed s LEFT JOIN products p ON p.id = s.product_id
"""


@dataclass
class _Bought:
    """What was bought of one product, or in all."""

    number: int = 0
    name: str = ""
    sku: str = ""
    quantity: Decimal = Decimal(0)
    delivered: Decimal = Decimal(0)
    amounts: Amounts = field(default_factory=Amounts)
    taxes: Amounts = field(default_factory=Amounts)

    def message(self) -> pb.OrdersByProductRow:
        row = pb.OrdersByProductRow(order_count=self.number)
        put_money(row.amounts, self.amounts)
        put_money(row.taxes, self.taxes)
        return row


@face.read("GetOrdersByProduct")
async def get_orders_by_product(request: pb.GetOrdersByProductRequest, call: Call) -> pb.OrdersByProduct:
    period = period_of(request)
    scope = Scope(call.who)
    orders = " AND ".join([
        scope.owned(request.owner_id, request.team_id),
        scope.same("customer_id", request.customer_id, "customerId"),
        scope.between("order_date", period.first, period.last),
    ])  # fmt: skip
    answer = pb.OrdersByProduct()
    await put_as_of(answer, call, "sales")
    rows = await call.database.read(call.who, _STATEMENT.replace("{orders}", orders), *scope.values)
    products: defaultdict[UUID | None, _Bought] = defaultdict(_Bought)
    for row in rows:
        bought = products[row["product_id"]]
        if row["currency"] is not None:
            bought.amounts.add(row["amount"], row["currency"])
            bought.taxes.add(row["tax"], row["currency"])
        elif row["number"]:
            bought.number, bought.name, bought.sku = row["number"], row["name"], row["sku"]
            bought.quantity, bought.delivered = row["quantity"], row["delivered"]
    answer.total.CopyFrom(products.pop(None, _Bought()).message())
    for id, bought in sorted(products.items(), key=lambda item: (item[1].name, str(item[0]))):
        line = bought.message()
        line.product_id, line.product_name, line.product_sku = str(id), bought.name, bought.sku
        line.quantity, line.delivered_quantity = (
            plain_decimal(bought.quantity),
            plain_decimal(bought.delivered),
        )
        answer.rows.append(line)
    return answer
