"""Customers and contacts as files, and back again."""

import csv
import io
from typing import Any

import pytest
from kehu.customers.v1 import contact_pb2, contact_service_pb2, customer_pb2, customer_service_pb2
from kehu.exports.v1 import exports_pb2 as pb
from kehu.imports.v1 import imports_pb2

from chassis.principal import Principal, Reach, Rights
from chassis.testing import Harness, eventually, somebody
from customers.testing import CUSTOMERS, Company

pytestmark = pytest.mark.asyncio(loop_scope="module")
EXPORTS = "kehu.customers.v1.ExportService/"
IMPORTS = "kehu.customers.v1.ImportService/"


async def file(service: Harness, who: Principal, kind: str, **asked: Any) -> bytes:
    request = pb.CreateExportRequest(record_type=kind, format=pb.EXPORT_FORMAT_CSV, **asked)
    parts = await service.parts(who, EXPORTS + "CreateExport", request, pb.ExportPart)
    return b"".join(part.content for part in parts)


def table(content: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline="")))


async def customer(service: Harness, who: Principal, **fields: Any) -> str:
    request = customer_service_pb2.CreateCustomerRequest(customer=customer_pb2.Customer(**fields))
    return (await service.ask(who, CUSTOMERS + "CreateCustomer", request, customer_pb2.Customer)).id


async def contact(service: Harness, who: Principal, **fields: Any) -> str:
    request = contact_service_pb2.CreateContactRequest(contact=contact_pb2.Contact(**fields))
    method = "kehu.customers.v1.ContactService/CreateContact"
    return (await service.ask(who, method, request, contact_pb2.Contact)).id


async def imported(service: Harness, who: Principal, kind: str, content: bytes) -> imports_pb2.Import:
    request = imports_pb2.CreateImportRequest(record_type=kind, filename="a.csv", content=content)
    made = await service.ask(who, IMPORTS + "CreateImport", request, imports_pb2.Import)
    assert len(made.proposed_mapping) == len(made.columns)
    await service.ask(
        who, IMPORTS + "StartImport", imports_pb2.StartImportRequest(id=made.id), imports_pb2.Import
    )
    found: list[imports_pb2.Import] = []

    async def over() -> bool:
        get = imports_pb2.GetImportRequest(id=made.id)
        found.append(await service.ask(who, IMPORTS + "GetImport", get, imports_pb2.Import))
        return found[-1].HasField("end_time")

    await eventually(over)
    return found[-1]


async def test_customers_and_contacts_go_from_one_company_to_another(
    service: Harness, company: Company
) -> None:
    here, there = company.who, somebody(company.who.tenant + "-twin")
    child = await customer(
        service, here, display_name="某子公司", kind=customer_pb2.CUSTOMER_KIND_COMPANY,
        phone="138 0000 1234",
        level=customer_pb2.CUSTOMER_LEVEL_A, employee_count=12, tags=["重点", "VIP"], notes="一\n二", external_key="K1",
        industry="finance", source=customer_pb2.CUSTOMER_SOURCE_REFERRAL, tax_number="91110000100001X",
        address=customer_pb2.Address(country_code="CN", city="北京", street="复兴路 1 号"), needs="ERP",
    )  # fmt: skip
    await contact(
        service, here, customer_id=child, display_name="张三", title="经理",
        phones=[contact_pb2.ContactPhone(number=n) for n in ("+8613800001234", "+8613800005678")],
        emails=[contact_pb2.ContactEmail(address="z@example.com")], notes="a\nb",
    )  # fmt: skip
    asked: dict[str, Any] = {"headers": pb.EXPORT_HEADERS_FIELDS, "order_by": "createTime"}
    files = {kind: await file(service, here, kind, **asked) for kind in ("customer", "contact")}
    for kind, content in files.items():
        ended = await imported(service, there, kind, content)
        assert ended.refused_rows == ended.repaired_rows == 0
        assert await file(service, there, kind, **asked) == content
    # Another company has other people: who owns a record goes along only when asked for.
    told = table(await file(service, here, "customer", columns=["owner", "source"], **asked))
    assert told == [["owner", "source"], [f"{here.person_id}@own.example", "REFERRAL"]]
    read = table(
        await file(service, here, "customer", columns=["industry", "source", "city"], language_code="zh")
    )
    assert read[1] == ["金融业", "转介绍", "北京"]

    people = table(await file(service, here, "contact", language_code="zh-CN", time_zone="Asia/Shanghai",
                              columns=["displayName", "customer", "phone", "otherPhones", "primary"]))  # fmt: skip
    assert people == [
        ["姓名", "客户", "电话", "其余电话", "首要联系人"],
        ["张三", "某子公司", "+8613800001234", "+8613800005678", people[1][4]],
    ]
    assert people[1][4] in ("是", "否")


def address(city: str, street: str = "长安街 / 1 号; 后门: 2") -> customer_pb2.Address:
    return customer_pb2.Address(
        country_code="CN", province="北京", city=city, street=street, postal_code="100000"
    )


def messenger(label: str, account: str) -> customer_pb2.MessagingAccount:
    return customer_pb2.MessagingAccount(label=label, account=account)


def whole(record: Any) -> Any:
    """A record without what is another's in another company."""
    out = type(record)()
    out.CopyFrom(record)
    for name in ("id", "owner_id", "team_id", "creator_id", "updater_id", "create_time", "update_time", "assign_time", "etag",
                 "customer_id", "reports_to_id", "version", "custom_fields"):  # fmt: skip
        if name in out.DESCRIPTOR.fields_by_name:
            out.ClearField(name)
    for one in getattr(out, "affiliations", ()):
        one.customer_id = one.reports_to_id = ""
    return out


async def all_of(service: Harness, who: Principal, kind: str) -> dict[str, Any]:
    messages: Any = customer_service_pb2 if kind == "customer" else contact_service_pb2
    title = f"{kind.capitalize()}s"
    page: Any = await service.ask(
        who, f"kehu.customers.v1.{title[:-1]}Service/List{title}",
        getattr(messages, f"List{title}Request")(), getattr(messages, f"List{title}Response"),
    )  # fmt: skip
    return {
        one.emails[0].address if one.display_name == "李雷" else one.display_name: one
        for one in getattr(page, f"{kind}s")
    }


@pytest.mark.parametrize("how", ["programs", "zh", "en"])
async def test_an_address_book_comes_back_whole(service: Harness, company: Company, how: str) -> None:
    """Every way to reach somebody, with its label, who reports to whom, and where somebody belongs besides."""
    here, there = company.who, somebody(f"{company.who.tenant}-{how}")
    ids = {
        name: await customer(
            service, here, display_name=name,
            phones=[
                customer_pb2.Phone(label=label, number=f"+86138000012{n}")
                for n, label in (("34", "总机"), ("35", ""), ("36", "传真: 二楼"))
            ],
            emails=[customer_pb2.Email(label=label, address=f"{label or 'x'}@example.com") for label in ("a", "b", "")],
            addresses=[
                customer_pb2.LabelledAddress(label="注册", address=address("北京")),
                customer_pb2.LabelledAddress(label="仓库", address=address("上海", "C:\\1")),
            ],
            accounts=[messenger("wechat", "用友:客服"), messenger("", "a;b"), messenger("qq", "12345")],
        )
        for name in ("甲", "乙")
    }  # fmt: skip
    chief = await contact(service, here, customer_id=ids["甲"], display_name="王总", primary=True)
    namesakes = [
        await contact(
            service, here, customer_id=ids["甲"], display_name="李雷",
            emails=[contact_pb2.ContactEmail(address=f"li{n}@example.com")],
        )
        for n in (1, 2)
    ]  # fmt: skip
    other = await contact(service, here, customer_id=ids["乙"], display_name="赵六")
    await contact(
        service, here, customer_id=ids["甲"], display_name="张三", title="经理", reports_to_id=namesakes[1],
        birthday={"year": 1990, "month": 2, "day": 28},
        phones=[contact_pb2.ContactPhone(label=label, number=f"+86138000056{n}") for n, label in (("78", "手机"), ("79", ""))],
        emails=[contact_pb2.ContactEmail(label=label, address=f"z{label}@example.com") for label in ("w", "")],
        addresses=[customer_pb2.LabelledAddress(label="家", address=address("深圳"))],
        accounts=[messenger("wechat", "zhang3"), messenger("微博", "@zhang")],
    )  # fmt: skip
    join = contact_service_pb2.JoinCustomerRequest(
        id=chief,
        affiliation=contact_pb2.Affiliation(
            customer_id=ids["乙"], title="董事 / 顾问", department="董事会", reports_to_id=other,
            decision_role=contact_pb2.DECISION_ROLE_DECIDER,
        ),
    )  # fmt: skip
    await service.ask(here, "kehu.customers.v1.ContactService/JoinCustomer", join, contact_pb2.Contact)
    asked: dict[str, Any] = {"order_by": "createTime desc", "headers": pb.EXPORT_HEADERS_FIELDS}
    if how != "programs":
        asked = {"order_by": "createTime desc", "language_code": how, "time_zone": "Asia/Shanghai"}
    names = {
        "customer": ["displayName", "kind", "stage", "phone", "email", *_ways()],
        "contact": ["displayName", "customer", "title", "reportsTo", "affiliations", "phone", "email", "birthday", "primary",
                    *_ways()],
    }  # fmt: skip
    for kind in ("customer", "contact"):
        content = await file(service, here, kind, columns=[] if how == "programs" else names[kind], **asked)
        ended = await imported(service, there, kind, content)
        assert (ended.refused_rows, ended.repaired_rows) == (0, 0), content.decode()
    for kind in ("customer", "contact"):
        before, after = await all_of(service, here, kind), await all_of(service, there, kind)
        assert {name: whole(one) for name, one in after.items()} == {
            name: whole(one) for name, one in before.items()
        }
    people = await all_of(service, there, "contact")
    above = {one.id: one for one in people.values()}
    assert above.get(people["张三"].reports_to_id) == people["li2@example.com"]
    assert above.get(people["王总"].affiliations[1].reports_to_id) == people["赵六"]


def _ways() -> list[str]:
    fields = ("phoneLabel", "otherPhones", "emailLabel", "otherEmails", "addressLabel", "otherAddresses", "imAccount",
              "accountLabel", "otherAccounts")  # fmt: skip
    return [*fields, "countryCode", "province", "city", "district", "street", "postalCode"]


async def test_a_name_that_may_not_be_read_is_not_in_the_file(service: Harness, company: Company) -> None:
    mine = somebody(company.who.tenant, rights={
        "customers": Rights(Reach.OWN, Reach.OWN), "exports": Rights(Reach.ALL, Reach.ALL),
    })  # fmt: skip
    parent = await company.customer("不可见的母公司")
    child = await customer(service, mine, display_name="Mine")
    boss = company.who
    request = customer_service_pb2.UpdateCustomerRequest(
        customer=customer_pb2.Customer(id=child, parent_customer_id=parent)
    )
    await service.ask(boss, CUSTOMERS + "UpdateCustomer", request, customer_pb2.Customer)
    rows = table(await file(service, mine, "customer", columns=["displayName", "parent"]))
    assert rows[1:] == [["Mine", ""]]
    assert ["Mine", "不可见的母公司"] in table(
        await file(service, boss, "customer", columns=["displayName", "parent"])
    )
