"""A backup is taken under load, everything else is destroyed, and an installation is made from it in another place."""

import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx

from kehu_local.processes import wait_until
from kehu_local.suite import EMAIL, TENANT, Suite, start_suite
from proof import found
from proof.agreement import disagreements, worth
from proof.checkers import (
    OrderFound,
    RecordFound,
    conversion_faults,
    order_faults,
    repeated,
    restored_faults,
    version_faults,
)
from proof.load import KINDS, Acknowledged, Load, started
from proof.people import Person, administrator
from proof.scoreboard import Experiment, Figure, Row, Trial

R23 = Row(
    "R23", "backup and restore drill", "nothing acknowledged before the point is lost; services agree after replay"
)  # fmt: skip


@dataclass(frozen=True)
class Before:
    """What had been acknowledged when the backup began."""

    records: Mapping[str, Acknowledged]
    orders: Mapping[str, tuple[str, str]]
    leads: Mapping[str, str]
    writes: int


def run(trial: Trial) -> Mapping[str, Figure]:
    """Short: 300 writes before the point, in about a minute. Long: 20,000."""
    kept, first, second = trial.folder / "backup", trial.folder / "suite", trial.folder / "again"
    with start_suite(first, keep_password=True) as suite:
        boss = administrator(suite)
        load = started(boss, trial, suite.base_url)
        try:
            wanted = trial.size(short=300, long=20_000)
            assert wait_until(lambda: load.over or load.writes >= wanted, trial.size(short=300, long=3600))
            before = Before(dict(load.records), dict(load.orders), dict(load.leads), load.writes)
            trial.note("the backup begins", writes=before.writes)
            taken = _seconds("backup", "--var", str(first), "--to", str(kept))
            during = load.writes - before.writes
            trial.note("the backup is taken", writes=load.writes, seconds=taken)
            # What comes now is lost: the drill would show nothing if there were none.
            assert wait_until(lambda: load.over or load.writes >= before.writes + during + wanted // 3, 600)
        finally:
            load.end()
        assert suite.postgres is not None
        home = suite.postgres.home
    _destroy(first, home)
    restored = _seconds("restore", "--from", str(kept), "--var", str(second))
    trial.note("restored", seconds=restored)
    began = time.monotonic()
    with start_suite(second) as again:
        person = Person(
            httpx.Client(base_url=again.base_url, timeout=30), TENANT, EMAIL, boss.password
        ).sign_in()
        tenant_id = person.get("/v1/tenant")["id"]
        calm = wait_until(lambda: _at_rest(again, tenant_id), trial.size(short=180, long=900), 0.5)
        caught_up = time.monotonic() - began
        lost, doubled, untold = _count(again, load, before)
        wrong = disagreements(again, tenant_id)
        if not calm:
            wrong.append("what was begun has not come to its end")
        wrong += _goes_on(person, load)
        total = worth(again, tenant_id)
        home = again.postgres.home if again.postgres else second
    for what, faults in (("lost", lost), ("doubled", doubled), ("untold", untold), ("disagreement", wrong)):
        for fault in faults:
            trial.note("fault", row="R23", kind=what, fault=fault)
    _destroy(second, home)
    return {
        "R23": Figure(
            f"{len(lost)} lost and {len(doubled)} doubled of {before.writes:,} writes before the point, {len(untold)} changes"
            f" untold, {len(wrong)} disagreements; orders worth {total} minor units in reports as in"
            f" sales; backup under load {taken:.1f} s ({during:,} writes meanwhile), restored {restored:.1f} s,"
            f" at rest {caught_up:.1f} s after start",
            not (lost or doubled or untold or wrong) and during > 0,
            {
                "lost": len(lost), "doubled": len(doubled), "untold": len(untold), "disagreements": len(wrong),
                "writes before": before.writes, "writes meanwhile": during, "backup s": round(taken, 2),
                "restore s": round(restored, 2), "at rest s": round(caught_up, 2),
            },
        )
    }  # fmt: skip


def _seconds(*said: str) -> float:
    """What an operator says on the command line, and how long it takes. Raises CalledProcessError when it fails."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "kehu_local", *said], capture_output=True, text=True, check=False, timeout=1800
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return time.monotonic() - began


def _destroy(var: Path, home: Path) -> None:
    shutil.rmtree(var)
    shutil.rmtree(home, ignore_errors=True)  # as root the cluster lies elsewhere


def _at_rest(suite: Suite, tenant_id: str) -> bool:
    """Whether all events are sent again and taken in, all that the point had cut through is done, and services agree."""
    converting = "SELECT 1 FROM leads WHERE status = 'CONVERTING'"
    return (
        found.unsent(suite) == 0
        and found.backlog(suite) == 0
        and not found.rows(suite, "leads", converting)
        and not disagreements(suite, tenant_id)
    )


def _count(suite: Suite, load: Load, before: Before) -> tuple[list[str], list[str], list[str]]:
    """What was lost, what was doubled, and which changes the broker does not have."""
    lost: list[str] = []
    doubled: list[str] = []
    untold: list[str] = []
    for name, kind in KINDS.items():
        sql = f"SELECT id, {kind.column} AS text, version FROM {kind.table} WHERE {kind.column} LIKE 'load %'"
        records = [
            RecordFound(str(row["id"]), row["text"].split()[1], row["text"], row["version"])
            for row in found.rows(suite, kind.domain, sql)
        ]
        said = {key: (one.id, one.writes) for key, one in before.records.items() if one.kind == name}
        kind_lost, kind_doubled = restored_faults(said, records)
        lost += kind_lost
        doubled += kind_doubled
        told = found.messages(suite, f"kehu.{TENANT}.{kind.domain}.>")
        untold += version_faults({one.id: one.version for one in records}, told)
        doubled += repeated(told)
    sql = "SELECT id, notes, number, status FROM orders WHERE notes LIKE 'load %'"
    orders = [
        OrderFound(str(row["id"]), row["notes"].removeprefix("load "), row["number"], row["status"])
        for row in found.rows(suite, "sales", sql)
    ]
    for fault in order_faults(before.orders, load.asked, orders):
        (lost if "acknowledged" in fault else doubled).append(fault)
    begun = [
        str(row["lead_id"]) for row in found.rows(suite, "leads", "SELECT DISTINCT lead_id FROM conversions")
    ]
    lost += [f"the conversion of lead {id} is not there" for id in sorted(before.leads.keys() - set(begun))]
    for lead in found.leads(suite, begun, TENANT).values():
        for fault in conversion_faults(lead, may_be_untouched=lead.id not in before.leads):
            (doubled if "become" in fault and "become 0" not in fault else lost).append(fault)
    return lost, doubled, untold


def _goes_on(person: Person, load: Load) -> list[str]:
    """What keeps the restored suite from being worked with."""
    missing = person.get(f"/v1/customers/{load.customer}:view360")["missing"]
    body = {"customerId": load.customer, "lines": [{"productId": load.product, "quantity": "1"}]}
    order = person.post("/v1/orders", body, params={"place": "true"}, key="after-the-restore")
    faults = [f"the view lacks {one}" for one in missing]
    return faults if order["status"] == "ORDER_STATUS_PLACED" else [*faults, f"an order is {order['status']}"]


EXPERIMENT = Experiment("restore", (R23,), run)
