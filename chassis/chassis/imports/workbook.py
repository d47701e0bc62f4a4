"""Reading XLSX workbooks, in a process of its own.

A workbook is a zip of XML, and a few kilobytes of it can ask for all the memory there is: a zip bomb, or two
cells at opposite corners of a sheet. So the reading happens in a child process with limits of memory and
time; whatever becomes of it, the service lives on and says that the file cannot be read.

`python -m chassis.imports.workbook` is that child: a workbook on its standard input, JSON lines on its
standard output.
"""

import asyncio
import contextlib
import logging
import signal
import sys
import zlib
from datetime import date, datetime, time, timedelta
from decimal import Decimal

import orjson

from chassis.imports.encodings import unreadable
from chassis.imports.reading import MOST_COLUMNS, MOST_ROWS, Packer, Sheet

_log = logging.getLogger(__name__)

_MEMORY = 1536 * 1024 * 1024
_SECONDS = 40
_MOST_UNPACKED = 400 * 1024 * 1024
_MOST_ENTRIES = 2000
_MOST_LINE = 64 * 1024 * 1024
_NO_MEMORY = "memory allocation"
"""Rust says so and aborts when it gets no memory."""
_ATTEMPTS = 2
"""A child that ended in another way says nothing about its workbook: the machine may have been short of memory itself."""

_TOO_MUCH = (
    "asks for more memory or time than an import may take: save the rows alone in a new workbook, or as CSV"
)


class _Ended(Exception):
    """The child ended before it had said everything."""


async def read_workbook(content: bytes, sheet: str = "") -> Sheet:
    """Reads one sheet of a workbook; the first unless `sheet` names one. Raises Invalid when it cannot be
    read."""
    for attempt in range(_ATTEMPTS):
        try:
            return await _read(content, sheet)
        except _Ended as ended:
            _log.warning("a workbook's reader ended: %s", ended, extra={"attempt": attempt})
    raise unreadable(_TOO_MUCH)


async def _read(content: bytes, sheet: str) -> Sheet:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "chassis.imports.workbook", sheet,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        limit=_MOST_LINE,
    )  # fmt: skip
    assert child.stdin is not None and child.stdout is not None and child.stderr is not None
    try:
        async with asyncio.timeout(_SECONDS + 5):
            feeding = asyncio.create_task(_feed(child.stdin, content))
            try:
                return await _taken(child.stdout, sheet)
            except EOFError:
                why = (await child.stderr.read(2000)).decode(errors="replace").strip()
                code = await child.wait()
            finally:
                feeding.cancel()
        if code == -signal.SIGXCPU or (code == -signal.SIGABRT and _NO_MEMORY in why):
            raise unreadable(_TOO_MUCH)
        raise _Ended(f"exit status {code}; {why[-500:]}")
    except TimeoutError:
        raise unreadable(_TOO_MUCH) from None
    finally:
        if child.returncode is None:
            with contextlib.suppress(ProcessLookupError):  # it may just have ended by itself
                child.kill()
        await child.wait()


async def _feed(stream: asyncio.StreamWriter, content: bytes) -> None:
    with contextlib.suppress(ConnectionError):  # the child has said what is wrong and gone
        stream.write(content)
        await stream.drain()
        stream.close()


async def _taken(stream: asyncio.StreamReader, sheet: str) -> Sheet:
    packer = Packer(titled=True)
    sheets: list[str] = []
    while True:
        try:
            line = await stream.readline()
        except ValueError:
            raise unreadable(_TOO_MUCH) from None
        if not line.endswith(b"\n"):
            raise EOFError
        said = orjson.loads(line)
        if isinstance(said, list):
            for cells in said:  # pyright: ignore[reportUnknownVariableType]
                packer.take(cells)  # pyright: ignore[reportUnknownArgumentType]
            await asyncio.sleep(0)
        elif "problem" in said:
            raise unreadable(said["problem"], said["field"])
        elif "sheets" in said:
            sheets = said["sheets"]
            sheet = said["sheet"]
        else:
            return packer.finish(sheet=sheet, sheets=sheets)


# The child.


def _limit() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (_SECONDS, _SECONDS + 5))  # at the second it is SIGKILL
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _say(what: object) -> None:
    sys.stdout.buffer.write(orjson.dumps(what) + b"\n")


def _unpacked_size(content: bytes) -> None:
    """Refuses zips that unpack to too much, whatever they declare."""
    import io
    import zipfile

    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = archive.infolist()
        if len(entries) > _MOST_ENTRIES:
            raise ValueError(f"holds {len(entries)} parts: at most {_MOST_ENTRIES} are read")
        if any(entry.flag_bits & 1 for entry in entries):
            raise ValueError("is protected by a password: save it without one")
        total = 0
        for entry in entries:
            start = entry.header_offset + 30
            head = content[entry.header_offset : start]
            start += int.from_bytes(head[26:28], "little") + int.from_bytes(head[28:30], "little")
            if entry.compress_type != zipfile.ZIP_DEFLATED:
                total += entry.file_size
                continue
            unzip = zlib.decompressobj(-15)
            rest = content[start : start + entry.compress_size]
            while rest and not unzip.eof:
                total += len(unzip.decompress(rest, 1 << 20))
                rest = unzip.unconsumed_tail
                if total > _MOST_UNPACKED:
                    raise ValueError(_TOO_MUCH)


def cell_text(value: object) -> str:
    """The value of a cell as a person would type it."""
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case float():
            if value != value or value in (float("inf"), float("-inf")):
                return ""
            return (
                str(int(value))
                if value.is_integer() and abs(value) < 1e15
                else format(Decimal(repr(value)), "f")
            )
        case datetime():
            return value.date().isoformat() if value.time() == time() else value.isoformat(" ", "seconds")
        case date() | time():
            return value.isoformat()
        case timedelta():
            return str(value)
        case _:
            return "" if value is None else str(value)


def _main(sheet: str) -> None:
    import io

    from python_calamine import CalamineWorkbook

    content = sys.stdin.buffer.read()
    _limit()
    field = "content"
    try:
        _unpacked_size(content)
        book = CalamineWorkbook.from_filelike(io.BytesIO(content))
        names = book.sheet_names
        if not names:
            raise ValueError("the workbook has no sheet")
        if sheet and sheet not in names:
            field = "sheet"
            raise ValueError(f"there is no sheet '{sheet}'; there are: {', '.join(names)}"[:500])
        found = book.get_sheet_by_name(sheet or names[0])
        _say({"sheets": names[:100], "sheet": sheet or names[0]})
        if found.total_width > MOST_COLUMNS * 33 or found.total_height > MOST_ROWS * 5 + 1:
            raise ValueError(f"the sheet spans {found.total_height:,} rows and {found.total_width:,} columns")
        batch: list[list[str]] = []
        for row in found.iter_rows():
            batch.append([cell_text(value) for value in row])
            if len(batch) >= 500:
                _say(batch)
                batch = []
        _say(batch)
        _say({"end": True})
    except Exception as error:
        # Whatever calamine or zipfile say of a broken file is of use to its owner, and nothing more.
        _say(
            {
                "problem": f"the workbook cannot be read: {str(error)[:300] or type(error).__name__}",
                "field": field,
            }
        )


if __name__ == "__main__":
    _main(sys.argv[1])
