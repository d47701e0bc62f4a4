"""Made-up calls of everything in the OpenAPI document (row R17, short form), and that what they look for is found."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kehu_local.suite import Suite
from proof.api_calls import Caller, Share, Tally, Who, problem_faults
from proof.experiments.api_fuzz import fuzz
from proof.furniture import furnished
from proof.rig import rigged

SEED = 20161020
CALLS = 5_000
_TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SOUND: dict[str, Any] = {
    "type": "urn:kehu:problem:rate-limited", "title": "Too many requests", "status": 429, "detail": "Try again.",
    "reason": "RATE_LIMITED", "instance": "/v1/leads", "traceId": _TRACE,
}  # fmt: skip
HEADERS = {
    "content-type": "application/problem+json",
    "traceparent": f"00-{_TRACE}-00f067aa0ba902b7-01",
    "retry-after": "1",
}


@pytest.fixture(scope="module")
def boss(founded: Callable[[str], Any]) -> Any:
    """The administrator of a tenant that is there for nothing else."""
    return founded("fuzzed")


@pytest.fixture(scope="module")
def pools(boss: Any) -> dict[str, list[str]]:
    return furnished(boss)


@pytest.mark.timeout(900)
def test_no_call_is_answered_with_a_fault_of_ours_or_off_the_document(suite: Suite, boss: Any) -> None:
    tally, operations = fuzz(suite, boss, CALLS, SEED)
    assert tally.faults == []
    assert tally.calls >= CALLS * 0.95
    assert operations > 150 and len(tally.reached) == operations
    good = [label for label, counted in tally.reached.items() if any(status < 400 for status in counted)]
    assert len(good) > operations * 0.5, "few calls did anything: the made-up data no longer fit"


def some(suite: Suite, boss: Any, pools: dict[str, list[str]], *labels: str, calls: int = 30) -> Tally:
    who = Who(suite.base_url, boss.tenant, boss.email, boss.password)
    return Caller(who, Share(0, SEED, labels, calls, pools)).run()


def test_the_same_seed_makes_the_same_calls(suite: Suite, boss: Any, pools: dict[str, list[str]]) -> None:
    labels = ("GET /v1/leads/{id}", "GET /v1/customers", "GET /v1/orders/{id}")
    first, second = (some(suite, boss, pools, *labels) for _ in range(2))
    assert first.statuses == second.statuses and first.reached == second.reached
    assert first.calls == 30 and first.faults == []


@pytest.mark.parametrize(
    ("plant", "says"), [("raises", "answered 500"), ("unknown_state", "Response violates schema")]
)
def test_a_planted_bug_is_found(
    suite: Suite, boss: Any, pools: dict[str, list[str]], tmp_path: Path, plant: str, says: str
) -> None:
    with rigged(suite, "leads", tmp_path / "rig", [plant]):
        boss.sign_in()
        tally = some(suite, boss, pools, "GET /v1/leads/{id}")
    assert any(says in fault for fault in tally.faults), tally.faults[:3]


@pytest.mark.parametrize(
    ("change", "headers"),
    [
        ({"status": 400}, {}), ({"reason": "Rate limited"}, {}), ({"type": "about:blank"}, {}), ({"traceId": "1" * 32}, {}),
        ({"title": ""}, {}), ({"instance": ""}, {}), ({"violations": [{"field": "", "description": "x"}]}, {}),
        ({"detail": "asyncpg.exceptions.DataError"}, {}), ({}, {"retry-after": ""}), ({}, {"content-type": "text/plain"}),
    ],
)  # fmt: skip
def test_faulty_problem_documents_are_seen(change: dict[str, Any], headers: dict[str, str]) -> None:
    assert problem_faults(429, HEADERS, json.dumps(SOUND).encode()) == []
    assert problem_faults(429, {**HEADERS, **headers}, json.dumps({**SOUND, **change}).encode())


def test_a_problem_document_that_is_no_json_is_seen() -> None:
    assert problem_faults(429, HEADERS, b"<html>") == ["a problem document is no JSON"]


def test_what_was_asked_may_be_repeated_and_nothing_else() -> None:
    repeats = json.dumps({**SOUND, "detail": "id: 'tether.py' is not a UUID"}).encode()
    assert problem_faults(429, HEADERS, repeats, "{'id': 'tether.py'}") == []
    tells = json.dumps({**SOUND, "detail": "id: 'tether.py' is not a UUID: asyncpg.DataError"}).encode()
    assert problem_faults(429, HEADERS, tells, "{'id': 'tether.py'}")
