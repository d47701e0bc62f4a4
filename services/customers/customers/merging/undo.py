"""A merge is undone: records are what they were, and what referred to them does again.

What somebody has changed after the merge stays as it was changed, and what was added stays with the survivor.
"""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from chassis.custom_fields.references import led_on
from chassis.database import Transaction
from chassis.duplicates.pair import pairs_unmerged
from chassis.kept import forget_in_later, put_back
from chassis.papers import papers_back
from chassis.principal import Act
from chassis.records import Record
from chassis.visibility import covers
from customers import contact as contacts
from customers import customer as customers
from customers.competitor import Competitor, competitors_back
from customers.contact import Contact
from customers.customer import Customer, hold_trees
from customers.errors import MergeSurvivorGone, MergeTooOld, MergeUndone
from customers.merging.back import any_row, cards_back, contacts_back, relations_back, settle_parent
from customers.merging.merge import (
    CUSTOMER,
    MERGED,
    UNDONE,
    ContactUnmerged,
    CustomerUnmerged,
    Merge,
    RestoredRecord,
)
from customers.merging.referring import follow_all, unfollow
from customers.merging.segments import part_segments
from customers.partner import Partner, partners_back
from customers.points.cards import Card
from customers.points.joining import part_cards
from customers.profile import CUSTOMER_WAYS, changed_names
from customers.relation import CustomerRelation
from customers.value.facts import FACTS, facts_back, first_day
from customers.value.review import outdate
from customers.value.worth import forget_worthless, revalue


async def undo(tx: Transaction, merge: Merge) -> None:
    """Undoes a merge; its row is locked. Raises MergeUndone, MergeTooOld, MergeSurvivorGone, AlreadyExists."""
    if merge.state != MERGED:
        raise MergeUndone
    if merge.undo_end_time < tx.now:
        raise MergeTooOld
    if merge.kind == CUSTOMER:
        await _undo_customers(tx, merge)
    else:
        await _undo_contacts(tx, merge)
    await forget_in_later(tx, merge, _TABLES)
    await pairs_unmerged(tx, merge.id)
    merge.state, merge.undo_time = UNDONE, tx.now


_TABLES = (Customer, Contact, CustomerRelation, Card, Partner, Competitor)


def may_undo(merge: Merge, survivor: Record | None, tx: Transaction) -> bool:
    """Whether the caller may change the survivor, or could when it was merged, if it is gone."""
    return covers(survivor or merge, tx.who, "customers", Act.WRITE, shares=False)


async def _undo_customers(tx: Transaction, merge: Merge) -> None:
    await hold_trees(tx)
    survivor = await tx.find(Customer, merge.survivor_id)
    if survivor is None:
        raise MergeSurvivorGone
    kept, referred = await _referred_back(tx, merge)
    # What may be held once is given up by the survivor before the others take it.
    await _customer_back(tx, survivor, kept)
    await tx.session.flush()
    restored: list[Customer] = []
    for id in sorted(merge.merged_ids):
        loser = await any_row(tx, Customer, UUID(str(id)))
        if loser is not None and loser.merged_into_id == survivor.id:
            put_back(loser, kept.get("customer", {}).get(str(loser.id), {}))
            loser.findable()
            restored.append(loser)
    merged = {str(merge.survivor_id), *map(str, merge.merged_ids)}
    moved = [survivor, *restored]
    for id in sorted(set(kept.get("customer", {})) - merged):
        child = await any_row(tx, Customer, UUID(id))
        if child is not None:
            await _customer_back(tx, child, kept)
            moved += [child] if child.deleted_at is None else []
    await tx.session.flush()
    for one in moved:
        await settle_parent(tx, one)
    await relations_back(tx, kept)
    await contacts_back(tx, kept)
    await cards_back(tx, kept)
    await part_cards(tx, kept)
    await _facts_back(tx, survivor, kept)
    await partners_back(tx, kept)
    await competitors_back(tx, kept)
    await part_segments(tx, kept)
    await papers_back(tx, Customer.record_type, kept.get("papers", {}), survivor.id)
    await follow_all(tx, referred)
    tx.record(
        CustomerUnmerged(
            **customers.told(survivor), merge_id=merge.id,
            restored_customers=[RestoredRecord(id=one.id, display_name=one.display_name) for one in restored],
        ),
        on=survivor,
    )  # fmt: skip


async def _referred_back(tx: Transaction, merge: Merge) -> tuple[Mapping[str, Any], set[UUID]]:
    """Fields of the tenant's own refer to those who come back; what was kept of others is known again though those to whom they
    refer were merged since. Answers with that, and whom it names."""
    await unfollow(tx, merge, [UUID(str(id)) for id in merge.merged_ids])
    return await led_on(tx, merge.kept, (Customer, Contact))


async def _customer_back(tx: Transaction, row: Customer, kept: Mapping[str, Any]) -> None:
    done = put_back(row, kept.get("customer", {}).get(str(row.id), {}))
    if done:
        row.findable()
    if done and row.deleted_at is None:
        changed = changed_names(CUSTOMER_WAYS, [name for name in done if name != "shared_with"])
        tx.record(customers.CustomerUpdated(**customers.told(row), changed_fields=changed), on=row)


async def _facts_back(tx: Transaction, survivor: Customer, kept: Mapping[str, Any]) -> None:
    if FACTS.keys().isdisjoint(kept):
        return
    first = await first_day(tx, survivor.id)
    if first is not None:
        outdate(tx, first)
    former = await facts_back(tx, kept, survivor.id)
    for id in (survivor.id, *sorted(former)):
        await revalue(tx, id)
        await forget_worthless(tx, id)


async def _undo_contacts(tx: Transaction, merge: Merge) -> None:
    survivor = await tx.find(Contact, merge.survivor_id)
    if survivor is None:
        raise MergeSurvivorGone
    kept, referred = await _referred_back(tx, merge)
    kept_papers = kept.get("papers", {})
    first = put_back(
        survivor,
        {k: v for k, v in kept.get("contact", {}).get(str(survivor.id), {}).items() if k == "external_key"},
    )
    await tx.session.flush()
    await contacts_back(tx, kept)
    await follow_all(tx, referred)
    await papers_back(tx, Contact.record_type, kept_papers, survivor.id)
    if first:
        tx.record(contacts.ContactUpdated(**contacts.told(survivor), changed_fields=first), on=survivor)
    restored = [
        one
        for id in merge.merged_ids
        if (one := await tx.find(Contact, UUID(str(id)))) is not None and one.merged_into_id is None
    ]
    tx.record(
        ContactUnmerged(
            **contacts.told(survivor), merge_id=merge.id,
            restored_contacts=[RestoredRecord(id=one.id, display_name=one.display_name) for one in restored],
        ),
        on=survivor,
    )  # fmt: skip
