"""How far opportunities come."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

import orjson
from kehu.analytics.v1 import report_service_pb2 as pb

from analytics.figures import Amounts, percent
from analytics.rpc.face import face, period_of, put_as_of, put_money
from analytics.scope import Scope
from chassis.rpc import Call

OPEN, WON, LOST = "OPPORTUNITY_STATUS_OPEN", "OPPORTUNITY_STATUS_WON", "OPPORTUNITY_STATUS_LOST"

# Each opportunity is weighted and rounded by itself, as whoever adds up a list of them would.
_STATEMENT = """
SELECT t.stage_id::text AS stage_id, t.status, t.currency, max(t.stage_name) AS stage_name, t.stage_position,
    count(*) AS number, sum(t.amount) AS amount,
    sum(floor((t.amount::numeric * t.probability + 50) / 100)) AS weighted
FROM opportunities t WHERE {opportunities} GROUP BY t.stage_id, t.status, t.currency, t.stage_position
"""


@dataclass
class _Stage:
    """A stage of the funnel and what is counted in it."""

    name: str
    position: int
    numbers: Counter[str] = field(default_factory=Counter[str])
    """Opportunities by status."""
    open: Amounts = field(default_factory=Amounts)
    weighted: Amounts = field(default_factory=Amounts)


@face.read("GetPipelineFunnel")
async def get_pipeline_funnel(request: pb.GetPipelineFunnelRequest, call: Call) -> pb.PipelineFunnel:
    period = period_of(request)
    scope = Scope(call.who)
    opportunities = " AND ".join([
        scope.owned(request.owner_id, request.team_id),
        scope.same("product_id", request.product_id, "productId"),
        scope.between("engage_date", period.first, period.last),
    ])  # fmt: skip
    answer = pb.PipelineFunnel()
    await put_as_of(answer, call, "sales")
    stages = await _present_stages(call)
    rows = await call.database.read(
        call.who, _STATEMENT.replace("{opportunities}", opportunities), *scope.values
    )
    totals: defaultdict[str, Amounts] = defaultdict(Amounts)
    for row in rows:
        # A stage that is no longer in the pipeline, or of a pipeline nobody has ever changed, is as the opportunities say.
        id = row["stage_id"] or ""
        stage = stages.setdefault(id, _Stage(row["stage_name"], row["stage_position"]))
        stage.numbers[row["status"]] += row["number"]
        totals[row["status"]].add(row["amount"], row["currency"])
        if row["status"] == OPEN:
            stage.open.add(row["amount"], row["currency"])
            stage.weighted.add(row["weighted"], row["currency"])
    numbers = sum((stage.numbers for stage in stages.values()), Counter[str]())
    for id, stage in sorted(stages.items(), key=lambda item: (item[1].position, item[1].name, item[0])):
        answer.rows.append(_row(id, stage, _reached(stage, stages), numbers.total()))
    _put_total(answer.total, numbers, totals)
    return answer


async def _present_stages(call: Call) -> dict[str, _Stage]:
    rows = await call.database.read(
        call.who, "SELECT stages::text AS stages FROM pipelines WHERE NOT deleted"
    )
    kept: list[dict[str, Any]] = orjson.loads(rows[0]["stages"]) if rows else []
    return {stage["id"]: _Stage(stage["name"], place) for place, stage in enumerate(kept, start=1)}


def _reached(stage: _Stage, stages: dict[str, _Stage]) -> int:
    """How many came at least this far: all that were won, and those that are in or ended from this or a later stage."""
    return sum(
        other.numbers.total() if other.position >= stage.position else other.numbers[WON]
        for other in stages.values()
    )


def _row(id: str, stage: _Stage, reached: int, whole: int) -> pb.PipelineFunnelRow:
    row = pb.PipelineFunnelRow(
        stage_id=id,
        stage_name=stage.name,
        position=stage.position,
        open_count=stage.numbers[OPEN],
        reached_count=reached,
        reached_percent=percent(reached, whole),
        lost_count=stage.numbers[LOST],
    )
    put_money(row.open_amounts, stage.open)
    put_money(row.weighted_amounts, stage.weighted)
    return row


def _put_total(
    total: pb.PipelineFunnelTotal, numbers: Counter[str], amounts: defaultdict[str, Amounts]
) -> None:
    total.opportunity_count = numbers.total()
    total.open_count, total.won_count, total.lost_count = numbers[OPEN], numbers[WON], numbers[LOST]
    put_money(total.open_amounts, amounts[OPEN])
    put_money(total.won_amounts, amounts[WON])
    put_money(total.lost_amounts, amounts[LOST])
    ended = numbers[WON] + numbers[LOST]
    total.win_percent = percent(numbers[WON], ended) if ended else ""
