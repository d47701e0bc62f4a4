"""Lists of opportunities, products and orders as people like to see them."""

from kehu.sales.v1 import opportunity_pb2, order_pb2, product_pb2

from chassis.saved_views.switch import SavedViews, Viewed
from sales.rpc.opportunities import OPPORTUNITIES
from sales.rpc.orders import ORDERS
from sales.rpc.products import PRODUCTS

SAVED_VIEWS = SavedViews(
    Viewed(OPPORTUNITIES, opportunity_pb2.Opportunity),
    Viewed(PRODUCTS, product_pb2.Product),
    Viewed(ORDERS, order_pb2.Order),
)
