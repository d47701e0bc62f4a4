"""Programs of this Python as forks of one process that has read what all services share.

A service reads a thousand modules, nearly all of them those that every other reads, too. One process reads them, does nothing
else, and is forked for each program: a service is there in a fifth of the processor's time, a dead one is back that much sooner,
and the memory of what was read is there once. In the process that is forked nothing runs yet, no thread, no connection, no loop.

`python -m kehu_local.forks FD` is that process. It hears programs on the socket FD and tells there how they have ended.
"""

import atexit
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from setproctitle import setproctitle

from kehu_local import tether

_MOST = 1 << 20
"""Bytes of a message at most, which is more than any environment of ours."""


@dataclass(frozen=True)
class Program:
    """What is to run: `python -m MODULE …` or `python SCRIPT …`, as `command` says it from its second word on."""

    arguments: Sequence[str]
    environment: dict[str, str]
    cwd: str
    umask: int
    death_signal: int
    """Sent to it when the process that it is forked from ends."""


class Fork:
    """A program that runs, to be asked and ended as a `subprocess.Popen` is."""

    def __init__(self, forks: "Forks", number: int, pid: int) -> None:
        self.pid = pid
        self._forks = forks
        self._number = number

    def poll(self) -> int | None:
        """What it ended with, a negative number being a signal; None while it runs."""
        return self._forks.ended(self._number, 0)

    def wait(self, timeout: float | None = None) -> int:
        """Waits for its end. Raises subprocess.TimeoutExpired."""
        code = self._forks.ended(self._number, timeout)
        if code is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
        return code

    def kill(self) -> None:
        """SIGKILL, if it runs."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)


class Forks:
    """The process that is forked, and what has become of its forks."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._asked = 0
        self._pids: dict[int, int] = {}
        self._codes: dict[int, int] = {}
        self._told = threading.Condition()
        self._over = False
        # A fork's memory holds what this process was started with: nothing of that may be a secret of others.
        bare = {name: value for name, value in os.environ.items() if not name.startswith("KEHU_")}
        with theirs:
            self._process = subprocess.Popen(
                [*tether.tethered(signal.SIGTERM), sys.executable, "-m", "kehu_local.forks", str(theirs.fileno())],
                env=bare, cwd="/", stdin=subprocess.DEVNULL, start_new_session=True, pass_fds=[theirs.fileno()],
            )  # fmt: skip
        threading.Thread(target=self._listen, name="forks", daemon=True).start()
        atexit.register(self.end)

    @property
    def alive(self) -> bool:
        """Whether it can be forked."""
        return not self._over and self._process.poll() is None

    def end(self) -> None:
        """Ends it, and so whatever of its forks still runs."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._process.wait()

    def start(self, program: Program, output: int, errors: int) -> Fork:
        """Starts a program that writes to those descriptors. Raises RuntimeError when the process that is forked has ended."""
        with self._told:
            number = self._asked
            self._asked += 1
            with suppress(OSError):  # it is over, then
                socket.send_fds(self._socket, [json.dumps(asdict(program)).encode()], [output, errors])
            self._told.wait_for(lambda: self._over or number in self._pids)
            if number not in self._pids:
                raise RuntimeError("the process that services are forked from has ended")
            return Fork(self, number, self._pids[number])

    def ended(self, number: int, seconds: float | None) -> int | None:
        """What that fork ended with; None when it did not within so many seconds, or within eternity for None."""
        with self._told:
            self._told.wait_for(lambda: self._over or number in self._codes, seconds)
            # Those that nobody can tell of have got the signal that all get when the process ends which they are forked from.
            return self._codes.get(number, -signal.SIGTERM if self._over else None)

    def _listen(self) -> None:
        while message := self._heard():
            said: dict[str, int] = json.loads(message)
            with self._told:
                into = self._codes if "code" in said else self._pids
                into[said["number"]] = said["code" if "code" in said else "pid"]
                self._told.notify_all()
        with self._told:
            self._over = True
            self._told.notify_all()

    def _heard(self) -> bytes:
        try:
            return self._socket.recv(_MOST)
        except OSError:
            return b""


def main() -> None:
    """Reads what services share, and forks. Ends with whoever asks it; in a fork it becomes the program."""
    asks = socket.socket(fileno=int(sys.argv[1]))
    # Before any fork changes its environment, for the titles are written over the first one.
    setproctitle("python -m kehu_local.forks")
    _read()
    forked = os.getpid()
    asked = _serve(asks)
    if asked is not None:
        # By that id and not by its parent's at this moment, who may have died already.
        tether.tie(asked[0].death_signal, forked)
        _become(*asked)


def _read() -> None:
    """Imports what all services import: our chassis with what it needs, the contracts, and what the gateway is made with."""
    from kehu import contracts

    import chassis

    gc.disable()
    for module in pkgutil.walk_packages(chassis.__path__, "chassis."):
        if module.name not in ("chassis.testing", "chassis.migrations"):  # no service needs them to serve
            importlib.import_module(module.name)
    for name in [*contracts.module_names(), "uvloop", "fastapi", "uvicorn.protocols.http.httptools_impl"]:
        with suppress(ImportError):  # a company may do without some
            importlib.import_module(name)
    gc.enable()
    gc.collect()
    gc.freeze()  # the collector would write into what all share, and so copy it


def _serve(asks: socket.socket) -> tuple[Program, list[int]] | None:
    """Forks for each program that is asked for. None when nobody asks any more; in a fork, the program that it is to become and
    the descriptors that it is to write to."""
    endings, written = os.pipe()
    for end in (endings, written):
        os.set_blocking(end, False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, _wake)
    signal.set_wakeup_fd(written)
    running: dict[int, int] = {}
    count = 0
    while True:
        ready, _, _ = select.select([asks, endings], [], [])
        if endings in ready:
            os.read(endings, 4096)
            for pid, code in _dead():
                asks.send(json.dumps({"number": running.pop(pid), "code": code}).encode())
        if asks in ready:
            message, outputs, _, _ = socket.recv_fds(asks, _MOST, 2)
            if not message:
                return None
            pid = os.fork()
            if not pid:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                signal.signal(signal.SIGINT, signal.default_int_handler)
                asks.close()
                os.close(endings)
                os.close(written)
                return Program(**json.loads(message)), list(outputs)
            for output in outputs:
                os.close(output)
            running[pid] = count
            asks.send(json.dumps({"number": count, "pid": pid}).encode())
            count += 1


def _wake(number: int, frame: FrameType | None) -> None:
    """Only a signal that is handled is written to the pipe that `select` waits for."""


def _dead() -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            found.append((ended[0], os.waitstatus_to_exitcode(ended[1])))
    return found


def _become(program: Program, outputs: Sequence[int]) -> None:
    """The rest of this process is that program, as if Python had been started with it."""
    os.setsid()
    os.umask(program.umask)
    os.environ.clear()
    os.environ.update(program.environment)
    os.chdir(program.cwd)
    for stream, output in zip((1, 2), outputs, strict=True):
        os.dup2(output, stream)
        os.close(output)
    text: Any = sys.stdout
    text.reconfigure(write_through=True)
    setproctitle(" ".join(["python", *program.arguments]))
    first, *rest = program.arguments
    if first == "-m":
        sys.argv, sys.path[0] = rest, program.cwd
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv, sys.path[0] = [first, *rest], str(Path(first).parent)
        runpy.run_path(first, run_name="__main__")


if __name__ == "__main__":
    main()
