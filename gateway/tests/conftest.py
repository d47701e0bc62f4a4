"""What the tests of the gateway share."""

from collections.abc import AsyncIterator

import pytest

from chassis.testing import Keys
from gateway.testing import House, running_gateway


@pytest.fixture
async def house(keys: Keys, nats_url: str) -> AsyncIterator[House]:
    """A gateway with peers of its own."""
    async with running_gateway(keys, nats_url) as house:
        yield house
