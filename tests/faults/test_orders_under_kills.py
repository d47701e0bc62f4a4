"""Conversions and orders while services, the gateway, the broker and the database are killed: nothing acknowledged is lost, and
nothing happens twice."""

import random
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from kehu_local.suite import Suite
from proof import found
from proof.checkers import OrderFound, conversion_faults, effect_faults, message_faults, order_faults
from proof.rig import rigged

SEED = 20161020
ROUNDS = 2
"""How often each is killed."""
_AT_ONCE = 6


@dataclass
class Load:
    """Requests that go on whatever is killed, and the history of what was acknowledged."""

    boss: Any
    customer: str
    product: str
    orders: dict[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])
    """Key of an order → the id and number its placing was answered with."""
    leads: dict[str, str] = field(default_factory=dict[str, str])
    """Lead → its conversion."""
    asked: set[str] = field(default_factory=set[str])
    """Keys of all orders that were asked for."""
    repeats: list[str] = field(default_factory=list[str])
    in_flight: set[str] = field(default_factory=set[str])
    ended: threading.Event = field(default_factory=threading.Event)

    def go_on(self, worker: int) -> None:
        """Orders and conversions in turn until the load is ended; what has begun is brought to its answer."""
        number = 0
        try:
            while not self.ended.is_set():
                number += 1
                (self._order if number % 2 else self._conversion)(f"{worker}-{number}")
        finally:
            self.ended.set()  # a wrong answer to one ends it for all

    def _order(self, key: str) -> None:
        self.asked.add(key)
        line = {"productId": self.product, "quantity": "2"}
        body = {"customerId": self.customer, "lines": [line], "notes": f"load {key}"}
        order = self._until_answered("/v1/orders", body, f"order-{key}")
        placed = self._until_answered(f"/v1/orders/{order['id']}:place", {}, f"place-{key}")
        self.orders[key] = (placed["id"], placed["number"])

    def _conversion(self, key: str) -> None:
        lead = self._until_answered(
            "/v1/leads", {"name": f"人 {key}", "companyName": f"Load {key}"}, f"lead-{key}"
        )["id"]
        self.leads[lead] = self._until_answered(
            f"/v1/leads/{lead}:convert", {"opportunity": {}}, f"convert-{key}"
        )["id"]

    def _until_answered(self, path: str, body: Mapping[str, Any], key: str) -> Any:
        """Repeats a request with its Idempotency-Key until it is answered; failures are the faults of this test."""
        headers = {**self.boss.headers, "idempotency-key": key}
        until = time.monotonic() + 90
        while time.monotonic() < until:
            self.in_flight.add(key)
            try:
                answer = self.boss.http.post(path, json=body, headers=headers, timeout=20)
            except httpx.TransportError:
                answer = None
            finally:
                self.in_flight.discard(key)
            if answer is not None and answer.status_code == 200:
                return answer.json()
            assert answer is None or answer.status_code in (409, 429, 503, 504), answer.text
            self.repeats.append(key)
            time.sleep(0.1)
        raise AssertionError(f"{path} was never answered")


def _kill_in_turn(suite: Suite, load: Load) -> list[str]:
    """Kills each of them `ROUNDS` times while requests are under way. The names, in the order of their deaths."""
    chance = random.Random(SEED)
    assert suite.gateway is not None and suite.nats is not None and suite.postgres is not None
    victims: list[tuple[str, Any]] = [
        (domain, suite.services[domain]) for domain in ("sales", "leads", "customers")
    ]
    victims += [("gateway", suite.gateway), ("NATS", suite.nats), ("PostgreSQL", suite.postgres)]
    kills: list[str] = []
    for _ in range(ROUNDS):
        for name, victim in chance.sample(victims, len(victims)):
            done = len(load.orders) + len(load.leads)
            pause = time.monotonic() + chance.uniform(0.3, 0.9)
            # It is hit in the middle of work: some has been done since the last one came back, and some is under way.
            while (
                time.monotonic() < pause or not load.in_flight or len(load.orders) + len(load.leads) == done
            ):
                if load.ended.is_set():
                    return kills
                assert time.monotonic() < pause + 60, f"nothing was done any more before {name} was killed"
                time.sleep(0.005)
            victim.kill()
            kills.append(name)
            victim.start()
    return kills


@pytest.mark.timeout(300)
def test_nothing_acknowledged_is_lost_and_nothing_is_doubled(
    suite: Suite, boss: Any, eventually: Callable[..., Any], tmp_path: Path
) -> None:
    boss.sign_in()
    price = {"currencyCode": "CNY", "units": "10"}
    load = Load(
        boss,
        customer=boss.post("/v1/customers", {"displayName": "Buys under fire"})["id"],
        product=boss.post("/v1/products", {"name": "Under fire", "listPrice": price})["id"],
    )
    with found.tallied(suite, "customers"), rigged(suite, "customers", tmp_path / "rig", ["tally"]):
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            workers = [pool.submit(load.go_on, worker) for worker in range(_AT_ONCE)]
            try:
                kills = _kill_in_turn(suite, load)
            finally:
                load.ended.set()
            for worker in workers:
                worker.result()
        assert len(kills) == 6 * ROUNDS and len(load.repeats) >= len(kills), "the kills have hit nothing"
        eventually(lambda: _at_rest(suite, load, boss.tenant), 90)
        faults = _faults(suite, load, boss.tenant)
    print(f"\nseed {SEED}: {len(kills)} kills, {len(load.orders)} orders, {len(load.leads)} conversions, "
          f"{len(load.repeats)} repeats")  # fmt: skip
    assert faults == []
    _ask_for_all(load)


def _at_rest(suite: Suite, load: Load, tenant: str) -> bool:
    """Whether all that was begun has ended, all events are sent and all are taken in."""
    return (
        all(lead.status == "CONVERTED" for lead in found.leads(suite, [*load.leads], tenant).values())
        and found.unsent(suite) == 0
        and all(found.waiting(suite, "SALES", domain) == 0 for domain in ("customers", "analytics"))
    )


def _faults(suite: Suite, load: Load, tenant: str) -> list[str]:
    faults = [
        f for lead in found.leads(suite, [*load.leads], tenant).values() for f in conversion_faults(lead)
    ]
    sql = "SELECT id, notes, number, status FROM orders WHERE notes LIKE 'load %'"
    orders = [
        OrderFound(str(row["id"]), row["notes"].removeprefix("load "), row["number"], row["status"])
        for row in found.rows(suite, "sales", sql)
    ]
    faults += order_faults(load.orders, load.asked, orders)
    sql = "SELECT tenant_id, number FROM orders WHERE number <> ''"
    everyone = [(row["tenant_id"], row["number"]) for row in found.rows(suite, "sales", sql)]
    assert len(everyone) == len(set(everyone)), "a number was given twice"
    ids = {order.id for order in orders}
    told = [one for one in found.messages(suite, f"kehu.{tenant}.sales.order.placed") if one.record_id in ids]
    faults += message_faults((order.id for order in orders if order.status != "DRAFT"), told)
    faults += effect_faults(told, found.effects(suite, "customers"))
    counted = found.rows(
        suite, "analytics", "SELECT id, status FROM orders WHERE id = ANY($1)", [UUID(id) for id in ids]
    )
    missing = ids - {str(row["id"]) for row in counted if row["status"] == "ORDER_STATUS_PLACED"}
    return faults + [f"order {id} is not counted in the reports" for id in sorted(missing)]


def _ask_for_all(load: Load) -> None:
    """All that was acknowledged is there for whoever asks through the gateway, as it was answered."""
    load.boss.sign_in()
    for id, number in load.orders.values():
        order = load.boss.get(f"/v1/orders/{id}")
        assert (order["number"], order["status"]) == (number, "ORDER_STATUS_PLACED")
    for lead_id, conversion_id in load.leads.items():
        conversion = load.boss.get(f"/v1/conversions/{conversion_id}")
        assert conversion["state"] == "CONVERSION_STATE_SUCCEEDED", conversion
        lead = load.boss.get(f"/v1/leads/{lead_id}")
        assert (lead["status"], lead["customerId"]) == ("LEAD_STATUS_CONVERTED", conversion["customerId"])
        assert load.boss.get(f"/v1/customers/{lead['customerId']}")["originLeadId"] == lead_id
