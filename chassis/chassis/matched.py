"""What of a record a query has hit: the field, and the part of its text as people wrote it.

Whether a text is hit is decided as the search itself decides it (`chassis.search`); which part of it that was is found for people
to see. Where spelling hides it, as in the national form of a number, the part is the whole text.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from chassis.pinyin import readings
from chassis.search import Found, normalised, terms

_MOST_TEXT = 200
"""Characters of a text that are shown."""
_BESIDE = 40
"""Characters before the part that are shown of a long text."""

Keep = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Match:
    """What a word of a query hit. `part` stands in `value`."""

    field: str
    value: str
    part: str


@dataclass(frozen=True, slots=True)
class Texts:
    """The texts of one record by which it is found, by field, as `Searchable.find_by` takes them."""

    names: Mapping[str, Sequence[str]]
    people: Mapping[str, Sequence[str]]
    phones: Mapping[str, Sequence[str]]
    texts: Mapping[str, Sequence[str]]


def matches(texts: Texts, words: Iterable[str]) -> list[Match]:
    """What these words of a query hit, for each of them the first text that holds it; the same thing once."""
    lines = list(_lines(texts))
    found: dict[Match, None] = {}
    for word in words:
        hit = next((one for one in lines if word in one.found.text), None)
        if hit is not None:
            found[_match(hit, word)] = None
    return list(found)


@dataclass(frozen=True, slots=True)
class _Line:
    field: str
    value: str
    found: Found
    read: bool
    """Whether it is found by its pinyin, too."""
    person: bool = False


def _lines(texts: Texts) -> Iterable[_Line]:
    for field, value in _each(texts.names):
        yield _Line(field, value, terms(names=[value]), read=True)
    for field, value in _each(texts.people):
        yield _Line(field, value, terms(people=[value]), read=True, person=True)
    for field, value in _each(texts.phones):
        yield _Line(field, value, terms(phones=[value]), read=False)
    for field, value in _each(texts.texts):
        yield _Line(field, value, terms(texts=[value]), read=False)


def _each(group: Mapping[str, Sequence[str]]) -> Iterable[tuple[str, str]]:
    return ((field, value) for field, values in group.items() for value in values if value)


def _match(line: _Line, word: str) -> Match:
    part = _written(line.value, word) or (_read(line.value, word, line.person) if line.read else "")
    value = line.value
    if len(value) > _MOST_TEXT:
        start = max(0, value.find(part) - _BESIDE) if part else 0
        value = value[start : start + _MOST_TEXT]
    part = part[:_MOST_TEXT]
    return Match(line.field, value, part if part and part in value else value)


def _all(letter: str) -> bool:
    return True


def _no_space(letter: str) -> bool:
    return letter != " "


_KEPT: tuple[Keep, ...] = (_all, _no_space, str.isalnum)


def _written(text: str, word: str) -> str:
    """The part in which the word stands, whatever width, case and separators it is written with; empty when in none."""
    for keep in _KEPT:
        letters, places = _folded(text, keep)
        at = letters.find(word)
        if at >= 0:
            return text[places[at] : places[at + len(word) - 1] + 1]
    return ""


def _folded(text: str, keep: Keep) -> tuple[str, list[int]]:
    """The text as it is compared, and for each of its letters the place of the character it comes from."""
    letters: list[str] = []
    places: list[int] = []
    for place, character in enumerate(text):
        for letter in " " if character.isspace() else normalised(character):
            if keep(letter):
                letters.append(letter)
                places.append(place)
    return "".join(letters), places


def _read(text: str, word: str, person: bool) -> str:
    """The characters that are read as the word, or whose readings begin with its letters; empty when there are none."""
    letters, places = _folded(text, str.isalnum)
    for read in readings(letters, person):
        if len(read) != len(letters):
            continue
        begins: list[int] = []
        spelled = ""
        for syllable in read:
            begins.append(len(spelled))
            spelled += syllable
        at = "".join(syllable[0] for syllable in read).find(word)
        if at >= 0:
            return text[places[at] : places[at + len(word) - 1] + 1]
        at = spelled.find(word)
        if at >= 0:
            first = max(n for n, begin in enumerate(begins) if begin <= at)
            last = max(n for n, begin in enumerate(begins) if begin < at + len(word))
            return text[places[first] : places[last] + 1]
    return ""
