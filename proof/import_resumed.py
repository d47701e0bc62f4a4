"""Imports whose service is killed in the middle: each row of the file must become one record, whatever step it dies at."""

from collections import Counter
from collections.abc import Iterable, Sequence
from uuid import uuid4

from kehu_local.processes import wait_until
from kehu_local.suite import Suite
from proof.found import rows
from proof.people import Person, sign_in_again
from proof.rig import rigged
from proof.scoreboard import Trial

STEPS = ("before commit in the background", "after commit in the background")
_BATCHES, _ROWS = 3, 1_300


def row_faults(wanted: Iterable[str], made: Iterable[str]) -> list[str]:
    """Rows that have become no record or more than one, and records that no row asked for."""
    counted, asked = Counter(made), Counter(wanted)
    faults = [
        f"row {name} has become {counted[name]} records"
        for name in sorted(asked)
        if counted[name] != asked[name]
    ]
    return faults + [
        f"record {name} was asked for by no row" for name in sorted(counted.keys() - asked.keys())
    ]


def killed_import(
    suite: Suite, boss: Person, trial: Trial, step: str, skipped: int, plants: Sequence[str] = ()
) -> list[str]:
    """Imports leads; the service dies at the step of that name that comes after so many others of it. What is wrong then."""
    mark = uuid4().hex[:8]
    names = [f"{mark}-{number}" for number in range(_ROWS)]
    folder = trial.folder / f"rig-{mark}"
    with rigged(suite, "leads", folder, plants) as rig:
        sign_in_again(boss)
        file = {"file": ("a.csv", ("Name\n" + "\n".join(names)).encode(), "text/csv")}
        made = boss.ask("POST", "/v1/leads/imports", data={"recordType": "lead"}, files=file)
        path = f"/v1/leads/imports/{made['id']}"
        rig.arm(step, skipped)
        boss.ask("POST", f"{path}:start", json={})
        rig.died(60)
        # Half a minute would pass until the job of the dead is another's: what happens then is looked at, not the waiting.
        rows(
            suite, "leads", "UPDATE jobs SET leased_until = NULL WHERE kind = 'import_measured' RETURNING id"
        )
        rig.part.start()
        sign_in_again(boss)
        assert wait_until(lambda: boss.get(path)["state"] != "IMPORT_STATE_RUNNING", 90), (
            f"{path} is not carried on"
        )
        run = boss.get(path)
    found = rows(
        suite, "leads", "SELECT name FROM leads WHERE name LIKE $1 AND deleted_at IS NULL", f"{mark}-%"
    )
    faults = row_faults(names, [str(row["name"]) for row in found])
    if run["state"] != "IMPORT_STATE_SUCCEEDED" or run.get("createdRows") != _ROWS:
        faults.append(f"ended {run['state']} with {run.get('createdRows', 0)} of {_ROWS} rows")
    trial.note("killed import", step=step, skipped=skipped, faults=faults)
    return faults


def resumed_faults(suite: Suite, boss: Person, trial: Trial) -> tuple[list[str], int]:
    """Kills at every kind of step, before each of the batches; all faults, and the number of kills."""
    faults: list[str] = []
    kills = 0
    for step in STEPS:
        for skipped in range(
            1, trial.size(short=_BATCHES, long=_BATCHES + 1)
        ):  # 0 is where the import is taken up
            faults += killed_import(suite, boss, trial, step, skipped)
            kills += 1
    return faults, kills
