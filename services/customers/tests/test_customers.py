"""Customers and contacts over gRPC: what they hold, who sees them, how they are found."""

from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from google.protobuf.empty_pb2 import Empty
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.money_pb2 import Money
from kehu.customers.v1 import (
    contact_pb2,
    contact_service_pb2,
    customer_facet_pb2,
    customer_pb2,
    customer_service_pb2,
)
from kehu.history.v1 import history_pb2
from kehu.imports.v1 import imports_pb2
from sqlalchemy import text

from chassis.errors import Code, Problem
from chassis.ids import new_id
from chassis.principal import Principal, Reach, Rights
from chassis.testing import DatabaseUrls, Harness, Keys, eventually, refused, running_service, somebody
from chassis.upkeep import sweep_once
from customers.customer import Customer
from customers.service import SERVICE
from customers.touches import touch

pytestmark = pytest.mark.asyncio(loop_scope="module")
CUSTOMERS = "kehu.customers.v1.CustomerService/"
CONTACTS = "kehu.customers.v1.ContactService/"
IMPORTS = "kehu.customers.v1.ImportService/"
BOSS = somebody("acme")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(
    service_database: Callable[[str], DatabaseUrls], nats_url: str, keys: Keys
) -> AsyncGenerator[Harness]:
    async with running_service(SERVICE, service_database("customers"), nats_url, keys) as harness:
        yield harness


async def create(
    service: Harness, who: Principal, name: str, request_id: str = "", **fields: Any
) -> customer_pb2.Customer:
    request = customer_service_pb2.CreateCustomerRequest(
        customer=customer_pb2.Customer(display_name=name, **fields), request_id=request_id
    )
    return await service.ask(who, CUSTOMERS + "CreateCustomer", request, customer_pb2.Customer)


async def get(service: Harness, who: Principal, id: str) -> customer_pb2.Customer:
    return await service.ask(
        who, CUSTOMERS + "GetCustomer", customer_service_pb2.GetCustomerRequest(id=id), customer_pb2.Customer
    )


async def listed(service: Harness, who: Principal, **asked: Any) -> list[str]:
    page = await service.ask(
        who,
        CUSTOMERS + "ListCustomers",
        customer_service_pb2.ListCustomersRequest(**asked),
        customer_service_pb2.ListCustomersResponse,
    )
    return [c.display_name for c in page.customers]


async def test_what_is_written_is_read(service: Harness) -> None:
    made = await create(
        service,
        BOSS,
        "北京用友软件",
        level=customer_pb2.CUSTOMER_LEVEL_A,
        phone="138 0000 1234",
        email="Info@Yonyou.example",
        annual_revenue=Money(currency_code="CNY", units=12, nanos=340_000_000),
        address=customer_pb2.Address(country_code="CN", city="北京"),
        tags=["vip"],
    )
    read = await get(service, BOSS, made.id)
    assert read == made
    assert (read.phone, read.email) == ("+8613800001234", "info@yonyou.example")
    assert (read.annual_revenue.units, read.annual_revenue.nanos, read.address.city) == (
        12,
        340_000_000,
        "北京",
    )
    assert read.owner_id == str(BOSS.person_id) and read.kind == customer_pb2.CUSTOMER_KIND_COMPANY


async def test_found_by_part_of_name_pinyin_initials_and_phone(service: Harness) -> None:
    await create(service, BOSS, "上海宝钢集团", phone="021-6666 7788")
    for query in ("宝钢", "baogang", "shbg", "66667788", "7788"):
        assert "上海宝钢集团" in await listed(service, BOSS, query=query), query
    assert await listed(service, BOSS, query="没有这个") == []


async def test_a_repeat_makes_one(service: Harness) -> None:
    first = await create(service, BOSS, "Once Ltd", "r-1")
    assert await create(service, BOSS, "Once Ltd", "r-1") == first
    await refused(Code.ALREADY_EXISTS, "IDEMPOTENCY_KEY_REUSED", create(service, BOSS, "Twice Ltd", "r-1"))
    assert (await listed(service, BOSS, filter='displayName = "Once Ltd"')) == ["Once Ltd"]


async def test_answers_for_repeats_go_after_a_week(service: Harness) -> None:
    who = replace(BOSS, person_id=uuid4())
    old, new = [await create(service, who, name, name) for name in ("old", "new")]
    aged = "UPDATE idempotency SET created_at = created_at - interval '8 days' WHERE request_id = 'old'"
    async with service.running.database.transaction(who) as tx:
        await tx.session.execute(text(aged))
    assert await sweep_once(service.running.settings) >= 1
    assert (await create(service, who, "new", "new")).id == new.id
    assert (await create(service, who, "old", "old")).id != old.id, "nobody repeats for so long"


async def test_updates_need_the_present_version(service: Harness) -> None:
    made = await create(service, BOSS, "Change Me")
    request = customer_service_pb2.UpdateCustomerRequest(
        customer=customer_pb2.Customer(id=made.id, etag=made.etag, industry="Steel"),
        update_mask=FieldMask(paths=["industry"]),
    )
    changed = await service.ask(BOSS, CUSTOMERS + "UpdateCustomer", request, customer_pb2.Customer)
    assert (changed.industry, changed.display_name) == ("Steel", "Change Me") and changed.etag != made.etag
    await refused(
        Code.ABORTED,
        "ETAG_MISMATCH",
        service.ask(BOSS, CUSTOMERS + "UpdateCustomer", request, customer_pb2.Customer),
    )
    request = customer_service_pb2.UpdateCustomerRequest(
        customer=customer_pb2.Customer(id=made.id), update_mask=FieldMask(paths=["team_id"])
    )
    await refused(
        Code.INVALID_ARGUMENT,
        "FIELD_NOT_WRITABLE",
        service.ask(BOSS, CUSTOMERS + "UpdateCustomer", request, customer_pb2.Customer),
    )
    changes = await service.ask(
        BOSS,
        "kehu.customers.v1.HistoryService/ListChanges",
        history_pb2.ListChangesRequest(record_type="customer", record_id=made.id),
        history_pb2.ListChangesResponse,
    )
    assert [c.act for c in changes.changes] == [
        history_pb2.CHANGE_ACT_UPDATED,
        history_pb2.CHANGE_ACT_CREATED,
    ]
    assert [(f.field, f.old_value, f.new_value) for f in changes.changes[0].fields] == [
        ("industry", "", "Steel")
    ]


async def test_the_history_tells_by_which_way_a_change_came(service: Harness) -> None:
    seller = replace(BOSS, person_id=new_id(), name="Seller", session_id=new_id())
    made = await create(service, seller, "Ways")
    began = datetime.now(UTC)

    async def change(who: Principal, industry: str) -> None:
        request = customer_service_pb2.UpdateCustomerRequest(
            customer=customer_pb2.Customer(id=made.id, industry=industry)
        )
        await service.ask(who, CUSTOMERS + "UpdateCustomer", request, customer_pb2.Customer)

    await change(BOSS, "by a key")
    async with service.running.database.transaction(BOSS, origin="bulk edit") as tx:
        row = await tx.get(Customer, UUID(made.id), right="customers")
        row.industry = "by many"
    async with service.running.database.transaction(BOSS.acting_as("leads")) as tx:
        row = await tx.get(Customer, UUID(made.id), right="customers")
        row.industry = "by a service"
    await change(seller, "by hand")

    async def ways(**such: Any) -> list[int]:
        request = history_pb2.ListChangesRequest(record_type="customer", record_id=made.id, **such)
        answer = await service.ask(
            BOSS, "kehu.customers.v1.HistoryService/ListChanges", request, history_pb2.ListChangesResponse
        )
        return [one.origin for one in answer.changes]

    screen, key, many, other = (
        history_pb2.CHANGE_ORIGIN_SCREEN, history_pb2.CHANGE_ORIGIN_API, history_pb2.CHANGE_ORIGIN_BULK_EDIT,
        history_pb2.CHANGE_ORIGIN_SERVICE,
    )  # fmt: skip
    assert await ways() == [screen, other, many, key, screen]
    assert await ways(origin=screen) == [screen, screen] and await ways(origin=many) == [many]
    assert await ways(actor_id=str(seller.person_id)) == [screen, screen]
    assert await ways(actor_id=str(new_id())) == []
    stamp = Timestamp()
    stamp.FromDatetime(began)
    assert await ways(from_time=stamp) == [screen, other, many, key] and await ways(until_time=stamp) == [
        screen
    ]
    first = history_pb2.ListChangesRequest(
        record_type="customer", record_id=made.id, origin=screen, page_size=1
    )
    method = "kehu.customers.v1.HistoryService/ListChanges"
    page = await service.ask(BOSS, method, first, history_pb2.ListChangesResponse)
    first.page_token = page.next_page_token
    assert [
        one.act for one in (await service.ask(BOSS, method, first, history_pb2.ListChangesResponse)).changes
    ] == [history_pb2.CHANGE_ACT_CREATED]
    first.origin = key
    await refused(
        Code.INVALID_ARGUMENT,
        "PAGE_TOKEN_MISMATCH",
        service.ask(BOSS, method, first, history_pb2.ListChangesResponse),
    )


async def test_bad_values_are_named(service: Harness) -> None:
    problem = await refused(
        Code.INVALID_ARGUMENT, "INVALID_FIELD", create(service, BOSS, "X", email="no mail")
    )
    assert problem.violations[0].field == "customer.email"
    problem = await refused(Code.INVALID_ARGUMENT, "INVALID_FIELD", create(service, BOSS, ""))
    assert problem.violations[0].field == "customer.displayName"


async def test_rights_decide_what_is_seen(service: Harness) -> None:
    own = somebody("acme", rights={"customers": Rights(Reach.OWN, Reach.OWN)})
    reader = somebody("acme", rights={"customers": Rights(Reach.ALL, Reach.OWN)})
    stranger = somebody("rival")
    made = await create(service, BOSS, "Secret Corp")
    for who in (own, stranger):
        await refused(Code.NOT_FOUND, "NOT_FOUND", get(service, who, made.id))
        assert "Secret Corp" not in await listed(service, who, query="Secret")
    assert (await get(service, reader, made.id)).id == made.id
    delete = customer_service_pb2.DeleteCustomerRequest(id=made.id)
    await refused(
        Code.PERMISSION_DENIED,
        "RECORD_READ_ONLY",
        service.ask(reader, CUSTOMERS + "DeleteCustomer", delete, Empty),
    )
    await refused(
        Code.NOT_FOUND, "NOT_FOUND", service.ask(stranger, CUSTOMERS + "DeleteCustomer", delete, Empty)
    )
    nothing = somebody("acme", rights={})
    await refused(Code.PERMISSION_DENIED, "RIGHT_MISSING", get(service, nothing, made.id))
    with pytest.raises(Problem) as caught:
        await service.ask(
            None,
            CUSTOMERS + "GetCustomer",
            customer_service_pb2.GetCustomerRequest(id=made.id),
            customer_pb2.Customer,
        )
    assert caught.value.code is Code.UNAUTHENTICATED


async def test_contacts_belong_to_their_customer(service: Harness) -> None:
    made = await create(service, BOSS, "Contact Co")

    async def contact(name: str, **fields: Any) -> contact_pb2.Contact:
        request = contact_service_pb2.CreateContactRequest(
            contact=contact_pb2.Contact(display_name=name, customer_id=made.id, **fields)
        )
        return await service.ask(BOSS, CONTACTS + "CreateContact", request, contact_pb2.Contact)

    head = await contact(
        "张伟", phones=[contact_pb2.ContactPhone(label="work", number="13900002222")], primary=True
    )
    below = await contact("李娜", reports_to_id=head.id, primary=True)
    assert head.customer_name == "Contact Co" and head.phones[0].number == "+8613900002222"
    circle = contact_service_pb2.UpdateContactRequest(
        contact=contact_pb2.Contact(id=head.id, reports_to_id=below.id),
        update_mask=FieldMask(paths=["reports_to_id"]),
    )
    await refused(
        Code.FAILED_PRECONDITION,
        "CONTACT_CIRCLE",
        service.ask(BOSS, CONTACTS + "UpdateContact", circle, contact_pb2.Contact),
    )
    facet = await service.ask(
        BOSS,
        "kehu.customers.v1.CustomerFacetService/GetCustomerFacet",
        customer_facet_pb2.GetCustomerFacetRequest(customer_id=made.id),
        customer_facet_pb2.CustomerFacet,
    )
    assert [(c.display_name, c.primary) for c in facet.contacts] == [("李娜", True), ("张伟", False)]
    await service.ask(
        BOSS, CUSTOMERS + "DeleteCustomer", customer_service_pb2.DeleteCustomerRequest(id=made.id), Empty
    )
    await refused(
        Code.NOT_FOUND,
        "NOT_FOUND",
        service.ask(
            BOSS,
            CONTACTS + "GetContact",
            contact_service_pb2.GetContactRequest(id=head.id),
            contact_pb2.Contact,
        ),
    )


async def test_families_have_no_circles(service: Harness) -> None:
    parent = await create(service, BOSS, "Parent")
    child = await create(service, BOSS, "Child", parent_customer_id=parent.id)
    circle = customer_service_pb2.UpdateCustomerRequest(
        customer=customer_pb2.Customer(id=parent.id, parent_customer_id=child.id),
        update_mask=FieldMask(paths=["parent_customer_id"]),
    )
    await refused(
        Code.FAILED_PRECONDITION,
        "CUSTOMER_CIRCLE",
        service.ask(BOSS, CUSTOMERS + "UpdateCustomer", circle, customer_pb2.Customer),
    )
    await refused(
        Code.FAILED_PRECONDITION,
        "CUSTOMER_HAS_CHILDREN",
        service.ask(
            BOSS,
            CUSTOMERS + "DeleteCustomer",
            customer_service_pb2.DeleteCustomerRequest(id=parent.id),
            Empty,
        ),
    )
    await refused(
        Code.INVALID_ARGUMENT,
        "CUSTOMER_NOT_FOUND",
        create(service, BOSS, "Orphan", parent_customer_id=str(uuid4())),
    )


async def test_touch_times_only_move_forward(service: Harness) -> None:
    from datetime import UTC, datetime
    from uuid import UUID

    made = await create(service, BOSS, "Touched")
    for day in (3, 9, 5):
        async with service.running.database.transaction(BOSS) as tx:
            await touch(tx, "deal", UUID(made.id), datetime(2026, 1, day, tzinfo=UTC))
    read = await get(service, BOSS, made.id)
    assert read.last_deal_time.ToDatetime().day == 9 and read.etag == made.etag


async def test_import_counts_add_up(service: Harness) -> None:
    text = "Name,Level,Phone,Subsidiary of\nImport One,A,13800000001,\nImport Two,Z,13800000002,\nImport Three,B,,Import One\n"
    started = await service.ask(
        BOSS,
        IMPORTS + "CreateImport",
        imports_pb2.CreateImportRequest(record_type="customer", filename="c.csv", content=text.encode()),
        imports_pb2.Import,
    )
    await service.ask(
        BOSS, IMPORTS + "StartImport", imports_pb2.StartImportRequest(id=started.id), imports_pb2.Import
    )
    done = imports_pb2.Import()

    async def ended() -> bool:
        answer = await service.ask(
            BOSS, IMPORTS + "GetImport", imports_pb2.GetImportRequest(id=started.id), imports_pb2.Import
        )
        done.CopyFrom(answer)
        return answer.state == imports_pb2.IMPORT_STATE_SUCCEEDED

    await eventually(ended)
    assert (done.total_rows, done.created_rows + done.refused_rows) == (3, 3) and done.refused_rows >= 1
    assert await listed(service, BOSS, filter='displayName = "Import One"') == ["Import One"]


async def imported(service: Harness, who: Principal, text: str, **options: Any) -> imports_pb2.Import:
    request = imports_pb2.CreateImportRequest(
        record_type="customer", filename="a.csv", content=text.encode(), encoding="utf-8", delimiter=","
    )
    ready = await service.ask(who, IMPORTS + "CreateImport", request, imports_pb2.Import)
    start = imports_pb2.StartImportRequest(id=ready.id, **options)
    await service.ask(who, IMPORTS + "StartImport", start, imports_pb2.Import)
    done = imports_pb2.Import()

    async def ended() -> bool:
        get = imports_pb2.GetImportRequest(id=ready.id)
        done.CopyFrom(await service.ask(who, IMPORTS + "GetImport", get, imports_pb2.Import))
        return done.state == imports_pb2.IMPORT_STATE_SUCCEEDED

    await eventually(ended)
    return done


async def test_an_import_may_change_what_is_there(service: Harness) -> None:
    done = await imported(
        service, BOSS, "id,名称,行业,邮箱\nUP1,Upserted One,old,a@b.cn\nUP2,Upserted Two,old,wrong\n"
    )
    assert (done.created_rows, done.refused_rows) == (1, 1)
    second = (
        "id,名称,行业,母公司\nUP1,Upserted One,new,\nUP2,Upserted Two,,Upserted One\nUP2,Upserted Two,,\n"
    )
    done = await imported(service, BOSS, second, mode=imports_pb2.IMPORT_MODE_UPSERT)
    assert (done.created_rows, done.updated_rows, done.unchanged_rows, done.refused_rows) == (1, 1, 1, 0)
    # The history says that imports did it.
    found = await service.ask(
        BOSS, CUSTOMERS + "ListCustomers", customer_service_pb2.ListCustomersRequest(filter='externalKey = "UP1"'),
        customer_service_pb2.ListCustomersResponse,
    )  # fmt: skip
    asked = history_pb2.ListChangesRequest(record_type="customer", record_id=found.customers[0].id)
    told = await service.ask(
        BOSS, "kehu.customers.v1.HistoryService/ListChanges", asked, history_pb2.ListChangesResponse
    )
    assert [(one.origin, [f.field for f in one.fields]) for one in told.changes] == [
        (history_pb2.CHANGE_ORIGIN_IMPORT, ["industry"]), (history_pb2.CHANGE_ORIGIN_IMPORT, []),
    ]  # fmt: skip
    assert (await imported(service, BOSS, second)).refused_rows == 3


async def test_an_import_names_no_customer_that_its_person_cannot_see(service: Harness) -> None:
    await imported(service, BOSS, "名称\nHidden Parent\n")
    seller = somebody("acme", rights={"customers": Rights(read=Reach.OWN, write=Reach.OWN)})
    done = await imported(service, seller, "名称,母公司\nChild,Hidden Parent\n")
    assert (done.created_rows, done.refused_rows) == (0, 1)
