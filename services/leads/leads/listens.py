"""Events of others: customers and contacts that were merged, the tenant's country, and captures that marketing has understood as
the work of a campaign."""

from uuid import UUID

from kehu.marketing.v1 import events_pb2 as marketing

from chassis.database import Transaction
from chassis.events.event import Envelope
from chassis.events.subscriptions import Subscriptions
from chassis.following import hear_merges
from chassis.home import hear_home_country
from leads import merged
from leads.captures import attribute
from leads.handling import hold

SUBSCRIPTIONS = Subscriptions()
hear_merges(SUBSCRIPTIONS, merged.CUSTOMERS, merged.CONTACTS)
hear_home_country(SUBSCRIPTIONS)


@SUBSCRIPTIONS.on(marketing.LeadAttributed)
async def lead_attributed(event: marketing.LeadAttributed, tx: Transaction, envelope: Envelope) -> None:
    await attribute(tx, UUID(event.lead_id), UUID(event.capture_id), UUID(event.campaign_id), await hold(tx))
