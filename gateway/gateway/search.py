"""Search across: what a few words find among the records of every service that runs.

Each service with a `SearchRecords` in its contracts is asked at the same time with a deadline of its own, and looks through its
records as far as the person may read them. One that is down, slow or not installed costs its own kinds of record, and the answer
names it.
"""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import orjson
from kehu.search.v1 import search_pb2 as pb

from chassis import validation
from chassis.errors import Invalid
from chassis.search import query
from chassis.wire import to_dict
from gateway import forms
from gateway.backends import Backends, Metadata
from gateway.contracts import Contracts, Method
from gateway.exchanges import JSON, Answer, Exchange
from gateway.limits import Limits
from gateway.problems import Refusal
from gateway.sessions import Sessions

PATH = "/v1/search"
_METHOD = "SearchRecords"
_SEAT = "search"
_NAMES = {"query": "q", "recordTypes": "types"}
"""Fields of the services' request, as they are called here."""


class SearchAcross:
    """Serves it."""

    def __init__(
        self, contracts: Contracts, backends: Backends, sessions: Sessions, limits: Limits, deadline: float
    ) -> None:
        # Whom one works with comes after what one works on.
        found = [method for method in contracts.methods if method.name == _METHOD]
        self._methods = sorted(found, key=lambda method: (method.domain == "identity", method.domain))
        self._places = {
            kind: place for place, kind in enumerate(kind for one in self._methods for kind in one.searched)
        }
        self._backends = backends
        self._sessions = sessions
        self._limits = limits
        self._deadline = deadline

    async def __call__(self, exchange: Exchange) -> Answer:
        exchange.rpc = "search"
        began = time.monotonic()
        caller = await self._sessions.caller(exchange)
        assert caller is not None
        self._limits.callers.check(caller.key, "requests")
        request = self._request(exchange)
        types = set(request.record_types or self._places)
        wanted = [method for method in self._methods if types & set(method.searched)]
        metadata: Metadata = (("authorization", caller.authorization), ("traceparent", exchange.traceparent))
        seat = await self._limits.seat(_SEAT, caller.who.tenant)
        try:
            waited = time.monotonic() - began
            answers = await asyncio.gather(
                *(self._part(method, request, metadata, waited) for method in wanted), return_exceptions=True
            )
        finally:
            seat.leave()
        groups: list[pb.SearchGroup] = []
        missing: list[dict[str, Any]] = []
        for method, answer in zip(wanted, answers, strict=True):
            if isinstance(answer, Refusal):
                if answer.status in (400, 401):
                    raise answer
                kinds = [kind for kind in method.searched if kind in types]
                missing.append(
                    {
                        "service": method.domain,
                        "types": kinds,
                        "reason": answer.reason,
                        "detail": answer.detail,
                    }
                )
            elif isinstance(answer, BaseException):
                raise answer
            else:
                groups += answer.groups
        groups.sort(key=lambda group: (group.hits[0].rank, self._places[group.record_type]))
        body = {"groups": [to_dict(group) for group in groups], "missing": missing}
        return Answer(200, [(b"content-type", JSON), (b"cache-control", b"no-store")], orjson.dumps(body))

    async def _part(
        self, method: Method, request: pb.SearchRecordsRequest, metadata: Metadata, waited: float
    ) -> Any:
        timeout = min(self._deadline, method.deadline)
        # A part may be missing: nobody waits longer for the others because one of the services is away.
        return await self._backends.call(method, request, metadata, timeout, patience=0.0, waited=waited)

    def _request(self, exchange: Exchange) -> pb.SearchRecordsRequest:
        """What the query asks for. Raises Invalid naming q, pageSize, types or what is no parameter."""
        text, size, types = _parameters(forms.pairs(exchange.query, "query"))
        if not size.isascii() or not size.isdigit() or len(size) > 3:
            raise Invalid("pageSize", f"is '{size[:20]}' and no number of records")
        unknown = [kind for kind in types if kind not in self._places]
        if unknown:
            known = ", ".join(self._places)
            raise Invalid("types", f"there is no '{unknown[0][:50]}' to look through; there are: {known}")
        request = pb.SearchRecordsRequest(
            query=text, page_size=int(size), record_types=list(dict.fromkeys(types))
        )
        try:
            validation.check(request)
        except Invalid as error:
            named = [replace(one, field=_NAMES.get(one.field, one.field)) for one in error.violations]
            raise Invalid.of(named) from None
        if query(text, "q") is None:
            raise Invalid("q", "holds no word to look for")
        return request


def _parameters(pairs: Iterable[tuple[str, str]]) -> tuple[str, str, list[str]]:
    """The texts of q, pageSize and types. Raises Invalid for others, and for what is given twice."""
    once: dict[str, str] = {}
    types: list[str] = []
    for name, value in pairs:
        if name == "types":
            types += value.split(",")
        elif name not in ("q", "pageSize"):
            raise Invalid(
                name[:100] or "(empty name)", "is no parameter of search: there are q, pageSize and types"
            )
        elif name in once:
            raise Invalid(name, "is given twice")
        else:
            once[name] = value
    if "q" not in once:
        raise Invalid("q", "is required: the words to look for")
    return once["q"], once.get("pageSize") or "0", types
