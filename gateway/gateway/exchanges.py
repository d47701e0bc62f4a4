"""One HTTP request as the gateway's parts see it, and one answer."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from starlette.types import Receive, Scope, Send

from chassis.errors import Invalid
from gateway.problems import Refusal
from gateway.turns import Held

JSON = b"application/json"
BODY_SECONDS = 30.0
"""The longest a body may take to arrive."""

CUT = "kehu.cut"
"""Where the scope of a request holds what resets its connection."""

Headers = list[tuple[bytes, bytes]]


@dataclass(slots=True)
class Answer:
    """What goes back. `headers` hold the content type when there is a body."""

    status: int
    headers: Headers
    body: bytes = b""


@dataclass(slots=True)
class Exchange:
    """One request. `method` is never HEAD: that is served as GET, and the body is left out at the end."""

    method: str
    path: str
    scope: Scope
    receive: Receive
    send: Send
    headers: dict[bytes, bytes]
    """Lower-case names; of a repeated header the values joined by commas."""
    client: str
    """The client's IP address, as far as the proxy settings let it be known."""
    secure: bool
    """Whether the client speaks https to us or to a proxy we trust."""
    trace_id: str
    traceparent: str
    segments: list[str] = field(default_factory=list[str])
    person: str = ""
    """Who asks, for the access log."""
    rpc: str = ""
    place: Held | None = None
    """Its place in the gateway, as soon as it has one."""
    public_url: str = ""
    """What the operator says is the gateway's address; empty when nothing is said."""

    @property
    def gateway_url(self) -> str:
        """Scheme and host under which the client reaches the gateway."""
        host = self.headers.get(b"host", b"").decode("latin-1")
        return self.public_url or f"{'https' if self.secure else 'http'}://{host}"

    async def part(self, data: bytes) -> None:
        """Sends a part of an answer whose head is out; waits while the client takes no more."""
        await self.send({"type": "http.response.body", "body": data, "more_body": True})

    async def hung_up(self) -> None:
        """Returns when the client has gone. The body of the request must have been read."""
        while (await self.receive())["type"] != "http.disconnect":
            continue

    def cut(self) -> None:
        """Ends the connection such that no client can take what it got for the whole answer, even one that goes by the end of
        the connection."""
        cut: Callable[[], None] | None = self.scope.get(CUT)
        if cut is not None:
            cut()

    @property
    def query(self) -> bytes:
        found: bytes = self.scope["query_string"]
        return found

    async def body(self, limit: int) -> bytes:
        """The whole body, of at most `limit` bytes, whatever its Content-Length says.

        Raises Refusal 413 when it is larger, 408 when it does not arrive in time, 400 when the client went
        away.
        """
        declared = self.headers.get(b"content-length")
        if declared is not None and declared.isdigit() and int(declared) > limit:
            await self.let_go()
            raise _too_large(limit)
        if declared == b"0" or (declared is None and b"transfer-encoding" not in self.headers):
            return b""
        message = await self.receive()
        if message["type"] == "http.request" and not message.get("more_body", False):
            # The usual case, one chunk, needs neither timer nor list.
            whole: bytes = message.get("body", b"")
            if len(whole) > limit:
                raise _too_large(limit)
            return whole
        chunks: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(BODY_SECONDS):
                while True:
                    if message["type"] == "http.disconnect":
                        raise Refusal(
                            400, "CLIENT_GONE", "The connection ended before the body was complete."
                        )
                    chunk: bytes = message.get("body", b"")
                    size += len(chunk)
                    if size > limit:
                        chunks.clear()
                        if message.get("more_body", False):
                            await self.let_go()
                        raise _too_large(limit)
                    chunks.append(chunk)
                    if not message.get("more_body", False):
                        return b"".join(chunks)
                    message = await self.receive()
        except TimeoutError:
            text = f"The body did not arrive within {BODY_SECONDS:.0f} seconds."
            raise Refusal(408, "BODY_TOO_SLOW", text, extra=((b"connection", b"close"),)) from None

    async def let_go(self) -> None:
        """Reads on for a while and keeps nothing: a client that is still sending would lose the answer to the reset of
        the connection."""
        left = _LET_GO_BYTES
        try:
            async with asyncio.timeout(_LET_GO_SECONDS):
                while left > 0:
                    message = await self.receive()
                    left -= len(message.get("body", b""))
                    if not message.get("more_body", False):
                        return
        except TimeoutError:
            return


_LET_GO_BYTES = 8 * 1024 * 1024
_LET_GO_SECONDS = 2.0


def _too_large(limit: int) -> Refusal:
    text = f"The body is larger than the {limit:,} bytes that are allowed here."
    return Refusal(413, "BODY_TOO_LARGE", text, extra=((b"connection", b"close"),))


class Served(Protocol):
    """Something served at a path."""

    async def __call__(self, exchange: Exchange) -> Answer | None:
        """The answer, or None when it was sent already. Raises Refusal."""
        ...


def header_map(pairs: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """The headers by name; repeated ones joined, as RFC 9110 allows."""
    found: dict[bytes, bytes] = {}
    for name, value in pairs:
        known = found.get(name)
        found[name] = value if known is None else known + (b"; " if name == b"cookie" else b", ") + value
    return found


def media_type(exchange: Exchange) -> str:
    """The content type without parameters, in lower case; empty when there is none."""
    return exchange.headers.get(b"content-type", b"").decode("latin-1").partition(";")[0].strip().lower()


def bad_path() -> Invalid:
    """The path holds bytes that are no UTF-8."""
    return Invalid("path", "is not valid UTF-8 when decoded", reason="MALFORMED_PATH")
