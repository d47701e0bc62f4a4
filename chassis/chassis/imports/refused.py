"""The file of refused and repaired rows, safe to open in a spreadsheet and fit to be corrected and imported
again."""

import csv
import io
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

SKIPPED = "DUPLICATE_SKIPPED"
"""The reason of a row that made nothing since its record was there."""
_FORMULA = "=+-@|%\t\r"
_HARMLESS = re.compile(r"[+-]?\d[\d\s.,]*%?")
_PARTS = re.compile(r"[;\t\r\n]")
"""Where another spreadsheet, set to another delimiter, may see the next cell or row begin."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a cell, or with the row when `field` is empty; or, `repaired`, what was put right
    in it."""

    field: str
    reason: str
    message: str
    repaired: bool = False


def safe(cell: str) -> str:
    """The cell such that no spreadsheet takes it for a formula.

    A spreadsheet looks at the first character it does not skip, so that is what is looked at: behind white
    space, control and invisible characters, and with full-width forms as their plain ones. Plain numbers and
    phone numbers stay. What comes behind a semicolon, tab or line end may be a cell of its own to some.
    """
    marked = _marked(cell)
    found = _PARTS.search(marked)
    if found is None:
        return marked
    parts = [marked[: found.end()]]
    start = found.end()
    if not _shows(parts[0]):  # the beginning is looked at as a whole, with the white space before it
        return marked
    while found is not None:
        found = _PARTS.search(marked, start)
        end = len(marked) if found is None else found.end()
        parts.append(_marked(marked[start:end]))
        start = end
    return "".join(parts)


def _shows(text: str) -> bool:
    return bool(text.strip(" ;\t\r\n"))


def _marked(cell: str) -> str:
    """The text with a mark before it when its first character that counts would begin a formula."""
    begun = unicodedata.normalize("NFKC", cell)
    for c in begun:
        if c in _FORMULA:
            break
        if not (c.isspace() or unicodedata.category(c) in ("Cc", "Cf", "Zs", "Zl", "Zp", "Mn", "Cn", "Co")):
            return cell
    else:
        return cell
    if _HARMLESS.fullmatch(cell.strip(" ;\t\r\n")):
        return cell
    return "'" + cell


def restored(cell: str) -> str:
    """What `safe` was given: files that were made here can be imported again."""
    plain = _MARKS.sub(r"\1", cell)
    return plain if plain != cell and safe(plain) == cell else cell


_MARKS = re.compile(r"(^|[;\t\r\n])'")


def refused_csv(
    header: Sequence[str], rows: Iterable[tuple[int, Sequence[str], Sequence[Problem]]]
) -> Iterator[bytes]:
    """The file in pieces: UTF-8 with BOM, CRLF.

    `rows` are row number, cells, problems. A line has the row's number, its verdict, the reasons, and the row
    as it was.
    """
    yield from _csv(["Row", "Verdict", "Reasons", *header], _lines(rows))


def more_refused(rows: Iterable[tuple[int, Sequence[str], Sequence[Problem]]]) -> Iterator[bytes]:
    """Further lines of that file, in pieces."""
    yield from _csv(None, _lines(rows))


def cut_behind(row: int) -> bytes:
    """The last line of a file that holds no row behind that one, though there are more."""
    told = f"There are more rows than fit here: ask for those behind this one with afterRow={row}."
    return b"".join(_csv(None, [[str(row), "cut", told]]))


def kept_csv(rows: Iterable[tuple[int, UUID, str, str]]) -> Iterator[bytes]:
    """The file of what an undoing left as it is, in pieces; `rows` are row number, record, reason and message."""
    yield from _csv(["Row", "Record", "Reason", "Message"], ())
    yield from more_kept(rows)


def more_kept(rows: Iterable[tuple[int, UUID, str, str]]) -> Iterator[bytes]:
    """Further lines of that file, in pieces."""
    yield from _csv(None, ([str(cell) for cell in row] for row in rows))


def _lines(
    rows: Iterable[tuple[int, Sequence[str], Sequence[Problem]]],
) -> Iterator[list[str]]:
    for number, cells, problems in rows:
        verdict = "repaired" if all(p.repaired for p in problems) else "refused"
        if any(p.reason == SKIPPED for p in problems):
            verdict = "skipped"
        reasons = "; ".join(f"{p.field}: {p.message}" if p.field else p.message for p in problems)
        yield [str(number), verdict, reasons, *cells]


def _csv(header: Sequence[str] | None, rows: Iterable[Sequence[str]]) -> Iterator[bytes]:
    out = io.StringIO(newline="")
    writer = csv.writer(out, quoting=csv.QUOTE_MINIMAL, lineterminator="\r\n")
    if header is not None:
        out.write("\ufeff")
        writer.writerow([*map(safe, header)])
    for row in rows:
        writer.writerow([*map(safe, row)])
        if out.tell() > 65536:
            yield out.getvalue().encode("utf-8", "replace")
            out.seek(0)
            out.truncate()
    yield out.getvalue().encode("utf-8", "replace")
