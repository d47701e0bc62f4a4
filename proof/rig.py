"""A service of the running suite under a rig: it shows its steps, dies at those it is told to, and bears planted bugs."""

import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kehu_local.composition import MEMBERS
from kehu_local.processes import wait_until
from kehu_local.suite import Part, Suite

_RIGGED = Path(__file__).with_name("rigged.py")
_GAUGED = Path(__file__).with_name("gauged.py")


@dataclass(frozen=True)
class Rig:
    """One rigged service. `part` is its process."""

    suite: Suite
    part: Part
    folder: Path

    @contextmanager
    def noting(self) -> Generator[list[str]]:
        """The names of the steps passed inside the block, in their order, once the block has ended."""
        passed: list[str] = []
        file = self.folder / "passed"
        file.touch()
        try:
            yield passed
        finally:
            passed += file.read_text().splitlines()
            file.unlink()

    def arm(self, step: str, others: int = 0, job: str = "") -> None:
        """It dies at its next step of that name, once; after passing so many others of it. With the kind of a job those alone
        count that are taken in one of it."""
        fresh = self.folder / "fresh"
        fresh.write_text(f"{step}\n{others}\n{job}")
        fresh.rename(self.folder / "armed")

    def died(self, seconds: float = 20.0) -> None:
        """Waits for its death. Raises AssertionError when it lives on."""
        assert wait_until(lambda: not self.part.alive, seconds), f"{self.part.name} did not come to that step"
        assert not (self.folder / "armed").exists() and self.part.process.exit_code == -9


@contextmanager
def rigged(suite: Suite, domain: str, folder: Path, plants: Sequence[str] = ()) -> Generator[Rig]:
    """The service of that domain, started anew under a rig, with bugs of those names; afterwards it runs as before."""
    part = suite.services[domain]
    folder.mkdir(exist_ok=True)
    plain = part.process.command
    module = next(member.module for member in MEMBERS if member.domain == domain)
    part.kill()
    try:
        part.process.command = [sys.executable, str(_RIGGED), module, str(folder), *plants, "--"]
        part.start()
        yield Rig(suite, part, folder)
    finally:
        part.process.command = plain
        part.kill()
        part.start()


@contextmanager
def gauged(suite: Suite, name: str, folder: Path, plants: Sequence[str] = ()) -> Generator[Path]:
    """The service of that domain, or the gateway, started anew so that it tells its tasks in the file that is given, with
    bugs of those names; afterwards it runs as before."""
    part = next(part for part in suite.parts if part.name == name)
    folder.mkdir(exist_ok=True)
    plain = part.process.command
    module = next((member.module for member in MEMBERS if member.domain == name), name)
    part.kill()
    try:
        part.process.command = [sys.executable, str(_GAUGED), module, str(folder / name), *plants, "--"]
        part.start()
        yield folder / name
    finally:
        part.process.command = plain
        part.kill()
        part.start()
