"""Processes of the suite: started with a log file, tied to the life of this process, stopped in peace or killed."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

from kehu_local.forks import Fork, Forks, Program
from kehu_local.tether import tethered

# Linux kills a tethered child when the thread that made it ends, so one thread that lives as long as we do makes them all.
_SPAWNER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spawner")


class StartFailed(RuntimeError):
    """A server or service did not come up. The message ends with the last lines of its log."""


def free_ports(count: int) -> list[int]:
    """TCP ports of the loopback interface that nobody listens on now, all different."""
    with ExitStack() as stack:
        found: list[int] = []
        for _ in range(count):
            probe = stack.enter_context(socket.socket())
            probe.bind(("127.0.0.1", 0))
            found.append(int(probe.getsockname()[1]))
        return found


def port_taken(port: int) -> bool:
    """Whether somebody listens on that port of the loopback interface."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_until(condition: Callable[[], bool], seconds: float, every: float = 0.02) -> bool:
    """Asks again and again until the condition holds; False when it did not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(every)
    return True


def tail(path: Path, lines: int = 15) -> str:
    """The last lines of a log file; empty when there is none."""
    try:
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
    except FileNotFoundError:
        return ""


@dataclass
class Process:
    """A program that can be started again and again with the same command, environment and log file."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    user: str | None = None
    """The account it runs as, when that is not ours."""
    cwd: Path | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    umask: int = 0o022
    _running: "subprocess.Popen[bytes] | Fork | None" = field(default=None, init=False, repr=False)

    @property
    def pid(self) -> int:
        """The id of the running process. Raises StartFailed when it was never started."""
        if self._running is None:
            raise StartFailed(f"{self.name} is not started")
        return self._running.pid

    @property
    def alive(self) -> bool:
        """Whether it runs now."""
        return self._running is not None and self._running.poll() is None

    @property
    def exit_code(self) -> int | None:
        """What it ended with; a negative number is the signal that killed it. None while it runs."""
        return None if self._running is None else self._running.poll()

    def start(self) -> None:
        """Starts it. Does nothing when it runs already."""
        if not self.alive:
            self._running = _SPAWNER.submit(self._spawn).result()

    def _spawn(self) -> "subprocess.Popen[bytes] | Fork":
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            return _spawned(self, log.fileno(), log.fileno())

    def wait(self, ready: Callable[[], bool], seconds: float = 30.0) -> None:
        """Waits until it is ready to work. Raises StartFailed when it ends before, or takes longer."""
        if not wait_until(lambda: not self.alive or ready(), seconds):
            raise StartFailed(f"{self.name} was not ready after {seconds:.0f} s.\n{tail(self.log)}")
        if not self.alive:
            raise StartFailed(f"{self.name} ended at its start ({self.exit_code}).\n{tail(self.log)}")

    def stop(self, seconds: float = 20.0) -> None:
        """Asks it to end and waits; kills it when it does not within `seconds`."""
        self.ask_to_stop()
        self.wait_stopped(seconds)

    def ask_to_stop(self) -> None:
        """Asks it to end, without waiting."""
        if self.alive:
            self.signal(self.stop_signal)

    def wait_stopped(self, seconds: float = 20.0) -> None:
        """Waits for the end that was asked for; kills it when it does not come within `seconds`."""
        if self._running is None:
            return
        try:
            self._running.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """Ends it at once, as a crash would (SIGKILL)."""
        if self._running is not None:
            self._running.kill()
            self._running.wait()

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal, e.g. SIGSTOP and SIGCONT to make it hang and go on."""
        os.kill(self.pid, number)


def run(process: Process, *arguments: str, seconds: float = 120.0) -> str:
    """Runs that program to its end with more arguments, beside the one that may run already; what it printed.

    Raises subprocess.CalledProcessError with what it printed and complained of, and subprocess.TimeoutExpired; it is killed then.
    """
    command = [*process.command, *arguments]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        asked = replace(process, command=command)
        running = _SPAWNER.submit(_spawned, asked, out.fileno(), err.fileno()).result()
        try:
            code = running.wait(seconds)
        finally:
            running.kill()
        printed, complained = (_all_of(file) for file in (out, err))
    if code:
        raise subprocess.CalledProcessError(code, command, printed, complained)
    return printed


def _all_of(file: BinaryIO) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


_forks: list[Forks] = []
"""The process that Python's programs are forked from, once one has been asked for; only the spawner knows it."""


def _spawned(process: Process, output: int, errors: int) -> "subprocess.Popen[bytes] | Fork":
    # Forks are for programs of this very Python. Only Linux lets them end with us.
    if sys.platform == "linux" and process.command[0] == sys.executable and process.user is None:
        if not _forks or not _forks[-1].alive:
            _forks[:] = [Forks()]
        cwd = str(process.cwd or Path.cwd())
        program = Program(
            process.command[1:], dict(process.environment), cwd, process.umask, int(process.stop_signal)
        )
        return _forks[-1].start(program, output, errors)
    # Ctrl-C is for us, who stop everything in order: hence a session of its own.
    return subprocess.Popen(
        [*tethered(process.stop_signal, process.user, process.umask), *process.command],
        env=dict(process.environment), cwd=process.cwd, stdin=subprocess.DEVNULL, stdout=output, stderr=errors,
        start_new_session=True,
    )  # fmt: skip
