"""What records show of others, as a customer's name: written without being a change of theirs, so that neither their version nor
their history says anything of it."""

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import ColumnElement, bindparam, select, update
from sqlmodel import col

from chassis.database import Transaction


async def show(
    tx: Transaction, table: Any, values: Mapping[str, Any], derive: Callable[[Any], None], *such: ColumnElement[bool]
) -> None:  # fmt: skip
    """Gives these values to the searchable records that are so, deleted ones among them, and what `derive` makes them found by
    then."""
    gone = col(table.deleted_at)
    # Those that are there and deleted ones have an index each, and none has both.
    for there in (gone.is_(None), gone.is_not(None)):
        found = await tx.session.execute(
            select(table).where(*such, there).order_by(col(table.id)).with_for_update()
        )
        rows: list[dict[str, Any]] = []
        for row in found.scalars().all():
            tx.session.expunge(row)  # so that what is set below is not taken for a change of the record
            for name, value in values.items():
                setattr(row, name, value)
            derive(row)
            rows.append({"at": row.id, "grams": row.search, "words": row.search_text})
        if rows:
            await (await tx.session.connection()).execute(
                update(table)
                .where(col(table.id) == bindparam("at"))
                .values(**values, search=bindparam("grams"), search_text=bindparam("words")),
                rows,
            )
