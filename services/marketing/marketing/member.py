"""Members of campaigns: the leads and customers a campaign is aimed at, and how far each of them is."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import ColumnElement, or_, select, text
from sqlmodel import col

from chassis.database import Transaction
from chassis.events.event import Event
from chassis.ids import new_id
from chassis.privacy.person import GONE
from chassis.records import Owned
from chassis.search import Searchable
from chassis.shown import show
from marketing import errors
from marketing.campaign import Campaign

PLANNED, REACHED, RESPONDED, ATTENDED, DECLINED = "PLANNED", "REACHED", "RESPONDED", "ATTENDED", "DECLINED"
STATUSES = (PLANNED, REACHED, RESPONDED, ATTENDED, DECLINED)
_ANSWERS = (RESPONDED, ATTENDED, DECLINED)


class CampaignMember(Owned, Searchable, table=True):
    """A lead or a customer in a campaign. Owner and team are the campaign's."""

    __tablename__ = "campaign_members"  # pyright: ignore[reportAssignmentType]
    record_type: ClassVar[str] = "campaign_member"

    campaign_id: UUID
    lead_id: UUID | None = None
    customer_id: UUID | None = None
    contact_id: UUID | None = None
    display_name: str = ""
    status: str = PLANNED
    response_time: datetime | None = None
    note: str = ""

    def findable(self) -> None:
        """Keeps the words for searching true to the name."""
        self.find_by(people=[self.display_name], names=[self.display_name])

    def respond(self, status: str, at: datetime | None, now: datetime, note: str) -> None:
        """How far it is. `at` is when it answered; without it, the first answer was `now` or stays when it was."""
        self.status = status
        if status in _ANSWERS:
            self.response_time = at or self.response_time or now
        else:
            self.response_time = None
        self.note = note or self.note


@dataclass(frozen=True, kw_only=True)
class CampaignMemberSnapshot:
    campaign_id: UUID
    lead_id: UUID | None
    customer_id: UUID | None
    contact_id: UUID | None
    status: str
    response_time: datetime | None


@dataclass(frozen=True, kw_only=True)
class MemberEvent(Event):
    """What every event says of a member."""

    campaign_member_id: UUID
    owner_id: UUID | None
    team_id: UUID | None
    member: CampaignMemberSnapshot


class MemberAdded(MemberEvent):
    pass


class MemberResponded(MemberEvent):
    pass


class MemberRemoved(MemberEvent):
    pass


def told(member: CampaignMember) -> dict[str, Any]:
    """What every event says of a member."""
    return {
        "campaign_member_id": member.id,
        "owner_id": member.owner_id,
        "team_id": member.team_id,
        "member": CampaignMemberSnapshot(
            campaign_id=member.campaign_id, lead_id=member.lead_id, customer_id=member.customer_id,
            contact_id=member.contact_id, status=member.status, response_time=member.response_time,
        ),
    }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Candidate:
    """A lead or a customer that may become a member. A lead that was converted has a customer, too."""

    display_name: str
    lead_id: UUID | None = None
    customer_id: UUID | None = None
    contact_id: UUID | None = None


def _member(campaign: Campaign, one: Candidate, id: UUID, status: str, note: str) -> CampaignMember:
    member = CampaignMember(
        id=id, campaign_id=campaign.id, owner_id=campaign.owner_id, team_id=campaign.team_id, lead_id=one.lead_id,
        customer_id=one.customer_id, contact_id=one.contact_id, display_name=one.display_name, status=status, note=note,
    )  # fmt: skip
    member.findable()
    return member


def _known_by(one: Candidate) -> ColumnElement[bool]:
    if one.lead_id is not None:
        return col(CampaignMember.lead_id) == one.lead_id
    return col(CampaignMember.customer_id) == one.customer_id


async def _has(tx: Transaction, campaign: Campaign, one: Candidate) -> bool:
    found = await tx.session.execute(
        select(col(CampaignMember.id)).where(
            col(CampaignMember.campaign_id) == campaign.id,
            col(CampaignMember.deleted_at).is_(None),
            _known_by(one),
        )
    )
    return found.first() is not None


async def answer(tx: Transaction, campaign: Campaign, one: Candidate, at: datetime) -> None:
    """They have answered the campaign: a new member, or one that had not yet."""
    if not await _has(tx, campaign, one):
        await enlist(tx, campaign, one, status=RESPONDED, at=at)
        return
    known = (col(CampaignMember.campaign_id) == campaign.id) & _known_by(one)
    for member in await _members(tx, known):
        if member.status in (PLANNED, REACHED):
            member.respond(RESPONDED, at, tx.now, "")
            tx.record(MemberResponded(**told(member)), on=member)


async def enlist(
    tx: Transaction, campaign: Campaign, one: Candidate, *, id: UUID | None = None, note: str = "",
    status: str = PLANNED, at: datetime | None = None,
) -> CampaignMember:  # fmt: skip
    """A new member of the campaign, which is locked. Raises AlreadyExists (MEMBER_EXISTS)."""
    if await _has(tx, campaign, one):
        raise errors.member_exists()
    member = _member(campaign, one, id or new_id(), status, note)
    member.response_time = at
    tx.add(member)
    tx.record(MemberAdded(**told(member)), on=member)
    return member


async def enlist_all(tx: Transaction, campaign: Campaign, candidates: Sequence[Candidate]) -> int:
    """Adds those that the campaign, which is locked, does not have yet. Returns how many were added."""
    found = await tx.session.execute(
        select(col(CampaignMember.lead_id), col(CampaignMember.customer_id)).where(
            col(CampaignMember.campaign_id) == campaign.id,
            col(CampaignMember.deleted_at).is_(None),
            or_(
                col(CampaignMember.lead_id).in_([c.lead_id for c in candidates if c.lead_id]),
                col(CampaignMember.customer_id).in_([c.customer_id for c in candidates if not c.lead_id]),
            ),
        )
    )
    leads: set[UUID | None] = set()
    customers: set[UUID | None] = set()
    for row in found:
        leads.add(row.lead_id)
        customers.add(row.customer_id)
    fresh = [
        _member(campaign, one, new_id(), PLANNED, "")
        for one in candidates
        if (one.lead_id not in leads if one.lead_id else one.customer_id not in customers)
    ]
    await tx.insert_all(fresh)
    for member in fresh:
        tx.record(MemberAdded(**told(member)), on=member)
    return len(fresh)


def remove(tx: Transaction, member: CampaignMember) -> None:
    """Takes the member out of its campaign."""
    tx.delete(member)
    tx.record(MemberRemoved(**told(member)), on=member)


async def _members(tx: Transaction, condition: ColumnElement[bool]) -> Iterable[CampaignMember]:
    found = await tx.session.execute(
        select(CampaignMember)
        .where(condition, col(CampaignMember.deleted_at).is_(None))
        .order_by(col(CampaignMember.id))
        .with_for_update()
    )
    return found.scalars()


async def follow_lead(tx: Transaction, lead_id: UUID, customer_id: UUID, contact_id: UUID | None) -> None:
    """The lead has become a customer: where it is a member, the customer is one from now on."""
    for member in await _members(tx, col(CampaignMember.lead_id) == lead_id):
        if member.customer_id != customer_id:
            member.customer_id, member.contact_id = customer_id, contact_id
            tx.record(MemberResponded(**told(member)), on=member)


async def leave_customer(tx: Transaction, lead_id: UUID) -> None:
    """The lead is not the customer after all: where it is a member, it is one as the lead alone."""
    for member in await _members(tx, col(CampaignMember.lead_id) == lead_id):
        if member.customer_id is not None:
            member.customer_id = member.contact_id = None
            tx.record(MemberResponded(**told(member)), on=member)


async def rename_lead(tx: Transaction, lead_id: UUID, name: str) -> None:
    """The lead has another name."""
    await _rename(tx, name, col(CampaignMember.lead_id) == lead_id)


async def rename_customer(tx: Transaction, customer_id: UUID, name: str) -> None:
    """The customer has another name; members that came as a lead keep the lead's."""
    await _rename(
        tx, name, col(CampaignMember.customer_id) == customer_id, col(CampaignMember.lead_id).is_(None)
    )


async def _rename(tx: Transaction, name: str, *such: ColumnElement[bool]) -> None:
    another = col(CampaignMember.display_name) != name
    await show(tx, CampaignMember, {"display_name": name}, CampaignMember.findable, *such, another)


async def forget_lead(tx: Transaction, lead_id: UUID) -> None:
    """The lead was deleted: its memberships end."""
    for member in await _members(tx, col(CampaignMember.lead_id) == lead_id):
        remove(tx, member)


async def forget_customer(tx: Transaction, customer_id: UUID) -> None:
    """The customer was deleted: its memberships end."""
    for member in await _members(tx, col(CampaignMember.customer_id) == customer_id):
        remove(tx, member)
        await tx.session.execute(
            _WENT, {"tenant": tx.who.tenant_id, "customer": customer_id, "row": member.id}
        )


_WENT = text(
    "INSERT INTO moved_references (tenant_id, merge_id, reference, row_id, former_id, aside)"
    " VALUES (:tenant, :customer, 'deleted', :row, :customer, true) ON CONFLICT DO NOTHING"
)
_CAME = text(
    "DELETE FROM moved_references WHERE merge_id = :customer AND reference = 'deleted' RETURNING row_id"
)


async def remember_customer(tx: Transaction, customer_id: UUID) -> None:
    """The customer was brought back: it is a member again where it was, unless it has become one anew."""
    for row in (await tx.session.execute(_CAME, {"customer": customer_id})).all():
        member = await tx.session.get(
            CampaignMember, (tx.who.tenant_id, row.row_id), with_for_update=True, populate_existing=True
        )
        if member is None or member.deleted_at is None:
            continue
        there = await tx.session.execute(
            select(col(CampaignMember.id)).where(
                col(CampaignMember.campaign_id) == member.campaign_id, col(CampaignMember.deleted_at).is_(None),
                _known_by(Candidate("", lead_id=member.lead_id, customer_id=customer_id)),
            )
        )  # fmt: skip
        if there.first() is None:
            member.deleted_at = None
            tx.record(MemberAdded(**told(member)), on=member)


_FORGET_WHERE = text("DELETE FROM moved_references WHERE merge_id = :customer AND reference = 'deleted'")


async def empty_customer(tx: Transaction, customer_id: UUID, person: bool) -> None:
    """The customer left the trash for good: it is a member nowhere again, and what is left of its memberships says nothing of it.
    Members that came as a lead are called as that."""
    mine = (col(CampaignMember.customer_id) == customer_id, col(CampaignMember.lead_id).is_(None))
    await show(tx, CampaignMember, {"display_name": GONE, "note": ""}, CampaignMember.findable, *mine)
    await tx.session.execute(_FORGET_WHERE, {"customer": customer_id})
