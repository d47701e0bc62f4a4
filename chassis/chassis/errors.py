"""The one vocabulary of things that go wrong.

Use cases raise a `Problem`; the gRPC face turns it into a status with `google.rpc` details; the gateway turns that into an
RFC 9457 document. A service names its own conditions by subclassing (`class LeadNotQualifiable(Precondition)`), so that a
caller can tell them apart by `reason`. The message is for people: it says what is wrong with which value and what to do.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum


class Code(IntEnum):
    """The gRPC status codes that a use case may answer with, by their numbers on the wire."""

    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


@dataclass(frozen=True, slots=True)
class Violation:
    """One field that was refused: its path in JSON names (`lead.phone`) and what is wrong with it."""

    field: str
    description: str


class Problem(Exception):
    """What a use case answers when it cannot do what was asked."""

    code: Code = Code.INTERNAL
    reason: str = "INTERNAL"

    def __init__(
        self,
        message: str,
        *,
        reason: str | None = None,
        code: Code | None = None,
        violations: Iterable[Violation] = (),
        metadata: dict[str, str] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        if reason is not None:
            self.reason = reason
        if code is not None:
            self.code = code
        self.violations = tuple(violations)
        self.metadata = metadata or {}
        self.retry_after = retry_after
        """Seconds after which a repeat makes sense; None when it does not."""


class Invalid(Problem):
    """A value in the request cannot be accepted, whatever the state of the record."""

    code = Code.INVALID_ARGUMENT
    reason = "INVALID_FIELD"

    def __init__(self, field: str, description: str, *, reason: str | None = None) -> None:
        super().__init__(f"{field}: {description}", reason=reason, violations=[Violation(field, description)])

    @classmethod
    def of(cls, violations: Iterable[Violation]) -> "Invalid":
        """One answer for several refused fields. `violations` must not be empty."""
        found = tuple(violations)
        problem = cls(found[0].field, found[0].description)
        problem.violations = found
        if len(found) > 1:
            problem.message = "; ".join(f"{v.field}: {v.description}" for v in found)
        return problem


class NotFound(Problem):
    """There is no such record, or the caller may not know that there is one."""

    code = Code.NOT_FOUND
    reason = "NOT_FOUND"

    def __init__(self, resource: str, id: object) -> None:
        super().__init__(
            f"There is no {resource} {id}, or you may not see it.",
            metadata={"resource": resource, "id": str(id)},
        )


class AlreadyExists(Problem):
    """A record with this key is there already."""

    code = Code.ALREADY_EXISTS
    reason = "ALREADY_EXISTS"

    def __init__(self, reason: str, message: str, *, field: str | None = None) -> None:
        super().__init__(message, reason=reason, violations=[Violation(field, message)] if field else ())


class Precondition(Problem):
    """The record is in a state that does not allow this."""

    code = Code.FAILED_PRECONDITION
    reason = "FAILED_PRECONDITION"


class Conflict(Problem):
    """Somebody else is changing the same thing now; reading again and repeating may succeed."""

    code = Code.ABORTED
    reason = "CONFLICT"


class EtagMismatch(Conflict):
    """The record has changed since the caller read it."""

    reason = "ETAG_MISMATCH"

    def __init__(self) -> None:
        super().__init__("The record has changed since you read it: read it again and repeat your change.")


class IdempotencyKeyReused(Problem):
    """The same request id came with another request."""

    code = Code.ALREADY_EXISTS
    reason = "IDEMPOTENCY_KEY_REUSED"

    def __init__(self) -> None:
        description = "was used for another request already: use a new one for each new request"
        super().__init__(f"requestId: {description}", violations=[Violation("requestId", description)])


class Denied(Problem):
    """The caller is known and may not do this."""

    code = Code.PERMISSION_DENIED
    reason = "PERMISSION_DENIED"


class Unauthenticated(Problem):
    """The caller is not known, or no longer."""

    code = Code.UNAUTHENTICATED
    reason = "UNAUTHENTICATED"


class Exhausted(Problem):
    """A limit is reached; `retry_after` says when to come back."""

    code = Code.RESOURCE_EXHAUSTED
    reason = "RESOURCE_EXHAUSTED"


class Unavailable(Problem):
    """Something that is needed does not answer; nothing was changed."""

    code = Code.UNAVAILABLE
    reason = "UNAVAILABLE"


class DeadlineExceeded(Problem):
    """The time the caller gave has run out."""

    code = Code.DEADLINE_EXCEEDED
    reason = "DEADLINE_EXCEEDED"
