"""How far a service has read the streams of others: what waits for it, and how to have all of it told again."""

import asyncio
from collections.abc import Iterable
from contextlib import suppress

import nats.errors
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from chassis.events import streams
from chassis.settings import Settings

_PATIENCE = 2.0
_NO_STREAM = 10059
"""The broker's number for a stream that is not there."""


async def waiting(settings: Settings, service: str, domains: Iterable[str]) -> dict[str, int | None]:
    """Events of each domain that wait for that service; None where the bus does not say.

    A domain that has never published has no stream, and nothing waits. A stream that the service has not begun to read is
    not known either.
    """
    names = list(domains)
    try:
        async with asyncio.timeout(_PATIENCE):
            client = await streams.connect(settings, f"{service}-backlog")
    except (OSError, TimeoutError, nats.errors.Error):
        return dict.fromkeys(names)
    try:
        js = client.jetstream(timeout=_PATIENCE)
        counts = await asyncio.gather(*(_waiting(js, streams.stream_of(name), service) for name in names))
        return dict(zip(names, counts, strict=True))
    finally:
        await streams.close(client)


async def _waiting(js: JetStreamContext, stream: str, service: str) -> int | None:
    try:
        info = await js.consumer_info(stream, service)
    except NotFoundError as missing:
        return 0 if missing.err_code == _NO_STREAM else None
    except (OSError, TimeoutError, nats.errors.Error):
        return None
    return (info.num_pending or 0) + (info.num_ack_pending or 0)


async def begun_late(js: JetStreamContext, domains: Iterable[str]) -> list[str]:
    """The streams among those of the domains that no longer hold their first events."""
    found: list[str] = []
    for stream in map(streams.stream_of, domains):
        with suppress(NotFoundError):
            if (await js.stream_info(stream)).state.first_seq > 1:
                found.append(stream)
    return found


async def forget(js: JetStreamContext, service: str, domains: Iterable[str]) -> None:
    """Has the bus forget how far the service has read; its consumers begin anew, and its inbox should know nothing either.

    Raises nats.errors.Error or TimeoutError; another attempt does the rest.
    """
    for domain in domains:
        with suppress(NotFoundError):
            await js.delete_consumer(streams.stream_of(domain), service)
