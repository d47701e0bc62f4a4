"""Contacts: the people at a customer. Who may see the customer sees its contacts: they carry its owner and team."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from datetime import date, datetime
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import Date, select, text
from sqlmodel import Field, col

from chassis.custom_fields.definitions import taken
from chassis.database import Transaction
from chassis.events.event import Event
from chassis.history import plain
from chassis.ids import new_id
from chassis.mapping import change
from chassis.parts import Listed, Part, Written
from chassis.records import Customized, Owned
from chassis.search import Searchable
from customers.customer import Customer
from customers.errors import CustomerTouched
from customers.profile import (
    CONTACT_WAYS,
    Entries,
    EntryChange,
    Reached,
    Way,
    changed_names,
    entry_changes,
    jsonb_list,
    noted,
    reached,
    undone_by_entry,
)
from customers.reports import check_superior
from customers.value_lists import listed

DECISION_ROLES = ("DECIDER", "INFLUENCER", "USER", "OPPONENT")
WHAT = ("title", "department", "decision_role", "reports_to_id")
"""What a contact is at each of its customers."""


def _standings(values: Mapping[str, Any]) -> Entries:
    """What a contact is at all of its customers, its primary one first, as it is at others."""
    return [{name: values[name] for name in ("customer_id", *WHAT)}, *values["affiliations"]]


def _stands(entries: Entries) -> dict[str, Any]:
    home, *others = entries
    return {**home, "affiliations": others}


_STANDINGS = Listed(
    ("customer_id", *WHAT, "affiliations"), lambda one: one["customer_id"], _standings, _stands, never_empty=True
)  # fmt: skip


class Contact(Reached, Owned, Searchable, Customized, table=True):
    """A person at a customer."""

    __tablename__ = "contacts"  # pyright: ignore[reportAssignmentType]
    record_type: ClassVar[str] = "contact"
    ways: ClassVar[tuple[Way, ...]] = CONTACT_WAYS
    history_listed: ClassVar[frozenset[str]] = frozenset({
        "phones", "emails", "addresses", "account_label", "other_accounts", "affiliations",
    })  # fmt: skip
    undone_by: ClassVar[tuple[Part, ...]] = (
        *undone_by_entry(CONTACT_WAYS), _STANDINGS, Written(("notes",)),
    )  # fmt: skip

    customer_id: UUID
    display_name: str
    title: str = ""
    department: str = ""
    decision_role: str = ""
    reports_to_id: UUID | None = None
    phones: Entries = jsonb_list()
    emails: Entries = jsonb_list()
    addresses: Entries = jsonb_list()
    im_account: str = ""
    account_label: str = ""
    other_accounts: Entries = jsonb_list()
    birthday: date | None = Field(default=None, sa_type=Date)
    notes: str = ""
    primary: bool = False
    origin_lead_id: UUID | None = None
    external_key: str = ""
    affiliations: Entries = jsonb_list()
    """What it is at further customers, see `affiliation`."""
    merged_into_id: UUID | None = None
    """The survivor, when it was deleted by a merge."""

    @classmethod
    def history_entries(cls, read: Callable[[str], Any]) -> Mapping[str, Mapping[str, str]]:
        """Each way to reach it, and each further customer, as one line."""
        return {
            **super().history_entries(read),
            "affiliations": {one["customer_id"]: _line(one) for one in read("affiliations")},
        }

    def findable(self) -> None:
        """Keeps the words for searching true to name, numbers and addresses."""
        self.find_by(
            people=[self.display_name],
            phones=[entry["number"] for entry in self.phones],
            texts=[entry["address"] for entry in self.emails]
            + [entry["account"] for entry in self.entries("accounts")],
        )


def _line(affiliation: Mapping[str, Any]) -> str:
    told = [affiliation[name] for name in ("title", "department", "decision_role") if affiliation[name]]
    if affiliation["reports_to_id"]:
        told.append(f"reports to {affiliation['reports_to_id']}")
    return ", ".join(told) or "belongs to it"


def at_each(contact: Contact) -> Entries:
    """What a contact is at each of its customers, its primary one first, as its affiliations say it."""
    return [
        {**one} for one in _standings({name: plain(getattr(contact, name)) for name in _STANDINGS.columns})
    ]


@dataclass(frozen=True, kw_only=True)
class AffiliationSnapshot:
    customer_id: str
    title: str
    decision_role: str | None
    department: str
    reports_to_id: str | None


@dataclass(frozen=True, kw_only=True)
class ContactSnapshot:
    customer_id: UUID
    display_name: str
    title: str
    decision_role: str | None
    department: str
    reports_to_id: UUID | None
    create_time: datetime
    custom_fields: dict[str, Any]
    affiliations: list[AffiliationSnapshot]


@dataclass(frozen=True, kw_only=True)
class ContactCreated(Event):
    contact_id: UUID
    owner_id: UUID | None
    team_id: UUID | None
    contact: ContactSnapshot


@dataclass(frozen=True, kw_only=True)
class ContactUpdated(Event):
    contact_id: UUID
    owner_id: UUID | None
    team_id: UUID | None
    contact: ContactSnapshot
    changed_fields: list[str]
    entry_changes: list[EntryChange] = dataclass_field(default_factory=list[EntryChange])


@dataclass(frozen=True, kw_only=True)
class ContactDeleted(Event):
    contact_id: UUID
    owner_id: UUID | None
    team_id: UUID | None
    contact: ContactSnapshot


def told(contact: Contact) -> dict[str, Any]:
    """What every event says of a contact."""
    return {
        "contact_id": contact.id,
        "owner_id": contact.owner_id,
        "team_id": contact.team_id,
        "contact": ContactSnapshot(
            customer_id=contact.customer_id, display_name=contact.display_name, title=contact.title,
            decision_role=contact.decision_role or None, department=contact.department,
            reports_to_id=contact.reports_to_id, create_time=contact.created_at,
            custom_fields=dict(contact.custom_fields),
            affiliations=[
                AffiliationSnapshot(
                    customer_id=one["customer_id"], title=one["title"], decision_role=one["decision_role"] or None,
                    department=one["department"], reports_to_id=one["reports_to_id"] or None,
                )
                for one in contact.affiliations
            ],
        ),
    }  # fmt: skip


async def checked(
    tx: Transaction, values: Mapping[str, Any], contact: Contact | None = None
) -> dict[str, Any]:
    """What a caller wrote, by column, as it is to be kept. Raises Invalid for custom fields and labels that are wrong."""
    known = await taken(tx, Contact.record_type, values, None if contact is None else contact.custom_fields)
    return await reached(tx, CONTACT_WAYS, await listed(tx, known, contact, "contact"), contact, "contact")


async def introduce(
    tx: Transaction, customer: Customer, values: Mapping[str, Any], id: UUID | None = None
) -> Contact:
    """A new contact of that customer. Raises Invalid for a superior elsewhere, and what `checked` does."""
    columns: dict[str, Any] = {
        **await checked(tx, values),
        "customer_id": customer.id, "owner_id": customer.owner_id, "team_id": customer.team_id,
        "id": id or new_id(),
    }  # fmt: skip
    contact = Contact(**columns)
    if contact.primary:
        await _make_way(tx, contact)
    await _check_superior(tx, contact)
    contact.findable()
    tx.add(contact)
    tx.record(ContactCreated(**told(contact)), on=contact)
    return contact


async def change_contact(tx: Transaction, contact: Contact, values: Mapping[str, Any]) -> None:
    """Changes fields. Raises ContactCircle, Invalid for a superior elsewhere, and what `checked` does."""
    tidy = await checked(tx, values, contact)
    if tidy.get("primary") and not contact.primary:
        await _make_way(tx, contact)
    before = noted(contact)
    changed = changed_names(CONTACT_WAYS, change(contact, tidy))
    if not changed:
        return
    if "reports_to_id" in changed:
        await _check_superior(tx, contact)
    contact.findable()
    entries = entry_changes(before, contact)
    tx.record(ContactUpdated(**told(contact), changed_fields=changed, entry_changes=entries), on=contact)


async def _make_way(tx: Transaction, contact: Contact) -> None:
    """Whoever is the primary contact of the customer is so no longer. Two who become it at once do so one after the other, by the
    customer's lock, so that the second finds the first."""
    await tx.find(Customer, contact.customer_id)
    others = await tx.session.execute(
        select(Contact)
        .where(
            col(Contact.customer_id) == contact.customer_id,
            col(Contact.id) != contact.id,
            col(Contact.primary).is_(True),
            col(Contact.deleted_at).is_(None),
        )
        .with_for_update()
    )
    for other in others.scalars():
        other.primary = False
        tx.record(ContactUpdated(**told(other), changed_fields=["primary"]), on=other)
    # Its place is free before another takes it.
    await tx.session.flush()


async def _check_superior(tx: Transaction, contact: Contact) -> None:
    if contact.reports_to_id is None:
        return
    # The customer's row is the lock for its tree of contacts.
    await tx.find(Customer, contact.customer_id)
    await check_superior(tx, contact.id, contact.customer_id, contact.reports_to_id, "contact.reportsToId")


async def check_untouched(tx: Transaction, customer: Customer, made_with: UUID | None) -> None:
    """Raises CustomerTouched unless customer and contacts are as they were created: none but `made_with`, which may be gone."""
    others = await tx.session.execute(
        text(
            "SELECT 1 FROM contacts WHERE customer_id = :id AND deleted_at IS NULL"
            " AND (id IS DISTINCT FROM :made_with OR version > 1)"
            " UNION ALL SELECT 1 FROM contact_affiliations WHERE customer_id = :id"
            " UNION ALL SELECT 1 FROM notes WHERE record_id IN (:id, :made_with) AND deleted_at IS NULL"
            " UNION ALL SELECT 1 FROM attachments WHERE record_id IN (:id, :made_with) AND deleted_at IS NULL LIMIT 1"
        ),
        {"id": customer.id, "made_with": made_with},
    )
    if customer.version > 1 or others.first() is not None:
        raise CustomerTouched
