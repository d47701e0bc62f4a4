"""Files that are broken, hostile or merely odd, imported as every kind of record; and imports whose service dies."""

import itertools
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from kehu_local.suite import Suite, start_suite
from proof.experiments.api_fuzz import SETTINGS
from proof.import_files import Maker
from proof.import_resumed import resumed_faults
from proof.import_runs import KINDS, Tally, columns_of, peak, tried
from proof.people import Person, administrator
from proof.scoreboard import Experiment, Figure, Row, Trial

R16 = Row(
    "R16",
    "2,000 malformed import files",
    "0 5xx, no hang, bounded memory; resume repeats no row",
)
MEMORY = 600 * 1024 * 1024
"""Bytes that a service may come to hold. The largest file has 10 MB and is sent four times at once: 120 MB from the wire and in
messages. Reading one takes a row more, and its rows packed. A service at rest holds 100 to 140 MB. Workbooks are read by
children with a limit of their own.
"""
_AT_ONCE = 4


def import_all(boss: Person, files: int, trial: Trial) -> Tally:
    """That many files, as every kind of record in turn."""
    columns = columns_of(boss)
    makers = {kind: Maker(columns[kind], trial.long) for kind in KINDS}
    kinds = itertools.cycle(KINDS)
    rounds: dict[str, int] = dict.fromkeys(KINDS, 0)
    found = Tally()

    def one(work: tuple[int, str, int]) -> Tally:
        number, kind, nth = work
        # Every kind of file comes to every kind of record: they are shifted by one each round.
        return tried(boss, kind, makers[kind].file(nth, trial.chance(f"file {number}")))

    work: list[tuple[int, str, int]] = []
    shift = {kind: place * 7 for place, kind in enumerate(KINDS)}
    for number, kind in zip(range(files), kinds, strict=False):
        work.append((number, kind, rounds[kind] + shift[kind]))
        rounds[kind] += 1
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for tally in pool.map(one, work):
            found.add(tally)
    return found


def peaks(suite: Suite) -> dict[str, int]:
    """The most bytes of memory that the importing services and the gateway ever held."""
    parts = {domain: suite.services[domain] for domain in set(KINDS.values())}
    assert suite.gateway is not None
    return {name: peak(part.pid) for name, part in {**parts, "gateway": suite.gateway}.items()}


def run(trial: Trial) -> Mapping[str, Figure]:
    """150 files in the short form, 2,000 in the long one; then imports of which the service dies at every kind of step."""
    with start_suite(trial.folder / "suite", keep_password=True, environment=SETTINGS) as suite:
        boss = administrator(suite)
        tally = import_all(boss, trial.size(short=150, long=2_000), trial)
        memory = peaks(suite)
        resumed, kills = resumed_faults(suite, boss, trial)
    for fault in [*tally.faults, *resumed]:
        trial.note("fault", fault=fault)
    most = max(memory.values()) / 2**20
    return {
        "R16": Figure(
            f"{len(tally.faults)} faults in {tally.files:,} files ({tally.refused:,} refused, {tally.imported:,} imported with "
            f"{tally.rows:,} rows, {tally.made:,} records made), slowest {tally.slowest:.0f} s, at most {most:.0f} MB; "
            f"{len(resumed)} rows lost or doubled in {kills} kills",
            not tally.faults and not resumed and kills > 0 and max(memory.values()) < MEMORY,
            {"files": tally.files, "faults": len(tally.faults), "imported": tally.imported, "rows": tally.rows, "kills": kills,
             "resume faults": len(resumed),
             "slowest s": round(tally.slowest, 1), **{f"MB {k}": round(v / 2**20) for k, v in memory.items()}},
        )
    }  # fmt: skip


EXPERIMENT = Experiment("malformed files", (R16,), run)
