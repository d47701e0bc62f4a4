"""SessionService."""

import time
from datetime import UTC, datetime
from uuid import UUID

from google.protobuf.empty_pb2 import Empty
from kehu.identity.v1 import session_pb2 as pb
from kehu.identity.v1 import session_service_pb2 as service_pb

from chassis.database import Transaction
from chassis.errors import Denied, NotFound, Unavailable
from chassis.fields import Field, Kind
from chassis.ids import parse_id
from chassis.listing import Listing
from chassis.mapping import to_timestamp
from chassis.principal import GATEWAY, Act, Principal, Reach
from chassis.rpc import Call, Face
from identity import session as sessions
from identity.errors import RefreshTokenReused, SessionEnded, SignInFailed
from identity.rpc.messages import SESSION, TENANT, person_message, rights_messages
from identity.session import ACCESS_TTL, Session
from identity.tenant import find_tenant, keeper

face = Face("kehu.identity.v1.SessionService")

SESSIONS = Listing(
    Session,
    None,
    {
        "lastUseTime": Field("last_use_time", Kind.TIMESTAMP, sortable=True),
        "personId": Field("person_id", Kind.UUID),
        "endTime": Field("end_time", Kind.TIMESTAMP, nullable=True),
    },
    "lastUseTime desc",
)


def access_token(call: Call, who: Principal, audience: str = "") -> tuple[str, datetime]:
    """A signed token for that person, and when it ends. Raises Unavailable when identity has no key to sign with.

    One that leaves the house has the gateway as its audience.
    """
    if call.issuer is None:
        raise Unavailable("Identity has no signing key.", reason="NO_SIGNING_KEY")
    return call.issuer.issue(who, ACCESS_TTL, audience), datetime.fromtimestamp(
        int(time.time() + ACCESS_TTL), UTC
    )


@face.process("SignIn")
async def sign_in(request: service_pb.SignInRequest, call: Call) -> pb.SessionTokens:
    tenant = await find_tenant(
        call.settings.relay_database_url.get_secret_value(), request.tenant.strip().lower()
    )
    if tenant is None:
        await sessions.passwords.matches(request.password, None)
        raise SignInFailed
    who = keeper(*tenant)
    async with call.database.transaction(who) as tx:
        known = await sessions.known_password(tx, request.email, request.client_address)
    good = await sessions.passwords.matches(request.password, known)
    async with call.database.transaction(who) as tx:
        made = await sessions.sign_in(
            tx, request.email, known, good, request.client_address, request.user_agent
        )
    if made is None:
        raise SignInFailed
    return await _tokens(call, who, *made)


@face.process("RefreshSession")
async def refresh(request: service_pb.RefreshSessionRequest, call: Call) -> pb.SessionTokens:
    tenant_id, id, secret = sessions.read_refresh_token(request.refresh_token)
    who = keeper(tenant_id, await _slug(call, tenant_id))
    async with call.database.transaction(who) as tx:
        made = await sessions.refresh(tx, id, secret)
    if made is None:
        raise RefreshTokenReused
    return await _tokens(call, who, *made)


async def _slug(call: Call, tenant_id: UUID) -> str:
    rows = await call.database.read(
        keeper(tenant_id, ""), "SELECT slug FROM tenants WHERE id = $1", tenant_id
    )
    if not rows:
        raise SessionEnded
    return str(rows[0]["slug"])


async def _tokens(call: Call, who: Principal, session: Session, secret: str) -> pb.SessionTokens:
    person = await sessions.principal_of(call.database, who, session.person_id, session.id)
    if person is None:
        raise SessionEnded
    token, until = access_token(call, person, GATEWAY)
    answer = pb.SessionTokens(
        access_token=token, refresh_token=sessions.refresh_token(session, secret), session_id=str(session.id),
        me=await _me(call, person),
    )  # fmt: skip
    to_timestamp(answer.access_token_expire_time, until)
    to_timestamp(answer.refresh_token_expire_time, session.expire_time)
    return answer


async def _me(call: Call, who: Principal) -> pb.Me:
    people = await call.database.read(
        who, "SELECT * FROM people WHERE id = $1 AND deleted_at IS NULL", who.person_id
    )
    tenants = await call.database.read(who, "SELECT * FROM tenants WHERE id = $1", who.tenant_id)
    if not people or not tenants:
        raise NotFound("person", who.person_id)
    return pb.Me(
        person=person_message(people[0]), tenant=TENANT.message(tenants[0]), rights=rights_messages(who.rights),
        team_ids=[str(team) for team in sorted(who.team_ids)],
    )  # fmt: skip


@face.read("GetMe")
async def get_me(request: service_pb.GetMeRequest, call: Call) -> pb.Me:
    return await _me(call, call.who)


@face.write("SignOut")
async def sign_out(request: service_pb.SignOutRequest, tx: Transaction) -> Empty:
    if tx.who.session_id is not None:
        session = await tx.find(Session, tx.who.session_id)
        if session is not None:
            sessions.end(tx, session, "SIGNED_OUT")
    return Empty()


@face.write("ChangePassword")
async def change_password(request: service_pb.ChangePasswordRequest, tx: Transaction) -> Empty:
    await sessions.change_password(tx, request.current_password, request.new_password)
    return Empty()


@face.read("ListSessions")
async def list_sessions(
    request: service_pb.ListSessionsRequest, call: Call
) -> service_pb.ListSessionsResponse:
    whose = parse_id(request.person_id, "personId") if request.person_id else call.who.person_id
    if whose != call.who.person_id and call.who.reach("people", Act.READ) is Reach.NONE:
        raise Denied("Sessions of others need the right people.", reason="RIGHT_MISSING")
    page = await SESSIONS.page(call, request, {"personId": whose, "endTime": None})
    now = datetime.now(UTC)
    answer = service_pb.ListSessionsResponse(next_page_token=page.next_page_token)
    for row in page.rows:
        if row["expire_time"] > now:
            message = answer.sessions.add()
            message.CopyFrom(SESSION.message(row))
            message.current = row["id"] == call.who.session_id
    return answer


@face.write("RevokeSession")
async def revoke(request: service_pb.RevokeSessionRequest, tx: Transaction) -> pb.Session:
    session = await tx.find(Session, parse_id(request.id, "id"))
    if session is None or (
        session.person_id != tx.who.person_id and tx.who.reach("people", Act.WRITE) is Reach.NONE
    ):
        raise NotFound("session", request.id)
    tx.check_etag(session, request.etag)
    sessions.end(tx, session, "REVOKED")
    await tx.session.flush()
    message = SESSION.message(session)
    message.current = session.id == tx.who.session_id
    return message


@face.read("IntrospectSession")
async def introspect(
    request: service_pb.IntrospectSessionRequest, call: Call
) -> service_pb.IntrospectSessionResponse:
    found = await sessions.living(call.database, call.who, parse_id(request.session_id, "sessionId"))
    if found is None:
        return service_pb.IntrospectSessionResponse(active=False)
    person_id, until = found
    person = await sessions.principal_of(
        call.database, call.who, person_id, parse_id(request.session_id, "sessionId")
    )
    if person is None:
        return service_pb.IntrospectSessionResponse(active=False)
    token, expires = access_token(call, person)
    answer = service_pb.IntrospectSessionResponse(
        active=True, access_token=token, person_id=str(person_id), tenant_id=str(person.tenant_id)
    )
    to_timestamp(answer.access_token_expire_time, expires)
    to_timestamp(answer.session_expire_time, until)
    return answer
