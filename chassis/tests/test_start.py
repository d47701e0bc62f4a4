"""What a service loads to serve: after a crash, its imports are most of the time until it answers again."""

import subprocess
import sys


def test_serving_needs_nothing_of_migrations() -> None:
    asked = (
        "import sys, chassis.commands, chassis.imports.rpc, chassis.listing; print('alembic' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert said.stdout == "False\n"
