"""The shares that a record's row holds: who is given one, and what becomes of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from chassis.errors import Invalid, NotFound, Precondition
from chassis.ids import parse_id
from chassis.records import Entries, Shareable

PERSON, TEAM = "PERSON", "TEAM"
MOST = 50
"""Shares of one record. All of them are read with it."""


class TooManyShares(Precondition):
    reason = "TOO_MANY_SHARES"

    def __init__(self) -> None:
        super().__init__(f"A record has at most {MOST} shares: share it with a team instead.")


def share_not_found() -> NotFound:
    """The record is not shared with them, or no longer."""
    problem = NotFound("share", "")
    problem.reason = "SHARE_NOT_FOUND"
    problem.message = "The record is not shared with them."
    return problem


@dataclass(frozen=True, slots=True)
class Grantee:
    """With whom a record is shared."""

    kind: str
    id: UUID

    @property
    def person_id(self) -> UUID | None:
        """The person; None for a team."""
        return self.id if self.kind == PERSON else None

    @property
    def team_id(self) -> UUID | None:
        """The team; None for a person."""
        return self.id if self.kind == TEAM else None


def grantee_named(person_id: str, team_id: str) -> Grantee:
    """The person or the team, whoever is named. Raises Invalid unless one of them is."""
    if bool(person_id) == bool(team_id):
        raise Invalid("personId", "a record is shared with a person or with a team: name one of them")
    if person_id:
        return Grantee(PERSON, parse_id(person_id, "personId"))
    return Grantee(TEAM, parse_id(team_id, "teamId"))


def share(
    row: Shareable, grantee: Grantee, *, writes: bool, until: datetime | None, by: UUID, at: datetime
) -> bool:
    """Shares a record, or changes how it is shared; False when it is so already. Raises TooManyShares; Invalid for a time that is
    past."""
    if until is not None and until <= at:
        raise Invalid("untilTime", "is past")
    there = [one for one in row.shared_with if lasts(one, at)]
    entry: dict[str, Any] = {
        "to": str(grantee.id), "kind": grantee.kind, "writes": writes,
        "until": until.isoformat() if until else None, "by": str(by), "at": at.isoformat(),
    }  # fmt: skip
    place = next((place for place, one in enumerate(there) if one["to"] == entry["to"]), None)
    if place is None:
        if len(there) >= MOST:
            raise TooManyShares
        there.append(entry)
    elif all(there[place][name] == entry[name] for name in ("writes", "until")):
        return False
    else:
        there[place] = entry
    row.shared_with = there
    return True


def unshare(row: Shareable, grantee: Grantee, at: datetime) -> None:
    """Ends a share. Raises NotFound (SHARE_NOT_FOUND)."""
    there = [one for one in row.shared_with if lasts(one, at)]
    left = [one for one in there if one["to"] != str(grantee.id)]
    if len(left) == len(there):
        raise share_not_found()
    row.shared_with = left


def lasts(entry: Mapping[str, Any], now: datetime) -> bool:
    """Whether a share is not over."""
    return entry["until"] is None or datetime.fromisoformat(entry["until"]) > now


def joined(rows: Sequence[Shareable], at: datetime) -> Entries:
    """What one record that stands for all these is shared with: whoever has a share of any that is not over.

    Who has several has one of them, the one that lasts longest, and of those that last equally long the one to write. So nobody
    has at any time what none of their shares gave them then: who reads one record for ever and writes another until tomorrow
    reads for ever, and writes no longer. Of people those of the first records stay when there are too many.
    """
    out: dict[str, dict[str, Any]] = {}
    for row in rows:
        for one in row.shared_with:
            if lasts(one, at):
                out[one["to"]] = max(out.get(one["to"], one), one, key=_extent)
    return list(out.values())[:MOST]


def _extent(entry: Mapping[str, Any]) -> tuple[datetime, bool]:
    until = entry["until"]
    return datetime.fromisoformat(until) if until else datetime.max.replace(tzinfo=UTC), entry["writes"]


def share_lines(entries: Entries) -> dict[str, str]:
    """Shares as the history tells them: by with whom, each in one line."""
    return {
        one["to"]: f"{one['kind'].lower()}, to {'write' if one['writes'] else 'read'}"
        + (f", until {one['until']}" if one["until"] else "")
        for one in entries
    }
