"""In which encoding a text file is, and its text piece by piece.

Whether a file is of an encoding is found by decoding all of it, in pieces of which none is kept. Where several fit, the bytes say
which is meant: nearly everything that is written in Big5, and much of what is written in Windows-1252, fits GB18030 byte by byte.
"""

import codecs
import io
import re

from chassis.charsets import codec
from chassis.errors import Invalid

SUGGESTED = "utf-8, utf-16, gb18030, big5, windows-1252, shift_jis or euc-kr"
"""Some of the names by which an encoding can be said; `chassis.charsets` has all."""
_PIECE = 1 << 18
"""Bytes that are decoded at once."""
_SAMPLE = 1 << 16
"""Bytes, from the first on that is no ASCII, by which encodings that all fit are told apart."""
_PAIRS = re.compile(rb"[\x81-\xfe][\x40-\x7e\x80-\xfe]")
_HIGH = re.compile(rb"[\x80-\xff]+")
_FOURS = re.compile(rb"[\x81-\x84\x94\x95][0-9][\x81-\xfe][0-9]")
"""Letters beyond the pairs of GB18030: those of other languages, and emoji."""


def unreadable(description: str, field: str = "content") -> Invalid:
    """The refusal of a file that cannot be read."""
    return Invalid(field, description, reason="FILE_NOT_READABLE")


def encoding_of(content: bytes, encoding: str = "") -> tuple[str, str]:
    """The codec that reads the file, and the name of its encoding, by which it could have been said.

    Looks for byte order marks, then for the zero bytes of UTF-16, then tries UTF-8, and at last Big5 or GB18030, whichever the
    bytes look like. Raises Invalid when none fits, or the one that is said does not.
    """
    if encoding:
        named = codec(encoding)
        if not named:
            raise Invalid(
                "encoding",
                f"'{encoding[:40]}' is no encoding that is known here; known are {SUGGESTED}, for example",
            )
        named = _in_its_order(named, content)
        wrong = _first_wrong(content, named)
        if wrong is not None:
            raise unreadable(f"is not {encoding}: byte {wrong + 1:,} does not fit", "encoding")
        return named, encoding
    if content.startswith(codecs.BOM_UTF8):
        candidates = ["utf-8-sig"]
    elif content.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        candidates = ["utf-32"]
    elif content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        candidates = ["utf-16"]
    else:
        candidates = _utf_16(content[:4000]) if b"\0" in content else ["utf-8", *_by_its_bytes(content)]
    where = 0
    for candidate in candidates:
        named = codec(candidate)
        wrong = _first_wrong(content, named)
        if wrong is None:
            return named, candidate
        where = max(where, wrong)
    # Where letters take two bytes, half a letter may look like the end of a line.
    lines, wide = content.count(b"\n", 0, where), b"\0" in content
    place = f"byte {where + 1:,}" if wide else f"line {lines + 1:,}"
    raise unreadable(
        f"is in no encoding that can be found out ({place}): say which it is, as {SUGGESTED}, or save it as UTF-8"
    )


def text_of(content: bytes, named: str, newline: str | None = "") -> io.TextIOWrapper:
    """The file's text, decoded as it is read; behind a mark of its byte order, if it has one."""
    source = io.TextIOWrapper(io.BytesIO(content), named, newline=newline)
    if source.read(1) != "\ufeff":
        source.seek(0)
    return source


def _in_its_order(named: str, content: bytes) -> str:
    """UTF-16 and UTF-32 without a mark of their byte order: on which side the zero bytes of letters, commas and line ends stand
    tells."""
    if named not in ("utf_16", "utf_32") or content.startswith(
        (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)
    ):
        return named
    wide = 2 if named == "utf_16" else 4
    start = content[:4000]
    return named + ("_be" if start[::wide].count(0) > start[wide - 1 :: wide].count(0) else "_le")


def _first_wrong(content: bytes, named: str) -> int | None:
    """Where the first byte stands that does not fit; None when all do."""
    decoder = codecs.getincrementaldecoder(named)()
    for start in range(0, len(content) + _PIECE, _PIECE):
        piece = content[start : start + _PIECE]
        try:
            decoder.decode(piece, not piece)
        except UnicodeDecodeError as error:
            # What the decoder had kept of the piece before stands in front of this one.
            return min(start, len(content)) - (len(error.object) - len(piece)) + error.start
        if not piece:
            break
    return None


def _utf_16(start: bytes) -> list[str]:
    """The kind of UTF-16 without a mark: zero bytes stand on one side only, and line ends are where they
    belong."""
    for name, zeros, others, line_end in (
        ("utf-16-le", start[1::2], start[::2], b"\n\0"),
        ("utf-16-be", start[::2], start[1::2], b"\0\n"),
    ):
        if 0 in zeros and 0 not in others and line_end in start:
            return [name]
    raise unreadable("is no text: it holds zero bytes")


def _by_its_bytes(content: bytes) -> list[str]:
    """What a file that is no UTF-8 is most likely to be; nothing when it looks Western, since there are a dozen such encodings.

    Western texts have their marked letters among plain ones, so that most bytes above ASCII stand alone. Chinese ones are made of
    pairs, and each standard has the characters that everybody uses in a part of its own: a text is nearly always of that part of
    the standard in which it was written, and seldom of the other's. Of Big5's part two fifths have an ASCII letter as their
    second byte: GB 2312 has none of these, so that its Russian and Japanese letters are not taken for Big5, and Western texts
    have little else.
    """
    first = _HIGH.search(content)
    if first is None:
        return []
    sample = content[first.start() : first.start() + _SAMPLE]
    pairs = [pair for pair in _PAIRS.findall(sample) if not 0xA1 <= pair[0] <= 0xA3]  # punctuation in both
    in_big5 = sum(0xA4 <= lead <= 0xC6 and (trail >= 0xA1 or trail <= 0x7E) for lead, trail in pairs)
    low = sum(0xA4 <= lead <= 0xC6 and trail <= 0x7E for lead, trail in pairs)
    mixed = 0.1 * in_big5 <= low <= 0.85 * in_big5
    in_gb = sum(0xB0 <= lead <= 0xD7 and trail >= 0xA1 for lead, trail in pairs) + len(_FOURS.findall(sample))
    if pairs and mixed and in_big5 >= 0.9 * len(pairs) and in_gb <= 0.6 * len(pairs):
        return ["big5"]
    runs = _HIGH.findall(sample)
    alone = sum(len(run) == 1 for run in runs)
    return [] if alone >= 0.8 * len(runs) and in_gb <= 0.2 * len(runs) else ["gb18030"]
