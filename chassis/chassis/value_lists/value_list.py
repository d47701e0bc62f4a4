"""Lists as rows: what may become of a value that records hold.

Whoever writes values holds a lock of the tenant's lists together with others; whoever changes a list holds it alone. So a
change knows all values that were written by the list before it. `value_list_sets.version` counts the changes, by which each
process knows whether what it remembers still counts.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar
from uuid import UUID

import orjson
from sqlalchemy import text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field

from chassis.database import Database, Transaction
from chassis.errors import Invalid, NotFound, Precondition, Violation
from chassis.events.event import Event
from chassis.fields import presence_of
from chassis.filters import Op, comparisons, parse
from chassis.principal import Principal
from chassis.records import Record
from chassis.texts import line, same
from chassis.value_lists.kinds import ListKind, Lists, Named, Offered, Used, lists_of


class ValueList(Record, table=True):
    """A list that the tenant has changed."""

    __tablename__ = "value_lists"  # pyright: ignore[reportAssignmentType]
    record_type: ClassVar[str] = "value_list"
    history_listed: ClassVar[frozenset[str]] = frozenset({"items"})

    list_key: str
    accepts_others: bool = False
    items: list[dict[str, Any]] = Field(default_factory=list[dict[str, Any]], sa_type=JSONB)

    @classmethod
    def history_entries(cls, read: Any) -> dict[str, dict[str, str]]:
        """The values by their keys, each as one line with its place."""
        return {
            "values": {item["key"]: _told(item, place) for place, item in enumerate(read("items") or (), 1)}
        }


def _told(item: Mapping[str, Any], place: int) -> str:
    names = " / ".join(name for name in (item["name_zh"], item["name_en"]) if name)
    return f"{place}. {names}{' (retired)' if item['retired'] else ''}"


@dataclass(frozen=True, kw_only=True)
class ListedValue:
    key: str
    name_zh: str
    name_en: str
    retired: bool
    built_in: bool


@dataclass(frozen=True, kw_only=True)
class ValueListUpdated(Event):
    value_list_id: UUID
    key: str
    accepts_others: bool
    values: list[ListedValue]


class ValueInUse(Precondition):
    """Records hold a value that is to go, or rules name it; `rules` says how many of which."""

    reason = "VALUE_IN_USE"

    def __init__(self, key: str, rows: int, rules: Mapping[str, int]) -> None:
        told = {"key": key, "rows": str(rows)}
        message = f"{rows:,} records hold '{key}': retire it instead."
        if rules:
            told["rules"] = ", ".join(f"{rule}: {many}" for rule, many in rules.items())
            users = {**({"records": rows} if rows else {}), **rules}
            named = ", ".join(f"{many:,} of the {user}" for user, many in users.items())
            message = f"'{key}' is held or named by {named}: retire it instead."
        super().__init__(message, metadata=told)


class ValueBuiltIn(Precondition):
    """A value that stays is to go."""

    reason = "VALUE_BUILT_IN"

    def __init__(self, key: str) -> None:
        super().__init__(f"'{key}' is built in: retire it instead.", metadata={"key": key})


_ALONE = text("SELECT pg_advisory_xact_lock(value_lists_lock())")
_VERSION = text("SELECT value_lists_version() AS version")
_READ = "SELECT list_key, accepts_others, items::text AS items FROM value_lists WHERE deleted_at IS NULL"
_ROWS = text(_READ)
_COUNT = text(
    "INSERT INTO value_list_sets (tenant_id, version) VALUES (:tenant, 1)"
    " ON CONFLICT (tenant_id) DO UPDATE SET version = value_list_sets.version + 1"
)


class ValueLists:
    """The lists of one service, and where its rules name values of them, by the key of the list. Raises ValueError for two of one
    key."""

    def __init__(self, *kinds: ListKind, named: Mapping[str, Sequence[Named]] | None = None) -> None:
        self.kinds = kinds
        self.named = dict(named or {})
        self.by_key = {kind.key: kind for kind in kinds}
        if len(self.by_key) < len(kinds):
            raise ValueError("two lists have one key")

    async def within(self, tx: Transaction) -> Lists:
        """The lists by which this transaction writes values; they cannot change before it ends."""
        if tx.lists is not None:
            return tx.lists
        version: int = (await tx.session.execute(_VERSION)).scalar_one()
        known = tx.database.known_lists.get(tx.who.tenant_id)
        if known is None or known.version != version:
            rows = (await tx.session.execute(_ROWS)).mappings() if version else ()
            known = lists_of(self.kinds, version, [_row(row) for row in rows])
            tx.database.remember_lists(tx.who.tenant_id, known)
        tx.lists = known
        return known

    async def now(self, database: Database, who: Principal) -> Lists:
        """The lists as they are now, for reading."""
        return lists_of(self.kinds, 0, [_row(row) for row in await database.read(who, _READ)])

    async def locked(self, tx: Transaction, id: UUID, etag: str) -> tuple[ListKind, ValueList]:
        """The list of that id, with nobody else writing values or changing lists. One that is as it came is no row yet.

        Raises NotFound, EtagMismatch.
        """
        kind = next((kind for kind in self.kinds if kind.id_for(tx.who.tenant_id) == id), None)
        if kind is None:
            raise NotFound("value list", id)
        await tx.session.execute(_ALONE)
        row = await tx.find(ValueList, id)
        if row is None:
            if etag not in ("", "0"):
                tx.check_etag(ValueList(list_key=kind.key, version=0), etag)
            values = [_kept(value) for value in kind.values]
            row = ValueList(id=id, list_key=kind.key, accepts_others=kind.accepts_others, items=values)
        else:
            tx.check_etag(row, etag)
        return kind, row

    async def change(
        self, tx: Transaction, kind: ListKind, row: ValueList, values: Sequence[Offered] | None, accepts_others: bool | None
    ) -> None:  # fmt: skip
        """Gives a locked list these values, None leaves what there is. Raises Invalid, ValueInUse, ValueBuiltIn."""
        if accepts_others and kind.closed:
            raise Invalid("valueList.acceptsOthers", f"the list {kind.key} never accepts others")
        others = row.accepts_others if accepts_others is None else accepts_others
        items = row.items
        if values is not None:
            tidy = [_tidied(value) for value in values]
            _check(tidy)
            items = [_kept(value) for value in tidy]
            await self._check_gone(tx, kind, row, {value.key for value in tidy})
        if (items, others) == (row.items, row.accepts_others):
            return
        if row not in tx.session:
            tx.add(row)
            await tx.session.flush()  # its history begins with what it came as
        row.items, row.accepts_others = items, others
        await tx.session.flush()
        await tx.session.execute(_COUNT, {"tenant": tx.who.tenant_id})
        tx.record(
            ValueListUpdated(
                value_list_id=row.id, key=kind.key, accepts_others=row.accepts_others,
                values=[ListedValue(**item, built_in=item["key"] in kind.built_in) for item in row.items],
            ),
            on=row,
        )  # fmt: skip

    async def check_filter(self, tx: Transaction, filter: str, fields: Mapping[str, str], field: str) -> None:
        """Checks the values that a filter names which is to be kept; `fields` are the fields that it may compare with values of a
        list, and that list's key. Raises Invalid (VALUE_UNKNOWN) naming `field`."""
        for one in comparisons(parse(filter)):
            if one.field in fields and one.op in _WHOLE and presence_of(one) is None:
                (await self.within(tx)).by_key[fields[one.field]].check_named(one.value.text, field)

    async def _check_gone(self, tx: Transaction, kind: ListKind, row: ValueList, stay: set[str]) -> None:
        leave = [item["key"] for item in row.items if item["key"] not in stay]
        for gone in leave:
            if gone in kind.built_in:
                raise ValueBuiltIn(gone)
        naming: dict[str, Counter[str]] = {gone: Counter() for gone in leave}
        for named in self.named.get(kind.key, ()) if leave else ():
            for gone, many in (await _naming(tx, named, leave)).items():
                naming[gone][named.rule] += many
        for gone in leave:
            rows, rules = await _held(tx, kind.used, gone), naming[gone]
            if rows or rules:
                raise ValueInUse(gone, rows, rules)


_WHOLE = (Op.EQ, Op.NE)


def _row(row: Any) -> dict[str, Any]:
    return {**row, "items": orjson.loads(row["items"])}


def _kept(value: Offered) -> dict[str, Any]:
    kept = asdict(value)
    del kept["built_in"]  # it follows from the key
    return kept


def _tidied(value: Offered) -> Offered:
    return Offered(line(value.key), line(value.name_zh), line(value.name_en), value.retired)


def _check(values: Sequence[Offered]) -> None:
    """Raises Invalid for values without a name, and for a text that means two of them."""
    wrong: list[Violation] = []
    meant: dict[str, str] = {}
    for place, value in enumerate(values):
        field = f"valueList.values[{place}]"
        if not value.key:
            wrong.append(Violation(f"{field}.key", "is empty"))
        if not value.name_zh and not value.name_en:
            wrong.append(Violation(f"{field}.nameZh", "a value needs a name in Chinese or in English"))
        for name in dict.fromkeys(same(one) for one in (value.key, value.name_zh, value.name_en) if one):
            if name in meant:
                problem = Invalid(field, f"'{name[:40]}' means '{meant[name][:40]}' already")
                problem.reason = "VALUE_TWICE"
                raise problem
        meant.update((same(one), value.key) for one in (value.key, value.name_zh, value.name_en) if one)
    if wrong:
        raise Invalid.of(wrong[:50])


async def _held(tx: Transaction, used: Sequence[Used], key: str) -> int:
    """How many records hold the value, deleted ones among them, which may come back."""
    rows = 0
    for one in used:
        # Tables and columns of a service's declaration.
        such = (
            f"{one.column} @> jsonb_build_array(jsonb_build_object('{one.inside}', CAST(:key AS text)))"
            if one.inside
            else f"{one.column} = :key"
        )
        found = await tx.session.execute(text(f"SELECT count(*) FROM {one.table} WHERE {such}"), {"key": key})  # noqa: S608 (declared columns)
        rows += found.scalar_one()
    return rows


_MOST_READ = 1000
"""Filters that are read to count, once it is known that the value has to stay."""
_AT_A_TIME = 50


async def _naming(tx: Transaction, named: Named, keys: Sequence[str]) -> Counter[str]:
    """How many rules name which of the values; of very many it may be more. All writers of values wait for it, so each text is
    read once for all values, and only where one of them may stand: in it, or behind a backslash."""
    such = "deleted_at IS NULL"
    such += " AND of_type = :type" if named.of_type else ""
    such += " AND sharing <> 'NOBODY'" if named.shared else ""
    of: dict[str, Any] = {"type": named.of_type} if named.of_type else {}
    # Tables and columns of a service's declaration.
    if not named.fields:
        statement = f"SELECT {named.column} FROM {named.table} WHERE {such} AND {named.column} <> '{{}}'"  # noqa: S608 (declared columns)
        arrays = (await tx.session.execute(text(statement), of)).scalars()
        return Counter(key for held in arrays for key in keys if key in held)
    statement = (
        f"SELECT {named.column} AS held, count(*) AS many FROM {named.table} WHERE {such}"  # noqa: S608 (declared columns)
        f" AND (strpos({named.column}, chr(92)) > 0 OR EXISTS"
        f" (SELECT FROM unnest(CAST(:keys AS text[])) AS k WHERE strpos({named.column}, k) > 0)) GROUP BY 1"
    )
    found: Counter[str] = Counter()
    for place, row in enumerate(await tx.session.execute(text(statement), {**of, "keys": list(keys)})):
        if place >= _MOST_READ and found:
            break
        if place % _AT_A_TIME == 0:
            await asyncio.sleep(0)  # others of this process have their turn
        for key in _named_in(row.held, named.fields).intersection(keys):
            found[key] += row.many
    return found


def _named_in(filter: str, fields: Sequence[str]) -> set[str]:
    """The values with which a filter compares these fields."""
    try:
        return {
            one.value.text
            for one in comparisons(parse(filter))
            if one.field in fields and presence_of(one) is None
        }
    except Invalid:
        return set()  # nobody can ask it any more
