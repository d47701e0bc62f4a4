"""Who comes in when more is asked than can be done, and who is served next: a fair share for every tenant.

A request has a place in the gateway until it is answered, and a seat at a service while that works for it. Both are given by
a rule of shared buffers (Choudhury and Hahne, Dynamic Queue Length Thresholds, 1998): a tenant may hold as many as are still
free. One that floods the gateway leaves half of them to the others, and two leave a third.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

HOLD = 0.5
"""Seconds after which a seat is passed on though its request goes on: such a request waits for something, it does not work."""
PATIENCE = 2.0
"""Seconds that a request waits for a seat at most."""
_CONTENDED = 1.0
"""Seconds for which a service counts as shared after requests of two tenants followed each other."""
_BESIDE_OTHERS = 3
"""Beside others a tenant may hold this part of the seats that are free: each of them is time that others wait."""


@dataclass(eq=False, slots=True)
class Held:
    """A place or a seat. `leave` must follow, and may be repeated."""

    tenant: str
    give_back: "Callable[[Held], None]"
    since: float = 0.0
    """When it was given, in the loop's seconds. Places do not know."""
    gone: bool = False

    def leave(self) -> None:
        """Gives it to others."""
        if not self.gone:
            self.gone = True
            self.give_back(self)


@dataclass
class Places:
    """The places of one gateway. Used from one loop only."""

    limit: int
    """Requests inside at once, waiting or served."""
    inside: int = 0
    _held: dict[str, int] = field(default_factory=dict[str, int])

    def enter(self, tenant: str) -> Held | None:
        """A place for a request of that tenant; None when it has its share. Strangers share the tenant ''."""
        mine = self._held.get(tenant, 0)
        if mine >= self.limit - self.inside:
            return None
        self.inside += 1
        self._held[tenant] = mine + 1
        return Held(tenant, self._left)

    def _left(self, place: Held) -> None:
        self.inside -= 1
        _one_less(self._held, place.tenant)


@dataclass
class Seats:
    """The seats at one service. Whoever finds none waits, and they go round the tenants that wait, one each."""

    limit: int
    """Requests the service works for at once, as far as they do not last."""
    _seated: OrderedDict[Held, None] = field(default_factory=OrderedDict[Held, None])
    """In the order in which they were seated."""
    _held: dict[str, int] = field(default_factory=dict[str, int])
    _waiting: OrderedDict[str, deque[asyncio.Future[Held]]] = field(
        default_factory=OrderedDict[str, "deque[asyncio.Future[Held]]"]
    )
    """By tenant, in the order in which the tenants have their turn."""
    _timer: asyncio.TimerHandle | None = None
    _latest: str = ""
    _changed: float = float("-inf")
    """When a tenant asked that was not the one before."""

    async def sit(self, tenant: str) -> Held:
        """A seat for a request of that tenant. Raises TimeoutError when it has no turn in time."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        if tenant != self._latest:
            self._latest, self._changed = tenant, now
        if tenant not in self._waiting and self._may_sit(tenant, now):
            return self._sit(tenant, now)
        turn: asyncio.Future[Held] = loop.create_future()
        self._waiting.setdefault(tenant, deque()).append(turn)
        self._watch(loop)
        try:
            async with asyncio.timeout(PATIENCE):
                return await turn
        except BaseException:
            if turn.done() and not turn.cancelled():
                turn.result().leave()  # its turn came in the moment in which it gave up
            raise

    def _may_sit(self, tenant: str, now: float) -> bool:
        free = self.limit - len(self._seated)
        mine = self._held.get(tenant, 0)
        return mine * (_BESIDE_OTHERS if now - self._changed < _CONTENDED else 1) < free

    def _sit(self, tenant: str, now: float) -> Held:
        seat = Held(tenant, self._left, now)
        self._seated[seat] = None
        self._held[tenant] = self._held.get(tenant, 0) + 1
        return seat

    def _left(self, seat: Held) -> None:
        if seat in self._seated:
            self._stand_up(seat)
            if self._waiting:
                self._seat_next(asyncio.get_running_loop().time())

    def _stand_up(self, seat: Held) -> None:
        del self._seated[seat]
        _one_less(self._held, seat.tenant)

    def _seat_next(self, now: float) -> None:
        while (tenant := next((one for one in self._waiting if self._may_sit(one, now)), None)) is not None:
            queue = self._waiting.pop(tenant)
            turn = queue.popleft()
            if queue:
                self._waiting[tenant] = queue
            if not turn.done():
                turn.set_result(self._sit(tenant, now))

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """While somebody waits, seats are taken from those who have had them long."""
        if self._timer is None:
            oldest = next(iter(self._seated))
            self._timer = loop.call_at(oldest.since + HOLD, self._pass_on, loop)

    def _pass_on(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        now = loop.time()
        while self._seated and (oldest := next(iter(self._seated))).since + HOLD <= now + 0.001:
            self._stand_up(oldest)
        self._seat_next(now)
        if self._waiting:
            self._watch(loop)


def _one_less(held: dict[str, int], tenant: str) -> None:
    if held[tenant] > 1:
        held[tenant] -= 1
    else:
        del held[tenant]
