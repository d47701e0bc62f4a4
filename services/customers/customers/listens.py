"""Events of others → the customer's touch times, its value, and the points of its card.

A snapshot that cannot be read (an id that is none, money in two currencies) is told to the dead letters at once: no number of
attempts would help.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, TypeVar
from uuid import UUID

from kehu.identity.v1 import events_pb2 as identity
from kehu.leads.v1 import events_pb2 as leads
from kehu.sales.v1 import activity_pb2, opportunity_pb2, order_pb2
from kehu.sales.v1 import events_pb2 as sales
from kehu.servicedesk.v1 import events_pb2 as servicedesk

from chassis.database import Transaction
from chassis.errors import Invalid
from chassis.events.event import Envelope
from chassis.events.subscriptions import Poison, Subscriptions
from chassis.home import keep_home_country
from chassis.mapping import to_date, to_datetime, to_value
from customers.customer import survivor_of
from customers.points.earning import (
    DELIVERED,
    OTHER,
    PLACED,
    RECEIVED,
    SoldOrder,
    order_cancelled,
    order_earns,
)
from customers.points.programme import Bought
from customers.rpc.lead_papers import LEAD_PAPERS
from customers.touches import (
    COMPLETED,
    DEAL,
    GONE,
    PLANNED,
    ActivityFact,
    Touch,
    first_deal,
    keep_activity,
    touch,
)
from customers.value.facts import (
    OpportunityFact,
    OrderFact,
    customer_of_order,
    customers_of_opportunity,
    keep_opportunity,
    keep_order,
)
from customers.value.review import outdate
from customers.value.satisfaction import RatingFact, customers_of_rating, day_of_rating, keep_rating
from customers.value.shown import hold_customers
from customers.value.worth import keep_main_currency, revalue

SUBSCRIPTIONS = Subscriptions()
R = TypeVar("R")


def _readable(read: Callable[[Any], R], event: Any) -> R:
    try:
        return read(event)
    except (ValueError, ArithmeticError, Invalid) as error:
        raise Poison(f"the snapshot is not readable: {error}") from error


_STATES = {
    activity_pb2.ACTIVITY_STATUS_PLANNED: PLANNED,
    activity_pb2.ACTIVITY_STATUS_COMPLETED: COMPLETED,
    activity_pb2.ACTIVITY_STATUS_CANCELLED: GONE,
}


def _activity(event: Any, at: datetime) -> ActivityFact:
    told: sales.ActivitySnapshot = event.activity
    state = GONE if isinstance(event, sales.ActivityDeleted) else _STATES.get(told.status, GONE)
    time = told.complete_time if state == COMPLETED else told.due_time
    has_time = told.HasField("complete_time" if state == COMPLETED else "due_time")
    return ActivityFact(
        id=UUID(event.activity_id), customer_id=UUID(told.customer_id) if told.customer_id else None, state=state,
        at=to_datetime(time) if has_time else at,
    )  # fmt: skip


def _touched(event: Any, at: datetime) -> Touch | None:
    """That an event of something else says that a customer has bought or was served."""
    match event:
        case sales.OrderPlaced():
            kind, customer_id = DEAL, event.order.customer_id
            at = to_datetime(event.order.place_time) if event.order.HasField("place_time") else at
        case sales.OpportunityWon():
            kind, customer_id = DEAL, event.opportunity.customer_id
        case servicedesk.TicketOpened() | servicedesk.TicketResolved():
            kind, customer_id = "service", event.ticket.customer_id
        case _:
            return None
    return Touch(kind=kind, customer_id=UUID(customer_id), at=at) if customer_id else None


def told_of(event: Any, envelope: Envelope) -> ActivityFact | Touch | None:
    """What an event says of when a customer was, or is to be, in touch with us: the customer that it names, wherever that went by
    merges since. Raises Poison for a snapshot that cannot be read."""
    read = _activity if event.DESCRIPTOR.name.startswith("Activity") else _touched
    return _readable(lambda told: read(told, envelope.time), event)


async def _touch(event: Any, tx: Transaction, envelope: Envelope) -> None:
    one = told_of(event, envelope)
    if isinstance(one, Touch):
        whose = await survivor_of(tx, one.customer_id)
        if one.kind == DEAL:
            await first_deal(tx, whose)
        await touch(tx, one.kind, whose, one.at)


async def activity_moved(event: Any, tx: Transaction, envelope: Envelope) -> None:
    """Whatever became of an activity."""
    fact = _readable(lambda told: _activity(told, envelope.time), event)
    if fact.customer_id is not None:
        fact = replace(fact, customer_id=await survivor_of(tx, fact.customer_id))
    await keep_activity(tx, fact, envelope)


for _kind in (
    sales.ActivityPlanned, sales.ActivityUpdated, sales.ActivityCompleted, sales.ActivityCancelled, sales.ActivityDeleted,
):  # fmt: skip
    SUBSCRIPTIONS.on(_kind)(activity_moved)


async def _held(tx: Transaction, named: UUID, *others: UUID) -> UUID:
    """Locks a customer that an event names, wherever it went by merges, and others whose value the event changes: before anything
    of theirs or of the tenant's is, as whoever merges them does. Answers with where the named one went."""
    await hold_customers(tx, [await survivor_of(tx, named), *others])
    # It may have gone while it was waited for.
    return await survivor_of(tx, named)


def _minor(message: Any, name: str, currency: str) -> int:
    if not message.HasField(name):
        return 0
    money = to_value(getattr(message, name), name)
    if money.currency != currency:
        raise ValueError(f"{name} is in {money.currency}, the order in {currency}")
    return money.minor


_STEPS = {
    "OrderPlaced": PLACED, "OrderDelivered": DELIVERED, "OrderReceiptRecorded": RECEIVED,
}  # fmt: skip


def _order(event: Any) -> tuple[OrderFact, SoldOrder]:
    order: sales.OrderSnapshot = event.order
    id, customer_id, currency = UUID(event.order_id), UUID(order.customer_id), order.currency_code
    lines = [
        Bought(
            product_id=UUID(line.product_id),
            amount=_minor(line, "amount", currency) + _minor(line, "tax", currency),
        )
        for line in order.lines
    ]
    # Orders of before costs were kept, and those of which none is known, say nothing of it.
    costed = order.HasField("cost_total")
    fact = OrderFact(
        id=id, customer_id=customer_id, cancelled=order.status == order_pb2.ORDER_STATUS_CANCELLED, currency=currency,
        revenue=_minor(order, "subtotal", currency), total=_minor(order, "total", currency),
        received=_minor(order, "received_total", currency),
        costed_revenue=_minor(order, "costed_subtotal", currency) if costed else None,
        cost=_minor(order, "cost_total", currency) if costed else None, order_date=to_date(order.order_date, "order_date"),
    )  # fmt: skip
    sold = SoldOrder(
        id=id, number=order.number, customer_id=customer_id, currency=currency, lines=lines,
        delivered=order.status == order_pb2.ORDER_STATUS_DELIVERED, paid=fact.received >= fact.total,
        step=_STEPS.get(event.DESCRIPTOR.name, OTHER),
        placed_at=to_datetime(order.place_time) if order.HasField("place_time") else None,
        delivered_at=to_datetime(order.deliver_time) if order.HasField("deliver_time") else None,
    )  # fmt: skip
    return fact, sold


async def _order_moved(event: Any, tx: Transaction, envelope: Envelope) -> None:
    fact, sold = _readable(_order, event)
    whose = await _held(tx, fact.customer_id)
    fact, sold = replace(fact, customer_id=whose), replace(sold, customer_id=whose)
    outdate(tx, fact.order_date)
    cancelled = await keep_order(tx, fact, envelope)
    await revalue(tx, whose)
    if cancelled:
        await order_cancelled(tx, sold.id, sold.number)
    else:
        await order_earns(tx, sold, envelope.time)


@SUBSCRIPTIONS.on(sales.OrderPlaced)
async def order_placed(event: sales.OrderPlaced, tx: Transaction, envelope: Envelope) -> None:
    if event.order.customer_id:
        await _touch(event, tx, envelope)
        await _order_moved(event, tx, envelope)


@SUBSCRIPTIONS.on(sales.OrderDelivered, when=lambda event: bool(event.order.customer_id))
async def order_delivered(event: sales.OrderDelivered, tx: Transaction, envelope: Envelope) -> None:
    await _order_moved(event, tx, envelope)


@SUBSCRIPTIONS.on(sales.OrderCancelled, when=lambda event: bool(event.order.customer_id))
async def order_cancelled_event(event: sales.OrderCancelled, tx: Transaction, envelope: Envelope) -> None:
    await _order_moved(event, tx, envelope)


@SUBSCRIPTIONS.on(sales.OrderReceiptRecorded, when=lambda event: bool(event.order.customer_id))
async def order_receipt_recorded(
    event: sales.OrderReceiptRecorded, tx: Transaction, envelope: Envelope
) -> None:
    """Something was paid of an order, perhaps the last of it. No month's value changes by that."""
    fact, sold = _readable(_order, event)
    whose = await _held(tx, fact.customer_id)
    cancelled = await keep_order(tx, replace(fact, customer_id=whose), envelope)
    await revalue(tx, whose)
    if not cancelled:
        await order_earns(tx, replace(sold, customer_id=whose), envelope.time)


def _given_to_another(event: sales.OrderUpdated) -> bool:
    drafted = event.order.status == order_pb2.ORDER_STATUS_DRAFT
    return bool(event.order.customer_id) and not drafted and "customerId" in event.changed_fields


@SUBSCRIPTIONS.on(sales.OrderUpdated, when=_given_to_another)
async def order_updated(event: sales.OrderUpdated, tx: Transaction, envelope: Envelope) -> None:
    """An order that was placed came to another customer, by a merge or its undoing. It earns nothing by that."""
    fact, _ = _readable(_order, event)
    before = await customer_of_order(tx, fact.id)
    fact = replace(fact, customer_id=await _held(tx, fact.customer_id, *before))
    outdate(tx, fact.order_date)
    await keep_order(tx, fact, envelope)
    for id in sorted({fact.customer_id, *before}):
        await revalue(tx, id)


def _opportunity(event: Any) -> OpportunityFact:
    opportunity: sales.OpportunitySnapshot = event.opportunity
    money = to_value(opportunity.amount, "amount") if opportunity.HasField("amount") else None
    weighted = Decimal(money.minor * opportunity.probability) / 100 if money else Decimal(0)
    deleted = isinstance(event, sales.OpportunityDeleted)
    return OpportunityFact(
        id=UUID(event.opportunity_id), customer_id=UUID(opportunity.customer_id),
        open=opportunity.status == opportunity_pb2.OPPORTUNITY_STATUS_OPEN and not deleted,
        currency=money.currency if money else "", potential=int(weighted.quantize(Decimal(1), rounding=ROUND_HALF_UP)),
    )  # fmt: skip


async def opportunity_moved(event: Any, tx: Transaction, envelope: Envelope) -> None:
    """Whatever became of an opportunity."""
    fact = _readable(_opportunity, event)
    before = await customers_of_opportunity(tx, fact.id)
    fact = replace(fact, customer_id=await _held(tx, fact.customer_id, *before))
    outdate(tx, envelope.time.date())
    for customer_id in sorted(await keep_opportunity(tx, fact, envelope)):
        await revalue(tx, customer_id)
    await _touch(event, tx, envelope)


def _has_customer(event: Any) -> bool:
    return bool(event.opportunity.customer_id)


for _kind in (
    sales.OpportunityCreated, sales.OpportunityUpdated, sales.OpportunityStageChanged, sales.OpportunityWon,
    sales.OpportunityLost, sales.OpportunityReopened, sales.OpportunityDeleted,
):  # fmt: skip
    SUBSCRIPTIONS.on(_kind, when=_has_customer)(opportunity_moved)


async def tenant_told(event: Any, tx: Transaction, envelope: Envelope) -> None:
    """The tenant's own currency and country."""
    if event.currency_code:
        await keep_main_currency(tx, event.currency_code, envelope)
    if event.country_code:
        await keep_home_country(tx, event.country_code, envelope.version, envelope.event_id)


for _said in (identity.TenantCreated, identity.TenantUpdated):
    SUBSCRIPTIONS.on(_said, when=lambda event: bool(event.currency_code or event.country_code))(tenant_told)


async def lead_moved(event: Any, tx: Transaction, envelope: Envelope) -> None:
    """A lead has become a customer, was attached to one, or was reopened: what is on it follows."""
    changes = isinstance(event, leads.LeadConverted) and event.changes_contact
    await tx.enqueue(LEAD_PAPERS, {"lead_id": event.lead_id, "changes_contact": changes}, key=event.lead_id)


def _attached(event: leads.LeadDisqualified) -> bool:
    return bool(event.lead.duplicate_of_customer_id)


SUBSCRIPTIONS.on(leads.LeadConverted)(lead_moved)
SUBSCRIPTIONS.on(leads.LeadDisqualified, when=_attached)(lead_moved)
SUBSCRIPTIONS.on(leads.LeadReopened)(lead_moved)


@SUBSCRIPTIONS.on(servicedesk.TicketOpened)
async def ticket_opened(event: servicedesk.TicketOpened, tx: Transaction, envelope: Envelope) -> None:
    await _touch(event, tx, envelope)


@SUBSCRIPTIONS.on(servicedesk.TicketResolved)
async def ticket_resolved(event: servicedesk.TicketResolved, tx: Transaction, envelope: Envelope) -> None:
    await _touch(event, tx, envelope)


def _rating(event: Any) -> RatingFact:
    told: servicedesk.TicketSnapshot = event.ticket
    whose = "" if isinstance(event, servicedesk.TicketDeleted) else told.customer_id
    if not 1 <= told.rating <= 5:
        raise ValueError(f"there is no rating {told.rating}")
    return RatingFact(
        id=UUID(event.ticket_id), customer_id=UUID(whose) if whose else None, rating=told.rating,
        rated_on=to_datetime(told.rate_time).date(),
    )  # fmt: skip


async def rating_moved(event: Any, tx: Transaction, envelope: Envelope) -> None:
    """A ticket was rated, or one that is came to another customer, by a merge, too, or was deleted."""
    fact = _readable(_rating, event)
    before = await customers_of_rating(tx, fact.id)
    if fact.customer_id is None:
        await hold_customers(tx, list(before))
    else:
        fact = replace(fact, customer_id=await _held(tx, fact.customer_id, *before))
    outdate(tx, fact.rated_on)
    # A rating of a further resolution has its own day, and is missing from then on where the one before was.
    known = await day_of_rating(tx, fact.id)
    if known is not None and known < fact.rated_on:
        outdate(tx, known)
    for id in sorted(await keep_rating(tx, fact, envelope)):
        await revalue(tx, id)


def _rated_came_to_another(event: servicedesk.TicketUpdated) -> bool:
    return bool(event.ticket.rating) and "customerId" in event.changed_fields


SUBSCRIPTIONS.on(servicedesk.TicketRated)(rating_moved)
SUBSCRIPTIONS.on(servicedesk.TicketUpdated, when=_rated_came_to_another)(rating_moved)
SUBSCRIPTIONS.on(servicedesk.TicketDeleted, when=lambda event: bool(event.ticket.rating))(rating_moved)

TOUCHING = SUBSCRIPTIONS.only(
    sales.ActivityPlanned, sales.ActivityUpdated, sales.ActivityCompleted, sales.ActivityCancelled, sales.ActivityDeleted,
    sales.OrderPlaced, sales.OpportunityWon, servicedesk.TicketOpened, servicedesk.TicketResolved,
)  # fmt: skip
"""The events of which `told_of` says something."""
