"""People: those who sign in and own records."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import ARRAY, Uuid, text
from sqlmodel import Field

from chassis.database import Transaction
from chassis.events.event import Event
from chassis.ids import new_id
from chassis.records import Record
from chassis.search import Searchable
from identity import password as passwords
from identity.errors import LastAdministrator
from identity.role import check_not_above, tables_of
from identity.team import check_exists

ACTIVE, DISABLED = "ACTIVE", "DISABLED"


class Person(Record, Searchable, table=True):
    """Somebody who works with Kehu."""

    __tablename__ = "people"  # pyright: ignore[reportAssignmentType]
    record_type: ClassVar[str] = "person"
    history_hidden: ClassVar[frozenset[str]] = frozenset({"password_hash", "last_sign_in_time"})

    email: str
    display_name: str
    phone: str = ""
    title: str = ""
    team_id: UUID | None = None
    role_ids: list[UUID] = Field(default_factory=list[UUID], sa_type=ARRAY(Uuid))  # pyright: ignore[reportArgumentType]
    status: str = ACTIVE
    password_hash: str = ""
    must_change_password: bool = True
    last_sign_in_time: datetime | None = None
    language_code: str = ""
    time_zone: str = ""
    disable_time: datetime | None = None
    external_key: str = ""

    def findable(self) -> None:
        """Keeps the words for searching true to the name, phone and e-mail."""
        self.find_by(people=[self.display_name], phones=[self.phone], texts=[self.email])


@dataclass(frozen=True, kw_only=True)
class PersonSnapshot:
    display_name: str
    team_id: UUID | None
    role_ids: list[UUID]
    status: str
    language_code: str
    time_zone: str


@dataclass(frozen=True, kw_only=True)
class PersonCreated(Event):
    person_id: UUID
    person: PersonSnapshot


@dataclass(frozen=True, kw_only=True)
class PersonUpdated(Event):
    person_id: UUID
    person: PersonSnapshot
    changed_fields: list[str]


@dataclass(frozen=True, kw_only=True)
class PersonDisabled(Event):
    person_id: UUID
    person: PersonSnapshot


@dataclass(frozen=True, kw_only=True)
class PersonEnabled(Event):
    person_id: UUID
    person: PersonSnapshot


def snapshot(person: Person) -> PersonSnapshot:
    """The person as events tell it."""
    return PersonSnapshot(
        display_name=person.display_name,
        team_id=person.team_id,
        role_ids=list(person.role_ids),
        status=person.status,
        language_code=person.language_code,
        time_zone=person.time_zone,
    )


def _tidy(values: Mapping[str, Any]) -> dict[str, Any]:
    tidy = dict(values)
    if "email" in tidy:
        tidy["email"] = tidy["email"].lower()
    if "role_ids" in tidy:
        tidy["role_ids"] = [UUID(str(id)) for id in tidy["role_ids"]]
    return tidy


async def create_person(
    tx: Transaction,
    values: Mapping[str, Any],
    *,
    id: UUID | None,
    initial_password: str = "",
    must_change: bool = True,
) -> tuple[Person, str]:
    """A new active person, and the one-time password when none was given.

    Raises RoleAboveOwn, PasswordTooWeak, and Invalid for a role or team that does not exist.
    """
    tidy = _tidy(values)
    if initial_password:
        passwords.check_strength(
            initial_password, "initialPassword", email=tidy["email"], name=tidy["display_name"]
        )  # fmt: skip
    secret = initial_password or passwords.one_time()
    check_not_above(tx.who, await tables_of(tx, tidy.get("role_ids", [])))
    if tidy.get("team_id"):
        await check_exists(tx, tidy["team_id"], "person.teamId")
    person = Person(
        **tidy,
        password_hash=await passwords.hashed(secret),
        must_change_password=must_change,
        id=id or new_id(),
    )
    person.findable()
    tx.add(person)
    tx.record(PersonCreated(person_id=person.id, person=snapshot(person)), on=person)
    return person, "" if initial_password else secret


async def change_person(tx: Transaction, person: Person, values: Mapping[str, Any]) -> None:
    """Changes fields of a person. Raises what create_person does, and LastAdministrator."""
    tidy = _tidy(values)
    if "role_ids" in tidy and set(tidy["role_ids"]) != set(person.role_ids):
        # Neither giving nor taking may touch rights above the caller's own.
        check_not_above(tx.who, await tables_of(tx, tidy["role_ids"]))
        check_not_above(tx.who, await tables_of(tx, person.role_ids))
    if tidy.get("team_id"):
        await check_exists(tx, tidy["team_id"], "person.teamId")
    changed = [name for name, value in tidy.items() if getattr(person, name) != value]
    if "email" in changed:
        # Whoever signs in by another address is shut out as one who is disabled.
        check_not_above(tx.who, await tables_of(tx, person.role_ids))
    for name in changed:
        setattr(person, name, tidy[name])
    if not changed:
        return
    person.findable()
    if "role_ids" in changed:
        await check_administrator_left(tx)
    tx.record(PersonUpdated(person_id=person.id, person=snapshot(person), changed_fields=changed), on=person)


async def disable(tx: Transaction, person: Person) -> bool:
    """Shuts a person out. False when they were already. Raises LastAdministrator."""
    if person.status == DISABLED:
        return False
    check_not_above(tx.who, await tables_of(tx, person.role_ids))
    person.status = DISABLED
    person.disable_time = tx.now
    await check_administrator_left(tx)
    tx.record(PersonDisabled(person_id=person.id, person=snapshot(person)), on=person)
    return True


async def enable(tx: Transaction, person: Person) -> None:
    """Lets a disabled person sign in again. Raises RoleAboveOwn: with them come the rights that they have."""
    if person.status == ACTIVE:
        return
    check_not_above(tx.who, await tables_of(tx, person.role_ids))
    person.status = ACTIVE
    person.disable_time = None
    tx.record(PersonEnabled(person_id=person.id, person=snapshot(person)), on=person)


async def reset_password(tx: Transaction, person: Person) -> str:
    """Gives the person a new one-time password. Raises RoleAboveOwn."""
    check_not_above(tx.who, await tables_of(tx, person.role_ids))
    secret = passwords.one_time()
    person.password_hash = await passwords.hashed(secret)
    person.must_change_password = True
    return secret


async def check_administrator_left(tx: Transaction) -> None:
    """Raises LastAdministrator unless an active person still has the right `people` at reach all.

    Locks the tenant's administrators, so that two of them cannot take it from each other.
    """
    await tx.session.flush()
    await tx.hold("admins")
    left = await tx.session.execute(
        text(
            "SELECT 1 FROM people p JOIN roles r ON r.id = ANY(p.role_ids) AND r.deleted_at IS NULL"
            " WHERE p.status = 'ACTIVE' AND p.deleted_at IS NULL AND r.rights ->> 'people' = 'aa' LIMIT 1"
        )
    )
    if left.first() is None:
        raise LastAdministrator
