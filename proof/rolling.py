"""Restarts as a Kubernetes rolling update does them: the new process is ready first, then the old one is told to end.

A link stands for the Service before the pods: new connections go to the process that is ready, those that exist stay where
they are until the old process ends them. The link turns to the new one some time after the old one was told, since on a
cluster both happen at once and the balancers are the slower.
"""

import time
from collections.abc import Iterable
from dataclasses import replace

from kehu_local.probes import ready, serving
from kehu_local.processes import free_ports
from kehu_local.suite import Part, Suite
from proof.links import Link

LAG = 0.5
"""Seconds after which balancers have heard that a process ends."""


def successor(suite: Suite, part: Part) -> Part:
    """A second process of the same service or of the gateway, at an address of its own; not started yet."""
    address = f"127.0.0.1:{free_ports(1)[0]}"
    process = replace(part.process, environment={**part.process.environment, "KEHU_LISTEN": address})
    if part is suite.gateway:
        return Part(part.name, address, process, lambda: ready(f"http://{address}"))
    return Part(part.name, address, process, lambda: serving(address))


def roll(suite: Suite, part: Part, links: Iterable[Link], lag: float = LAG) -> float:
    """Puts a new process in the place of that one; `links` lead to it, and turn to the new one after `lag` seconds. Answers
    the seconds the old one took to end.

    Raises StartFailed when the new one does not come up; the old one then runs on.
    """
    new = successor(suite, part)
    new.start()
    began = time.monotonic()
    part.process.ask_to_stop()
    time.sleep(lag)  # what balancers need is part of what is tried
    for link in links:
        link.target = new.address
    part.process.wait_stopped(30)
    part.address, part.process, part.ready = new.address, new.process, new.ready
    return time.monotonic() - began
