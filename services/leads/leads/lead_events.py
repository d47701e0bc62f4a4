"""What is told of leads: the events, and the snapshot of the lead that each of them carries."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from chassis.database import Transaction
from chassis.events.event import Event
from chassis.money import Money
from leads.handling import Handling
from leads.value_lists import enum_view

if TYPE_CHECKING:
    from leads.lead import Lead


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
    assignment_cause: str | None
    assignment_rule_id: UUID | None
    assignment_rule_name: str
    acceptance: str | None
    accept_until_time: datetime | None
    cadence_id: UUID | None
    cadence_step: int
    next_contact_time: datetime | None
    next_contact_channel: str | None
    utm_source: str
    utm_medium: str
    utm_campaign: str
    capture_count: int
    last_capture_time: datetime | None
    last_source: str | None
    last_campaign_id: UUID | None
    duplicate_of_lead_id: UUID | None
    duplicate_of_customer_id: UUID | None
    duplicate_of_contact_id: UUID | None
    source_key: str
    last_source_key: str


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
    changes_contact: bool


@dataclass(frozen=True, kw_only=True)
class LeadCaptured(LeadEvent):
    capture_id: UUID
    repeated: bool
    source: str | None
    source_key: str
    source_detail: str
    campaign_id: UUID | None
    form_id: UUID | None
    utm_source: str
    utm_medium: str
    utm_campaign: str
    capture_time: datetime


@dataclass(frozen=True, kw_only=True)
class LeadMerged(LeadEvent):
    merge_id: UUID
    merged_lead_ids: list[UUID]


@dataclass(frozen=True, kw_only=True)
class LeadUnmerged(LeadEvent):
    merge_id: UUID
    restored_lead_ids: list[UUID]


class LeadAccepted(LeadEvent):
    pass


@dataclass(frozen=True, kw_only=True)
class LeadReturned(LeadEvent):
    previous_owner_id: UUID
    reason: str


@dataclass(frozen=True, kw_only=True)
class LeadReclaimWarned(LeadEvent):
    reclaim_time: datetime


@dataclass(frozen=True, kw_only=True)
class LeadReclaimed(LeadEvent):
    previous_owner_id: UUID | None


class LeadCadenceStarted(LeadEvent):
    pass


@dataclass(frozen=True, kw_only=True)
class LeadCadenceStepReported(LeadEvent):
    touch_id: UUID
    cadence_id: UUID
    step: int
    channel: str
    outcome: str
    cadence_ended: bool


@dataclass(frozen=True, kw_only=True)
class LeadCadenceStopped(LeadEvent):
    cadence_id: UUID


class LeadContactDue(LeadEvent):
    pass


def told(lead: "Lead") -> dict[str, Any]:
    """What every event says of a lead."""
    amount = None
    if lead.estimated_amount is not None:
        amount = Money(lead.estimated_amount, lead.estimated_amount_currency)
    return {
        "lead_id": lead.id,
        "owner_id": lead.owner_id,
        "team_id": lead.team_id,
        "lead": LeadSnapshot(
            name=lead.name, company_name=lead.company_name, source=enum_view(lead.source), campaign_id=lead.campaign_id,
            form_id=lead.form_id, status=lead.status, disqualify_reason=lead.disqualify_reason or None, score=lead.score,
            estimated_amount=amount, create_time=lead.created_at, assign_time=lead.assign_time,
            first_contact_time=lead.first_contact_time, last_contact_time=lead.last_contact_time,
            qualify_time=lead.qualify_time, disqualify_time=lead.disqualify_time, convert_time=lead.convert_time,
            customer_id=lead.customer_id, contact_id=lead.contact_id, opportunity_id=lead.opportunity_id,
            industry=lead.industry, region=lead.region, custom_fields=dict(lead.custom_fields),
            assignment_cause=lead.assignment_cause or None,
            assignment_rule_id=lead.assignment_rule_id, assignment_rule_name=lead.assignment_rule_name,
            acceptance=lead.acceptance or None, accept_until_time=lead.accept_until_time, cadence_id=lead.cadence_id,
            cadence_step=lead.cadence_step, next_contact_time=lead.next_contact_time,
            next_contact_channel=lead.next_contact_channel or None, utm_source=lead.utm_source,
            utm_medium=lead.utm_medium, utm_campaign=lead.utm_campaign, capture_count=lead.capture_count,
            last_capture_time=lead.last_capture_time, last_source=enum_view(lead.last_source),
            last_campaign_id=lead.last_campaign_id, duplicate_of_lead_id=lead.duplicate_of_lead_id,
            duplicate_of_customer_id=lead.duplicate_of_customer_id,
            duplicate_of_contact_id=lead.duplicate_of_contact_id, source_key=lead.source, last_source_key=lead.last_source,
        ),
    }  # fmt: skip


def tell(
    tx: Transaction,
    lead: "Lead",
    handling: Handling,
    kind: Callable[..., LeadEvent],
    *,
    score: int | None = None,
    **more: Any,
) -> None:
    """Records what has happened to a lead, its score counted anew; `score` is what a person wants it to be."""
    lead.count(handling, score)
    tx.record(kind(**told(lead), **more), on=lead)
