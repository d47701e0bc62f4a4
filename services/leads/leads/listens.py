"""Events of others: customers and contacts that were merged, the tenant's country, captures that marketing has understood as the
work of a campaign, and activities with leads."""

from typing import Any
from uuid import UUID

from kehu.marketing.v1 import events_pb2 as marketing
from kehu.sales.v1 import events_pb2 as sales

from chassis.database import Transaction
from chassis.events.event import Envelope
from chassis.events.subscriptions import Subscriptions
from chassis.following import hear_merges, hear_purges
from chassis.home import hear_home_country
from chassis.mapping import to_datetime
from leads import merged
from leads.captures import attribute
from leads.handling import hold
from leads.pool import worked_on

SUBSCRIPTIONS = Subscriptions()
hear_merges(SUBSCRIPTIONS, merged.CUSTOMERS, merged.CONTACTS)
hear_purges(SUBSCRIPTIONS, merged.CUSTOMERS, merged.CONTACTS)
hear_home_country(SUBSCRIPTIONS)


@SUBSCRIPTIONS.on(marketing.LeadAttributed)
async def lead_attributed(event: marketing.LeadAttributed, tx: Transaction, envelope: Envelope) -> None:
    await attribute(tx, UUID(event.lead_id), UUID(event.capture_id), UUID(event.campaign_id), await hold(tx))


async def activity_with_lead(event: Any, tx: Transaction, envelope: Envelope) -> None:
    """A visit, a call or a task was planned or done."""
    told: sales.ActivitySnapshot = event.activity
    at = to_datetime(told.complete_time) if told.HasField("complete_time") else envelope.time
    await worked_on(tx, UUID(told.lead_id), at)


for _kind in (sales.ActivityPlanned, sales.ActivityCompleted):
    SUBSCRIPTIONS.on(_kind, when=lambda event: bool(event.activity.lead_id))(activity_with_lead)
