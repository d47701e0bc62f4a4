"""Files that come in from a client and go on to a service as they come: of no file more than a part is here.

The body is multipart/form-data (RFC 7578): first the texts that say what the file is for, then the file. Whatever is wrong is
said as soon as it is known, which may be before the file has come.
"""

import asyncio
from contextlib import suppress
from email.message import Message as Head
from typing import Any

import grpc.aio
from google.protobuf.message import Message
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from chassis.errors import Invalid, Problem
from gateway.backends import Backends, Metadata
from gateway.bindings import Binding
from gateway.contracts import Method
from gateway.exchanges import BODY_SECONDS, Exchange, media_type
from gateway.forms import MULTIPART
from gateway.limits import Limits
from gateway.problems import Refusal, internal, of_call, of_problem
from gateway.sessions import Sessions

_PIECE = 256 * 1024
"""Bytes that are gathered before they go on."""
_RECHECK = 0.5
"""Seconds after which an upload asks whether its session still lives, as downloads do."""
_MOST_TEXTS = 20
_MOST_TEXT = 8 * 1024
_AROUND = 64 * 1024
"""Bytes that a body may have beside its file."""


class FileForm:
    """A multipart body taken apart as it comes: texts, then one file. `feed` it; `file` gathers what has come of the file."""

    def __init__(self, content_type: str) -> None:
        self.texts: list[tuple[str, str]] = []
        self.filename: str | None = None
        self.file = bytearray()
        self.ended = False
        self._head: dict[str, bytes] = {}
        self._name = bytearray()
        self._value = bytearray()
        self._text: bytearray | None = None
        self._key = ""
        found = Head()
        found["content-type"] = content_type
        boundary = found.get_param("boundary")
        if not isinstance(boundary, str) or not 1 <= len(boundary) <= 70:
            raise Invalid("body", "is multipart without a boundary of 1 to 70 characters")
        try:
            self._parser = MultipartParser(
                boundary.encode("latin-1"),
                {
                    "on_part_begin": self._begin,
                    "on_header_field": self._header_name,
                    "on_header_value": self._header_value,
                    "on_header_end": self._header_end,
                    "on_headers_finished": self._part,
                    "on_part_data": self._data,
                    "on_part_end": self._part_end,
                    "on_end": self._end,
                },
            )
        except (MultipartParseError, UnicodeEncodeError):
            raise _malformed() from None

    def feed(self, data: bytes) -> None:
        """Takes the next bytes. Raises Invalid for what is no such body."""
        try:
            self._parser.write(data)
        except MultipartParseError:
            raise _malformed() from None

    def check_whole(self) -> None:
        """Raises Invalid when the body has ended before its last boundary, or holds no file."""
        if not self.ended:
            raise Invalid("body", "ends before its last boundary")
        if self.filename is None:
            raise Invalid("content", "is needed: send the file as the last part of the form")

    def _begin(self) -> None:
        if self.filename is not None:
            raise Invalid("body", "has something behind the file: the file comes last, and there is one")
        if len(self.texts) >= _MOST_TEXTS:
            raise Invalid("body", f"has more than {_MOST_TEXTS} texts before the file")
        self._head = {}

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]
        if len(self._name) > _MOST_TEXT:
            raise Invalid("body", "has a part with a header that is too long")

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]
        if len(self._value) > _MOST_TEXT:
            raise Invalid("body", "has a part with a header that is too long")

    def _header_end(self) -> None:
        self._head[self._name.decode("latin-1").lower()] = bytes(self._value)
        self._name.clear()
        self._value.clear()

    def _part(self) -> None:
        kind, options = parse_options_header(self._head.get("content-disposition", b""))
        name, filename = options.get(b"name"), options.get(b"filename")
        if kind != b"form-data" or name is None:
            raise Invalid("body", "has a part without a name")
        try:
            self._key = name.decode()
            if filename is None:
                self._text = bytearray()
            else:
                self.filename = filename.decode()
        except UnicodeDecodeError:
            raise Invalid("body", "has a part whose name is not UTF-8") from None

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._text is None:
            self.file += data[start:end]
            return
        self._text += data[start:end]
        if len(self._text) > _MOST_TEXT:
            raise Invalid(self._key[:100] or "body", f"is longer than {_MOST_TEXT:,} bytes")

    def _part_end(self) -> None:
        if self._text is not None:
            try:
                self.texts.append((self._key, self._text.decode()))
            except UnicodeDecodeError:
                raise Invalid(self._key[:100] or "body", "is not UTF-8") from None
            self._text = None

    def _end(self) -> None:
        self.ended = True


def _malformed() -> Invalid:
    return Invalid("body", "is not valid multipart/form-data")


class Upload:
    """Serves one method that is asked in parts."""

    def __init__(
        self, method: Method, binding: Binding, backends: Backends, sessions: Sessions, limits: Limits
    ) -> None:
        self._method = method
        self._binding = binding
        self._backends = backends
        self._sessions = sessions
        self._limits = limits

    async def take(self, exchange: Exchange, metadata: Metadata, tenant: str) -> Message:
        """The service's answer to the whole file. Raises Refusal."""
        if media_type(exchange) != MULTIPART:
            text = "Send the file as multipart/form-data, behind the texts that say what it is for."
            raise Refusal(
                415, "CONTENT_TYPE_UNSUPPORTED", f"Content-Type: {text}", extra=((b"connection", b"close"),)
            )
        most = self._limits.file_bytes
        declared = exchange.headers.get(b"content-length", b"")
        if len(declared) > 18 or (declared.isdigit() and int(declared) > most + _AROUND):
            await exchange.let_go()
            raise _too_large(most)
        self._limits.arrivals.enter()
        try:
            if exchange.place is not None:
                exchange.place.leave()  # uploads are counted by themselves
            return await self._pass_on(exchange, metadata, tenant)
        finally:
            self._limits.arrivals.leave()

    async def _pass_on(self, exchange: Exchange, metadata: Metadata, tenant: str) -> Message:
        form = FileForm(exchange.headers[b"content-type"].decode("latin-1"))
        body = _Body(exchange)
        clock = asyncio.get_running_loop().time
        checked = clock()
        running: Any = None
        try:
            while True:
                data = await body.next()
                if data is not None:
                    form.feed(data)
                if running is None and form.filename is not None:
                    first = self._binding.bind_file(exchange, form.texts, form.filename)
                    seat = await self._limits.seat(self._method.domain, tenant)
                    seat.leave()  # it waits for its turn like others, and holds up nobody while it comes
                    running = await self._backends.taking(self._method, metadata)
                    await running.wait_for_connection()
                    await _write(running, first)
                if data is None:
                    form.check_whole()
                if running is not None and (data is None or len(form.file) >= _PIECE):
                    await self._send(running, form, last=data is None)
                if data is None:
                    break
                if clock() - checked > _RECHECK:
                    checked = clock()
                    await self._sessions.caller(exchange, self._method)
            assert running is not None
            await running.done_writing()
            return await running
        except grpc.aio.AioRpcError as error:
            raise await body.refused(of_call(error)) from None
        except _AnsweredEarlyError:
            raise await body.refused(await _reason_of(running)) from None
        except Problem as problem:
            raise await body.refused(of_problem(problem)) from None
        except Refusal as refusal:
            raise await body.refused(refusal) from None
        finally:
            if running is not None:
                running.cancel()

    async def _send(self, running: Any, form: FileForm, *, last: bool) -> None:
        kind = self._method.request
        for start in range(0, len(form.file), _PIECE):
            await _write(running, kind(content=bytes(form.file[start : start + _PIECE])))
        form.file.clear()
        if last:
            # A call that only ends may have been cut off.
            await _write(running, kind(complete=True))


class _AnsweredEarlyError(Exception):
    """The service has answered before it had everything."""


async def _write(running: Any, part: Message) -> None:
    """Gives the call a part, and waits while the service takes no more.

    gRPC's own `write` makes INTERNAL of a call that ends in the middle of it, whatever the service has said.
    """
    if running.done():
        raise _AnsweredEarlyError
    call: Any = getattr(running, "_cython_call")  # noqa: B009 (what has no public name)
    try:
        await call.send_serialized_message(part.SerializeToString())
    except asyncio.CancelledError:
        running.cancel()
        raise
    except Exception as error:  # of cython's own, and of one kind
        raise _AnsweredEarlyError from error


async def _reason_of(running: Any) -> Refusal:
    try:
        await running
    except grpc.aio.AioRpcError as error:
        return of_call(error)
    return internal()


class _Body:
    """The body of a request, as it comes."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._ended = False

    async def next(self) -> bytes | None:
        """The next bytes; None when there are no more. Raises Refusal when they do not come, or the client went away."""
        if self._ended:
            return None
        try:
            async with asyncio.timeout(BODY_SECONDS):
                message = await self._exchange.receive()
        except TimeoutError:
            text = f"Nothing of the body has come for {BODY_SECONDS:.0f} seconds."
            raise Refusal(408, "BODY_TOO_SLOW", text, extra=((b"connection", b"close"),)) from None
        if message["type"] == "http.disconnect":
            self._ended = True
            raise Refusal(400, "CLIENT_GONE", "The connection ended before the body was complete.")
        self._ended = not message.get("more_body", False)
        return message.get("body", b"")

    async def refused(self, refusal: Refusal) -> Refusal:
        """The same refusal, when it can be heard: a client that is still sending would lose it to the reset of the connection."""
        if not self._ended:
            with suppress(Refusal):
                await self._exchange.let_go()
            refusal.extra = (*refusal.extra, (b"connection", b"close"))
        return refusal


def _too_large(most: int) -> Refusal:
    text = f"The file is larger than the {most:,} bytes that are allowed here."
    return Refusal(
        413, "FILE_TOO_LARGE", text, metadata={"mostBytes": str(most)}, extra=((b"connection", b"close"),)
    )
