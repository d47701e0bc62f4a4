"""Imports through the gateway, from the file to its last row, and what is wrong with them."""

import csv
import io
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from proof.api_calls import problem_faults
from proof.import_files import Column, File
from proof.people import Person, sign_in_again

KINDS = {
    "customer": "customers",
    "contact": "customers",
    "lead": "leads",
    "product": "sales",
    "opportunity": "sales",
    "activity": "sales",
}
"""Every kind of record that can be imported, and whose it is."""
HANGS = 120.0
"""Seconds in which a file must have been read, and in which its rows must all have been dealt with: twice what the contract
gives the reading, since the machine may be busy."""
_REPEATS = 30
_CUT = "There are more rows than fit here"


@dataclass
class Tally:
    """What came of files."""

    files: int = 0
    refused: int = 0
    """Files that were refused as a whole."""
    imported: int = 0
    rows: int = 0
    made: int = 0
    busy: int = 0
    kinds: Counter[str] = field(default_factory=Counter[str])
    faults: list[str] = field(default_factory=list[str])
    slowest: float = 0.0

    def add(self, other: "Tally") -> None:
        """Takes another's in."""
        for name in ("files", "refused", "imported", "rows", "made", "busy"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.kinds += other.kinds
        self.faults += other.faults
        self.slowest = max(self.slowest, other.slowest)


def columns_of(boss: Person) -> dict[str, tuple[Column, ...]]:
    """The fields of every kind of record, as the services themselves tell them."""
    found: dict[str, tuple[Column, ...]] = {}
    for kind, domain in KINDS.items():
        file = {"file": ("a.csv", b"x\ny\n", "text/csv")}
        made = boss.ask("POST", f"/v1/{domain}/imports", data={"recordType": kind}, files=file)
        found[kind] = tuple(
            Column(one["field"], one["label"], tuple(one.get("aliases", ())), one.get("required", False))
            for one in made["fields"]
        )
    return found


def account_faults(run: Mapping[str, Any], refused_csv: str) -> list[str]:
    """What is wrong with the accounts of an import that has ended: every row is dealt with once, and those that were refused or
    repaired are in the file that tells of them. `run` is the import as the API shows it.
    """
    faults: list[str] = []
    if run.get("state") != "IMPORT_STATE_SUCCEEDED":
        faults.append(f"ended {run.get('state')}: {run.get('failureReason')} {run.get('failureMessage')}")
    names = ("created", "updated", "unchanged", "refused")
    total, done = run.get("totalRows", 0), run.get("processedRows", 0)
    counted = {name: run.get(f"{name}Rows", 0) for name in names}
    if not total == done == sum(counted.values()):
        faults.append(f"of {total} rows {done} were dealt with, and {counted} counted")
    if _CUT not in refused_csv:
        csv.field_size_limit(2**26)
        lines = list(csv.reader(io.StringIO(refused_csv.removeprefix("\ufeff"), newline="")))[1:]
        told = Counter(line[1] for line in lines)
        for name in ("refused", "repaired"):
            if told[name] != run.get(f"{name}Rows", 0):
                faults.append(f"{run.get(f'{name}Rows', 0)} rows were {name}, the file tells of {told[name]}")
        rows = Counter(line[0] for line in lines)
        faults += [f"the file tells {many} times of row {row}" for row, many in rows.items() if many > 1]
    return faults


def tried(boss: Person, kind: str, file: File) -> Tally:
    """Sends the file, starts its import and waits for the end, as far as it gets."""
    tally = Tally(files=1)
    began = time.monotonic()
    try:
        faults = _tried(boss, kind, file, tally)
    except httpx.TransportError as error:
        faults = [f"no answer: {type(error).__name__} after {time.monotonic() - began:.0f} s"]
    tally.slowest = time.monotonic() - began
    tally.kinds[file.what] += 1
    tally.faults = [
        f"{kind}, {file.what} ({file.name[:40]}, {dict(file.options)}, {file.content[:300]!r}): {one}"
        for one in faults
    ]
    return tally


def _tried(boss: Person, kind: str, file: File, tally: Tally) -> list[str]:
    path = f"/v1/{KINDS[kind]}/imports"
    sent = {
        "data": {"recordType": kind, **file.options},
        "files": {"file": (file.name or "x", file.content, "application/octet-stream")},
    }
    answer = _answered(boss, "POST", path, tally, **sent)
    if answer.status_code != 200:
        tally.refused += 1
        return _refused(answer)
    made = answer.json()
    mine = f"{path}/{made['id']}"
    start = _answered(boss, "POST", f"{mine}:start", tally, json=dict(file.start))
    if start.status_code != 200 and file.start:
        faults = _refused(start)
        if faults:
            return faults
        start = _answered(boss, "POST", f"{mine}:start", tally, json={})
    if start.status_code != 200:
        tally.refused += 1
        # A person has but so many that wait, and the next would be refused for their number.
        _answered(boss, "POST", f"{mine}:cancel", tally, json={})
        return _refused(start)
    until = time.monotonic() + HANGS
    run = start.json()
    while run["state"] == "IMPORT_STATE_RUNNING":
        if time.monotonic() > until:
            return [f"hangs behind row {run.get('processedRows', 0)}"]
        time.sleep(0.05)
        run = _answered(boss, "GET", mine, tally).json()
    told = _answered(boss, "GET", f"{mine}/refusedRows", tally)
    if told.status_code != 200:
        return [f"the refused rows are answered {told.status_code}"]
    tally.imported += 1
    tally.rows += run.get("totalRows", 0)
    tally.made += run.get("createdRows", 0)
    return account_faults(run, told.text)


def _answered(boss: Person, method: str, path: str, tally: Tally, **sent: Any) -> httpx.Response:
    """The answer, asked for again where there was no room and where the token had ended."""
    attempt = 0
    while True:
        attempt += 1
        answer = boss.http.request(method, path, headers=boss.headers, timeout=HANGS, **sent)
        if answer.status_code == 401 and attempt == 1:
            sign_in_again(boss)
        elif answer.status_code in (429, 503) and "retry-after" in answer.headers and attempt < _REPEATS:
            tally.busy += 1
            time.sleep(float(answer.headers["retry-after"]))
        else:
            return answer


def _refused(answer: httpx.Response) -> list[str]:
    faults = problem_faults(answer.status_code, answer.headers, answer.content)
    if answer.status_code not in (400, 409, 412, 413):
        faults.append(f"is answered {answer.status_code}: {answer.text[:300]}")
    return faults


def peak(pid: int) -> int:
    """The most bytes of memory that the process ever held."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"process {pid} tells no peak")
