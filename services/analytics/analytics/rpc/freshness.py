"""How far the facts are."""

from kehu.analytics.v1 import report_service_pb2 as pb

from analytics.listens import SUBSCRIPTIONS
from analytics.rpc.face import face
from chassis.events import backlog
from chassis.mapping import to_timestamp
from chassis.rpc import Call


@face.read("GetFreshness")
async def get_freshness(request: pb.GetFreshnessRequest, call: Call) -> pb.Freshness:
    # The bus first: what it has handed over by then is in the facts.
    pending = await backlog.waiting(call.settings, call.service, SUBSCRIPTIONS.domains)
    rows = await call.database.read(call.who, "SELECT domain, last_event_at FROM freshness")
    newest = {row["domain"]: row["last_event_at"] for row in rows}
    answer = pb.Freshness(caught_up=not any(count is None or count for count in pending.values()))
    for domain, count in sorted(pending.items()):
        line = answer.domains.add(domain=domain, pending_count=count or 0, known=count is not None)
        if domain in newest:
            to_timestamp(line.last_event_time, newest[domain])
    return answer
