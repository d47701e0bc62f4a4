"""What the service desk holds about a person: their tickets, and what was said in them."""

from chassis.privacy.holding import Holding
from chassis.privacy.papers import papers_with
from chassis.privacy.privacy import Privacy
from service_desk.comment import TicketComment
from service_desk.ticket import UNRESOLVED, Ticket

PRIVACY = Privacy(
    Holding(
        Ticket, about={"customer_id": "customer", "contact_id": "contact"}, names=("requester_name", "contact_name"),
        phones=("requester_phone",), emails=("requester_email",),
        texts=("description", "resolution", "pend_reason", "rating_comment", "external_key"),
        swept=("subject", "customer_name"), keeps="BUSINESS_RECORD",
        notices={"OPEN_TICKET": lambda row: row.status in UNRESOLVED},
    ),
    Holding(
        TicketComment, about={"ticket_id": "ticket"}, texts=("body",), swept=("author_name",), keeps="BUSINESS_RECORD"
    ),
    *papers_with("ticket"),
    others={"counters": "what is counted", "saved_views": "names of lists"},
)  # fmt: skip
