"""Checks the contracts: lint, format, and whether they break those from before: `python check.py [--against REF]`.

Contracts are compared with those of the latest tag, which are what others build against, or before the first tag
with those of the last commit. Exits with 1 and buf's words when something is wrong.
"""

import argparse
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import generate

HERE = Path(__file__).resolve().parent
RULES = '{"version": "v2", "breaking": {"use": ["FILE"]}}'
"""The same as in buf.yaml, which buf does not apply to images."""


def buf(*arguments: str, folder: Path | None = None) -> bool:
    """Runs buf in that folder, or here, its output shown; False when it finds fault."""
    scripts = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    program = shutil.which("buf", path=scripts)
    if program is None:
        sys.exit("buf is missing: install the wheel buf-bin (it is among the dev dependencies)")
    return subprocess.run([program, *arguments], cwd=folder or HERE, check=False).returncode == 0


def git(*arguments: str) -> bytes | None:
    """What git answers, or None when it refuses or is not there."""
    try:
        done = subprocess.run(["git", *arguments], cwd=HERE, capture_output=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout if done.returncode == 0 else None


def base() -> str | None:
    """The revision to compare with; None when there is none."""
    tag = git("describe", "--tags", "--abbrev=0")
    if tag:
        return tag.decode().strip()
    return "HEAD" if git("rev-parse", "--verify", "--quiet", "HEAD") else None


def breaks_nothing(against: str | None) -> bool:
    """Whether everything that revision offers is still there, compatible on the wire and in source."""
    revision = against or base()
    archive = git("archive", revision, "kehu") if revision else None
    if archive is None:
        if against:
            sys.exit(f"{against} has no contracts, or is no revision of this repository")
        print("breaking: no earlier contracts to compare with")
        return True
    with tempfile.TemporaryDirectory() as folder:
        before = Path(folder)
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            tar.extractall(before, filter="data")
        shutil.copy(HERE / "buf.yaml", before)
        shutil.copytree(HERE / "gen" / "google-protos", before / "gen" / "google-protos")
        # Two workspaces of two modules cannot be compared, two images can.
        old, new = before / "old.binpb", before / "new.binpb"
        if not buf("build", "--output", str(old), folder=before):
            print(f"breaking: the contracts of {revision} do not compile, so nothing can be compared")
            return False
        print(f"breaking: comparing with {revision}")
        return buf("build", "--output", str(new)) and buf(
            "breaking", str(new), "--against", str(old), "--config", RULES
        )


def main() -> None:
    """Runs all three checks, so that one run shows every fault."""
    parser = argparse.ArgumentParser(description="Checks the contracts: lint, format, breaking changes.")
    parser.add_argument(
        "--against", metavar="REF", help="compare with this revision instead of the latest tag"
    )
    against: str | None = parser.parse_args().against
    try:
        generate.generate(HERE)
    except RuntimeError as problem:
        sys.exit(str(problem))
    checks = {
        "lint": buf("lint"),
        "format (mend it with `buf format -w --path kehu` in proto/)": buf(
            "format", "--diff", "--exit-code", "--path", "kehu"
        ),
        "breaking": breaks_nothing(against),
    }
    for name, passed in checks.items():
        print(f"{'ok    ' if passed else 'FAILED'} {name}")
    sys.exit(0 if all(checks.values()) else 1)


if __name__ == "__main__":
    main()
