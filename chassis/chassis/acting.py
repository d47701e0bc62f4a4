"""The person in whose name work goes on that outlives their call: kept as plain values with the work, with the rights they
had when they asked for it."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from chassis.principal import Principal, Reach, Rights


def acting(who: Principal) -> dict[str, Any]:
    """A person with their present rights, as they are kept with the work."""
    return {
        "person_id": str(who.person_id),
        "name": who.name,
        "rights": {right: f"{int(r.read)}{int(r.write)}" for right, r in who.rights.items()},
        "team_id": str(who.team_id) if who.team_id else None,
        "team_ids": [str(team) for team in sorted(who.team_ids)],
        "time_zone": who.time_zone,
    }


def actor(kept: Mapping[str, Any], who: Principal) -> Principal:
    """That person again; `who` is anybody of the tenant."""
    return Principal(
        tenant_id=who.tenant_id,
        tenant=who.tenant,
        person_id=UUID(kept["person_id"]),
        name=kept["name"],
        team_id=UUID(kept["team_id"]) if kept["team_id"] else None,
        team_ids=frozenset(UUID(team) for team in kept["team_ids"]),
        rights={right: Rights(Reach(int(r[0])), Reach(int(r[1]))) for right, r in kept["rights"].items()},
        time_zone=kept.get("time_zone", ""),
    )
