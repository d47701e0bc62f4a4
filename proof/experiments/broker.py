"""The broker writes through to disk, may be away, and may lose all it has."""

import asyncio
import json
import shutil
import subprocess
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from nats.js.api import StorageType, StreamConfig

from chassis.events.streams import flushes_each_message
from kehu_local.nats import Nats
from kehu_local.processes import free_ports, wait_until
from kehu_local.suite import Suite, start_suite
from proof import found
from proof.commands import said
from proof.experiments.kills import Faults, at_rest, count
from proof.load import Load, started
from proof.people import Person, administrator
from proof.rig import rigged
from proof.scoreboard import Experiment, Figure, Row, Trial

R5 = Row("R5", "broker flush per ack", "≥ 1, asserted at start-up")
R6 = Row("R6", "broker's store wiped", "rebuilt from outboxes, 0 lost, 0 doubled")
R9 = Row("R9", "writes while the broker is down for 60 s", "all accepted, all delivered later")
_ACKS = 100


def run(trial: Trial) -> Mapping[str, Figure]:
    """One suite for all three; short: the broker is away for 8 s."""
    with start_suite(trial.folder / "suite", keep_password=True) as suite:
        boss = administrator(suite)
        flushed = _flushed(suite, trial)
        with found.tallied(suite, "customers"), rigged(suite, "customers", trial.folder / "rig", ["tally"]):
            away = started(boss, trial, suite.base_url, name="a")
            r9 = _away(suite, boss, away, trial)
            r6 = _wiped(suite, boss, away, trial)
    return {"R5": flushed, "R6": r6, "R9": r9}


def _flushed(suite: Suite, trial: Trial) -> Figure:
    """Asks the broker, counts its flushes where strace is there, and shows every service one that does not flush."""
    assert suite.nats is not None
    asserted = flushes_each_message(suite.nats.monitor_url)
    refused = _refusals(suite, trial.folder)
    flushes = _flushes(suite, trial.folder)
    trial.note("flushes", asserted=asserted, refused=refused, flushes=flushes, acks=_ACKS)
    counted = f"{flushes / _ACKS:.2f} per ack by strace" if flushes is not None else "not counted: no strace"
    everyone = len(refused) == len(suite.services)
    return Figure(
        f"{counted}; sync_interval always: {asserted}; a broker with the default is refused by "
        f"{len(refused)} of {len(suite.services)} services",
        asserted and everyone and (flushes is None or flushes >= _ACKS),
        {"refusing services": len(refused), **({"flushes per ack": flushes / _ACKS} if flushes is not None else {})},
    )  # fmt: skip


def _refusals(suite: Suite, folder: Path) -> list[str]:
    """The services that do not start beside a broker which flushes when it likes."""
    assert suite.nats is not None
    lax = Nats(folder / "lax", suite.nats.users, folder / "lax.log")
    lax.start()
    try:
        assert lax.process is not None
        lax.stop()
        file = lax.folder / "nats.conf"
        config = json.loads(file.read_text())
        del config["jetstream"]["sync_interval"]
        file.write_text(json.dumps(config))
        lax.process.start()
        assert wait_until(lambda: _answers(lax.monitor_url), 15)
        refused: list[str] = []
        for domain, part in suite.services.items():
            environment = {
                **part.process.environment, "KEHU_NATS_URL": lax.url, "KEHU_NATS_MONITOR_URL": lax.monitor_url,
                "KEHU_LISTEN": f"127.0.0.1:{free_ports(1)[0]}",
            }  # fmt: skip
            one = replace(part.process, environment=environment, log=folder / f"lax-{domain}.log")
            one.start()
            ended = wait_until(lambda one=one: not one.alive, 15, 0.05) and bool(one.exit_code)
            if ended and "sync_interval: always" in one.log.read_text():
                refused.append(domain)
            one.kill()
        return refused
    finally:
        lax.stop()


def _answers(monitor_url: str) -> bool:
    try:
        flushes_each_message(monitor_url)
    except OSError:
        return False
    return True


def _flushes(suite: Suite, folder: Path) -> int | None:
    """fsync and fdatasync of the broker while it acknowledges `_ACKS` messages one after the other; None without strace."""
    assert suite.nats is not None
    strace = shutil.which("strace")
    if strace is None:
        return None
    out = folder / "strace"
    command = [strace, "-f", "-q", "-e", "trace=fsync,fdatasync", "-o", str(out), "-p", str(suite.nats.pid)]
    tracing = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    tracer = Path(f"/proc/{suite.nats.pid}/status")
    try:
        if not wait_until(lambda: "TracerPid:\t0" not in tracer.read_text() or tracing.poll() is not None, 5):
            return None
        if tracing.poll() is not None:
            return None  # not allowed on this machine
        asyncio.run(_publish(suite))
    finally:
        tracing.terminate()
        tracing.wait()
    lines = out.read_text().splitlines()
    return sum("fsync(" in line or "fdatasync(" in line for line in lines)


async def _publish(suite: Suite) -> None:
    async with found.broker(suite) as js:
        await js.add_stream(StreamConfig(name="PROOF", subjects=["proof.>"], storage=StorageType.FILE))
        for number in range(_ACKS):
            await js.publish("proof.flush", str(number).encode(), timeout=5)
        await js.delete_stream("PROOF")


def _away(suite: Suite, boss: Person, load: Load, trial: Trial) -> Figure:
    assert suite.nats is not None
    seconds = trial.size(short=8, long=60)
    assert wait_until(lambda: load.over or load.writes > 100, 60)
    suite.nats.kill()
    trial.note("the broker is down")
    writes, repeats = load.writes, load.repeats
    time.sleep(seconds)  # the time it is away is what is tried here
    writes, repeats = load.writes - writes, load.repeats - repeats
    waiting = found.unsent(suite)
    suite.nats.start()
    trial.note("the broker is up", writes=writes, repeats=repeats, waiting=waiting)
    back = time.monotonic()
    load.end()
    calm = wait_until(lambda: at_rest(suite, load, boss.tenant), 180, 0.25)
    caught_up = time.monotonic() - back
    faults = count(suite, load, boss.tenant) if calm else Faults(lost=["not all was delivered"])
    all_faults = _note(trial, "R9", faults)
    return Figure(
        f"{writes:,} writes in {seconds} s, {repeats} not accepted at once; {waiting:,} events waited and were "
        f"delivered {caught_up:.1f} s after; {len(all_faults)} faults",
        writes > 0 and not repeats and not all_faults,
        {"writes": writes, "not accepted": repeats, "events": waiting, "seconds to deliver": round(caught_up, 2)},
    )  # fmt: skip


def _wiped(suite: Suite, boss: Person, before: Load, trial: Trial) -> Figure:
    """The store is gone under load; each service makes its stream again, and is told to publish again what it kept."""
    assert suite.nats is not None
    load = started(boss, trial, suite.base_url, name="b")
    assert wait_until(lambda: load.over or load.writes > trial.size(short=100, long=2000), 300)
    suite.nats.kill()
    shutil.rmtree(suite.nats.folder / "store")
    suite.nats.start()
    trial.note("the broker's store is wiped")
    began = time.monotonic()
    again = sum(_republished(suite, domain) for domain in suite.services)
    wait_until(lambda: load.over, trial.size(short=2, long=20))
    load.end()
    calm = wait_until(lambda: at_rest(suite, load, boss.tenant), 300, 0.25)
    took = time.monotonic() - began
    faults = count(suite, load, boss.tenant) if calm else Faults(lost=["not all was delivered"])
    # What was there long before counts as well.
    earlier = count(suite, before, boss.tenant)
    wrong = [*faults.lost, *faults.doubled, *faults.untold, *earlier.lost, *earlier.doubled, *earlier.untold]
    for fault in wrong:
        trial.note("fault", row="R6", fault=fault)
    lost = len(faults.lost) + len(faults.untold) + len(earlier.lost) + len(earlier.untold)
    doubled = len(faults.doubled) + len(earlier.doubled)
    return Figure(
        f"{lost} lost, {doubled} doubled of {faults.events:,} events and {faults.effects:,} effects; "
        f"{again:,} events sent again, at rest after {took:.1f} s; {len(faults.disorder)} stand behind a later one",
        again > 0 and not wrong,
        {"lost": lost, "doubled": doubled, "sent again": again, "seconds": round(took, 2)},
    )


def _republished(suite: Suite, domain: str) -> int:
    """What an operator does: the service's own command. The number of events it says."""
    return int(said(suite, domain, "republish", "2000-01-01T00:00:00+00:00").split()[0])


def _note(trial: Trial, row: str, faults: Faults) -> list[str]:
    wrong = [*faults.lost, *faults.doubled, *faults.untold, *faults.disorder]
    for fault in wrong:
        trial.note("fault", row=row, fault=fault)
    return wrong


EXPERIMENT = Experiment("broker", (R5, R6, R9), run)
