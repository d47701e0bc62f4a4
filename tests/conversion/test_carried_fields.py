"""What a lead's custom fields become: values of the customer's, the contact's and the opportunity's where both have the field."""

from typing import Any

import pytest
from kehu.customers.v1 import customer_pb2
from kehu.customfields.v1 import custom_fields_pb2 as fields
from kehu.leads.v1 import conversion_pb2, lead_pb2, lead_service_pb2

from chassis.ids import new_id
from chassis.wire import from_dict, to_dict

pytestmark = pytest.mark.asyncio(loop_scope="module")
TEXT, NUMBER, MONEY, CHOICE, REFERENCE = (
    f"CUSTOM_FIELD_KIND_{kind}" for kind in ("TEXT", "NUMBER", "MONEY", "CHOICE", "REFERENCE")
)
GOLD, SILVER = {"key": "gold", "labelEn": "Gold"}, {"key": "silver", "labelEn": "Silver"}
DEAL = lead_service_pb2.ConversionOpportunity(name="Deal")


async def add(suites: Any, record_type: str, key: str, kind: str, **more: Any) -> fields.CustomField:
    domain = {"lead": "leads", "opportunity": "sales"}.get(record_type, "customers")
    said = {"recordType": record_type, "key": key, "labelEn": key, "kind": kind, **more}
    request = fields.CreateCustomFieldRequest(custom_field=from_dict(fields.CustomField, said))
    method = f"kehu.{domain}.v1.CustomFieldService/CreateCustomField"
    return await getattr(suites, domain).ask(suites.boss, method, request, fields.CustomField)


async def archive(suites: Any, field: fields.CustomField) -> None:
    change = fields.CustomField(id=field.id, archived=True)
    request = fields.UpdateCustomFieldRequest(custom_field=change)
    method = "kehu.customers.v1.CustomFieldService/UpdateCustomField"
    await suites.customers.ask(suites.boss, method, request, fields.CustomField)


async def lead(suites: Any, **custom: Any) -> lead_pb2.Lead:
    name = f"Carried {new_id()}"
    made = from_dict(lead_pb2.Lead, {"name": name, "companyName": f"{name} Ltd", "customFields": custom})
    request = lead_service_pb2.CreateLeadRequest(lead=made)
    method = "kehu.leads.v1.LeadService/CreateLead"
    return await suites.leads.ask(suites.boss, method, request, lead_pb2.Lead)


def values(record: Any) -> dict[str, Any]:
    return {key: to_dict(value) for key, value in record.custom_fields.items()}


async def converted(suites: Any, **custom: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """The values of the customer, the contact and the opportunity."""
    done = await suites.convert(suites.boss, (await lead(suites, **custom)).id, opportunity=DEAL)
    assert done.state == conversion_pb2.CONVERSION_STATE_SUCCEEDED, done
    customer = await suites.customer(done.customer_id)
    [contact] = await suites.contacts(customer.id)
    [opportunity] = await suites.opportunities(customer.id)
    return values(customer), values(contact), values(opportunity)


async def test_values_go_where_there_is_such_a_field(suites: Any) -> None:
    money = {"currencyCode": "CNY", "units": "1200"}
    for kind in ("lead", "customer", "opportunity"):
        await add(suites, kind, "budget", MONEY)
    for kind in ("lead", "contact"):
        await add(suites, kind, "hobby", TEXT)
    await add(suites, "lead", "seats", NUMBER)
    await add(suites, "customer", "seats", TEXT)  # the same name, another kind
    await add(suites, "lead", "lonely", TEXT)
    await add(suites, "opportunity", "tier", TEXT, defaultValue="standard")
    given = {"budget": money, "hobby": "钓鱼", "seats": "12", "lonely": "x"}
    assert await converted(suites, **given) == (
        {"budget": money},
        {"hobby": "钓鱼"},
        {"budget": money, "tier": "standard"},
    )
    assert await converted(suites) == ({}, {}, {"tier": "standard"})


async def test_what_does_not_fit_there_is_left_out_and_stops_nothing(suites: Any) -> None:
    await add(suites, "lead", "medal", CHOICE, choices=[GOLD, SILVER])
    await add(suites, "customer", "medal", CHOICE, choices=[GOLD])
    await add(suites, "lead", "remark", TEXT)
    await add(suites, "customer", "remark", TEXT, maxLength=3)
    gone = await add(suites, "customer", "old", TEXT)
    await add(suites, "lead", "old", TEXT)
    await archive(suites, gone)
    assert (await converted(suites, medal="silver", remark="ok", old="x"))[0] == {"remark": "ok"}
    assert (await converted(suites, medal="gold", remark="too long", old="x"))[0] == {"medal": "gold"}


async def test_references_are_carried_when_they_refer_to_the_same(suites: Any) -> None:
    partner: customer_pb2.Customer = await suites.new_customer("Partner Ltd")
    for kind in ("lead", "customer", "contact", "opportunity"):
        other = "contact" if kind == "contact" else "customer"  # of contacts, it refers to something else
        await add(suites, kind, "partner", REFERENCE, referenceType=other)
    customer, contact, opportunity = await converted(suites, partner=partner.id)
    assert (customer["partner"], opportunity["partner"]) == (partner.id, partner.id)
    assert "partner" not in contact


async def test_who_joins_a_customer_leaves_its_values_alone_and_a_repeat_carries_them_once(
    suites: Any,
) -> None:
    money = {"currencyCode": "USD", "units": "5"}
    there = await suites.new_customer("There before")
    one = await lead(suites, budget=money, hobby="chess")
    done = await suites.convert(suites.boss, one.id, customer_id=there.id)
    assert values(await suites.customer(there.id)) == {}
    [contact] = await suites.contacts(done.customer_id)
    assert values(contact) == {"hobby": "chess"}
    # The call has died after it began, and a field has come since: the values are those of the beginning.
    begun = await suites.begun((await lead(suites, budget=money, lonely="y")).id)
    await add(suites, "customer", "lonely", TEXT)
    await suites.carry_on(begun)
    await suites.carry_on(begun)
    made = await suites.customer(str(begun.customer_id))
    assert (values(made), made.etag) == ({"budget": money, "lonely": "y"}, "1")
