"""What marketing holds about a person: in which campaigns they were, which are counted without them."""

from chassis.privacy.holding import Holding
from chassis.privacy.papers import papers_with
from chassis.privacy.privacy import Privacy
from marketing.member import CampaignMember

PRIVACY = Privacy(
    Holding(
        CampaignMember, about={"lead_id": "lead", "customer_id": "customer"}, ties={"contact_id": "contact"},
        names=("display_name",), texts=("note",), keeps="STATISTICS",
    ),
    *papers_with("campaign"),
    others={
        "campaigns": "names of campaigns, and what own fields say of them", "campaign_audiences": "names of segments",
        "web_forms": "names of forms and of their fields",
    },
)  # fmt: skip
