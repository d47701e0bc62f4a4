"""Against floods of submissions: so many from one address, and so many to one form, in a minute, remembered by each replica for
itself."""

import time
from collections import OrderedDict, deque
from collections.abc import Callable

from marketing.errors import TooManySubmissions

MOST = 10
MOST_A_FORM = 300
"""A form that is sent from many addresses fills nobody's list without end either."""
WITHIN = 60.0
_ADDRESSES = 50_000


class Floods:
    """What came from which address, or to which form, in the last minute. They are forgotten after it."""

    def __init__(
        self, most: int = MOST, what: str = "from this address", clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._most = most
        self._what = what
        self._clock = clock
        self._seen: OrderedDict[str, deque[float]] = OrderedDict()

    def check(self, address: str) -> None:
        """Counts one submission. Raises TooManySubmissions when there were as many as may be within a minute."""
        now = self._clock()
        while self._seen:
            oldest = next(iter(self._seen.values()))
            if now - oldest[-1] < WITHIN and len(self._seen) <= _ADDRESSES:
                break
            self._seen.popitem(last=False)
        times = self._seen.setdefault(address, deque())
        while times and now - times[0] >= WITHIN:
            times.popleft()
        if len(times) >= self._most:
            raise TooManySubmissions(self._what, WITHIN - (now - times[0]))
        times.append(now)
        self._seen.move_to_end(address)

    def take_back(self, address: str) -> None:
        """One submission of that address did not count: it failed through no fault of the visitor, who will try again."""
        times = self._seen.get(address)
        if times:
            times.pop()
            if not times:
                del self._seen[address]
