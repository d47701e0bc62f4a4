"""The 360° view while each service in turn is dead, and while it hangs."""

import signal
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager

import httpx

from gateway.contracts import load
from kehu_local.processes import wait_until
from kehu_local.suite import Part, start_suite
from proof.people import Person, administrator
from proof.scoreboard import Experiment, Figure, Row, Trial

R10 = Row(
    "R10",
    "360° with each service down, and stopped (SIGSTOP), in turn",
    "200 with the section named; bounded by its deadline; 0 5xx",
)
WITH_SECTION = {method.domain for method in load().methods if method.name == "GetCustomerFacet"}
"""Read from the contracts, so that a new service cannot be forgotten."""
BOUND, BOUND_OF_CUSTOMERS = 4.0, 7.0
"""Seconds in which the view must be answered; who the customer is may take longer than a section of it."""


@contextmanager
def dead(part: Part) -> Generator[None]:
    """Inside the block the service is killed."""
    part.kill()
    try:
        yield
    finally:
        part.start()


@contextmanager
def hanging(part: Part) -> Generator[None]:
    """Inside the block the service is there and does nothing."""
    part.process.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        part.process.signal(signal.SIGCONT)


def view_faults(answer: httpx.Response, seconds: float, away: str) -> list[str]:
    """What is wrong with a view asked for while that service was away.

    Who the customer is, and whether the caller may see it, only customers can say: without it the one right answer is
    a refusal, 503 or 504, in time.
    """
    faults: list[str] = []
    bound = BOUND_OF_CUSTOMERS if away == "customers" else BOUND
    if seconds > bound:
        faults.append(f"without {away} the view took {seconds:.1f} s")
    if away == "customers":
        if answer.status_code not in (503, 504):
            faults.append(f"without customers the view is answered {answer.status_code}")
        return faults
    if answer.status_code != 200:
        return [*faults, f"without {away} the view is answered {answer.status_code}"]
    body = answer.json()
    missing = {section["section"] for section in body["missing"]}
    if missing != {away} & WITH_SECTION:
        faults.append(f"without {away} it names {sorted(missing)} as missing")
    if set(body["sections"]) != WITH_SECTION - {away}:
        faults.append(f"without {away} it shows {sorted(body['sections'])}")
    return faults


def run(trial: Trial) -> Mapping[str, Figure]:
    """Every service, dead and hanging; three views each in the short form, thirty in the long one."""
    faults: list[str] = []
    slowest: dict[str, float] = {}
    asked = refused = 0
    with start_suite(trial.folder / "suite", keep_password=True) as suite:
        boss = administrator(suite)
        path = f"/v1/customers/{boss.post('/v1/customers', {'displayName': 'Seen from all sides'})['id']}:view360"
        for domain, part in suite.services.items():
            for how in (dead, hanging):
                assert wait_until(lambda: _whole(boss, path), 30), f"the view was not whole before {domain}"
                with how(part):
                    for _ in range(trial.size(short=3, long=30)):
                        began = time.monotonic()
                        answer = boss.http.get(path, headers=boss.headers)
                        took = time.monotonic() - began
                        asked += 1
                        refused += answer.status_code >= 500
                        kind = f"{how.__name__} {'customers' if domain == 'customers' else 'section'}"
                        slowest[kind] = max(slowest.get(kind, 0), took)
                        wrong = view_faults(answer, took, domain)
                        trial.note("view", without=domain, how=how.__name__, took=took, faults=wrong)
                        faults += wrong
    spoken = ", ".join(f"{kind} {seconds:.2f} s" for kind, seconds in slowest.items())
    return {
        "R10": Figure(
            f"{len(faults)} faults in {asked} views; {refused} refused, all without customers; at worst {spoken}",
            asked > 0 and not faults,
            {"faults": len(faults), "views": asked, "refused": refused,
             **{f"worst s, {kind}": round(seconds, 3) for kind, seconds in slowest.items()}},
        )
    }  # fmt: skip


def _whole(boss: Person, path: str) -> bool:
    answer = boss.http.get(path, headers=boss.headers)
    if answer.status_code == 401:
        boss.sign_in()
    return answer.status_code == 200 and answer.json()["missing"] == []


EXPERIMENT = Experiment("missing parts", (R10,), run)
