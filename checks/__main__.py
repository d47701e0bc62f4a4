"""Prints what breaks a rule of the house, and where; exit status 1 then."""

import sys
import time
from collections.abc import Callable, Iterable

from checks import contracts, databases, deployments, egress, migrations, sql
from checks.sources import product


def main() -> int:
    """Asks every rule. 1 when one is broken."""
    sources = product()
    rules: dict[str, Callable[[], Iterable[str]]] = {
        "SQL is written, not composed": lambda: [*sql.composed(sources), *sql.unexplained(sources)],
        "one client for addresses of others": lambda: [
            *egress.connections(sources), *egress.unknown(sources), *egress.testing_imported(sources)
        ],
        "access, deadline and bounds of every method": contracts.faults,
        "deployments are the composition": deployments.faults,
        "migrations of tables in use": migrations.faults,
        "tenants apart in every database, and persons declared": databases.on_a_server_of_its_own,
    }  # fmt: skip
    broken = 0
    for name, rule in rules.items():
        began = time.monotonic()
        faults = [*rule()]
        broken += len(faults)
        print(f"{'FAILED' if faults else 'ok    '} {name} ({time.monotonic() - began:.1f} s)")
        for fault in faults:
            print(f"       {fault}")
    return 1 if broken else 0


sys.exit(main())
