"""Events of others: the activities of a lead get the customer that it has become or was attached to, and go along when leads are
merged; a renamed customer or competitor is shown by its new name, and a customer that left the trash for good by none; open
work goes to the new owner of a customer."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from kehu.customers.v1 import events_pb2 as customers
from kehu.leads.v1 import events_pb2 as leads

from chassis.database import Transaction
from chassis.events.event import Envelope
from chassis.events.subscriptions import Subscriptions
from chassis.following import Target, hear_merges, hear_names, hear_purges
from chassis.latest import latest
from chassis.owners import Owner
from chassis.rpc import Call
from sales import merged
from sales.activity import follow_lead, leave_customer
from sales.competition import Competitor, keep_names
from sales.handover import Handover, hand_over
from sales.naming import forget, rename
from sales.rpc.peers import customer_known

NAMING = "customer name"
"""The kind of the job that asks for a customer's name."""
SUBSCRIPTIONS = Subscriptions()
_CUSTOMER = "the lead's customer"


@SUBSCRIPTIONS.on(leads.LeadConverted)
async def lead_converted(event: leads.LeadConverted, tx: Transaction, envelope: Envelope) -> None:
    lead = event.lead
    name = "" if event.customer_existed else lead.company_name or lead.name
    await _follow_lead(tx, event.lead_id, envelope.version, lead.customer_id, name)


@SUBSCRIPTIONS.on(leads.LeadDisqualified, when=lambda event: bool(event.lead.duplicate_of_customer_id))
async def lead_attached(event: leads.LeadDisqualified, tx: Transaction, envelope: Envelope) -> None:
    """It is a customer already."""
    await _follow_lead(tx, event.lead_id, envelope.version, event.lead.duplicate_of_customer_id, "")


async def _follow_lead(tx: Transaction, lead_id: str, version: int, customer: str, name: str) -> None:
    if not await latest(tx, _CUSTOMER, UUID(lead_id), version):
        return
    customer_id = UUID(customer)
    followed = await follow_lead(tx, UUID(lead_id), customer_id, name)
    await merged.CUSTOMERS.follow(tx, [customer_id])
    if followed and not name:
        await tx.enqueue(NAMING, {"customer_id": str(customer_id)}, key=str(customer_id))


@SUBSCRIPTIONS.on(leads.LeadReopened)
async def lead_reopened(event: leads.LeadReopened, tx: Transaction, envelope: Envelope) -> None:
    """It is no customer, or is not known to be one, after all."""
    if await latest(tx, _CUSTOMER, UUID(event.lead_id), envelope.version):
        await leave_customer(tx, UUID(event.lead_id))


@SUBSCRIPTIONS.on(leads.LeadMerged)
async def lead_merged(event: leads.LeadMerged, tx: Transaction, envelope: Envelope) -> None:
    gone = [UUID(id) for id in event.merged_lead_ids]
    await merged.LEADS.merged(tx, UUID(event.merge_id), Target(UUID(event.lead_id), None), gone)


@SUBSCRIPTIONS.on(leads.LeadUnmerged)
async def lead_unmerged(event: leads.LeadUnmerged, tx: Transaction, envelope: Envelope) -> None:
    back = [Target(UUID(id), None) for id in event.restored_lead_ids]
    await merged.LEADS.unmerged(tx, UUID(event.merge_id), Target(UUID(event.lead_id), None), back)


@SUBSCRIPTIONS.on(customers.CompetitorUpdated, when=lambda event: "displayName" in event.changed_fields)
async def competitor_updated(event: customers.CompetitorUpdated, tx: Transaction, envelope: Envelope) -> None:
    """Also of those that nobody names yet: somebody may have asked for the former name and be about to name it."""
    told = Competitor(UUID(event.competitor_id), event.competitor.display_name, envelope.version)
    await keep_names(tx, [told])


@SUBSCRIPTIONS.on(
    customers.CustomerAssigned,
    when=lambda event: bool(event.previous_owner_id and (event.with_activities or event.with_opportunities)),
)
async def customer_assigned(event: customers.CustomerAssigned, tx: Transaction, envelope: Envelope) -> None:
    given = Handover(
        customer_id=UUID(event.customer_id), version=envelope.version, former_owner_id=UUID(event.previous_owner_id),
        owner=Owner(UUID(event.owner_id), UUID(event.team_id) if event.team_id else None),
        activities=event.with_activities, opportunities=event.with_opportunities,
    )  # fmt: skip
    await hand_over(tx, given)


async def name_customer(payload: Mapping[str, Any], call: Call) -> None:
    """Asks for the name of a customer that was there before its lead and shows it."""
    id = UUID(payload["customer_id"])
    known = await customer_known(call.as_service(), id)
    if known is not None:
        async with call.database.transaction(call.who) as tx:
            await rename(tx, id, known)


hear_merges(SUBSCRIPTIONS, merged.CUSTOMERS, merged.CONTACTS)
hear_names(SUBSCRIPTIONS, merged.CUSTOMERS, rename)
hear_purges(SUBSCRIPTIONS, merged.CUSTOMERS, merged.CONTACTS, customer=forget)
