"""Sessions: one sign-in until it ends, is revoked or expires; and the tokens that prove it.

A refresh token names its tenant and session and carries a secret of which the hash is kept. It is spent by its use; the one
before it is accepted for `GRACE` longer, for clients that lost the answer; after that its use means it was stolen.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import select
from sqlmodel import col

from chassis.callers import counted
from chassis.database import Database, Transaction
from chassis.events.event import Event
from chassis.principal import Principal
from chassis.records import Record
from identity import password as passwords
from identity.errors import PasswordTooWeak, PasswordWrong, SessionEnded
from identity.person import ACTIVE, Person
from identity.role import together

IDLE = timedelta(days=14)
LONGEST = timedelta(days=90)
GRACE = timedelta(seconds=30)
ACCESS_TTL = 300.0
"""Seconds an access token is valid."""


class Session(Record, table=True):
    """One sign-in."""

    __tablename__ = "sessions"  # pyright: ignore[reportAssignmentType]
    record_type: ClassVar[str] = ""

    person_id: UUID
    secret_hash: bytes
    spent_hash: bytes = b""
    client_address: str = ""
    user_agent: str = ""
    last_use_time: datetime
    expire_time: datetime
    end_time: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class SessionStarted(Event):
    session_id: UUID
    person_id: UUID
    client_address: str
    user_agent: str


@dataclass(frozen=True, kw_only=True)
class SessionRevoked(Event):
    session_id: UUID
    person_id: UUID
    reason: str


def hash_of(secret: str) -> bytes:
    """The secrets have 256 random bits: a fast hash is enough."""
    return hashlib.sha256(secret.encode()).digest()


def refresh_token(session: Session, secret: str) -> str:
    """The text a client keeps."""
    return f"kr_{session.tenant_id.hex}_{session.id.hex}_{secret}"


def read_refresh_token(token: str) -> tuple[UUID, UUID, str]:
    """`(tenant, session, secret)`. Raises SessionEnded when it is no refresh token."""
    try:
        kind, tenant, session, secret = token.split("_", 3)
        if kind != "kr":
            raise ValueError(kind)
        return UUID(tenant), UUID(session), secret
    except ValueError:
        raise SessionEnded from None


async def known_password(tx: Transaction, email: str, address: str) -> str | None:
    """The hash that a password is to be held against, before a session may begin; None when nobody has that address.

    Raises TooManyAttempts.
    """
    email = email.strip().lower()
    await passwords.check_brake(tx, email, counted(address))
    found = await tx.session.execute(
        select(col(Person.password_hash)).where(col(Person.email) == email, col(Person.deleted_at).is_(None))
    )
    return found.scalar_one_or_none()


async def sign_in(
    tx: Transaction, email: str, known: str | None, good: bool, address: str, agent: str
) -> tuple[Session, str] | None:
    """A new session and its secret; None when it is refused, which is counted.

    `good` says that the password fitted the hash `known`; when it is another by now, that counts for nothing. Comparing takes
    long, so no transaction waits for it, and the brake is asked once more. Raises TooManyAttempts.
    """
    email = email.strip().lower()
    found = await tx.session.execute(
        select(Person).where(col(Person.email) == email, col(Person.deleted_at).is_(None)).with_for_update()
    )
    person = found.scalar_one_or_none()
    await passwords.check_brake(tx, email, counted(address))
    if person is None or not good or person.password_hash != known or person.status != ACTIVE:
        await passwords.count_failure(tx, email, counted(address))
        return None
    await passwords.clear_failures(tx, email)
    person.last_sign_in_time = tx.now
    secret = secrets.token_urlsafe(32)
    session = Session(
        person_id=person.id, secret_hash=hash_of(secret), client_address=address[:100], user_agent=agent[:400],
        last_use_time=tx.now, expire_time=tx.now + IDLE,
    )  # fmt: skip
    tx.add(session)
    tx.record(
        SessionStarted(
            session_id=session.id,
            person_id=person.id,
            client_address=session.client_address,
            user_agent=session.user_agent,
        ),
        on=session,
    )
    return session, secret


async def refresh(tx: Transaction, id: UUID, secret: str) -> tuple[Session, str] | None:
    """The session with a new secret; None when the token was stolen, and the session is then ended. Raises SessionEnded."""
    session = await tx.find(Session, id)
    if session is None or session.end_time is not None or session.expire_time <= tx.now:
        raise SessionEnded
    given = hash_of(secret)
    if not hmac.compare_digest(given, session.secret_hash):
        if not hmac.compare_digest(given, session.spent_hash):
            raise SessionEnded
        if tx.now - session.last_use_time > GRACE:
            end(tx, session, "TOKEN_REUSED")
            return None
    fresh = secrets.token_urlsafe(32)
    session.spent_hash = given
    session.secret_hash = hash_of(fresh)
    session.last_use_time = tx.now
    session.expire_time = min(tx.now + IDLE, session.created_at + LONGEST)
    return session, fresh


def end(tx: Transaction, session: Session, reason: str) -> None:
    """Ends a session; ending an ended one changes nothing."""
    if session.end_time is None:
        session.end_time = tx.now
        tx.record(
            SessionRevoked(session_id=session.id, person_id=session.person_id, reason=reason), on=session
        )


async def end_all(tx: Transaction, person_id: UUID, reason: str, *, but: UUID | None = None) -> None:
    """Ends all living sessions of a person, except one."""
    found = await tx.session.execute(
        select(Session)
        .where(col(Session.person_id) == person_id, col(Session.end_time).is_(None))
        .with_for_update()
    )
    for session in found.scalars():
        if session.id != but:
            end(tx, session, reason)


async def change_password(tx: Transaction, current: str, new: str) -> None:
    """The caller's own password. Ends the other sessions. Raises PasswordWrong, PasswordTooWeak."""
    person = await tx.find(Person, tx.who.person_id)
    if person is None or not await passwords.matches(current, person.password_hash):
        raise PasswordWrong("currentPassword", "is not your present password")
    passwords.check_strength(new, "newPassword", email=person.email, name=person.display_name)
    if new == current:
        raise PasswordTooWeak("newPassword", "is the present password")
    person.password_hash = await passwords.hashed(new)
    person.must_change_password = False
    await end_all(tx, person.id, "PASSWORD_CHANGED", but=tx.who.session_id)


_WHO = """
SELECT p.id, p.display_name, p.team_id, p.must_change_password, t.slug,
    coalesce(nullif(p.time_zone, ''), t.time_zone) AS time_zone,
    (SELECT coalesce(jsonb_agg(r.rights), '[]') FROM roles r WHERE r.id = ANY(p.role_ids) AND r.deleted_at IS NULL) AS tables,
    (WITH RECURSIVE below AS (
        SELECT id FROM teams WHERE id = p.team_id AND deleted_at IS NULL
        UNION SELECT c.id FROM teams c JOIN below b ON c.parent_id = b.id WHERE c.deleted_at IS NULL
    ) SELECT array_agg(id) FROM below) AS team_ids
FROM people p JOIN tenants t ON t.id = p.tenant_id
WHERE p.id = $1 AND p.status = 'ACTIVE' AND p.deleted_at IS NULL
"""
_LIVING = (
    "SELECT person_id, expire_time FROM sessions WHERE id = $1 AND end_time IS NULL AND expire_time > now()"
)


async def principal_of(
    database: Database, who: Principal, person_id: UUID, session_id: UUID | None
) -> Principal | None:
    """The active person with their present rights, as a token tells it; None when there is none (any more).

    Without a session a program asks by an API key: it has no password to change.
    """
    rows: list[Any] = await database.read(who, _WHO, person_id)
    if not rows:
        return None
    row = rows[0]
    return Principal(
        tenant_id=who.tenant_id, tenant=row["slug"], person_id=row["id"], name=row["display_name"], team_id=row["team_id"],
        team_ids=frozenset(row["team_ids"] or ()), rights=together(row["tables"]), session_id=session_id,
        must_change_password=row["must_change_password"] and session_id is not None, time_zone=row["time_zone"],
    )  # fmt: skip


async def living(database: Database, who: Principal, session_id: UUID) -> tuple[UUID, datetime] | None:
    """`(person, end)` of a living session, or None."""
    rows: list[Any] = await database.read(who, _LIVING, session_id)
    return (rows[0]["person_id"], rows[0]["expire_time"]) if rows else None
