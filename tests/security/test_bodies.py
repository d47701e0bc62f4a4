"""Bodies that say more than their sender may: others' ids, fields that are not the sender's, rights above their own."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor
from kehu.rules.v1 import rules_pb2

from chassis.validation.rules import IMMUTABLE, OUTPUT_ONLY, behaviors, rules_of
from gateway.contracts import load
from gateway.routes import Route, routes
from proof.company import World, changing, furnished, imported, pair_of, record_for
from proof.requests import body_of, request_of
from tests.security.conftest import Program, keyed

ROUTES = [route for route in routes(load()) if not route.method.access.public and not route.is_upload]
WRITES = [route for route in ROUTES if route.binding.body and not route.method.reads]
CREATES = [route for route in WRITES if route.method.name.startswith("Create")]
UPDATES = [route for route in WRITES if route.http_method == "PATCH"]
ID = "0198c5a2-7d2e-7c3b-9a70-3f1f0e5b6a11"
UNKNOWN = (
    "tenantId", "tenant_id", "version", "deletedAt", "deleted_at", "createdBy", "passwordHash", "password_hash", "search",
    "isAdmin", "__proto__", "constructor",
)  # fmt: skip
KINDS = {
    "owner_id": "person_id", "manager_id": "person_id", "person_id": "person_id", "requester_id": "person_id",
    "parent_customer_id": "customer_id", "reports_to_id": "contact_id", "origin_lead_id": "lead_id", "role_ids": "role_id",
    "customer_ids": "customer_id", "lead_ids": "lead_id", "shared_team_id": "team_id", "survivor_id": "merged_lead_id",
    "lead_owner_id": "person_id",
}  # fmt: skip
"""Which of a company's records a field names that is not called as they are."""


def name_of(route: Route) -> str:
    return f"{route.http_method} {route.template.text}"


@pytest.fixture(scope="module")
def third(founded: Callable[[str], Any]) -> World:
    """A company with a record of everything, whose administrator reaches for ours."""
    return furnished(founded("third"), "Third")


@pytest.fixture(scope="module")
def them(third: World) -> Program:
    """Its administrator."""
    return keyed(third.owner)


@pytest.fixture(scope="module")
def ours(world: World, us: Program, rows_of: Any) -> Any:
    """Our rows, at rest."""
    look = rows_of(world.tenant_id)
    look.settled()
    return look


def path_for(route: Route, world: World) -> str:
    text = route.template.text
    if "{" not in text:
        return text
    prefix, _, rest = text.partition("{")
    return prefix + world.record_of(prefix) + rest.partition("}")[2]


def body_for(route: Route, world: World) -> dict[str, Any]:
    record = record_for(world, route.method.service, route.method.domain)
    if "{" in route.template.text:
        record = world.record_of(route.template.text.partition("{")[0])
    request: Any = request_of(route.method, world.ids, record)
    if route.method.name == "CreateCampaignMember":
        request.campaign_member.lead_id = ""
    if route.method.name in ("CreateLead", "CaptureLead"):
        request.lead.name = "Somebody"
    if route.method.name == "CreateBulkEdit":
        request.record_type = imported(route.method.domain)
        request.change.values.struct_value.update({"customFields": {"own": "x"}})
    if route.method.name == "SetAsideDuplicatePair":
        request.record_ids[:] = pair_of(world, route.method.domain)
    if route.method.name == "CreateErasure":
        # A company is no person: nobody is to be gone for those who come after.
        request.erasure.record_type, request.erasure.record_id = "customer", world.ids["customer_id"]
    if route.method.name == "CreateSavedView":
        request.saved_view.record_type = changing(route.method.domain)
    if route.method.name == "CreateNote":
        kind = changing(route.method.domain)
        request.note.record_type, request.note.record_id = kind, world.ids[f"{kind}_id"]
    if route.method.name == "CreateWebForm":
        for number, one in enumerate(request.web_form.fields):
            one.key = f"k{number}"
    body = body_of(route, request)
    return (
        {name: value for name, value in body.items() if name not in ("id", "ids")}
        if route.binding.body == "*"
        else body
    )


def resource_of(route: Route) -> Any:
    """What the body is."""
    if route.binding.body == "*":
        return route.method.request.DESCRIPTOR
    found = route.method.request.DESCRIPTOR.fields_by_name[route.binding.body].message_type
    assert found is not None
    return found


# ---- fields that are not the sender's


def hostile(field: FieldDescriptor) -> Any:
    """A value that a service would hardly choose by itself."""
    if field.enum_type is not None:
        return field.enum_type.values[-1].name
    if field.message_type is not None:
        known = {
            "google.protobuf.Timestamp": "2001-02-03T04:05:06Z",
            "google.type.Money": {"currencyCode": "CNY", "units": "424242"},
            "google.type.Date": {"year": 2001, "month": 2, "day": 3},
        }
        return known.get(field.message_type.full_name, {})
    if field.type == FieldDescriptor.TYPE_STRING:
        return ID if field.name.endswith("id") else "424242"
    return True if field.type == FieldDescriptor.TYPE_BOOL else 424242


def not_theirs(route: Route) -> dict[str, Any]:
    """The fields of a body that its sender may not set, with such values."""
    kept = [
        f for f in resource_of(route).fields if OUTPUT_ONLY in behaviors(f) and f.name not in ("id", "etag")
    ]
    return {f.json_name: [hostile(f)] if f.is_repeated else hostile(f) for f in kept}


def moved(route: Route, answer: Mapping[str, Any]) -> list[str]:
    """The fields of an answer that hold what their sender had no right to set."""
    telling = {n: v for n, v in not_theirs(route).items() if v not in ({}, [{}], True)}
    return [name for name, value in telling.items() if answer.get(name) == value]


@pytest.mark.parametrize("route", [r for r in UPDATES if not_theirs(r)], ids=name_of)
def test_fields_that_are_not_the_callers_do_not_move(route: Route, world: World, us: Program) -> None:
    path = path_for(route, world)
    before = us.ask("GET", path).json()
    answer = us.ask("PATCH", path, not_theirs(route))
    assert answer.status_code in (200, 400), answer.text
    after = us.ask("GET", path).json()
    assert {name: after.get(name) for name in before} == before and moved(route, after) == []
    fixed = {f.json_name: hostile(f) for f in resource_of(route).fields if IMMUTABLE in behaviors(f)}
    fixed = {name: value for name, value in fixed.items() if name != "id"}
    for name, value in {**not_theirs(route), **fixed}.items():
        masked = us.ask("PATCH", path, {name: value}, params={"updateMask": name})
        assert masked.status_code == 400, (name, masked.text)
    assert us.ask("GET", path).json() == after


@pytest.mark.parametrize("route", [r for r in CREATES if not_theirs(r)], ids=name_of)
def test_new_records_begin_as_the_service_has_it(route: Route, world: World, us: Program) -> None:
    answer = us.ask("POST", path_for(route, world), {**body_for(route, world), **not_theirs(route)})
    assert answer.status_code in (200, 400, 409), answer.text
    if answer.status_code == 200:
        told: dict[str, Any] = answer.json()
        made: dict[str, Any] = told.get("person") or told.get("apiKey") or told
        assert moved(route, made) == []
        assert made.get("creatorId", "") != ID


def test_a_field_that_would_move_is_seen() -> None:
    route = next(r for r in CREATES if r.method.name == "CreateCustomer")
    assert {"creatorId", "createTime", "updateTime"} <= not_theirs(route).keys()
    assert moved(route, {"creatorId": ID, "createTime": "2026-01-01T00:00:00Z"}) == ["creatorId"]
    assert moved(route, {"createTime": "2001-02-03T04:05:06Z"}) == ["createTime"]


@pytest.mark.parametrize("route", WRITES, ids=name_of)
def test_unknown_fields_are_refused(route: Route, world: World, us: Program) -> None:
    known = {f.json_name for f in resource_of(route).fields} | {f.name for f in resource_of(route).fields}
    unknown = [name for name in UNKNOWN if name not in known]
    said = {**body_for(route, world), **dict.fromkeys(unknown, "x")}
    answer = us.ask(route.http_method, path_for(route, world), said)
    assert answer.status_code == 400, answer.text
    refused = " ".join(violation["field"] for violation in answer.json()["violations"])
    assert all(name in refused for name in unknown), answer.text


# ---- others' ids


def places(route: Route) -> Iterator[tuple[tuple[str, ...], FieldDescriptor]]:
    """Where a body can name another record, as JSON names from the outside in."""
    own = f"{route.binding.body}_id" if route.method.name.startswith("Create") else ""
    for field in resource_of(route).fields:
        if OUTPUT_ONLY in behaviors(field) or field.name in ("id", "request_id", own):
            continue
        if rules_of(field).format == rules_pb2.FORMAT_UUID:
            yield (field.json_name,), field
        elif field.message_type is not None and field.message_type.full_name.startswith("kehu."):
            for inner in field.message_type.fields:
                named = inner.name != "id" and OUTPUT_ONLY not in behaviors(inner)
                if named and rules_of(inner).format == rules_pb2.FORMAT_UUID:
                    yield (field.json_name, inner.json_name), inner


REACHES = [(route, *place) for route in WRITES for place in places(route)]


def with_id(
    body: dict[str, Any], route: Route, names: tuple[str, ...], field: FieldDescriptor, id: str
) -> dict[str, Any]:
    """The body with that id in that place."""
    value: Any = [id] if field.is_repeated else id
    if len(names) == 1:
        return {**body, names[0]: value}
    outer = resource_of(route).fields_by_camelcase_name[names[0]]
    known: Any = body.get(names[0])
    if outer.is_repeated:
        first: dict[str, Any] = known[0] if known else {}
        return {**body, names[0]: [{**first, names[1]: value}]}
    return {**body, names[0]: {**(known or {}), names[1]: value}}


def kind_of(route: Route, field: FieldDescriptor, world: World) -> str:
    """The id of ours that such a field could hold."""
    if field.name == "parent_id":
        return world.ids["team_id"]
    if field.name == "ids":
        return record_for(world, route.method.service, route.method.domain)
    return world.ids.get(KINDS.get(field.name, field.name), world.ids["customer_id"])


KEPT = {
    "originLeadId": "where a record came from is told and not looked up",
    "lead.campaignId": "as campaignId",
    "campaignId": "leads are counted for a campaign by marketing, which knows its own",
    "leadId": "an activity waits for its lead, which another service keeps",
    "contactId": "an activity names a contact, which another service keeps",
    "orderId": "a ticket names an order, which another service keeps",
    "productId": "as orderId",
    "ids": "an edit of many refuses those that are not there one by one",
    "leadIds": "many are added at once: those that are not there are named in the answer",
    "customerIds": "as leadIds",
    "opportunity.productId": "a conversion begins, and what sales then refuses ends it",
    "opportunity.stageId": "as opportunity.productId",
}
"""Places in which an id is taken without the record being looked for at once, and why. It leads nowhere: it is looked for in the
company of the caller only."""


def place_id(value: Any) -> str:
    return name_of(value) if isinstance(value, Route) else ".".join(value)


@pytest.mark.parametrize(("route", "names"), [(route, names) for route, names, _ in REACHES], ids=place_id)
def test_another_companys_ids_in_a_body_are_refused(
    route: Route, names: tuple[str, ...], world: World, third: World, them: Program, ours: Any
) -> None:
    field = next(found for one, place, found in REACHES if one is route and place == names)
    body = with_id(body_for(route, third), route, names, field, kind_of(route, field, world))
    answer = them.ask(route.http_method, path_for(route, third), body)
    assert answer.status_code < 500 and answer.status_code not in (401, 429), answer.text
    assert answer.status_code >= 400 or ".".join(names) in KEPT, answer.text
    assert "Ours-" not in answer.text
    if "{" in route.template.text:
        assert "Ours-" not in them.ask("GET", path_for(route, third).partition(":")[0]).text
    assert ours.unchanged()


def test_there_are_such_places() -> None:
    assert len(REACHES) > 40


@pytest.fixture(scope="module")
def seller(world: World, program: Callable[..., Program]) -> Program:
    """Somebody of our company who may read and write their own records and nobody else's."""
    own = ("OWN", "OWN")
    rights = dict.fromkeys(("customers", "leads", "opportunities", "orders", "campaigns", "tickets"), own)
    return program(world.owner.sign_in(), {**rights, "products": ("ALL", "NONE")})


def test_a_record_one_may_not_see_takes_no_link(world: World, seller: Program) -> None:
    hidden = world.ids
    price = [{"productId": hidden["product_id"], "quantity": "1"}]
    tries: list[tuple[str, dict[str, Any]]] = [
        ("/v1/contacts", {"displayName": "x", "customerId": hidden["customer_id"]}),
        ("/v1/opportunities", {"name": "x", "customerId": hidden["customer_id"]}),
        ("/v1/orders", {"customerId": hidden["customer_id"], "lines": price}),
        ("/v1/tickets", {"subject": "x", "customerId": hidden["customer_id"]}),
        ("/v1/customers", {"displayName": "x", "parentCustomerId": hidden["customer_id"]}),
        ("/v1/campaignMembers", {"campaignId": hidden["campaign_id"], "customerId": hidden["customer_id"]}),
        ("/v1/campaignAudiences", {"campaignId": hidden["campaign_id"], "segmentId": hidden["segment_id"]}),
    ]
    for link in ("customerId", "leadId", "opportunityId"):
        task = {"subject": "x", "kind": "ACTIVITY_KIND_NOTE", "dueTime": "2026-12-01T09:00:00Z"}
        tries.append(("/v1/activities", {**task, link: hidden[f"{link.removesuffix('Id')}_id"]}))
    for path, body in tries:
        answer = seller.ask("POST", path, body)
        assert answer.status_code in (400, 403, 404), (path, body, answer.text)
        assert "Ours-" not in answer.text
    mine = seller.ask("POST", "/v1/customers", {"displayName": "Mine"}).json()["id"]
    lead = seller.ask("POST", "/v1/leads", {"name": "Mine", "companyName": "Mine"}).json()["id"]
    for path, body in (
        (f"/v1/customers/{mine}", {"parentCustomerId": hidden["customer_id"]}),
        (f"/v1/leads/{lead}", {"campaignId": hidden["campaign_id"]}),
    ):
        answer = seller.ask("PATCH", path, body)
        assert answer.status_code in (400, 403, 404, 200), answer.text
        assert "Ours-" not in answer.text
    bid = {"name": "x", "customerId": mine, "competitorIds": [hidden["competitor_id"]]}
    answer = seller.ask("POST", "/v1/opportunities", bid)
    assert answer.json()["reason"] == "COMPETITOR_NOT_FOUND" and "Ours-" not in answer.text
    joined = seller.ask("POST", f"/v1/leads/{lead}:convert", {"customerId": hidden["customer_id"]})
    assert joined.status_code in (400, 403, 404, 409), joined.text


def test_many_at_once_take_in_nothing_that_is_hidden(world: World, third: World, seller: Program) -> None:
    mine = seller.ask("POST", "/v1/customers", {"displayName": "Mine too"}).json()["id"]
    foreign = third.ids["customer_id"]
    ids = [mine, world.ids["customer_id"], foreign]
    found = seller.ask("POST", "/v1/customers:lookUp", {"ids": ids})
    assert [one["id"] for one in found.json().get("customers", [])] == [mine], found.text
    rivals = [world.ids["competitor_id"], third.ids["competitor_id"]]
    found = seller.ask("POST", "/v1/competitors:lookUp", {"ids": rivals})
    assert found.json().get("competitors", []) == [], found.text
    campaign = seller.ask(
        "POST", "/v1/campaigns", {"name": "Mine", "channel": "CAMPAIGN_CHANNEL_EMAIL"}
    ).json()["id"]
    added = seller.ask("POST", f"/v1/campaigns/{campaign}:addMembers", {"customerIds": ids})
    assert added.status_code == 200, added.text
    assert (added.json()["addedCount"], set(added.json()["refusedIds"])) == (
        1,
        {world.ids["customer_id"], foreign},
    )
    members = seller.ask("GET", "/v1/campaignMembers", params={"filter": f'campaignId = "{campaign}"'}).json()
    assert [one["customerId"] for one in members["campaignMembers"]] == [mine]
    cards = seller.ask(
        "POST", "/v1/people:lookUp", {"ids": [third.ids["person_id"]], "emails": ["boss@third.example"]}
    )
    assert cards.json().get("people", []) == []


# ---- rights above one's own


def test_nobody_rises_above_themselves(world: World, program: Callable[..., Program]) -> None:
    owner = world.owner.sign_in()
    clerk = program(owner, {"people": ("ALL", "ALL")})
    roles = {role["name"]: role["id"] for role in owner.get("/v1/roles")["roles"]}
    admin = owner.get("/v1/me")["person"]["id"]
    everything = {"resource": "RIGHT_RESOURCE_ORDERS", "read": "REACH_ALL", "write": "REACH_ALL"}
    above: list[tuple[str, str, Any]] = [
        ("PATCH", f"/v1/people/{clerk.person_id}", {"roleIds": [roles["Administrator"]]}),
        (
            "POST",
            "/v1/people",
            {"email": "up@ours.example", "displayName": "Up", "roleIds": [roles["Administrator"]]},
        ),
        ("POST", "/v1/roles", {"name": "Up", "rights": [everything]}),
        ("POST", "/v1/apiKeys", {"name": "Up", "personId": admin}),
        ("POST", f"/v1/people/{admin}:resetPassword", {}),
        ("POST", f"/v1/people/{admin}:disable", {}),
        ("PATCH", f"/v1/people/{admin}", {"email": "taken@ours.example"}),
        ("PATCH", f"/v1/people/{admin}", {"roleIds": []}),
    ]
    for method, path, body in above:
        answer = clerk.ask(method, path, body)
        assert (answer.status_code, answer.json()["reason"]) == (403, "ROLE_ABOVE_OWN"), (path, answer.text)
    # Who was shut out with more rights than one's own is not let in again by oneself.
    strong = owner.post(
        "/v1/people",
        {"email": "strong@ours.example", "displayName": "Strong", "roleIds": [roles["Administrator"]]},
    )
    strong = strong["person"]["id"]
    owner.post(f"/v1/people/{strong}:disable")
    answer = clerk.ask("POST", f"/v1/people/{strong}:enable", {})
    assert (answer.status_code, answer.json()["reason"]) == (403, "ROLE_ABOVE_OWN"), answer.text
    assert owner.post(f"/v1/people/{strong}:enable")["status"] == "PERSON_STATUS_ACTIVE"
