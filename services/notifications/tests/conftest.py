"""The notifications service under test."""

from collections.abc import AsyncGenerator, Callable

import pytest_asyncio

from chassis.testing import DatabaseUrls, Harness, Keys, running_service
from notifications.service import SERVICE
from notifications.testing import Office


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(
    service_database: Callable[[str], DatabaseUrls], nats_url: str, keys: Keys
) -> AsyncGenerator[Harness]:
    async with running_service(SERVICE, service_database("notifications"), nats_url, keys) as harness:
        yield harness


@pytest_asyncio.fixture(loop_scope="module")
async def office(service: Harness) -> Office:
    """A tenant that no other test knows."""
    return Office(service)
