"""Importing customers and contacts: who is there already, and how an import is taken back."""

import csv
import io
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from google.api.httpbody_pb2 import HttpBody
from google.protobuf.field_mask_pb2 import FieldMask
from kehu.attachments.v1 import attachments_pb2 as files_pb
from kehu.customers.v1 import (
    competitor_pb2,
    competitor_service_pb2,
    contact_pb2,
    contact_service_pb2,
    customer_pb2,
    customer_service_pb2,
    partner_pb2,
    partner_service_pb2,
    relation_pb2,
    relation_service_pb2,
    trash_pb2,
    trash_service_pb2,
)
from kehu.imports.v1 import imports_pb2 as pb
from kehu.notes.v1 import notes_pb2
from kehu.sales.v1 import activity_pb2
from kehu.sales.v1 import events_pb2 as sales
from kehu.servicedesk.v1 import events_pb2 as desk
from kehu.valuelists.v1 import value_lists_pb2 as lists_pb
from sqlalchemy import select

from chassis.errors import Problem
from chassis.home import keep_home_country
from chassis.ids import new_id
from chassis.imports.importer import Importer
from chassis.imports.mapping import proposal
from chassis.principal import Reach, Rights
from chassis.shares.entries import PERSON, Grantee
from chassis.testing import Harness, eventually
from customers import imports
from customers.customer import Customer
from customers.sharing import WRITE, share_customer
from customers.testing import COLLEAGUE, CUSTOMERS, Company, opportunity_event, order_event

pytestmark = pytest.mark.asyncio(loop_scope="module")
CONTACTS = "kehu.customers.v1.ContactService/"
LISTS = "kehu.customers.v1.ValueListService/"
IMPORTS = "kehu.customers.v1.ImportService/"
TRASH = "kehu.customers.v1.TrashService/"
SKIP, MERGE = pb.DUPLICATE_POLICY_SKIP, pb.DUPLICATE_POLICY_MERGE


async def settled(company: Company, id: str) -> pb.Import:
    found: list[pb.Import] = []

    async def ended() -> bool:
        get = pb.GetImportRequest(id=id)
        found.append(await company.service.ask(company.who, IMPORTS + "GetImport", get, pb.Import))
        return found[-1].state not in (pb.IMPORT_STATE_RUNNING, pb.IMPORT_STATE_UNDOING)

    await eventually(ended, timeout=60)
    return found[-1]


async def imported(
    company: Company, kind: str, content: str, filename: str = "a.csv", **options: Any
) -> pb.Import:
    request = pb.CreateImportRequest(record_type=kind, filename=filename, content=content.encode())
    made = await company.service.ask(company.who, IMPORTS + "CreateImport", request, pb.Import)
    start = pb.StartImportRequest(id=made.id, **options)
    await company.service.ask(company.who, IMPORTS + "StartImport", start, pb.Import)
    return await settled(company, made.id)


async def undone(company: Company, id: str) -> pb.Import:
    await company.service.ask(company.who, IMPORTS + "UndoImport", pb.UndoImportRequest(id=id), pb.Import)
    return await settled(company, id)


async def customers(company: Company) -> dict[str, customer_pb2.Customer]:
    request = customer_service_pb2.ListCustomersRequest(page_size=200)
    answer: Any = await company.service.ask(
        company.who, CUSTOMERS + "ListCustomers", request, customer_service_pb2.ListCustomersResponse
    )
    return {one.display_name: one for one in answer.customers}


async def contacts(company: Company) -> dict[str, contact_pb2.Contact]:
    request = contact_service_pb2.ListContactsRequest(page_size=200)
    answer: Any = await company.service.ask(
        company.who, CONTACTS + "ListContacts", request, contact_service_pb2.ListContactsResponse
    )
    return {one.display_name: one for one in answer.contacts}


async def test_an_update_needs_the_key_and_what_changes(company: Company) -> None:
    await imported(company, "customer", "编号,Name,Level\nU1,更新甲,A\nU2,更新乙,A\n")
    await imported(company, "contact", "编号,Name,Customer,Title\nP1,张三,更新甲,CTO\n")
    update: dict[str, Any] = {"mode": pb.IMPORT_MODE_UPDATE}
    run = await imported(company, "customer", "编号,Level\nU1,B\nU9,B\n", **update)
    assert (run.updated_rows, run.refused_rows) == (1, 1)
    run = await imported(company, "contact", "编号,Title\nP1,CEO\nP9,CEO\n", **update)
    assert (run.updated_rows, run.refused_rows) == (1, 1)
    # One that names another customer stays where it is, and the row says so.
    run = await imported(company, "contact", "编号,Customer,Title\nP1,更新乙,CFO\n", **update)
    assert (run.updated_rows, run.repaired_rows) == (1, 1)
    there = await customers(company)
    contact = (await contacts(company))["张三"]
    assert (there["更新甲"].level, contact.title, contact.customer_id) == (
        customer_pb2.CUSTOMER_LEVEL_B,
        "CFO",
        there["更新甲"].id,
    )
    with pytest.raises(Problem) as problem:
        await imported(company, "customer", "Level\nB\n", **update)
    assert problem.value.reason == "MAPPING_INVALID"


async def test_customers_that_are_there_are_filled_up_and_taken_back(
    service: Harness, company: Company
) -> None:
    first = await imported(company, "customer", "Name,E-mail,Level\n华为,a@x.example,\n用友,,A\n")
    assert first.created_rows == 2
    second = await imported(
        company, "customer", "Name,E-mail,Level,Employees,Annual revenue\n别名,A@x.example,B,12,7\n用友,b@x.example,,,\n",
        duplicates=MERGE,
    )  # fmt: skip
    assert (second.created_rows, second.updated_rows) == (1, 1)  # nobody knows that 用友 is 用友
    found = (await customers(company))["华为"]
    assert (found.level, found.employee_count) == (customer_pb2.CUSTOMER_LEVEL_B, 12)
    assert (found.annual_revenue.units, found.annual_revenue.currency_code) == (7, "CNY")
    assert (await undone(company, second.id)).undone_records == 2
    found = (await customers(company))["华为"]
    assert (found.level, found.employee_count) == (customer_pb2.CUSTOMER_LEVEL_UNSPECIFIED, 0)
    assert not found.HasField("annual_revenue")
    third = await imported(company, "customer", "Name,E-mail\n华为,a@x.example\n", duplicates=SKIP)
    assert third.skipped_rows == 1


async def test_a_customer_that_has_become_more_stays(service: Harness, company: Company) -> None:
    run = await imported(company, "customer", "Name\n甲\n乙\n丙\n")
    found = await customers(company)
    people = await imported(company, "contact", "Name,Customer,Phone\n张三,甲,13800001234\n")
    update = customer_service_pb2.UpdateCustomerRequest(
        customer=customer_pb2.Customer(id=found["丙"].id, notes="mine"),
        update_mask=FieldMask(paths=["notes"]),
    )
    await service.ask(company.who, CUSTOMERS + "UpdateCustomer", update, customer_pb2.Customer)
    ended = await undone(company, run.id)
    assert (ended.undone_records, ended.kept_records) == (1, 2)
    assert set(await customers(company)) == {"甲", "丙"}
    assert (await undone(company, people.id)).undone_records == 1 and not await contacts(company)


async def put(company: Company, kind: str, id: str, *, file: bool = False) -> None:
    """A note on the record, or a file."""
    if file:
        part = files_pb.CreateAttachmentRequest(
            record_type=kind, record_id=id, filename="a.txt", content=b"a", complete=True
        )
        path = "kehu.customers.v1.AttachmentService/CreateAttachment"
        await company.service.upload(company.who, path, [part], files_pb.Attachment)
    else:
        note = notes_pb2.CreateNoteRequest(note=notes_pb2.Note(record_type=kind, record_id=id, text="rang"))
        await company.service.ask(
            company.who, "kehu.customers.v1.NoteService/CreateNote", note, notes_pb2.Note
        )


async def kept(company: Company, id: str) -> dict[str, tuple[str, str]]:
    """Why records stay, by their ids: reason and message."""
    request = pb.GetKeptRecordsRequest(id=id)
    file = await company.service.ask(company.who, IMPORTS + "GetKeptRecords", request, HttpBody)
    lines = csv.DictReader(io.StringIO(file.data.decode("utf-8-sig")))
    return {line["Record"]: (line["Reason"], line["Message"]) for line in lines}


async def trashed(company: Company) -> dict[str, str]:
    page = await company.service.ask(
        company.who, TRASH + "ListTrash", trash_service_pb2.ListTrashRequest(page_size=100),
        trash_service_pb2.ListTrashResponse,
    )  # fmt: skip
    return {item.display_name: item.id for item in page.items}


async def test_an_undoing_keeps_whom_somebody_has_worked_with_and_throws_the_others_away(
    company: Company,
) -> None:
    names = [
        "备注",
        "附件",
        "关系",
        "伙伴",
        "对手",
        "卡",
        "订单",
        "商机",
        "计划",
        "拜访",
        "工单",
        "上级",
        "下级",
        "空",
    ]
    run = await imported(company, "customer", "Name\n" + "\n".join(names) + "\n")
    ids = {name: one.id for name, one in (await customers(company)).items()}
    mine = await company.customer("自己")

    async def ask(method: str, request: Any, answer: Any) -> None:
        await company.service.ask(company.who, "kehu.customers.v1." + method, request, answer)

    await put(company, "customer", ids["备注"])
    await put(company, "customer", ids["附件"], file=True)
    related = relation_pb2.CustomerRelation(
        type=relation_pb2.RELATION_TYPE_PARTNER, from_customer_id=mine, to_customer_id=ids["关系"]
    )
    await ask(
        "RelationService/CreateCustomerRelation", relation_service_pb2.CreateCustomerRelationRequest(relation=related),
        relation_pb2.CustomerRelation,
    )  # fmt: skip
    partner = partner_pb2.Partner(customer_id=ids["伙伴"], type="distributor")
    await ask(
        "PartnerService/CreatePartner",
        partner_service_pb2.CreatePartnerRequest(partner=partner),
        partner_pb2.Partner,
    )
    rival = competitor_pb2.Competitor(customer_id=ids["对手"], display_name="对手")
    await ask(
        "CompetitorService/CreateCompetitor", competitor_service_pb2.CreateCompetitorRequest(competitor=rival),
        competitor_pb2.Competitor,
    )  # fmt: skip
    await company.issue(ids["卡"])
    await company.hear(order_event("OrderPlaced", ids["订单"], str(new_id()), 100))
    await company.hear(opportunity_event("OpportunityCreated", ids["商机"], str(new_id()), 100, 50))
    for name, told in (("计划", "ActivityPlanned"), ("拜访", "ActivityCompleted")):
        status = (
            activity_pb2.ACTIVITY_STATUS_PLANNED if name == "计划" else activity_pb2.ACTIVITY_STATUS_COMPLETED
        )
        snapshot = sales.ActivitySnapshot(customer_id=ids[name], status=status)
        await company.hear(getattr(sales, told)(activity_id=str(new_id()), activity=snapshot))
    await company.hear(
        desk.TicketOpened(ticket_id=str(new_id()), ticket=desk.TicketSnapshot(customer_id=ids["工单"]))
    )
    # Whose child was worked with stays, too; the child itself was changed by becoming one.
    child = customer_service_pb2.UpdateCustomerRequest(
        customer=customer_pb2.Customer(id=ids["下级"], parent_customer_id=ids["上级"]),
        update_mask=FieldMask(paths=["parent_customer_id"]),
    )
    await ask("CustomerService/UpdateCustomer", child, customer_pb2.Customer)
    ended = await undone(company, run.id)
    assert (ended.undone_records, ended.kept_records) == (1, len(names) - 1)
    assert set(await customers(company)) == {*names, "自己"} - {"空"}
    why = await kept(company, run.id)
    said = {name: why[ids[name]] for name in names if ids[name] in why}
    assert said["下级"][0] == "CHANGED_SINCE" and said["上级"][0] == "CUSTOMER_HAS_CHILDREN"
    for name, word in {
        "备注": "notes", "附件": "files", "关系": "relations", "伙伴": "a partnership", "对手": "a competitor", "卡": "a card",
        "订单": "orders", "商机": "opportunities", "计划": "activities", "拜访": "activities", "工单": "tickets",
    }.items():  # fmt: skip
        assert said[name][0] == "CUSTOMER_TOUCHED" and said[name][1].endswith(f"it has {word}."), said[name]
    assert await trashed(company) == {"空": ids["空"]}
    restore = trash_service_pb2.RestoreTrashItemRequest(id=ids["空"])
    await ask("TrashService/RestoreTrashItem", restore, trash_pb2.TrashItem)
    assert "空" in await customers(company)


async def test_contacts_that_were_worked_with_stay_and_the_others_can_be_restored(company: Company) -> None:
    await company.customer("甲")
    other = await company.customer("乙")
    run = await imported(company, "contact", "Customer,Name\n甲,备注\n甲,附件\n甲,两处\n甲,空\n")
    ids = {name: one.id for name, one in (await contacts(company)).items()}
    await put(company, "contact", ids["备注"])
    await put(company, "contact", ids["附件"], file=True)
    join = contact_service_pb2.JoinCustomerRequest(
        id=ids["两处"], affiliation=contact_pb2.Affiliation(customer_id=other)
    )
    await company.service.ask(company.who, CONTACTS + "JoinCustomer", join, contact_pb2.Contact)
    ended = await undone(company, run.id)
    assert (ended.undone_records, ended.kept_records) == (1, 3)
    why = await kept(company, run.id)
    assert [why[ids[name]][0] for name in ("备注", "附件", "两处")] == [
        "CONTACT_TOUCHED", "CONTACT_TOUCHED", "CHANGED_SINCE",
    ]  # fmt: skip
    assert set(await contacts(company)) == {"备注", "附件", "两处"} and set(await trashed(company)) == {"空"}
    restore = trash_service_pb2.RestoreTrashItemRequest(id=ids["空"])
    await company.service.ask(company.who, TRASH + "RestoreTrashItem", restore, trash_pb2.TrashItem)
    assert "空" in await contacts(company)


async def test_contacts_are_alike_at_the_same_customer_only(service: Harness, company: Company) -> None:
    for name in ("甲", "乙"):
        await company.customer(name)
    head = "Name,Customer,Phone,E-mail,Title\n"
    await imported(company, "contact", head + "张三,甲,13800001234,,\n")
    run = await imported(
        company, "contact",
        head + "三哥,甲,138 0000 1234,z@x.example,经理\n张三,乙,13800001234,,\n四哥,甲,,Z@x.example,总监\n", duplicates=MERGE,
    )  # fmt: skip
    assert (run.created_rows, run.updated_rows, run.unchanged_rows) == (1, 1, 1)
    found = await contacts(company)
    at_first = next(one for one in found.values() if one.customer_name == "甲" and one.phones)
    assert (at_first.display_name, at_first.title, at_first.emails[0].address) == (
        "张三",
        "经理",
        "z@x.example",
    )
    assert (await undone(company, run.id)).kept_records == 0
    left = await contacts(company)
    assert set(left) == {"张三"} and not left["张三"].emails and left["张三"].title == ""


async def test_cards_of_a_phone_become_contacts(service: Harness, company: Company) -> None:
    await company.customer("北京用友")
    card = "BEGIN:VCARD\nVERSION:3.0\nFN:张三\nORG:北京用友\nTEL:13800001234\nTITLE:经理\nEND:VCARD\n"
    run = await imported(company, "contact", card, "phone.vcf")
    assert run.created_rows == 1 and (await contacts(company))["张三"].title == "经理"


async def test_nothing_of_a_card_is_dropped(service: Harness, company: Company) -> None:
    await company.customer("北京用友")
    card = (
        "BEGIN:VCARD\nVERSION:3.0\nFN:张三\nORG:北京用友\nTEL;TYPE=CELL:13800001234\nTEL:13800005678\nTEL:13800009999\n"
        "item1.TEL;TYPE=WORK,VOICE:13800007777\nitem1.X-ABLabel:_$!<Work>!$_\nTEL;WORK;FAX:010 6666 8888\n"
        "EMAIL;TYPE=HOME:z@x.example\nEMAIL;TYPE=work:w@x.example\nADR;TYPE=HOME:;2 楼;甲街\\; 1;上海;;;Utopia\n"
        "ADR;TYPE=WORK:;;复兴路 1 号;北京;;100000;中国\nX-WECHAT:zhang3\nIMPP;X-SERVICE-TYPE=QQ:x-apple:12345\n"
        "IMPP:skype:live:z\nBDAY:1990-02-28\nUID:urn:uuid:0190b3a0-0000-7000-8000-000000000001\nEND:VCARD\n"
    )
    assert (await imported(company, "contact", card, "phone.vcf")).created_rows == 1
    found = (await contacts(company))["张三"]
    assert [(one.label, one.number) for one in found.phones] == [
        ("mobile", "+8613800001234"), ("", "+8613800005678"), ("", "+8613800009999"), ("work", "+8613800007777"),
        ("fax", "+861066668888"),
    ]  # fmt: skip
    assert [(one.label, one.address) for one in found.emails] == [
        ("private", "z@x.example"),
        ("work", "w@x.example"),
    ]
    assert [(one.label, one.address) for one in found.addresses] == [
        (
            "office",
            customer_pb2.Address(country_code="CN", city="北京", street="复兴路 1 号", postal_code="100000"),
        ),
        ("home", customer_pb2.Address(city="上海", street="2 楼, 甲街; 1, Utopia")),
    ]
    assert [(one.label, one.account) for one in found.accounts] == [
        ("wechat", "zhang3"),
        ("qq", "12345"),
        ("skype", "live:z"),
    ]
    assert not found.external_key
    assert (found.birthday.year, found.birthday.month, found.birthday.day) == (1990, 2, 28)


async def test_what_a_row_says_of_ways_to_reach_somebody_joins_what_is_known(company: Company) -> None:
    head = "编号,Name,Phone,Further phones,City,Messaging account\n"
    await imported(company, "customer", head + "K,甲,13800000001,家: 13800000002,北京,wechat: jia\n")
    await imported(
        company, "customer", head + "K,甲,13800000009,13800000002; 13800000003,,qq: 1\n", duplicates=MERGE
    )
    found = (await customers(company))["甲"]
    assert [one.number[-1] for one in found.phones] == ["1", "2", "9", "3"], "it is filled up"
    assert [one.label for one in found.accounts] == ["wechat", "qq"]
    await imported(
        company, "customer", head + "K,甲,13800000004,公司: 13800000001,上海,\n", mode=pb.IMPORT_MODE_UPSERT
    )
    found = (await customers(company))["甲"]
    assert [(one.number[-1], one.label) for one in found.phones] == [("4", ""), ("1", "公司")]
    assert (found.address.city, len(found.accounts)) == ("上海", 2), "what the row does not say stays"
    alike = "Name,Phone,Further phones\n乙,13800000001,\n丙,13800000077,手机: 13800000004\n丁,13800000078,13800000079\n"
    again = await imported(company, "customer", alike, duplicates=SKIP)
    assert (again.skipped_rows, again.created_rows) == (2, 1), "all numbers are compared, on both sides"
    run = await imported(
        company, "contact",
        "Customer,Name,Reports to,Further customers,Further phones\n甲,一,二,,\n甲,二,三,无此客户 / 经理,\n甲,三,,,nonsense\n",
    )  # fmt: skip
    assert (run.created_rows, run.refused_rows, run.repaired_rows) == (2, 1, 1)
    people = await contacts(company)
    assert people["一"].reports_to_id == people["二"].id and not people["二"].reports_to_id


async def test_a_whole_address_book_comes_in(service: Harness, company: Company) -> None:
    """Owners, values of the tenant's lists and addresses, as another system writes them."""
    run = await imported(
        company, "customer",
        "名称,负责人,行业,规模,级别,关系阶段,来源,国家,省份,城市,地址,邮编,税号,需求\n"
        "甲,李雷,金融业,大型,A 级,成交客户,电话,中国,广东,深圳,深南大道 1 号,518000,9144,ERP\n"
        "乙,LI@own.example,Finance,,b,潜在,,de,,Köln,,,,\n"
        "丙,,渔业,,,,,,,,,,,\n"
        "丁,韩梅梅,,,,,,,,,,,,\n"
        "戊,,,,Z,,,,,,,,,\n"
        "己,,,,,,,Atlantis,,,,,,\n",
    )  # fmt: skip
    assert (run.created_rows, run.refused_rows) == (3, 3)
    found = await customers(company)
    first, second, third = found["甲"], found["乙"], found["丙"]
    assert first.owner_id == second.owner_id == COLLEAGUE.id and third.owner_id == str(company.who.person_id)
    assert (first.industry, second.industry, third.industry) == ("finance", "finance", "渔业")
    assert (first.size, first.level, second.level) == (
        customer_pb2.CUSTOMER_SIZE_LARGE, customer_pb2.CUSTOMER_LEVEL_A, customer_pb2.CUSTOMER_LEVEL_B,
    )  # fmt: skip
    assert (first.stage, first.source) == (
        customer_pb2.CUSTOMER_STAGE_ACTIVE, customer_pb2.CUSTOMER_SOURCE_PHONE,
    )  # fmt: skip
    assert first.address == customer_pb2.Address(
        country_code="CN", province="广东", city="深圳", street="深南大道 1 号", postal_code="518000"
    )
    assert (first.tax_number, first.needs, second.address.country_code) == ("9144", "ERP", "DE")
    refused = pb.GetRefusedRowsRequest(id=run.id)
    file = await company.service.ask(company.who, IMPORTS + "GetRefusedRows", refused, HttpBody)
    assert all(
        one in file.data.decode() for one in ("no person '韩梅梅'", "'Z' is none of: A", "is no country")
    )


async def test_a_changed_list_says_what_a_file_may_hold(service: Harness, company: Company) -> None:
    lists: Any = await company.service.ask(
        company.who,
        LISTS + "ListValueLists",
        lists_pb.ListValueListsRequest(),
        lists_pb.ListValueListsResponse,
    )
    level = next(one for one in lists.value_lists if one.key == "level")
    level.values.add(key="vip", name_zh="战略级", name_en="Strategic")
    change = lists_pb.UpdateValueListRequest(value_list=level, update_mask=FieldMask(paths=["values"]))
    await company.service.ask(company.who, LISTS + "UpdateValueList", change, lists_pb.ValueList)
    run = await imported(company, "customer", "Name,Level\n甲,战略级\n乙,strategic\n")
    assert run.refused_rows == 0 and {one.level_key for one in (await customers(company)).values()} == {"vip"}


async def test_owners_change_with_the_row_and_no_further_than_rights_reach(
    service: Harness, company: Company
) -> None:
    await imported(company, "customer", "编号,Name,City,Street\nK1,甲,北京,一号\n")
    run = await imported(
        company, "customer", "编号,Name,City,负责人\nK1,甲,上海,李雷\n", mode=pb.IMPORT_MODE_UPSERT
    )
    assert run.updated_rows == 1
    found = (await customers(company))["甲"]
    assert (found.owner_id, found.address.city, found.address.street) == (COLLEAGUE.id, "上海", "一号")
    # With the customer its contacts were given away: that is not put back silently.
    ended = await undone(company, run.id)
    assert (ended.undone_records, ended.kept_records) == (0, 1)
    seller = replace(company.who, rights={"customers": Rights(Reach.OWN, Reach.OWN)}, person_id=new_id())
    run = await imported(Company(service, seller), "customer", "Name,负责人\n乙,李雷\n丙,\n")
    assert (run.created_rows, run.refused_rows) == (1, 1)


@pytest.mark.parametrize(
    ("importer", "headers", "fields"),
    [
        (
            imports.CUSTOMERS,
            "ID,Name,Website,Email,Phone,Industry,Description,Billing Address Street,Billing Address City,"
            "Billing Address State,Billing Address Country,Billing Address Postal Code,Assigned User",
            "externalKey,displayName,website,email,phone,industry,notes,street,city,province,countryCode,postalCode,owner",
        ),
        (
            imports.CUSTOMERS,
            "ID,Name,Office Phone,Email Address,Annual Revenue,Employees,Billing Street,Billing Country,Assigned to",
            "externalKey,displayName,phone,email,annualRevenue,employeeCount,street,countryCode,owner",
        ),
        (
            imports.CUSTOMERS, "External ID,Name,Email,Phone,Street,City,Zip,Country,Tax ID,Salesperson,Tags,Notes",
            "externalKey,displayName,email,phone,street,city,postalCode,countryCode,taxNumber,owner,tags,notes",
        ),
        (
            imports.CUSTOMERS, "Id,Name,Domain Name,Employees,ARR,Account Owner",
            "externalKey,displayName,website,employeeCount,annualRevenue,owner",
        ),
        (
            imports.CONTACTS, "ID,First Name,Last Name,Account Name,Job Title,Department,Email Address,Mobile,Description",
            "externalKey,firstName,lastName,customer,title,department,email,phone,notes",
        ),
        (
            imports.CONTACTS, "External ID,Name,Company Name,Job Position,Email,Phone,Notes",
            "externalKey,displayName,customer,title,email,phone,notes",
        ),
        (imports.CONTACTS, "姓名,客户名称,职务,部门,手机号码,电子邮箱", "displayName,customer,title,department,phone,email"),
    ],
)  # fmt: skip
async def test_headers_of_other_systems_are_recognised(importer: Importer, headers: str, fields: str) -> None:
    found = proposal(headers.split(","), importer.targets)
    assert [found.get(column) for column in range(len(found))] == fields.split(",")


async def test_first_and_last_names_become_one(service: Harness, company: Company) -> None:
    await company.customer("甲")
    run = await imported(
        company, "contact", "Customer,Last name,First name\n甲,张,三\n甲,Smith,Bob\n甲,欧阳,\n甲,,\n"
    )
    assert (run.created_rows, run.refused_rows) == (3, 1)
    assert set(await contacts(company)) == {"张三", "Bob Smith", "欧阳"}


async def test_numbers_are_read_as_at_home(service: Harness, company: Company) -> None:
    async with service.running.database.transaction(company.who) as tx:
        await keep_home_country(tx, "DE", 1, new_id())
    await imported(company, "customer", "Name,Phone\nA GmbH,030 901820\n")
    assert (await customers(company))["A GmbH"].phone == "+4930901820"


async def test_a_share_lets_imports_change_customers_and_not_give_them_away(
    service: Harness, company: Company
) -> None:
    await imported(company, "customer", "编号,Name\nK1,甲\n")
    await imported(company, "contact", "Customer,Name,Phone\n甲,张伟,13800000001\n")
    own = {"customers": Rights(Reach.OWN, Reach.OWN)}
    colleague = Company(service, replace(company.who, rights=own, person_id=UUID(COLLEAGUE.id)))
    update: dict[str, Any] = {"mode": pb.IMPORT_MODE_UPSERT}
    unseen = await imported(colleague, "customer", "编号,Name,Region\nK1,甲,华东\n", **update)
    assert (unseen.updated_rows, unseen.refused_rows) == (0, 1)
    async with service.running.database.transaction(company.who) as tx:
        (row,) = (await tx.session.execute(select(Customer))).scalars()
        share_customer(tx, row, Grantee(PERSON, colleague.who.person_id), WRITE, None)
    run = await imported(colleague, "customer", "编号,Name,Region\nK1,甲,华东\n", **update)
    assert (run.updated_rows, run.refused_rows) == (1, 0)
    taken = await imported(colleague, "customer", "编号,Name,负责人,Level\nK1,甲甲,李雷,A\n", **update)
    assert (taken.updated_rows, taken.refused_rows) == (0, 1)
    found = (await customers(company))["甲"]
    assert (found.region, found.owner_id) == ("east_china", str(company.who.person_id))
    # Its contacts are found and changed, and not made twice.
    again = await imported(
        colleague, "contact", "Customer,Name,Phone,Title\n甲,张伟,13800000001,CEO\n", duplicates=MERGE
    )
    assert (again.created_rows, again.refused_rows) == (0, 0)
    request = contact_service_pb2.ListContactsRequest()
    answer = contact_service_pb2.ListContactsResponse
    page = await service.ask(company.who, CONTACTS + "ListContacts", request, answer)
    assert [(one.display_name, one.title) for one in page.contacts] == [("张伟", "CEO")]
