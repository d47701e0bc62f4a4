"""What every request passes first: host, size of the address, limits, sign-in, and what every answer carries.

One plain ASGI layer around FastAPI. Routes of the contracts are served here, at the cost of one tree walk;
everything else (documentation, pages, health) is FastAPI's.
"""

import logging
import re
import time
from collections.abc import Callable
from typing import Any

from opentelemetry.trace import SpanKind
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chassis import telemetry
from chassis.errors import Problem, Violation
from gateway import form_pages
from gateway.access_log import AccessLog
from gateway.exchanges import Answer, Exchange, Headers, Served, bad_path, header_map
from gateway.limits import Limits, too_busy
from gateway.problems import Refusal, internal, of_problem
from gateway.settings import Proxies
from gateway.templates import Tree
from gateway.turns import Held

log = logging.getLogger("gateway")

MAX_TARGET = 16 * 1024
"""Bytes of path and query."""
MAX_HEAD = 64 * 1024
"""Bytes of all headers."""
_HOST = re.compile(r"(?:[a-z0-9](?:[a-z0-9.-]{0,252}[a-z0-9])?|\[[0-9a-f:.]{2,45}\])(?::[0-9]{1,5})?")
_UNCHECKED = ("/livez", "/readyz")
"""Probes come by address, from inside the cluster."""

ALWAYS: Headers = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
_API: Headers = [(b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")]
_PAGES: Headers = [
    (
        b"content-security-policy",
        # Styles in elements are what the API's documentation is drawn with; nothing that runs comes from anywhere but here.
        b"default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self';"
        b" form-action 'self'; base-uri 'none'; object-src 'none'; frame-ancestors 'none'",
    )
]
_V1 = b"/v1/"
_SECURE: Headers = [(b"strict-transport-security", b"max-age=31536000")]


_PLACE = "kehu.place"
"""Where the scope of a request holds its place when it was given one before."""


def _whole(refusal: Refusal, more: Headers) -> bytes:
    """A refusal as it goes over the wire, with places for traceparent and trace id."""
    body = refusal.document("/v1/", "%s")
    length = len(body) - len(b"%s") + 32
    headers = [
        *refusal.headers(),
        *ALWAYS,
        *_API,
        *more,
        (b"traceparent", b"%s"),
        (b"content-length", str(length).encode()),
    ]
    lines = b"".join(b"%s: %s\r\n" % header for header in headers)
    return b"HTTP/1.1 503 Service Unavailable\r\n" + lines + b"\r\n" + body


_TURNED_AWAY = _whole(too_busy(), [])
_TURNED_AWAY_FOR_GOOD = _whole(too_busy(), [(b"connection", b"close")])


class Edge:
    """The outermost layer.

    `tree` is filled by the time requests come; `hosts` is None when any host is answered to.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        tree: Callable[[], Tree[Served]],
        limits: Limits,
        tenant_of: Callable[[Headers], str],
        hosts: frozenset[str] | None,
        proxies: Proxies,
        public_url: str = "",
        access_log: AccessLog,
    ) -> None:
        self._app = app
        self._tree = tree
        self._places = limits.places
        self._tenant_of = tenant_of
        self._hosts = hosts
        self._proxies = proxies
        self._public_url = public_url.rstrip("/")
        self._log = access_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1000})
                return
            await self._app(scope, receive, send)
            return
        exchange = self._exchange(scope, receive, send)
        if not telemetry.exporting():
            await self._answer(exchange, scope["method"])
            return
        given = exchange.headers.get(b"traceparent", b"").decode("latin-1")
        with telemetry.span(scope["method"], SpanKind.SERVER, {"traceparent": given}) as span:
            exchange.trace_id, exchange.traceparent = telemetry.trace_id(), telemetry.traceparent()
            try:
                await self._answer(exchange, scope["method"])
            finally:
                span.update_name(exchange.rpc or scope["method"])

    def admit(self, target: bytes, scope: Scope) -> bool:
        """Gives a request its place, of which so far no more is known than its head. False when it is turned away.

        So early a refusal costs a fraction of what it costs further in, and those who are inside are served while many
        times more are sent than can be. A request that nobody asked about here is asked about by the edge itself.
        """
        if not target.startswith(_V1):
            return True
        place = scope[_PLACE] = self._places.enter(self._tenant_of(scope["headers"]))
        if place is None:
            self._log.turned_away()
        return place is not None

    @staticmethod
    def dropped(scope: Scope) -> None:
        """Takes back the place of a request that was admitted and turned out to be none."""
        place: Held | None = scope.get(_PLACE)
        if place is not None:
            place.leave()

    @staticmethod
    def turned_away(headers: Headers, *, head: bool, close: bool) -> bytes:
        """The whole answer to a request that was not admitted; `close` when it is the last of its connection."""
        given = next((value for name, value in headers if name == b"traceparent"), b"").decode("latin-1")
        trace_id, traceparent = telemetry.continued(given)
        answer = _TURNED_AWAY_FOR_GOOD if close else _TURNED_AWAY
        whole = answer % (traceparent.encode(), trace_id.encode())
        return whole[: whole.index(b"\r\n\r\n") + 4] if head else whole

    async def _answer(self, exchange: Exchange, method: str) -> None:
        started = time.perf_counter()
        watched = _Watched(exchange, head=method == "HEAD")
        exchange.send = watched
        try:
            answer = await self._serve(exchange, watched)
            if answer is not None:
                await watched.answer(answer)
        finally:
            if exchange.place is not None:
                exchange.place.leave()
            self._log.write(exchange, method, watched.status, time.perf_counter() - started)

    def _exchange(self, scope: Scope, receive: Receive, send: Send) -> Exchange:
        headers = header_map(scope["headers"])
        client: str = (scope.get("client") or ("", 0))[0]
        secure: bool = scope.get("scheme") == "https"
        if self._proxies.any and self._proxies.trusts(client):
            secure = headers.get(b"x-forwarded-proto", b"").strip().lower() == b"https"
            client = self._behind_proxies(headers.get(b"x-forwarded-for", b""), client)
        trace_id, traceparent = telemetry.continued(headers.get(b"traceparent", b"").decode("latin-1"))
        method: str = scope["method"]
        return Exchange(
            method="GET" if method == "HEAD" else method,
            path=scope["path"],
            scope=scope,
            receive=receive,
            send=send,
            headers=headers,
            client=client,
            secure=secure,
            trace_id=trace_id,
            traceparent=traceparent,
            place=scope.get(_PLACE),
            public_url=self._public_url,
        )

    def _behind_proxies(self, header: bytes, client: str) -> str:
        """The last address in the header that is not one of our proxies: what stands before it anyone can
        write.
        """
        for part in reversed(header.decode("latin-1").split(",")):
            address = part.strip()
            if not address or len(address) > 45:
                break
            client = address
            if not self._proxies.trusts(address):
                break
        return client

    async def _serve(self, exchange: Exchange, watched: "_Watched") -> Answer | None:
        raw: bytes = exchange.scope.get("raw_path") or exchange.path.encode()
        api = raw.startswith(_V1)
        watched.more = [*ALWAYS, *(_API if api else _PAGES), *(_SECURE if exchange.secure else ())]
        try:
            self._check(exchange, raw)
            if not api:
                exchange.scope["kehu.trace_id"] = exchange.trace_id
                await self._app(exchange.scope, exchange.receive, watched)
                return None
            served = self._find(exchange, raw)
            if isinstance(served, Answer):
                return served
            if exchange.place is None:
                exchange.place = self._places.enter(self._tenant_of(exchange.scope["headers"]))
                if exchange.place is None:
                    raise too_busy()
            return await served(exchange)
        except Refusal as refusal:
            return self._refused(exchange, watched, refusal)
        except Problem as problem:
            return self._refused(exchange, watched, of_problem(problem))
        except Exception:
            log.exception("request failed", extra={"trace_id": exchange.trace_id, "path": exchange.path})
            return self._refused(exchange, watched, internal())

    def _check(self, exchange: Exchange, raw: bytes) -> None:
        host = exchange.headers.get(b"host", b"").decode("latin-1").lower()
        if exchange.path not in _UNCHECKED:
            if not _HOST.fullmatch(host):
                raise Refusal(400, "HOST_INVALID", "The Host header is missing or is no host name.")
            name = host if host.endswith("]") else host.rpartition(":")[0] or host
            if self._hosts is not None and name not in self._hosts:
                text = f"The host '{name[:100]}' is not served here."
                raise Refusal(421, "HOST_UNKNOWN", text, (Violation("Host", "is not served here"),))
        if len(raw) + len(exchange.query) > MAX_TARGET:
            raise address_too_long()
        if sum(len(name) + len(value) for name, value in exchange.scope["headers"]) > MAX_HEAD:
            raise head_too_large()

    def _find(self, exchange: Exchange, raw: bytes) -> Served | Answer:
        try:
            found = self._tree().find(raw)
        except UnicodeDecodeError:
            raise bad_path() from None
        if found is None:
            text = f"There is nothing at {exchange.path[:200]}. /docs shows what there is."
            raise Refusal(404, "ROUTE_UNKNOWN", text)
        leaf, exchange.segments = found
        served = leaf.get(exchange.method)
        if served is None:
            allowed = ", ".join(sorted({*leaf, "OPTIONS", *(("HEAD",) if "GET" in leaf else ())}))
            if exchange.method == "OPTIONS":
                return Answer(204, [(b"allow", allowed.encode())])
            text = f"{exchange.scope['method'][:20]} is not allowed here, but {allowed}."
            raise Refusal(405, "METHOD_NOT_ALLOWED", text, extra=((b"allow", allowed.encode()),))
        return served

    @staticmethod
    def _refused(exchange: Exchange, watched: "_Watched", refusal: Refusal) -> Answer | None:
        if watched.status:
            # Half an answer is out already: all that is left is to break it off.
            return None
        if form_pages.wanted(exchange):
            return form_pages.refused(refusal)
        body = refusal.document(exchange.path[:500], exchange.trace_id)
        return Answer(refusal.status, refusal.headers(), body)


def address_too_long() -> Refusal:
    """Path and query are beyond the limit."""
    return Refusal(414, "ADDRESS_TOO_LONG", f"Path and query are longer than {MAX_TARGET:,} bytes.")


def head_too_large() -> Refusal:
    """The headers are beyond the limit."""
    return Refusal(431, "HEADERS_TOO_LARGE", f"The headers are larger than {MAX_HEAD:,} bytes.")


class _Watched:
    """Sends, adds the headers that every answer has, and remembers the status."""

    def __init__(self, exchange: Exchange, *, head: bool) -> None:
        self._send: Send = exchange.send
        self._head = head
        self._trace = exchange.traceparent.encode()
        self.status = 0
        self.more: Headers = []

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = int(message["status"])
            given: list[tuple[bytes, bytes]] = list(message.get("headers", ()))
            message = {**message, "headers": self._headers(given)}
        await self._send(message)

    async def answer(self, answer: Answer) -> None:
        """Sends a whole answer."""
        self.status = answer.status
        body = answer.body
        headers = self._headers(answer.headers)
        if answer.status not in (204, 304):
            headers.append((b"content-length", str(len(body)).encode()))
        start: dict[str, Any] = {"type": "http.response.start", "status": answer.status, "headers": headers}
        await self._send(start)
        await self._send({"type": "http.response.body", "body": b"" if self._head else body})

    def _headers(self, given: Headers) -> Headers:
        names = {name for name, _ in given}
        return [*given, *(pair for pair in self.more if pair[0] not in names), (b"traceparent", self._trace)]
