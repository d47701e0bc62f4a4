"""Every route of every contract, read from the descriptors so that a new one cannot be forgotten, tried by those who may not."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from gateway.contracts import load
from gateway.routes import Route, routes
from kehu_local.suite import Suite

ROUTES = routes(load())
_OPEN = {"/v1/sessions:signIn", "/v1/sessions:refresh"}


def path_of(route: Route, id: str) -> str:
    """The route's path with an id in every place."""
    segments = list(route.template.segments)
    return (
        "/"
        + "/".join(id if s in ("*", "**") else s for s in segments)
        + (f":{route.template.verb}" if route.template.verb else "")
    )


def name_of(route: Route) -> str:
    return f"{route.http_method} {route.template.text}"


def send(http: Any, route: Route, headers: dict[str, str], id: str) -> Any:
    body: dict[str, Any] = {"json": {}} if route.binding.body else {}
    if route.method.takes_parts:
        body = {"files": {"file": ("a.txt", b"a")}}
    return http.request(route.http_method, path_of(route, id), headers=headers, **body)


def test_there_are_routes() -> None:
    assert len(ROUTES) > 100


@pytest.mark.parametrize("route", ROUTES, ids=name_of)
def test_strangers_get_nothing(route: Route, suite: Suite, http: Any) -> None:
    answer = send(http, route, {}, str(uuid.uuid4()))
    if route.method.domain not in suite.services:
        assert answer.status_code == 404 and answer.json()["reason"] == "MODULE_NOT_INSTALLED"
    elif route.method.access.public:
        assert 400 <= answer.status_code < 500, answer.text
    else:
        assert answer.status_code == 401, answer.text
    altered = send(http, route, {"authorization": "Bearer eyJhbGciOiJub25lIn0.e30."}, str(uuid.uuid4()))
    assert altered.status_code in (401, 404), altered.text


@pytest.fixture(scope="session")
def powerless(colleague: Callable[[str], Any]) -> Any:
    """Somebody signed in without any role."""
    return colleague("")


@pytest.mark.parametrize("route", [r for r in ROUTES if r.method.access.right], ids=name_of)
def test_without_the_right_nothing_is_read_or_written(route: Route, suite: Suite, powerless: Any) -> None:
    if route.method.domain not in suite.services:
        pytest.skip(f"{route.method.domain} is not installed")
    answer = send(powerless.http, route, powerless.headers, str(uuid.uuid4()))
    assert answer.status_code in (400, 403), answer.text


@pytest.mark.parametrize("route", ROUTES, ids=name_of)
def test_unknown_ids_and_empty_bodies_are_no_fault_of_ours(route: Route, suite: Suite, boss: Any) -> None:
    if route.method.domain not in suite.services or route.method.name in ("SignOut", "ChangePassword"):
        pytest.skip("not installed, or ends the session of the test")
    answer = send(boss.http, route, boss.headers, str(uuid.uuid4()))
    assert answer.status_code < 500, answer.text
    bad = send(boss.http, route, boss.headers, "not-a-uuid")
    assert bad.status_code < 500, bad.text
