"""What a row is undone by: its columns, those together that mean something only together, and lists entry by entry.

Each part takes what it was before a change, what the change has left, and what is there now, which somebody may have changed
since; and says what is there once the change is undone. So what a change has brought goes, and what was added since stays. All
values are as JSON holds them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import takewhile
from operator import itemgetter
from typing import Any, Protocol

import orjson

Values = Mapping[str, Any]
"""Column → value."""


class Part(Protocol):
    """Columns of a row that are undone together."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Their names."""
        ...

    @property
    def divisible(self) -> bool:
        """Whether something of what a change has brought may be there still after somebody has changed it."""
        ...

    def undone(self, before: Values, after: Values, now: Values) -> dict[str, Any]:
        """The columns as they are when the change is undone."""
        ...


@dataclass(frozen=True, slots=True)
class Whole:
    """Columns that are what they were, all of them, while all hold what the change has left; else they stay."""

    columns: tuple[str, ...]
    divisible: bool = False

    def undone(self, before: Values, after: Values, now: Values) -> dict[str, Any]:
        """All or nothing."""
        return dict(before) if dict(after) == dict(now) else dict(now)


@dataclass(frozen=True, slots=True)
class Listed:
    """A list that is undone entry by entry. It stands in one column, or in several which `read` and `write` take for one list."""

    columns: tuple[str, ...]
    key: Callable[[Any], str]
    read: Callable[[Values], list[Any]]
    write: Callable[[list[Any]], dict[str, Any]]
    never_empty: bool = False
    divisible: bool = True

    def undone(self, before: Values, after: Values, now: Values) -> dict[str, Any]:
        """What the change brought and nobody has changed goes, what it took away comes back, all else stays."""
        left = entries_undone(self.read(before), self.read(after), self.read(now), self.key)
        return dict(now) if self.never_empty and not left else self.write(left)


@dataclass(frozen=True, slots=True)
class Keyed:
    """A column of values by key, each of which is undone by itself."""

    columns: tuple[str]
    divisible: bool = True

    def undone(self, before: Values, after: Values, now: Values) -> dict[str, Any]:
        """As a list is, the key being the entry's."""
        column = self.columns[0]
        was, left, here = ([*values[column].items()] for values in (before, after, now))
        return {column: dict(entries_undone(was, left, here, itemgetter(0)))}


@dataclass(frozen=True, slots=True)
class Counted:
    """A number to which the change has added: as much is taken off."""

    columns: tuple[str]
    divisible: bool = True

    def undone(self, before: Values, after: Values, now: Values) -> dict[str, Any]:
        """Never below zero."""
        column = self.columns[0]
        return {column: max(now[column] - (after[column] - before[column]), 0)}


@dataclass(frozen=True, slots=True)
class Written:
    """A text that the change has made of several: it is what it was within what was written around it since."""

    columns: tuple[str]
    divisible: bool = True

    def undone(self, before: Values, after: Values, now: Values) -> dict[str, Any]:
        """A text in which somebody has changed words stays."""
        column = self.columns[0]
        was, left, here = before[column], after[column], now[column]
        lines = f"\n{here}\n"
        if not left or f"\n{left}\n" not in lines:
            return {column: here}
        text = lines.replace(f"\n{left}\n", f"\n{was}\n" if was else "\n", 1)[1:-1]
        return {column: text if was else text.strip("\n")}


def in_column(column: str, key: Callable[[Any], str]) -> Listed:
    """The list that stands in one column."""
    return Listed((column,), key, lambda values: values[column], lambda entries: {column: entries})


def by_value(entry: Any) -> str:
    """The key of entries that are nothing but their value."""
    return entry if isinstance(entry, str) else orjson.dumps(entry, option=orjson.OPT_SORT_KEYS).decode()


def entries_undone(
    before: list[Any], after: list[Any], now: list[Any], key: Callable[[Any], str]
) -> list[Any]:
    """A list without what was changed in it from `before` to `after`.

    Its order is that of `before`, behind what somebody has put to the front since; where the entries have been put into another
    order since, they stay in that.
    """
    was, left, here = ({key(entry): entry for entry in entries} for entries in (before, after, now))
    kept: dict[str, Any] = {}
    for name, entry in here.items():
        if name not in left or left[name] != entry:
            kept[name] = entry
        elif name in was:
            kept[name] = was[name]
    kept |= {name: entry for name, entry in was.items() if name not in left and name not in here}
    names = list(kept)
    if [name for name in here if name in left] == [name for name in left if name in here]:
        names = [*takewhile(lambda name: name not in left, here), *was, *names]
    return [kept[name] for name in dict.fromkeys(names) if name in kept]
