"""Everything is killed in turn under a steady load of writes, and then every write, event and effect is counted."""

import statistics
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from kehu_local.processes import wait_until
from kehu_local.suite import Suite, start_suite
from proof import found
from proof.checkers import (
    OrderFound,
    RecordFound,
    conversion_faults,
    effect_faults,
    message_faults,
    order_faults,
    order_violations,
    record_faults,
    repeated,
    version_faults,
)
from proof.load import KINDS, Load, started
from proof.people import administrator
from proof.rig import rigged
from proof.scoreboard import Experiment, Figure, Row, Trial

R1 = Row(
    "R1", "acknowledged writes lost under kill -9 of any process, broker, database", "0 of 100,000 in ≥ 200 kills, each role ≥ 10"
)  # fmt: skip
R2 = Row("R2", "effects doubled", "0")
R3 = Row("R3", "changes without event, events without change", "0")
R4 = Row("R4", "order violations per record", "0 of 100,000")
R7 = Row("R7", "time to first success after a kill", "service ≤ 3 s, NATS ≤ 2 s, PostgreSQL ≤ 5 s")
_BOUNDS = {"NATS": 2.0, "PostgreSQL": 5.0}
_SERVICE_BOUND = 3.0


@dataclass(frozen=True)
class Kill:
    """One that hit a process at work. `at` and `dead` are monotonic seconds, `clock` is the time of day of `dead`."""

    role: str
    at: float
    dead: float
    clock: datetime
    in_flight: Counter[str]


@dataclass
class Faults:
    """By row; `changes` and `events` were looked at."""

    lost: list[str] = field(default_factory=list[str])
    doubled: list[str] = field(default_factory=list[str])
    untold: list[str] = field(default_factory=list[str])
    disorder: list[str] = field(default_factory=list[str])
    effects: int = 0
    changes: int = 0
    events: int = 0


def run(trial: Trial) -> Mapping[str, Figure]:
    """Short: each role twice, in about a minute and a half. Long: each 21 times, and 100,000 acknowledged writes."""
    with start_suite(trial.folder / "suite", keep_password=True) as suite:
        boss = administrator(suite)
        with found.tallied(suite, "customers"), rigged(suite, "customers", trial.folder / "rig", ["tally"]):
            load = started(boss, trial, suite.base_url)
            began = time.monotonic()
            try:
                kills = _kill(suite, load, trial)
                wait_until(
                    lambda: load.over or load.writes >= trial.size(short=0, long=100_000), 4 * 3600, 0.5
                )
            finally:
                load.end()
            took = time.monotonic() - began
            calm = wait_until(lambda: at_rest(suite, load, boss.tenant), trial.size(short=120, long=900), 0.5)
            assert calm, "what was begun has not come to its end"
            faults = count(suite, load, boss.tenant)
        back = _times_back(suite, load, kills)
    for row, those in (
        ("R1", faults.lost),
        ("R2", faults.doubled),
        ("R3", faults.untold),
        ("R4", faults.disorder),
    ):
        for fault in those:
            trial.note("fault", row=row, fault=fault)
    return _figures(trial, load, kills, faults, back, took)


def _kill(suite: Suite, load: Load, trial: Trial) -> list[Kill]:
    """Kills each in turn, each round in another order, at a moment when something is under way through it."""
    assert suite.gateway is not None and suite.nats is not None and suite.postgres is not None
    victims: dict[str, Any] = {
        **suite.services, "gateway": suite.gateway, "NATS": suite.nats, "PostgreSQL": suite.postgres
    }  # fmt: skip
    chance = trial.chance("kills")
    kills: list[Kill] = []
    for _ in range(trial.size(short=2, long=21)):
        for role in chance.sample([*victims], len(victims)):
            victim, done = victims[role], load.writes
            pause = time.monotonic() + chance.uniform(0.3, 1.2)
            while time.monotonic() < pause or load.writes < done + 20 or not load.under_way(role):
                if load.over:
                    return kills
                assert time.monotonic() < pause + 90, f"nothing was done any more before {role} was killed"
                time.sleep(0.002)
            in_flight, at = load.under_way(role), time.monotonic()
            victim.kill()
            kills.append(Kill(role, at, time.monotonic(), datetime.now(UTC), in_flight))
            trial.note("kill", role=role, in_flight=in_flight)
            victim.start()
            trial.note("started again", role=role, after=round(time.monotonic() - at, 3))
    return kills


def at_rest(suite: Suite, load: Load, tenant: str) -> bool:
    """Whether all that was begun has ended, all events are sent and all are taken in."""
    return (
        found.unsent(suite) == 0
        and found.backlog(suite) == 0
        and all(lead.status == "CONVERTED" for lead in found.leads(suite, [*load.leads], tenant).values())
    )


def count(suite: Suite, load: Load, tenant: str) -> Faults:
    """What is wrong in the end with what the load has asked for. Read when everything is at rest."""
    faults = Faults()
    ours = f"load {load.name}%"
    streams = {
        domain: found.messages(suite, f"kehu.{tenant}.{domain}.>")
        for domain in ("identity", "customers", "leads", "sales", "marketing", "servicedesk")
    }
    for name, kind in KINDS.items():
        sql = f"SELECT id, {kind.column} AS text, version FROM {kind.table} WHERE {kind.column} LIKE $1"
        records = [
            RecordFound(str(row["id"]), row["text"].split()[1], row["text"], row["version"])
            for row in found.rows(suite, kind.domain, sql, ours)
        ]
        said = {key: (one.id, one.text, one.writes) for key, one in load.records.items() if one.kind == name}
        lost, doubled = record_faults(said, records)
        faults.lost += lost
        faults.doubled += doubled
        faults.untold += version_faults({one.id: one.version for one in records}, streams[kind.domain])
        faults.changes += sum(one.version for one in records)
    for told in streams.values():
        faults.disorder += order_violations(told)
        faults.doubled += repeated(told)
        faults.events += len(told)
    sql = "SELECT id, notes, number, status FROM orders WHERE notes LIKE $1"
    orders = [
        OrderFound(str(row["id"]), row["notes"].removeprefix("load "), row["number"], row["status"])
        for row in found.rows(suite, "sales", sql, ours)
    ]
    for fault in order_faults(load.orders, load.asked, orders):
        (faults.lost if "acknowledged" in fault else faults.doubled).append(fault)
    for lead in found.leads(suite, [*load.leads], tenant).values():
        for fault in conversion_faults(lead):
            (faults.lost if "become 0" in fault or " is " in fault else faults.doubled).append(fault)
    ids = {order.id for order in orders}
    placed = [one for one in streams["sales"] if one.kind == "order.placed" and one.record_id in ids]
    faults.untold += message_faults((one.id for one in orders if one.status != "DRAFT"), placed)
    faults.changes += len(orders) + 4 * len(load.leads)
    opened = [one for one in streams["servicedesk"] if one.kind == "ticket.opened"]
    effects = found.effects(suite, "customers")
    faults.effects = len(effects)
    for fault in effect_faults([*placed, *opened], effects):
        (faults.lost if fault.endswith(" 0 times") else faults.doubled).append(fault)
    sql = "SELECT id FROM orders WHERE id = ANY($1) AND status = 'ORDER_STATUS_PLACED'"
    counted = found.rows(suite, "analytics", sql, [UUID(id) for id in ids])
    missing = ids - {str(row["id"]) for row in counted}
    faults.lost += [f"order {id} is not counted in the reports" for id in sorted(missing)]
    return faults


def _times_back(suite: Suite, load: Load, kills: list[Kill]) -> dict[str, list[float]]:
    """Seconds from each kill to the first success through that part, of a request begun after its death. For the broker,
    to the first event of a change made after its death that it has acknowledged.
    """
    back: dict[str, list[float]] = {}
    sql = "SELECT min(sent_at) AS first FROM outbox WHERE created_at > $1"
    for kill in kills:
        if kill.role == "NATS":
            first = [
                found.rows(suite, domain, sql, kill.clock)[0]["first"] for domain in ("leads", "customers")
            ]
            if all(first):
                seconds = max((one - kill.clock).total_seconds() for one in first)
                back.setdefault("NATS", []).append(seconds + kill.dead - kill.at)
            continue
        everyones = kill.role in ("gateway", "PostgreSQL")
        after = [
            one.ended for one in load.answered if one.began > kill.dead and (everyones or kill.role in one.through)
        ]  # fmt: skip
        if after:
            back.setdefault(kill.role, []).append(min(after) - kill.at)
    return back


def _figures(
    trial: Trial, load: Load, kills: list[Kill], faults: Faults, back: dict[str, list[float]], took: float
) -> Mapping[str, Figure]:
    by_role = Counter(kill.role for kill in kills)
    phases: Counter[str] = Counter()
    for kill in kills:
        phases.update(kill.in_flight.keys())
    enough = len(by_role) == 10 and (
        not trial.long or (len(kills) >= 200 and min(by_role.values()) >= 10 and load.writes >= 100_000)
    )
    each = f"{min(by_role.values(), default=0)} or more of each of {len(by_role)} roles"
    of = f"{load.writes:,} writes in {len(kills)} kills ({each})"
    times = {role: (statistics.median(those), max(those)) for role, those in back.items()}
    services = [one for role, those in back.items() if role not in _BOUNDS for one in those]
    spoken = {"service": services, "NATS": back.get("NATS", []), "PostgreSQL": back.get("PostgreSQL", [])}
    in_time = all(those and max(those) <= _BOUNDS.get(role, _SERVICE_BOUND) for role, those in spoken.items())
    return {
        "R1": Figure(
            f"{len(faults.lost)} of {of}; {load.repeats:,} requests were repeated; {took:.0f} s",
            enough and not faults.lost,
            {
                "lost": len(faults.lost), "writes": load.writes, "kills": len(kills), "repeats": load.repeats,
                **{f"kills of {role}": many for role, many in sorted(by_role.items())},
                **{f"kills during {kind}": many for kind, many in sorted(phases.items())},
            },
        ),
        "R2": Figure(
            f"{len(faults.doubled)} of {faults.changes:,} changes, {faults.events:,} events and {faults.effects:,} effects",
            not faults.doubled and faults.effects > 0,
            {"doubled": len(faults.doubled), "effects": faults.effects},
        ),
        "R3": Figure(
            f"{len(faults.untold)} of {faults.changes:,} changes",
            not faults.untold and faults.changes > 0,
            {"untold": len(faults.untold), "changes": faults.changes},
        ),
        "R4": Figure(
            f"{len(faults.disorder)} of {faults.events:,} events",
            not faults.disorder and faults.events > 0,
            {"violations": len(faults.disorder), "events": faults.events},
        ),
        "R7": Figure(
            "; ".join(
                f"{role} {statistics.median(those):.2f} s, at worst {max(those):.2f} s"
                for role, those in spoken.items() if those
            ),
            in_time,
            {
                **{f"{role} median s": round(middle, 3) for role, (middle, _) in times.items()},
                **{f"{role} worst s": round(worst, 3) for role, (_, worst) in times.items()},
            },
        ),
    }  # fmt: skip


EXPERIMENT = Experiment("kills", (R1, R2, R3, R4, R7), run)
