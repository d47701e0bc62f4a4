"""The whole OpenAPI document tried out by made-up calls."""

import multiprocessing
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor

from kehu_local.suite import Suite, start_suite
from proof import rpc_calls
from proof.api_calls import Tally, Who, labels_of, run_share, shares
from proof.furniture import furnished
from proof.people import Person, administrator, principal_of, sign_in_again
from proof.scoreboard import Experiment, Figure, Row, Trial

R17 = Row("R17", "API fuzz", "0 5xx, 0 schema violations")
SETTINGS = {
    "KEHU_RATE_PER_SECOND": "100000", "KEHU_DOOR_RATE_PER_MINUTE": "100000", "KEHU_ERASURE_PAUSE_SECONDS": "1",
}  # fmt: skip
"""For the gateway: nobody would learn much from answers 429."""
_PROCESSES = 2


def fuzz(suite: Suite, boss: Person, calls: int, seed: int) -> tuple[Tally, int]:
    """Makes about that many calls as the administrator of a tenant, who is there for nothing else. What came of it, and the
    number of operations.
    """
    document = boss.get("/openapi.json")
    who = Who(suite.base_url, boss.tenant, boss.email, boss.password)
    found = Tally()
    work = shares(document, seed, calls, furnished(boss), _PROCESSES)
    with ProcessPoolExecutor(len(work), multiprocessing.get_context("spawn")) as pool:
        for tally in pool.map(run_share, [who] * len(work), work):
            found.add(tally)
    return found, len(labels_of(document))


def faces_of(suite: Suite, boss: Person) -> rpc_calls.Target:
    """All services, called past the gateway by that administrator."""
    addresses = {domain: part.address for domain, part in suite.services.items()}
    return rpc_calls.Target(addresses, principal_of(suite, boss), suite.keys.folder, furnished(boss))


def run(trial: Trial) -> Mapping[str, Figure]:
    """5,000 calls of the API in the short form, 100,000 in the long one; and 3,000 or 50,000 of the gRPC methods behind it."""
    with start_suite(trial.folder / "suite", keep_password=True, environment=SETTINGS) as suite:
        boss = administrator(suite)
        faces = rpc_calls.fuzz(faces_of(suite, boss), trial.size(short=3_000, long=50_000), trial.seed)
        sign_in_again(boss)  # made-up calls also end sessions
        tally, operations = fuzz(suite, boss, trial.size(short=5_000, long=100_000), trial.seed)
    for fault in [*tally.faults, *faces.faults]:
        trial.note("fault", fault=fault)
    trial.note("reached", operations={label: dict(counted) for label, counted in tally.reached.items()})
    broken = sum(count for status, count in tally.statuses.items() if status >= 500)
    good = sum(1 for counted in tally.reached.values() if any(status < 400 for status in counted))
    return {
        "R17": Figure(
            f"{broken} answers 5xx and {len(tally.faults)} faults in {tally.calls:,} calls of {operations} operations, "
            f"{good} of which did something; {tally.busy} answers asked to come back later; at worst {tally.slowest:.1f} s; "
            f"{len(faces.faults)} faults in {faces.calls:,} gRPC calls, {len(faces.succeeded)} methods of which did something, "
            f"at worst {faces.slowest:.1f} s",
            not tally.faults and tally.calls > 0 and not faces.faults and faces.calls > 0,
            {"calls": tally.calls, "faults": len(tally.faults), "5xx": broken, "busy": tally.busy,
             "operations that did something": good, "worst s": round(tally.slowest, 2),
             "gRPC calls": faces.calls, "gRPC faults": len(faces.faults)},
        )
    }  # fmt: skip


EXPERIMENT = Experiment("api fuzz", (R17,), run)
