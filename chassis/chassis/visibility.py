"""The one rule of who may read or write which record, as SQL.

Reach `own` is the caller's records, `team` those of the caller's team and the teams below it as well, `all` every record of
the tenant. Get, List, Update, Delete and search use the same rule. Tables whose records nobody owns know `all` or nothing
finer: there any reach above NONE suffices.

Where records are shared (`chassis.shares`), whoever has some reach short of `all` has what is shared with them as well: with
the person, with their team, and where they reach `team` with every team that covers.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Boolean, ColumnElement, DateTime, String, Uuid, column, false, func, or_, select, true
from sqlalchemy import any_ as any_of
from sqlalchemy import table as plain_table
from sqlmodel import col

from chassis.principal import Act, Principal, Reach
from chassis.records import Entries, Owned, Record, Shareable
from chassis.shares.entries import lasts


@dataclass(frozen=True, slots=True)
class Shares:
    """By which shares rows are seen: those of records of that type, whose id the rows have in that column."""

    record_type: str
    column: str = "id"

    def __post_init__(self) -> None:
        if not (self.record_type.isidentifier() and self.column.isidentifier()):
            raise ValueError(f"{self} names what is no name")


def grantees(who: Principal, reach: Reach) -> list[UUID]:
    """As whom somebody with that reach has shares."""
    own = {who.person_id} if who.team_id is None else {who.person_id, who.team_id}
    return sorted(own | who.team_ids if reach is Reach.TEAM else own)


def visible_text(
    who: Principal, right: str, act: Act, owner: str | None, team: str | None, *, first: int, shares: Shares | None = None
) -> tuple[str, list[object]]:  # fmt: skip
    """The rule as text for asyncpg: a condition whose parameters start at `$first`, and their values.

    `owner` and `team` name the columns; None where records have no owner. Without `shares` none of them count.
    """
    reach = who.reach(right, act)
    if reach is Reach.ALL or (reach is not Reach.NONE and owner is None):
        return "true", []
    if reach is Reach.NONE or owner is None:
        return "false", []
    parts, values = [f"t.{owner} = ${first}"], list[object]([who.person_id])
    if reach is Reach.TEAM and team is not None:
        parts.append(f"t.{team} = ANY(${first + 1})")
        values.append(list(who.team_ids))
    if shares is not None:
        parts.append(_shared_text(shares, act, first + len(values)))
        values.append(grantees(who, reach))
    return parts[0] if len(parts) == 1 else f"({' OR '.join(parts)})", values


# An array that is made once, and not a subquery for each row: so an index finds the rows, together with those of owner and team.
def _shared_text(shares: Shares, act: Act, place: int) -> str:
    writes = " AND s.writes" if act is Act.WRITE else ""
    return (
        f"t.{shares.column} = ANY(ARRAY(SELECT s.record_id FROM shares s WHERE s.grantee_id = ANY(${place})"  # noqa: S608 (declared names, a numbered place)
        f" AND s.record_type = '{shares.record_type}' AND (s.until_time IS NULL OR s.until_time > now()){writes}))"
    )


def seen_also(rule: str, through: str, column: str) -> str:
    """The rule widened: a row is seen by whoever may see one of its entries in the table `through`, which names it in `column`
    and has an owner and a team of its own."""
    if rule in ("true", "false"):
        return rule
    there = rule.replace("t.", "u.")
    # An array, as for shares, so that indexes find what is seen in either way.
    return f"({rule} OR t.id = ANY(ARRAY(SELECT u.{column} FROM {through} u WHERE {there})))"  # noqa: S608 (declared names)


def visible(
    table: type[Record], who: Principal, right: str, act: Act, *, shares: Shares | None = None
) -> ColumnElement[bool]:
    """The rule as an expression over that table. The shares of a Shareable table are its own; `shares` names others by which
    rows are seen."""
    reach = who.reach(right, act)
    if reach is Reach.NONE:
        return false()
    if reach is Reach.ALL or not issubclass(table, Owned):
        return true()
    parts = [col(table.owner_id) == who.person_id]
    if reach is Reach.TEAM:
        parts.append(col(table.team_id).in_(who.team_ids))
    by = Shares(table.record_type) if shares is None and issubclass(table, Shareable) else shares
    if by is not None:
        shared = select(_SHARES.c.record_id).where(
            _SHARES.c.grantee_id.in_(grantees(who, reach)),
            _SHARES.c.record_type == by.record_type,
            or_(_SHARES.c.until_time.is_(None), _SHARES.c.until_time > func.now()),
            true() if act is Act.READ else _SHARES.c.writes,
        )
        parts.append(getattr(table, by.column) == any_of(func.array(shared.scalar_subquery())))
    return or_(*parts)


_SHARES = plain_table(
    "shares", column("record_id", Uuid), column("grantee_id", Uuid), column("record_type", String),
    column("until_time", DateTime(timezone=True)), column("writes", Boolean),
)  # fmt: skip


def covers(row: Any, who: Principal, right: str, act: Act, *, shares: bool = True) -> bool:
    """The rule for one row at hand (anything with `owner_id` and `team_id`, or without an owner). Without `shares` those of the
    row do not count."""
    reach = who.reach(right, act)
    if reach is Reach.NONE or reach is Reach.ALL or not hasattr(row, "owner_id"):
        return reach is not Reach.NONE
    if row.owner_id == who.person_id:
        return True
    if reach is Reach.TEAM and row.team_id in who.team_ids:
        return True
    given: Entries = getattr(row, "shared_with", None) or [] if shares else []
    return bool(given) and _shared_to(given, {str(id) for id in grantees(who, reach)}, act)


def _shared_to(given: Iterable[Mapping[str, Any]], names: set[str], act: Act) -> bool:
    now = datetime.now(UTC)
    return any(one["to"] in names and (one["writes"] or act is Act.READ) and lasts(one, now) for one in given)


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a record, for `covers`, where the record itself is not at hand."""

    owner_id: UUID | None
    team_id: UUID | None
    shared_with: Entries = field(default_factory=list[dict[str, Any]])

    @classmethod
    def told(cls, owner_id: str, team_id: str, shared_with: Entries | None = None) -> "Holder":
        """The holder as messages name it; empty for nobody."""
        owner, team = UUID(owner_id) if owner_id else None, UUID(team_id) if team_id else None
        return cls(owner, team, shared_with or [])
