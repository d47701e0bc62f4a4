"""Files that come in parts from a service and go out as they come: of no file more than a part is here.

What goes wrong before the first part is a problem document like any other. Afterwards the answer has begun, and all that can
be done is to let nobody take it for whole: the connection is reset.
"""

import asyncio
import logging
from typing import Any
from urllib.parse import quote

import grpc.aio
from google.protobuf.message import Message

from gateway.backends import Backends, Metadata
from gateway.contracts import Method
from gateway.exchanges import Exchange, Headers
from gateway.limits import Limits
from gateway.problems import Refusal, internal, of_call
from gateway.sessions import Sessions

_EOF: Any = vars(grpc.aio)["EOF"]  # the stubs do not know it
log = logging.getLogger("gateway")

_RECHECK = 0.5
"""Seconds after which a download asks whether its session still lives, as open streams do."""


class Download:
    """Serves one method that answers in parts."""

    def __init__(self, method: Method, backends: Backends, sessions: Sessions, limits: Limits) -> None:
        self._method = method
        self._backends = backends
        self._sessions = sessions
        self._limits = limits

    async def send(self, exchange: Exchange, request: Message, metadata: Metadata, tenant: str) -> None:
        """Sends the whole file, or breaks the connection off. Raises Refusal while nothing is out."""
        self._limits.downloads.enter()
        try:
            seat = await self._limits.seat(self._method.domain, tenant)
            try:
                running, first = await self._backends.parts(self._method, request, metadata)
            finally:
                seat.leave()
            if exchange.place is not None:
                exchange.place.leave()  # downloads are counted by themselves
            try:
                await self._send_all(exchange, running, first)
            finally:
                running.cancel()
        finally:
            self._limits.downloads.leave()

    async def _send_all(self, exchange: Exchange, running: Any, part: Any) -> None:
        if part is _EOF:
            raise internal()
        await exchange.send({"type": "http.response.start", "status": 200, "headers": _headers(part)})
        gone = asyncio.create_task(exchange.hung_up())
        # Whoever waits for a part of a file that nobody takes any more is woken by the end of the call.
        gone.add_done_callback(lambda _: running.cancel())
        clock = asyncio.get_running_loop().time
        checked = clock()
        try:
            while part is not _EOF:
                if part.content:
                    await exchange.part(part.content)
                if clock() - checked > _RECHECK:
                    checked = clock()
                    await self._sessions.caller(exchange, self._method)
                part = await running.read()
            await exchange.send({"type": "http.response.body", "body": b"", "more_body": False})
        except asyncio.CancelledError:
            if not gone.done() or gone.cancelled():
                exchange.cut()
                raise
        except (grpc.aio.AioRpcError, Refusal) as error:
            refusal = of_call(error) if isinstance(error, grpc.aio.AioRpcError) else error
            if not gone.done():
                log.warning(
                    "a file was broken off: %s", refusal.reason, extra={"trace_id": exchange.trace_id}
                )
            exchange.cut()
        finally:
            gone.cancel()


def _headers(part: Any) -> Headers:
    name = str(part.filename) or "download"
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "-_. ") else "_" for c in name)
    spelled = f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
    headers: Headers = [
        (b"content-type", str(part.content_type or "application/octet-stream").encode("latin-1", "ignore")),
        (b"content-disposition", spelled.encode()),
        (b"cache-control", b"no-store"),
        # A proxy that waits for the end would hold the file, and the client without a sign of life.
        (b"x-accel-buffering", b"no"),
        # Whatever a file holds, no browser runs it where the suite is.
        (b"content-security-policy", b"sandbox; default-src 'none'; frame-ancestors 'none'"),
    ]
    size = getattr(part, "size_bytes", 0)
    if size:
        headers.append((b"content-length", str(size).encode()))
    return headers
