"""Customers go into one: their own fields, and all that refers to them in this service."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import select, text
from sqlmodel import col

from chassis.database import Transaction
from chassis.duplicates.pair import pairs_merged
from chassis.kept import Before, Kept
from chassis.mapping import change
from chassis.papers import move_papers
from chassis.shares.entries import joined
from customers.affiliation import index_anew, report_to, standing, superior_at, tell
from customers.competitor import competitors_of
from customers.competitor import follow_merge as competitors_follow
from customers.contact import WHAT, Contact
from customers.customer import Customer, CustomerUpdated, ancestors, hold_trees, told
from customers.errors import MergeKindsDiffer
from customers.merging.fields import Choices, check_choices, joined_customer
from customers.merging.merge import CUSTOMER, CustomerMerged, Merge, check_ids, merge_of
from customers.merging.referring import follow_merge
from customers.merging.segments import join_segments
from customers.partner import join_partners, partners_of
from customers.points.joining import KEPT, join_cards
from customers.profile import CUSTOMER_WAYS, changed_names, entry_changes, noted
from customers.relation import CustomerRelation, RelationDeleted, RelationUpdated, relations_of
from customers.relation import told as told_relation
from customers.reports import superiors
from customers.value.arrears import owe_anew
from customers.value.facts import move_facts
from customers.value.review import outdate
from customers.value.worth import revalue

_MEMBERS = text("SELECT contact_id FROM contact_affiliations WHERE customer_id = ANY(:ids)")
_PRIMARY = text('SELECT 1 FROM contacts WHERE customer_id = :id AND "primary" AND deleted_at IS NULL LIMIT 1')


async def merge_customers(
    tx: Transaction, survivor_id: UUID, merged_ids: list[UUID], choices: Choices, etag: str
) -> Merge:
    """Merges customers that the caller may change.

    Raises NotFound, Denied, EtagMismatch, Invalid, MergeKindsDiffer, PointsTooMany.
    """
    await hold_trees(tx)
    found = {
        id: await tx.get(Customer, id, right="customers", shares=False)
        for id in sorted({survivor_id, *merged_ids})
    }
    check_ids(survivor_id, merged_ids)
    survivor, losers = found[survivor_id], [found[id] for id in merged_ids]
    rows = [survivor, *losers]
    tx.check_etag(survivor, etag)
    custom = {key for row in rows for key in row.custom_fields}
    check_choices(choices, list(found), customers=True, custom=custom)
    if len({row.kind for row in rows}) > 1:
        raise MergeKindsDiffer
    before = Before()
    before.note(rows)
    points = await join_cards(tx, survivor, losers, before)
    partners = await partners_of(tx, [row.id for row in rows])
    competitors = await competitors_of(tx, merged_ids)
    before.note([*partners, *competitors])
    values = joined_customer(rows, choices) | {"shared_with": joined(rows, tx.now)}
    for loser in losers:
        loser.merged_into_id = survivor.id
        tx.delete(loser)
    await _move_children(tx, survivor, merged_ids, before)
    # What may be held once is free before the survivor takes it.
    await tx.session.flush()
    values["parent_customer_id"] = await _parent(tx, rows, choices.get("parentCustomerId"))
    entries = noted(survivor)
    changed = changed_names(CUSTOMER_WAYS, change(survivor, values))
    changed = [name for name in changed if not name.endswith("_contact_time") and name not in _TOUCHED]
    if changed:
        survivor.findable()
        tx.record(
            CustomerUpdated(
                **told(survivor), changed_fields=changed, entry_changes=entry_changes(entries, survivor)
            ),
            on=survivor,
        )
    await _move_relations(tx, survivor, merged_ids, before)
    await _move_contacts(tx, survivor, merged_ids, before)
    await join_partners(tx, survivor, partners)
    competitors_follow(tx, competitors, survivor.id)
    kept = before.kept() | await _move_facts(tx, survivor, merged_ids)
    await owe_anew(tx, survivor.id)
    kept |= await join_segments(tx, survivor.id, merged_ids)
    kept |= {KEPT: points} if points else {}
    kept["papers"] = await move_papers(tx, Customer.record_type, merged_ids, survivor.id)
    merge = merge_of(tx, CUSTOMER, survivor, merged_ids, kept)
    await follow_merge(tx, merge)
    await pairs_merged(tx, Customer.record_type, merge.id, survivor.id, merged_ids)
    tx.record(
        CustomerMerged(**told(survivor), merge_id=merge.id, merged_customer_ids=merged_ids), on=survivor
    )
    return merge


_TOUCHED = ("last_deal_time", "last_service_time", "shared_with")


async def _move_children(tx: Transaction, survivor: Customer, ids: list[UUID], before: Before) -> None:
    found = await tx.session.execute(
        select(Customer)
        .where(
            col(Customer.parent_customer_id).in_(ids), col(Customer.deleted_at).is_(None),
            col(Customer.id).not_in([survivor.id, *ids]),
        )
        .order_by(col(Customer.id))
        .with_for_update()
    )  # fmt: skip
    for child in found.scalars().all():
        before.note([child])
        child.parent_customer_id = survivor.id
        tx.record(CustomerUpdated(**told(child), changed_fields=["parent_customer_id"]), on=child)


async def _parent(tx: Transaction, rows: Sequence[Customer], choice: UUID | None) -> UUID | None:
    """The survivor's parent: the first that is none of the merged ones and does not stand below them."""
    merged = {row.id for row in rows}
    asked = [row for row in rows if row.id == choice] if choice else rows
    for row in asked:
        parent = row.parent_customer_id
        if parent is not None and parent not in merged and not merged & await ancestors(tx, parent):
            return parent
    return None


async def _move_relations(tx: Transaction, survivor: Customer, ids: list[UUID], before: Before) -> None:
    """Relations come to the survivor; one with itself ends, and so does one that it has already."""
    rows = await relations_of(tx, [survivor.id, *ids])
    before.note(rows)

    def ends(row: CustomerRelation) -> tuple[UUID, UUID]:
        first, second = (
            survivor.id if id in ids else id for id in (row.from_customer_id, row.to_customer_id)
        )
        return first, second

    def key(row: CustomerRelation) -> tuple[str, UUID, UUID]:
        first, second = ends(row)
        return (
            (row.type, first, second)
            if row.type == "SUPPLIER"
            else (row.type, min(first, second), max(first, second))
        )

    moved = [row for row in rows if row.from_customer_id in ids or row.to_customer_id in ids]
    there = {key(row) for row in rows if row not in moved}
    stay: list[CustomerRelation] = []
    for row in moved:
        first, second = ends(row)
        if first == second or key(row) in there:
            tx.delete(row)
            tx.record(RelationDeleted(**told_relation(row)), on=row)
        else:
            there.add(key(row))
            stay.append(row)
    await tx.session.flush()
    for row in stay:
        row.from_customer_id, row.to_customer_id = ends(row)
        tx.record(
            RelationUpdated(**told_relation(row), changed_fields=["from_customer_id", "to_customer_id"]),
            on=row,
        )


async def _move_contacts(tx: Transaction, survivor: Customer, ids: list[UUID], before: Before) -> None:
    """Contacts come to the survivor; who belonged to several of them belongs to it once."""
    members = list((await tx.session.execute(_MEMBERS, {"ids": ids})).scalars())
    found = await tx.session.execute(
        select(Contact)
        .where(
            col(Contact.customer_id).in_(ids) | col(Contact.id).in_(members), col(Contact.deleted_at).is_(None)
        )
        .order_by(col(Contact.id))
        .with_for_update()
    )  # fmt: skip
    contacts = found.scalars().all()
    has_primary = (await tx.session.execute(_PRIMARY, {"id": survivor.id})).first() is not None
    twice: list[Contact] = []
    for contact in contacts:
        before.note([contact])
        stood = standing(contact)
        if _come_together(contact, survivor, {str(id) for id in ids}):
            twice.append(contact)
        if contact.customer_id == survivor.id and contact.primary and stood["customer_id"] != survivor.id:
            contact.primary, has_primary = not has_primary, True
        await tx.session.flush()
        await index_anew(tx, contact)
        tell(tx, contact, stood)
    for contact in twice:
        # Two trees without circles may have one together, through those who stand in both.
        superior = superior_at(contact, survivor.id)
        if superior is not None and contact.id in await superiors(tx, survivor.id, superior):
            await report_to(tx, contact, survivor.id, None)
            await tx.session.flush()


def _come_together(contact: Contact, survivor: Customer, ids: set[str]) -> bool:
    """Makes what a contact is at the merged customers what it is at the survivor. True when it belonged to more than one."""
    here = str(survivor.id)
    mine = [one for one in contact.affiliations if one["customer_id"] in ids]
    there = [one for one in contact.affiliations if one["customer_id"] == here]
    rest = [one for one in contact.affiliations if one["customer_id"] not in {*ids, here}]
    if contact.customer_id == survivor.id or str(contact.customer_id) in ids:
        for one in (*there, *mine):
            for name in WHAT:
                value = one[name]
                if value and not getattr(contact, name):
                    setattr(contact, name, UUID(value) if name == "reports_to_id" else value)
        contact.customer_id = survivor.id
        contact.owner_id, contact.team_id = survivor.owner_id, survivor.team_id
        contact.affiliations = rest
        return bool(there or mine)
    first, *others = [*there, *mine]
    joined: dict[str, Any] = {**first, "customer_id": here}
    for one in others:
        joined |= {name: one[name] for name in WHAT if one[name] and not joined[name]}
    contact.affiliations = [*rest, joined]
    return bool(others)


async def _move_facts(tx: Transaction, survivor: Customer, ids: list[UUID]) -> Kept:
    """What is known of orders, opportunities and ratings, by which the survivor is valued. Answers with what was moved."""
    kept, days, former = await move_facts(tx, ids, survivor.id)
    if days:
        outdate(tx, min(days))
        for id in (survivor.id, *sorted(former)):
            await revalue(tx, id)
    return kept
