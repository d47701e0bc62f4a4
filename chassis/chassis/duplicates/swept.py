"""What a service declares of the records that are swept; and how some of them are compared with all others.

Each record is looked for by the keys by which its own duplicates are found, in the index of words: so the cost follows the
number of records and of those that have something in common, and never the number of all pairs. What too many have in common,
as the number of a switchboard, tells nothing and is passed over.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import UUID

from kehu.duplicates.v1 import duplicates_pb2 as pb

from chassis.database import Database, Transaction
from chassis.duplicates.lookup import asked, looked_up
from chassis.duplicates.sweep import DuplicateSweepProgressed
from chassis.listing import Listing
from chassis.principal import Principal
from chassis.search import Query

T = TypeVar("T")

MOST_ALIKE = 20
"""Records that may have a value in common and still be told as pairs; so a record has no more than so many by each of its
values."""
_TOO_MANY = MOST_ALIKE + 2
"""So many records show that too many have something in common with one of them: hints that brought fewer would not tell."""
_QUERIES, _ROWS = 100, 500
"""What one statement asks for."""
_AMONG = 500
"""Hits among which those that are swept are looked for, where others have fallen out."""
Reader = Callable[[str], Any]
"""Gives a record's columns by name."""
Two = tuple[UUID, UUID]


@dataclass(frozen=True, slots=True)
class Key:
    """By what a record is looked for. Those that have it in common are told as pairs for `reason`, unless they are too many; when
    it is a mere `hint`, some of those that have it are compared, however many they are."""

    reason: str
    value: str
    query: Query
    hint: int = 0
    """How many of them; 0 for no mere hint."""
    besides: tuple[str, ...] = ()
    """Reasons that tell nothing either when too many have it in common, as those have equal cores who have equal names."""


@dataclass(frozen=True, slots=True)
class Namesakes:
    """What else may be the same as some records, beside what the keys bring."""

    pairs: Sequence[Two]
    frequent: Sequence[tuple[str, str]]
    """Reason and value of what too many have in common."""


async def _none(database: Database, who: Principal, ids: Sequence[UUID]) -> Namesakes:
    return Namesakes((), ())


@dataclass(frozen=True)
class Swept:
    """Records of one kind. `compared_by` reads what a record is compared by, `keys` says by what others are looked for, `compare`
    gives the score and the reasons of two. `writable` is the record, locked, for whoever may merge it, and raises NotFound,
    Denied, and DuplicatePairMerged of one that went into another and is still there. `cards` tells records in short, to that
    caller. `such` is a condition on `t` that the records must meet besides."""

    listing: Listing
    compared_by: Callable[[Reader], Any]
    keys: Callable[[Any], Sequence[Key]]
    compare: Callable[[Any, Any], tuple[int, Sequence[str]]]
    writable: Callable[[Transaction, UUID], Awaitable[Any]]
    cards: Callable[[Database, Principal, Sequence[Any]], Awaitable[Sequence[pb.DuplicateRecord]]]
    namesakes: Callable[[Database, Principal, Sequence[UUID]], Awaitable[Namesakes]] = _none
    such: str = "true"
    least: int = 50
    """The least score that is told."""
    progressed: type[DuplicateSweepProgressed] | None = None

    @property
    def kind(self) -> str:
        """What the records are."""
        return self.listing.record_type

    def sql(self, statement: str) -> str:
        """A statement about the records: {table}, {columns} and {such} stand in it for what is declared."""
        columns = ", ".join(f"t.{name}" for name in self.listing.columns)
        statement = statement.replace("{table}", self.listing.table).replace("{columns}", columns)
        return statement.replace("{such}", self.such)

    def seen(self, who: Principal, args: list[object]) -> str:
        """The condition that both records of a pair, where they are now, may be read by that caller."""
        ids = f"{self.listing.ids(who, '', None, args)} AND {self.such}"
        return f"t.first_at IN ({ids}) AND t.second_at IN ({ids})"


@dataclass(frozen=True, slots=True)
class Found:
    """Two records that may be the same; `first` has the lesser id."""

    first: UUID
    second: UUID
    score: int
    reasons: Sequence[str]


_OTHERS = (
    "SELECT {columns} FROM {table} AS t WHERE t.id = ANY($1::uuid[]) AND t.deleted_at IS NULL AND {such}"
)


_HITS = "SELECT q.place, s.id, EXISTS (SELECT FROM {table} AS t WHERE t.id = s.id AND {such}) AS stands FROM "


async def look(
    swept: Swept, database: Database, who: Principal, rows: Sequence[Any]
) -> tuple[list[Found], dict[tuple[str, str], None]]:
    """The pairs of which one record is among these rows, and what too many have in common."""
    by = {row["id"]: swept.compared_by(row.__getitem__) for row in rows}
    met = await _by_keys(swept, database, who, by)
    also = await swept.namesakes(database, who, list(by))
    met.pairs |= dict.fromkeys(map(_ordered, also.pairs))
    met.frequent |= dict.fromkeys(also.frequent)
    by |= await _standing(swept, database, who, [id for two in met.all() for id in two if id not in by])
    found = [one async for one in _likely(swept, met, by)]
    met.note_crowds(found)
    return [one for one in found if met.tells(one)], met.frequent


async def unlike(swept: Swept, database: Database, who: Principal, pairs: Mapping[UUID, Two]) -> list[UUID]:
    """Those of the pairs whose records both stand and are not alike, or not any more. Of others nothing is known: a record that
    is in the trash may come back."""
    by = await _standing(swept, database, who, [id for two in pairs.values() for id in two])
    found: list[UUID] = []
    for id, (first, second) in pairs.items():
        if first in by and second in by:
            score, reasons = swept.compare(by[first], by[second])
            if not reasons or score < swept.least:
                found.append(id)
    return found


async def _standing(swept: Swept, database: Database, who: Principal, ids: Iterable[UUID]) -> dict[UUID, Any]:
    """By what those of the records are compared that are there."""
    found: dict[UUID, Any] = {}
    for some in _parts(list(dict.fromkeys(ids)), _ROWS):
        for row in await database.read(who, swept.sql(_OTHERS), list(some)):
            found[row["id"]] = swept.compared_by(row.__getitem__)
        await asyncio.sleep(0)
    return found


def _parts(all: Sequence[T], most: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(all), most):
        yield all[start : start + most]


def _ordered(two: Two) -> Two:
    return min(two), max(two)


@dataclass(slots=True)
class _Met:
    """What the keys bring."""

    pairs: dict[Two, None] = field(default_factory=dict[Two, None])
    """Those that have a value in common."""
    hinted: dict[Two, set[UUID]] = field(default_factory=dict[Two, set[UUID]])
    """Those that a mere hint brings, with the records that it was asked for."""
    frequent: dict[tuple[str, str], None] = field(default_factory=dict[tuple[str, str], None])
    telling_nothing: dict[UUID, set[str]] = field(default_factory=dict[UUID, set[str]])
    """By record, the reasons for which too many are like it."""

    values: dict[tuple[UUID, str], str] = field(default_factory=dict[tuple[UUID, str], str])
    """By record and reason, the value by which it was looked for."""

    def all(self) -> dict[Two, None]:
        return self.pairs | dict.fromkeys(self.hinted)

    def note_crowds(self, found: Iterable[Found]) -> None:
        """Where no key tells how many are like a record for some reasons, those that hints have brought do."""
        crowds: dict[tuple[UUID, tuple[str, ...]], int] = {}
        for one in found:
            for id in self.hinted.get((one.first, one.second), ()):
                crowd = id, tuple(one.reasons)
                crowds[crowd] = crowds.get(crowd, 0) + 1
        for (id, reasons), many in crowds.items():
            if many > MOST_ALIKE:
                self.telling_nothing.setdefault(id, set()).update(reasons)
                told = [
                    (reason, self.values[id, reason]) for reason in reasons if (id, reason) in self.values
                ]
                self.frequent |= dict.fromkeys(told)

    def tells(self, one: Found) -> bool:
        """Whether the reasons say anything of the two: what too many have in common comes back by no hint."""
        two = one.first, one.second
        if two in self.pairs:
            return True
        return any(set(one.reasons) - self.telling_nothing.get(id, set()) for id in self.hinted[two])


async def _by_keys(swept: Swept, database: Database, who: Principal, by: Mapping[UUID, Any]) -> _Met:
    wanted: dict[Query, tuple[Key, list[UUID]]] = {}
    for id, what in by.items():
        for key in swept.keys(what):
            wanted.setdefault(key.query, (key, []))[1].append(id)
    met = _Met()
    for key, ids in wanted.values():
        met.values |= {(id, key.reason): key.value for id in ids}
    for some in _parts(list(wanted.values()), _QUERIES):
        questions = [(key.query, max(key.hint, _TOO_MANY)) for key, _ in some]
        for (key, mine), ids in zip(some, await _hits(swept, database, who, questions), strict=True):
            if not key.hint and len(ids) > MOST_ALIKE:
                met.frequent[key.reason, key.value] = None
                for one in mine:
                    met.telling_nothing.setdefault(one, set()).update((key.reason, *key.besides))
                continue
            for one, id in ((one, id) for one in mine for id in ids if one != id):
                if key.hint:
                    met.hinted.setdefault(_ordered((one, id)), set()).add(one)
                else:
                    met.pairs[_ordered((one, id))] = None
    return met


async def _hits(
    swept: Swept, database: Database, who: Principal, questions: Sequence[tuple[Query, int]]
) -> list[list[UUID]]:
    """For each question the records that are swept among its hits, no more than it asks for. The index knows those, too, that
    are not, such as leads that are disqualified: they neither count nor take the place of others."""
    found, many = await _asked(swept, database, who, questions)
    short = [n for n, (_, most) in enumerate(questions) if many[n] >= most > len(found[n])]
    if short:
        further, _ = await _asked(swept, database, who, [(questions[n][0], _AMONG) for n in short])
        for n, ids in zip(short, further, strict=True):
            found[n] = ids[: questions[n][1]]
    return found


async def _asked(
    swept: Swept, database: Database, who: Principal, questions: Sequence[tuple[Query, int]]
) -> tuple[list[list[UUID]], list[int]]:
    """For each question those of its hits that are swept, and how many hits there are."""
    found, many = [list[UUID]() for _ in questions], [0 for _ in questions]
    look_up = swept.sql(_HITS) + looked_up(swept.listing.table, 1)
    for row in await database.read(who, look_up, asked(questions)):
        many[row["place"]] += 1
        if row["stands"]:
            found[row["place"]].append(row["id"])
    return found, many


async def _likely(swept: Swept, met: _Met, by: Mapping[UUID, Any]) -> AsyncGenerator[Found]:
    for count, (first, second) in enumerate(met.all(), 1):
        if count % _QUERIES == 0:
            await asyncio.sleep(0)  # others have their turn
        if first in by and second in by:  # else it was deleted meanwhile
            score, reasons = swept.compare(by[first], by[second])
            if reasons and score >= swept.least:
                yield Found(first, second, score, reasons)
