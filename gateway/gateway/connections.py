"""How answers leave on a connection: head and body together, in one packet and one system call."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_ENOUGH = 64 * 1024
"""Bytes that are not held back for more to come."""


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
    """uvicorn's HTTP, which writes the head of an answer and its body one by one, on a gathering transport."""

    def connection_made(self, transport: Any) -> None:
        """The client is there."""
        super().connection_made(_Gathering(transport, self.loop))  # pyright: ignore[reportArgumentType]
