"""The index of filterable custom fields: a row of `custom_values` for each value.

It is written in the transaction that writes the record, by the definitions that hold then. What records have when a
field is marked filterable is taken in by a job: batch by batch, each a transaction that keeps how far it has come, so
that a death at any instruction costs one batch; records that are changed meanwhile are in the index already.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

import orjson
from sqlalchemy import text

from chassis.custom_fields.definition import Definition
from chassis.custom_fields.definitions import definitions
from chassis.records import Record

if TYPE_CHECKING:
    from chassis.database import Transaction

log = logging.getLogger(__name__)

_FORGET = text("DELETE FROM custom_values WHERE record_id = ANY(:records) AND field_id = ANY(:fields)")
# One parameter whatever the number of rows.
_ENTER = text(
    "INSERT INTO custom_values (tenant_id, field_id, record_id, place, value, created_at)"
    " SELECT :tenant, r.f, r.r, r.p, r.v, r.c FROM jsonb_to_recordset(CAST(:rows AS jsonb))"
    " AS r(f uuid, r uuid, p integer, v text, c timestamptz)"
)


def entries(
    field: Definition, record_id: UUID, created_at: datetime, values: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """The rows that one field of one record has in the index."""
    value = values.get(field.key)
    if value is None or not field.holds(value):
        return []
    found = field.index_texts(value)
    return [
        {"f": str(field.id), "r": str(record_id), "p": place, "v": one, "c": created_at.isoformat()}
        for place, one in enumerate(found)
    ]


async def keep_index(tx: "Transaction", rows: Sequence[tuple[Record, bool]]) -> None:
    """Brings the index up to date with records whose values were written; each with whether it is a new one."""
    by_type: dict[str, list[tuple[Record, bool]]] = {}
    for row, new in rows:
        by_type.setdefault(row.record_type, []).append((row, new))
    for of_type, those in by_type.items():
        fields = (await definitions(tx, of_type)).filterable
        if not fields:
            continue
        there = list(dict.fromkeys(row.id for row, new in those if not new))
        made = [
            one
            for row in {row.id: row for row, _ in those}.values()
            for field in fields
            for one in entries(field, row.id, row.created_at, vars(row)["custom_fields"])
        ]
        await _write(tx, there, [field.id for field in fields], made)


async def _write(
    tx: "Transaction", there: Sequence[UUID], fields: Iterable[UUID], made: Sequence[Mapping[str, Any]]
) -> None:
    if there:
        await tx.session.execute(_FORGET, {"records": there, "fields": list(fields)})
    if made:
        await tx.session.execute(
            _ENTER, {"tenant": tx.who.tenant_id, "rows": orjson.dumps(list(made)).decode()}
        )


BATCH = 1000
_FIELD = text(
    "SELECT id, of_type, key, filterable, indexed_to, round FROM custom_fields"
    " WHERE id = :id AND round = :round AND NOT indexed"
)
_TYPE = text("SELECT of_type FROM custom_fields WHERE id = :id")
_SWEEP = text(
    "DELETE FROM custom_values WHERE field_id = :field AND record_id IN"
    " (SELECT record_id FROM custom_values WHERE field_id = :field ORDER BY record_id LIMIT 5000)"
)
_REACHED = text("UPDATE custom_fields SET indexed_to = :to WHERE id = :id")
_DONE = text("UPDATE custom_fields SET indexed = true, indexed_to = NULL WHERE id = :id AND round = :round")


async def _field(tx: "Transaction", id: UUID, round: int) -> Any:
    """The field as it stays until the transaction ends; None when the round has ended or another has begun."""
    of_type = await type_of(tx, id)
    if of_type is None:
        return None
    await definitions(tx, of_type)
    return (await tx.session.execute(_FIELD, {"id": id, "round": round})).one_or_none()


async def type_of(tx: "Transaction", id: UUID) -> str | None:
    """The kind of record that has, or had, the field."""
    return (await tx.session.execute(_TYPE, {"id": id})).scalar_one_or_none()


async def sweep(tx: "Transaction", field_id: UUID, round: int) -> bool:
    """Takes a stretch of a field's old values out of the index; whether there may be more of them."""
    found = await _field(tx, field_id, round)
    if found is None or found.indexed_to is not None:
        return False
    gone = await tx.session.execute(_SWEEP, {"field": field_id})
    return bool(cast(Any, gone).rowcount)


async def take_in(tx: "Transaction", field_id: UUID, round: int, tables: Mapping[str, str]) -> bool:
    """Takes the next records' values into the index; whether there may be more."""
    found = await _field(tx, field_id, round)
    if found is None or not found.filterable:
        return False
    field = (await definitions(tx, found.of_type)).fields[found.key]
    table = tables[found.of_type]
    rows = await tx.session.execute(
        text(
            f"SELECT id, created_at, custom_fields FROM {table} WHERE jsonb_exists(custom_fields, :key) AND id > :after"  # noqa: S608 (the table of a class)
            " ORDER BY id LIMIT :most FOR UPDATE"
        ),
        {"key": field.key, "after": found.indexed_to or UUID(int=0), "most": BATCH},
    )
    records = [(row.id, row.created_at, _values(row.custom_fields)) for row in rows]
    made = [one for record in records for one in entries(field, *record)]
    await _write(tx, [id for id, *_ in records], [field_id], made)
    if records:
        await tx.session.execute(_REACHED, {"id": field_id, "to": records[-1][0]})
    return len(records) == BATCH


def _values(found: Any) -> dict[str, Any]:
    return orjson.loads(found) if isinstance(found, str) else found


async def finish(tx: "Transaction", field_id: UUID, round: int) -> bool:
    """Lets lists use the index of that field; whether they may now. For one who holds the definitions alone."""
    found = (await tx.session.execute(_FIELD, {"id": field_id, "round": round})).one_or_none()
    if found is None or not found.filterable:
        return False
    await tx.session.execute(_DONE, {"id": field_id, "round": round})
    return True
