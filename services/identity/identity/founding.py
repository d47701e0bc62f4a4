"""A new tenant with its roles, its first team and its first administrator."""

import argparse
import json
from typing import Any
from uuid import UUID

from chassis.database import Database, Transaction
from chassis.ids import new_id
from identity.person import Person, create_person
from identity.role import ADMINISTRATOR, MANAGER, MEMBER, Role, RoleCreated
from identity.team import Team, TeamCreated
from identity.team import snapshot as team_snapshot
from identity.tenant import Tenant, TenantCreated, described, find_tenant, keeper


async def found(
    tx: Transaction, tenant: Tenant, email: str, name: str, *, must_change: bool = True
) -> tuple[Tenant, Person, str]:
    """Makes all of it in the new tenant's own transaction. Answers with the administrator's one-time password."""
    tx.add(tenant)
    tx.record(TenantCreated(**described(tenant)), on=tenant)
    roles = [
        Role(name="Administrator", description="Everything", rights=ADMINISTRATOR, built_in=True),
        Role(name="Manager", description="The team's records, and reading beyond", rights=MANAGER),
        Role(name="Member", description="One's own records", rights=MEMBER),
    ]
    for role in roles:
        tx.add(role)
        tx.record(RoleCreated(role_id=role.id, name=role.name), on=role)
    team = Team(name=tenant.name)
    tx.add(team)
    await tx.session.flush()
    tx.record(TeamCreated(team_id=team.id, team=team_snapshot(team)), on=team)
    values: dict[str, Any] = {
        "email": email,
        "display_name": name,
        "team_id": team.id,
        "role_ids": [roles[0].id],
    }
    person, secret = await create_person(tx, values, id=None, must_change=must_change)
    return tenant, person, secret


async def first_administrator(database: Database, relay_url: str, arguments: list[str]) -> None:
    """`python -m identity first-admin`: founds a tenant and prints its administrator's sign-in as JSON, `{}` if it is there."""
    parser = argparse.ArgumentParser(prog="python -m identity first-admin")
    parser.add_argument("--tenant", required=True, help="the short name")
    parser.add_argument("--email", required=True)
    parser.add_argument("--name", default="Administrator")
    parser.add_argument("--company", default="")
    parser.add_argument("--currency", default="CNY")
    parser.add_argument(
        "--keep-password", action="store_true", help="do not ask for a new password at first sign-in"
    )
    said = parser.parse_args(arguments)
    if await find_tenant(relay_url, said.tenant) is not None:
        print("{}")
        return
    id: UUID = new_id()
    tenant = Tenant(id=id, name=said.company or said.tenant, slug=said.tenant, currency_code=said.currency)
    async with database.transaction(keeper(id, said.tenant), origin="command") as tx:
        _, person, secret = await found(tx, tenant, said.email, said.name, must_change=not said.keep_password)
    print(json.dumps({"tenant": said.tenant, "email": person.email, "password": secret}))
