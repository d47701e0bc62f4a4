"""How customers and contacts are reached: telephone numbers, e-mail and postal addresses, accounts of messengers.

Each is a list of entries with labels, of which exactly one is the primary: the first, wherever it stood when it was written.
Where the contract has a single field as well (`phone` beside `phones`), its column holds the primary's value, and two columns
beside it the primary's label and the other entries. So the two cannot disagree, and records from before lists need no change.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from chassis import texts
from chassis.database import Transaction
from chassis.errors import Invalid
from chassis.home import DEFAULT_COUNTRY, dialled_at_home, home_country
from chassis.parts import Listed, by_value
from chassis.phones import normalised_phone

Entries = list[dict[str, Any]]
Read = Callable[[str], Any]


@dataclass(frozen=True, slots=True)
class Way:
    """One way to reach somebody. `value` names the value in an entry.

    Either `single`, `label` and `others` are the columns of the primary's value and label and of the other entries, or the
    column `name` holds all entries, the primary first.
    """

    name: str
    value: str
    single: str = ""
    label: str = ""
    others: str = ""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns in which the entries stand."""
        return (self.single, self.label, self.others) if self.single else (self.name,)

    def entries(self, read: Read) -> Entries:
        """The entries of a record, the primary first; `read` gives its columns."""
        if not self.single:
            return read(self.name)
        value, others = read(self.single), read(self.others)
        return [{"label": read(self.label), self.value: value}, *others] if value else others

    def kept(self, entries: Entries) -> dict[str, Any]:
        """Column → value of these entries, the primary first."""
        if not self.single:
            return {self.name: entries}
        nothing: dict[str, Any] = {"label": "", self.value: {} if self.name == "addresses" else ""}
        first = entries[0] if entries else nothing
        return {self.single: first[self.value], self.label: first["label"], self.others: entries[1:]}


PHONES = Way("phones", "number", "phone", "phone_label", "other_phones")
EMAILS = Way("emails", "address", "email", "email_label", "other_emails")
ADDRESSES = Way("addresses", "address", "address", "address_label", "other_addresses")
ACCOUNTS = Way("accounts", "account")
CUSTOMER_WAYS = (PHONES, EMAILS, ADDRESSES, ACCOUNTS)
CONTACT_WAYS = (
    Way("phones", "number"), Way("emails", "address"), Way("addresses", "address"),
    Way("accounts", "account", "im_account", "account_label", "other_accounts"),
)  # fmt: skip


def undone_by_entry(ways: Sequence[Way]) -> tuple[Listed, ...]:
    """How each of these is undone: entry by entry, so that its columns never say different things."""
    return tuple(Listed(way.columns, partial(_key, way), partial(_entries, way), way.kept) for way in ways)


def _key(way: Way, entry: Mapping[str, Any]) -> str:
    value = by_value(entry[way.value])
    return f"{entry['label']} {value}" if way.value == "account" else value


def _entries(way: Way, values: Mapping[str, Any]) -> Entries:
    return way.entries(values.__getitem__)


class Reached(SQLModel):
    """A record that has such entries: `ways` says which."""

    ways: ClassVar[tuple[Way, ...]] = ()

    def entries(self, name: str) -> Entries:
        """The entries of that list, the primary first."""
        return next(way for way in self.ways if way.name == name).entries(self.__getattribute__)

    @classmethod
    def history_entries(cls, read: Read) -> Mapping[str, Mapping[str, str]]:
        """Each entry by its value, as one line."""
        return {way.name: _lines(way, way.entries(read)) for way in cls.ways}


def by_entries(record: Reached, values: Mapping[str, Any]) -> dict[str, Any]:
    """Column → value as it is to be, with each list of which a column is among them as its entries."""
    out = dict(values)
    for way in record.ways:
        if out.keys().isdisjoint(way.columns):
            continue
        entries = way.entries(lambda column: values.get(column, getattr(record, column)))
        out = {column: value for column, value in out.items() if column not in way.columns}
        out[way.name] = entries
    return out


def jsonb_list() -> Any:
    """A column of entries."""
    return Field(default_factory=list[dict[str, Any]], sa_type=JSONB)


def _lines(way: Way, entries: Entries) -> dict[str, str]:
    out: dict[str, str] = {}
    for place, entry in enumerate(entries):
        shown = shown_value(way, entry[way.value])
        # Two accounts of one name, and addresses, are told apart by their labels.
        key = f"{entry['label']} {shown}".strip() if way.value == "account" else shown
        out[key] = " ".join(
            part for part in (entry["label"], shown, "(primary)" if place == 0 else "") if part
        )
    return out


def shown_value(way: Way, value: Any) -> str:
    """The value in one line."""
    if way.name != "addresses":
        return str(value)
    parts: Mapping[str, str] = value
    names = ("country_code", "province", "city", "district", "street", "postal_code")
    return " ".join(parts[name] for name in names if parts.get(name))


@dataclass(frozen=True, kw_only=True)
class EntryChange:
    """What became of one entry. Values stay with the service; the label tells which it was."""

    list: str
    act: str
    label: str
    primary: bool


def entry_changes(before: Mapping[str, Mapping[str, Any]], record: Reached) -> list[EntryChange]:
    """What became of each entry since `before` was noted (`noted`)."""
    out: list[EntryChange] = []
    for way in record.ways:
        old, new = before[way.name], _by_key(way, record.entries(way.name))
        for key in {**old, **new}:
            was, now = old.get(key), new.get(key)
            if was != now:
                act = "ADDED" if was is None else "REMOVED" if now is None else "CHANGED"
                label, primary = now or was or ("", False)
                out.append(EntryChange(list=way.name, act=act, label=label, primary=primary))
    return out


def noted(record: Reached) -> dict[str, dict[str, tuple[str, bool]]]:
    """The entries before a change, by list and key, with label and whether primary."""
    return {way.name: _by_key(way, record.entries(way.name)) for way in record.ways}


def _by_key(way: Way, entries: Entries) -> dict[str, tuple[str, bool]]:
    out: dict[str, tuple[str, bool]] = {}
    for place, entry in enumerate(entries):
        shown = shown_value(way, entry[way.value])
        out[f"{entry['label']} {shown}" if way.value == "account" else shown] = (entry["label"], place == 0)
    return out


def changed_names(ways: Sequence[Way], columns: Sequence[str]) -> list[str]:
    """Changed columns as the contract's fields: a primary's value, and the list of which its column is a part."""
    out: list[str] = []
    for column in columns:
        way = next((way for way in ways if column in way.columns), None)
        if way is None or column == way.single:
            out.append(column)
        if way is not None:
            out.append(way.name)
    return list(dict.fromkeys(out))


async def reached(
    tx: Transaction, ways: Sequence[Way], values: Mapping[str, Any], present: Reached | None, resource: str
) -> dict[str, Any]:
    """What a caller wrote, by column, with entries as they are kept: numbers in E.164, e-mail addresses in lower case, no
    entry twice, the primary first.

    Raises Invalid (PRIMARY_TWICE, PRIMARY_MISMATCH).
    """
    out = dict(values)
    for way in ways:
        if way.name not in values and (not way.single or way.single not in values):
            continue
        country = await home_country(tx) if _dialled_at_home(way, values) else DEFAULT_COUNTRY
        had = present.entries(way.name) if present is not None else []
        written = values.get(way.name)
        entries = None if written is None else tidied(way, written, country, f"{resource}.{way.name}")
        if way.single and way.single in values:
            first = tidy_value(way, values[way.single], country)
            entries = _agreed(way, entries, first, had, f"{resource}.{way.single}")
        if entries is not None:
            out.pop(way.name, None)
            out |= way.kept(entries)
    return out


def _agreed(way: Way, entries: Entries | None, first: Any, had: Entries, field: str) -> Entries:
    """The entries when the primary's value is written, alone or beside them: the one of the two that says something new is
    meant."""
    before = had[0][way.value] if had else type(first)()
    if entries is not None:
        listed = entries[0][way.value] if entries else type(first)()
        if first in (listed, before) or not (first or had):
            return entries
        if entries and entries != had:
            raise Invalid(
                field, f"is another than the primary one of {way.name}: write one of them", reason="PRIMARY_MISMATCH"
            )  # fmt: skip
    if first == before:
        return had
    if not first:
        return had[1:]
    same = [entry for entry in had if entry[way.value] == first]
    if same:
        return [same[0], *[entry for entry in had if entry is not same[0]]]
    return [{"label": had[0]["label"] if had else "", way.value: first}, *had[1:]]


def tidied(way: Way, written: Entries, country: str, field: str) -> Entries:
    """Entries as they are kept. What is written twice is kept once."""
    marked = [place for place, entry in enumerate(written) if entry.get("primary")]
    if len(marked) > 1:
        raise Invalid(
            f"{field}[{marked[1]}].primary", f"[{marked[0]}] is the primary one already: one can be", reason="PRIMARY_TWICE"
        )  # fmt: skip
    order = marked + [place for place in range(len(written)) if place not in marked]
    out: Entries = []
    for place in order:
        entry = {"label": texts.line(written[place]["label"])}
        entry[way.value] = tidy_value(way, written[place][way.value], country)
        twice = next((one for one in out if _same(way, one, entry)), None)
        if twice is not None:
            twice["label"] = twice["label"] or entry["label"]
        elif entry[way.value]:
            out.append(entry)
    return out


def _same(way: Way, one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return one[way.value] == other[way.value] and (way.value != "account" or one["label"] == other["label"])


def tidy_value(way: Way, value: Any, country: str) -> Any:
    """A value as it is kept; tidying it again changes nothing."""
    match way.name:
        case "phones":
            return normalised_phone(value, country) if value else ""
        case "emails":
            return texts.email(value) or value.strip().lower()
        case "accounts":
            return texts.line(value)
        case _:
            return {name: kept for name, part in value.items() if (kept := texts.line(part))}


def _dialled_at_home(way: Way, values: Mapping[str, Any]) -> bool:
    """Whether a number is written as it is dialled within the country."""
    if way.name != "phones":
        return False
    written = [entry["number"] for entry in values.get("phones") or ()] + [values.get(way.single) or ""]
    return any(dialled_at_home(number) for number in written)
