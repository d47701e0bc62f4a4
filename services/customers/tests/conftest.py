"""The customers service under test."""

from collections.abc import AsyncGenerator, Callable

import pytest_asyncio

from chassis.testing import DatabaseUrls, Harness, Keys, running_service
from customers.service import SERVICE
from customers.testing import Company


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(
    service_database: Callable[[str], DatabaseUrls], nats_url: str, keys: Keys
) -> AsyncGenerator[Harness]:
    async with running_service(SERVICE, service_database("customers"), nats_url, keys) as harness:
        yield harness


@pytest_asyncio.fixture(loop_scope="module")
async def company(service: Harness) -> Company:
    """A tenant that no other test knows."""
    return Company(service)
