"""What notifications hold about a person: the names of records in what people were told."""

from chassis.privacy.holding import Holding
from chassis.privacy.privacy import Privacy
from notifications.notification import Notification

PRIVACY = Privacy(
    Holding(
        Notification, ties={"about_id": ("lead", "contact", "customer")}, swept=("spoken_of", "actor_name"), keeps="STATISTICS",
    ),
)  # fmt: skip
