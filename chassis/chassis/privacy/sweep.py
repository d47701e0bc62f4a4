"""All tables of a service, looked through for what is tied to a person: copies, histories, free text.

The tables are read from the catalog, so that none is forgotten. A row is tied to the person when it names one of their records,
or one that names them, or when one of their numbers, addresses or accounts stands in it. Of such a row every text is written anew
without the person. A table is looked through by slices in the order of its key, each in a transaction of its own, so that no
statement is long, and a death in between costs a slice.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import (
    BigInteger,
    Date,
    DateTime,
    Integer,
    LargeBinary,
    SmallInteger,
    Text,
    Uuid,
    any_,
    bindparam,
    cast,
    column,
    func,
    or_,
    select,
    table,
    text,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from chassis.database import Transaction
from chassis.imports.reading import unpack
from chassis.privacy.holding import findable
from chassis.privacy.person import GONE, Marks
from chassis.records import Record

SLICE = 2_000
"""Rows looked at by one statement."""
_COLUMNS = text(
    "SELECT c.relname AS name, a.attname AS held, format_type(a.atttypid, NULL) AS kind,"
    " has_column_privilege(c.oid, a.attnum, 'UPDATE') AS writable, a.attnotnull AS needed,"
    " array_position(CAST(i.indkey AS smallint[]), a.attnum) AS place"
    " FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
    " LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary"
    " WHERE c.relnamespace = CAST('public' AS regnamespace) AND c.relkind = 'r' AND has_table_privilege(c.oid, 'SELECT')"
    " AND EXISTS (SELECT FROM pg_attribute t WHERE t.attrelid = c.oid AND t.attname = 'tenant_id')"
    " ORDER BY c.relname, a.attnum"
)
_TYPES: dict[str, Any] = {
    "text": Text(), "text[]": ARRAY(Text()), "jsonb": JSONB(), "bytea": LargeBinary(), "uuid": Uuid(), "uuid[]": ARRAY(Uuid()),
    "integer": Integer(), "bigint": BigInteger(), "smallint": SmallInteger(), "date": Date(),
    "timestamp with time zone": DateTime(timezone=True),
}  # fmt: skip
_TEXTS = ("text", "text[]", "jsonb", "bytea")
_FIXED = frozenset({
    "kind", "state", "status", "type", "action", "record_type", "origin", "effect", "mode", "consumer", "stream", "tenant",
})  # fmt: skip
"""Columns whose values are a program's words and nobody's."""
_LEFT = frozenset({"erased_records", "inbox"})
"""Tables that hold nothing but ids and counts."""


@dataclass(frozen=True)
class Swept:
    """A table as the catalog has it."""

    name: str
    key: tuple[str, ...]
    kinds: dict[str, str]
    texts: tuple[str, ...]
    """Columns with texts that may be written."""
    ids: tuple[str, ...]

    @property
    def sql(self) -> Any:
        """The table for statements."""
        known = {*self.key, *self.texts, *self.ids}
        return table(self.name, *(column(name, _TYPES[self.kinds[name]]) for name in sorted(known)))


async def swept_tables(tx: Transaction, left: Collection[str] = ()) -> list[Swept]:
    """All tables of the service in which texts stand, but for those that are left alone."""
    found: dict[str, list[Any]] = {}
    for row in (await tx.session.execute(_COLUMNS)).all():
        found.setdefault(row.name, []).append(row)
    out: list[Swept] = []
    for name, rows in found.items():
        kinds = {row.held: row.kind for row in rows}
        key = [row.held for row in sorted((r for r in rows if r.place is not None), key=lambda r: r.place)]
        texts = [
            row.held for row in rows
            if row.kind in _TEXTS and row.writable and row.held not in _FIXED and row.held not in key
        ]  # fmt: skip
        ids = [row.held for row in rows if row.kind in ("uuid", "uuid[]") and row.held != "tenant_id"]
        if (
            name not in _LEFT
            and name not in left
            and texts
            and key
            and all(kinds[one] in _TYPES for one in key)
        ):
            out.append(Swept(name, tuple(key), kinds, tuple(texts), tuple(ids)))
    return out


def _matches(one: Swept, sql: Any, marks: Marks) -> list[Any]:
    ids = [str(id) for id in marks.ids]
    patterns = [f"%{_escaped(mark)}%" for mark in (*marks.identifiers, *ids)]
    parts: list[Any] = []
    for name in one.texts if patterns else ():
        held = sql.c[name]
        kind = one.kinds[name]
        # Bytes are texts in the end; what is not ASCII in them stands as the codes of its bytes.
        shown = func.encode(held, "escape") if kind == "bytea" else cast(held, Text)
        wanted = [_coded(mark) for mark in patterns] if kind == "bytea" else patterns
        parts.append(func.lower(shown).like(any_(bindparam(None, wanted, type_=ARRAY(Text)))))
    for name in one.ids if ids else ():
        held = sql.c[name]
        parts.append(held.overlap(marks.ids) if one.kinds[name] == "uuid[]" else held.in_(marks.ids))
    return parts


def _escaped(mark: str) -> str:
    return mark.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _coded(mark: str) -> str:
    """As encode(…, 'escape') shows it, for LIKE."""
    return "".join(chr(byte) if byte < 128 else f"\\\\{byte:03o}" for byte in mark.encode())


async def sweep(
    tx: Transaction, one: Swept, after: Sequence[str], marks: Marks, classes: dict[str, type[Record]]
) -> tuple[list[str] | None, int]:
    """Looks through the slice behind that key. Answers with its last key, None when it was the last slice, and with the number of
    rows that were written anew."""
    sql = one.sql
    key = [sql.c[name] for name in one.key]
    behind = [tuple_(*key) > tuple_(*_typed(one, after))] if after else []
    border = (
        await tx.session.execute(select(*key).where(*behind).order_by(*key).offset(SLICE - 1).limit(1))
    ).first()
    last = None if border is None else [_said(value) for value in border]
    within = behind if last is None else [*behind, tuple_(*key) <= tuple_(*_typed(one, last))]
    parts = _matches(one, sql, marks)
    if not parts:
        return last, 0
    rows = (
        (await tx.session.execute(select(sql).where(*within, or_(*parts)).with_for_update())).mappings().all()
    )
    written = 0
    for row in rows:
        anew = {name: value for name in one.texts if (value := _anew(row[name], marks)) != row[name]}
        if not anew:
            continue
        kind = classes.get(one.name)
        if kind is not None:
            # What need not be there is left empty.
            anew = {
                name: "" if value == GONE and _optional(kind, name) else value for name, value in anew.items()
            }
        anew |= await _found_by(tx, one, row, anew, classes)
        mine = [held == row[name] for held, name in zip(key, one.key, strict=True)]
        await tx.session.execute(update(sql).where(*mine).values(**anew))
        written += 1
    return last, written


def _optional(kind: type[Record], name: str) -> bool:
    column = kind.model_fields.get(name)
    return column is not None and column.default == ""


def _anew(value: Any, marks: Marks) -> Any:
    """A value without the person."""
    if value is None:
        return None
    if isinstance(value, bytes):
        held = value
        try:
            told = orjson.loads(held)
        except orjson.JSONDecodeError:
            # An answer that is kept for a repeat: nothing of it can be taken out.
            return b"" if marks.stand_in(held) else value
        anew = marks.json(told)
        return value if anew == told else orjson.dumps(anew)
    return marks.json(value)


async def _found_by(
    tx: Transaction, one: Swept, row: Any, anew: dict[str, Any], classes: dict[str, type[Record]]
) -> dict[str, Any]:
    """What the row is found by, made of its new values."""
    kind = classes.get(one.name)
    if kind is None or "search_text" not in one.kinds:
        return {}
    record: Any = await tx.session.get(kind, (row["tenant_id"], row["id"]), populate_existing=True)
    tx.session.expunge(record)
    for name, value in anew.items():
        if name != "search_text":
            setattr(record, name, value)
    findable(record)
    statement = update(getattr(kind, "__table__")).where(  # noqa: B009 (SQLModel adds it at run time)
        kind.tenant_id == row["tenant_id"], kind.id == row["id"]
    )
    await tx.session.execute(statement.values(search=record.search))
    return {"search_text": record.search_text}


def _typed(one: Swept, key: Sequence[str]) -> list[Any]:
    return [
        cast(bindparam(None, value, type_=Text), _TYPES[one.kinds[name]])
        for name, value in zip(one.key, key, strict=True)
    ]


def _said(value: Any) -> str:
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


_WAITING = text(
    "SELECT f.import_id, f.packed FROM import_files f JOIN import_runs r ON r.id = f.import_id WHERE r.state = 'READY'"
    " AND f.import_id > :after ORDER BY f.import_id LIMIT 1 FOR UPDATE OF f"
)
_DROP = text("DELETE FROM import_files WHERE import_id = :id")
_CANCEL = text(
    "UPDATE import_runs SET state = 'CANCELLED', ended_at = now(), version = version + 1, preview = '[]', columns = '[]'"
    " WHERE id = :id"
)


async def drop_waiting_files(tx: Transaction, marks: Marks) -> int:
    """Files that were sent and whose import was never begun lie packed, where nothing finds what is in them: each is opened, and
    one with the person in it goes with its import. The number of those."""
    dropped, after = 0, UUID(int=0)
    while (row := (await tx.session.execute(_WAITING, {"after": after})).one_or_none()) is not None:
        after = UUID(str(row.import_id))
        if any(marks.stand_in_text(line.cells) for line in unpack(bytes(row.packed))):
            await tx.session.execute(_DROP, {"id": after})
            await tx.session.execute(_CANCEL, {"id": after})
            dropped += 1
    return dropped
