"""PartnerService."""

from collections.abc import Sequence
from typing import Any

from google.protobuf.empty_pb2 import Empty
from kehu.customers.v1 import partner_pb2 as pb
from kehu.customers.v1 import partner_service_pb2 as service_pb

from chassis.database import Transaction
from chassis.fields import Field, Kind
from chassis.ids import parse_id
from chassis.listing import OWNER_FIELDS, RECORD_FIELDS, Listing
from chassis.mapping import Mapping, to_money
from chassis.money import Money
from chassis.rpc import Call, Face
from customers.customer import SHARES_OF_CUSTOMER, Customer, writable_customer
from customers.partner import Partner, begin_partnership, change_partner, end_partnership, partner_for
from customers.rpc.messages import customer_card

face = Face("kehu.customers.v1.PartnerService")
PARTNER = Mapping(pb.Partner, skip=["customer", "arrears"])
PARTNERS = Listing(
    Partner,
    "customers",
    {
        **RECORD_FIELDS,
        **OWNER_FIELDS,
        "customerId": Field("customer_id", Kind.UUID),
        "type": Field("type", Kind.TEXT),
        "discountLevel": Field("discount_level", Kind.TEXT),
        "inArrears": Field("in_arrears", Kind.BOOL),
        "overCredit": Field("over_credit", Kind.BOOL),
        "arrears": Field("arrears_amount", Kind.MONEY, sortable=True, currency_column="arrears_currency"),
        "creditLimit": Field(
            "credit_limit", Kind.MONEY, sortable=True, nullable=True, currency_column="credit_limit_currency"
        ),
    },
    shares=SHARES_OF_CUSTOMER,
)
# Whoever may read the partner may read its customer: they have the same owner, and the customer's shares count for both.
_CUSTOMERS = (
    "SELECT id, display_name, external_key, kind, owner_id, team_id FROM customers WHERE id = ANY($1::uuid[])"
)


def _message(row: Any, customer: Any) -> pb.Partner:
    message = PARTNER.message(row)
    owed: list[dict[str, Any]] = row["arrears"] if hasattr(row, "keys") else row.arrears
    for one in owed:
        out = message.arrears.add(order_count=one["order_count"])
        to_money(out.amount, Money(one["amount"], one["currency"]))
    if customer is not None:
        message.customer.CopyFrom(customer_card(customer))
    return message


async def _messages(call: Call, rows: Sequence[Any]) -> list[pb.Partner]:
    found = await call.database.read(call.who, _CUSTOMERS, [row["customer_id"] for row in rows])
    cards = {row["id"]: row for row in found}
    return [_message(row, cards.get(row["customer_id"])) for row in rows]


@face.read("GetPartner")
async def get_partner(request: service_pb.GetPartnerRequest, call: Call) -> pb.Partner:
    return (await _messages(call, [await PARTNERS.get(call, request.id)]))[0]


@face.read("ListPartners")
async def list_partners(
    request: service_pb.ListPartnersRequest, call: Call
) -> service_pb.ListPartnersResponse:
    page = await PARTNERS.page(call, request)
    return service_pb.ListPartnersResponse(
        partners=await _messages(call, page.rows), next_page_token=page.next_page_token
    )


@face.write("CreatePartner")
async def create(request: service_pb.CreatePartnerRequest, tx: Transaction) -> pb.Partner:
    customer_id = parse_id(request.partner.customer_id, "partner.customerId")
    customer = await writable_customer(tx, customer_id, "partner.customerId")
    id = parse_id(request.partner_id, "partnerId") if request.partner_id else None
    return await _answer(tx, await begin_partnership(tx, customer, PARTNER.values(request.partner), id))


@face.write("UpdatePartner")
async def update(request: service_pb.UpdatePartnerRequest, tx: Transaction) -> pb.Partner:
    partner = await _partner(tx, request.partner.id, request.partner.etag, "partner.id")
    await change_partner(tx, partner, PARTNER.values(request.partner, request.update_mask))
    return await _answer(tx, partner)


@face.write("DeletePartner")
async def delete(request: service_pb.DeletePartnerRequest, tx: Transaction) -> Empty:
    end_partnership(tx, await _partner(tx, request.id, request.etag, shares=False))
    return Empty()


async def _partner(tx: Transaction, id: str, etag: str, field: str = "id", *, shares: bool = True) -> Partner:
    partner = await partner_for(tx, parse_id(id, field), shares=shares)
    tx.check_etag(partner, etag)
    return partner


async def _answer(tx: Transaction, partner: Partner) -> pb.Partner:
    await tx.session.flush()
    customer = await tx.find(Customer, partner.customer_id, lock=False)
    return _message(partner, None if customer is None else vars(customer))
