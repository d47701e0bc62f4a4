"""Other programs that a service starts while it is called."""

import asyncio
import subprocess
import sys
from collections import Counter
from typing import Any

import grpc.aio
from google.protobuf.empty_pb2 import Empty

from chassis.testing import answering

CHILDREN = 300
CALLERS = 4


async def ends() -> Counter[int]:
    """How that many children ended that a server started while it was called."""
    ended: Counter[int] = Counter()
    over = asyncio.Event()

    async def call(address: str) -> None:
        options = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(address, options=options) as channel:
            anyhow: Any = channel
            ring = anyhow.unary_unary("/Bell/Ring", Empty.SerializeToString, Empty.FromString)
            while not over.is_set():
                assert await ring(Empty()) == Empty()

    async with answering({"Bell/Ring": (Empty, lambda _: Empty())}) as address, asyncio.TaskGroup() as group:
        for _ in range(CALLERS):
            group.create_task(call(address))
        for _ in range(CHILDREN):
            child = await asyncio.create_subprocess_exec("true", stderr=asyncio.subprocess.PIPE)
            await child.communicate()
            ended[await child.wait()] += 1
        over.set()
    return ended


if __name__ == "__main__":
    import uvloop

    print(dict(uvloop.run(ends())))


def test_children_started_beside_calls_live() -> None:
    """In a process of its own: what gRPC does at forks is settled when it begins."""
    done = subprocess.run([sys.executable, __file__], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == str({0: CHILDREN}), done.stdout + done.stderr[-2000:]
    assert "fork" not in done.stderr
