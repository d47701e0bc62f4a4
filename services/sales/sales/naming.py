"""The customer's name on opportunities and activities, which show it and are found by it. Orders keep the name they were made
with: they are vouchers. Of a consumer who left the trash for good they keep none."""

import itertools
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, bindparam, select, update
from sqlmodel import col

from chassis.database import Transaction
from chassis.privacy.person import GONE
from sales.activity import Activity
from sales.opportunity import Opportunity
from sales.order import DRAFT, Order


async def rename(tx: Transaction, customer_id: UUID, name: str) -> None:
    """Shows that name. It is no change of the records: neither their version nor their history says anything of it."""
    await _show(tx, (Opportunity, Activity), customer_id, name)


async def forget(tx: Transaction, customer_id: UUID, person: bool) -> None:
    """The customer left the trash for good: nothing says what it was called, but for vouchers that a company was sent."""
    await _show(tx, (Opportunity, Activity), customer_id, GONE)
    await _show(tx, (Order,), customer_id, GONE, *([] if person else [col(Order.status) == DRAFT]))


async def _show(
    tx: Transaction, tables: Sequence[Any], customer_id: UUID, name: str, *such: ColumnElement[bool]
) -> None:
    # Those that are there and deleted ones have an index each, and none has both.
    for table, deleted in itertools.product(tables, (False, True)):
        gone = col(table.deleted_at)
        found = await tx.session.execute(
            select(table)
            .where(col(table.customer_id) == customer_id, col(table.customer_name) != name, *such)
            .where(gone.is_not(None) if deleted else gone.is_(None))
            .order_by(col(table.id))
            .with_for_update()
        )
        rows: list[dict[str, Any]] = []
        for row in found.scalars().all():
            tx.session.expunge(row)  # so that what is set below is not taken for a change of the record
            row.customer_name = name
            row.findable()
            rows.append({"at": row.id, "grams": row.search, "words": row.search_text})
        if rows:
            await (await tx.session.connection()).execute(
                update(table)
                .where(col(table.id) == bindparam("at"))
                .values(customer_name=name, search=bindparam("grams"), search_text=bindparam("words")),
                rows,
            )
