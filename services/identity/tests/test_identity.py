"""Signing in, people, roles, teams and keys, over gRPC."""

from collections.abc import AsyncIterator, Callable

import jwt
import pytest
import pytest_asyncio
from google.protobuf.empty_pb2 import Empty
from google.protobuf.field_mask_pb2 import FieldMask
from kehu.identity.v1 import (
    api_key_pb2,
    api_key_service_pb2,
    person_pb2,
    person_service_pb2,
    role_pb2,
    role_service_pb2,
    session_pb2,
    session_service_pb2,
    team_pb2,
    team_service_pb2,
    tenant_pb2,
    tenant_service_pb2,
)

from chassis import principal
from chassis.errors import Code
from chassis.ids import new_id
from chassis.principal import NOBODY, Principal, Reach, Verifier
from chassis.testing import DatabaseUrls, Harness, Keys, refused, running_service
from identity.service import SERVICE

pytestmark = pytest.mark.asyncio(loop_scope="module")
SESSIONS = "kehu.identity.v1.SessionService/"
PEOPLE = "kehu.identity.v1.PersonService/"
GATEWAY = Principal(tenant_id=NOBODY, tenant="", person_id=NOBODY, service="gateway")
OPERATOR = Principal(tenant_id=NOBODY, tenant="", person_id=NOBODY, service="operator")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def identity(
    service_database: Callable[[str], DatabaseUrls], nats_url: str, keys: Keys
) -> AsyncIterator[Harness]:
    async with running_service(SERVICE, service_database("identity"), nats_url, keys) as harness:
        yield harness


class Tenancy:
    """A tenant with its administrator signed in."""

    def __init__(self, identity: Harness, slug: str, email: str, password: str) -> None:
        self.identity, self.slug, self.email, self.password = identity, slug, email, password
        self.verifier = Verifier.from_file(identity.keys.jwks, principal.GATEWAY)

    async def sign_in(self, email: str = "", password: str = "") -> session_pb2.SessionTokens:
        request = session_service_pb2.SignInRequest(
            tenant=self.slug, email=email or self.email, password=password or self.password
        )
        return await self.identity.ask(None, SESSIONS + "SignIn", request, session_pb2.SessionTokens)

    async def administrator(self) -> Principal:
        return self.verifier.verify((await self.sign_in()).access_token)


async def found(identity: Harness, slug: str) -> Tenancy:
    request = tenant_service_pb2.CreateTenantRequest(
        tenant=tenant_pb2.Tenant(name=slug.title(), slug=slug),
        administrator_email=f"boss@{slug}.example",
        administrator_name="王芳",
    )
    made = await identity.ask(
        OPERATOR,
        "kehu.identity.v1.TenantService/CreateTenant",
        request,
        tenant_service_pb2.CreateTenantResponse,
    )
    tenancy = Tenancy(identity, slug, f"boss@{slug}.example", made.one_time_password)
    first = tenancy.verifier.verify((await tenancy.sign_in()).access_token)
    assert first.must_change_password and first.time_zone == "Asia/Shanghai"
    await identity.ask(
        first,
        SESSIONS + "ChangePassword",
        session_service_pb2.ChangePasswordRequest(
            current_password=tenancy.password, new_password="a long enough secret"
        ),
        Empty,
    )
    tenancy.password = "a long enough secret"
    return tenancy


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def acme(identity: Harness) -> Tenancy:
    return await found(identity, "acme")


async def test_one_time_password_allows_nothing_but_a_new_one(identity: Harness) -> None:
    request = tenant_service_pb2.CreateTenantRequest(
        tenant=tenant_pb2.Tenant(name="First", slug="first"),
        administrator_email="a@first.example",
        administrator_name="A",
    )
    made = await identity.ask(
        OPERATOR,
        "kehu.identity.v1.TenantService/CreateTenant",
        request,
        tenant_service_pb2.CreateTenantResponse,
    )
    tenancy = Tenancy(identity, "first", "a@first.example", made.one_time_password)
    who = await tenancy.administrator()
    await refused(
        Code.PERMISSION_DENIED,
        "PASSWORD_CHANGE_REQUIRED",
        identity.ask(
            who,
            PEOPLE + "ListPeople",
            person_service_pb2.ListPeopleRequest(),
            person_service_pb2.ListPeopleResponse,
        ),
    )
    weak = session_service_pb2.ChangePasswordRequest(current_password=tenancy.password, new_password="short")
    problem = await refused(
        Code.INVALID_ARGUMENT,
        "PASSWORD_TOO_WEAK",
        identity.ask(who, SESSIONS + "ChangePassword", weak, Empty),
    )
    assert problem.violations[0].field == "newPassword"


async def test_sign_in_tells_nothing_and_slows_down(identity: Harness, acme: Tenancy) -> None:
    for _ in range(10):
        await refused(
            Code.UNAUTHENTICATED, "SIGN_IN_FAILED", acme.sign_in("nobody@acme.example", "wrong password")
        )
    problem = await refused(
        Code.RESOURCE_EXHAUSTED, "TOO_MANY_ATTEMPTS", acme.sign_in("nobody@acme.example", "wrong password")
    )
    assert problem.retry_after is not None and problem.retry_after > 60
    who = await acme.administrator()
    assert who.rights["people"].write is Reach.ALL and who.tenant == "acme"


async def test_refresh_rotates_and_reuse_ends_the_session(identity: Harness, acme: Tenancy) -> None:
    tokens = await acme.sign_in()
    ask = SESSIONS + "RefreshSession"
    second = await identity.ask(
        None,
        ask,
        session_service_pb2.RefreshSessionRequest(refresh_token=tokens.refresh_token),
        session_pb2.SessionTokens,
    )
    assert second.refresh_token != tokens.refresh_token
    forged = second.refresh_token[:-3] + "abc"
    await refused(
        Code.UNAUTHENTICATED,
        "SESSION_ENDED",
        identity.ask(
            None,
            ask,
            session_service_pb2.RefreshSessionRequest(refresh_token=forged),
            session_pb2.SessionTokens,
        ),
    )
    who = acme.verifier.verify(second.access_token)
    await identity.ask(who, SESSIONS + "SignOut", session_service_pb2.SignOutRequest(), Empty)
    await refused(
        Code.UNAUTHENTICATED,
        "SESSION_ENDED",
        identity.ask(
            None,
            ask,
            session_service_pb2.RefreshSessionRequest(refresh_token=second.refresh_token),
            session_pb2.SessionTokens,
        ),
    )


async def _person(
    identity: Harness, who: Principal, email: str, role: str, request_id: str = ""
) -> person_service_pb2.CreatePersonResponse:
    roles = await identity.ask(
        who,
        "kehu.identity.v1.RoleService/ListRoles",
        role_service_pb2.ListRolesRequest(),
        role_service_pb2.ListRolesResponse,
    )
    role_id = next(r.id for r in roles.roles if r.name == role)
    request = person_service_pb2.CreatePersonRequest(
        person=person_pb2.Person(email=email, display_name="李雷 Lei Li", role_ids=[role_id]),
        request_id=request_id,
    )
    return await identity.ask(who, PEOPLE + "CreatePerson", request, person_service_pb2.CreatePersonResponse)


async def test_people_are_created_once_found_changed_and_shut_out(identity: Harness, acme: Tenancy) -> None:
    who = await acme.administrator()
    made = await _person(identity, who, "Li@Acme.example", "Member", "one")
    again = await _person(identity, who, "Li@Acme.example", "Member", "one")
    assert made.one_time_password and not again.one_time_password, "a secret is shown once"
    assert again.person.id == made.person.id and made.person.email == "li@acme.example"
    await refused(Code.ALREADY_EXISTS, "EMAIL_TAKEN", _person(identity, who, "li@acme.example", "Member"))
    for query in ("lei", "li@", "李雷", "ll"):
        page = await identity.ask(
            who,
            PEOPLE + "ListPeople",
            person_service_pb2.ListPeopleRequest(query=query),
            person_service_pb2.ListPeopleResponse,
        )
        assert made.person.id in [p.id for p in page.people], query
    update = person_service_pb2.UpdatePersonRequest(
        person=person_pb2.Person(id=made.person.id, etag=made.person.etag, title="Sales"),
        update_mask=FieldMask(paths=["title"]),
    )
    changed = await identity.ask(who, PEOPLE + "UpdatePerson", update, person_pb2.Person)
    assert (
        changed.title == "Sales"
        and changed.etag != made.person.etag
        and changed.display_name == "李雷 Lei Li"
    )
    await refused(
        Code.ABORTED, "ETAG_MISMATCH", identity.ask(who, PEOPLE + "UpdatePerson", update, person_pb2.Person)
    )
    tokens = await acme.sign_in("li@acme.example", made.one_time_password)
    await identity.ask(
        who,
        PEOPLE + "DisablePerson",
        person_service_pb2.DisablePersonRequest(id=made.person.id),
        person_pb2.Person,
    )
    state = await identity.ask(
        Principal(tenant_id=who.tenant_id, tenant="acme", person_id=NOBODY, service="gateway"),
        SESSIONS + "IntrospectSession",
        session_service_pb2.IntrospectSessionRequest(session_id=tokens.session_id),
        session_service_pb2.IntrospectSessionResponse,
    )
    assert not state.active
    await refused(
        Code.UNAUTHENTICATED, "SIGN_IN_FAILED", acme.sign_in("li@acme.example", made.one_time_password)
    )


async def test_nobody_gives_more_than_they_have(identity: Harness, acme: Tenancy) -> None:
    who = await acme.administrator()
    manager = Principal(
        tenant_id=who.tenant_id,
        tenant="acme",
        person_id=who.person_id,
        name="M",
        rights={"people": who.rights["people"]},
    )
    await refused(
        Code.PERMISSION_DENIED,
        "ROLE_ABOVE_OWN",
        _person(identity, manager, "x@acme.example", "Administrator"),
    )
    request = role_service_pb2.CreateRoleRequest(
        role=role_pb2.Role(
            name="Too much",
            rights=[
                role_pb2.Right(
                    resource=role_pb2.RIGHT_RESOURCE_ORDERS, read=role_pb2.REACH_ALL, write=role_pb2.REACH_ALL
                )
            ],
        )
    )
    await refused(
        Code.PERMISSION_DENIED,
        "ROLE_ABOVE_OWN",
        identity.ask(manager, "kehu.identity.v1.RoleService/CreateRole", request, role_pb2.Role),
    )
    request.role.rights[0].read = role_pb2.REACH_OWN
    await refused(
        Code.INVALID_ARGUMENT,
        "WRITE_BEYOND_READ",
        identity.ask(who, "kehu.identity.v1.RoleService/CreateRole", request, role_pb2.Role),
    )


async def test_the_last_administrator_stays(identity: Harness, acme: Tenancy) -> None:
    who = await acme.administrator()
    request = person_service_pb2.DisablePersonRequest(id=str(who.person_id))
    await refused(
        Code.FAILED_PRECONDITION,
        "LAST_ADMINISTRATOR",
        identity.ask(who, PEOPLE + "DisablePerson", request, person_pb2.Person),
    )


async def test_teams_are_a_tree_whose_reach_goes_down(identity: Harness, acme: Tenancy) -> None:
    who = await acme.administrator()
    service = "kehu.identity.v1.TeamService/"

    async def team(name: str, parent: str = "") -> team_pb2.Team:
        request = team_service_pb2.CreateTeamRequest(team=team_pb2.Team(name=name, parent_id=parent))
        return await identity.ask(who, service + "CreateTeam", request, team_pb2.Team)

    top = await team("Sales")
    below = await team("East", top.id)
    await refused(Code.ALREADY_EXISTS, "TEAM_NAME_TAKEN", team("East", top.id))
    circle = team_service_pb2.UpdateTeamRequest(
        team=team_pb2.Team(id=top.id, parent_id=below.id), update_mask=FieldMask(paths=["parent_id"])
    )
    await refused(
        Code.FAILED_PRECONDITION,
        "TEAM_CIRCLE",
        identity.ask(who, service + "UpdateTeam", circle, team_pb2.Team),
    )
    for nowhere, reason in (
        (team_pb2.Team(id=top.id, parent_id=str(new_id())), "TEAM_NOT_FOUND"),
        (team_pb2.Team(id=top.id, manager_id=str(new_id())), "PERSON_NOT_FOUND"),
    ):
        moved = team_service_pb2.UpdateTeamRequest(team=nowhere)
        await refused(
            Code.INVALID_ARGUMENT, reason, identity.ask(who, service + "UpdateTeam", moved, team_pb2.Team)
        )
    made = await _person(identity, who, "east@acme.example", "Manager")
    move = person_service_pb2.UpdatePersonRequest(
        person=person_pb2.Person(id=made.person.id, team_id=top.id), update_mask=FieldMask(paths=["team_id"])
    )
    await identity.ask(who, PEOPLE + "UpdatePerson", move, person_pb2.Person)
    tokens = await acme.sign_in("east@acme.example", made.one_time_password)
    them = acme.verifier.verify(tokens.access_token)
    assert {str(t) for t in them.team_ids} == {top.id, below.id}
    await refused(
        Code.FAILED_PRECONDITION,
        "TEAM_NOT_EMPTY",
        identity.ask(who, service + "DeleteTeam", team_service_pb2.DeleteTeamRequest(id=top.id), Empty),
    )


async def test_api_keys_open_until_revoked(identity: Harness, acme: Tenancy) -> None:
    who = await acme.administrator()
    service = "kehu.identity.v1.ApiKeyService/"
    made = await identity.ask(
        who,
        service + "CreateApiKey",
        api_key_service_pb2.CreateApiKeyRequest(api_key=api_key_pb2.ApiKey(name="ERP")),
        api_key_service_pb2.CreateApiKeyResponse,
    )
    assert made.secret.startswith("kehu_acme_") and made.secret not in str(made.api_key)
    exchange = api_key_service_pb2.ExchangeApiKeyRequest(api_key=made.secret)
    answer = await identity.ask(
        GATEWAY, service + "ExchangeApiKey", exchange, api_key_service_pb2.ExchangeApiKeyResponse
    )
    claims = jwt.decode(answer.access_token, options={"verify_signature": False})
    assert claims["sub"] == str(who.person_id)
    await identity.ask(
        who,
        service + "RevokeApiKey",
        api_key_service_pb2.RevokeApiKeyRequest(id=made.api_key.id),
        api_key_pb2.ApiKey,
    )
    await refused(
        Code.UNAUTHENTICATED,
        "API_KEY_INVALID",
        identity.ask(
            GATEWAY, service + "ExchangeApiKey", exchange, api_key_service_pb2.ExchangeApiKeyResponse
        ),
    )


async def test_another_tenant_sees_nothing(identity: Harness, acme: Tenancy) -> None:
    other = await found(identity, "rival")
    who = await other.administrator()
    boss = await acme.administrator()
    await refused(
        Code.NOT_FOUND,
        "NOT_FOUND",
        identity.ask(
            who,
            PEOPLE + "GetPerson",
            person_service_pb2.GetPersonRequest(id=str(boss.person_id)),
            person_pb2.Person,
        ),
    )
    page = await identity.ask(
        who,
        PEOPLE + "ListPeople",
        person_service_pb2.ListPeopleRequest(),
        person_service_pb2.ListPeopleResponse,
    )
    assert [p.email for p in page.people] == ["boss@rival.example"]
    found_people = await identity.ask(
        who,
        PEOPLE + "LookUpPeople",
        person_service_pb2.LookUpPeopleRequest(names=["王芳"]),
        person_service_pb2.LookUpPeopleResponse,
    )
    assert [p.email for p in found_people.people] == ["boss@rival.example"]
