"""What a service declares of its tables: by what a row is about a person, which columns tell of them, and what becomes of it."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar
from uuid import UUID

from pydantic_core import PydanticUndefined
from sqlalchemy import ColumnElement, Uuid, and_, any_, bindparam, false, func, or_
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlmodel import Field, SQLModel

from chassis.history import plain
from chassis.privacy.person import GONE, Person, RecordName
from chassis.records import Customized, Record

Hook = Callable[[Any, Any], Awaitable[None]]
"""`async (tx, row)`: what else there is to do with a row that has been emptied."""
Beside = Callable[[Any, Any], Awaitable[dict[str, Any]]]
"""`async (tx, row)`: what is handed out with a row because it follows from it alone. No text stands in it."""


class Fact(SQLModel):
    """A row that is no record but has an id, as a posting of a ledger. It is mapped only to be handed out and emptied."""

    record_type: ClassVar[str] = ""

    tenant_id: UUID = Field(primary_key=True)
    id: UUID = Field(primary_key=True)


@dataclass(frozen=True)
class Holding:
    """A table with rows about persons.

    `about` maps a column to the type of records whose ids stand in it, or to several: a row is about the person when it names
    one of theirs, or one that was found by a holding before this one. It is found by `phones` and `emails`, too. Columns are
    named as they are, or as `phones.number` for what stands so in the objects of a jsonb list. All that are named are
    emptied, and so are those that are `cleared` because they make no sense without the others.

    By `ties` a row only mentions the person: it is handed out, and of its texts no more is taken than what tells of the person.
    So it is done, too, with the `swept` columns of every row.

    `identity`: a row that `about` finds by its own id is the person, and tells who that is. `reveals` are then its columns with
    ids of further records that are.
    """

    table: type[Record] | type[Fact]
    about: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict[str, str | tuple[str, ...]])
    names: tuple[str, ...] = ()
    phones: tuple[str, ...] = ()
    emails: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    cleared: tuple[str, ...] = ()
    swept: tuple[str, ...] = ()
    ties: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict[str, str | tuple[str, ...]])
    such: Mapping[str, str] = field(default_factory=dict[str, str])
    """Columns with the value that they must have for the row to be about a person."""
    identity: bool = False
    reveals: Mapping[str, str] = field(default_factory=dict[str, str])
    keeps: str = ""
    """Why the row stays, emptied, in UPPER_SNAKE case. Empty: nothing of it is of use any more."""
    notices: Mapping[str, Callable[[Any], bool]] = field(default_factory=dict[str, Callable[[Any], bool]])
    """What is to be told of a row before it is emptied."""
    after: Hook | None = None
    beside: Beside | None = None
    withheld: tuple[str, ...] = ()
    """Columns that are not handed out, nor their history: they tell of us and not of the person, as what it cost us that was
    sold to them."""

    @property
    def record_type(self) -> str:
        """The record's name."""
        return self.table.record_type or self.table_name

    @property
    def table_name(self) -> str:
        """The table's name."""
        return str(vars(self.table)["__tablename__"])

    @property
    def personal(self) -> set[str]:
        """The columns that tell of the person."""
        specs = (*self.names, *self.phones, *self.emails, *self.accounts, *self.texts, *self.cleared)
        found = {spec.partition(".")[0] for spec in specs}
        return found | {"custom_fields"} if issubclass(self.table, Customized) else found

    def empty(self) -> dict[str, Any]:
        """Column → what stands in it when the person is gone."""
        out: dict[str, Any] = {}
        for name in self.personal:
            column = self.table.model_fields[name]
            if column.default_factory is not None:
                make: Any = column.default_factory
                out[name] = make()
            else:
                # Whoever is to be shown in lists must be called something.
                needed = column.default is PydanticUndefined or (self.identity and name in self.names)
                out[name] = GONE if needed else column.default
        return out

    def wanted(
        self, person: Person, linked: Mapping[str, Iterable[UUID]], *, ties: bool
    ) -> ColumnElement[bool]:
        """Rows that are about the person, and with `ties` those that mention them. `linked` are the ids of what was found before,
        by record type."""
        columns: Any = getattr(self.table, "__table__").c  # noqa: B009 (SQLModel adds it at run time)
        parts: list[ColumnElement[bool]] = []
        for name, kinds in (*self.about.items(), *(self.ties.items() if ties else ())):
            ids = _ids(kinds, person, linked)
            if ids:
                # One array, however many they are: parameters are counted.
                parts.append(columns[name] == any_(bindparam(None, sorted(ids), type_=ARRAY(Uuid()))))
        for specs, values in ((self.phones, person.phones), (self.emails, person.emails)):
            for spec in specs if values else ():
                name, _, key = spec.partition(".")
                if key:
                    parts += [columns[name].cast(JSONB).contains([{key: value}]) for value in sorted(values)]
                else:
                    parts.append(func.lower(columns[name]).in_(sorted(value.lower() for value in values)))
        if not parts:
            return false()
        return and_(or_(*parts), *(columns[name] == value for name, value in self.such.items()))

    def matched(self, row: Any, person: Person, linked: Mapping[str, Iterable[UUID]]) -> str:
        """By what the row was found to be about the person: ID, PHONE or EMAIL; empty when it only mentions them."""
        for name, kinds in self.about.items():
            if getattr(row, name) in _ids(kinds, person, linked):
                return "ID"
        if set(self._values(row, self.phones)) & person.phones:
            return "PHONE"
        return "EMAIL" if {text.lower() for text in self._values(row, self.emails)} & person.emails else ""

    def told(self, row: Any) -> Person:
        """What the row tells of the person."""
        records: set[RecordName] = set()
        if self.identity:
            records.add((self.record_type, row.id))
            for name, kind in self.reveals.items():
                if getattr(row, name) is not None:
                    records.add((kind, getattr(row, name)))
        texts = self._values(row, self.texts)
        if issubclass(self.table, Customized):
            texts += _strings(row.custom_fields)
        return Person(
            records=frozenset(records), names=frozenset(self._values(row, self.names)),
            phones=frozenset(self._values(row, self.phones)),
            emails=frozenset(text.lower() for text in self._values(row, self.emails)),
            accounts=frozenset(self._values(row, self.accounts)), texts=frozenset(text[:10_000] for text in texts),
        )  # fmt: skip

    def _values(self, row: Any, specs: Iterable[str]) -> list[str]:
        found: list[str] = []
        for spec in specs:
            name, _, key = spec.partition(".")
            value = getattr(row, name)
            found += _strings([one.get(key) for one in value] if key else value)
        return [text for text in found if text and text != GONE]

    def shown(self, row: Any) -> dict[str, Any]:
        """The row as JSON, without what only serves searching."""
        return {
            name: _plain(getattr(row, name))
            for name in self.table.model_fields
            if name not in ("search", "search_text", "tenant_id", *self.withheld)
        }


def _ids(kinds: str | tuple[str, ...], person: Person, linked: Mapping[str, Iterable[UUID]]) -> set[UUID]:
    return {
        id for kind in ((kinds,) if isinstance(kinds, str) else kinds)
        for id in (*person.ids(kind), *linked.get(kind, ()))
    }  # fmt: skip


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        items: list[Any] = value  # pyright: ignore[reportUnknownVariableType]
        return [_plain(one) for one in items]
    return plain(value)


_EVERYBODYS = frozenset({"label", "country_code", "province", "city", "district", "postal_code"})
"""Parts of an entry that tell nobody apart."""


def _strings(value: Any) -> list[str]:
    """All texts in a value that tell of somebody."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        parts: dict[str, Any] = value  # pyright: ignore[reportUnknownVariableType]
        return [text for name, one in parts.items() if name not in _EVERYBODYS for text in _strings(one)]
    if isinstance(value, list):
        items: list[Any] = value  # pyright: ignore[reportUnknownVariableType]
        return [text for one in items for text in _strings(one)]
    return [] if value is None else [str(plain(value))]


def findable(row: Any) -> None:
    """Makes the words by which the row is found follow its values."""
    make = getattr(row, "findable", None) or getattr(row, "derive", None)
    if make is not None:
        make()
