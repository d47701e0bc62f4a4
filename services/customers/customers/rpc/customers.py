"""CustomerService."""

from contextlib import suppress
from typing import Any
from uuid import UUID

from google.protobuf.empty_pb2 import Empty
from kehu.customers.v1 import customer_pb2 as pb
from kehu.customers.v1 import customer_service_pb2 as service_pb

from chassis.database import Transaction
from chassis.errors import NotFound
from chassis.fields import Beside, Field, Kind
from chassis.ids import parse_id
from chassis.listing import OWNER_FIELDS, RECORD_FIELDS, Listing
from chassis.owners import Owner, owner_for
from chassis.principal import Act
from chassis.rpc import Call, Face
from chassis.visibility import visible_text
from customers.custom_fields import CUSTOM_FIELDS
from customers.customer import (
    KINDS,
    LEVELS,
    SHARES,
    SIZES,
    SOURCES,
    STAGES,
    Customer,
    change_customer,
    enrol,
)
from customers.duplicate_rule import check_customer
from customers.errors import merged
from customers.ownership import assign_customers
from customers.rpc.alike import customers_beside
from customers.rpc.messages import customer_card, customer_message, customer_values
from customers.rpc.written import written_customer_traits
from customers.trash import delete_customer, delete_untouched
from customers.value_lists import ENUMS

face = Face("kehu.customers.v1.CustomerService", custom_fields=CUSTOM_FIELDS)

_CARD = Beside("membership_cards", "customer_id")
CUSTOMERS = Listing(
    Customer,
    "customers",
    {
        **RECORD_FIELDS,
        **OWNER_FIELDS,
        "displayName": Field("display_name", Kind.TEXT, sortable=True),
        "kind": Field("kind", Kind.ENUM, values=KINDS, prefix="CUSTOMER_KIND_"),
        "type": Field("type", Kind.TEXT),
        "industry": Field("industry", Kind.TEXT),
        "size": Field("size", Kind.ENUM, values=SIZES, prefix="CUSTOMER_SIZE_"),
        "region": Field("region", Kind.TEXT),
        **{f"{column}Key": Field(column, Kind.TEXT) for column in ENUMS},
        "level": Field("level", Kind.ENUM, values=LEVELS, prefix="CUSTOMER_LEVEL_"),
        "stage": Field("stage", Kind.ENUM, values=STAGES, prefix="CUSTOMER_STAGE_"),
        "source": Field("source", Kind.ENUM, values=SOURCES, prefix="CUSTOMER_SOURCE_"),
        "tags": Field("tags", Kind.TAGS),
        "parentCustomerId": Field("parent_customer_id", Kind.UUID, nullable=True),
        "externalKey": Field("external_key", Kind.TEXT),
        "lastContactTime": Field("last_contact_time", Kind.TIMESTAMP, sortable=True, nullable=True),
        "nextContactTime": Field("next_contact_time", Kind.TIMESTAMP, sortable=True, nullable=True),
        "lastDealTime": Field("last_deal_time", Kind.TIMESTAMP, sortable=True, nullable=True),
        "lastServiceTime": Field("last_service_time", Kind.TIMESTAMP, sortable=True, nullable=True),
        "returnTime": Field("return_time", Kind.TIMESTAMP, sortable=True, nullable=True),
        "poolTime": Field("pool_time", Kind.TIMESTAMP, nullable=True),
        "previousOwnerId": Field("previous_owner_id", Kind.UUID, nullable=True),
        "orderCount": Field("order_count", Kind.INTEGER, sortable=True),
        "lastOrderDate": Field("last_order_date", Kind.DATE, sortable=True, nullable=True),
        "revenue": Field("revenue", Kind.MONEY, sortable=True, currency_column="value_currency"),
        "margin": Field("margin", Kind.MONEY, sortable=True, nullable=True, currency_column="value_currency"),
        "potential": Field("potential", Kind.MONEY, sortable=True, currency_column="value_currency"),
        "rfmTier": Field("rfm_tier", Kind.INTEGER, sortable=True, nullable=True),
        "satisfactionIndex": Field(
            "satisfaction_tenths", Kind.INTEGER, sortable=True, nullable=True, decimals=1
        ),
        "city": Field("city", Kind.TEXT, nullable=True),
        "province": Field("province", Kind.TEXT, nullable=True),
        "pointsBalance": Field("balance", Kind.INTEGER, beside=_CARD),
        "cardLevelId": Field("level_id", Kind.UUID, nullable=True, beside=_CARD),
    },
    search=True,
    custom_fields=True,
)


async def written_customer(
    tx: Transaction, id: str, etag: str, field: str = "id", *, shares: bool = True
) -> Customer:
    """The customer, locked, for changing it; without `shares` for disposing of it. Raises NotFound, Denied, EtagMismatch."""
    customer = await tx.get(Customer, parse_id(id, field), right="customers", shares=shares)
    tx.check_etag(customer, etag)
    return customer


async def answer(tx: Transaction, customer: Customer) -> pb.Customer:
    """The customer as it stands in this transaction."""
    await tx.session.flush()
    return customer_message(customer)


@face.read("GetCustomer")
async def get_customer(request: service_pb.GetCustomerRequest, call: Call) -> pb.Customer:
    try:
        return customer_message(await CUSTOMERS.get(call, request.id))
    except NotFound:
        survivor = await merged_into(call, "customers", request.id, CUSTOMERS)
        if survivor is None:
            raise
        raise merged("customer", request.id, survivor) from None


# The last one of a row of merges.
_MERGED = (
    "WITH RECURSIVE gone AS (SELECT id, merged_into_id FROM {table} WHERE id = $1"
    " UNION SELECT c.id, c.merged_into_id FROM {table} c JOIN gone g ON c.id = g.merged_into_id)"
    " SELECT id FROM gone WHERE merged_into_id IS NULL AND id <> $1"
)


async def merged_into(call: Call, table: str, id: str, listing: Any) -> UUID | None:
    """The record into which one of that table went, if the caller may read it."""
    # Composed of a table's name of this service.
    rows = await call.database.read(call.who, _MERGED.replace("{table}", table), parse_id(id, "id"))
    for row in rows:
        with suppress(NotFound):
            return (await listing.get(call, row["id"]))["id"]
    return None


@face.read("ListCustomers")
async def list_customers(
    request: service_pb.ListCustomersRequest, call: Call
) -> service_pb.ListCustomersResponse:
    page = await CUSTOMERS.page(call, request)
    return service_pb.ListCustomersResponse(
        customers=[customer_message(row) for row in page.rows], next_page_token=page.next_page_token
    )


async def _owner_of_new(request: service_pb.CreateCustomerRequest, call: Call) -> Owner:
    return await owner_for(call, request.customer.owner_id, "customers", "customer.ownerId")


@face.write("CreateCustomer", prepare=_owner_of_new, beside=customers_beside)
async def create(request: service_pb.CreateCustomerRequest, tx: Transaction, owner: Owner) -> pb.Customer:
    values = customer_values(request.customer)
    id = parse_id(request.customer_id, "customerId") if request.customer_id else None
    if tx.who.service is None and not request.allow_duplicate:
        await check_customer(tx, await written_customer_traits(tx.database, tx.who, request.customer), id)
    return await answer(tx, await enrol(tx, values, owner, id))


@face.write("UpdateCustomer")
async def update(request: service_pb.UpdateCustomerRequest, tx: Transaction) -> pb.Customer:
    customer = await written_customer(tx, request.customer.id, request.customer.etag, "customer.id")
    await change_customer(tx, customer, customer_values(request.customer, request.update_mask))
    return await answer(tx, customer)


@face.write("DeleteCustomer")
async def delete(request: service_pb.DeleteCustomerRequest, tx: Transaction) -> Empty:
    customer = await written_customer(tx, request.id, request.etag, shares=False)
    if not request.untouched_only:
        await delete_customer(tx, customer)
    else:
        made_with = (
            parse_id(request.created_contact_id, "createdContactId") if request.created_contact_id else None
        )
        await delete_untouched(tx, customer, made_with)
    return Empty()


async def _new_owner(request: service_pb.AssignCustomerRequest, call: Call) -> Owner:
    return await owner_for(call, request.owner_id, "customers", "ownerId")


@face.write("AssignCustomer", prepare=_new_owner)
async def assign(request: service_pb.AssignCustomerRequest, tx: Transaction, owner: Owner) -> pb.Customer:
    customer = await written_customer(tx, request.id, request.etag, shares=False)
    await assign_customers(tx, [customer], owner)
    return await answer(tx, customer)


_CARDS = (
    "SELECT t.id, t.display_name, t.external_key, t.kind, t.owner_id, t.team_id, t.shared_with FROM customers t"
    " WHERE t.deleted_at IS NULL"
    " AND (t.id = ANY($1::uuid[]) OR (t.external_key <> '' AND t.external_key = ANY($2::text[]))"
    " OR t.id = ANY(ARRAY(SELECT c.id FROM customers_named($3::text[]) n JOIN customers c ON c.id = n.id"
    " WHERE lower(c.display_name) = ANY($4::text[])))) AND "
)


@face.read("LookUpCustomers")
async def look_up(
    request: service_pb.LookUpCustomersRequest, call: Call
) -> service_pb.LookUpCustomersResponse:
    ids: list[UUID] = [parse_id(id, "ids") for id in request.ids]
    names = [name.strip().lower() for name in request.names]
    rule, values = visible_text(
        call.who, "customers", Act.READ, "owner_id", "team_id", first=5, shares=SHARES
    )
    # Composed of the rule of visibility, which has places for its values.
    rows = await call.database.read(
        call.who,
        _CARDS + rule + " ORDER BY t.created_at, t.id",
        ids,
        list(request.external_keys),
        [name.replace(" ", "") for name in names],
        names,
        *values,
    )
    return service_pb.LookUpCustomersResponse(customers=[customer_card(row) for row in rows])
