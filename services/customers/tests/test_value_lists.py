"""Value lists: what a new tenant is offered, what a tenant makes of it, and that no value goes while records hold it."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest
from google.protobuf.empty_pb2 import Empty
from google.protobuf.field_mask_pb2 import FieldMask
from kehu.customers.v1 import (
    contact_pb2,
    contact_service_pb2,
    customer_pb2,
    customer_service_pb2,
    pool_pb2,
    pool_service_pb2,
    segment_pb2,
    segment_service_pb2,
)
from kehu.history.v1 import history_pb2
from kehu.savedviews.v1 import saved_views_pb2
from kehu.valuelists.v1 import value_lists_pb2 as lists_pb2

from chassis.errors import Code, Problem
from chassis.principal import Principal, Reach, Rights
from chassis.testing import Harness, refused, somebody
from customers.testing import Company

pytestmark = pytest.mark.asyncio(loop_scope="module")
LISTS = "kehu.customers.v1.ValueListService/"
CUSTOMERS = "kehu.customers.v1.CustomerService/"
CONTACTS = "kehu.customers.v1.ContactService/"
Values = list[tuple[str, str, str]]


async def lists(company: Company, who: Principal | None = None) -> dict[str, lists_pb2.ValueList]:
    found = await company.service.ask(
        who or company.who, LISTS + "ListValueLists", lists_pb2.ListValueListsRequest(), lists_pb2.ListValueListsResponse
    )  # fmt: skip
    return {one.key: one for one in found.value_lists}


async def change(
    company: Company, one: lists_pb2.ValueList, paths: list[str] | None = None, who: Principal | None = None
) -> lists_pb2.ValueList:
    request = lists_pb2.UpdateValueListRequest(
        value_list=one, update_mask=FieldMask(paths=paths if paths is not None else ["values"])
    )
    return await company.service.ask(
        who or company.who, LISTS + "UpdateValueList", request, lists_pb2.ValueList
    )


async def add(company: Company, key: str, value: str, zh: str = "", en: str = "") -> lists_pb2.ValueList:
    """Puts a value before the others of that list."""
    one = (await lists(company))[key]
    values = [lists_pb2.ListedValue(key=value, name_zh=zh or value, name_en=en), *one.values]
    del one.values[:]
    one.values.extend(values)
    return await change(company, one)


def without(one: lists_pb2.ValueList, key: str) -> lists_pb2.ValueList:
    left = [value for value in one.values if value.key != key]
    del one.values[:]
    one.values.extend(left)
    return one


def retired(one: lists_pb2.ValueList, key: str) -> lists_pb2.ValueList:
    for value in one.values:
        if value.key == key:
            value.retired = True
    return one


async def create(company: Company, name: str = "客户", **values: Any) -> customer_pb2.Customer:
    request = customer_service_pb2.CreateCustomerRequest(
        customer=customer_pb2.Customer(display_name=name, **values)
    )
    return await company.service.ask(
        company.who, CUSTOMERS + "CreateCustomer", request, customer_pb2.Customer
    )


async def update(company: Company, id: str, paths: list[str], **values: Any) -> customer_pb2.Customer:
    request = customer_service_pb2.UpdateCustomerRequest(
        customer=customer_pb2.Customer(id=id, **values), update_mask=FieldMask(paths=paths)
    )
    return await company.service.ask(
        company.who, CUSTOMERS + "UpdateCustomer", request, customer_pb2.Customer
    )


async def test_a_new_tenant_is_offered_values_in_both_languages(company: Company) -> None:
    found = await lists(company)
    assert list(found) == [
        "type", "industry", "level", "stage", "source", "size", "region",
        "phone_label", "email_label", "address_label", "account_label", "partner_type", "discount_level",
    ]  # fmt: skip
    for one in found.values():
        assert one.name_zh and one.name_en and one.values and one.etag == "0", one.key
        assert all(value.name_zh or value.name_en for value in one.values)
    assert [value.key for value in found["level"].values] == ["A", "B", "C", "D"]
    assert all(value.built_in for value in found["level"].values)
    read = await company.service.ask(
        company.who, LISTS + "GetValueList", lists_pb2.GetValueListRequest(id=found["level"].id), lists_pb2.ValueList
    )  # fmt: skip
    assert read == found["level"]


async def test_lists_come_in_pages(company: Company) -> None:
    token, found = "", list[str]()
    while True:
        page = await company.service.ask(
            company.who, LISTS + "ListValueLists", lists_pb2.ListValueListsRequest(page_size=3, page_token=token),
            lists_pb2.ListValueListsResponse,
        )  # fmt: skip
        found += [one.key for one in page.value_lists]
        token = page.next_page_token
        if not token:
            break
    assert found == list(await lists(company))


async def test_every_default_means_one_value() -> None:
    from chassis.value_lists.value_list import _check  # pyright: ignore[reportPrivateUsage]
    from customers.value_lists import VALUE_LISTS

    for kind in VALUE_LISTS.kinds:
        _check(kind.values)


async def test_a_tenant_has_values_of_its_own(company: Company) -> None:
    changed = await add(company, "level", "VIP", "贵宾", "VIP customer")
    assert changed.etag == "2" and [v.key for v in changed.values] == ["VIP", "A", "B", "C", "D"]
    made = await create(company, level_key="贵宾")
    assert (made.level_key, made.level) == ("VIP", customer_pb2.CUSTOMER_LEVEL_UNSPECIFIED)
    page = await company.service.ask(
        company.who, CUSTOMERS + "ListCustomers",
        customer_service_pb2.ListCustomersRequest(filter='levelKey = "VIP"'), customer_service_pb2.ListCustomersResponse,
    )  # fmt: skip
    assert [one.id for one in page.customers] == [made.id]
    again = await update(company, made.id, ["level"], level=customer_pb2.CUSTOMER_LEVEL_B)
    assert (again.level_key, again.level) == ("B", customer_pb2.CUSTOMER_LEVEL_B)
    other = Company(company.service)
    assert [v.key for v in (await lists(other))["level"].values] == ["A", "B", "C", "D"]
    problem = await refused(Code.INVALID_ARGUMENT, "VALUE_UNKNOWN", create(other, level_key="VIP"))
    assert problem.violations[0].field == "customer.levelKey"  # as it was written


async def test_enum_and_key_agree_whichever_is_written(company: Company) -> None:
    await add(company, "level", "VIP")
    made = await create(company, level=customer_pb2.CUSTOMER_LEVEL_A)
    assert made.level_key == "A" and (made.stage_key, made.stage) == (
        "PROSPECT",
        customer_pb2.CUSTOMER_STAGE_PROSPECT,
    )
    both = ["level", "level_key"]
    # Whoever sends back what was read has changed one of them.
    again = await update(company, made.id, both, level=customer_pb2.CUSTOMER_LEVEL_B, level_key="A")
    assert again.level_key == "B"
    again = await update(company, made.id, both, level=customer_pb2.CUSTOMER_LEVEL_B, level_key="VIP")
    assert (again.level_key, again.level) == ("VIP", customer_pb2.CUSTOMER_LEVEL_UNSPECIFIED)
    again = await update(company, made.id, both, level=customer_pb2.CUSTOMER_LEVEL_C, level_key="VIP")
    assert again.level_key == "C"
    await refused(
        Code.INVALID_ARGUMENT, "VALUE_MISMATCH",
        update(company, made.id, both, level=customer_pb2.CUSTOMER_LEVEL_A, level_key="B"),
    )  # fmt: skip
    again = await update(company, made.id, ["level"])
    assert again.level_key == ""


async def test_names_become_keys_and_other_texts_stay(company: Company) -> None:
    made = await create(company, industry=" 制造业 ", region="Ｅａｓｔ china")
    assert (made.industry, made.region) == ("manufacturing", "east_china")
    assert (await create(company, industry="殡葬")).industry == "殡葬"
    one = (await lists(company))["industry"]
    one.accepts_others = False
    await change(company, one, ["accepts_others"])
    problem = await refused(Code.INVALID_ARGUMENT, "VALUE_UNKNOWN", create(company, industry="冶金"))
    assert problem.violations[0].field == "customer.industry"
    # What a record has may stay.
    old = (await company.service.ask(
        company.who, CUSTOMERS + "ListCustomers",
        customer_service_pb2.ListCustomersRequest(filter='industry = "殡葬"'), customer_service_pb2.ListCustomersResponse,
    )).customers[0]  # fmt: skip
    assert (
        await update(company, old.id, ["industry", "notes"], industry="殡葬", notes="x")
    ).industry == "殡葬"


async def test_what_a_customer_is_to_us_is_a_list_of_our_own(company: Company) -> None:
    await add(company, "type", "dealer_4s", "4S 店", "4S dealer")
    made = await create(company, type="4s 店")
    assert made.type == "dealer_4s"
    problem = await refused(Code.INVALID_ARGUMENT, "VALUE_UNKNOWN", create(company, type="外星人"))
    assert problem.violations[0].field == "customer.type"
    assert (await update(company, made.id, ["type"], type="Distributor")).type == "distributor"
    page = await company.service.ask(
        company.who, CUSTOMERS + "ListCustomers",
        customer_service_pb2.ListCustomersRequest(filter='type = "distributor"'), customer_service_pb2.ListCustomersResponse,
    )  # fmt: skip
    assert [one.id for one in page.customers] == [made.id]
    one = (await lists(company))["type"]
    problem = await refused(
        Code.FAILED_PRECONDITION, "VALUE_IN_USE", change(company, without(one, "distributor"))
    )
    assert problem.metadata["rows"] == "1"
    told = await company.service.running.database.read(
        company.who,
        "SELECT convert_from(data, 'UTF8')::jsonb AS data FROM outbox WHERE record_id = $1 ORDER BY seq",
        UUID(made.id),
    )
    assert [row["data"]["customer"]["type"] for row in told] == ["dealer_4s", "distributor"]


async def test_a_closed_list_cannot_be_opened(company: Company) -> None:
    one = (await lists(company))["level"]
    one.accepts_others = True
    await refused(Code.INVALID_ARGUMENT, "INVALID_FIELD", change(company, one, ["accepts_others"]))


async def test_services_that_act_by_themselves_are_not_refused(company: Company) -> None:
    one = (await lists(company))["industry"]
    one.accepts_others = False
    await change(company, one, ["accepts_others"])
    request = customer_service_pb2.CreateCustomerRequest(
        customer=customer_pb2.Customer(
            display_name="转化", industry="冶金", owner_id=str(company.who.person_id)
        )
    )
    made = await company.service.ask(
        company.who.acting_as("leads"), CUSTOMERS + "CreateCustomer", request, customer_pb2.Customer
    )
    assert made.industry == "冶金"


async def test_a_retired_value_stays_and_is_given_to_no_other(company: Company) -> None:
    made = await create(company, level_key="D")
    await change(company, retired((await lists(company))["level"], "D"))
    await refused(Code.INVALID_ARGUMENT, "VALUE_RETIRED", create(company, level_key="D"))
    await refused(
        Code.INVALID_ARGUMENT, "VALUE_RETIRED", create(company, level=customer_pb2.CUSTOMER_LEVEL_D)
    )
    kept = await update(company, made.id, ["level_key", "notes"], level_key="D", notes="still")
    assert kept.level == customer_pb2.CUSTOMER_LEVEL_D


async def test_who_is_new_has_the_first_stage_unless_it_is_retired(company: Company) -> None:
    assert (await create(company)).stage == customer_pb2.CUSTOMER_STAGE_PROSPECT
    await change(company, retired((await lists(company))["stage"], "PROSPECT"))
    made = await create(company)
    assert (made.stage, made.stage_key) == (customer_pb2.CUSTOMER_STAGE_UNSPECIFIED, "")
    # One without a stage can be changed like any other.
    kept = await update(company, made.id, ["notes"], notes="still")
    assert kept.stage_key == ""
    assert (await update(company, made.id, ["stage_key"], stage_key="ACTIVE")).stage_key == "ACTIVE"


async def test_no_value_goes_while_records_hold_it(company: Company) -> None:
    await add(company, "level", "VIP")
    made = [await create(company, level_key="VIP") for _ in range(3)]
    problem = await refused(
        Code.FAILED_PRECONDITION,
        "VALUE_IN_USE",
        change(company, without((await lists(company))["level"], "VIP")),
    )
    assert problem.metadata["rows"] == "3" and problem.metadata["key"] == "VIP"
    await refused(
        Code.FAILED_PRECONDITION,
        "VALUE_BUILT_IN",
        change(company, without((await lists(company))["level"], "A")),
    )
    for one in made:
        await update(company, one.id, ["level_key"], level_key="A")
    changed = await change(company, without((await lists(company))["level"], "VIP"))
    assert [v.key for v in changed.values] == ["A", "B", "C", "D"]


async def test_no_value_goes_while_rules_name_it(company: Company) -> None:
    async def ask(method: str, request: Any, answer: type[Any]) -> Any:
        return await company.service.ask(company.who, f"kehu.customers.v1.{method}", request, answer)

    async def keep(level: str) -> None:
        rule = pool_service_pb2.UpdatePoolRuleRequest(
            rule=pool_pb2.PoolRule(kept_level_keys=[level] if level else []),
            update_mask=FieldMask(paths=["kept_level_keys"]),
        )
        await ask("PoolService/UpdatePoolRule", rule, pool_pb2.PoolRule)

    async def segment(filter: str) -> segment_pb2.Segment:
        made = segment_service_pb2.CreateSegmentRequest(
            segment=segment_pb2.Segment(display_name=uuid4().hex, filter=filter)
        )
        return await ask("SegmentService/CreateSegment", made, segment_pb2.Segment)

    async def drop() -> lists_pb2.ValueList:
        return await change(company, without((await lists(company))["level"], "VIP"))

    # What the list does not have, no rule may name; of one that takes others, whatever people have written.
    await refused(Code.INVALID_ARGUMENT, "VALUE_UNKNOWN", keep("VIP"))
    for filter in ('levelKey = "VIP"', 'displayName : "x" OR NOT stageKey != "warm"'):
        await refused(Code.INVALID_ARGUMENT, "VALUE_UNKNOWN", segment(filter))
    await segment('industry = "shipbuilding" AND levelKey = "" AND stageKey != null')
    # Null is no value however it is written, and stands in the way of none that is called so.
    await segment("levelKey = NULL OR NOT stageKey = Null")
    await add(company, "level", "NULL")
    await change(company, without((await lists(company))["level"], "NULL"))
    # A value is found where it is escaped.
    await add(company, "level", 'V"P')
    escaped = await segment(r'levelKey = "V\"P"')
    gone = change(company, without((await lists(company))["level"], 'V"P'))
    await refused(Code.FAILED_PRECONDITION, "VALUE_IN_USE", gone)
    await ask("SegmentService/DeleteSegment", segment_service_pb2.DeleteSegmentRequest(id=escaped.id), Empty)
    await change(company, without((await lists(company))["level"], 'V"P'))
    await add(company, "level", "VIP")
    await keep("VIP")
    one = await segment('(levelKey = "VIP" OR level = A) AND city : "VIP"')
    await segment('displayName : "VIP"')

    async def keep_view(name: str, sharing: Any) -> saved_views_pb2.SavedView:
        view = saved_views_pb2.SavedView(
            record_type="customer", display_name=name, filter='levelKey : "VIP"', sharing=sharing
        )
        asked = saved_views_pb2.CreateSavedViewRequest(saved_view=view)
        return await ask("SavedViewService/CreateSavedView", asked, saved_views_pb2.SavedView)

    view = await keep_view("Best", saved_views_pb2.SAVED_VIEW_SHARING_EVERYONE)
    # What one person keeps for themselves nobody else could take away: it does not count.
    await keep_view("Mine", saved_views_pb2.SAVED_VIEW_SHARING_NOBODY)
    problem = await refused(Code.FAILED_PRECONDITION, "VALUE_IN_USE", drop())
    assert problem.metadata["rules"] == "segments: 1, saved views: 1, rules of the pool: 1"
    assert (
        "'VIP' is held or named by 1 of the segments, 1 of the saved views, 1 of the rules" in problem.message
    )
    assert problem.metadata["rows"] == "0"
    # A retired one is held by records still.
    await change(company, retired((await lists(company))["level"], "VIP"))
    await segment('levelKey = "VIP" AND city = "x"')
    await keep("")
    for found in await _segments(company):
        if "VIP" in found.filter:
            request = segment_service_pb2.DeleteSegmentRequest(id=found.id)
            await ask("SegmentService/DeleteSegment", request, Empty)
    assert one.id not in {found.id for found in await _segments(company)}
    await ask("SavedViewService/DeleteSavedView", saved_views_pb2.DeleteSavedViewRequest(id=view.id), Empty)
    assert [value.key for value in (await drop()).values] == ["A", "B", "C", "D"]


async def _segments(company: Company) -> list[segment_pb2.Segment]:
    found = await company.service.ask(
        company.who, "kehu.customers.v1.SegmentService/ListSegments", segment_service_pb2.ListSegmentsRequest(),
        segment_service_pb2.ListSegmentsResponse,
    )  # fmt: skip
    return list(found.segments)


async def test_labels_are_counted_where_they_stand(company: Company) -> None:
    id = await company.customer()
    await add(company, "phone_label", "car", "车载", "Car")
    request = contact_service_pb2.CreateContactRequest(
        contact=contact_pb2.Contact(
            display_name="张伟", customer_id=id, phones=[contact_pb2.ContactPhone(label="车载", number="13900002222")]
        )
    )  # fmt: skip
    made = await company.service.ask(company.who, CONTACTS + "CreateContact", request, contact_pb2.Contact)
    assert made.phones[0].label == "car"
    problem = await refused(
        Code.FAILED_PRECONDITION, "VALUE_IN_USE",
        change(company, without((await lists(company))["phone_label"], "car")),
    )  # fmt: skip
    assert problem.metadata["rows"] == "1"


async def test_values_are_written_and_taken_out_at_once(company: Company) -> None:
    """A value goes, or a record holds it: never both."""
    for round in range(4):
        key = f"v{round}"
        await add(company, "industry", key)
        one = (await lists(company))["industry"]
        one.accepts_others = False
        await change(company, one, ["accepts_others"])
        gone = without((await lists(company))["industry"], key)
        outcomes = await asyncio.gather(
            change(company, gone), *[create(company, f"{key} {n}", industry=key) for n in range(4)],
            return_exceptions=True,
        )  # fmt: skip
        assert all(isinstance(o, Problem) or not isinstance(o, BaseException) for o in outcomes)
        offered = key in [v.key for v in (await lists(company))["industry"].values]
        page = await company.service.ask(
            company.who, CUSTOMERS + "ListCustomers",
            customer_service_pb2.ListCustomersRequest(filter=f'industry = "{key}"'),
            customer_service_pb2.ListCustomersResponse,
        )  # fmt: skip
        assert offered or not page.customers


async def test_bad_lists_are_refused(company: Company) -> None:
    one = (await lists(company))["industry"]
    values = list(one.values)
    for value, reason in (
        (lists_pb2.ListedValue(key="nameless"), "INVALID_FIELD"),
        (lists_pb2.ListedValue(key="Mining", name_en="Digging"), "VALUE_TWICE"),
        (lists_pb2.ListedValue(key="digging", name_en="ＭＩＮＩＮＧ"), "VALUE_TWICE"),
        (lists_pb2.ListedValue(key="", name_en="No key"), "INVALID_FIELD"),
    ):
        del one.values[:]
        one.values.extend([*values, value])
        await refused(Code.INVALID_ARGUMENT, reason, change(company, one))
    del one.values[:]
    one.values.extend(values)
    one.etag = "7"
    await refused(Code.ABORTED, "ETAG_MISMATCH", change(company, one))
    one.etag = ""
    await refused(Code.INVALID_ARGUMENT, "FIELD_NOT_WRITABLE", change(company, one, ["name_zh"]))
    one.id = str(uuid4())
    await refused(Code.NOT_FOUND, "NOT_FOUND", change(company, one))


async def test_who_may_change_lists(company: Company) -> None:
    seller = somebody(company.who.tenant, rights={"customers": Rights(Reach.ALL, Reach.ALL)})
    one = (await lists(company, seller))["level"]
    await refused(Code.PERMISSION_DENIED, "RIGHT_MISSING", change(company, one, who=seller))
    stranger = Company(company.service)
    await refused(Code.NOT_FOUND, "NOT_FOUND", change(stranger, one))
    get = lists_pb2.GetValueListRequest(id=one.id)
    asked = company.service.ask(stranger.who, LISTS + "GetValueList", get, lists_pb2.ValueList)
    await refused(Code.NOT_FOUND, "NOT_FOUND", asked)


async def test_changes_are_told_value_by_value(company: Company, service: Harness) -> None:
    await add(company, "level", "VIP", "贵宾", "VIP")
    changed = await change(company, retired((await lists(company))["level"], "D"))
    found = await company.service.ask(
        company.who, "kehu.customers.v1.HistoryService/ListChanges",
        history_pb2.ListChangesRequest(record_type="value_list", record_id=changed.id), history_pb2.ListChangesResponse,
    )  # fmt: skip
    told = {f.field: (f.old_value, f.new_value) for f in found.changes[0].fields}
    assert told == {"values.D": ("5. D 级 / Level D", "5. D 级 / Level D (retired)")}
    told = {f.field: (f.old_value, f.new_value) for f in found.changes[1].fields}
    assert told["values.VIP"] == ("", "1. 贵宾 / VIP") and told["values.A"] == (
        "1. A 级 / Level A",
        "2. A 级 / Level A",
    )
    rows = await service.running.database.read(
        company.who,
        "SELECT subject, data FROM outbox WHERE type = 'kehu.customers.v1.ValueListUpdated' ORDER BY seq",
    )
    assert len(rows) == 2 and rows[0]["subject"].endswith(".customers.value_list.updated")
    assert '"key":"VIP"' in rows[0]["data"].decode()
