"""Leads: those who may become customers, and the statuses they go through."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field

from chassis.custom_fields.definitions import taken
from chassis.database import Transaction
from chassis.errors import Invalid, Precondition
from chassis.events.event import Event
from chassis.ids import new_id
from chassis.mapping import change
from chassis.money import Money
from chassis.owners import Owner
from chassis.phones import normalised_phone
from chassis.records import Customized, Owned
from chassis.search import Searchable
from leads import errors

NEW, CONTACTED, QUALIFIED = "NEW", "CONTACTED", "QUALIFIED"
CONVERTING, CONVERTED, DISQUALIFIED = "CONVERTING", "CONVERTED", "DISQUALIFIED"
STATUSES = (NEW, CONTACTED, QUALIFIED, CONVERTING, CONVERTED, DISQUALIFIED)
SOURCES = (
    "WEB_FORM", "PHONE", "EMAIL", "REFERRAL", "ADVERTISEMENT", "SEARCH", "SOCIAL_MEDIA", "EXHIBITION", "PARTNER", "COLD_CALL",
    "PURCHASED_LIST", "OTHER",
)  # fmt: skip
REASONS = (
    "NO_NEED",
    "NO_BUDGET",
    "NO_RESPONSE",
    "INVALID_DATA",
    "DUPLICATE",
    "BOUGHT_ELSEWHERE",
    "SPAM",
    "OTHER",
)
_OPEN = (NEW, CONTACTED, QUALIFIED)
_LONGEST_NOTES = 10_000


class Lead(Owned, Searchable, Customized, table=True):
    """Somebody who may become a customer."""

    __tablename__ = "leads"  # pyright: ignore[reportAssignmentType]
    record_type: ClassVar[str] = "lead"

    name: str = ""
    company_name: str = ""
    title: str = ""
    department: str = ""
    phone: str = ""
    email: str = ""
    im_account: str = ""
    website: str = ""
    industry: str = ""
    region: str = ""
    address: str = ""
    source: str = "OTHER"
    source_detail: str = ""
    campaign_id: UUID | None = None
    form_id: UUID | None = None
    utm: dict[str, str] = Field(default_factory=dict[str, str], sa_type=JSONB)
    status: str = NEW
    disqualify_reason: str = ""
    disqualify_note: str = ""
    score: int = 0
    estimated_amount: int | None = Field(default=None, sa_type=BigInteger)
    estimated_amount_currency: str = ""
    notes: str = ""
    tags: list[str] = Field(default_factory=list[str], sa_type=ARRAY(Text))  # pyright: ignore[reportArgumentType]
    external_key: str = ""
    assign_time: datetime | None = None
    first_contact_time: datetime | None = None
    last_contact_time: datetime | None = None
    contact_count: int = 0
    next_contact_time: datetime | None = None
    qualify_time: datetime | None = None
    disqualify_time: datetime | None = None
    convert_time: datetime | None = None
    conversion_id: UUID | None = None
    customer_id: UUID | None = None
    contact_id: UUID | None = None
    opportunity_id: UUID | None = None

    def findable(self) -> None:
        """Keeps the words for searching true to names, phone and e-mail."""
        self.find_by(
            people=[self.name],
            names=[self.company_name],
            phones=[self.phone],
            texts=[self.email, self.external_key],
        )

    def check_editable(self) -> None:
        """Raises LeadConverting or LeadConverted."""
        if self.status == CONVERTING:
            raise errors.LeadConverting
        if self.status == CONVERTED:
            raise errors.LeadConverted

    def _need_open(self, refusal: type[Precondition], what: str) -> None:
        self.check_not_converting()
        if self.status not in _OPEN:
            raise refusal(f"A lead in status {self.status} cannot be {what}.")

    def check_not_converting(self) -> None:
        """Raises LeadConverting."""
        if self.status == CONVERTING:
            raise errors.LeadConverting

    def note(self, text: str) -> None:
        """Adds to the notes."""
        if text:
            self.notes = f"{self.notes}\n{text}".strip()[-_LONGEST_NOTES:]

    def contact(self, at: datetime, note: str, next_time: datetime | None) -> None:
        """Somebody spoke with the lead. Raises LeadNotContactable."""
        self._need_open(errors.LeadNotContactable, "contacted")
        self.first_contact_time = self.first_contact_time or at
        self.last_contact_time = max(at, self.last_contact_time or at)
        self.contact_count += 1
        self.next_contact_time = next_time
        self.note(note)
        if self.status == NEW:
            self.status = CONTACTED

    def qualify(self, at: datetime, note: str, score: int) -> None:
        """The lead is worth converting. Raises LeadNotQualifiable."""
        self.check_not_converting()
        if self.status not in (NEW, CONTACTED):
            raise errors.LeadNotQualifiable(f"A lead in status {self.status} cannot be qualified.")
        self.status = QUALIFIED
        self.qualify_time = at
        self.score = score or self.score
        self.note(note)

    def disqualify(self, at: datetime, reason: str, note: str) -> None:
        """The lead will not become a customer. Raises LeadNotDisqualifiable; Invalid when OTHER comes without a note."""
        self._need_open(errors.LeadNotDisqualifiable, "disqualified")
        if reason == "OTHER" and not note:
            raise Invalid("note", "is needed when the reason is another one")
        self.status = DISQUALIFIED
        self.disqualify_time = at
        self.disqualify_reason = reason
        self.disqualify_note = note

    def reopen(self, note: str) -> None:
        """Takes a disqualification back. Raises LeadNotDisqualified."""
        self.check_not_converting()
        if self.status != DISQUALIFIED:
            raise errors.LeadNotDisqualified(f"The lead is {self.status}, not disqualified.")
        self.status = CONTACTED if self.first_contact_time else NEW
        self.disqualify_time = None
        self.disqualify_reason = self.disqualify_note = ""
        self.note(note)

    def begin_conversion(self, conversion_id: UUID) -> str:
        """Nothing else may happen to the lead until it ends. Returns the status before. Raises LeadNotConvertible."""
        self._need_open(errors.LeadNotConvertible, "converted")
        before = self.status
        self.status = CONVERTING
        self.conversion_id = conversion_id
        return before


@dataclass(frozen=True, kw_only=True)
class LeadSnapshot:
    name: str
    company_name: str
    source: str | None
    campaign_id: UUID | None
    form_id: UUID | None
    status: str
    disqualify_reason: str | None
    score: int
    estimated_amount: Money | None
    create_time: datetime
    assign_time: datetime | None
    first_contact_time: datetime | None
    last_contact_time: datetime | None
    qualify_time: datetime | None
    disqualify_time: datetime | None
    convert_time: datetime | None
    customer_id: UUID | None
    contact_id: UUID | None
    opportunity_id: UUID | None
    industry: str
    region: str
    custom_fields: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class LeadEvent(Event):
    """What every event says of a lead."""

    lead_id: UUID
    owner_id: UUID | None
    team_id: UUID | None
    lead: LeadSnapshot


class LeadCreated(LeadEvent):
    pass


@dataclass(frozen=True, kw_only=True)
class LeadUpdated(LeadEvent):
    changed_fields: list[str]


@dataclass(frozen=True, kw_only=True)
class LeadAssigned(LeadEvent):
    previous_owner_id: UUID | None


@dataclass(frozen=True, kw_only=True)
class LeadContacted(LeadEvent):
    contact_time: datetime


class LeadQualified(LeadEvent):
    pass


class LeadDisqualified(LeadEvent):
    pass


class LeadReopened(LeadEvent):
    pass


class LeadDeleted(LeadEvent):
    pass


@dataclass(frozen=True, kw_only=True)
class LeadConverted(LeadEvent):
    conversion_id: UUID
    customer_existed: bool


def told(lead: Lead) -> dict[str, Any]:
    """What every event says of a lead."""
    amount = None
    if lead.estimated_amount is not None:
        amount = Money(lead.estimated_amount, lead.estimated_amount_currency)
    return {
        "lead_id": lead.id,
        "owner_id": lead.owner_id,
        "team_id": lead.team_id,
        "lead": LeadSnapshot(
            name=lead.name, company_name=lead.company_name, source=lead.source or None, campaign_id=lead.campaign_id,
            form_id=lead.form_id, status=lead.status, disqualify_reason=lead.disqualify_reason or None, score=lead.score,
            estimated_amount=amount, create_time=lead.created_at, assign_time=lead.assign_time,
            first_contact_time=lead.first_contact_time, last_contact_time=lead.last_contact_time,
            qualify_time=lead.qualify_time, disqualify_time=lead.disqualify_time, convert_time=lead.convert_time,
            customer_id=lead.customer_id, contact_id=lead.contact_id, opportunity_id=lead.opportunity_id,
            industry=lead.industry, region=lead.region, custom_fields=dict(lead.custom_fields),
        ),
    }  # fmt: skip


def _tidy(values: Mapping[str, Any]) -> dict[str, Any]:
    tidy = dict(values)
    if tidy.get("phone"):
        tidy["phone"] = normalised_phone(tidy["phone"])
    if tidy.get("email"):
        tidy["email"] = tidy["email"].lower()
    if "source" in tidy:
        tidy["source"] = tidy["source"] or "OTHER"
    return tidy


async def capture(tx: Transaction, values: Mapping[str, Any], owner: Owner, id: UUID | None = None) -> Lead:
    """A new lead of that owner. Raises LeadWithoutName, and Invalid for custom fields that are wrong."""
    columns: dict[str, Any] = {
        **_tidy(await taken(tx, Lead.record_type, values)),
        "owner_id": owner.person_id, "team_id": owner.team_id, "id": id or new_id(), "assign_time": tx.now,
    }  # fmt: skip
    lead = Lead(**columns)
    if not lead.name and not lead.company_name:
        raise errors.LeadWithoutName
    lead.findable()
    tx.add(lead)
    tx.record(LeadCreated(**told(lead)), on=lead)
    return lead


async def change_lead(tx: Transaction, lead: Lead, values: Mapping[str, Any]) -> None:
    """Changes fields. Raises LeadConverting, LeadConverted, LeadWithoutName, and Invalid for custom fields that are wrong."""
    lead.check_editable()
    changed = change(lead, await taken(tx, lead.record_type, _tidy(values), lead.custom_fields))
    if not changed:
        return
    if not lead.name and not lead.company_name:
        raise errors.LeadWithoutName
    lead.findable()
    tx.record(LeadUpdated(**told(lead), changed_fields=changed), on=lead)


def assign_lead(tx: Transaction, lead: Lead, owner: Owner) -> None:
    """Gives the lead to another owner; the present owner changes nothing. Raises LeadNotAssignable."""
    lead.check_not_converting()
    if lead.status not in _OPEN:
        raise errors.LeadNotAssignable(f"A lead in status {lead.status} cannot be assigned.")
    if lead.owner_id == owner.person_id:
        return
    previous = lead.owner_id
    lead.owner_id, lead.team_id = owner.person_id, owner.team_id
    lead.assign_time = tx.now
    tx.record(LeadAssigned(**told(lead), previous_owner_id=previous), on=lead)
