"""A bulk edit, and its undoing, whose process dies in the middle: no record is left out, none is changed twice."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from chassis.bulk_edits.edit import JOB, UNDO_JOB, job_of
from kehu_local.suite import Suite
from proof.found import rows
from proof.rig import Rig, rigged

pytestmark = pytest.mark.timeout(600)
_RECORDS = 450
"""Three batches."""
_CHANGED = {"values": {"industry": "Steel"}, "addTags": ["moved"]}
_STEPS = [
    ("before commit in the background", 1, {"action": "delete"}, ""),
    ("after commit in the background", 1, _CHANGED, ' AND industry = "Steel" AND tags:moved'),
]
"""At which step it dies, what the edit does, and how the records are found then: in the trash they are found no more."""


def _start_again(rig: Rig) -> None:
    """Half a minute would pass until the job of the dead is another's: what happens then is looked at, not the waiting."""
    rig.died(60)
    again = "UPDATE jobs SET leased_until = NULL WHERE kind LIKE 'bulk_edit%' RETURNING id"
    rows(rig.suite, "customers", again)
    rig.part.start()


def _stands(boss: Any, id: str, state: str) -> bool:
    try:
        return boss.get(f"/v1/customers/bulkEdits/{id}")["state"] == f"BULK_EDIT_STATE_{state}"
    except AssertionError:  # it is down
        return False


def _customers(boss: Any, mark: str) -> None:
    """So many customers, by an import."""
    lines = "".join(f"{mark} {n},{mark}\n" for n in range(_RECORDS))
    file = {"file": ("c.csv", f"Name,Region\n{lines}".encode(), "text/csv")}
    made = boss.ask("POST", "/v1/customers/imports", data={"recordType": "customer"}, files=file)
    boss.post(f"/v1/customers/imports/{made['id']}:start", {})


def _all(boss: Any, filter: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    token = ""
    while True:
        page = boss.get("/v1/customers", params={"filter": filter, "pageSize": 200, "pageToken": token})
        found += page.get("customers", [])
        token = page.get("nextPageToken", "")
        if not token:
            return found


@pytest.mark.parametrize(("step", "others", "change", "found"), _STEPS)
def test_customers_dies_in_the_middle(
    suite: Suite,
    boss: Any,
    eventually: Callable[..., Any],
    tmp_path: Path,
    step: str,
    others: int,
    change: dict[str, Any],
    found: str,
) -> None:
    boss.sign_in()
    mark = f"Bulk {uuid4().hex[:8]}"
    _customers(boss, mark)
    eventually(lambda: len(_all(boss, f'region = "{mark}"')) == _RECORDS, 60)
    before = {one["id"]: one["etag"] for one in _all(boss, f'region = "{mark}"')}
    asked = {"recordType": "customer", "filter": f'region = "{mark}"', "change": change}
    with rigged(suite, "customers", tmp_path / "rig") as rig:
        # Others work in the background of customers, too.
        rig.arm(step, others, job_of(JOB, change.get("action", "")))
        edit = boss.post("/v1/customers/bulkEdits", asked)
        assert edit["totalRecords"] == _RECORDS
        _start_again(rig)
        eventually(partial(_stands, boss, edit["id"], "SUCCEEDED"), 180)
        done = boss.get(f"/v1/customers/bulkEdits/{edit['id']}")
        assert (done["changedRecords"], done.get("refusedRecords", 0)) == (_RECORDS, 0)
        after = {one["id"]: int(one["etag"]) for one in _all(boss, f'region = "{mark}"{found}')}
        # Each write of a record raises its version by one.
        assert after == ({id: int(v) + 1 for id, v in before.items()} if found else {})
        rig.arm(step, others, job_of(UNDO_JOB, change.get("action", "")))
        boss.post(f"/v1/customers/bulkEdits/{edit['id']}:undo", {})
        _start_again(rig)
        eventually(partial(_stands, boss, edit["id"], "UNDONE"), 180)
        undone = boss.get(f"/v1/customers/bulkEdits/{edit['id']}")
        assert (undone["undoneRecords"], undone.get("keptRecords", 0)) == (_RECORDS, 0)
        back = _all(boss, f'region = "{mark}" AND industry = null AND NOT tags:moved')
        assert {one["id"]: int(one["etag"]) for one in back} == {id: int(v) + 2 for id, v in before.items()}
