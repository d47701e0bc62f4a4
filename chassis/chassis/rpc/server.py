"""The gRPC server of a service: every call verified, admitted, checked, bounded in time, and answered in one vocabulary."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError, Message
from grpc_health.v1 import health as grpc_health
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import SERVICE_NAME
from grpc_reflection.v1alpha import reflection
from opentelemetry import metrics
from opentelemetry.trace import SpanKind

from chassis import telemetry
from chassis.errors import DeadlineExceeded, Exhausted, Invalid, Problem
from chassis.principal import Principal, Verifier
from chassis.rpc.call import Call
from chassis.rpc.clients import KEEPALIVE
from chassis.rpc.face import ANYBODY, Face, Kind, Method, admit, serve_call, serve_stream, serve_upload
from chassis.rpc.status import DETAILS, STATUS, bounded, details
from chassis.settings import Settings
from chassis.wire import descriptor_of

log = logging.getLogger(__name__)

_LATENCY = metrics.get_meter("kehu").create_histogram("rpc.server.duration", unit="s")
_health: Callable[[], Any] = vars(grpc_health)["aio"].HealthServicer  # the stubs do not know it
_LONG = 5 * 60 * 1000
_STREAMS_END = 11 * 60 * 1000
"""What a connection that is old enough is left to end: longer than any stream may take, or old connections would cut them off."""
Context = grpc.aio.ServicerContext[Any, Any]


@dataclass
class Server:
    """A listening server. `port` is known after `start`."""

    settings: Settings
    faces: Iterable[Face]
    verifier: Verifier
    call_for: Callable[[Principal, str], Call]
    port: int = 0
    busy: int = 0
    health: Any = field(default_factory=_health)

    async def start(self) -> None:
        """Begins to listen. Health stays NOT_SERVING until `ready`. Raises OSError when the port is taken."""
        names = [face.service for face in self.faces]
        self._server = grpc.aio.server(
            options=[
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", self.settings.max_message_bytes),
                ("grpc.max_send_message_length", self.settings.max_message_bytes),
                ("grpc.max_connection_age_ms", _LONG),
                ("grpc.max_connection_age_grace_ms", _STREAMS_END),
                ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
                *KEEPALIVE,
            ]
        )
        for face in self.faces:
            handlers: dict[str, Any] = {name: self._handler(method) for name, method in face.methods.items()}
            self._server.add_generic_rpc_handlers(
                (grpc.method_handlers_generic_handler(face.service, handlers),)
            )
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self._server)
        reflection.enable_server_reflection([*names, SERVICE_NAME, reflection.SERVICE_NAME], self._server)
        await self.serving(False)
        try:
            self.port = self._server.add_insecure_port(self.settings.listen)
        except RuntimeError as error:
            raise OSError(f"cannot listen on {self.settings.listen}") from error
        await self._server.start()

    async def serving(self, yes: bool) -> None:
        """Tells balancers and probes whether calls may come."""
        state = health_pb2.HealthCheckResponse.SERVING if yes else health_pb2.HealthCheckResponse.NOT_SERVING
        await self.health.set("", state)

    async def drain(self) -> None:
        """Stops gracefully: not serving, a while for balancers to notice, then calls in work are let end."""
        await self.serving(False)
        await asyncio.sleep(self.settings.drain_seconds)
        await self._server.stop(grace=10)

    def _handler(self, method: Method) -> Any:
        # Bytes come in as they are: what gRPC itself cannot read it answers UNKNOWN, with the parser's words.
        kinds: Any = grpc
        match method.kind:
            case Kind.STREAM:
                make = kinds.unary_stream_rpc_method_handler
            case Kind.UPLOAD:
                make = kinds.stream_unary_rpc_method_handler
            case _:
                make = kinds.unary_unary_rpc_method_handler
        return make(self._behaviour(method), response_serializer=method.answer.SerializeToString)

    def _behaviour(self, method: Method) -> Callable[[Any, Context], Awaitable[Message | None]]:
        serve: Callable[..., Awaitable[Message | None]] = self._answer
        if method.kind is Kind.STREAM:
            serve = self._parts
        elif method.kind is Kind.UPLOAD:
            serve = self._taken

        async def behave(request: Any, context: Context) -> Message | None:
            metadata = {
                key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)
            }
            began = time.perf_counter()
            outcome = "OK"
            try:
                with telemetry.span(method.path, SpanKind.SERVER, metadata):
                    try:
                        return await serve(method, request, context, metadata)
                    except Problem as problem:
                        outcome = problem.code.name
                        await _abort(context, problem)
                    except Exception as error:  # a bug: the caller learns no more than that
                        outcome = "INTERNAL"
                        log.error("%s failed", method.path, exc_info=error)
                        await _abort(context, Problem("Something went wrong on our side.", reason="INTERNAL"))
                raise AssertionError("unreachable")
            finally:
                _LATENCY.record(time.perf_counter() - began, {"rpc.method": method.path, "outcome": outcome})

        return behave

    async def _answer(
        self, method: Method, request: bytes, context: Context, metadata: dict[str, str]
    ) -> Message:
        async with self._admitted(method, context, metadata) as (call, timeout):
            answer = await serve_call(method, _read(method, request), call, timeout)
            if any(call.beside.values()):
                context.set_trailing_metadata(
                    tuple((name, told) for name, told in call.beside.items() if told)
                )
            return answer

    async def _parts(
        self, method: Method, request: bytes, context: Context, metadata: dict[str, str]
    ) -> None:
        """Writes part by part, as fast as the caller takes them; a caller who goes away closes the generator at once."""
        async with (
            self._admitted(method, context, metadata) as (call, timeout),
            aclosing(serve_stream(method, _read(method, request), call, timeout)) as parts,
        ):
            async for part in parts:
                try:
                    await context.write(part)
                except Exception:  # grpc's own, of many kinds: the caller has gone in the middle of a part
                    return

    async def _taken(
        self, method: Method, requests: AsyncIterator[bytes], context: Context, metadata: dict[str, str]
    ) -> Message:
        """Reads part by part, as fast as they are taken; a caller who goes away cancels it at once."""

        async def read() -> AsyncGenerator[Message]:
            async for request in requests:
                yield _read(method, request)

        async with self._admitted(method, context, metadata) as (call, timeout), aclosing(read()) as parts:
            first = await anext(parts, None)
            if first is None:
                raise Invalid("request", "is missing: nothing was sent", reason="MALFORMED_REQUEST")
            return await serve_upload(method, first, parts, call, timeout)

    @asynccontextmanager
    async def _admitted(
        self, method: Method, context: Context, metadata: dict[str, str]
    ) -> AsyncGenerator[tuple[Call, float]]:
        if self.busy >= self.settings.max_concurrent_calls:
            raise Exhausted("Too many calls at once: try again soon.", reason="OVERLOADED", retry_after=1.0)
        token = metadata.get("authorization", "").removeprefix("Bearer ")
        who = admit(method, self.verifier.verify(token) if token else None)
        left: Any = context.time_remaining()  # None without a deadline, whatever the stubs say
        timeout = method.deadline if left is None else min(method.deadline, left)
        self.busy += 1
        try:
            async with asyncio.timeout(timeout):
                yield self.call_for(who, token), timeout
        except TimeoutError:
            raise DeadlineExceeded("The time for this call has run out.") from None
        finally:
            self.busy -= 1


def _read(method: Method, request: bytes) -> Message:
    """The request. Raises Invalid (MALFORMED_REQUEST) for bytes that are no such message."""
    try:
        return method.request.FromString(request)
    except DecodeError:
        name = descriptor_of(method.request).full_name
        raise Invalid("request", f"is no {name} on the wire", reason="MALFORMED_REQUEST") from None


async def _abort(context: Context, problem: Problem) -> None:
    problem = bounded(problem)
    context.set_trailing_metadata(((DETAILS, details(problem)),))
    await context.abort(STATUS[int(problem.code)], problem.message)


__all__ = ["ANYBODY", "Server"]
