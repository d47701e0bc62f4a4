"""What a merge or a deletion has changed is as it was, as far as nobody has changed it since.

What refers to customers and contacts that have been merged meanwhile refers to those into which they went.
"""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import text

from chassis.database import Transaction
from chassis.kept import put_back
from chassis.records import RecordT
from customers import contact as contacts
from customers import relation as relations
from customers.affiliation import hold_charts, index_anew, report_to, superior_at
from customers.contact import WHAT, Contact, at_each
from customers.customer import Customer, ancestors, survivor_of
from customers.points.cards import Card
from customers.profile import CONTACT_WAYS, changed_names
from customers.relation import (
    CustomerRelation,
    RelationCreated,
    RelationDeleted,
    RelationUpdated,
    same_relation,
)
from customers.reports import superiors

_GONE = ("deleted_at", "merged_into_id")
_HOLDERS = ("customer_id", "owner_id", "team_id", "deleted_at")
_PRIMARY = text(
    'SELECT 1 FROM contacts WHERE customer_id = :customer AND id <> :id AND "primary" AND deleted_at IS NULL LIMIT 1'
)


async def any_row(tx: Transaction, table: type[RecordT], id: UUID) -> RecordT | None:
    """The row, locked, also when it is deleted."""
    return await tx.session.get(table, (tx.who.tenant_id, id), with_for_update=True, populate_existing=True)


async def settle_parent(tx: Transaction, customer: Customer) -> None:
    """The parent of a customer that is as it was may have been merged or deleted meanwhile, or have come to stand below it."""
    if customer.parent_customer_id is None:
        return
    parent = await survivor_of(tx, customer.parent_customer_id)
    there = await tx.find(Customer, parent, lock=False)
    below = there is None or customer.id in await ancestors(tx, parent)
    customer.parent_customer_id = None if below else parent
    await tx.session.flush()


async def relations_back(tx: Transaction, kept: Mapping[str, Any]) -> None:
    """Relations that were ended or moved are there again, but for those that would be there twice, or with themselves."""
    # Those that are there give up what they took from those that come back.
    for id, changed in sorted(
        kept.get("relation", {}).items(), key=lambda one: ("deleted_at" in one[1], one[0])
    ):
        row = await any_row(tx, CustomerRelation, UUID(id))
        if row is not None:
            with tx.session.no_autoflush:
                await _relation_back(tx, row, changed)
            await tx.session.flush()


async def _relation_back(tx: Transaction, row: CustomerRelation, changed: Mapping[str, list[Any]]) -> None:
    gone = row.deleted_at is not None
    done = put_back(row, changed)
    if row.deleted_at is not None:
        return  # somebody has ended it since: should that be undone, its ends are right
    done += await _lead_on(tx, row)
    if done and (row.from_customer_id == row.to_customer_id or await same_relation(tx, row)):
        tx.delete(row)
        if not gone:
            tx.record(RelationDeleted(**relations.told(row)), on=row)
    elif gone:
        tx.record(RelationCreated(**relations.told(row)), on=row)
    elif done:
        tx.record(RelationUpdated(**relations.told(row), changed_fields=done), on=row)


async def _lead_on(tx: Transaction, row: CustomerRelation) -> list[str]:
    """Leads the ends to whom they went. Answers with the columns that have changed by it."""
    ends = {
        "from_customer_id": await survivor_of(tx, row.from_customer_id),
        "to_customer_id": await survivor_of(tx, row.to_customer_id),
    }
    moved = [name for name, id in ends.items() if getattr(row, name) != id]
    for name in moved:
        setattr(row, name, ends[name])
    return moved


async def contacts_back(tx: Transaction, kept: Mapping[str, Any]) -> list[Contact]:
    """Contacts are what they were. Answers with those that are there again."""
    back: list[Contact] = []
    again: list[Contact] = []
    found: list[tuple[Contact, list[str], bool]] = []
    for id, changed in sorted(kept.get("contact", {}).items()):
        row = await any_row(tx, Contact, UUID(id))
        if row is None:
            continue
        by_survivors = await _by_survivors(tx, changed)
        with tx.session.no_autoflush:
            done = put_back(row, by_survivors)
            # The mark of the primary contact comes back once those who have it meanwhile have given it up.
            marked = row.primary and row.deleted_at is None and not {"primary", "deleted_at"}.isdisjoint(done)
            row.primary = row.primary and not marked
        await tx.session.flush()
        found.append((row, done, marked))
    for row, done, _ in found:
        if row.deleted_at is None:
            with tx.session.no_autoflush:
                done += await _stand_anew(tx, row)
    # Whoever becomes a primary contact meanwhile waits for the customer.
    await hold_charts(tx, [row for row, _, _ in found])
    for row, done, marked in found:
        with tx.session.no_autoflush:
            if marked:
                row.primary = True
                done += await _one_primary(tx, row)
        await tx.session.flush()
        if not done:
            continue
        if not {*_HOLDERS}.isdisjoint(done):
            await follow_customer(tx, row)
        row.findable()
        back.append(row)
        names = changed_names(CONTACT_WAYS, [name for name in dict.fromkeys(done) if name not in _GONE])
        if "deleted_at" in done and row.deleted_at is None:
            again.append(row)
        elif names and row.deleted_at is None:
            tx.record(contacts.ContactUpdated(**contacts.told(row), changed_fields=names), on=row)
    await tx.session.flush()
    for row in back:
        await index_anew(tx, row)
    for row in back:
        for customer in (row.customer_id, *(UUID(one["customer_id"]) for one in row.affiliations)):
            superior = superior_at(row, customer)
            if superior is not None and row.id in await superiors(tx, customer, superior):
                await report_to(tx, row, customer, None)
                await tx.session.flush()
    return again


async def _by_survivors(tx: Transaction, changed: Mapping[str, list[Any]]) -> Mapping[str, list[Any]]:
    """What was kept of a contact, with the customers to which it belonged then by the names of those into which they went since:
    so it is known again where it belongs now."""
    if "customer_id" not in changed or "affiliations" not in changed:
        return changed
    homes: list[str] = []
    others: list[list[dict[str, Any]]] = []
    for home, affiliations in zip(changed["customer_id"], changed["affiliations"], strict=True):
        homes.append(str(await survivor_of(tx, UUID(home))))
        found: dict[str, dict[str, Any]] = {}
        for one in affiliations:
            id = str(await survivor_of(tx, UUID(one["customer_id"])))
            if id != homes[-1]:
                found.setdefault(id, {**one, "customer_id": id})
        others.append(list(found.values()))
    return {**changed, "customer_id": homes, "affiliations": others}


async def _stand_anew(tx: Transaction, row: Contact) -> list[str]:
    """Customers to which it belongs, and those to whom it reports there, may have been merged meanwhile; others to which it
    belonged besides may have been deleted. Answers with the columns that have changed by it."""
    found: dict[str, dict[str, Any]] = {}
    for place, one in enumerate(at_each(row)):
        customer = await survivor_of(tx, UUID(one["customer_id"]))
        if place and await tx.find(Customer, customer, lock=False) is None:
            continue
        here = found.setdefault(str(customer), {"customer_id": str(customer)} | dict.fromkeys(WHAT))
        superior = one["reports_to_id"]
        if superior:
            survivor = str(await survivor_of(tx, UUID(superior), "contacts"))
            one["reports_to_id"] = None if survivor == str(row.id) else survivor
        here |= {name: here[name] or one[name] for name in WHAT}
    home, *others = found.values()
    superior = home["reports_to_id"]
    now: dict[str, Any] = {
        **home, "customer_id": UUID(home["customer_id"]), "reports_to_id": UUID(superior) if superior else None,
        "affiliations": others,
    }  # fmt: skip
    moved = [name for name, value in now.items() if getattr(row, name) != value]
    for name in moved:
        setattr(row, name, now[name])
    return moved


async def _one_primary(tx: Transaction, row: Contact) -> list[str]:
    """Somebody else may have become the customer's primary contact since, and stays it. Answers with the column that has changed
    by it."""
    if row.primary:
        others = {"customer": row.customer_id, "id": row.id}
        if (await tx.session.execute(_PRIMARY, others)).first() is not None:
            row.primary = False
            return ["primary"]
    return []


async def follow_customer(tx: Transaction, row: Contact | Card) -> None:
    """The owner may have become another while it was with the survivor."""
    customer = await tx.find(Customer, row.customer_id, lock=False)
    if customer is not None:
        row.owner_id, row.team_id = customer.owner_id, customer.team_id


async def cards_back(tx: Transaction, kept: Mapping[str, Any]) -> None:
    """Cards that were moved or withdrawn are there again."""
    for id, changed in kept.get("card", {}).items():
        row = await any_row(tx, Card, UUID(id))
        # What it has and owes follows from its ledger alone.
        held = {name: both for name, both in changed.items() if name in (*_HOLDERS, "merged_into_id")}
        if row is not None and not {*_HOLDERS}.isdisjoint(put_back(row, held)):
            await follow_customer(tx, row)
    await tx.session.flush()
