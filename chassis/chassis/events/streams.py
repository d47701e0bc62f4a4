"""The connection to the broker and the streams on it.

One stream a producing service: `SALES` holds `kehu.*.sales.>`. A service makes its own stream at start-up and waits for those
of others to appear.
"""

import logging
import os
import urllib.request
from collections.abc import Awaitable, Callable

import orjson
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import NotFoundError

from chassis.settings import Settings

log = logging.getLogger(__name__)

MAX_AGE = 30 * 24 * 3600.0
"""Seconds an event stays on the bus."""
DUPLICATE_WINDOW = 3600.0
"""Seconds in which the broker refuses a second copy of an event; later copies are the inbox's business."""


async def connect(settings: Settings, name: str) -> Client:
    """A connection that never gives up reconnecting.

    Raises nats.errors.Error or OSError when the broker cannot be reached now.
    """
    client = Client()

    async def failed(error: Exception) -> None:
        log.warning("broker: %s", error or type(error).__name__)

    async def closed() -> None:
        # Closed for good means that no event would ever be sent or taken again: better to be started anew.
        if not client.stopping_on_purpose:  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
            log.critical("the connection to the broker is closed for good")
            os._exit(70)

    client.stopping_on_purpose = False  # pyright: ignore[reportAttributeAccessIssue]
    await client.connect(
        servers=[settings.nats_url],
        name=name,
        user=settings.nats_user or None,
        password=settings.nats_password.get_secret_value() or None,
        inbox_prefix=f"_INBOX_{settings.nats_user or name}".encode(),
        allow_reconnect=True,
        max_reconnect_attempts=-1,
        reconnect_time_wait=0.25,  # pyright: ignore[reportArgumentType] (fractions of a second work)
        ping_interval=10,
        connect_timeout=2,
        error_cb=failed,
        closed_cb=closed,
    )
    return client


async def close(client: Client) -> None:
    """Ends a connection on purpose."""
    client.stopping_on_purpose = True  # pyright: ignore[reportAttributeAccessIssue]
    await client.close()


def stream_of(domain: str) -> str:
    """The stream a domain's events are in."""
    return domain.upper()


async def ensure_stream(js: JetStreamContext, domain: str, replicas: int) -> None:
    """Makes the domain's own stream, if it is not there."""
    name = stream_of(domain)
    try:
        await js.stream_info(name)
    except NotFoundError:
        await js.add_stream(
            StreamConfig(
                name=name,
                subjects=[f"kehu.*.{domain}.>"],
                storage=StorageType.FILE,
                retention=RetentionPolicy.LIMITS,
                max_age=MAX_AGE,
                duplicate_window=DUPLICATE_WINDOW,
                num_replicas=replicas,
            )
        )


def flushes_each_message(monitor_url: str) -> bool:
    """Whether the broker writes each message to disk before it acknowledges it, as its monitoring address says.

    Raises OSError when the address does not answer.
    """
    if not monitor_url.startswith("http://"):
        raise ValueError("the broker's monitoring address starts with http://")
    with urllib.request.urlopen(f"{monitor_url}/varz", timeout=2) as answer:
        settings = orjson.loads(answer.read())
    return bool(settings.get("jetstream", {}).get("config", {}).get("sync_always", False))


Once = Callable[[], Awaitable[None]]
