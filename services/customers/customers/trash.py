"""The trash: what was deleted with all that went with it, brought back as it was. See `purge` for how it is emptied.

What a deletion has changed is kept as a merge keeps it (`chassis.kept`): so restoring puts back what nobody has changed since.
"""

from dataclasses import dataclass
from typing import ClassVar
from uuid import UUID, uuid5

from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, col

from chassis.bulk_edits.editor import ChangedSince
from chassis.database import Transaction
from chassis.errors import NotFound
from chassis.events.event import Event
from chassis.history import plain
from chassis.kept import Before, Kept, put_back
from chassis.principal import Act
from chassis.records import Owned, Record
from chassis.visibility import covers
from customers import contact as contacts
from customers import customer as customers
from customers.affiliation import dismiss, dismiss_all, reporting_to
from customers.contact import Contact, ContactSnapshot, check_untouched
from customers.customer import Customer, CustomerSnapshot, check_no_children, hold_trees, survivor_of
from customers.errors import CustomerInTrash, CustomerTouched
from customers.merging.back import cards_back, contacts_back, relations_back, settle_parent
from customers.merging.segments import leave_segments, part_segments
from customers.partner import end_partnership, partner_of, partners_back
from customers.points.cards import card_of, has_card, withdraw_card
from customers.relation import end_all, relations_of

CUSTOMER, CONTACT = "CUSTOMER", "CONTACT"
PURGE = "purge trash"
"""The kind of the job. Its key is the tenant."""
_NAMESPACE = UUID("7d5a3c1e-52a8-4a7e-9b6c-0f1f9f1b7c11")


class TrashItem(Owned, table=True):
    """What was deleted. Its id is the record's own; owner and team are those it had."""

    __tablename__ = "trash"  # pyright: ignore[reportAssignmentType]

    kind: str
    display_name: str
    kept: Kept = Field(default_factory=dict, sa_type=JSONB)


class TrashRule(Record, table=True):
    """A tenant's rule; there is none until somebody makes one."""

    __tablename__ = "trash_rules"  # pyright: ignore[reportAssignmentType]
    record_type: ClassVar[str] = "trash_rule"

    keep_days: int = 0


@dataclass(frozen=True, kw_only=True)
class TrashRuleUpdated(Event):
    rule_id: UUID
    changed_fields: list[str]


@dataclass(frozen=True, kw_only=True)
class CustomerRestored(Event):
    customer_id: UUID
    owner_id: UUID | None
    team_id: UUID | None
    customer: CustomerSnapshot


@dataclass(frozen=True, kw_only=True)
class ContactRestored(Event):
    contact_id: UUID
    owner_id: UUID | None
    team_id: UUID | None
    contact: ContactSnapshot


_MEMBERS = text("SELECT contact_id FROM contact_affiliations WHERE customer_id = :id")


async def trash_customer(tx: Transaction, customer: Customer, *, kept: bool) -> None:
    """Deletes a customer that has no children, with all that goes with it; its row is locked. Unless it is `kept` in the trash,
    nobody can bring it back."""
    before = Before()
    before.note([customer])
    members = list((await tx.session.execute(_MEMBERS, {"id": customer.id})).scalars())
    found = await tx.session.execute(
        select(Contact)
        .where(
            (col(Contact.customer_id) == customer.id) | col(Contact.id).in_(members), col(Contact.deleted_at).is_(None)
        )
        .order_by(col(Contact.id))
        .with_for_update()
    )  # fmt: skip
    before.note(found.scalars().all())
    before.note(await relations_of(tx, [customer.id]))
    card = await card_of(tx, customer.id)
    before.note([card] if card is not None else [])
    partner = await partner_of(tx, customer.id)
    if partner is not None:
        before.note([partner])
        end_partnership(tx, partner)
    await dismiss_all(tx, customer)
    await end_all(tx, customer)
    await withdraw_card(tx, customer)
    tx.delete(customer)
    tx.record(customers.CustomerDeleted(**customers.told(customer)), on=customer)
    await tx.session.flush()
    left = await leave_segments(tx, customer.id)
    if kept:
        _throw(tx, CUSTOMER, customer, before.kept() | left)


async def trash_contact(tx: Transaction, contact: Contact, successor: UUID | None) -> None:
    """Deletes a contact; its row is locked. Raises what `dismiss` does."""
    before = Before()
    chief = None if successor is None else await tx.find(Contact, successor)
    before.note([contact, *await reporting_to(tx, contact.id), *([] if chief is None else [chief])])
    await dismiss(tx, contact, successor)
    await tx.session.flush()
    _throw(tx, CONTACT, contact, before.kept())


def _throw(tx: Transaction, kind: str, row: Customer | Contact, kept: Kept) -> None:
    tx.add(
        TrashItem(
            id=row.id, kind=kind, display_name=row.display_name, owner_id=row.owner_id, team_id=row.team_id, kept=kept
        )
    )  # fmt: skip


async def restore(tx: Transaction, id: UUID, etag: str) -> TrashItem:
    """Brings back what the caller may delete. Raises NotFound, EtagMismatch, CustomerInTrash, AlreadyExists."""
    item = await tx.find(TrashItem, id)
    if item is None or not covers(item, tx.who, "customers", Act.WRITE):
        raise NotFound("trash item", id)
    tx.check_etag(item, etag)
    if item.kind == CUSTOMER:
        await _restore_customer(tx, item)
    else:
        await _restore_contact(tx, item)
    await tx.session.delete(item)
    return item


_DELETED = text(
    "SELECT deleted_at FROM customers WHERE id = :id UNION ALL SELECT deleted_at FROM contacts WHERE id = :id"
)


async def restore_deleted(tx: Transaction, id: UUID, deleted: str) -> None:
    """Brings back what was deleted at that instant, which stands as JSON holds it. Raises ChangedSince if somebody has restored
    it since, or deleted it again; and what `restore` does."""
    # Whoever restores a record locks what the trash has of it: behind that lock it stays as it is.
    await tx.find(TrashItem, id)
    at = (await tx.session.execute(_DELETED, {"id": id})).scalar_one_or_none()
    if plain(at) != deleted:
        raise ChangedSince("somebody has restored the record since, or deleted it again")
    await restore(tx, id, "")


async def delete_customer(tx: Transaction, customer: Customer) -> None:
    """Puts a customer that has no children into the trash; its row is locked. Raises CustomerHasChildren."""
    await check_no_children(tx, customer)
    await trash_customer(tx, customer, kept=True)


async def delete_untouched(tx: Transaction, customer: Customer, made_with: UUID | None) -> None:
    """Deletes for good a customer that is as it was created, with the contact it was made with; its row is locked. Raises
    CustomerHasChildren, CustomerTouched."""
    await check_no_children(tx, customer)
    await check_untouched(tx, customer, made_with)
    if await has_card(tx, customer):
        raise CustomerTouched
    await trash_customer(tx, customer, kept=False)


async def _restore_customer(tx: Transaction, item: TrashItem) -> None:
    await hold_trees(tx)
    customer = await tx.session.get(
        Customer, (tx.who.tenant_id, item.id), with_for_update=True, populate_existing=True
    )
    if customer is None:
        raise NotFound("trash item", item.id)
    put_back(customer, item.kept.get("customer", {}).get(str(item.id), {}))
    await tx.session.flush()
    await settle_parent(tx, customer)
    await relations_back(tx, item.kept)
    for row in await contacts_back(tx, item.kept):
        tx.record(ContactRestored(**contacts.told(row)), on=row)
    await cards_back(tx, item.kept)
    await partners_back(tx, item.kept)
    await part_segments(tx, item.kept)
    tx.record(CustomerRestored(**customers.told(customer)), on=customer)


async def _restore_contact(tx: Transaction, item: TrashItem) -> None:
    contact = await tx.session.get(Contact, (tx.who.tenant_id, item.id), with_for_update=True)
    if contact is None or await tx.find(Customer, await survivor_of(tx, contact.customer_id)) is None:
        raise CustomerInTrash
    for row in await contacts_back(tx, item.kept):
        tx.record(ContactRestored(**contacts.told(row)), on=row)


async def trash_rule(tx: Transaction) -> TrashRule:
    """The tenant's rule, locked; made when there is none."""
    id = rule_id(tx.who.tenant_id)
    rule = await tx.find(TrashRule, id)
    if rule is None:
        rule = TrashRule(id=id)
        tx.add(rule)
    return rule


def rule_id(tenant_id: UUID) -> UUID:
    """The id of a tenant's rule."""
    return uuid5(_NAMESPACE, str(tenant_id))


async def keep_for(tx: Transaction, rule: TrashRule, days: int) -> None:
    """Changes after how many days the trash is emptied; 0 is never."""
    if rule.keep_days != days:
        rule.keep_days = days
        tx.record(TrashRuleUpdated(rule_id=rule.id, changed_fields=["keep_days"]), on=rule)
    if days:
        await tx.enqueue(PURGE, {}, key=str(tx.who.tenant_id))
