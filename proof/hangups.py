"""Callers of the services themselves, of whom some hang up in the middle: what reaches a service as a cancelled call.

The gateway brings to its end what a client has given up, so that a write is whole; between services calls are cancelled.
"""

import asyncio
import itertools
import random
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio

from chassis.principal import IDENTITY, Issuer
from gateway.contracts import Method, load
from kehu_local.suite import Suite
from proof.beside import Beside
from proof.people import Person, principal_of

_NAMES = ("List", "Get", "Search")


def questions(domain: str) -> list[Method]:
    """Reads of that service which an administrator may ask without naming anything."""
    return [
        method
        for method in load().methods
        if method.domain == domain and method.reads and method.access.right and method.name.startswith(_NAMES)
        and any(rule.get and "{" not in rule.get for rule in method.rules)
    ]  # fmt: skip


@dataclass
class Hangups(Beside):
    """Asks every service, `workers` at a time, from entering the block to leaving it."""

    suite: Suite
    boss: Person
    chance: random.Random
    share: float = 0.1
    workers: int = 2
    asked: int = 0
    cancelled: int = 0
    strange: list[str] = field(default_factory=list[str])

    def _run(self) -> None:
        asyncio.run(self._all())

    async def _all(self) -> None:
        rpc: Any = grpc.aio
        channels = {
            domain: rpc.insecure_channel(part.address) for domain, part in self.suite.services.items()
        }
        try:
            await asyncio.gather(
                *(
                    self._ask(channels[domain], questions(domain))
                    for domain in channels
                    for _ in range(self.workers)
                )
            )
        finally:
            for channel in channels.values():
                await channel.close()

    async def _ask(self, channel: Any, methods: list[Method]) -> None:
        issuer = Issuer.from_file(IDENTITY, self.suite.keys.private(IDENTITY))
        for method in itertools.cycle(methods):
            if self._ended.is_set():
                return
            ask = channel.unary_unary(method.path, method.request.SerializeToString, method.answer.FromString)
            call = ask(
                method.request(),
                timeout=10,
                metadata=(("authorization", f"Bearer {issuer.issue(principal_of(self.suite, self.boss))}"),),
            )
            self.asked += 1
            try:
                if self.chance.random() < self.share:
                    await asyncio.sleep(self.chance.uniform(0.0, 0.01))
                    self.cancelled += bool(call.cancel())
                await call
            except asyncio.CancelledError:
                continue
            except grpc.aio.AioRpcError as error:
                if error.code() not in (
                    grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED
                ):  # fmt: skip
                    self.strange.append(f"{method.path}: {error.code().name} {error.details()}")
            await asyncio.sleep(0.02)
