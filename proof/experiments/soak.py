"""A steady load of which a tenth is given up in the middle: nothing that it leaves behind may grow."""

import time
from collections.abc import Mapping
from contextlib import ExitStack

from kehu_local.processes import wait_until
from kehu_local.suite import start_suite
from proof.hangups import Hangups
from proof.load import Load, started
from proof.people import administrator
from proof.rig import gauged
from proof.scoreboard import Experiment, Figure, Row, Trial
from proof.vitals import MB, Watch, growth, growth_faults, wait_settled

R22 = Row("R22", "soak 30 min with 10 % cancelled calls", "flat memory, no leaked tasks")
SHARE = 0.1
_WARM = 20.0
"""Seconds of load before the first look: pools open, statements are prepared, modules are loaded on first use."""


def run(trial: Trial) -> Mapping[str, Figure]:
    """Short: 60 s. Long: 30 minutes."""
    seconds = trial.size(short=60, long=30 * 60)
    with start_suite(trial.folder / "suite", keep_password=True) as suite, ExitStack() as stack:
        folder = trial.folder / "gauges"
        gauges = {part.name: stack.enter_context(gauged(suite, part.name, folder)) for part in suite.parts}
        boss = administrator(suite)
        watch = Watch(suite, gauges, every=trial.size(short=1, long=10))
        assert wait_until(lambda: all(file.exists() for file in gauges.values()), 20)
        before = watch.look()
        load = started(boss, trial, suite.base_url, workers=8, hang_up=SHARE)
        try:
            with Hangups(suite, boss, trial.chance("hang-ups"), SHARE) as hangups:
                began = time.monotonic()
                wait_until(lambda: load.over, _WARM, 0.1)
                with watch:
                    wait_until(lambda: load.over, seconds, 0.1)
        finally:
            load.end()
        took = time.monotonic() - began
        left = wait_settled(watch, before, 60)
    if watch.failure is not None:
        raise watch.failure
    for (quantity, who), values in watch.series.items():
        trial.note("series", quantity=quantity, of=who, values=values)
    return {"R22": _figure(trial, load, hangups, watch, left, took)}


def _figure(trial: Trial, load: Load, hangups: Hangups, watch: Watch, left: list[str], took: float) -> Figure:
    grown = growth_faults(watch.series)
    for fault in (*grown, *left, *hangups.strange):
        trial.note("fault", row="R22", fault=fault)
    given_up = load.hung_up / max(1, len(load.attempts))
    cancelled = hangups.cancelled / max(1, hangups.asked)
    memory = {who: growth(values) for (quantity, who), values in watch.series.items() if quantity == "memory"}
    worst = max(memory, key=lambda who: memory[who][1] - memory[who][0])
    was, now = memory[worst]
    return Figure(
        f"{len(grown)} of {len(watch.series)} quantities grew; {len(load.attempts):,} requests, {given_up:.1%} given up, and "
        f"{hangups.asked:,} calls of services, {cancelled:.1%} cancelled, in {took:.0f} s; memory grew most in {worst}: "
        f"{was / MB:.1f} → {now / MB:.1f} MB; {len(left)} processes with tasks left over; {len(hangups.strange)} strange answers",
        not grown and not left and not hangups.strange and min(given_up, cancelled) > SHARE / 2,
        {
            "grown": len(grown), "requests": len(load.attempts), "given up": load.hung_up, "calls": hangups.asked,
            "cancelled": hangups.cancelled, "left": len(left), "strange": len(hangups.strange),
            **{f"memory growth of {who} MB": round((b - a) / MB, 2) for who, (a, b) in memory.items()},
        },
    )  # fmt: skip


EXPERIMENT = Experiment("soak", (R22,), run)
