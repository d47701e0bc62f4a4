"""Every verb of sales minds the version it was asked for, does once what is asked twice, and gives records to those in reach."""

from dataclasses import replace
from typing import Any

import pytest
from google.protobuf.empty_pb2 import Empty
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.date_pb2 import Date
from google.type.money_pb2 import Money
from kehu.sales.v1 import activity_pb2, order_pb2, pipeline_pb2, pipeline_service_pb2, product_pb2
from kehu.sales.v1 import activity_service_pb2 as activities
from kehu.sales.v1 import opportunity_pb2 as opp
from kehu.sales.v1 import opportunity_service_pb2 as opps
from kehu.sales.v1 import order_service_pb2 as orders
from kehu.sales.v1 import product_service_pb2 as products

from chassis.errors import Code, Problem
from chassis.ids import new_id
from chassis.principal import Reach, Rights
from chassis.testing import EVERYTHING, somebody

pytestmark = pytest.mark.asyncio(loop_scope="module")
LATER = Timestamp(seconds=1_900_000_000)


async def activity(sales: Any, **fields: Any) -> activity_pb2.Activity:
    values: dict[str, Any] = {
        "kind": activity_pb2.ACTIVITY_KIND_CALL, "subject": "Call", "due_time": LATER, **fields,
    }  # fmt: skip
    request = activities.CreateActivityRequest(activity=activity_pb2.Activity(**values))
    return await sales.ask("ActivityService/CreateActivity", request, activity_pb2.Activity)


async def verbs(sales: Any) -> list[tuple[str, Any, Any, Any]]:
    """Each verb on a record of its own: method, request without etag, answer, and the record."""
    stages = (await pipeline(sales)).stages
    out: list[tuple[str, Any, Any, Any]] = []

    async def of_opportunity(name: str, **fields: Any) -> None:
        made = await sales.opportunity(name)
        if name == "Reopen":
            won = opps.WinOpportunityRequest(id=made.id)
            made = await sales.ask("OpportunityService/WinOpportunity", won, opp.Opportunity)
        verb = {"Move": "MoveOpportunityStage"}.get(name, name + "Opportunity")
        request = getattr(opps, verb + "Request")(id=made.id, **fields)
        out.append(
            ("OpportunityService/" + verb, request, Empty if name == "Delete" else opp.Opportunity, made)
        )

    someone = str(sales.names.person("Someone"))
    await of_opportunity("Delete")
    await of_opportunity("Assign", owner_id=someone)
    await of_opportunity("Move", stage_id=stages[1].id)
    await of_opportunity("Win")
    await of_opportunity("Lose", reason=opp.LOSS_REASON_PRICE)
    await of_opportunity("Reopen")
    for name, fields in (
        ("Delete", {}),
        ("Assign", {"owner_id": someone}),
        ("Complete", {"result": "Done"}),
        ("Cancel", {}),
    ):
        request = getattr(activities, name + "ActivityRequest")(
            id=(one := await activity(sales)).id, **fields
        )
        answer = Empty if name == "Delete" else activity_pb2.Activity
        out.append((f"ActivityService/{name}Activity", request, answer, one))
    item = await sales.product("For verbs", 10)
    for name in ("Delete", "Retire", "Reactivate"):
        made = await sales.product(name, 10)
        if name == "Reactivate":
            retire = products.RetireProductRequest(id=made.id)
            made = await sales.ask("ProductService/RetireProduct", retire, product_pb2.Product)
        request = getattr(products, name + "ProductRequest")(id=made.id)
        answer = Empty if name == "Delete" else product_pb2.Product
        out.append((f"ProductService/{name}Product", request, answer, made))
    line = order_pb2.OrderLine(product_id=item.id, quantity="1")
    for name, place in (("Delete", False), ("Place", False), ("Cancel", True)):
        made = await sales.order(line, place=place)
        request = getattr(orders, name + "OrderRequest")(id=made.id)
        out.append(
            (f"OrderService/{name}Order", request, Empty if name == "Delete" else order_pb2.Order, made)
        )
    made = await sales.order(line)
    out.append(
        ("OrderService/RecordDelivery", orders.RecordDeliveryRequest(id=made.id), order_pb2.Order, made)
    )
    return out


async def pipeline(sales: Any) -> pipeline_pb2.Pipeline:
    request = pipeline_service_pb2.GetPipelineRequest()
    return await sales.ask("PipelineService/GetPipeline", request, pipeline_pb2.Pipeline)


async def test_every_verb_minds_the_etag_and_is_done_once(sales: Any) -> None:
    for number, (method, request, answer, record) in enumerate(await verbs(sales)):
        request.request_id = f"verb-{number}"
        request.etag = "99"
        await sales.refused(Code.ABORTED, "ETAG_MISMATCH", method, request, answer)
        request.etag = record.etag
        before = await sales.outbox(record.id)
        first = await sales.ask(method, request, answer)
        after = await sales.outbox(record.id)
        assert len(after) == len(before) + 1, (method, after)
        assert await sales.ask(method, request, answer) == first, method
        assert await sales.outbox(record.id) == after, method
        request.etag = ""
        await sales.refused(Code.ALREADY_EXISTS, "IDEMPOTENCY_KEY_REUSED", method, request, answer)


async def test_updates_mind_the_etag_and_say_what_changed(sales: Any) -> None:
    deal, item = await sales.opportunity("Updated"), await sales.product("Updated", 10)
    call, order = await activity(sales), await sales.order(place=False)
    for service, kind, record, text, types, requests in (
        ("Opportunity", "opportunity", deal, "notes", opp, opps),
        ("Product", "product", item, "description", product_pb2, products),
        ("Activity", "activity", call, "description", activity_pb2, activities),
        ("Order", "order", order, "notes", order_pb2, orders),
    ):
        message = getattr(types, service)
        method = f"{service}Service/Update{service}"

        def request(etag: str, mask: str, **fields: Any) -> Any:
            return getattr(requests, f"Update{service}Request")(  # noqa: B023
                **{kind: message(id=record.id, etag=etag, **fields)}, update_mask=FieldMask(paths=[mask])  # noqa: B023
            )  # fmt: skip

        stale = request("99", text, **{text: "x"})
        await sales.refused(Code.ABORTED, "ETAG_MISMATCH", method, stale, message)
        changed = await sales.ask(method, request(record.etag, text, **{text: "x"}), message)
        assert getattr(changed, text) == "x" and changed.etag != record.etag
        same = await sales.ask(method, request("", text, **{text: "x"}), message)
        assert same.etag == changed.etag, "what changes nothing is no new version"
        assert (await sales.outbox(record.id))[-1] == service + "Updated"
        assert len(await sales.outbox(record.id)) == 2
        problem = await sales.refused(
            Code.INVALID_ARGUMENT, "FIELD_NOT_WRITABLE", method, request("", "create_time"), message
        )
        assert problem.violations[0].field == "updateMask"


async def test_the_pipeline_is_changed_without_its_id(sales: Any) -> None:
    before = await pipeline(sales)
    new = pipeline_pb2.Stage(name="Contract", probability=90, rotting_days=5, exit_criteria="signed")

    def update(*stages: pipeline_pb2.Stage, etag: str = "") -> pipeline_service_pb2.UpdatePipelineRequest:
        return pipeline_service_pb2.UpdatePipelineRequest(
            pipeline=pipeline_pb2.Pipeline(stages=stages, etag=etag)
        )

    method = "PipelineService/UpdatePipeline"
    after = await sales.ask(method, update(*before.stages, new, etag=before.etag), pipeline_pb2.Pipeline)
    assert [stage.name for stage in after.stages] == ["Prospecting", "Engaging", "Negotiating", "Contract"]
    assert [stage.id for stage in after.stages[:3]] == [stage.id for stage in before.stages]
    await sales.refused(
        Code.ABORTED, "ETAG_MISMATCH", method, update(new, etag=before.etag), pipeline_pb2.Pipeline
    )
    twice = update(*after.stages, pipeline_pb2.Stage(name="contract"))
    await sales.refused(Code.INVALID_ARGUMENT, "INVALID_FIELD", method, twice, pipeline_pb2.Pipeline)
    deal = await sales.opportunity("In a stage", stage_id=after.stages[3].id)
    assert (deal.stage_name, deal.probability) == ("Contract", 90)
    await sales.refused(
        Code.FAILED_PRECONDITION, "STAGE_IN_USE", method, update(*after.stages[:3]), pipeline_pb2.Pipeline
    )
    after.stages[3].name = "Signing"
    after.stages.insert(0, pipeline_pb2.Stage(name="First contact", probability=5))
    await sales.ask(method, update(*after.stages), pipeline_pb2.Pipeline)
    now = await sales.opportunity_now(deal.id)
    assert (now.stage_name, now.stage_id, now.etag) == ("Signing", deal.stage_id, deal.etag)
    lost = opps.LoseOpportunityRequest(id=deal.id, reason=opp.LOSS_REASON_TIMING)
    await sales.ask("OpportunityService/LoseOpportunity", lost, opp.Opportunity)
    await sales.ask(method, update(*before.stages), pipeline_pb2.Pipeline)
    # The stage it ended from is no more: it opens again in the first one.
    reopen = opps.ReopenOpportunityRequest(id=deal.id)
    reopened = await sales.ask("OpportunityService/ReopenOpportunity", reopen, opp.Opportunity)
    assert reopened.stage_id == before.stages[0].id
    assert "PipelineUpdated" in await sales.outbox(before.id)


async def test_owners_are_active_people_in_reach(sales: Any) -> None:
    team = new_id()
    mate, other = sales.names.person("Mate", team), sales.names.person("Other", new_id())
    gone = sales.names.person("Gone", active=False)
    rights = {r: Rights(Reach.TEAM, Reach.TEAM) for r in ("opportunities", "orders")}
    leader = somebody("acme", team=team, rights={**EVERYTHING, **rights})

    async def deal_of(owner: str) -> Any:
        return await sales.opportunity("Given", leader, owner_id=owner)

    async def order_of(owner: str) -> Any:
        return await sales.order(place=False, who=leader, owner_id=owner)

    for make in (deal_of, order_of):
        made = await make(str(mate))
        assert (made.owner_id, made.team_id) == (str(mate), str(team))
        for owner, reason in (
            (other, "OWNER_OUT_OF_REACH"),
            (gone, "OWNER_NOT_FOUND"),
            (new_id(), "OWNER_NOT_FOUND"),
        ):
            with pytest.raises(Problem) as caught:
                await make(str(owner))
            assert caught.value.reason == reason
    deal = await sales.opportunity("To give", leader)
    assign = opps.AssignOpportunityRequest(id=deal.id, owner_id=str(mate))
    given = await sales.ask("OpportunityService/AssignOpportunity", assign, opp.Opportunity, leader)
    assert (given.owner_id, given.team_id) == (str(mate), str(team))
    again = await sales.ask("OpportunityService/AssignOpportunity", assign, opp.Opportunity, leader)
    assert again == given
    assert await sales.outbox(deal.id) == ["OpportunityCreated", "OpportunityAssigned"]
    own = replace(leader, rights={**EVERYTHING, "opportunities": Rights(Reach.TEAM, Reach.OWN)})
    mine = await sales.opportunity("Mine", own)
    assign = opps.AssignOpportunityRequest(id=mine.id, owner_id=str(mate))
    await sales.refused(
        Code.PERMISSION_DENIED, "OWNER_OUT_OF_REACH", "OpportunityService/AssignOpportunity", assign, opp.Opportunity, own
    )  # fmt: skip


async def test_what_a_closed_opportunity_still_lets_change(sales: Any) -> None:
    deal = await sales.opportunity("Closes", amount=Money(currency_code="CNY", units=5))
    assert deal.HasField("engage_date"), "unset means today"
    future = opps.WinOpportunityRequest(id=deal.id, close_date=Date(year=2999, month=1, day=1))
    problem = await sales.refused(
        Code.INVALID_ARGUMENT, "INVALID_FIELD", "OpportunityService/WinOpportunity", future, opp.Opportunity
    )
    assert problem.violations[0].field == "closeDate"
    won = opps.WinOpportunityRequest(
        id=deal.id, amount=Money(currency_code="USD", units=7), close_date=Date(year=2020, month=2, day=29), note="good"
    )  # fmt: skip
    now = await sales.ask("OpportunityService/WinOpportunity", won, opp.Opportunity)
    assert (now.amount, now.close_note) == (Money(currency_code="USD", units=7), "good")
    update = opps.UpdateOpportunityRequest(
        opportunity=opp.Opportunity(id=deal.id, competitor="Them"),
        update_mask=FieldMask(paths=["competitor"]),
    )
    assert (
        await sales.ask("OpportunityService/UpdateOpportunity", update, opp.Opportunity)
    ).competitor == "Them"
    update = opps.UpdateOpportunityRequest(
        opportunity=opp.Opportunity(id=deal.id, name="Other"), update_mask=FieldMask(paths=["name"])
    )
    await sales.refused(
        Code.FAILED_PRECONDITION, "OPPORTUNITY_CLOSED", "OpportunityService/UpdateOpportunity", update, opp.Opportunity
    )  # fmt: skip
    order = await sales.order(place=False, opportunity_id=deal.id)
    for method, request, answer in (
        ("DeleteOpportunity", opps.DeleteOpportunityRequest(id=deal.id), Empty),
        ("ReopenOpportunity", opps.ReopenOpportunityRequest(id=deal.id), opp.Opportunity),
    ):
        await sales.refused(
            Code.FAILED_PRECONDITION,
            "OPPORTUNITY_HAS_ORDERS",
            "OpportunityService/" + method,
            request,
            answer,
        )
    await sales.ask("OrderService/DeleteOrder", orders.DeleteOrderRequest(id=order.id), Empty)
    await sales.ask("OpportunityService/DeleteOpportunity", opps.DeleteOpportunityRequest(id=deal.id), Empty)
    assert (await sales.outbox(deal.id))[-1] == "OpportunityDeleted"


async def test_an_activity_follows_its_opportunity(sales: Any) -> None:
    elsewhere = sales.names.customer("Elsewhere")
    first, second = await sales.opportunity("First"), await sales.opportunity("Second", customer_id=elsewhere)
    call = await activity(sales, opportunity_id=first.id)
    assert (await sales.opportunity_now(first.id)).next_activity_time == LATER
    wrong = activities.CreateActivityRequest(
        activity=activity_pb2.Activity(
            kind=activity_pb2.ACTIVITY_KIND_CALL, subject="x", due_time=LATER, opportunity_id=first.id, customer_id=elsewhere
        )
    )  # fmt: skip
    problem = await sales.refused(
        Code.INVALID_ARGUMENT,
        "CUSTOMER_MISMATCH",
        "ActivityService/CreateActivity",
        wrong,
        activity_pb2.Activity,
    )
    assert problem.violations[0].field == "activity.customerId"
    update = activities.UpdateActivityRequest(
        activity=activity_pb2.Activity(id=call.id, opportunity_id=second.id), update_mask=FieldMask(paths=["opportunity_id"])
    )  # fmt: skip
    moved = await sales.ask("ActivityService/UpdateActivity", update, activity_pb2.Activity)
    assert (moved.customer_id, moved.customer_name) == (elsewhere, "Elsewhere")
    assert not (await sales.opportunity_now(first.id)).HasField("next_activity_time")
    assert (await sales.opportunity_now(second.id)).next_activity_time == LATER
    for customer in (sales.customer_id, ""):
        apart = activities.UpdateActivityRequest(
            activity=activity_pb2.Activity(id=call.id, customer_id=customer), update_mask=FieldMask(paths=["customer_id"])
        )  # fmt: skip
        await sales.refused(
            Code.INVALID_ARGUMENT,
            "CUSTOMER_MISMATCH",
            "ActivityService/UpdateActivity",
            apart,
            activity_pb2.Activity,
        )
    subject = activities.UpdateActivityRequest(
        activity=activity_pb2.Activity(id=call.id, subject="Other words"), update_mask=FieldMask(paths=["subject"])
    )  # fmt: skip
    kept = await sales.ask("ActivityService/UpdateActivity", subject, activity_pb2.Activity)
    assert (kept.subject, kept.customer_name) == ("Other words", "Elsewhere")
    cancel = activities.CancelActivityRequest(id=call.id, reason="no")
    done = await sales.ask("ActivityService/CancelActivity", cancel, activity_pb2.Activity)
    assert (done.status, done.cancel_reason) == (activity_pb2.ACTIVITY_STATUS_CANCELLED, "no")
    assert not (await sales.opportunity_now(second.id)).HasField("next_activity_time")
