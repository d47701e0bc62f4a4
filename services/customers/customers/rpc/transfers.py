"""TransferService."""

from collections.abc import Sequence
from uuid import UUID

from kehu.customers.v1 import customer_service_pb2
from kehu.customers.v1 import transfer_service_pb2 as service_pb
from kehu.sales.v1 import open_work_service_pb2 as open_work_pb

from chassis.busy import patiently
from chassis.errors import Conflict, Invalid, Unavailable
from chassis.ids import parse_id
from chassis.listing import Listing
from chassis.owners import Owner, owner_for
from chassis.principal import Act
from chassis.rpc import Call, Face
from chassis.rpc.face import need
from customers.customer import Customer
from customers.rpc.customers import CUSTOMERS
from customers.transfer import (
    AT_ONCE,
    MOST,
    MOST_TOLD,
    Along,
    Transferred,
    TransferTooLarge,
    busy,
    transfer,
)

face = Face("kehu.customers.v1.TransferService")
_IDS = Listing(
    Customer, "customers", CUSTOMERS.fields, "createTime", custom_fields=True, columns=["id", "created_at"]
)
_COUNT = "kehu.sales.v1.OpenWorkService/CountOpenWork"
_COUNTED_AT_ONCE = 1000


@face.process("TransferCustomers")
async def transfer_customers(
    request: service_pb.TransferCustomersRequest, call: Call
) -> service_pb.TransferCustomersResponse:
    filter = request.filter.strip()
    if bool(request.ids) == bool(filter):
        raise Invalid("ids", "name the customers by ids or by a filter, and not by both")
    along = Along(request.with_activities, request.with_opportunities)
    if along != Along():
        need(call.who, "opportunities", Act.WRITE)
    owner = await owner_for(call, request.owner_id, "customers", "ownerId")
    ids = [parse_id(id, "ids") for id in request.ids] if request.ids else await _found(call, filter)
    done = Transferred()
    for first in range(0, len(ids), AT_ONCE):
        done.add(await _some(call, ids[first : first + AT_ONCE], owner, along, request.validate_only))
    answer = service_pb.TransferCustomersResponse(
        transferred_count=done.given, unchanged_count=done.unchanged, refused_count=len(done.refused),
        contact_count=done.contacts,
    )  # fmt: skip
    for one in done.refused[:MOST_TOLD]:
        answer.refusals.add(
            customer_id=str(one.customer_id), display_name=one.display_name, reason=one.reason, message=one.message
        )  # fmt: skip
    if request.validate_only:
        await _count(call, done.former, along, answer)
    return answer


async def _found(call: Call, filter: str) -> list[UUID]:
    """The customers of the filter. All of them are found before the first is given away, since the filter may be about that."""
    ids: list[UUID] = []
    async for rows in _IDS.all(call, customer_service_pb2.ListCustomersRequest(filter=filter)):
        ids += [row["id"] for row in rows]
        if len(ids) > MOST:
            raise TransferTooLarge
    return ids


async def _some(call: Call, ids: Sequence[UUID], owner: Owner, along: Along, only_look: bool) -> Transferred:
    """Those customers, in one transaction; while somebody else holds one of them, each in its own."""

    async def together() -> Transferred:
        async with call.database.transaction(call.who) as tx:
            return await transfer(tx, ids, owner, along, only_look=only_look)

    try:
        return await patiently(together, 0.05)
    except Conflict as held:
        if held.reason != "RECORD_BUSY":
            raise
    if len(ids) == 1:
        return busy(ids)
    done = Transferred()
    for id in ids:
        done.add(await _some(call, [id], owner, along, only_look))
    return done


async def _count(
    call: Call,
    former: Sequence[tuple[UUID, UUID]],
    along: Along,
    answer: service_pb.TransferCustomersResponse,
) -> None:
    """Says how much open work would go along, unless sales does not answer."""
    opportunities = activities = 0
    try:
        for first in range(0, len(former), _COUNTED_AT_ONCE):
            works = [
                open_work_pb.OpenWorkOf(customer_id=str(customer), owner_id=str(owner))
                for customer, owner in former[first : first + _COUNTED_AT_ONCE]
            ]
            asked = open_work_pb.CountOpenWorkRequest(works=works)
            counted = await call.as_service().ask(_COUNT, asked, open_work_pb.CountOpenWorkResponse)
            opportunities += counted.opportunity_count
            activities += counted.activity_count
    except Unavailable:
        return
    answer.activity_count = activities if along.activities else 0
    answer.opportunity_count = opportunities if along.opportunities else 0
