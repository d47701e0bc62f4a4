"""A backup is taken from a running suite, and an installation made from it goes on from that point."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from kehu_local.backup import NOTE, BackupFailed, backup, restore
from kehu_local.postgres import Postgres
from kehu_local.processes import StartFailed
from kehu_local.suite import Suite, start_suite

pytestmark = pytest.mark.timeout(240)


class Boss:
    """The first administrator of a suite, whatever installation it runs from."""

    def __init__(self, suite: Suite, password: str) -> None:
        self.http = httpx.Client(base_url=suite.base_url, timeout=30)
        said = {"tenant": "demo", "email": "admin@demo.example", "password": password}
        answer = self.http.post("/v1/sessions:signIn", json=said)
        assert answer.status_code == 200, answer.text
        self.http.headers["authorization"] = f"Bearer {answer.json()['accessToken']}"

    def make_team(self, name: str) -> None:
        assert self.http.post("/v1/teams", json={"name": name}).status_code == 200

    def teams(self) -> set[str]:
        return {team["name"] for team in self.http.get("/v1/teams").json().get("teams", [])}


def said(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "kehu_local", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.fixture(scope="module")
def folder(open_folder: Path) -> Iterator[Path]:
    made = open_folder / "backups"
    made.mkdir(mode=0o711)
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="module")
def taken(folder: Path) -> tuple[Path, str]:
    """A backup taken by the command while the suite runs, and the administrator's password."""
    with start_suite(folder / "first", services=["identity"], keep_password=True) as suite:
        assert suite.sign_in is not None
        boss = Boss(suite, suite.sign_in.password)
        boss.make_team("Before")
        done = said("backup", "--var", str(folder / "first"), "--to", str(folder / "taken"))
        assert done.returncode == 0, done.stderr
        assert "acknowledged before" in done.stdout
        boss.make_team("After")
        assert suite.postgres is not None and suite.postgres.alive
        return folder / "taken", suite.sign_in.password


def test_a_restored_installation_goes_on_from_the_point(taken: tuple[Path, str], folder: Path) -> None:
    source, password = taken
    done = said("restore", "--from", str(source), "--var", str(folder / "second"))
    assert done.returncode == 0, done.stderr
    with start_suite(folder / "second", services=["identity"]) as suite:
        assert suite.sign_in is None  # nobody is founded anew
        boss = Boss(suite, password)
        assert boss.teams() & {"Before", "After"} == {"Before"}
        boss.make_team("After all")


def test_a_backup_is_taken_of_a_suite_at_rest_too(taken: tuple[Path, str], folder: Path) -> None:
    point = backup(folder / "first", folder / "at-rest")
    assert point.at <= point.until and point.bytes > 1_000_000
    assert (folder / "at-rest" / "keys").stat().st_mode & 0o077 == 0
    assert (folder / "at-rest" / "keys" / "secret").stat().st_mode & 0o077 == 0


def test_nothing_is_written_over(taken: tuple[Path, str], folder: Path) -> None:
    source, _ = taken
    with pytest.raises(BackupFailed, match="is there already"):
        backup(folder / "first", source)
    with pytest.raises(BackupFailed, match="is not empty"):
        restore(source, folder / "first")
    assert said("restore", "--from", str(source), "--var", str(folder / "first")).returncode == 1
    with pytest.raises(BackupFailed, match="no installation"):
        backup(folder / "nothing", folder / "of-nothing")
    assert not (folder / "of-nothing").exists() and not (folder / "of-nothing.part").exists()


def damaged(source: Path) -> None:
    file = max(
        (source / "postgres" / "base").rglob("*"), key=lambda path: path.stat().st_size * path.is_file()
    )
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def without_log(source: Path) -> None:
    next(path for path in (source / "postgres" / "pg_wal").iterdir() if path.is_file()).unlink()


def without_keys(source: Path) -> None:
    (source / "keys" / "secret").unlink()


def without_note(source: Path) -> None:
    (source / NOTE).unlink()


@pytest.mark.parametrize("fault", [damaged, without_log, without_keys, without_note])
def test_nothing_is_made_from_a_backup_that_is_not_whole(
    taken: tuple[Path, str], folder: Path, tmp_path: Path, fault: Any
) -> None:
    source = shutil.copytree(taken[0], tmp_path / "damaged")
    fault(source)
    with pytest.raises(BackupFailed):
        restore(source, folder / "from-damaged")
    assert not (folder / "from-damaged").exists()


def test_servers_of_ones_own_are_left_to_their_own_means(
    taken: tuple[Path, str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEHU_DATABASE_URL", "postgresql://elsewhere/postgres")
    with pytest.raises(BackupFailed, match="by its own means"):
        backup(folder / "first", folder / "elsewhere")


def test_a_cluster_is_never_replaced(open_folder: Path, tmp_path: Path) -> None:
    server = Postgres(open_folder / "backups" / "taken-place", "a password", tmp_path / "log")
    (server.home / "data").mkdir(parents=True)
    with pytest.raises(StartFailed, match="already: move it away"):
        server.adopt(tmp_path)
