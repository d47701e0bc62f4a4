"""One point in time of all services' databases, with the keys behind their passwords; and an installation made from it.

    FOLDER/postgres/             a base backup of the cluster: all databases at the same point of its log
    FOLDER/files/                the files on records, where they are kept in a folder of the installation
    FOLDER/keys/                 what passwords, tokens and page tokens are derived from
    FOLDER/kehu-backup.json      when it was taken, and of what

The broker is not in it: what it holds is in the outboxes. A restored installation begins with an empty broker and sends again
every event that its outboxes keep; consumers take for a repeat what they have had.
"""

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import asyncpg

from kehu_local.composition import MEMBERS, Member
from kehu_local.databases import urls_of
from kehu_local.keys import Keys
from kehu_local.postgres import ADMIN, Postgres, program
from kehu_local.suite import AT_ONCE, DATABASE_URL, command, locked, runnable

NOTE = "kehu-backup.json"
FILES = "files"
_FORMAT = 1
_ALWAYS = "1970-01-01T00:00:00+00:00"


class BackupFailed(RuntimeError):
    """A backup could not be taken, or nothing can be made from it. The message says what to do."""


@dataclass(frozen=True)
class Point:
    """What a backup holds: everything that was acknowledged before `at`, and what came until `until` in part."""

    at: datetime
    until: datetime
    bytes: int


@dataclass(frozen=True)
class Restored:
    """An installation made from a backup."""

    point: Point
    events: int
    """Those its outboxes send again at the next start."""


def backup(var: Path, to: Path) -> Point:
    """Takes a backup of the installation in `var` into a folder that is not there yet, while it runs or not.

    Raises BackupFailed; nothing is left then.
    """
    _embedded_only()
    keys = Keys(var.absolute() / "keys")
    if not (keys.folder / "secret").exists():
        raise BackupFailed(f"There is no installation in {var}: no {keys.folder / 'secret'}.")
    if to.exists():
        raise BackupFailed(f"{to} is there already: name a folder that is not.")
    part = to.with_name(f"{to.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True, mode=0o700)
    try:
        with _server(var.absolute(), keys) as server:
            # Those that are deleted meanwhile are in the first copy, those that are added in the second.
            _copy_files(var.absolute() / FILES, part / FILES)
            at = datetime.now(UTC)
            _base_backup(server, part / "postgres")
            until = datetime.now(UTC)
        _copy_files(var.absolute() / FILES, part / FILES)
        shutil.copytree(keys.folder, part / "keys")
        size = sum(file.stat().st_size for file in part.rglob("*") if file.is_file())
        point = Point(at, until, size)
        note = {"format": _FORMAT, "at": at.isoformat(), "until": until.isoformat(), "bytes": size}
        (part / NOTE).write_text(json.dumps(note, indent=1) + "\n")
        _verify(part)
        os.sync()
        part.rename(to)
        return point
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def restore(source: Path, var: Path) -> Restored:
    """Makes an installation in `var`, which is empty or not there, from a backup. `run` starts it.

    Raises BackupFailed, StartFailed; nothing is left then.
    """
    _embedded_only()
    if var.exists() and any(var.iterdir()):
        raise BackupFailed(f"{var} is not empty: a backup is restored beside what is there, never over it.")
    point = _verify(source)
    var = var.absolute()
    made = not var.exists()
    var.mkdir(parents=True, exist_ok=True)
    try:
        with locked(var):
            shutil.copytree(source / "keys", var / "keys")
            _copy_files(source / FILES, var / FILES)
            return Restored(point, _made(source, var))
    except BaseException:
        for path in var.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        if made:
            var.rmdir()
        raise


def _made(source: Path, var: Path) -> int:
    """The cluster in its place and its events marked as unsent; their number. Raises what has gone wrong, the cluster removed."""
    keys = Keys(var / "keys")
    server = Postgres(var / "postgres", keys.secret("postgres"), var / "log" / "postgres.log")
    server.adopt(source / "postgres")
    try:
        server.start(600)  # it goes through the log of what was written while the backup was taken
        events = _tell_again(server, keys)
    except BaseException:
        server.kill()
        shutil.rmtree(server.home)
        raise
    server.stop()
    return events


def _copy_files(source: Path, to: Path) -> None:
    """Adds the files on records that are not there yet. None is ever changed; one that is being written has a number."""
    for path in source.rglob("*"):
        there = to / path.relative_to(source)
        if path.is_file() and "#" not in path.name and not there.exists():
            there.parent.mkdir(parents=True, exist_ok=True)
            try:
                shutil.copy2(path, there)
            except FileNotFoundError:  # deleted between the look and the copy
                there.unlink(missing_ok=True)


def _embedded_only() -> None:
    if os.environ.get(DATABASE_URL):
        raise BackupFailed(
            f"{DATABASE_URL} names a server of your own: back it up by its own means. See docs/operations.md."
        )


@contextmanager
def _server(var: Path, keys: Keys) -> Generator[Postgres]:
    """The server of that installation: the one that runs, or one for this purpose."""
    server = Postgres(var / "postgres", keys.secret("postgres"), var / "log" / "backup.log")
    if server.find():
        yield server
        return
    with locked(var):
        server.start()
        try:
            yield server
        finally:
            server.stop()


def _base_backup(server: Postgres, to: Path) -> None:
    said = [
        *("-h", "127.0.0.1", "-p", str(server.port), "-U", ADMIN, "-w", "-D", str(to)),
        *("--format=plain", "--wal-method=stream", "--checkpoint=fast", "--manifest-checksums=SHA256"),
    ]
    _run("pg_basebackup", *said, password=server.password)


def _verify(folder: Path) -> Point:
    """The point of a backup that is whole. Raises BackupFailed for one that is not."""
    try:
        note = json.loads((folder / NOTE).read_text())
        if note["format"] != _FORMAT:
            raise BackupFailed(f"{folder} is a backup of another version of Kehu: use that version.")
        point = Point(
            datetime.fromisoformat(note["at"]), datetime.fromisoformat(note["until"]), int(note["bytes"])
        )
    except (OSError, ValueError, KeyError):
        raise BackupFailed(f"{folder} is no backup: there is no {NOTE} that can be read.") from None
    if not (folder / "keys" / "secret").exists():
        raise BackupFailed(f"{folder} lacks its keys.")
    _run("pg_verifybackup", "--quiet", str(folder / "postgres"))
    return point


def _run(name: str, *arguments: str, password: str = "") -> None:
    environment = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C"}
    if password:
        environment["PGPASSWORD"] = password
    done = subprocess.run(
        [str(program(name)), *arguments], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise BackupFailed(f"{name} failed.\n{(done.stdout + done.stderr).strip()[-2000:]}")


def _tell_again(server: Postgres, keys: Keys) -> int:
    """Has every service mark its events as unsent, by its own command; their number."""

    def told(member: Member) -> int:
        urls = urls_of(server.url, member.domain, keys.secret("databases"))
        environment = {
            **os.environ, "KEHU_DATABASE_URL": urls.app, "KEHU_RELAY_DATABASE_URL": urls.relay,
            "KEHU_TOKEN_KEYS": str(keys.jwks),
        }  # fmt: skip
        return int(command(member, ["republish", _ALWAYS], environment).split()[0])

    there = asyncio.run(_databases(server.url))
    members = [one for one in MEMBERS if f"kehu_{one.domain}" in there and runnable(one.module)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return sum(pool.map(told, members))


async def _databases(url: str) -> set[str]:
    connection = await asyncpg.connect(url)
    try:
        return {row["datname"] for row in await connection.fetch("SELECT datname FROM pg_database")}
    finally:
        await connection.close()
