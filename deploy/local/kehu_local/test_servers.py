"""One PostgreSQL and one broker for a whole run of tests, however many processes it has.

Embedded servers by default; containers with `KEHU_TEST_SERVERS=containers`; servers that stand already with
`KEHU_TEST_DATABASE_URL` and `KEHU_TEST_NATS_URL`. Nothing here imports pytest.
"""

import os
import secrets
import shutil
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from kehu_local.nats import Nats, User, admin, configuration
from kehu_local.postgres import Postgres

DATABASE_URL = "KEHU_TEST_DATABASE_URL"
NATS_URL = "KEHU_TEST_NATS_URL"
KIND = "KEHU_TEST_SERVERS"
POSTGRES_IMAGE = "postgres:18"
NATS_IMAGE = "nats:2.15"
NO_ENGINE = (
    f"{KIND}=containers needs a running container engine such as Docker, and none answers: "
    f"start one, or leave {KIND} unset to use the embedded servers."
)
ACCOUNTS = 16
"""Parts of the broker that do not see each other: a worker of a parallel run each."""


class NoEngine(RuntimeError):
    """Containers were asked for and no engine runs them."""


@dataclass
class Servers:
    """The servers of a run. They start when they are first asked for; `close` ends those that were started here."""

    _stack: ExitStack = field(default_factory=ExitStack)
    _folder: Path | None = None

    def database_url(self) -> str:
        """Address of the PostgreSQL, as an administrator. Raises NoEngine."""
        return self._url(DATABASE_URL, self._embedded_postgres, self._contained_postgres)

    def nats_url(self, worker: int = 0) -> str:
        """Address of the broker, with a user who may do everything in that worker's part of it. Raises NoEngine."""
        url = self._url(NATS_URL, self._embedded_nats, self._contained_nats)
        return url.replace("{worker}", str(worker % ACCOUNTS))

    def _url(self, variable: str, embedded: Callable[[], str], contained: Callable[[], str]) -> str:
        kind = os.environ.get(KIND, "embedded")
        if kind not in ("embedded", "containers"):
            raise NoEngine(f"{KIND} is 'embedded' or 'containers', not {kind!r}.")
        # Kept in the environment, so that the processes of a parallel run, which inherit it, use the same server.
        if not os.environ.get(variable):
            os.environ[variable] = contained() if kind == "containers" else embedded()
            self._stack.callback(os.environ.pop, variable, None)
        return os.environ[variable]

    def close(self) -> None:
        """Ends what was started here and removes its data."""
        self._stack.close()

    def folder(self) -> Path:
        """A folder of this run that any account can reach: pytest's own are closed to PostgreSQL's under root."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="kehu-test-", dir=_place()))
            self._folder.chmod(0o711)
            self._stack.callback(shutil.rmtree, self._folder, ignore_errors=True)
        return self._folder

    def _embedded_postgres(self) -> str:
        folder = self.folder()
        server = Postgres(folder / "postgres", secrets.token_hex(16), folder / "postgres.log")
        self._stack.callback(server.kill)  # its data goes with it
        server.start()
        return server.url

    def _embedded_nats(self) -> str:
        folder = self.folder()
        users, address = _admins()
        server = Nats(folder / "nats", users, folder / "nats.log")
        self._stack.callback(server.kill)
        server.start()
        return address.format(host="127.0.0.1", port=server.port)

    def _contained_postgres(self) -> str:
        _engine()
        from testcontainers.community.postgres import PostgresContainer

        container = PostgresContainer(
            POSTGRES_IMAGE, username="kehu_admin", password=secrets.token_hex(16), driver=None
        )
        container.with_command(["postgres", "-c", "max_connections=200"])
        self._stack.enter_context(container)
        return container.get_connection_url()

    def _contained_nats(self) -> str:
        _engine()
        from testcontainers.core.container import DockerContainer
        from testcontainers.core.wait_strategies import LogMessageWaitStrategy

        users, address = _admins()
        # The broker the suite runs on, users and flushing and all: the image's own defaults have neither.
        text = configuration(4222, 8222, Path("/kehu/store"), Path("/kehu/nats.pid"), users, host="0.0.0.0")
        container = DockerContainer(NATS_IMAGE).with_command(["--config", "/kehu/nats.conf"])
        container.with_exposed_ports(4222).with_copy_into_container(text.encode(), "/kehu/nats.conf")
        container.waiting_for(LogMessageWaitStrategy("Server is ready"))
        self._stack.enter_context(container)
        host = container.get_container_host_ip()
        return address.format(host=host, port=container.get_exposed_port(4222))


_MEMORY = Path("/dev/shm")
_PLENTY = 12 << 30


def _place() -> Path | None:
    """Memory where there is plenty, else the usual place: every change of every test is made durable, and hundreds of databases
    come and go, so that a disk keeps some test waiting for longer than services wait."""
    free = min(psutil.virtual_memory().available, shutil.disk_usage(_MEMORY).free if _MEMORY.is_dir() else 0)
    return _MEMORY if free >= _PLENTY and "TMPDIR" not in os.environ else None


def _admins() -> tuple[list[User], str]:
    """A user for each part of the broker, and their address with `{host}`, `{port}`; `{worker}` stays in it."""
    password = secrets.token_hex(16)
    users = [admin(password, str(worker)) for worker in range(ACCOUNTS)]
    return users, f"nats://admin{{{{worker}}}}:{password}@{{host}}:{{port}}"


def _engine() -> None:
    """Raises NoEngine, with what to do, unless a container engine answers."""
    # The reaper is one more image; what we start we end ourselves.
    os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")
    import docker
    from docker.errors import DockerException

    try:
        docker.from_env(timeout=5).close()
        docker.from_env(timeout=5).ping()
    except DockerException:
        raise NoEngine(NO_ENGINE) from None
