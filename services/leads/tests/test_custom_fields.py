"""Custom fields of leads: what people must give and services need not, and what refers to records of other services."""

from collections.abc import AsyncGenerator, Callable
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from google.protobuf.field_mask_pb2 import FieldMask
from kehu.customers.v1 import customer_service_pb2
from kehu.customfields.v1 import custom_fields_pb2 as fields
from kehu.leads.v1 import events_pb2, lead_pb2, lead_service_pb2

from chassis.errors import Code
from chassis.principal import Principal
from chassis.testing import DatabaseUrls, Harness, Keys, answering, refused, running_service, somebody
from chassis.wire import from_dict, from_json, to_dict
from leads.service import SERVICE

pytestmark = pytest.mark.asyncio(loop_scope="module")
LEADS = "kehu.leads.v1.LeadService/"
CUSTOMER = str(uuid4())


def cards(
    request: customer_service_pb2.LookUpCustomersRequest,
) -> customer_service_pb2.LookUpCustomersResponse:
    found = [customer_service_pb2.CustomerCard(id=id) for id in request.ids if id == CUSTOMER]
    return customer_service_pb2.LookUpCustomersResponse(customers=found)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(
    service_database: Callable[[str], DatabaseUrls], nats_url: str, keys: Keys
) -> AsyncGenerator[Harness]:
    look_up = "kehu.customers.v1.CustomerService/LookUpCustomers"
    async with (
        answering({look_up: (customer_service_pb2.LookUpCustomersRequest, cards)}) as customers,
        running_service(
            SERVICE, service_database("leads"), nats_url, keys, addresses={"customers": customers}
        ) as harness,
    ):
        yield harness


async def add(service: Harness, who: Principal, **said: Any) -> fields.CustomField:
    field = from_dict(fields.CustomField, {"recordType": "lead", "labelEn": said["key"], **said})
    return await service.ask(
        who,
        "kehu.leads.v1.CustomFieldService/CreateCustomField",
        fields.CreateCustomFieldRequest(custom_field=field),
        fields.CustomField,
    )


async def create(service: Harness, who: Principal, **custom: Any) -> lead_pb2.Lead:
    lead = from_dict(lead_pb2.Lead, {"name": "Wu", "customFields": custom})
    request = lead_service_pb2.CreateLeadRequest(lead=lead)
    return await service.ask(who, LEADS + "CreateLead", request, lead_pb2.Lead)


def values(message: Any) -> dict[str, Any]:
    return {key: to_dict(value) for key, value in message.custom_fields.items()}


async def test_people_are_asked_and_forms_are_not(service: Harness) -> None:
    who = somebody("forms")
    await add(service, who, key="budget", kind="CUSTOM_FIELD_KIND_NUMBER", required=True)
    await add(service, who, key="origin", kind="CUSTOM_FIELD_KIND_TEXT", defaultValue="web")
    await refused(Code.INVALID_ARGUMENT, "INVALID_FIELD", create(service, who))
    request = lead_service_pb2.CaptureLeadRequest(
        lead=lead_pb2.Lead(name="Li", owner_id=str(who.person_id)), request_id="form-1"
    )
    captured = await service.ask(who.acting_as("marketing"), LEADS + "CaptureLead", request, lead_pb2.Lead)
    assert values(captured) == {"origin": "web"}
    made = await create(service, who, budget=3)
    change = lead_service_pb2.UpdateLeadRequest(
        lead=made, update_mask=FieldMask(paths=["custom_fields.budget"])
    )
    change.lead.custom_fields["budget"].string_value = "4.50"
    changed = await service.ask(who, LEADS + "UpdateLead", change, lead_pb2.Lead)
    assert values(changed) == {"budget": "4.5", "origin": "web"}
    rows = await service.running.database.read(
        who, "SELECT data FROM outbox WHERE record_id = $1 ORDER BY seq", made.id
    )
    told = from_json(events_pb2.LeadUpdated, bytes(rows[-1]["data"]))
    assert list(told.changed_fields) == ["customFields.budget"]
    assert values(told.lead) == {"budget": "4.5", "origin": "web"}


async def test_references_to_records_of_another_service(service: Harness) -> None:
    who = somebody("references")
    key = {"key": "rival_of", "kind": "CUSTOM_FIELD_KIND_REFERENCE", "referenceType": "customer"}
    await add(service, who, **key, filterable=True)
    made = await create(service, who, rival_of=CUSTOMER.upper())
    assert values(made) == {"rival_of": CUSTOMER}
    wrong = await refused(Code.INVALID_ARGUMENT, "INVALID_FIELD", create(service, who, rival_of=str(uuid4())))
    assert wrong.violations[0].field == "customFields.rival_of"
    request = lead_service_pb2.ListLeadsRequest(filter=f"customFields.rival_of = {CUSTOMER}")
    page = await service.ask(who, LEADS + "ListLeads", request, lead_service_pb2.ListLeadsResponse)
    assert [lead.id for lead in page.leads] == [made.id]
    # Those of one's own service are found where they are.
    lead_key = {"key": "twin", "kind": "CUSTOM_FIELD_KIND_REFERENCE", "referenceType": "lead"}
    await add(service, who, **lead_key)
    assert values(await create(service, who, twin=made.id)) == {"twin": made.id}
    other = somebody("others")
    await add(service, other, **lead_key)
    await refused(Code.INVALID_ARGUMENT, "INVALID_FIELD", create(service, other, twin=made.id))
