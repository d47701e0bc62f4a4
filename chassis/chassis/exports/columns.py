"""The columns of an exported file: what stands above them, and what a record has in them.

There are two styles. For people a file speaks their language, has times in their zone, amounts as numbers with the currency
beside them, and names in place of ids. For programs it has the names of fields and every value as an import reads it.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, tzinfo
from decimal import Decimal
from typing import Any, cast
from uuid import UUID

from chassis.custom_fields.definition import Choice as Offered
from chassis.custom_fields.definition import Definition, Kind
from chassis.custom_fields.given import COLUMN, PREFIX
from chassis.imports.values import words_told
from chassis.mapping import plain_decimal
from chassis.money import Money, digits, from_units
from chassis.value_lists.kinds import Lists

Cell = str | int | Decimal | date | datetime | None
"""What a cell holds. Times have no zone any more: they are those of the style's."""
Names = Callable[[Any, Sequence[UUID]], Awaitable[Mapping[UUID, str]]]
"""`async (call, ids) -> names` of the records with these ids, as far as the caller may see them."""

PEOPLE = "person"
"""The kind of name that the chassis finds by itself."""


@dataclass
class Style:
    """For whom a file is."""

    fields: bool
    """Whether it is for programs."""
    chinese: bool = True
    zone: tzinfo = UTC
    names: dict[str, dict[UUID, str]] = field(default_factory=dict[str, dict[UUID, str]])
    """Names by kind and id, of what the rows at hand refer to."""
    lists: Lists | None = None
    """The tenant's lists, where columns are `Listed`."""

    def said(self, english: str, chinese: str) -> str:
        """The one in the file's language; the other where there is none."""
        return (chinese or english) if self.chinese else (english or chinese)

    def cell(self, value: Any) -> Cell:
        """A plain value as a cell."""
        match value:
            case None | "":
                return None
            case bool():
                if self.fields:
                    return "true" if value else "false"
                return self.said("Yes", "是") if value else self.said("No", "否")
            case datetime():
                if self.fields:
                    return value.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
                return value.astimezone(self.zone).replace(tzinfo=None, microsecond=0)
            case date():
                return value.isoformat() if self.fields else value
            case Decimal():
                return plain_decimal(value) if self.fields else value
            case int():
                return str(value) if self.fields else value
            case list():
                return words_told(str(one) for one in cast("list[Any]", value)) or None
            case _:
                return str(value)


@dataclass(frozen=True)
class Column:
    """A field as it stands in the record. `column` is the table's."""

    field: str
    en: str
    zh: str
    column: str

    @property
    def refers_to(self) -> str:
        """The kind of name its cells need; empty when they need none."""
        return ""

    def heads(self, style: Style) -> list[str]:
        """What stands above it."""
        return [self.field if style.fields else style.said(self.en, self.zh)]

    def cells(self, row: Any, style: Style) -> list[Cell]:
        """What the record has in it: as many cells as there are heads."""
        return [style.cell(row[self.column])]

    def referred(self, row: Any) -> UUID | None:
        """The id whose name its cell needs."""
        return None

    def wanted(self, row: Any) -> Iterable[tuple[str, UUID]]:
        """Kind and id of each name that its cell needs."""
        id = self.referred(row) if self.refers_to else None
        return () if id is None else ((self.refers_to, id),)


CREATE_TIME = Column("createTime", "Created", "创建时间", "created_at")
RECORD_ID = Column("recordId", "Record id", "记录标识", "id")


@dataclass(frozen=True)
class Derived(Column):
    """What `read` makes of the column's value."""

    read: Callable[[Any], Any] = str

    def cells(self, row: Any, style: Style) -> list[Cell]:
        """The made value."""
        return [style.cell(self.read(row[self.column]))]


@dataclass(frozen=True)
class Choice(Column):
    """One of several; `labels` are English and Chinese."""

    labels: Mapping[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])

    def cells(self, row: Any, style: Style) -> list[Cell]:
        """The label."""
        value = row[self.column]
        if style.fields or value not in self.labels:
            return [style.cell(value)]
        return [style.said(*self.labels[value])]


@dataclass(frozen=True)
class Listed(Column):
    """A value of one of the tenant's lists, by its name."""

    list_key: str = ""

    def cells(self, row: Any, style: Style) -> list[Cell]:
        """The name, for programs the key."""
        value = row[self.column]
        if not value or style.fields or style.lists is None:
            return [style.cell(value)]
        return [style.lists.by_key[self.list_key].name(value, chinese=style.chinese)]


@dataclass(frozen=True)
class Amount(Column):
    """Minor units with the currency in another column, `<column>_currency` unless named."""

    currency_column: str = ""

    def heads(self, style: Style) -> list[str]:
        """For people the currency has a head of its own."""
        return _amount_heads(super().heads(style), style)

    def cells(self, row: Any, style: Style) -> list[Cell]:
        """Number and currency, or both in one."""
        minor, currency = row[self.column], row[self.currency_column or f"{self.column}_currency"]
        return _amount(None if minor is None or not currency else Money(minor, currency), style)


def _amount_heads(heads: list[str], style: Style) -> list[str]:
    return heads if style.fields else [*heads, f"{heads[0]} ({style.said('currency', '币种')})"]


def _amount(money: Money | None, style: Style) -> list[Cell]:
    if money is None:
        return [None] if style.fields else [None, None]
    units = Decimal(money.minor).scaleb(-digits(money.currency))
    if style.fields:
        return [f"{plain_decimal(units)} {money.currency}"]
    return [units, money.currency]


@dataclass(frozen=True)
class Reference(Column):
    """Another record, by its name. `kind` is one of the exporter's names."""

    kind: str = PEOPLE

    @property
    def refers_to(self) -> str:
        """Its kind."""
        return self.kind

    def referred(self, row: Any) -> UUID | None:
        """The id in the column."""
        return row[self.column]

    def cells(self, row: Any, style: Style) -> list[Cell]:
        """The name, empty for what the caller may not see."""
        id = row[self.column]
        return [None if id is None else style.names.get(self.kind, {}).get(id)]


@dataclass(frozen=True)
class Own(Column):
    """A field that the tenant has added."""

    definition: Definition | None = None
    named: frozenset[str] = frozenset()
    """Kinds of records whose names can be found; others are told by their ids."""

    @property
    def _one(self) -> Definition:
        assert self.definition is not None
        return self.definition

    @property
    def refers_to(self) -> str:
        """The kind of record, where its names can be found."""
        kind = self._one.reference_type if self._one.kind is Kind.REFERENCE else ""
        return kind if kind in self.named else ""

    def referred(self, row: Any) -> UUID | None:
        """The id that is kept."""
        value = row[COLUMN].get(self._one.key)
        return UUID(value) if value and self.refers_to else None

    def heads(self, style: Style) -> list[str]:
        """As for fields that are there by themselves."""
        heads = super().heads(style)
        return _amount_heads(heads, style) if self._one.kind is Kind.MONEY else heads

    def cells(self, row: Any, style: Style) -> list[Cell]:
        """The kept value, as its kind wants it."""
        one = self._one
        value = row[COLUMN].get(one.key)
        if one.kind is Kind.MONEY:
            return _amount(None if value is None else _money(value), style)
        if value is None:
            return [None]
        match one.kind:
            case Kind.NUMBER:
                return [style.cell(Decimal(value))]
            case Kind.DATE:
                return [style.cell(date.fromisoformat(value))]
            case Kind.CHOICE:
                return [_label(one.choices, value, style)]
            case Kind.MULTI_CHOICE:
                return [style.cell([_label(one.choices, key, style) for key in value])]
            case Kind.REFERENCE:
                names = style.names.get(self.refers_to, {})
                return [names.get(UUID(value)) if self.refers_to else value]
            case _:
                return [style.cell(value)]


def _money(value: Mapping[str, Any]) -> Money:
    units, nanos = int(value.get("units", 0)), int(value.get("nanos", 0))
    return from_units(units, nanos, value["currencyCode"], COLUMN)


def _label(choices: Sequence[Offered], key: str, style: Style) -> str:
    found = next((choice for choice in choices if choice.key == key), None)
    return key if found is None or style.fields else style.said(found.label_en, found.label_zh) or key


def own_columns(offered: Sequence[Definition], named: frozenset[str]) -> tuple[Column, ...]:
    """The columns of a tenant's own fields."""
    return tuple(Own(PREFIX + one.key, one.label_en, one.label_zh, COLUMN, one, named) for one in offered)
