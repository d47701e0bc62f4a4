"""Malformed files through the gateway's import routes (row R16, short form), and that what they look for is found."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kehu_local.suite import Suite
from proof.experiments.malformed_files import MEMORY, import_all, peaks
from proof.import_files import Column, Maker
from proof.import_resumed import killed_import, row_faults
from proof.import_runs import account_faults
from proof.rigged import PLANTS
from proof.scoreboard import Trial

SEED = 20161020
FILES = 150
COLUMNS = (Column("name", "Name", ("姓名",), True), Column("phone", "Phone", ("电话",), False))


@pytest.fixture(scope="module")
def boss(founded: Callable[[str], Any]) -> Any:
    """The administrator of a tenant that is there for nothing else."""
    return founded("importing")


@pytest.fixture
def trial(tmp_path: Path) -> Iterator[Trial]:
    with (tmp_path / "history.jsonl").open("w") as history:
        yield Trial("malformed files", SEED, long=False, folder=tmp_path, history=history)


@pytest.mark.timeout(600)
def test_no_file_is_answered_with_a_fault_of_ours_or_loses_a_row(
    suite: Suite, boss: Any, trial: Trial
) -> None:
    tally = import_all(boss, FILES, trial)
    assert tally.faults == []
    assert (
        tally.files == FILES and tally.imported > FILES / 4 and tally.refused > FILES / 4 and tally.made > 100
    )
    assert max(peaks(suite).values()) < MEMORY


def test_files_of_every_kind_are_made_alike_by_the_same_seed() -> None:
    maker = Maker(COLUMNS, large=False)
    assert len(maker.kinds) >= 30
    for kind, make in maker.kinds.items():
        first, second = (make(random.Random(SEED)) for _ in range(2))
        assert first.name == second.name and first.options == second.options, kind
        if not first.name.endswith(".xlsx"):  # workbooks hold the time of their making
            assert first.content == second.content, kind


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("plants", "step"),
    [([], "after commit in the background"), (["forgotten_cursor"], "between the rows and the cursor")],
    ids=["sound", "rows and cursor apart"],
)
def test_an_import_that_is_killed_repeats_no_row(
    suite: Suite, boss: Any, trial: Trial, plants: list[str], step: str
) -> None:
    assert set(plants) <= PLANTS.keys()
    faults = killed_import(suite, boss, trial, step, 0 if plants else 1, plants)
    if plants:
        assert any("has become 2 records" in fault for fault in faults), faults[:3]
    else:
        assert faults == []


def test_rows_lost_doubled_or_made_up_are_seen() -> None:
    assert row_faults(["a", "b"], ["b", "a"]) == []
    assert row_faults(["a", "b"], ["a"]) == ["row b has become 0 records"]
    assert row_faults(["a"], ["a", "a"]) == ["row a has become 2 records"]
    assert row_faults(["a"], ["a", "c"]) == ["record c was asked for by no row"]


RUN: dict[str, Any] = {
    "state": "IMPORT_STATE_SUCCEEDED", "totalRows": 4, "processedRows": 4, "createdRows": 3, "refusedRows": 1,
    "repairedRows": 1,
}  # fmt: skip
TOLD = "\ufeffRow,Verdict,Reasons,Name\r\n2,refused,no,x\r\n3,repaired,yes,y\r\n"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"state": "IMPORT_STATE_FAILED"}, TOLD), ({"totalRows": 5}, TOLD), ({"processedRows": 3}, TOLD),
        ({"createdRows": 4}, TOLD),
        ({}, TOLD.replace("3,repaired,yes,y\r\n", "")), ({}, TOLD + "4,refused,no,z\r\n"), ({}, TOLD.replace("3,rep", "2,rep")),
    ],
)  # fmt: skip
def test_accounts_that_do_not_add_up_are_seen(change: dict[str, Any], told: str) -> None:
    assert account_faults(RUN, TOLD) == []
    assert account_faults({**RUN, **change}, told)
