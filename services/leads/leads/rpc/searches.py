"""SearchService: by what leads are found."""

from chassis.search_face import Searched, search_face
from leads.rpc.leads import LEADS

face = search_face(
    "kehu.leads.v1.SearchService",
    {
        "lead": Searched(
            LEADS,
            title="name",
            subtitle=("company_name", "region"),
            people={"name": "name"},
            names={"companyName": "company_name"},
            phones={"phone": "phone"},
            texts={"email": "email", "externalKey": "external_key", "tags": "tags"},
        )
    },
)
