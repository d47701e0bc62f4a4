"""Events of others: a renamed customer is shown and found by its new name."""

from uuid import UUID

from kehu.customers.v1 import events_pb2 as customers
from sqlalchemy import select
from sqlmodel import col

from chassis.database import Transaction
from chassis.events.event import Envelope
from chassis.events.subscriptions import Subscriptions
from chassis.following import Target
from service_desk import merged
from service_desk.ticket import Ticket

SUBSCRIPTIONS = Subscriptions()


@SUBSCRIPTIONS.on(customers.CustomerUpdated, when=lambda event: "displayName" in event.changed_fields)
async def customer_updated(event: customers.CustomerUpdated, tx: Transaction, envelope: Envelope) -> None:
    found = await tx.session.execute(
        select(Ticket).where(col(Ticket.customer_id) == UUID(event.customer_id)).with_for_update()
    )
    for ticket in found.scalars():
        ticket.customer_name = event.customer.display_name
        ticket.derive()
    await merged.CUSTOMERS.renamed(tx, UUID(event.customer_id), event.customer.display_name)


@SUBSCRIPTIONS.on(customers.CustomerMerged)
async def customer_merged(event: customers.CustomerMerged, tx: Transaction, envelope: Envelope) -> None:
    survivor = Target(UUID(event.customer_id), event.customer.display_name)
    gone = [UUID(id) for id in event.merged_customer_ids]
    await merged.CUSTOMERS.merged(tx, UUID(event.merge_id), survivor, gone)


@SUBSCRIPTIONS.on(customers.CustomerUnmerged)
async def customer_unmerged(event: customers.CustomerUnmerged, tx: Transaction, envelope: Envelope) -> None:
    survivor = Target(UUID(event.customer_id), event.customer.display_name)
    restored = [Target(UUID(one.id), one.display_name) for one in event.restored_customers]
    await merged.CUSTOMERS.unmerged(tx, UUID(event.merge_id), survivor, restored)


@SUBSCRIPTIONS.on(customers.ContactMerged)
async def contact_merged(event: customers.ContactMerged, tx: Transaction, envelope: Envelope) -> None:
    survivor = Target(UUID(event.contact_id), event.contact.display_name)
    gone = [UUID(id) for id in event.merged_contact_ids]
    await merged.CONTACTS.merged(tx, UUID(event.merge_id), survivor, gone)


@SUBSCRIPTIONS.on(customers.ContactUnmerged)
async def contact_unmerged(event: customers.ContactUnmerged, tx: Transaction, envelope: Envelope) -> None:
    survivor = Target(UUID(event.contact_id), event.contact.display_name)
    restored = [Target(UUID(one.id), one.display_name) for one in event.restored_contacts]
    await merged.CONTACTS.unmerged(tx, UUID(event.merge_id), survivor, restored)
