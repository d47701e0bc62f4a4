"""How customers and contacts are reached: many entries, one primary, found by any of them, told one by one."""

import asyncio
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from kehu.customers.v1 import contact_pb2, contact_service_pb2, customer_pb2, customer_service_pb2
from kehu.customers.v1.customer_pb2 import Address, Email, LabelledAddress, MessagingAccount, Phone
from kehu.history.v1 import history_pb2
from kehu.identity.v1 import events_pb2 as identity

from chassis.errors import Code
from chassis.principal import Reach, Rights
from chassis.testing import Harness, refused, somebody
from chassis.wire import from_json
from customers.testing import Company

pytestmark = pytest.mark.asyncio(loop_scope="module")
CUSTOMERS = "kehu.customers.v1.CustomerService/"
CONTACTS = "kehu.customers.v1.ContactService/"
A, B, C = "+8613800001111", "+8613800002222", "+8613800003333"


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


async def contact(company: Company, customer_id: str, **values: Any) -> contact_pb2.Contact:
    request = contact_service_pb2.CreateContactRequest(
        contact=contact_pb2.Contact(display_name="张伟", customer_id=customer_id, **values)
    )
    return await company.service.ask(company.who, CONTACTS + "CreateContact", request, contact_pb2.Contact)


async def changed_contact(company: Company, id: str, paths: list[str], **values: Any) -> contact_pb2.Contact:
    request = contact_service_pb2.UpdateContactRequest(
        contact=contact_pb2.Contact(id=id, **values), update_mask=FieldMask(paths=paths)
    )
    return await company.service.ask(company.who, CONTACTS + "UpdateContact", request, contact_pb2.Contact)


async def found(company: Company, query: str) -> list[str]:
    page = await company.service.ask(
        company.who, CUSTOMERS + "ListCustomers", customer_service_pb2.ListCustomersRequest(query=query),
        customer_service_pb2.ListCustomersResponse,
    )  # fmt: skip
    return [one.id for one in page.customers]


def shown(customer: Any) -> list[tuple[str, str, bool]]:
    return [(one.label, one.number, one.primary) for one in customer.phones]


async def test_many_ways_to_reach_a_customer(company: Company) -> None:
    made = await create(
        company,
        phones=[
            Phone(label="总机", number="010-62345678"),
            Phone(label="手机", number="138 0000 1111", primary=True),
            Phone(label="fax", number="+1 415 555 2671"),
        ],
        emails=[Email(label="财务", address="Billing@Acme.CN"), Email(address="info@acme.cn")],
        addresses=[
            LabelledAddress(label="registered", address=Address(country_code="CN", city="北京")),
            LabelledAddress(
                label="收货地址", address=Address(city="上海", street="南京路 1 号"), primary=True
            ),
        ],
        accounts=[
            MessagingAccount(label="微信", account="acme_cn"),
            MessagingAccount(label="WhatsApp", account="+14155552671"),
        ],
        tax_number="91110000100000000X",
        needs="一套 CRM",
        website="https://acme.cn",
    )
    assert shown(made) == [
        ("mobile", A, True), ("switchboard", "+861062345678", False), ("fax", "+14155552671", False),
    ]  # fmt: skip
    assert made.phone == A and made.email == "billing@acme.cn"
    assert [(e.label, e.address, e.primary) for e in made.emails] == [
        ("billing", "billing@acme.cn", True), ("", "info@acme.cn", False),
    ]  # fmt: skip
    assert made.address == Address(city="上海", street="南京路 1 号")
    assert [(a.label, a.address.city, a.primary) for a in made.addresses] == [
        ("shipping", "上海", True), ("registered", "北京", False),
    ]  # fmt: skip
    assert [(a.label, a.account, a.primary) for a in made.accounts] == [
        ("wechat", "acme_cn", True), ("whatsapp", "+14155552671", False),
    ]  # fmt: skip
    read = await company.service.ask(
        company.who, CUSTOMERS + "GetCustomer", customer_service_pb2.GetCustomerRequest(id=made.id), customer_pb2.Customer
    )  # fmt: skip
    assert read == made
    for query in ("1111", "62345678", "4155552671", "info@acme", "acme_cn", "91110000100000000X"):
        assert made.id in await found(company, query), query


async def test_the_single_field_is_the_primary_whichever_is_written(company: Company) -> None:
    made = await create(company, phone="13800001111")
    assert shown(made) == [("", A, True)]
    two = [Phone(label="work", number=B), Phone(label="home", number=A)]
    made = await update(company, made.id, ["phones"], phones=two)
    assert made.phone == B
    # A number that is there moves up, another replaces the primary one, an empty one takes it away.
    made = await update(company, made.id, ["phone"], phone="138 0000 1111")
    assert shown(made) == [("home", A, True), ("work", B, False)]
    made = await update(company, made.id, ["phone"], phone=C)
    assert shown(made) == [("home", C, True), ("work", B, False)]
    made = await update(company, made.id, ["phone"])
    assert shown(made) == [("work", B, True)] and made.phone == B
    # Both, as by somebody who sends back what was read and changed one of them.
    both = ["phone", "phones"]
    made = await update(company, made.id, both, phone=A, phones=made.phones)
    assert shown(made) == [("work", A, True)]
    made = await update(company, made.id, both, phone=A, phones=[Phone(number=C), Phone(number=A)])
    assert made.phone == C
    await refused(
        Code.INVALID_ARGUMENT, "PRIMARY_MISMATCH",
        update(company, made.id, both, phone=B, phones=[Phone(number="+8613800009999")]),
    )  # fmt: skip
    await refused(
        Code.INVALID_ARGUMENT, "PRIMARY_MISMATCH", create(company, phone=A, phones=[Phone(number=B)])
    )
    made = await update(company, made.id, ["phones"])
    assert made.phone == "" and shown(made) == []
    made = await update(company, made.id, ["address"], address=Address(city="北京"))
    assert [a.address.city for a in made.addresses] == ["北京"]
    made = await update(company, made.id, ["addresses"])
    assert not made.HasField("address")


async def test_records_from_before_lists_have_theirs(company: Company, service: Harness) -> None:
    """What the version before writes, and what an older release has left, shows as the primary entry."""
    made = await create(company, phone=A)
    from sqlalchemy import text

    async with service.running.database.transaction(company.who) as tx:
        await tx.session.execute(
            text("UPDATE customers SET phone = :phone WHERE id = :id"), {"phone": B, "id": made.id}
        )
    read = await company.service.ask(
        company.who, CUSTOMERS + "GetCustomer", customer_service_pb2.GetCustomerRequest(id=made.id), customer_pb2.Customer
    )  # fmt: skip
    assert shown(read) == [("", B, True)]


async def test_what_is_written_twice_is_kept_once(company: Company) -> None:
    made = await create(
        company,
        phones=[
            Phone(number=A), Phone(label="work", number="(138) 0000-1111"), Phone(number=B, primary=True),
        ],
    )  # fmt: skip
    assert shown(made) == [("", B, True), ("work", A, False)]


async def test_two_primaries_and_wrong_values_are_refused(company: Company) -> None:
    problem = await refused(
        Code.INVALID_ARGUMENT, "PRIMARY_TWICE",
        create(company, phones=[Phone(number=A, primary=True), Phone(number=B, primary=True)]),
    )  # fmt: skip
    assert problem.violations[0].field == "customer.phones[1].primary"
    wrongs: list[dict[str, Any]] = [
        {"emails": [Email(address="no mail")]},
        {"phones": [Phone(number="call me")]},
        {"phones": [Phone(label="work")]},
        {"accounts": [MessagingAccount(label="wechat")]},
        {"phones": [Phone(number=f"1380000{n:04}") for n in range(21)]},
        {"tax_number": "x" * 51},
        {"website": "javascript:alert(1)"},
    ]
    for wrong in wrongs:
        await refused(Code.INVALID_ARGUMENT, "INVALID_FIELD", create(company, **wrong))


async def test_a_tenants_country_decides_about_numbers(company: Company) -> None:
    assert (await create(company, phone="(415) 555-2671")).phone != "+14155552671"
    told = identity.TenantUpdated(
        tenant_id=str(company.who.tenant_id), currency_code="USD", country_code="US"
    )
    assert await company.hear(told, version=3) == 1
    assert (await create(company, phone="(415) 555-2671")).phone == "+14155552671"
    assert (await create(company, phones=[Phone(number="0086 13800001111")])).phone == A
    older = identity.TenantUpdated(
        tenant_id=str(company.who.tenant_id), currency_code="CNY", country_code="CN"
    )
    await company.hear(older, version=2)
    assert (await create(company, phone="(415) 555-2671")).phone == "+14155552671"


async def test_contacts_are_reached_alike(company: Company) -> None:
    id = await company.customer()
    made = await contact(
        company, id,
        phones=[contact_pb2.ContactPhone(number="13800001111"), contact_pb2.ContactPhone(number=B, primary=True)],
        emails=[contact_pb2.ContactEmail(label="工作", address="ZW@acme.cn")],
        im_account="zw",
        addresses=[LabelledAddress(label="home", address=Address(city="杭州"))],
    )  # fmt: skip
    assert [(p.number, p.primary) for p in made.phones] == [(B, True), (A, False)]
    assert [(a.label, a.account, a.primary) for a in made.accounts] == [("", "zw", True)]
    made = await changed_contact(
        company, made.id, ["accounts"],
        accounts=[MessagingAccount(label="qq", account="10001"), MessagingAccount(label="微信", account="zw", primary=True)],
    )  # fmt: skip
    assert made.im_account == "zw" and [a.label for a in made.accounts] == ["wechat", "qq"]
    page = await company.service.ask(
        company.who, CONTACTS + "ListContacts", contact_service_pb2.ListContactsRequest(query="10001"),
        contact_service_pb2.ListContactsResponse,
    )  # fmt: skip
    assert [one.id for one in page.contacts] == [made.id]
    await refused(
        Code.INVALID_ARGUMENT, "PRIMARY_TWICE",
        changed_contact(
            company, made.id, ["phones"],
            phones=[contact_pb2.ContactPhone(number=A, primary=True), contact_pb2.ContactPhone(number=B, primary=True)],
        ),
    )  # fmt: skip


async def test_changes_are_told_entry_by_entry(company: Company, service: Harness) -> None:
    made = await create(company, phones=[Phone(label="work", number=A), Phone(label="fax", number=B)])
    await update(
        company, made.id, ["phones"], phones=[Phone(label="work", number=A), Phone(label="mobile", number=C, primary=True)]
    )  # fmt: skip
    changes = await company.service.ask(
        company.who, "kehu.customers.v1.HistoryService/ListChanges",
        history_pb2.ListChangesRequest(record_type="customer", record_id=made.id), history_pb2.ListChangesResponse,
    )  # fmt: skip
    told = {f.field: (f.old_value, f.new_value) for f in changes.changes[0].fields}
    assert told == {
        "phone": (A, C),
        f"phones.{A}": (f"work {A} (primary)", f"work {A}"),
        f"phones.{B}": (f"fax {B}", ""),
        f"phones.{C}": ("", f"mobile {C} (primary)"),
    }
    from kehu.customers.v1 import events_pb2 as events

    rows = await service.running.database.read(
        company.who, "SELECT data FROM outbox WHERE type = 'kehu.customers.v1.CustomerUpdated' ORDER BY seq DESC LIMIT 1"
    )  # fmt: skip
    event = from_json(events.CustomerUpdated, rows[0]["data"])
    assert list(event.changed_fields) == ["phone", "phones"]
    assert [(c.list, c.act, c.label, c.primary) for c in event.entry_changes] == [
        ("phones", customer_pb2.ENTRY_ACT_CHANGED, "work", False),
        ("phones", customer_pb2.ENTRY_ACT_REMOVED, "fax", False),
        ("phones", customer_pb2.ENTRY_ACT_ADDED, "mobile", True),
    ]
    assert b"13800" not in rows[0]["data"]


async def test_what_changes_nothing_is_no_change(company: Company) -> None:
    made = await create(company, phones=[Phone(label="work", number=A)])
    again = await update(company, made.id, ["phones", "phone"], phone="138 0000 1111", phones=made.phones)
    assert again.etag == made.etag


async def test_strangers_and_readers_change_no_numbers(company: Company) -> None:
    made = await create(company, phone=A)
    stranger = Company(company.service)
    await refused(Code.NOT_FOUND, "NOT_FOUND", update(stranger, made.id, ["phones"]))
    reader = Company(
        company.service, somebody(company.who.tenant, rights={"customers": Rights(Reach.ALL, Reach.OWN)})
    )
    await refused(Code.PERMISSION_DENIED, "RECORD_READ_ONLY", update(reader, made.id, ["phone"], phone=B))
    read = await update(company, made.id, ["notes"], notes="x")
    assert read.phone == A


async def test_two_who_add_a_number_at_once_lose_none_unseen(company: Company) -> None:
    """With the etag that was read, one of the two is refused; nobody's number is overwritten unseen."""
    made = await create(company, phone=A)

    async def add(number: str) -> Any:
        request = customer_service_pb2.UpdateCustomerRequest(
            customer=customer_pb2.Customer(id=made.id, etag=made.etag, phones=[*made.phones, Phone(number=number)]),
            update_mask=FieldMask(paths=["phones"]),
        )  # fmt: skip
        return await company.service.ask(
            company.who, CUSTOMERS + "UpdateCustomer", request, customer_pb2.Customer
        )

    done = await asyncio.gather(add(B), add(C), return_exceptions=True)
    assert sum(isinstance(one, customer_pb2.Customer) for one in done) == 1


async def test_a_page_of_fifty_asks_as_often_as_a_page_of_one(
    company: Company, service: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    read = service.running.database.read

    async def noted(who: Any, sql: str, *args: object) -> Any:
        asked.append(sql)
        return await read(who, sql, *args)

    monkeypatch.setattr(service.running.database, "read", noted)
    for number in range(50):
        made = await create(company, f"客户 {number}", phones=[Phone(number=A), Phone(number=B)])
        await contact(company, made.id, accounts=[MessagingAccount(label="qq", account=str(10000 + number))])
    counts: list[list[int]] = []
    for size in (1, 50):
        asked.clear()
        page = customer_service_pb2.ListCustomersRequest(page_size=size)
        found = await company.service.ask(
            company.who, CUSTOMERS + "ListCustomers", page, customer_service_pb2.ListCustomersResponse
        )
        customers = len(asked)
        request = contact_service_pb2.ListContactsRequest(page_size=size)
        people = await company.service.ask(
            company.who, CONTACTS + "ListContacts", request, contact_service_pb2.ListContactsResponse
        )
        assert len(found.customers) == len(people.contacts) == size
        counts.append([customers, len(asked) - customers])
    assert counts == [[1, 2], [1, 2]]
