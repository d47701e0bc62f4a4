"""The 360° view with each service of the suite away in turn: dead, and hanging."""

import signal
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import pytest

from gateway.contracts import load
from kehu_local.composition import MEMBERS
from kehu_local.suite import Part, Suite

WITH_SECTION = {method.domain for method in load().methods if method.name == "GetCustomerFacet"}
"""Read from the contracts, so that a new service cannot be forgotten."""


@contextmanager
def _dead(part: Part) -> Generator[None]:
    part.kill()
    try:
        yield
    finally:
        part.start()


@contextmanager
def _hanging(part: Part) -> Generator[None]:
    part.process.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        part.process.signal(signal.SIGCONT)


@pytest.fixture(scope="module")
def view(boss: Any) -> Callable[..., Any]:
    """Asks for the view of a customer."""
    id = boss.sign_in().post("/v1/customers", {"displayName": "Seen from all sides"})["id"]

    def ask(**sent: Any) -> Any:
        return boss.get(f"/v1/customers/{id}:view360", **sent)

    return ask


@pytest.mark.parametrize("away", [_dead, _hanging])
@pytest.mark.parametrize("domain", [member.domain for member in MEMBERS])
def test_a_service_that_is_away_costs_its_section_and_little_time(
    suite: Suite,
    view: Callable[..., Any],
    eventually: Callable[..., Any],
    domain: str,
    away: Callable[[Part], Any],
) -> None:
    eventually(lambda: view()["missing"] == [], 20)
    with away(suite.services[domain]):
        began = time.monotonic()
        # Who the customer is, only customers can say; without it there is nothing to show.
        without = 503 if away is _dead else 504
        body = view(expect=without if domain == "customers" else 200)
        assert time.monotonic() - began < (7 if domain == "customers" else 4)
        if domain != "customers":
            expected = {domain} & WITH_SECTION
            assert {section["section"] for section in body["missing"]} == expected
            assert set(body["sections"]) == WITH_SECTION - expected
            assert body["customer"]["displayName"] == "Seen from all sides"
    eventually(lambda: view()["missing"] == [], 20)
