"""Made-up calls of every method of every service, past the gateway, and that what they look for is found."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from chassis.errors import Exhausted, Invalid, Problem
from chassis.rpc.status import details
from gateway.contracts import load
from kehu_local.suite import Suite
from proof.experiments.api_fuzz import faces_of
from proof.rig import rigged
from proof.rpc_calls import Ended, Target, ended_faults, fuzz

SEED = 20161020
CALLS = 12 * len(load().methods)


@pytest.fixture(scope="module")
def target(suite: Suite, founded: Callable[[str], Any]) -> Target:
    """All services, called by the administrator of a tenant that is there for nothing else."""
    return faces_of(suite, founded("fuzzed-faces"))


@pytest.mark.timeout(600)
def test_every_call_ends_in_time_with_a_status_that_says_why(target: Target) -> None:
    tally = fuzz(target, CALLS, SEED)
    assert tally.faults == []
    assert tally.calls >= CALLS
    assert len(tally.succeeded) > len(load().methods) * 0.3, (
        "few calls did anything: the made-up data no longer fit"
    )


def test_a_planted_bug_is_found(suite: Suite, target: Target, tmp_path: Path) -> None:
    with rigged(suite, "leads", tmp_path / "rig", ["raises"]):
        tally = fuzz(
            Target({"leads": target.addresses["leads"]}, target.who, target.keys, target.pools), 400, SEED
        )
    assert any("GetLead: ended INTERNAL" in fault for fault in tally.faults), tally.faults[:3]


def ended(problem: Problem, code: str, message: str = "", seconds: float = 0.1) -> Ended:
    return Ended(code, message or problem.message, details(problem), seconds)


def test_faulty_ends_are_seen() -> None:
    invalid = Invalid("lead.name", "is required: give it a value")
    assert ended_faults(ended(invalid, "INVALID_ARGUMENT"), 5) == []
    assert ended_faults(Ended("OK", "", b"", 0.1), 5) == []
    busy = Exhausted("Too many calls at once.", reason="OVERLOADED", retry_after=1.0)
    assert ended_faults(ended(busy, "RESOURCE_EXHAUSTED"), 5) == []
    for faulty in (
        Ended("OK", "", b"", 60.0),
        Ended("UNKNOWN", "Unexpected KeyError", b"", 0.1),
        Ended("INVALID_ARGUMENT", "no details", b"", 0.1),
        ended(Problem("Something went wrong."), "INTERNAL"),
        ended(invalid, "NOT_FOUND"),
        ended(invalid, "INVALID_ARGUMENT", message="something else"),
        ended(Invalid("", "names no field"), "INVALID_ARGUMENT"),
        ended(Problem("Bad.", code=invalid.code, reason="BAD"), "INVALID_ARGUMENT"),
        ended(Exhausted("Too many."), "RESOURCE_EXHAUSTED"),
        ended(Invalid("a", "breaks 'teams_tenant_id_parent_id_fkey'"), "INVALID_ARGUMENT"),
    ):
        assert ended_faults(faulty, 5), faulty


def test_bytes_that_are_no_message_are_refused_as_such(target: Target) -> None:
    identity: Any = grpc.insecure_channel(target.addresses["identity"])
    try:
        for noise in (b"\x0b" * 100, b"\x0a\x03\xff\xfe\xc0", b"\xff"):
            with pytest.raises(grpc.RpcError) as refused:
                identity.unary_unary("/kehu.identity.v1.SessionService/SignIn")(noise, timeout=10)
            assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert "kehu.identity.v1.SignInRequest" in str(refused.value.details())
    finally:
        identity.close()
