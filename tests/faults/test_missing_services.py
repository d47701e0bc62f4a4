"""The 360° view with each service of the suite away in turn: dead, and hanging."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import httpx
import pytest

from kehu_local.composition import MEMBERS
from kehu_local.suite import Part, Suite
from proof.experiments.missing_parts import REFUSALS, WITH_SECTION, view_faults


@pytest.fixture(scope="module")
def path(boss: Any) -> str:
    """Where the view of a customer is."""
    return f"/v1/customers/{boss.sign_in().post('/v1/customers', {'displayName': 'Seen'})['id']}:view360"


@pytest.mark.parametrize("away", [*REFUSALS])
@pytest.mark.parametrize("domain", [member.domain for member in MEMBERS])
def test_a_service_that_is_away_costs_its_section_and_little_time(
    suite: Suite,
    boss: Any,
    path: str,
    eventually: Callable[..., Any],
    domain: str,
    away: Callable[[Part], AbstractContextManager[None]],
) -> None:
    eventually(lambda: boss.get(path)["missing"] == [], 20)
    with away(suite.services[domain]):
        began = time.monotonic()
        answer = boss.http.get(path, headers=boss.headers)
        assert view_faults(answer, time.monotonic() - began, domain, {REFUSALS[away]}) == []
        if domain != "customers":
            assert answer.json()["customer"]["displayName"] == "Seen"
    eventually(lambda: boss.get(path)["missing"] == [], 20)


def test_a_view_that_hides_what_is_missing_or_comes_late_is_seen() -> None:
    whole: dict[str, Any] = {"missing": [], "sections": {section: {} for section in WITH_SECTION}}
    assert view_faults(httpx.Response(200, json=whole), 0.1, "sales", {503}) == [
        "without sales it names [] as missing",
        f"without sales it shows {sorted(WITH_SECTION)}",
    ]
    assert view_faults(httpx.Response(200, json=whole), 5, "identity", {503}) == [
        "without identity the view took 5.0 s"
    ]
    assert view_faults(httpx.Response(502), 0.1, "sales", {503}) == ["without sales the view is answered 502"]
    assert view_faults(httpx.Response(200, json=whole), 0.1, "customers", {503}) == [
        "without customers the view is answered 200"
    ]
    assert view_faults(httpx.Response(503), 0.1, "customers", {504}) == [
        "without customers the view is answered 503"
    ]
