"""What the service desk knows of a customer, for the 360° view."""

from kehu.servicedesk.v1 import customer_facet_pb2 as pb

from chassis.ids import parse_id
from chassis.mapping import to_timestamp
from chassis.principal import Act
from chassis.rpc import Call, Face
from chassis.visibility import visible_text
from service_desk.rpc.messages import TICKET

face = Face("kehu.servicedesk.v1.CustomerFacetService")
_COLUMNS = ", ".join(f"t.{column}" for column in dict.fromkeys(TICKET.columns))
_TICKETS = (
    f"SELECT {_COLUMNS}, count(*) OVER () AS all_of_them,"  # noqa: S608 (columns of the contract)
    " count(*) FILTER (WHERE t.status IN ('NEW', 'OPEN', 'PENDING')) OVER () AS unresolved,"
    " max(t.created_at) OVER () AS latest FROM tickets t WHERE t.customer_id = $1 AND t.deleted_at IS NULL AND {rule}"
    " ORDER BY t.status NOT IN ('NEW', 'OPEN', 'PENDING'), t.created_at DESC, t.id DESC LIMIT 50"
)


@face.read("GetCustomerFacet")
async def get_customer_facet(request: pb.GetCustomerFacetRequest, call: Call) -> pb.CustomerFacet:
    rule, values = visible_text(call.who, "tickets", Act.READ, "owner_id", "team_id", first=2)
    id = parse_id(request.customer_id, "customerId")
    rows = await call.database.read(call.who, _TICKETS.replace("{rule}", rule), id, *values)
    facet = pb.CustomerFacet(tickets=[TICKET.message(row) for row in rows])
    if rows:
        facet.ticket_count = rows[0]["all_of_them"]
        facet.open_ticket_count = rows[0]["unresolved"]
        to_timestamp(facet.last_ticket_time, rows[0]["latest"])
    return facet
