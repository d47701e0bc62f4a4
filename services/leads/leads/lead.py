"""Leads: those who may become customers, and the statuses they go through."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, Text, Uuid
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field

from chassis.custom_fields.definitions import taken
from chassis.database import Transaction
from chassis.errors import Invalid, Precondition
from chassis.home import DEFAULT_COUNTRY, dialled_at_home, home_country
from chassis.ids import new_id
from chassis.mapping import change
from chassis.owners import Owner
from chassis.parts import Counted, Part, Whole, Written
from chassis.records import Customized, Owned
from chassis.search import Searchable
from leads import errors
from leads.handling import Automatic, Handling, Step, bounded
from leads.lead_events import (
    LeadAssigned,
    LeadCreated,
    LeadDisqualified,
    LeadReopened,
    LeadReturned,
    LeadUpdated,
    tell,
    told,
)
from leads.lists import by_lists
from leads.tidying import tidied
from leads.value_lists import sourced
from leads.words import (
    ACCEPTED,
    BY_HAND,
    CONTACTED,
    CONVERTED,
    CONVERTING,
    DISQUALIFIED,
    NEW,
    OPEN,
    PENDING,
    QUALIFIED,
    RETURNED,
)

REASON = "DISQUALIFY_REASON_"
"""Before every reason, as the contract has them."""
DUE = "contact_due"
"""Tells that the time for the next contact has come."""
_LATE = timedelta(days=1)
"""What has been due for longer is told by the list of what is overdue, and not to the owner as if it came up now."""
_LONGEST_NOTES = 10_000
ORIGIN = (
    "source", "source_detail", "campaign_id", "form_id", "utm", "utm_source", "utm_medium", "utm_campaign", "referrer",
    "landing_page", "click_id",
)  # fmt: skip
"""Where somebody first came from: of one lead, and not of several."""
_LONGEST_SAID = 8_000
"""Up to what length notes grow by what comes in: whoever works with the lead has the rest."""


class Lead(Owned, Searchable, Customized, table=True):
    """Somebody who may become a customer."""

    __tablename__ = "leads"  # pyright: ignore[reportAssignmentType]
    record_type: ClassVar[str] = "lead"
    history_hidden: ClassVar[frozenset[str]] = frozenset({
        "offered_to", "touch_time", "utm_source", "utm_medium", "utm_campaign",
    })  # fmt: skip
    undone_by: ClassVar[tuple[Part, ...]] = (
        Whole(("estimated_amount", "estimated_amount_currency")), Whole(ORIGIN), Written(("notes",)),
        Whole(("status", "disqualify_time", "disqualify_reason", "disqualify_note")),
        Whole(("acceptance", "accept_until_time")), Counted(("contact_count",)), Counted(("capture_count",)),
        Whole(("cadence_id", "cadence_step", "next_contact_time", "next_contact_channel")),
        Whole(("last_capture_time", "last_source", "last_campaign_id")),
    )  # fmt: skip

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
    assignment_cause: str = ""
    assignment_rule_id: UUID | None = None
    assignment_rule_name: str = ""
    acceptance: str = ""
    accept_until_time: datetime | None = None
    offered_to: list[UUID] = Field(default_factory=list[UUID], sa_type=ARRAY(Uuid))  # pyright: ignore[reportArgumentType]
    """Whom rules have offered it to since somebody last accepted it."""
    offer_count: int = 0
    previous_owner_id: UUID | None = None
    """Whose it was before it went to the pool."""
    touch_time: datetime | None = None
    reclaim_time: datetime | None = None
    pool_time: datetime | None = None
    return_reason: str = ""
    cadence_id: UUID | None = None
    cadence_step: int = 0
    next_contact_channel: str = ""
    score_points: int = 0
    score_adjustment: int = 0
    referrer: str = ""
    landing_page: str = ""
    click_id: str = ""
    utm_source: str = ""
    """As `utm` has it, for filters and rules; so the next two."""
    utm_medium: str = ""
    utm_campaign: str = ""
    capture_count: int = 0
    last_capture_time: datetime | None = None
    last_source: str = ""
    last_campaign_id: UUID | None = None
    duplicate_of_lead_id: UUID | None = None
    duplicate_of_customer_id: UUID | None = None
    duplicate_of_contact_id: UUID | None = None

    def findable(self) -> None:
        """Keeps the words for searching true to names, phone, e-mail and tags."""
        self.find_by(
            people=[self.name],
            names=[self.company_name],
            phones=[self.phone],
            texts=[self.email, self.external_key, *self.tags],
        )

    def check_editable(self) -> None:
        """Raises LeadConverting or LeadConverted."""
        if self.status == CONVERTING:
            raise errors.LeadConverting
        if self.status == CONVERTED:
            raise errors.LeadConverted

    def check_itself(self) -> None:
        """Raises LeadGoneElsewhere for one that went into another lead, or is known to be a customer."""
        if self.duplicate_of_lead_id or self.duplicate_of_customer_id:
            raise errors.LeadGoneElsewhere

    def check_open(self, refusal: type[Precondition], what: str) -> None:
        """Raises LeadConverting, or `refusal` for a lead on which nobody has to work any more."""
        self.check_not_converting()
        if self.status not in OPEN:
            raise refusal(f"A lead in status {self.status} cannot be {what}.")

    def check_not_converting(self) -> None:
        """Raises LeadConverting."""
        if self.status == CONVERTING:
            raise errors.LeadConverting

    def touch(self, at: datetime) -> None:
        """Somebody takes the lead in hand: it is not idle."""
        self.touch_time = at
        self.reclaim_time = None

    def settle_acceptance(self) -> None:
        """Whoever works on a lead has accepted it."""
        if self.acceptance == PENDING:
            self.acceptance = ACCEPTED
            self.accept_until_time = None
        self.offered_to = []
        self.offer_count = 0

    def belong(self, owner: Owner | None, at: datetime, cause: str) -> None:
        """Gives the lead to that owner, to whom it was not offered, or to nobody: into the pool."""
        if owner is None:
            self.previous_owner_id, self.pool_time = self.owner_id, at
        self.owner_id = owner.person_id if owner else None
        self.team_id = owner.team_id if owner else None
        self.assignment_cause = cause
        self.assignment_rule_id, self.assignment_rule_name = None, ""
        self.acceptance, self.accept_until_time = "", None
        self.assign_time = at if owner else self.assign_time
        self.touch(at)

    def propose(self, cadence_id: UUID, number: int, step: Step, at: datetime) -> None:
        """The step of the cadence, counted from 1, is what comes next."""
        self.cadence_id, self.cadence_step = cadence_id, number
        self.next_contact_time, self.next_contact_channel = at, step.channel

    def end_cadence(self) -> None:
        """Nothing is proposed any longer."""
        if self.cadence_id is not None:
            self.cadence_id, self.cadence_step = None, 0
            self.next_contact_time, self.next_contact_channel = None, ""

    def count(self, handling: Handling, wanted: int | None = None) -> None:
        """Keeps the score true to the lead and the rules; with `wanted`, adjusts it so that it is that now."""
        self.score_points = handling.points(self)
        if self.touch_time is None:  # made by a version that knew no rules of scores
            wanted = self.score if wanted is None else wanted
            self.touch_time = self.assign_time or self.created_at
        if wanted is not None:
            self.score_adjustment = wanted - self.score_points
        self.score = bounded(self.score_points + self.score_adjustment)

    def note(self, text: str) -> None:
        """Adds what somebody who works with the lead writes. Raises NotesFull; nothing is cut."""
        notes = f"{self.notes}\n{text}".strip() if text else self.notes
        if len(notes) > max(_LONGEST_NOTES, len(self.notes)):
            raise errors.NotesFull(len(text), max(0, _LONGEST_NOTES - len(self.notes) - 1))
        self.notes = notes

    def note_said(self, text: str) -> None:
        """Adds what has come in, as far as there is room for it: the whole of it stands with the capture."""
        self.notes = f"{self.notes}\n{said(text, _LONGEST_SAID - len(self.notes) - 1)}".strip()

    def contact(self, at: datetime, note: str, next_time: datetime | None) -> None:
        """Somebody spoke with the lead. Raises LeadNotContactable."""
        self.check_open(errors.LeadNotContactable, "contacted")
        self.first_contact_time = self.first_contact_time or at
        self.last_contact_time = max(at, self.last_contact_time or at)
        self.contact_count += 1
        if next_time is not None or self.cadence_id is None:
            self.next_contact_time = next_time
        self.note(note)
        self.settle_acceptance()
        if self.status == NEW:
            self.status = CONTACTED

    def qualify(self, at: datetime, note: str) -> None:
        """The lead is worth converting. Raises LeadNotQualifiable."""
        self.check_not_converting()
        if self.status not in (NEW, CONTACTED):
            raise errors.LeadNotQualifiable(f"A lead in status {self.status} cannot be qualified.")
        self.status = QUALIFIED
        self.qualify_time = at
        self.note(note)
        self.settle_acceptance()

    def disqualify(self, at: datetime, reason: str, note: str) -> None:
        """The lead will not become a customer. Raises LeadNotDisqualifiable; Invalid when OTHER comes without a note."""
        self.check_open(errors.LeadNotDisqualifiable, "disqualified")
        check_reason(reason, note)
        self.status = DISQUALIFIED
        self.disqualify_time = at
        self.disqualify_reason = reason
        self.disqualify_note = note
        self.rest()

    def rest(self) -> None:
        """Nobody has to work on it any more."""
        self.settle_acceptance()
        self.end_cadence()
        self.reclaim_time = None

    def reopen(self, note: str) -> None:
        """Takes a disqualification back. Raises LeadNotDisqualified."""
        self.check_not_converting()
        if self.status != DISQUALIFIED:
            raise errors.LeadNotDisqualified(f"The lead is {self.status}, not disqualified.")
        self.status = CONTACTED if self.first_contact_time else NEW
        self.disqualify_time = None
        self.disqualify_reason = self.disqualify_note = ""
        self.duplicate_of_lead_id = self.duplicate_of_customer_id = self.duplicate_of_contact_id = None
        self.note(note)

    def begin_conversion(self, conversion_id: UUID) -> str:
        """Nothing else may happen to the lead until it ends. Returns the status before. Raises LeadNotConvertible."""
        self.check_open(errors.LeadNotConvertible, "converted")
        before = self.status
        self.status = CONVERTING
        self.conversion_id = conversion_id
        self.settle_acceptance()
        self.reclaim_time = None
        return before


def said(text: str, most: int = _LONGEST_SAID) -> str:
    """What has come in, as notes take it: cut where it is too long for them."""
    return text if len(text) <= most else text[: max(0, most - 1)] + "…" * (most > 0)


async def kept(tx: Transaction, values: Mapping[str, Any], present: Lead | None = None) -> dict[str, Any]:
    """The columns as they are kept of what was written. Raises Invalid (VALUE_UNKNOWN, VALUE_RETIRED)."""
    country = await home_country(tx) if dialled_at_home(values.get("phone") or "") else DEFAULT_COUNTRY
    tidy = by_lists(tx, tidied(await sourced(tx, values, present), country), present)
    if "utm" in tidy:
        tidy |= {f"utm_{name}": tidy["utm"].get(name, "") for name in ("source", "medium", "campaign")}
    return tidy


async def capture(
    tx: Transaction,
    values: Mapping[str, Any],
    owner: Owner,
    handling: Handling,
    id: UUID | None = None,
) -> Lead:
    """A new lead of that owner, on the cadence that takes it, unless it is closed already. Raises LeadWithoutName; Invalid for
    custom fields that are wrong."""
    columns: dict[str, Any] = {
        **await kept(tx, await taken(tx, Lead.record_type, values)),
        "owner_id": owner.person_id, "team_id": owner.team_id, "id": id or new_id(), "assign_time": tx.now,
        "touch_time": tx.now,
    }  # fmt: skip
    score = columns.pop("score", 0) or None
    lead = Lead(**columns)
    if not lead.name and not lead.company_name:
        raise errors.LeadWithoutName
    lead.findable()
    tx.add(lead)
    lead.count(handling, score)
    cadence = handling.cadence_for(lead) if lead.status in OPEN else None
    if cadence is not None:
        begin_cadence(lead, cadence, tx.now)
    tell(tx, lead, handling, LeadCreated, score=score)
    return lead


def begin_cadence(lead: Lead, cadence: Automatic, at: datetime) -> None:
    """Puts a new lead on a cadence; a time that was said for the first contact stays."""
    lead.propose(cadence.id, 1, cadence.first, lead.next_contact_time or at + cadence.first.delay)


async def change_lead(tx: Transaction, lead: Lead, handling: Handling, values: Mapping[str, Any]) -> None:
    """Changes fields. Raises LeadConverting, LeadConverted, LeadWithoutName, and Invalid for custom fields that are wrong."""
    lead.check_editable()
    tidy = await kept(tx, values, lead)
    score = tidy.pop("score", None)
    changed = change(lead, await taken(tx, lead.record_type, tidy, lead.custom_fields))
    if not lead.name and not lead.company_name:
        raise errors.LeadWithoutName
    before = lead.score, lead.score_adjustment
    lead.count(handling, score)
    if before != (lead.score, lead.score_adjustment):
        changed.append("score")
    if not changed:
        return
    lead.findable()
    if "next_contact_time" in changed:
        await remind(tx, lead)
    tx.record(LeadUpdated(**told(lead), changed_fields=changed), on=lead)


async def remind(tx: Transaction, lead: Lead) -> None:
    """Has its owner told when the time for the next contact has come."""
    at = lead.next_contact_time
    if at is not None and at > tx.now - _LATE:
        payload = {"lead_id": str(lead.id), "at": at.isoformat()}
        await tx.enqueue(DUE, payload, due_at=at, key=str(lead.id))


def assign_lead(
    tx: Transaction, lead: Lead, handling: Handling, owner: Owner, accept_minutes: int = 0
) -> None:
    """Gives the lead to another owner by hand; the present owner changes nothing. Raises LeadNotAssignable."""
    lead.check_open(errors.LeadNotAssignable, "assigned")
    if lead.owner_id == owner.person_id:
        return
    previous = lead.owner_id
    lead.settle_acceptance()
    lead.belong(owner, tx.now, BY_HAND)
    if accept_minutes:
        offer(lead, tx.now + timedelta(minutes=accept_minutes))
    tell(tx, lead, handling, LeadAssigned, previous_owner_id=previous)


def release_lead(tx: Transaction, lead: Lead, handling: Handling) -> None:
    """Gives the lead to nobody again: it came from the pool. Raises LeadNotAssignable."""
    lead.check_open(errors.LeadNotAssignable, "put into the pool")
    previous = lead.owner_id
    if previous is not None:
        lead.settle_acceptance()
        lead.belong(None, tx.now, RETURNED)
        tell(tx, lead, handling, LeadReturned, previous_owner_id=previous, reason="")


def check_reason(reason: str, note: str, field: str = "note") -> None:
    """Raises Invalid naming `field` when OTHER comes without a note."""
    if reason == "OTHER" and not note:
        raise Invalid(field, "is needed when the reason is another one")


def disqualify_lead(tx: Transaction, lead: Lead, handling: Handling, reason: str, note: str) -> None:
    """The lead will not become a customer, for a reason of the contract. Raises what `Lead.disqualify` does."""
    lead.disqualify(tx.now, reason.removeprefix(REASON), note)
    tell(tx, lead, handling, LeadDisqualified)


def reopen_lead(tx: Transaction, lead: Lead, handling: Handling, note: str) -> None:
    """Takes a disqualification back. Raises LeadNotDisqualified, LeadConverting, NotesFull."""
    lead.reopen(note)
    lead.touch(tx.now)
    tell(tx, lead, handling, LeadReopened)


def offer(lead: Lead, until: datetime) -> None:
    """Its owner has until then to accept it."""
    assert lead.owner_id is not None
    lead.acceptance, lead.accept_until_time = PENDING, until
    lead.offered_to = [*lead.offered_to, lead.owner_id]
    lead.offer_count = len(lead.offered_to)
