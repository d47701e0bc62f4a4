"""Importing customers and contacts: who is there already, and how an import is taken back."""

from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from kehu.customers.v1 import contact_pb2, contact_service_pb2, customer_pb2, customer_service_pb2
from kehu.imports.v1 import imports_pb2 as pb

from chassis.testing import Harness, eventually
from customers.testing import CUSTOMERS, Company

pytestmark = pytest.mark.asyncio(loop_scope="module")
CONTACTS = "kehu.customers.v1.ContactService/"
IMPORTS = "kehu.customers.v1.ImportService/"
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
