"""Fields of the tenant's own that refer to customers and contacts follow these to the survivor of a merge, and go back with its
undoing: in the same transaction, and those that are too many for it, or are written meanwhile, a little later."""

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from chassis.custom_fields.references import CustomReferences
from chassis.database import Transaction
from chassis.following import Following, Target
from customers import contact as contacts
from customers import customer as customers
from customers.contact import Contact
from customers.custom_fields import CUSTOM_FIELDS
from customers.customer import Customer
from customers.merging.merge import CUSTOMER, Merge


def _tell(tx: Transaction, row: Any, *columns: str) -> None:
    if isinstance(row, Contact):
        tx.record(contacts.ContactUpdated(**contacts.told(row), changed_fields=[*columns]), on=row)
    else:
        tx.record(customers.CustomerUpdated(**customers.told(row), changed_fields=[*columns]), on=row)


_CUSTOM = CustomReferences(CUSTOM_FIELDS, _tell)
CUSTOMERS = Following("customer", custom=_CUSTOM)
CONTACTS = Following("contact", custom=_CUSTOM)


async def follow_merge(tx: Transaction, merge: Merge) -> None:
    """Those that went are referred to no longer."""
    gone = [UUID(str(id)) for id in merge.merged_ids]
    await _of(merge).merged(tx, merge.id, Target(merge.survivor_id, None), gone)


async def unfollow(tx: Transaction, merge: Merge, restored: Sequence[UUID]) -> None:
    """They are referred to again, at once in what the undoing puts back."""
    back = [Target(id, None) for id in restored]
    kept = {UUID(id) for table in (Customer, Contact) for id in merge.kept.get(table.record_type, {})}
    await _of(merge).unmerged(tx, merge.id, Target(merge.survivor_id, None), back, first=sorted(kept))


async def follow_all(tx: Transaction, ids: Iterable[UUID]) -> None:
    """To whom records refer that were put back, they refer where those are now."""
    found = sorted(ids)
    for one in (CUSTOMERS, CONTACTS):
        await one.follow(tx, found)


def _of(merge: Merge) -> Following:
    return CUSTOMERS if merge.kind == CUSTOMER else CONTACTS
