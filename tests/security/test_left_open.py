"""Doors that a set-up leaves open, and doors that lead elsewhere."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import grpc
import pytest
from google.protobuf.empty_pb2 import Empty
from kehu.identity.v1 import tenant_pb2, tenant_service_pb2
from kehu.marketing.v1 import web_form_service_pb2

from chassis.principal import GATEWAY, IDENTITY, Issuer, Principal
from gateway.contracts import load
from gateway.routes import routes
from kehu_local.suite import Suite
from proof.company import World, founded
from proof.matrix import ACTORS, RESOURCES
from proof.people import Person
from tests.security.conftest import Program

LIKELY = ("admin", "password", "kehu")
"""Few: who fails often is slowed down, and all tests come from one address."""


def test_nobody_is_let_in_by_default(suite: Suite, http: Any) -> None:
    for password in LIKELY:
        said = {"tenant": "demo", "email": "admin@demo.example", "password": password}
        answer = http.post("/v1/sessions:signIn", json=said)
        assert answer.status_code == 401, (password, answer.text)
    for headers in (
        {"x-api-key": "kehu_demo_x"},
        {"authorization": "Bearer kehu_demo_"},
        {"cookie": "kehu_session=demo"},
    ):
        assert http.get("/v1/people", headers=headers).status_code == 401


def test_setting_up_is_no_method_for_strangers(suite: Suite, world: World) -> None:
    """Only the operator's own key makes tenants; there is no address for it, and no public method but those that are known."""
    public = {method.full_name.rpartition(".")[2] for method in load().methods if method.access.public}
    assert public == {"SignIn", "RefreshSession", "SubmitWebForm"}
    words = ("setup", "install", "demo", "debug", "metrics", "admin", "actuator", "console")
    paths = {route.template.text for route in routes(load())}
    assert not [path for path in paths if any(word in path.lower().split("/") for word in words)]
    request = tenant_service_pb2.CreateTenantRequest(
        tenant=tenant_pb2.Tenant(name="Mine", slug="mine"),
        administrator_email="me@mine.example",
        administrator_name="Me",
    )
    with grpc.insecure_channel(suite.services["identity"].address) as opened:
        channel: Any = opened
        call = channel.unary_unary(
            "/kehu.identity.v1.TenantService/CreateTenant",
            request_serializer=tenant_service_pb2.CreateTenantRequest.SerializeToString,
            response_deserializer=Empty.FromString,
        )
        for issuer in (None, IDENTITY, GATEWAY, "leads"):
            metadata: list[tuple[str, str]] = []
            if issuer is not None:
                strong = next(actor for actor in ACTORS if actor.everything)
                who = Principal(
                    tenant_id=UUID(world.tenant_id), tenant="ours", person_id=UUID(world.ids["person_id"]),
                    rights={name: strong.right(name) for name in RESOURCES}, service=None if issuer == IDENTITY else issuer,
                )  # fmt: skip
                token = Issuer.from_file(issuer, suite.keys.private(issuer)).issue(who)
                metadata = [("authorization", f"Bearer {token}")]
            with pytest.raises(grpc.RpcError) as refused:
                call(request, metadata=metadata, timeout=20)
            code: Any = refused.value
            assert code.code() in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED), issuer


def test_nothing_tells_more_than_it_must(suite: Suite, http: Any) -> None:
    for path in (
        "/metrics",
        "/debug",
        "/admin",
        "/setup",
        "/install",
        "/.env",
        "/.git/config",
        "/server-status",
        "/v1",
        "/v1/",
    ):
        answer = http.get(path)
        assert answer.status_code == 404, path
    for path in ("/readyz", "/livez"):
        assert "postgres" not in http.get(path).text.lower()
    assert "server" not in http.get("/livez").headers or "uvicorn" not in http.get("/livez").headers["server"]


def test_setting_up_again_gives_nothing_away(suite: Suite, http: Any, founded: Callable[[str], Any]) -> None:
    """The command that made the first administrator makes no second one, and shows no password again."""
    first: Person = founded("twice")
    with pytest.raises(KeyError):
        again(suite, http)
    assert first.sign_in().get("/v1/people")["people"]


def again(suite: Suite, http: Any) -> Person:
    return founded(suite, http, "twice")


ELSEWHERE = (
    "https://evil.example",
    "//evil.example",
    "/\\evil.example",
    "javascript:alert(1)",
    "https:evil.example",
    "%2f%2fevil.example",
)


def test_signing_in_sends_nobody_elsewhere(suite: Suite, http: Any, boss: Any) -> None:
    said = {"tenant": boss.tenant, "email": boss.email, "password": boss.password}
    for where in ELSEWHERE:
        for name in ("redirect", "returnTo"):
            answer = http.post("/v1/sessions:signIn", json=said, params={name: where})
            assert answer.status_code == 400 and "location" not in answer.headers
        page = http.get("/", params={"next": where})
        assert page.status_code == 200 and "evil" not in page.text
        for path in (f"/{where}", f"/v1/{where}", f"/pages/{where}"):
            answer = http.get(path)
            assert answer.status_code < 500 and "location" not in answer.headers, path


def test_a_form_sends_browsers_where_its_owner_says_and_nowhere_else(us: Program, suite: Suite) -> None:
    field = {"key": "n", "label": "n", "kind": "FORM_FIELD_KIND_TEXT", "leadField": "LEAD_FIELD_NAME"}
    form = {"name": "Sends", "fields": [field]}
    for where in (
        "javascript:alert(1)",
        "//evil.example",
        "data:text/html,x",
        "https://a@evil.example/",
        "\thttps://evil.example",
        "ftp://x.example/",
    ):
        answer = us.ask("POST", "/v1/forms", {**form, "redirectUrl": where})
        assert answer.status_code == 400, (where, answer.text)
    made = us.ask("POST", "/v1/forms", {**form, "redirectUrl": "https://www.example.com/thanks"}).json()
    data = {
        "n": "Somebody",
        "redirect_url": "https://evil.example",
        "redirectUrl": "https://evil.example",
        "next": "https://evil.example",
    }
    path = f"/v1/forms/{made['publicKey']}:submit"
    answer = us.http.post(
        path, data=data, headers={"referer": "https://evil.example/"}, follow_redirects=False
    )
    assert (answer.status_code, answer.headers["location"]) == (303, "https://www.example.com/thanks")
    refused = us.http.post(
        path, data={"n": "", "redirect_url": "https://evil.example"}, follow_redirects=False
    )
    assert refused.status_code == 400 and "location" not in refused.headers


def test_a_flood_of_a_form_is_turned_away(suite: Suite, us: Program, world: World) -> None:
    """From an address of its own, past the gateway, which would count all of this machine as one."""
    key = us.ask("GET", f"/v1/forms/{world.ids['form_id']}").json()["publicKey"]
    codes: list[Any] = []
    with grpc.insecure_channel(suite.services["marketing"].address) as opened:
        channel: Any = opened
        call = channel.unary_unary(
            "/kehu.marketing.v1.WebFormService/SubmitWebForm",
            request_serializer=web_form_service_pb2.SubmitWebFormRequest.SerializeToString,
            response_deserializer=web_form_service_pb2.SubmitWebFormResponse.FromString,
        )
        for number in range(30):
            request = web_form_service_pb2.SubmitWebFormRequest(
                public_key=key,
                values={"n": f"Flood {number}"},
                client_address="198.51.100.91",
                kehu_website="spam" if number % 2 else "",
            )
            try:
                call(request, timeout=20)
                codes.append(grpc.StatusCode.OK)
            except grpc.RpcError as error:
                refused: Any = error
                codes.append(refused.code())
    assert codes.count(grpc.StatusCode.OK) <= 10 and codes.count(grpc.StatusCode.RESOURCE_EXHAUSTED) >= 20, (
        codes
    )
    found = us.ask("GET", "/v1/leads", params={"query": "Flood", "pageSize": "100"}).json().get("leads", [])
    assert len([lead for lead in found if lead["name"].startswith("Flood")]) <= 5, (
        "robots fill in what people do not see"
    )
