"""`python -m kehu_local run`: the suite on this machine, until Ctrl-C; `command`: a command of one of its services; `backup` and
`restore`: a point in time of all its data; `prepare`: what containers of it need."""

import argparse
import logging
import os
import signal
import sys
import threading
from importlib import import_module
from pathlib import Path
from types import FrameType

from kehu_local.backup import BackupFailed, backup, restore
from kehu_local.commands import run_command
from kehu_local.prepare import prepare
from kehu_local.processes import StartFailed
from kehu_local.suite import EMAIL, TENANT, Suite, start_suite
from kehu_local.supervisor import watch

PASSWORD = "KEHU_DEMO_PASSWORD"
"""The administrator's password, for loading the demonstration company into data that are there already."""


def main() -> int:
    """Parses the command line and runs; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m kehu_local")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="start the suite and keep it running")
    run.add_argument(
        "--demo", action="store_true", help="load the demonstration company, or what is missing of it"
    )
    run.add_argument("--var", type=Path, default=Path("var"), help="folder of data, keys and logs (var)")
    run.add_argument("--port", type=int, default=8080, help="port of the gateway (8080); 0 takes a free one")
    run.add_argument("--services", help="those to run, joined by commas; all that are installed by default")
    say = commands.add_parser(
        "command",
        help="a command of one service, beside the suite that runs: command customers rebuild-touches",
    )
    say.add_argument("--var", type=Path, default=Path("var"), help="folder of data, keys and logs (var)")
    say.add_argument("service", help="which one, as customers")
    say.add_argument("arguments", nargs=argparse.REMAINDER, help="what it is told, as dead-letters list")
    make = commands.add_parser("prepare", help="write what containers need before they start")
    make.add_argument("--dir", type=Path, required=True, help="folder of keys, passwords and settings")
    make.add_argument("--server", required=True, help="PostgreSQL's address as an administrator")
    make.add_argument("--nats", default="nats", help="host of the broker (nats)")
    make.add_argument(
        "--erp", action="append", default=[], help="tenant whose ERP reads orders; may be repeated"
    )
    keep = commands.add_parser("backup", help="keep a point in time of all data, while the suite runs or not")
    keep.add_argument("--var", type=Path, default=Path("var"), help="folder of data, keys and logs (var)")
    keep.add_argument("--to", type=Path, required=True, help="folder to make")
    back = commands.add_parser("restore", help="make an installation from a backup; 'run' then starts it")
    back.add_argument("--from", type=Path, required=True, dest="source", help="folder that 'backup' has made")
    back.add_argument(
        "--var", type=Path, default=Path("var"), help="folder to make it in, empty or not there (var)"
    )
    said = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    if said.command == "prepare":
        prepare(said.dir, said.server, said.nats, said.erp)
        print(f"Prepared {said.dir}")
        return 0
    if said.command == "command":
        try:
            return run_command(said.var, said.service, said.arguments)
        except StartFailed as problem:
            print(problem, file=sys.stderr)
            return 1
    if said.command in ("backup", "restore"):
        return _kept(said.command, said)
    services = said.services.split(",") if said.services else None
    return _run(said.var, said.port, services, demo=said.demo)


def _kept(command: str, said: argparse.Namespace) -> int:
    try:
        if command == "backup":
            point = backup(said.var, said.to)
            print(f"{said.to} holds everything that was acknowledged before {point.at:%Y-%m-%d %H:%M:%S} UTC"
                  f" ({point.bytes / 1e6:,.1f} MB), with the keys: keep it where only you may read.")  # fmt: skip
            return 0
        restored = restore(said.source, said.var)
    except (BackupFailed, StartFailed) as problem:
        print(problem, file=sys.stderr)
        return 1
    print(
        f"{said.var} holds what was there at {restored.point.at:%Y-%m-%d %H:%M:%S} UTC; {restored.events:,} events will be sent"
        f" again at the start: python -m kehu_local run --var {said.var}"
    )
    return 0


def _run(var: Path, port: int, services: list[str] | None, *, demo: bool) -> int:
    ended = threading.Event()

    def leave(number: int, frame: FrameType | None) -> None:
        ended.set()

    password = os.environ.pop(PASSWORD, "")  # no service needs to know it
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        suite = start_suite(var, services=services, port=port, keep_password=demo, tell=_say)
    except (StartFailed, ValueError) as problem:
        print(problem, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        _say("Stopped")
        return 130
    code = 0
    try:
        if demo:
            _load_demo(suite, password)
        # From here on a signal is heard at the next look, and not in the middle of a restart.
        signal.signal(signal.SIGINT, leave)
        signal.signal(signal.SIGTERM, leave)
        print(_closing_block(suite), flush=True)
        watch(suite, ended)
    except KeyboardInterrupt:
        pass
    except Exception as problem:  # whatever the loader raises: the servers are stopped in order all the same
        logging.exception("The suite stops: %s", problem)
        code = 1
    finally:
        # A second Ctrl-C would leave servers behind.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _say("Stopping")
        suite.stop()
    return code


def _say(line: str) -> None:
    print(f"{line} …" if not line.endswith("ed") else line, flush=True)


def _load_demo(suite: Suite, password: str) -> None:
    made = suite.sign_in
    password = made.password if made else password
    if not password:
        print(
            f"There are data in {suite.var} already, and only their administrator can load more: {PASSWORD}=… make demo\n"
            "loads what is missing of the demonstration company, and nothing twice."
        )
        return
    _say("Loading the demonstration company, which takes some minutes")
    if made:
        print(f"(cut off, it goes on with: {PASSWORD}={password} make demo)", flush=True)
    # A part of its own, which an installation may leave out.
    demo = import_module("kehu_local.demo")
    print(f"\n{demo.load(suite.base_url, TENANT, EMAIL, password)}")


def _closing_block(suite: Suite) -> str:
    lines = [
        "",
        "Kehu is running.",
        "",
        f"  Address    {suite.base_url}",
        f"  API        {suite.base_url}/docs",
    ]
    if suite.sign_in is not None:
        lines += [
            f"  Tenant     {suite.sign_in.tenant}",
            f"  E-mail     {suite.sign_in.email}",
            f"  Password   {suite.sign_in.password}   (shown this once)",
        ]
    else:
        lines += [
            f"  Tenant     {TENANT}",
            f"  E-mail     {EMAIL}",
            "  Password   as chosen, or as the first start showed",
        ]
    for access in suite.erps.values():
        lines += [
            f"  ERP        stream {access.stream}, consumer {access.consumer}",
            f"             {access.url}",
        ]
    lines += [
        f"  Data       {suite.var}",
        f"  Logs       {suite.var / 'log'}",
        "",
        "Ctrl-C stops it; the data stay.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
