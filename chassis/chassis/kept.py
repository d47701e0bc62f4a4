"""What rows were before a change and after it, as a merge or a deletion, so that they can be put back.

Of each row those columns are kept which the change has changed, with both values, and with them the columns that mean something
only together with these; none that follows from others (`Record.derived`). A column is put back only while it holds what the
change has left in it: what somebody has changed since stays. Of lists, and of whatever else has parts (`chassis.parts`), each is
put back by itself.
"""

from collections.abc import Iterable, Mapping
from typing import Any, cast
from uuid import UUID

from sqlalchemy import select

from chassis.database import Transaction
from chassis.history import plain, typed
from chassis.parts import Keyed, Part, Whole, by_value, in_column
from chassis.records import Customized, Record, Shareable

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
            changed = {
                name: [before[name], after[name]]
                for part in parts_of(type(row))
                if any(after[name] != before[name] for name in part.columns)
                for name in part.columns
            }
            if changed:
                out.setdefault(row.record_type, {})[str(row.id)] = changed
        return out


def put_back(row: Record, changed: Mapping[str, list[Any]]) -> list[str]:
    """Gives the row its former values. Answers with the columns that have changed by it."""
    now = _values(row)
    back: dict[str, Any] = {}
    for part in parts_of(type(row)):
        if not changed.keys().isdisjoint(part.columns):
            here = {name: now[name] for name in part.columns}
            back |= part.undone(*_both(changed, here), here)
    done = [name for name, value in back.items() if value != now[name]]
    for name in done:
        setattr(row, name, typed(type(row), name, back[name]))
    return done


def _both(changed: Mapping[str, list[Any]], here: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A part before the change and after it. A column that was not kept was not changed, and is taken to be what it is."""
    before, after = (
        {name: changed[name][place] if name in changed else value for name, value in here.items()} for place in (0, 1)
    )  # fmt: skip
    return before, after


async def forget_in_later(tx: Transaction, merge: Any, tables: Iterable[type[Record]]) -> None:
    """Before a merge is undone, lets those into the same record since know: undoing one of them later must not put back what this
    one had brought. Merges have a survivor, a state, and what they `kept`."""
    of = merge.__class__
    found = await tx.session.execute(
        select(of)
        .where(
            of.survivor_id == merge.survivor_id, of.state == merge.state, of.created_at >= merge.created_at, of.id != merge.id,
        )
        .order_by(of.id)
        .with_for_update()
    )  # fmt: skip
    for later in found.scalars():
        later.kept = kept_without(later.kept, merge.kept, tables)


def kept_without(later: Kept, undone: Kept, tables: Iterable[type[Record]]) -> Kept:
    """What a later change has kept, when an earlier one is undone before it: undoing the later one must not put back what the
    earlier one had brought."""
    out = dict(later)
    for table in tables:
        of = table.record_type
        both = later.get(of, {}).keys() & undone.get(of, {}).keys()
        if both:
            out[of] = later[of] | {id: _changed_without(table, later[of][id], undone[of][id]) for id in both}
    return out


def _changed_without(
    table: type[Record], later: Mapping[str, list[Any]], undone: Mapping[str, list[Any]]
) -> dict[str, list[Any]]:
    out = dict(later)
    for part in parts_of(table):
        if all(name in later and name in undone for name in part.columns):
            ends = [{name: later[name][place] for name in part.columns} for place in (0, 1)]
            began, ended = (part.undone(*_both(undone, end), end) for end in ends)
            out |= {
                name: [began[name], ended[name] if part.divisible else later[name][1]]
                for name in part.columns
            }
    return out


def parts_of(table: type[Record]) -> list[Part]:
    """By what rows of that table are put back: what it says itself, and each of the other columns."""
    found = _known_parts.get(table)
    if found is None:
        found = _known_parts[table] = list(table.undone_by)
        taken = {name for part in found for name in part.columns}
        found += [
            _part(table, name) for name in table.model_fields if name not in _DERIVED | table.derived | taken
        ]
    return found


def _part(table: type[Record], name: str) -> Part:
    if name == "custom_fields" and issubclass(table, Customized):
        return Keyed((name,))
    if name == "shared_with" and issubclass(table, Shareable):
        return in_column(name, lambda entry: entry["to"])
    declared: Any = table.model_fields[name].annotation
    if declared in (list[str], list[UUID]):
        return in_column(name, by_value)
    return Whole((name,))


def _values(row: Record) -> dict[str, Any]:
    derived = _DERIVED | type(row).derived
    return {name: _plain(getattr(row, name)) for name in type(row).model_fields if name not in derived}


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [plain(one) for one in cast("list[Any]", value)]
    return plain(value)


_known_parts: dict[type[Record], list[Part]] = {}
