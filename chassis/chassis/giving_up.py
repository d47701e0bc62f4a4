"""When work on many records is given up: where it has failed at the same place again and again."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from chassis.errors import Code, Conflict, Problem, Unavailable

MOST_FAILURES = 5
FAULT = "INTERNAL"
"""Why it is given up then."""


class Overtaken(Conflict):
    """Somebody else carries the work on. The job comes again all the same: should they die, nobody else would."""

    reason = "RECORD_BUSY"

    def __init__(self) -> None:
        super().__init__("Somebody else carries this work on.")


def lies_in_the_service(error: Exception) -> bool:
    """Whether a failure is a fault, and no Problem that the work or the moment explains."""
    return not isinstance(error, Problem) or error.code is Code.INTERNAL


@asynccontextmanager
async def giving_up(
    one_more: Callable[[Exception], Awaitable[bool]],
    counts: Callable[[Exception], bool] = lies_in_the_service,
) -> AsyncGenerator[None]:
    """Asks `one_more`, which counts it, whether a failure in the block is one too many: then the block ends as if it had not
    failed, else the job comes again by it. What does not count is raised as it is."""
    try:
        yield
    except Exception as error:
        if not counts(error) or not await one_more(error):
            raise


class Unreadable(Unavailable):
    """This replica does not know what is wanted. One that has begun to run a newer version does: the job comes again, for as long
    as an upgrade takes."""

    def __init__(self, why: Problem) -> None:
        super().__init__(f"This version of the service cannot do this work: {why.message}")


MOST_UNREAD = 20
"""A quarter of an hour, by the pauses between the tries of a job."""


def counted(error: Exception) -> bool:
    """Whether a failure is a fault, or says that the work cannot be read."""
    return lies_in_the_service(error) or isinstance(error, Unreadable)


def one_too_many(work: Any, done: int, what: str, most: int = MOST_FAILURES) -> bool:
    """Counts a failure of the work behind so many records; `what` says which, as in `The import stopped behind 500 rows`. True
    when it was one too many, and the work says why it ended."""
    if not failed_again(work, done, most):
        return False
    work.failure_reason = FAULT
    work.failure_message = f"{what} because of a fault of the service."
    return True


def failed_again(work: Any, done: int, most: int = MOST_FAILURES) -> bool:
    """Counts a failure of the work behind so many records; true when it has failed there once too often."""
    work.failures = work.failures + 1 if work.failed_at == done else 1
    work.failed_at = done
    return work.failures >= most


def begun_again(work: Any) -> None:
    """The undoing of ended work begins: what failed before counts no more. Why the work itself has failed stays."""
    work.failures, work.failed_at = 0, -1
    if work.state != "FAILED":
        work.failure_reason = work.failure_message = ""
