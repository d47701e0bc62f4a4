"""The identity service: who may do what, and the tokens that say so."""

from pathlib import Path

from kehu.identity.v1 import events_pb2 as events

from chassis.history_face import Kept, history_face
from chassis.service import Running, Service
from identity import api_key, errors, person, role, session, team, tenant
from identity.founding import first_administrator
from identity.rpc import FACES


async def _first_admin(running: Running, arguments: list[str]) -> None:
    await first_administrator(
        running.database, running.settings.relay_database_url.get_secret_value(), arguments
    )


SERVICE = Service(
    name="identity",
    faces=[
        *FACES,
        history_face(
            "kehu.identity.v1.HistoryService",
            {
                "tenant": Kept(tenant.Tenant, "people"),
                "person": Kept(person.Person, "people"),
                "team": Kept(team.Team, "people"),
                "role": Kept(role.Role, "people"),
                "api_key": Kept(api_key.ApiKey, "people"),
            },
        ),
    ],
    migrations=Path(__file__).parent / "migrations",
    publishes={
        tenant.TenantCreated: events.TenantCreated,
        tenant.TenantUpdated: events.TenantUpdated,
        person.PersonCreated: events.PersonCreated,
        person.PersonUpdated: events.PersonUpdated,
        person.PersonDisabled: events.PersonDisabled,
        person.PersonEnabled: events.PersonEnabled,
        session.SessionStarted: events.SessionStarted,
        session.SessionRevoked: events.SessionRevoked,
        api_key.ApiKeyCreated: events.ApiKeyCreated,
        api_key.ApiKeyRevoked: events.ApiKeyRevoked,
        team.TeamCreated: events.TeamCreated,
        team.TeamUpdated: events.TeamUpdated,
        team.TeamDeleted: events.TeamDeleted,
        role.RoleCreated: events.RoleCreated,
        role.RoleUpdated: events.RoleUpdated,
        role.RoleDeleted: events.RoleDeleted,
    },
    constraints={
        "people_email": errors.email_taken,
        "people_external_key": errors.external_key_taken,
        "teams_external_key": errors.external_key_taken,
        "teams_name": errors.team_name_taken,
        "roles_name": errors.role_name_taken,
        "tenants_slug": errors.slug_taken,
    },
    commands={"first-admin": _first_admin},
)
