"""One JSON line a request on standard output, written in batches: a write a request would cost more than
the request's own bookkeeping.
"""

import asyncio
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import BinaryIO

import orjson

from gateway.exchanges import Exchange

_EVERY = 0.25
"""Seconds that lines wait at the most."""
_AT_ONCE = 256


@dataclass
class AccessLog:
    """Writes to `out`, or nothing when it is None. What a person sent or got never stands in it, nor the
    query.
    """

    out: BinaryIO | None = field(default_factory=lambda: sys.stdout.buffer)
    _lines: list[bytes] = field(default_factory=list[bytes])
    _timer: asyncio.TimerHandle | None = None
    _turned_away: int = 0

    def write(self, exchange: Exchange, method: str, status: int, seconds: float) -> None:
        """Notes one request. Must be called in the running loop."""
        if self.out is None:
            return
        line = {
            "time": datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="milliseconds"),
            "level": "INFO",
            "message": "request",
            "method": method[:20],
            "path": exchange.path[:300],
            "rpc": exchange.rpc,
            "status": status,
            "ms": round(seconds * 1000, 2),
            "client": exchange.client,
            "person": exchange.person,
            "trace_id": exchange.trace_id,
        }
        self._lines.append(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
        if len(self._lines) >= _AT_ONCE:
            self.flush()
        else:
            self._soon()

    def turned_away(self) -> None:
        """Counts a request that was not let in. They get one line together: there may be thousands a second."""
        if self.out is not None:
            self._turned_away += 1
            self._soon()

    def _soon(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_EVERY, self.flush)

    def flush(self) -> None:
        """Writes what waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._turned_away:
            line = {
                "time": datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="milliseconds"),
                "level": "WARNING",
                "message": "requests turned away: too many are in work",
                "status": 503,
                "count": self._turned_away,
            }
            self._turned_away = 0
            self._lines.append(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
        if self.out is not None and self._lines:
            lines, self._lines = self._lines, []
            try:
                self.out.write(b"".join(lines))
                self.out.flush()
            except (OSError, ValueError):
                # Nobody reads standard output any more. That is no reason to refuse requests.
                self.out = None
