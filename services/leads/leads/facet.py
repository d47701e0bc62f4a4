"""The leads' part of the 360° view: the leads a customer came from."""

from kehu.leads.v1 import customer_facet_pb2 as pb

from chassis.ids import parse_id
from chassis.principal import Act
from chassis.rpc import Call, Face
from chassis.visibility import visible_text
from leads.rpc.messages import lead_message

face = Face("kehu.leads.v1.CustomerFacetService")

_LEADS = "SELECT t.*, count(*) OVER () AS all_of_them FROM leads t WHERE t.customer_id = $1 AND t.deleted_at IS NULL AND "
_ORDER = " ORDER BY t.convert_time DESC, t.id DESC LIMIT 50"


@face.read("GetCustomerFacet")
async def get_customer_facet(request: pb.GetCustomerFacetRequest, call: Call) -> pb.CustomerFacet:
    id = parse_id(request.customer_id, "customerId")
    rule, values = visible_text(call.who, "leads", Act.READ, "owner_id", "team_id", first=2)
    rows = await call.database.read(call.who, _LEADS + rule + _ORDER, id, *values)
    return pb.CustomerFacet(
        leads=[lead_message(row) for row in rows], lead_count=rows[0]["all_of_them"] if rows else 0
    )
