"""Custom fields that refer to records: by whom a record is referred to, and where those went to whom former values referred.

Which records' fields name a record stands in `custom_references`, which the database keeps true to the values, whoever writes
them: so it is one look at an index, whatever fields there are, and nothing is kept of tenants whose fields refer to nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy import ARRAY, Text, Uuid, any_, bindparam, select, text
from sqlmodel import col

from chassis.custom_fields.definition import Definition, Kind
from chassis.custom_fields.definitions import definitions
from chassis.custom_fields.given import COLUMN
from chassis.custom_fields.went import WENT, as_id, led, left_now, went_by
from chassis.database import Transaction
from chassis.records import Customized, Record


class Switched(Protocol):
    """What the service has switched custom fields on for. The switch itself asks who people are, which nobody who only follows
    merges does."""

    records: dict[str, type[Record]]
    """By their tables."""


class Tell(Protocol):
    """Records that these columns of a row have changed."""

    def __call__(self, tx: Transaction, row: Any, *columns: str) -> None: ...


_NAMED_BY = text(
    "SELECT t FROM unnest(:tables) AS t WHERE EXISTS"
    " (SELECT 1 FROM custom_references WHERE referred_id = :id AND of_table = t) ORDER BY t"
).bindparams(bindparam("tables", type_=ARRAY(Text)))
_NAMING = text(
    "SELECT DISTINCT record_id FROM custom_references WHERE referred_id = :id AND of_table = :table AND key = ANY(:keys)"
    " ORDER BY record_id LIMIT :most"
).bindparams(bindparam("keys", type_=ARRAY(Text)))
_FORGET = text("DELETE FROM custom_references WHERE of_table = :table AND record_id = ANY(:ids)").bindparams(
    bindparam("ids", type_=ARRAY(Uuid))
)
_WHERE_THEY_WENT = text(WENT.replace("$1", ":ids")).bindparams(bindparam("ids", type_=ARRAY(Uuid)))


@dataclass(frozen=True)
class Naming:
    """The fields of one kind of record that refer to a certain kind of others."""

    record: type[Record]
    fields: Mapping[str, Definition]
    """By the names under which it is kept what was moved."""

    @property
    def keys(self) -> list[str]:
        """Of the fields."""
        return [field.key for field in self.fields.values()]


PREFIX = "custom "
"""With what these names begin."""


def table_of(name: str) -> str:
    """The table in whose rows that is a field's name."""
    return name.removeprefix(PREFIX).partition(" ")[0]


@dataclass(frozen=True)
class CustomReferences:
    """The custom fields of one service, as far as they refer to records that may be merged. Archived fields follow, too: what
    they hold is shown."""

    custom: Switched
    tell: Tell
    """Is not asked to tell of deleted rows."""

    async def naming(self, tx: Transaction, kind: str, id: UUID) -> list[Naming]:
        """The fields that refer to such records, of those kinds of record of which any names that one."""
        await tx.session.flush()
        found = await tx.session.execute(_NAMED_BY, {"tables": list(self.custom.records), "id": id})
        namings = [await self.fields(tx, kind, table) for table in found.scalars().all()]
        return [naming for naming in namings if naming is not None]

    async def fields(self, tx: Transaction, kind: str, table: str) -> Naming | None:
        """The fields of records of that table that refer to such records, if there are any."""
        record = self.custom.records.get(table)
        if record is None:
            return None
        fields = {
            f"{PREFIX}{table} {field.id}": field
            for field in (await definitions(tx, record.record_type)).fields.values()
            if field.kind is Kind.REFERENCE and field.reference_type == kind
        }
        return Naming(record, fields) if fields else None

    async def ids(self, tx: Transaction, naming: Naming, id: UUID, most: int) -> list[UUID]:
        """The records whose fields name that one, the first `most` of them."""
        asked: dict[str, Any] = {
            "id": id, "table": naming.record.__tablename__, "keys": naming.keys, "most": most,
        }  # fmt: skip
        return list((await tx.session.execute(_NAMING, asked)).scalars().all())

    def refer(self, tx: Transaction, row: Any, values: Mapping[str, str]) -> None:
        """Lets fields of a row refer to these records."""
        row.custom_fields = {**row.custom_fields, **values}
        if row.deleted_at is None:
            self.tell(tx, row, *(f"{COLUMN}.{key}" for key in values))


async def locked(
    tx: Transaction, record: type[Record], ids: Sequence[UUID], *, wait: bool = True
) -> Sequence[Any]:
    """The rows as they are now, deleted ones among them, locked from here on; unless it is to `wait`, without those that somebody
    else holds."""
    await tx.session.flush()
    found = await tx.session.execute(
        select(record)
        .where(col(record.id) == any_(bindparam("ids", list(ids), type_=ARRAY(Uuid))))
        .order_by(col(record.id))
        .with_for_update(skip_locked=not wait)
        .execution_options(populate_existing=True)
    )
    return found.scalars().all()


async def held(tx: Transaction, record: type[Record], ids: Sequence[UUID], rows: Sequence[Any]) -> set[UUID]:
    """Those of the ids whose rows somebody else holds, since they are there and not among the locked ones. What is kept of rows
    that are there no longer is forgotten."""
    missing = {UUID(str(id)) for id in ids} - {row.id for row in rows}
    if not missing:
        return missing
    found = await tx.session.execute(select(col(record.id)).where(col(record.id).in_(missing)))
    there = set(found.scalars().all())
    if missing - there:
        await tx.session.execute(_FORGET, {"table": record.__tablename__, "ids": sorted(missing - there)})
    return there


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
            changed = [UUID(id) for id, columns in rows.items() if COLUMN in columns]
            here = {str(row.id): row.custom_fields for row in await locked(tx, table, changed)}
            out[table.record_type] = {
                id: _changed_since(columns, keys, went, here.get(id, {})) for id, columns in rows.items()
            }
    return out, referred


def _changed_since(
    changed: Mapping[str, Any], keys: set[str], went: Mapping[str, str], here: Mapping[str, Any]
) -> Mapping[str, Any]:
    """What was left is known again by where it went. What was there before is not: it is put back, and followed."""
    if COLUMN not in changed:
        return changed
    before, after = (dict(values) for values in changed[COLUMN])
    for key in keys & after.keys():
        now = left_now(went, after[key], here.get(key))
        if key in before and led(went, before[key]) == led(went, after[key]):
            before[key] = now
        after[key] = now
    return {**changed, COLUMN: [before, after]}
