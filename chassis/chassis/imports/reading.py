"""Reading files of rows: CSV with whatever encoding and delimiter, and the first look at what a file is.

A file is read once, when it comes in, into a `Sheet`: its header and its rows as texts, packed. It is decoded and cut into rows
as it is read, so that beside the file and its packed rows no more is held of it than a row. Whatever is
wrong with the file as a whole is an `Invalid` naming "content" (or "filename", "encoding", "sheet") that says
where it is.
"""

import csv
import io
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import orjson

from chassis import texts
from chassis.errors import Invalid
from chassis.imports.encodings import encoding_of, text_of, unreadable

MOST_BYTES = 30 * 1024 * 1024
MOST_ROWS = 200_000
MOST_COLUMNS = 500
MOST_CELL = 32_767
"""Characters in a cell: what spreadsheets allow."""
MOST_RECORD = 1_000_000
"""Characters in a row, or in a card, as it stands in the file: what is read of a text file before it is known to be too long."""
_LEAST_HEAD = 3
"""Cells that a head has below a title."""
_PIECE = 65_536
"""Bytes that are unpacked at once."""
_START = 200_000
"""Characters from which the delimiter is found out."""
MOST_CHARACTERS = 120_000_000
"""Characters of all cells: what one import may hold in memory at the most is a small part of it, see
`Packer`."""

_DELIMITERS = ",;\t|"
_NEVER_BETWEEN = '"\r\n'
_SAID = re.compile(r"sep=(.)\r?\n")
_NUL = str.maketrans("", "", "\0")


@dataclass(frozen=True, slots=True)
class Row:
    """A row that is not empty. `number` is its number in a spreadsheet: the first row of the file is 1."""

    number: int
    cells: list[str]


@dataclass(frozen=True, slots=True)
class Sheet:
    """A file that was read."""

    header: list[str]
    total: int
    """Rows below the header that are not empty."""
    packed: bytes
    """The rows, for `unpack`."""
    samples: list[list[str]]
    """For each column its first different values, at most five."""
    encoding: str = ""
    delimiter: str = ""
    sheet: str = ""
    sheets: tuple[str, ...] = ()


def unpack(packed: bytes, skip: int = 0) -> Iterator[Row]:
    """The rows of a sheet without the first `skip`, one by one, in bounded memory."""
    rest: list[bytes] = []
    count = 0
    for piece in _unzipped(packed):
        lines = piece.split(b"\n")
        rest.append(lines.pop(0))
        if not lines:
            continue
        lines.insert(0, b"".join(rest))
        rest = [lines.pop()]
        for line in lines:
            count += 1
            if count > skip:
                number, cells = orjson.loads(line)
                yield Row(number, cells)


def _unzipped(packed: bytes) -> Iterator[bytes]:
    """What is packed, in pieces: rows that are all alike become a thousand times as long."""
    unzip = zlib.decompressobj()
    for start in range(0, len(packed), _PIECE):
        left = packed[start : start + _PIECE]
        while left:
            yield unzip.decompress(left, _PIECE)
            left = unzip.unconsumed_tail
    yield unzip.flush()


class Packer:
    """Takes the rows of a file one by one, checks the limits, and packs them.

    With `titled`, a single cell above the head is the sheet's title, as people write one, and no head.
    """

    def __init__(self, *, titled: bool = False) -> None:
        self._titled = titled
        self.header: list[str] | None = None
        self.total = 0
        self.samples: list[list[str]] = []
        self._characters = 0
        self._number = 0
        self._zip = zlib.compressobj(1)
        self._parts: list[bytes] = []

    def take(self, cells: list[str]) -> None:
        """The next row, empty ones included. Raises Invalid when a limit is passed."""
        self._number += 1
        while cells and not cells[-1].strip():
            cells.pop()
        if not cells:
            if self._number > MOST_ROWS * 5:
                raise unreadable(
                    f"has more than {MOST_ROWS:,} rows, most of them empty: delete the empty ones"
                )
            return
        if len(cells) > MOST_COLUMNS:
            raise unreadable(f"row {self._number} has {len(cells)} columns: at most {MOST_COLUMNS} are read")
        for column, cell in enumerate(cells):
            self._characters += len(cell)
            if len(cell) > MOST_CELL:
                raise unreadable(
                    f"the cell in row {self._number}, column {column + 1} has {len(cell):,} characters: at "
                    f"most {MOST_CELL:,} are read. Is a quotation mark missing?"
                )
        if self._characters > MOST_CHARACTERS:
            raise unreadable(f"holds more than {MOST_CHARACTERS:,} characters: split it")
        if self.header is None or (not self.total and self._is_title(cells)):
            self.header = [texts.line(cell)[:200] for cell in cells]
            self.samples = [[] for _ in cells]
            return
        self.total += 1
        if self.total > MOST_ROWS:
            raise unreadable(f"has more than {MOST_ROWS:,} rows: split it")
        cells = [cell.translate(_NUL) for cell in cells]
        if self.total <= 500:
            for sample, cell in zip(self.samples, cells, strict=False):
                value = texts.line(cell)[:100]
                if len(sample) < 5 and value and value not in sample:
                    sample.append(value)
        self._keep(self._zip.compress(orjson.dumps((self._number, cells)) + b"\n"))

    def _keep(self, packed: bytes) -> None:
        if packed:  # most rows wait for others
            self._parts.append(packed)

    def _is_title(self, cells: list[str]) -> bool:
        """Whether what was taken for the head stands above it."""
        above = [cell for cell in self.header or () if cell]
        return self._titled and len(above) == 1 and sum(1 for cell in cells if cell.strip()) >= _LEAST_HEAD

    def finish(
        self, encoding: str = "", delimiter: str = "", sheet: str = "", sheets: Iterable[str] = ()
    ) -> Sheet:
        """All that was taken. Raises Invalid when there is no header or no row below it."""
        if self.header is None:
            raise Invalid("content", "the file is empty", reason="FILE_EMPTY")
        if not self.total:
            raise Invalid("content", "the file has a header and no row below it", reason="FILE_EMPTY")
        self._keep(self._zip.flush())
        return Sheet(
            self.header, self.total, b"".join(self._parts), self.samples,
            encoding, delimiter, sheet, tuple(sheets),
        )  # fmt: skip


def kind(filename: str, content: bytes) -> str:
    """ "csv", "xlsx" or "vcf", by the name's ending, checked against the content. Raises Invalid."""
    ending = filename.lower().rpartition(".")[2] if "." in filename else ""
    if ending not in ("csv", "txt", "tsv", "xlsx", "vcf"):
        raise Invalid(
            "filename",
            f"'{filename[:100]}' ends in none of .csv, .txt, .tsv, .xlsx, .vcf",
            reason="FILE_TYPE_UNKNOWN",
        )
    if len(content) > MOST_BYTES:
        raise unreadable(f"has {len(content):,} bytes: at most {MOST_BYTES:,} are read")
    if content.startswith(b"\xd0\xcf\x11\xe0"):
        raise unreadable("is an old .xls workbook or protected by a password: save it as .xlsx without one")
    if content.startswith(b"PK\x03\x04") != (ending == "xlsx"):
        raise unreadable("is a workbook: name it .xlsx" if ending != "xlsx" else "is no .xlsx workbook")
    return ending if ending in ("xlsx", "vcf") else "csv"


def read_csv(content: bytes, encoding: str = "", delimiter: str = "") -> Sheet:
    """Reads a text file. Encoding and delimiter are found out unless given. Raises Invalid.

    Quotation follows RFC 4180, with what spreadsheets write beside it: a leading `sep=;` line, any line end,
    rows that are shorter than the header. A quotation that is not closed is an error; nothing is swallowed
    in silence.
    """
    if delimiter and (delimiter.isalnum() or delimiter in _NEVER_BETWEEN):
        raise Invalid(
            "delimiter",
            f"{delimiter!r} stands in cells, not between them: say ',', ';', a tab or '|', for example",
        )
    codec, encoding = encoding_of(content, encoding)
    start = text_of(content, codec).read(_START)
    said = _SAID.match(start)
    if said:
        start = start[said.end() :]
        delimiter = delimiter or said[1]
    delimiter = delimiter or found_delimiter(start)
    source = text_of(content, codec)
    if said:
        source.readline()
    packer = Packer()
    for cells in _records(source, delimiter):
        packer.take(cells)
    return packer.finish(encoding, delimiter)


def _records(source: io.TextIOWrapper, delimiter: str) -> Iterator[list[str]]:
    pending: list[str] = []
    last: list[str] = []
    number = 1

    def lines() -> Iterator[str]:
        length = 0
        while line := source.readline(MOST_RECORD + 1):
            length = length + len(line) if pending else len(line)
            if length > MOST_RECORD:
                raise unreadable(
                    f"row {number} has more than {MOST_RECORD:,} characters. Is a quotation mark missing?"
                )
            pending.append(line)
            yield line

    csv.field_size_limit(MOST_CELL * 2)
    try:
        for cells in csv.reader(lines(), delimiter=delimiter):
            last = pending.copy()
            pending.clear()
            yield cells
            number += 1
    except csv.Error as error:
        raise unreadable(f"row {number} cannot be read: {error}. Is a quotation mark missing?") from None
    # What is not closed runs to the end of the file, so only the last record can be open.
    if _open_ended(last, delimiter):
        raise unreadable(f"a quotation that begins in row {number - 1} is not closed")


def _open_ended(lines: list[str], delimiter: str) -> bool:
    """Whether the record in these lines ends inside a quotation."""
    try:
        list(csv.reader(lines, delimiter=delimiter, strict=True))
    except csv.Error as error:
        return "unexpected end" in str(error)
    return False


def found_delimiter(text: str) -> str:
    """The delimiter that cuts the first rows into the most even columns; the comma when none does."""
    best, most = ",", 0.0
    for delimiter in _DELIMITERS:
        counts: list[int] = []
        try:
            for cells in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter):
                if cells:
                    counts.append(len(cells))
                if len(counts) == 30:
                    break
        except csv.Error:
            continue
        if not counts or counts[0] < 2:
            continue
        score = sum(count == counts[0] for count in counts) / len(counts) * 100 + min(counts[0], 50) / 10
        if score > most:
            best, most = delimiter, score
    return best
