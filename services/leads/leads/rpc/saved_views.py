"""Lists of leads as people like to see them."""

from kehu.leads.v1 import lead_pb2

from chassis.saved_views.switch import SavedViews, Viewed
from leads.rpc.leads import LEADS

SAVED_VIEWS = SavedViews(Viewed(LEADS, lead_pb2.Lead))
