"""Events of others: customers and contacts that were merged."""

from chassis.events.subscriptions import Subscriptions
from chassis.following import hear_merges
from leads import merged

SUBSCRIPTIONS = Subscriptions()
hear_merges(SUBSCRIPTIONS, merged.CUSTOMERS, merged.CONTACTS)
