"""Problems on the wire: a gRPC status with `google.rpc` details, and back again at the caller."""

from typing import Any

import grpc
import grpc.aio
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2

from chassis.errors import Code, Problem, Violation

DETAILS = "grpc-status-details-bin"
DOMAIN = "kehu"

STATUS: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


_MESSAGE, _VIOLATIONS, _METADATA = 500, 2_400, 600
"""Bytes of each that a status may hold. gRPC ends a call RESOURCE_EXHAUSTED whose trailing metadata are beyond 8 KB, so that its
caller would learn nothing at all; the message travels twice, once with every byte beyond ASCII written as three.
"""


def bounded(problem: Problem) -> Problem:
    """The same problem such that it can travel: with as many violations as there is room for, and long texts cut."""
    kept: list[Violation] = []
    left = _VIOLATIONS
    for one in problem.violations:
        short = Violation(_cut(one.field, 200), _cut(one.description, 400))
        left -= len(short.field.encode()) + len(short.description.encode()) + 8
        if left < 0:
            break
        kept.append(short)
    metadata: dict[str, str] = {}
    left = _METADATA
    for name, value in problem.metadata.items():
        short = _cut(value, 200)
        left -= len(name.encode()) + len(short.encode()) + 8
        if left >= 0:
            metadata[name] = short
    return Problem(
        _cut(problem.message, _MESSAGE), reason=problem.reason, code=problem.code, violations=kept, metadata=metadata,
        retry_after=problem.retry_after,
    )  # fmt: skip


def _cut(text: str, most: int) -> str:
    """The text in at most that many bytes of UTF-8; one that goes on ends with an ellipsis."""
    whole = text.encode("utf-8", "replace")
    return text if len(whole) <= most else whole[: most - 3].decode("utf-8", "ignore") + "…"


def details(problem: Problem) -> bytes:
    """The `google.rpc.Status` of that problem, as it travels in the trailing metadata."""
    status = status_pb2.Status(code=int(problem.code), message=problem.message)
    _pack(
        status, error_details_pb2.ErrorInfo(reason=problem.reason, domain=DOMAIN, metadata=problem.metadata)
    )
    if problem.violations:
        _pack(
            status,
            error_details_pb2.BadRequest(
                field_violations=[
                    error_details_pb2.BadRequest.FieldViolation(field=v.field, description=v.description)
                    for v in problem.violations
                ]
            ),
        )
    if problem.retry_after is not None:
        _pack(
            status,
            error_details_pb2.RetryInfo(
                retry_delay=Duration(
                    nanos=int(problem.retry_after % 1 * 1e9), seconds=int(problem.retry_after)
                )
            ),
        )
    return status.SerializeToString()


def _pack(status: status_pb2.Status, detail: Any) -> None:
    packed = AnyMessage()
    packed.Pack(detail)
    status.details.append(packed)


def problem_of(error: grpc.aio.AioRpcError) -> Problem:
    """What a failed call means to its caller, with the callee's reason, violations and patience."""
    status = error.code()
    if status is grpc.StatusCode.CANCELLED:
        status = (
            grpc.StatusCode.UNAVAILABLE
        )  # by a server that ends: what we cancel ourselves raises no status
    code = Code(status.value[0]) if status.value[0] in set(Code) else Code.INTERNAL
    problem = Problem(error.details() or status.name, code=code, reason=status.name)
    trailing: Any = error.trailing_metadata() or ()
    for key, value in trailing:
        if key == DETAILS and isinstance(value, bytes):
            _unpack(problem, value)
    if code is Code.UNAVAILABLE and problem.retry_after is None:
        problem.retry_after = 1.0
    return problem


def _unpack(problem: Problem, raw: bytes) -> None:
    status = status_pb2.Status.FromString(raw)
    info = error_details_pb2.ErrorInfo()
    bad = error_details_pb2.BadRequest()
    retry = error_details_pb2.RetryInfo()
    for detail in status.details:
        if detail.Unpack(info):
            problem.reason = info.reason
            problem.metadata = dict(info.metadata)
        elif detail.Unpack(bad):
            problem.violations = tuple(Violation(v.field, v.description) for v in bad.field_violations)
        elif detail.Unpack(retry):
            problem.retry_after = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
