"""ContactService."""

from typing import Any
from uuid import UUID

from google.protobuf.empty_pb2 import Empty
from kehu.customers.v1 import contact_pb2 as pb
from kehu.customers.v1 import contact_service_pb2 as service_pb

from chassis.database import Transaction
from chassis.fields import Field, Kind
from chassis.ids import parse_id
from chassis.listing import OWNER_FIELDS, RECORD_FIELDS, Listing
from chassis.rpc import Call, Face
from customers.contact import DECISION_ROLES, Contact, change_contact, dismiss, introduce
from customers.custom_fields import CUSTOM_FIELDS
from customers.customer import writable_customer
from customers.rpc.messages import contact_message, contact_values

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
)


async def _named(call: Call, rows: list[Any]) -> list[pb.Contact]:
    names: dict[UUID, str] = {}
    if rows:
        found = await call.database.read(
            call.who,
            "SELECT id, display_name FROM customers WHERE id = ANY($1::uuid[])",
            [r["customer_id"] for r in rows],
        )
        names = {row["id"]: row["display_name"] for row in found}
    return [contact_message(row, names.get(row["customer_id"], "")) for row in rows]


async def _answer(tx: Transaction, contact: Contact) -> pb.Contact:
    from customers.customer import Customer

    await tx.session.flush()
    customer = await tx.find(Customer, contact.customer_id, lock=False)
    return contact_message(contact, customer.display_name if customer else "")


@face.read("GetContact")
async def get_contact(request: service_pb.GetContactRequest, call: Call) -> pb.Contact:
    return (await _named(call, [await CONTACTS.get(call, request.id)]))[0]


@face.read("ListContacts")
async def list_contacts(
    request: service_pb.ListContactsRequest, call: Call
) -> service_pb.ListContactsResponse:
    page = await CONTACTS.page(call, request)
    return service_pb.ListContactsResponse(
        contacts=await _named(call, page.rows), next_page_token=page.next_page_token
    )


@face.write("CreateContact")
async def create(request: service_pb.CreateContactRequest, tx: Transaction) -> pb.Contact:
    customer_id = parse_id(request.contact.customer_id, "contact.customerId")
    customer = await writable_customer(tx, customer_id, "contact.customerId")
    id = parse_id(request.contact_id, "contactId") if request.contact_id else None
    return await _answer(tx, await introduce(tx, customer, contact_values(request.contact), id))


@face.write("UpdateContact")
async def update(request: service_pb.UpdateContactRequest, tx: Transaction) -> pb.Contact:
    contact = await tx.get(Contact, parse_id(request.contact.id, "contact.id"), right="customers")
    tx.check_etag(contact, request.contact.etag)
    await change_contact(tx, contact, contact_values(request.contact, request.update_mask))
    return await _answer(tx, contact)


@face.write("DeleteContact")
async def delete(request: service_pb.DeleteContactRequest, tx: Transaction) -> Empty:
    contact = await tx.get(Contact, parse_id(request.id, "id"), right="customers")
    tx.check_etag(contact, request.etag)
    await dismiss(tx, contact)
    return Empty()
