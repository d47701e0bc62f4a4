"""Teams: a tree. Reach `team` covers a person's own team and all below it."""

from dataclasses import dataclass
from typing import ClassVar
from uuid import UUID

from sqlalchemy import text

from chassis.database import Transaction
from chassis.errors import Invalid
from chassis.events.event import Event
from chassis.records import Record
from identity.errors import TeamCircle, TeamNotEmpty, TeamTooDeep


class Team(Record, table=True):
    """A department or group."""

    __tablename__ = "teams"  # pyright: ignore[reportAssignmentType]
    record_type: ClassVar[str] = "team"

    name: str
    parent_id: UUID | None = None
    manager_id: UUID | None = None
    external_key: str = ""


@dataclass(frozen=True, kw_only=True)
class TeamSnapshot:
    name: str
    parent_id: UUID | None
    manager_id: UUID | None


@dataclass(frozen=True, kw_only=True)
class TeamCreated(Event):
    team_id: UUID
    team: TeamSnapshot


@dataclass(frozen=True, kw_only=True)
class TeamUpdated(Event):
    team_id: UUID
    team: TeamSnapshot


@dataclass(frozen=True, kw_only=True)
class TeamDeleted(Event):
    team_id: UUID
    team: TeamSnapshot


def snapshot(team: Team) -> TeamSnapshot:
    """The team as events tell it."""
    return TeamSnapshot(name=team.name, parent_id=team.parent_id, manager_id=team.manager_id)


BELOW = (
    "WITH RECURSIVE below AS (SELECT id FROM teams WHERE id = :top AND deleted_at IS NULL"
    " UNION SELECT c.id FROM teams c JOIN below b ON c.parent_id = b.id WHERE c.deleted_at IS NULL) SELECT id FROM below"
)

DEEPEST = 10
_ABOVE = (
    "WITH RECURSIVE above AS (SELECT id, parent_id, 1 AS depth FROM teams WHERE id = :start"
    " UNION ALL SELECT p.id, p.parent_id, a.depth + 1 FROM teams p JOIN above a ON p.id = a.parent_id WHERE a.depth < 20)"
    " SELECT max(depth) FROM above"
)


async def check_place(tx: Transaction, team: Team) -> None:
    """Raises Invalid for a parent or manager that does not exist, TeamCircle when the team would stand below itself.

    Moves lock the tenant's tree, so that two of them cannot make a cycle together.
    """
    with tx.session.no_autoflush:  # else the move is written, and fails, before it is looked at
        await _check_parent(tx, team)
        await _check_manager(tx, team)


async def _check_parent(tx: Transaction, team: Team) -> None:
    if team.parent_id is not None:
        await tx.hold("teams")
        below = {row.id for row in await tx.session.execute(text(BELOW), {"top": team.id})}
        if team.parent_id in below or team.parent_id == team.id:
            raise TeamCircle
        await check_exists(tx, team.parent_id, "team.parentId")
        above = await tx.session.execute(text(_ABOVE), {"start": team.parent_id})
        if int(above.scalar_one()) >= DEEPEST:
            raise TeamTooDeep


async def _check_manager(tx: Transaction, team: Team) -> None:
    if team.manager_id is not None:
        found = await tx.session.execute(
            text("SELECT 1 FROM people WHERE id = :id AND deleted_at IS NULL"), {"id": team.manager_id}
        )
        if found.first() is None:
            raise Invalid(
                "team.managerId", f"there is no person {team.manager_id}", reason="PERSON_NOT_FOUND"
            )


async def check_exists(tx: Transaction, id: UUID, field: str) -> None:
    """Raises Invalid (TEAM_NOT_FOUND) naming `field` when there is no such team."""
    found = await tx.session.execute(
        text("SELECT 1 FROM teams WHERE id = :id AND deleted_at IS NULL"), {"id": id}
    )
    if found.first() is None:
        raise Invalid(field, f"there is no team {id}", reason="TEAM_NOT_FOUND")


async def delete_team(tx: Transaction, team: Team) -> None:
    """Deletes a team without members and teams below. Raises TeamNotEmpty."""
    used = await tx.session.execute(
        text(
            "SELECT 1 FROM people WHERE team_id = :id AND deleted_at IS NULL"
            " UNION ALL SELECT 1 FROM teams WHERE parent_id = :id AND deleted_at IS NULL LIMIT 1"
        ),
        {"id": team.id},
    )
    if used.first() is not None:
        raise TeamNotEmpty
    tx.delete(team)
    tx.record(TeamDeleted(team_id=team.id, team=snapshot(team)), on=team)
