"""The campaigns that touched a customer, for the 360° view, in one round trip."""

from typing import Any

from kehu.marketing.v1 import campaign_member_pb2, campaign_pb2
from kehu.marketing.v1 import customer_facet_pb2 as pb

from chassis.ids import parse_id
from chassis.mapping import to_timestamp
from chassis.principal import Act
from chassis.rpc import Call, Face
from chassis.visibility import visible_text

face = Face("kehu.marketing.v1.CustomerFacetService")

_TOUCHES = (
    "SELECT t.campaign_id, t.status, t.created_at, t.response_time, c.name, c.channel, c.status AS campaign_status,"
    " count(*) OVER () AS all_of_them FROM campaign_members t"
    " JOIN campaigns c ON c.tenant_id = t.tenant_id AND c.id = t.campaign_id"
    " WHERE t.customer_id = $1 AND t.deleted_at IS NULL AND {rule} ORDER BY t.created_at DESC, t.id DESC LIMIT 50"
)


@face.read("GetCustomerFacet")
async def get_customer_facet(request: pb.GetCustomerFacetRequest, call: Call) -> pb.CustomerFacet:
    id = parse_id(request.customer_id, "customerId")
    rule, values = visible_text(call.who, "campaigns", Act.READ, "owner_id", "team_id", first=2)
    rows = await call.database.read(call.who, _TOUCHES.replace("{rule}", rule), id, *values)
    return pb.CustomerFacet(
        touches=[_touch(row) for row in rows], touch_count=rows[0]["all_of_them"] if rows else 0
    )


def _touch(row: Any) -> pb.CampaignTouch:
    touch = pb.CampaignTouch(
        campaign_id=str(row["campaign_id"]), campaign_name=row["name"],
        channel=campaign_pb2.CampaignChannel.Value(f"CAMPAIGN_CHANNEL_{row['channel']}"),
        campaign_status=campaign_pb2.CampaignStatus.Value(f"CAMPAIGN_STATUS_{row['campaign_status']}"),
        status=campaign_member_pb2.MemberStatus.Value(f"MEMBER_STATUS_{row['status']}"),
    )  # fmt: skip
    to_timestamp(touch.add_time, row["created_at"])
    if row["response_time"] is not None:
        to_timestamp(touch.response_time, row["response_time"])
    return touch
