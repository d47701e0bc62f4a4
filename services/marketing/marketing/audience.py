"""Audiences: segments of customers that campaigns take, page by page, in the background.

How far it has come stands in the row, in the transaction that makes the page's customers members: so it may die anywhere, be
repeated or run twice. Customers are read within the rights that whoever asked had then. A segment whose rule is changed meanwhile
is begun anew, and brings nobody twice.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import BigInteger
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field

from chassis.acting import acting
from chassis.database import Transaction
from chassis.events.event import Event
from chassis.ids import new_id
from chassis.records import Owned
from marketing.campaign import Campaign
from marketing.member import Candidate, enlist_all

RUNNING, DONE, FAILED = "RUNNING", "DONE", "FAILED"
STATES = (RUNNING, DONE, FAILED)
TAKE = "take an audience"
"""The kind of the job. Its key is the audience."""


class CampaignAudience(Owned, table=True):
    """A segment that a campaign takes. Owner and team are the campaign's."""

    __tablename__ = "campaign_audiences"  # pyright: ignore[reportAssignmentType]
    record_type: ClassVar[str] = "campaign_audience"
    history_hidden: ClassVar[frozenset[str]] = frozenset({
        "added_count", "existing_count", "page_token", "asked_as", "failures", "failed_at"
    })  # fmt: skip

    campaign_id: UUID
    segment_id: UUID
    segment_name: str
    state: str = RUNNING
    added_count: int = Field(default=0, sa_type=BigInteger)
    existing_count: int = Field(default=0, sa_type=BigInteger)
    end_time: datetime | None = None
    problem: str = ""
    page_token: str = ""
    """Where the next page begins."""
    failures: int = 0
    """How often it has failed at one place; see `chassis.giving_up`."""
    failed_at: int = Field(default=0, sa_type=BigInteger)
    asked_as: dict[str, Any] = Field(default_factory=dict[str, Any], sa_type=JSONB)
    """Who asked, with the rights they had then: see `chassis.acting`."""


@dataclass(frozen=True, kw_only=True)
class CampaignAudienceSnapshot:
    campaign_id: UUID
    segment_id: UUID
    state: str
    added_count: int
    existing_count: int
    problem: str


@dataclass(frozen=True, kw_only=True)
class AudienceEnded(Event):
    campaign_audience_id: UUID
    owner_id: UUID | None
    team_id: UUID | None
    audience: CampaignAudienceSnapshot


async def take(
    tx: Transaction, campaign: Campaign, segment_id: UUID, segment_name: str, id: UUID | None
) -> CampaignAudience:
    """Begins to take a segment that whoever asks may read."""
    audience = CampaignAudience(
        id=id or new_id(), campaign_id=campaign.id, owner_id=campaign.owner_id, team_id=campaign.team_id,
        segment_id=segment_id, segment_name=segment_name, asked_as=acting(tx.who),
    )  # fmt: skip
    tx.add(audience)
    await tx.enqueue(TAKE, {"id": str(audience.id)}, key=str(audience.id))
    return audience


async def running(tx: Transaction, id: UUID) -> tuple[Campaign, CampaignAudience] | None:
    """The campaign and its audience, locked in the order in which whoever deletes them does; None when it has ended."""
    known = await tx.find(CampaignAudience, id, lock=False)
    campaign = None if known is None else await tx.find(Campaign, known.campaign_id)
    audience = None if campaign is None else await tx.find(CampaignAudience, id)
    if campaign is None or audience is None or audience.state != RUNNING:
        return None
    return campaign, audience


async def take_page(
    tx: Transaction,
    campaign: Campaign,
    audience: CampaignAudience,
    candidates: list[Candidate],
    page_token: str,
) -> None:
    """Makes the customers of a page members of the campaign; without a further page, all are."""
    added = await enlist_all(tx, campaign, candidates)
    audience.added_count += added
    audience.existing_count += len(candidates) - added
    audience.page_token = page_token
    if not page_token:
        end(tx, audience, DONE)


def begin_anew(audience: CampaignAudience) -> None:
    """The segment is another one: its pages are counted from the first."""
    audience.page_token, audience.existing_count = "", 0


def end(tx: Transaction, audience: CampaignAudience, state: str, problem: str = "") -> None:
    """It has ended."""
    audience.state, audience.problem, audience.end_time, audience.page_token = state, problem, tx.now, ""
    tx.record(
        AudienceEnded(
            campaign_audience_id=audience.id, owner_id=audience.owner_id, team_id=audience.team_id,
            audience=CampaignAudienceSnapshot(
                campaign_id=audience.campaign_id, segment_id=audience.segment_id, state=state,
                added_count=audience.added_count, existing_count=audience.existing_count, problem=problem,
            ),
        ),
        on=audience,
    )  # fmt: skip
