"""Roles: bundles of rights. A person has the widest reach that any of their roles gives."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field

from chassis.database import Transaction
from chassis.errors import Invalid
from chassis.events.event import Event
from chassis.ids import new_id
from chassis.principal import Principal, Reach, Rights
from chassis.records import Record
from identity.errors import RoleAboveOwn, RoleBuiltIn, RoleInUse

RESOURCES = (
    "people", "customers", "leads", "opportunities", "products", "orders", "campaigns", "tickets", "reports", "settings",
    "exports", "privacy",
)  # fmt: skip
_LETTERS = "nota"
Table = dict[str, str]
"""Rights as they are kept: resource → two letters for read and write out of n(one), o(wn), t(eam), a(ll)."""


class Role(Record, table=True):
    """A named bundle of rights."""

    __tablename__ = "roles"  # pyright: ignore[reportAssignmentType]
    record_type: ClassVar[str] = "role"

    name: str
    description: str = ""
    rights: Table = Field(default_factory=dict[str, str], sa_type=JSONB)
    built_in: bool = False


@dataclass(frozen=True, kw_only=True)
class RoleCreated(Event):
    role_id: UUID
    name: str


@dataclass(frozen=True, kw_only=True)
class RoleUpdated(Event):
    role_id: UUID
    name: str


@dataclass(frozen=True, kw_only=True)
class RoleDeleted(Event):
    role_id: UUID
    name: str


def table_of(rights: Iterable[tuple[str, int, int]]) -> Table:
    """Rights `(resource, read, write)` as they are kept.

    Raises Invalid when a resource stands twice or writing reaches farther than reading.
    """
    table: Table = {}
    for resource, read, write in rights:
        if resource in table:
            raise Invalid("role.rights", f"'{resource}' stands twice")
        if write > read:
            raise Invalid(
                "role.rights", f"'{resource}': write reaches farther than read", reason="WRITE_BEYOND_READ"
            )
        table[resource] = _LETTERS[read] + _LETTERS[write]
    return table


def parts(table: Mapping[str, str]) -> list[tuple[str, int, int]]:
    """`(resource, read, write)` of rights as they are kept, in the order of the resources."""
    return [(r, _LETTERS.index(table[r][0]), _LETTERS.index(table[r][1])) for r in RESOURCES if r in table]


def together(tables: Iterable[Mapping[str, str]]) -> dict[str, Rights]:
    """The rights that several roles give together."""
    widest: dict[str, Rights] = {}
    for table in tables:
        for resource, read, write in parts(table):
            known = widest.get(resource, Rights())
            widest[resource] = Rights(max(known.read, Reach(read)), max(known.write, Reach(write)))
    return widest


def check_not_above(who: Principal, tables: Iterable[Mapping[str, str]]) -> None:
    """Raises RoleAboveOwn when these rights reach farther than the caller's own. Our services are not measured."""
    if who.service is not None:
        return
    for resource, given in together(tables).items():
        own = who.rights.get(resource, Rights())
        if given.read > own.read or given.write > own.write:
            raise RoleAboveOwn


async def tables_of(tx: Transaction, role_ids: Iterable[UUID]) -> list[Mapping[str, str]]:
    """The rights of these roles. Raises Invalid (ROLE_NOT_FOUND) naming one that does not exist."""
    wanted = list(role_ids)
    found = await tx.session.execute(
        text("SELECT id, rights FROM roles WHERE id = ANY(:ids) AND deleted_at IS NULL"), {"ids": wanted}
    )
    tables = {row.id: row.rights for row in found}
    for id in wanted:
        if id not in tables:
            raise Invalid("person.roleIds", f"there is no role {id}", reason="ROLE_NOT_FOUND")
    return list(tables.values())


async def create_role(
    tx: Transaction, values: Mapping[str, Any], table: Table, id: UUID | None = None
) -> Role:
    """A new role. Raises RoleAboveOwn."""
    check_not_above(tx.who, [table])
    role = Role(**values, rights=table, id=id or new_id())
    tx.add(role)
    tx.record(RoleCreated(role_id=role.id, name=role.name), on=role)
    return role


def change_role(tx: Transaction, role: Role, values: Mapping[str, Any], table: Table | None) -> None:
    """Changes name, description or rights. Raises RoleBuiltIn, RoleAboveOwn."""
    if role.built_in:
        raise RoleBuiltIn
    if table is not None:
        check_not_above(tx.who, [table, role.rights])
        role.rights = table
    for name, value in values.items():
        setattr(role, name, value)
    tx.record(RoleUpdated(role_id=role.id, name=role.name), on=role)


async def delete_role(tx: Transaction, role: Role) -> None:
    """Deletes a role nobody has. Raises RoleBuiltIn, RoleInUse."""
    if role.built_in:
        raise RoleBuiltIn
    used = await tx.session.execute(
        text("SELECT 1 FROM people WHERE :id = ANY(role_ids) AND deleted_at IS NULL LIMIT 1"), {"id": role.id}
    )
    if used.first() is not None:
        raise RoleInUse
    tx.delete(role)
    tx.record(RoleDeleted(role_id=role.id, name=role.name), on=role)


ADMINISTRATOR: Table = dict.fromkeys(RESOURCES, "aa")
MANAGER: Table = {
    "people": "nn", "customers": "at", "leads": "tt", "opportunities": "tt", "products": "aa", "orders": "tt",
    "campaigns": "at", "tickets": "at", "reports": "tn", "settings": "nn", "exports": "tt",
}  # fmt: skip
MEMBER: Table = {
    "customers": "oo", "leads": "oo", "opportunities": "oo", "products": "an", "orders": "oo", "campaigns": "an",
    "tickets": "oo", "reports": "on",
}  # fmt: skip
