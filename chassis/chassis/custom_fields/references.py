"""Custom fields that refer to records: by whom a record is referred to, and where those went to whom former values referred.

Which records' fields name a record stands in `custom_references`, which the database keeps true to the values, whoever writes
them: so it is one look at an index, whatever fields there are, and nothing is kept of tenants whose fields refer to nothing.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Uuid, bindparam, select, text
from sqlmodel import col

from chassis.custom_fields.definition import Definition, Kind
from chassis.custom_fields.definitions import definitions
from chassis.custom_fields.given import COLUMN
from chassis.custom_fields.switch import CustomFields
from chassis.custom_fields.went import WENT, as_id, went_by
from chassis.database import Transaction
from chassis.records import Customized, Record

Tell = Callable[[Transaction, Any, str], None]
"""`(tx, row, column)`: records that a column of a row has changed."""
_NAMING = text(
    "SELECT of_table, key, record_id FROM custom_references WHERE referred_id = :id ORDER BY of_table, key, record_id"
)
_WHERE_THEY_WENT = text(WENT.replace("$1", ":ids")).bindparams(bindparam("ids", type_=ARRAY(Uuid)))


@dataclass(frozen=True)
class Naming:
    """A field of one kind of record, with the records in which it names a certain other."""

    record: type[Record]
    field: Definition
    ids: Sequence[UUID]

    @property
    def name(self) -> str:
        """The name under which it is kept what was moved."""
        return f"{PREFIX}{self.record.__tablename__} {self.field.id}"


PREFIX = "custom "
"""With what these names begin."""


@dataclass(frozen=True)
class CustomReferences:
    """The custom fields of one service, as far as they refer to records that may be merged. Archived fields follow, too: what
    they hold is shown."""

    custom: CustomFields
    tell: Tell
    """Is not asked to tell of deleted rows."""

    async def naming(self, tx: Transaction, kind: str, id: UUID) -> list[Naming]:
        """The fields that refer to such records and name that one."""
        await tx.session.flush()
        found: dict[tuple[str, str], list[UUID]] = {}
        for row in (await tx.session.execute(_NAMING, {"id": id})).all():
            found.setdefault((row.of_table, row.key), []).append(UUID(str(row.record_id)))
        out: list[Naming] = []
        for (table, key), ids in found.items():
            record = self.custom.records.get(table)
            field = None if record is None else (await definitions(tx, record.record_type)).fields.get(key)
            if record is not None and field is not None and _refers(field, kind):
                out.append(Naming(record, field, ids))
        return out

    async def named(self, tx: Transaction, kind: str, name: str) -> Naming | None:
        """The field that is kept under that name, if it still refers to such records."""
        table, _, id = name.removeprefix(PREFIX).partition(" ")
        record = self.custom.records.get(table)
        if record is None:
            return None
        fields = (await definitions(tx, record.record_type)).fields.values()
        found = next((field for field in fields if field.id == UUID(id) and _refers(field, kind)), None)
        return None if found is None else Naming(record, found, [])

    def refer(self, tx: Transaction, row: Any, field: Definition, id: UUID) -> None:
        """Lets a field of a row refer to that record."""
        row.custom_fields = {**row.custom_fields, field.key: str(id)}
        if row.deleted_at is None:
            self.tell(tx, row, f"{COLUMN}.{field.key}")


def _refers(field: Definition, kind: str) -> bool:
    return field.kind is Kind.REFERENCE and field.reference_type == kind


async def locked(tx: Transaction, record: type[Record], ids: Sequence[UUID]) -> Sequence[Any]:
    """The rows as they are now, deleted ones among them, locked from here on."""
    found = await tx.session.execute(
        select(record)
        .where(col(record.id).in_(ids))
        .order_by(col(record.id))
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    return found.scalars().all()


async def led_on(
    tx: Transaction, kept: Mapping[str, Any], tables: Iterable[type[Record]]
) -> tuple[dict[str, Any], set[UUID]]:
    """What a change has kept of rows, so that it can be put back where those to whom it let them refer have been merged since;
    and to whom they may refer then, which has to be followed once they are put back."""
    out, referred = dict(kept), set[UUID]()
    for table in tables:
        if not issubclass(table, Customized):
            continue
        rows: Mapping[str, Mapping[str, Any]] = kept.get(table.record_type, {})
        if not any(COLUMN in changed for changed in rows.values()):
            continue
        fields = (await definitions(tx, table.record_type)).fields.values()
        keys = {field.key for field in fields if field.kind is Kind.REFERENCE}
        ids: set[UUID] = {
            id
            for changed in rows.values()
            for values in changed.get(COLUMN, ())
            for key in keys & values.keys()
            if (id := as_id(values[key])) is not None
        }
        referred |= ids
        if not ids:
            continue
        went = went_by([tuple(row) for row in await tx.session.execute(_WHERE_THEY_WENT, {"ids": list(ids)})])
        if went:
            out[table.record_type] = {id: _changed_since(changed, keys, went) for id, changed in rows.items()}
    return out, referred


def _changed_since(changed: Mapping[str, Any], keys: set[str], went: Mapping[str, str]) -> Mapping[str, Any]:
    """What was left is known again by where it went. What was there before is not: it is put back, and followed."""
    if COLUMN not in changed:
        return changed
    before, after = (dict(values) for values in changed[COLUMN])
    for key in keys & after.keys():
        now = went.get(after[key], after[key])
        if key in before and went.get(before[key], before[key]) == now:
            before[key] = now
        after[key] = now
    return {**changed, COLUMN: [before, after]}
