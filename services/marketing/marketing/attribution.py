"""Which leads name which campaign as what brought them, kept by the events of leads; and the campaigns' results.

A capture that names a campaign, or whose utm_campaign is a campaign's key or name, is an answer to it.

A lead's latest version wins, so repeats and disorder of events, and a replay of all of them, come to the same end.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import text

from chassis.database import Transaction
from chassis.events.event import Event
from chassis.texts import line
from marketing.campaign import Campaign
from marketing.member import Candidate, answer

# Leads that never named a campaign are most of all leads and leave no row.
_NOTE = text(
    "INSERT INTO campaign_leads (tenant_id, lead_id, campaign_id, converted, gone, version)"
    " SELECT :tenant, :lead, :campaign, :converted, :gone, :version"
    " WHERE :concerns OR EXISTS (SELECT 1 FROM campaign_leads WHERE lead_id = :lead)"
    " ON CONFLICT (tenant_id, lead_id) DO UPDATE SET campaign_id = excluded.campaign_id, converted = excluded.converted,"
    " gone = excluded.gone, version = excluded.version WHERE excluded.version > campaign_leads.version"
)


@dataclass(frozen=True, slots=True)
class LeadState:
    """What a lead's event says of the lead, as far as it matters here."""

    lead_id: UUID
    version: int
    campaign_id: UUID | None
    converted: bool = False
    gone: bool = False
    campaign_changed: bool = False


async def note_lead(tx: Transaction, lead: LeadState) -> None:
    """Takes over what an event says of a lead, unless a later one was heard of."""
    await tx.session.execute(
        _NOTE,
        {
            "tenant": tx.who.tenant_id, "lead": lead.lead_id, "campaign": lead.campaign_id, "converted": lead.converted,
            "gone": lead.gone, "version": lead.version,
            "concerns": lead.campaign_id is not None or lead.campaign_changed,
        },
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class LeadAttributed(Event):
    campaign_id: UUID
    owner_id: UUID | None
    team_id: UUID | None
    lead_id: UUID
    capture_id: UUID
    capture_time: datetime
    by_utm: bool


@dataclass(frozen=True, slots=True)
class Capture:
    """How a lead was captured, as far as it matters here."""

    id: UUID
    lead_id: UUID
    name: str
    campaign_id: UUID | None
    utm_campaign: str
    at: datetime


# The key is one campaign's; of several with one name, the one that was made last is meant.
_MEANT = text(
    "SELECT id FROM campaigns WHERE deleted_at IS NULL AND (external_key = :name OR lower(name) = lower(:name))"
    " AND status <> 'CANCELLED' ORDER BY external_key = :name DESC, created_at DESC LIMIT 1"
)


async def attribute(tx: Transaction, capture: Capture) -> None:
    """Makes the lead a member of the campaign that brought it, which has responded, and tells it; nothing when none did."""
    id, by_utm = capture.campaign_id, False
    named = line(capture.utm_campaign)
    if id is None and named:
        found = (await tx.session.execute(_MEANT, {"name": named})).scalar_one_or_none()
        id, by_utm = UUID(str(found)) if found is not None else None, True
    campaign = await tx.find(Campaign, id) if id is not None else None
    if campaign is None:
        return
    await answer(tx, campaign, Candidate(capture.name, lead_id=capture.lead_id), capture.at)
    tx.record(
        LeadAttributed(
            campaign_id=campaign.id, owner_id=campaign.owner_id, team_id=campaign.team_id, lead_id=capture.lead_id,
            capture_id=capture.id, capture_time=capture.at, by_utm=by_utm,
        ),
        on=campaign,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Results:
    """What became of a campaign so far."""

    members: int = 0
    responded: int = 0
    leads: int = 0
    converted: int = 0


NONE = Results()
RESULTS = (
    "SELECT coalesce(m.campaign_id, l.campaign_id) AS campaign_id, coalesce(m.members, 0) AS members,"
    " coalesce(m.responded, 0) AS responded, coalesce(l.leads, 0) AS leads, coalesce(l.converted, 0) AS converted"
    " FROM (SELECT campaign_id, count(*) AS members, count(*) FILTER (WHERE status IN ('RESPONDED', 'ATTENDED')) AS responded"
    " FROM campaign_members WHERE campaign_id = ANY({ids}) AND deleted_at IS NULL GROUP BY campaign_id) m"
    " FULL JOIN (SELECT campaign_id, count(*) AS leads, count(*) FILTER (WHERE converted) AS converted"
    " FROM campaign_leads WHERE campaign_id = ANY({ids}) AND NOT gone GROUP BY campaign_id) l"
    " ON l.campaign_id = m.campaign_id"
)
"""The results of campaigns by id; the place of the ids is left open for either way to the database."""


async def results_of(tx: Transaction, campaign_id: UUID) -> Results:
    """The results of one campaign, inside a transaction."""
    statement = text(RESULTS.replace("{ids}", "ARRAY[CAST(:id AS uuid)]"))
    row = (await tx.session.execute(statement, {"id": campaign_id})).one_or_none()
    return Results(row.members, row.responded, row.leads, row.converted) if row else NONE
