"""A steady load of writes that goes on whatever is killed, and the record of what was acknowledged.

Each write bears an Idempotency-Key and is repeated until it is answered, so that in the end everything that was begun has
happened exactly once. A record is written by one worker only: what it must be in the end is known.
"""

import asyncio
import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from proof.deadlines import Attempt
from proof.people import Person
from proof.scoreboard import Trial

_PATIENCE = 120.0
"""Seconds in which a repeated request must be answered."""


@dataclass(frozen=True)
class Kind:
    """A kind of record whose every change tells one event."""

    domain: str
    path: str
    body: str
    """The resource's name in paths of the contract's fields."""
    text: str
    """The JSON field that is written again and again."""
    table: str
    column: str
    more: Mapping[str, str] = field(default_factory=dict[str, str])


KINDS = {
    "team": Kind("identity", "/v1/teams", "team", "name", "teams", "name"),
    "customer": Kind("customers", "/v1/customers", "customer", "displayName", "customers", "display_name"),
    "lead": Kind("leads", "/v1/leads", "lead", "name", "leads", "name"),
    "campaign": Kind(
        "marketing", "/v1/campaigns", "campaign", "name", "campaigns", "name", {"channel": "CAMPAIGN_CHANNEL_EMAIL"}
    ),
    "ticket": Kind("servicedesk", "/v1/tickets", "ticket", "subject", "tickets", "subject"),
}  # fmt: skip
_WEIGHTS = {
    "customer": (5, 30), "lead": (5, 30), "ticket": (4, 25), "campaign": (3, 25), "team": (1, 3), "order": (4, 4),
    "conversion": (2, 2), "report": (1, 1), "inbox": (2, 2),
}  # fmt: skip
"""How often each is chosen, in the short form and in the long one: that wants 100,000 writes, and orders and conversions
cost the machine far more than plain ones."""
_THROUGH = {
    "order": ("sales",), "conversion": ("leads", "customers", "sales"), "report": ("analytics",), "inbox": ("notifications",)
}  # fmt: skip
_READS = {"report": "/v1/reports/leadsBySource", "inbox": "/v1/notifications"}


@dataclass(frozen=True)
class Acknowledged:
    """What the last answer said of a record. `writes` were acknowledged, its creation among them."""

    id: str
    kind: str
    text: str
    writes: int


@dataclass(frozen=True)
class Answered:
    """A request that succeeded, with its monotonic seconds."""

    kind: str
    through: tuple[str, ...]
    began: float
    ended: float


@dataclass
class Load:
    """Sixteen workers by default. Started with `start`, ended with `end`; read when it has ended."""

    boss: Person
    trial: Trial
    base_url: str
    customer: str
    product: str
    workers: int = 16
    hang_up: float = 0.0
    """The share of requests that are given up by the client after a few milliseconds, and then repeated."""
    name: str = ""
    """Begins the keys, so that one load is told from another in the same suite."""
    records: dict[str, Acknowledged] = field(default_factory=dict[str, Acknowledged])
    """By key: the first word of the record's text after `load`."""
    orders: dict[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])
    """Key of an order → the id and number its placing was answered with."""
    asked: set[str] = field(default_factory=set[str])
    leads: dict[str, str] = field(default_factory=dict[str, str])
    """Converted lead → its conversion."""
    answered: list[Answered] = field(default_factory=list[Answered])
    attempts: list[Attempt] = field(default_factory=list[Attempt])
    """All requests, also those that were not answered or refused."""
    in_flight: dict[int, tuple[str, tuple[str, ...]]] = field(
        default_factory=dict[int, tuple[str, tuple[str, ...]]]
    )
    writes: int = 0
    repeats: int = 0
    hung_up: int = 0
    failure: BaseException | None = None
    _ended: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)
    _chance: random.Random = field(default_factory=random.Random)

    def __post_init__(self) -> None:
        self._chance = self.trial.chance("hang up")

    def start(self) -> None:
        """Begins in a thread of its own."""
        self._thread = threading.Thread(target=self._run, name="load")
        self._thread.start()

    def end(self) -> None:
        """Brings to its answer what has begun, and ends. Raises what has gone wrong."""
        self._ended.set()
        assert self._thread is not None
        self._thread.join()
        if self.failure is not None:
            raise self.failure

    @property
    def over(self) -> bool:
        """Whether it ends, also by its own failure."""
        return self._ended.is_set()

    def under_way(self, role: str) -> Counter[str]:
        """Requests in flight by kind that lead through that service, or of all for any other role."""
        now = [*self.in_flight.values()]
        return Counter(kind for kind, through in now if role in _EVERYONES or role in through)

    def _run(self) -> None:
        try:
            asyncio.run(self._all())
        except BaseException as error:  # handed to whoever ends it
            self.failure = error
        finally:
            self._ended.set()

    async def _all(self) -> None:
        limits = httpx.Limits(max_connections=self.workers + 2)
        async with (
            httpx.AsyncClient(base_url=self.base_url, timeout=20, limits=limits) as http,
            asyncio.TaskGroup() as tasks,
        ):
            tasks.create_task(self._stay_signed_in(http))
            for number in range(self.workers):
                tasks.create_task(self._work(http, number))

    async def _stay_signed_in(self, http: httpx.AsyncClient) -> None:
        said = {"tenant": self.boss.tenant, "email": self.boss.email, "password": self.boss.password}
        while not self._ended.is_set():
            answer = await self._until_answered(
                http, "sign in", ("identity",), "POST", "/v1/sessions:signIn", said, ""
            )
            self.boss.headers = {"authorization": f"Bearer {answer['accessToken']}"}
            await asyncio.sleep(10 if self.trial.long else 1.5)

    async def _work(self, http: httpx.AsyncClient, worker: int) -> None:
        chance = self.trial.chance(f"worker {worker}")
        mine: dict[str, list[str]] = {kind: [] for kind in KINDS}
        kinds, weights = [*_WEIGHTS], [both[self.trial.long] for both in _WEIGHTS.values()]
        for number in itertools.count():
            if self._ended.is_set():
                return
            kind = chance.choices(kinds, weights)[0]
            key = f"{self.name}{worker}-{number}"
            if kind == "order":
                await self._order(http, key)
            elif kind == "conversion":
                await self._conversion(http, key)
            elif kind in _READS:
                await self._until_answered(http, kind, _THROUGH[kind], "GET", _READS[kind], None, "")
            elif mine[kind] and chance.random() < 0.6:
                await self._update(http, chance.choice(mine[kind][-50:]), chance)
            else:
                await self._create(http, kind, key)
                mine[kind].append(key)

    async def _create(self, http: httpx.AsyncClient, name: str, key: str) -> None:
        kind = KINDS[name]
        text = f"load {key} 1"
        body = {kind.text: text, **kind.more, **({"customerId": self.customer} if name == "ticket" else {})}
        made = await self._write(
            http, f"{name} created", (kind.domain,), "POST", kind.path, body, f"make-{key}"
        )
        self.records[key] = Acknowledged(made["id"], name, text, 1)

    async def _update(self, http: httpx.AsyncClient, key: str, chance: random.Random) -> None:
        was = self.records[key]
        kind = KINDS[was.kind]
        text = f"load {key} {was.writes + 1}"
        path = f"{kind.path}/{was.id}"
        await self._write(
            http, f"{was.kind} updated", (kind.domain,), "PATCH", path, {kind.text: text}, f"change-{key}-{was.writes + 1}"
        )  # fmt: skip
        self.records[key] = Acknowledged(was.id, was.kind, text, was.writes + 1)

    async def _order(self, http: httpx.AsyncClient, key: str) -> None:
        self.asked.add(key)
        line = {"productId": self.product, "quantity": "2"}
        body = {"customerId": self.customer, "lines": [line], "notes": f"load {key}"}
        through = _THROUGH["order"]
        order = await self._write(http, "order created", through, "POST", "/v1/orders", body, f"order-{key}")
        path = f"/v1/orders/{order['id']}:place"
        placed = await self._write(http, "order placed", through, "POST", path, {}, f"place-{key}")
        self.orders[key] = (placed["id"], placed["number"])

    async def _conversion(self, http: httpx.AsyncClient, key: str) -> None:
        body = {"name": f"人 {key}", "companyName": f"Load {key}"}
        lead = await self._write(http, "lead created", ("leads",), "POST", "/v1/leads", body, f"lead-{key}")
        wanted: dict[str, Any] = {"opportunity": {}}
        path = f"/v1/leads/{lead['id']}:convert"
        done = await self._write(
            http, "conversion", _THROUGH["conversion"], "POST", path, wanted, f"convert-{key}"
        )
        self.leads[lead["id"]] = done["id"]

    async def _write(
        self, http: httpx.AsyncClient, kind: str, through: tuple[str, ...], method: str, path: str, body: Any, key: str
    ) -> Any:  # fmt: skip
        answer = await self._until_answered(http, kind, through, method, path, body, key)
        self.writes += 1
        return answer

    async def _until_answered(
        self, http: httpx.AsyncClient, kind: str, through: tuple[str, ...], method: str, path: str, body: Any, key: str
    ) -> Any:  # fmt: skip
        until = time.monotonic() + _PATIENCE
        answer: httpx.Response | None = None
        why = ""
        tries = itertools.count(1)
        while time.monotonic() < until:
            number = next(self._numbers)
            headers = {**self.boss.headers, **({"idempotency-key": key} if key else {})}
            self.in_flight[number] = (kind, through)
            began = time.monotonic()
            gives_up = self._chance.random() < self.hang_up
            try:
                async with asyncio.timeout(self._chance.uniform(0.001, 0.05) if gives_up else None):
                    answer = await http.request(method, path, json=body, headers=headers)
            except TimeoutError:
                answer, why = None, "hung up"
                self.hung_up += 1
            except httpx.TransportError as error:
                answer, why = None, type(error).__name__
            finally:
                del self.in_flight[number]
            status = answer.status_code if answer is not None else 0
            self.attempts.append(Attempt(method, path, began, time.monotonic(), status, next(tries)))
            if answer is not None and answer.status_code == 200:
                self.answered.append(Answered(kind, through, began, time.monotonic()))
                self.trial.note("acknowledged", kind=kind, key=key, took=round(time.monotonic() - began, 4))
                return answer.json()
            self.trial.note("not answered", kind=kind, key=key, status=status or why)
            if answer is not None and answer.status_code not in (401, 409, 429, 503, 504):
                raise AssertionError(f"{method} {path}: {answer.status_code} {answer.text}")
            self.repeats += 1
            await asyncio.sleep(0.05)
        raise AssertionError(f"{method} {path} was not answered in {_PATIENCE:.0f} s: {why or answer}")


_EVERYONES = frozenset({"gateway", "NATS", "PostgreSQL"})
"""Roles that every request leads through, by itself or by its event."""


def started(
    boss: Person, trial: Trial, base_url: str, workers: int = 16, name: str = "", hang_up: float = 0.0
) -> Load:
    """A load that has begun, with a buyer and a product of its own."""
    price = {"currencyCode": "CNY", "units": "10"}
    load = Load(
        boss, trial, base_url,
        customer=boss.post("/v1/customers", {"displayName": "Buys under fire"})["id"],
        product=boss.post("/v1/products", {"name": f"Under fire {name}".strip(), "listPrice": price})["id"],
        workers=workers, name=name, hang_up=hang_up,
    )  # fmt: skip
    load.start()
    return load
