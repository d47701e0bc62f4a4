"""AssignmentService: rules of assignment, and how leads are handled."""

from uuid import UUID

from google.protobuf.empty_pb2 import Empty
from kehu.leads.v1 import assignment_pb2 as pb
from kehu.leads.v1 import assignment_service_pb2 as service_pb

from chassis.database import Transaction
from chassis.fields import Field, Kind
from chassis.ids import parse_id
from chassis.listing import Listing
from chassis.rpc import Call, Face
from leads.assignment import AssignmentRule, add_rule, change_rule, remove_rule
from leads.handling import LeadHandling, change_handling, handling_id
from leads.rpc.messages import HANDLING, RULE
from leads.rpc.roster import check_named

face = Face("kehu.leads.v1.AssignmentService")
RULES = Listing(
    AssignmentRule, None, {"position": Field("position", Kind.INTEGER, sortable=True)}, "position"
)


@face.read("GetAssignmentRule")
async def get_rule(request: service_pb.GetAssignmentRuleRequest, call: Call) -> pb.AssignmentRule:
    return RULE.message(await RULES.get(call, request.id))


@face.read("ListAssignmentRules")
async def list_rules(
    request: service_pb.ListAssignmentRulesRequest, call: Call
) -> service_pb.ListAssignmentRulesResponse:
    page = await RULES.page(call, request)
    return service_pb.ListAssignmentRulesResponse(
        assignment_rules=[RULE.message(row) for row in page.rows], next_page_token=page.next_page_token
    )


async def _known_to_new(request: service_pb.CreateAssignmentRuleRequest, call: Call) -> None:
    await _check_named(request.rule, call, frozenset())


_NAMED = "SELECT person_ids, team_id FROM assignment_rules WHERE id = $1"


async def _known_to_changed(request: service_pb.UpdateAssignmentRuleRequest, call: Call) -> None:
    """Whom the rule names already may have left since: they do not keep the rest of it from being changed."""
    rows = await call.database.read(call.who, _NAMED, parse_id(request.rule.id, "rule.id"))
    await _check_named(
        request.rule, call, frozenset(id for row in rows for id in (*row["person_ids"], row["team_id"]))
    )


async def _check_named(rule: pb.AssignmentRule, call: Call, named: frozenset[UUID | None]) -> None:
    people = [parse_id(person, "rule.personIds") for person in rule.person_ids]
    team = parse_id(rule.team_id, "rule.teamId") if rule.team_id else None
    await check_named(call, people, team, named)


@face.write("CreateAssignmentRule", prepare=_known_to_new)
async def create_rule(
    request: service_pb.CreateAssignmentRuleRequest, tx: Transaction, known: None
) -> pb.AssignmentRule:
    rule = AssignmentRule(**RULE.values(request.rule))
    await add_rule(tx, rule)
    await tx.session.flush()
    return RULE.message(rule)


async def _rule(tx: Transaction, id: str, etag: str, field: str = "id") -> AssignmentRule:
    rule = await tx.get(AssignmentRule, parse_id(id, field), right="settings")
    tx.check_etag(rule, etag)
    return rule


@face.write("UpdateAssignmentRule", prepare=_known_to_changed)
async def update_rule(
    request: service_pb.UpdateAssignmentRuleRequest, tx: Transaction, known: None
) -> pb.AssignmentRule:
    rule = await _rule(tx, request.rule.id, request.rule.etag, "rule.id")
    await change_rule(tx, rule, RULE.values(request.rule, request.update_mask))
    await tx.session.flush()
    return RULE.message(rule)


@face.write("DeleteAssignmentRule")
async def delete_rule(request: service_pb.DeleteAssignmentRuleRequest, tx: Transaction) -> Empty:
    remove_rule(tx, await _rule(tx, request.id, request.etag))
    return Empty()


@face.read("GetLeadHandling")
async def get_handling(request: service_pb.GetLeadHandlingRequest, call: Call) -> pb.LeadHandling:
    id: UUID = handling_id(call.who.tenant_id)
    rows = await call.database.read(call.who, "SELECT * FROM lead_handling WHERE id = $1", id)
    if rows:
        return HANDLING.message(rows[0])
    message = HANDLING.message(LeadHandling(id=id))
    message.ClearField("update_time")
    return message


@face.write("UpdateLeadHandling")
async def update_handling(request: service_pb.UpdateLeadHandlingRequest, tx: Transaction) -> pb.LeadHandling:
    values = HANDLING.values(request.handling, request.update_mask)
    handling = await change_handling(tx, values, request.handling.etag)
    await tx.session.flush()
    return HANDLING.message(handling)
