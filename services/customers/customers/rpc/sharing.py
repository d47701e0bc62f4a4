"""ShareService."""

from datetime import UTC, datetime
from typing import Any

import orjson
from kehu.customers.v1 import customer_pb2 as pb
from kehu.customers.v1 import share_service_pb2 as service_pb
from kehu.shares.v1 import shares_pb2

from chassis.database import Transaction
from chassis.listing import DEFAULT_PAGE
from chassis.mapping import to_datetime
from chassis.rpc import Call, Face
from chassis.shares.entries import Grantee, grantee_named, lasts
from chassis.shares.grantee import grantee_there
from chassis.shares.messages import put_shares
from customers.rpc.customers import CUSTOMERS, answer, written_customer
from customers.sharing import READ, WRITE, share_customer, unshare_customer

face = Face("kehu.customers.v1.ShareService")


@face.read("ListCustomerShares")
async def list_shares(
    request: service_pb.ListCustomerSharesRequest, call: Call
) -> service_pb.ListCustomerSharesResponse:
    customer = await CUSTOMERS.get(call, request.customer_id, "customerId")
    now = datetime.now(UTC)
    there: list[Any] = [one for one in customer["shared_with"] if lasts(one, now)]
    binding = orjson.dumps(["shares", str(call.who.tenant_id), str(call.who.person_id), str(customer["id"])])
    if request.page_token:
        last = call.page_tokens.open(binding, request.page_token)[0]
        place = next((place for place, one in enumerate(there) if one["to"] == last), -1)
        there = there[place + 1 :]
    some = there[: request.page_size or DEFAULT_PAGE]
    response = service_pb.ListCustomerSharesResponse()
    put_shares(response.shares, some, now)
    if len(some) < len(there):
        response.next_page_token = call.page_tokens.seal(binding, [some[-1]["to"]])
    return response


async def _grantee(request: service_pb.ShareCustomerRequest, call: Call) -> Grantee:
    return await grantee_there(call, request.person_id, request.team_id)


@face.write("ShareCustomer", prepare=_grantee)
async def share(request: service_pb.ShareCustomerRequest, tx: Transaction, grantee: Grantee) -> pb.Customer:
    customer = await written_customer(tx, request.id, request.etag, shares=False)
    access = WRITE if request.access == shares_pb2.SHARE_ACCESS_WRITE else READ
    until = to_datetime(request.until_time) if request.HasField("until_time") else None
    share_customer(tx, customer, grantee, access, until)
    return await answer(tx, customer)


@face.write("UnshareCustomer")
async def unshare(request: service_pb.UnshareCustomerRequest, tx: Transaction) -> pb.Customer:
    customer = await written_customer(tx, request.id, request.etag, shares=False)
    unshare_customer(tx, customer, grantee_named(request.person_id, request.team_id))
    return await answer(tx, customer)
