"""SearchService: by what customers and contacts are found."""

from collections.abc import Callable
from typing import Any

from chassis.search_face import Searched, search_face
from customers.contact import Contact
from customers.customer import Customer
from customers.profile import Way
from customers.rpc.contacts import CONTACTS
from customers.rpc.customers import CUSTOMERS


def _values(ways: tuple[Way, ...], name: str) -> Callable[[Any], list[str]]:
    """Takes the values of that way to reach somebody out of a row."""
    way = next(one for one in ways if one.name == name)
    return lambda row: [str(entry[way.value]) for entry in way.entries(row.__getitem__)]


def _reached(ways: tuple[Way, ...], *names: str) -> dict[str, Callable[[Any], list[str]]]:
    return {name: _values(ways, name) for name in names}


face = search_face(
    "kehu.customers.v1.SearchService",
    {
        "customer": Searched(
            CUSTOMERS,
            title="display_name",
            subtitle=("phone", "email"),
            people={"displayName": "display_name"},
            phones=_reached(Customer.ways, "phones"),
            texts={
                **_reached(Customer.ways, "emails", "accounts"),
                "externalKey": "external_key", "taxNumber": "tax_number", "registrationNumber": "registration_number",
                "tags": "tags",
            },
        ),
        "contact": Searched(
            CONTACTS,
            title="display_name",
            subtitle=("title", "department"),
            people={"displayName": "display_name"},
            phones=_reached(Contact.ways, "phones"),
            texts=_reached(Contact.ways, "emails", "accounts"),
        ),
    },
)  # fmt: skip
