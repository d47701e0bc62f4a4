"""Changing many customers or contacts at once."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from chassis.bulk_edits.edit import BulkEditProgressed
from chassis.bulk_edits.editor import DELETE, Deed, Editor, at_once
from chassis.bulk_edits.rpc import BulkEdits
from chassis.database import Transaction
from chassis.owners import Owner
from customers.contact import Contact, change_contact
from customers.custom_fields import CUSTOM_FIELDS
from customers.customer import Customer, change_customer
from customers.ownership import assign_customers
from customers.pool import give_back
from customers.profile import by_entries
from customers.rpc.contacts import CONTACTS
from customers.rpc.customers import CUSTOMERS
from customers.rpc.messages import contact_values, customer_values
from customers.trash import delete_customer, restore_deleted, trash_contact


async def _assign(tx: Transaction, customer: Customer, owner: Owner) -> None:
    await assign_customers(tx, [customer], owner)


async def _release(tx: Transaction, customer: Customer) -> None:
    await give_back(tx, customer, "")


async def _trash_customer(tx: Transaction, customer: Customer, reason: str, note: str) -> None:
    await delete_customer(tx, customer)


async def _trash_contact(tx: Transaction, contact: Contact, reason: str, note: str) -> None:
    await trash_contact(tx, contact, None)


async def _restore(tx: Transaction, id: UUID, changes: Mapping[str, Sequence[Any]]) -> None:
    await restore_deleted(tx, id, changes["deleted_at"][1])


BULK_EDITS = BulkEdits(
    Editor(
        CUSTOMERS,
        Customer,
        "kehu.customers.v1.CustomerService/UpdateCustomer",
        customer_values,
        begin=at_once(change_customer, _assign, _release, {"delete": Deed(_trash_customer, _restore)}),
        assigns=True,
        actions={"delete": DELETE},
        closed=frozenset({"external_key"}),
        derived=frozenset({"assign_time", "previous_owner_id", "pool_time", "return_time", "return_reason"}),
        back=by_entries,
        custom_fields=CUSTOM_FIELDS,
        progressed=BulkEditProgressed,
    ),
    Editor(
        CONTACTS,
        Contact,
        "kehu.customers.v1.ContactService/UpdateContact",
        contact_values,
        begin=at_once(change_contact, deeds={"delete": Deed(_trash_contact, _restore)}),
        actions={"delete": DELETE},
        closed=frozenset({"external_key", "primary", "reports_to_id"}),
        back=by_entries,
        custom_fields=CUSTOM_FIELDS,
        progressed=BulkEditProgressed,
    ),
)
