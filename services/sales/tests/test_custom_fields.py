"""Custom fields of products, opportunities, activities and orders, open and closed, and in files where rows need more of what
they refer to."""

from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from kehu.customfields.v1 import custom_fields_pb2 as fields
from kehu.exports.v1 import exports_pb2
from kehu.imports.v1 import imports_pb2
from kehu.sales.v1 import (
    activity_pb2,
    activity_service_pb2,
    customer_facet_pb2,
    opportunity_pb2,
    opportunity_service_pb2,
    order_pb2,
    order_service_pb2,
    product_pb2,
    product_service_pb2,
)
from kehu.savedviews.v1 import saved_views_pb2

from chassis.errors import Code
from chassis.testing import eventually, somebody
from chassis.wire import from_dict, to_dict

pytestmark = pytest.mark.asyncio(loop_scope="module")
OPPORTUNITIES = "OpportunityService/"


async def add(sales: Any, record_type: str, key: str, kind: str, **said: Any) -> fields.CustomField:
    field = {
        "recordType": record_type,
        "key": key,
        "labelEn": key,
        "kind": f"CUSTOM_FIELD_KIND_{kind}",
        **said,
    }
    request = fields.CreateCustomFieldRequest(custom_field=from_dict(fields.CustomField, field))
    return await sales.ask("CustomFieldService/CreateCustomField", request, fields.CustomField)


def values(message: Any) -> dict[str, Any]:
    return {key: to_dict(value) for key, value in message.custom_fields.items()}


async def test_products_and_opportunities_have_them(sales: Any) -> None:
    await add(sales, "product", "colour", "TEXT", filterable=True)
    await add(sales, "opportunity", "chance", "NUMBER", filterable=True)
    await add(sales, "opportunity", "partner", "REFERENCE", referenceType="customer")
    await add(sales, "opportunity", "spare", "REFERENCE", referenceType="product")
    await add(sales, "opportunity", "helper", "REFERENCE", referenceType="person")
    product = product_pb2.Product(name="Lamp")
    product.custom_fields["colour"].string_value = "red"
    made = await sales.ask(
        "ProductService/CreateProduct",
        product_service_pb2.CreateProductRequest(product=product),
        product_pb2.Product,
    )
    assert values(made) == {"colour": "red"}
    asked = product_service_pb2.ListProductsRequest(filter="customFields.colour = red")
    found = await sales.ask("ProductService/ListProducts", asked, product_service_pb2.ListProductsResponse)
    assert [p.id for p in found.products] == [made.id]
    custom = {"chance": 7, "partner": sales.customer_id, "spare": made.id}
    written = from_dict(opportunity_pb2.Opportunity, {"customFields": custom})
    deal = await sales.opportunity("Deal", custom_fields=written.custom_fields)
    assert values(deal) == {"chance": "7", "partner": sales.customer_id, "spare": made.id}
    wrong = opportunity_pb2.Opportunity(name="Wrong", customer_id=sales.customer_id)
    wrong.custom_fields["spare"].string_value = sales.customer_id
    request = opportunity_service_pb2.CreateOpportunityRequest(opportunity=wrong)
    problem = await sales.refused(
        Code.INVALID_ARGUMENT,
        "INVALID_FIELD",
        OPPORTUNITIES + "CreateOpportunity",
        request,
        opportunity_pb2.Opportunity,
    )
    assert problem.violations[0].field == "customFields.spare"
    # What a company knows of a deal it may still learn when it is won.
    win = opportunity_service_pb2.WinOpportunityRequest(id=deal.id)
    await sales.ask(OPPORTUNITIES + "WinOpportunity", win, opportunity_pb2.Opportunity)
    change = opportunity_service_pb2.UpdateOpportunityRequest(
        opportunity=opportunity_pb2.Opportunity(id=deal.id),
        update_mask=FieldMask(paths=["custom_fields.chance", "custom_fields.partner"]),
    )
    change.opportunity.custom_fields["chance"].string_value = "8"
    changed = await sales.ask(OPPORTUNITIES + "UpdateOpportunity", change, opportunity_pb2.Opportunity)
    assert values(changed) == {"chance": "8", "spare": made.id}
    told = (await sales.told(deal.id))[-1]
    assert sorted(told["changedFields"]) == ["customFields.chance", "customFields.partner"]
    assert told["opportunity"]["customFields"] == {"chance": "8", "spare": made.id}


async def brought_in(sales: Any, text: str, who: Any, **options: Any) -> imports_pb2.Import:
    """An import of activities that has ended."""
    asked = imports_pb2.CreateImportRequest(record_type="activity", filename="a.csv", content=text.encode())
    ready = await sales.ask("ImportService/CreateImport", asked, imports_pb2.Import, who)
    start = imports_pb2.StartImportRequest(id=ready.id, **options)
    await sales.ask("ImportService/StartImport", start, imports_pb2.Import, who)
    now = imports_pb2.Import()

    async def done() -> bool:
        nonlocal now
        request = imports_pb2.GetImportRequest(id=ready.id)
        now = await sales.ask("ImportService/GetImport", request, imports_pb2.Import, who)
        return now.state == imports_pb2.IMPORT_STATE_SUCCEEDED

    await eventually(done, 60)
    return now


async def test_activities_of_files_have_them(sales: Any) -> None:
    boss = somebody("with fields in files")
    for key, needed in (("car", True), ("mood", False)):
        field = {
            "recordType": "activity",
            "key": key,
            "labelEn": key,
            "kind": "CUSTOM_FIELD_KIND_TEXT",
            "required": needed,
        }
        request = fields.CreateCustomFieldRequest(custom_field=from_dict(fields.CustomField, field))
        await sales.ask("CustomFieldService/CreateCustomField", request, fields.CustomField, boss)
    head = "name,date,id,car,mood\n"
    first = await brought_in(sales, f"{head}Visit,2019-01-01,A1,B 7,\nNone,2019-01-01,A2,,\n", boss)
    assert (first.created_rows, first.refused_rows) == (1, 1)
    merge = imports_pb2.DUPLICATE_POLICY_MERGE
    await brought_in(sales, f"{head}Visit,2019-01-01,A1,C 8,good\n", boss, duplicates=merge)
    page = activity_service_pb2.ListActivitiesRequest(page_size=10)
    answer = activity_service_pb2.ListActivitiesResponse

    async def there() -> dict[str, Any]:
        (one,) = (await sales.ask("ActivityService/ListActivities", page, answer, boss)).activities
        return values(one)

    assert await there() == {"car": "B 7", "mood": "good"}
    upsert = imports_pb2.IMPORT_MODE_UPSERT
    await brought_in(sales, f"{head}Visit,2019-01-01,A1,C 8,\n", boss, mode=upsert)
    assert await there() == {"car": "C 8", "mood": "good"}


async def test_files(sales: Any) -> None:
    sales.names.person("李娜")
    text = "name,customer,chance,partner,spare,helper\nA,华为,3.5,华为,Lamp,李娜\nB,华为,many,,,\nC,华为,,Nobody,,\n"
    asked = imports_pb2.CreateImportRequest(
        record_type="opportunity", filename="a.csv", content=text.encode()
    )
    ready = await sales.ask("ImportService/CreateImport", asked, imports_pb2.Import)
    start = imports_pb2.StartImportRequest(id=ready.id)
    await sales.ask("ImportService/StartImport", start, imports_pb2.Import)

    async def done() -> bool:
        request = imports_pb2.GetImportRequest(id=ready.id)
        now = await sales.ask("ImportService/GetImport", request, imports_pb2.Import)
        return now.state == imports_pb2.IMPORT_STATE_SUCCEEDED and (now.created_rows, now.refused_rows) == (
            1,
            2,
        )

    await eventually(done, 60)
    request = opportunity_service_pb2.ListOpportunitiesRequest(filter="customFields.chance = 3.5")
    page = await sales.ask(
        OPPORTUNITIES + "ListOpportunities", request, opportunity_service_pb2.ListOpportunitiesResponse
    )
    (deal,) = page.opportunities
    found = values(deal)
    assert (found["chance"], found["partner"]) == ("3.5", sales.customer_id)
    assert found["helper"] == sales.names.people[-1].id and found["spare"]


def activity(**custom: Any) -> activity_service_pb2.CreateActivityRequest:
    said = {
        "kind": "ACTIVITY_KIND_VISIT",
        "subject": "Visit",
        "dueTime": "2026-12-01T09:00:00Z",
        "customFields": custom,
    }
    return activity_service_pb2.CreateActivityRequest(activity=from_dict(activity_pb2.Activity, said))


async def wrong(sales: Any, method: str, request: Any, answer: Any, who: Any = None) -> set[str]:
    """The fields that are refused."""
    problem = await sales.refused(Code.INVALID_ARGUMENT, "INVALID_FIELD", method, request, answer, who)
    return {violation.field for violation in problem.violations}


async def test_activities_have_them_and_learn_them_when_they_are_done(sales: Any) -> None:
    moods = [{"key": "good", "labelEn": "Good"}, {"key": "bad", "labelEn": "Bad"}]
    mood = await add(sales, "activity", "mood", "CHOICE", choices=moods, filterable=True)
    await add(sales, "activity", "car", "TEXT", required=True)
    create = "ActivityService/CreateActivity"
    asked = activity(mood="furious", colour="red")
    refusals = await wrong(sales, create, asked, activity_pb2.Activity)
    assert refusals == {"customFields.mood", "customFields.colour", "customFields.car"}
    rival = somebody("rival")
    theirs = await wrong(sales, create, activity(car="B 7"), activity_pb2.Activity, rival)
    assert theirs == {"customFields.car"}
    made = await sales.ask(create, activity(mood="good", car="B 7"), activity_pb2.Activity)
    assert values(made) == {"mood": "good", "car": "B 7"}
    done = activity_service_pb2.CompleteActivityRequest(id=made.id, result="signed")
    await sales.ask("ActivityService/CompleteActivity", done, activity_pb2.Activity)
    learned = from_dict(activity_pb2.Activity, {"id": made.id, "customFields": {"mood": "bad"}})
    change = activity_service_pb2.UpdateActivityRequest(
        activity=learned, update_mask=FieldMask(paths=["custom_fields.mood"])
    )
    changed = await sales.ask("ActivityService/UpdateActivity", change, activity_pb2.Activity)
    assert values(changed) == {"mood": "bad", "car": "B 7"}
    told = (await sales.told(made.id))[-1]
    assert told["changedFields"] == ["customFields.mood"]
    assert told["activity"]["customFields"] == {"mood": "bad", "car": "B 7"}
    listed = activity_service_pb2.ListActivitiesRequest(
        filter="customFields.mood = bad", order_by="customFields.mood"
    )
    answer = activity_service_pb2.ListActivitiesResponse
    page = await sales.ask("ActivityService/ListActivities", listed, answer)
    assert [one.id for one in page.activities] == [made.id]
    listed.order_by = ""
    await sales.refused(
        Code.INVALID_ARGUMENT, "FILTER_INVALID", "ActivityService/ListActivities", listed, answer, rival
    )
    # What is archived is kept and takes nothing new.
    gone = from_dict(fields.CustomField, {"id": mood.id, "archived": True})
    request = fields.UpdateCustomFieldRequest(custom_field=gone)
    clerk = somebody(
        "acme", rights={right: both for right, both in sales.boss.rights.items() if right != "settings"}
    )
    await sales.refused(
        Code.PERMISSION_DENIED, "RIGHT_MISSING", "CustomFieldService/UpdateCustomField", request, fields.CustomField, clerk
    )  # fmt: skip
    await sales.ask("CustomFieldService/UpdateCustomField", request, fields.CustomField)
    late = activity(mood="good", car="B 7")
    assert await wrong(sales, create, late, activity_pb2.Activity) == {"customFields.mood"}
    get = activity_service_pb2.GetActivityRequest(id=made.id)
    assert values(await sales.ask("ActivityService/GetActivity", get, activity_pb2.Activity))["mood"] == "bad"


async def test_orders_have_them_and_change_them_when_they_are_placed(sales: Any) -> None:
    await add(sales, "order", "cost_centre", "TEXT", filterable=True)
    await add(sales, "order", "follows", "REFERENCE", referenceType="order")
    product = await sales.product("Pump", 7)
    line = order_pb2.OrderLine(product_id=product.id, quantity="1")
    draft = await sales.order(line, place=False, **_custom(cost_centre="C-1"))
    placed = await sales.order(line, **_custom(cost_centre="C-2", follows=draft.id))
    assert values(placed) == {"cost_centre": "C-2", "follows": draft.id}
    said = (await sales.told(placed.id))[-1]["order"]
    assert said["customFields"] == {"cost_centre": "C-2", "follows": draft.id}
    update = "OrderService/UpdateOrder"

    def changing(id: str, **custom: Any) -> order_service_pb2.UpdateOrderRequest:
        paths = [f"custom_fields.{key}" for key in custom]
        order = from_dict(order_pb2.Order, {"id": id, "customFields": custom})
        return order_service_pb2.UpdateOrderRequest(order=order, update_mask=FieldMask(paths=paths))

    later = await sales.ask(update, changing(placed.id, cost_centre="C-3"), order_pb2.Order)
    assert values(later) == {"cost_centre": "C-3", "follows": draft.id}
    assert (await sales.told(placed.id))[-1]["changedFields"] == ["customFields.cost_centre"]
    bad = changing(placed.id, follows=sales.customer_id, cost_centre=7)
    assert await wrong(sales, update, bad, order_pb2.Order) == {
        "customFields.follows",
        "customFields.cost_centre",
    }
    both = changing(placed.id, cost_centre="C-4")
    both.order.currency_code = "USD"
    both.update_mask.paths.append("currency_code")
    await sales.refused(Code.FAILED_PRECONDITION, "ORDER_NOT_DRAFT", update, both, order_pb2.Order)
    # Placing says what the draft has.
    place = order_service_pb2.PlaceOrderRequest(id=draft.id)
    await sales.ask("OrderService/PlaceOrder", place, order_pb2.Order)
    assert (await sales.told(draft.id))[-1]["order"]["customFields"] == {"cost_centre": "C-1"}
    asked = order_service_pb2.ListOrdersRequest(
        filter="customFields.cost_centre = *", order_by="customFields.cost_centre desc"
    )
    page = await sales.ask("OrderService/ListOrders", asked, order_service_pb2.ListOrdersResponse)
    assert [one.id for one in page.orders] == [placed.id, draft.id]
    facet = await sales.ask(
        "CustomerFacetService/GetCustomerFacet",
        customer_facet_pb2.GetCustomerFacetRequest(customer_id=sales.customer_id),
        customer_facet_pb2.CustomerFacet,
    )
    assert {values(one)["cost_centre"] for one in facet.orders} == {"C-1", "C-3"}
    columns = ["number", "customFields.cost_centre"]
    export = exports_pb2.CreateExportRequest(
        record_type="order", format=exports_pb2.EXPORT_FORMAT_CSV, columns=columns, language_code="en",
        time_zone="Asia/Shanghai",
    )  # fmt: skip
    method = "kehu.sales.v1.ExportService/CreateExport"
    parts = await sales.harness.parts(sales.boss, method, export, exports_pb2.ExportPart)
    rows = b"".join(part.content for part in parts).decode("utf-8-sig").split()
    assert set(rows) == {"Number,cost_centre", f"{draft.number},C-1", f"{placed.number},C-3"}
    view = saved_views_pb2.SavedView(
        record_type="order", display_name="C-3", filter="customFields.cost_centre = C-3", columns=columns[1:]
    )
    request = saved_views_pb2.CreateSavedViewRequest(saved_view=view)
    kept = await sales.ask("SavedViewService/CreateSavedView", request, saved_views_pb2.SavedView)
    count = saved_views_pb2.CountSavedViewRequest(id=kept.id)
    answer = saved_views_pb2.CountSavedViewResponse
    assert (await sales.ask("SavedViewService/CountSavedView", count, answer)).count == 1


def _custom(**custom: Any) -> dict[str, Any]:
    return {"custom_fields": from_dict(order_pb2.Order, {"customFields": custom}).custom_fields}
