"""Customers, contacts and leads that were merged: opportunities, activities and orders follow, and say so; fields of the tenant's
own do as well."""

from typing import Any

from chassis.custom_fields.references import CustomReferences
from chassis.database import Transaction
from chassis.following import Following, Reference, Target
from sales import activity, opportunity, order, product
from sales.activity import Activity, ActivityUpdated
from sales.custom_fields import CUSTOM_FIELDS
from sales.opportunity import Opportunity, OpportunityUpdated
from sales.order import Order, OrderUpdated
from sales.product import Product, ProductUpdated


def _tell(tx: Transaction, row: Any, *columns: str) -> None:
    if row.deleted_at is not None:
        return
    if isinstance(row, Order):
        tx.record(OrderUpdated(**order.told(row), changed_fields=[*columns]), on=row)
    elif isinstance(row, Opportunity):
        tx.record(OpportunityUpdated(**opportunity.told(row), changed_fields=[*columns]), on=row)
    elif isinstance(row, Product):
        tx.record(ProductUpdated(**product.told(row), changed_fields=[*columns]), on=row)
    else:
        tx.record(ActivityUpdated(**activity.told(row), changed_fields=[*columns]), on=row)


async def _to_customer(tx: Transaction, row: Any, to: Target, aside: bool) -> bool:
    row.customer_id = to.id
    # Orders keep the name they were made with.
    if to.name is not None and not isinstance(row, Order):
        row.customer_name = to.name
        row.findable()
    _tell(tx, row, "customer_id")
    return False


async def _to_contact(tx: Transaction, row: Any, to: Target, aside: bool) -> bool:
    row.contact_id = to.id
    _tell(tx, row, "contact_id")
    return False


async def _to_lead(tx: Transaction, row: Any, to: Target, aside: bool) -> bool:
    row.lead_id = to.id
    _tell(tx, row, "lead_id")
    return False


_TABLES = (Opportunity, Activity, Order)
_CUSTOM = CustomReferences(CUSTOM_FIELDS, _tell)
CUSTOMERS = Following(
    "customer", *(Reference(table, "customer_id", _to_customer) for table in _TABLES), custom=_CUSTOM
)
CONTACTS = Following(
    "contact", *(Reference(table, "contact_id", _to_contact) for table in _TABLES), custom=_CUSTOM
)
LEADS = Following("lead", Reference(Activity, "lead_id", _to_lead), custom=_CUSTOM)
