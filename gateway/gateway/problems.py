"""Errors as the outside sees them: gRPC status with google.rpc details → RFC 9457 problem documents.

| gRPC | HTTP | |
|---|---|---|
| INVALID_ARGUMENT, OUT_OF_RANGE | 400 | |
| UNAUTHENTICATED | 401 | |
| PERMISSION_DENIED | 403 | |
| NOT_FOUND | 404 | |
| ALREADY_EXISTS | 409 | |
| ABORTED, FAILED_PRECONDITION | 409 | The state of the record is in the way, not the form of the request |
| RESOURCE_EXHAUSTED | 429 | Retry-After |
| CANCELLED | 503 | by a service that ends: calls we end ourselves raise no status. Retry-After |
| UNAVAILABLE | 503 | Retry-After |
| DEADLINE_EXCEEDED | 504 | |
| UNIMPLEMENTED | 501 | |
| reason ETAG_MISMATCH | 412 | |
| reason FILE_TOO_LARGE | 413 | |
| reason IDEMPOTENCY_KEY_REUSED, REQUEST_ID_REUSED | 422 | |

INTERNAL, UNKNOWN and DATA_LOSS answer 500 with a sentence of our own: what a service says then may hold
anything.
"""

import logging
import math
from dataclasses import dataclass
from typing import Any

import grpc.aio
import orjson
from google.rpc import error_details_pb2, status_pb2  # pyright: ignore[reportMissingTypeStubs]

from chassis.errors import Code, Problem, Violation
from chassis.wire import descriptor_of

log = logging.getLogger("gateway")

CONTENT_TYPE = b"application/problem+json"

_STATUS: dict[int, int] = {
    1: 503,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 409,
    Code.ABORTED: 409,
    11: 400,
    Code.UNIMPLEMENTED: 501,
    Code.UNAVAILABLE: 503,
    Code.UNAUTHENTICATED: 401,
}
_BY_REASON = {
    "ETAG_MISMATCH": 412,
    "FILE_TOO_LARGE": 413,
    "IDEMPOTENCY_KEY_REUSED": 422,
    "REQUEST_ID_REUSED": 422,
}
_TITLES = {
    400: "The request is not valid",
    401: "Sign-in is needed",
    403: "You may not do this",
    404: "Not found",
    405: "Method not allowed",
    408: "The request came too slowly",
    409: "The present state does not allow this",
    411: "Length required",
    412: "The record has changed",
    413: "The request is too large",
    414: "The address is too long",
    415: "The content type is not supported",
    421: "This host is not served here",
    422: "The idempotency key was used for another request",
    429: "Too many requests",
    431: "The headers are too large",
    500: "Something went wrong on our side",
    501: "Not available",
    503: "Not available at the moment",
    504: "It took too long",
}
_BAD_REQUEST = descriptor_of(error_details_pb2.BadRequest)
_ERROR_INFO = descriptor_of(error_details_pb2.ErrorInfo)
_RETRY_INFO = descriptor_of(error_details_pb2.RetryInfo)
_RETRY_STATUS = {429, 503}
_INTERNAL_DETAIL = "The request could not be completed. Give the traceId to support if it happens again."


@dataclass
class Refusal(Exception):
    """An answer other than success. `extra` are more headers, names in lower case."""

    status: int
    reason: str
    detail: str
    violations: tuple[Violation, ...] = ()
    metadata: dict[str, str] | None = None
    retry_after: float | None = None
    extra: tuple[tuple[bytes, bytes], ...] = ()

    @property
    def title(self) -> str:
        """The kind of problem, for people."""
        return _TITLES.get(self.status, "The request failed")

    def document(self, instance: str, trace_id: str) -> bytes:
        """The problem document as JSON."""
        body: dict[str, object] = {
            "type": f"urn:kehu:problem:{self.reason.lower().replace('_', '-')}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "reason": self.reason,
            "instance": instance,
            "traceId": trace_id,
        }
        if self.violations:
            body["violations"] = [{"field": v.field, "description": v.description} for v in self.violations]
        if self.metadata:
            body["metadata"] = self.metadata
        return orjson.dumps(body, default=str)

    def headers(self) -> list[tuple[bytes, bytes]]:
        """The headers that belong to the problem."""
        found = [(b"content-type", CONTENT_TYPE), (b"cache-control", b"no-store"), *self.extra]
        if self.status in _RETRY_STATUS or self.retry_after is not None:
            seconds = 1 if self.retry_after is None else max(1, math.ceil(self.retry_after))
            found.append((b"retry-after", str(seconds).encode()))
        if self.status == 401:
            found.append((b"www-authenticate", b'Bearer realm="kehu"'))
        return found


def of_problem(problem: Problem) -> Refusal:
    """What our own vocabulary of errors looks like outside."""
    return Refusal(
        _BY_REASON.get(problem.reason) or _STATUS.get(problem.code, 500),
        problem.reason,
        problem.message,
        problem.violations,
        problem.metadata or None,
        problem.retry_after,
    )


def of_call(error: grpc.aio.AioRpcError) -> Refusal:
    """What a failed call looks like outside. Details that are no google.rpc.Status are kept back."""
    code = int(error.code().value[0])
    status = _STATUS.get(code, 500)
    details = _rich(error)
    if status == 500:
        log.error("a service failed", extra={"grpc_code": error.code().name, "grpc_details": error.details()})
        return Refusal(500, "INTERNAL", _INTERNAL_DETAIL)
    if details is None:
        reason = "UNAVAILABLE" if status == 503 else error.code().name
        return Refusal(status, reason, _PLAIN.get(status, error.details() or ""))
    return _unpack(status, error.code().name, details)


_PLAIN = {
    503: "The service that answers this is not reachable at the moment. Try again.",
    504: "The service that answers this took too long. Try again, or ask for less.",
    501: "The service that answers this does not know the method: it may be of an older version.",
}
"""Words for failures that gRPC itself found: its own would name addresses."""


def _rich(error: grpc.aio.AioRpcError) -> status_pb2.Status | None:
    trailing: Any = error.trailing_metadata() or ()
    for key, value in trailing:
        if key == "grpc-status-details-bin" and isinstance(value, bytes):
            try:
                return status_pb2.Status.FromString(value)
            except ValueError:
                return None
    return None


def _unpack(status: int, reason: str, details: status_pb2.Status) -> Refusal:
    violations: list[Violation] = []
    metadata: dict[str, str] = {}
    retry_after: float | None = None
    for detail in details.details:
        if detail.Is(_BAD_REQUEST):
            bad = error_details_pb2.BadRequest.FromString(detail.value)
            violations += [Violation(v.field, v.description) for v in bad.field_violations]
        elif detail.Is(_ERROR_INFO):
            info = error_details_pb2.ErrorInfo.FromString(detail.value)
            reason = info.reason or reason
            metadata.update(info.metadata)
        elif detail.Is(_RETRY_INFO):
            delay = error_details_pb2.RetryInfo.FromString(detail.value).retry_delay
            retry_after = delay.seconds + delay.nanos / 1e9
    return Refusal(
        _BY_REASON.get(reason, status),
        reason,
        details.message,
        tuple(violations),
        metadata or None,
        retry_after,
    )


def internal() -> Refusal:
    """What a fault of the gateway itself looks like outside."""
    return Refusal(500, "INTERNAL", _INTERNAL_DETAIL)
