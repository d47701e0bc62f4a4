"""Lists of customers and contacts as people like to see them."""

from kehu.customers.v1 import contact_pb2, customer_pb2

from chassis.saved_views.switch import SavedViews, Viewed
from customers.rpc.contacts import CONTACTS
from customers.rpc.customers import CUSTOMERS

SAVED_VIEWS = SavedViews(Viewed(CUSTOMERS, customer_pb2.Customer), Viewed(CONTACTS, contact_pb2.Contact))
