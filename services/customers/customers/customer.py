"""Customers: companies and persons we deal with or want to deal with."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from datetime import date, datetime
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, SmallInteger, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field

from chassis.company_names import core_name
from chassis.custom_fields.definitions import taken
from chassis.database import Transaction, shared_only
from chassis.errors import Denied, NotFound
from chassis.events.event import Event
from chassis.ids import new_id
from chassis.mapping import change
from chassis.owners import Owner
from chassis.parts import Part, Whole, Written
from chassis.principal import Act
from chassis.records import Customized, Owned, RecordT, Shareable
from chassis.search import Searchable
from chassis.shares.entries import share_lines
from chassis.visibility import Shares, covers
from customers.errors import CustomerCircle, CustomerHasChildren, customer_not_found
from customers.profile import (
    CUSTOMER_WAYS,
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
from customers.value.shown import SHOWN
from customers.value_lists import enum_view, first_stage, listed

SHARES, SHARES_OF_CUSTOMER = Shares("customer"), Shares("customer", "customer_id")
"""By which shares customers are seen, and what belongs to them."""
KINDS = ("COMPANY", "PERSON")
SIZES = ("MICRO", "SMALL", "MEDIUM", "LARGE")
LEVELS = ("A", "B", "C", "D")
STAGES = ("PROSPECT", "ACTIVE", "DORMANT", "LOST")
SOURCES = (
    "WEB_FORM", "PHONE", "EMAIL", "REFERRAL", "ADVERTISEMENT", "SEARCH", "SOCIAL_MEDIA", "EXHIBITION", "PARTNER", "COLD_CALL",
    "PURCHASED_LIST", "OTHER",
)  # fmt: skip


class Customer(Reached, Owned, Shareable, Searchable, Customized, table=True):
    """A company or a person. The touch times are kept by events of other services, see `touches`."""

    __tablename__ = "customers"  # pyright: ignore[reportAssignmentType]
    record_type: ClassVar[str] = "customer"
    ways: ClassVar[tuple[Way, ...]] = CUSTOMER_WAYS
    history_listed: ClassVar[frozenset[str]] = frozenset({
        "phone_label", "other_phones", "email_label", "other_emails", "address_label", "other_addresses", "accounts",
        "shared_with",
    })  # fmt: skip
    history_hidden: ClassVar[frozenset[str]] = frozenset({*SHOWN, "city", "province", "became_active_time"})
    derived: ClassVar[frozenset[str]] = history_hidden
    undone_by: ClassVar[tuple[Part, ...]] = (
        *undone_by_entry(CUSTOMER_WAYS), Whole(("annual_revenue", "annual_revenue_currency")), Written(("needs",)),
        Written(("notes",)),
    )  # fmt: skip

    kind: str = "COMPANY"
    display_name: str
    type: str = ""
    industry: str = ""
    size: str = ""
    region: str = ""
    level: str = ""
    stage: str = ""
    source: str = ""
    phone: str = ""
    email: str = ""
    website: str = ""
    address: dict[str, str] = Field(default_factory=dict[str, str], sa_type=JSONB)
    phone_label: str = ""
    other_phones: Entries = jsonb_list()
    email_label: str = ""
    other_emails: Entries = jsonb_list()
    address_label: str = ""
    other_addresses: Entries = jsonb_list()
    accounts: Entries = jsonb_list()
    tax_number: str = ""
    needs: str = ""
    tags: list[str] = Field(default_factory=list[str], sa_type=ARRAY(Text))  # pyright: ignore[reportArgumentType]
    annual_revenue: int | None = Field(default=None, sa_type=BigInteger)
    annual_revenue_currency: str = ""
    employee_count: int = 0
    year_established: int = 0
    parent_customer_id: UUID | None = None
    registration_number: str = ""
    notes: str = ""
    external_key: str = ""
    origin_lead_id: UUID | None = None
    assign_time: datetime | None = None
    next_contact_time: datetime | None = None
    last_contact_time: datetime | None = None
    last_deal_time: datetime | None = None
    last_service_time: datetime | None = None
    became_active_time: datetime | None = None
    merged_into_id: UUID | None = None
    """The survivor, when it was deleted by a merge."""
    return_time: datetime | None = None
    pool_time: datetime | None = None
    previous_owner_id: UUID | None = None
    return_reason: str = ""
    order_count: int = 0
    last_order_date: date | None = None
    revenue: int = Field(default=0, sa_type=BigInteger)
    margin: int | None = Field(default=None, sa_type=BigInteger)
    costed_revenue: int | None = Field(default=None, sa_type=BigInteger)
    potential: int = Field(default=0, sa_type=BigInteger)
    value_currency: str = ""
    rfm_tier: int | None = Field(default=None, sa_type=SmallInteger)
    satisfaction_tenths: int | None = None
    """Of the index so many tenths, which the database keeps true to it: whole numbers are compared by an index. These, from the
    number of orders on, follow from what `value.shown` writes."""
    city: str | None = None
    province: str | None = None
    """Those of the primary address, for lists by them: the database keeps them true to it, and nobody else writes them."""

    @classmethod
    def history_entries(cls, read: Callable[[str], Any]) -> Mapping[str, Mapping[str, str]]:
        """Each way to reach it, and each share, as one line."""
        return {**super().history_entries(read), "shares": share_lines(read("shared_with"))}

    def findable(self) -> None:
        """Keeps the words for searching true to name, numbers, addresses and tags."""
        names = [self.display_name]
        phones = [entry["number"] for entry in self.entries("phones")]
        texts = [entry["address"] for entry in self.entries("emails")]
        texts += [entry["account"] for entry in self.accounts] + [
            self.external_key, self.tax_number, self.registration_number, *self.tags,
        ]  # fmt: skip
        if self.kind == "PERSON":
            self.find_by(people=names, phones=phones, texts=texts)
        else:
            # The core is a text of its own: whoever has the same is found by one gram.
            self.find_by(names=names, phones=phones, texts=[*texts, core_name(self.display_name)])


@dataclass(frozen=True, kw_only=True)
class CustomerSnapshot:
    kind: str
    display_name: str
    type: str
    industry: str
    size: str | None
    region: str
    level: str | None
    stage: str | None
    source: str | None
    size_key: str
    level_key: str
    stage_key: str
    source_key: str
    tags: list[str]
    parent_customer_id: UUID | None
    external_key: str
    origin_lead_id: UUID | None
    create_time: datetime
    custom_fields: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class CustomerCreated(Event):
    customer_id: UUID
    owner_id: UUID | None
    team_id: UUID | None
    customer: CustomerSnapshot


@dataclass(frozen=True, kw_only=True)
class CustomerUpdated(Event):
    customer_id: UUID
    owner_id: UUID | None
    team_id: UUID | None
    customer: CustomerSnapshot
    changed_fields: list[str]
    entry_changes: list[EntryChange] = dataclass_field(default_factory=list[EntryChange])


@dataclass(frozen=True, kw_only=True)
class CustomerAssigned(Event):
    customer_id: UUID
    owner_id: UUID | None
    team_id: UUID | None
    customer: CustomerSnapshot
    previous_owner_id: UUID | None
    with_activities: bool = False
    with_opportunities: bool = False


@dataclass(frozen=True, kw_only=True)
class CustomerDeleted(Event):
    customer_id: UUID
    owner_id: UUID | None
    team_id: UUID | None
    customer: CustomerSnapshot


def told(customer: Customer) -> dict[str, Any]:
    """What every event says of a customer."""
    return {
        "customer_id": customer.id,
        "owner_id": customer.owner_id,
        "team_id": customer.team_id,
        "customer": CustomerSnapshot(
            kind=customer.kind, display_name=customer.display_name,
            type=customer.type, industry=customer.industry, region=customer.region,
            size=enum_view("size", customer.size), size_key=customer.size,
            level=enum_view("level", customer.level), level_key=customer.level,
            stage=enum_view("stage", customer.stage), stage_key=customer.stage,
            source=enum_view("source", customer.source), source_key=customer.source,
            tags=list(customer.tags), parent_customer_id=customer.parent_customer_id, external_key=customer.external_key,
            origin_lead_id=customer.origin_lead_id, create_time=customer.created_at,
            custom_fields=dict(customer.custom_fields),
        ),
    }  # fmt: skip


async def checked(
    tx: Transaction, values: Mapping[str, Any], customer: Customer | None = None
) -> dict[str, Any]:
    """What a caller wrote, by column, as it is to be kept. Raises Invalid for custom fields and listed values that are
    wrong."""
    known = await taken(
        tx, Customer.record_type, values, None if customer is None else customer.custom_fields
    )
    return await reached(
        tx, CUSTOMER_WAYS, await listed(tx, known, customer, "customer"), customer, "customer"
    )


def _tidy(values: Mapping[str, Any]) -> dict[str, Any]:
    tidy = dict(values)
    if "kind" in tidy:
        tidy["kind"] = tidy["kind"] or "COMPANY"
    return tidy


def enrolled(tx: Transaction, values: Mapping[str, Any], owner: Owner, id: UUID | None = None) -> Customer:
    """A new customer of that owner, with its event. A parent, and what `fresh` looks at, have been checked before."""
    columns: dict[str, Any] = {
        **_tidy(values),
        "owner_id": owner.person_id,
        "team_id": owner.team_id,
        "id": id or new_id(),
    }
    customer = Customer(**columns)
    customer.assign_time = tx.now
    customer.findable()
    tx.add(customer)
    tx.record(CustomerCreated(**told(customer)), on=customer)
    return customer


async def fresh(tx: Transaction, values: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of a new customer. Raises what `checked` does."""
    columns = await checked(tx, values)
    return {**columns, "stage": columns.get("stage") or await first_stage(tx)}


async def enrol(tx: Transaction, values: Mapping[str, Any], owner: Owner, id: UUID | None) -> Customer:
    """A new customer. Raises Invalid for a parent that does not exist or that the caller may not read, and what `fresh`
    does."""
    if values.get("parent_customer_id"):
        await _check_parent(tx, id, values["parent_customer_id"])
    return enrolled(tx, await fresh(tx, values), owner, id)


async def change_customer(tx: Transaction, customer: Customer, values: Mapping[str, Any]) -> None:
    """Changes fields. Raises CustomerCircle, Invalid for a parent that does not exist or that the caller may not read, and what
    `checked` does."""
    tidy = _tidy(await checked(tx, values, customer))
    if tidy.get("parent_customer_id") not in (None, customer.parent_customer_id):
        await _check_parent(tx, customer.id, tidy["parent_customer_id"])
    before = noted(customer)
    changed = changed_names(CUSTOMER_WAYS, change(customer, tidy))
    if not changed:
        return
    customer.findable()
    entries = entry_changes(before, customer)
    tx.record(CustomerUpdated(**told(customer), changed_fields=changed, entry_changes=entries), on=customer)


_ANCESTORS = (
    "WITH RECURSIVE above AS (SELECT id, parent_customer_id FROM customers WHERE id = :start AND deleted_at IS NULL"
    " UNION SELECT p.id, p.parent_customer_id FROM customers p JOIN above a ON p.id = a.parent_customer_id)"
    " SELECT id FROM above"
)


async def hold_trees(tx: Transaction) -> None:
    """Moves within one tenant's trees wait for each other, so that two cannot close a circle together."""
    await tx.hold("tree")


async def ancestors(tx: Transaction, id: UUID) -> set[UUID]:
    """The customer and all above it, as they are written; the caller holds the trees."""
    return {row.id for row in await tx.session.execute(text(_ANCESTORS), {"start": id})}


async def _check_parent(tx: Transaction, id: UUID | None, parent_id: UUID) -> None:
    await hold_trees(tx)
    parent = await tx.find(Customer, parent_id, lock=False)
    if parent is None or not covers(parent, tx.who, "customers", Act.READ):
        raise customer_not_found("customer.parentCustomerId", parent_id)
    if id in await ancestors(tx, parent_id):
        raise CustomerCircle


_SURVIVOR = {
    table: text(
        f"WITH RECURSIVE gone AS (SELECT id, merged_into_id FROM {table} WHERE id = :id"  # noqa: S608 (constants)
        f" UNION SELECT c.id, c.merged_into_id FROM {table} c JOIN gone g ON c.id = g.merged_into_id)"
        " SELECT id FROM gone WHERE merged_into_id IS NULL"
    )
    for table in ("customers", "contacts")
}


async def survivor_of(tx: Transaction, id: UUID, of: str = "customers") -> UUID:
    """The customer, or with `contacts` the contact, into which that one went by merges; itself when it did not, or when nobody
    knows it."""
    found = (await tx.session.execute(_SURVIVOR[of], {"id": id})).scalar_one_or_none()
    return id if found is None else UUID(str(found))


async def check_no_children(tx: Transaction, customer: Customer) -> None:
    """Raises CustomerHasChildren while other customers belong to it."""
    child = await tx.session.execute(
        text("SELECT 1 FROM customers WHERE parent_customer_id = :id AND deleted_at IS NULL LIMIT 1"),
        {"id": customer.id},
    )
    if child.first() is not None:
        raise CustomerHasChildren


async def get_with_customer(
    tx: Transaction,
    table: type[RecordT],
    id: UUID,
    customer_id: Callable[[RecordT], UUID],
    *,
    shares: bool = True,
) -> RecordT:
    """What a customer has besides, as its card, locked, if the caller may change that customer, by a share of it, too; without
    `shares`, by a right of their own. Raises NotFound, Denied."""
    row = await tx.find(table, id)
    holder = None if row is None else await tx.find(Customer, customer_id(row), lock=False) or row
    if row is None or not covers(holder, tx.who, "customers", Act.READ):
        raise NotFound(table.record_type, id)
    if not covers(holder, tx.who, "customers", Act.WRITE):
        raise Denied(f"You may see this {table.record_type} but not change it.", reason="RECORD_READ_ONLY")
    if not shares and not covers(holder, tx.who, "customers", Act.WRITE, shares=False):
        raise shared_only(table.record_type)
    return row


async def writable_customer(tx: Transaction, id: UUID, field: str) -> Customer:
    """The customer, locked, for adding something to it. Raises Invalid (CUSTOMER_NOT_FOUND)."""
    try:
        return await tx.get(Customer, id, right="customers", act=Act.WRITE)
    except (NotFound, Denied):
        raise customer_not_found(field, id) from None
