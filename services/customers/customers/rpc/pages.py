"""Pages of what belongs to one record and has but one order."""

from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any
from uuid import UUID

import orjson

from chassis.errors import Invalid
from chassis.listing import AT_ONCE, DEFAULT_PAGE, MOST_PAGE
from chassis.rpc import Call


async def page_of(
    call: Call, request: Any, id: UUID, sql: str, first: list[Any], place: Callable[[Any], list[Any]],
    read: Callable[[list[Any]], list[Any]] = list, more: Sequence[object] = (),
) -> tuple[list[Any], str]:  # fmt: skip
    """The rows of that page and the token of the next.

    `sql` takes the record's id as $1, then the values of the place behind which the page begins, `first` for the first page, then
    how many rows are wanted, and `more` behind that. `place` gives these values of a row as JSON knows them, `read` makes them of
    that.
    """
    if request.page_size < 0:
        raise Invalid("pageSize", "must not be negative")
    size = min(request.page_size or DEFAULT_PAGE, MOST_PAGE)
    binding = orjson.dumps(
        [
            request.DESCRIPTOR.full_name,
            str(call.who.tenant_id),
            str(call.who.person_id),
            call.who.service,
            str(id),
        ]
    )
    behind = read(call.page_tokens.open(binding, request.page_token)) if request.page_token else first
    rows = await call.database.read(call.who, sql, id, *behind, size + 1, *more)
    if len(rows) <= size:
        return rows, ""
    return rows[:size], call.page_tokens.seal(binding, place(rows[size - 1]))


async def all_of(
    call: Call, id: UUID, sql: str, first: list[Any], place: Callable[[Any], list[Any]], more: Sequence[object] = ()
) -> AsyncGenerator[list[Any]]:  # fmt: skip
    """All rows, a few hundred at a time, by a statement as `page_of` has it; `place` gives the values of a row as they are."""
    behind = first
    while True:
        rows = await call.database.read(call.who, sql, id, *behind, AT_ONCE, *more)
        if rows:
            yield list(rows)
        if len(rows) < AT_ONCE:
            return
        behind = place(rows[-1])
