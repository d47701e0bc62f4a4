"""The suite as an operator meets it: started, killed in parts, stopped, started again on the same data."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from kehu_local import probes
from kehu_local.commands import environment_of, run_command
from kehu_local.composition import members
from kehu_local.keys import make_keys
from kehu_local.processes import StartFailed, wait_until
from kehu_local.suite import Suite, start_suite

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def var(open_folder: Path) -> Path:
    return open_folder / "suite"


@pytest.fixture(scope="module")
def suite(var: Path) -> Iterator[Suite]:
    with start_suite(var, services=["identity"]) as suite:
        yield suite


def test_it_is_ready_and_tells_the_first_sign_in(suite: Suite) -> None:
    assert probes.ready(suite.base_url)
    assert probes.serving(suite.services["identity"].address)
    assert suite.sign_in is not None
    assert (suite.sign_in.tenant, suite.sign_in.email) == ("demo", "admin@demo.example")
    assert len(suite.sign_in.password) >= 12


def test_secrets_are_readable_by_their_user_only(suite: Suite) -> None:
    for path in suite.keys.folder.iterdir():
        assert path.name == "jwks.json" or path.stat().st_mode & 0o077 == 0, path
    public = json.loads(suite.keys.jwks.read_text())["keys"]
    assert {"identity", "gateway", "operator"} <= {key["kid"] for key in public}
    assert all("d" not in key for key in public)


def test_a_command_is_told_what_its_service_is_told(var: Path, suite: Suite) -> None:
    [identity] = members(["identity"])
    told = environment_of(var, identity)
    assert "identity_owner" in told.pop("KEHU_OWNER_DATABASE_URL")
    service = suite.services["identity"].process.environment
    assert told == {name: service[name] for name in told}
    assert {"KEHU_DATABASE_URL", "KEHU_NATS_URL", "KEHU_NATS_PASSWORD", "KEHU_TOKEN_KEY"} <= told.keys()
    asked = [sys.executable, "-m", "kehu_local", "command", "--var", str(var), "identity"]
    done = subprocess.run([*asked, "republish", "3000-01-01T00:00:00Z"], capture_output=True, text=True)
    assert (done.returncode, done.stdout.split()[:1]) == (0, ["0"]), done.stderr
    assert subprocess.run([*asked, "nonsense"], capture_output=True).returncode == 2


def test_a_command_needs_a_suite_that_runs(tmp_path: Path) -> None:
    [identity] = members(["identity"])
    with pytest.raises(StartFailed, match="There is no installation in"):
        environment_of(tmp_path, identity)
    make_keys(tmp_path / "keys", ["identity"])
    with pytest.raises(StartFailed, match="does not run: start it first"):
        environment_of(tmp_path, identity)
    with pytest.raises(StartFailed, match="There is no service nobody; there are: identity,"):
        run_command(tmp_path, "nobody", [])


def test_a_service_gets_no_more_than_its_own_rights(suite: Suite) -> None:
    part = suite.services["identity"]
    environment = part.process.environment
    assert "KEHU_OWNER_DATABASE_URL" not in environment
    assert "kehu_admin" not in " ".join(environment.values())
    assert environment["KEHU_NATS_USER"] == "identity"
    # Nor does the process hold what the one was started with that it is forked from.
    assert not [name for name in psutil.Process(part.pid).environ() if name.startswith("KEHU_")]


def test_a_killed_service_comes_back_at_its_address(suite: Suite) -> None:
    part = suite.services["identity"]
    before = part.pid
    part.kill()
    assert not part.alive
    assert not probes.serving(part.address)
    part.start()
    assert part.pid != before
    assert probes.serving(part.address)


def test_a_killed_database_and_broker_come_back_under_running_services(suite: Suite) -> None:
    assert suite.postgres is not None
    assert suite.nats is not None
    part = suite.services["identity"]
    before = part.pid
    suite.postgres.kill()
    suite.nats.kill()
    assert wait_until(lambda: not probes.serving(part.address), 15)
    suite.postgres.start()
    suite.nats.start()
    assert wait_until(lambda: probes.serving(part.address), 15)
    assert part.pid == before


def test_one_folder_serves_one_suite(suite: Suite, var: Path) -> None:
    with pytest.raises(StartFailed, match=r"runs on .* already"):
        start_suite(var, services=["identity"])
    assert probes.ready(suite.base_url)


def test_a_taken_port_is_told(suite: Suite, open_folder: Path) -> None:
    port = int(suite.base_url.rpartition(":")[2])
    with pytest.raises(StartFailed, match=f"Port {port} is taken"):
        start_suite(open_folder / "second", port=port)


def test_an_unknown_service_is_told() -> None:
    with pytest.raises(ValueError, match="There is no service billing"):
        members(["billing"])


def test_the_command_goes_on_with_the_data_and_ends_cleanly(suite: Suite, var: Path) -> None:
    suite.stop()
    command = [
        sys.executable,
        "-m",
        "kehu_local",
        "run",
        "--var",
        str(var),
        "--port",
        "0",
        "--services",
        "identity",
    ]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
    try:
        assert running.stdout is not None
        said: list[str] = []
        while not said or "Ctrl-C" not in said[-1]:
            line = running.stdout.readline()
            assert line, "".join(said)
            said.append(line)
        told = "".join(said)
        assert "as the first start showed" in told  # the administrator was there
        address = next(line.split()[1] for line in said if line.startswith("  Address"))
        with urllib.request.urlopen(f"{address}/readyz", timeout=5) as answer:
            assert answer.status == 200
        children = psutil.Process(running.pid).children(recursive=True)
        assert len(children) >= 4

        [service] = [child for child in children if _program(child) == "python -m identity"]
        service.kill()
        assert wait_until(lambda: "python -m identity" in _programs(running.pid), 30)
        assert not service.is_running()

        children = psutil.Process(running.pid).children(recursive=True)
        os.kill(running.pid, signal.SIGINT)
        assert running.wait(60) == 0
        _, alive = psutil.wait_procs(children, timeout=0)
        assert alive == []
    finally:
        running.kill()
        running.wait()
        if running.stdout is not None:
            running.stdout.close()


def test_children_end_with_a_killed_supervisor(var: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "kehu_local",
        "run",
        "--var",
        str(var),
        "--port",
        "0",
        "--services",
        "identity",
    ]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
    assert running.stdout is not None
    with running.stdout:
        for line in running.stdout:
            if "Ctrl-C" in line:
                break
        children = psutil.Process(running.pid).children(recursive=True)
        assert len(children) >= 4
        running.kill()
        running.wait()
        _, alive = psutil.wait_procs(children, timeout=30)
        assert alive == []


def _programs(pid: int) -> set[str]:
    """The command lines of its children, and of theirs, that run."""
    found: set[str] = set()
    for child in psutil.Process(pid).children(recursive=True):
        with suppress(psutil.Error):
            if child.status() != psutil.STATUS_ZOMBIE:
                found.add(_program(child))
    return found


def _program(process: psutil.Process) -> str:
    return " ".join(process.cmdline()).strip()
