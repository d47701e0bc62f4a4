"""Finding records by any part of a name, of its pinyin or initials, of a phone number or an e-mail address.

No extension of PostgreSQL is needed. A searchable record keeps two derived columns (`Searchable`):
`search_text`, the normalised texts in which words are looked for, one a line, and `search`, the hashes of
their grams under a GIN index. A word of a query hits a record when it is a part of one of its texts; the
grams find the candidates, so the cost grows with the hits and not with the table, and a look into
`search_text` removes the false ones.

Declaring it in a service::

    class Lead(Owned, Searchable, table=True):
        ...
        def index(self) -> None:                     # called by the factory and by every change of these
        values
            self.find_by(names=[self.company_name], people=[self.full_name],
                         phones=[self.phone], texts=[self.email])

    # in the migration, once the table exists (chassis.schema):
    # columns `search integer[] NOT NULL` and `search_text text NOT NULL` belong to the table
    add_search("leads")                              # the index, and the function leads_search(...)

    # in rpc.py:
    LEADS = Listing("leads", ..., search=True)       # then `query` of ListLeads works

What is found. Case, width (full, half) and white space do not matter; all words of the query must hit. Of
Latin letters and digits a part of three or more is found anywhere, one of one or two at the beginning of a
word and in initials. In numbers, separators between digits do not matter: `138-0000` finds 13800001234.
"""

import re
import unicodedata
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from sqlalchemy import Integer, Text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlmodel import Field, SQLModel

from chassis.errors import Invalid
from chassis.pinyin import readings

SHOWN = 50
"""Hits in a sample of the records that make a query one of many hits, some thousands: of five hundred hits, fifty are never in
the sample. A first page is made up with so many, for they are as good as any. The functions in the databases have the number
written in them (`chassis.schema`): another one needs a migration."""
_MOST_WORDS = 8
_MOST_GRAMS = 24
"""Grams asked for a word: more do not narrow the candidates further, and the recheck sees the whole word."""
_DIGITS = 5
"""Length of the grams of numbers: of threes there are but a thousand, and every one of them is in one record of fifty."""
_TAIL = 4
"""Grams asked for a long number: many begin alike, so its end tells it apart."""
_EVERYWHERE = frozenset(("有限", "限公", "公司", "股份", "份有", "集团", "责任", "限责", "任公"))
"""Grams of most companies' names: they narrow nothing, and one is asked for only where the query has no others."""
_MOST_TEXT = 400
"""Characters of one text that are indexed."""

_SPACE = re.compile(r"\s+")
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]"
)
_RUNS = re.compile(
    "[\u2e80-\ud7ff\uf900-\ufaff\U00020000-\U0003ffff]+|[^\u2e80-\ud7ff\uf900-\ufaff\U00020000-\U0003ffff]+"
)
_WIDE = re.compile("[\u2e80-\ud7ff\uf900-\ufaff\U00020000-\U0003ffff]")
_WIDE_GAP = re.compile(
    "(?<=[\u2e80-\ud7ff\uf900-\ufaff\U00020000-\U0003ffff])\\s+(?=[\u2e80-\ud7ff\uf900-\ufaff\U00020000-\U0003ffff])"
)
_NARROW = "\u2e80"
_BETWEEN_DIGITS = re.compile(r"(?<=\d)[-+.()/\s]+(?=\d)")
_NUMBER = re.compile(r"[-+.()/0-9]*\d[-+.()/0-9]*")
_LONG_NUMBER = re.compile(r"[0-9]{5,}")
_NOT_DIGIT = re.compile(r"\D+")


@dataclass(frozen=True, slots=True)
class Found:
    """What a record is found by: the hashes of its grams, sorted, and its normalised texts, one a line."""

    grams: list[int]
    text: str


class Searchable(SQLModel):
    """The columns by which a record is found. `find_by` fills them; nothing else writes them."""

    search: list[int] = Field(default_factory=list[int], sa_type=ARRAY(Integer), nullable=False)  # pyright: ignore[reportArgumentType]
    search_text: str = Field(default="", sa_type=Text)

    def find_by(
        self,
        *,
        names: Iterable[str | None] = (),
        people: Iterable[str | None] = (),
        phones: Iterable[str | None] = (),
        texts: Iterable[str | None] = (),
    ) -> None:
        """Makes the record findable by these values. Call it whenever one of them has changed; None and ''
        are skipped.

        `names` are names of companies and things, `people` those of persons (a surname may be read in its
        own way), `phones` numbers in E.164 or as written, `texts` whatever is found as it is written: e-mail
        addresses, numbers.
        """
        found = terms(names=names, people=people, phones=phones, texts=texts)
        if found.text != self.search_text or not self.search:
            self.search = found.grams
            self.search_text = found.text


def normalised(text: str) -> str:
    """The text as it is compared: compatibility forms unified (full width becomes half), case folded, spaces
    single, control and invisible characters left out."""
    folded = text.lower()
    if not text.isascii():
        folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return _SPACE.sub(" ", _INVISIBLE.sub("", folded)).strip()


def terms(
    *,
    names: Iterable[str | None] = (),
    people: Iterable[str | None] = (),
    phones: Iterable[str | None] = (),
    texts: Iterable[str | None] = (),
) -> Found:
    """What a record with these values is found by. See `Searchable.find_by`."""
    lines: dict[str, None] = {}
    short: dict[str, None] = {}
    for group, person in ((names, False), (people, True)):
        for name in group:
            if name:
                _name(name[:_MOST_TEXT], person, lines, short)
    for phone in phones:
        if phone:
            lines.update(dict.fromkeys(phone_forms(phone)))
    for text in texts:
        if text:
            line = normalised(text[:_MOST_TEXT])
            lines[line] = None
            _joined_digits(line, lines)
    lines.pop("", None)
    grams: list[str] = []
    for line in lines:
        _grams(line, grams)
    for line in short:
        grams += [line[i : i + 2] for i in range(len(line) - 1)]
    return Found(_hashed([*grams, *rare_grams(lines)]), "\n".join(lines))


def rare_grams(lines: Iterable[str]) -> list[str]:
    """Of normalised texts, what few other records have: whole texts, and the longer parts of numbers."""
    out: list[str] = []
    for line in lines:
        out.append(f"={line}")
        for number in _LONG_NUMBER.findall(line):
            out += [number[i : i + _DIGITS] for i in range(len(number) - _DIGITS + 1)]
    return out


def widened(grams: Iterable[int], text: str) -> list[int]:
    """The grams of a record that was indexed without its rare ones, with them. `text` is its `search_text`."""
    return sorted({*grams, *_hashed(rare_grams(text.split("\n") if text else ()))})


def _hashed(grams: Iterable[str]) -> list[int]:
    if len(_hashes) > _MOST_HASHES:
        _hashes.clear()
    return sorted(set(map(_hashes.__getitem__, grams)))


def _name(name: str, person: bool, lines: dict[str, None], short: dict[str, None]) -> None:
    line = normalised(name)
    lines[line] = None
    _joined_digits(line, lines)
    if line.isascii() or not _WIDE.search(line):
        return
    tight = _WIDE_GAP.sub("", line)
    lines[tight] = None
    for read in readings(tight, person):
        letters = "".join([syllable[0] for syllable in read])
        short[letters] = None
        lines[letters] = None
        lines["".join(read)] = None


def _joined_digits(line: str, lines: dict[str, None]) -> None:
    joined = _BETWEEN_DIGITS.sub("", line)
    if joined != line:
        lines[joined] = None


def phone_forms(phone: str) -> list[str]:
    """The digit strings by which a number is found: with its country code and as dialled inside the country.

    `phone` is E.164 (`+8613800001234`) or, when nobody could make sense of it, as written.
    """
    digits = _NOT_DIGIT.sub("", normalised(phone))
    if not digits:
        return []
    if not phone.startswith("+"):
        return [digits]
    if digits.startswith("86") and len(digits) != 13:
        return [digits, "0" + digits[2:]]  # a landline is dialled 010..., a mobile number without the 0
    code = next((c for c in _TRUNK_ZERO if digits.startswith(c)), None)
    return [digits, "0" + digits[len(code) :]] if code else [digits]


# Countries whose national numbers are written with a leading 0 that the international form drops (ITU-T
# E.164 national trunk prefixes), where Kehu's users' partners are most often found.
_TRUNK_ZERO = (
    "44",
    "49",
    "33",
    "31",
    "81",
    "82",
    "886",
    "61",
    "62",
    "66",
    "60",
    "84",
    "91",
    "32",
    "41",
    "43",
    "46",
    "27",
)


def _grams(line: str, out: list[str]) -> None:
    for word in line.split(" "):
        # This is most of what an import computes: a word in Latin letters needs no pattern.
        for run in (word,) if word.isascii() else _RUNS.findall(word):
            if run > _NARROW and _WIDE.match(run):
                out += run
                out += map("".join, pairwise(run))
            else:
                out += (run[:1], run[:2])
                out += map("".join, zip(run, run[1:], run[2:], strict=False))


class _Hashes(dict[str, int]):
    """Grams with their hashes, as far as they have been asked for."""

    def __missing__(self, gram: str) -> int:
        value = zlib.crc32(gram.encode("utf-8", "surrogatepass"))
        self[gram] = value = value - (1 << 32) if value >= 1 << 31 else value
        return value


_hashes = _Hashes()
_MOST_HASHES = 1 << 17


@dataclass(frozen=True, slots=True)
class Query:
    """A query taken apart: the normalised words, and the grams that every hit must have."""

    words: tuple[str, ...]
    grams: tuple[int, ...]
    phrase: str
    """The whole of it: a record with a text that equals it comes first, then those with one that begins with
    it."""
    exact: int
    """The gram of the records with a text that equals it."""


def query(text: str, field: str = "query") -> Query | None:
    """The query in `text`; None when it holds no word.

    Raises Invalid naming `field` when it holds more than eight words.
    """
    words = list(dict.fromkeys(_query_word(word) for word in normalised(text).split(" ") if word))
    if len(words) > _MOST_WORDS:
        raise Invalid(field, f"holds {len(words)} words: at most {_MOST_WORDS} are looked for at once")
    if not words:
        return None
    grams = list(dict.fromkeys(gram for word in words for gram in _query_grams(word)))
    telling = [gram for gram in grams if gram not in _EVERYWHERE] or grams[:1]
    phrase = " ".join(words)
    return Query(tuple(words), tuple(_hashes[gram] for gram in telling), phrase, _hashes[f"={phrase}"])


def _query_word(word: str) -> str:
    if not _NUMBER.fullmatch(word):
        return _BETWEEN_DIGITS.sub("", word) if any(c.isdigit() for c in word) else word
    digits = _NOT_DIGIT.sub("", word)
    return digits[2:] if digits.startswith("00") and len(digits) > 8 else digits


def _query_grams(word: str) -> list[str]:
    runs = [run for run in _RUNS.findall(word)]
    out: list[str] = []
    for place, run in enumerate(runs):
        if _WIDE.match(run):
            out.extend([run[i : i + 2] for i in range(len(run) - 1)] or [run])
        elif len(run) >= _DIGITS and run.isascii() and run.isdigit():
            fives = [run[i : i + _DIGITS] for i in range(len(run) - _DIGITS + 1)]
            out.extend(fives[-_TAIL:])
        elif len(run) >= 3:
            out.extend(run[i : i + 3] for i in range(len(run) - 2))
        elif place > 0 or len(runs) == 1:
            out.append(run)  # otherwise it is the end of something longer, which has no gram of its own
    if len(out) > _MOST_GRAMS:
        step = len(out) / _MOST_GRAMS
        out = [out[int(i * step)] for i in range(_MOST_GRAMS)]
    return out


def equal_to(text: str) -> Query | None:
    """The query for records with a text that equals this one; None when it holds nothing."""
    line = normalised(text)
    return Query((line,), (_hashes[f"={line}"],), line, _hashes[f"={line}"]) if line else None


def holding(parts: Iterable[str]) -> Query | None:
    """The query for records in whose texts all these parts stand, wherever; None when there are none.

    Words in Latin letters of less than three characters are found at the beginning of a word only.
    """
    words = tuple(dict.fromkeys(word for part in parts if (word := normalised(part))))
    grams = list(
        dict.fromkeys(gram for word in words for piece in word.split(" ") for gram in _query_grams(piece))
    )
    if not grams:
        return None
    telling = [gram for gram in grams if gram not in _EVERYWHERE] or grams[:1]
    phrase = " ".join(words)
    return Query(words, tuple(_hashes[gram] for gram in telling), phrase, _hashes[f"={phrase}"])
