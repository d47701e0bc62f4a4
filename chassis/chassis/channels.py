"""How channels to services come back after a restart, and what a call does that finds its channel still waiting.

A channel that was refused pauses before it tries again. A service that has just come back is therefore not reached at once
by everyone: without more, a person whose change went through one service could find another still unable to read it.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import grpc
import grpc.aio

RECONNECTION: Sequence[tuple[str, Any]] = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
    # How long one attempt may take: on a busy machine a handshake needs more than the first pause.
    ("grpc.min_reconnect_backoff_ms", 2_000),
)
"""Options of a channel between parts of the suite."""

PATIENCE = 1.0
"""Seconds a call waits for a channel between two attempts: the longest pause with its variance, and an attempt."""


class Link:
    """A channel, with one wait for its return that all calls share. Make it inside the running loop."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        self._back: asyncio.Task[None] | None = None

    async def reached(self, patience: float = PATIENCE) -> float:
        """Waits up to `patience` seconds for a channel that pauses between attempts, and not at all for any other.

        Nothing has been sent yet, so this is safe for writes too. Returns the seconds it took. When the service stays away,
        the call that follows fails at once.
        """
        away = grpc.ChannelConnectivity.TRANSIENT_FAILURE
        if patience <= 0 or self.channel.get_state(try_to_connect=True) is not away:
            return 0.0
        if self._back is None or self._back.done():
            self._back = asyncio.create_task(self.channel.wait_for_state_change(away))
        began = time.monotonic()
        await asyncio.wait([self._back], timeout=patience)
        return time.monotonic() - began

    async def close(self) -> None:
        """Ends the channel; calls still in work fail."""
        if self._back is not None:
            self._back.cancel()
            await asyncio.wait([self._back])
        await self.channel.close(None)
