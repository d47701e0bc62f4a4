"""ContactService."""

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from google.protobuf.empty_pb2 import Empty
from kehu.customers.v1 import contact_pb2 as pb
from kehu.customers.v1 import contact_service_pb2 as service_pb
from sqlalchemy import text
from sqlalchemy.dialects.postgresql import JSONB

from chassis.database import Database, Transaction
from chassis.errors import NotFound
from chassis.fields import Field, Kind
from chassis.ids import parse_id
from chassis.listing import OWNER_FIELDS, RECORD_FIELDS, Listing
from chassis.principal import Act, Principal
from chassis.rpc import Call, Face
from chassis.visibility import Holder, covers
from customers.affiliation import customer_for, join, leave, seen_contact, writable_contact
from customers.contact import DECISION_ROLES, Contact, change_contact, introduce
from customers.custom_fields import CUSTOM_FIELDS
from customers.customer import SHARES_OF_CUSTOMER, writable_customer
from customers.duplicate_rule import check_contact
from customers.errors import merged
from customers.reports import CHART, MEMBERS_OF
from customers.rpc.alike import contacts_beside
from customers.rpc.customers import CUSTOMERS, merged_into
from customers.rpc.messages import Named, affiliated_message, contact_values, org_chart
from customers.rpc.written import written_contact_traits
from customers.trash import trash_contact

_MOST_MEMBERS = 500
face = Face("kehu.customers.v1.ContactService", custom_fields=CUSTOM_FIELDS)

CONTACTS = Listing(
    Contact,
    "customers",
    {
        **RECORD_FIELDS,
        **OWNER_FIELDS,
        "displayName": Field("display_name", Kind.TEXT, sortable=True),
        "customerId": Field("customer_id", Kind.UUID),
        "decisionRole": Field("decision_role", Kind.ENUM, values=DECISION_ROLES, prefix="DECISION_ROLE_"),
        "reportsToId": Field("reports_to_id", Kind.UUID, nullable=True),
        "title": Field("title", Kind.TEXT),
        "department": Field("department", Kind.TEXT),
        "primary": Field("primary", Kind.BOOL),
        "externalKey": Field("external_key", Kind.TEXT),
    },
    search=True,
    custom_fields=True,
    seen_through=("contact_affiliations", "contact_id"),
    shares=SHARES_OF_CUSTOMER,
    narrowings={"memberOf": f"t.id IN ({MEMBERS_OF})"},
)


_CUSTOMERS = (
    "SELECT id, display_name, owner_id, team_id, shared_with FROM customers"
    " WHERE deleted_at IS NULL AND id = ANY($1::uuid[])"
)
_CUSTOMERS_OF_ONE = text(
    "SELECT id, display_name, owner_id, team_id, shared_with FROM customers WHERE deleted_at IS NULL AND id = ANY(:ids)"
).columns(shared_with=JSONB)


def _customers_of(rows: Sequence[Any]) -> list[UUID]:
    """The customers to which these contacts belong."""
    found: dict[UUID, None] = {}
    for row in rows:
        found[_column(row, "customer_id")] = None
        found |= dict.fromkeys(UUID(one["customer_id"]) for one in _column(row, "affiliations"))
    return list(found)


def _column(row: Any, name: str) -> Any:
    return row[name] if hasattr(row, "keys") else getattr(row, name)


def _named(who: Principal, rows: Iterable[Any]) -> dict[UUID, Named]:
    return {
        row["id"]: Named(
            row["display_name"], row["owner_id"], row["team_id"],
            covers(Holder(row["owner_id"], row["team_id"], row["shared_with"]), who, "customers", Act.READ),
        )
        for row in rows
    }  # fmt: skip


async def contact_messages(call: Call, rows: Sequence[Any]) -> list[pb.Contact]:
    """Rows of the read path, with the names of the customers they belong to."""
    if not rows:
        return []
    found = await call.database.read(call.who, _CUSTOMERS, _customers_of(rows))
    named = _named(call.who, found)
    return [affiliated_message(row, named) for row in rows]


async def seen_customers(database: Database, who: Principal, rows: Sequence[Any]) -> dict[UUID, str]:
    """The names of the customers of these rows, as far as the caller may see them."""
    named = _named(who, await database.read(who, _CUSTOMERS, _customers_of(rows)))
    return {id: one.display_name for id, one in named.items() if one.seen}


async def answer(tx: Transaction, contact: Contact) -> pb.Contact:
    """The contact as it stands in this transaction, with the customers it belongs to as far as the caller may see them."""
    await tx.session.flush()
    found = await tx.session.execute(_CUSTOMERS_OF_ONE, {"ids": _customers_of([contact])})
    return affiliated_message(contact, _named(tx.who, found.mappings()))


@face.read("GetContact")
async def get_contact(request: service_pb.GetContactRequest, call: Call) -> pb.Contact:
    try:
        row = await CONTACTS.get(call, request.id)
    except NotFound:
        survivor = await merged_into(call, "contacts", request.id, CONTACTS)
        if survivor is None:
            raise
        raise merged("contact", request.id, survivor) from None
    return (await contact_messages(call, [row]))[0]


@face.read("ListContacts")
async def list_contacts(
    request: service_pb.ListContactsRequest, call: Call
) -> service_pb.ListContactsResponse:
    where = None
    if request.member_of_customer_id:
        customer_id = parse_id(request.member_of_customer_id, "memberOfCustomerId")
        try:
            await CUSTOMERS.get(call, customer_id)
        except NotFound:
            return service_pb.ListContactsResponse()
        where = {"memberOf": customer_id}
    page = await CONTACTS.page(call, request, where)
    return service_pb.ListContactsResponse(
        contacts=await contact_messages(call, page.rows), next_page_token=page.next_page_token
    )


@face.write("CreateContact", beside=contacts_beside)
async def create(request: service_pb.CreateContactRequest, tx: Transaction) -> pb.Contact:
    customer_id = parse_id(request.contact.customer_id, "contact.customerId")
    customer = await writable_customer(tx, customer_id, "contact.customerId")
    id = parse_id(request.contact_id, "contactId") if request.contact_id else None
    if tx.who.service is None and not request.allow_duplicate:
        await check_contact(tx, await written_contact_traits(tx.database, tx.who, request.contact), id)
    return await answer(tx, await introduce(tx, customer, contact_values(request.contact), id))


@face.write("UpdateContact")
async def update(request: service_pb.UpdateContactRequest, tx: Transaction) -> pb.Contact:
    contact = await writable_contact(tx, parse_id(request.contact.id, "contact.id"))
    tx.check_etag(contact, request.contact.etag)
    await change_contact(tx, contact, contact_values(request.contact, request.update_mask))
    return await answer(tx, contact)


@face.write("DeleteContact")
async def delete(request: service_pb.DeleteContactRequest, tx: Transaction) -> Empty:
    contact = await writable_contact(tx, parse_id(request.id, "id"), shares=False)
    tx.check_etag(contact, request.etag)
    await trash_contact(tx, contact, _optional(request.reports_go_to_id, "reportsGoToId"))
    return Empty()


def _optional(id: str, field: str) -> UUID | None:
    return parse_id(id, field) if id else None


@face.write("JoinCustomer")
async def join_customer(request: service_pb.JoinCustomerRequest, tx: Transaction) -> pb.Contact:
    contact, writes = await seen_contact(tx, parse_id(request.id, "id"))
    asked = request.affiliation
    customer_id = parse_id(asked.customer_id, "affiliation.customerId")
    customer = await customer_for(tx, customer_id, "affiliation.customerId")
    tx.check_etag(contact, request.etag)
    what = {
        "title": asked.title.strip(),
        "department": asked.department.strip(),
        "decision_role": pb.DecisionRole.Name(asked.decision_role).removeprefix("DECISION_ROLE_")
        if asked.decision_role
        else "",
        "reports_to_id": _optional(asked.reports_to_id, "affiliation.reportsToId"),
    }
    await join(tx, contact, customer, what, primary=asked.primary, writes=writes)
    return await answer(tx, contact)


@face.write("LeaveCustomer")
async def leave_customer(request: service_pb.LeaveCustomerRequest, tx: Transaction) -> pb.Contact:
    contact, _ = await seen_contact(tx, parse_id(request.id, "id"))
    customer = await customer_for(tx, parse_id(request.customer_id, "customerId"), "customerId")
    tx.check_etag(contact, request.etag)
    await leave(tx, contact, customer, _optional(request.reports_go_to_id, "reportsGoToId"))
    return await answer(tx, contact)


@face.read("GetOrgChart")
async def get_org_chart(request: service_pb.GetOrgChartRequest, call: Call) -> pb.OrgChart:
    customer = await CUSTOMERS.get(call, parse_id(request.customer_id, "customerId"), "customerId")
    most = request.max_members or _MOST_MEMBERS
    return org_chart(customer["id"], await call.database.read(call.who, CHART, customer["id"], most))
