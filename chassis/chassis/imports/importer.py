"""How a service lets rows of files become its records.

Declaring it, in the service's `imports.py`::

    async def save(tx: Transaction, rows: list[ImportRow], options: Options) -> list[Outcome]:
        # One transaction, at most 500 rows. One outcome for each row, in their order. Whatever is added or
        # recorded here commits together with the progress of the import, or not at all.
        out: list[Outcome] = []
        new: list[Lead] = []
        for row in rows:
            lead = Lead.capture(row.values, owner_id=options.owner_id)
            new.append(lead)
            tx.record(LeadCreated(lead_id=lead.id, ...), on=lead)
            out.append(created(lead.id))     # or updated(id), unchanged(id), refused(reason, message, field)
        await tx.insert_all(new)             # or tx.add(lead) for each: simpler, and three times slower
        return out

    LEADS = Importer(
        record_type="lead",
        right="leads",
        targets=(
            Target("lastName", "Last name", Text(100), aliases=("姓名", "name", "contact"), required=True),
            Target("phone", "Phone", Phone(), aliases=("电话", "手机", "mobile")),
            Target("source", "Source", Choice({"WEB": ("website", "网站"), "CALL": ("phone", "电话")})),
            Target("customer", "Customer", Reference("customer", "customer"), aliases=("客户", "account")),
        ),
        save=save,
        resolvers={"customer": find_customers},          # async (call, names) -> {name: Found | Refused}
    )
    IMPORTS = Imports(LEADS)

and in `service.py`: `faces=[..., import_face("kehu.leads.v1.ImportService", IMPORTS)]`,
`jobs={**IMPORTS.jobs, ...}`, and
`install_import_tables()` in the migration.

`row.values` has the value of every mapped cell that is not empty, by field: Text → str, Phone → E.164, Day →
date, Moment → datetime (UTC), Amount → Money, Number → Decimal or int, Choice → its value, Flag → bool, Tags
→ list[str], Reference → what the resolver found.

A row that `save` cannot take (a Problem, a broken constraint) is refused alone: its batch is taken again in
halves.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from chassis import texts
from chassis.custom_fields.switch import CustomFields
from chassis.database import Database, Transaction
from chassis.errors import Problem as Failure
from chassis.home import Measures
from chassis.imports.mapping import Target
from chassis.imports.progress import ImportProgressed
from chassis.imports.reading import Row
from chassis.imports.refused import SKIPPED, Problem, restored
from chassis.imports.tables import CREATE, MERGE, UPDATE
from chassis.imports.values import (
    Amount,
    Currency,
    Day,
    Gone,
    Listed,
    Moment,
    Phone,
    Reference,
    Refused,
    Several,
    date_order,
    shown,
)
from chassis.owners import Owner
from chassis.principal import Principal
from chassis.records import Record
from chassis.value_lists.kinds import OneList
from chassis.value_lists.value_list import ValueLists


@dataclass(frozen=True, slots=True)
class ImportRow:
    """A row fit to be saved. `number` is its number in a spreadsheet."""

    number: int
    values: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Options:
    """How the person wants it. `mode` is CREATE, UPDATE or UPSERT, `duplicates` SKIP, MERGE, CREATE or empty. `owner_id` owns
    what names no owner, `team_id` is that person's team; `currency` is that of amounts that name none, empty for the field's
    own."""

    mode: str = CREATE
    owner_id: UUID | None = None
    currency: str = ""
    team_id: UUID | None = None
    duplicates: str = ""

    def owner(self, who: Principal) -> Owner:
        """Who owns what names no owner: whom the import was started for, else `who`."""
        if self.owner_id is None:
            return Owner(who.person_id, who.team_id)
        return Owner(self.owner_id, self.team_id)

    @property
    def upsert(self) -> bool:
        """Whether a row changes the record that has its key."""
        return self.mode != CREATE

    @property
    def creates(self) -> bool:
        """Whether a row without a record makes one."""
        return self.mode != UPDATE

    @property
    def changes(self) -> bool:
        """Whether a row may change a record, also one that a row above has made."""
        return self.upsert or self.duplicates == MERGE


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a row: "created", "updated", "unchanged", "skipped" or "refused"; and what was repaired on the
    way."""

    kind: str
    id: UUID | None = None
    problems: tuple[Problem, ...] = ()

    def repaired(self, field: str, message: str, reason: str = "VALUE_REPAIRED") -> "Outcome":
        """The same, with a note that a value was put right."""
        return replace(self, problems=(*self.problems, Problem(field, reason, message, repaired=True)))


def created(id: UUID) -> Outcome:
    """The row has made a record."""
    return Outcome("created", id)


def updated(id: UUID) -> Outcome:
    """The row has changed a record."""
    return Outcome("updated", id)


def unchanged(id: UUID) -> Outcome:
    """The row's record was there and the same."""
    return Outcome("unchanged", id)


def skipped(id: UUID, field: str) -> Outcome:
    """The row made nothing, since the record with its value in that field is there already."""
    said = f"a record with the same value is there already: {id}"
    return Outcome("skipped", id, (Problem(field, SKIPPED, said, repaired=True),))


def refused(reason: str, message: str, field: str = "") -> Outcome:
    """The row made nothing, for that reason (UPPER_SNAKE) in the field with that JSON name, or in the row as
    a whole."""
    return Outcome("refused", None, (Problem(field, reason, message),))


@dataclass(frozen=True, slots=True)
class Found:
    """A record that a cell refers to: whatever the service wants in `row.values`, and a note when the text
    was repaired."""

    value: Any
    repaired: str = ""


Resolved = Mapping[str, Found | Refused]
Resolver = Callable[[Any, Sequence[str]], Awaitable[Resolved]]
"""`async (call, texts) -> {text: Found or Refused}` for the different texts of a batch; `call` is what jobs
get, so it can read the database and ask other services as the person who imports. A text that is left out is
refused as not found."""


@dataclass(frozen=True)
class Undo:
    """How what an import did to a record is undone. `remove` deletes it, `change` sets columns to former values; both as their
    use cases do, with their events, and raise a Problem, before they change anything, where they must not.

    `dealt_with` is asked once for many records that would be removed: why those are kept, by id, that somebody has begun to work
    with."""

    table: type[Record]
    remove: Callable[[Transaction, Any], Awaitable[None]]
    change: Callable[[Transaction, Any, dict[str, Any]], Awaitable[None]]
    dealt_with: Callable[[Transaction, Sequence[UUID]], Awaitable[Mapping[UUID, Failure]]] | None = None


Save = Callable[[Transaction, list[ImportRow], Options], Awaitable[Sequence[Outcome]]]


@dataclass(frozen=True)
class Importer:
    """Rows of one kind. Raises ValueError when a Reference has no resolver, a Listed no list, or a field stands twice."""

    record_type: str
    right: str
    targets: tuple[Target, ...]
    save: Save
    resolvers: Mapping[str, Resolver] = field(default_factory=dict[str, Resolver])
    custom_fields: CustomFields | None = None
    """For records that have them: columns can then be mapped to custom fields, `row.values` has `custom_fields` as a caller
    would write them, and `chassis.custom_fields.definitions.taken` says whether they are fit."""
    value_lists: ValueLists | None = None
    """For records with listed values: where the values of targets that are `Listed` come from."""
    known_lists: Callable[[Database, UUID], Mapping[str, OneList] | None] | None = None
    """The same where another service keeps the lists: what is known of a tenant's (see `Imports`)."""
    country: Callable[[Database, Principal], Awaitable[str]] | None = None
    """By whose rules telephone numbers without a country code are read; None means those of China. Times and amounts are the
    company's for every importer."""
    keys: tuple[str, ...] = ("externalKey",)
    """Fields of which each says which record a row is: all that a row needs which makes none."""
    undo: Undo | None = None
    """Without it, imports cannot be undone."""
    progressed: type[ImportProgressed] | None = None
    """The event by which those who look on hear how far an import is; the service publishes it."""

    def __post_init__(self) -> None:
        names = [target.field for target in self.targets]
        if len(set(names)) != len(names):
            raise ValueError(f"{self.record_type}: a field stands twice among the targets")
        for target in self.targets:
            if isinstance(target.value, Reference) and target.value.resolver not in self.resolvers:
                raise ValueError(
                    f"{self.record_type}.{target.field}: there is no resolver '{target.value.resolver}'"
                )
            if isinstance(target.value, Listed) and (
                self.known_lists is None
                and (self.value_lists is None or target.value.list_key not in self.value_lists.by_key)
            ):
                raise ValueError(f"{self.record_type}.{target.field}: no list '{target.value.list_key}'")


@dataclass(slots=True)
class Draft:
    """A row on its way: what was read of it so far, and what is wrong with it."""

    row: Row
    values: dict[str, Any]
    problems: list[Problem]

    @property
    def fit(self) -> bool:
        return all(problem.repaired for problem in self.problems)


def at_home_in(importer: Importer, country: str, measures: Measures) -> Importer:
    """The importer that reads telephone numbers by the rules of that country, and times and amounts by what the company
    counts in."""

    def at_home(value: Any) -> Any:
        match value:
            case Several():
                return value.at_home_in(country)
            case Phone():
                return replace(value, region=country)
            case Moment():
                return replace(value, zone=measures.time_zone)
            case Amount():
                return replace(value, currency=measures.currency)
            case _:
                return value

    targets = (replace(target, value=at_home(target.value)) for target in importer.targets)
    return replace(importer, targets=tuple(targets))


CURRENCY = "Currency"
"""What follows the name of an amount's field in that of its currency."""


def with_currencies(importer: Importer) -> Importer:
    """The importer with a field for the currency of each amount, for files that have it in a column of its own."""
    beside = tuple(
        Target(
            target.field + CURRENCY, f"{target.label} (currency)", Currency(),
            tuple(f"{name} {word}" for name in (target.label, *target.aliases) for word in ("currency", "币种")),
        )
        for target in importer.targets
        if isinstance(target.value, Amount)
    )  # fmt: skip
    return replace(importer, targets=importer.targets + beside)


def orders_of(importer: Importer, mapping: Mapping[int, str], rows: Iterable[Row]) -> dict[str, str]:
    """How short days are meant, for each mapped field of days whose column proves it."""
    columns: dict[int, list[str]] = {
        column: []
        for column, name in mapping.items()
        for target in importer.targets
        if target.field == name and isinstance(target.value, Day | Moment) and not target.value.order
    }
    if not columns:
        return {}
    for row in rows:
        for column, cells in columns.items():
            if column < len(row.cells) and "20" in row.cells[column]:
                cells.append(row.cells[column])
                if len(cells) > 20_000:
                    return {mapping[c]: date_order(found) for c, found in columns.items()}
    return {mapping[column]: date_order(cells) for column, cells in columns.items()}


class RowReader:
    """Reads rows with a mapping. Made once for an import, since it looks up the targets."""

    def __init__(
        self,
        importer: Importer,
        mapping: Mapping[int, str],
        columns: int,
        orders: Mapping[str, str],
        currency: str = "",
        *,
        creates: bool = True,
    ) -> None:
        """What makes no records may leave out what a new one needs."""
        by_name = {target.field: target for target in importer.targets}
        self._columns = columns
        self._mapped = [
            (
                column,
                name,
                self._told(
                    by_name[name].value if name in by_name else Gone(), orders.get(name, ""), currency
                ),
            )
            for column, name in mapping.items()
        ]
        columns_of = {name: column for column, name in mapping.items()}
        self._currencies = {
            columns_of[name]: columns_of[name + CURRENCY]
            for name in columns_of
            if name + CURRENCY in columns_of and name in by_name and isinstance(by_name[name].value, Amount)
        }
        """Column of an amount → column of its currency."""
        self._required = [(t.field, t.label) for t in importer.targets if t.required and creates]

    @staticmethod
    def _told(value: Any, order: str, currency: str) -> Any:
        if order and isinstance(value, Day | Moment):
            return replace(value, order=order)
        return replace(value, currency=currency) if currency and isinstance(value, Amount) else value

    def read(self, row: Row) -> Draft:
        """The row's values, and whatever is wrong with its cells. References are still texts."""
        values: dict[str, Any] = {}
        problems: list[Problem] = []
        cells = row.cells
        if len(cells) > self._columns:
            extra = f"the row has {len(cells)} cells, the header {self._columns}: is a cell not quoted?"
            problems.append(Problem("", "ROW_TOO_LONG", extra))
        for column, name, value in self._mapped:
            text = cells[column].strip() if column < len(cells) else ""
            if not text:
                continue
            if text[0] == "'":
                text = restored(text)
            try:
                read = self._in_its_currency(column, value, cells).read(text)
            except Refused as no:
                problems.append(Problem(name, no.reason, no.message))
                continue
            if read.value == "" or isinstance(value, Currency):
                continue
            values[name] = read.value
            if read.repaired:
                problems.append(Problem(name, "VALUE_REPAIRED", read.repaired, repaired=True))
        for name, label in self._required:
            if name not in values and not any(p.field == name for p in problems):
                problems.append(Problem(name, "REQUIRED", f"{label} is required"))
        return Draft(row, values, problems)

    def _in_its_currency(self, column: int, value: Any, cells: Sequence[str]) -> Any:
        """An amount that says none is in the currency that stands beside it, if one does. Raises Refused."""
        beside = self._currencies.get(column)
        code = cells[beside].strip() if beside is not None and beside < len(cells) else ""
        return replace(value, currency=Currency().read(code).value) if code else value


async def resolve(importer: Importer, call: Any, drafts: Sequence[Draft]) -> None:
    """Puts the records that cells refer to in their place, asking each resolver once for the different
    texts."""
    for target in importer.targets:
        if not isinstance(target.value, Reference):
            continue
        # Also in rows that something else is wrong with: who mends a file wants to do it once.
        asking = [draft for draft in drafts if target.field in draft.values]
        if not asking:
            continue
        wanted = list(dict.fromkeys(str(draft.values[target.field]) for draft in asking))
        resolved = await importer.resolvers[target.value.resolver](call, wanted)
        for draft in asking:
            text = draft.values[target.field]
            match resolved.get(text):
                case Found(value, note):
                    draft.values[target.field] = value
                    if note:
                        draft.problems.append(Problem(target.field, "VALUE_REPAIRED", note, repaired=True))
                case Refused() as no:
                    draft.problems.append(Problem(target.field, no.reason, no.message))
                case _:
                    missing = f"there is no {target.value.what} {shown(text)}, or you may not see it"
                    draft.problems.append(Problem(target.field, "REFERENCE_NOT_FOUND", missing))


def by_name(
    wanted: Iterable[str], candidates: Iterable[tuple[str, Any]], what: str
) -> dict[str, Found | Refused]:
    """Finds records by name among `candidates`, pairs of name and value: by equality, else, repaired, by
    equality after ignoring white space, case and width. What fits several records is refused; what fits none
    is left out.

    To ask a large table for candidates, keep a column with `chassis.texts.same(name)` and ask for
    `[same(text) for text in wanted]`.
    """
    exact: dict[str, list[tuple[str, Any]]] = {}
    loose: dict[str, list[tuple[str, Any]]] = {}
    for name, value in candidates:
        exact.setdefault(name, []).append((name, value))
        loose.setdefault(texts.same(name), []).append((name, value))
    out: dict[str, Found | Refused] = {}
    for text in wanted:
        fits = exact.get(text) or loose.get(texts.same(text), [])
        if len(fits) == 1:
            name, value = fits[0]
            out[text] = Found(value, "" if name == text else f"{shown(text)} was taken for {shown(name)}")
        elif fits:
            out[text] = Refused(
                "REFERENCE_AMBIGUOUS", f"{shown(text)} fits {len(fits)} records of kind {what}"
            )
    return out
