"""SearchService: by what opportunities, orders and products are found."""

from chassis.search_face import Searched, search_face
from sales.rpc.opportunities import OPPORTUNITIES
from sales.rpc.orders import ORDERS
from sales.rpc.products import PRODUCTS

face = search_face(
    "kehu.sales.v1.SearchService",
    {
        "opportunity": Searched(
            OPPORTUNITIES,
            title="name",
            subtitle=("customer_name", "stage_name"),
            names={"name": "name", "customerName": "customer_name"},
            texts={"externalKey": "external_key"},
        ),
        "order": Searched(
            ORDERS,
            title="number",
            subtitle=("customer_name",),
            names={"customerName": "customer_name"},
            texts={"number": "number", "externalKey": "external_key"},
        ),
        "product": Searched(
            PRODUCTS,
            title="name",
            subtitle=("sku", "series"),
            names={"name": "name"},
            texts={"sku": "sku"},
        ),
    },
)
