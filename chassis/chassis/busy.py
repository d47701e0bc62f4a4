"""Work that finds a record held by somebody else: it is tried again for a moment before anybody is told."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from chassis.errors import Conflict

T = TypeVar("T")

_ATTEMPTS = 3


async def patiently(work: Callable[[], Awaitable[T]], pause: float = 0.02) -> T:
    """What the work gives, which is begun anew when it meets RECORD_BUSY; `pause` is the seconds before the second attempt, twice
    that before the third. Raises what it raises in the end."""
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return await work()
        except Conflict as busy:
            if attempt == _ATTEMPTS or busy.reason != "RECORD_BUSY":
                raise
            await asyncio.sleep(pause * attempt)
    raise AssertionError("unreachable")
