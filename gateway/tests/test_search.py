"""Search across: groups of all services, and named gaps when one of them is not there."""

import asyncio
from typing import Any

import pytest
from kehu.search.v1 import search_pb2 as pb

from chassis.errors import Denied, Invalid, Unauthenticated
from gateway.testing import House

METHOD = "SearchService/SearchRecords"


def group(kind: str, *hits: tuple[str, Any], more: bool = False) -> pb.SearchGroup:
    match = pb.SearchMatch(field="name", value="<b>Acme</b>", part="<b>")
    made = [pb.SearchHit(id=id, title=id, rank=rank, matches=[match]) for id, rank in hits]
    return pb.SearchGroup(record_type=kind, hits=made, more=more)


@pytest.fixture
def everywhere(house: House) -> House:
    """Something in every module there is."""
    found = {
        "customers": [
            group("customer", ("c1", pb.SEARCH_RANK_BEGINS), more=True),
            group("contact", ("k1", pb.SEARCH_RANK_HOLDS)),
        ],
        "identity": [group("person", ("p1", pb.SEARCH_RANK_EXACT))],
        "leads": [group("lead", ("l1", pb.SEARCH_RANK_EXACT), ("l2", pb.SEARCH_RANK_HOLDS))],
        "sales": [group("order", ("o1", pb.SEARCH_RANK_HOLDS))],
    }  # fmt: skip
    for domain, groups in found.items():
        house.on(f"{domain}.{METHOD}", lambda request, groups=groups: pb.SearchRecordsResponse(groups=groups))
    return house


async def search(house: House, expect: int = 200, query: str = "q=acme") -> dict[str, Any]:
    answer = await house.http.get(f"/v1/search?{query}", headers=house.bearer())
    assert answer.status_code == expect, answer.text
    return answer.json()


def asked(house: House, domain: str) -> Any:
    return [request for name, request, _ in house.peers[domain].calls if name == METHOD]


async def test_the_best_come_first_and_the_gaps_are_named(everywhere: House) -> None:
    body = await search(everywhere)
    assert [one["recordType"] for one in body["groups"]] == ["lead", "person", "customer", "contact", "order"]
    assert [hit["id"] for hit in body["groups"][0]["hits"]] == ["l1", "l2"]
    assert body["groups"][2]["more"] is True
    assert body["groups"][0]["hits"][0]["matches"] == [
        {"field": "name", "value": "<b>Acme</b>", "part": "<b>"}
    ]
    assert [(gap["service"], gap["types"], gap["reason"]) for gap in body["missing"]] == [
        ("servicedesk", ["ticket"], "MODULE_NOT_INSTALLED")
    ]


async def test_everybody_is_asked_as_the_caller_with_the_same_words(everywhere: House) -> None:
    await search(everywhere, query="q=%E7%94%A8%E5%8F%8B+acme&pageSize=7")
    for domain in ("customers", "identity", "leads", "sales"):
        (request,) = asked(everywhere, domain)
        assert (request.query, request.page_size, list(request.record_types)) == ("用友 acme", 7, [])
        assert everywhere.peers[domain].calls[-1][2] is not None


async def test_types_narrow_whom_is_asked(everywhere: House) -> None:
    await search(everywhere, query="q=acme&types=lead&types=contact,lead")
    assert [list(one.record_types) for one in asked(everywhere, "leads")] == [["lead", "contact"]]
    assert asked(everywhere, "sales") == [] == asked(everywhere, "identity")
    assert (await search(everywhere, query="q=acme&types=lead"))["missing"] == []


async def test_a_service_that_is_down_or_hangs_costs_its_own_kinds(everywhere: House) -> None:
    async def never(request: Any) -> Any:
        await asyncio.Event().wait()

    everywhere.on(f"sales.{METHOD}", never)
    await everywhere.peers["leads"].stop()
    async with asyncio.timeout(3):
        body = await search(everywhere)
    assert [one["recordType"] for one in body["groups"]] == ["person", "customer", "contact"]
    gaps = {gap["service"]: (gap["types"], gap["reason"]) for gap in body["missing"]}
    assert gaps["sales"] == (["opportunity", "order", "product"], "DEADLINE_EXCEEDED")
    assert gaps["leads"][0] == ["lead"] and gaps.keys() == {"leads", "sales", "servicedesk"}


async def test_a_service_that_refuses_is_named(everywhere: House) -> None:
    def deny(request: Any) -> Any:
        raise Denied("Choose a new password first.", reason="PASSWORD_CHANGE_REQUIRED")

    everywhere.on(f"leads.{METHOD}", deny)
    gaps = {gap["service"]: gap["reason"] for gap in (await search(everywhere))["missing"]}
    assert gaps["leads"] == "PASSWORD_CHANGE_REQUIRED"

    def ended(request: Any) -> Any:
        raise Unauthenticated("Your sign-in has ended.", reason="TOKEN_EXPIRED")

    everywhere.on(f"leads.{METHOD}", ended)
    assert (await search(everywhere, 401))["reason"] == "TOKEN_EXPIRED"

    def refuse(request: Any) -> Any:
        raise Invalid("query", "is no good")

    everywhere.on(f"leads.{METHOD}", refuse)
    await search(everywhere, 400)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("", "q"),
        ("q=", "q"),
        ("q=%20%E2%80%8B", "q"),
        ("q=" + "x" * 201, "q"),
        ("q=a+b+c+d+e+f+g+h+i", "q"),
        ("q=%00", "q"),
        ("q=%ff", "query"),
        ("q=a&q=b", "q"),
        ("q=a&pageSize=51", "pageSize"),
        ("q=a&pageSize=-1", "pageSize"),
        ("q=a&pageSize=x", "pageSize"),
        ("q=a&pageSize=1&pageSize=2", "pageSize"),
        ("q=a&types=", "types"),
        ("q=a&types=lead,secret", "types"),
        ("q=a&filter=x", "filter"),
    ],
)
async def test_bad_input_is_named_and_nobody_is_asked(house: House, query: str, field: str) -> None:
    body = await search(house, 400, query)
    assert field in body["violations"][0]["field"], body
    assert not any(asked(house, domain) for domain in house.peers)


async def test_strangers_find_nothing(house: House) -> None:
    assert (await house.http.get("/v1/search?q=acme")).status_code == 401
    assert (await house.http.post("/v1/search?q=acme", headers=house.bearer())).status_code == 405
