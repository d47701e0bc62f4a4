"""Customers, contacts and leads that were merged: their memberships of campaigns follow, and so do fields of the tenant's own
that refer to them."""

from sqlalchemy import ColumnElement, select
from sqlmodel import col

from chassis.custom_fields.references import CustomReferences
from chassis.database import Transaction
from chassis.following import Following, Reference, Target
from marketing import campaign
from marketing.campaign import Campaign, CampaignUpdated
from marketing.custom_fields import CUSTOM_FIELDS
from marketing.member import CampaignMember, MemberAdded, MemberResponded, remove, told

Conditions = tuple[ColumnElement[bool], ...]


async def _to_customer(tx: Transaction, member: CampaignMember, to: Target, aside: bool) -> bool:
    member.customer_id = to.id
    same = (col(CampaignMember.customer_id) == to.id, col(CampaignMember.lead_id).is_(None))
    # Whoever came as a lead is a member as that lead, and called as it is.
    return await _follow(tx, member, to, aside, same, itself=member.lead_id is None)


async def _to_lead(tx: Transaction, member: CampaignMember, to: Target, aside: bool) -> bool:
    member.lead_id = to.id
    return await _follow(tx, member, to, aside, (col(CampaignMember.lead_id) == to.id,), itself=True)


async def _follow(
    tx: Transaction, member: CampaignMember, to: Target, aside: bool, same: Conditions, *, itself: bool
) -> bool:
    """Where the survivor is a member already, as `same` finds it, the membership is set aside; undoing the merge brings it back.
    `itself`: the membership is that of the record that was merged, and not only goes along with it."""
    if itself:
        if member.deleted_at is None and await _is_member(tx, member, same):
            remove(tx, member)
            return True
        if to.name is not None:
            member.display_name = to.name
            member.findable()
    if aside and not await _is_member(tx, member, same):
        member.deleted_at = None
        tx.record(MemberAdded(**told(member)), on=member)
    elif member.deleted_at is None:
        tx.record(MemberResponded(**told(member)), on=member)
    return False


async def _is_member(tx: Transaction, member: CampaignMember, same: Conditions) -> bool:
    # The row itself is not to be written before this is known: the survivor may be a member once.
    with tx.session.no_autoflush:
        found = await tx.session.execute(
            select(col(CampaignMember.id)).where(
                col(CampaignMember.campaign_id) == member.campaign_id, *same, col(CampaignMember.deleted_at).is_(None),
                col(CampaignMember.id) != member.id,
            )
        )  # fmt: skip
        return found.first() is not None


async def _to_contact(tx: Transaction, member: CampaignMember, to: Target, aside: bool) -> bool:
    member.contact_id = to.id
    if member.deleted_at is None:
        tx.record(MemberResponded(**told(member)), on=member)
    return False


def _tell(tx: Transaction, row: Campaign, *columns: str) -> None:
    tx.record(CampaignUpdated(**campaign.told(row), changed_fields=[*columns]), on=row)


CUSTOMERS = Following(
    "customer",
    Reference(CampaignMember, "customer_id", _to_customer),
    custom=CustomReferences(CUSTOM_FIELDS, _tell),
)
CONTACTS = Following("contact", Reference(CampaignMember, "contact_id", _to_contact))
LEADS = Following("lead", Reference(CampaignMember, "lead_id", _to_lead))
