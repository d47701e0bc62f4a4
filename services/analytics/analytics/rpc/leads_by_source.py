"""Where leads come from, and what has become of them."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

from kehu.analytics.v1 import report_service_pb2 as pb

from analytics.figures import Amounts, percent
from analytics.rpc.face import face, moments_of, put_as_of, put_money
from analytics.scope import Scope
from chassis.rpc import Call

_COUNTS = (
    "lead_count", "contacted_count", "qualified_count", "converted_count", "disqualified_count", "won_opportunity_count",
)  # fmt: skip
# A report is one statement, so that leads and what was won with them are of one moment: rows of leads, which are counted, and
# rows of what was won, by currency.
_WON = """won AS (
    SELECT t.origin_lead_id, t.currency, t.amount FROM opportunities t
    WHERE {reach} AND t.status = 'OPPORTUNITY_STATUS_WON' AND t.origin_lead_id IS NOT NULL
)"""
_COUNTED = """count(*) AS lead_count, count(*) FILTER (WHERE contacted) AS contacted_count,
    count(*) FILTER (WHERE qualified) AS qualified_count,
    count(*) FILTER (WHERE status = 'LEAD_STATUS_CONVERTED') AS converted_count,
    count(*) FILTER (WHERE status = 'LEAD_STATUS_DISQUALIFIED') AS disqualified_count,
    0 AS won_opportunity_count, NULL::numeric AS won_amount"""
_STATEMENT = """
WITH picked AS (SELECT t.id, t.source, t.status, t.contacted, t.qualified FROM leads t WHERE {leads}),
{won}
SELECT source, '' AS currency, {counted}
FROM picked GROUP BY source
UNION ALL
SELECT picked.source, won.currency, 0, 0, 0, 0, 0, count(*), sum(won.amount)
FROM picked JOIN won ON won.origin_lead_id = picked.id GROUP BY picked.source, won.currency
"""


@face.read("GetLeadsBySource")
async def get_leads_by_source(request: pb.GetLeadsBySourceRequest, call: Call) -> pb.LeadsBySource:
    begin, end = await moments_of(call, request, request.time_zone)
    scope = Scope(call.who)
    leads = " AND ".join([
        scope.owned(request.owner_id, request.team_id),
        scope.same("campaign_id", request.campaign_id, "campaignId"),
        scope.within("captured_at", begin, end),
    ])  # fmt: skip
    answer = pb.LeadsBySource()
    await put_as_of(answer, call, "leads", "sales")
    rows = await call.database.read(call.who, statement(_STATEMENT, leads, scope), *scope.values)
    counts, amounts = tally(rows, "source", "")  # the empty source is all together
    answer.total.CopyFrom(_row("", counts[""], amounts[""]))
    for source in sorted(counts, key=lambda source: (-counts[source]["lead_count"], source)):
        if source:
            answer.rows.append(_row(source, counts[source], amounts[source]))
    return answer


def statement(text: str, leads: str, scope: Scope) -> str:
    """A statement of such a report, with the condition of the leads and the rows that the caller sees."""
    text = text.replace("{won}", _WON).replace("{counted}", _COUNTED)
    return text.replace("{leads}", leads).replace("{reach}", scope.reach)


def tally(
    rows: Iterable[Any], key: str, total: Any
) -> tuple[defaultdict[Any, Counter[str]], defaultdict[Any, Amounts]]:
    """Counts and amounts by the column `key`, and of all together at `total`."""
    counts: defaultdict[Any, Counter[str]] = defaultdict(Counter)
    amounts: defaultdict[Any, Amounts] = defaultdict(Amounts)
    for row in rows:
        for where in (row[key], total):
            for name in _COUNTS:
                counts[where][name] += row[name]
            amounts[where].add(row["won_amount"], row["currency"])
    return counts, amounts


def put_counts(row: Any, counts: Counter[str], amounts: Amounts) -> None:
    """How many leads there are and what has become of them."""
    for name in _COUNTS:
        setattr(row, name, counts[name])
    row.open_count = counts["lead_count"] - counts["converted_count"] - counts["disqualified_count"]
    row.conversion_percent = percent(counts["converted_count"], counts["lead_count"])
    put_money(row.won_amounts, amounts)


def _row(source: str, counts: Counter[str], amounts: Amounts) -> pb.LeadsBySourceRow:
    row = pb.LeadsBySourceRow(source=source, source_key=source.removeprefix("LEAD_SOURCE_"))
    put_counts(row, counts, amounts)
    return row
