"""Token buckets, gates, and what the gateway says to those who ask for too much."""

import pytest

from gateway.limits import Gate, RateLimit
from gateway.problems import Refusal
from gateway.testing import House


def test_a_bucket_fills_with_time() -> None:
    now = [0.0]
    limit = RateLimit(rate=2, burst=3, clock=lambda: now[0])
    assert [limit.take("a") for _ in range(3)] == [0, 0, 0]
    assert limit.take("a") == pytest.approx(0.5)
    assert limit.take("b") == 0
    now[0] = 0.5
    assert limit.take("a") == 0
    assert limit.take("a") > 0
    now[0] = 100
    assert [limit.take("a") for _ in range(3)] == [0, 0, 0]
    assert limit.take("a") > 0


def test_buckets_are_bounded() -> None:
    limit = RateLimit(rate=1, burst=1, keys=10, clock=lambda: 0.0)
    for number in range(1000):
        limit.take(str(number))
    assert limit.take("999") > 0
    assert limit.take("1") == 0


def test_a_gate_never_waits() -> None:
    gate = Gate(1, "TOO_BUSY", "Too many.")
    gate.enter()
    with pytest.raises(Refusal) as caught:
        gate.enter()
    assert (caught.value.status, caught.value.retry_after) == (503, 1.0)
    gate.leave()
    gate.enter()


async def test_sign_ins_of_one_address_are_limited(house: House) -> None:
    said = {"email": "ann@acme.example", "password": "a password of some length"}
    answer = await house.http.post("/v1/sessions:signIn", json=said)
    for _ in range(200):
        if answer.status_code != 200:
            break
        answer = await house.http.post("/v1/sessions:signIn", json=said)
    assert (answer.status_code, answer.json()["reason"]) == (429, "RATE_LIMITED")
    assert int(answer.headers["retry-after"]) >= 1


async def test_the_addresses_of_one_network_are_limited_together(house: House) -> None:
    said = {"email": "ann@acme.example", "password": "a password of some length"}
    for number in range(200):
        from_here = {"x-forwarded-for": f"2001:db8:9:9:{number:x}::{number + 1:x}"}
        answer = await house.http.post("/v1/sessions:signIn", json=said, headers=from_here)
        if answer.status_code == 429:
            break
    else:
        pytest.fail("each address has tries of its own")
    elsewhere = {"x-forwarded-for": "2001:db8:9:a::1"}
    assert (await house.http.post("/v1/sessions:signIn", json=said, headers=elsewhere)).status_code != 429
