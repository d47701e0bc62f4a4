"""What rows were before a change and after it, as a merge or a deletion, so that they can be put back.

Of each row those columns are kept which the merge has changed, with both values. A column is put back only while it holds what
the merge has left in it: what somebody has changed since stays.
"""

from collections.abc import Iterable, Mapping
from datetime import date, datetime
from typing import Any, cast
from uuid import UUID

from chassis.history import plain
from chassis.records import Record

_DERIVED = frozenset({"version", "updated_at", "updated_by", "search", "search_text"})
Kept = dict[str, dict[str, dict[str, list[Any]]]]
"""Record type → id → column → [before, after]."""


class Before:
    """Rows as they were when they were noted."""

    def __init__(self) -> None:
        self._rows: dict[int, tuple[Record, dict[str, Any]]] = {}

    def note(self, rows: Iterable[Record]) -> None:
        """Notes rows that are about to be changed, once each."""
        for row in rows:
            self._rows.setdefault(id(row), (row, _values(row)))

    def kept(self) -> Kept:
        """What has become of them."""
        out: Kept = {}
        for row, before in self._rows.values():
            after = _values(row)
            changed = {name: [old, after[name]] for name, old in before.items() if after[name] != old}
            if changed:
                out.setdefault(row.record_type, {})[str(row.id)] = changed
        return out


def put_back(row: Record, changed: Mapping[str, list[Any]]) -> list[str]:
    """Gives the row its former values. Answers with the columns that have changed by it."""
    now = _values(row)
    done: list[str] = []
    for name, (before, after) in changed.items():
        if now[name] == after and before != after:
            setattr(row, name, _typed(row, name, before))
            done.append(name)
    return done


def _values(row: Record) -> dict[str, Any]:
    return {name: _plain(getattr(row, name)) for name in type(row).model_fields if name not in _DERIVED}


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [plain(one) for one in cast("list[Any]", value)]
    return plain(value)


def _typed(row: Record, name: str, value: Any) -> Any:
    kind = _types(type(row)).get(name)
    listed = (kind, type(value)) == (UUID, list)
    if listed:
        return [UUID(one) for one in value]
    if not isinstance(value, str):
        return value
    if kind is datetime:
        return datetime.fromisoformat(value)
    if kind is date:
        return date.fromisoformat(value)
    return UUID(value) if kind is UUID else value


def _types(table: type[Record]) -> Mapping[str, type]:
    """The plain types of those columns that JSON holds as texts, or as lists of them."""
    found = _known.get(table)
    if found is None:
        found = _known[table] = {}
        for name, declared in table.model_fields.items():
            annotation: Any = declared.annotation
            for kind in (datetime, date, UUID):
                if annotation in (kind, kind | None, list[kind]):
                    found[name] = kind
    return found


_known: dict[type[Record], dict[str, type]] = {}
