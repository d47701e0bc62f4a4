"""With whom a record may be shared: those of whom identity knows. It is asked before a transaction begins."""

from kehu.identity.v1 import person_pb2, person_service_pb2, team_pb2, team_service_pb2

from chassis.errors import Code, Invalid, Problem
from chassis.owners import LOOK_UP
from chassis.rpc import Call
from chassis.shares.entries import PERSON, Grantee, grantee_named


async def grantee_there(call: Call, person_id: str, team_id: str) -> Grantee:
    """The person or the team, of whom identity knows. Raises Invalid (GRANTEE_NOT_FOUND) for somebody who is not there or
    disabled."""
    grantee = grantee_named(person_id, team_id)
    if grantee.kind == PERSON:
        asked = person_service_pb2.LookUpPeopleRequest(ids=[person_id])
        answer = await call.ask(LOOK_UP, asked, person_service_pb2.LookUpPeopleResponse)
        if not any(one.status == person_pb2.PERSON_STATUS_ACTIVE for one in answer.people):
            raise Invalid("personId", f"there is no active person {person_id}", reason="GRANTEE_NOT_FOUND")
        return grantee
    try:
        method = "kehu.identity.v1.TeamService/GetTeam"
        await call.ask(method, team_service_pb2.GetTeamRequest(id=team_id), team_pb2.Team)
    except Problem as problem:
        if problem.code is Code.NOT_FOUND:
            raise Invalid("teamId", f"there is no team {team_id}", reason="GRANTEE_NOT_FOUND") from None
        raise
    return grantee
