"""Every service and the gateway are replaced one after another while a load runs, as a rolling update replaces them."""

import time
from collections import Counter
from collections.abc import Iterable, Mapping

from kehu_local.processes import wait_until
from kehu_local.suite import Suite, start_suite
from proof import found
from proof.deadlines import Attempt
from proof.experiments.kills import Faults, at_rest, count
from proof.links import Links
from proof.load import Load, started
from proof.people import administrator
from proof.rig import rigged
from proof.rolling import LAG, roll
from proof.scoreboard import Experiment, Figure, Row, Trial

R20 = Row("R20", "rolling restart under load", "0 failed requests (one retry)")
DRAIN = 1.5
"""Seconds the processes of this suite go on after they were told to end: longer than balancers need, as on a cluster."""
ENDED = DRAIN + 10.0 + 5.0
"""Seconds within which a process that drains has ended: calls in work may take ten, closing five."""


def failed_requests(attempts: Iterable[Attempt]) -> list[str]:
    """The requests that did not succeed at the second attempt either. Refusals by the load limits are failures, too."""
    return [
        f"{one.method} {one.path}: attempt {one.number} ended with {one.status}"
        for one in attempts
        if one.number > 1 and one.status != 200
    ]


def run(trial: Trial) -> Mapping[str, Figure]:
    """Short: one round. Long: twenty."""
    took: dict[str, list[float]] = {}
    with (
        Links(trial.seed) as links,
        start_suite(
            trial.folder / "suite", keep_password=True, via=links.via, environment={"KEHU_DRAIN_SECONDS": f"{DRAIN}"}
        ) as suite,
    ):  # fmt: skip
        assert suite.gateway is not None
        # The clients' own way to the gateway; it checks by which name it is asked, not by which port.
        outside = f"http://{links.via('clients', suite.gateway.name, suite.gateway.address)}"
        boss = administrator(suite)
        # What an event does must be done once also when two processes of a service take events at the same time.
        with found.tallied(suite, "customers"), rigged(suite, "customers", trial.folder / "rig", ["tally"]):
            load = started(boss, trial, outside)
            try:
                rolled = _rounds(suite, links, load, trial, took)
            finally:
                load.end()
            calm = wait_until(lambda: at_rest(suite, load, boss.tenant), 180, 0.5)
            faults = count(suite, load, boss.tenant) if calm else Faults(lost=["not all was delivered"])
    return {"R20": _figure(trial, load, rolled, took, faults)}


def _rounds(
    suite: Suite, links: Links, load: Load, trial: Trial, took: dict[str, list[float]]
) -> Counter[str]:
    """Requests in flight when each was replaced, by name; each must be at work."""
    rolled: Counter[str] = Counter()
    for _ in range(trial.size(short=1, long=20)):
        for part in trial.chance("order").sample(suite.parts, len(suite.parts)):
            done = load.writes
            if not wait_until(
                lambda name=part.name, done=done: (
                    load.over or (load.writes > done + 20 and load.under_way(name).total() > 0)
                ),
                60,
                0.002,
            ):
                raise AssertionError(f"nothing was done any more before {part.name} was replaced")
            if load.over:
                return rolled
            in_flight = load.under_way(part.name)
            began = time.monotonic()
            seconds = roll(suite, part, [one for one in links.all if one.peer == part.name])
            took.setdefault(part.name, []).append(seconds)
            rolled[part.name] += 1
            trial.note(
                "rolled", name=part.name, in_flight=in_flight, ended=round(seconds, 3),
                all=round(time.monotonic() - began, 3),
            )  # fmt: skip
    return rolled


def _figure(
    trial: Trial, load: Load, rolled: Counter[str], took: Mapping[str, list[float]], faults: Faults
) -> Figure:
    failed = failed_requests(load.attempts)
    retried = sum(one.number > 1 for one in load.attempts)
    slowest = max((one for those in took.values() for one in those), default=0.0)
    wrong = [*faults.lost, *faults.doubled, *faults.untold, *faults.disorder]
    for fault in (*failed, *wrong):
        trial.note("fault", row="R20", fault=fault)
    whole = len(rolled) == len(took) > 1 and slowest <= ENDED
    return Figure(
        f"{len(failed)} of {len(load.attempts):,} requests failed, {retried} were repeated once, while {rolled.total()} "
        f"processes of {len(rolled)} kinds were replaced; the slowest ended {slowest:.1f} s after it was told "
        f"(drain {DRAIN} s, balancers {LAG} s); {len(wrong)} lost, doubled, untold or out of order",
        whole and not failed and not wrong,
        {
            "failed": len(failed), "requests": len(load.attempts), "repeated": retried, "replaced": rolled.total(),
            "slowest s": round(slowest, 2), "faults": len(wrong),
        },
    )  # fmt: skip


EXPERIMENT = Experiment("rolling restart", (R20,), run)
