"""What is claimed, what is tried against it, and the table of what came out."""

import json
import random
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO


@dataclass(frozen=True)
class Row:
    """One claim: its number on the scoreboard, what is counted or measured, and what it must come to."""

    id: str
    what: str
    target: str


@dataclass(frozen=True)
class Figure:
    """What was found for a row. `value` is read by people, `numbers` by programs."""

    value: str
    met: bool
    numbers: Mapping[str, float | int | str] = field(default_factory=dict[str, float | int | str])


@dataclass
class Trial:
    """What an experiment is run with. The same seed makes the same choices."""

    experiment: str
    seed: int
    long: bool
    folder: Path
    """Its own; a suite's data, and the history of what was done, which stays."""
    history: TextIO

    def chance(self, of: str = "") -> random.Random:
        """Choices that depend on the seed, the experiment and what they are for, and on nothing else."""
        return random.Random(f"{self.seed} {self.experiment} {of}")

    def size(self, *, short: int, long: int) -> int:
        """How much is done in this form."""
        return long if self.long else short

    def note(self, what: str, **said: Any) -> None:
        """Writes an operation, a fault or an answer into the history: one JSON line, with the time in seconds."""
        line = {"at": round(time.time(), 6), "what": what, **said}
        self.history.write(json.dumps(line, ensure_ascii=False, default=str) + "\n")


@dataclass(frozen=True)
class Experiment:
    """A workload with its faults and checkers, which fills some rows. `run` answers a figure for each of them."""

    name: str
    rows: tuple[Row, ...]
    run: Callable[[Trial], Mapping[str, Figure]]


@dataclass(frozen=True)
class Entry:
    """A line of the scoreboard."""

    row: Row
    figure: Figure
    experiment: str
    seconds: float


def conduct(experiment: Experiment, seed: int, long: bool, folder: Path) -> list[Entry]:
    """Runs an experiment. One that breaks down has met none of its targets, and says why."""
    folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    with (folder / "history.jsonl").open("w", encoding="utf-8", buffering=1) as history:
        trial = Trial(experiment.name, seed, long, folder, history)
        try:
            figures = experiment.run(trial)
            missing = [row.id for row in experiment.rows if row.id not in figures]
            assert not missing, f"{experiment.name} gave no figure for {missing}"
        except Exception as error:
            trial.note("broke down", error=traceback.format_exc())
            cause = _cause(error)
            why = Figure(f"broke down: {type(cause).__name__}: {str(cause)[:200]}", met=False)
            figures = {row.id: why for row in experiment.rows}
    took = time.monotonic() - began
    return [Entry(row, figures[row.id], experiment.name, took) for row in experiment.rows]


def _cause(error: Any) -> Any:
    """The first of those that went wrong together: that some did says nothing."""
    return _cause(error.exceptions[0]) if hasattr(error, "exceptions") else error


def table(entries: Iterable[Entry]) -> str:
    """The scoreboard as a Markdown table, in the order of the rows' numbers."""
    lines = ["| # | What | Target | Found | |", "|---|---|---|---|---|"]
    for entry in sorted(entries, key=lambda one: int(one.row.id[1:])):
        verdict = "met" if entry.figure.met else "**missed**"
        cells = (entry.row.id, entry.row.what, entry.row.target, entry.figure.value, verdict)
        lines.append("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |")
    return "\n".join(lines)


def as_json(entries: Iterable[Entry]) -> list[dict[str, Any]]:
    """The scoreboard for programs."""
    return [
        {
            "id": one.row.id, "what": one.row.what, "target": one.row.target, "value": one.figure.value,
            "met": one.figure.met, "numbers": dict(one.figure.numbers), "experiment": one.experiment,
            "seconds": round(one.seconds, 1),
        }
        for one in entries
    ]  # fmt: skip
