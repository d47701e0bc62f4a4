"""API keys: how programs act for a person. The text names the tenant; of its secret only the hash is kept."""

import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import select
from sqlmodel import col

from chassis.database import Database, Transaction
from chassis.errors import Denied, Invalid, NotFound
from chassis.events.event import Event
from chassis.ids import new_id
from chassis.principal import Act, Principal, Reach
from chassis.records import Record
from identity.errors import ApiKeyInvalid
from identity.person import Person
from identity.role import check_not_above, tables_of
from identity.session import hash_of


class ApiKey(Record, table=True):
    """A key of one person."""

    __tablename__ = "api_keys"  # pyright: ignore[reportAssignmentType]
    record_type: ClassVar[str] = "api_key"
    history_hidden: ClassVar[frozenset[str]] = frozenset({"secret_hash", "last_use_time"})

    name: str
    person_id: UUID
    prefix: str
    secret_hash: bytes
    expire_time: datetime | None = None
    last_use_time: datetime | None = None
    revoke_time: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class ApiKeyCreated(Event):
    api_key_id: UUID
    person_id: UUID
    name: str


@dataclass(frozen=True, kw_only=True)
class ApiKeyRevoked(Event):
    api_key_id: UUID
    person_id: UUID


async def create_api_key(
    tx: Transaction, name: str, person_id: UUID | None, expire_time: datetime | None, id: UUID | None
) -> tuple[ApiKey, str]:
    """A new key and its text, which is shown this once. Raises Denied, RoleAboveOwn, Invalid."""
    whose = person_id or tx.who.person_id
    person = await tx.find(Person, whose, lock=False)
    if person is None:
        raise Invalid("apiKey.personId", f"there is no person {whose}", reason="PERSON_NOT_FOUND")
    if whose != tx.who.person_id:
        if tx.who.reach("people", Act.WRITE) is Reach.NONE:
            raise Denied("Keys of others need the write right people.", reason="RIGHT_MISSING")
        check_not_above(tx.who, await tables_of(tx, person.role_ids))
    if expire_time is not None and expire_time <= tx.now:
        raise Invalid("apiKey.expireTime", "is in the past")
    secret = f"kehu_{tx.who.tenant}_{secrets.token_urlsafe(32)}"
    key = ApiKey(
        name=name, person_id=whose, prefix=secret[: len(tx.who.tenant) + 10], secret_hash=hash_of(secret),
        expire_time=expire_time, id=id or new_id(),
    )  # fmt: skip
    tx.add(key)
    tx.record(ApiKeyCreated(api_key_id=key.id, person_id=whose, name=name), on=key)
    return key, secret


async def revoke_api_key(tx: Transaction, id: UUID) -> ApiKey:
    """Ends a key of the caller's own, or anybody's with the right. Raises NotFound."""
    key = await tx.find(ApiKey, id)
    if key is None or (key.person_id != tx.who.person_id and tx.who.reach("people", Act.WRITE) is Reach.NONE):
        raise NotFound("api_key", id)
    revoke(tx, key)
    return key


def revoke(tx: Transaction, key: ApiKey) -> None:
    """Ends a key; ending a revoked one changes nothing."""
    if key.revoke_time is None:
        key.revoke_time = tx.now
        tx.record(ApiKeyRevoked(api_key_id=key.id, person_id=key.person_id), on=key)


async def revoke_all(tx: Transaction, person_id: UUID) -> None:
    """Ends all keys of a person."""
    found = await tx.session.execute(
        select(ApiKey)
        .where(col(ApiKey.person_id) == person_id, col(ApiKey.revoke_time).is_(None))
        .with_for_update()
    )
    for key in found.scalars():
        revoke(tx, key)


def tenant_in(text: str) -> str:
    """The tenant's slug in a key's text. Raises ApiKeyInvalid when it is no key."""
    parts = text.split("_", 2)
    if len(parts) != 3 or parts[0] != "kehu" or not parts[1]:
        raise ApiKeyInvalid
    return parts[1]


_LIVING = (
    "SELECT id, person_id FROM api_keys WHERE secret_hash = $1 AND revoke_time IS NULL AND deleted_at IS NULL"
    " AND (expire_time IS NULL OR expire_time > now())"
)


async def person_behind(database: Database, who: Principal, text: str) -> tuple[UUID, UUID]:
    """`(key, person)` of a living key. Raises ApiKeyInvalid."""
    rows: list[Any] = await database.read(who, _LIVING, hash_of(text))
    if not rows:
        raise ApiKeyInvalid
    return rows[0]["id"], rows[0]["person_id"]
