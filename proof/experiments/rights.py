"""Every method of the contracts, by every kind of caller of two companies, with a look at all rows after each refused call."""

from collections import Counter
from collections.abc import Mapping

import httpx

from kehu_local.suite import start_suite
from proof.company import Rows, claims_of, founded, furnished
from proof.matrix import ACTORS, HARMLESS, METHODS, Cast, Cell, Tried, attempt, cast, cells
from proof.scoreboard import Experiment, Figure, Row, Trial

R18 = Row(
    "R18",
    "every route × role × two tenants, read from the descriptors",
    "0 leaks; 0 rows changed by a refused call",
)


def run(trial: Trial) -> Mapping[str, Figure]:
    """All cells once in the short form and five times in the long one, each time between two new companies and in another
    order: what a caller has sent itself may stand in its answers ever after.
    """
    tried = Tried()
    every: list[Cell] = []
    with (
        start_suite(
            trial.folder / "suite", keep_password=True, environment={"KEHU_ERASURE_PAUSE_SECONDS": "1"}
        ) as suite,
        httpx.Client(base_url=suite.base_url, timeout=30) as http,
    ):
        for round in range(trial.size(short=1, long=5)):
            order = trial.chance(f"round {round}")
            world = furnished(founded(suite, http, f"ours{round or ''}"))
            rival = founded(suite, http, f"rival{round or ''}")
            rival.post("/v1/customers", {"displayName": "A customer of theirs"})
            people = cast(suite, world, rival)
            every = [cell for method in METHODS for cell in cells(method, people.callers)]
            rows = Rows(suite, [world.tenant_id, str(claims_of(rival)["tid"])])
            rows.settled()
            harmless = [cell for cell in every if cell.outcome in HARMLESS]
            order.shuffle(harmless)
            _watched(trial, people, harmless, rows, tried)
            rows.close()
            others = [cell for cell in every if cell.outcome not in HARMLESS]
            attempt(people, others, None, tried)
            people.close()
    outcomes = Counter(cell.outcome.name for cell in every)
    for fault in tried.faults:
        trial.note("fault", what_is_wrong=fault)
    trial.note("outcomes", **outcomes)
    other = len(tried.faults) - tried.leaks - tried.changes
    return {
        "R18": Figure(
            f"{tried.leaks} leaks in {tried.cells:,} cells ({len(METHODS)} methods, {len(ACTORS)} kinds of callers, route and "
            f"port); {tried.changes} rows changed by {tried.refused:,} refused calls"
            + (f"; {other} answers of another status than the contract's rule" if other else ""),
            not tried.faults,
            {"cells": tried.cells, "refused": tried.refused, "leaks": tried.leaks, "changes": tried.changes, "other": other},
        )
    }  # fmt: skip


def _watched(trial: Trial, people: Cast, some: list[Cell], rows: Rows, tried: Tried) -> None:
    for cell in some:
        before = len(tried.faults)
        attempt(people, [cell], rows, tried)
        if len(tried.faults) > before:
            trial.note("cell", cell=str(cell), faults=tried.faults[before:])


EXPERIMENT = Experiment("rights", (R18,), run)
