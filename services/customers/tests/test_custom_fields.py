"""Custom fields of customers and contacts: what they may hold, who may change them, how they are found."""

from collections.abc import AsyncGenerator, Callable
from functools import partial
from itertools import product
from typing import Any
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from google.protobuf.empty_pb2 import Empty
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.struct_pb2 import Value
from kehu.customers.v1 import (
    contact_pb2,
    contact_service_pb2,
    customer_pb2,
    customer_service_pb2,
    merge_pb2,
    merge_service_pb2,
)
from kehu.customfields.v1 import custom_fields_pb2 as fields
from kehu.history.v1 import history_pb2
from kehu.identity.v1 import person_pb2, person_service_pb2, tenant_pb2, tenant_service_pb2
from kehu.imports.v1 import imports_pb2

from chassis.custom_fields.definitions import definitions_now
from chassis.custom_fields.lists import held
from chassis.errors import Code, Invalid
from chassis.fields import at_hand
from chassis.filters import parse
from chassis.principal import Principal, Reach, Rights
from chassis.testing import (
    DatabaseUrls,
    Harness,
    Keys,
    answering,
    eventually,
    refused,
    running_service,
    somebody,
)
from chassis.wire import from_dict, from_json, to_dict
from customers.service import SERVICE

pytestmark = pytest.mark.asyncio(loop_scope="module")
CUSTOMERS = "kehu.customers.v1.CustomerService/"
CONTACTS = "kehu.customers.v1.ContactService/"
FIELDS = "kehu.customers.v1.CustomFieldService/"
IMPORTS = "kehu.customers.v1.ImportService/"
PERSON = str(uuid4())
CHOICES = [
    {"key": "gold", "labelZh": "金牌", "labelEn": "Gold"},
    {"key": "silver", "labelZh": "银牌"},
    {"key": "iron", "labelEn": "Iron", "archived": True},
]
KINDS: dict[str, dict[str, Any]] = {
    "text": {"kind": "TEXT", "maxLength": 12},
    "number": {"kind": "NUMBER", "decimals": 2},
    "money": {"kind": "MONEY"},
    "day": {"kind": "DATE"},
    "medal": {"kind": "CHOICE", "choices": CHOICES},
    "medals": {"kind": "MULTI_CHOICE", "choices": CHOICES},
    "yes": {"kind": "YES_NO"},
    "friend": {"kind": "REFERENCE", "referenceType": "customer"},
    "helper": {"kind": "REFERENCE", "referenceType": "person"},
}
FILTERABLE = ("text", "number", "money", "day", "medal", "medals", "yes", "friend")


def looked_up(request: person_service_pb2.LookUpPeopleRequest) -> person_service_pb2.LookUpPeopleResponse:
    known = person_service_pb2.PersonCard(
        id=PERSON, display_name="李娜", email="li@acme.example", status=person_pb2.PERSON_STATUS_ACTIVE
    )
    asked = PERSON in request.ids or known.email in request.emails or known.display_name in request.names
    return person_service_pb2.LookUpPeopleResponse(people=[known] if asked else [])


def which_company(request: tenant_service_pb2.GetTenantRequest) -> tenant_pb2.Tenant:
    return tenant_pb2.Tenant()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(
    service_database: Callable[[str], DatabaseUrls], nats_url: str, keys: Keys
) -> AsyncGenerator[Harness]:
    answers: dict[str, Any] = {
        "kehu.identity.v1.PersonService/LookUpPeople": (person_service_pb2.LookUpPeopleRequest, looked_up),
        "kehu.identity.v1.TenantService/GetTenant": (tenant_service_pb2.GetTenantRequest, which_company),
    }
    async with (
        answering(answers) as identity,
        running_service(
            SERVICE, service_database("customers"), nats_url, keys, addresses={"identity": identity}
        ) as harness,
    ):
        yield harness


async def add(
    service: Harness, who: Principal, key: str, request_id: str = "", record_type: str = "customer", **said: Any
) -> fields.CustomField:  # fmt: skip
    said = {"kind": "TEXT", "labelEn": key.title(), **said}
    said["kind"] = f"CUSTOM_FIELD_KIND_{said['kind']}"
    field = from_dict(fields.CustomField, {"recordType": record_type, "key": key, **said})
    request = fields.CreateCustomFieldRequest(custom_field=field, request_id=request_id)
    return await service.ask(who, FIELDS + "CreateCustomField", request, fields.CustomField)


async def change(
    service: Harness, who: Principal, id: str, etag: str = "", **said: Any
) -> fields.CustomField:
    if "kind" in said:
        said["kind"] = f"CUSTOM_FIELD_KIND_{said['kind']}"
    request = fields.UpdateCustomFieldRequest(custom_field=from_dict(fields.CustomField, said))
    request.custom_field.id, request.custom_field.etag = id, etag
    names = {"labelEn": "label_en", "labelZh": "label_zh", "maxLength": "max_length", "defaultValue": "default_value",
        "referenceType": "reference_type"}  # fmt: skip
    request.update_mask.paths.extend(names.get(name, name) for name in said)
    return await service.ask(who, FIELDS + "UpdateCustomField", request, fields.CustomField)


async def remove(service: Harness, who: Principal, id: str) -> None:
    await service.ask(who, FIELDS + "DeleteCustomField", fields.DeleteCustomFieldRequest(id=id), Empty)


async def field(service: Harness, who: Principal, id: str) -> fields.CustomField:
    request = fields.GetCustomFieldRequest(id=id)
    return await service.ask(who, FIELDS + "GetCustomField", request, fields.CustomField)


def values(message: Any) -> dict[str, Any]:
    return {key: to_dict(value) for key, value in message.custom_fields.items()}


async def create(
    service: Harness, who: Principal, name: str = "Acme", request_id: str = "", **custom: Any
) -> customer_pb2.Customer:
    customer = from_dict(customer_pb2.Customer, {"displayName": name, "customFields": custom})
    request = customer_service_pb2.CreateCustomerRequest(customer=customer, request_id=request_id)
    return await service.ask(who, CUSTOMERS + "CreateCustomer", request, customer_pb2.Customer)


async def update(
    service: Harness, who: Principal, id: str, custom: dict[str, Any], mask: list[str] | None = None
) -> customer_pb2.Customer:
    customer = from_dict(customer_pb2.Customer, {"customFields": custom})
    customer.id = id
    request = customer_service_pb2.UpdateCustomerRequest(
        customer=customer, update_mask=FieldMask(paths=mask or [])
    )
    return await service.ask(who, CUSTOMERS + "UpdateCustomer", request, customer_pb2.Customer)


async def page(service: Harness, who: Principal, **asked: Any) -> customer_service_pb2.ListCustomersResponse:
    return await service.ask(
        who,
        CUSTOMERS + "ListCustomers",
        customer_service_pb2.ListCustomersRequest(**asked),
        customer_service_pb2.ListCustomersResponse,
    )


async def listed(service: Harness, who: Principal, **asked: Any) -> list[str]:
    return [c.display_name for c in (await page(service, who, **asked)).customers]


def tenant() -> Principal:
    """A tenant of a test's own."""
    return somebody(f"t{uuid4().hex[:12]}")


async def with_all_kinds(service: Harness) -> Principal:
    who = tenant()
    for key, said in KINDS.items():
        await add(service, who, key, filterable=key in FILTERABLE, **said)
    return who


async def test_every_kind_is_written_and_read(service: Harness) -> None:
    who = await with_all_kinds(service)
    friend = await create(service, who, "Friend")
    given: dict[str, Any] = {
        "text": " two \n words ", "number": 12.50, "money": {"currencyCode": "CNY", "units": 12, "nanos": 340000000},
        "day": "2026-05-01", "medal": "gold", "medals": ["silver", "gold"], "yes": False, "friend": friend.id,
        "helper": PERSON,
    }  # fmt: skip
    made = await create(service, who, **given)
    kept = {
        **given, "text": "two\nwords", "number": "12.5", "medals": ["gold", "silver"],
        "money": {"currencyCode": "CNY", "units": "12", "nanos": 340000000},
    }  # fmt: skip
    assert values(made) == kept
    request = customer_service_pb2.GetCustomerRequest(id=made.id)
    assert await service.ask(who, CUSTOMERS + "GetCustomer", request, customer_pb2.Customer) == made
    assert [values(c) for c in (await page(service, who)).customers] == [kept, {}]


COMPARED: dict[str, list[str]] = {
    "text": ["*", "null", "a", '"B"', '"ΟΔΟΣ"', '"İ"', '""'],
    "number": ["*", "null", "0", "-1.5", "12.5", "100000000000000000000"],
    "money": ["*", "null", "12.34", '"12.34 CNY"', '"12.34 USD"', "0"], "day": ["*", "null", "2026-05-01"],
    "medal": ["*", "null", "gold", "silver"], "medals": ["*", "null", "gold", "silver"], "yes": ["*", "null", "true", "false"],
}  # fmt: skip
HELD: list[dict[str, Any]] = [
    {}, {"text": "a"}, {"text": "Abc"}, {"text": "οδος"}, {"text": "istanbul"},
    {"number": "0"}, {"number": "-1.50"}, {"number": "13"},
    {"money": {"currencyCode": "CNY", "units": 12, "nanos": 340000000}}, {"money": {"currencyCode": "USD", "units": 12}},
    {"money": {"currencyCode": "USD", "units": -12}}, {"day": "2026-05-01"}, {"day": "2026-04-30"}, {"medal": "gold"},
    {"medals": ["gold", "silver"]}, {"medals": ["silver"]}, {"yes": True}, {"yes": False, "text": "b", "number": "12.5"},
]  # fmt: skip


async def test_a_filter_means_the_same_of_a_record_at_hand(service: Harness) -> None:
    """Whatever is compared with whatever: the list has those for which the function is true, or both refuse it."""
    who = await with_all_kinds(service)
    made = [await create(service, who, str(number), **custom) for number, custom in enumerate(HELD)]
    known = await definitions_now(service.running.database, who, "customer")
    asked = 0
    for key, literals in COMPARED.items():
        for literal, sign in product(literals, ("=", "!=", ":", "<", "<=", ">", ">=")):
            for text in (f"customFields.{key} {sign} {literal}", f"NOT customFields.{key} {sign} {literal}"):
                listing = page(service, who, filter=text, page_size=100)
                try:
                    wants = at_hand(parse(text), {}, partial(held, known))
                except Invalid as problem:
                    refusal = await refused(Code.INVALID_ARGUMENT, "FILTER_INVALID", listing)
                    assert refusal.violations[0].description == problem.violations[0].description
                    continue
                found = {customer.id for customer in (await listing).customers}
                assert found == {
                    one.id for one in made if wants({"custom_fields": values(one)}.__getitem__)
                }, text
                asked += 1
    assert asked > 200


WRONG: dict[str, list[Any]] = {
    "text": [7, True, {"a": 1}, "x" * 13, ["x"]],
    "number": ["12,5", "1e3", True, "1.234", 0.001, 10**15, "NaN", [1], {}],
    "money": [
        "12 CNY", 12, {"units": 1}, {"currencyCode": "cny", "units": 1}, {"currencyCode": "CNY", "nanos": 1},
        {"currencyCode": "CNY", "units": "1", "nanos": -1}, {"currencyCode": "CNY", "units": "1", "x": 1},
        {"currencyCode": "CNY", "units": 10**15}, {"currencyCode": "CNY", "units": 1.5},
    ],
    "day": ["2026-02-30", "1.5.2026", 20260501, "2026-5-1", {"year": 2026, "month": 5, "day": 1}],
    "medal": ["bronze", "iron", ["gold"], 1],
    "medals": ["gold", ["gold", "gold"], ["bronze"], ["gold", "iron"], [1]],
    "yes": ["true", 1, []],
    "friend": ["x", str(uuid4()), 1],
    "helper": [str(uuid4()), "me"],
    "nobody": ["x", None],
}  # fmt: skip


async def test_what_is_wrong_is_refused_by_its_name(service: Harness) -> None:
    who = await with_all_kinds(service)
    made = await create(service, who)
    for key, wrong in WRONG.items():
        for value in wrong:
            for call in (create(service, who, **{key: value}), update(service, who, made.id, {key: value})):
                problem = await refused(Code.INVALID_ARGUMENT, "INVALID_FIELD", call)
                assert [v.field for v in problem.violations] == [f"customFields.{key}"], (value, problem)
    both = await refused(Code.INVALID_ARGUMENT, "INVALID_FIELD", create(service, who, text=1, yes="x"))
    assert {v.field for v in both.violations} == {"customFields.text", "customFields.yes"}
    assert await listed(service, who) == ["Acme"]


async def test_updates_name_one_or_all_of_them(service: Harness) -> None:
    who = await with_all_kinds(service)
    id = (await create(service, who, text="a", number="1", medal="gold")).id
    assert values(await update(service, who, id, {"text": "b"})) == {
        "text": "b",
        "number": "1",
        "medal": "gold",
    }
    assert values(await update(service, who, id, {"number": None})) == {"text": "b", "medal": "gold"}
    assert values(await update(service, who, id, {"text": "c", "medal": "silver"}, ["custom_fields.text"])) == {
        "text": "c", "medal": "gold",
    }  # fmt: skip
    assert values(await update(service, who, id, {}, ["custom_fields.text"])) == {"medal": "gold"}
    assert values(await update(service, who, id, {"yes": True}, ["custom_fields"])) == {"yes": True}
    assert values(await update(service, who, id, {"yes": True, "text": ""})) == {"yes": True}
    assert values(await update(service, who, id, {}, ["industry"])) == {"yes": True}
    assert values(await update(service, who, id, {}, ["custom_fields"])) == {}


async def test_required_and_default(service: Harness) -> None:
    who = tenant()
    before = await create(service, who, "Before")
    await add(service, who, "source", required=True)
    await add(service, who, "tier", kind="CHOICE", choices=CHOICES, required=True, defaultValue="silver")
    await add(service, who, "vip", kind="YES_NO", defaultValue=False)
    problem = await refused(Code.INVALID_ARGUMENT, "INVALID_FIELD", create(service, who))
    assert [v.field for v in problem.violations] == ["customFields.source"]
    made = await create(service, who, source="fair")
    assert values(made) == {"source": "fair", "tier": "silver", "vip": False}
    assert values(await create(service, who, source="fair", vip=None)) == {"source": "fair", "tier": "silver"}
    for mask in ([], ["custom_fields.source"], ["custom_fields"]):
        call = update(service, who, made.id, {"source": None, "tier": "gold"}, mask)
        await refused(Code.INVALID_ARGUMENT, "INVALID_FIELD", call)
    # What is there without a value can still be worked on, and a service acting by itself is not asked.
    assert values(await update(service, who, before.id, {"vip": True})) == {"vip": True}
    leads = who.acting_as("leads")
    assert values(await create(service, leads, "Converted")) == {"tier": "silver", "vip": False}


async def test_archived_choices_and_fields_stay_with_those_who_have_them(service: Harness) -> None:
    who = tenant()
    open_choices = [{**choice, "archived": False} for choice in CHOICES]
    made = await add(service, who, "medal", kind="CHOICE", choices=open_choices)
    id = (await create(service, who, medal="iron")).id
    await change(service, who, made.id, choices=CHOICES)
    assert values(await update(service, who, id, {"medal": "iron"})) == {"medal": "iron"}
    await refused(Code.INVALID_ARGUMENT, "INVALID_FIELD", create(service, who, medal="iron"))
    problem = await refused(
        Code.FAILED_PRECONDITION, "CUSTOM_FIELD_IN_USE", change(service, who, made.id, choices=CHOICES[:2])
    )
    assert problem.metadata["rows"] == "1" and problem.violations[0].field == "customField.choices"
    await change(service, who, made.id, archived=True)
    await refused(Code.INVALID_ARGUMENT, "INVALID_FIELD", create(service, who, medal="gold"))
    assert values(await update(service, who, id, {}, ["custom_fields"])) == {"medal": "iron"}
    await refused(Code.FAILED_PRECONDITION, "CUSTOM_FIELD_IN_USE", remove(service, who, made.id))
    await change(service, who, made.id, archived=False)
    await update(service, who, id, {"medal": None})
    await change(service, who, made.id, choices=CHOICES[:2])
    await remove(service, who, made.id)
    await refused(Code.INVALID_ARGUMENT, "INVALID_FIELD", create(service, who, medal="gold"))
    await add(service, who, "medal")  # the key is free again


async def test_a_kind_changes_only_when_nothing_is_lost(service: Harness) -> None:
    who = tenant()
    made = await add(service, who, "size")
    for value in ("12", "12.50", "many", "a few", "a few"):
        await create(service, who, size=value)
    gone = await create(service, who, size="gone")
    request = customer_service_pb2.DeleteCustomerRequest(id=gone.id)
    await service.ask(who, CUSTOMERS + "DeleteCustomer", request, Empty)
    problem = await refused(
        Code.FAILED_PRECONDITION, "CUSTOM_FIELD_IN_USE", change(service, who, made.id, kind="NUMBER")
    )
    assert problem.metadata["rows"] == "4"  # the one in the bin among them, which may come back
    assert problem.violations[0].field == "customField.kind" and "4 customer records" in problem.message
    assert (await field(service, who, made.id)).kind == fields.CUSTOM_FIELD_KIND_TEXT
    for other in ({"kind": "REFERENCE", "referenceType": "customer"}, {"kind": "YES_NO"}, {"kind": "MONEY"}):
        problem = await refused(
            Code.FAILED_PRECONDITION, "CUSTOM_FIELD_IN_USE", change(service, who, made.id, **other)
        )
        assert problem.metadata["rows"] == "6", other
    short = change(service, who, made.id, maxLength=4)
    assert (await refused(Code.FAILED_PRECONDITION, "CUSTOM_FIELD_IN_USE", short)).metadata["rows"] == "3"
    limited = await add(service, who, "limited", maxLength=9)
    assert (await change(service, who, limited.id, kind="NUMBER")).max_length == 0
    numbers = await add(service, who, "count", kind="NUMBER", filterable=True)
    await create(service, who, "Nine", count=9)
    await create(service, who, "Ten", count=10)
    assert await listed(service, who, order_by="customFields.count", page_size=2) == ["Nine", "Ten"]
    changed = await change(service, who, numbers.id, kind="TEXT")
    assert changed.kind == fields.CUSTOM_FIELD_KIND_TEXT
    await indexed(service, who, numbers.id)
    assert await listed(service, who, order_by="customFields.count", page_size=2) == ["Ten", "Nine"]
    await change(service, who, numbers.id, kind="NUMBER")  # and back


async def indexed(service: Harness, who: Principal, id: str) -> None:
    async def done() -> bool:
        return (await field(service, who, id)).indexed

    await eventually(done, 60)


async def test_definitions_that_are_none(service: Harness) -> None:
    who = tenant()
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"labelEn": ""}, "customField.labelZh"),
        ({"kind": "CHOICE"}, "customField.choices"),
        ({"choices": CHOICES}, "customField.choices"),
        ({"kind": "CHOICE", "choices": [*CHOICES, CHOICES[0]]}, "customField.choices[3].key"),
        ({"kind": "CHOICE", "choices": [{"key": "a"}]}, "customField.choices[0].labelZh"),
        ({"kind": "CHOICE", "choices": CHOICES, "defaultValue": "iron"}, "customField.defaultValue"),
        ({"kind": "NUMBER", "defaultValue": "many"}, "customField.defaultValue"),
        ({"kind": "DATE", "maxLength": 3}, "customField.maxLength"),
        ({"decimals": 3}, "customField.decimals"),
        ({"filterable": True, "maxLength": 501}, "customField.maxLength"),
        ({"referenceType": "customer"}, "customField.referenceType"),
    ]
    for said, name in wrong:
        problem = await refused(Code.INVALID_ARGUMENT, "INVALID_FIELD", add(service, who, "wrong", **said))
        assert [v.field for v in problem.violations] == [name], said
    for key in ("Wrong", "1st", "a.b", "ä", "a" * 41, "a-b"):
        await refused(Code.INVALID_ARGUMENT, "INVALID_FIELD", add(service, who, key))
    bad_reference = add(service, who, "wrong", kind="REFERENCE", referenceType="planet")
    await refused(Code.INVALID_ARGUMENT, "REFERENCE_TYPE_UNKNOWN", bad_reference)
    await refused(
        Code.INVALID_ARGUMENT, "RECORD_TYPE_UNKNOWN", add(service, who, "wrong", record_type="order")
    )
    made = await add(service, who, "once", "r-1")
    assert await add(service, who, "once", "r-1") == made
    await refused(Code.ALREADY_EXISTS, "IDEMPOTENCY_KEY_REUSED", add(service, who, "twice", "r-1"))
    await refused(Code.ALREADY_EXISTS, "CUSTOM_FIELD_KEY_TAKEN", add(service, who, "once"))
    await add(service, who, "once", record_type="contact")
    await change(service, who, made.id, made.etag, labelZh="一次")
    await refused(Code.ABORTED, "ETAG_MISMATCH", change(service, who, made.id, made.etag, labelZh="两次"))
    request = fields.UpdateCustomFieldRequest(
        custom_field=fields.CustomField(id=made.id, key="other"), update_mask=FieldMask(paths=["key"])
    )
    asked = service.ask(who, FIELDS + "UpdateCustomField", request, fields.CustomField)
    await refused(Code.INVALID_ARGUMENT, "FIELD_NOT_WRITABLE", asked)


async def test_limits(service: Harness) -> None:
    who = tenant()
    for number in range(100):
        await add(service, who, f"f{number}", filterable=number < 20)
    await refused(Code.FAILED_PRECONDITION, "TOO_MANY_CUSTOM_FIELDS", add(service, who, "more"))
    request = fields.ListCustomFieldsRequest(record_type="customer", page_size=60)
    first = await service.ask(who, FIELDS + "ListCustomFields", request, fields.ListCustomFieldsResponse)
    request.page_token = first.next_page_token
    second = await service.ask(who, FIELDS + "ListCustomFields", request, fields.ListCustomFieldsResponse)
    found = [*first.custom_fields, *second.custom_fields]
    assert [one.key for one in found] == [f"f{number}" for number in range(100)]
    too_many = change(service, who, found[20].id, filterable=True)
    await refused(Code.FAILED_PRECONDITION, "TOO_MANY_FILTERABLE", too_many)
    await change(service, who, found[0].id, filterable=False)
    await change(service, who, found[20].id, filterable=True)


async def test_who_may(service: Harness) -> None:
    who = await with_all_kinds(service)
    seller = Principal(
        who.tenant_id, who.tenant, uuid4(), "Seller", rights={"customers": Rights(Reach.OWN, Reach.OWN)}
    )
    await refused(Code.PERMISSION_DENIED, "RIGHT_MISSING", add(service, seller, "mine"))
    request = fields.ListCustomFieldsRequest(record_type="customer")
    seen = await service.ask(seller, FIELDS + "ListCustomFields", request, fields.ListCustomFieldsResponse)
    assert [one.key for one in seen.custom_fields] == list(KINDS)
    id = seen.custom_fields[0].id
    await refused(Code.PERMISSION_DENIED, "RIGHT_MISSING", change(service, seller, id, labelEn="x"))
    await refused(Code.PERMISSION_DENIED, "RIGHT_MISSING", remove(service, seller, id))
    # A record that one may not see is none to refer to.
    hidden = await create(service, who, "Hidden")
    await refused(Code.INVALID_ARGUMENT, "INVALID_FIELD", create(service, seller, friend=hidden.id))
    own = await create(service, seller, "Own")
    kept = await create(service, seller, "Kept", friend=own.id)
    await update(service, who, kept.id, {"friend": hidden.id})
    # What stays as it is need not be seen.
    assert values(await update(service, seller, kept.id, {"friend": hidden.id, "yes": True}))["yes"] is True
    # Another tenant has fields of its own, and finds none of these.
    other = tenant()
    assert (
        await service.ask(other, FIELDS + "ListCustomFields", request, fields.ListCustomFieldsResponse)
    ) == (fields.ListCustomFieldsResponse())
    await refused(Code.NOT_FOUND, "NOT_FOUND", field(service, other, id))
    await refused(Code.NOT_FOUND, "NOT_FOUND", change(service, other, id, labelEn="x"))
    await refused(Code.NOT_FOUND, "NOT_FOUND", remove(service, other, id))
    await refused(Code.INVALID_ARGUMENT, "INVALID_FIELD", create(service, other, text="x"))
    await add(service, other, "friend", kind="REFERENCE", referenceType="customer", filterable=True)
    await refused(Code.INVALID_ARGUMENT, "INVALID_FIELD", create(service, other, friend=own.id))
    assert await listed(service, other, filter=f'customFields.friend = "{own.id}"') == []


async def test_a_repeat_makes_one(service: Harness) -> None:
    who = await with_all_kinds(service)
    first = await create(service, who, "Once", "r-9", text="a")
    assert await create(service, who, "Once", "r-9", text="a") == first
    again = create(service, who, "Once", "r-9", text="b")
    await refused(Code.ALREADY_EXISTS, "IDEMPOTENCY_KEY_REUSED", again)
    assert await listed(service, who, filter="customFields.text = a") == ["Once"]


async def test_history_and_events_name_them(service: Harness) -> None:
    who = await with_all_kinds(service)
    made = await create(service, who, text="a", number="1")
    await update(
        service, who, made.id, {"text": "b", "number": None, "money": {"currencyCode": "CNY", "units": 3}}
    )
    request = history_pb2.ListChangesRequest(record_type="customer", record_id=made.id)
    told = await service.ask(
        who, "kehu.customers.v1.HistoryService/ListChanges", request, history_pb2.ListChangesResponse
    )
    latest = {f.field: (f.old_value, f.new_value) for f in told.changes[0].fields}
    assert latest == {
        "customFields.text": ("a", "b"),
        "customFields.number": ("1", ""),
        "customFields.money": ("", '{"units":"3","currencyCode":"CNY"}'),
    }
    rows = await service.running.database.read(
        who, "SELECT type, data FROM outbox WHERE record_id = $1 ORDER BY seq", made.id
    )
    from kehu.customers.v1 import events_pb2

    created = from_json(events_pb2.CustomerCreated, bytes(rows[0]["data"]))
    assert values(created.customer) == {"text": "a", "number": "1"}
    updated = from_json(events_pb2.CustomerUpdated, bytes(rows[1]["data"]))
    assert values(updated.customer) == {"text": "b", "money": {"currencyCode": "CNY", "units": "3"}}
    assert sorted(updated.changed_fields) == [
        "customFields.money",
        "customFields.number",
        "customFields.text",
    ]
    definitions = history_pb2.ListChangesRequest(record_type="custom_field")
    one = await add(service, who, "told")
    await change(service, who, one.id, labelEn="Said")
    definitions.record_id = one.id
    told = await service.ask(
        who, "kehu.customers.v1.HistoryService/ListChanges", definitions, history_pb2.ListChangesResponse
    )
    assert [f.field for f in told.changes[0].fields] == ["labelEn"]
    await remove(service, who, one.id)
    rows = await service.running.database.read(
        who, "SELECT type FROM outbox WHERE record_id = $1 ORDER BY seq", UUID(one.id)
    )
    assert [row["type"].rpartition(".")[2] for row in rows] == [
        "CustomFieldCreated", "CustomFieldUpdated", "CustomFieldDeleted",
    ]  # fmt: skip


async def test_filters(service: Harness) -> None:
    who = await with_all_kinds(service)
    yuan = {"currencyCode": "CNY", "units": "100"}
    a = await create(
        service, who, "A", text="Old Town", number="-3", money=yuan, day="2026-01-31", medal="gold",
        medals=["gold", "silver"], yes=True,
    )  # fmt: skip
    await create(
        service, who, "B", text="new town", number="20.5", money={"currencyCode": "USD", "units": "100"},
        day="2026-02-01", medal="silver", medals=["silver"], yes=False, friend=a.id,
    )  # fmt: skip
    await create(service, who, "C")
    wanted = {
        'text = "Old Town"': "A", "text:town": "AB", "text != 'Old Town'": "BC", "text:*": "AB", "text = null": "C",
        "NOT text:town": "C", "number < 3": "A", "number >= 20.5": "B", "number > -4 ": "AB", "number = -3.00": "A",
        "number != 1": "ABC", "NOT number > 0": "AC", "money = 100": "AB", 'money = "100 USD"': "B", "money > 99.99": "AB",
        "money <= 100": "AB", "money < 100": "", 'money >= "1 CNY"': "A", "day >= 2026-02-01": "B", "day < 2026-02-01": "A",
        "medal = gold": "A", "medal != gold": "BC", "medals:silver": "AB", "medals = gold": "A", "NOT medals:gold": "BC",
        "yes = true": "A", "yes = false": "B", "yes != true": "BC", f"friend = {a.id}": "B", "friend = null": "AC",
    }  # fmt: skip
    for text, names in wanted.items():
        negated = "NOT " if text.startswith("NOT ") else ""
        filter = f"{negated}customFields.{text.removeprefix('NOT ')}"
        assert "".join(sorted(await listed(service, who, filter=filter))) == names, text
    both = 'customFields.text:town AND (customFields.number > 0 OR displayName = "C")'
    assert await listed(service, who, filter=both) == ["B"]
    assert await listed(service, who, filter="customFields.medals:gold", query="A") == ["A"]
    for text in (
        "number = many", "number : x", "day = 1.1.2026", "medal = bronze", "yes = 1", "yes > true", "friend = x", "medal > gold",
        "money = 'a lot'", "money = '1 yuan'", "helper = null", "nobody = 1", "text > null", "number = 0.1234567891",
    ):  # fmt: skip
        asked = listed(service, who, filter=f"customFields.{text}")
        problem = await refused(Code.INVALID_ARGUMENT, "FILTER_INVALID", asked)
        assert problem.violations[0].field == "filter", text


async def walked(service: Harness, who: Principal, **asked: Any) -> list[str]:
    names: list[str] = []
    token = ""
    while True:
        found = await page(service, who, page_size=3, page_token=token, **asked)
        names += [c.display_name for c in found.customers]
        token = found.next_page_token
        if not token:
            return names


async def test_order_and_pages(service: Harness) -> None:
    who = await with_all_kinds(service)
    numbers: dict[str, str | None] = {
        "a": "10", "b": "9", "c": "-1", "d": None, "e": "0.5", "f": "-20.25", "g": None, "h": "9", "i": None, "j": "100",
    }  # fmt: skip
    for name, number in numbers.items():
        await create(service, who, name, number=number, medal="gold" if name < "f" else "silver")
    assert "".join(await walked(service, who, order_by="customFields.number")) == "fcebhajdgi"
    up = await walked(service, who, order_by="customFields.number, displayName desc")
    assert "".join(up) == "fcehbajigd"
    down = "".join(await walked(service, who, order_by="customFields.number desc"))
    assert (down[:2], set(down[2:4]), down[4:7], set(down[7:])) == ("ja", {"b", "h"}, "ecf", set("dgi"))
    mixed = await walked(service, who, order_by="customFields.medal desc, customFields.number")
    assert "".join(mixed) == "fhjgicebad"
    mixed = await walked(service, who, order_by="displayName desc, customFields.number")
    assert "".join(mixed) == "jihgfedcba"
    some = await walked(service, who, order_by="customFields.number", filter="customFields.medal = silver")
    assert "".join(some) == "fhjgi"
    assert await walked(service, who, order_by="customFields.number", query="j") == ["j"]
    for order in (
        "customFields.medals",
        "customFields.helper",
        "customFields.nobody",
        "customFields.number up",
    ):
        await refused(Code.INVALID_ARGUMENT, "ORDER_BY_INVALID", listed(service, who, order_by=order))
    # A page goes on where it was, whatever is changed meanwhile; a field that has become another has other places.
    first = await page(service, who, page_size=3, order_by="customFields.number")
    await create(service, who, "k", number="-19")
    rest = await page(
        service, who, page_size=50, order_by="customFields.number", page_token=first.next_page_token
    )
    assert "".join(c.display_name for c in rest.customers) == "bhajdgi"


async def test_marked_later_is_taken_in(service: Harness) -> None:
    who = tenant()
    made = await add(service, who, "city", kind="TEXT")
    for number in range(30):
        await create(service, who, f"c{number:02}", city=f"city{number % 3}")
    await refused(Code.INVALID_ARGUMENT, "FILTER_INVALID", listed(service, who, filter="customFields.city:*"))
    marked = await change(service, who, made.id, filterable=True)
    assert not marked.indexed
    await create(service, who, "new", city="city1")
    await indexed(service, who, made.id)
    assert len(await listed(service, who, filter="customFields.city = city1")) == 11
    changed = (await page(service, who, filter="displayName = c01")).customers[0]
    await update(service, who, changed.id, {"city": "city0"})
    assert len(await listed(service, who, filter="customFields.city = city1")) == 10
    await change(service, who, made.id, filterable=False)
    await refused(Code.INVALID_ARGUMENT, "FILTER_INVALID", listed(service, who, filter="customFields.city:*"))

    async def swept() -> bool:
        rows = await service.running.database.read(
            who, "SELECT count(*) AS rows FROM custom_values WHERE field_id = $1", made.id
        )
        return rows[0]["rows"] == 0

    await eventually(swept, 60)


async def test_contacts_have_fields_of_their_own(service: Harness) -> None:
    who = tenant()
    await add(service, who, "hobby", record_type="contact", filterable=True)
    customer = await create(service, who)
    await refused(Code.INVALID_ARGUMENT, "INVALID_FIELD", create(service, who, hobby="chess"))
    contact = contact_pb2.Contact(
        customer_id=customer.id, display_name="Wu", custom_fields={"hobby": Value(string_value="chess")}
    )
    request = contact_service_pb2.CreateContactRequest(contact=contact)
    made = await service.ask(who, CONTACTS + "CreateContact", request, contact_pb2.Contact)
    assert values(made) == {"hobby": "chess"}
    asked = contact_service_pb2.ListContactsRequest(
        filter="customFields.hobby = chess", order_by="customFields.hobby"
    )
    found = await service.ask(who, CONTACTS + "ListContacts", asked, contact_service_pb2.ListContactsResponse)
    assert [c.id for c in found.contacts] == [made.id]
    made.custom_fields["hobby"].string_value = "go"
    update = contact_service_pb2.UpdateContactRequest(
        contact=made, update_mask=FieldMask(paths=["custom_fields.hobby"])
    )
    changed = await service.ask(who, CONTACTS + "UpdateContact", update, contact_pb2.Contact)
    assert values(changed) == {"hobby": "go"}


LIST = """名称,等级徽章,奖牌,预算,Deal size,签约日,是否会员,朋友,负责人,备用
Alpha,金牌,"金牌, Silver",1200.50,12.5,2026/5/1,是,Friend,li@acme.example,
Beta,silver,,USD 3,7,2026年5月2日,no,,李娜,
Gamma,bronze,,,,,,,,
Delta,铁牌,,,1.2345678,,,,,
Epsilon,金牌,,,,,,Nobody,,
"""


async def imported(
    service: Harness, who: Principal, text: str
) -> tuple[imports_pb2.Import, imports_pb2.Import]:
    asked = imports_pb2.CreateImportRequest(
        record_type="customer", filename="list.csv", content=text.encode()
    )
    read = await service.ask(who, IMPORTS + "CreateImport", asked, imports_pb2.Import)
    begun = imports_pb2.StartImportRequest(id=read.id, mode=imports_pb2.IMPORT_MODE_UPSERT)
    await service.ask(who, IMPORTS + "StartImport", begun, imports_pb2.Import)

    async def state() -> imports_pb2.Import:
        request = imports_pb2.GetImportRequest(id=read.id)
        return await service.ask(who, IMPORTS + "GetImport", request, imports_pb2.Import)

    async def ended() -> bool:
        return (await state()).state == imports_pb2.IMPORT_STATE_SUCCEEDED

    await eventually(ended, 60)
    return read, await state()


async def test_imports_map_columns_to_them(service: Harness) -> None:
    who = tenant()
    medals = [
        {**c, "labelZh": c.get("labelZh", "铁牌"), "labelEn": c.get("labelEn", "Silver")} for c in CHOICES
    ]
    labels: dict[str, dict[str, Any]] = {
        "badge": {"labelZh": "等级徽章", "kind": "CHOICE", "choices": medals, "filterable": True},
        "medals": {"labelZh": "奖牌", "kind": "MULTI_CHOICE", "choices": medals},
        "budget": {"labelZh": "预算", "labelEn": "Budget", "kind": "MONEY"},
        "deal_size": {"labelEn": "Deal size", "kind": "NUMBER"},
        "signed": {"labelZh": "签约日", "kind": "DATE"},
        "member": {"labelZh": "是否会员", "kind": "YES_NO"},
        "friend": {"labelZh": "朋友", "kind": "REFERENCE", "referenceType": "customer"},
        "manager": {"labelZh": "负责人", "kind": "REFERENCE", "referenceType": "person"},
        "tier": {"labelEn": "Tier", "kind": "TEXT", "defaultValue": "new", "required": True},
    }
    for key, said in labels.items():
        await add(service, who, key, **{"labelEn": "", **said})
    friend = await create(service, who, "Friend")
    read, done = await imported(service, who, LIST)
    proposed = {m.column: m.field for m in read.proposed_mapping}
    assert proposed == {
        0: "displayName", **{place + 1: f"customFields.{key}" for place, key in enumerate(list(labels)[:-1])},
    }  # fmt: skip
    assert (done.created_rows, done.refused_rows) == (2, 3), done
    found = {c.display_name: values(c) for c in (await page(service, who)).customers}
    assert found["Alpha"] == {
        "badge": "gold", "medals": ["gold", "silver"], "budget": {"currencyCode": "CNY", "units": "1200", "nanos": 500000000},
        "deal_size": "12.5", "signed": "2026-05-01", "member": True, "friend": friend.id, "manager": PERSON, "tier": "new",
    }  # fmt: skip
    assert (
        found["Beta"]["budget"] == {"currencyCode": "USD", "units": "3"}
        and found["Beta"]["manager"] == PERSON
    )
    assert sorted(await listed(service, who, filter="customFields.badge:*")) == ["Alpha", "Beta"]


async def test_an_import_changes_and_asks_for_what_is_required(service: Harness) -> None:
    who = tenant()
    city = await add(service, who, "city", labelEn="City", required=True, filterable=True)
    _, done = await imported(service, who, "Name,External key,City\nA,k1,Bonn\nB,k2,\nC,k3,Rome\n")
    assert (done.created_rows, done.refused_rows) == (2, 1)
    _, done = await imported(service, who, "Name,External key,City\nA,k1,Oslo\nC,k3,Rome\n")
    assert (done.updated_rows, done.unchanged_rows) == (1, 1)
    assert await listed(service, who, filter="customFields.city = Oslo") == ["A"]
    # A file without the column cannot be started.
    asked = imports_pb2.CreateImportRequest(record_type="customer", filename="x.csv", content=b"Name\nD\n")
    read = await service.ask(who, IMPORTS + "CreateImport", asked, imports_pb2.Import)
    begun = imports_pb2.StartImportRequest(id=read.id)
    start = service.ask(who, IMPORTS + "StartImport", begun, imports_pb2.Import)
    await refused(Code.INVALID_ARGUMENT, "MAPPING_INVALID", start)
    assert city.required


async def test_an_import_is_undone_to_where_they_went_since(service: Harness) -> None:
    who = tenant()
    await add(service, who, "friend", labelEn="Friend", kind="REFERENCE", referenceType="customer")
    old, new, older, newer = [await create(service, who, name) for name in ("Old", "New", "Older", "Newer")]
    await imported(service, who, "Name,External key,Friend\nA,k1,Old\n")
    _, done = await imported(service, who, "Name,External key,Friend\nA,k1,New\n")
    assert done.updated_rows == 1
    for survivor, gone in ((older, old), (newer, new)):
        merge = merge_service_pb2.MergeCustomersRequest(id=survivor.id, merged_ids=[gone.id])
        await service.ask(who, "kehu.customers.v1.MergeService/MergeCustomers", merge, merge_pb2.Merge)
    undoing = imports_pb2.UndoImportRequest(id=done.id)
    await service.ask(who, IMPORTS + "UndoImport", undoing, imports_pb2.Import)

    async def undone() -> bool:
        request = imports_pb2.GetImportRequest(id=done.id)
        return (
            await service.ask(who, IMPORTS + "GetImport", request, imports_pb2.Import)
        ).state == imports_pb2.IMPORT_STATE_UNDONE

    await eventually(undone, 60)
    (found,) = [c for c in (await page(service, who)).customers if c.display_name == "A"]
    assert values(found) == {"friend": older.id}


async def test_another_process_knows_at_once(service: Harness) -> None:
    """What a process knows of definitions is asked for its version each time it counts."""
    who = tenant()
    made = await add(service, who, "size", filterable=True)
    await create(service, who, size="1")
    database = service.running.database
    behind = dict(database.known_fields.__dict__["_sets"])  # what another process would still know
    await change(service, who, made.id, kind="NUMBER")
    await indexed(service, who, made.id)
    database.known_fields.__dict__["_sets"].update(behind)
    await refused(Code.INVALID_ARGUMENT, "INVALID_FIELD", create(service, who, size="many"))
    database.known_fields.__dict__["_sets"].update(behind)
    assert await listed(service, who, filter="customFields.size < 10") == ["Acme"]
