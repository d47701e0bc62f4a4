"""What analytics holds about a person: nothing but ids, and copies of events that could not take effect."""

from chassis.privacy.privacy import Privacy

PRIVACY = Privacy(
    others={
        "products": "names of things", "people": "our own people", "teams": "our own teams",
        "opportunities": "the stage's name",
    },
)  # fmt: skip
