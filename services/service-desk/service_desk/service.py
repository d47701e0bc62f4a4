"""The service desk: tickets, and the times of their first response and resolution."""

from pathlib import Path

from kehu.servicedesk.v1 import events_pb2 as events

from chassis.attachments.attachment import AttachmentCreated, AttachmentDeleted
from chassis.attachments.rpc import attachment_face, attachments_kept
from chassis.attachments.upkeep import ATTACHMENT_COMMANDS, ATTACHMENT_JOBS
from chassis.custom_fields.field import (
    CustomField,
    CustomFieldCreated,
    CustomFieldDeleted,
    CustomFieldUpdated,
    key_taken,
)
from chassis.custom_fields.rpc import custom_fields_face
from chassis.exports.rpc import export_face
from chassis.history_face import Kept, history_face
from chassis.notes.note import NoteCreated, NoteDeleted, NoteUpdated
from chassis.notes.rpc import note_face, notes_kept
from chassis.privacy.rpc import privacy_face
from chassis.saved_views.rpc import saved_views_face
from chassis.saved_views.view import (
    SavedView,
    SavedViewCreated,
    SavedViewDeleted,
    SavedViewUpdated,
    name_taken,
)
from chassis.service import Service
from service_desk import errors, facet, listens, merged, ticket
from service_desk.custom_fields import CUSTOM_FIELDS
from service_desk.privacy import PRIVACY
from service_desk.rpc import searches, tickets
from service_desk.rpc.exports import EXPORTS
from service_desk.rpc.papers import SUBJECTS
from service_desk.rpc.saved_views import SAVED_VIEWS

SERVICE = Service(
    name="servicedesk",
    faces=[
        tickets.face,
        facet.face,
        searches.face,
        export_face("kehu.servicedesk.v1.ExportService", EXPORTS),
        saved_views_face("kehu.servicedesk.v1.SavedViewService", SAVED_VIEWS),
        note_face("kehu.servicedesk.v1.NoteService", SUBJECTS),
        attachment_face("kehu.servicedesk.v1.AttachmentService", SUBJECTS),
        history_face(
            "kehu.servicedesk.v1.HistoryService",
            {
                "ticket": Kept(ticket.Ticket, "tickets"),
                "saved_view": Kept(SavedView, None, seen=SAVED_VIEWS.check_history),
                "note": notes_kept(SUBJECTS),
                "attachment": attachments_kept(SUBJECTS),
                "custom_field": Kept(CustomField, None),
            },
        ),
        custom_fields_face("kehu.servicedesk.v1.CustomFieldService", CUSTOM_FIELDS),
        privacy_face("kehu.servicedesk.v1.PrivacyService", PRIVACY),
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
        ticket.TicketRated: events.TicketRated,
        ticket.TicketDeleted: events.TicketDeleted,
        CustomFieldCreated: events.CustomFieldCreated,
        CustomFieldUpdated: events.CustomFieldUpdated,
        CustomFieldDeleted: events.CustomFieldDeleted,
        SavedViewCreated: events.SavedViewCreated,
        SavedViewUpdated: events.SavedViewUpdated,
        SavedViewDeleted: events.SavedViewDeleted,
        NoteCreated: events.NoteCreated,
        NoteUpdated: events.NoteUpdated,
        NoteDeleted: events.NoteDeleted,
        AttachmentCreated: events.AttachmentCreated,
        AttachmentDeleted: events.AttachmentDeleted,
    },
    subscriptions=listens.SUBSCRIPTIONS,
    jobs={**CUSTOM_FIELDS.jobs, **merged.CUSTOMERS.jobs, **merged.CONTACTS.jobs, **ATTACHMENT_JOBS},
    commands={**ATTACHMENT_COMMANDS},
    constraints={
        "tickets_external_key": errors.external_key_taken,
        "tickets_pkey": errors.id_taken,
        "custom_fields_key": key_taken,
        "saved_views_name": name_taken,
    },
)
