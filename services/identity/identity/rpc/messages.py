"""Rows as messages."""

from collections.abc import Iterable, Mapping
from typing import Any

from kehu.identity.v1 import api_key_pb2, person_pb2, role_pb2, session_pb2, team_pb2, tenant_pb2

from chassis.mapping import Mapping as RowMapping
from chassis.principal import Rights
from identity.role import RESOURCES, Table, parts, table_of

TENANT = RowMapping(tenant_pb2.Tenant)
TEAM = RowMapping(team_pb2.Team, skip=["member_count"])
ROLE = RowMapping(role_pb2.Role, skip=["rights", "person_count"])
PERSON = RowMapping(person_pb2.Person, skip=["role_ids"])
SESSION = RowMapping(session_pb2.Session, skip=["current"])
API_KEY = RowMapping(api_key_pb2.ApiKey)


def person_message(row: Any) -> person_pb2.Person:
    """A person; `row` is a row object or a row of the read path."""
    message = PERSON.message(row)
    ids: Iterable[Any] = row["role_ids"] if hasattr(row, "keys") else row.role_ids
    message.role_ids.extend(str(id) for id in ids)
    return message


def role_message(row: Any, table: Mapping[str, str]) -> role_pb2.Role:
    """A role with its rights."""
    message = ROLE.message(row)
    message.rights.extend(_right(*part) for part in parts(table))
    return message


def rights_messages(rights: Mapping[str, Rights]) -> list[role_pb2.Right]:
    """Rights as the contract has them."""
    return [
        _right(name, int(rights[name].read), int(rights[name].write)) for name in RESOURCES if name in rights
    ]


def _right(resource: str, read: int, write: int) -> role_pb2.Right:
    return role_pb2.Right(
        resource=role_pb2.RightResource.Value(f"RIGHT_RESOURCE_{resource.upper()}"),
        read=role_pb2.Reach.ValueType(read),
        write=role_pb2.Reach.ValueType(write),
    )


def table_in(rights: Iterable[role_pb2.Right]) -> Table:
    """The rights of a request as they are kept. Raises Invalid."""
    return table_of(
        (
            role_pb2.RightResource.Name(r.resource).removeprefix("RIGHT_RESOURCE_").lower(),
            int(r.read),
            int(r.write),
        )
        for r in rights
    )
