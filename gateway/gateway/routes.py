"""Routes made from the contracts: every google.api.http rule becomes one, so a new RPC needs no line here."""

import mimetypes
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from google.api import http_pb2, httpbody_pb2  # pyright: ignore[reportMissingTypeStubs]
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from chassis.callers import counted
from chassis.validation.rules import rules_of
from chassis.wire import descriptor_of, to_json
from gateway import form_pages, forms
from gateway.backends import Backends, Metadata, not_installed
from gateway.bindings import Binding
from gateway.contracts import Contracts, Method
from gateway.downloads import Download
from gateway.exchanges import JSON, Answer, Exchange, Headers, Served, media_type
from gateway.limits import JSON_BYTES, UPLOAD_BYTES, Limits
from gateway.sessions import Sessions
from gateway.templates import Template, Tree, parse
from gateway.uploads import Upload

_VERBS = ("get", "put", "post", "delete", "patch")


@dataclass(frozen=True)
class Route:
    """One HTTP method on one path."""

    http_method: str
    template: Template
    method: Method
    binding: Binding
    response_body: str

    @property
    def is_upload(self) -> bool:
        """Whether the body may be a file."""
        return any(
            field.type == FieldDescriptor.TYPE_BYTES for field in descriptor_of(self.method.request).fields
        )

    @property
    def answers_etag(self) -> bool:
        """Whether its answer has an entity tag."""
        return "etag" in descriptor_of(self.method.answer).fields_by_name


@cache
def routes(contracts: Contracts) -> tuple[Route, ...]:
    """The routes of all contracts, in the order of the files. Raises ValueError for a rule that cannot be
    served.
    """
    return tuple(_route(method, rule) for method in contracts.methods for rule in method.rules)


def _route(method: Method, rule: http_pb2.HttpRule) -> Route:
    pattern = rule.WhichOneof("pattern")
    if pattern == "custom":
        http_method, path = rule.custom.kind, rule.custom.path
    elif pattern in _VERBS:
        http_method, path = pattern.upper(), str(getattr(rule, pattern))
    else:
        raise ValueError(f"{method.full_name} has an http rule without a path")
    template = parse(path)
    try:
        binding = Binding(method.request, template, http_method, rule.body)
    except ValueError as error:
        raise ValueError(f"{method.full_name}: {error}") from None
    return Route(http_method, template, method, binding, rule.response_body)


class Call:
    """Serves one route: who asks, how much, what, and the answer."""

    def __init__(self, route: Route, backends: Backends, sessions: Sessions, limits: Limits) -> None:
        self._route = route
        self._method = route.method
        self._binding = route.binding
        self._backends = backends
        self._sessions = sessions
        self._limits = limits
        self._max_body = UPLOAD_BYTES if route.is_upload else JSON_BYTES
        answer = descriptor_of(route.method.answer)
        self._has_etag = route.answers_etag
        self._reads_http = route.http_method == "GET"
        self._redirect = next((f.name for f in answer.fields if rules_of(f).form_redirect), None)
        self._text = next((f.name for f in answer.fields if rules_of(f).form_text), None)
        self._is_file = answer.full_name == httpbody_pb2.HttpBody.DESCRIPTOR.full_name
        self._after = sessions.after(route.method)
        self._download = Download(route.method, backends, sessions, limits)
        self._upload = Upload(route.method, route.binding, backends, sessions, limits)

    async def __call__(self, exchange: Exchange) -> Answer | None:
        method = self._method
        exchange.rpc = method.path
        if not self._backends.installed(method.domain):
            raise not_installed(method.domain)
        began = time.monotonic()
        caller = await self._sessions.caller(exchange, method)
        waited = time.monotonic() - began
        self._limits_of(exchange, None if caller is None else caller.key)
        metadata: Metadata = (("traceparent", exchange.traceparent),)
        if caller is not None:
            metadata = (("authorization", caller.authorization), *metadata)
        if method.takes_parts:
            tenant = "" if caller is None else caller.who.tenant
            return self._answer(exchange, await self._upload.take(exchange, metadata, tenant))
        request = self._binding.bind(exchange, await self._body(exchange))
        if method.streams:
            await self._download.send(
                exchange, request, metadata, "" if caller is None else caller.who.tenant
            )
            return None
        began = time.monotonic()
        seat = await self._limits.seat(method.domain, "" if caller is None else caller.who.tenant)
        try:
            waited += time.monotonic() - began
            beside: dict[str, str] = {}
            message = await self._backends.call(method, request, metadata, waited=waited, beside=beside)
        finally:
            seat.leave()
        answer = self._answer(exchange, message)
        answer.headers.extend(
            (name.encode(), told.encode("ascii", "ignore")) for name, told in beside.items()
        )
        if self._after is not None:
            self._after(exchange, request, message, answer)
        return answer

    def _limits_of(self, exchange: Exchange, key: str | None) -> None:
        if key is not None:
            self._limits.callers.check(key, "requests")
        elif self._method.reads:
            self._limits.strangers.check(counted(exchange.client), "requests from this address")
        else:
            self._limits.doors.check(counted(exchange.client), "attempts from this address")

    async def _body(self, exchange: Exchange) -> bytes:
        length = exchange.headers.get(b"content-length", b"0")
        chunked = b"transfer-encoding" in exchange.headers
        if self._max_body == JSON_BYTES or (
            not chunked and len(length) < 12 and length.isdigit() and int(length) <= JSON_BYTES
        ):
            return await exchange.body(self._max_body) if chunked or length != b"0" else b""
        self._limits.uploads.enter()
        try:
            return await exchange.body(self._max_body)
        finally:
            self._limits.uploads.leave()

    def _answer(self, exchange: Exchange, message: Message) -> Answer:
        if self._is_file:
            return _file(exchange, message)
        found: Any = message
        if self._redirect is not None and media_type(exchange) in (forms.URLENCODED, forms.MULTIPART):
            location = str(getattr(found, self._redirect))
            if location.startswith(("https://", "http://")):
                return Answer(303, [(b"location", location.encode("ascii", "ignore"))])
        if self._text is not None and form_pages.wanted(exchange):
            return form_pages.done(str(getattr(found, self._text)))
        headers: Headers = [(b"content-type", JSON)]
        if self._has_etag and found.etag:
            etag = b'"' + found.etag.encode("ascii", "replace").replace(b'"', b"") + b'"'
            headers.append((b"etag", etag))
            if self._reads_http:
                headers.append((b"cache-control", b"private, no-cache"))
                if _matches(exchange.headers.get(b"if-none-match"), etag):
                    return Answer(304, headers[1:])
                return Answer(200, headers, to_json(message))
        headers.append((b"cache-control", b"no-store"))
        if self._route.response_body:
            return Answer(200, headers, to_json(getattr(found, self._route.response_body)))
        return Answer(200, headers, to_json(message))


def _matches(header: bytes | None, etag: bytes) -> bool:
    if header is None:
        return False
    return header.strip() == b"*" or etag in (part.strip().removeprefix(b"W/") for part in header.split(b","))


_SHOWN = (
    "text/html",
    "text/plain",
    "application/json",
    "text/javascript",
    "text/css",
    "image/png",
    "image/gif",
)
"""Kinds a browser may show in its window; all others are saved to a file."""


def _file(exchange: Exchange, message: Any) -> Answer:
    """A google.api.HttpBody as it is. Pages run in a sandbox: what they hold may come from anyone."""
    kind = str(message.content_type) or "application/octet-stream"
    plain = kind.partition(";")[0].strip().lower()
    headers: Headers = [
        (b"content-type", "".join(c for c in kind if c.isprintable()).encode("latin-1", "ignore")),
        (b"cache-control", b"no-store"),
    ]
    if plain in _SHOWN:
        headers.append(
            (
                b"content-security-policy",
                b"sandbox allow-forms; default-src 'none'; style-src 'unsafe-inline'",
            )
        )
    else:
        stem = exchange.segments[-1] if exchange.segments else "download"
        name = "".join(c for c in stem if c.isascii() and (c.isalnum() or c in "-_")) or "download"
        ending = mimetypes.guess_extension(plain) or ""
        headers.append((b"content-disposition", f'attachment; filename="{name}{ending}"'.encode()))
    return Answer(200, headers, bytes(message.data))


def tree_of(
    found: Sequence[Route],
    backends: Backends,
    sessions: Sessions,
    limits: Limits,
    more: list[tuple[str, str, Served]],
) -> Tree[Served]:
    """Where every route is served. `more` are `(HTTP method, path template, what is served)` made by hand.

    Raises ValueError when two routes want the same place.
    """
    tree: Tree[Served] = Tree()
    for route in found:
        tree.add(route.template, route.http_method, Call(route, backends, sessions, limits))
    for http_method, path, served in more:
        tree.add(parse(path), http_method, served)
    return tree
