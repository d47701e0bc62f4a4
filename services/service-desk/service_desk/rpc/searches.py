"""SearchService: by what tickets are found."""

from chassis.search_face import Searched, search_face
from service_desk.rpc.tickets import TICKETS

face = search_face(
    "kehu.servicedesk.v1.SearchService",
    {
        "ticket": Searched(
            TICKETS,
            title="subject",
            subtitle=("number", "customer_name"),
            names={"subject": "subject", "customerName": "customer_name"},
            people={"requesterName": "requester_name"},
            phones={"requesterPhone": "requester_phone"},
            texts={
                "number": "number",
                "requesterEmail": "requester_email",
                "externalKey": "external_key",
                "tags": "tags",
            },
        )
    },
)
