"""Every link of the suite in turn is slow, silent, forgotten, reset and crumbling, and every process stands still for a while,
under a steady load of writes; then every write, event and effect is counted, and how long each answer took.
"""

import signal
import time
from collections import Counter
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import psutil

from kehu_local.processes import wait_until
from kehu_local.suite import Suite, start_suite
from proof import found
from proof.deadlines import Attempt, Deadlines, late_faults
from proof.errands import ERRANDS, Errands, Ground, Listening, ground
from proof.experiments.kills import Faults, at_rest, count
from proof.links import NATS, POSTGRES, Fault, Hits, Link, Links
from proof.load import Load, started
from proof.people import administrator
from proof.rig import rigged
from proof.scoreboard import Experiment, Figure, Row, Trial
from proof.topology import in_use

R19 = Row(
    "R19", "200 ms delay, blackhole 30 s, reset on every link", "R1–R4 hold; no call outlives its deadline"
)
_SHORT = {Fault.BLACKHOLE: 2.0, Fault.RESET: 0.1}
_LONG = {Fault.BLACKHOLE: 30.0, Fault.RESET: 0.5}
"""Seconds a fault stays; half a second and five for the others."""
_BUSY = 15.0
"""Seconds within which something must be under way over a link."""
_BACK = 90.0
"""Seconds within which writes must succeed again after a fault: gRPC finds a forgotten connection by its pings, after 50."""


@dataclass
class Tried:
    """What was done to the suite and what came of it."""

    hits: dict[tuple[str, str], Hits] = field(default_factory=dict[tuple[str, str], Hits])
    """Link or process and what it suffered → what that has hit."""
    attempts: list[Attempt] = field(default_factory=list[Attempt])
    strange: list[str] = field(default_factory=list[str])
    idle: list[str] = field(default_factory=list[str])
    excused: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    back: dict[str, float] = field(default_factory=dict[str, float])
    """Kind of fault → the longest time until something succeeded again."""


def run(trial: Trial) -> Mapping[str, Figure]:
    """Short: each link suffers some seconds in all. Long: blackholes of 30 s, in about an hour."""
    with (
        Links(trial.seed) as links,
        start_suite(trial.folder / "suite", keep_password=True, via=links.via) as suite,
    ):
        boss = administrator(suite)
        with found.tallied(suite, "customers"), rigged(suite, "customers", trial.folder / "rig", ["tally"]):
            load = started(boss, trial, suite.base_url)
            on = ground(boss, load.customer, load.product)
            began = time.monotonic()
            try:
                tried = try_links(suite, links, load, on, trial)
                stand_still(suite, load, trial, tried)
            finally:
                load.end()
            took = time.monotonic() - began
            calm = wait_until(lambda: at_rest(suite, load, boss.tenant), trial.size(short=180, long=600), 0.5)
            faults = count(suite, load, boss.tenant) if calm else Faults(lost=["not all was delivered"])
    return {"R19": _figure(trial, load, tried, faults, took)}


def try_links(suite: Suite, links: Links, load: Load, on: Ground, trial: Trial) -> Tried:
    """Each link with each fault, in an order of the seed's."""
    tried = Tried()
    for link in trial.chance("links").sample(used := in_use(links.all), len(used)):
        for fault in Fault:
            if load.over:
                return tried
            if fault is Fault.FORGOTTEN and link.peer not in (NATS, POSTGRES) and not trial.long:
                continue  # gRPC needs most of a minute to find that out
            seconds = _LONG.get(fault, 5.0) if trial.long else _SHORT.get(fault, 0.5)
            suffer(suite, links, link, fault, seconds, load, on, tried, trial)
    return tried


def suffer(
    suite: Suite, links: Links, link: Link, fault: Fault, seconds: float, load: Load, on: Ground, tried: Tried, trial: Trial
) -> None:  # fmt: skip
    """One link has one fault for that long, while something goes over it."""
    with ExitStack() as stack:
        errands: Errands | None = None
        listening: Listening | None = None
        if suite.gateway is not None and (link.origin, link.peer) == (suite.gateway.name, NATS):
            listening = stack.enter_context(Listening(load.boss, suite.base_url))
        if link.peer in suite.services and link.origin in suite.services:
            errand = ERRANDS.get((link.origin, link.peer))
            if errand is None:
                tried.idle.append(f"nothing is known that leads over {link.name}")
                return
            errands = stack.enter_context(Errands(load.boss, suite.base_url, on, errand))
        if not wait_until(lambda: load.over or link.under_way > 0, _BUSY, 0.001):
            tried.idle.append(f"nothing went over {link.name}")
            return
        with links.suffering(link, fault) as hits:
            wait_until(lambda: load.over, seconds, 0.05)
        ended = time.monotonic()
        _until_back(load, ended, fault.value, f"{fault.value} of {link.name}", tried, listening)
    if errands is not None:
        tried.attempts += errands.attempts
        tried.strange += errands.strange
    tried.hits[link.name, fault.value] = hits
    if not hits.total:
        tried.idle.append(f"{fault.value} of {link.name} hit nothing")
    trial.note(
        "fault", link=link.name, fault=fault.value, under_way=hits.under_way, begun=hits.begun,
        back=round(time.monotonic() - ended, 3),
    )  # fmt: skip


def _until_back(
    load: Load, since: float, kind: str, what: str, tried: Tried, listening: Listening | None = None
) -> None:
    """Waits until each kind of request the load has under way has succeeded once more, and events are heard again."""
    before = len(load.answered)
    heard = listening.heard if listening is not None else 0
    wanted = {kind for kind, _ in [*load.in_flight.values()]}

    def back() -> bool:
        answered = load.answered[before:]
        if listening is not None and listening.heard <= heard:
            return load.over
        return load.over or wanted <= {one.kind for one in answered if one.ended > since}

    if not wait_until(back, _BACK, 0.01):
        tried.strange.append(f"{_BACK:.0f} s after {what} not everything succeeded again")
    tried.back[kind] = max(tried.back.get(kind, 0.0), time.monotonic() - since)


def stand_still(suite: Suite, load: Load, trial: Trial, tried: Tried) -> None:
    """Each process is stopped for some seconds, as a network that is silent in all directions."""
    assert suite.nats is not None and suite.postgres is not None
    processes = {part.name: part.pid for part in suite.parts}
    processes |= {NATS: suite.nats.pid, POSTGRES: suite.postgres.pid}
    for name in trial.chance("processes").sample([*processes], len(processes)):
        if not wait_until(lambda name=name: load.over or load.under_way(name).total() > 0, _BUSY, 0.001):
            tried.idle.append(f"nothing went through {name}")
            continue
        if load.over:
            return
        hits = Hits(load.under_way(name).total())
        began = time.monotonic()
        with stopped(processes[name]):
            wait_until(lambda: load.over, trial.size(short=3, long=30), 0.05)
        ended = time.monotonic()
        if suite.gateway is not None and name == suite.gateway.name:
            tried.excused.append((began, ended))
        tried.hits[name, "stopped"] = hits
        _until_back(load, ended, "stopped", f"{name} stood still", tried)
        trial.note("fault", process=name, fault="stopped", under_way=hits.under_way)


@contextmanager
def stopped(pid: int) -> Generator[None]:
    """Inside the block the process and all it has started stand still."""
    process = psutil.Process(pid)
    family = [process, *process.children(recursive=True)]
    try:
        _signal(family, signal.SIGSTOP)
        yield
    finally:
        _signal(family, signal.SIGCONT)


def _signal(family: list[psutil.Process], number: signal.Signals) -> None:
    for one in family:
        try:
            one.send_signal(number)
        except psutil.NoSuchProcess:
            continue


def _figure(trial: Trial, load: Load, tried: Tried, faults: Faults, took: float) -> Figure:
    late = late_faults([*load.attempts, *tried.attempts], Deadlines(), tried.excused)
    wrong: dict[str, list[str]] = {
        "lost": faults.lost, "doubled": faults.doubled, "untold": faults.untold, "out of order": faults.disorder,
        "late": late, "strange": tried.strange, "idle": tried.idle,
    }  # fmt: skip
    for kind, those in wrong.items():
        for fault in those:
            trial.note("wrong", kind=kind, fault=fault)
    by_kind: Counter[str] = Counter(kind for _, kind in tried.hits)
    under_way = sum(hits.under_way for hits in tried.hits.values())
    begun = sum(hits.begun for hits in tried.hits.values())
    links = {name for name, kind in tried.hits if kind != "stopped"}
    requests = len(load.attempts) + len(tried.attempts)
    spoken = ", ".join(f"{many} × {kind}" for kind, many in sorted(by_kind.items()))
    back = ", ".join(f"{kind} {seconds:.1f} s" for kind, seconds in sorted(tried.back.items()))
    counted = "; ".join(f"{len(those)} {kind}" for kind, those in wrong.items() if kind != "idle")
    return Figure(
        f"{len(links)} links ({spoken}), {under_way:,} calls under way and {begun:,} begun meanwhile; "
        f"of {load.writes:,} writes and {requests:,} requests {counted}; {len(tried.idle)} not tried; "
        f"all went on at the latest after {back}; {took:.0f} s",
        bool(links) and not any(wrong.values()),
        {
            "links": len(links), "under way": under_way, "begun": begun, "writes": load.writes, "requests": requests,
            **{kind: len(those) for kind, those in wrong.items()},
            **{f"back s, {kind}": round(seconds, 2) for kind, seconds in tried.back.items()},
        },
    )  # fmt: skip


EXPERIMENT = Experiment("links", (R19,), run)
