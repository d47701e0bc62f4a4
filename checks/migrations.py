"""Migrations may run while the service does: squawk reads the SQL of each for what locks or rewrites a table that is in use."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from chassis.migrations import rendered
from kehu_local.composition import MEMBERS
from kehu_local.databases import roles

EXCLUDED = {
    "prefer-bigint-over-int": "keys are UUIDs; whole numbers count versions, scores and rows of one record",
    "prefer-bigint-over-smallint": "the same",
    "require-statement-timeout": "an index of a large table takes as long as it takes; what blocks others waits 5 s at most"
    " (lock_timeout, which every migration is given)",
}
"""Rules of squawk that do not hold here, and why. Tables made in the same migration are nobody's yet; squawk knows that."""

_POSTGRES = "18"
_VERSIONS = "alembic_version"


def faults() -> Iterator[str]:
    """What is dangerous in the migrations of all services."""
    for member in MEMBERS:
        owner, _, _ = roles(member.domain)
        for revision, sql in rendered(member.migrations, owner).items():
            for fault in dangers(sql):
                yield f"migration {revision} of {member.domain}: {fault}"


def dangers(sql: str) -> Iterator[str]:
    """The rules of squawk that the SQL of a migration breaks, with its words and the statement."""
    # Alembic keeps its table of versions by itself.
    ours = "\n\n".join(one for one in sql.split("\n\n") if _VERSIONS not in one)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "migration.sql"
        file.write_text(ours)
        program = Path(sys.executable).with_name("squawk")
        asked = ["--reporter", "json", "--pg-version", _POSTGRES, "--exclude", ",".join(EXCLUDED)]
        done = subprocess.run([program, *asked, str(file)], capture_output=True, text=True, check=False)
    if not done.stdout.strip() and done.returncode:
        raise RuntimeError(f"squawk failed: {done.stderr.strip()}")
    found: list[dict[str, Any]] = json.loads(done.stdout or "[]")
    lines = ours.splitlines()
    for one in found:
        said = " ".join(filter(None, (one["message"], one["help"])))
        yield f"{one['rule_name']}: {said} In: {lines[one['line']].strip()[:120]}"
