"""Where records went that were merged, as `chassis.following` keeps it: merged again, if they were."""

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

WENT = (
    "WITH RECURSIVE went (id, at, steps) AS (SELECT i, i, 0 FROM unnest(CAST($1 AS uuid[])) AS i UNION ALL"
    " SELECT w.id, m.survivor_id, w.steps + 1 FROM went AS w CROSS JOIN LATERAL (SELECT survivor_id FROM merged_records"
    " WHERE record_id = w.at AND NOT undone ORDER BY merge_id DESC LIMIT 1) AS m WHERE w.steps < 100)"
    " SELECT DISTINCT ON (id) id, at FROM went WHERE steps > 0 ORDER BY id, steps DESC"
)
"""Reads, of ids, those that went, each with where it is now."""


def went_by(rows: Iterable[Any]) -> dict[str, str]:
    """What was read, as texts."""
    return {str(id): str(at) for id, at in rows}


def as_id(value: Any) -> UUID | None:
    """The id that a value is, if it is one: what was kept of a field may be of another kind than the field is now."""
    try:
        return UUID(value) if isinstance(value, str) and len(value) == 36 else None
    except ValueError:
        return None


def led(went: Mapping[str, str], value: Any) -> Any:
    """What a value is now, if it is an id that went; any other is what it was, also one that was of another kind."""
    return went.get(value, value) if isinstance(value, str) else value


def left_now(went: Mapping[str, str], left: Any, here: Any) -> Any:
    """What a value that a change has left is to be known by in a record that holds `here`: one may be on its way, since records
    follow one after another."""
    end = led(went, left)
    return here if led(went, here) == end else end
