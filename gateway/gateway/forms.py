"""Bodies that browsers' forms send: urlencoded pairs and multipart parts (RFC 7578)."""

from dataclasses import dataclass
from email.message import Message as Headers
from urllib.parse import parse_qsl

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from chassis.errors import Invalid

MAX_PAIRS = 200
_MAX_HEADER = 8192

URLENCODED = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"


@dataclass(slots=True)
class Part:
    """One part of a multipart body; a file when it has a file name."""

    name: str
    filename: str | None
    content: bytes


def pairs(data: bytes, field: str) -> list[tuple[str, str]]:
    """The names and values of an urlencoded text. Raises Invalid naming `field` when it is none."""
    try:
        return parse_qsl(
            data.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=MAX_PAIRS
        )
    except UnicodeDecodeError:
        raise Invalid(field, "holds characters that are not percent-encoded UTF-8") from None
    except ValueError:
        raise Invalid(field, f"has more than {MAX_PAIRS} names") from None


class _Collector:
    """Takes what the parser finds."""

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.ended = False
        self._header_name = bytearray()
        self._header_value = bytearray()
        self._headers: dict[str, bytes] = {}
        self._content = bytearray()

    def on_part_begin(self) -> None:
        if len(self.parts) >= MAX_PAIRS:
            raise Invalid("body", f"has more than {MAX_PAIRS} parts")
        self._headers = {}
        self._content = bytearray()

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]
        if len(self._header_value) > _MAX_HEADER:
            raise Invalid("body", "has a part with a header that is too long")

    def on_header_end(self) -> None:
        self._headers[self._header_name.decode("latin-1").lower()] = bytes(self._header_value)
        self._header_name.clear()
        self._header_value.clear()

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._content += data[start:end]

    def on_part_end(self) -> None:
        kind, options = parse_options_header(self._headers.get("content-disposition", b""))
        name = options.get(b"name")
        if kind != b"form-data" or name is None:
            raise Invalid("body", "has a part without a name")
        filename = options.get(b"filename")
        try:
            self.parts.append(
                Part(
                    name.decode(),
                    None if filename is None else filename.decode(),
                    bytes(self._content),
                )
            )
        except UnicodeDecodeError:
            raise Invalid("body", "has a part whose name is not UTF-8") from None
        self._content = bytearray()

    def on_end(self) -> None:
        self.ended = True


def parts(data: bytes, content_type: str) -> list[Part]:
    """The parts of a multipart/form-data body. Raises Invalid when it is none."""
    header = Headers()
    header["content-type"] = content_type
    boundary = header.get_param("boundary")
    if not isinstance(boundary, str) or not 1 <= len(boundary) <= 70:
        raise Invalid("body", "is multipart without a boundary of 1 to 70 characters")
    found = _Collector()
    try:
        parser = MultipartParser(
            boundary.encode("latin-1"),
            {
                "on_part_begin": found.on_part_begin,
                "on_part_data": found.on_part_data,
                "on_part_end": found.on_part_end,
                "on_header_field": found.on_header_field,
                "on_header_value": found.on_header_value,
                "on_header_end": found.on_header_end,
                "on_end": found.on_end,
            },
        )
        parser.write(data)
        parser.finalize()
    except (MultipartParseError, UnicodeEncodeError):
        raise Invalid("body", "is not valid multipart/form-data") from None
    if not found.ended:
        raise Invalid("body", "ends before its last boundary")
    return found.parts
