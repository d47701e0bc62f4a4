"""The services behind the gateway: one channel each, calls with deadlines, retries only of what may be
repeated.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import Message

from chassis.channels import PATIENCE, RECONNECTION, Link
from gateway.contracts import Contracts, Method
from gateway.problems import Refusal, of_call

MAX_MESSAGE = 33 * 1024 * 1024
_GRACE = 0.25
"""Seconds the gateway waits beyond a method's own deadline, so that the service's answer about it arrives."""

Metadata = tuple[tuple[str, str], ...]
Unary = Any
"""grpc.aio.UnaryUnaryMultiCallable, which the stubs leave generic in types that only descriptors know."""


def service_config(methods: Sequence[Method]) -> str:
    """The gRPC service config: reads are repeated when the service was not reachable, writes never.

    A write may have happened though its answer was lost; its caller repeats it with the same Idempotency-Key.
    """
    retry = {
        "maxAttempts": 4,
        "initialBackoff": "0.1s",
        "maxBackoff": "1s",
        "backoffMultiplier": 3,
        # A server that is about to end cancels what reaches it in the moment between.
        "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
    }
    names = [{"service": m.service, "method": m.name} for m in methods if m.reads]
    config: dict[str, object] = {
        "loadBalancingConfig": [{"round_robin": {}}],
        "retryThrottling": {"maxTokens": 10, "tokenRatio": 0.1},
    }
    if names:
        config["methodConfig"] = [{"name": names, "retryPolicy": retry}]
    return json.dumps(config)


def target(address: str) -> str:
    """The address as a name gRPC resolves anew when replicas come and go."""
    return address if "://" in address or address.startswith("unix:") else f"dns:///{address}"


@dataclass
class Backends:
    """Channels to the installed services. Make it inside the running loop; `close` ends it."""

    contracts: Contracts
    addresses: Mapping[str, str]
    """Domain → host:port. A domain without an address is not installed."""
    _links: dict[str, Link] = field(default_factory=dict[str, Link])
    _calls: dict[str, Unary] = field(default_factory=dict[str, Unary])

    def open(self) -> None:
        """Makes the channels. Connections come with the first call, so the order of starting does not
        matter.
        """
        for domain, address in self.addresses.items():
            methods = [method for method in self.contracts.methods if method.domain == domain]
            channel = grpc.aio.insecure_channel(
                target(address),
                options=[
                    ("grpc.service_config", service_config(methods)),
                    ("grpc.enable_retries", 1),
                    ("grpc.keepalive_time_ms", 30_000),
                    ("grpc.keepalive_timeout_ms", 20_000),
                    ("grpc.keepalive_permit_without_calls", 1),
                    *RECONNECTION,
                    ("grpc.max_receive_message_length", MAX_MESSAGE),
                    ("grpc.max_send_message_length", MAX_MESSAGE),
                    # Services of a suite talk to each other directly, whatever proxy the machine is set to
                    # use.
                    ("grpc.enable_http_proxy", 0),
                ],
            )
            self._links[domain] = Link(channel)
            for method in methods:
                kinds: Any = channel
                make = (
                    kinds.unary_stream
                    if method.streams
                    else kinds.stream_unary
                    if method.takes_parts
                    else kinds.unary_unary
                )
                self._calls[method.path] = make(
                    method.path,
                    request_serializer=method.request.SerializeToString,
                    response_deserializer=method.answer.FromString,
                )

    async def close(self) -> None:
        """Ends all channels; calls still in work fail."""
        for link in self._links.values():
            await link.close()
        self._links.clear()
        self._calls.clear()

    def installed(self, domain: str) -> bool:
        """Whether the company runs that service."""
        return domain in self.addresses

    def states(self) -> dict[str, str]:
        """Domain → state of its channel, in gRPC's words (`READY`, `IDLE`, `CONNECTING`,
        `TRANSIENT_FAILURE`).
        """
        return {
            domain: link.channel.get_state(try_to_connect=True).name for domain, link in self._links.items()
        }

    async def call(
        self,
        method: Method,
        request: Message,
        metadata: Metadata,
        timeout: float | None = None,
        patience: float = PATIENCE,
        waited: float = 0.0,
        beside: dict[str, str] | None = None,
    ) -> Message:
        """The answer of an RPC. `timeout` in seconds; None takes the contract's deadline. `patience` in seconds is for
        a service that has just come back and is about to be reached again; it goes off the timeout, and so do the
        seconds the request has `waited` already. What the method tells beside its answer goes into `beside`.

        Raises Refusal: 404 MODULE_NOT_INSTALLED when the service is not installed, else what the failed
        call says.
        """
        call = self._calls.get(method.path)
        if call is None:
            raise not_installed(method.domain)
        try:
            left = (timeout or method.deadline + _GRACE) - waited
            left -= await self._links[method.domain].reached(min(patience, left / 2))
            running = call(request, timeout=left, metadata=metadata)
            answer = await running
            if beside is not None and method.beside:
                trailing: Any = await running.trailing_metadata() or ()
                beside.update((name, str(told)) for name, told in trailing if name == method.beside)
            return answer
        except grpc.aio.AioRpcError as error:
            raise of_call(error) from None

    async def parts(
        self, method: Method, request: Message, metadata: Metadata, waited: float = 0.0
    ) -> tuple[Any, Any]:
        """The running call of an RPC that answers in parts, and the first of them; `read` of the call gives the others, and
        `cancel` ends it.

        Raises Refusal as `call` does; what fails later is raised by `read`.
        """
        make = self._calls.get(method.path)
        if make is None:
            raise not_installed(method.domain)
        left = method.deadline + _GRACE - waited
        left -= await self._links[method.domain].reached(min(PATIENCE, left / 2))
        running = make(request, timeout=left, metadata=metadata)
        try:
            first = await running.read()
        except grpc.aio.AioRpcError as error:
            raise of_call(error) from None
        except BaseException:
            running.cancel()
            raise
        return running, first

    async def taking(self, method: Method, metadata: Metadata) -> Any:
        """The running call of an RPC that is asked in parts: `write` gives it a part, `done_writing` says that this was all, and
        awaiting it gives the answer; `cancel` ends it.

        Raises Refusal when the service is not installed; what fails later is raised by those.
        """
        make = self._calls.get(method.path)
        if make is None:
            raise not_installed(method.domain)
        left = method.deadline + _GRACE
        left -= await self._links[method.domain].reached(min(PATIENCE, left / 2))
        return make(timeout=left, metadata=metadata)


def not_installed(domain: str) -> Refusal:
    """The problem of asking for a module the company does not run."""
    return Refusal(
        404,
        "MODULE_NOT_INSTALLED",
        f"The module '{domain}' is not installed here.",
        metadata={"module": domain},
    )
