"""The composition of a service and its one way to start.

    SERVICE = Service(
        name="leads",
        faces=[lead_face, import_face("kehu.leads.v1.ImportService", IMPORTS), ...],
        publishes={LeadCreated: events_pb2.LeadCreated, ...},
        subscriptions=SUBSCRIPTIONS,
        jobs={"conversion": carry_on, **IMPORTS.jobs},
        migrations=Path(__file__).parent / "migrations",
    )

and in `__main__.py`: `main(SERVICE)`. Start-up fails when a method of a face's contract is not served, a method has no rule of
access, or an event the service can record has no wire form.
"""

import asyncio
import gc
import logging
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from google.protobuf.message import Message

from chassis import telemetry
from chassis.database import ConstraintProblems, Database
from chassis.errors import Problem
from chassis.events import streams
from chassis.events.event import Catalog, Event
from chassis.events.relay import Relay
from chassis.events.subscriptions import Consumer, Subscriptions
from chassis.jobs import Job, Runner
from chassis.listing import PageTokens
from chassis.principal import Issuer, Principal, Verifier
from chassis.rpc.call import Call
from chassis.rpc.clients import Clients
from chassis.rpc.face import Face, services_of
from chassis.rpc.server import Server
from chassis.settings import Settings
from chassis.upkeep import sweep

log = logging.getLogger(__name__)

_HEALTH_EVERY = 1.0
_PAUSE = 1.0
Work = Callable[[], Awaitable[None]]
"""Background work that is meant never to end."""


@dataclass(frozen=True)
class Service:
    """What a service is made of."""

    name: str
    """Also its domain in contracts, subjects and settings: lower-case letters."""
    faces: Sequence[Face]
    migrations: Path
    publishes: Mapping[type[Event], type[Message]] = field(default_factory=dict[type[Event], type[Message]])
    subscriptions: Subscriptions = field(default_factory=Subscriptions)
    jobs: Mapping[str, Job] = field(default_factory=dict[str, Job])
    constraints: ConstraintProblems = field(default_factory=dict[str, Callable[[], Problem]])
    commands: Mapping[str, Callable[["Running", list[str]], Awaitable[None]]] = field(
        default_factory=dict[str, Callable[["Running", list[str]], Awaitable[None]]]
    )
    """Commands of its own for the operator, beside those every service has."""

    def check(self) -> Catalog:
        """The service's events, compiled. Raises ValueError saying what does not fit together."""
        for face in self.faces:
            if face.missing():
                raise ValueError(f"{face.service} does not serve {', '.join(face.missing())}")
        package = self.migrations.parent.name
        for event in _leaves(Event):
            if event.__module__.split(".")[0] == package and event not in self.publishes:
                raise ValueError(
                    f"{event.__module__}.{event.__name__} has no contract among what {self.name} publishes"
                )
        return Catalog(self.name, self.publishes)


def check_whole(service: Service) -> None:
    """Raises ValueError when a service of the domain's contracts is served by no face."""
    for contract in services_of(service.name):
        if contract not in {face.service for face in service.faces}:
            raise ValueError(f"{service.name} does not serve {contract}")


def _leaves(kind: type[Event]) -> list[type[Event]]:
    # A class with subclasses only gathers what they share; it is never recorded itself.
    found = [one for sub in kind.__subclasses__() for one in _leaves(sub)]
    return found or [kind]


class Running:
    """A service with its connections. `start` it, and `stop` it."""

    def __init__(self, service: Service, settings: Settings) -> None:
        self.service = service
        self.settings = settings
        self.database = Database(
            settings.database_url.get_secret_value(),
            service.check(),
            pool_size=settings.pool_size,
            acquire_timeout=settings.acquire_timeout,
            constraints=service.constraints,
        )
        self.clients = Clients(settings)
        self.page_tokens = PageTokens(settings.page_token_key.get_secret_value())
        self.issuer = Issuer.from_file(service.name, settings.token_key) if settings.token_key else None
        self.server = Server(settings, service.faces, Verifier.from_file(settings.token_keys), self.call)
        self.relay = Relay(settings, self.database, service.name)
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def port(self) -> int:
        """Where the gRPC face listens."""
        return self.server.port

    def call(self, who: Principal, token: str = "") -> Call:
        """A call of that principal."""
        return Call(
            who=who, database=self.database, clients=self.clients, page_tokens=self.page_tokens,
            settings=self.settings, service=self.service.name, issuer=self.issuer, token=token,
        )  # fmt: skip

    async def start(self) -> None:
        """Listens, relays, consumes and runs jobs, in the background."""
        if (
            self.settings.nats_monitor_url
            and self.settings.nats_require_flush
            and self.settings.nats_replicas == 1
        ):
            await self._assert_flush()
        with suppress(Problem):  # a database that is away is asked when it is back
            await self._assert_written()
        await self.server.start()
        work: list[Work] = [self.relay.run, self._watch_health, partial(sweep, self.settings)]
        if self.service.jobs:
            runner = Runner(
                self.settings, self.service.jobs, self.database.jobs_waiting, self.call, self.service.name
            )
            work.append(runner.run)
        for domain in self.service.subscriptions.domains:
            work.append(
                Consumer(
                    self.settings, self.database, self.service.name, domain, self.service.subscriptions
                ).run
            )
        self._tasks = [asyncio.create_task(kept_running(one)) for one in work]
        log.info("listening", extra={"port": self.port})

    async def _assert_flush(self) -> None:
        try:
            flushes = await asyncio.to_thread(streams.flushes_each_message, self.settings.nats_monitor_url)
        except OSError:
            log.warning("the broker's monitoring address does not answer: its flush setting is not known")
            return
        if not flushes:
            raise SystemExit(
                "The broker acknowledges before it writes to disk: set 'sync_interval: always' or use replicas."
            )

    async def _assert_written(self) -> None:
        setting = await self.database.lax()
        if setting:
            raise SystemExit(
                f"The database acknowledges before it writes to disk: '{setting}' is off for this role or server; set it to on."
            )

    async def _watch_health(self) -> None:
        """Ready means that the own database answers. A lost broker only delays events: not a reason to turn people away.

        A database that was away may have come back with other settings: it is asked for them before anybody is let in.
        """
        asked = False
        while True:
            try:
                await self.database.ping()
                if not asked:
                    await self._assert_written()
                    asked = True
                await self.server.serving(True)
            except Problem:
                asked = False
                await self.server.serving(False)
            await asyncio.sleep(_HEALTH_EVERY)

    async def stop(self) -> None:
        """Drains and closes."""
        await self.server.drain()
        # One request to end may be lost on the way: wait_for of Python 3.11 and the broker's client swallow it when it
        # comes together with what they wait for.
        left = set(self._tasks)
        while left:
            for task in left:
                task.cancel()
            _, left = await asyncio.wait(left, timeout=0.5)
        await self.clients.close()
        await self.database.close()


async def kept_running(work: Work, pause: float = _PAUSE) -> None:
    """Runs background work for ever: whatever it raises is told, and after `pause` seconds it begins anew.

    A service whose relay or jobs have died in silence looks healthy and is not.
    """
    while True:
        try:
            await work()
        except Exception as error:
            log.critical("background work ended and is begun anew", exc_info=error)
        await asyncio.sleep(pause)


async def serve(service: Service, settings: Settings) -> None:
    """Runs a service until SIGTERM or SIGINT."""
    running = Running(service, settings)
    await running.start()
    # What is there now stays: to look through it again, the collector would let all calls wait for a tenth of a second.
    gc.collect()
    gc.freeze()
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    await ended.wait()
    await running.stop()


def main(service: Service) -> None:
    """The command line of a service: `python -m leads [serve|migrate|dead-letters|republish|…]`."""
    from chassis.commands import run

    check_whole(service)
    telemetry.configure(service.name, Settings().log_level)
    run(service)
