"""When we last spoke with a customer, last sold to it and last served it: kept by the events of the services where it happens.

The times only ever move forward, so repeats and disorder of events, and a replay of all of them, come to the same end. They are
no edit: they change neither the version nor the history of the customer, and nobody's etag goes stale by them.
"""

from datetime import datetime
from uuid import UUID

from sqlalchemy import text

from chassis.database import Transaction

_TOUCH = {
    "contact": "UPDATE customers SET last_contact_time = greatest(last_contact_time, :at) WHERE id = :id",
    "deal": "UPDATE customers SET last_deal_time = greatest(last_deal_time, :at) WHERE id = :id",
    "service": "UPDATE customers SET last_service_time = greatest(last_service_time, :at) WHERE id = :id",
}


async def touch(tx: Transaction, kind: str, customer_id: UUID, at: datetime) -> None:
    """Notes a touch of that kind ('contact', 'deal' or 'service'); an unknown customer is nobody's fault."""
    await tx.session.execute(text(_TOUCH[kind]), {"id": customer_id, "at": at})
