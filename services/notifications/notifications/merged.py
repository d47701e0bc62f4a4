"""Customers and contacts that were merged: what was told of them leads to where they went."""

from chassis.database import Transaction
from chassis.following import Following, Reference, Target
from notifications.notification import Notification


async def _to(tx: Transaction, notification: Notification, to: Target, aside: bool) -> bool:
    notification.about_id = to.id
    return False


# Ids are unique whatever they name, so a notification is found by the record's alone.
CUSTOMERS = Following("customer", Reference(Notification, "about_id", _to))
CONTACTS = Following("contact", Reference(Notification, "about_id", _to))
