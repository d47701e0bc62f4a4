"""Changing many customers or contacts at once."""

from chassis.bulk_edits.edit import BulkEditProgressed
from chassis.bulk_edits.editor import Editor, at_once
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


async def _assign(tx: Transaction, customer: Customer, owner: Owner) -> None:
    await assign_customers(tx, [customer], owner)


async def _release(tx: Transaction, customer: Customer) -> None:
    await give_back(tx, customer, "")


BULK_EDITS = BulkEdits(
    Editor(
        CUSTOMERS,
        Customer,
        "kehu.customers.v1.CustomerService/UpdateCustomer",
        customer_values,
        begin=at_once(change_customer, _assign, _release),
        assigns=True,
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
        begin=at_once(change_contact),
        closed=frozenset({"external_key", "primary", "reports_to_id"}),
        back=by_entries,
        custom_fields=CUSTOM_FIELDS,
        progressed=BulkEditProgressed,
    ),
)
