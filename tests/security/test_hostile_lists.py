"""Lists asked in bad faith: forged and borrowed page tokens, filters and orders that are none. Read from the descriptors."""

import base64
from typing import Any

import pytest

from gateway.contracts import load
from gateway.routes import Route, routes
from kehu_local.suite import Suite
from proof.company import World

LISTS = [
    route
    for route in routes(load())
    if route.http_method == "GET" and "page_token" in route.method.request.DESCRIPTOR.fields_by_name
]
FILTERS = (
    "id = 1; DROP TABLE leads",
    'createTime > "2020-01-01T00:00:00Z" OR 1=1 --',
    "' OR ''='",
    'tenantId = "00000000-0000-0000-0000-000000000000"',
    'passwordHash = "x"',
    "(" * 200 + "id = 1" + ")" * 200,
    "NOT " * 500 + "id = 1",
    'createTime > "never"',
    "createTime",
    "\x00",
    "\u202e\U0001f600 = 1",
    'createTime > "2020-01-01T00:00:00Z" AND' * 50,
    "creatorId = 7",
)
ORDERS = (
    "password_hash",
    "createTime; DROP TABLE leads",
    "createTime sideways",
    "createTime, createTime",
    "t.id",
    "1",
)


def name_of(route: Route) -> str:
    return route.template.text


def has(route: Route, field: str) -> bool:
    return field in route.method.request.DESCRIPTOR.fields_by_name


def address(route: Route, world: World) -> tuple[str, dict[str, str]]:
    text = route.template.text
    if text.endswith(("/changes", "/notes", "/attachments")):
        kinds = {"identity": "person", "sales": "order", "servicedesk": "ticket", "marketing": "campaign"}
        kind = kinds.get(route.method.domain, route.method.domain.removesuffix("s"))
        return text, {"recordType": kind, "recordId": world.ids[f"{kind}_id"]}
    if text.endswith(":byContact"):
        return text, {"view": "CONTACT_VIEW_CONTACTED_LAST_WEEK"}
    if "{" not in text:
        return text, {}
    prefix, _, rest = text.partition("{")
    return prefix + world.record_of(prefix) + rest.partition("}")[2], {}


@pytest.fixture(scope="module", autouse=True)
def owner(world: World) -> Any:
    return world.owner.sign_in()


def refused(world: World, route: Route, field: str, value: str) -> None:
    path, params = address(route, world)
    answer = world.owner.http.get(path, params={**params, field: value}, headers=world.owner.headers)
    assert answer.status_code == 400, (value[:80], answer.status_code, answer.text[:300])
    problem = answer.json()
    assert problem["reason"] and [one["field"] for one in problem["violations"]] == [field], problem


def test_every_list_is_tried() -> None:
    assert len(LISTS) >= 20


@pytest.mark.parametrize("route", [r for r in LISTS if has(r, "filter")], ids=name_of)
def test_filters_that_are_none(route: Route, suite: Suite, world: World) -> None:
    for text in FILTERS:
        refused(world, route, "filter", text)


@pytest.mark.parametrize("route", [r for r in LISTS if has(r, "order_by")], ids=name_of)
def test_orders_that_are_none(route: Route, suite: Suite, world: World) -> None:
    for text in ORDERS:
        refused(world, route, "orderBy", text)


@pytest.mark.parametrize("route", LISTS, ids=name_of)
def test_page_tokens_that_are_forged(route: Route, suite: Suite, world: World, rival: Any) -> None:
    good = a_token(world.owner)
    turned = base64.urlsafe_b64decode(good + "=" * (-len(good) % 4))
    bits = base64.urlsafe_b64encode(turned[:-1] + bytes([turned[-1] ^ 1])).decode().rstrip("=")
    tokens = ["x", "bm90IGEgdG9rZW4", good[:-4], bits, good + "AAAA", "\u4e2d", "A" * 4000]
    if route.template.text != "/v1/customers":
        tokens.append(good)  # of another list
    else:
        tokens.append(a_token(rival.sign_in()))  # of another tenant
    for token in tokens:
        refused(world, route, "pageToken", token)


@pytest.mark.parametrize("route", LISTS, ids=name_of)
def test_pages_of_any_size_asked(route: Route, suite: Suite, world: World) -> None:
    for size in ("-1", "1000000", "many", "1e3"):
        refused(world, route, "pageSize", size)


def a_token(person: Any) -> str:
    """A page token of the list of customers."""
    while len(person.get("/v1/customers").get("customers", [])) < 2:
        person.post("/v1/customers", {"displayName": "One more"})
    return str(person.get("/v1/customers", params={"pageSize": 1})["nextPageToken"])


def test_a_token_goes_on_with_its_own_question_only(world: World) -> None:
    token = a_token(world.owner)
    get, headers = world.owner.http.get, world.owner.headers
    assert get("/v1/customers", params={"pageToken": token}, headers=headers).status_code == 200
    for other in ({"filter": 'kind = "COMPANY"'}, {"orderBy": "displayName"}, {"query": "one"}):
        answer = get("/v1/customers", params={"pageToken": token, **other}, headers=headers)
        assert answer.status_code == 400 and answer.json()["reason"] == "PAGE_TOKEN_MISMATCH", answer.text
