"""Who can be given leads, asked of identity before anything is locked. Leads acts by itself here: a rule may name people
whom the one who asks does not see."""

from collections.abc import Collection
from uuid import UUID

from kehu.identity.v1 import person_pb2, person_service_pb2, team_pb2, team_service_pb2

from chassis.errors import Code, Invalid, Problem
from chassis.owners import LOOK_UP, Owner
from chassis.rpc import Call
from leads.assignment import Roster

_LIST = "kehu.identity.v1.PersonService/ListPeople"
_TEAM = "kehu.identity.v1.TeamService/GetTeam"
_AT_ONCE = 1000
_NAMED = "SELECT person_ids, team_id FROM assignment_rules WHERE active AND deleted_at IS NULL"


async def roster_of(call: Call) -> Roster:
    """The people whom the tenant's active rules name. Raises Unavailable when identity does not answer."""
    call = call.as_service()
    rows = await call.database.read(call.who, _NAMED)
    people = {person for row in rows for person in row["person_ids"]}
    teams = {row["team_id"] for row in rows if row["team_id"] is not None}
    there: dict[UUID, Owner] = {}
    members: dict[UUID, list[UUID]] = {}
    for team in teams:
        found = await _members(call, team)
        members[team] = [owner.person_id for owner in found]
        there |= {owner.person_id: owner for owner in found}
    for owner in await _looked_up(call, people):
        there[owner.person_id] = owner
    return Roster(frozenset(people | teams), there, members)


async def _looked_up(call: Call, people: set[UUID]) -> list[Owner]:
    ids = sorted(str(person) for person in people)
    out: list[Owner] = []
    for first in range(0, len(ids), _AT_ONCE):
        request = person_service_pb2.LookUpPeopleRequest(ids=ids[first : first + _AT_ONCE])
        answer = await call.ask(LOOK_UP, request, person_service_pb2.LookUpPeopleResponse)
        out += [_owner(p.id, p.team_id) for p in answer.people if p.status == person_pb2.PERSON_STATUS_ACTIVE]
    return out


async def _members(call: Call, team: UUID) -> list[Owner]:
    request = person_service_pb2.ListPeopleRequest(
        filter=f'teamId = "{team}" AND status = ACTIVE', order_by="createTime", page_size=200
    )
    out: list[Owner] = []
    while True:
        page = await call.ask(_LIST, request, person_service_pb2.ListPeopleResponse)
        out += [_owner(person.id, person.team_id) for person in page.people]
        if not page.next_page_token:
            return out
        request.page_token = page.next_page_token


def _owner(person: str, team: str) -> Owner:
    return Owner(UUID(person), UUID(team) if team else None)


async def check_named(
    call: Call, people: list[UUID], team: UUID | None, named: Collection[UUID | None]
) -> None:
    """Whether a rule that has `named` these already may name them. Raises Invalid (OWNER_NOT_FOUND, TEAM_NOT_FOUND)."""
    new = {person for person in people if person not in named}
    missing = new - {owner.person_id for owner in await _looked_up(call, new)}
    for place, person in enumerate(people):
        if person in missing:
            field = f"rule.personIds[{place}]"
            raise Invalid(field, f"there is no active person {person}", reason="OWNER_NOT_FOUND")
    if team is not None and team not in named:
        try:
            await call.ask(_TEAM, team_service_pb2.GetTeamRequest(id=str(team)), team_pb2.Team)
        except Problem as problem:
            if problem.code is not Code.NOT_FOUND:
                raise
            raise Invalid("rule.teamId", f"there is no team {team}", reason="TEAM_NOT_FOUND") from None
