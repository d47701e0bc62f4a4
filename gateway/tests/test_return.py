"""A service that has come back is reached by the next request, however long it was away."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from kehu.leads.v1 import lead_pb2

from chassis.ids import new_id
from chassis.testing import Keys
from gateway.testing import House, running_gateway


@pytest.fixture
async def house(keys: Keys, nats_url: str) -> AsyncIterator[House]:
    async with running_gateway(keys, nats_url) as house:
        house.on("leads.LeadService/GetLead", lambda r: lead_pb2.Lead(id=r.id, etag="1"))
        house.on("leads.LeadService/CreateLead", lambda r: lead_pb2.Lead(id=str(new_id()), etag="1"))
        yield house


async def _read(house: House) -> int:
    return (await house.http.get(f"/v1/leads/{new_id()}", headers=house.bearer())).status_code


async def _write(house: House) -> int:
    answer = await house.http.post("/v1/leads", json={"name": "Back again"}, headers=house.bearer())
    return answer.status_code


@pytest.mark.parametrize("ask", [_read, _write])
async def test_the_first_request_after_a_return_is_answered(
    house: House, ask: Callable[[House], Awaitable[int]]
) -> None:
    assert await ask(house) == 200
    for _ in range(3):
        await house.peers["leads"].stop()
        # So many failures use up what the channel may repeat, and its pauses have grown to their longest.
        assert set(await asyncio.gather(*(ask(house) for _ in range(20)))) == {503}
        await house.peers["leads"].start()
        assert await ask(house) == 200
