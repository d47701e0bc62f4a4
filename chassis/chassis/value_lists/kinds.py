"""What a list is, what it offers, and which of its values a text means."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from uuid import UUID, uuid5

from chassis.errors import Invalid
from chassis.texts import same


@dataclass(frozen=True, slots=True)
class Offered:
    """One value of a list. `built_in`: an enum of the contract names it, or the service gives it by itself."""

    key: str
    name_zh: str = ""
    name_en: str = ""
    retired: bool = False
    built_in: bool = False


def offered(key: str, name_zh: str, name_en: str) -> Offered:
    """A value that a list has from the beginning and the tenant may take out."""
    return Offered(key, name_zh, name_en)


def built_in(key: str, name_zh: str, name_en: str) -> Offered:
    """A value that a list has from the beginning and keeps."""
    return Offered(key, name_zh, name_en, built_in=True)


@dataclass(frozen=True, slots=True)
class Used:
    """Where records hold values of a list: in a text column, or as `inside` of the objects in a jsonb list."""

    table: str
    column: str
    inside: str = ""


@dataclass(frozen=True, slots=True)
class Named:
    """Where rules name values of a list: in an array of texts, or with `fields` in a filter that compares these with values.

    `rule` is what it is called that names them, in the plural; of a table that holds several kinds, those of `of_type`. With
    `shared` those count that others have too: what one person keeps, nobody else could see or take away.
    """

    table: str
    column: str
    rule: str
    fields: tuple[str, ...] = ()
    of_type: str = ""
    shared: bool = False


@dataclass(frozen=True)
class ListKind:
    """A list that a service declares. `values` are those of a tenant that has not changed it.

    `accepts_others` is the tenant's choice from the beginning; with `closed` there is none, and others are never accepted.
    """

    key: str
    name_zh: str
    name_en: str
    values: tuple[Offered, ...]
    used: tuple[Used, ...]
    accepts_others: bool = False
    closed: bool = False

    def id_for(self, tenant_id: UUID) -> UUID:
        """The id of that tenant's list: known without a row."""
        return uuid5(tenant_id, f"value list {self.key}")

    @cached_property
    def built_in(self) -> frozenset[str]:
        """The keys of the values that stay."""
        return frozenset(value.key for value in self.values if value.built_in)

    def enum_view(self, key: str) -> str | None:
        """What an enum of the contract shows of a value; None for one that only the tenant's list has."""
        return key if key in self.built_in else None

    def meant(self, column: str, enum: str | None, key: str | None, held: str, resource: str) -> str | None:
        """The one of a column's enum and key that the caller has changed; None when neither is written. `held` is what the record
        holds now. Raises Invalid (VALUE_MISMATCH)."""
        if enum is None or key is None:
            return enum if key is None else key
        if enum == key or not key:
            return enum
        if not enum or enum == (self.enum_view(held) or ""):
            return key
        if key == held:
            return enum
        raise Invalid(
            f"{resource}.{column}Key", f"'{key[:40]}' is another than {column}, which is {enum}: write one of them",
            reason="VALUE_MISMATCH",
        )  # fmt: skip


@dataclass(frozen=True)
class OneList:
    """A list as a tenant has it."""

    kind: ListKind
    values: tuple[Offered, ...]
    accepts_others: bool

    @cached_property
    def _by_text(self) -> Mapping[str, Offered]:
        known = {
            same(name): value for value in self.values for name in (value.name_zh, value.name_en) if name
        }
        return known | {same(value.key): value for value in self.values}

    def key(self, text: str, present: str, field: str, *, lenient: bool = False) -> str:
        """What a record is to hold for a text that was written: the key of the value which it is or names.

        `present` is what the record holds now, which may stay whatever the list says. Raises Invalid (VALUE_UNKNOWN,
        VALUE_RETIRED) naming `field`, unless `lenient`.
        """
        if not text or text == present:
            return text
        found = self._by_text.get(same(text))
        if found is None:
            if self.accepts_others or lenient:
                return text
            raise Invalid(
                field, f"'{text[:40]}' is no value of the list {self.kind.key}; there are: {self._shown()}",
                reason="VALUE_UNKNOWN",
            )  # fmt: skip
        if found.retired and found.key != present and not lenient:
            raise Invalid(
                field, f"'{found.key[:40]}' is retired: choose one of {self._shown()}", reason="VALUE_RETIRED"
            )
        return found.key

    def check_named(self, text: str, field: str) -> None:
        """Checks a value that a rule is to name, by its key; a retired one is held by records still. Raises Invalid
        (VALUE_UNKNOWN) naming `field`."""
        if text and not self.accepts_others and text not in self._by_key:
            raise Invalid(
                field, f"'{text[:40]}' is no value of the list {self.kind.key}; there are: {self._shown()}",
                reason="VALUE_UNKNOWN",
            )  # fmt: skip

    def _shown(self) -> str:
        return ", ".join([value.key for value in self.values if not value.retired][:30]) or "none"

    def name(self, key: str, *, chinese: bool) -> str:
        """What people call a value that a record holds; the key itself when the list has it no longer."""
        found = self._by_key.get(key)
        if found is None:
            return key
        first, second = (found.name_zh, found.name_en) if chinese else (found.name_en, found.name_zh)
        return first or second or key

    @cached_property
    def keys(self) -> frozenset[str]:
        """Of all its values, retired ones among them."""
        return frozenset(self._by_key)

    @cached_property
    def _by_key(self) -> Mapping[str, Offered]:
        return {value.key: value for value in self.values}


@dataclass(frozen=True)
class Lists:
    """All lists of a service as one tenant has them."""

    version: int
    by_key: Mapping[str, OneList] = field(default_factory=dict[str, OneList])

    def key(self, list_key: str, text: str, present: str, field: str, *, lenient: bool = False) -> str:
        """See `OneList.key`."""
        return self.by_key[list_key].key(text, present, field, lenient=lenient)


def lists_of(kinds: Sequence[ListKind], version: int, rows: Sequence[Mapping[str, Any]]) -> Lists:
    """The lists from the rows of those which the tenant has changed."""
    changed = {row["list_key"]: row for row in rows}
    return Lists(version, {kind.key: one_list(kind, changed.get(kind.key)) for kind in kinds})


def one_list(kind: ListKind, row: Mapping[str, Any] | None) -> OneList:
    """The list from its row; None for one that is as it came."""
    if row is None:
        return OneList(kind, kind.values, kind.accepts_others)
    items = tuple(Offered(**item, built_in=item["key"] in kind.built_in) for item in row["items"])
    # What a later version of the service has built in stands behind.
    known = {item.key for item in items}
    added = tuple(value for value in kind.values if value.built_in and value.key not in known)
    return OneList(kind, items + added, row["accepts_others"] and not kind.closed)
