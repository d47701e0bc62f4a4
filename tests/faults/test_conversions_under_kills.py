"""Conversions while processes, the broker and the database are killed: each ends whole and once, nothing acknowledged is lost."""

import concurrent.futures
import random
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import httpx

from kehu_local.suite import Suite

SEED = 20161020
KILLS = 8
MOST = 2_000
"""Conversions at the most; they go on as long as something is killed."""


def _until_answered(person: Any, method: str, path: str, body: Any, key: str) -> Any:
    """Repeats a request with its Idempotency-Key until it is answered; failures are the faults of this test."""
    until = time.monotonic() + 90
    while time.monotonic() < until:
        try:
            answer = person.http.request(
                method, path, json=body, headers={**person.headers, "idempotency-key": key}, timeout=20
            )
        except httpx.TransportError:
            time.sleep(0.1)
            continue
        if answer.status_code == 200:
            return answer.json()
        assert answer.status_code in (409, 429, 503, 504), answer.text
        time.sleep(0.1)
    raise AssertionError(f"{path} was never answered")


def test_each_conversion_ends_whole_and_once(suite: Suite, boss: Any, eventually: Callable[..., Any]) -> None:
    boss.sign_in()
    chance = random.Random(SEED)
    assert suite.nats is not None and suite.postgres is not None
    victims: list[Any] = [suite.services["leads"], suite.services["customers"], suite.nats, suite.postgres]
    stop = threading.Event()
    kills: list[str] = []

    def killer() -> None:
        while not stop.is_set() and len(kills) < KILLS:
            victim = victims[len(kills) % len(victims)]
            time.sleep(chance.uniform(0.2, 0.7))
            victim.kill()
            kills.append(type(victim).__name__)
            victim.start()

    def convert(number: int) -> tuple[str, str]:
        lead = _until_answered(
            boss,
            "POST",
            "/v1/leads",
            {"name": f"人 {number}", "companyName": f"Killed {number}"},
            f"lead-{number}",
        )
        conversion = _until_answered(boss, "POST", f"/v1/leads/{lead['id']}:convert", {}, f"convert-{number}")
        return lead["id"], conversion["id"]

    def convert_if_killing(number: int) -> tuple[str, str] | None:
        return convert(number) if thread.is_alive() else None

    thread = threading.Thread(target=killer)
    thread.start()
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        made = [one for one in pool.map(convert_if_killing, range(MOST)) if one is not None]
    stop.set()
    thread.join()
    assert len(kills) == KILLS and len(made) > 20, (
        "too few kills while there was work: the test shows nothing"
    )

    boss.sign_in()

    def all_ended() -> bool:
        states = {boss.get(f"/v1/conversions/{conversion}")["state"] for _, conversion in made}
        return "CONVERSION_STATE_RUNNING" not in states

    eventually(all_ended, 90)
    for lead_id, conversion_id in made:
        conversion = boss.get(f"/v1/conversions/{conversion_id}")
        assert conversion["state"] == "CONVERSION_STATE_SUCCEEDED", conversion
        lead = boss.get(f"/v1/leads/{lead_id}")
        assert (lead["status"], lead["customerId"]) == ("LEAD_STATUS_CONVERTED", conversion["customerId"])
        customer = boss.get(f"/v1/customers/{lead['customerId']}")
        assert customer["originLeadId"] == lead_id
        contacts = boss.get("/v1/contacts", params={"filter": f'customerId = "{customer["id"]}"'})["contacts"]
        assert [c["id"] for c in contacts] == [lead["contactId"]]
    names = [c["displayName"] for c in _all_customers(boss) if c["displayName"].startswith("Killed ")]
    assert len(names) == len(set(names)) == len(made)


def _all_customers(boss: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    token = ""
    while True:
        page = boss.get("/v1/customers", params={"pageSize": 100, "pageToken": token})
        found += page.get("customers", [])
        token = page.get("nextPageToken", "")
        if not token:
            return found


def test_view360_names_the_section_that_is_down(
    suite: Suite, boss: Any, eventually: Callable[..., Any]
) -> None:
    customer = boss.sign_in().post("/v1/customers", {"displayName": "Seen from all sides"})
    for domain, part in suite.services.items():
        if domain in ("identity", "customers", "analytics"):
            continue
        part.kill()
        try:
            began = time.monotonic()
            view = boss.get(f"/v1/customers/{customer['id']}:view360")
            assert time.monotonic() - began < 5
            assert domain in {section["section"] for section in view["missing"]}
            assert "customers" in view["sections"]
        finally:
            part.start()
        eventually(partial(_has_section, boss, customer["id"], domain), 10)


def _has_section(person: Any, customer_id: str, domain: str) -> bool:
    return domain in person.get(f"/v1/customers/{customer_id}:view360")["sections"]


def test_writes_go_on_while_the_broker_is_down(
    suite: Suite, boss: Any, eventually: Callable[..., Any]
) -> None:
    assert suite.nats is not None
    boss.sign_in()
    suite.nats.kill()
    try:
        lead = boss.post("/v1/leads", {"name": "Written in the dark"})
    finally:
        suite.nats.start()
    urls = suite.databases["leads"]

    def sent() -> bool:
        import asyncio

        import asyncpg

        async def unsent() -> int:
            connection = await asyncpg.connect(urls.relay)
            try:
                return int(await connection.fetchval("SELECT count(*) FROM outbox WHERE sent_at IS NULL"))
            finally:
                await connection.close()

        return asyncio.run(unsent()) == 0

    eventually(sent, 30)
    assert boss.get(f"/v1/leads/{lead['id']}")["name"] == "Written in the dark"
