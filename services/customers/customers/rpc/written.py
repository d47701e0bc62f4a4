"""By what customers and contacts are compared that somebody has written and nobody keeps yet."""

from collections.abc import Sequence
from typing import Any

from kehu.customers.v1 import contact_pb2, customer_pb2

from chassis.database import Database
from chassis.home import home_country_of
from chassis.ids import parse_id
from chassis.principal import Principal
from customers.duplicates import Traits, contact_traits, customer_traits
from customers.profile import CONTACT_WAYS, CUSTOMER_WAYS, Way, tidied, tidy_value
from customers.rpc.messages import contact_values, customer_values


async def written_customer_traits(
    database: Database, who: Principal, customer: customer_pb2.Customer
) -> Traits:
    """Of a customer. Raises Invalid for numbers that are none."""
    values = await _as_kept(database, who, customer_values(customer), CUSTOMER_WAYS, "customer")
    return customer_traits(values.__getitem__)


async def written_contact_traits(database: Database, who: Principal, contact: contact_pb2.Contact) -> Traits:
    """Of a contact. Raises Invalid for numbers that are none."""
    values = await _as_kept(database, who, contact_values(contact), CONTACT_WAYS, "contact")
    values |= {"customer_id": parse_id(contact.customer_id, "contact.customerId"), "affiliations": []}
    return contact_traits(values.__getitem__)


async def _as_kept(
    database: Database, who: Principal, values: dict[str, Any], ways: Sequence[Way], resource: str
) -> dict[str, Any]:
    """What a caller wrote, by column, with numbers and addresses as they would be kept."""
    country = await home_country_of(database, who)
    out = dict(values)
    for way in ways:
        entries = list(values[way.name])
        if way.single and values[way.single]:
            entries.insert(0, {"label": "", way.value: values[way.single], "primary": False})
        kept = way.kept(tidied(way, entries, country, f"{resource}.{way.name}"))
        if not way.single:
            out[way.name] = kept[way.name]
            continue
        out |= kept
        out[way.single] = out[way.single] or tidy_value(way, values[way.single], country)
    return out
