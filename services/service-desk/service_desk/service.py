"""The service desk: tickets, and the times of their first response and resolution."""

from pathlib import Path

from kehu.servicedesk.v1 import events_pb2 as events

from chassis.history_face import Kept, history_face
from chassis.service import Service
from service_desk import errors, facet, listens, merged, ticket
from service_desk.rpc import tickets

SERVICE = Service(
    name="servicedesk",
    faces=[
        tickets.face,
        facet.face,
        history_face("kehu.servicedesk.v1.HistoryService", {"ticket": Kept(ticket.Ticket, "tickets")}),
    ],
    migrations=Path(__file__).parent / "migrations",
    publishes={
        ticket.TicketOpened: events.TicketOpened,
        ticket.TicketUpdated: events.TicketUpdated,
        ticket.TicketAssigned: events.TicketAssigned,
        ticket.TicketResponded: events.TicketResponded,
        ticket.TicketPended: events.TicketPended,
        ticket.TicketResolved: events.TicketResolved,
        ticket.TicketReopened: events.TicketReopened,
        ticket.TicketHasClosed: events.TicketClosed,
        ticket.TicketDeleted: events.TicketDeleted,
    },
    subscriptions=listens.SUBSCRIPTIONS,
    jobs={**merged.CUSTOMERS.jobs, **merged.CONTACTS.jobs},
    constraints={
        "tickets_external_key": errors.external_key_taken,
        "tickets_pkey": errors.id_taken,
    },
)
