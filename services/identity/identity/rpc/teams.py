"""TeamService."""

from google.protobuf.empty_pb2 import Empty
from kehu.identity.v1 import team_pb2 as pb
from kehu.identity.v1 import team_service_pb2 as service_pb

from chassis.database import Transaction
from chassis.fields import Field, Kind
from chassis.ids import parse_id
from chassis.listing import Listing
from chassis.rpc import Call, Face
from identity.rpc.messages import TEAM
from identity.team import Team, TeamCreated, TeamUpdated, check_place, delete_team, snapshot

face = Face("kehu.identity.v1.TeamService")

TEAMS = Listing(
    Team,
    None,
    {
        "name": Field("name", Kind.TEXT, sortable=True),
        "parentId": Field("parent_id", Kind.UUID, nullable=True),
        "managerId": Field("manager_id", Kind.UUID, nullable=True),
        "externalKey": Field("external_key", Kind.TEXT),
        "createTime": Field("created_at", Kind.TIMESTAMP, sortable=True),
    },
    "name",
)
_COUNTS = (
    "SELECT team_id, count(*) AS members FROM people WHERE team_id = ANY($1::uuid[]) AND status = 'ACTIVE'"
    " AND deleted_at IS NULL GROUP BY team_id"
)


async def _counted(call: Call, messages: list[pb.Team]) -> list[pb.Team]:
    ids = [parse_id(message.id, "id") for message in messages]
    counts = {str(row["team_id"]): row["members"] for row in await call.database.read(call.who, _COUNTS, ids)}
    for message in messages:
        message.member_count = counts.get(message.id, 0)
    return messages


@face.read("GetTeam")
async def get_team(request: service_pb.GetTeamRequest, call: Call) -> pb.Team:
    return (await _counted(call, [TEAM.message(await TEAMS.get(call, request.id))]))[0]


@face.read("ListTeams")
async def list_teams(request: service_pb.ListTeamsRequest, call: Call) -> service_pb.ListTeamsResponse:
    page = await TEAMS.page(call, request)
    teams = await _counted(call, [TEAM.message(row) for row in page.rows])
    return service_pb.ListTeamsResponse(teams=teams, next_page_token=page.next_page_token)


@face.write("CreateTeam")
async def create(request: service_pb.CreateTeamRequest, tx: Transaction) -> pb.Team:
    values = TEAM.values(request.team)
    if request.team_id:
        values["id"] = parse_id(request.team_id, "teamId")
    team = Team(**values)
    await check_place(tx, team)
    tx.add(team)
    tx.record(TeamCreated(team_id=team.id, team=snapshot(team)), on=team)
    await tx.session.flush()
    return TEAM.message(team)


@face.write("UpdateTeam")
async def update(request: service_pb.UpdateTeamRequest, tx: Transaction) -> pb.Team:
    team = await tx.get(Team, parse_id(request.team.id, "team.id"), right="people")
    tx.check_etag(team, request.team.etag)
    for name, value in TEAM.values(request.team, request.update_mask).items():
        setattr(team, name, value)
    await check_place(tx, team)
    tx.record(TeamUpdated(team_id=team.id, team=snapshot(team)), on=team)
    await tx.session.flush()
    return TEAM.message(team)


@face.write("DeleteTeam")
async def delete(request: service_pb.DeleteTeamRequest, tx: Transaction) -> Empty:
    team = await tx.get(Team, parse_id(request.id, "id"), right="people")
    tx.check_etag(team, request.etag)
    await delete_team(tx, team)
    return Empty()
