"""The sales service: products, the pipeline, opportunities, activities and orders."""

from pathlib import Path

from kehu.sales.v1 import events_pb2 as events

from chassis.custom_fields.field import CustomField, key_taken
from chassis.custom_fields.rpc import custom_fields_face
from chassis.exports.rpc import export_face
from chassis.history_face import Kept, history_face
from chassis.imports.progress import ImportProgressed
from chassis.imports.rpc import import_face
from chassis.service import Service
from sales import activity, errors, facet, listens, merged, opportunity, order, pipeline, product
from sales.custom_fields import CUSTOM_FIELDS
from sales.imports import IMPORTS, ProductImportProgressed
from sales.rpc import activities, opportunities, orders, pipelines, products
from sales.rpc.exports import EXPORTS

SERVICE = Service(
    name="sales",
    faces=[
        products.face,
        pipelines.face,
        opportunities.face,
        activities.face,
        orders.face,
        facet.face,
        import_face("kehu.sales.v1.ImportService", IMPORTS),
        export_face("kehu.sales.v1.ExportService", EXPORTS),
        history_face(
            "kehu.sales.v1.HistoryService",
            {
                "product": Kept(product.Product, "products"),
                "pipeline": Kept(pipeline.Pipeline, "opportunities"),
                "opportunity": Kept(opportunity.Opportunity, "opportunities"),
                "activity": Kept(activity.Activity, "opportunities"),
                "order": Kept(order.Order, "orders"),
                "custom_field": Kept(CustomField, None),
            },
        ),
        custom_fields_face("kehu.sales.v1.CustomFieldService", CUSTOM_FIELDS),
    ],
    migrations=Path(__file__).parent / "migrations",
    publishes={
        ImportProgressed: events.ImportProgressed,
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
        order.OrderCreated: events.OrderCreated,
        order.OrderUpdated: events.OrderUpdated,
        order.OrderPlaced: events.OrderPlaced,
        order.OrderCancelled: events.OrderCancelled,
        order.OrderDelivered: events.OrderDelivered,
        order.OrderDeleted: events.OrderDeleted,
    },
    subscriptions=listens.SUBSCRIPTIONS,
    jobs={
        **IMPORTS.jobs,
        **CUSTOM_FIELDS.jobs,
        listens.NAMING: listens.name_customer,
        **merged.CUSTOMERS.jobs,
        **merged.CONTACTS.jobs,
    },
    constraints={
        "products_name_once": errors.product_name_taken,
        "products_sku_once": errors.sku_taken,
        "opportunities_external_key": errors.external_key_taken,
        "orders_external_key": errors.external_key_taken,
        "custom_fields_key": key_taken,
        **{
            f"{table}_pkey": errors.id_taken
            for table in ("products", "opportunities", "activities", "orders")
        },
    },
)
