"""How much one caller may ask for: requests a second, bodies, and how many requests are inside at once.

Whoever asks for more is answered at once, with the time after which asking again makes sense. Buckets are
kept by this process: with several gateways the limits hold for each.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.problems import Refusal
from gateway.turns import Held, Places, Seats

JSON_BYTES = 1024 * 1024
UPLOAD_BYTES = 32 * 1024 * 1024
MAX_UPLOADS = 8
"""Bodies above JSON_BYTES in work at once: they are held in memory."""

FILE_BYTES = 50 * 1024 * 1024
"""Of a file that is passed on as it comes, unless the operator says otherwise."""
MAX_ARRIVALS = 32
"""Such files on their way in at once. Of each no more than a part is in memory."""
MAX_DOWNLOADS = 32
"""Files on their way out at once. Of each no more than a part is in memory."""


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled: float


@dataclass
class RateLimit:
    """A token bucket per key. `clock` gives seconds and is there for tests."""

    rate: float
    """Tokens a second."""
    burst: float
    """Tokens a bucket holds."""
    keys: int = 20_000
    """Buckets kept; the one longest unused goes first. A bucket that went is a full one."""
    clock: Callable[[], float] = time.monotonic
    _buckets: OrderedDict[str, _Bucket] = field(default_factory=OrderedDict[str, _Bucket])

    def take(self, key: str) -> float:
        """Takes one token: 0.0 when there was one, else the seconds until there is."""
        now = self.clock()
        bucket = self._buckets.get(key)
        if bucket is None:
            if len(self._buckets) >= self.keys:
                self._buckets.popitem(last=False)
            bucket = self._buckets[key] = _Bucket(self.burst, now)
        else:
            self._buckets.move_to_end(key)
            bucket.tokens = min(self.burst, bucket.tokens + (now - bucket.filled) * self.rate)
            bucket.filled = now
        if bucket.tokens >= 1.0:
            bucket.tokens -= 1.0
            return 0.0
        return (1.0 - bucket.tokens) / self.rate

    def check(self, key: str, what: str) -> None:
        """Raises Refusal 429 when the key has no token left. `what` says what there was too much of."""
        wait = self.take(key)
        if wait:
            text = f"Too many {what}: try again in {wait:.1f} seconds."
            raise Refusal(429, "RATE_LIMITED", text, retry_after=wait)


@dataclass
class Gate:
    """How many things may be in work at once. Entering never waits."""

    limit: int
    reason: str
    words: str
    inside: int = 0

    def enter(self) -> None:
        """Raises Refusal 503 when the gate is full; otherwise `leave` must follow."""
        if self.inside >= self.limit:
            raise Refusal(503, self.reason, self.words, retry_after=1.0)
        self.inside += 1

    def leave(self) -> None:
        self.inside -= 1


def too_busy() -> Refusal:
    """The answer to what is too much at the moment, whoever sent it."""
    text = "Too many requests are in work at the moment. Try again."
    return Refusal(503, "TOO_BUSY", text, retry_after=1.0)


@dataclass
class Limits:
    """All limits of one gateway."""

    callers: RateLimit
    """Requests of one signed-in person or key."""
    strangers: RateLimit
    """Requests without sign-in of one address, to public methods that only read."""
    doors: RateLimit
    """Sign-ins and posted public forms of one address."""
    places: Places
    uploads: Gate
    streams: Gate
    downloads: Gate
    arrivals: Gate
    file_bytes: int
    seats_each: int
    """Seats at each service."""
    _seats: dict[str, Seats] = field(default_factory=dict[str, Seats])

    async def seat(self, domain: str, tenant: str) -> Held:
        """A seat at that domain's service for a request of that tenant, which waits for it.

        Raises Refusal 503 when there was none in time.
        """
        seats = self._seats.get(domain)
        if seats is None:
            seats = self._seats[domain] = Seats(self.seats_each)
        try:
            return await seats.sit(tenant)
        except TimeoutError:
            raise too_busy() from None

    @classmethod
    def standard(
        cls,
        *,
        rate: float,
        door_rate: float,
        places: int,
        seats: int,
        streams: int,
        file_bytes: int = FILE_BYTES,
    ) -> "Limits":
        """Limits with bursts of two seconds for callers and of a minute for the doors.

        `rate` in requests a second, `door_rate` in requests a minute.
        """
        return cls(
            callers=RateLimit(rate, rate * 2),
            strangers=RateLimit(rate / 4, rate / 2),
            doors=RateLimit(door_rate / 60, door_rate),
            places=Places(places),
            uploads=Gate(MAX_UPLOADS, "TOO_BUSY", "Too many uploads are in work at the moment. Try again."),
            streams=Gate(streams, "TOO_MANY_STREAMS", "Too many live streams are open. Try again later."),
            downloads=Gate(
                MAX_DOWNLOADS, "TOO_BUSY", "Too many files are being sent at the moment. Try again."
            ),
            arrivals=Gate(MAX_ARRIVALS, "TOO_BUSY", "Too many files are coming in at the moment. Try again."),
            file_bytes=file_bytes,
            seats_each=seats,
        )
