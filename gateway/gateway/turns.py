"""Who comes in when more is asked than can be done, and who is served next: a fair share for every tenant.

A request has a place in the gateway until it is answered, and a seat while it is served. Places are given by a rule of shared
buffers (Choudhury and Hahne, Dynamic Queue Length Thresholds, 1998): a tenant may hold as many as are still free, so one that
floods the gateway leaves half of them to the others, and two leave a third. Seats go round the tenants that wait, one each.
"""

import asyncio
from collections import OrderedDict, deque
from dataclasses import dataclass, field

HOLD = 0.05
"""Seconds after which a seat is passed on though its request goes on: such a request waits for something, it does not work."""


@dataclass(eq=False, slots=True)
class Place:
    """A request inside. `leave` must follow, and may be repeated."""

    turns: "Turns"
    tenant: str
    seated: float = 0.0
    """When it was given its seat, in the loop's seconds."""
    gone: bool = False

    async def seat(self) -> None:
        """Waits for its turn."""
        turn = self.turns.ask(self)
        if turn is not None:
            await turn

    def leave(self) -> None:
        """Gives place and seat to others."""
        if not self.gone:
            self.gone = True
            self.turns.left(self)


@dataclass
class Turns:
    """The places and seats of one gateway. Used from one loop only."""

    places: int
    """Requests inside at once, waiting or served."""
    seats: int
    """Requests served at once, as far as they do not last."""
    inside: int = 0
    _inside: dict[str, int] = field(default_factory=dict[str, int])
    """Requests inside, by tenant."""
    _seated: OrderedDict[Place, None] = field(default_factory=OrderedDict[Place, None])
    """In the order in which they were seated."""
    _waiting: OrderedDict[str, deque[tuple[Place, asyncio.Future[None]]]] = field(
        default_factory=OrderedDict[str, "deque[tuple[Place, asyncio.Future[None]]]"]
    )
    """By tenant, in the order in which the tenants have their turn."""
    _timer: asyncio.TimerHandle | None = None

    def enter(self, tenant: str) -> Place | None:
        """A place for a request of that tenant; None when it has its share. Strangers share the tenant ''."""
        mine = self._inside.get(tenant, 0)
        if mine >= self.places - self.inside:
            return None
        self.inside += 1
        self._inside[tenant] = mine + 1
        return Place(self, tenant)

    def ask(self, place: Place) -> asyncio.Future[None] | None:
        """Seats that request, or says what is done when it is."""
        loop = asyncio.get_running_loop()
        if len(self._seated) < self.seats:
            self._sit(place, loop.time())
            return None
        turn = loop.create_future()
        self._waiting.setdefault(place.tenant, deque()).append((place, turn))
        self._watch(loop)
        return turn

    def left(self, place: Place) -> None:
        """Takes back the place and the seat of a request that has left."""
        self.inside -= 1
        mine = self._inside[place.tenant] - 1
        if mine:
            self._inside[place.tenant] = mine
        else:
            del self._inside[place.tenant]
        self._seated.pop(place, None)
        if self._waiting:
            self._seat_next(asyncio.get_running_loop().time())

    def _sit(self, place: Place, now: float) -> None:
        place.seated = now
        self._seated[place] = None

    def _seat_next(self, now: float) -> None:
        while self._waiting and len(self._seated) < self.seats:
            tenant, queue = self._waiting.popitem(last=False)
            place, turn = queue.popleft()
            if queue:
                self._waiting[tenant] = queue
            if not (turn.done() or place.gone):
                self._sit(place, now)
                turn.set_result(None)

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """While somebody waits, seats are taken from those who have had them long."""
        if self._timer is None:
            oldest = next(iter(self._seated))
            self._timer = loop.call_at(oldest.seated + HOLD, self._pass_on, loop)

    def _pass_on(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        now = loop.time()
        while self._seated and (oldest := next(iter(self._seated))).seated + HOLD <= now + 0.001:
            del self._seated[oldest]
        self._seat_next(now)
        if self._waiting:
            self._watch(loop)
