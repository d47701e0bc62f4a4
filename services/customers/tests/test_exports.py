"""Customers, contacts and what belongs to them as files, and back again."""

import csv
import io
from typing import Any

import pytest
from google.protobuf.struct_pb2 import Value
from google.type.date_pb2 import Date
from kehu.customers.v1 import (
    competitor_pb2,
    competitor_service_pb2,
    contact_pb2,
    contact_service_pb2,
    customer_pb2,
    customer_service_pb2,
    partner_pb2,
    partner_service_pb2,
    pool_service_pb2,
    relation_pb2,
    relation_service_pb2,
    segment_pb2,
    segment_service_pb2,
)
from kehu.customfields.v1 import custom_fields_pb2 as custom
from kehu.exports.v1 import exports_pb2 as pb
from kehu.imports.v1 import imports_pb2

from chassis.errors import Code, Problem
from chassis.exports.columns import Style
from chassis.ids import new_id
from chassis.imports.mapping import proposal
from chassis.principal import Principal, Reach, Rights
from chassis.testing import Harness, eventually, somebody
from chassis.wire import from_dict
from customers import imports
from customers.rpc import exports
from customers.testing import CUSTOMERS, Company, yuan

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


async def imported(
    service: Harness, who: Principal, kind: str, content: bytes, name: str = "a.csv"
) -> imports_pb2.Import:
    request = imports_pb2.CreateImportRequest(record_type=kind, filename=name, content=content)
    made = await service.ask(who, IMPORTS + "CreateImport", request, imports_pb2.Import)
    # A card names the company of a company, too.
    assert len(made.proposed_mapping) == len(made.columns) - (kind == "customer" and name.endswith(".vcf"))
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
    for who in (here, there):
        for kind in ("customer", "contact"):
            budget = {
                "recordType": kind,
                "key": "budget",
                "kind": "CUSTOM_FIELD_KIND_NUMBER",
                "labelEn": "Budget",
                "decimals": 1,
            }
            request = from_dict(custom.CreateCustomFieldRequest, {"customField": budget})
            await service.ask(
                who, "kehu.customers.v1.CustomFieldService/CreateCustomField", request, custom.CustomField
            )
    own = {"budget": Value(string_value="12.5")}
    child = await customer(
        service, here, custom_fields=own, display_name="某子公司", kind=customer_pb2.CUSTOMER_KIND_COMPANY,
        phone="138 0000 1234",
        level=customer_pb2.CUSTOMER_LEVEL_A, employee_count=12, tags=["重点", "VIP"], notes="一\n二", external_key="K1",
        industry="finance", source=customer_pb2.CUSTOMER_SOURCE_REFERRAL, tax_number="91110000100001X",
        address=customer_pb2.Address(country_code="CN", city="北京", street="复兴路 1 号"), needs="ERP",
    )  # fmt: skip
    await contact(
        service, here, customer_id=child, display_name="张三", title="经理", custom_fields=own,
        phones=[contact_pb2.ContactPhone(number=n) for n in ("+8613800001234", "+8613800005678")],
        emails=[contact_pb2.ContactEmail(address="z@example.com")], notes="a\nb",
    )  # fmt: skip
    asked: dict[str, Any] = {"headers": pb.EXPORT_HEADERS_FIELDS, "order_by": "createTime"}
    files = {kind: await file(service, here, kind, **asked) for kind in ("customer", "contact")}
    for kind, content in files.items():
        header, row = table(content)
        assert row[header.index("customFields.budget")] == "12.5", kind
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


def address(city: str, street: str = "长安街 / 1 号; 后门: 2", district: str = "") -> customer_pb2.Address:
    return customer_pb2.Address(
        country_code="CN", province="北京", city=city, district=district, street=street, postal_code="100000"
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


async def everything_of(service: Harness, company: Company) -> dict[str, str]:
    """A customer with all that belongs to one; the ids by record type, and of another customer."""
    who, prefix = company.who, "kehu.customers.v1."
    ids = {"customer": await company.customer("=华为"), "other": await company.customer("用友")}
    await company.programme()
    competitor = competitor_pb2.Competitor(display_name="金蝶", customer_id=ids["customer"], products=[
        competitor_pb2.CompetitorProduct(name="K3", lowest_price=yuan(100_00), highest_price=yuan(200_00)),
    ])  # fmt: skip
    made: Any = await service.ask(
        who, prefix + "CompetitorService/CreateCompetitor",
        competitor_service_pb2.CreateCompetitorRequest(competitor=competitor), competitor_pb2.Competitor,
    )  # fmt: skip
    ids["competitor"] = made.id
    partner = partner_pb2.Partner(customer_id=ids["customer"], type="supplier", credit_limit=yuan(5_00))
    made = await service.ask(
        who, prefix + "PartnerService/CreatePartner", partner_service_pb2.CreatePartnerRequest(partner=partner),
        partner_pb2.Partner,
    )  # fmt: skip
    ids["partner"] = made.id
    segment = segment_pb2.Segment(display_name="重点", kind=segment_pb2.SEGMENT_KIND_STATIC)
    made = await service.ask(
        who, prefix + "SegmentService/CreateSegment", segment_service_pb2.CreateSegmentRequest(segment=segment),
        segment_pb2.Segment,
    )  # fmt: skip
    ids["segment"] = made.id
    await service.ask(
        who, prefix + "SegmentService/AddSegmentCustomers",
        segment_service_pb2.AddSegmentCustomersRequest(id=made.id, customer_ids=[ids["customer"]]), segment_pb2.Segment,
    )  # fmt: skip
    relation = relation_pb2.CustomerRelation(
        type=relation_pb2.RELATION_TYPE_SUPPLIER,
        from_customer_id=ids["customer"],
        to_customer_id=ids["other"],
    )
    await service.ask(
        who, prefix + "RelationService/CreateCustomerRelation",
        relation_service_pb2.CreateCustomerRelationRequest(relation=relation), relation_pb2.CustomerRelation,
    )  # fmt: skip
    ids["card"] = (await company.issue(ids["customer"])).id
    for points in (30, -10):
        await company.adjust(ids["card"], points)
    return ids


async def refused_file(service: Harness, who: Principal, kind: str, **asked: Any) -> Problem:
    with pytest.raises(Problem) as refused:
        await file(service, who, kind, **asked)
    return refused.value


async def test_what_belongs_to_customers_goes_out_as_well(service: Harness, company: Company) -> None:
    who, ids = company.who, await everything_of(service, company)

    async def rows(kind: str, *columns: str, as_: Principal = who, **asked: Any) -> list[list[str]]:
        return table(await file(service, as_, kind, columns=columns, language_code="en", **asked))[1:]

    assert await rows("competitor", "displayName", "customer", "products") == [
        ["金蝶", "'=华为", "K3 (≥ 100 CNY, ≤ 200 CNY)"]
    ]
    assert await rows("partner", "customer", "type", "creditLimit", "arrears") == [
        ["'=华为", "Supplier", "5.00", "CNY", ""]
    ]
    assert await rows("segment", "displayName", "kind", "memberCount") == [["重点", "List", "1"]]
    assert await rows("segment_customer", "displayName", parent_id=ids["segment"]) == [["'=华为"]]
    assert await rows("card", "customer", "state", "balance") == [["'=华为", "Active", "20"]]
    card: dict[str, Any] = {"parent_id": ids["card"]}
    assert await rows("points_transaction", "kind", "points", "balance", **card) == [
        ["Adjusted", "-10", "20"], ["Adjusted", "30", "30"],
    ]  # fmt: skip
    assert await rows("points_lot", "points", "originalPoints", **card) == [["20", "30"]]
    for parent in (ids["customer"], ids["other"]):
        assert await rows("customer_relation", "type", "fromCustomer", "toCustomer", parent_id=parent) == [
            ["Supplier", "'=华为", "用友"]
        ]
    await contact(service, who, customer_id=ids["customer"], display_name="张伟")
    await contact(service, who, customer_id=ids["other"], display_name="王芳")
    joining = contact_service_pb2.JoinCustomerRequest(
        id=await contact(service, who, customer_id=ids["other"], display_name="李娜"),
        affiliation=contact_pb2.Affiliation(customer_id=ids["customer"]),
    )
    await service.ask(who, "kehu.customers.v1.ContactService/JoinCustomer", joining, contact_pb2.Contact)
    theirs: dict[str, Any] = {"parent_id": ids["customer"], "order_by": "displayName"}
    assert sorted(await rows("member_contact", "displayName", **theirs)) == sorted([["张伟"], ["李娜"]])
    assert await rows("member_contact", "displayName", filter='displayName = "李娜"', **theirs) == [["李娜"]]
    # Chosen ones, as far as the list has them: of a segment its customers, of a filter what passes it.
    both: dict[str, Any] = {"ids": [ids["customer"], ids["other"]]}
    assert await rows("customer", "displayName", ids=[ids["other"], str(new_id())]) == [["用友"]]
    assert await rows("customer", "displayName", filter='displayName = "用友"', **both) == [["用友"]]
    assert await rows("segment_customer", "displayName", parent_id=ids["segment"], **both) == [["'=华为"]]
    assert await rows("pool_customer", "displayName") == []
    back = pool_service_pb2.ReturnCustomerRequest(id=ids["other"], reason="no time")
    await service.ask(who, "kehu.customers.v1.PoolService/ReturnCustomer", back, customer_pb2.Customer)
    assert await rows("pool_customer", "displayName", "returnReason") == [["用友", "no time"]]

    nosy = somebody(who.tenant, rights={
        "customers": Rights(Reach.ALL), "exports": Rights(Reach.ALL, Reach.OWN),
    })  # fmt: skip
    for kind in ("competitor", "partner", "segment", "card"):
        assert await rows(kind, as_=nosy) == [], kind
    parents = {
        "segment_customer": "segment", "points_transaction": "card", "points_lot": "card", "customer_relation": "customer",
        "member_contact": "customer",
    }  # fmt: skip
    for kind, of in parents.items():
        parent = ids[of]
        for stranger in (nosy, somebody("somewhere-else")):
            problem = await refused_file(service, stranger, kind, parent_id=parent)
            assert problem.code is Code.NOT_FOUND, (kind, problem)
        assert (await refused_file(service, who, kind)).reason == "PARENT_INVALID"
    assert (await refused_file(service, nosy, "pool_customer")).reason == "RIGHT_MISSING"
    assert (await refused_file(service, who, "card", parent_id=ids["card"])).reason == "PARENT_INVALID"
    assert (await refused_file(service, who, "customer", ids=["x"])).code is Code.INVALID_ARGUMENT
    for wrong in ({"filter": "points > 1"}, {"query": "x"}, {"order_by": "points"}, {"ids": [ids["card"]]}):
        problem = await refused_file(service, who, "points_transaction", **card, **wrong)
        assert problem.code is Code.INVALID_ARGUMENT, wrong
    ask = pb.ListExportsRequest(filter=f'parentId = "{ids["card"]}"')
    log = await service.ask(who, EXPORTS + "ListExports", ask, pb.ListExportsResponse)
    assert [(one.record_type, one.row_count) for one in log.exports] == [
        ("points_lot", 1),
        ("points_transaction", 2),
    ]
    ask = pb.ListExportsRequest(filter='recordType = "customer"')
    log = await service.ask(who, EXPORTS + "ListExports", ask, pb.ListExportsResponse)
    assert list(log.exports[0].ids) == both["ids"]
    # Whoever sees what may be claimed is not told what it brought in.
    worth = {
        "Orders",
        "Sold to date (home currency)",
        "Sold at a known cost (home currency)",
        "Margin (home currency)",
    }
    assert worth.isdisjoint(table(await file(service, who, "pool_customer", language_code="en"))[0])
    assert worth < set(table(await file(service, who, "customer", language_code="en"))[0])
    assert (
        await refused_file(service, who, "pool_customer", filter="margin != null")
    ).reason == "FILTER_INVALID"


_WAYS = ("phones", "emails", "addresses", "accounts")


async def test_cards_for_address_books_come_back(service: Harness, company: Company) -> None:
    here, there = company.who, somebody(f"{company.who.tenant}-cards")
    house = await customer(
        service, here, display_name="华为; 深圳", kind=customer_pb2.CUSTOMER_KIND_COMPANY, website="https://huawei.example",
        tags=["重点", "a,b", "c\\d、e"], phones=[
            customer_pb2.Phone(number="+8675528780809", label="fax"),
            customer_pb2.Phone(number="+8675528780808", label="switchboard"),
            customer_pb2.Phone(number="+8613800001234", label="mobile"),
        ],
        addresses=[
            customer_pb2.LabelledAddress(address=address("深圳", "坂田"), label="registered"),
            customer_pb2.LabelledAddress(address=address("东莞"), label="库房"),
        ],
        accounts=[
            messenger("", "live:cid.1"), messenger("wechat", "hw; 1"), messenger("客服 号", "a:b"), messenger("qq", "hw; 1"),
        ],
    )  # fmt: skip
    await customer(service, there, display_name="华为; 深圳", kind=customer_pb2.CUSTOMER_KIND_COMPANY)
    notes = "第一行，长" * 30 + "\nsecond; line, with \\ and\nEND:VCARD"
    ids = [
        await contact(
            service, here, customer_id=house, display_name=name, title="经理, 总部", department="销售", notes=notes,
            external_key="" if name == "Ann Li" else f"K-{name}", birthday=Date(year=1990, month=2, day=28),
            phones=[
                contact_pb2.ContactPhone(number="+8613800001234", label="mobile"),
                contact_pb2.ContactPhone(number="+8675528780808", label="车间"),
                contact_pb2.ContactPhone(number="+8675528780809", label="fax"),
            ],
            emails=[
                contact_pb2.ContactEmail(address="z@x.example", label="work"),
                contact_pb2.ContactEmail(address="p@x.example", label="private"),
                contact_pb2.ContactEmail(address="n@x.example"),
            ],
            addresses=[
                customer_pb2.LabelledAddress(address=address("深圳", "深南大道 1 号", "南山区"), label="office"),
                customer_pb2.LabelledAddress(address=address("北京"), label="home"),
            ],
            accounts=[messenger("wechat", "zhang3"), messenger("skype", "live:zhang.3")],
        )
        for name in ("张三", "欧阳小明", "Ann Li")
    ]  # fmt: skip
    columns = await service.ask(
        here, EXPORTS + "ListExportColumns", pb.ListExportColumnsRequest(record_type="contact"),
        pb.ListExportColumnsResponse,
    )  # fmt: skip
    assert pb.EXPORT_FORMAT_VCARD in columns.formats

    async def cards(kind: str, **asked: Any) -> bytes:
        request = pb.CreateExportRequest(
            record_type=kind, format=pb.EXPORT_FORMAT_VCARD, language_code="zh", **asked
        )
        parts = await service.parts(here, EXPORTS + "CreateExport", request, pb.ExportPart)
        assert parts[0].filename.endswith(".vcf") and parts[0].content_type == "text/vcard; charset=utf-8"
        return b"".join(part.content for part in parts)

    content = await cards("contact", order_by="createTime")
    assert content.startswith(b"BEGIN:VCARD\r\nVERSION:3.0\r\n")
    for raw in content.split(b"\r\n"):
        assert len(raw) <= 75 and raw.decode() is not None  # no line ends within a character
    lines = content.decode().replace("\r\n ", "").split("\r\n")
    assert [line for line in lines if line.startswith("N:")] == [
        "N:张;三;;;",
        "N:欧阳;小明;;;",
        "N:Ann Li;;;;",
    ]
    for line in (
        "FN:张三", "ORG:华为\\; 深圳;销售", "TITLE:经理\\, 总部", "item1.TEL;TYPE=CELL,PREF:+8613800001234",
        "item1.X-ABLabel:手机", "item2.TEL:+8675528780808", "item2.X-ABLabel:车间", "item3.TEL;TYPE=FAX:+8675528780809",
        "item4.EMAIL;TYPE=INTERNET,WORK,PREF:z@x.example",
        "item6.ADR;TYPE=WORK,PREF:;;南山区 深南大道 1 号;深圳;北京;100000;CN", "item6.X-DISTRICT:南山区", "BDAY:1990-02-28",
        "UID:K-张三",
    ):  # fmt: skip
        assert line in lines, (line, lines[:30])
    assert (
        lines.count("BEGIN:VCARD") == lines.count("END:VCARD") == 3
    )  # what is written in notes ends no card
    one = (await cards("contact", ids=[ids[2]])).decode()
    assert one.count("BEGIN:VCARD") == 1 and "FN:Ann Li\r\n" in one

    ended = await imported(service, there, "contact", content, "a.vcf")
    assert (ended.created_rows, ended.refused_rows, ended.repaired_rows) == (3, 0, 0)
    before, after = await all_of(service, here, "contact"), await all_of(service, there, "contact")
    assert after.keys() == before.keys()
    for name, told in after.items():
        for same in ("display_name", "title", "department", "birthday", "external_key", "notes", *_WAYS):
            assert getattr(told, same) == getattr(before[name], same), same

    # A card without a key of another system's has none afterwards.
    third = somebody(f"{company.who.tenant}-companies")
    ended = await imported(service, third, "customer", await cards("customer", ids=[house]), "a.vcf")
    assert (ended.created_rows, ended.refused_rows, ended.repaired_rows) == (1, 0, 0)
    (was,), (came,) = [list((await all_of(service, who, "customer")).values()) for who in (here, third)]
    for same in ("display_name", "website", "tags", "external_key", *_WAYS):
        assert getattr(came, same) == getattr(was, same), same

    company_card = (await cards("customer", ids=[house])).decode()
    for line in (
        "FN:华为\\; 深圳",
        "N:;;;;",
        "ORG:华为\\; 深圳",
        "URL:https://huawei.example",
        "CATEGORIES:重点,a\\,b,c\\\\d、e",
    ):
        assert f"{line}\r\n" in company_card, (line, company_card)

    for kind, asked, reason in (
        ("partner", {}, "FORMAT_UNSUPPORTED"), ("contact", {"columns": ["displayName"]}, "COLUMNS_INVALID"),
    ):  # fmt: skip
        with pytest.raises(Problem) as refused:
            await cards(kind, **asked)
        assert refused.value.reason == reason


async def test_what_is_derived_is_taken_for_no_field() -> None:
    heads = {"orderCount", "revenue", "costedRevenue", "margin"}
    customers = exports.EXPORTS.exporter("customer")
    for chinese in (False, True):
        style = Style(fields=False, chinese=chinese)
        for column in customers.columns:
            if column.field in heads:
                assert proposal(column.heads(style), imports.CUSTOMERS.targets) == {}, column
