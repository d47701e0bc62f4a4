"""Custom fields of products and opportunities, open and closed, and in files where rows need more of what they refer to."""

from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from kehu.customfields.v1 import custom_fields_pb2 as fields
from kehu.imports.v1 import imports_pb2
from kehu.sales.v1 import opportunity_pb2, opportunity_service_pb2, product_pb2, product_service_pb2

from chassis.errors import Code
from chassis.testing import eventually
from chassis.wire import from_dict, to_dict

pytestmark = pytest.mark.asyncio(loop_scope="module")
OPPORTUNITIES = "OpportunityService/"


async def add(sales: Any, record_type: str, key: str, kind: str, **said: Any) -> None:
    field = {
        "recordType": record_type,
        "key": key,
        "labelEn": key,
        "kind": f"CUSTOM_FIELD_KIND_{kind}",
        **said,
    }
    request = fields.CreateCustomFieldRequest(custom_field=from_dict(fields.CustomField, field))
    await sales.ask("CustomFieldService/CreateCustomField", request, fields.CustomField)


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
