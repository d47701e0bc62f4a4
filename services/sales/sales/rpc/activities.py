"""ActivityService."""

from dataclasses import dataclass, replace

from google.protobuf.empty_pb2 import Empty
from kehu.sales.v1 import activity_pb2 as pb
from kehu.sales.v1 import activity_service_pb2 as service_pb

from chassis.database import Transaction
from chassis.fields import Field, Kind
from chassis.ids import parse_id
from chassis.listing import OWNER_FIELDS, RECORD_FIELDS, Listing
from chassis.mapping import to_datetime
from chassis.owners import Owner, owner_for
from chassis.rpc import Call, Face
from sales import activity as use
from sales.activity import KINDS, STATUSES, Activity
from sales.custom_fields import CUSTOM_FIELDS
from sales.errors import customer_mismatch
from sales.rpc.links import opportunity_seen
from sales.rpc.messages import ACTIVITY, activity_message
from sales.rpc.peers import customer_name

face = Face("kehu.sales.v1.ActivityService", custom_fields=CUSTOM_FIELDS)
RIGHT = "opportunities"
ACTIVITIES = Listing(
    Activity,
    RIGHT,
    {
        **RECORD_FIELDS,
        **OWNER_FIELDS,
        "subject": Field("subject", Kind.TEXT, sortable=True),
        "kind": Field("kind", Kind.ENUM, values=KINDS, prefix="ACTIVITY_KIND_"),
        "status": Field("status", Kind.ENUM, values=STATUSES, prefix="ACTIVITY_STATUS_"),
        "customerId": Field("customer_id", Kind.UUID, nullable=True),
        "contactId": Field("contact_id", Kind.UUID, nullable=True),
        "leadId": Field("lead_id", Kind.UUID, nullable=True),
        "opportunityId": Field("opportunity_id", Kind.UUID, nullable=True),
        "dueTime": Field("due_time", Kind.TIMESTAMP, sortable=True),
        "externalKey": Field("external_key", Kind.TEXT),
        "completeTime": Field("complete_time", Kind.TIMESTAMP, sortable=True, nullable=True),
    },
    default_order="dueTime",
    search=True,
    custom_fields=True,
)


@dataclass(frozen=True, slots=True)
class _Outside:
    """What other services know of what the activity concerns."""

    customer_name: str | None
    owner: Owner | None = None


async def _activity(tx: Transaction, id: str, etag: str, field: str = "id") -> Activity:
    activity = await tx.get(Activity, parse_id(id, field), right=RIGHT)
    tx.check_etag(activity, etag)
    return activity


async def _answer(tx: Transaction, activity: Activity) -> pb.Activity:
    await tx.session.flush()
    return activity_message(activity)


@face.read("GetActivity")
async def get_activity(request: service_pb.GetActivityRequest, call: Call) -> pb.Activity:
    return activity_message(await ACTIVITIES.get(call, request.id))


@face.read("ListActivities")
async def list_activities(
    request: service_pb.ListActivitiesRequest, call: Call
) -> service_pb.ListActivitiesResponse:
    page = await ACTIVITIES.page(call, request)
    return service_pb.ListActivitiesResponse(
        activities=[activity_message(row) for row in page.rows], next_page_token=page.next_page_token
    )


async def _named(asked: pb.Activity, call: Call) -> _Outside:
    """With an opportunity, the customer is the opportunity's."""
    if asked.opportunity_id:
        seen = await opportunity_seen(call, asked.opportunity_id, "activity.opportunityId")
        if asked.customer_id and asked.customer_id != str(seen["customer_id"]):
            raise customer_mismatch("activity.customerId")
        asked.customer_id = str(seen["customer_id"])
        return _Outside(seen["customer_name"])
    if asked.customer_id:
        field = "activity.customerId"
        return _Outside(await customer_name(call, parse_id(asked.customer_id, field), field))
    return _Outside(None)


async def _outside(request: service_pb.CreateActivityRequest, call: Call) -> _Outside:
    owner = await owner_for(call, request.activity.owner_id, RIGHT, "activity.ownerId")
    return replace(await _named(request.activity, call), owner=owner)


@face.write("CreateActivity", prepare=_outside)
async def create(
    request: service_pb.CreateActivityRequest, tx: Transaction, outside: _Outside
) -> pb.Activity:
    assert outside.owner is not None
    id = parse_id(request.activity_id, "activityId") if request.activity_id else None
    values = ACTIVITY.values(request.activity)
    return await _answer(tx, await use.plan(tx, values, outside.customer_name or "", outside.owner, id))


async def _changed(request: service_pb.UpdateActivityRequest, call: Call) -> _Outside:
    return await _named(request.activity, call)


@face.write("UpdateActivity", prepare=_changed)
async def update(
    request: service_pb.UpdateActivityRequest, tx: Transaction, outside: _Outside
) -> pb.Activity:
    asked = request.activity
    activity = await _activity(tx, asked.id, asked.etag, "activity.id")
    values = ACTIVITY.values(asked, request.update_mask)
    if values.get("opportunity_id") and asked.customer_id:
        values["customer_id"] = parse_id(asked.customer_id, "activity.customerId")
    await use.change_activity(tx, activity, values, outside.customer_name or "")
    return await _answer(tx, activity)


@face.write("DeleteActivity")
async def delete(request: service_pb.DeleteActivityRequest, tx: Transaction) -> Empty:
    await use.drop_activity(tx, await _activity(tx, request.id, request.etag))
    return Empty()


async def _new_owner(request: service_pb.AssignActivityRequest, call: Call) -> Owner:
    return await owner_for(call, request.owner_id, RIGHT, "ownerId")


@face.write("AssignActivity", prepare=_new_owner)
async def assign(request: service_pb.AssignActivityRequest, tx: Transaction, owner: Owner) -> pb.Activity:
    activity = await _activity(tx, request.id, request.etag)
    use.assign_activity(tx, activity, owner)
    return await _answer(tx, activity)


@face.write("CompleteActivity")
async def complete(request: service_pb.CompleteActivityRequest, tx: Transaction) -> pb.Activity:
    activity = await _activity(tx, request.id, request.etag)
    at = to_datetime(request.complete_time) if request.HasField("complete_time") else None
    await use.complete(tx, activity, request.result.strip(), at, request.duration_minutes)
    return await _answer(tx, activity)


@face.write("CancelActivity")
async def cancel(request: service_pb.CancelActivityRequest, tx: Transaction) -> pb.Activity:
    activity = await _activity(tx, request.id, request.etag)
    await use.cancel(tx, activity, request.reason.strip())
    return await _answer(tx, activity)
