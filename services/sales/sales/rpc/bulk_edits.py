"""Changing many opportunities or products at once."""

from typing import Any

from chassis.bulk_edits.edit import BulkEditProgressed
from chassis.bulk_edits.editor import Editor, at_once
from chassis.bulk_edits.rpc import BulkEdits
from chassis.database import Transaction
from chassis.owners import Owner
from sales.custom_fields import CUSTOM_FIELDS
from sales.opportunity import Opportunity, assign_opportunity, change_opportunity
from sales.product import Product, change_product
from sales.rpc.messages import OPPORTUNITY, PRODUCT
from sales.rpc.opportunities import OPPORTUNITIES
from sales.rpc.products import PRODUCTS


class ProductBulkEditProgressed(BulkEditProgressed):
    """Those who read products hear of it, who need not read opportunities."""


class OpportunityBulkEditProgressed(BulkEditProgressed):
    """Those who read opportunities hear of it."""


async def _change_opportunity(tx: Transaction, opportunity: Opportunity, values: dict[str, Any]) -> None:
    await change_opportunity(tx, opportunity, values, None)


async def _assign_opportunity(tx: Transaction, opportunity: Opportunity, owner: Owner) -> None:
    assign_opportunity(tx, opportunity, owner)


async def _change_product(tx: Transaction, product: Product, values: dict[str, Any]) -> None:
    await change_product(tx, product, values)


BULK_EDITS = BulkEdits(
    Editor(
        OPPORTUNITIES,
        Opportunity,
        "kehu.sales.v1.OpportunityService/UpdateOpportunity",
        OPPORTUNITY.values,
        begin=at_once(_change_opportunity, _assign_opportunity),
        assigns=True,
        # Whose they are is looked up in another service, stages move by a verb.
        closed=frozenset(
            {
                "customer_id",
                "contact_id",
                "stage_id",
                "external_key",
                "competitor_ids",
                "lost_to_competitor_id",
            }
        ),
        derived=frozenset({"assign_time", "product_name"}),
        custom_fields=CUSTOM_FIELDS,
        progressed=OpportunityBulkEditProgressed,
    ),
    Editor(
        PRODUCTS,
        Product,
        "kehu.sales.v1.ProductService/UpdateProduct",
        PRODUCT.values,
        begin=at_once(_change_product),
        closed=frozenset({"name", "sku"}),
        custom_fields=CUSTOM_FIELDS,
        progressed=ProductBulkEditProgressed,
    ),
)
