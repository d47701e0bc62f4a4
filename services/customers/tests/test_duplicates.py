"""Duplicates: what is found, why, and by whom."""

import asyncio
import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest
from google.protobuf.empty_pb2 import Empty
from kehu.customers.v1 import (
    contact_pb2,
    contact_service_pb2,
    customer_pb2,
    customer_service_pb2,
    duplicate_pb2,
    duplicate_service_pb2,
    merge_pb2,
    merge_service_pb2,
    share_service_pb2,
    trash_pb2,
    trash_service_pb2,
)
from kehu.duplicates.v1 import duplicates_pb2 as pb
from sqlalchemy import text

from chassis.duplicates import runs, sweep
from chassis.duplicates.pair import pairs_erased, set_aside
from chassis.duplicates.runs import Sweeping, TooSlow
from chassis.duplicates.swept import MOST_ALIKE, Found
from chassis.errors import Code, Problem, Unavailable
from chassis.ids import new_id
from chassis.principal import Principal, Reach, Rights
from chassis.rpc import face
from chassis.testing import eventually, refused, somebody, together
from customers import duplicates
from customers.customer import Customer
from customers.rpc import alike
from customers.rpc.duplicate_sweeps import DUPLICATES as SWEPT
from customers.testing import Company

pytestmark = pytest.mark.asyncio(loop_scope="module")
RULE: dict[str, Any] = {
    "customers": duplicate_pb2.DUPLICATE_ACTION_REFUSE,
    "contacts": duplicate_pb2.DUPLICATE_ACTION_REFUSE,
}
OWN = {"customers": Rights(Reach.OWN, Reach.OWN)}
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
    # Creating it is not refused, and then both know of each other.
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


async def beside(
    company: Company, who: Principal | None, request: Any, within: float = 15
) -> tuple[Any, dict[str, Any]]:
    """What is created, and what is told beside it: scores by id, and how many more there are."""
    contact = isinstance(request, contact_service_pb2.CreateContactRequest)
    answer = contact_pb2.Contact if contact else customer_pb2.Customer
    channel: Any = company.service.channel
    ask = channel.unary_unary(
        f"/{CONTACTS}CreateContact" if contact else f"/{CUSTOMERS}CreateCustomer",
        request_serializer=type(request).SerializeToString, response_deserializer=answer.FromString,
    )  # fmt: skip
    running = ask(
        request,
        metadata=[("authorization", f"Bearer {company.service.token(who or company.who)}")],
        timeout=within,
    )
    made = await running
    told = dict(await running.trailing_metadata()).get("kehu-possible-duplicates")
    if told is None:
        return made, {}
    found = json.loads(told)
    return made, {one["id"]: one["reasons"] for one in found["duplicates"]} | {"hidden": found["hiddenCount"]}


async def test_who_creates_what_is_probably_there_is_told(company: Company) -> None:
    def new(**values: Any) -> customer_service_pb2.CreateCustomerRequest:
        asked = {name: values.pop(name) for name in ("allow_duplicate", "request_id") if name in values}
        return customer_service_pb2.CreateCustomerRequest(customer=customer_pb2.Customer(**values), **asked)

    first, told = await beside(
        company, None, new(display_name="一", phone="13800007777", email="Info@Told.example")
    )
    assert told == {}
    again = new(display_name="二", email="info@told.example", phone="138 0000 7777", request_id=uuid4().hex)
    second, told = await beside(company, None, again)
    assert set(told.pop(first.id)) == {"EMAIL", "PHONE"} and told == {"hidden": 0}
    # Whoever has not had the answer is told once more; it is there once.
    repeated, told = await beside(company, None, again)
    assert repeated.id == second.id and set(told) == {first.id, "hidden"}
    # What somebody may not see is counted.
    own = somebody(company.who.tenant, rights=OWN)
    _, told = await beside(
        company, own, new(display_name="三", phone="13800007777", email="info@told.example")
    )
    assert told == {"hidden": 2}
    # Who knows is not told, nor is a service, nor anybody where the rule says so.
    like = {"display_name": "四", "phone": "13800007777", "email": "info@told.example"}
    assert (await beside(company, None, new(**like, allow_duplicate=True)))[1] == {}
    assert (await beside(company, company.who.acting_as("leads"), new(**like)))[1] == {}
    met = contact_service_pb2.CreateContactRequest(
        contact=contact_pb2.Contact(
            customer_id=first.id, display_name="李娜", phones=[contact_pb2.ContactPhone(number="13800007778")]
        )
    )
    person, told = await beside(company, None, met)
    assert told == {}
    assert person.id in (await beside(company, None, met))[1]
    off = duplicate_pb2.DUPLICATE_ACTION_OFF
    rule = (await ruled(company, customers=off, contacts=off)).id
    assert await company.told(rule) == ["DuplicateRuleUpdated"]
    (change, *_) = await company.history("duplicate_rule", rule)
    assert [(f.field, f.old_value, f.new_value) for f in change.fields] == [
        ("contacts", "WARN", "OFF"), ("customers", "WARN", "OFF"),
    ]  # fmt: skip
    assert (await beside(company, None, new(**like)))[1] == {}
    assert (await beside(company, None, met))[1] == {}


async def test_what_is_created_is_answered_whatever_becomes_of_the_look(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any) -> Any:
        raise ValueError("a bug")

    async def endless(*_: Any) -> Any:
        await asyncio.Event().wait()

    def new(name: str) -> customer_service_pb2.CreateCustomerRequest:
        return customer_service_pb2.CreateCustomerRequest(customer=customer_pb2.Customer(display_name=name))

    monkeypatch.setattr(alike, "customers_like", broken)
    one, told = await beside(company, None, new("坏"))
    assert one.id and told == {}
    # However long it might look, the answer is there before the deadline.
    monkeypatch.setattr(alike, "customers_like", endless)
    monkeypatch.setattr(face, "_BESIDE", 60.0)
    one, told = await beside(company, None, new("慢"), within=2)
    assert one.id and told == {}


async def test_few_of_many_colleagues_are_compared(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[str] = []
    here, there = await made(company, display_name="此处"), await made(company, display_name="彼处")
    for name in ("王芳", "李雷", "韩梅"):
        id = await met(company, there, display_name=name)
        joining = contact_service_pb2.JoinCustomerRequest(
            id=id, affiliation=contact_pb2.Affiliation(customer_id=here)
        )
        await company.service.ask(company.who, CONTACTS + "JoinCustomer", joining, contact_pb2.Contact)
    real = duplicates.contact_traits

    def counted(read: Any) -> Any:
        compared.append(read("display_name"))
        return real(read)

    monkeypatch.setattr(duplicates, "contact_traits", counted)
    request = contact_service_pb2.CreateContactRequest(
        contact=contact_pb2.Contact(customer_id=here, display_name="李雷")
    )
    _, told = await beside(company, None, request)
    assert len(told) == 2 and "韩梅" not in compared and "王芳" not in compared


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
    assert rule.id == first.id
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


# ---- all of them


SWEEPS = "kehu.customers.v1.DuplicateSweepService/"
PAIRS = "kehu.customers.v1.DuplicatePairService/"
OPEN, ASIDE, MERGED = (
    pb.DUPLICATE_PAIR_STATE_OPEN,
    pb.DUPLICATE_PAIR_STATE_SET_ASIDE,
    pb.DUPLICATE_PAIR_STATE_MERGED,
)


async def start(company: Company, kind: str = "customer", who: Principal | None = None) -> pb.DuplicateSweep:
    request = pb.CreateDuplicateSweepRequest(record_type=kind)
    return await company.service.ask(
        who or company.who, SWEEPS + "CreateDuplicateSweep", request, pb.DuplicateSweep
    )


async def stands(company: Company, id: str, who: Principal | None = None) -> pb.DuplicateSweep:
    request = pb.GetDuplicateSweepRequest(id=id)
    return await company.service.ask(
        who or company.who, SWEEPS + "GetDuplicateSweep", request, pb.DuplicateSweep
    )


async def swept(company: Company, kind: str = "customer") -> pb.DuplicateSweep:
    begun = await start(company, kind)

    async def over() -> bool:
        return (await stands(company, begun.id)).state != pb.DUPLICATE_SWEEP_STATE_RUNNING

    await eventually(over, 60)
    done = await stands(company, begun.id)
    assert done.state == pb.DUPLICATE_SWEEP_STATE_SUCCEEDED and done.processed_records == done.total_records
    return done


async def pairs(
    company: Company,
    state: pb.DuplicatePairState.ValueType = OPEN,
    who: Principal | None = None,
    kind: str = "customer",
    **more: Any,
) -> list[pb.DuplicatePair]:
    found: list[pb.DuplicatePair] = []
    token = ""
    while True:
        asked: dict[str, Any] = {"page_size": 2, **more}
        request = pb.ListDuplicatePairsRequest(record_type=kind, state=state, page_token=token, **asked)
        page = await company.service.ask(
            who or company.who, PAIRS + "ListDuplicatePairs", request, pb.ListDuplicatePairsResponse
        )
        found += page.duplicate_pairs
        token = page.next_page_token
        if not token:
            return found


async def apart(
    company: Company, *ids: str, who: Principal | None = None, kind: str = "customer"
) -> pb.DuplicatePair:
    request = pb.SetAsideDuplicatePairRequest(record_type=kind, record_ids=ids)
    return await company.service.ask(
        who or company.who, PAIRS + "SetAsideDuplicatePair", request, pb.DuplicatePair
    )


async def again(
    company: Company, pair: pb.DuplicatePair, who: Principal | None = None, etag: str = ""
) -> pb.DuplicatePair:
    request = pb.ReopenDuplicatePairRequest(id=pair.id, etag=etag)
    return await company.service.ask(
        who or company.who, PAIRS + "ReopenDuplicatePair", request, pb.DuplicatePair
    )


async def merged(company: Company, *ids: str, kind: str = "Customer") -> merge_pb2.Merge:
    request: Any = getattr(merge_service_pb2, f"Merge{kind}sRequest")(id=ids[0], merged_ids=ids[1:])
    return await company.service.ask(
        company.who, f"kehu.customers.v1.MergeService/Merge{kind}s", request, merge_pb2.Merge
    )


async def unmerged(company: Company, merge: merge_pb2.Merge) -> None:
    request = merge_service_pb2.UndoMergeRequest(id=merge.id)
    await company.service.ask(
        company.who, "kehu.customers.v1.MergeService/UndoMerge", request, merge_pb2.Merge
    )


async def deleted(company: Company, id: str) -> None:
    request = customer_service_pb2.DeleteCustomerRequest(id=id)
    await company.service.ask(company.who, CUSTOMERS + "DeleteCustomer", request, Empty)


def two(pair: pb.DuplicatePair) -> frozenset[str]:
    return frozenset((pair.first.id, pair.second.id))


def twos(found: Iterable[pb.DuplicatePair]) -> set[frozenset[str]]:
    return {two(pair) for pair in found}


async def test_a_sweep_tells_as_pairs_what_is_found_of_each(company: Company) -> None:
    phone, tax = "13800001234", "91110108MA01ABCD1X"
    named = await made(company, display_name="深圳市华为技术开发有限公司", phone=phone, tax_number=tax)
    same = await made(company, display_name="华为技术开发（上海）有限公司", phone=phone, tax_number=tax)
    slip = await made(company, display_name="华为技木开发")
    mail = await made(company, display_name="丙", email="a@b.example")
    also = await made(company, display_name="丁", email="A@B.example")
    await made(company, display_name="戊")
    done = await swept(company)
    assert (done.total_records, done.found_pairs, done.new_pairs, done.frequent_value_count) == (6, 4, 4, 0)
    found = await pairs(company)
    assert [pair.score for pair in found] == sorted((pair.score for pair in found), reverse=True)
    assert twos(found) == {
        frozenset(ids) for ids in ((named, same), (named, slip), (same, slip), (mail, also))
    }
    # Each as the search for one of the two has it, whichever it is.
    for pair in found:
        for one, other in ((pair.first.id, pair.second.id), (pair.second.id, pair.first.id)):
            asked = await find(company, one)
            twin = next(duplicate for duplicate in asked.duplicates if duplicate.customer.id == other)
            assert (twin.score, sorted(kinds(twin))) == (pair.score, sorted(pair.reasons))
    first = found[0]
    assert (first.state, first.record_type, first.sweep_id) == (OPEN, "customer", done.id)
    assert (first.first.id, first.first.display_name, first.first.phone) == (
        named,
        "深圳市华为技术开发有限公司",
        "+86" + phone,
    )
    assert (
        first.second.id == same
        and first.first.etag == "1"
        and first.first.owner_id == str(company.who.person_id)
    )
    request = pb.GetDuplicatePairRequest(id=first.id)
    assert (
        await company.service.ask(company.who, PAIRS + "GetDuplicatePair", request, pb.DuplicatePair) == first
    )
    assert twos(await pairs(company, filter="score >= 99")) == {frozenset((named, same))}
    assert twos(await pairs(company, filter="reasons:EMAIL")) == {frozenset((mail, also))}
    assert await pairs(company, kind="") == found
    assert twos(await pairs(company, record_id=slip)) == {frozenset((named, slip)), frozenset((same, slip))}
    assert [one.score for one in await pairs(company, order_by="score")] == [one.score for one in found][::-1]
    # Nothing is new to a second sweep; what is alike no more is gone after it, what is deleted at once.
    change = customer_service_pb2.UpdateCustomerRequest(
        customer=customer_pb2.Customer(id=slip, display_name="别的")
    )
    change.update_mask.paths.append("display_name")
    await company.service.ask(company.who, CUSTOMERS + "UpdateCustomer", change, customer_pb2.Customer)
    await deleted(company, mail)
    assert frozenset((mail, also)) not in twos(await pairs(company))
    done = await swept(company)
    assert (done.found_pairs, done.new_pairs) == (1, 0)
    assert [two(pair) for pair in await pairs(company)] == [frozenset((named, same))]
    request = pb.ListDuplicateSweepsRequest(filter='recordType = "customer" AND state = SUCCEEDED')
    listed = await company.service.ask(
        company.who, SWEEPS + "ListDuplicateSweeps", request, pb.ListDuplicateSweepsResponse
    )
    assert [one.found_pairs for one in listed.duplicate_sweeps] == [1, 4]
    assert await pairs(company, who=somebody("c-others")) == []


async def test_two_that_are_not_the_same_are_proposed_no_more(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    phone = "13800001234"
    one, other, third = [await made(company, display_name=name, phone=phone) for name in ("甲", "乙", "丙")]
    done = await swept(company)
    assert done.found_pairs == 3
    aside = await apart(company, other, one)
    assert (aside.state, aside.set_aside_person_id, two(aside)) == (
        ASIDE,
        str(company.who.person_id),
        frozenset((one, other)),
    )
    assert await apart(company, one, other) == aside  # said already
    done = await swept(company)
    assert (done.found_pairs, done.set_aside_pairs, done.new_pairs) == (2, 1, 0)
    assert frozenset((one, other)) not in twos(await pairs(company)) and twos(
        await pairs(company, ASIDE)
    ) == {two(aside)}
    assert {twin.customer.id for twin in (await find(company, one)).duplicates} == {third}
    assert {twin.customer.id for twin in (await find(company, other)).duplicates} == {third}
    # Taken back, it is proposed again by both.
    (aside,) = await pairs(company, ASIDE)
    await refused(Code.ABORTED, "ETAG_MISMATCH", again(company, aside, etag="77"))
    opened = await again(company, aside, etag=aside.etag)
    assert (opened.state, opened.set_aside_person_id) == (OPEN, "")
    assert frozenset((one, other)) in twos(await pairs(company))
    assert {twin.customer.id for twin in (await find(company, one)).duplicates} == {other, third}
    await refused(Code.FAILED_PRECONDITION, "DUPLICATE_PAIR_NOT_SET_ASIDE", again(company, opened))
    # Two whom nothing would propose may be set aside before somebody does.
    strange = await made(company, display_name="戊")
    early = await apart(company, strange, one)
    assert (early.state, early.score, early.sweep_id) == (ASIDE, 0, "")
    await again(company, early)
    assert two(early) not in twos(await pairs(company))
    # What is decided while a sweep drops what is alike no more stays decided.
    change = customer_service_pb2.UpdateCustomerRequest(
        customer=customer_pb2.Customer(id=third, phone="13800009999")
    )
    change.update_mask.paths.append("phone")
    await company.service.ask(company.who, CUSTOMERS + "UpdateCustomer", change, customer_pb2.Customer)
    real = runs.unlike

    async def decided(*given: Any) -> Any:
        found = await real(*given)
        await apart(company, one, third)
        return found

    monkeypatch.setattr(runs, "unlike", decided)
    (kept,) = [pair for pair in await pairs(company) if two(pair) == frozenset((one, other))]
    await swept(company)
    assert twos(await pairs(company)) == {frozenset((one, other))}
    assert twos(await pairs(company, ASIDE)) == {frozenset((one, third))}
    # What a sweep has found as it was has the etag that it had.
    (same,) = await pairs(company)
    assert same.etag == kept.etag and same.sweep_id != kept.sweep_id


# Others have databases on the same server.
_WAITS = (
    "SELECT 1 FROM pg_locks WHERE NOT granted"
    " AND pid IN (SELECT pid FROM pg_stat_activity WHERE datname = current_database())"
)
_FREE = text(
    "SELECT id FROM duplicate_pairs WHERE first_id = :first AND second_id = :second FOR UPDATE NOWAIT"
)


async def test_who_decides_waits_for_others_and_not_in_a_circle(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = company.service.running.database
    one, other = [await made(company, display_name=name, phone="13800001234") for name in ("甲", "乙")]
    asked: list[asyncio.Task[pb.DuplicatePair]] = []

    async def waits() -> bool:
        return bool(await database.read(company.who, _WAITS))

    # Somebody decides on a pair that a sweep has just found and not written yet: they have the sweep's.
    real = getattr(Sweeping, "_keep")  # noqa: B009 (it is the sweep's own)

    async def keeps(*given: Any) -> None:
        await real(*given)
        asked.append(asyncio.create_task(apart(company, one, other)))
        await eventually(waits)

    with monkeypatch.context() as patch:
        patch.setattr(Sweeping, "_keep", keeps)
        done = await swept(company)
    aside = await asked[0]
    assert (aside.state, aside.sweep_id) == (ASIDE, done.id)
    # Whoever opens it again waits for a record and holds nothing that whoever has the record may want.
    async with database.transaction(company.who) as tx:
        await tx.find(Customer, UUID(min(one, other)))
        opening = asyncio.create_task(again(company, aside))
        await eventually(waits)
        assert (await set_aside(tx, SWEPT.of("customer"), [UUID(one), UUID(other)])).state == "SET_ASIDE"
    assert (await opening).state == OPEN
    # What a sweep drops it locks in the order of the records, whatever was found first.
    survivor, third, taken, last = sorted(
        [UUID(await made(company, display_name=uuid4().hex)) for _ in range(4)]
    )
    with monkeypatch.context() as patch:
        patch.setattr(sweep, "JOB", "nobody does this")
        begun = UUID((await start(company)).id)
    call = company.service.running.call(company.who.acting_as("customers"))
    sweeping = Sweeping(SWEPT.of("customer"), call, begun)
    async with database.transaction(company.who) as tx:
        row = await tx.find(sweep.DuplicateSweep, begun)
        for two in ((third, taken), (survivor, last)):
            await real(sweeping, tx, row, [Found(*two, 80, ["PHONE"])])
        await tx.session.execute(text("UPDATE duplicate_pairs SET sweep_id = NULL"))
    async with database.transaction(company.who) as tx:
        assert (await tx.session.execute(_FREE, {"first": survivor, "second": last})).all()
        forgetting = asyncio.create_task(getattr(sweeping, "_forget")())  # noqa: B009 (likewise)
        await eventually(waits)
        assert (await tx.session.execute(_FREE, {"first": third, "second": taken})).all()
    await forgetting
    # A merge takes those that it makes among those that are there.
    for whom in (third, last):
        await apart(company, str(taken), str(whom))
    async with database.transaction(company.who) as tx:
        row = await tx.find(sweep.DuplicateSweep, begun)
        await real(sweeping, tx, row, [Found(survivor, third, 80, ["PHONE"])])
        merging = asyncio.create_task(merged(company, str(survivor), str(taken)))
        await eventually(waits)
        assert (await tx.session.execute(_FREE, {"first": taken, "second": last})).all()
    await merging
    aside = {frozenset((str(whom), str(survivor))) for whom in (third, last)}
    assert aside <= twos(await pairs(company, ASIDE))
    # An erasure, which goes on to other records, holds none of it until its end.
    async with database.transaction(company.who) as tx:
        await pairs_erased(tx, "customer", survivor)
        await pairs_erased(tx, "customer", last)
        async with database.transaction(company.who) as beside:
            running = text("SELECT id FROM duplicate_sweeps WHERE state = 'RUNNING' FOR UPDATE NOWAIT")
            assert (await beside.session.execute(running)).all()
            assert (await beside.session.execute(_FREE, {"first": survivor, "second": third})).all()
    assert not aside & twos(await pairs(company, ASIDE))


async def test_pairs_follow_their_records(company: Company) -> None:
    phone = "13800001234"
    one, other, third = [await made(company, display_name=name, phone=phone) for name in ("甲", "乙", "丙")]
    await swept(company)
    await apart(company, other, third)
    # What is merged says so; what the merged one was not, the survivor is not either.
    merge = await merged(company, one, other)
    (pair,) = await pairs(company, MERGED)
    assert (two(pair), pair.merge_id) == (frozenset((one, other)), merge.id)
    assert {pair.first.display_name, pair.second.display_name} == {"甲", "乙"}
    assert await pairs(company) == []
    assert twos(await pairs(company, ASIDE)) == {frozenset((one, third))}
    assert (await find(company, one)).duplicates == []
    await refused(Code.NOT_FOUND, "NOT_FOUND", apart(company, one, other))
    await refused(Code.FAILED_PRECONDITION, "DUPLICATE_PAIR_NOT_SET_ASIDE", again(company, pair))
    # … and on with it, when that one goes into another.
    last = await made(company, display_name="己", phone=phone)
    further = await merged(company, last, one)
    assert twos(await pairs(company, ASIDE)) == {frozenset((last, third))}
    assert await pairs(company, MERGED) == []  # the survivor is nowhere to be seen
    await unmerged(company, further)
    assert twos(await pairs(company, ASIDE)) == {frozenset((one, third))}
    assert twos(await pairs(company, MERGED)) == {frozenset((one, other))}
    await unmerged(company, merge)
    assert twos(await pairs(company, ASIDE)) == {frozenset((other, third))}
    assert twos(await pairs(company)) == {frozenset((one, other)), frozenset((one, third))}
    assert await pairs(company, MERGED) == []
    # The trash takes pairs along and brings them back.
    await deleted(company, one)
    assert await pairs(company) == []
    # … also when a sweep ran meanwhile.
    await swept(company)
    request = trash_service_pb2.RestoreTrashItemRequest(id=one)
    await company.service.ask(
        company.who, "kehu.customers.v1.TrashService/RestoreTrashItem", request, trash_pb2.TrashItem
    )
    assert {frozenset((one, other)), frozenset((one, third))} <= twos(await pairs(company))
    # Of whom two that were taken in are not the same, it is not until both are out again, also further on.
    (aside,) = await pairs(company, ASIDE)
    await apart(company, one, third)
    survivor, beyond = [await made(company, display_name=name) for name in ("庚", "辛")]
    first, second = await merged(company, survivor, one), await merged(company, survivor, other)
    onward = await merged(company, beyond, survivor)
    assert twos(await pairs(company, ASIDE)) == {frozenset((beyond, third))}
    await unmerged(company, onward)
    assert twos(await pairs(company, ASIDE)) == {frozenset((survivor, third))}
    await unmerged(company, first)
    assert twos(await pairs(company, ASIDE)) == {frozenset((one, third)), frozenset((survivor, third))}
    await unmerged(company, second)
    assert twos(await pairs(company, ASIDE)) == {frozenset((one, third)), two(aside)}
    assert all(survivor not in two(pair) for pair in await pairs(company))
    # Undone in their order, they leave nothing that nobody has found …
    one, other, survivor = [await made(company, display_name=name) for name in ("壬", "癸", "子")]
    aside = await apart(company, one, other)
    first, second = await merged(company, survivor, one), await merged(company, survivor, other)
    await unmerged(company, first)
    await unmerged(company, second)
    assert all(survivor not in two(pair) for pair in await pairs(company))
    assert two(aside) in twos(await pairs(company, ASIDE))
    # … and take away nothing that somebody has said.
    survivor = await made(company, display_name="丑", phone="13800005678")
    other = await made(company, display_name="寅", phone="13800005678")
    said = await again(company, await apart(company, survivor, other))
    await apart(company, one, other)
    merge = await merged(company, survivor, one)
    assert two(said) in twos(await pairs(company, ASIDE))
    await unmerged(company, merge)
    assert two(said) in twos(await pairs(company))


async def test_pairs_are_for_those_who_may_read_both(company: Company) -> None:
    theirs = replace(company.who, person_id=new_id(), rights=OWN)
    phone = "13800001234"
    mine, own, also = [
        await made(company, who, display_name=name, phone=phone)
        for name, who in (("甲", company.who), ("乙", theirs), ("丙", theirs))
    ]
    done = await swept(company)
    assert done.found_pairs == 3
    (pair,) = await pairs(company, who=theirs)
    assert two(pair) == frozenset((own, also))
    hidden = next(one for one in await pairs(company) if two(one) == frozenset((mine, own)))
    request = pb.GetDuplicatePairRequest(id=hidden.id)
    await refused(
        Code.NOT_FOUND, "NOT_FOUND", company.service.ask(theirs, PAIRS + "GetDuplicatePair", request, pb.DuplicatePair)
    )  # fmt: skip
    await refused(Code.NOT_FOUND, "NOT_FOUND", apart(company, mine, own, who=theirs))
    # Of what is hidden no record is named, nor how it stands.
    with pytest.raises(Problem) as told:
        await again(company, hidden, theirs)
    assert (
        told.value.code == Code.NOT_FOUND
        and hidden.id in told.value.message
        and mine not in told.value.message
    )
    # Shared with them, the third is theirs to see, and not to decide on.
    share = share_service_pb2.ShareCustomerRequest(id=mine, person_id=str(theirs.person_id))
    await company.service.ask(
        company.who, "kehu.customers.v1.ShareService/ShareCustomer", share, customer_pb2.Customer
    )
    assert len(await pairs(company, who=theirs)) == 3
    await refused(Code.PERMISSION_DENIED, "RECORD_READ_ONLY", apart(company, mine, own, who=theirs))
    reads = replace(theirs, person_id=new_id(), rights={"customers": Rights(Reach.ALL, Reach.NONE)})
    assert len(await pairs(company, who=reads)) == 3
    await refused(Code.PERMISSION_DENIED, "RIGHT_MISSING", apart(company, mine, own, who=reads))
    await refused(Code.PERMISSION_DENIED, "RIGHT_MISSING", start(company, who=theirs))
    nobody = replace(theirs, rights={})
    await refused(Code.PERMISSION_DENIED, "RIGHT_MISSING", pairs(company, who=nobody))
    # Another company has none of it, and wrong questions have no answer.
    others = somebody("c-others")
    await refused(Code.NOT_FOUND, "NOT_FOUND", stands(company, done.id, others))
    await refused(Code.NOT_FOUND, "NOT_FOUND", again(company, hidden, others))
    await refused(Code.NOT_FOUND, "NOT_FOUND", apart(company, mine, own, who=others))
    await refused(Code.INVALID_ARGUMENT, "RECORD_TYPE_UNKNOWN", start(company, "lead"))
    await refused(Code.INVALID_ARGUMENT, "RECORD_TYPE_UNKNOWN", pairs(company, kind="card"))
    for wrong in ((mine,), (mine, mine), (mine, own, also), (mine, "x")):
        await refused(Code.INVALID_ARGUMENT, "INVALID_FIELD", apart(company, *wrong))
    await refused(Code.NOT_FOUND, "NOT_FOUND", apart(company, mine, str(uuid4())))
    await refused(Code.INVALID_ARGUMENT, "FILTER_INVALID", pairs(company, filter="state = OPEN"))


async def test_contacts_are_swept_with_their_colleagues(company: Company) -> None:
    there, elsewhere = await made(company, display_name="客户"), await made(company, display_name="别家")
    one = await met(
        company, there, display_name="张伟", phones=[contact_pb2.ContactPhone(number="13800001234")]
    )
    await met(company, there, display_name="张 伟")
    twin = await met(company, there, display_name="张伟")
    namesake = await met(company, elsewhere, display_name="张伟")
    phone = await met(
        company, elsewhere, display_name="李", phones=[contact_pb2.ContactPhone(number="13800001234")]
    )
    await swept(company, "contact")
    found = await pairs(company, kind="contact")
    assert {frozenset((one, twin)), frozenset((one, phone))} <= twos(found)
    assert all(namesake not in two(pair) for pair in found)
    colleagues = next(pair for pair in found if two(pair) == frozenset((one, twin)))
    assert list(colleagues.reasons) == ["SAME_CUSTOMER", "NAME"] and colleagues.first.detail == "客户"
    merge = await merged(company, one, twin, kind="Contact")
    assert twos(await pairs(company, MERGED, kind="contact")) == {frozenset((one, twin))}
    assert two(colleagues) not in twos(await pairs(company, kind="contact"))
    await unmerged(company, merge)
    assert two(colleagues) in twos(await pairs(company, kind="contact"))
    await apart(company, one, twin, kind="contact")
    request = duplicate_service_pb2.FindContactDuplicatesRequest(id=one)
    asked = await company.service.ask(
        company.who, DUPLICATES + "FindContactDuplicates", request, duplicate_pb2.ContactDuplicates
    )
    assert twin not in {duplicate.contact.id for duplicate in asked.duplicates}


async def test_what_too_many_have_in_common_tells_nothing(company: Company) -> None:
    many = MOST_ALIKE + 1
    await asyncio.gather(
        *(
            made(company, display_name=uuid4().hex, phone="01062986655", email=f"{n // 2}@b.example")
            for n in range(many)
        )
    )
    done = await swept(company)
    # Those of one address are found by it, and have the number in common, too.
    found = await pairs(company)
    assert len(found) == done.found_pairs == many // 2
    assert all({"EMAIL", "PHONE"} <= set(pair.reasons) for pair in found)
    assert [(one.reason, one.value) for one in done.frequent_values] == [("PHONE", "+861062986655")]
    assert done.frequent_value_count == 1
    theirs = replace(company.who, person_id=new_id(), rights=OWN)
    seen = await stands(company, done.id, theirs)
    assert (seen.frequent_value_count, len(seen.frequent_values)) == (1, 0)
    # Of a frequent name neither whole names nor parts of it bring it back; two who have more in common are told.
    bank = Company(company.service)
    names = [f"{place}招商银行有限公司" for place in ("北京", "上海", "深圳", "广州")]
    await asyncio.gather(
        *(
            made(
                bank,
                display_name=names[n % 4] if n else "招商银行",
                email="a@b.example" if n in (1, 2) else "",
            )
            for n in range(many)
        )
    )
    done = await swept(bank)
    assert ("CORE_NAME", "招商银行") in {(one.reason, one.value) for one in done.frequent_values}
    found = await pairs(bank, page_size=200)
    assert {pair.reasons[0] for pair in found} == {"NAME", "EMAIL"} and len(found) == done.found_pairs
    assert all(
        pair.first.display_name == pair.second.display_name for pair in found if pair.reasons[0] == "NAME"
    )
    # Nor do namesakes of whom one customer has so many.
    await asyncio.gather(
        *(met(bank, found[0].first.id, display_name="前台") for _ in range(many)),
        *(met(bank, found[0].second.id, display_name="前台") for _ in range(2)),
    )
    done = await swept(bank, "contact")
    assert [(one.reason, one.value) for one in done.frequent_values] == [("NAME", "前台")]
    (pair,) = await pairs(bank, kind="contact")
    assert (
        list(pair.reasons) == ["SAME_CUSTOMER", "NAME"] and pair.first.detail == found[0].second.display_name
    )


async def test_a_sweep_that_dies_goes_on_where_it_was(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(6):
        await made(company, display_name=f"客户{n}", phone=f"1380000000{n // 2}", email="a@b.example")
    monkeypatch.setattr(runs, "STEP", 1)
    real, looked = runs.look, 0

    async def dies(*given: Any) -> Any:
        nonlocal looked
        looked += 1
        if looked == 3:
            raise asyncio.CancelledError  # as when its process is killed
        return await real(*given)

    call = company.service.running.call(company.who.acting_as("customers"))
    monkeypatch.setattr(sweep, "JOB", "nobody does this")
    begun = await start(company)
    await refused(Code.ALREADY_EXISTS, "DUPLICATE_SWEEP_RUNNING", start(company))
    assert (await start(company, "contact")).state == pb.DUPLICATE_SWEEP_STATE_RUNNING  # of another kind
    monkeypatch.setattr(runs, "look", dies)
    with pytest.raises(asyncio.CancelledError):
        await Sweeping(SWEPT.of("customer"), call, UUID(begun.id)).carry_on()
    half = await stands(company, begun.id)
    assert half.processed_records == 2 and half.state == pb.DUPLICATE_SWEEP_STATE_RUNNING
    # Two who take it up do nothing twice, and who is overtaken comes again: the other may die.
    monkeypatch.setattr(runs, "look", together(2, real))
    outcomes = await asyncio.gather(
        *(Sweeping(SWEPT.of("customer"), call, UUID(begun.id)).carry_on() for _ in range(2)), return_exceptions=True
    )  # fmt: skip
    assert [one.reason for one in outcomes if isinstance(one, Problem)] == ["RECORD_BUSY"], outcomes
    await Sweeping(SWEPT.of("customer"), call, UUID(begun.id)).carry_on()
    done = await stands(company, begun.id)
    assert (done.state, done.processed_records) == (pb.DUPLICATE_SWEEP_STATE_SUCCEEDED, 6)
    found = await pairs(company)
    assert len(found) == len(twos(found)) == done.found_pairs == done.new_pairs == 15
    # One that is cancelled ends, and another may begin.
    begun = await start(company)
    request = pb.CancelDuplicateSweepRequest(id=begun.id)
    await company.service.ask(company.who, SWEEPS + "CancelDuplicateSweep", request, pb.DuplicateSweep)
    await Sweeping(SWEPT.of("customer"), call, UUID(begun.id)).carry_on()
    stopped = await stands(company, begun.id)
    assert (stopped.state, stopped.processed_records) == (pb.DUPLICATE_SWEEP_STATE_CANCELLED, 0)
    await refused(
        Code.FAILED_PRECONDITION, "DUPLICATE_SWEEP_ENDED",
        company.service.ask(company.who, SWEEPS + "CancelDuplicateSweep", request, pb.DuplicateSweep),
    )  # fmt: skip
    assert len(await pairs(company)) == 15

    # What was counted as frequent stays counted, though an erasure has forgotten it.
    counted = sweep.DuplicateSweep(kind="customer", frequent=[], frequent_values=3)
    vars(runs)["_note"](counted, {("PHONE", "1"): None})
    assert (counted.frequent, counted.frequent_values) == ([["PHONE", "1"]], 3)

    # One that fails again and again is given up and says so.
    async def fails(*given: Any) -> Any:
        raise ValueError("a fault")

    begun = await start(company)
    monkeypatch.setattr(runs, "look", fails)
    for _ in range(4):
        with pytest.raises(ValueError):
            await Sweeping(SWEPT.of("customer"), call, UUID(begun.id)).carry_on()
    await Sweeping(SWEPT.of("customer"), call, UUID(begun.id)).carry_on()
    failed = await stands(company, begun.id)
    assert (failed.state, failed.failure_reason) == (pb.DUPLICATE_SWEEP_STATE_FAILED, "INTERNAL")
    # What takes the database too long is asked of fewer at once; where one is too many, it counts as a failure.
    slow: list[int] = []

    async def takes_long(*given: Any) -> Any:
        slow.append(len(given[3]))
        if len(given[3]) > most:
            raise Unavailable("The database took too long.", reason="DATABASE_SLOW")
        return await real(*given)

    begun, most = await start(company), 2
    monkeypatch.setattr(runs, "STEP", 100)
    monkeypatch.setattr(runs, "look", takes_long)
    await Sweeping(SWEPT.of("customer"), call, UUID(begun.id)).carry_on()
    done = await stands(company, begun.id)
    assert (done.state, done.found_pairs) == (pb.DUPLICATE_SWEEP_STATE_SUCCEEDED, 15)
    assert slow == [6, 3, 1, 1, 1, 1, 1, 1]
    begun, most = await start(company), 0
    for _ in range(4):
        with pytest.raises(TooSlow):
            await Sweeping(SWEPT.of("customer"), call, UUID(begun.id)).carry_on()
    await Sweeping(SWEPT.of("customer"), call, UUID(begun.id)).carry_on()
    assert (await stands(company, begun.id)).state == pb.DUPLICATE_SWEEP_STATE_FAILED
