"""OpenWorkService."""

from kehu.sales.v1 import open_work_service_pb2 as pb

from chassis.ids import parse_id
from chassis.rpc import Call, Face

face = Face("kehu.sales.v1.OpenWorkService")
_COUNT = (
    "WITH asked AS (SELECT customer_id, owner_id FROM unnest($1::uuid[], $2::uuid[]) AS a(customer_id, owner_id))"
    " SELECT (SELECT count(*) FROM asked a JOIN opportunities o ON o.customer_id = a.customer_id AND o.owner_id = a.owner_id"
    " WHERE o.status = 'OPEN' AND o.deleted_at IS NULL) AS opportunities,"
    " (SELECT count(*) FROM asked a JOIN activities t ON t.customer_id = a.customer_id AND t.owner_id = a.owner_id"
    " WHERE t.status = 'PLANNED' AND t.deleted_at IS NULL) AS activities"
)


@face.read("CountOpenWork")
async def count_open_work(request: pb.CountOpenWorkRequest, call: Call) -> pb.CountOpenWorkResponse:
    customers = [parse_id(one.customer_id, "works.customerId") for one in request.works]
    owners = [parse_id(one.owner_id, "works.ownerId") for one in request.works]
    row = (await call.database.read(call.who, _COUNT, customers, owners))[0]
    return pb.CountOpenWorkResponse(opportunity_count=row["opportunities"], activity_count=row["activities"])
