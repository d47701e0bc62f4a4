"""What a piece of work has done to many records, noted so that it can be undone: what each was before, field by field.

Shared by imports and bulk edits. `changes` maps a column to `[before, after]` as JSON holds them; custom fields stand one by
one, lists as wholes.
"""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from chassis.custom_fields.given import COLUMN as CUSTOM
from chassis.custom_fields.given import Given
from chassis.database import Transaction
from chassis.errors import Code, Problem
from chassis.history import LISTED, plain, typed


@dataclass(slots=True)
class Effect:
    """What one transaction did to one record."""

    created: bool
    first: int
    """The record's version after the first change."""
    version: int = 0
    """… and after the last."""
    changes: dict[str, list[Any]] = field(default_factory=dict[str, list[Any]])


async def effects(tx: Transaction, record_type: str, ids: Container[UUID]) -> dict[UUID, Effect]:
    """What this transaction has done so far to those of the records that it has made or changed."""
    found: dict[UUID, Effect] = {}
    for entry in await tx.changes():
        id = UUID(str(entry["record_id"]))
        if entry["record_type"] != record_type or id not in ids:
            continue
        if entry["action"] not in ("created", "updated"):
            continue
        known = found.setdefault(id, Effect(entry["action"] == "created", entry["version"]))
        known.version = entry["version"]
        for column, (old, new) in [*entry["changes"].items(), *entry.get(LISTED, {}).items()]:
            if "." in column and not column.startswith(f"{CUSTOM}."):
                continue  # an entry of a list, which comes as a whole behind
            first = known.changes.get(column, [old])[0]
            known.changes[column] = [first, new]
    return found


def differing(row: Any, changes: Mapping[str, Sequence[Any]]) -> list[str]:
    """The columns that are no longer as the work left them."""
    return [name for name, (_, after) in changes.items() if now(row, name) != after]


def now(row: Any, name: str) -> Any:
    """What a column holds, as JSON holds it."""
    if name.startswith(CUSTOM + "."):
        return getattr(row, CUSTOM).get(name.removeprefix(CUSTOM + "."))
    return plain(getattr(row, name))


def former(table: type[Any], changes: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """The values before the work, as columns take them."""
    own = {
        name.removeprefix(CUSTOM + "."): before
        for name, (before, _) in changes.items()
        if name.startswith(CUSTOM + ".")
    }
    out: dict[str, Any] = {
        name: typed(table, name, before)
        for name, (before, _) in changes.items()
        if not name.startswith(CUSTOM + ".")
    }
    if own:
        out[CUSTOM] = Given(own)
    return out


_PASSING = (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.RESOURCE_EXHAUSTED, Code.INTERNAL)


def passes(error: Problem) -> bool:
    """Whether the same may succeed by itself a little later; what a use case refuses for the state of the record does not."""
    return error.code in _PASSING or error.reason == "RECORD_BUSY"
