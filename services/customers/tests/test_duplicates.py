"""Duplicates: what is found, why, and by whom."""

import asyncio
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from kehu.customers.v1 import (
    contact_pb2,
    contact_service_pb2,
    customer_pb2,
    customer_service_pb2,
    duplicate_pb2,
    duplicate_service_pb2,
)

from chassis.errors import Code, Problem
from chassis.ids import new_id
from chassis.principal import Principal, Reach, Rights
from chassis.testing import refused, somebody
from customers.testing import Company

pytestmark = pytest.mark.asyncio(loop_scope="module")
RULE: dict[str, Any] = {
    "customers": duplicate_pb2.DUPLICATE_ACTION_REFUSE,
    "contacts": duplicate_pb2.DUPLICATE_ACTION_REFUSE,
}
CUSTOMERS = "kehu.customers.v1.CustomerService/"
CONTACTS = "kehu.customers.v1.ContactService/"
DUPLICATES = "kehu.customers.v1.DuplicateService/"


async def made(company: Company, who: Principal | None = None, **values: Any) -> str:
    request = customer_service_pb2.CreateCustomerRequest(customer=customer_pb2.Customer(**values))
    done = await company.service.ask(
        who or company.who, CUSTOMERS + "CreateCustomer", request, customer_pb2.Customer
    )
    return done.id


async def met(company: Company, customer: str, **values: Any) -> str:
    request = contact_service_pb2.CreateContactRequest(
        contact=contact_pb2.Contact(customer_id=customer, **values)
    )
    done = await company.service.ask(company.who, CONTACTS + "CreateContact", request, contact_pb2.Contact)
    return done.id


async def check(
    company: Company, who: Principal | None = None, min_score: int = 0, max_results: int = 0, **values: Any
) -> duplicate_pb2.CustomerDuplicates:
    request = duplicate_service_pb2.CheckCustomerDuplicatesRequest(
        customer=customer_pb2.Customer(**values), min_score=min_score, max_results=max_results
    )
    return await company.service.ask(
        who or company.who, DUPLICATES + "CheckCustomerDuplicates", request, duplicate_pb2.CustomerDuplicates
    )


async def find(company: Company, id: str, who: Principal | None = None) -> duplicate_pb2.CustomerDuplicates:
    request = duplicate_service_pb2.FindCustomerDuplicatesRequest(id=id)
    return await company.service.ask(
        who or company.who, DUPLICATES + "FindCustomerDuplicates", request, duplicate_pb2.CustomerDuplicates
    )


def kinds(one: Any) -> list[str]:
    prefix = "DUPLICATE_REASON_KIND_"
    return [duplicate_pb2.DuplicateReasonKind.Name(r.kind).removeprefix(prefix) for r in one.reasons]


@pytest.mark.parametrize(
    ("there", "new", "reason"),
    [
        ({"display_name": "甲"}, {"display_name": " 甲 "}, "NAME"),
        ({"display_name": "北京市用友软件股份有限公司"}, {"display_name": "用友软件（上海）有限公司"}, "CORE_NAME"),
        ({"display_name": "深圳市华为技术开发有限公司"}, {"display_name": "华为技木开发"}, "SIMILAR_NAME"),
        ({"display_name": "Northwind Traders Ltd"}, {"display_name": "NORTHWIND TRADERS Inc."}, "CORE_NAME"),
        ({"display_name": "乙", "phone": "+86 138 0000 1234"}, {"display_name": "丙", "phone": "138-0000-1234"}, "PHONE"),
        (
            {"display_name": "乙", "phones": [customer_pb2.Phone(number="010 1"), customer_pb2.Phone(number="13800001235")]},
            {"display_name": "丙", "phones": [customer_pb2.Phone(number="(138) 0000 1235")]},
            "PHONE",
        ),
        ({"display_name": "丁", "email": "Info@Acme.example"}, {"display_name": "戊", "email": "info@acme.example"}, "EMAIL"),
        (
            {"display_name": "己", "tax_number": "91110000 1000 1010 1X"},
            {"display_name": "庚", "registration_number": "91110000100010101x"},
            "TAX_NUMBER",
        ),
    ],
)  # fmt: skip
async def test_found_before_it_is_created(
    company: Company, there: dict[str, Any], new: dict[str, Any], reason: str
) -> None:
    id = await made(company, **there)
    found = await check(company, **new)
    assert [one.customer.id for one in found.duplicates] == [id]
    assert reason in kinds(found.duplicates[0])
    assert 50 <= found.duplicates[0].score <= 100
    # Creating does not ask, and then both know of each other.
    other = await made(company, **new)
    assert [one.customer.id for one in (await find(company, other)).duplicates] == [id]
    assert [one.customer.id for one in (await find(company, id)).duplicates] == [other]


async def test_more_reasons_are_a_higher_score_and_another_tax_number_speaks_against(
    company: Company,
) -> None:
    await made(company, display_name="用友软件有限公司", phone="13800001111", tax_number="91110000100010101X")
    name = (await check(company, display_name="用友软件")).duplicates[0]
    both = (await check(company, display_name="用友软件", phone="13800001111")).duplicates[0]
    assert kinds(both) == ["CORE_NAME", "PHONE"]
    assert both.score > name.score
    other = (
        await check(company, display_name="用友软件", tax_number="91110000100010102X", min_score=1)
    ).duplicates[0]
    assert kinds(other) == ["CORE_NAME", "OTHER_TAX_NUMBER"]
    assert other.score == round(name.score / 2)


async def test_persons_of_one_name_are_not_told_without_more(company: Company) -> None:
    person: dict[str, Any] = {"kind": customer_pb2.CUSTOMER_KIND_PERSON, "display_name": "张伟"}
    id = await made(company, **person, phone="13912345678")
    assert not (await check(company, **person)).duplicates
    found = (await check(company, **person, phone="13912345678")).duplicates
    assert [one.customer.id for one in found] == [id]
    assert kinds(found[0]) == ["PHONE", "NAME"]


async def test_strangers_are_not_found(company: Company) -> None:
    await made(company, display_name="北京有限公司", phone="13800001111")
    await made(company, display_name="上海东方航空有限公司")
    await made(Company(company.service), display_name="用友软件有限公司", phone="13800009999")
    found = await check(company, display_name="用友软件有限公司", phone="13800009999")
    assert not found.duplicates and not found.hidden_count
    assert not (await check(company, display_name="上海有限公司")).duplicates


async def test_what_the_caller_may_not_see_is_counted_and_not_told(company: Company) -> None:
    mine = somebody(company.who.tenant, rights={"customers": Rights(Reach.OWN, Reach.OWN)})
    await made(company, display_name="用友软件有限公司")
    own = await made(company, mine, display_name="北京用友软件有限公司")
    found = await check(company, mine, display_name="用友软件")
    assert [one.customer.id for one in found.duplicates] == [own]
    assert found.hidden_count == 1
    assert (await check(company, display_name="用友软件")).hidden_count == 0


async def test_refused(company: Company) -> None:
    id = await made(company, display_name="甲")
    nobody = somebody(company.who.tenant, rights={})
    await refused(Code.PERMISSION_DENIED, "RIGHT_MISSING", check(company, nobody, display_name="甲"))
    await refused(Code.NOT_FOUND, "NOT_FOUND", find(company, id, Company(company.service).who))
    await refused(Code.NOT_FOUND, "NOT_FOUND", find(company, str(uuid4())))
    await refused(Code.INVALID_ARGUMENT, "INVALID_FIELD", check(company, display_name="甲", min_score=101))
    await refused(Code.INVALID_ARGUMENT, "INVALID_FIELD", check(company))


async def test_only_so_many_are_told(company: Company) -> None:
    for _ in range(12):
        await made(company, display_name="用友软件有限公司")
    assert len((await check(company, display_name="用友软件")).duplicates) == 10
    assert len((await check(company, display_name="用友软件", max_results=3)).duplicates) == 3


async def test_a_change_of_the_name_is_followed(company: Company) -> None:
    id = await made(company, display_name="旧名字有限公司")
    request = customer_service_pb2.UpdateCustomerRequest(
        customer=customer_pb2.Customer(id=id, display_name="新天地有限公司")
    )
    request.update_mask.paths.append("display_name")
    await company.service.ask(company.who, CUSTOMERS + "UpdateCustomer", request, customer_pb2.Customer)
    assert not (await check(company, display_name="旧名字")).duplicates
    assert [one.customer.id for one in (await check(company, display_name="新天地")).duplicates] == [id]


async def test_contacts(company: Company) -> None:
    one, other = await made(company, display_name="甲"), await made(company, display_name="乙")
    there = await met(
        company, one, display_name="李娜", phones=[contact_pb2.ContactPhone(number="13700001111")]
    )

    async def ask(customer: str, **values: Any) -> duplicate_pb2.ContactDuplicates:
        request = duplicate_service_pb2.CheckContactDuplicatesRequest(
            contact=contact_pb2.Contact(customer_id=customer, **values)
        )
        return await company.service.ask(
            company.who, DUPLICATES + "CheckContactDuplicates", request, duplicate_pb2.ContactDuplicates
        )

    colleague = (await ask(one, display_name="李娜")).duplicates
    assert [found.contact.id for found in colleague] == [there]
    assert kinds(colleague[0]) == ["SAME_CUSTOMER", "NAME"]
    assert not (await ask(other, display_name="李娜")).duplicates
    phone = [contact_pb2.ContactPhone(number="137 0000 1111")]
    elsewhere = (await ask(other, display_name="Li Na", phones=phone)).duplicates
    assert [found.contact.customer_name for found in elsewhere] == ["甲"]
    twin = await met(company, other, display_name="李娜", phones=phone)
    request = duplicate_service_pb2.FindContactDuplicatesRequest(id=twin)
    found = await company.service.ask(
        company.who, DUPLICATES + "FindContactDuplicates", request, duplicate_pb2.ContactDuplicates
    )
    assert [(it.contact.id, kinds(it)) for it in found.duplicates] == [(there, ["PHONE", "NAME"])]


async def ruled(company: Company, who: Principal | None = None, **values: Any) -> duplicate_pb2.DuplicateRule:
    request = duplicate_service_pb2.UpdateDuplicateRuleRequest(rule=duplicate_pb2.DuplicateRule(**values))
    return await company.service.ask(
        who or company.who, DUPLICATES + "UpdateDuplicateRule", request, duplicate_pb2.DuplicateRule
    )


async def create(
    company: Company,
    who: Principal | None = None,
    request_id: str = "",
    know: bool = False,
    id: str = "",
    **values: Any,
) -> str:
    request = customer_service_pb2.CreateCustomerRequest(
        customer=customer_pb2.Customer(**values), request_id=request_id, allow_duplicate=know, customer_id=id
    )
    done = await company.service.ask(
        who or company.who, CUSTOMERS + "CreateCustomer", request, customer_pb2.Customer
    )
    return done.id


async def test_a_rule_refuses_what_is_probably_there(company: Company) -> None:
    get = duplicate_service_pb2.GetDuplicateRuleRequest()
    first = await company.service.ask(
        company.who, DUPLICATES + "GetDuplicateRule", get, duplicate_pb2.DuplicateRule
    )
    warn = duplicate_pb2.DUPLICATE_ACTION_WARN
    assert (first.customers, first.contacts, first.min_score, first.HasField("update_time")) == (
        warn, warn, 65, False,
    )  # fmt: skip
    id = await create(company, display_name="北京市用友软件股份有限公司", phone="13800001234")
    other = await create(company, display_name="用友软件")  # by WARN it is created
    rule = await ruled(company, **RULE)
    assert (rule.customers, rule.min_score) == (duplicate_pb2.DUPLICATE_ACTION_REFUSE, 65)
    with pytest.raises(Problem) as told:
        await create(company, display_name="用友软件（上海）有限公司")
    assert (told.value.code, told.value.reason) == (Code.ALREADY_EXISTS, "PROBABLE_DUPLICATES")
    assert (
        set(told.value.metadata["ids"].split(",")) == {id, other}
        and told.value.metadata["hiddenCount"] == "0"
    )
    assert "北京市用友软件股份有限公司" in told.value.message and "allowDuplicate" in told.value.message
    assert {one.field for one in told.value.violations} == {"customer"} and len(told.value.violations) == 2
    # Who may not read them learns how many there are, and neither their names nor their ids.
    clerk = replace(company.who, person_id=new_id(), rights={"customers": Rights(Reach.OWN, Reach.OWN)})
    with pytest.raises(Problem) as hidden:
        await create(company, clerk, display_name="用友软件")
    assert hidden.value.metadata == {"ids": "", "hiddenCount": "2"} and not hidden.value.violations
    assert id not in hidden.value.message and "北京" not in hidden.value.message
    # What is only alike passes, and so does who knows; a repeat of what was done is no second one.
    assert await create(company, display_name="用友软件", know=True)
    key: dict[str, Any] = {"display_name": "金蝶软件", "request_id": "once"}
    assert await create(company, **key) == await create(company, **key)
    await create(company, display_name="金蝶财务软件")
    named: dict[str, Any] = {"display_name": "浪潮软件", "id": str(uuid4())}
    await create(company, **named)
    await refused(Code.ALREADY_EXISTS, "ID_TAKEN", create(company, **named))
    # Numbers are compared as they are kept.
    await refused(
        Code.ALREADY_EXISTS, "PROBABLE_DUPLICATES", create(company, display_name="甲", phone="138-0000-1234")
    )
    bad = create(
        company, display_name="乙", phones=[customer_pb2.Phone(number="13800002222", primary=True)] * 2
    )
    await refused(Code.INVALID_ARGUMENT, "PRIMARY_TWICE", bad)
    # Services decide elsewhere, as a conversion does.
    assert await create(
        company, company.who.acting_as("leads"), display_name="用友软件", owner_id=str(company.who.person_id)
    )
    assert (await ruled(company, min_score=90)).customers == duplicate_pb2.DUPLICATE_ACTION_REFUSE
    assert await create(company, display_name="用友软件")
    await refused(Code.ABORTED, "ETAG_MISMATCH", ruled(company, min_score=1, etag=rule.etag))
    denied = ruled(company, clerk, min_score=1)
    await refused(Code.PERMISSION_DENIED, "RIGHT_MISSING", denied)
    # Another company has its own.
    rival = Company(company.service)
    rule = await rival.service.ask(
        rival.who, DUPLICATES + "GetDuplicateRule", get, duplicate_pb2.DuplicateRule
    )
    assert rule.customers == warn


async def test_a_rule_refuses_contacts_and_one_of_two_at_once(company: Company) -> None:
    await ruled(company, **RULE)
    home = await create(company, display_name=f"家 {uuid4()}")
    one = await met(
        company, home, display_name="王芳", phones=[contact_pb2.ContactPhone(number="13900001111")]
    )
    again = met(
        company, home, display_name="王小芳", phones=[contact_pb2.ContactPhone(number="139 0000 1111")]
    )
    with pytest.raises(Problem) as told:
        await again
    assert told.value.metadata["ids"] == one
    namesake = f"李 {uuid4()}"
    await met(company, home, display_name=namesake)
    await refused(Code.ALREADY_EXISTS, "PROBABLE_DUPLICATES", met(company, home, display_name=namesake))
    name = f"同时 {uuid4()}"
    outcomes = await asyncio.gather(
        *(create(company, display_name=name) for _ in range(8)), return_exceptions=True
    )
    made_ones = [one for one in outcomes if isinstance(one, str)]
    assert len(made_ones) == 1, outcomes
    assert {one.reason for one in outcomes if isinstance(one, Problem)} == {"PROBABLE_DUPLICATES"}
