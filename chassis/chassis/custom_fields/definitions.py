"""Reading the definitions, within a transaction that writes values and for lists, and taking values in."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import asyncpg
from sqlalchemy import text

from chassis.custom_fields.given import COLUMN, Given
from chassis.custom_fields.known import NONE, Definitions, Known
from chassis.principal import Principal

if TYPE_CHECKING:
    from chassis.database import Transaction


class Reader(Protocol):
    """The read path of the database, with what this process knows."""

    known_fields: Known

    async def read(self, who: Principal, sql: str, *args: object) -> list[asyncpg.Record]: ...


_COLUMNS = (
    "s.version AS set_version, f.id, f.key, f.kind, f.label_zh, f.label_en, f.required, f.default_value::text AS default_value,"
    " f.filterable, f.indexed, f.archived, f.max_length, f.decimals, f.reference_type, f.choices::text AS choices"
)
_FROM = " FROM custom_field_sets s LEFT JOIN custom_fields f ON f.of_type = s.of_type AND f.deleted_at IS NULL WHERE s.of_type = "
_ORDER = " ORDER BY f.position, f.created_at, f.id"
# Composed of constants of this file.
_READ = "SELECT " + _COLUMNS + _FROM + "$1" + _ORDER
# Composed of constants of this file.
_IN_TRANSACTION = text("SELECT " + _COLUMNS + _FROM + ":of_type" + _ORDER)
_VERSION = text("SELECT custom_fields_version(:of_type) AS version")


async def definitions(tx: "Transaction", of_type: str) -> Definitions:
    """The definitions by which this transaction writes values; they cannot change before it ends."""
    kept = tx.definitions.get(of_type)
    if kept is not None:
        return kept
    version = (await tx.session.execute(_VERSION, {"of_type": of_type})).scalar_one()
    if version is None:
        found = NONE
    else:
        found = tx.database.known_fields.of(tx.who, of_type, version)
        if found is None:
            rows = await tx.session.execute(_IN_TRANSACTION, {"of_type": of_type})
            found = tx.database.known_fields.learn(tx.who, of_type, list(rows.mappings()))  # pyright: ignore[reportArgumentType]
    tx.definitions[of_type] = found
    return found


async def definitions_now(database: Reader, who: Principal, of_type: str) -> Definitions:
    """The definitions as they are now, for reading."""
    rows = await database.read(who, "SELECT version FROM custom_field_sets WHERE of_type = $1", of_type)
    if not rows:
        return NONE
    known = database.known_fields.of(who, of_type, rows[0]["version"])
    if known is not None:
        return known
    return database.known_fields.learn(who, of_type, await database.read(who, _READ, of_type))  # pyright: ignore[reportArgumentType]


async def taken(
    tx: "Transaction", of_type: str, values: Mapping[str, Any], present: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What a caller wrote, by column, with the custom fields as they are to be kept; `present` are those of a record
    that is there. Raises Invalid naming `customFields.<key>`."""
    given = values.get(COLUMN, Given({}) if present is None else None)
    if not isinstance(given, Given):
        return dict(values)  # nothing is said of them, or they were taken before
    known = await definitions(tx, of_type)
    if present is None:
        return {**values, COLUMN: known.of_new(given, tx.who, tx.seen)}
    return {**values, COLUMN: known.of_changed(given, present, tx.who, tx.seen)}
