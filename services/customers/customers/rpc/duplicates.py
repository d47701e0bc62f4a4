"""DuplicateService."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from kehu.customers.v1 import duplicate_pb2 as pb
from kehu.customers.v1 import duplicate_service_pb2 as service_pb

from chassis.home import home_country_of
from chassis.ids import parse_id
from chassis.rpc import Call, Face
from customers.duplicates import (
    Duplicates,
    Reason,
    contact_traits,
    contacts_like,
    customer_traits,
    customers_like,
)
from customers.profile import CONTACT_WAYS, CUSTOMER_WAYS, Way, tidied, tidy_value
from customers.rpc.contacts import CONTACTS, contact_messages
from customers.rpc.customers import CUSTOMERS
from customers.rpc.messages import contact_values, customer_card, customer_values

face = Face("kehu.customers.v1.DuplicateService")


def _why(reasons: Sequence[Reason]) -> list[pb.DuplicateReason]:
    return [
        pb.DuplicateReason(
            kind=pb.DuplicateReasonKind.Value(f"DUPLICATE_REASON_KIND_{reason.kind}"), value=reason.value,
            likeness=reason.likeness,
        )
        for reason in reasons
    ]  # fmt: skip


def _customers(found: Duplicates) -> pb.CustomerDuplicates:
    answer = pb.CustomerDuplicates(hidden_count=found.hidden)
    for one in found.shown:
        answer.duplicates.add(customer=customer_card(one.row), score=one.score, reasons=_why(one.reasons))
    return answer


async def _contacts(call: Call, found: Duplicates) -> pb.ContactDuplicates:
    answer = pb.ContactDuplicates(hidden_count=found.hidden)
    messages = await contact_messages(call, [one.row for one in found.shown])
    for one, contact in zip(found.shown, messages, strict=True):
        answer.duplicates.add(contact=contact, score=one.score, reasons=_why(one.reasons))
    return answer


async def _as_kept(call: Call, values: dict[str, Any], ways: Sequence[Way], resource: str) -> dict[str, Any]:
    """What a caller wrote, by column, with numbers and addresses as they would be kept."""
    country = await home_country_of(call.database, call.who)
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


@face.read("FindCustomerDuplicates")
async def find_customers(
    request: service_pb.FindCustomerDuplicatesRequest, call: Call
) -> pb.CustomerDuplicates:
    row = await CUSTOMERS.get(call, request.id)
    id: UUID = row["id"]
    traits = customer_traits(row.__getitem__)
    return _customers(
        await customers_like(call.database, call.who, traits, id, request.min_score, request.max_results)
    )


@face.read("CheckCustomerDuplicates")
async def check_customer(
    request: service_pb.CheckCustomerDuplicatesRequest, call: Call
) -> pb.CustomerDuplicates:
    values = await _as_kept(call, customer_values(request.customer), CUSTOMER_WAYS, "customer")
    traits = customer_traits(values.__getitem__)
    return _customers(
        await customers_like(call.database, call.who, traits, None, request.min_score, request.max_results)
    )


@face.read("FindContactDuplicates")
async def find_contacts(request: service_pb.FindContactDuplicatesRequest, call: Call) -> pb.ContactDuplicates:
    row = await CONTACTS.get(call, request.id)
    traits = contact_traits(row.__getitem__)
    found = await contacts_like(
        call.database, call.who, traits, row["id"], request.min_score, request.max_results
    )
    return await _contacts(call, found)


@face.read("CheckContactDuplicates")
async def check_contact(
    request: service_pb.CheckContactDuplicatesRequest, call: Call
) -> pb.ContactDuplicates:
    values = await _as_kept(call, contact_values(request.contact), CONTACT_WAYS, "contact")
    values |= {
        "customer_id": parse_id(request.contact.customer_id, "contact.customerId"),
        "affiliations": [],
    }
    traits = contact_traits(values.__getitem__)
    found = await contacts_like(call.database, call.who, traits, None, request.min_score, request.max_results)
    return await _contacts(call, found)
