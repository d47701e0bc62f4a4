"""The owner column of a file: people by e-mail address or name, to whom the person who imports may give records."""

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from chassis.imports.custom import people_found
from chassis.imports.importer import Found, Resolver
from chassis.imports.mapping import Target
from chassis.imports.values import Reference, Refused
from chassis.owners import Owner, reaches
from chassis.rpc.call import Call

OWNER = Target(
    "owner",
    "Owner",
    Reference("owner", "person"),
    aliases=(
        "负责人",
        "所属人",
        "销售",
        "sales agent",
        "assigned to",
        "assigned user",
        "salesperson",
        "account owner",
    ),
)
"""The target; `row.values` has an `Owner`."""


def owners_under(right: str) -> dict[str, Resolver]:
    """What finds owners, for an importer whose records stand under that right."""

    async def find(call: Call, wanted: Sequence[str]) -> dict[str, Found | Refused]:
        found = await people_found(call, wanted)
        for text, one in found.items():
            if isinstance(one, Found):
                team = one.value.team_id
                owner = Owner(UUID(one.value.id), UUID(team) if team else None)
                found[text] = (
                    replace(one, value=owner)
                    if reaches(call.who, right, owner)
                    else Refused("OWNER_OUT_OF_REACH", f"your rights do not reach {text[:60]}")
                )
        return found

    return {"owner": find}
