"""SearchService: by what people are found."""

from chassis.search_face import Searched, search_face
from identity.rpc.people import PEOPLE

face = search_face(
    "kehu.identity.v1.SearchService",
    {
        "person": Searched(
            PEOPLE,
            title="display_name",
            subtitle=("title", "email"),
            people={"displayName": "display_name"},
            phones={"phone": "phone"},
            texts={"email": "email"},
        )
    },
)
