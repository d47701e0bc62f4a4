"""Customers and contacts that an import has made are taken back: those that somebody has begun to work with stay, the others go
to the trash.

A hundred thousand may be taken back at once. So what was done with them is asked for many together; and those of whom nothing was
found are thrown away by themselves, without looking once more for all that could go with them.
"""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from uuid import UUID

from sqlalchemy import text

from chassis.database import Transaction
from chassis.errors import Problem
from chassis.kept import Before
from chassis.papers import papers_on
from customers.contact import Contact, ContactDeleted
from customers.contact import told as told_contact
from customers.customer import Customer, CustomerDeleted, check_no_children
from customers.customer import told as told_customer
from customers.errors import ContactTouched, CustomerTouched
from customers.trash import CONTACT, CUSTOMER, TrashItem, trash_contact

_CUSTOMERS = text(
    "SELECT DISTINCT id, what FROM ("
    "SELECT customer_id AS id, 'contacts' AS what FROM contacts WHERE customer_id = ANY(:ids) AND deleted_at IS NULL"
    " UNION ALL SELECT customer_id, 'contacts' FROM contact_affiliations WHERE customer_id = ANY(:ids)"
    " UNION ALL SELECT from_customer_id, 'relations' FROM customer_relations WHERE from_customer_id = ANY(:ids)"
    " AND deleted_at IS NULL"
    " UNION ALL SELECT to_customer_id, 'relations' FROM customer_relations WHERE to_customer_id = ANY(:ids)"
    " AND deleted_at IS NULL"
    " UNION ALL SELECT customer_id, 'a partnership' FROM partners WHERE customer_id = ANY(:ids) AND deleted_at IS NULL"
    " UNION ALL SELECT customer_id, 'a competitor' FROM competitors WHERE customer_id = ANY(:ids) AND deleted_at IS NULL"
    " UNION ALL SELECT customer_id, 'a card' FROM membership_cards WHERE customer_id = ANY(:ids) AND deleted_at IS NULL"
    " UNION ALL SELECT customer_id, 'orders' FROM customer_orders WHERE customer_id = ANY(:ids)"
    " UNION ALL SELECT customer_id, 'opportunities' FROM customer_opportunities WHERE customer_id = ANY(:ids)"
    " UNION ALL SELECT customer_id, 'activities' FROM customer_activities WHERE customer_id = ANY(:ids) AND state <> 'GONE'"
    " UNION ALL SELECT id, 'activities' FROM customers WHERE id = ANY(:ids) AND last_contact_time IS NOT NULL"
    " UNION ALL SELECT id, 'orders' FROM customers WHERE id = ANY(:ids) AND last_deal_time IS NOT NULL"
    " UNION ALL SELECT id, 'tickets' FROM customers WHERE id = ANY(:ids) AND last_service_time IS NOT NULL"
    ") AS found ORDER BY id, what"
)
_CONTACTS = text(
    "SELECT DISTINCT contact_id AS id, 'further customers' AS what FROM contact_affiliations WHERE contact_id = ANY(:ids)"
)


async def dealt_with_customers(tx: Transaction, ids: Sequence[UUID]) -> Mapping[UUID, Problem]:
    """Why those of the customers are kept that somebody has begun to work with. Of those that belong to them it says nothing."""
    found = await papers_on(tx, Customer.record_type, ids)
    for id, what in (await tx.session.execute(_CUSTOMERS, {"ids": list(ids)})).all():
        found.setdefault(UUID(str(id)), []).append(what)
    return {id: CustomerTouched(what) for id, what in found.items()}


async def dealt_with_contacts(tx: Transaction, ids: Sequence[UUID]) -> Mapping[UUID, Problem]:
    """Why those of the contacts are kept that somebody has begun to work with."""
    found = await papers_on(tx, Contact.record_type, ids)
    for id, what in (await tx.session.execute(_CONTACTS, {"ids": list(ids)})).all():
        found.setdefault(UUID(str(id)), []).append(what)
    return {id: ContactTouched(what) for id, what in found.items()}


_REPORTED_TO = text(
    "SELECT EXISTS (SELECT FROM contacts WHERE reports_to_id = :id AND deleted_at IS NULL"
    " UNION ALL SELECT FROM contact_affiliations WHERE reports_to_id = :id)"
)


async def take_customer_back(tx: Transaction, customer: Customer) -> None:
    """Throws a customer away that nobody has dealt with; its row is locked. Raises CustomerHasChildren."""
    await check_no_children(tx, customer)
    with _thrown(tx, CUSTOMER, customer):
        tx.delete(customer)
    tx.record(CustomerDeleted(**told_customer(customer)), on=customer)


async def take_contact_back(tx: Transaction, contact: Contact) -> None:
    """Throws a contact away that nobody has dealt with; its row is locked. Who reports to it reports to nobody."""
    if (await tx.session.execute(_REPORTED_TO, {"id": contact.id})).scalar_one():
        await trash_contact(tx, contact, None)
        return
    with _thrown(tx, CONTACT, contact):
        tx.delete(contact)
    tx.record(ContactDeleted(**told_contact(contact)), on=contact)


@contextmanager
def _thrown(tx: Transaction, kind: str, row: Customer | Contact) -> Generator[None]:
    """What is done to the row within is kept in the trash."""
    before = Before()
    before.note([row])
    yield
    tx.add(
        TrashItem(
            id=row.id, kind=kind, display_name=row.display_name, owner_id=row.owner_id, team_id=row.team_id, kept=before.kept()
        )
    )  # fmt: skip
