"""The one rule of who may read or write which record, as SQL.

Reach `own` is the caller's records, `team` those of the caller's team and the teams below it as well, `all` every record of
the tenant. Get, List, Update, Delete and search use the same rule. Tables whose records nobody owns know `all` or nothing
finer: there any reach above NONE suffices.
"""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, false, or_, true
from sqlmodel import col

from chassis.principal import Act, Principal, Reach
from chassis.records import Owned, Record


def visible_text(
    who: Principal, right: str, act: Act, owner: str | None, team: str | None, *, first: int
) -> tuple[str, list[object]]:
    """The rule as text for asyncpg: a condition whose parameters start at `$first`, and their values.

    `owner` and `team` name the columns; None where records have no owner.
    """
    reach = who.reach(right, act)
    if reach is Reach.ALL or (reach is not Reach.NONE and owner is None):
        return "true", []
    if reach is Reach.NONE or owner is None:
        return "false", []
    if reach is Reach.OWN or team is None:
        return f"t.{owner} = ${first}", [who.person_id]
    return f"(t.{owner} = ${first} OR t.{team} = ANY(${first + 1}))", [who.person_id, list(who.team_ids)]


def seen_also(rule: str, through: str, column: str) -> str:
    """The rule widened: a row is seen by whoever may see one of its entries in the table `through`, which names it in `column`
    and has an owner and a team of its own."""
    if rule in ("true", "false"):
        return rule
    there = rule.replace("t.", "u.")
    return f"({rule} OR EXISTS (SELECT FROM {through} u WHERE u.{column} = t.id AND {there}))"


def visible(table: type[Record], who: Principal, right: str, act: Act) -> ColumnElement[bool]:
    """The rule as an expression over that table."""
    reach = who.reach(right, act)
    if reach is Reach.NONE:
        return false()
    if reach is Reach.ALL or not issubclass(table, Owned):
        return true()
    own = col(table.owner_id) == who.person_id
    return own if reach is Reach.OWN else or_(own, col(table.team_id).in_(who.team_ids))


def covers(row: Any, who: Principal, right: str, act: Act) -> bool:
    """The rule for one row at hand (anything with `owner_id` and `team_id`, or without an owner)."""
    reach = who.reach(right, act)
    if reach is Reach.NONE or reach is Reach.ALL or not hasattr(row, "owner_id"):
        return reach is not Reach.NONE
    if row.owner_id == who.person_id:
        return True
    return reach is Reach.TEAM and row.team_id in who.team_ids


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a record, for `covers`, where the record itself is not at hand."""

    owner_id: UUID | None
    team_id: UUID | None

    @classmethod
    def told(cls, owner_id: str, team_id: str) -> "Holder":
        """The holder as messages name it; empty for nobody."""
        return cls(UUID(owner_id) if owner_id else None, UUID(team_id) if team_id else None)
