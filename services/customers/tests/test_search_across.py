"""What search across finds among customers and contacts, by what, for whom."""

from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from kehu.customers.v1 import contact_pb2, contact_service_pb2, customer_pb2, customer_service_pb2
from kehu.search.v1 import search_pb2 as pb

from chassis.errors import Code
from chassis.principal import Principal, Reach, Rights
from chassis.testing import Harness, refused, somebody
from customers.testing import CUSTOMERS, Company

pytestmark = pytest.mark.asyncio(loop_scope="module")
SEARCH = "kehu.customers.v1.SearchService/SearchRecords"
CONTACTS = "kehu.customers.v1.ContactService/"


async def search(service: Harness, who: Principal, text: str, **asked: Any) -> dict[str, list[pb.SearchHit]]:
    request = pb.SearchRecordsRequest(query=text, **asked)
    answer = await service.ask(who, SEARCH, request, pb.SearchRecordsResponse)
    return {group.record_type: list(group.hits) for group in answer.groups}


async def customer(company: Company, name: str, **fields: Any) -> str:
    made = customer_service_pb2.CreateCustomerRequest(
        customer=customer_pb2.Customer(display_name=name, **fields)
    )
    answer = await company.service.ask(company.who, CUSTOMERS + "CreateCustomer", made, customer_pb2.Customer)
    return answer.id


async def contact(company: Company, customer_id: str, name: str, **fields: Any) -> str:
    made = contact_service_pb2.CreateContactRequest(
        contact=contact_pb2.Contact(customer_id=customer_id, display_name=name, **fields)
    )
    answer = await company.service.ask(company.who, CONTACTS + "CreateContact", made, contact_pb2.Contact)
    return answer.id


@pytest.mark.parametrize(
    ("text", "field", "part"),
    [
        ("用友", "displayName", "用友"),
        ("beijingyongyou", "displayName", "北京用友"),
        ("bjyy", "displayName", "北京用友"),
        ("0000 1234", "phones", "0000"),
        ("138-0000", "phones", "1380000"),
        ("yonyou.example", "emails", "yonyou.example"),
        ("重点", "tags", "重点"),
    ],
)
async def test_by_any_part(company: Company, text: str, field: str, part: str) -> None:
    id = await customer(
        company,
        "北京用友软件",
        phone="13800001234",
        email="Info@Yonyou.example",
        tags=["重点客户"],
    )
    await customer(company, "Somebody else")
    ((hit,),) = (await search(company.service, company.who, text)).values()
    assert (hit.id, hit.title, hit.subtitle) == (id, "北京用友软件", "+8613800001234 · info@yonyou.example")
    assert (hit.matches[0].field, hit.matches[0].part.lower()) == (field, part)


async def test_both_kinds_ranked_and_a_few_of_each(company: Company) -> None:
    who = company.who
    for name in ("Acme Pumps", "The Acme", "Acme", "Acme Pipes"):
        id = await customer(company, name)
    for number in range(7):
        await contact(
            company, id, f"Acme {number}", phones=[contact_pb2.ContactPhone(number=f"1390000000{number}")]
        )
    found = await search(company.service, who, "acme")
    assert found["customer"][0].title == "Acme"
    assert found["customer"][-1].title == "The Acme"
    assert found["customer"][0].rank == pb.SEARCH_RANK_EXACT
    assert len(found["contact"]) == 5
    request = pb.SearchRecordsRequest(query="acme", page_size=4)
    answer = await company.service.ask(who, SEARCH, request, pb.SearchRecordsResponse)
    assert [(one.record_type, len(one.hits), one.more) for one in answer.groups] == [
        ("customer", 4, False), ("contact", 4, True),
    ]  # fmt: skip
    assert (await search(company.service, who, "acme", record_types=["contact"])).keys() == {"contact"}
    assert await search(company.service, who, "acme", record_types=["lead"]) == {}
    assert await search(company.service, who, "nowhere") == {}


async def test_a_changed_tag_is_found_and_the_former_one_is_not(company: Company) -> None:
    id = await customer(company, "Tagged", tags=["alpha"])
    changed = customer_service_pb2.UpdateCustomerRequest(
        customer=customer_pb2.Customer(id=id, tags=["omega"])
    )
    changed.update_mask.paths.append("tags")
    await company.service.ask(company.who, CUSTOMERS + "UpdateCustomer", changed, customer_pb2.Customer)
    assert await search(company.service, company.who, "alpha") == {}
    assert [hit.id for hit in (await search(company.service, company.who, "omega"))["customer"]] == [id]


async def test_rights_and_tenants(company: Company) -> None:
    await customer(company, "Hidden Corp")
    service, reads = company.service, Rights(Reach.OWN, Reach.OWN)
    assert await search(service, somebody("elsewhere"), "hidden") == {}
    own = replace(company.who, person_id=uuid4(), rights={"customers": reads})
    assert await search(service, own, "hidden") == {}
    without = replace(company.who, rights={"leads": Rights(Reach.ALL, Reach.ALL)})
    assert await search(service, without, "hidden") == {}
    everybody = await search(
        service, replace(company.who, rights={"customers": Rights(Reach.ALL, Reach.NONE)}), "hidden"
    )
    assert [hit.title for hit in everybody["customer"]] == ["Hidden Corp"]


async def test_bad_input(company: Company) -> None:
    for text, asked in (
        ("", {}),
        ("x" * 201, {}),
        ("x", {"page_size": 51}),
        ("x", {"record_types": ["Lead"]}),
    ):
        await refused(
            Code.INVALID_ARGUMENT, "INVALID_FIELD", search(company.service, company.who, text, **asked)
        )
    assert await search(company.service, company.who, "\u200b") == {}
