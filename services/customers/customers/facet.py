"""The customers' own part of the 360° view: contacts, parent and children, relations, value, card, notes and files."""

from kehu.customers.v1 import customer_facet_pb2 as pb

from chassis.attachments.rpc import ATTACHMENT
from chassis.ids import parse_id
from chassis.notes.rpc import NOTE
from chassis.principal import Act
from chassis.rpc import Call, Face
from chassis.visibility import visible_text
from customers.customer import SHARES, SHARES_OF_CUSTOMER
from customers.reports import MEMBERS_OF
from customers.rpc.membership import CARD
from customers.rpc.messages import contact_at, customer_card
from customers.rpc.relations import relations_of
from customers.rpc.values import VALUE, value_message

face = Face("kehu.customers.v1.CustomerFacetService")

MOST = 50
# Whoever may read the customer sees all contacts that belong to it.
_CONTACTS = (
    "SELECT c.*, count(*) OVER () AS all_of_them FROM contacts c WHERE c.id IN ("  # noqa: S608 (constants)
    + MEMBERS_OF.replace("{}", "$1")
    + ")"
    " AND c.deleted_at IS NULL AND EXISTS (SELECT FROM customers t WHERE t.id = $1 AND t.deleted_at IS NULL AND {rule})"
    ' ORDER BY (c."primary" AND c.customer_id = $1) DESC, c.created_at, c.id LIMIT 50'
)
# The ids come first and by index alone: with OR between parent and children every customer of the tenant was read.
_FAMILY = (
    "WITH family AS MATERIALIZED (SELECT id FROM customers WHERE parent_customer_id = $1"
    " UNION ALL SELECT parent_customer_id FROM customers WHERE id = $1 AND parent_customer_id IS NOT NULL)"
    " SELECT t.id, t.display_name, t.external_key, t.kind, t.owner_id, t.team_id,"
    " t.parent_customer_id IS NOT DISTINCT FROM $1 AS below FROM family f JOIN customers t ON t.id = f.id"
    " WHERE t.deleted_at IS NULL AND {rule} ORDER BY below, t.display_name LIMIT 51"
)
# Whoever may not read the customer learns nothing of its worth.
_VALUE = f"{VALUE} AND EXISTS (SELECT FROM customers t WHERE t.id = $1 AND t.deleted_at IS NULL AND {{rule}})"
_CARD = "SELECT t.* FROM membership_cards t WHERE t.customer_id = $1 AND t.deleted_at IS NULL AND {rule}"

_PAPERS = (
    "SELECT p.*, count(*) OVER () AS all_of_them FROM {papers} p WHERE p.of_type = 'customer' AND p.record_id = $1"
    " AND p.deleted_at IS NULL AND EXISTS (SELECT FROM customers t WHERE t.id = $1 AND t.deleted_at IS NULL AND {rule})"
    " ORDER BY p.created_at DESC, p.id DESC LIMIT 5"
)
_NOTES, _FILES = (_PAPERS.replace("{papers}", table) for table in ("notes", "attachments"))


@face.read("GetCustomerFacet")
async def get_customer_facet(request: pb.GetCustomerFacetRequest, call: Call) -> pb.CustomerFacet:
    id = parse_id(request.customer_id, "customerId")
    rule, values = visible_text(
        call.who, "customers", Act.READ, "owner_id", "team_id", first=2, shares=SHARES
    )
    contacts = await call.database.read(call.who, _CONTACTS.replace("{rule}", rule), id, *values)
    family = await call.database.read(call.who, _FAMILY.replace("{rule}", rule), id, *values)
    facet = pb.CustomerFacet(contacts=[contact_at(row, id) for row in contacts])
    facet.contact_count = contacts[0]["all_of_them"] if contacts else 0
    for row in family:
        if row["below"]:
            facet.children.append(customer_card(row))
        else:
            facet.parent.CopyFrom(customer_card(row))
    facet.relations.extend(await relations_of(call, id, MOST))
    for row in await call.database.read(call.who, _VALUE.replace("{rule}", rule), id, *values):
        facet.value.CopyFrom(value_message(id, row))
    for row in await call.database.read(call.who, _NOTES.replace("{rule}", rule), id, *values):
        facet.latest_notes.append(NOTE.message(row))
        facet.note_count = row["all_of_them"]
    for row in await call.database.read(call.who, _FILES.replace("{rule}", rule), id, *values):
        facet.latest_attachments.append(ATTACHMENT.message(row))
        facet.attachment_count = row["all_of_them"]
    rule, values = visible_text(
        call.who, "customers", Act.READ, "owner_id", "team_id", first=2, shares=SHARES_OF_CUSTOMER
    )
    for row in await call.database.read(call.who, _CARD.replace("{rule}", rule), id, *values):
        facet.membership_card.CopyFrom(CARD.message(row))
    return facet
