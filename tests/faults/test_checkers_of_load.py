"""The checkers of overload, noise and retries find each kind of fault in what a faulty suite would leave and none in a sound one;
that of retries finds it also in channels from which the throttle was taken.
"""

import asyncio
import json
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from kehu.customers.v1 import customer_pb2, customer_service_pb2
from kehu.leads.v1 import lead_pb2

import chassis.rpc.clients
import gateway.backends
import gateway.turns
from bench.open_loop import Told
from chassis.errors import Problem
from chassis.rpc.clients import Clients, ask
from chassis.settings import Settings
from chassis.testing import Keys
from gateway.backends import Backends
from gateway.contracts import Method, load
from gateway.problems import Refusal
from gateway.testing import running_gateway
from proof.checkers import AT_ONCE, Round, amplification, goodput_share, overload_faults, slowdown
from proof.refusing import refusing

SOUND = Told(seconds=1.0, sent=300, good=[10.0] * 100, refused=[2.0] * 200)


def test_a_sound_load_has_no_faults() -> None:
    assert overload_faults(SOUND) == []


@pytest.mark.parametrize(
    "faulty",
    [
        replace(SOUND, sent=301, wrong=Counter({"500": 1})),
        replace(SOUND, sent=301, wrong=Counter({"503": 1})),  # without Retry-After
        replace(SOUND, sent=301, lost=1),
        replace(SOUND, sent=301),
        replace(SOUND, unsent=1),
        replace(SOUND, refused=[2.0] * 190 + [AT_ONCE + 1] * 10),
    ],
)
def test_answers_that_are_wrong_late_or_missing_are_found(faulty: Told) -> None:
    assert len(overload_faults(faulty)) == 1


def test_goodput_is_compared_with_the_most_that_was_reached() -> None:
    sound = [
        Round(1000, {2.0: 980, 5.0: 950}),
        Round(500, {2.0: 510, 5.0: 505}),
        Round(900, {2.0: 890, 5.0: 850}),
    ]
    assert goodput_share(sound, 5.0) >= 0.9
    collapsing = [replace(one, goodput={**one.goodput, 5.0: one.capacity * 0.66}) for one in sound]
    assert goodput_share(collapsing, 5.0) < 0.9 <= goodput_share(collapsing, 2.0)


def test_others_that_wait_for_the_noise_are_found() -> None:
    calm, slow = [5.0] * 98 + [10.0] * 2, [5.0] * 98 + [16.0] * 2
    assert slowdown([(calm, calm)] * 3) == 1.0
    assert slowdown([(calm, slow)] * 3) > 1.5
    assert slowdown([(calm, calm), (calm, slow), (calm, slow)]) > 1.5
    nothing: list[float] = []
    assert slowdown([(calm, nothing)] * 3) == math.inf


_NOISE, _CALL = (f"0198c5a2-7d2e-7c3b-9a70-3f1f0e5b6a{end}" for end in ("11", "12"))
_UNFAIR = {"seats": 100_000, "max_concurrent_requests": 100_000}


async def _ahead(
    keys: Keys, nats_url: str, noisy_inside: int, **settings: int
) -> tuple[list[float], list[float]]:
    """How long one tenant's call takes, alone and beside forty of another, at a service that does one thing at a time: counted
    in the calls that it stands behind there, which no busy machine changes.
    """
    async with running_gateway(keys, nats_url, **settings) as house:
        inside = 0
        more, go = asyncio.Event(), asyncio.Event()
        found: list[float] = []

        async def answer(request: Any) -> lead_pb2.Lead:
            nonlocal inside
            inside += 1
            if request.id == _CALL:
                found.append(inside)
                go.set()
            more.set()
            await go.wait()
            inside -= 1
            return lead_pb2.Lead(id=request.id)

        house.on("leads.LeadService/GetLead", answer)
        quiet, noisy = house.bearer(), house.bearer(house.somebody_of("noisy"))

        async def get(id: str, headers: dict[str, str]) -> None:
            assert (await house.http.get(f"/v1/leads/{id}", headers=headers)).status_code == 200

        async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
            await get(_CALL, quiet)
            await get(_NOISE, noisy)
            go.clear()
            for _ in range(40):
                tasks.create_task(get(_NOISE, noisy))
            while inside < noisy_inside:
                more.clear()
                await more.wait()
            await get(_CALL, quiet)
    return found[:1], found[1:]


async def test_a_gateway_without_shares_is_found(
    keys: Keys, nats_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checker tells it from one with shares."""
    monkeypatch.setattr(gateway.turns, "HOLD", 3600.0)
    monkeypatch.setattr(gateway.turns, "PATIENCE", 3600.0)
    unfair = slowdown([await _ahead(keys, nats_url, 40, **_UNFAIR)])
    fair = slowdown([await _ahead(keys, nats_url, 4)])
    assert fair < 10 < 40 < unfair


def test_more_attempts_than_calls_are_found() -> None:
    assert amplification(105, 100) <= 1.2 < amplification(400, 100)
    assert amplification(1, 0) == math.inf


Asking = Callable[[str], Awaitable[None]]
CALLS = 100


async def _by_the_gateway(address: str) -> None:
    """As many calls as are counted, all at once."""
    contracts = load()
    method = contracts.named("kehu.customers.v1.CustomerService.GetCustomer")
    assert method is not None
    backends = Backends(contracts, {"customers": address})
    backends.open()

    async def call() -> None:
        with pytest.raises(Refusal):
            await backends.call(method, method.request(id="x"), ())

    await asyncio.gather(*(call() for _ in range(CALLS)))
    await backends.close()


async def _by_a_service(address: str) -> None:
    clients = Clients(Settings(addresses={"customers": address}))
    request = customer_service_pb2.GetCustomerRequest(id="x")

    async def call() -> None:
        with pytest.raises(Problem):
            path = "/kehu.customers.v1.CustomerService/GetCustomer"
            await ask(clients, lambda: "", path, request, customer_pb2.Customer)

    await asyncio.gather(*(call() for _ in range(CALLS)))
    await clients.close()


def _unthrottled(config: str) -> str:
    return json.dumps(
        {name: value for name, value in json.loads(config).items() if name != "retryThrottling"}
    )


@pytest.mark.parametrize("asking", [_by_the_gateway, _by_a_service])
async def test_retries_are_throttled(asking: Asking) -> None:
    with refusing() as refused:
        await asking(refused.address)
        assert 1.0 <= amplification(refused.attempts["GetCustomer"], CALLS) <= 1.2


@pytest.mark.parametrize("asking", [_by_the_gateway, _by_a_service])
async def test_retries_without_a_throttle_are_found(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = gateway.backends.service_config

    def unthrottled(methods: Sequence[Method]) -> str:
        return _unthrottled(plain(methods))

    monkeypatch.setattr(gateway.backends, "service_config", unthrottled)
    monkeypatch.setattr(
        chassis.rpc.clients, "SERVICE_CONFIG", _unthrottled(chassis.rpc.clients.SERVICE_CONFIG)
    )
    with refusing() as refused:
        await asking(refused.address)
        assert amplification(refused.attempts["GetCustomer"], CALLS) > 1.2
