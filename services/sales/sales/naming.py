"""The customer's name on opportunities and activities, which show it and are found by it. Orders keep the name they were made
with: they are vouchers. Of a consumer who left the trash for good they keep none."""

from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement
from sqlmodel import col

from chassis.database import Transaction
from chassis.privacy.person import GONE
from chassis.shown import show
from sales.activity import Activity
from sales.opportunity import Opportunity
from sales.order import DRAFT, Order


async def rename(tx: Transaction, customer_id: UUID, name: str) -> None:
    """Shows that name."""
    for table in (Opportunity, Activity):
        await _show(tx, table, customer_id, name)


async def forget(tx: Transaction, customer_id: UUID, person: bool) -> None:
    """The customer left the trash for good: nothing says what it was called, but for vouchers that a company was sent."""
    await rename(tx, customer_id, GONE)
    await _show(tx, Order, customer_id, GONE, *([] if person else [col(Order.status) == DRAFT]))


async def _show(
    tx: Transaction, table: Any, customer_id: UUID, name: str, *such: ColumnElement[bool]
) -> None:
    theirs = (col(table.customer_id) == customer_id, col(table.customer_name) != name)
    await show(tx, table, {"customer_name": name}, table.findable, *theirs, *such)
