"""A conversion whose processes die between any two of its steps ends whole and once, or leaves the lead untouched."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kehu_local.suite import Suite
from proof import found
from proof.boundaries import REFUSED, WANTED, convert, died_at, ended, steps_of
from proof.checkers import conversion_faults, untouched
from proof.rig import rigged

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def signed_in(boss: Any) -> Iterator[Any]:
    yield boss.sign_in()


def test_leads_dies_at_each_step(
    suite: Suite, signed_in: Any, eventually: Callable[..., Any], tmp_path: Path
) -> None:
    boss = signed_in
    with rigged(suite, "leads", tmp_path / "rig") as rig:
        steps = steps_of(boss, rig, eventually)
        for made in ("CreateCustomer", "CreateContact", "CreateOpportunity"):
            assert {f"before ConvertLead, {made} 1", f"after ConvertLead, {made} 1"} <= set(steps)
        assert "before sending lead.converted" in steps and sum("commit" in step for step in steps) >= 4
        # Those at the relay first: later a conversion that goes on by itself could be the one that comes to them.
        relayed = [step for step in steps if "sending" in step]
        at = {step: died_at(boss, rig, step) for step in (*relayed, *(s for s in steps if s not in relayed))}
        died = {step: at[step] for step in steps}
        # Nobody asks again: what had begun ends by itself.
        eventually(lambda: ended(suite, [*died.values()], boss.tenant), 90)
        left = found.leads(suite, [*died.values()], boss.tenant)
        assert [f for lead in left.values() for f in conversion_faults(lead, may_be_untouched=True)] == []
        # The first commit that writes marks the lead. Until then nothing has begun, from then on everything ends.
        fates = {step: untouched(left[lead]) for step, lead in died.items()}
        begun = [*fates.values()].index(False)
        assert [*fates.values()] == [True] * begun + [False] * (len(fates) - begun), fates
        assert 0 < begun < steps.index("before ConvertLead, CreateCustomer 1")
        # Whoever asks again gets the one conversion there is, or the one that had not begun.
        for lead in died.values():
            assert convert(boss, lead, WANTED).json()["state"] == "CONVERSION_STATE_SUCCEEDED"
        eventually(lambda: ended(suite, [*died.values()], boss.tenant), 30)
        again = found.leads(suite, [*died.values()], boss.tenant)
        assert [fault for lead in again.values() for fault in conversion_faults(lead)] == []


def test_leads_dies_at_each_step_of_taking_back(
    suite: Suite, signed_in: Any, eventually: Callable[..., Any], tmp_path: Path
) -> None:
    boss = signed_in
    with rigged(suite, "leads", tmp_path / "rig") as rig:
        steps = steps_of(boss, rig, eventually, REFUSED, "FAILED")
        steps = steps[steps.index("before ConvertLead, CreateOpportunity 1") + 1 :]
        assert {"before ConvertLead, DeleteCustomer 1", "after ConvertLead, DeleteCustomer 1"} <= set(steps)
        leads = [died_at(boss, rig, step, REFUSED) for step in steps]
        eventually(lambda: ended(suite, leads, boss.tenant), 90)
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
        steps = steps_of(boss, rig, eventually)
        assert len(steps) >= (4 if domain == "customers" else 2)
        leads = [died_at(boss, rig, step) for step in steps]
        eventually(lambda: ended(suite, leads, boss.tenant), 60)
    left = found.leads(suite, leads, boss.tenant)
    assert [fault for lead in left.values() for fault in conversion_faults(lead)] == []
