"""Lists of tickets as people like to see them."""

from kehu.servicedesk.v1 import ticket_pb2

from chassis.saved_views.switch import SavedViews, Viewed
from service_desk.rpc.tickets import TICKETS

SAVED_VIEWS = SavedViews(Viewed(TICKETS, ticket_pb2.Ticket))
