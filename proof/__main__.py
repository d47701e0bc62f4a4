"""`python -m proof`: tries to break what Kehu claims, and prints one table with targets and figures.

The short form takes minutes, the long form (`--long`) hours. The exit status is 1 when a target is missed.
"""

import argparse
import importlib
import json
import pkgutil
import platform
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import proof.experiments
from proof.scoreboard import Entry, Experiment, as_json, conduct, table


def experiments() -> list[Experiment]:
    """All there are: every module of `proof.experiments` gives one, as `EXPERIMENT`."""
    found = [
        importlib.import_module(f"proof.experiments.{module.name}").EXPERIMENT
        for module in pkgutil.iter_modules(proof.experiments.__path__)
    ]
    return sorted(found, key=lambda one: min(int(row.id[1:]) for row in one.rows))


def main() -> int:
    """Runs the experiments that were asked for. 1 when a target was missed."""
    parser = argparse.ArgumentParser(prog="python -m proof", description=__doc__)
    parser.add_argument(
        "--long", action="store_true", help="the long form: hours, and the numbers of the targets"
    )
    parser.add_argument("--rows", default="", help="only these, e.g. R1,R9")
    parser.add_argument("--seed", type=int, default=20161020)
    parser.add_argument("--json", type=Path, help="writes the table there, too, for programs")
    parser.add_argument("--history", type=Path, help="keeps suites' data and the history of operations there")
    said = parser.parse_args()
    wanted = {id for id in said.rows.upper().split(",") if id}
    entries: list[Entry] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = said.history or Path(temporary)
        for experiment in experiments():
            if wanted and not wanted & {row.id for row in experiment.rows}:
                continue
            print(f"{experiment.name} ({', '.join(row.id for row in experiment.rows)}) …", flush=True)
            for entry in conduct(experiment, said.seed, said.long, folder / experiment.name):
                print(f"  {entry.row.id}: {entry.figure.value}", flush=True)
                entries.append(entry)
    head = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}", "commit": _commit(), "seed": said.seed,
        "form": "long" if said.long else "short", "machine": platform.platform(),
    }  # fmt: skip
    print("\n" + ", ".join(f"{name} {value}" for name, value in head.items()))
    print("\n" + table(entries))
    if said.json:
        written = {**head, "rows": as_json(entries)}
        said.json.write_text(json.dumps(written, indent=1, ensure_ascii=False) + "\n")
    return 0 if entries and all(entry.figure.met for entry in entries) else 1


def _commit() -> str:
    asked = ["git", "describe", "--always", "--dirty", "--abbrev=10"]
    found = subprocess.run(asked, capture_output=True, text=True, check=False, cwd=Path(__file__).parent)
    return found.stdout.strip() or "unknown"


sys.exit(main())
