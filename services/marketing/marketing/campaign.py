"""Campaigns: what is done so that people buy, what it may cost and what it has cost."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import BigInteger, text
from sqlmodel import Field

from chassis.custom_fields.definitions import taken
from chassis.database import Transaction
from chassis.errors import Denied, Invalid, NotFound
from chassis.events.event import Event
from chassis.ids import new_id
from chassis.mapping import change
from chassis.money import Money
from chassis.owners import Owner
from chassis.papers import drop_papers
from chassis.principal import Act
from chassis.records import Customized, Owned
from chassis.search import Searchable
from marketing import errors

CHANNELS = (
    "EMAIL", "SMS", "PHONE", "DIRECT_MAIL", "SEARCH", "WEB", "INSTANT_MESSAGE", "SURVEY", "CONFERENCE", "WEB_MEETING",
    "ON_SITE_EVENT", "OTHER",
)  # fmt: skip
PLANNED, RUNNING, COMPLETED, CANCELLED = "PLANNED", "RUNNING", "COMPLETED", "CANCELLED"
STATUSES = (PLANNED, RUNNING, COMPLETED, CANCELLED)


class Campaign(Owned, Searchable, Customized, table=True):
    """A campaign. How many members and leads it has is counted when it is read, see `results`."""

    __tablename__ = "campaigns"  # pyright: ignore[reportAssignmentType]
    record_type: ClassVar[str] = "campaign"

    name: str = ""
    channel: str = ""
    status: str = PLANNED
    budget: int | None = Field(default=None, sa_type=BigInteger)
    budget_currency: str = ""
    actual_cost: int | None = Field(default=None, sa_type=BigInteger)
    actual_cost_currency: str = ""
    expected_revenue: int | None = Field(default=None, sa_type=BigInteger)
    expected_revenue_currency: str = ""
    start_date: date | None = None
    end_date: date | None = None
    description: str = ""
    expected_response_percent: int = 0
    start_time: datetime | None = None
    end_time: datetime | None = None
    external_key: str = ""

    def check(self) -> None:
        """Raises Invalid for a campaign without name or channel, EndBeforeStart."""
        if not self.name:
            raise Invalid("campaign.name", "is required: give it a value")
        if not self.channel:
            raise Invalid("campaign.channel", "is required: give it a value")
        if self.start_date and self.end_date and self.end_date < self.start_date:
            raise errors.EndBeforeStart

    def findable(self) -> None:
        """Keeps the words for searching true to the name."""
        self.find_by(names=[self.name], texts=[self.external_key])

    def start(self, at: datetime) -> None:
        """Raises CampaignNotPlanned."""
        if self.status != PLANNED:
            raise errors.CampaignNotPlanned(f"A campaign in status {self.status} cannot be started.")
        self.status, self.start_time = RUNNING, at

    def complete(self, at: datetime, actual_cost: Money | None) -> None:
        """It is over; without a cost the known one stays. Raises CampaignNotRunning."""
        if self.status != RUNNING:
            raise errors.CampaignNotRunning(f"A campaign in status {self.status} cannot be completed.")
        self.status, self.end_time = COMPLETED, at
        if actual_cost is not None:
            self.actual_cost, self.actual_cost_currency = actual_cost.minor, actual_cost.currency

    def cancel(self, at: datetime) -> None:
        """Raises CampaignEnded."""
        if self.status not in (PLANNED, RUNNING):
            raise errors.CampaignEnded(f"A campaign in status {self.status} cannot be called off.")
        self.status, self.end_time = CANCELLED, at


@dataclass(frozen=True, kw_only=True)
class CampaignSnapshot:
    name: str
    channel: str
    status: str
    budget: Money | None
    actual_cost: Money | None
    expected_revenue: Money | None
    start_date: date | None
    end_date: date | None
    create_time: datetime
    custom_fields: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class CampaignEvent(Event):
    """What every event says of a campaign."""

    campaign_id: UUID
    owner_id: UUID | None
    team_id: UUID | None
    campaign: CampaignSnapshot


class CampaignCreated(CampaignEvent):
    pass


@dataclass(frozen=True, kw_only=True)
class CampaignUpdated(CampaignEvent):
    changed_fields: list[str]


class CampaignStarted(CampaignEvent):
    pass


class CampaignCompleted(CampaignEvent):
    pass


class CampaignCancelled(CampaignEvent):
    pass


class CampaignDeleted(CampaignEvent):
    pass


def _money(minor: int | None, currency: str) -> Money | None:
    return None if minor is None else Money(minor, currency)


def told(campaign: Campaign) -> dict[str, Any]:
    """What every event says of a campaign."""
    return {
        "campaign_id": campaign.id,
        "owner_id": campaign.owner_id,
        "team_id": campaign.team_id,
        "campaign": CampaignSnapshot(
            name=campaign.name, channel=campaign.channel, status=campaign.status,
            budget=_money(campaign.budget, campaign.budget_currency),
            actual_cost=_money(campaign.actual_cost, campaign.actual_cost_currency),
            expected_revenue=_money(campaign.expected_revenue, campaign.expected_revenue_currency),
            start_date=campaign.start_date, end_date=campaign.end_date, create_time=campaign.created_at,
            custom_fields=dict(campaign.custom_fields),
        ),
    }  # fmt: skip


async def plan_campaign(
    tx: Transaction, values: Mapping[str, Any], owner: Owner, id: UUID | None
) -> Campaign:
    """A new campaign of that owner. Raises EndBeforeStart; Invalid for custom fields that are wrong."""
    columns: dict[str, Any] = {
        **await taken(tx, Campaign.record_type, values), "owner_id": owner.person_id, "team_id": owner.team_id,
        "id": id or new_id(),
    }  # fmt: skip
    campaign = Campaign(**columns)
    campaign.check()
    campaign.findable()
    tx.add(campaign)
    tx.record(CampaignCreated(**told(campaign)), on=campaign)
    return campaign


async def change_campaign(tx: Transaction, campaign: Campaign, values: Mapping[str, Any]) -> None:
    """Changes fields, in any status. Raises EndBeforeStart; Invalid for custom fields that are wrong."""
    changed = change(campaign, await taken(tx, campaign.record_type, values, campaign.custom_fields))
    if not changed:
        return
    campaign.check()
    campaign.findable()
    tx.record(CampaignUpdated(**told(campaign), changed_fields=changed), on=campaign)


_AUDIENCES_TOO = "UPDATE campaign_audiences SET owner_id = :owner, team_id = :team WHERE campaign_id = :id"
_MEMBERS_TOO = "UPDATE campaign_members SET owner_id = :owner, team_id = :team WHERE campaign_id = :id"


async def assign_campaign(tx: Transaction, campaign: Campaign, owner: Owner) -> None:
    """Gives the campaign with its members to another owner; the present owner changes nothing."""
    if campaign.owner_id == owner.person_id:
        return
    campaign.owner_id, campaign.team_id = owner.person_id, owner.team_id
    for theirs in (_MEMBERS_TOO, _AUDIENCES_TOO):
        await tx.session.execute(
            text(theirs), {"owner": owner.person_id, "team": owner.team_id, "id": campaign.id}
        )
    tx.record(CampaignUpdated(**told(campaign), changed_fields=["owner_id", "team_id"]), on=campaign)


_OPEN_FORM = (
    "SELECT 1 FROM web_forms WHERE campaign_id = :id AND status = 'OPEN' AND deleted_at IS NULL LIMIT 1"
)
_AUDIENCES_GO = (
    "UPDATE campaign_audiences SET deleted_at = :now, updated_at = :now, updated_by = :by, version = version + 1"
    " WHERE campaign_id = :id AND deleted_at IS NULL"
)
_MEMBERS_GO = (
    "UPDATE campaign_members SET deleted_at = :now, updated_at = :now, updated_by = :by, version = version + 1"
    " WHERE campaign_id = :id AND deleted_at IS NULL"
)


async def drop_campaign(tx: Transaction, campaign: Campaign) -> None:
    """Deletes the campaign, which is locked, with its members, its audiences and what is on it. Raises CampaignHasOpenForms."""
    found = await tx.session.execute(text(_OPEN_FORM), {"id": campaign.id})
    if found.first() is not None:
        raise errors.CampaignHasOpenForms
    for gone in (_MEMBERS_GO, _AUDIENCES_GO):
        await tx.session.execute(text(gone), {"id": campaign.id, "now": tx.now, "by": tx.who.person_id})
    await drop_papers(tx, campaign.record_type, [campaign.id])
    tx.delete(campaign)
    tx.record(CampaignDeleted(**told(campaign)), on=campaign)


async def usable_campaign(tx: Transaction, id: UUID, field: str, act: Act = Act.WRITE) -> Campaign:
    """The campaign, locked, for naming it in another record. Raises Invalid (CAMPAIGN_NOT_FOUND) naming `field`."""
    try:
        return await tx.get(Campaign, id, right="campaigns", act=act)
    except (NotFound, Denied):
        raise errors.campaign_not_found(field, id) from None
