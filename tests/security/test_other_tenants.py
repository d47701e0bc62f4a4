"""Another company's administrator, with every right there is at home, tries every route on our records."""

from typing import Any

import jwt
import pytest

from gateway.contracts import load
from gateway.routes import Route, routes
from kehu_local.suite import Suite
from tests.security.conftest import World, record_for
from tests.security.requests import body_of, request_of

ROUTES = [route for route in routes(load()) if not route.method.access.public]
_ENDS_SESSION = {"SignOut", "ChangePassword"}


def name_of(route: Route) -> str:
    return f"{route.http_method} {route.template.text}"


def path_of(route: Route, world: World) -> str:
    """The route's path with our record in it. Raises KeyError for a path that the world has no record for."""
    text = route.template.text
    if "{" not in text:
        return text
    prefix, _, rest = text.partition("{")
    return prefix + world.record_of(prefix) + rest.partition("}")[2]


def send(route: Route, world: World, person: Any) -> Any:
    request = request_of(
        route.method, world.ids, record_for(world, route.method.service, route.method.domain)
    )
    said: dict[str, Any] = {}
    if route.is_upload:
        said = {"data": {"recordType": "lead"}, "files": {"file": ("a.csv", b"Name\nx\n", "text/csv")}}
    elif route.binding.body:
        said = {"json": body_of(route, request)}
    elif route.template.text.endswith("/changes"):
        kinds = {"identity": "person", "sales": "order", "servicedesk": "ticket", "marketing": "campaign"}
        kind = kinds.get(route.method.domain, route.method.domain.removesuffix("s"))
        said = {"params": {"recordType": kind, "recordId": world.ids[f"{kind}_id"]}}
    return person.http.request(route.http_method, path_of(route, world), headers=person.headers, **said)


def tenant_of(person: Any) -> str:
    token = person.headers["authorization"].removeprefix("Bearer ")
    return str(jwt.decode(token, options={"verify_signature": False})["tid"])


@pytest.fixture(scope="module")
def ours(world: World, rival: Any, rows_of: Any) -> Any:
    look = rows_of(world.tenant_id)
    look.settled()
    rival.sign_in()
    return look


@pytest.mark.parametrize("route", ROUTES, ids=name_of)
def test_nothing_is_learnt_or_changed(
    route: Route, suite: Suite, world: World, rival: Any, ours: Any
) -> None:
    if route.method.name in _ENDS_SESSION:
        pytest.skip("is about the rival's own session")
    answer = send(route, world, rival)
    assert answer.status_code < 500, answer.text
    if "{" in route.template.text:
        # A refusal may say the id it was asked about, and nothing else of ours.
        assert answer.status_code in (400, 403, 404), answer.text
        assert "Ours-" not in answer.text
    elif answer.status_code == 200:
        assert not world.betrayed_by(answer.content), answer.text
    else:
        assert 400 <= answer.status_code < 500 and "Ours-" not in answer.text, answer.text
    assert ours.unchanged()


def test_most_attacks_come_to_the_point(world: World, rival: Any, ours: Any) -> None:
    """Requests that are refused for a typing mistake would prove nothing."""
    named = [route for route in ROUTES if "{" in route.template.text]
    answers = [send(route, world, rival).status_code for route in named]
    assert answers.count(404) >= 0.8 * len(named), answers


def test_the_same_requests_reach_our_own_records(world: World) -> None:
    """What the rival was refused, the owner is not: the ids are right."""
    world.owner.sign_in()
    reads = [
        r
        for r in ROUTES
        if r.http_method == "GET" and "{" in r.template.text and r.method.name != "StreamEvents"
    ]
    answers = {name_of(route): send(route, world, world.owner).status_code for route in reads}
    wrong = {route: status for route, status in answers.items() if status not in (200, 304)}
    assert not wrong


def test_a_change_would_be_seen(world: World, ours: Any) -> None:
    world.owner.sign_in()
    ours.settled()
    world.owner.ask("PATCH", f"/v1/leads/{world.ids['lead_id']}", json={"notes": "changed"})
    assert not ours.unchanged()
    ours.settled()


def test_the_view_of_our_customer(world: World, rival: Any, ours: Any) -> None:
    path = f"/v1/customers/{world.ids['customer_id']}:view360"
    answer = rival.http.get(path, headers=rival.sign_in().headers)
    assert answer.status_code == 404 and "Ours-" not in answer.text
    assert ours.unchanged()


def test_the_live_stream_tells_each_company_its_own(world: World, rival: Any) -> None:
    world.owner.sign_in()
    with rival.http.stream("GET", "/v1/events:stream", headers=rival.sign_in().headers, timeout=30) as stream:
        lines = stream.iter_lines()
        next(lines)  # the stream is open
        world.owner.post("/v1/leads", {"name": "Ours-7f3c9e heard by nobody else"})
        theirs = rival.post("/v1/leads", {"name": "Heard at home"})["id"]
        heard = ""
        for line in lines:
            heard += line
            if theirs in line:
                break
    assert "Ours-" not in heard and world.tenant_id not in heard
