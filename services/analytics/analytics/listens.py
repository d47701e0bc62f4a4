"""Events of others → facts.

A snapshot that cannot be read (an id that is none, a name this version does not know) is told to the dead letters at once: no
number of attempts would help.
"""

from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson
from google.protobuf.message import Message
from kehu.identity.v1 import events_pb2 as identity
from kehu.leads.v1 import events_pb2 as leads
from kehu.leads.v1 import lead_pb2
from kehu.sales.v1 import events_pb2 as sales
from kehu.sales.v1 import opportunity_pb2, order_pb2
from kehu.servicedesk.v1 import events_pb2 as servicedesk
from kehu.servicedesk.v1 import ticket_pb2

from analytics import facts
from chassis.database import Transaction
from chassis.errors import Invalid
from chassis.events.event import Envelope
from chassis.events.subscriptions import Poison, Subscriptions
from chassis.mapping import plain_decimal, to_date, to_datetime, to_value
from chassis.money import Money

SUBSCRIPTIONS = Subscriptions()
Values = dict[str, object]


def _listen(fact: facts.Fact, read: Callable[[Any], Values], *kinds: type[Message]) -> None:
    async def count(event: Message, tx: Transaction, envelope: Envelope) -> None:
        try:
            values = read(event)
        except (ValueError, ArithmeticError, Invalid) as error:
            raise Poison(f"the snapshot is not readable: {error}") from error
        deleted = event.DESCRIPTOR.name.endswith("Deleted")
        await fact.keep(tx, envelope, values, deleted=deleted)
        await facts.mark_counted(tx, envelope.source, envelope.time)

    for kind in kinds:
        SUBSCRIPTIONS.on(kind)(count)


def _id(text: str) -> UUID | None:
    return UUID(text) if text else None


def _owner(event: Any) -> Values:
    return {"owner_id": _id(event.owner_id), "team_id": _id(event.team_id)}


def _time(message: Any, name: str) -> datetime | None:
    return to_datetime(getattr(message, name)) if message.HasField(name) else None


def _day(message: Any, name: str) -> date | None:
    return to_date(getattr(message, name), name) if message.HasField(name) else None


def _money(message: Any, name: str) -> Money | None:
    return to_value(getattr(message, name), name) if message.HasField(name) else None


def _lead(event: Any) -> Values:
    lead: leads.LeadSnapshot = event.lead
    known = lead_pb2.LeadSource.Name(lead.source or lead_pb2.LEAD_SOURCE_OTHER)
    converted = lead.status == lead_pb2.LEAD_STATUS_CONVERTED
    return {
        **_owner(event),
        # One that only the tenant's list has is told by its key alone.
        "source": lead.source_key if lead.source_key and not lead.source else known,
        "campaign_id": _id(lead.campaign_id),
        "status": lead_pb2.LeadStatus.Name(lead.status),
        "captured_at": to_datetime(lead.create_time),
        "contacted": lead.HasField("first_contact_time"),
        "qualified": lead.HasField("qualify_time") or converted,
        "utm_source": lead.utm_source,
        "utm_medium": lead.utm_medium,
        "utm_campaign": lead.utm_campaign,
    }


def _opportunity(event: Any) -> Values:
    opportunity: sales.OpportunitySnapshot = event.opportunity
    amount = _money(opportunity, "amount")
    return {
        **_owner(event),
        "product_id": _id(opportunity.product_id),
        "amount": amount.minor if amount else None,
        "currency": amount.currency if amount else "",
        "stage_id": _id(opportunity.stage_id),
        "stage_name": opportunity.stage_name,
        "stage_position": opportunity.stage_position,
        "probability": opportunity.probability,
        "status": opportunity_pb2.OpportunityStatus.Name(opportunity.status),
        "engage_date": _day(opportunity, "engage_date"),
        "close_date": _day(opportunity, "close_date"),
        "origin_lead_id": _id(opportunity.origin_lead_id),
    }


def _order(event: Any) -> Values:
    order: sales.OrderSnapshot = event.order
    return {
        **_owner(event),
        "customer_id": _id(order.customer_id),
        "order_date": to_date(order.order_date, "order_date"),
        "status": order_pb2.OrderStatus.Name(order.status),
        "currency": order.currency_code,
        "subtotal": _minor(order, "subtotal", order.currency_code),
        "total": _minor(order, "total", order.currency_code),
        "lines": orjson.dumps([_line(line, order.currency_code) for line in order.lines]).decode(),
    }


def _line(line: order_pb2.OrderLine, currency: str) -> Values:
    return {
        "product_id": str(UUID(line.product_id)),
        "name": line.product_name,
        "sku": line.product_sku,
        "quantity": plain_decimal(Decimal(line.quantity)),
        "delivered": plain_decimal(Decimal(line.delivered_quantity or "0")),
        "amount": _minor(line, "amount", currency),
        "tax": _minor(line, "tax", currency),
    }


def _minor(message: Any, name: str, currency: str) -> int:
    money = _money(message, name)
    if money is None:
        return 0
    if money.currency != currency:
        raise ValueError(f"{name} is in {money.currency}, the order in {currency}")
    return money.minor


def _ticket(event: Any) -> Values:
    ticket: servicedesk.TicketSnapshot = event.ticket
    over = ticket.status in (ticket_pb2.TICKET_STATUS_RESOLVED, ticket_pb2.TICKET_STATUS_CLOSED)
    ended = _time(ticket, "resolve_time") or _time(ticket, "close_time")
    return {
        **_owner(event),
        "status": ticket_pb2.TicketStatus.Name(ticket.status),
        "priority": ticket_pb2.TicketPriority.Name(ticket.priority),
        "opened_at": to_datetime(ticket.create_time),
        "responded_at": _time(ticket, "first_response_time"),
        "ended_at": ended if over else None,
    }


def _product(event: Any) -> Values:
    return {"name": event.product.name, "sku": event.product.sku}


def _pipeline(event: sales.PipelineUpdated) -> Values:
    stages = [{"id": str(UUID(stage.id)), "name": stage.name} for stage in event.stages]
    return {"stages": orjson.dumps(stages).decode()}


def _person(event: Any) -> Values:
    return {"name": event.person.display_name, "team_id": _id(event.person.team_id)}


def _team(event: Any) -> Values:
    return {"name": event.team.name}


def _tenant(event: Any) -> Values:
    return {"time_zone": event.time_zone}


_listen(
    facts.LEADS, _lead, leads.LeadCreated, leads.LeadUpdated, leads.LeadAssigned, leads.LeadContacted, leads.LeadQualified,
    leads.LeadDisqualified, leads.LeadReopened, leads.LeadConverted, leads.LeadDeleted, leads.LeadReturned, leads.LeadReclaimed,
    leads.LeadCadenceStepReported,
)  # fmt: skip
_listen(
    facts.OPPORTUNITIES, _opportunity, sales.OpportunityCreated, sales.OpportunityUpdated, sales.OpportunityAssigned,
    sales.OpportunityStageChanged, sales.OpportunityWon, sales.OpportunityLost, sales.OpportunityReopened,
    sales.OpportunityDeleted,
)  # fmt: skip
_listen(
    facts.ORDERS, _order, sales.OrderCreated, sales.OrderUpdated, sales.OrderPlaced, sales.OrderCancelled,
    sales.OrderDelivered, sales.OrderDeleted,
)  # fmt: skip
_listen(
    facts.TICKETS, _ticket, servicedesk.TicketOpened, servicedesk.TicketUpdated, servicedesk.TicketAssigned,
    servicedesk.TicketResponded, servicedesk.TicketPended, servicedesk.TicketResolved, servicedesk.TicketReopened,
    servicedesk.TicketClosed, servicedesk.TicketDeleted,
)  # fmt: skip
_listen(facts.PRODUCTS, _product, sales.ProductCreated, sales.ProductUpdated, sales.ProductDeleted)
_listen(facts.PIPELINES, _pipeline, sales.PipelineUpdated)
_listen(
    facts.PEOPLE, _person, identity.PersonCreated, identity.PersonUpdated, identity.PersonDisabled,
    identity.PersonEnabled,
)  # fmt: skip
_listen(facts.TEAMS, _team, identity.TeamCreated, identity.TeamUpdated, identity.TeamDeleted)
_listen(facts.TENANTS, _tenant, identity.TenantCreated, identity.TenantUpdated)
