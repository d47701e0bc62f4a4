"""Rows as CSV, XLSX and cards, in pieces: no file is ever whole in memory or on a disk.

A workbook is a zip of a few small parts and one large one, the sheet, which is written last and row by row; texts stand in
their cells, so that nothing has to be known before the first row leaves. What is cut off has no directory and opens nowhere.
"""

import csv
import io
import zipfile
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Protocol
from xml.sax.saxutils import escape

from chassis.errors import Precondition
from chassis.exports.columns import Cell
from chassis.imports.refused import safe

CSV = "text/csv; charset=utf-8"
VCARD = "text/vcard; charset=utf-8"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
MOST_ROWS = 1_048_575
"""Rows below the header that a sheet holds."""
MOST_CELL = 32_767
"""Characters that a cell of a sheet holds."""


_MOST_BYTES = 2**31 - 1_000_000
"""What a part of a zip holds that has no 64-bit sizes."""


class SheetTooLarge(Precondition):
    """There is more than a sheet holds."""

    reason = "SHEET_TOO_LARGE"

    def __init__(self) -> None:
        super().__init__(f"A sheet holds {MOST_ROWS:,} records: filter the list, or export it as CSV.")


class Writer(Protocol):
    """Makes a file of rows."""

    def rows(self, rows: Iterable[Sequence[Cell]]) -> bytes:
        """The next bytes, with these rows in them."""
        ...

    def end(self) -> bytes:
        """The last bytes."""
        ...


class CsvWriter:
    """UTF-8 with a byte order mark, by which spreadsheets know it; CRLF; no cell is a formula."""

    def __init__(self) -> None:
        self._out = io.StringIO(newline="")
        self._out.write("\ufeff")
        self._csv = csv.writer(self._out, lineterminator="\r\n")

    def rows(self, rows: Iterable[Sequence[Cell]]) -> bytes:
        """The next bytes, with these rows in them."""
        for row in rows:
            self._csv.writerow([_text(cell) for cell in row])
        return self._taken()

    def end(self) -> bytes:
        """The last bytes."""
        return self._taken()

    def _taken(self) -> bytes:
        text = self._out.getvalue()
        self._out.seek(0)
        self._out.truncate()
        return text.encode("utf-8", "replace")


def _text(cell: Cell) -> str:
    match cell:
        case None:
            return ""
        case str():
            return safe(cell)
        case datetime():
            return cell.isoformat(" ")
        case Decimal():
            return format(cell, "f")
        case _:
            return str(cell)


class VcardWriter:
    """One card behind the other; each row has the text of its own."""

    def rows(self, rows: Iterable[Sequence[Cell]]) -> bytes:
        """The next bytes, with these rows in them."""
        return "".join(str(cell) for row in rows for cell in row).encode("utf-8", "replace")

    def end(self) -> bytes:
        """Nothing: a file of cards has no end of its own."""
        return b""


class _Pipe(io.RawIOBase):
    """Where the zip is written: it keeps what was not taken yet, and cannot go back."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        part = bytes(memoryview(data))  # pyright: ignore[reportArgumentType]
        self._parts.append(part)
        return len(part)

    def taken(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)


_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_HEAD = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_SPREADSHEET = "application/vnd.openxmlformats-officedocument.spreadsheetml"
_PARTS = {
    "[Content_Types].xml": f'<Types xmlns="{_PACKAGE}/content-types">'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Default Extension="xml" ContentType="application/xml"/>'
    f'<Override PartName="/xl/workbook.xml" ContentType="{_SPREADSHEET}.sheet.main+xml"/>'
    f'<Override PartName="/xl/styles.xml" ContentType="{_SPREADSHEET}.styles+xml"/>'
    f'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{_SPREADSHEET}.worksheet+xml"/></Types>',
    "_rels/.rels": f'<Relationships xmlns="{_PACKAGE}/relationships">'
    f'<Relationship Id="rId1" Type="{_OFFICE}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
    "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{_PACKAGE}/relationships">'
    f'<Relationship Id="rId1" Type="{_OFFICE}/worksheet" Target="worksheets/sheet1.xml"/>'
    f'<Relationship Id="rId2" Type="{_OFFICE}/styles" Target="styles.xml"/></Relationships>',
    # Styles by their place: plain, head, day, time, and a text that stays one when its cell is edited.
    "xl/styles.xml": f'<styleSheet xmlns="{_MAIN}"><numFmts count="2">'
    '<numFmt numFmtId="164" formatCode="yyyy\\-mm\\-dd"/>'
    '<numFmt numFmtId="165" formatCode="yyyy\\-mm\\-dd\\ hh:mm:ss"/></numFmts>'
    '<fonts count="2"><font><sz val="11"/></font><font><b/><sz val="11"/></font></fonts>'
    '<fills count="2"><fill><patternFill patternType="none"/></fill><fill><patternFill patternType="gray125"/></fill></fills>'
    '<borders count="1"><border/></borders><cellStyleXfs count="1"><xf/></cellStyleXfs><cellXfs count="5"><xf/>'
    '<xf fontId="1" applyFont="1"/><xf numFmtId="164" applyNumberFormat="1"/><xf numFmtId="165" applyNumberFormat="1"/>'
    '<xf quotePrefix="1"/></cellXfs><cellStyles count="1"><cellStyle name="Normal" xfId="0" builtinId="0"/></cellStyles>'
    "</styleSheet>",
}
_EPOCH = datetime(1899, 12, 30)
_FIRST_DAY = date(1900, 3, 1)
"""Before it spreadsheets and the calendar disagree."""
_CONTROL = {n: None for n in (*range(9), 11, 12, *range(14, 32), 0xFFFE, 0xFFFF)} | dict.fromkeys(
    range(0xD800, 0xE000)
)
"""Characters that XML does not know."""


class XlsxWriter:
    """A workbook with one sheet of that title, its head frozen. Raises SheetTooLarge."""

    def __init__(self, title: str) -> None:
        self._pipe = _Pipe()
        self._zip = zipfile.ZipFile(self._pipe, "w", zipfile.ZIP_DEFLATED, compresslevel=4)
        for name, text in _PARTS.items():
            self._zip.writestr(name, _HEAD + text)
        name = escape("".join(c for c in title if c not in "[]:*?/\\'")[:31] or "Sheet", {'"': "&quot;"})
        self._zip.writestr(
            "xl/workbook.xml",
            f'{_HEAD}<workbook xmlns="{_MAIN}" xmlns:r="{_OFFICE}"><sheets><sheet name="{name}" sheetId="1" r:id="rId1"/>'
            "</sheets></workbook>",
        )
        self._sheet = self._zip.open(
            "xl/worksheets/sheet1.xml", "w"
        )  # no zip64: spreadsheets take it for damage
        self._sheet.write(
            f'{_HEAD}<worksheet xmlns="{_MAIN}"><sheetViews><sheetView workbookViewId="0"><pane ySplit="1" topLeftCell="A2"'
            ' activePane="bottomLeft" state="frozen"/></sheetView></sheetViews><sheetData>'.encode()
        )
        self._count = self._bytes = 0

    def rows(self, rows: Iterable[Sequence[Cell]]) -> bytes:
        """The next bytes, with these rows in them."""
        out: list[str] = []
        for row in rows:
            self._count += 1
            if self._count > MOST_ROWS + 1:
                raise SheetTooLarge
            out.append("<row>")
            out.extend(_xml(cell, self._count == 1) for cell in row)
            out.append("</row>")
        text = "".join(out).encode("utf-8", "replace")
        self._bytes += len(text)
        if self._bytes > _MOST_BYTES:
            raise SheetTooLarge
        self._sheet.write(text)
        return self._pipe.taken()

    def end(self) -> bytes:
        """The last bytes."""
        self._sheet.write(b"</sheetData></worksheet>")
        self._sheet.close()
        self._zip.close()
        return self._pipe.taken()


def _xml(cell: Cell, head: bool) -> str:
    match cell:
        case None:
            return "<c/>"
        case str():
            style = ' s="1"' if head else ' s="4"' if safe(cell) != cell else ""
            text = escape(cell[:MOST_CELL].translate(_CONTROL))
            return f'<c t="inlineStr"{style}><is><t xml:space="preserve">{text}</t></is></c>'
        case datetime():
            if cell.date() < _FIRST_DAY:
                return _xml(cell.isoformat(" "), head)
            since = cell - _EPOCH
            return f'<c s="3"><v>{since.days + since.seconds / 86400:.8f}</v></c>'
        case date():
            if cell < _FIRST_DAY:
                return _xml(cell.isoformat(), head)
            return f'<c s="2"><v>{(cell - _EPOCH.date()).days}</v></c>'
        case Decimal():
            # A sheet counts in binary floating point: what has more digits than that holds stays a text.
            return (
                f"<c><v>{cell:f}</v></c>"
                if len(cell.as_tuple().digits) <= 15
                else _xml(format(cell, "f"), head)
            )
        case _:
            return f"<c><v>{cell}</v></c>"
