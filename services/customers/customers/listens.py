"""Events of others → the customer's touch times."""

from uuid import UUID

from kehu.sales.v1 import events_pb2 as sales
from kehu.servicedesk.v1 import events_pb2 as servicedesk

from chassis.database import Transaction
from chassis.events.event import Envelope
from chassis.events.subscriptions import Subscriptions
from chassis.mapping import to_datetime
from customers.touches import touch

SUBSCRIPTIONS = Subscriptions()


@SUBSCRIPTIONS.on(sales.ActivityCompleted)
async def activity_completed(event: sales.ActivityCompleted, tx: Transaction, envelope: Envelope) -> None:
    if event.activity.customer_id:
        at = (
            to_datetime(event.activity.complete_time)
            if event.activity.HasField("complete_time")
            else envelope.time
        )
        await touch(tx, "contact", UUID(event.activity.customer_id), at)


@SUBSCRIPTIONS.on(sales.OrderPlaced)
async def order_placed(event: sales.OrderPlaced, tx: Transaction, envelope: Envelope) -> None:
    if event.order.customer_id:
        at = to_datetime(event.order.place_time) if event.order.HasField("place_time") else envelope.time
        await touch(tx, "deal", UUID(event.order.customer_id), at)


@SUBSCRIPTIONS.on(servicedesk.TicketOpened)
async def ticket_opened(event: servicedesk.TicketOpened, tx: Transaction, envelope: Envelope) -> None:
    if event.ticket.customer_id:
        await touch(tx, "service", UUID(event.ticket.customer_id), envelope.time)


@SUBSCRIPTIONS.on(servicedesk.TicketResolved)
async def ticket_resolved(event: servicedesk.TicketResolved, tx: Transaction, envelope: Envelope) -> None:
    if event.ticket.customer_id:
        await touch(tx, "service", UUID(event.ticket.customer_id), envelope.time)
