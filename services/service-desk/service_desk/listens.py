"""Events of others: a renamed customer is shown and found by its new name, and one that left the trash for good by none."""

from chassis.events.subscriptions import Subscriptions
from chassis.following import hear_merges, hear_names, hear_purges
from service_desk import merged
from service_desk.naming import forget_contact, forget_customer, rename_customer

SUBSCRIPTIONS = Subscriptions()


hear_merges(SUBSCRIPTIONS, merged.CUSTOMERS, merged.CONTACTS)
hear_names(SUBSCRIPTIONS, merged.CUSTOMERS, rename_customer)
hear_purges(
    SUBSCRIPTIONS, merged.CUSTOMERS, merged.CONTACTS, customer=forget_customer, contact=forget_contact
)
