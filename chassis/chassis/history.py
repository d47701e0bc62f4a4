"""Who changed which field when: one row for each write of a record, in the transaction that writes.

`changes` maps a column to `[old, new]`. A creation has no list of fields, since the record itself shows them.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any, cast
from uuid import UUID

from sqlalchemy import event, inspect
from sqlalchemy.orm import Session

from chassis.custom_fields.given import COLUMN as CUSTOM
from chassis.ids import new_id
from chassis.principal import Principal
from chassis.records import Customized, Record, Shareable

LISTED = "listed"
"""Where an entry, until it is written, has the changes of columns that the history tells entry by entry."""
_BOOKKEEPING = frozenset({
    "tenant_id", "id", "version", "created_at", "created_by", "updated_at", "updated_by", "search", "search_text",
})  # fmt: skip


def plain(value: Any) -> Any:
    """The value as JSON holds it."""
    if isinstance(value, UUID | Decimal):
        return str(value)
    if isinstance(value, datetime | date):
        return value.isoformat()
    return value


def typed(table: type[Record], column: str, value: Any) -> Any:
    """What JSON holds of a column of that table, as the column takes it: the other way round from `plain`."""
    read = _readers(table).get(column)
    if value is None or read is None:
        return value
    return [read(one) for one in cast("list[Any]", value)] if isinstance(value, list) else read(value)


def _readers(table: type[Record]) -> Mapping[str, Callable[[Any], Any]]:
    """By what is declared: a column of times does not say of what it is."""
    found = _known.get(table)
    if found is None:
        found = _known[table] = {
            name: read
            for name, declared in table.model_fields.items()
            for kind, read in _READ.items()
            if declared.annotation in (kind, kind | None, list[kind])
        }
    return found


_READ: Mapping[Any, Callable[[Any], Any]] = {
    UUID: UUID, datetime: datetime.fromisoformat, date: date.fromisoformat, Decimal: Decimal,
}  # fmt: skip
_known: dict[type[Record], Mapping[str, Callable[[Any], Any]]] = {}


def _changes(row: Record) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
    """The changes as the history tells them, and those of the columns that it tells entry by entry."""
    found: dict[str, list[Any]] = {}
    listed: dict[str, list[Any]] = {}
    for attribute in cast("Iterable[Any]", inspect(row).attrs):
        if attribute.key in _BOOKKEEPING or attribute.key in row.history_hidden:
            continue
        history = attribute.history
        if history.has_changes():
            old = history.deleted[0] if history.deleted else None
            new = history.added[0] if history.added else None
            if attribute.key == CUSTOM:
                found |= _custom(old or {}, new or {})
            elif old != new:
                told = listed if attribute.key in row.history_listed else found
                told[attribute.key] = [plain(old), plain(new)]
    return found | _entries(row), listed


def _entries(row: Record) -> dict[str, list[Any]]:
    """What was added to a record's lists, taken away and changed in them, entry by entry."""

    def before(name: str) -> Any:
        history = inspect(row).attrs[name].history
        return history.deleted[0] if history.deleted else getattr(row, name)

    old, new = row.history_entries(before), row.history_entries(row.__getattribute__)
    return {
        f"{name}.{key}": [old[name].get(key), new[name].get(key)]
        for name in new
        for key in {**old[name], **new[name]}
        if old[name].get(key) != new[name].get(key)
    }


def _custom(old: dict[str, Any], new: dict[str, Any]) -> dict[str, list[Any]]:
    """Custom fields one by one, like other fields."""
    return {
        f"{CUSTOM}.{key}": [old.get(key), new.get(key)]
        for key in {**old, **new}
        if old.get(key) != new.get(key)
    }


def _changed(row: Record) -> bool:
    return any(a.history.has_changes() for a in cast("Iterable[Any]", inspect(row).attrs))


def _shared_otherwise(row: Shareable) -> bool:
    attributes = inspect(row).attrs
    if attributes["shared_with"].history.has_changes():
        return True
    return bool(row.shared_with) and attributes["deleted_at"].history.has_changes()


def stamp(
    session: Session, who: Principal, now: datetime, origin: str, trace_id: str, out: list[dict[str, Any]],
    customized: list[tuple[Record, bool]], shared: list[Shareable],
) -> Callable[[Record, str, dict[str, list[Any]]], dict[str, Any]]:  # fmt: skip
    """Makes the session stamp and count every write of a Record, and note it in `out` for the history table.

    Records whose custom fields were written go into `customized`, each with whether it is a new one; those that were shared
    with others or no longer are, and shared ones that were deleted or restored, into `shared`.

    Returns what makes the entry of a row that is written past the session: from the row, what was done, and the changes.
    """

    def entry(row: Record, action: str, changes: dict[str, list[Any]]) -> dict[str, Any]:
        return {
            "tenant_id": who.tenant_id, "id": new_id(), "record_type": row.record_type, "record_id": row.id,
            "version": row.version, "action": action, "changes": changes, "at": now, "by": who.person_id,
            "by_name": who.name or who.service or "", "origin": origin, "trace_id": trace_id,
        }  # fmt: skip

    def before_flush(flushing: Session, context: object, instances: object) -> None:
        for row in flushing.new:
            if isinstance(row, Record) and row.record_type:
                out.append(entry(row, "created", {}))
                if getattr(row, CUSTOM, None):
                    customized.append((row, True))
        for row in flushing.dirty:
            if not isinstance(row, Record) or not _changed(row):
                continue
            changes, listed = _changes(row)
            if isinstance(row, Customized) and any(name.startswith(CUSTOM) for name in changes):
                customized.append((row, False))
            if isinstance(row, Shareable) and _shared_otherwise(row):
                shared.append(row)
            row.version += 1
            row.updated_at = now
            row.updated_by = who.person_id
            if row.record_type and changes:
                gone = changes.pop("deleted_at", None)
                action = "updated" if gone is None else "deleted" if gone[1] else "restored"
                out.append({**entry(row, action, changes), **({LISTED: listed} if listed else {})})

    event.listen(session, "before_flush", before_flush)
    return entry
