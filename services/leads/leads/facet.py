"""The leads' part of the 360° view: the leads a customer came from, those attached to it, how it came each time, and by which
steps of cadences it was won."""

from typing import Any

from kehu.leads.v1 import customer_facet_pb2 as pb
from kehu.leads.v1 import lead_pb2

from chassis.ids import parse_id
from chassis.principal import Act
from chassis.rpc import Call, Face
from chassis.visibility import visible_text
from leads.rpc.messages import TOUCH, capture_message, lead_message
from leads.value_lists import enum_view

face = Face("kehu.leads.v1.CustomerFacetService")

_LEADS = "SELECT t.*, count(*) OVER () AS all_of_them FROM leads t WHERE t.customer_id = $1 AND t.deleted_at IS NULL AND "
_ORDER = " ORDER BY t.convert_time DESC, t.id DESC LIMIT 50"
_ATTACHED = "SELECT t.* FROM leads t WHERE t.duplicate_of_customer_id = $1 AND t.deleted_at IS NULL AND "
_NEWEST = " ORDER BY t.disqualify_time DESC, t.id DESC LIMIT 50"
# The newest, and the first for what came in the beginning.
_CAPTURES = (
    "SELECT * FROM (SELECT c.*, row_number() OVER (ORDER BY c.created_at DESC, c.id DESC) AS place,"
    " count(*) OVER () AS many FROM lead_captures c JOIN leads t ON t.tenant_id = c.tenant_id AND t.id = c.lead_id"
    " WHERE (t.customer_id = $1 OR t.duplicate_of_customer_id = $1) AND t.deleted_at IS NULL AND {rule}) AS one"
    " WHERE place <= 50 OR place = many ORDER BY place"
)
_TOUCHES = (
    "SELECT c.* FROM lead_touches c JOIN leads t ON t.tenant_id = c.tenant_id AND t.id = c.lead_id"
    " WHERE (t.customer_id = $1 OR t.duplicate_of_customer_id = $1) AND t.deleted_at IS NULL AND {rule}"
    " ORDER BY c.created_at DESC, c.id DESC LIMIT 50"
)
_MOST = 50


@face.read("GetCustomerFacet")
async def get_customer_facet(request: pb.GetCustomerFacetRequest, call: Call) -> pb.CustomerFacet:
    id = parse_id(request.customer_id, "customerId")
    rule, values = visible_text(call.who, "leads", Act.READ, "owner_id", "team_id", first=2)
    rows = await call.database.read(call.who, _LEADS + rule + _ORDER, id, *values)
    attached = await call.database.read(call.who, _ATTACHED + rule + _NEWEST, id, *values)
    captures = await call.database.read(call.who, _CAPTURES.replace("{rule}", rule), id, *values)
    touches = await call.database.read(call.who, _TOUCHES.replace("{rule}", rule), id, *values)
    facet = pb.CustomerFacet(
        leads=[lead_message(row) for row in rows], lead_count=rows[0]["all_of_them"] if rows else 0,
        attached_leads=[lead_message(row) for row in attached],
        captures=[capture_message(row) for row in captures[:_MOST]],
        touches=[TOUCH.message(row) for row in touches],
    )  # fmt: skip
    if captures:
        _came(facet, captures[-1], captures[0])
    elif rows:
        # Leads from before captures were kept, and leads by hand.
        eldest = min(rows, key=lambda row: (row["created_at"], row["id"]))
        _came(facet, eldest, eldest)
    return facet


def _came(facet: pb.CustomerFacet, first: Any, last: Any) -> None:
    facet.first_source, facet.last_source = _source(first), _source(last)
    facet.first_source_key, facet.last_source_key = first["source"], last["source"]
    facet.first_campaign_id, facet.last_campaign_id = (str(row["campaign_id"] or "") for row in (first, last))


def _source(row: Any) -> lead_pb2.LeadSource.ValueType:
    return lead_pb2.LeadSource.Value(f"LEAD_SOURCE_{enum_view(row['source']) or 'UNSPECIFIED'}")
