"""Events of others: a converted lead's activities get the customer; a renamed customer is shown by its new name."""

from uuid import UUID

from kehu.customers.v1 import events_pb2 as customers
from kehu.leads.v1 import events_pb2 as leads
from sqlalchemy import text

from chassis.database import Transaction
from chassis.events.event import Envelope
from chassis.events.subscriptions import Subscriptions
from sales.activity import follow_lead

SUBSCRIPTIONS = Subscriptions()
# Orders keep the name they were made with.
_RENAME = (
    "UPDATE opportunities SET customer_name = :name WHERE customer_id = :id",
    "UPDATE activities SET customer_name = :name WHERE customer_id = :id",
)


@SUBSCRIPTIONS.on(leads.LeadConverted)
async def lead_converted(event: leads.LeadConverted, tx: Transaction, envelope: Envelope) -> None:
    lead = event.lead
    await follow_lead(tx, UUID(event.lead_id), UUID(lead.customer_id), lead.company_name or lead.name)


@SUBSCRIPTIONS.on(customers.CustomerUpdated)
async def customer_updated(event: customers.CustomerUpdated, tx: Transaction, envelope: Envelope) -> None:
    if "displayName" in event.changed_fields:
        for statement in _RENAME:
            await tx.session.execute(
                text(statement), {"name": event.customer.display_name, "id": UUID(event.customer_id)}
            )
