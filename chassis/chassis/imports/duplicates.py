"""Whether a row's record is there already, and what is then to be done with it.

A row is a record's by its key, which is never in doubt; it seems to be a record's by e-mail address or phone. The mode of the
import says what becomes of the first, the duplicate policy of the second, and of the first, too, where the mode only creates.
Compared are records that the person who imports may read, so that no import tells of others.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any
from uuid import UUID

from sqlalchemy import column as sql_column
from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import col

from chassis.custom_fields.given import COLUMN, Given
from chassis.database import Transaction
from chassis.imports.importer import ImportRow, Options, Outcome, refused, skipped
from chassis.imports.tables import CREATE, MERGE, SKIP
from chassis.principal import Act
from chassis.records import Owned
from chassis.visibility import visible

_SOFT = ("email", "phone")
"""Fields by which a row seems to be a record's."""


@dataclass(frozen=True, slots=True)
class Further:
    """Where further values of a field stand: in which field of a row, in which column of a record, and under which key of the
    entries of both."""

    field: str
    column: str
    key: str


@dataclass
class Twins:
    """Records by the values that rows may share with them; those that rows have made or met are added."""

    further: Mapping[str, Further] = field(default_factory=dict[str, Further])
    by: dict[str, dict[str, UUID]] = field(default_factory=dict[str, dict[str, UUID]])
    """Field → value → the record's id."""

    def note(self, values: Mapping[str, Any], id: UUID) -> None:
        """A row has made that record, or was taken for it."""
        for name in ("externalKey", *_SOFT):
            for value in said(values, name, self.further):
                self.by.setdefault(name, {}).setdefault(value, id)

    def keyed(self, values: Mapping[str, Any]) -> UUID | None:
        """The record that has the row's key."""
        return self.by.get("externalKey", {}).get(str(values.get("externalKey", "")))

    def alike(self, values: Mapping[str, Any]) -> tuple[UUID, str] | None:
        """A record that has the row's e-mail address or phone, and which of them."""
        for name in _SOFT:
            by = self.by.get(name, {})
            for value in said(values, name, self.further):
                if value in by:
                    return by[value], name
        return None


def said(values: Mapping[str, Any], name: str, further: Mapping[str, Further]) -> list[str]:
    """All values of that field that a row has."""
    said = [str(values[name])] if values.get(name) else []
    more = further.get(name)
    return said + [str(entry[more.key]) for entry in values.get(more.field, ())] if more else said


async def twins(
    tx: Transaction, table: type[Owned], right: str, rows: Iterable[ImportRow], options: Options,
    further: Mapping[str, Further] | None = None,
) -> Twins:  # fmt: skip
    """The records whose keys, and, where the policy asks for it, e-mail addresses and phones, these rows have. The table has
    the columns external_key, email and phone, and those that `further` tells for these two."""
    columns: Any = table
    found = Twins(further or {})
    keys = _wanted(rows, "externalKey", {})
    if keys:
        # Whoever's: a key is there once.
        read = await tx.session.execute(
            select(columns.id, columns.external_key).where(
                columns.external_key.in_(keys), col(table.deleted_at).is_(None)
            )
        )
        found.by["externalKey"] = {row.external_key: row.id for row in read}
    if options.duplicates not in (SKIP, MERGE):
        return found
    for name in _SOFT:
        wanted = _wanted(rows, name, found.further)
        if not wanted:
            continue
        column = getattr(columns, name)
        places = [(column, column.in_(wanted))]
        if (more := found.further.get(name)) is not None:
            entry = func.jsonb_array_elements(getattr(columns, more.column)).table_valued(
                sql_column("value", JSONB), joins_implicitly=True
            )
            value = entry.c.value[more.key].astext
            places.append((value, value.in_(wanted)))
        by = found.by.setdefault(name, {})
        for place, holds in places:
            read = await tx.session.execute(
                select(columns.id, place.label("value"))
                .where(holds, col(table.deleted_at).is_(None), visible(table, tx.who, right, Act.READ))
                .order_by(columns.id)
            )
            for row in read:
                by.setdefault(row.value, row.id)  # of several the oldest
    return found


def _wanted(rows: Iterable[ImportRow], name: str, further: Mapping[str, Further]) -> list[str]:
    return sorted({value for row in rows for value in said(row.values, name, further)})


class Do(Enum):
    """What is to be done with a row."""

    CREATE = "create"
    CHANGE = "change"
    FILL = "fill"


def decided(
    options: Options, keyed: UUID | None, alike: tuple[UUID, str] | None, values: Mapping[str, Any]
) -> tuple[Do, UUID | None] | Outcome:
    """What to do, with which record; or what has become of the row already."""
    if keyed is not None:
        if options.upsert:
            return Do.CHANGE, keyed
        match options.duplicates:
            case "SKIP":
                return skipped(keyed, "externalKey")
            case "MERGE":
                return Do.FILL, keyed
            case _:
                key = values.get("externalKey", "")
                return refused("EXTERNAL_KEY_TAKEN", f"{key} is there already", "externalKey")
    if alike is not None and options.duplicates not in ("", CREATE):
        id, name = alike
        return skipped(id, name) if options.duplicates == SKIP else (Do.FILL, id)
    if not options.creates:
        return refused(
            "RECORD_NOT_FOUND", "no record has this key: an update makes no new ones", "externalKey"
        )
    return Do.CREATE, None


def lacking(row: Any, columns: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the columns that are empty in the record. An amount and its currency are filled together or not at all, and one of
    0 is known; custom fields are looked at one by one."""
    out: dict[str, Any] = {}
    for name, value in columns.items():
        if name == COLUMN:
            there: dict[str, Any] = getattr(row, COLUMN)
            own = {key: one for key, one in value.values.items() if there.get(key) is None}
            if own:
                out[COLUMN] = Given(own)
        # What has no currency is no amount, and what has one is.
        elif not getattr(row, f"{name.removesuffix('_currency')}_currency", getattr(row, name)):
            out[name] = value
    return out
