"""The way in for an ERP: a consumer on the stream of sales that holds one tenant's order events, and a user who may read it."""

from dataclasses import dataclass

import nats
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import NotFoundError

from kehu_local.nats import ADMIN, ORDERS, Nats, erp_filter, erp_name, inbox


@dataclass(frozen=True)
class Access:
    """What an ERP has to know."""

    url: str
    """Address of the broker with user and password in it."""
    stream: str
    consumer: str
    inbox_prefix: str
    """Has to be given to the client: answers on other inboxes are not heard."""


async def open_to(server: Nats, tenant: str) -> Access:
    """Makes the tenant's consumer where it is missing. The user has to be among the server's users.

    The ERP may not make it: who makes consumers decides what they deliver, and where to.
    """
    client = await nats.connect(server.url_for(ADMIN))
    try:
        js = client.jetstream()
        try:
            await js.stream_info(ORDERS)
        except NotFoundError:
            # As the sales service makes it, which may not have come so far.
            subjects = [f"kehu.*.{ORDERS.lower()}.>"]
            await js.add_stream(
                StreamConfig(
                    name=ORDERS, subjects=subjects, storage=StorageType.FILE, retention=RetentionPolicy.LIMITS,
                    max_age=30 * 24 * 3600.0, duplicate_window=3600.0,
                )
            )  # fmt: skip
        await js.add_consumer(
            ORDERS,
            ConsumerConfig(
                durable_name=erp_name(tenant),
                filter_subject=erp_filter(tenant),
                deliver_policy=DeliverPolicy.ALL,
                ack_policy=AckPolicy.EXPLICIT,
                ack_wait=30,
            ),
        )
    finally:
        await client.close()
    return Access(server.url_for(erp_name(tenant)), ORDERS, erp_name(tenant), inbox(erp_name(tenant)))
