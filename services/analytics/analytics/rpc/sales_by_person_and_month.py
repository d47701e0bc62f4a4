"""Who has sold how much, month by month."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import date
from typing import Any
from uuid import UUID

from kehu.analytics.v1 import report_service_pb2 as pb

from analytics.figures import Amounts
from analytics.rpc.face import face, period_of, put_as_of, put_day, put_money
from analytics.scope import Scope
from chassis.rpc import Call

WON, LOST, ORDERED = "OPPORTUNITY_STATUS_WON", "OPPORTUNITY_STATUS_LOST", "ORDERED"

_STATEMENT = """
WITH sold AS (
    SELECT t.owner_id, t.close_date AS day, t.status AS what, t.currency, t.amount, NULL::bigint AS with_tax
    FROM opportunities t
    WHERE {closed} AND t.close_date IS NOT NULL AND t.status IN ('OPPORTUNITY_STATUS_WON', 'OPPORTUNITY_STATUS_LOST')
    UNION ALL
    SELECT t.owner_id, t.order_date, 'ORDERED', t.currency, t.subtotal, t.total
    FROM orders t
    WHERE {ordered}
        AND t.status IN ('ORDER_STATUS_PLACED', 'ORDER_STATUS_PARTLY_DELIVERED', 'ORDER_STATUS_DELIVERED')
)
SELECT owner_id, date_trunc('month', day::timestamp)::date AS month, what, currency, count(*) AS number,
    sum(amount) AS amount, sum(with_tax) AS with_tax
FROM sold GROUP BY 1, 2, 3, 4
"""
_PEOPLE = """
SELECT p.id, p.name, t.id AS team_id, t.name AS team_name FROM people p
LEFT JOIN teams t ON t.id = p.team_id AND NOT t.deleted WHERE p.id = ANY($1)
"""


@dataclass
class _Sales:
    """What was sold: by one person in one month, or in all."""

    numbers: Counter[str] = field(default_factory=Counter[str])
    won: Amounts = field(default_factory=Amounts)
    subtotals: Amounts = field(default_factory=Amounts)
    totals: Amounts = field(default_factory=Amounts)

    def add(self, row: Any) -> None:
        self.numbers[row["what"]] += row["number"]
        if row["what"] == WON:
            self.won.add(row["amount"], row["currency"])
        elif row["what"] == ORDERED:
            self.subtotals.add(row["amount"], row["currency"])
            self.totals.add(row["with_tax"], row["currency"])

    def message(self) -> pb.SalesByPersonAndMonthRow:
        row = pb.SalesByPersonAndMonthRow(
            won_count=self.numbers[WON], lost_count=self.numbers[LOST], order_count=self.numbers[ORDERED]
        )
        put_money(row.won_amounts, self.won)
        put_money(row.order_subtotals, self.subtotals)
        put_money(row.order_totals, self.totals)
        return row


@face.read("GetSalesByPersonAndMonth")
async def get_sales_by_person_and_month(
    request: pb.GetSalesByPersonAndMonthRequest, call: Call
) -> pb.SalesByPersonAndMonth:
    period = period_of(request)
    scope = Scope(call.who)
    owned = scope.owned(request.owner_id, request.team_id)
    closed = f"{owned} AND {scope.between('close_date', period.first, period.last)}"
    ordered = f"{owned} AND {scope.between('order_date', period.first, period.last)}"
    answer = pb.SalesByPersonAndMonth()
    await put_as_of(answer, call, "sales")
    rows = await call.database.read(
        call.who, _STATEMENT.replace("{closed}", closed).replace("{ordered}", ordered), *scope.values
    )
    sales: defaultdict[tuple[date, UUID | None], _Sales] = defaultdict(_Sales)
    whole = _Sales()
    for row in rows:
        sales[row["month"], row["owner_id"]].add(row)
        whole.add(row)
    people = await _people(call, {owner for _, owner in sales if owner is not None})
    lines = [_line(month, owner, people, sold) for (month, owner), sold in sales.items()]
    lines.sort(key=lambda line: (line.month.year, line.month.month, line.person_name, line.person_id))
    answer.rows.extend(lines)
    answer.total.CopyFrom(whole.message())
    return answer


async def _people(call: Call, ids: set[UUID]) -> dict[UUID, Any]:
    found = await call.database.read(call.who, _PEOPLE, list(ids)) if ids else []
    return {row["id"]: row for row in found}


def _line(
    month: date, owner: UUID | None, people: dict[UUID, Any], sold: _Sales
) -> pb.SalesByPersonAndMonthRow:
    line = sold.message()
    put_day(line.month, month)
    if owner is not None:
        line.person_id = str(owner)
    person = people.get(owner) if owner is not None else None
    if person is not None:
        line.person_name = person["name"]
        line.team_id = str(person["team_id"] or "")
        line.team_name = person["team_name"] or ""
    return line
