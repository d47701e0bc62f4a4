"""A lean HTTP/1.1 client: the measure must not be of the client. One connection, one request at a time."""

import asyncio
from typing import Any

import orjson


class Connection:
    """A kept connection to the gateway, signed in."""

    def __init__(self, host: str, port: int, token: str) -> None:
        self._host, self._port = host, port
        self.authorization = f"Bearer {token}"
        self.head = f"host: {host}:{port}\r\nauthorization: Bearer {token}\r\naccept: */*\r\n"
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self.refusals = 0
        """How often the suite asked to be asked again (429, 503), or a read took too long (504); the time that takes belongs to
        the call."""

    async def get(self, path: str) -> bytes:
        """The body of an answer with status 200. Raises AssertionError for another."""
        return await self._ask(f"GET {path} HTTP/1.1\r\n{self.head}\r\n".encode())

    async def read(self, path: str) -> Any:
        """The JSON of an answer with status 200."""
        return orjson.loads(await self.get(path))

    async def post(self, path: str, body: Any, key: str = "") -> Any:
        """The JSON of an answer with status 200; `key` goes as Idempotency-Key."""
        return await self._said("POST", path, body, f"idempotency-key: {key}\r\n" if key else "")

    async def patch(self, path: str, body: Any) -> Any:
        """The JSON of an answer with status 200."""
        return await self._said("PATCH", path, body, "")

    async def upload(self, path: str, fields: dict[str, str], filename: str, content: bytes) -> Any:
        """Posts a form with one file."""
        mark = "kehu-bench-boundary"
        parts = [
            f'--{mark}\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in fields.items()
        ]
        parts.append(
            f'--{mark}\r\ncontent-disposition: form-data; name="file"; filename="{filename}"\r\ncontent-type: text/csv\r\n\r\n'
        )
        body = "".join(parts).encode() + content + f"\r\n--{mark}--\r\n".encode()
        kind = f"multipart/form-data; boundary={mark}"
        head = (
            f"POST {path} HTTP/1.1\r\n{self.head}content-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        return orjson.loads(await self._ask(head.encode() + body))

    async def close(self) -> None:
        """Ends the connection."""
        if self._writer is not None:
            self._writer.close()
            await self._writer.wait_closed()

    async def _said(self, method: str, path: str, body: Any, more: str) -> Any:
        content = orjson.dumps(body)
        more += f"content-type: application/json\r\ncontent-length: {len(content)}\r\n"
        head = f"{method} {path} HTTP/1.1\r\n{self.head}{more}\r\n"
        return orjson.loads(await self._ask(head.encode() + content))

    async def _ask(self, request: bytes) -> bytes:
        status, body = await self._answer(request)
        for _ in range(_PATIENCE):
            if status not in (b"429", b"503") and not (status == b"504" and request.startswith(b"GET")):
                break
            self.refusals += 1
            await asyncio.sleep(_PAUSE)
            status, body = await self._answer(request)
        assert status == b"200", f"{_line(request)!r}: {status!r} {body[:500]!r}"
        return body

    async def _answer(self, request: bytes) -> tuple[bytes, bytes]:
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection(self._host, self._port, limit=2**22)
        assert self._reader is not None
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        status = head.split(b" ", 2)[1]
        lower = head.lower()
        if b"transfer-encoding: chunked" in lower:
            return status, await self._chunks(self._reader)
        at = lower.index(b"content-length:") + len(b"content-length:")
        return status, await self._reader.readexactly(int(lower[at : lower.index(b"\r\n", at)]))

    @staticmethod
    async def _chunks(reader: asyncio.StreamReader) -> bytes:
        parts: list[bytes] = []
        while size := int(await reader.readline(), 16):
            parts.append(await reader.readexactly(size))
            await reader.readexactly(2)
        await reader.readexactly(2)
        return b"".join(parts)


_PATIENCE = 20
_PAUSE = 0.5


def _line(request: bytes) -> bytes:
    return request.split(b" HTTP", 1)[0]
