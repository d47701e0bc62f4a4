"""Started as a program: a service or the gateway as `python -m` starts it, which says what it has under way, and has the bugs
that are planted into it. Nothing of this is in what it starts; it is put around it in this process.

    python gauged.py MODULE FILE [PLANT …] -- [ARGUMENT …]

Twice a second FILE is written anew: how many tasks of each kind of coroutine have not ended, as JSON.
"""

import asyncio
import json
import os
import runpy
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

_EVERY = 0.5


def tasks() -> Counter[str]:
    """Tasks that have not ended, by the name of what they run. Callable from any thread."""
    everyone: Any = vars(asyncio.tasks)["_all_tasks"]
    for _ in range(1000):
        try:
            found = list(everyone)
            break
        except RuntimeError:  # the loop has made or ended one meanwhile
            continue
    else:
        return Counter()
    return Counter(str(getattr(one.get_coro(), "__qualname__", "?")) for one in found if not one.done())


def tell(file: Path) -> None:
    """Writes down what there is, for ever."""
    fresh = file.with_suffix(".new")
    while True:
        fresh.write_text(json.dumps({"at": time.time(), "pid": os.getpid(), "tasks": tasks()}))
        fresh.rename(file)
        time.sleep(_EVERY)


def leaked_tasks() -> None:
    """Every call of a service leaves a task that waits for what never comes."""
    _around_calls(lambda: _kept.append(asyncio.ensure_future(_forever())))


def leaked_files() -> None:
    """Every call of a service leaves a file open."""
    _around_calls(lambda: os.dup(1))


def leaked_memory() -> None:
    """Every call of a service leaves 400 KB."""
    _around_calls(lambda: _kept.append(os.urandom(400_000)))


async def _forever() -> None:
    await asyncio.get_running_loop().create_future()


_kept: list[Any] = []


def _around_calls(do: Callable[[], Any]) -> None:
    import chassis.rpc.server

    serve = chassis.rpc.server.serve_call

    async def served(*said: Any) -> Any:
        do()
        return await serve(*said)

    chassis.rpc.server.serve_call = served


def no_deadline() -> None:
    """A gateway that waits for its services as long as it takes."""
    from gateway.backends import Backends

    plain: Any = Backends.call
    backends: Any = Backends

    async def call(self: Any, method: Any, request: Any, metadata: Any, *_: Any, **__: Any) -> Any:
        return await plain(self, method, request, metadata, timeout=3600.0)

    backends.call = call


def no_drain() -> None:
    """A service that ends at once when it is asked to end."""
    from chassis.service import Running

    running: Any = Running

    async def stop(self: Any) -> None:
        os._exit(0)

    running.stop = stop


PLANTS: dict[str, Callable[[], None]] = {
    plant.__name__: plant for plant in (leaked_tasks, leaked_files, leaked_memory, no_deadline, no_drain)
}

if __name__ == "__main__":
    module, where, *rest = sys.argv[1:]
    end = rest.index("--")
    plants, arguments = rest[:end], rest[end + 1 :]
    sys.argv = [module, *arguments]
    for plant in plants:
        PLANTS[plant]()
    threading.Thread(target=tell, args=(Path(where),), daemon=True).start()
    runpy.run_module(module, run_name="__main__", alter_sys=True)
