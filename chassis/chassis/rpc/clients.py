"""Calls from one service to another: one channel a service, the caller's token, what is left of the deadline."""

import json
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextvars import ContextVar
from typing import Any, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from chassis import telemetry
from chassis.channels import PATIENCE, RECONNECTION, Link
from chassis.errors import Code, DeadlineExceeded, Problem, Unavailable
from chassis.rpc.status import problem_of
from chassis.settings import Settings

A = TypeVar("A", bound=Message)

deadline: ContextVar[float | None] = ContextVar("deadline", default=None)
"""When the running call must have ended (time.monotonic)."""

_RESERVE = 0.05
"""Seconds kept back of the deadline for the work after the call."""

SERVICE_CONFIG = json.dumps({
    "loadBalancingConfig": [{"round_robin": {}}],
    "retryThrottling": {"maxTokens": 10, "tokenRatio": 0.1},
    # Calls between services carry ids chosen beforehand or a request_id, so a repeat is safe.
    "methodConfig": [{
        "name": [{}],
        "retryPolicy": {
            "maxAttempts": 4, "initialBackoff": "0.1s", "maxBackoff": "1s", "backoffMultiplier": 3,
            # A server that is about to end cancels what reaches it in the moment between.
            "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
        },
    }],
})  # fmt: skip
KEEPALIVE: Sequence[tuple[str, Any]] = (
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
)


class Clients:
    """Channels to the other services, opened with the first call. Make it inside the running loop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._links: dict[str, Link] = {}

    def installed(self, domain: str) -> bool:
        """Whether that domain's service is part of this installation."""
        return self._settings.address(domain) is not None

    def link(self, domain: str) -> Link:
        """The channel to that domain's service. Raises Unavailable when it is not installed."""
        link = self._links.get(domain)
        if link is None:
            address = self._settings.address(domain)
            if address is None:
                raise Unavailable(
                    f"The module '{domain}' is not installed here.", reason="MODULE_NOT_INSTALLED"
                )
            link = self._links[domain] = Link(
                grpc.aio.insecure_channel(
                    address if ":///" in address else f"dns:///{address}",
                    options=[
                        ("grpc.service_config", SERVICE_CONFIG),
                        ("grpc.max_receive_message_length", self._settings.max_message_bytes),
                        ("grpc.max_send_message_length", self._settings.max_message_bytes),
                        *RECONNECTION,
                        *KEEPALIVE,
                    ],
                )
            )
        return link

    def channel(self, domain: str) -> grpc.aio.Channel:
        """The same without its wait. Raises Unavailable when the service is not installed."""
        return self.link(domain).channel

    async def close(self) -> None:
        """Ends all channels."""
        for link in self._links.values():
            await link.close()


async def ask(
    clients: Clients,
    token: Callable[[], str],
    path: str,
    request: Message,
    answer: type[A],
    timeout: float = 5.0,
) -> A:
    """One call of `path` (`/kehu.leads.v1.LeadService/GetLead`) with that token.

    Raises the callee's Problem, Unavailable when it does not answer, DeadlineExceeded when no time is left.
    """
    domain = path.split(".")[1]
    until = deadline.get()
    if until is not None:
        timeout = min(timeout, until - time.monotonic() - _RESERVE)
        if timeout <= 0:
            raise DeadlineExceeded("There was no time left for a call to another service.")
    metadata = [("authorization", f"Bearer {token()}")]
    parent = telemetry.traceparent()
    if parent:
        metadata.append(("traceparent", parent))
    link = clients.link(domain)
    timeout -= await link.reached(min(PATIENCE, timeout / 2))
    channel: Any = link.channel
    call = channel.unary_unary(
        path, request_serializer=type(request).SerializeToString, response_deserializer=answer.FromString
    )
    try:
        return await call(request, timeout=timeout, metadata=metadata)
    except grpc.aio.AioRpcError as error:
        problem = problem_of(error)
        if problem.code is Code.DEADLINE_EXCEEDED:
            raise Unavailable(
                f"'{domain}' did not answer in time.", reason="MODULE_SLOW", retry_after=1.0
            ) from error
        if problem.code is Code.UNAVAILABLE and problem.reason == "UNAVAILABLE":
            raise Unavailable(
                f"'{domain}' does not answer now.", reason="MODULE_UNAVAILABLE", retry_after=1.0
            ) from error
        raise problem from error


async def parts(
    clients: Clients, token: Callable[[], str], path: str, request: Message, part: type[A], timeout: float
) -> AsyncGenerator[A]:
    """The parts of the answer of a method that gives it so. Close it when no more are wanted.

    Raises the callee's Problem, Unavailable when it does not answer.
    """
    link = clients.link(path.split(".")[1])
    await link.reached(PATIENCE)
    channel: Any = link.channel
    make = channel.unary_stream(
        path, request_serializer=type(request).SerializeToString, response_deserializer=part.FromString
    )
    call = make(request, timeout=timeout, metadata=[("authorization", f"Bearer {token()}")])
    try:
        async for one in call:
            yield one
    except grpc.aio.AioRpcError as error:
        raise problem_of(error) from error
    finally:
        call.cancel()


__all__ = ["Clients", "Problem", "ask", "deadline", "parts"]
