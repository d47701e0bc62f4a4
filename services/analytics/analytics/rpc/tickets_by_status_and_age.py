"""How long customers wait."""

from kehu.analytics.v1 import report_service_pb2 as pb
from kehu.servicedesk.v1 import ticket_pb2

from analytics.rpc.face import face, moments_of, put_as_of
from analytics.scope import Scope
from chassis.errors import Invalid
from chassis.rpc import Call

# The row without a status is all tickets together.
_STATEMENT = """
WITH aged AS (
    SELECT t.status, t.opened_at, t.responded_at, t.ended_at, coalesce(t.ended_at, now()) - t.opened_at AS age,
        t.status IN ('TICKET_STATUS_RESOLVED', 'TICKET_STATUS_CLOSED') AS ended
    FROM tickets t WHERE {tickets}
), bucketed AS (
    SELECT *, CASE WHEN age < interval '24 hours' THEN 1 WHEN age < interval '72 hours' THEN 2
        WHEN age < interval '168 hours' THEN 3 WHEN age < interval '720 hours' THEN 4 ELSE 5 END AS bucket
    FROM aged
)
SELECT status, bucket, count(*) AS number, count(*) FILTER (WHERE ended) AS ended_number, count(responded_at) AS responded,
    round(avg(extract(epoch FROM responded_at - opened_at))) AS respond_seconds,
    round(avg(extract(epoch FROM ended_at - opened_at)) FILTER (WHERE ended)) AS end_seconds
FROM bucketed GROUP BY GROUPING SETS ((status, bucket), ())
"""


@face.read("GetTicketsByStatusAndAge")
async def get_tickets_by_status_and_age(
    request: pb.GetTicketsByStatusAndAgeRequest, call: Call
) -> pb.TicketsByStatusAndAge:
    begin, end = await moments_of(call, request, request.time_zone)
    scope = Scope(call.who)
    conditions = [
        scope.owned(request.owner_id, request.team_id),
        scope.within("opened_at", begin, end),
    ]
    if request.priority:
        if request.priority not in ticket_pb2.TicketPriority.keys()[1:]:
            raise Invalid("priority", f"'{request.priority}' is no priority such as TICKET_PRIORITY_HIGH")
        conditions.append(f"t.priority = {scope.value(request.priority)}")
    answer = pb.TicketsByStatusAndAge()
    await put_as_of(answer, call, "servicedesk")
    rows = await call.database.read(
        call.who, _STATEMENT.replace("{tickets}", " AND ".join(conditions)), *scope.values
    )
    for row in rows:
        if row["status"] is None:
            answer.total.ticket_count = row["number"]
            answer.total.unresolved_count = row["number"] - row["ended_number"]
            answer.total.responded_count = row["responded"]
            answer.total.average_first_response_seconds = int(row["respond_seconds"] or 0)
            answer.total.resolved_count = row["ended_number"]
            answer.total.average_resolve_seconds = int(row["end_seconds"] or 0)
        else:
            answer.rows.append(
                pb.TicketsByStatusAndAgeRow(
                    status=row["status"],
                    age=pb.AgeBucket.ValueType(row["bucket"]),
                    ticket_count=row["number"],
                )
            )
    answer.rows.sort(key=lambda row: (ticket_pb2.TicketStatus.Value(row.status), row.age))
    return answer
