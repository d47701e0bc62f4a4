"""How long the contracts let each route take, and which of them took longer."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gateway import search, view360
from gateway.contracts import load
from gateway.routes import routes
from gateway.templates import Tree, parse

ALLOWANCE = 1.5
"""Seconds beyond the deadline for the answer's own way: the gateway waits 0.25 s for what a service says about its deadline,
the rest is for a machine on which everything runs side by side with what tries it."""


@dataclass(frozen=True)
class Attempt:
    """One request and how it ended. Times are monotonic seconds."""

    method: str
    path: str
    began: float
    ended: float
    status: int
    """0 when there was no answer."""
    number: int = 1
    """Counts the attempts at the same request."""

    @property
    def seconds(self) -> float:
        return self.ended - self.began


class Deadlines:
    """The deadlines of all routes, read from the contracts."""

    def __init__(self) -> None:
        contracts = load()
        self._tree: Tree[float] = Tree()
        for route in routes(contracts):
            self._tree.add(route.template, route.http_method, route.method.deadline)
        customer = contracts.named("kehu.customers.v1.CustomerService.GetCustomer")
        assert customer is not None
        self._tree.add(parse(view360.PATH), "GET", customer.deadline)
        self._tree.add(
            parse(search.PATH), "GET", max(one.deadline for one in contracts.methods if one.searched)
        )

    def of(self, method: str, path: str) -> float:
        """Seconds. Raises KeyError for what is no route."""
        found = self._tree.find(path.partition("?")[0].encode())
        if found is None:
            raise KeyError(path)
        return found[0][method]


def late_faults(
    attempts: Iterable[Attempt],
    deadlines: Deadlines,
    excused: Sequence[tuple[float, float]] = (),
    allowance: float = ALLOWANCE,
) -> list[str]:
    """The requests that took longer than their deadline and the allowance.

    `excused` are spans of monotonic seconds in which nobody could be answered, as when the gateway itself stands still.
    """
    faults: list[str] = []
    for one in attempts:
        deadline = deadlines.of(one.method, one.path)
        lost = sum(max(0.0, min(one.ended, end) - max(one.began, begin)) for begin, end in excused)
        if one.seconds - lost > deadline + allowance:
            faults.append(
                f"{one.method} {one.path} took {one.seconds:.1f} s to {one.status}, its deadline is {deadline:.0f} s"
            )
    return faults
