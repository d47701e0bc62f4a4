"""What a service holds about a person: all its holdings together."""

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import select, text, update
from sqlmodel import col

from chassis.custom_fields.given import COLUMN as CUSTOM
from chassis.database import Transaction
from chassis.errors import Invalid
from chassis.ids import parse_id
from chassis.privacy.holding import Fact, Holding, findable
from chassis.privacy.person import Marks, Person
from chassis.privacy.sweep import drop_waiting_files, sweep, swept_tables
from chassis.records import Customized, Record

MOST = 1_000
"""Records of one kind that are told of one person where all are told at once. Handing out and erasing go on behind them."""
AT_ONCE = 100
"""Records that are read at once when they are handed out, and emptied in one transaction."""
_MOST_LINKED = 500
COPIES = "COPY"
"""What is said of rows that hold copies: history, events, free text."""
_HISTORY = text(
    "SELECT id, changes FROM history WHERE record_type = :type AND record_id = ANY(:ids) AND changes <> '{}' FOR UPDATE"
)
_CHANGES = text("UPDATE history SET changes = CAST(:changes AS jsonb) WHERE id = :id")
_HISTORY_OF = text(
    "SELECT version, action, changes, at, by_name, origin FROM history WHERE record_type = :type AND record_id = :id"
    " ORDER BY at, id"
)
_COUNT = text(
    "INSERT INTO erased_records (tenant_id, erasure_id, record_type, kept_for, erased, kept)"
    " VALUES (:tenant, :erasure, :type, :reason, :erased, :kept)"
    " ON CONFLICT (tenant_id, erasure_id, record_type, kept_for)"
    " DO UPDATE SET erased = erased_records.erased + excluded.erased, kept = erased_records.kept + excluded.kept"
)
_COUNTED = text(
    "SELECT record_type, kept_for, erased, kept FROM erased_records WHERE erasure_id = :erasure ORDER BY record_type, kept_for"
)


def _place(cursor: str, field: str) -> tuple[int, list[str]]:
    try:
        place: list[Any] = orjson.loads(cursor) if cursor else [0, []]
        return int(place[0]), [str(one) for one in place[1]]
    except (ValueError, TypeError, LookupError):
        raise Invalid(field, "is none that was given here") from None


@dataclass(frozen=True)
class Found:
    """A row that is about a person, and by what it was found; `match` is empty for one that only mentions them."""

    holding: Holding
    row: Any
    match: str


class Privacy:
    """The holdings of one service, those that others refer to first. `others` are tables with columns that look personal and are
    about no person, with the reason; `left` those that are not looked through. Raises ValueError for a table that stands in both,
    or twice."""

    def __init__(
        self, *holdings: Holding, others: Mapping[str, str] | None = None, left: Collection[str] = ()
    ) -> None:
        self.holdings = holdings
        self._left = frozenset(left)
        self.others = dict(others or {})
        names = [one.table_name for one in holdings]
        if len({*names, *self.others}) < len(names) + len(self.others):
            raise ValueError("a table is declared twice")
        named = [kinds for one in holdings for kinds in (*one.about.values(), *one.ties.values())]
        # The ids of what nobody refers to are not collected, of which there may be many.
        self._named = {kind for kinds in named for kind in ((kinds,) if isinstance(kinds, str) else kinds)}

    async def find(self, tx: Transaction, person: Person) -> list[Found]:
        """The rows that are about the person, at most `MOST` of a kind."""
        linked: dict[str, set[UUID]] = {}
        out: list[Found] = []
        for holding in self.holdings:
            for row in await _rows(tx, holding, person, linked, MOST, ties=True):
                if (holding.record_type, row.id) in person.excluded:
                    continue
                out.append(Found(holding, row, holding.matched(row, person, linked)))
                linked.setdefault(holding.record_type, set()).add(row.id)
        return out

    async def export(
        self, tx: Transaction, person: Person, token: str = ""
    ) -> AsyncGenerator[tuple[str, str, UUID, dict[str, Any]]]:
        """The token behind it, record type, id and the whole of each row that is about the person, with its history: all that
        there are, or those behind the token.

        Raises Invalid for a token that was not given here.
        """
        stage, after = _place(token, "pageToken")
        linked = await self._linked(tx, person, stage, ties=True)
        for number, holding in enumerate(self.holdings[stage:], stage):
            last = parse_id(after[0], "pageToken") if after else None
            after = []
            while rows := await _rows(tx, holding, person, linked, AT_ONCE, last, ties=True):
                last = rows[-1].id
                for row in rows:
                    if (holding.record_type, row.id) not in person.excluded:
                        yield (
                            _cursor(number, [str(row.id)]),
                            holding.record_type,
                            row.id,
                            await _told(tx, holding, row),
                        )
                if len(rows) < AT_ONCE:
                    break
            if holding.record_type in self._named:
                linked |= await _ids(tx, holding, person, linked, ties=True)

    async def erase(self, tx: Transaction, erasure_id: UUID, person: Person, cursor: str) -> str:
        """Takes the person out of the next part of what is held. Answers with the cursor of the part behind, "" at the end.

        Raises Invalid for a cursor that was not given here.
        """
        stage, after = _place(cursor, "cursor")
        if stage < len(self.holdings):
            return await self._empty(tx, erasure_id, person, stage, after)
        tables = await swept_tables(tx, self._left)
        number = stage - len(self.holdings)
        marks = await self._marks(tx, person)
        if number >= len(tables):
            if any(one.name == "import_files" for one in tables):
                dropped = await drop_waiting_files(tx, marks)
                if dropped:
                    await _count(tx, erasure_id, "import_files", "", erased=dropped)
            return ""
        last, written = await sweep(tx, tables[number], after, marks, _classes())
        if written:
            await _count(tx, erasure_id, tables[number].name, COPIES, kept=written)
        return _cursor(stage, last) if last is not None else _cursor(stage + 1, [])

    async def counted(self, tx: Transaction, erasure_id: UUID) -> list[tuple[str, str, int, int]]:
        """Record type, why they were kept, how many were erased and how many kept, of that erasure so far."""
        rows = (await tx.session.execute(_COUNTED, {"erasure": erasure_id})).all()
        return [(row.record_type, row.kept_for, row.erased, row.kept) for row in rows]

    async def _linked(
        self, tx: Transaction, person: Person, stage: int, *, ties: bool
    ) -> dict[str, set[UUID]]:
        """The ids of what the holdings before that one find."""
        linked: dict[str, set[UUID]] = {}
        for holding in self.holdings[:stage]:
            if holding.record_type in self._named:
                linked |= await _ids(tx, holding, person, linked, ties=ties)
        return linked

    async def _marks(self, tx: Transaction, person: Person) -> Marks:
        linked = [one.row.id for one in await self.find(tx, person)]
        return Marks(person, frozenset(linked[:_MOST_LINKED]))

    async def _empty(
        self, tx: Transaction, erasure_id: UUID, person: Person, stage: int, after: Sequence[str]
    ) -> str:
        holding = self.holdings[stage]
        linked = await self._linked(tx, person, stage, ties=False)
        last = parse_id(after[0], "cursor") if after else UUID(int=0)
        rows = await _rows(tx, holding, person, linked, AT_ONCE, last, lock=True)
        mine = [row for row in rows if (holding.record_type, row.id) not in person.excluded]
        changed = 0
        for row in mine:
            changed += await _emptied(tx, holding, row)
            if holding.after is not None:
                await holding.after(tx, row)
        if holding.table.record_type and mine:
            await _forget_history(tx, holding, [row.id for row in mine])
        if changed:
            kept = changed if holding.keeps else 0
            await _count(tx, erasure_id, holding.record_type, holding.keeps, erased=changed - kept, kept=kept)
        return _cursor(stage, [str(rows[-1].id)]) if len(rows) == AT_ONCE else _cursor(stage + 1, [])


def _cursor(stage: int, after: Sequence[str]) -> str:
    return orjson.dumps([stage, list(after)]).decode()


async def _rows(
    tx: Transaction, holding: Holding, person: Person, linked: Mapping[str, set[UUID]], most: int,
    after: UUID | None = None, *, lock: bool = False, ties: bool = False,
) -> Sequence[Any]:  # fmt: skip
    """Rows about the person, deleted ones among them: what was deleted is still there."""
    wanted = (
        select(holding.table)
        .where(holding.wanted(person, linked, ties=ties), *([col(holding.table.id) > after] if after else []))
        .order_by(col(holding.table.id))
        .limit(most)
        .execution_options(populate_existing=True)
    )
    found = await tx.session.execute(wanted.with_for_update() if lock else wanted)
    return found.scalars().all()


async def _ids(
    tx: Transaction, holding: Holding, person: Person, linked: Mapping[str, set[UUID]], *, ties: bool
) -> dict[str, set[UUID]]:
    """The ids of all rows that `_rows` finds, under their record type, but for those that are excluded."""
    found = await tx.session.execute(
        select(col(holding.table.id)).where(holding.wanted(person, linked, ties=ties))
    )
    excluded = {id for kind, id in person.excluded if kind == holding.record_type}
    return {holding.record_type: set(found.scalars()) - excluded}


async def _told(tx: Transaction, holding: Holding, row: Any) -> dict[str, Any]:
    """The whole of a row, with what follows from it and its history."""
    told = holding.shown(row)
    if holding.beside is not None:
        told |= await holding.beside(tx, row)
    if holding.table.record_type:
        of = {"type": holding.record_type, "id": row.id}
        told["history"] = [
            {
                **change,
                "at": change["at"].isoformat(),
                "changes": {
                    name: both for name, both in change["changes"].items() if name not in holding.withheld
                },
            }
            for change in (await tx.session.execute(_HISTORY_OF, of)).mappings()
        ]
    return told


async def _emptied(tx: Transaction, holding: Holding, row: Any) -> int:
    """Empties the row past the session, for its history would keep what is taken out. 1 when there was something to empty."""
    empty = holding.empty()
    if all(getattr(row, name) == value for name, value in empty.items()):
        return 0
    was_in = row in tx.session
    if was_in:
        tx.session.expunge(row)
    for name, value in empty.items():
        setattr(row, name, value)
    findable(row)
    derived = {name: getattr(row, name) for name in ("search", "search_text") if hasattr(row, name)}
    kind: Any = holding.table
    written: dict[str, Any] = {}
    if issubclass(holding.table, Record):
        written = {"version": kind.version + 1, "updated_at": tx.now, "updated_by": tx.who.person_id}
    await tx.session.execute(
        update(kind.__table__)
        .where(kind.tenant_id == tx.who.tenant_id, kind.id == row.id)
        .values(**empty, **derived, **written)
    )
    if issubclass(holding.table, Customized):
        await tx.session.execute(_FORGET_VALUES, {"id": row.id})
    return 1


_FORGET_VALUES = text("DELETE FROM custom_values WHERE record_id = :id")


async def _forget_history(tx: Transaction, holding: Holding, ids: list[UUID]) -> None:
    """Of what has changed in these records stays which field it was, and no value of those that tell of the person."""
    told = holding.personal
    rows = await tx.session.execute(_HISTORY, {"type": holding.record_type, "ids": ids})
    for entry in rows.mappings():
        changes: dict[str, Any] = entry["changes"]
        anew: dict[str, Any] = {}
        for field, both in changes.items():
            name = field.partition(".")[0]
            hidden = holding.identity or name in told or name == CUSTOM
            anew |= {name: [None, None]} if hidden and both != [None, None] else {field: both}
        if anew != changes:
            values = {"changes": orjson.dumps(anew, default=str).decode(), "id": entry["id"]}
            await tx.session.execute(_CHANGES, values)


async def _count(
    tx: Transaction, erasure_id: UUID, record_type: str, reason: str, *, erased: int = 0, kept: int = 0
) -> None:
    told = {
        "tenant": tx.who.tenant_id, "erasure": erasure_id, "type": record_type, "reason": reason, "erased": erased,
        "kept": kept,
    }  # fmt: skip
    await tx.session.execute(_COUNT, told)


def _classes() -> dict[str, type[Record]]:
    """The classes of this process' tables, by the tables' names."""
    if not _known:
        waiting: list[type[Record]] = [Record]
        while waiting:
            for kind in waiting.pop().__subclasses__():
                waiting.append(kind)
                name = vars(kind).get("__tablename__")
                if isinstance(name, str):
                    _known[name] = kind
    return _known


_known: dict[str, type[Record]] = {}

__all__ = ["COPIES", "Fact", "Found", "Holding", "Privacy"]
