"""ScoreService, and what LeadService says of scores."""

from google.protobuf.empty_pb2 import Empty
from kehu.leads.v1 import lead_pb2
from kehu.leads.v1 import lead_service_pb2 as lead_service_pb
from kehu.leads.v1 import score_pb2 as pb
from kehu.leads.v1 import score_service_pb2 as service_pb

from chassis.database import Transaction
from chassis.fields import Field, Kind
from chassis.ids import parse_id
from chassis.listing import Listing
from chassis.principal import Act
from chassis.rpc import Call, Face
from leads.handling import hold
from leads.lead import Lead
from leads.rpc import leads
from leads.rpc.leads import answer, locked
from leads.rpc.messages import SCORE_RULE
from leads.score import (
    ScoreRule,
    add_score_rule,
    adjust,
    change_score_rule,
    count_all,
    remove_score_rule,
)

face = Face("kehu.leads.v1.ScoreService")
RULES = Listing(ScoreRule, None, {"position": Field("position", Kind.INTEGER, sortable=True)}, "position")


@face.read("GetScoreRule")
async def get_rule(request: service_pb.GetScoreRuleRequest, call: Call) -> pb.ScoreRule:
    return SCORE_RULE.message(await RULES.get(call, request.id))


@face.read("ListScoreRules")
async def list_rules(
    request: service_pb.ListScoreRulesRequest, call: Call
) -> service_pb.ListScoreRulesResponse:
    page = await RULES.page(call, request)
    return service_pb.ListScoreRulesResponse(
        score_rules=[SCORE_RULE.message(row) for row in page.rows], next_page_token=page.next_page_token
    )


@face.write("CreateScoreRule")
async def create(request: service_pb.CreateScoreRuleRequest, tx: Transaction) -> pb.ScoreRule:
    rule = ScoreRule(**SCORE_RULE.values(request.rule))
    await add_score_rule(tx, rule)
    await tx.session.flush()
    return SCORE_RULE.message(rule)


async def _rule(tx: Transaction, id: str, etag: str, field: str = "id") -> ScoreRule:
    rule = await tx.get(ScoreRule, parse_id(id, field), right="settings")
    tx.check_etag(rule, etag)
    return rule


@face.write("UpdateScoreRule")
async def update(request: service_pb.UpdateScoreRuleRequest, tx: Transaction) -> pb.ScoreRule:
    await count_all(tx)
    rule = await _rule(tx, request.rule.id, request.rule.etag, "rule.id")
    await change_score_rule(tx, rule, SCORE_RULE.values(request.rule, request.update_mask))
    await tx.session.flush()
    return SCORE_RULE.message(rule)


@face.write("DeleteScoreRule")
async def delete(request: service_pb.DeleteScoreRuleRequest, tx: Transaction) -> Empty:
    await count_all(tx)
    remove_score_rule(tx, await _rule(tx, request.id, request.etag))
    return Empty()


@leads.face.read("GetLeadScore")
async def get_score(request: lead_service_pb.GetLeadScoreRequest, call: Call) -> pb.LeadScore:
    async with call.database.transaction(call.who) as tx:
        handling = await hold(tx)
        lead = await tx.get(Lead, parse_id(request.id, "id"), right="leads", act=Act.READ, lock=False)
    held = handling.held(lead)
    return pb.LeadScore(
        lead_id=str(lead.id), score=lead.score, rule_points=lead.score_points, adjustment=lead.score_adjustment,
        parts=[pb.ScorePart(rule_id=str(part.rule_id), rule_name=part.name, points=part.points) for part in held],
        outdated=handling.points(lead) != lead.score_points,
    )  # fmt: skip


@leads.face.write("AdjustLeadScore")
async def adjust_score(request: lead_service_pb.AdjustLeadScoreRequest, tx: Transaction) -> lead_pb2.Lead:
    lead, handling = await locked(tx, request.id, request.etag)
    adjust(tx, lead, handling, request.adjustment, request.note.strip())
    return await answer(tx, lead)
