"""Customers and contacts that were merged: leads that became one of them follow, and so do conversions under way and fields of
the tenant's own that refer to them, or to leads that were merged."""

from typing import Any

from chassis.custom_fields.references import CustomReferences
from chassis.database import Transaction
from chassis.following import Following, Reference, Target
from leads.conversion import Conversion
from leads.custom_fields import CUSTOM_FIELDS
from leads.lead import Lead
from leads.lead_events import LeadUpdated, told


async def _to_customer(tx: Transaction, row: Any, to: Target, aside: bool) -> bool:
    row.customer_id = to.id
    _tell(tx, row, "customer_id")
    return False


async def _to_contact(tx: Transaction, row: Any, to: Target, aside: bool) -> bool:
    row.contact_id = to.id
    _tell(tx, row, "contact_id")
    return False


async def _attached(tx: Transaction, row: Any, to: Target, aside: bool) -> bool:
    row.duplicate_of_customer_id = to.id
    _tell(tx, row, "duplicate_of_customer_id")
    return False


async def _attached_contact(tx: Transaction, row: Any, to: Target, aside: bool) -> bool:
    row.duplicate_of_contact_id = to.id
    _tell(tx, row, "duplicate_of_contact_id")
    return False


def _tell(tx: Transaction, row: Any, *columns: str) -> None:
    if isinstance(row, Lead) and row.deleted_at is None:
        tx.record(LeadUpdated(**told(row), changed_fields=[*columns]), on=row)


_TABLES = (Lead, Conversion)
_CUSTOM = CustomReferences(CUSTOM_FIELDS, _tell)
CUSTOMERS = Following(
    "customer",
    *(Reference(table, "customer_id", _to_customer) for table in _TABLES),
    Reference(Lead, "duplicate_of_customer_id", _attached),
    custom=_CUSTOM,
)
CONTACTS = Following(
    "contact",
    *(Reference(table, "contact_id", _to_contact) for table in _TABLES),
    Reference(Lead, "duplicate_of_contact_id", _attached_contact),
    custom=_CUSTOM,
)
LEADS = Following("lead", custom=_CUSTOM)
