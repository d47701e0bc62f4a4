"""A conversion whose services die at every boundary of its steps ends whole and once, or has not begun."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from kehu_local.processes import wait_until
from kehu_local.suite import Suite, start_suite
from proof import found
from proof.boundaries import REFUSED, WANTED, died_at, ended, steps_of
from proof.checkers import conversion_faults, untouched
from proof.people import Person, administrator
from proof.rig import rigged
from proof.scoreboard import Experiment, Figure, Row, Trial

R14 = Row("R14", "conversion killed at every step boundary", "all whole or untouched")


def run(trial: Trial) -> Mapping[str, Figure]:
    """Both forms go through every boundary of leads, customers and sales, and of taking back; the long one five times."""
    boundaries, faults, began = 0, list[str](), time.monotonic()
    with start_suite(trial.folder / "suite", keep_password=True) as suite:
        boss = administrator(suite)
        for _ in range(trial.size(short=1, long=5)):
            for domain, asked in (
                ("leads", WANTED),
                ("leads", REFUSED),
                ("customers", WANTED),
                ("sales", WANTED),
            ):
                died = _through(suite, boss.sign_in(), trial, domain, asked)
                boundaries += len(died)
                faults += _faults(suite, died, boss.tenant, taken_back=asked is REFUSED)
    for fault in faults:
        trial.note("fault", row="R14", fault=fault)
    return {
        "R14": Figure(
            f"{len(faults)} faults at {boundaries} boundaries; {time.monotonic() - began:.0f} s",
            boundaries > 0 and not faults,
            {"faults": len(faults), "boundaries": boundaries},
        )
    }


def _through(
    suite: Suite, boss: Person, trial: Trial, domain: str, asked: Mapping[str, str]
) -> dict[str, str]:
    """Lead → the boundary at which that service died at its conversion."""
    died: dict[str, str] = {}
    with rigged(suite, domain, trial.folder / f"rig-{domain}") as rig:
        steps = steps_of(boss, rig, _eventually, asked, "FAILED" if asked is REFUSED else "SUCCEEDED")
        # At the relay first: later a conversion that goes on by itself could be the one that comes to it.
        for step in sorted(steps, key=lambda one: "sending" not in one):
            lead = died_at(boss.sign_in(), rig, step, asked)
            trial.note("died", service=domain, step=step, lead=lead)
            died[lead] = step
        _eventually(lambda: ended(suite, [*died], boss.tenant), 90)
    return died


def _faults(suite: Suite, died: Mapping[str, str], tenant: str, *, taken_back: bool) -> list[str]:
    left = found.leads(suite, [*died], tenant, deleted=not taken_back)
    if taken_back:
        return [
            f"lead {lead.id} is {lead}, died {died[lead.id]}" for lead in left.values() if not untouched(lead)
        ]
    return [
        f"{fault}, died {died[lead.id]}"
        for lead in left.values()
        for fault in conversion_faults(lead, may_be_untouched=True)
    ]


def _eventually(condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    assert wait_until(lambda: bool(condition()), seconds, 0.05), f"not within {seconds} seconds"


EXPERIMENT = Experiment("conversions", (R14,), run)
