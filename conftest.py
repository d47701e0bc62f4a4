"""The servers all tests share, and a fresh database of a service for each module of tests.

One PostgreSQL and one NATS serve the whole run. `KEHU_TEST_SERVERS=containers` takes them from containers,
`KEHU_TEST_DATABASE_URL` and `KEHU_TEST_NATS_URL` take servers that stand already.
"""

import asyncio
import gc
import os
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import nats
import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadFileScheduling

import gateway as gateway  # known before pytest takes the folder of that name for a package
from chassis.migrations import migrate_async
from chassis.testing import DatabaseUrls, Keys
from kehu_local import databases
from kehu_local.composition import MEMBERS
from kehu_local.suite import runnable
from kehu_local.test_servers import NoEngine, Servers

# How long an example takes is no matter of right or wrong, and on a machine with much to do it takes long.
settings.register_profile("kehu", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("kehu")

_SERVERS = Servers()
_SECRET = "the secret of the servers of tests"


def pytest_configure(config: pytest.Config) -> None:
    """In a parallel run the process that leads it starts the servers; its workers find them in their environment."""
    leads = config.getoption("numprocesses", default=None) and not hasattr(config, "workerinput")
    if not leads:
        return
    try:
        _SERVERS.database_url()
        _SERVERS.nats_url()
    except NoEngine as problem:
        raise pytest.UsageError(str(problem)) from None


def pytest_xdist_auto_num_workers() -> int:
    """Two more than there are processors: a good part of the tests waits for what was killed to come back."""
    return (os.cpu_count() or 1) + 2


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling:
    """Deals out whole files, those that talk to the whole suite to every other worker."""
    return _SuitesInHalf(config, log)


class _SuitesInHalf(LoadFileScheduling):
    """A suite of processes, with the company of the attacks in it, takes a worker twenty seconds to start and works on as long as
    the worker lives: every other worker has one, and the others take of these files only when nothing else is left."""

    def _assign_work_unit(self, node: Any) -> None:
        having = int(node.gateway.id.removeprefix("gw")) % 2 == 0
        fitting = next((file for file in self.workqueue if _whole_suite(Path(file)) == having), None)
        if fitting is not None:
            self.workqueue.move_to_end(fitting, last=False)
        super()._assign_work_unit(node)


def _whole_suite(file: Path) -> bool:
    return file.parts[0] == "tests" and bool({"faults", "fuzz", "journeys", "security"} & {*file.parts})


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files whose tests wait for what was killed to come back take turns with those whose tests compute, the longest first: so
    neither do all workers wait at once, nor does one of them end long after the others."""
    sizes = Counter(item.path for item in items)

    def weight(file: Path) -> int:
        """Tests of the suite go through whole stories, but those that ask one thing of every route."""
        stories = {"faults", "fuzz", "journeys", "privacy"} & {*file.parts}
        return sizes[file] * (50 if stories else 1)

    files = sorted(sizes, key=lambda file: -weight(file))
    waiting = [file for file in files if {"faults", "journeys"} & {*file.parts}]
    computing = [file for file in files if file not in {*waiting}]
    turns = {file: (n + 0.5) / len(some) for some in (waiting, computing) for n, file in enumerate(some)}
    items.sort(key=lambda item: turns[item.path])


def pytest_collection_finish() -> None:
    """What was collected stays till the end: the collector of garbage need not look at it again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)


def pytest_unconfigure() -> None:
    """Ends the servers that were started here."""
    _SERVERS.close()


def _worker() -> int:
    return int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))


@pytest.fixture(scope="session")
def postgres_url() -> str:
    """Address of the run's PostgreSQL as an administrator."""
    try:
        return _SERVERS.database_url()
    except NoEngine as problem:
        pytest.exit(str(problem), returncode=4)


@pytest.fixture(scope="module")
def nats_url() -> str:
    """Address of the run's broker, with a user in it who may do everything. No stream of the modules before is left: services
    would have to take in all their events first, and to wait for those that others had been given and not acknowledged."""
    try:
        url = _SERVERS.nats_url(_worker())
    except NoEngine as problem:
        pytest.exit(str(problem), returncode=4)
    _run(_forget(url))
    return url


@pytest.fixture(scope="session")
def open_folder() -> Path:
    """A folder of this run that PostgreSQL's account can reach under root, where pytest's own are closed to it."""
    return _SERVERS.folder()


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    """Key pairs of everyone who signs tokens."""
    return Keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="session")
def _newest(postgres_url: str) -> Iterator[dict[str, str]]:
    """Databases at the newest version of their service, by its name, as a model for others."""
    made: dict[str, str] = {}
    yield made
    _run(_drop(postgres_url, made.values()))


@pytest.fixture(scope="module")
def service_database(postgres_url: str, _newest: dict[str, str]) -> Iterator[Callable[..., DatabaseUrls]]:
    """Makes a fresh database of the named service, with its three roles: at the newest version, as a copy of one that was brought
    there once, unless it is to be `empty` or the service is none of ours. Dropped after the module's tests."""
    made: list[str] = []

    def make(domain: str, *, empty: bool = False) -> DatabaseUrls:
        made.append(_name(domain))
        model = None if empty else _model(postgres_url, domain, _newest)
        _run(_make(postgres_url, domain, made[-1], model))
        return _urls(postgres_url, domain, made[-1])

    yield make
    _run(_drop(postgres_url, made))


def _name(domain: str) -> str:
    return f"kehu_{domain}_{uuid4().hex[:12]}"


def _urls(server: str, domain: str, name: str) -> DatabaseUrls:
    urls = databases.urls_of(server, domain, _SECRET, name)
    return DatabaseUrls(owner=urls.owner, app=urls.app, relay=urls.relay)


def _model(server: str, domain: str, newest: dict[str, str]) -> str | None:
    if domain not in newest:
        member = next((one for one in MEMBERS if one.domain == domain and runnable(one.module)), None)
        if member is None:
            return None
        name = newest[domain] = _name(domain)
        _run(_make(server, domain, name))
        _run(migrate_async(_urls(server, domain, name).owner, member.migrations))
    return newest[domain]


def _run(work: Coroutine[Any, Any, None]) -> None:
    """Runs it whether or not a loop runs in this thread: the fixture serves synchronous and asynchronous tests."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, work).result()


async def _make(server: str, domain: str, name: str, model: str | None = None) -> None:
    connection = await asyncpg.connect(server)
    try:
        await databases.lock(connection)
        if model:
            owner, *_ = databases.roles(domain)
            # Composed of names of this file. As files: the way through the log takes five times as long.
            await connection.execute(
                f"CREATE DATABASE {name} OWNER {owner} TEMPLATE {model} STRATEGY file_copy"
            )
        await databases.make_database(connection, domain, _SECRET, name)
    finally:
        await connection.close()


async def _forget(broker: str) -> None:
    client = await nats.connect(broker)
    try:
        js = client.jetstream()
        for stream in await js.streams_info():
            if all(subject.startswith("kehu.") for subject in stream.config.subjects or ()):
                await js.delete_stream(stream.config.name or "")
    finally:
        await client.close()


async def _drop(server: str, names: Iterable[str]) -> None:
    connection = await asyncpg.connect(server)
    try:
        for name in names:
            await connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    finally:
        await connection.close()
