"""How people were captured: each time they came, and who comes again.

Where a person first came from stands in the lead and stays. Each capture is a row of its own, which nobody changes; so somebody
who comes again adds to the story of the lead that is there, where the tenant wants it so, and makes no second lead.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field

from chassis.database import Transaction
from chassis.ids import new_id
from chassis.imports.duplicates import lacking
from chassis.mapping import change
from chassis.owners import Owner
from chassis.principal import Act
from chassis.records import Record
from chassis.visibility import covers
from leads.assignment import JOB
from leads.handling import Handling, settings_of
from leads.lead import Lead, capture, kept, remind, said
from leads.lead_events import LeadCaptured, LeadUpdated, tell, told
from leads.value_lists import enum_view
from leads.words import OPEN

_TOLD = ("campaign_id", "form_id", "utm", "referrer", "landing_page", "click_id")
"""Columns that say where somebody came from: without one of them, a lead by hand has no capture."""
_FILLED = (
    "name", "company_name", "title", "department", "phone", "email", "im_account", "website", "industry", "region", "address",
    "estimated_amount", "estimated_amount_currency",
)  # fmt: skip
"""What somebody who comes again may tell that was not known."""


class LeadCapture(Record, table=True):
    """One time that somebody was captured."""

    __tablename__ = "lead_captures"  # pyright: ignore[reportAssignmentType]
    record_type: ClassVar[str] = ""

    lead_id: UUID
    repeated: bool = False
    source: str = "OTHER"
    source_detail: str = ""
    campaign_id: UUID | None = None
    form_id: UUID | None = None
    utm: dict[str, str] = Field(default_factory=dict[str, str], sa_type=JSONB)
    referrer: str = ""
    landing_page: str = ""
    click_id: str = ""
    message: str = ""
    answers: list[dict[str, str]] = Field(default_factory=list[dict[str, str]], sa_type=JSONB)


def tells_origin(values: Mapping[str, Any]) -> bool:
    """Whether the columns say where somebody came from."""
    return any(values.get(name) for name in _TOLD)


async def note_capture(
    tx: Transaction, lead: Lead, handling: Handling, values: Mapping[str, Any], *, id: UUID | None = None,
    repeated: bool = False, answers: Sequence[Mapping[str, str]] = (),
) -> LeadCapture:  # fmt: skip
    """Notes how the lead was captured, whatever it is by now, and tells it. `values` are the lead's columns as they are kept."""
    capture = LeadCapture(
        id=id or new_id(), lead_id=lead.id, repeated=repeated, source=values.get("source") or "OTHER",
        source_detail=values.get("source_detail", ""), campaign_id=values.get("campaign_id"),
        form_id=values.get("form_id"), utm=dict(values.get("utm") or {}), referrer=values.get("referrer", ""),
        landing_page=values.get("landing_page", ""), click_id=values.get("click_id", ""),
        message=values.get("notes", ""), answers=[dict(one) for one in answers],
    )  # fmt: skip
    lead.capture_count += 1
    lead.last_capture_time = tx.now
    lead.last_source = capture.source
    lead.last_campaign_id = capture.campaign_id or lead.last_campaign_id
    tell(
        tx, lead, handling, LeadCaptured, capture_id=capture.id, repeated=repeated, source=enum_view(capture.source),
        source_key=capture.source,
        source_detail=capture.source_detail, campaign_id=capture.campaign_id, form_id=capture.form_id,
        utm_source=capture.utm.get("source", ""), utm_medium=capture.utm.get("medium", ""),
        utm_campaign=capture.utm.get("campaign", ""), capture_time=tx.now,
    )  # fmt: skip
    await tx.session.flush()  # the lead is there before what names it
    tx.add(capture)
    return capture


async def note_first(
    tx: Transaction,
    lead: Lead,
    handling: Handling,
    *,
    id: UUID | None = None,
    answers: Sequence[Mapping[str, str]] = (),
    message: str = "",
) -> LeadCapture:
    """Notes how a new lead was captured; `message` is what was written, where the lead's notes have but a part of it."""
    names = ("source", "source_detail", "notes", *_TOLD)
    values = {name: getattr(lead, name) for name in names}
    values["notes"] = message or values["notes"]
    return await note_capture(tx, lead, handling, values, id=id, answers=answers)


_THERE = text(
    "SELECT id FROM leads WHERE deleted_at IS NULL AND status = ANY(:open)"
    " AND coalesce(last_capture_time, created_at) >= :since AND id IN ("
    " SELECT id FROM leads WHERE email <> '' AND email = :email AND deleted_at IS NULL"
    " UNION SELECT id FROM leads WHERE phone <> '' AND phone = :phone AND deleted_at IS NULL)"
    " ORDER BY coalesce(last_capture_time, created_at) DESC, id DESC LIMIT 20"
)


async def who_came_again(
    tx: Transaction, values: Mapping[str, Any], within: timedelta | None = None
) -> Lead | None:
    """The open lead, locked, that has this e-mail address or telephone number and was captured `within` that time, which is
    the tenant's rule unless given. None when there is none that the caller may change.

    Two who capture one person at once wait for each other, so that one of them finds the lead of the other.
    """
    if within is None:
        within = timedelta(days=(await settings_of(tx)).repeat_days)
    email, phone = values.get("email", ""), values.get("phone", "")
    if not within or not (email or phone):
        return None
    for mark in sorted(mark for mark in (email, phone) if mark):
        await tx.hold(f"captures {mark}")
    asked = {"open": list(OPEN), "since": tx.now - within, "email": email, "phone": phone}
    for id in (await tx.session.execute(_THERE, asked)).scalars().all():
        lead = await tx.find(Lead, UUID(str(id)))
        if lead is None or lead.status not in OPEN:
            continue
        if tx.who.service is not None or covers(lead, tx.who, "leads", Act.WRITE):
            return lead
    return None


async def came_again(
    tx: Transaction, lead: Lead, handling: Handling, values: Mapping[str, Any], *, id: UUID | None = None,
    answers: Sequence[Mapping[str, str]] = (),
) -> LeadCapture:  # fmt: skip
    """Somebody who is the lead came again: what it lacks is filled in, what was written is added to its notes as far as they have
    room, and it is idle no longer."""
    fresh = {name: values[name] for name in _FILLED if values.get(name)}
    changed = change(lead, lacking(lead, fresh))
    lead.note_said(values.get("notes", ""))
    lead.touch(tx.now)
    capture = await note_capture(tx, lead, handling, values, id=id, repeated=True, answers=answers)
    if changed:
        lead.findable()
        tx.record(LeadUpdated(**told(lead), changed_fields=changed), on=lead)
    return capture


async def take_in(
    tx: Transaction, values: Mapping[str, Any], owner: Owner, handling: Handling, id: UUID | None = None,
    answers: Sequence[Mapping[str, str]] = (), within: timedelta | None = None,
) -> Lead:  # fmt: skip
    """The lead that somebody is who came by themselves: a new one, or the one that is there, where the tenant's rule, or
    `within`, says so. `id` becomes that of the capture and of a new lead. Raises LeadWithoutName, Invalid."""
    tidy = await kept(tx, values)
    lead = await who_came_again(tx, tidy, within)
    if lead is not None:
        await came_again(tx, lead, handling, tidy, id=id, answers=answers)
        return lead
    written = values.get("notes", "")
    lead = await capture(tx, {**values, "notes": said(written)}, owner, handling, id)
    await note_first(tx, lead, handling, id=id, answers=answers, message=written)
    await follow(tx, lead, handling.assign_captured)
    return lead


async def follow(tx: Transaction, lead: Lead, assigns: bool) -> None:
    """What comes after a new lead: the rules are asked whose it is, where they decide about it, and its cadence begins."""
    if assigns:
        await tx.enqueue(JOB, {"lead_ids": [str(lead.id)]}, key=str(lead.id))
    await remind(tx, lead)


async def attribute(
    tx: Transaction, lead_id: UUID, capture_id: UUID, campaign_id: UUID, handling: Handling
) -> None:
    """Marketing has understood a capture as the work of that campaign. What was named before stays."""
    capture = await tx.find(LeadCapture, capture_id)
    if capture is None:
        return
    if capture.campaign_id is None:
        capture.campaign_id = campaign_id
    # The lead may have been merged into another since.
    lead = await tx.find(Lead, capture.lead_id)
    if lead is None:
        return
    values: dict[str, Any] = {}
    if lead.campaign_id is None:
        values["campaign_id"] = campaign_id
    if lead.last_campaign_id is None or lead.last_capture_time == capture.created_at:
        values["last_campaign_id"] = campaign_id
    changed = change(lead, values)
    if changed:
        tell(tx, lead, handling, LeadUpdated, changed_fields=changed)
