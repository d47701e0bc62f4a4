"""When work on many records is given up: where it has failed at the same place again and again. Shared by imports and bulk
edits."""

from typing import Any

MOST_FAILURES = 5


def one_too_many(work: Any, done: int, what: str) -> bool:
    """Counts a failure of the work behind so many records; `what` says which, as in `The import stopped behind 500 rows`. True
    when it was one too many, and the work says why it ended."""
    work.failures = work.failures + 1 if work.failed_at == done else 1
    work.failed_at = done
    if work.failures < MOST_FAILURES:
        return False
    work.failure_reason = "INTERNAL"
    work.failure_message = f"{what} because of a fault of the service."
    return True


def begun_again(work: Any) -> None:
    """The undoing of ended work begins: what failed before counts no more. Why the work itself has failed stays."""
    work.failures, work.failed_at = 0, -1
    if work.state != "FAILED":
        work.failure_reason = work.failure_message = ""
