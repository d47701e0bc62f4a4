"""Files that a person might send to be imported, and would better not: made up by a seed from sound ones."""

import io
import json
import random
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import xlsxwriter

SAMPLES = Path(__file__).parents[1] / "chassis/tests/data"
"""Files that have broken other people's importers (SOURCE.txt there says whence)."""
_NAMES = (
    "张伟",
    "Li Lei",
    "Ó Súilleabháin",
    "北京用友软件",
    "müller & co",
    "=1+1",
    "𠮷野家",
    "Ann",
    "x" * 199,
    "\u202eevil",
)
_DATES = (
    "2024-05-01",
    "1/2/24",
    "31.12.99",
    "2024年5月1日",
    "45000",
    "0",
    "-1",
    "2024-02-30",
    "May 5th",
    "32/13/2024",
    "9999-12-31",
    "0001-01-01",
    "10000-01-01",
    "2024-05-01T25:00:00",
    "12:00",
    "民国113年5月1日",
    "1899-12-31",
    "٢٠٢٤-٠٥-٠١",
    "2024-5-1 8:00 pm",
)
_NUMBERS = (
    "1",
    "-0",
    "1e400",
    "NaN",
    "Infinity",
    "１２３",
    "1,2,3",
    "1.234.567,89",
    "9" * 50,
    "0.1" + "0" * 400,
    "¥1万",
    "(5)",
    "$",
    "٣",
    "²",
    "1 000",
    "1'000.5",
    "--1",
    "50%",
    "亿",
    "USD",
    "EUR 5 USD",
    "0x10",
    "１，０００",
    "∞",
    "½",
)
_ENCODINGS = (
    "utf-7",
    "idna",
    "punycode",
    "base64",
    "hex",
    "unicode_escape",
    "raw_unicode_escape",
    "undefined",
    "mbcs",
    "utf-8\0",
    "x" * 40,
    "cp037",
    "utf-32",
    "rot13",
    "palmos",
    "zlib",
    "utf-16-le",
    "utf-16",
    "utf_8_sig",
    "hz",
    "iso2022_jp",
    "gb18030",
    "latin-1",
    "oem",
    "../utf-8",
    "bz2",
    "uu",
    "quopri",
    "big5",
    "ascii",
    " utf-8",
    "UTF8",
    "unicode_internal",
    "charmap",
    "utf-8-variants",
)
_DELIMITERS = (
    "\n",
    '"',
    "::",
    "é",
    "\0",
    "\r",
    " ",
    "a",
    "\t",
    "|",
    "\ud7ff",
    "名",
    "\x1f",
    "'",
    "0",
    "\r\n",
    ";",
)
_FILENAMES = (
    "../../etc/passwd.csv",
    "a.CSV",
    "名单.csv",
    "a\tb.csv",
    ".csv",
    "a" * 300 + ".csv",
    "a.csv.exe",
    "a.xls",
    "a",
    "",
    "a.xlsx",
    "a.csv ",
    "CON.csv",
    "\u202evsc.csv",
    "a;b=c.csv",
    'a"b.csv',
)


@dataclass(frozen=True)
class Column:
    """A field that rows of a kind may have, as the service says."""

    field: str
    label: str
    aliases: tuple[str, ...]
    required: bool


@dataclass(frozen=True)
class File:
    """A file, how it is to be read, and what is wrong with it."""

    what: str
    name: str
    content: bytes
    options: Mapping[str, str] = field(default_factory=dict[str, str])
    """Encoding, delimiter and sheet, where the person says them."""
    start: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The body with which the import is started."""


Rows = list[list[str]]


class Maker:
    """Makes files of one kind of record. `large` are the sizes that the long form has."""

    def __init__(self, columns: Sequence[Column], large: bool) -> None:
        self._columns = columns
        self._large = large
        self.kinds: Mapping[str, Callable[[random.Random], File]] = {
            name.removeprefix("_of_").replace("_", " "): getattr(self, name)
            for name in sorted(dir(self))
            if name.startswith("_of_")
        }

    def file(self, number: int, chance: random.Random) -> File:
        """The file of that number: every kind comes in turn."""
        names = [*self.kinds]
        return self.kinds[names[number % len(names)]](chance)

    # ---- what is sound

    def _rows(self, chance: random.Random, many: int | None = None) -> Rows:
        required = [column for column in self._columns if column.required]
        more = [column for column in self._columns if not column.required]
        taken = [*required, *chance.sample(more, min(len(more), chance.randrange(1, 8)))]
        header = [chance.choice((column.label, column.field, *column.aliases)) for column in taken]
        if many is None:
            many = chance.choice((1, 3, 20, 120))
        return [header, *([self._cell(column, chance) for column in taken] for _ in range(many))]

    @staticmethod
    def _cell(column: Column, chance: random.Random) -> str:
        if chance.random() < 0.1:
            return ""
        name = column.field.lower()
        if "date" in name or "time" in name:
            return chance.choice(_DATES)
        if "price" in name or "amount" in name or "percent" in name or "probab" in name:
            return chance.choice(_NUMBERS)
        if "phone" in name:
            return chance.choice(
                ("13800001234", "+86 138-0000-1234", "010-12345678转8", "nope", "１３８００００１２３４")
            )
        if "email" in name:
            return chance.choice(("a@b.example", "<A@B.example>", "a@b", "a@@b.example", "邮@件.中国"))
        return chance.choice(_NAMES) + (f" {chance.randrange(10**6)}" if chance.random() < 0.8 else "")

    @staticmethod
    def _text(rows: Rows, delimiter: str = ",", end: str = "\r\n") -> str:
        return (
            end.join(delimiter.join('"' + cell.replace('"', '""') + '"' for cell in row) for row in rows)
            + end
        )

    def _csv(self, chance: random.Random, many: int | None = None) -> bytes:
        return self._text(self._rows(chance, many)).encode()

    # ---- text files

    def _of_sound_rows(self, chance: random.Random) -> File:
        encoding = chance.choice(("utf-8", "utf-8-sig", "gb18030", "utf-16"))
        return File("sound", "a.csv", self._text(self._rows(chance), chance.choice(",;\t|")).encode(encoding))

    def _of_cut_files(self, chance: random.Random) -> File:
        whole = self._text(self._rows(chance)).encode(chance.choice(("utf-8", "gb18030", "utf-16")))
        return File("cut", "a.csv", whole[: chance.randrange(len(whole))])

    def _of_mixed_encodings(self, chance: random.Random) -> File:
        encodings = chance.sample(("utf-8", "gb18030", "utf-16-le", "utf-8-sig"), 2)
        parts = [self._text(self._rows(chance, 5)).encode(encoding) for encoding in encodings]
        return File("mixed encodings", "a.csv", b"".join(parts))

    def _of_altered_bytes(self, chance: random.Random) -> File:
        out = bytearray(self._text(self._rows(chance)).encode(chance.choice(("utf-8", "gb18030", "utf-16"))))
        for _ in range(chance.choice((1, 5, 50))):
            out[chance.randrange(len(out))] = chance.randrange(256)
        return File("altered bytes", "a.csv", bytes(out))

    def _of_wrong_encodings(self, chance: random.Random) -> File:
        content = self._csv(chance) + chance.choice(
            (b"", b"\\ud800,\\udfff\r\n", b"+2AA-,x\r\n", b"\x1b$B!!\r\n")
        )
        return File("an encoding", "a.csv", content, {"encoding": chance.choice(_ENCODINGS)})

    def _of_open_quotes(self, chance: random.Random) -> File:
        lines = self._text(self._rows(chance)).splitlines(keepends=True)
        at = chance.randrange(len(lines))
        lines[at] = lines[at].replace('"', "", 1) if chance.random() < 0.5 else '"' + lines[at]
        return File("open quotes", "a.csv", "".join(lines).encode())

    def _of_zero_bytes(self, chance: random.Random) -> File:
        whole = bytearray(self._csv(chance))
        for _ in range(chance.choice((1, 40))):
            whole.insert(chance.randrange(len(whole)), 0)
        return File("zero bytes", "a.csv", bytes(whole))

    def _of_long_lines(self, chance: random.Random) -> File:
        size = chance.choice((300_000, 10_000_000)) if self._large else 300_000
        cell = chance.choice(("a", "名", "\U0001f600", '""', ","))
        body = self._csv(chance, 2) + b'"' + (cell * size).encode()[:size] + chance.choice((b'"\r\n', b""))
        return File("a long line", "a.csv", body)

    def _of_many_columns(self, chance: random.Random) -> File:
        width = chance.choice((499, 500, 501, 3_000, 16_384))
        rows = self._rows(chance, 3)
        return File(
            "many columns",
            "a.csv",
            self._text([row + [f"c{n}" for n in range(width - len(row))] for row in rows]).encode(),
        )

    def _of_long_rows(self, chance: random.Random) -> File:
        rows = self._rows(chance)
        for row in rows[1:]:
            if chance.random() < 0.3:
                row.extend(["more"] * chance.choice((1, 400)))
        return File("rows longer than the header", "a.csv", self._text(rows).encode())

    def _of_repeated_headers(self, chance: random.Random) -> File:
        rows = self._rows(chance)
        return File(
            "repeated headers", "a.csv", self._text([row * chance.choice((2, 3)) for row in rows]).encode()
        )

    def _of_odd_headers(self, chance: random.Random) -> File:
        rows = self._rows(chance)
        odd = (
            "",
            " ",
            "\n",
            "x" * 40_000,
            "(",
            "（）",
            "\0",
            "\u200b",
            "'",
            "=1",
            "🙂",
            "id",
            "Name (required)",
        )
        rows[0] = [cell if chance.random() < 0.5 else chance.choice(odd) for cell in rows[0]]
        return File("odd headers", "a.csv", self._text(rows).encode())

    def _of_nothing(self, chance: random.Random) -> File:
        header = self._text(self._rows(chance, 0)).encode()
        nothing = (
            b"",
            b"\xef\xbb\xbf",
            header,
            b"\r\n" * 500,
            b" \t " * 90,
            b"\0" * 30,
            b"\xff\xfe",
            b",,,\r\n" * 9,
            b'""',
            b'"',
            b"\x1a",
        )
        return File("nothing", "a.csv", chance.choice(nothing))

    def _of_delimiters(self, chance: random.Random) -> File:
        return File("a delimiter", "a.csv", self._csv(chance), {"delimiter": chance.choice(_DELIMITERS)})

    def _of_sep_lines(self, chance: random.Random) -> File:
        said = "sep=" + chance.choice((*_DELIMITERS, ";;", "", " ,"))
        return File("a sep line", "a.csv", (said + "\r\n").encode("utf-8", "replace") + self._csv(chance))

    def _of_file_names(self, chance: random.Random) -> File:
        return File("a file name", chance.choice(_FILENAMES), self._csv(chance))

    def _of_noise(self, chance: random.Random) -> File:
        return File(
            "noise",
            chance.choice(("a.csv", "a.txt", "a.xlsx")),
            chance.randbytes(chance.choice((1, 50, 5_000))),
        )

    def _of_control_characters(self, chance: random.Random) -> File:
        odd = "".join(
            map(
                chr,
                (*range(1, 32), 127, 133, 0x2028, 0x200B, 0x202E, 0xFEFF, 0xFFFE, 0xFFFF, 0xE000, 0x10FFFF),
            )
        )
        rows = self._rows(chance)
        for row in rows[1:]:
            row[0] = "".join(chance.choice(odd) for _ in range(9)) + row[0]
        return File("control characters", "a.csv", self._text(rows).encode())

    def _of_lone_surrogates(self, chance: random.Random) -> File:
        rows = self._rows(chance)
        rows[-1][0] = "a\ud800b"
        encoding = chance.choice(("utf-16-le", "utf-8"))
        mark = b"\xff\xfe" if encoding != "utf-8" else b""
        return File("lone surrogates", "a.csv", mark + self._text(rows).encode(encoding, "surrogatepass"))

    def _of_line_ends(self, chance: random.Random) -> File:
        text = self._text(
            self._rows(chance), end=chance.choice(("\r", "\n", "\n\r", "\r\r\n", "\v", "\u2028"))
        )
        return File("line ends", "a.csv", text.encode())

    def _of_formulas(self, chance: random.Random) -> File:
        odd = (
            "=cmd|' /C calc'!A0",
            "+1+1",
            "@SUM(A1)",
            "\t=1",
            "＝1",
            "-2+3",
            '=HYPERLINK("http://x","y")',
            "'=1",
            "%0A",
            "|x",
        )
        rows = self._rows(chance)
        for row in rows:
            row[chance.randrange(len(row))] = chance.choice(odd)
        return File("formulas", "a.csv", self._text(rows).encode())

    def _of_large_cells(self, chance: random.Random) -> File:
        rows = self._rows(chance, 3)
        rows[-1][-1] = chance.choice(("a", "名", "\U0001f600")) * chance.choice(
            (201, 32_767, 32_768, 65_535, 70_000)
        )
        return File("large cells", "a.csv", self._text(rows).encode())

    def _of_equal_rows(self, chance: random.Random) -> File:
        rows = self._rows(chance, 1)
        return File(
            "equal rows", "a.csv", self._text([rows[0], *(rows[1:] * chance.choice((2, 700)))]).encode()
        )

    def _of_many_rows(self, chance: random.Random) -> File:
        if self._large and chance.random() < 0.1:
            row = self._text(self._rows(chance, 0)).encode()
            return File("too many rows", "a.csv", row + b"x\r\n" * 200_001)
        return File("many rows", "a.csv", self._csv(chance, 3_000 if self._large else 1_200))

    def _of_odd_starts(self, chance: random.Random) -> File:
        odd: Sequence[Mapping[str, Any]] = (
            {"mapping": [{"column": -1, "field": "name"}]},
            {"mapping": [{"column": 0, "field": "name"}] * 2},
            {"mapping": [{"column": 2**31 - 1, "field": "x"}]},
            {"mode": "IMPORT_MODE_UPSERT"},
            {"mode": 77},
            {"currencyCode": "XXX"},
            {"currencyCode": "JPY"},
            {"ownerId": "0" * 36},
            {"mapping": [{"column": 0, "field": ""}]},
            {"etag": "99"},
            {"mapping": [{"column": n, "field": "notes"} for n in range(600)]},
        )
        return File("an odd start", "a.csv", self._csv(chance), start=chance.choice(odd))

    def _of_samples(self, chance: random.Random) -> File:
        found = chance.choice(sorted(SAMPLES.glob("*/*.csv")))
        out = bytearray(found.read_bytes())
        for _ in range(chance.choice((0, 0, 3)) if out else 0):
            out[chance.randrange(len(out))] = chance.randrange(256)
        return File(f"the sample {found.name}", "a.csv", bytes(out))

    def _of_json_named_csv(self, chance: random.Random) -> File:
        return File("JSON", "a.csv", json.dumps([{"name": name} for name in _NAMES], indent=1).encode())

    # ---- workbooks

    def _workbook(
        self, chance: random.Random, change: Callable[[Any, Any, Rows], None] | None = None
    ) -> bytes:
        out = io.BytesIO()
        book = xlsxwriter.Workbook(
            out, {"in_memory": True, "strings_to_formulas": False, "nan_inf_to_errors": True}
        )
        sheet = book.add_worksheet()
        rows = self._rows(chance)
        for number, row in enumerate(rows):
            sheet.write_row(number, 0, row)
        if change:
            change(book, sheet, rows)
        book.close()
        return out.getvalue()

    def _of_odd_workbooks(self, chance: random.Random) -> File:
        def change(book: Any, sheet: Any, rows: Rows) -> None:
            odd: Sequence[Callable[[int, int], Any]] = (
                lambda r, c: sheet.write_formula(r, c, "=1/0", None, "#DIV/0!"),
                lambda r, c: sheet.write_number(r, c, float("nan")),
                lambda r, c: sheet.write_number(r, c, 1e308),
                lambda r, c: sheet.write_boolean(r, c, True),
                lambda r, c: sheet.write_blank(r, c, None),
                lambda r, c: sheet.write_number(
                    r,
                    c,
                    chance.choice((-1, 0, 60, 2958466, 1e9)),
                    book.add_format({"num_format": "yyyy-mm-dd"}),
                ),
                lambda r, c: sheet.write_number(r, c, 1.5, book.add_format({"num_format": "[h]:mm"})),
                lambda r, c: sheet.write_string(r, c, "a" * 32_767),
            )
            for row in range(1, len(rows)):
                chance.choice(odd)(row, chance.randrange(len(rows[0])))
            if chance.random() < 0.3:
                sheet.write_string(
                    *chance.choice(((1_048_575, 16_383), (0, 16_383), (1_048_575, 0))), "far away"
                )
            book.add_worksheet("名" * 31)

        options = {"sheet": chance.choice(("", "", "Sheet1", "nope", "名" * 31))}
        return File("an odd workbook", "a.xlsx", self._workbook(chance, change), options)

    def _of_broken_workbooks(self, chance: random.Random) -> File:
        out = bytearray(self._workbook(chance))
        if chance.random() < 0.4:
            out = out[: chance.randrange(4, len(out))]
        for _ in range(chance.choice((0, 1, 5, 100))):
            out[chance.randrange(4, len(out))] = chance.randrange(256)
        return File("a broken workbook", "a.xlsx", bytes(out))

    def _of_altered_parts(self, chance: random.Random) -> File:
        """A zip that is sound, with a part of it that is not."""

        def altered(name: str, part: bytes) -> bytes:
            if "sheet1" not in name and "shared" not in name and chance.random() < 0.5:
                return part
            match chance.randrange(5):
                case 0:
                    return part[: len(part) // 2]
                case 1:
                    return part.replace(b"<row", b"<rwo")
                case 2:
                    return part.replace(b'r="A', b'r="ZZZZZZ')
                case 3:
                    return part.replace(b"<v>", b"<v>9999999")
                case _:
                    return b""

        return File("an altered part", "a.xlsx", _repacked(self._workbook(chance), altered))

    def _of_bombs(self, chance: random.Random) -> File:
        size = 600_000_000 if self._large else 420_000_000
        if chance.random() < 0.5:
            return File("a zip bomb", "a.xlsx", _bomb(size))
        laughs = (
            b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a0 "ha">'
            + b"".join(b'<!ENTITY a%d "%s">' % (n, (b"&a%d;" % (n - 1)) * 20) for n in range(1, 12))
            + b"]>"
        )

        def altered(name: str, part: bytes) -> bytes:
            if "sheet1" not in name and "shared" not in name:
                return part
            rest = part.partition(b"?>")[2]
            return laughs + rest.replace(b"<v>", b"<v>&a11;").replace(b"<t>", b"<t>&a11;")

        return File("an XML bomb", "a.xlsx", _repacked(self._workbook(chance), altered))

    def _of_lying_zips(self, chance: random.Random) -> File:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            for number in range(chance.choice((0, 1, 2_500))):
                archive.writestr(f"../../x{number}", b"x")
        if chance.random() < 0.5:
            return File("a lying zip", "a.xlsx", b"PK\x03\x04" + out.getvalue())
        return File("a zip of nothing", "a.xlsx", out.getvalue())


def _repacked(book: bytes, altered: Callable[[str, bytes], bytes]) -> bytes:
    out = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(book)) as source,
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for name in source.namelist():
            target.writestr(name, altered(name, source.read(name)))
    return out.getvalue()


_bombs: dict[int, bytes] = {}


def _bomb(size: int) -> bytes:
    """A workbook whose one sheet unpacks to that many bytes."""
    if size not in _bombs:
        out = io.BytesIO()
        with (
            zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
            archive.open("xl/worksheets/sheet1.xml", "w") as part,
        ):
            for _ in range(size // 1_000_000):
                part.write(b" " * 1_000_000)
        _bombs[size] = out.getvalue()
    return _bombs[size]
