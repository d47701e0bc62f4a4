"""What a service declares of the records that are swept; and how some of them are compared with all others.

Each record is looked for by the keys by which its own duplicates are found, in the index of words: so the cost follows the
number of records and of those that have something in common, and never the number of all pairs. What too many have in common,
as the number of a switchboard, tells nothing and is passed over.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

from kehu.duplicates.v1 import duplicates_pb2 as pb

from chassis.database import Database, Transaction
from chassis.duplicates.sweep import DuplicateSweepProgressed
from chassis.listing import Listing
from chassis.principal import Principal
from chassis.search import Query

T = TypeVar("T")

MOST_ALIKE = 20
"""Records that may have a value in common and still be told as pairs; so a record has no more than so many by each of its
values."""
_QUERIES, _ROWS = 100, 500
"""What one statement asks for."""
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
    gives the score and the reasons of two. `writable` is the record, locked, for whoever may merge it, and raises NotFound or
    Denied. `cards` tells records in short, to that caller. `such` is a condition on `t` that the records must meet besides."""

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
        ids = [f"{self.listing.ids(who, '', None, args)} AND {self.such}" for _ in range(2)]
        return f"t.first_at IN ({ids[0]}) AND t.second_at IN ({ids[1]})"


@dataclass(frozen=True, slots=True)
class Found:
    """Two records that may be the same; `first` has the lesser id."""

    first: UUID
    second: UUID
    score: int
    reasons: Sequence[str]


_LOOK = (
    "SELECT q.place, s.id FROM jsonb_to_recordset($1::jsonb) AS q(place int, grams jsonb, words jsonb, phrase text, most int),"
    " LATERAL {table}_search(ARRAY(SELECT g::int FROM jsonb_array_elements_text(q.grams) g),"
    " ARRAY(SELECT jsonb_array_elements_text(q.words)), q.phrase, q.most) s"
)
_OTHERS = (
    "SELECT {columns} FROM {table} AS t WHERE t.id = ANY($1::uuid[]) AND t.deleted_at IS NULL AND {such}"
)


async def look(
    swept: Swept, database: Database, who: Principal, rows: Sequence[Any]
) -> tuple[list[Found], dict[tuple[str, str], None]]:
    """The pairs of which one record is among these rows, and what too many have in common."""
    by = {row["id"]: _compared_by(swept, row) for row in rows}
    wanted, frequent = await _by_keys(swept, database, who, by)
    also = await swept.namesakes(database, who, list(by))
    wanted |= dict.fromkeys(map(_ordered, also.pairs))
    frequent |= dict.fromkeys(also.frequent)
    missing = dict.fromkeys(id for two in wanted for id in two if id not in by)
    for some in _parts(list(missing), _ROWS):
        for row in await database.read(who, swept.sql(_OTHERS), list(some)):
            by[row["id"]] = _compared_by(swept, row)
        await asyncio.sleep(0)
    return [one async for one in _likely(swept, wanted, by)], frequent


def _parts(all: Sequence[T], most: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(all), most):
        yield all[start : start + most]


def _compared_by(swept: Swept, row: Any) -> Any:
    return swept.compared_by(partial(_column, row))


def _column(row: Any, name: str) -> Any:
    return row[name]


def _ordered(two: Two) -> Two:
    return min(two), max(two)


async def _by_keys(
    swept: Swept, database: Database, who: Principal, by: Mapping[UUID, Any]
) -> tuple[dict[Two, None], dict[tuple[str, str], None]]:
    asked: dict[Query, tuple[Key, list[UUID]]] = {}
    for id, what in by.items():
        for key in swept.keys(what):
            asked.setdefault(key.query, (key, []))[1].append(id)
    wanted: dict[Two, None] = {}
    frequent: dict[tuple[str, str], None] = {}
    for some in _parts(list(asked.values()), _QUERIES):
        hits: dict[int, list[UUID]] = {}
        for row in await database.read(who, swept.sql(_LOOK), list(_asked(some))):
            hits.setdefault(row["place"], []).append(row["id"])
        for place, ids in hits.items():
            key, mine = some[place]
            if not key.hint and len(ids) > MOST_ALIKE:
                frequent[key.reason, key.value] = None
                continue
            wanted |= dict.fromkeys(_ordered((one, id)) for one in mine for id in ids if one != id)
    return wanted, frequent


def _asked(some: Iterable[tuple[Key, list[UUID]]]) -> Iterator[dict[str, Any]]:
    for place, (key, _) in enumerate(some):
        query = key.query
        most = key.hint or MOST_ALIKE + 1
        yield {
            "place": place, "grams": query.grams, "words": query.words, "phrase": query.phrase, "most": most,
        }  # fmt: skip


async def _likely(swept: Swept, wanted: Iterable[Two], by: Mapping[UUID, Any]) -> AsyncGenerator[Found]:
    for count, (first, second) in enumerate(wanted, 1):
        if count % _QUERIES == 0:
            await asyncio.sleep(0)  # others have their turn
        if first in by and second in by:  # else it was deleted meanwhile
            score, reasons = swept.compare(by[first], by[second])
            if reasons and score >= swept.least:
                yield Found(first, second, score, reasons)
