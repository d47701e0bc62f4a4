"""Events of others: what became of leads that campaigns brought, and of the leads and customers in campaigns."""

from uuid import UUID

from kehu.customers.v1 import events_pb2 as customers
from kehu.leads.v1 import events_pb2 as leads

from chassis.database import Transaction
from chassis.events.event import Envelope
from chassis.events.subscriptions import Subscriptions
from chassis.following import Target, hear_merges, hear_names, hear_purges
from chassis.latest import latest
from marketing import member, merged
from marketing.attribution import Capture, LeadState, attribute, note_lead
from marketing.submission import Captured, note

SUBSCRIPTIONS = Subscriptions()
_CUSTOMER = "the lead's customer"
_NAME = "the lead's name"


def _id(text: str) -> UUID | None:
    return UUID(text) if text else None


# Most leads name neither campaign nor form.
@SUBSCRIPTIONS.on(leads.LeadCreated, when=lambda event: bool(event.lead.campaign_id or event.lead.form_id))
async def lead_created(event: leads.LeadCreated, tx: Transaction, envelope: Envelope) -> None:
    lead, id = event.lead, UUID(event.lead_id)
    campaign_id = _id(lead.campaign_id)
    await note_lead(tx, LeadState(id, envelope.version, campaign_id))
    if lead.form_id:
        # Leads of a version that tells no captures: what is captured and not yet noted, lead.captured notes.
        name = lead.name or lead.company_name
        await note(tx, Captured(id, id, UUID(lead.form_id), campaign_id, name, envelope.time))


@SUBSCRIPTIONS.on(
    leads.LeadCaptured, when=lambda event: bool(event.campaign_id or event.form_id or event.utm_campaign)
)
async def lead_captured(event: leads.LeadCaptured, tx: Transaction, envelope: Envelope) -> None:
    id, capture_id, campaign_id = UUID(event.lead_id), UUID(event.capture_id), _id(event.campaign_id)
    name = event.lead.name or event.lead.company_name
    if event.form_id:
        await note(tx, Captured(capture_id, id, UUID(event.form_id), campaign_id, name, envelope.time))
    await attribute(tx, Capture(capture_id, id, name, campaign_id, event.utm_campaign, envelope.time))
    await merged.LEADS.follow(tx, [id])


@SUBSCRIPTIONS.on(leads.LeadMerged)
async def lead_merged(event: leads.LeadMerged, tx: Transaction, envelope: Envelope) -> None:
    survivor = Target(UUID(event.lead_id), event.lead.name or event.lead.company_name)
    await merged.LEADS.merged(tx, UUID(event.merge_id), survivor, [UUID(id) for id in event.merged_lead_ids])


@SUBSCRIPTIONS.on(leads.LeadUnmerged)
async def lead_unmerged(event: leads.LeadUnmerged, tx: Transaction, envelope: Envelope) -> None:
    survivor = Target(UUID(event.lead_id), event.lead.name or event.lead.company_name)
    back = [Target(UUID(id), None) for id in event.restored_lead_ids]
    await merged.LEADS.unmerged(tx, UUID(event.merge_id), survivor, back)


@SUBSCRIPTIONS.on(leads.LeadDisqualified, when=lambda event: bool(event.lead.duplicate_of_customer_id))
async def lead_attached(event: leads.LeadDisqualified, tx: Transaction, envelope: Envelope) -> None:
    """It is a customer already: where it is a member, that customer is one from now on."""
    customer_id, contact_id = (
        UUID(event.lead.duplicate_of_customer_id),
        _id(event.lead.duplicate_of_contact_id),
    )
    await _follow_lead(tx, UUID(event.lead_id), envelope.version, customer_id, contact_id)


async def _follow_lead(
    tx: Transaction, lead_id: UUID, version: int, customer_id: UUID, contact_id: UUID | None
) -> None:
    if await latest(tx, _CUSTOMER, lead_id, version):
        await member.follow_lead(tx, lead_id, customer_id, contact_id)
        await merged.CUSTOMERS.follow(tx, [customer_id])


@SUBSCRIPTIONS.on(leads.LeadReopened)
async def lead_reopened(event: leads.LeadReopened, tx: Transaction, envelope: Envelope) -> None:
    """It is no customer, or is not known to be one, after all."""
    if await latest(tx, _CUSTOMER, UUID(event.lead_id), envelope.version):
        await member.leave_customer(tx, UUID(event.lead_id))


@SUBSCRIPTIONS.on(leads.LeadUpdated)
async def lead_updated(event: leads.LeadUpdated, tx: Transaction, envelope: Envelope) -> None:
    changed = set(event.changed_fields)
    id = UUID(event.lead_id)
    moved = "campaignId" in changed
    await note_lead(tx, LeadState(id, envelope.version, _id(event.lead.campaign_id), campaign_changed=moved))
    if changed & {"name", "companyName"} and await latest(tx, _NAME, id, envelope.version):
        await member.rename_lead(tx, id, event.lead.name or event.lead.company_name)


@SUBSCRIPTIONS.on(leads.LeadConverted)
async def lead_converted(event: leads.LeadConverted, tx: Transaction, envelope: Envelope) -> None:
    lead, id = event.lead, UUID(event.lead_id)
    await note_lead(tx, LeadState(id, envelope.version, _id(lead.campaign_id), converted=True))
    await _follow_lead(tx, id, envelope.version, UUID(lead.customer_id), _id(lead.contact_id))


@SUBSCRIPTIONS.on(leads.LeadDeleted)
async def lead_deleted(event: leads.LeadDeleted, tx: Transaction, envelope: Envelope) -> None:
    id = UUID(event.lead_id)
    await note_lead(tx, LeadState(id, envelope.version, _id(event.lead.campaign_id), gone=True))
    await member.forget_lead(tx, id)


@SUBSCRIPTIONS.on(customers.CustomerDeleted)
async def customer_deleted(event: customers.CustomerDeleted, tx: Transaction, envelope: Envelope) -> None:
    await member.forget_customer(tx, UUID(event.customer_id))


@SUBSCRIPTIONS.on(customers.CustomerRestored)
async def customer_restored(event: customers.CustomerRestored, tx: Transaction, envelope: Envelope) -> None:
    await member.remember_customer(tx, UUID(event.customer_id))


hear_merges(SUBSCRIPTIONS, merged.CUSTOMERS, merged.CONTACTS)
hear_names(SUBSCRIPTIONS, merged.CUSTOMERS, member.rename_customer)
hear_purges(SUBSCRIPTIONS, merged.CUSTOMERS, merged.CONTACTS, customer=member.empty_customer)
