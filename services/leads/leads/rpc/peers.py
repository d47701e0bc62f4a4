"""The other services as a conversion needs them, over gRPC. Leads acts by itself here, so that a conversion ends even when the
session of the person who asked has ended."""

from collections.abc import Collection
from datetime import date, timedelta
from typing import Any
from uuid import UUID

from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Value
from google.type.date_pb2 import Date
from kehu.customers.v1 import contact_pb2, contact_service_pb2, customer_pb2, customer_service_pb2
from kehu.customfields.v1 import custom_fields_pb2
from kehu.sales.v1 import customer_facet_pb2, opportunity_pb2, opportunity_service_pb2

from chassis.custom_fields.given import PREFIX
from chassis.errors import Code, Invalid, Problem
from chassis.ids import parse_id
from chassis.mapping import to_money
from chassis.money import Money
from chassis.principal import Act, Principal
from chassis.rpc import Call
from chassis.shares.messages import shares_told
from chassis.visibility import Holder, covers
from chassis.wire import from_dict
from leads.conversion import Conversion
from leads.value_lists import VALUE_LISTS, enum_view

_CUSTOMERS = "kehu.customers.v1.CustomerService/"
_CONTACTS = "kehu.customers.v1.ContactService/"
_CUSTOMER_FIELDS = "kehu.customers.v1.CustomFieldService/ListCustomFields"
_OPPORTUNITY_FIELDS = "kehu.sales.v1.CustomFieldService/ListCustomFields"
_LOOKED_UP = 1000
"""As many as one question may name."""
_MOST_FIELDS = 200
"""More than a kind of record can have."""
_FACET = "kehu.sales.v1.CustomerFacetService/GetCustomerFacet"
_OPPORTUNITIES = "kehu.sales.v1.OpportunityService/"
_FIRST = "1"
"""The etag of a record that nobody has touched since it was made."""
_STAYS = ("ETAG_MISMATCH", "CUSTOMER_TOUCHED")
_REFUSED = (Code.FAILED_PRECONDITION, Code.INVALID_ARGUMENT, Code.PERMISSION_DENIED)


def may_change(who: Principal, customer: customer_pb2.Customer | customer_service_pb2.CustomerCard) -> bool:
    """Whether the customer is in that person's reach of writing. What follows a lead is added by services themselves, whose reach
    has no end: so it is measured here."""
    holder = Holder.told(customer.owner_id, customer.team_id, shares_told(customer.shares))
    return covers(holder, who, "customers", Act.WRITE)


async def changes_customer(call: Call, id: str) -> bool:
    """Whether there is such a customer and the caller may change it."""
    try:
        request = customer_service_pb2.GetCustomerRequest(id=id)
        customer = await call.ask(_CUSTOMERS + "GetCustomer", request, customer_pb2.Customer)
    except Problem as problem:
        if problem.code not in (Code.NOT_FOUND, Code.PERMISSION_DENIED):
            raise
        return False
    return may_change(call.who, customer)


async def changeable_customers(call: Call, ids: Collection[UUID]) -> set[UUID]:
    """Those of these customers that the caller may change, asked for at once."""
    found: set[UUID] = set()
    wanted = sorted(ids)
    for start in range(0, len(wanted), _LOOKED_UP):
        some = customer_service_pb2.LookUpCustomersRequest(ids=map(str, wanted[start : start + _LOOKED_UP]))
        answer = await call.ask(
            _CUSTOMERS + "LookUpCustomers", some, customer_service_pb2.LookUpCustomersResponse
        )
        found |= {UUID(one.id) for one in answer.customers if may_change(call.who, one)}
    return found


async def check_customer(call: Call, id: str, field: str = "customerId") -> None:
    """Raises Invalid (CUSTOMER_NOT_FOUND) unless the caller may change that customer."""
    if not await changes_customer(call, id):
        raise Invalid(field, f"there is no customer {id} that you may change", reason="CUSTOMER_NOT_FOUND")


async def check_contact(
    call: Call, id: str, customer_id: str, field: str = "contactId"
) -> contact_pb2.Contact:
    """The contact. Raises Invalid (CONTACT_NOT_FOUND) unless the caller may read it and it belongs to the customer, which is any
    of its customers."""
    unknown = Invalid(field, f"customer {customer_id} has no contact {id}", reason="CONTACT_NOT_FOUND")
    try:
        contact = await call.ask(
            _CONTACTS + "GetContact", contact_service_pb2.GetContactRequest(id=id), contact_pb2.Contact
        )
    except Problem as problem:
        if problem.code not in (Code.NOT_FOUND, Code.PERMISSION_DENIED):
            raise
        raise unknown from None
    belongs = (contact.customer_id, *(one.customer_id for one in contact.affiliations))
    if parse_id(customer_id, "customerId") not in {UUID(one) for one in belongs if one}:
        raise unknown
    return contact


class Suite:
    """Customers and sales, asked by leads."""

    def __init__(self, call: Call) -> None:
        self._call = call.as_service()

    async def _make(self, method: str, request: Any, record: Message) -> None:
        """Makes the record that the request holds."""
        while True:
            try:
                await self._call.ask(method, request, type(record))
                return
            except Problem as problem:
                # The ids are ours alone: what is there under them was made by an earlier attempt.
                if problem.code is Code.ALREADY_EXISTS and problem.reason == "ID_TAKEN":
                    return
                if not _left_out(record, problem):
                    raise

    async def _carry_fields(self, conversion: Conversion, record: Any, method: str, record_type: str) -> None:
        """Gives the record the lead's values of the custom fields that both have: of one key, one kind, one kind of record
        referred to."""
        given = conversion.plan.get("custom_fields")
        if not given:
            return
        request = custom_fields_pb2.ListCustomFieldsRequest(record_type=record_type, page_size=_MOST_FIELDS)
        known = await self._call.ask(method, request, custom_fields_pb2.ListCustomFieldsResponse)
        for field in known.custom_fields:
            own = given.get(field.key)
            kind = custom_fields_pb2.CustomFieldKind.Name(field.kind).removeprefix("CUSTOM_FIELD_KIND_")
            if field.archived or own is None:
                continue
            if (own["kind"], own["reference_type"]) == (kind, field.reference_type):
                record.custom_fields[field.key].CopyFrom(from_dict(Value, own["value"]))

    async def make_customer(self, conversion: Conversion) -> None:
        plan = conversion.plan
        company = bool(plan["company_name"])
        customer = customer_pb2.Customer(
            kind=customer_pb2.CUSTOMER_KIND_COMPANY if company else customer_pb2.CUSTOMER_KIND_PERSON,
            display_name=plan["company_name"] or plan["name"], industry=plan["industry"], region=plan["region"],
            phone=plan["phone"] if not company else "", email=plan["email"] if not company else "", website=plan["website"],
            notes=plan["notes"],
            tags=plan["tags"], owner_id=plan["owner_id"], origin_lead_id=plan["lead_id"],
            stage=customer_pb2.CUSTOMER_STAGE_PROSPECT,
        )  # fmt: skip
        await _put_source(self._call, customer, plan["source"])
        if plan["im_account"] and not company:
            customer.accounts.add(account=plan["im_account"])
        if plan["address"]:
            customer.address.street = plan["address"][:300]
        request = customer_service_pb2.CreateCustomerRequest(
            customer=customer, customer_id=str(conversion.customer_id)
        )
        await self._carry_fields(conversion, request.customer, _CUSTOMER_FIELDS, "customer")
        await self._make(_CUSTOMERS + "CreateCustomer", request, request.customer)

    async def make_contact(self, conversion: Conversion) -> None:
        plan = conversion.plan
        contact = contact_pb2.Contact(
            customer_id=str(conversion.customer_id), display_name=plan["name"], title=plan["title"],
            department=plan["department"], im_account=plan["im_account"], origin_lead_id=plan["lead_id"],
            primary=not conversion.customer_existed,
        )  # fmt: skip
        if plan["phone"]:
            contact.phones.add(number=plan["phone"])
        if plan["email"]:
            contact.emails.add(address=plan["email"])
        request = contact_service_pb2.CreateContactRequest(
            contact=contact, contact_id=str(conversion.contact_id)
        )
        await self._carry_fields(conversion, request.contact, _CUSTOMER_FIELDS, "contact")
        await self._make(_CONTACTS + "CreateContact", request, request.contact)

    async def make_opportunity(self, conversion: Conversion) -> None:
        plan, wanted = conversion.plan, conversion.plan["opportunity"]
        close = (
            date.fromisoformat(wanted["close"])
            if wanted.get("close")
            else conversion.created_at.date() + timedelta(days=90)
        )
        opportunity = opportunity_pb2.Opportunity(
            name=wanted.get("name") or plan["company_name"] or plan["name"], customer_id=str(conversion.customer_id),
            contact_id=str(conversion.contact_id or ""), product_id=wanted.get("product_id", ""),
            stage_id=wanted.get("stage_id", ""), owner_id=plan["owner_id"], origin_lead_id=plan["lead_id"],
            campaign_id=plan["campaign_id"], expected_close_date=Date(year=close.year, month=close.month, day=close.day),
        )  # fmt: skip
        minor = wanted.get("minor", plan["estimated_amount"])
        if minor is not None:
            to_money(
                opportunity.amount, Money(minor, wanted.get("currency") or plan["estimated_amount_currency"])
            )
        request = opportunity_service_pb2.CreateOpportunityRequest(
            opportunity=opportunity, opportunity_id=str(conversion.opportunity_id)
        )
        await self._carry_fields(conversion, request.opportunity, _OPPORTUNITY_FIELDS, "opportunity")
        await self._make(_OPPORTUNITIES + "CreateOpportunity", request, request.opportunity)

    async def take_back(self, conversion: Conversion) -> None:
        # All or nothing: a customer somebody works with already keeps its contact and opportunity, too.
        if await self._in_use(conversion):
            return
        if conversion.opportunity_id is not None:
            request = opportunity_service_pb2.DeleteOpportunityRequest(
                id=str(conversion.opportunity_id), etag=_FIRST
            )
            if not await self._drop(_OPPORTUNITIES + "DeleteOpportunity", request):
                return
        contact_id = "" if conversion.contact_existed else str(conversion.contact_id or "")
        if not conversion.customer_existed:
            # Its contact goes with it.
            request = customer_service_pb2.DeleteCustomerRequest(
                id=str(conversion.customer_id), untouched_only=True, created_contact_id=contact_id
            )
            await self._drop(_CUSTOMERS + "DeleteCustomer", request)
        elif contact_id:
            request = contact_service_pb2.DeleteContactRequest(id=contact_id, etag=_FIRST)
            await self._drop(_CONTACTS + "DeleteContact", request)

    async def _in_use(self, conversion: Conversion) -> bool:
        """Whether sales has something that hangs on what was made."""
        request = customer_facet_pb2.GetCustomerFacetRequest(customer_id=str(conversion.customer_id))
        try:
            facet = await self._call.ask(_FACET, request, customer_facet_pb2.CustomerFacet)
        except Problem as problem:
            if problem.reason == "MODULE_NOT_INSTALLED":
                return False
            raise
        own = str(conversion.opportunity_id or "")
        if conversion.customer_existed:
            return bool(own) and any(one.opportunity_id == own for one in (*facet.activities, *facet.orders))
        others = any(one.id != own for one in facet.opportunities)
        return others or bool(facet.activity_count or facet.orders)

    async def _drop(self, method: str, request: Any) -> bool:
        """Whether it is gone; it stays when somebody has touched it or it is refused for another reason."""
        try:
            await self._call.ask(method, request, Empty)
        except Problem as problem:
            if problem.code is Code.NOT_FOUND:
                return True
            if problem.reason in _STAYS or problem.code in _REFUSED:
                return False
            raise
        return True


_SOURCES = frozenset(value.name for value in customer_pb2.CustomerSource.DESCRIPTOR.values)


async def _put_source(call: Call, customer: customer_pb2.Customer, key: str) -> None:
    """Says the customers' source of that name; OTHER for one that only the contract of leads has. For the tenant's own it is the
    name that people give it: customers keep it, and know it where their list has it, too."""
    known = f"CUSTOMER_SOURCE_{key}"
    if enum_view(key) is not None or not key:
        customer.source = customer_pb2.CustomerSource.Value(
            known if known in _SOURCES else "CUSTOMER_SOURCE_OTHER"
        )
    else:
        lists = await VALUE_LISTS.now(call.database, call.who)
        customer.source_key = lists.by_key["source"].name(key, chinese=True)


def _left_out(record: Any, problem: Problem) -> bool:
    """Takes away the custom fields that were refused and nothing else was: a value that does not fit there, as of a person
    who has left, stops no conversion."""
    refused = {v.field.removeprefix(PREFIX) for v in problem.violations if v.field.startswith(PREFIX)}
    if len(refused) < len(problem.violations) or not refused & record.custom_fields.keys():
        return False
    for key in refused & record.custom_fields.keys():
        del record.custom_fields[key]
    return True
