"""PoolService."""

from kehu.customers.v1 import customer_pb2, pool_pb2
from kehu.customers.v1 import pool_service_pb2 as service_pb

from chassis.database import Transaction
from chassis.ids import parse_id
from chassis.listing import Listing
from chassis.mapping import Mapping
from chassis.rpc import Call, Face
from customers.customer import Customer
from customers.pool import PoolRule, change_rule, claim, give_back, rule_id
from customers.rpc.customers import CUSTOMERS, answer, written_customer
from customers.rpc.messages import customer_message, rule_message, rule_now

face = Face("kehu.customers.v1.PoolService")
# Whoever sees the pool sees what may be claimed, and not what it brought in so far.
POOL = Listing(
    Customer, None, {name: one for name, one in CUSTOMERS.fields.items() if name != "margin"}, search=True, custom_fields=True
)  # fmt: skip
_RULE = Mapping(pool_pb2.PoolRule)
_ROW = "SELECT * FROM pool_rules WHERE id = $1"


@face.read("ListPoolCustomers")
async def list_pool(
    request: service_pb.ListPoolCustomersRequest, call: Call
) -> service_pb.ListPoolCustomersResponse:
    page = await POOL.page(call, request, {"ownerId": None})
    return service_pb.ListPoolCustomersResponse(
        customers=[customer_message(row) for row in page.rows], next_page_token=page.next_page_token
    )


@face.write("ClaimCustomer")
async def claim_customer(request: service_pb.ClaimCustomerRequest, tx: Transaction) -> customer_pb2.Customer:
    return await answer(tx, await claim(tx, parse_id(request.id, "id")))


@face.write("ReturnCustomer")
async def return_customer(
    request: service_pb.ReturnCustomerRequest, tx: Transaction
) -> customer_pb2.Customer:
    customer = await written_customer(tx, request.id, request.etag, shares=False)
    await give_back(tx, customer, request.reason.strip())
    return await answer(tx, customer)


@face.read("GetPoolRule")
async def get_rule(request: service_pb.GetPoolRuleRequest, call: Call) -> pool_pb2.PoolRule:
    return await rule_now(call, _RULE, _ROW, PoolRule(id=rule_id(call.who.tenant_id)))


@face.write("UpdatePoolRule")
async def update_rule(request: service_pb.UpdatePoolRuleRequest, tx: Transaction) -> pool_pb2.PoolRule:
    rule = await change_rule(tx, _RULE.values(request.rule, request.update_mask), request.rule.etag)
    await tx.session.flush()
    return rule_message(_RULE, rule)
