"""Events of others: a renamed customer is shown and found by its new name, and one that left the trash for good by none."""

from uuid import UUID

from kehu.customers.v1 import events_pb2 as customers
from sqlalchemy import select
from sqlmodel import col

from chassis.database import Transaction
from chassis.events.event import Envelope
from chassis.events.subscriptions import Subscriptions
from chassis.following import hear_merges, hear_purges
from service_desk import merged
from service_desk.forgetting import forget_contact, forget_customer
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


hear_merges(SUBSCRIPTIONS, merged.CUSTOMERS, merged.CONTACTS)
hear_purges(
    SUBSCRIPTIONS, merged.CUSTOMERS, merged.CONTACTS, customer=forget_customer, contact=forget_contact
)
