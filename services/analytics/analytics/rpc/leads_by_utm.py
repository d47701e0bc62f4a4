"""Which links and campaigns bring leads, and what has become of those."""

from kehu.analytics.v1 import report_service_pb2 as pb

from analytics.rpc.face import face, moments_of, put_as_of
from analytics.rpc.leads_by_source import put_counts, statement, tally
from analytics.scope import Scope
from chassis.errors import Invalid
from chassis.rpc import Call

_MOST_ROWS = 100
_COLUMNS = {
    pb.UTM_PARAMETER_SOURCE: "utm_source",
    pb.UTM_PARAMETER_MEDIUM: "utm_medium",
    pb.UTM_PARAMETER_CAMPAIGN: "utm_campaign",
}
# One statement, so that leads and what was won with them are of one moment. Visitors write into links what they like: the
# combinations behind the last row that is asked for are one in the database already.
_STATEMENT = """
WITH picked AS (SELECT t.id, t.status, t.contacted, t.qualified, {keys} FROM leads t WHERE {leads}),
ranked AS (
    SELECT utm_source, utm_medium, utm_campaign,
        least(row_number() OVER (ORDER BY count(*) DESC, utm_source, utm_medium, utm_campaign), {most} + 1) AS place
    FROM picked GROUP BY utm_source, utm_medium, utm_campaign
),
placed AS (SELECT p.*, r.place FROM picked p JOIN ranked r USING (utm_source, utm_medium, utm_campaign)),
{won}
SELECT place, min(utm_source) AS utm_source, min(utm_medium) AS utm_medium, min(utm_campaign) AS utm_campaign, '' AS currency,
    {counted}
FROM placed GROUP BY place
UNION ALL
SELECT place, '', '', '', won.currency, 0, 0, 0, 0, 0, count(*), sum(won.amount)
FROM placed JOIN won ON won.origin_lead_id = placed.id GROUP BY place, won.currency
ORDER BY place, currency
"""


@face.read("GetLeadsByUtm")
async def get_leads_by_utm(request: pb.GetLeadsByUtmRequest, call: Call) -> pb.LeadsByUtm:
    begin, end = await moments_of(call, request, request.time_zone)
    scope = Scope(call.who)
    leads = " AND ".join([
        scope.owned(request.owner_id, request.team_id),
        scope.same("campaign_id", request.campaign_id, "campaignId"),
        scope.within("captured_at", begin, end),
        *(f"t.{name} = {scope.value(text)}" for name in _COLUMNS.values() if (text := getattr(request, name))),
    ])  # fmt: skip
    if any(one not in _COLUMNS for one in request.by):
        raise Invalid("by", "leads are told apart by source, medium and campaign")
    by = {_COLUMNS[one] for one in request.by} or set(_COLUMNS.values())
    keys = ", ".join(f"t.{name}" if name in by else f"'' AS {name}" for name in _COLUMNS.values())
    most = request.max_rows or _MOST_ROWS
    text = _STATEMENT.replace("{keys}", keys).replace("{most}", f"{scope.value(most)}::bigint")
    answer = pb.LeadsByUtm()
    await put_as_of(answer, call, "leads", "sales")
    rows = await call.database.read(call.who, statement(text, leads, scope), *scope.values)
    names = {
        row["place"]: {name: row[name] for name in _COLUMNS.values()} for row in rows if row["lead_count"]
    }
    counts, amounts = tally(rows, "place", 0)  # at none is all together
    put_counts(answer.total, counts[0], amounts[0])
    for place in sorted(names):
        if place > most:
            put_counts(answer.rest, counts[place], amounts[place])
        else:
            put_counts(answer.rows.add(**names[place]), counts[place], amounts[place])
    return answer
