"""`python -m kehu_local command customers rebuild-touches`: a service's own command, told what `run` tells the service."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from kehu_local.composition import MEMBERS, Member
from kehu_local.databases import urls_of
from kehu_local.keys import Keys
from kehu_local.nats import Nats
from kehu_local.postgres import Postgres
from kehu_local.processes import StartFailed
from kehu_local.suite import DATABASE_URL, NATS_URL, broker, own_settings, runnable


def run_command(var: Path, service: str, arguments: Sequence[str]) -> int:
    """Runs `python -m <service> <arguments>` beside the suite of that folder; its exit code. Raises StartFailed."""
    member = _named(service)
    if not runnable(member.module):
        raise StartFailed(f"Not installed: {member.module}.")
    # The owner's address, too, which no service is given: what rebuilds or migrates asks for it.
    told = {**os.environ, **environment_of(var.absolute(), member)}
    return subprocess.run([sys.executable, "-m", member.module, *arguments], env=told, check=False).returncode


def environment_of(var: Path, member: Member) -> dict[str, str]:
    """What a command of that service needs to know of the suite that runs in that folder. Raises StartFailed when none does."""
    keys = Keys(var / "keys")
    if not (keys.folder / "secret").exists():
        raise StartFailed(f"There is no installation in {var}: name its folder with --var.")
    server = os.environ.get(DATABASE_URL, "")
    if not server:
        postgres = Postgres(var / "postgres", keys.secret("postgres"), var / "log" / "postgres.log")
        if not postgres.find():
            raise _asleep(var)
        server = postgres.url
    url, nats = os.environ.get(NATS_URL, ""), None
    if not url:
        nats = Nats(var / "nats", [], var / "log" / "nats.log")
        if not nats.find():
            raise _asleep(var)
        url = nats.url
    urls = urls_of(server, member.domain, keys.secret("databases"))
    return {
        "KEHU_FILES_URL": os.environ.get("KEHU_FILES_URL", str(var / "files")),
        "KEHU_OWNER_DATABASE_URL": urls.owner,
        "KEHU_TOKEN_KEYS": str(keys.jwks),
        "KEHU_TOKEN_KEY": str(keys.private(member.domain)),
        **broker(nats, url, member.domain, keys),
        **own_settings(keys, member.domain, urls.app, urls.relay),
    }


def _named(service: str) -> Member:
    for member in MEMBERS:
        if service in (member.domain, member.module):
            return member
    raise StartFailed(
        f"There is no service {service}; there are: {', '.join(member.domain for member in MEMBERS)}."
    )


def _asleep(var: Path) -> StartFailed:
    return StartFailed(f"The suite in {var} does not run: start it first, commands work beside it.")
