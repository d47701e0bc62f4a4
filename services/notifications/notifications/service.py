"""The notifications service: what each person should know of."""

from pathlib import Path

from kehu.notifications.v1 import events_pb2 as events

from chassis.privacy.rpc import privacy_face
from chassis.service import Service
from notifications import clearing, inbox, merged, notification, reminder
from notifications.listens import SUBSCRIPTIONS
from notifications.privacy import PRIVACY
from notifications.rpc import notifications

SERVICE = Service(
    name="notifications",
    faces=[notifications.face, privacy_face("kehu.notifications.v1.PrivacyService", PRIVACY)],
    migrations=Path(__file__).parent / "migrations",
    publishes={
        notification.NotificationCreated: events.NotificationCreated,
        inbox.InboxChanged: events.InboxChanged,
    },
    subscriptions=SUBSCRIPTIONS,
    jobs={
        reminder.REMINDER: reminder.remind,
        clearing.CLEARING: clearing.clear_away,
        **merged.CUSTOMERS.jobs,
        **merged.CONTACTS.jobs,
    },
)
