"""Segments over gRPC: who is in them, who sees that, and what is refused."""

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
from google.protobuf.empty_pb2 import Empty
from google.protobuf.field_mask_pb2 import FieldMask
from kehu.customers.v1 import (
    customer_pb2,
    customer_service_pb2,
    segment_pb2,
    segment_service_pb2,
    trash_pb2,
    trash_service_pb2,
)
from kehu.customfields.v1 import custom_fields_pb2 as fields
from kehu.history.v1 import history_pb2
from sqlalchemy import text

from chassis.errors import Code
from chassis.ids import new_id
from chassis.principal import Principal, Reach, Rights
from chassis.testing import refused, somebody
from chassis.wire import from_dict
from customers.segments import segment as segments
from customers.testing import CUSTOMERS, Company, order_event

pytestmark = pytest.mark.asyncio(loop_scope="module")
SEGMENTS = "kehu.customers.v1.SegmentService/"
FIELDS = "kehu.customers.v1.CustomFieldService/"
A, B = customer_pb2.CUSTOMER_LEVEL_A, customer_pb2.CUSTOMER_LEVEL_B


async def customer(company: Company, name: str = "客户", who: Principal | None = None, **values: Any) -> str:
    request = customer_service_pb2.CreateCustomerRequest(
        customer=from_dict(customer_pb2.Customer, {"displayName": name, **values})
    )
    made = await company.service.ask(
        who or company.who, CUSTOMERS + "CreateCustomer", request, customer_pb2.Customer
    )
    return made.id


async def create(
    company: Company, who: Principal | None = None, request_id: str = "", **values: Any
) -> segment_pb2.Segment:
    values.setdefault("display_name", f"Segment {uuid4().hex}")
    request = segment_service_pb2.CreateSegmentRequest(
        segment=segment_pb2.Segment(**values), request_id=request_id
    )
    return await company.service.ask(
        who or company.who, SEGMENTS + "CreateSegment", request, segment_pb2.Segment
    )


async def put(
    company: Company, id: str, customers: list[str], verb: str = "Add", who: Principal | None = None
) -> segment_pb2.Segment:
    request: Any = getattr(segment_service_pb2, f"{verb}SegmentCustomersRequest")(
        id=id, customer_ids=customers
    )
    return await company.service.ask(
        who or company.who, f"{SEGMENTS}{verb}SegmentCustomers", request, segment_pb2.Segment
    )


async def inside(
    company: Company, id: str, who: Principal | None = None, page_size: int = 2, **asked: Any
) -> list[str]:
    """The ids of the customers of a segment, read in small pages."""
    found: list[str] = []
    token = ""
    while True:
        request = segment_service_pb2.ListSegmentCustomersRequest(
            id=id, page_size=page_size, page_token=token, **asked
        )
        page = await company.service.ask(
            who or company.who, SEGMENTS + "ListSegmentCustomers", request,
            segment_service_pb2.ListSegmentCustomersResponse,
        )  # fmt: skip
        found += [one.id for one in page.customers]
        token = page.next_page_token
        if not token:
            return found


async def ids(company: Company, id: str, who: Principal | None = None, page_size: int = 3) -> list[str]:
    found: list[str] = []
    token = ""
    while True:
        request = segment_service_pb2.ListSegmentCustomerIdsRequest(
            id=id, page_size=page_size, page_token=token
        )
        page = await company.service.ask(
            who or company.who, SEGMENTS + "ListSegmentCustomerIds", request,
            segment_service_pb2.ListSegmentCustomerIdsResponse,
        )  # fmt: skip
        found += page.customer_ids
        token = page.next_page_token
        if not token:
            return found


async def count(company: Company, id: str, who: Principal | None = None, filter: str = "") -> int:
    request = segment_service_pb2.CountSegmentCustomersRequest(id=id, filter=filter)
    answer = await company.service.ask(
        who or company.who, SEGMENTS + "CountSegmentCustomers", request,
        segment_service_pb2.CountSegmentCustomersResponse,
    )  # fmt: skip
    return answer.count


async def told(company: Company, kind: str) -> list[Any]:
    """What the outbox holds of that kind, the oldest first."""
    async with company.service.running.database.transaction(company.who) as tx:
        rows = await tx.session.execute(
            text("SELECT type, data FROM outbox WHERE subject LIKE :subject ORDER BY seq"),
            {"subject": f"%.{kind}"},
        )
        return list(rows)


async def test_a_segment_by_rule_follows_its_customers(company: Company) -> None:
    made = [await customer(company, level="CUSTOMER_LEVEL_A") for _ in range(5)]
    other = await customer(company, level="CUSTOMER_LEVEL_B")
    segment = await create(company, filter=' level = "A" ')
    assert (segment.kind, segment.filter) == (segment_pb2.SEGMENT_KIND_RULE, 'level = "A"')
    assert await inside(company, segment.id) == made[::-1]
    assert await ids(company, segment.id) == made[::-1]
    assert await count(company, segment.id) == 5
    changed = customer_service_pb2.UpdateCustomerRequest(customer=customer_pb2.Customer(id=other, level=A))
    await company.service.ask(company.who, CUSTOMERS + "UpdateCustomer", changed, customer_pb2.Customer)
    assert await count(company, segment.id) == 6
    assert other in await inside(company, segment.id, order_by="displayName")


async def test_what_is_asked_narrows_the_rule_and_never_widens_it(company: Company) -> None:
    big = await customer(company, "Big", level="CUSTOMER_LEVEL_A", region="North")
    await customer(company, "Small", level="CUSTOMER_LEVEL_A", region="South")
    await customer(company, "Else", level="CUSTOMER_LEVEL_B", region="North")
    segment = await create(company, filter='level = "A"')
    assert await inside(company, segment.id, filter='region = "North"') == [big]
    assert await count(company, segment.id, filter='region = "North" OR region = "South"') == 2
    assert await inside(company, segment.id, query="big") == [big]
    for escape in ('region = "North") OR (level = "B"', "level =", "nothing = 1"):
        problem = await refused(
            Code.INVALID_ARGUMENT, "FILTER_INVALID", inside(company, segment.id, filter=escape)
        )
        assert problem.violations[0].field == "filter"


async def test_customers_are_put_in_and_taken_out(company: Company) -> None:
    made = [await customer(company, f"Customer {n}", level="CUSTOMER_LEVEL_A") for n in range(5)]
    segment = await create(company)
    assert segment.kind == segment_pb2.SEGMENT_KIND_STATIC
    assert (await inside(company, segment.id), await count(company, segment.id)) == ([], 0)
    put_in = await put(company, segment.id, [*made[:4], made[0]])
    assert put_in.member_count == 4
    assert put_in.etag != segment.etag
    again = await put(company, segment.id, made[:4])
    assert (again.member_count, again.etag) == (4, put_in.etag)
    assert await inside(company, segment.id) == made[3::-1]
    assert await ids(company, segment.id) == made[3::-1]
    assert await inside(company, segment.id, filter='displayName = "Customer 2"') == [made[2]]
    assert await count(company, segment.id, filter='level = "B"') == 0
    left = await put(company, segment.id, [made[0], made[4], str(new_id())], "Remove")
    assert left.member_count == 3
    assert await inside(company, segment.id, order_by="createTime") == made[1:4]
    assert len(await told(company, "segment.customers_added")) == 1
    assert len(await told(company, "segment.customers_removed")) == 1


async def test_deleted_customers_are_in_no_segment(company: Company) -> None:
    made = [await customer(company, level="CUSTOMER_LEVEL_A") for _ in range(2)]
    static, rule = await create(company), await create(company, filter='level = "A"')
    await put(company, static.id, made)
    request = customer_service_pb2.DeleteCustomerRequest(id=made[0])
    await company.service.ask(company.who, CUSTOMERS + "DeleteCustomer", request, Empty)
    for one in (static, rule):
        assert await inside(company, one.id) == [made[1]]
        assert await count(company, one.id) == 1
    await refused(Code.INVALID_ARGUMENT, "CUSTOMER_NOT_FOUND", put(company, static.id, made))

    async def member_count() -> int:
        request = segment_service_pb2.GetSegmentRequest(id=static.id)
        answer = await company.service.ask(company.who, SEGMENTS + "GetSegment", request, segment_pb2.Segment)
        return answer.member_count

    assert await member_count() == 1
    assert len(await told(company, "segment.customers_removed")) == 1
    # Restored, it is in it again.
    back = trash_service_pb2.RestoreTrashItemRequest(id=made[0])
    await company.service.ask(
        company.who, "kehu.customers.v1.TrashService/RestoreTrashItem", back, trash_pb2.TrashItem
    )
    assert (await member_count(), sorted(await inside(company, static.id))) == (2, sorted(made))
    assert (await put(company, static.id, made, "Remove")).member_count == 0


async def test_rules_ask_what_sales_people_ask(company: Company) -> None:
    """Times from where one stands, where the customer lives, and its card."""
    today = datetime.now(ZoneInfo("Pacific/Kiritimati")).date()
    far_east = replace(company.who, time_zone="Pacific/Kiritimati")
    bought: dict[str, str] = {}
    for name, days in (("today", 0), ("yesterday", 1), ("spring", 90), ("long ago", 91), ("far ago", 400)):
        bought[name] = await customer(company, name, address={"city": "上海", "province": "上海市"})
        order = order_event(
            "OrderPlaced", bought[name], str(new_id()), 10_000, ordered=today - timedelta(days=days)
        )
        await company.hear(order)
    never = await customer(company, "never", address={"city": "广州"})
    nowhere = await customer(company, "nowhere")

    async def those(filter: str, who: Principal = far_east) -> list[str]:
        segment = await create(company, who=who, filter=filter)
        found = await inside(company, segment.id, who, order_by="displayName")
        assert await count(company, segment.id, who) == len(found)
        by_id = {id: name for name, id in bought.items()} | {never: "never", nowhere: "nowhere"}
        return [by_id[id] for id in found]

    assert await those("lastOrderDate < -90d") == ["far ago", "long ago"]
    assert await those("lastOrderDate >= -90d") == ["spring", "today", "yesterday"]
    assert await those("lastOrderDate = today") == ["today"]
    # Whose day is another one counts from another day.
    elsewhere = replace(company.who, time_zone="Pacific/Niue")
    there = datetime.now(ZoneInfo("Pacific/Niue")).date()
    assert (await those("lastOrderDate = today", elsewhere) == ["today"]) is (there == today)
    # Midnight may have passed since.
    made = "(createTime = today OR createTime = today-1d) AND NOT createTime < -1h"
    assert await those(made) == sorted([*bought, "never", "nowhere"])
    assert await those("createTime > now+1h OR createTime < month-1m") == []
    assert await those('city = "广州" OR province:海') == sorted([*bought, "never"])
    assert await those("city = null") == ["nowhere"]
    assert await those('city != "上海" AND orderCount = 0') == ["never", "nowhere"]
    await company.programme()
    card = await company.issue(bought["spring"])
    await company.issue(never)
    await company.adjust(card.id, 500)
    assert await those("pointsBalance >= 500") == ["spring"]
    assert await those("pointsBalance < 500") == ["never"]
    assert await those("pointsBalance != 500 AND NOT pointsBalance = null") == ["never"]
    assert await those("NOT pointsBalance:* AND lastOrderDate = null") == ["nowhere"]
    assert await those("cardLevelId = null AND pointsBalance = 0") == ["never"]
    for wrong in ("lastOrderDate < -90", "lastOrderDate < tomorrow", "createTime < -99999y", "city > "):
        await refused(Code.INVALID_ARGUMENT, "FILTER_INVALID", create(company, filter=wrong))
    request = customer_service_pb2.ListCustomersRequest(order_by="pointsBalance")
    answer = customer_service_pb2.ListCustomersResponse
    asked = company.service.ask(company.who, CUSTOMERS + "ListCustomers", request, answer)
    await refused(Code.INVALID_ARGUMENT, "ORDER_BY_INVALID", asked)


async def test_what_does_not_fit_is_refused(company: Company) -> None:
    rule, static = await create(company, filter='level = "A"'), await create(company)
    one = await customer(company)
    await refused(Code.FAILED_PRECONDITION, "SEGMENT_BY_RULE", put(company, rule.id, [one]))
    await refused(Code.FAILED_PRECONDITION, "SEGMENT_BY_RULE", put(company, rule.id, [one], "Remove"))
    await refused(Code.INVALID_ARGUMENT, "CUSTOMER_NOT_FOUND", put(company, static.id, [one, str(new_id())]))
    assert await count(company, static.id) == 0
    wrong: list[tuple[str, dict[str, Any]]] = [
        ("FILTER_INVALID", {"filter": "level ="}),
        ("FILTER_INVALID", {"filter": 'nothing = "A"'}),
        ("FILTER_INVALID", {"filter": 'customFields.nothing = "A"'}),
        ("INVALID_FIELD", {"filter": 'level = "A"', "kind": segment_pb2.SEGMENT_KIND_STATIC}),
        ("INVALID_FIELD", {"kind": segment_pb2.SEGMENT_KIND_RULE}),
    ]
    for reason, values in wrong:
        problem = await refused(Code.INVALID_ARGUMENT, reason, create(company, **values))
        assert problem.violations[0].field == "segment.filter"
    taken = rule.display_name.upper()
    await refused(Code.ALREADY_EXISTS, "SEGMENT_NAME_TAKEN", create(company, display_name=taken))
    change = segment_service_pb2.UpdateSegmentRequest(segment=segment_pb2.Segment(id=rule.id))
    change.update_mask.paths.append("filter")
    ask = company.service.ask(company.who, SEGMENTS + "UpdateSegment", change, segment_pb2.Segment)
    await refused(Code.INVALID_ARGUMENT, "INVALID_FIELD", ask)
    change.segment.filter, change.segment.etag = 'level = "B"', "wrong"
    ask = company.service.ask(company.who, SEGMENTS + "UpdateSegment", change, segment_pb2.Segment)
    await refused(Code.ABORTED, "ETAG_MISMATCH", ask)
    change.segment.etag = rule.etag
    changed = await company.service.ask(company.who, SEGMENTS + "UpdateSegment", change, segment_pb2.Segment)
    assert changed.filter == 'level = "B"'


async def test_a_static_segment_has_a_bound(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "MOST_MEMBERS", 3)
    made = [await customer(company) for _ in range(4)]
    segment = await create(company)
    await put(company, segment.id, made[:2])
    await refused(Code.FAILED_PRECONDITION, "SEGMENT_FULL", put(company, segment.id, made))
    assert (await put(company, segment.id, made[:3])).member_count == 3


async def test_many_who_add_at_once_are_counted_right(company: Company) -> None:
    made = [await customer(company) for _ in range(12)]
    segment = await create(company)
    shares = [made[n : n + 6] for n in range(0, 12, 2)]
    await asyncio.gather(*(put(company, segment.id, share) for share in shares))
    request = segment_service_pb2.GetSegmentRequest(id=segment.id)
    now = await company.service.ask(company.who, SEGMENTS + "GetSegment", request, segment_pb2.Segment)
    assert now.member_count == len(set(await ids(company, segment.id))) == 12


async def test_everybody_sees_their_own_customers_in_it(company: Company) -> None:
    theirs = replace(
        somebody(company.who.tenant, name="Bo"), rights={"customers": Rights(Reach.OWN, Reach.OWN)}
    )
    all_of_us = replace(
        somebody(company.who.tenant, name="Cy"), rights={"customers": Rights(Reach.ALL, Reach.OWN)}
    )
    ours, own = await customer(company, level="CUSTOMER_LEVEL_A"), ""
    own = await customer(company, who=theirs, level="CUSTOMER_LEVEL_A")
    rule = await create(company, filter='level = "A"')
    mine = await create(company, who=theirs, filter='level = "A"')
    assert sorted(await inside(company, rule.id)) == sorted([ours, own])
    assert (await inside(company, mine.id, theirs), await count(company, mine.id, theirs)) == ([own], 1)
    assert await ids(company, mine.id, theirs) == [own]
    await refused(Code.NOT_FOUND, "NOT_FOUND", inside(company, rule.id, theirs))
    static = await create(company, who=theirs)
    await refused(Code.INVALID_ARGUMENT, "CUSTOMER_NOT_FOUND", put(company, static.id, [ours], who=theirs))
    # Whoever reads all and writes their own can see it, not fill it.
    assert await count(company, rule.id, all_of_us) == 2
    await refused(Code.PERMISSION_DENIED, "RECORD_READ_ONLY", put(company, static.id, [own], who=all_of_us))
    stranger = somebody(f"other{uuid4().hex[:8]}")
    await refused(Code.NOT_FOUND, "NOT_FOUND", count(company, rule.id, stranger))
    await refused(Code.NOT_FOUND, "NOT_FOUND", put(company, static.id, [own], who=stranger))


async def test_a_rule_whose_field_is_gone_says_so(company: Company) -> None:
    field = fields.CustomField(
        record_type="customer",
        key="tier",
        label_en="Tier",
        kind=fields.CUSTOM_FIELD_KIND_TEXT,
        filterable=True,
    )
    made = await company.service.ask(
        company.who, FIELDS + "CreateCustomField", fields.CreateCustomFieldRequest(custom_field=field),
        fields.CustomField,
    )  # fmt: skip
    segment = await create(company, filter='customFields.tier = "gold"')
    assert await inside(company, segment.id) == []
    gone = fields.DeleteCustomFieldRequest(id=made.id)
    await company.service.ask(company.who, FIELDS + "DeleteCustomField", gone, Empty)
    for asked in (inside(company, segment.id), count(company, segment.id), ids(company, segment.id)):
        await refused(Code.FAILED_PRECONDITION, "SEGMENT_RULE_BROKEN", asked)


async def test_a_repeated_create_makes_one_and_a_deleted_one_is_gone(company: Company) -> None:
    name, key = f"Segment {uuid4().hex}", uuid4().hex
    first = await create(company, display_name=name, request_id=key)
    update = segment_service_pb2.UpdateSegmentRequest(
        segment=segment_pb2.Segment(id=first.id, description="the best"),
        update_mask=FieldMask(paths=["description"]),
    )
    changed = await company.service.ask(company.who, SEGMENTS + "UpdateSegment", update, segment_pb2.Segment)
    assert (await create(company, display_name=name, request_id=key)).id == first.id
    request = segment_service_pb2.DeleteSegmentRequest(id=first.id, etag=changed.etag)
    await company.service.ask(company.who, SEGMENTS + "DeleteSegment", request, Empty)
    assert await company.told(first.id) == ["SegmentCreated", "SegmentUpdated", "SegmentDeleted"]
    deleted, updated, created = await company.history("segment", first.id)
    assert [one.act for one in (created, deleted)] == [
        history_pb2.CHANGE_ACT_CREATED,
        history_pb2.CHANGE_ACT_DELETED,
    ]
    assert [(f.field, f.new_value) for f in updated.fields] == [("description", "the best")]
    await refused(Code.NOT_FOUND, "NOT_FOUND", count(company, first.id))
    assert (await create(company, display_name=name)).id != first.id
    assert [len(await told(company, f"segment.{what}")) for what in ("created", "deleted")] == [2, 1]


async def test_a_page_is_not_read_on_after_the_rule_has_changed(company: Company) -> None:
    for _ in range(3):
        await customer(company, level="CUSTOMER_LEVEL_A")
    segment = await create(company, filter='level = "A"')
    request = segment_service_pb2.ListSegmentCustomersRequest(id=segment.id, page_size=1)
    answer = segment_service_pb2.ListSegmentCustomersResponse
    page = await company.service.ask(company.who, SEGMENTS + "ListSegmentCustomers", request, answer)
    change = segment_service_pb2.UpdateSegmentRequest(
        segment=segment_pb2.Segment(id=segment.id, filter='level != "B"')
    )
    await company.service.ask(company.who, SEGMENTS + "UpdateSegment", change, segment_pb2.Segment)
    request.page_token = page.next_page_token
    ask = company.service.ask(company.who, SEGMENTS + "ListSegmentCustomers", request, answer)
    await refused(Code.INVALID_ARGUMENT, "PAGE_TOKEN_MISMATCH", ask)
