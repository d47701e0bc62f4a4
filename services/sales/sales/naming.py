"""The customer's name on opportunities and activities, which show it and are found by it. Orders keep the name they were made
with."""

from typing import Any
from uuid import UUID

from sqlalchemy import bindparam, select, update
from sqlmodel import col

from chassis.database import Transaction
from sales.activity import Activity
from sales.opportunity import Opportunity


async def rename(tx: Transaction, customer_id: UUID, name: str) -> None:
    """Shows that name. It is no change of the records: neither their version nor their history says anything of it."""
    for table in (Opportunity, Activity):
        found = await tx.session.execute(
            select(table)
            .where(col(table.customer_id) == customer_id, col(table.customer_name) != name)
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
