"""Programs of this Python, forked from a process that has read what services share: as if each had been started with Python."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from kehu_local.forks import Forks, Program
from kehu_local.processes import Process, run, tail, wait_until

_TELLS = """
import json, os, signal, sys, threading, time
print(json.dumps({
    "arguments": sys.argv[1:], "script": sys.argv[0], "environment": dict(os.environ), "cwd": os.getcwd(),
    "session": os.getsid(0), "name": __name__, "path": sys.path[0], "umask": os.umask(0),
    "interrupt": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
    "threads": threading.active_count(), "read": "chassis.service" in sys.modules,
}))
print("complained", file=sys.stderr)
if "wait" in sys.argv:
    time.sleep(600)
sys.exit(int(sys.argv[1]))
"""


@pytest.fixture
def program(tmp_path: Path) -> Process:
    script = tmp_path / "tells.py"
    script.write_text(_TELLS)
    return Process(
        "tells",
        [sys.executable, str(script)],
        {"KEHU_OWN": "只此"},
        tmp_path / "log",
        cwd=tmp_path,
        umask=0o027,
    )


def test_a_program_has_its_own_surroundings(program: Process, tmp_path: Path) -> None:
    told = json.loads(run(program, "0", "two words"))
    assert told.pop("session") not in (os.getsid(0), 0)
    assert told == {
        "arguments": ["0", "two words"], "script": str(tmp_path / "tells.py"), "environment": {"KEHU_OWN": "只此"},
        "cwd": str(tmp_path), "name": "__main__", "path": str(tmp_path), "umask": 0o027, "interrupt": True, "threads": 1,
        "read": sys.platform == "linux",
    }  # fmt: skip


def test_what_a_failing_program_said_is_told(program: Process) -> None:
    with pytest.raises(subprocess.CalledProcessError) as problem:
        run(program, "7")
    assert problem.value.returncode == 7
    assert json.loads(problem.value.stdout)["arguments"] == ["7"] and problem.value.stderr == "complained\n"


def test_a_module_that_is_not_there_is_told(tmp_path: Path) -> None:
    missing = Process("missing", [sys.executable, "-m", "no_such_service"], {}, tmp_path / "log")
    with pytest.raises(subprocess.CalledProcessError, match="exit status 1") as problem:
        run(missing)
    assert "no_such_service" in problem.value.stderr


def test_it_is_watched_signalled_and_killed(program: Process) -> None:
    program.command = [*program.command, "0", "wait"]
    program.start()
    assert program.alive and program.exit_code is None
    assert wait_until(lambda: "complained" in tail(program.log), 20)
    first = psutil.Process(program.pid)
    assert "tells.py 0 wait" in " ".join(first.cmdline())
    program.start()
    assert program.pid == first.pid  # it runs already

    program.kill()
    assert program.exit_code == -signal.SIGKILL and not first.is_running()
    program.start()
    assert program.pid != first.pid and program.alive
    program.stop()
    assert program.exit_code == -signal.SIGTERM
    assert tail(program.log).count("complained") in (
        1,
        2,
    )  # the second may have ended before it said anything


@pytest.mark.skipif(sys.platform != "linux", reason="programs are forked on Linux only")
def test_forks_end_with_what_they_are_forked_from(program: Process, tmp_path: Path) -> None:
    forks = Forks()
    waits = Program([*program.command[1:], "0", "wait"], {}, str(tmp_path), 0o022, signal.SIGTERM)
    with (tmp_path / "said").open("ab") as said:
        fork = forks.start(waits, said.fileno(), said.fileno())
        running = psutil.Process(fork.pid)
        forked = running.parent()
        assert forked is not None and "kehu_local.forks" in " ".join(forked.cmdline())
        with pytest.raises(subprocess.TimeoutExpired):
            fork.wait(0.01)
        forked.kill()  # at once: the fork may not even have begun to be the program
        assert fork.wait(20) == -signal.SIGTERM and wait_until(lambda: _ended(running), 20)
        assert not forks.alive
        with pytest.raises(RuntimeError, match="has ended"):
            forks.start(waits, said.fileno(), said.fileno())


def _ended(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE  # nobody may be there to take note of its end
    except psutil.NoSuchProcess:
        return True
