"""What HTTP itself does for a connection: how much of a head is taken in, what is said to those who speak no HTTP, who is turned
away before anything is made for the request, and how answers leave, head and body together, in one packet and one system call.
"""

import asyncio
import socket
import struct
from contextlib import suppress
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from chassis import telemetry
from gateway.edge import ALWAYS, MAX_HEAD, MAX_TARGET, Edge, address_too_long, head_too_large
from gateway.exchanges import CUT
from gateway.problems import Refusal

_ENOUGH = 64 * 1024
"""Bytes that are not held back for more to come."""
_LET_GO_SECONDS = 1.0
"""How long a refused client may go on sending: one that is hung up on at once loses the answer to the reset."""


class _Gathering:
    """A transport that sends what one turn of the loop has written in one go."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._parts: list[bytes] = []
        self._size = 0

    def write(self, data: bytes) -> None:
        """Keeps the data until the loop turns, or until it is enough."""
        if not self._parts:
            self._loop.call_soon(self._send)
        self._parts.append(data)
        self._size += len(data)
        if self._size > _ENOUGH:
            self._send()

    def close(self) -> None:
        """Ends the connection after what was written."""
        self._send()
        self._transport.close()

    def _send(self) -> None:
        if self._parts:
            parts, self._parts, self._size = self._parts, [], 0
            if not self._transport.is_closing():
                self._transport.write(b"".join(parts))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class Connection(HttpToolsProtocol):
    """uvicorn's HTTP on a gathering transport, with a limit to what is kept of a request whose head does not end, and with
    problem documents for what the parser refuses. Before an Edge, what that does not admit is turned away here.
    """

    _head: int
    """Bytes of the present head, as far as they came in pieces after the one that began it; -1 when no head is open."""
    _begun: bool
    """Whether a head began in the piece that is being read."""
    _deaf: bool
    """Whether the connection is given up, and what still comes is not read."""
    _refused = False
    """Whether the request that is being read has its answer already."""

    def connection_made(self, transport: Any) -> None:
        """The client is there."""
        super().connection_made(_Gathering(transport, self.loop))  # pyright: ignore[reportArgumentType]
        self._head, self._begun, self._deaf = -1, False, False

    def data_received(self, data: bytes) -> None:
        """Takes a piece in. The parser keeps an unfinished head, however long it gets: it is not fed beyond the limit."""
        if self._deaf:
            return
        self._begun = False
        super().data_received(data)
        if self._head >= 0 and not self._begun:
            self._head += len(data)
            if self._head > MAX_HEAD and not self._deaf:
                self._refuse(head_too_large())

    def on_message_begin(self) -> None:
        """A request begins with its head."""
        self._head, self._begun, self._refused = 0, True, False
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head has ended; what comes now is the body's."""
        self._head = -1
        if self._deaf:
            self._refused = True  # what came behind the last answer gets none
        elif self._behind() or self._admitted():
            scope: Any = self.scope
            scope[CUT] = self._cut
            try:
                super().on_headers_complete()
            except Exception:
                Edge.dropped(scope)
                raise
        else:
            self._turn_away()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Headers behind a body are nobody's, and are not kept."""
        if self._head >= 0:
            super().on_header(name, value)

    def send_400_response(self, msg: str) -> None:
        """What came is no HTTP, or no URL: uvicorn's own words would be no problem document."""
        if len(self.url or b"") > MAX_TARGET:
            self._refuse(address_too_long())
        else:
            self._refuse(Refusal(400, "MALFORMED_REQUEST", "The request is not valid HTTP."))

    def _refuse(self, refusal: Refusal) -> None:
        trace_id, traceparent = telemetry.continued("")
        body = refusal.document("/", trace_id)
        headers = [
            *refusal.headers(), *ALWAYS, (b"traceparent", traceparent.encode()),
            (b"content-length", str(len(body)).encode()), (b"connection", b"close"),
        ]  # fmt: skip
        line = f"HTTP/1.1 {refusal.status} {HTTPStatus(refusal.status).phrase}\r\n".encode()
        self.transport.write(line + b"".join(b"%b: %b\r\n" % pair for pair in headers) + b"\r\n" + body)
        self._deaf = True
        self.loop.call_later(_LET_GO_SECONDS, self.transport.close)

    def _turn_away(self) -> None:
        self._refused = True
        parser: Any = self.parser
        lasts = parser.should_keep_alive() and parser.get_http_version() == "1.1"
        # Nobody knows what a client sends next that waits to be told to go on.
        self._deaf = not lasts or self.expect_100_continue or self.flow.write_paused
        answer = Edge.turned_away(self.headers, head=parser.get_method() == b"HEAD", close=self._deaf)
        self.transport.write(answer)
        if self._deaf:
            self.transport.close()

    def on_body(self, body: bytes) -> None:
        """A part of a body, which nobody reads when the request was turned away."""
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """A request has been read to its end."""
        if self._refused:
            self.on_response_complete()
        else:
            super().on_message_complete()

    def _cut(self) -> None:
        """Resets the connection: an end in good order would tell a client of HTTP/1.0, as proxies are, that it got all."""
        connection: Any = self.transport.get_extra_info("socket")
        if connection is not None:
            with suppress(OSError):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def _behind(self) -> bool:
        """Whether the answer to an earlier request of this connection comes first. Such a request is asked about in its turn."""
        earlier: Any = self.cycle
        return earlier is not None and not earlier.response_complete

    def _admitted(self) -> bool:
        app: Any = self.config.app
        parser: Any = self.parser
        scope: Any = self.scope
        return not isinstance(app, Edge) or parser.should_upgrade() or app.admit(self.url, scope)
