"""A running analytics service on streams that hold nothing yet."""

from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from typing import Any

import pytest_asyncio
from nats.js.errors import NotFoundError

from analytics.listens import SUBSCRIPTIONS
from analytics.service import SERVICE
from analytics.testing import House
from chassis.events import streams
from chassis.settings import Settings
from chassis.testing import DatabaseUrls, Keys, running_service


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(
    service_database: Callable[[str], DatabaseUrls], nats_url: str, keys: Keys
) -> AsyncGenerator[House]:
    client = await streams.connect(Settings(nats_url=nats_url), "told-by-tests")
    try:
        js: Any = client.jetstream(timeout=5)
        for domain in SUBSCRIPTIONS.domains:
            # Whole from their first event, whatever other tests have told.
            with suppress(NotFoundError):
                await js.delete_stream(streams.stream_of(domain))
            await streams.ensure_stream(js, domain, 1)
        async with running_service(SERVICE, service_database("analytics"), nats_url, keys) as service:
            yield House(service, js)
    finally:
        await streams.close(client)
