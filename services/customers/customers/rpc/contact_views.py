"""ContactViewService."""

from datetime import UTC, datetime
from typing import Any

from kehu.customers.v1 import contact_view_service_pb2 as service_pb
from kehu.identity.v1 import tenant_pb2, tenant_service_pb2

from chassis.errors import Invalid
from chassis.listing import Listing
from chassis.rpc import Call, Face
from customers.customer import Customer
from customers.rpc.customers import CUSTOMERS
from customers.rpc.messages import customer_message
from customers.weeks import week_of

face = Face("kehu.customers.v1.ContactViewService")
# The value is a list of two times, between which somebody was or is to be in touch.
_BETWEEN = (
    "EXISTS (SELECT FROM customer_activities a WHERE a.customer_id = t.id AND a.state = '{state}'"
    " AND a.at >= ({}::timestamptz[])[1] AND a.at < ({}::timestamptz[])[2])"
)
_CONTACTED = _BETWEEN.replace("{state}", "COMPLETED")
VIEWS = Listing(
    Customer,
    "customers",
    CUSTOMERS.fields,
    search=True,
    custom_fields=True,
    narrowings={
        "toContact": _BETWEEN.replace("{state}", "PLANNED"),
        "contacted": _CONTACTED,
        "notContacted": f"t.created_at < ({{}}::timestamptz[])[2] AND NOT {_CONTACTED}",
    },
)
_VIEWS = {
    service_pb.CONTACT_VIEW_TO_CONTACT_NEXT_WEEK: ("toContact", 1),
    service_pb.CONTACT_VIEW_CONTACTED_LAST_WEEK: ("contacted", -1),
    service_pb.CONTACT_VIEW_NOT_CONTACTED_LAST_WEEK: ("notContacted", -1),
}
_GET_TENANT = "kehu.identity.v1.TenantService/GetTenant"


@face.read("ListCustomersByContact")
async def list_by_contact(
    request: service_pb.ListCustomersByContactRequest, call: Call
) -> service_pb.ListCustomersByContactResponse:
    if request.view not in _VIEWS:
        raise Invalid("view", "is none of the views there are")
    zone = request.time_zone
    if not zone:
        asked = tenant_service_pb2.GetTenantRequest()
        zone = (await call.ask(_GET_TENANT, asked, tenant_pb2.Tenant)).time_zone
    name, offset = _VIEWS[request.view]
    between: Any = list(week_of(datetime.now(UTC), zone, offset))
    page = await VIEWS.page(call, request, {name: between})
    return service_pb.ListCustomersByContactResponse(
        customers=[customer_message(row) for row in page.rows], next_page_token=page.next_page_token
    )
