"""A conversion whose processes die between any two of its steps ends whole and once, or leaves the lead untouched."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from kehu_local.suite import Suite
from proof import found
from proof.checkers import conversion_faults, untouched
from proof.rig import Rig, rigged

pytestmark = pytest.mark.timeout(240)


WANTED = {"name": "A pump"}
REFUSED = {"name": "A pump", "productId": "01a20b6a-0000-7000-8000-000000000000"}
"""Sales has no such product: what was made before is taken back."""


def _lead(boss: Any) -> str:
    """A lead that becomes a customer, a contact and an opportunity."""
    return boss.post("/v1/leads", {"name": "Li Lei", "companyName": f"Cut off {uuid4()}"})["id"]


def _ask(boss: Any, lead: str, opportunity: Mapping[str, str]) -> httpx.Response:
    return boss.http.post(
        f"/v1/leads/{lead}:convert",
        json={"opportunity": opportunity},
        headers={**boss.headers, "idempotency-key": f"convert-{lead}"},
    )


@pytest.fixture
def signed_in(boss: Any) -> Iterator[Any]:
    yield boss.sign_in()


def _steps(
    boss: Any,
    rig: Rig,
    eventually: Callable[..., Any],
    asked: Mapping[str, str] = WANTED,
    end: str = "SUCCEEDED",
) -> list[str]:
    """The steps of a conversion in that service, as an undisturbed one passes them, up to the end of its message."""
    lead = _lead(boss)
    eventually(lambda: found.unsent(rig.suite) == 0)
    with rig.noting() as passed:
        answer = _ask(boss, lead, asked)
        assert answer.json().get("state") == f"CONVERSION_STATE_{end}", answer.text
        if rig.part.name == "leads" and end == "SUCCEEDED":
            eventually(lambda: "after sending lead.converted" in (rig.folder / "passed").read_text())
    # What a service tells others while it works for the conversion has its own time.
    return [step for step in passed if ", " in step or "lead.converted" in step]


def _died_at(boss: Any, rig: Rig, step: str, asked: Mapping[str, str] = WANTED) -> str:
    """The lead at whose conversion the service died, and was started again."""
    lead = _lead(boss)
    rig.arm(step)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(_ask, boss, lead, asked)
        rig.died()
        rig.part.start()
        assert answer.result().status_code in (200, 503, 504), answer.result().text
    return lead


def _ended(suite: Suite, leads: list[str], tenant: str) -> bool:
    return all(
        lead.status != "CONVERTING" and (lead.status == "NEW" or lead.events)
        for lead in found.leads(suite, leads, tenant).values()
    )


def test_leads_dies_at_each_step(
    suite: Suite, signed_in: Any, eventually: Callable[..., Any], tmp_path: Path
) -> None:
    boss = signed_in
    with rigged(suite, "leads", tmp_path / "rig") as rig:
        steps = _steps(boss, rig, eventually)
        for made in ("CreateCustomer", "CreateContact", "CreateOpportunity"):
            assert {f"before ConvertLead, {made} 1", f"after ConvertLead, {made} 1"} <= set(steps)
        assert "before sending lead.converted" in steps and sum("commit" in step for step in steps) >= 4
        # Those at the relay first: later a conversion that goes on by itself could be the one that comes to them.
        relayed = [step for step in steps if "sending" in step]
        at = {step: _died_at(boss, rig, step) for step in (*relayed, *(s for s in steps if s not in relayed))}
        died = {step: at[step] for step in steps}
        # Nobody asks again: what had begun ends by itself.
        eventually(lambda: _ended(suite, [*died.values()], boss.tenant), 90)
        left = found.leads(suite, [*died.values()], boss.tenant)
        assert [f for lead in left.values() for f in conversion_faults(lead, may_be_untouched=True)] == []
        # The first commit that writes marks the lead. Until then nothing has begun, from then on everything ends.
        fates = {step: untouched(left[lead]) for step, lead in died.items()}
        begun = [*fates.values()].index(False)
        assert [*fates.values()] == [True] * begun + [False] * (len(fates) - begun), fates
        assert 0 < begun < steps.index("before ConvertLead, CreateCustomer 1")
        # Whoever asks again gets the one conversion there is, or the one that had not begun.
        for lead in died.values():
            assert _ask(boss, lead, WANTED).json()["state"] == "CONVERSION_STATE_SUCCEEDED"
        eventually(lambda: _ended(suite, [*died.values()], boss.tenant), 30)
        again = found.leads(suite, [*died.values()], boss.tenant)
        assert [fault for lead in again.values() for fault in conversion_faults(lead)] == []


def test_leads_dies_at_each_step_of_taking_back(
    suite: Suite, signed_in: Any, eventually: Callable[..., Any], tmp_path: Path
) -> None:
    boss = signed_in
    with rigged(suite, "leads", tmp_path / "rig") as rig:
        steps = _steps(boss, rig, eventually, REFUSED, "FAILED")
        steps = steps[steps.index("before ConvertLead, CreateOpportunity 1") + 1 :]
        assert {"before ConvertLead, DeleteCustomer 1", "after ConvertLead, DeleteCustomer 1"} <= set(steps)
        leads = [_died_at(boss, rig, step, REFUSED) for step in steps]
        eventually(lambda: _ended(suite, leads, boss.tenant), 90)
    left = found.leads(suite, leads, boss.tenant, deleted=False)
    assert [lead for lead in left.values() if not untouched(lead)] == []
    made = found.leads(suite, leads, boss.tenant)
    assert {(len(lead.customers), len(lead.contacts)) for lead in made.values()} == {(1, 1)}


@pytest.mark.parametrize("domain", ["customers", "sales"])
def test_who_is_asked_dies_at_each_step(
    suite: Suite, signed_in: Any, eventually: Callable[..., Any], tmp_path: Path, domain: str
) -> None:
    boss = signed_in
    with rigged(suite, domain, tmp_path / "rig") as rig:
        steps = _steps(boss, rig, eventually)
        assert len(steps) >= (4 if domain == "customers" else 2)
        leads = [_died_at(boss, rig, step) for step in steps]
        eventually(lambda: _ended(suite, leads, boss.tenant), 60)
    left = found.leads(suite, leads, boss.tenant)
    assert [fault for lead in left.values() for fault in conversion_faults(lead)] == []
