"""The sales service: products, the pipeline, opportunities, activities and orders."""

from pathlib import Path

from kehu.sales.v1 import events_pb2 as events

from chassis.attachments.attachment import AttachmentCreated, AttachmentDeleted
from chassis.attachments.rpc import attachment_face, attachments_kept
from chassis.attachments.upkeep import ATTACHMENT_COMMANDS, ATTACHMENT_JOBS
from chassis.bulk_edits.rpc import bulk_edits_face
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
from chassis.imports.progress import ImportProgressed
from chassis.imports.rpc import import_face
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
from sales import activity, errors, facet, listens, merged, opportunity, order, pipeline, product
from sales.custom_fields import CUSTOM_FIELDS
from sales.imports import IMPORTS, ProductImportProgressed
from sales.privacy import PRIVACY
from sales.rpc import activities, open_work, opportunities, orders, papers, pipelines, products, searches
from sales.rpc.bulk_edits import BULK_EDITS, OpportunityBulkEditProgressed, ProductBulkEditProgressed
from sales.rpc.exports import EXPORTS
from sales.rpc.papers import SUBJECTS
from sales.rpc.saved_views import SAVED_VIEWS

SERVICE = Service(
    name="sales",
    faces=[
        products.face,
        pipelines.face,
        opportunities.face,
        activities.face,
        orders.face,
        open_work.face,
        facet.face,
        bulk_edits_face("kehu.sales.v1.BulkEditService", BULK_EDITS),
        saved_views_face("kehu.sales.v1.SavedViewService", SAVED_VIEWS),
        searches.face,
        import_face("kehu.sales.v1.ImportService", IMPORTS),
        export_face("kehu.sales.v1.ExportService", EXPORTS),
        note_face("kehu.sales.v1.NoteService", SUBJECTS),
        attachment_face("kehu.sales.v1.AttachmentService", SUBJECTS),
        history_face(
            "kehu.sales.v1.HistoryService",
            {
                "product": Kept(product.Product, "products"),
                "pipeline": Kept(pipeline.Pipeline, "opportunities"),
                "opportunity": Kept(opportunity.Opportunity, "opportunities"),
                "activity": Kept(activity.Activity, "opportunities"),
                "order": Kept(order.Order, "orders"),
                "saved_view": Kept(SavedView, None, seen=SAVED_VIEWS.check_history),
                "note": notes_kept(SUBJECTS),
                "attachment": attachments_kept(SUBJECTS),
                "custom_field": Kept(CustomField, None),
            },
        ),
        custom_fields_face("kehu.sales.v1.CustomFieldService", CUSTOM_FIELDS),
        privacy_face("kehu.sales.v1.PrivacyService", PRIVACY),
    ],
    migrations=Path(__file__).parent / "migrations",
    publishes={
        ImportProgressed: events.ImportProgressed,
        OpportunityBulkEditProgressed: events.BulkEditProgressed,
        ProductBulkEditProgressed: events.ProductBulkEditProgressed,
        CustomFieldCreated: events.CustomFieldCreated,
        CustomFieldUpdated: events.CustomFieldUpdated,
        CustomFieldDeleted: events.CustomFieldDeleted,
        SavedViewCreated: events.SavedViewCreated,
        SavedViewUpdated: events.SavedViewUpdated,
        SavedViewDeleted: events.SavedViewDeleted,
        ProductImportProgressed: events.ProductImportProgressed,
        product.ProductCreated: events.ProductCreated,
        product.ProductUpdated: events.ProductUpdated,
        product.ProductDeleted: events.ProductDeleted,
        pipeline.PipelineUpdated: events.PipelineUpdated,
        opportunity.OpportunityCreated: events.OpportunityCreated,
        opportunity.OpportunityUpdated: events.OpportunityUpdated,
        opportunity.OpportunityAssigned: events.OpportunityAssigned,
        opportunity.OpportunityStageChanged: events.OpportunityStageChanged,
        opportunity.OpportunityWon: events.OpportunityWon,
        opportunity.OpportunityLost: events.OpportunityLost,
        opportunity.OpportunityReopened: events.OpportunityReopened,
        opportunity.OpportunityDeleted: events.OpportunityDeleted,
        activity.ActivityPlanned: events.ActivityPlanned,
        activity.ActivityUpdated: events.ActivityUpdated,
        activity.ActivityCompleted: events.ActivityCompleted,
        activity.ActivityCancelled: events.ActivityCancelled,
        activity.ActivityDeleted: events.ActivityDeleted,
        NoteCreated: events.NoteCreated,
        NoteUpdated: events.NoteUpdated,
        NoteDeleted: events.NoteDeleted,
        AttachmentCreated: events.AttachmentCreated,
        AttachmentDeleted: events.AttachmentDeleted,
        papers.OrderNoteCreated: events.OrderNoteCreated,
        papers.OrderNoteUpdated: events.OrderNoteUpdated,
        papers.OrderNoteDeleted: events.OrderNoteDeleted,
        papers.OrderAttachmentCreated: events.OrderAttachmentCreated,
        papers.OrderAttachmentDeleted: events.OrderAttachmentDeleted,
        papers.ProductNoteCreated: events.ProductNoteCreated,
        papers.ProductNoteUpdated: events.ProductNoteUpdated,
        papers.ProductNoteDeleted: events.ProductNoteDeleted,
        papers.ProductAttachmentCreated: events.ProductAttachmentCreated,
        papers.ProductAttachmentDeleted: events.ProductAttachmentDeleted,
        order.OrderCreated: events.OrderCreated,
        order.OrderUpdated: events.OrderUpdated,
        order.OrderPlaced: events.OrderPlaced,
        order.OrderCancelled: events.OrderCancelled,
        order.OrderDelivered: events.OrderDelivered,
        order.OrderReceiptRecorded: events.OrderReceiptRecorded,
        order.OrderDeleted: events.OrderDeleted,
    },
    subscriptions=listens.SUBSCRIPTIONS,
    jobs={
        **IMPORTS.jobs,
        **CUSTOM_FIELDS.jobs,
        **BULK_EDITS.jobs,
        **ATTACHMENT_JOBS,
        listens.NAMING: listens.name_customer,
        **merged.CUSTOMERS.jobs,
        **merged.CONTACTS.jobs,
        **merged.LEADS.jobs,
    },
    commands={**ATTACHMENT_COMMANDS},
    constraints={
        "products_name_once": errors.product_name_taken,
        "products_sku_once": errors.sku_taken,
        "activities_external_key": errors.external_key_taken,
        "opportunities_external_key": errors.external_key_taken,
        "orders_external_key": errors.external_key_taken,
        "custom_fields_key": key_taken,
        "saved_views_name": name_taken,
        **{
            f"{table}_pkey": errors.id_taken
            for table in ("products", "opportunities", "activities", "orders")
        },
    },
)
