"""The 360° view while each service in turn is dead, and while it hangs."""

import signal
import time
from collections import Counter
from collections.abc import Callable, Container, Generator, Mapping
from contextlib import AbstractContextManager, contextmanager

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


PINGED = 30.0
"""Seconds after which gRPC asks whether a connection that says nothing is still there (`KEEPALIVE`). It is then given up, and
whoever comes is told at once that customers is away instead of waiting for it.
"""
REFUSALS: Mapping[Callable[[Part], AbstractContextManager[None]], int] = {dead: 503, hanging: 504}
"""The status of a view that nobody can answer, by what has become of customers just now."""


def view_faults(answer: httpx.Response, seconds: float, away: str, refusals: Container[int]) -> list[str]:
    """What is wrong with a view asked for while that service was away.

    Who the customer is, and whether the caller may see it, only customers can say: without it the right answer is
    one of the statuses `refusals`, in time.
    """
    faults: list[str] = []
    bound = BOUND_OF_CUSTOMERS if away == "customers" else BOUND
    if seconds > bound:
        faults.append(f"without {away} the view took {seconds:.1f} s")
    if away == "customers":
        if answer.status_code not in refusals:
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
    views: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    with start_suite(trial.folder / "suite", keep_password=True) as suite:
        boss = administrator(suite)
        path = f"/v1/customers/{boss.post('/v1/customers', {'displayName': 'Seen from all sides'})['id']}:view360"
        for domain, part in suite.services.items():
            for how, refusal in REFUSALS.items():
                assert wait_until(lambda: _whole(boss, path), 30), f"the view was not whole before {domain}"
                with how(part):
                    gone = time.monotonic()
                    for _ in range(trial.size(short=3, long=30)):
                        began = time.monotonic()
                        answer = boss.http.get(path, headers=boss.headers)
                        took = time.monotonic() - began
                        whose = "customers" if domain == "customers" else "section"
                        views[whose] += 1
                        refused[whose] += answer.status_code >= 500
                        kind = f"{how.__name__} {whose}"
                        slowest[kind] = max(slowest.get(kind, 0), took)
                        refusals = {refusal} if began - gone < PINGED else {*REFUSALS.values()}
                        wrong = view_faults(answer, took, domain, refusals)
                        trial.note(
                            "view",
                            without=domain,
                            how=how.__name__,
                            status=answer.status_code,
                            took=took,
                            faults=wrong,
                        )
                        faults += wrong
    spoken = ", ".join(f"{kind} {seconds:.2f} s" for kind, seconds in slowest.items())
    return {
        "R10": Figure(
            f"{len(faults)} faults in {views.total()} views; refused {refused['section']} of {views['section']} "
            f"without a section, {refused['customers']} of {views['customers']} without customers; at worst {spoken}",
            views.total() > 0 and not faults,
            {"faults": len(faults), "views": views.total(), "refused": refused.total(),
             **{f"worst s, {kind}": round(seconds, 3) for kind, seconds in slowest.items()}},
        )
    }  # fmt: skip


def _whole(boss: Person, path: str) -> bool:
    """Whether the view is whole again, asked for with a fresh token: it must outlive what is tried next."""
    try:
        return boss.sign_in().get(path)["missing"] == []
    except AssertionError:
        return False  # what was away is not yet found again


EXPERIMENT = Experiment("missing parts", (R10,), run)
