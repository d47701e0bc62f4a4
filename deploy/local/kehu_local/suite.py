"""The whole suite on one machine: servers, databases, keys, one process a service, and the gateway before them.

Everything lies below one folder. A second start on the same folder goes on with its data.
"""

import asyncio
import fcntl
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import urlsplit, urlunsplit

from chassis.migrations import migrate
from kehu_local import erp, probes
from kehu_local.composition import GATEWAY, MEMBERS, OPERATOR, Member, members
from kehu_local.databases import DatabaseUrls, make_databases, urls_of
from kehu_local.keys import Keys, make_keys
from kehu_local.nats import Nats, admin, erp_name, erp_user, gateway_user, service_user
from kehu_local.postgres import Postgres
from kehu_local.processes import Process, StartFailed, free_ports, port_taken, run

DATABASE_URL = "KEHU_DATABASE_URL"
"""A PostgreSQL that stands already, as a role that may make databases and roles. Embedded when unset."""
NATS_URL = "KEHU_NATS_URL"
"""A NATS that stands already, with a user who may do all that the services do. Embedded when unset."""
TENANT = "demo"
EMAIL = "admin@demo.example"
Via = Callable[[str, str, str], str]
"""`via(origin, peer, address)`: the host:port at which `origin` is to look for `peer`, which listens at `address`. Both are
domains or the gateway; `peer` may be `NATS` or `PostgreSQL`, too."""
AT_ONCE = 4
"""Services that are brought up side by side: more would only wait for the processor."""


@dataclass(frozen=True)
class SignIn:
    """The first administrator, known only to the start that made it."""

    tenant: str
    email: str
    password: str


@dataclass
class Part:
    """A service or the gateway, as a process that can be killed and started again at the same address."""

    name: str
    address: str
    """host:port it listens on."""
    process: Process
    ready: Callable[[], bool]

    @property
    def pid(self) -> int:
        """Its process id. Raises StartFailed before the first start."""
        return self.process.pid

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self.process.alive

    def start(self, seconds: float = 60.0) -> None:
        """Starts it and waits until it is ready. Raises StartFailed with the end of its log."""
        self.process.start()
        self.process.wait(self.ready, seconds)

    def stop(self) -> None:
        """Asks it to end in peace, and waits."""
        self.process.stop()

    def kill(self) -> None:
        """Ends it at once, as a crash would."""
        self.process.kill()

    def restart(self) -> None:
        """Stops it in peace and starts it again."""
        self.stop()
        self.start()


@dataclass
class Suite:
    """What runs. `postgres` and `nats` are None where servers of others are used."""

    var: Path
    base_url: str
    keys: Keys
    postgres: Postgres | None = None
    nats: Nats | None = None
    services: dict[str, Part] = field(default_factory=dict[str, Part])
    """By domain, e.g. `servicedesk`."""
    databases: dict[str, DatabaseUrls] = field(default_factory=dict[str, DatabaseUrls])
    gateway: Part | None = None
    sign_in: SignIn | None = None
    """None when an earlier start made the first administrator."""
    erps: dict[str, erp.Access] = field(default_factory=dict[str, erp.Access])
    """What an ERP needs to read a tenant's orders, by tenant."""
    stopping: bool = False
    _lock: TextIO | None = field(default=None, repr=False)

    @property
    def parts(self) -> list[Part]:
        """The services and the gateway, in the order they start."""
        return [*self.services.values(), *([self.gateway] if self.gateway else [])]

    def stop(self) -> None:
        """Ends everything in order: the way in, the services, the broker, the database."""
        self.stopping = True
        if self.gateway is not None:
            self.gateway.stop()
        for part in self.services.values():
            part.process.ask_to_stop()
        for part in self.services.values():
            part.process.wait_stopped()
        if self.nats is not None:
            self.nats.stop()
        if self.postgres is not None:
            self.postgres.stop()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def __enter__(self) -> "Suite":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def start_suite(
    var: Path,
    *,
    services: Iterable[str] | None = None,
    port: int = 0,
    environment: Mapping[str, str] | None = None,
    keep_password: bool = False,
    erp_tenants: Sequence[str] = (TENANT,),
    tell: Callable[[str], None] = lambda _: None,
    via: Via = lambda origin, peer, address: address,
) -> Suite:
    """Starts all of it below `var` and waits until the gateway is ready.

    `services` names those to run, all that are installed for None; `port` is the gateway's, 0 takes a free one.
    `environment` is given to every service and the gateway beside their settings. `keep_password` lets the first
    administrator work without choosing a new password first. `tell` hears one line of progress at a time. `via` may put
    something between any two parts; by default they reach each other directly.

    Raises StartFailed with what to look at; nothing is left running then.
    """
    chosen = _installed(services)
    if port and port_taken(port):
        raise StartFailed(f"Port {port} is taken: choose another with --port, or 'make run PORT=…'.")
    var = var.absolute()
    var.mkdir(parents=True, exist_ok=True)
    keys = make_keys(var / "keys", [*(member.domain for member in MEMBERS), GATEWAY, OPERATOR])
    suite = Suite(var, "", keys, _lock=locked(var))
    try:
        _rotate(var / "log")
        _start(suite, chosen, port, dict(environment or {}), keep_password, erp_tenants, tell, via)
    except BaseException:
        suite.stop()
        raise
    return suite


def _installed(services: Iterable[str] | None) -> tuple[Member, ...]:
    chosen = members(services)
    there = tuple(member for member in chosen if runnable(member.module))
    missing = [member.module for member in chosen if member not in there]
    if services is not None and missing:
        raise StartFailed(f"Not installed: {', '.join(missing)}.")
    return there


def runnable(module: str) -> bool:
    """Whether a part of that name is installed."""
    # Looked for, not imported: a service's code stays in the service's process.
    spec = importlib.util.find_spec(module)
    folders = spec.submodule_search_locations if spec else None
    return any((Path(folder) / "__main__.py").exists() for folder in folders or ())


def locked(var: Path) -> TextIO:
    """Keeps everyone else off that folder until it is closed. Raises StartFailed when somebody is on it."""
    lock = (var / "lock").open("a")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise StartFailed(
            f"A suite runs on {var} already: stop it, or choose another folder with --var."
        ) from None
    return lock


def _rotate(logs: Path) -> None:
    """Logs of the start before are kept as `.log.1`."""
    logs.mkdir(exist_ok=True)
    for log in logs.glob("*.log"):
        log.replace(log.with_suffix(".log.1"))


def _start(
    suite: Suite,
    chosen: Sequence[Member],
    port: int,
    given: dict[str, str],
    keep_password: bool,
    erp_tenants: Sequence[str],
    tell: Callable[[str], None],
    via: Via,
) -> None:
    keys, logs = suite.keys, suite.var / "log"
    tell("Starting PostgreSQL and NATS")
    database_server = os.environ.get(DATABASE_URL, "")
    if not database_server:
        suite.postgres = Postgres(suite.var / "postgres", keys.secret("postgres"), logs / "postgres.log")
        suite.postgres.start()
        database_server = suite.postgres.url
    nats_url = os.environ.get(NATS_URL, "")
    if not nats_url:
        users = [admin(keys.secret("nats admin")), gateway_user(keys.secret(f"nats {GATEWAY}"))]
        users += [service_user(member, keys.secret(f"nats {member.domain}")) for member in MEMBERS]
        users += [erp_user(tenant, keys.secret(f"nats {erp_name(tenant)}")) for tenant in erp_tenants]
        suite.nats = Nats(suite.var / "nats", users, logs / "nats.log")
        suite.nats.start()
        nats_url = suite.nats.url

    tell("Preparing databases")
    secret = keys.secret("databases")
    domains = [member.domain for member in chosen]
    _run(make_databases(database_server, domains, secret, close_others=suite.postgres is not None))
    suite.databases = {domain: urls_of(database_server, domain, secret) for domain in domains}

    # The gateway's own port is free, too, until it starts, and must not become a service's.
    ports = [found for found in free_ports(len(chosen) + 2) if found != port]
    addresses = {domain: f"127.0.0.1:{found}" for domain, found in zip(domains, ports, strict=False)}
    shared = {
        "KEHU_FILES_URL": str(suite.var / "files"),
        **os.environ,
        "PYTHONUNBUFFERED": "1",
        **given,
        "KEHU_TOKEN_KEYS": str(keys.jwks),
    }
    # What the services are told comes from here alone: an administrator's address must not reach them.
    for name in (DATABASE_URL, "KEHU_OWNER_DATABASE_URL", "KEHU_TEST_DATABASE_URL", "KEHU_TEST_NATS_URL"):
        shared.pop(name, None)

    def told(name: str, address: str) -> dict[str, str]:
        peers = {domain: at if domain == name else via(name, domain, at) for domain, at in addresses.items()}
        return {
            **shared,
            **{f"KEHU_ADDRESS_{domain.upper()}": at for domain, at in peers.items()},
            "KEHU_LISTEN": address,
            "KEHU_TOKEN_KEY": str(keys.private(name)),
            **broker(suite.nats, _elsewhere(nats_url, partial(via, name, "NATS")), name, keys),
        }

    def bring_up(member: Member) -> Part:
        domain, urls = member.domain, suite.databases[member.domain]
        server = via(domain, "PostgreSQL", _host_of(urls.app))
        database, relay = (_elsewhere(url, lambda _: server) for url in (urls.app, urls.relay))
        environment = {
            **told(domain, addresses[domain]),
            **own_settings(keys, domain, database, relay),
        }
        _migrate(member, urls.owner)
        if member.domain == "identity":
            suite.sign_in = _first_administrator(member, environment, keep_password)
        part = Part(
            domain,
            addresses[domain],
            Process(
                domain,
                [sys.executable, "-m", member.module],
                environment,
                logs / f"{domain}.log",
                cwd=suite.var,
            ),
            lambda: probes.serving(addresses[domain]),
        )
        # Known before it is started, so that it is stopped when another fails.
        suite.services[domain] = part
        part.start()
        return part

    tell(f"Starting {', '.join(domains)}")
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for started in [pool.submit(bring_up, member) for member in chosen]:
            started.result()
    suite.services = {domain: suite.services[domain] for domain in domains}

    tell("Starting the gateway")
    address = f"127.0.0.1:{port or ports[-1]}"
    suite.base_url = f"http://{address}"
    suite.gateway = Part(
        GATEWAY,
        address,
        Process(
            GATEWAY,
            [sys.executable, "-m", "gateway"],
            told(GATEWAY, address),
            logs / "gateway.log",
            cwd=suite.var,
        ),
        lambda: probes.ready(suite.base_url),
    )
    suite.gateway.start()
    if suite.nats is not None and "sales" in suite.services:
        for tenant in erp_tenants:
            suite.erps[tenant] = _run(erp.open_to(suite.nats, tenant))


def _host_of(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]


def _elsewhere(url: str, address: Callable[[str], str]) -> str:
    """The same URL at another host:port."""
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user}{at}{address(host)}"))


def own_settings(keys: Keys, domain: str, database: str, relay: str) -> dict[str, str]:
    """What a service is told of its own: where its database is, and what nobody else may know."""
    return {
        "KEHU_DATABASE_URL": database,
        "KEHU_RELAY_DATABASE_URL": relay,
        "KEHU_PAGE_TOKEN_KEY": keys.secret(f"page tokens of {domain}"),
        "KEHU_SECRET_KEYS": keys.secret(f"sealed secrets of {domain}"),
    }


def broker(server: Nats | None, url: str, name: str, keys: Keys) -> dict[str, str]:
    """What that user of the broker is told of it; `server` is the embedded one, if it is, and `url` where it is reached."""
    if server is not None:
        return {
            "KEHU_NATS_URL": url,
            "KEHU_NATS_USER": name,
            "KEHU_NATS_PASSWORD": keys.secret(f"nats {name}"),
            "KEHU_NATS_MONITOR_URL": server.monitor_url,
        }
    parts = urlsplit(url)
    bare = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, parts.query, ""))
    return {
        "KEHU_NATS_URL": bare,
        "KEHU_NATS_USER": parts.username or "",
        "KEHU_NATS_PASSWORD": parts.password or "",
    }


def _migrate(member: Member, owner_url: str) -> None:
    """What `python -m <module> migrate` does, without a process for each that reads the whole service only to ask one table.

    Raises StartFailed.
    """
    try:
        migrate(owner_url, member.migrations)
    except Exception as error:
        raise StartFailed(
            f"The database of {member.domain} cannot be brought to the newest version: {error}"
        ) from error


def command(member: Member, arguments: Sequence[str], environment: Mapping[str, str]) -> str:
    """Runs a service's command to its end; what it printed. Raises StartFailed with what it said."""
    program = Process(
        member.domain, [sys.executable, "-m", member.module], dict(environment), Path(os.devnull)
    )
    try:
        return run(program, *arguments)
    except subprocess.CalledProcessError as problem:
        said = "\n".join((problem.stdout + problem.stderr).splitlines()[-25:])
        raise StartFailed(f"python -m {member.module} {' '.join(arguments)} failed.\n{said}") from None


def _first_administrator(
    member: Member, environment: Mapping[str, str], keep_password: bool
) -> SignIn | None:
    arguments = ["first-admin", "--tenant", TENANT, "--email", EMAIL]
    printed = command(member, [*arguments, *(["--keep-password"] if keep_password else [])], environment)
    lines = [line for line in printed.splitlines() if line.startswith("{")]
    found: dict[str, str] = json.loads(lines[-1]) if lines else {}
    return SignIn(found["tenant"], found["email"], found["password"]) if found else None


def _run(work: Coroutine[Any, Any, Any]) -> Any:
    # In a thread of its own, since the caller may be inside a running loop, as tests are.
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()
