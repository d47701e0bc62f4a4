"""What sales holds about a person: business with them, which stays without them in it."""

from chassis.privacy.holding import Holding
from chassis.privacy.papers import papers_with
from chassis.privacy.privacy import Privacy
from sales import order as orders
from sales.activity import Activity
from sales.opportunity import OPEN, Opportunity
from sales.order import Order

PRIVACY = Privacy(
    Holding(
        Opportunity, about={"customer_id": "customer"}, ties={"contact_id": "contact", "origin_lead_id": "lead"},
        texts=("notes", "close_note", "external_key"),
        swept=("name", "customer_name", "product_name", "stage_name", "loss_reason"), keeps="BUSINESS_RECORD",
        notices={"OPEN_OPPORTUNITY": lambda row: row.status == OPEN},
    ),
    Holding(
        Activity, about={"customer_id": "customer", "contact_id": "contact", "lead_id": "lead"},
        texts=("description", "result", "location", "cancel_reason", "external_key"), swept=("subject", "customer_name"),
        keeps="BUSINESS_RECORD",
    ),
    Holding(
        Order, about={"customer_id": "customer"}, ties={"contact_id": "contact"},
        texts=("delivery_address", "notes", "cancel_reason", "external_key"), swept=("customer_name", "deliveries", "receipts"),
        keeps="ACCOUNTING_DUTY",
        withheld=("line_costs",),
        notices={"OPEN_ORDER": lambda row: row.status in (orders.DRAFT, orders.PLACED, orders.PARTLY_DELIVERED)},
    ),
    *papers_with("opportunity", "order", "activity"),
    others={
        "saved_views": "names of lists", "products": "names of things", "pipelines": "names of stages",
        "counters": "what is counted", "competitor_names": "names of companies",
    },
)  # fmt: skip
