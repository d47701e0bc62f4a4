"""Contacts go into one, which belongs to all their customers and to whom those report who reported to one of them."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from chassis.database import Transaction
from chassis.duplicates.pair import pairs_merged
from chassis.kept import Before
from chassis.mapping import change
from chassis.papers import move_papers
from customers.affiliation import (
    MOST,
    hold_charts,
    index_anew,
    report_to,
    reporting_to,
    superior_at,
    writable_contact,
)
from customers.contact import WHAT, Contact, ContactUpdated, told
from customers.errors import TooManyAffiliations
from customers.merging.fields import Choices, check_choices, joined_contact
from customers.merging.merge import CONTACT, ContactMerged, Merge, check_ids, merge_of
from customers.merging.referring import follow_merge
from customers.profile import CONTACT_WAYS, changed_names, entry_changes, noted
from customers.reports import superiors


async def merge_contacts(
    tx: Transaction, survivor_id: UUID, merged_ids: list[UUID], choices: Choices, etag: str
) -> Merge:
    """Merges contacts that the caller may change. Raises NotFound, Denied, EtagMismatch, Invalid, TooManyAffiliations."""
    found = {id: await writable_contact(tx, id, shares=False) for id in sorted({survivor_id, *merged_ids})}
    check_ids(survivor_id, merged_ids)
    survivor, losers = found[survivor_id], [found[id] for id in merged_ids]
    rows = [survivor, *losers]
    tx.check_etag(survivor, etag)
    custom = {key for row in rows for key in row.custom_fields}
    check_choices(choices, list(found), customers=False, custom=custom)
    await hold_charts(tx, rows)
    before = Before()
    before.note(rows)
    values = joined_contact(rows, choices)
    values["affiliations"] = _affiliations(survivor, losers)
    values["primary"] = any(row.primary and row.customer_id == survivor.customer_id for row in rows)
    superior = {customer: superior_at(survivor, customer) for customer in _customers(survivor)}
    for loser in losers:
        for below in await reporting_to(tx, loser.id):
            before.note([below])
            for customer in _customers(below):
                if below.id not in found and superior_at(below, customer) == loser.id:
                    await report_to(tx, below, customer, survivor.id)
        loser.merged_into_id = survivor.id
        tx.delete(loser)
    await tx.session.flush()
    for loser in losers:
        await index_anew(tx, loser)
    entries = noted(survivor)
    if survivor.reports_to_id in found:
        values["reports_to_id"] = _above(survivor.customer_id, superior[survivor.customer_id], found)
    elif survivor.reports_to_id is None:
        values["reports_to_id"] = _first_superior(survivor, losers, found)
    changed = changed_names(CONTACT_WAYS, change(survivor, values))
    if changed:
        survivor.findable()
        tx.record(
            ContactUpdated(
                **told(survivor), changed_fields=changed, entry_changes=entry_changes(entries, survivor)
            ),
            on=survivor,
        )
    await tx.session.flush()
    await index_anew(tx, survivor)
    await _break_circles(tx, survivor)
    kept = before.kept() | {"papers": await move_papers(tx, Contact.record_type, merged_ids, survivor.id)}
    merge = merge_of(tx, CONTACT, survivor, merged_ids, kept)
    await follow_merge(tx, merge)
    await pairs_merged(tx, Contact.record_type, merge.id, survivor.id, merged_ids)
    tx.record(ContactMerged(**told(survivor), merge_id=merge.id, merged_contact_ids=merged_ids), on=survivor)
    return merge


def _customers(contact: Contact) -> list[UUID]:
    return [contact.customer_id, *(UUID(one["customer_id"]) for one in contact.affiliations)]


def _above(customer: UUID, superior: UUID | None, merged: dict[UUID, Contact]) -> UUID | None:
    """The first superior that is none of the merged ones."""
    seen = set[UUID]()
    while superior is not None and superior in merged and superior not in seen:
        seen.add(superior)
        superior = superior_at(merged[superior], customer)
    return None if superior in merged else superior


def _first_superior(survivor: Contact, losers: Sequence[Contact], merged: dict[UUID, Contact]) -> UUID | None:
    for loser in losers:
        if survivor.customer_id in _customers(loser):
            above = _above(survivor.customer_id, superior_at(loser, survivor.customer_id), merged)
            if above is not None:
                return above
    return None


def _affiliations(survivor: Contact, losers: Sequence[Contact]) -> list[dict[str, Any]]:
    """What it is at others than its primary customer: its own first. Raises TooManyAffiliations."""
    merged = {str(survivor.id), *(str(one.id) for one in losers)}
    out: dict[str, dict[str, Any]] = {one["customer_id"]: dict(one) for one in survivor.affiliations}
    for loser in losers:
        home: dict[str, Any] = {"customer_id": str(loser.customer_id)}
        for name in WHAT:
            value = getattr(loser, name)
            home[name] = str(value) if isinstance(value, UUID) else value
        for one in (home, *loser.affiliations):
            if one["customer_id"] != str(survivor.customer_id):
                out.setdefault(one["customer_id"], dict(one))
    if len(out) + 1 > MOST:
        raise TooManyAffiliations
    return [
        {**one, "reports_to_id": None if one["reports_to_id"] in merged else one["reports_to_id"]}
        for one in out.values()
    ]


async def _break_circles(tx: Transaction, survivor: Contact) -> None:
    """Who would stand above itself through those who report to it now reports to nobody."""
    for customer in _customers(survivor):
        superior = superior_at(survivor, customer)
        if superior is not None and survivor.id in await superiors(tx, customer, superior):
            await report_to(tx, survivor, customer, None)
            await tx.session.flush()
