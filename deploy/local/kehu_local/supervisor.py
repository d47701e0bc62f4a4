"""Keeps the suite running: what crashes is started again, later and later while it keeps crashing."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from kehu_local.processes import StartFailed
from kehu_local.suite import Suite

log = logging.getLogger(__name__)

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
SETTLED = 60.0
"""Seconds after which a crash counts as the first again."""
_LOOK = 0.25


@dataclass
class _Watched:
    name: str
    alive: Callable[[], bool]
    start: Callable[[], None]
    pause: float = FIRST_PAUSE
    due: float | None = None
    """When it is to be started again; None while it runs."""
    started: float = 0.0

    def look(self, now: float) -> None:
        if self.alive():
            if now - self.started > SETTLED:
                self.pause = FIRST_PAUSE
            return
        if self.due is None:
            log.warning("%s has ended; it is started again in %.1f s", self.name, self.pause)
            self.due = now + self.pause
            self.pause = min(self.pause * 2, LONGEST_PAUSE)
        if now < self.due:
            return
        self.due = None
        self.started = now
        try:
            self.start()
        except StartFailed as problem:
            log.error("%s", problem)


def watch(suite: Suite, ended: threading.Event) -> None:
    """Starts again what ends, until the event is set."""
    watched = [_Watched(part.name, lambda part=part: part.alive, part.process.start) for part in suite.parts]
    if suite.nats is not None:
        watched.insert(0, _Watched("NATS", lambda nats=suite.nats: nats.alive, suite.nats.start))
    if suite.postgres is not None:
        watched.insert(
            0, _Watched("PostgreSQL", lambda server=suite.postgres: server.alive, suite.postgres.start)
        )
    now = time.monotonic()
    for one in watched:
        one.started = now
    while not ended.wait(_LOOK):
        for one in watched:
            one.look(time.monotonic())
