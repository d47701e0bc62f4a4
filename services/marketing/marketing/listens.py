"""Events of others: what became of leads that campaigns brought, and of the leads and customers in campaigns."""

from uuid import UUID

from kehu.customers.v1 import events_pb2 as customers
from kehu.leads.v1 import events_pb2 as leads

from chassis.database import Transaction
from chassis.events.event import Envelope
from chassis.events.subscriptions import Subscriptions
from chassis.following import hear_merges
from marketing import member, merged
from marketing.attribution import LeadState, note_lead
from marketing.submission import Captured, note

SUBSCRIPTIONS = Subscriptions()


def _id(text: str) -> UUID | None:
    return UUID(text) if text else None


# Most leads name neither campaign nor form.
@SUBSCRIPTIONS.on(leads.LeadCreated, when=lambda event: bool(event.lead.campaign_id or event.lead.form_id))
async def lead_created(event: leads.LeadCreated, tx: Transaction, envelope: Envelope) -> None:
    lead, id = event.lead, UUID(event.lead_id)
    campaign_id = _id(lead.campaign_id)
    await note_lead(tx, LeadState(id, envelope.version, campaign_id))
    if lead.form_id:
        name = lead.name or lead.company_name
        await note(tx, Captured(id, UUID(lead.form_id), campaign_id, name, envelope.time))


@SUBSCRIPTIONS.on(leads.LeadUpdated)
async def lead_updated(event: leads.LeadUpdated, tx: Transaction, envelope: Envelope) -> None:
    changed = set(event.changed_fields)
    id = UUID(event.lead_id)
    moved = "campaignId" in changed
    await note_lead(tx, LeadState(id, envelope.version, _id(event.lead.campaign_id), campaign_changed=moved))
    if changed & {"name", "companyName"}:
        await member.rename_lead(tx, id, event.lead.name or event.lead.company_name)


@SUBSCRIPTIONS.on(leads.LeadConverted)
async def lead_converted(event: leads.LeadConverted, tx: Transaction, envelope: Envelope) -> None:
    lead, id = event.lead, UUID(event.lead_id)
    await note_lead(tx, LeadState(id, envelope.version, _id(lead.campaign_id), converted=True))
    await member.follow_lead(tx, id, UUID(lead.customer_id), _id(lead.contact_id))
    await merged.CUSTOMERS.follow(tx, [UUID(lead.customer_id)])


@SUBSCRIPTIONS.on(leads.LeadDeleted)
async def lead_deleted(event: leads.LeadDeleted, tx: Transaction, envelope: Envelope) -> None:
    id = UUID(event.lead_id)
    await note_lead(tx, LeadState(id, envelope.version, _id(event.lead.campaign_id), gone=True))
    await member.forget_lead(tx, id)


@SUBSCRIPTIONS.on(customers.CustomerUpdated, when=lambda event: "displayName" in event.changed_fields)
async def customer_updated(event: customers.CustomerUpdated, tx: Transaction, envelope: Envelope) -> None:
    await member.rename_customer(tx, UUID(event.customer_id), event.customer.display_name)
    await merged.CUSTOMERS.renamed(tx, UUID(event.customer_id), event.customer.display_name)


@SUBSCRIPTIONS.on(customers.CustomerDeleted)
async def customer_deleted(event: customers.CustomerDeleted, tx: Transaction, envelope: Envelope) -> None:
    await member.forget_customer(tx, UUID(event.customer_id))


@SUBSCRIPTIONS.on(customers.CustomerRestored)
async def customer_restored(event: customers.CustomerRestored, tx: Transaction, envelope: Envelope) -> None:
    await member.remember_customer(tx, UUID(event.customer_id))


hear_merges(SUBSCRIPTIONS, merged.CUSTOMERS, merged.CONTACTS)
