"""Sales over gRPC: opportunities through the pipeline, orders to the cent, deliveries once."""

from typing import Any

import pytest
from google.protobuf.empty_pb2 import Empty
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.date_pb2 import Date
from google.type.money_pb2 import Money
from kehu.sales.v1 import (
    activity_pb2,
    activity_service_pb2,
    customer_facet_pb2,
    order_pb2,
    order_service_pb2,
    pipeline_pb2,
    pipeline_service_pb2,
    product_service_pb2,
)
from kehu.sales.v1 import opportunity_pb2 as opp
from kehu.sales.v1 import opportunity_service_pb2 as opps

from chassis.errors import Code
from chassis.principal import Reach, Rights
from chassis.testing import refused, somebody

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_an_opportunity_goes_through_the_pipeline(sales: Any) -> None:
    pipeline = await sales.ask(
        "PipelineService/GetPipeline", pipeline_service_pb2.GetPipelineRequest(), pipeline_pb2.Pipeline
    )
    assert [stage.name for stage in pipeline.stages] == ["Prospecting", "Engaging", "Negotiating"]
    made = await sales.opportunity("一期", amount=Money(currency_code="CNY", units=100, nanos=500_000_000))
    assert (made.stage_name, made.probability, made.customer_name) == ("Prospecting", 10, "华为")
    moved = await sales.ask(
        "OpportunityService/MoveOpportunityStage",
        opps.MoveOpportunityStageRequest(id=made.id, stage_id=pipeline.stages[2].id),
        opp.Opportunity,
    )
    assert (moved.stage_name, moved.probability) == ("Negotiating", 70)
    won = await sales.ask(
        "OpportunityService/WinOpportunity", opps.WinOpportunityRequest(id=made.id), opp.Opportunity
    )
    assert won.status == opp.OPPORTUNITY_STATUS_WON and won.probability == 100
    again = opps.LoseOpportunityRequest(id=made.id, reason=opp.LOSS_REASON_PRICE)
    await refused(
        Code.FAILED_PRECONDITION,
        "OPPORTUNITY_CLOSED",
        sales.ask("OpportunityService/LoseOpportunity", again, opp.Opportunity),
    )
    reopened = await sales.ask(
        "OpportunityService/ReopenOpportunity", opps.ReopenOpportunityRequest(id=made.id), opp.Opportunity
    )
    assert (reopened.status, reopened.stage_name) == (opp.OPPORTUNITY_STATUS_OPEN, "Negotiating")
    gone = pipeline_service_pb2.UpdatePipelineRequest(
        pipeline=pipeline_pb2.Pipeline(id=pipeline.id, stages=pipeline.stages[:2])
    )
    await refused(
        Code.FAILED_PRECONDITION,
        "STAGE_IN_USE",
        sales.ask("PipelineService/UpdatePipeline", gone, pipeline_pb2.Pipeline),
    )


async def test_who_may_not_see_an_opportunity_does_not_find_it(sales: Any) -> None:
    made = await sales.opportunity("mine alone")
    get = opps.GetOpportunityRequest(id=made.id)
    own = somebody("acme", rights={"opportunities": Rights(Reach.OWN, Reach.OWN)})
    for who in (own, somebody("other")):
        await refused(
            Code.NOT_FOUND,
            "NOT_FOUND",
            sales.ask("OpportunityService/GetOpportunity", get, opp.Opportunity, who),
        )


async def test_unknown_customers_stages_and_products_are_named(sales: Any) -> None:
    nobody = "00000000-0000-7000-8000-000000000001"
    request = opps.CreateOpportunityRequest(opportunity=opp.Opportunity(name="x", customer_id=nobody))
    problem = await refused(
        Code.INVALID_ARGUMENT,
        "CUSTOMER_NOT_FOUND",
        sales.ask("OpportunityService/CreateOpportunity", request, opp.Opportunity),
    )
    assert problem.violations[0].field == "opportunity.customerId"
    await refused(Code.INVALID_ARGUMENT, "STAGE_NOT_FOUND", sales.opportunity("x", stage_id=nobody))
    await refused(Code.INVALID_ARGUMENT, "PRODUCT_NOT_FOUND", sales.opportunity("x", product_id=nobody))


async def test_an_order_is_exact_and_is_delivered_once(sales: Any) -> None:
    product = await sales.product("GTX Pro", 19)
    line = order_pb2.OrderLine(product_id=product.id, quantity="3", discount_percent="12.5")
    order = await sales.order(line, request_id="order-1")
    # 3 x 19.00 x 0.875 = 49.875 -> 49.88; 13 % of it = 6.4844 -> 6.48
    assert (order.subtotal.units, order.subtotal.nanos) == (49, 880_000_000)
    assert (order.tax_total.units, order.tax_total.nanos) == (6, 480_000_000)
    assert (order.total.units, order.total.nanos) == (56, 360_000_000)
    assert order.number.startswith("SO-") and order.status == order_pb2.ORDER_STATUS_PLACED
    assert (await sales.order(line, request_id="order-1")).id == order.id

    def report(quantity: str, request_id: str) -> order_service_pb2.RecordDeliveryRequest:
        part = order_pb2.DeliveryLine(order_line_id=order.lines[0].id, quantity=quantity)
        return order_service_pb2.RecordDeliveryRequest(
            id=order.id, request_id=request_id, delivery=order_pb2.Delivery(number="D-1", lines=[part])
        )

    for _ in range(2):
        partly = await sales.ask("OrderService/RecordDelivery", report("1", "d-1"), order_pb2.Order)
        assert partly.lines[0].delivered_quantity == "1"
        assert partly.status == order_pb2.ORDER_STATUS_PARTLY_DELIVERED
    await refused(
        Code.FAILED_PRECONDITION,
        "DELIVERY_EXCEEDS_ORDER",
        sales.ask("OrderService/RecordDelivery", report("2.5", "d-2"), order_pb2.Order),
    )
    cancel = order_service_pb2.CancelOrderRequest(id=order.id)
    await refused(
        Code.FAILED_PRECONDITION,
        "ORDER_NOT_CANCELLABLE",
        sales.ask("OrderService/CancelOrder", cancel, order_pb2.Order),
    )
    rest = order_service_pb2.RecordDeliveryRequest(id=order.id, request_id="d-3")
    whole = await sales.ask("OrderService/RecordDelivery", rest, order_pb2.Order)
    assert whole.status == order_pb2.ORDER_STATUS_DELIVERED and len(whole.deliveries) == 2
    await refused(
        Code.FAILED_PRECONDITION,
        "PRODUCT_IN_USE",
        sales.ask(
            "ProductService/DeleteProduct", product_service_pb2.DeleteProductRequest(id=product.id), Empty
        ),
    )


async def test_a_draft_is_placed_or_deleted(sales: Any) -> None:
    draft = await sales.order(place=False)
    place = order_service_pb2.PlaceOrderRequest(id=draft.id)
    await refused(
        Code.FAILED_PRECONDITION,
        "ORDER_WITHOUT_LINES",
        sales.ask("OrderService/PlaceOrder", place, order_pb2.Order),
    )
    await sales.ask("OrderService/DeleteOrder", order_service_pb2.DeleteOrderRequest(id=draft.id), Empty)
    await refused(
        Code.NOT_FOUND,
        "NOT_FOUND",
        sales.ask("OrderService/GetOrder", order_service_pb2.GetOrderRequest(id=draft.id), order_pb2.Order),
    )


async def test_an_activity_is_planned_and_done_and_all_stands_in_the_facet(sales: Any) -> None:
    made = await sales.opportunity("facet", expected_close_date=Date(year=2027, month=1, day=31))
    activity = activity_pb2.Activity(
        kind=activity_pb2.ACTIVITY_KIND_CALL, subject="回访", due_time=Timestamp(seconds=1_700_000_000), opportunity_id=made.id
    )  # fmt: skip
    planned = await sales.ask(
        "ActivityService/CreateActivity",
        activity_service_pb2.CreateActivityRequest(activity=activity),
        activity_pb2.Activity,
    )
    assert planned.overdue and planned.customer_id == sales.customer_id
    get = opps.GetOpportunityRequest(id=made.id)
    seen = await sales.ask("OpportunityService/GetOpportunity", get, opp.Opportunity)
    assert seen.next_activity_time.seconds == 1_700_000_000
    done = activity_service_pb2.CompleteActivityRequest(id=planned.id, result="要报价")
    completed = await sales.ask("ActivityService/CompleteActivity", done, activity_pb2.Activity)
    assert completed.status == activity_pb2.ACTIVITY_STATUS_COMPLETED
    await refused(
        Code.FAILED_PRECONDITION,
        "ACTIVITY_NOT_PLANNED",
        sales.ask("ActivityService/CompleteActivity", done, activity_pb2.Activity),
    )
    facet = await sales.ask(
        "CustomerFacetService/GetCustomerFacet",
        customer_facet_pb2.GetCustomerFacetRequest(customer_id=sales.customer_id),
        customer_facet_pb2.CustomerFacet,
    )
    assert facet.activity_count == 1 and any(o.id == made.id for o in facet.opportunities)
    assert facet.order_count == len(facet.orders) and not facet.orders_withheld
