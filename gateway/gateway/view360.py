"""The customer 360° view, composed from every service that runs.

Customers decides whether the person may see the customer at all. Beside it, each service with a `GetCustomerFacet` in its
contracts is asked at the same time with a deadline of its own; one that is down, slow, not installed or closed to the person
costs its section only, and the answer names it.
"""

import asyncio
import time
from typing import Any

import orjson

from chassis.wire import to_dict
from gateway.backends import Backends, Metadata
from gateway.contracts import Contracts, Method
from gateway.exchanges import JSON, Answer, Exchange
from gateway.limits import Limits
from gateway.problems import Refusal
from gateway.sessions import Sessions

PATH = "/v1/customers/{id}:view360"


class View360:
    """Serves the view. Raises LookupError at start-up when the contracts have no customers."""

    def __init__(
        self, contracts: Contracts, backends: Backends, sessions: Sessions, limits: Limits, deadline: float
    ) -> None:
        customer = contracts.named("kehu.customers.v1.CustomerService.GetCustomer")
        if customer is None:
            raise LookupError("the contracts have no CustomerService.GetCustomer")
        self._customer = customer
        self._facets = contracts.facets
        self._backends = backends
        self._sessions = sessions
        self._limits = limits
        self._deadline = deadline

    @property
    def facets(self) -> list[Method]:
        """The methods that are asked for a section each."""
        return list(self._facets)

    async def __call__(self, exchange: Exchange) -> Answer:
        exchange.rpc = "view360"
        began = time.monotonic()
        caller = await self._sessions.caller(exchange)
        assert caller is not None
        self._limits.callers.check(caller.key, "requests")
        id = exchange.segments[2]
        metadata: Metadata = (("authorization", caller.authorization), ("traceparent", exchange.traceparent))
        seat = await self._limits.seat(self._customer.domain, caller.who.tenant)
        try:
            waited = time.monotonic() - began
            customer, *sections = await asyncio.gather(
                self._backends.call(self._customer, self._customer.request(id=id), metadata, waited=waited),
                *(self._section(method, id, metadata) for method in self._facets),
                return_exceptions=True,
            )
        finally:
            seat.leave()
        if isinstance(customer, BaseException):
            raise customer
        found: dict[str, Any] = {}
        missing: list[dict[str, str]] = []
        for method, section in zip(self._facets, sections, strict=True):
            if isinstance(section, Refusal):
                missing.append({"section": method.domain, "reason": section.reason, "detail": section.detail})
            elif isinstance(section, BaseException):
                raise section
            else:
                found[method.domain] = to_dict(section)
        body = {"customer": to_dict(customer), "sections": found, "missing": missing}
        return Answer(200, [(b"content-type", JSON), (b"cache-control", b"no-store")], orjson.dumps(body))

    async def _section(self, method: Method, id: str, metadata: Metadata) -> Any:
        timeout = min(self._deadline, method.deadline)
        # A section may be missing: nobody waits longer for the view because one of its services is away.
        return await self._backends.call(
            method, method.request(customer_id=id), metadata, timeout, patience=0.0
        )
