"""Lists of records: filtered, ordered, searched, paged by keyset, and cut to what the caller may read.

Declaring one, in a service's `rpc.py`::

    LEADS = Listing(
        Lead,                                                   # the SQLModel class of the table
        right="leads",
        fields={
            **RECORD_FIELDS, **OWNER_FIELDS,                    # createTime, updateTime, creatorId …,
            ownerId, teamId "status": Field("status", Kind.ENUM, values=LeadStatus, prefix="LEAD_STATUS_"),
            "companyName": Field("company_name", Kind.TEXT, sortable=True),
            "score": Field("score", Kind.INTEGER, sortable=True),
            "nextContactTime": Field("next_contact_at", Kind.TIMESTAMP, sortable=True, nullable=True),
            "tags": Field("tags", Kind.TAGS),
        },
        default_order="createTime desc",
        search=True,                                            # Lead is Searchable, see chassis.search
        custom_fields=True,                                     # Lead is Customized, see chassis.custom_fields
    )

    @face.read("ListLeads")
    async def list_leads(request: ListLeadsRequest, call: Call) -> ListLeadsResponse:
        page = await LEADS.page(call, request)
        return ListLeadsResponse(leads=[lead_message(row) for row in page.rows],
        next_page_token=page.next_page_token)

    @face.read("GetLead")
    async def get_lead(request: GetLeadRequest, call: Call) -> Lead:
        return lead_message(await LEADS.get(call, request.id))

Indexes that a listing needs, for each field it sorts by: `(tenant_id, <column>, id) WHERE deleted_at IS
NULL`. The one index serves both directions, nullable columns too: records without a value come last either
way, as a second part of the list.

The SQL is made of declared columns and fixed words, once for each shape of request; values are parameters,
always.
"""

from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

import asyncpg
import orjson

from chassis import hits
from chassis import search as searching
from chassis.custom_fields.definition import Definition
from chassis.custom_fields.definitions import Reader, definitions_now
from chassis.custom_fields.given import PREFIX
from chassis.custom_fields.known import Definitions
from chassis.custom_fields.lists import Parameter, condition, holds_days, leading, led, ordered_by
from chassis.errors import Invalid, NotFound
from chassis.fields import Field, Kind, Link, Sql, Value, predicate
from chassis.filters import And, Comparison, Node, parse, written
from chassis.hits import Way
from chassis.ids import parse_id
from chassis.moments import clock_in, names_moments, settled
from chassis.paging import RANK, Key, PageTokens, Part, key_of, parts_of, values_of
from chassis.principal import Act, Principal
from chassis.records import Owned, Record, Shareable
from chassis.visibility import Shares, seen_also, visible_text

DEFAULT_PAGE = 50
MOST_PAGE = 200
AT_ONCE = 500
"""Rows that are read at once where all of them are wanted."""
_MOST_ORDER = 5
_SHAPES = 512

RECORD_FIELDS: Mapping[str, Field] = {
    "createTime": Field("created_at", Kind.TIMESTAMP, sortable=True),
    "updateTime": Field("updated_at", Kind.TIMESTAMP, sortable=True),
    "creatorId": Field("created_by", Kind.UUID),
    "updaterId": Field("updated_by", Kind.UUID),
}
"""The fields of every record. Sorting by them wants indexes on created_at and updated_at."""

OWNER_FIELDS: Mapping[str, Field] = {
    "ownerId": Field("owner_id", Kind.UUID, nullable=True),
    "teamId": Field("team_id", Kind.UUID, nullable=True),
}
"""The fields of owned records."""


class ListRequest(Protocol):
    """What a List request has; `order_by`, `filter` and `query` may be missing from the message."""

    @property
    def page_size(self) -> int: ...
    @property
    def page_token(self) -> str: ...


class Reading(Protocol):
    """What a listing needs of a call, or of a transaction, to read one row."""

    @property
    def who(self) -> Principal: ...
    @property
    def database(self) -> Reader: ...


class Caller(Reading, Protocol):
    """What a listing needs of a call to read a page."""

    @property
    def page_tokens(self) -> "PageTokens": ...


@dataclass(frozen=True, slots=True)
class Page:
    """Rows of one page by their column names, and the token for the next; empty when this is the last."""

    rows: list[asyncpg.Record]
    next_page_token: str


class _Further:
    """The request for what follows."""

    def __init__(self, request: Any, page_token: str) -> None:
        self.page_size, self.page_token = 0, page_token
        self.filter = str(getattr(request, "filter", ""))
        self.order_by = str(getattr(request, "order_by", ""))
        self.query = str(getattr(request, "query", ""))
        self.DESCRIPTOR: Any = request.DESCRIPTOR


@dataclass(frozen=True, slots=True)
class _Asked:
    """Which rows are asked for, but for their order."""

    who: Principal
    filter: str
    where: Mapping[str, Value | None]
    query: searching.Query | None
    custom: Definitions | None = None
    """The custom fields, when the filter or the order names one."""
    ordered_by: tuple[Definition, ...] = ()
    """The custom fields among the order, whose values stand as o0, o1 …"""
    only: tuple[UUID, ...] = ()
    """The rows among which they are; empty for all."""
    shown: tuple[UUID, ...] = ()
    """What the first page has shown of many hits, out of the order of the pages behind it."""


@dataclass(frozen=True, slots=True)
class _Hits:
    """Hits of a query; `of_many` when they are some of many, and more follow in another order."""

    rows: list[asyncpg.Record]
    of_many: bool = False


class Listing:
    """How records of one table are listed. Made once, when the service's modules load; raises ValueError for
    columns the table does not have, and for a default order that is none."""

    def __init__(
        self,
        table: type[Record],
        right: str | None,
        fields: Mapping[str, Field],
        default_order: str = "createTime desc",
        *,
        search: bool = False,
        custom_fields: bool = False,
        columns: Sequence[str] | None = None,
        owner_column: str = "owner_id",
        team_column: str = "team_id",
        links: Mapping[str, Link] | None = None,
        most_page: int = MOST_PAGE,
        seen_through: tuple[str, str] | None = None,
        narrowings: Mapping[str, str] | None = None,
        shares: Shares | None = None,
        seen: Callable[[Principal, list[object]], str] | None = None,
    ) -> None:
        """`right` names the kind of right that decides which rows are seen; None shows all of the tenant's
        (the caller narrows with `where`). `columns` are those of the answer; left out, all but the search
        columns. Tables that are not `Owned` are seen by everybody who has the right at any reach. `links` are other names
        that `where` may give, for what belongs to something by another table. `most_page` bounds a page.

        `seen_through` names a table with owner and team of its own, and its column that holds a row's id: a row is seen by
        whoever may see one of its entries there, too. `narrowings` are further names for `where`, as conditions in which {}
        stands for the value. `shares` names the records whose shares let their rows here be seen, too; those of a
        Shareable table are its own. `seen` says by a condition on `t`, whose values go behind those it is given, who sees a
        row that says so in no column of its own."""
        described: Any = getattr(table, "__table__")  # noqa: B009 (SQLModel adds it at run time)
        existing = {str(column.name) for column in described.columns}
        here = [f for f in fields.values() if f.beside is None]
        used = {f.column for f in here} | {f.currency_column for f in here if f.currency_column}
        missing = (used | set(columns or ())) - existing
        if missing:
            raise ValueError(f"{table.__name__} has no column {', '.join(sorted(missing))}")
        self.row = table
        self.table = str(described.name)
        self.record_type = table.record_type or table.__name__.lower()
        self.right = right
        self.fields = dict(fields)
        self.columns = list(
            columns or [c.name for c in described.columns if c.name not in ("search", "search_text")]
        )
        self._owned = issubclass(table, Owned)
        self._search = search
        self.has_custom_fields = custom_fields
        self._owner = owner_column
        self._team = team_column
        self._links = dict(links or {})
        self._most_page = most_page
        self._through = seen_through
        self._narrowings = dict(narrowings or {})
        self._shares = shares or (Shares(self.record_type) if issubclass(table, Shareable) else None)
        self._seen = seen
        self._statements: OrderedDict[tuple[object, ...], str] = OrderedDict()
        self._filters: OrderedDict[tuple[str, int], Sql] = OrderedDict()
        self._orders: dict[str, tuple[Key, ...]] = {}
        self._default_order = default_order
        try:
            self._order(default_order)
        except Invalid as error:
            raise ValueError(f"{table.__name__}: {error}") from None

    async def page(
        self,
        call: Caller,
        request: ListRequest,
        where: Mapping[str, Value | None] | None = None,
        *,
        such: str = "",
    ) -> Page:
        """The page that `request` asks for, of the rows that the caller may read and that are not deleted.

        `where` narrows by declared fields and links, whatever the request says (`{"customerId": id}`; None asks for no
        value), and `such` by a filter, which may be another one on each page. Raises Invalid naming pageSize, pageToken,
        filter, orderBy or query.
        """
        return await self._page(call, request, where, _size(request.page_size, self._most_page), such)

    async def all(
        self,
        call: Caller,
        request: object,
        where: Mapping[str, Value | None] | None = None,
        *,
        such: str = "",
        only: Sequence[UUID] = (),
    ) -> AsyncGenerator[list[asyncpg.Record]]:
        """All rows that `request` asks for, whatever its page size, a few hundred at a time, each few in a read of their own:
        for files, whose reader may be slow. `only` names the rows among which they are, unless it is empty.

        A row that moves in the order meanwhile may come twice, or not. Raises Invalid as `page` does.
        """
        token = ""
        while True:
            page = await self._page(call, _Further(request, token), where, AT_ONCE, such, tuple(only))
            if page.rows:
                yield page.rows
            token = page.next_page_token
            if not token:
                return

    async def _page(
        self,
        call: Caller,
        request: ListRequest,
        where: Mapping[str, Value | None] | None,
        size: int,
        such: str = "",
        only: tuple[UUID, ...] = (),
    ) -> Page:
        who = call.who
        filter_text: str = getattr(request, "filter", "")
        order_text: str = getattr(request, "order_by", "").strip()
        query_text: str = getattr(request, "query", "")
        query = searching.query(query_text) if query_text else None
        if query is not None and not self._search:
            raise Invalid("query", "this list cannot be searched: use filter")
        custom = await self._custom_of(call, filter_text + order_text + such)
        keys, orders = self._ordered(order_text or self._default_order, custom)
        if query is not None and not order_text:
            keys = (RANK, *keys)
        narrowed = dict(where or {})
        by = [f"{one.id} {one.kind.value}" for one in orders]
        binding = _binding(who, request, filter_text, order_text, query_text, narrowed, by)
        place: list[Value | None] | None = None
        shown: list[Any] = []
        if request.page_token:
            opened = call.page_tokens.open(binding, request.page_token)
            shown = opened.pop() if isinstance(opened[-1], list) else []
            place = values_of(keys, opened) if opened else None

        wanted = _both(filter_text, such)
        asked = _Asked(who, wanted, narrowed, query, custom, orders, only, tuple(map(UUID, shown)))
        if query is None:
            rows = await self._read(call, asked, Way.LIST, keys, place, size + 1)
        elif (some := await self._found(call, asked, keys, place, size + 1)).of_many:
            rows = some.rows[:size]
            return Page(rows, call.page_tokens.seal(binding, [[row["id"] for row in rows]]))
        else:
            rows = some.rows
        if len(rows) <= size:
            return Page(rows, "")
        rows = rows[:size]
        last: list[object] = [rows[-1][key.name] for key in keys]
        return Page(rows, call.page_tokens.seal(binding, [*last, shown] if shown else last))

    async def _found(
        self,
        call: Caller,
        asked: "_Asked",
        keys: tuple[Key, ...],
        place: list[Value | None] | None,
        limit: int,
    ) -> "_Hits":
        """Up to `limit` hits of the query behind that place: see `chassis.hits`."""
        ranked = keys[0] is RANK
        rank = place[0] if place is not None and ranked else None
        if rank not in (None, hits.EQUAL, hits.ONE_OF_MANY) or asked.ordered_by or not self._sees_all(asked):
            return _Hits(await self._read(call, asked, Way.RANKED, keys, place, limit))
        if ranked and place is None and not asked.shown:
            return await self._first_found(call, asked, keys, limit)
        equal: list[asyncpg.Record] = []
        if rank != hits.ONE_OF_MANY and (place is not None or not asked.shown):
            few = await self._read(call, asked, Way.FEW, keys, place, limit)
            if few[0]["hits"] <= hits.MOST_RANKED if few else place is None:
                return _Hits(few)
            if ranked:
                equal = await self._read(call, asked, Way.EXACT, keys, place, limit)
        if len(equal) >= limit:
            return _Hits(equal)
        behind = place if place is None or not ranked else place[1:] if rank == hits.ONE_OF_MANY else None
        others = await self._read(
            call, asked, Way.WALK, keys[1:] if ranked else keys, behind, limit - len(equal), ranked=ranked
        )
        if len(equal) + len(others) >= limit:
            return _Hits(equal + others)
        return _Hits(await self._read(call, asked, Way.MANY, keys, place, limit))

    async def _first_found(self, call: Caller, asked: "_Asked", keys: tuple[Key, ...], limit: int) -> "_Hits":
        """The first page of ranked hits, at a cost that does not grow with them."""
        others: list[asyncpg.Record] | None = None
        if asked.query is not None and len(asked.query.grams) == 1:
            others = await self._read(call, asked, Way.GLANCE, keys[1:], None, limit, ranked=True)
            if len(others) >= limit:
                equal = await self._read(call, asked, Way.EXACT, keys, None, limit)
                return _Hits([*equal, *others][:limit])
        few = await self._read(call, asked, Way.FEW, keys, None, limit)
        if not few or few[0]["hits"] <= hits.MOST_RANKED:
            return _Hits(few)
        equal = [row for row in few if row["rank"] == hits.EQUAL]
        if not few[0]["many"] or len(equal) >= limit:  # then these are any of them
            equal = await self._read(call, asked, Way.EXACT, keys, None, limit)
        if len(equal) >= limit:
            return _Hits(equal)
        if others is None:
            others = await self._read(call, asked, Way.GLANCE, keys[1:], None, limit, ranked=True)
        if len(equal) + len(others) >= limit:
            return _Hits([*equal, *others][:limit])
        if len(equal) < searching.SHOWN:
            some = {row["id"]: row for row in (*equal, *others, *few)}
            return _Hits(list(some.values())[: searching.SHOWN], of_many=True)
        return _Hits(await self._read(call, asked, Way.MANY, keys, None, limit))

    def _sees_all(self, asked: "_Asked") -> bool:
        """Whether no row of the list is hidden by a filter or from the one who asks."""
        whole = not (asked.filter.strip() or asked.where or asked.only)
        return whole and self._reach(asked.who, []) == "true"

    async def _read(
        self,
        call: Caller,
        asked: "_Asked",
        way: Way,
        keys: tuple[Key, ...],
        place: list[Value | None] | None,
        limit: int,
        *,
        ranked: bool = False,
    ) -> list[asyncpg.Record]:
        rows: list[asyncpg.Record] = []
        parts = parts_of(keys, place)
        # Records without a value come when those with one have ended, and a stretch does not know whether they have.
        for part in parts[:1] if way.stretch else parts:
            sql, args = self._compiled(asked, way, keys, part, limit - len(rows), ranked)
            rows.extend(await call.database.read(asked.who, sql, *args))
            if len(rows) >= limit:
                break
        return rows

    async def check(self, call: Caller, filter: str) -> None:
        """Raises Invalid naming filter unless it is one for this list."""
        self._filter(filter, 1, await self._custom_of(call, filter))

    def understand(self, custom: Definitions | None, *, filter: str = "", order_by: str = "") -> None:
        """Raises Invalid naming filter or orderBy unless this list understands them, with these custom fields."""
        if filter.strip():
            self._filter(filter, 1, custom if PREFIX in filter else None)
        if order_by.strip():
            self._ordered(order_by.strip(), custom)

    async def count(
        self, call: Caller, filter: str, where: Mapping[str, Value | None] | None = None, *, most: int = 0
    ) -> int:
        """How many rows there are for the caller that pass the filter, see `page`; with `most`, counting ends there. Raises
        Invalid naming filter."""
        custom = await self._custom_of(call, filter)
        asked = _Asked(call.who, filter, dict(where or {}), None, custom)
        args: list[object] = []
        conditions = self._such(asked, args)
        wanted = self._filter(filter, len(args) + 1, custom, call.who)
        such = " AND ".join([*conditions, wanted.text])
        args += wanted.values
        rows = f"{self.table} AS t WHERE {such}"
        if most:
            args.append(most)
            rows = f"(SELECT FROM {rows} LIMIT ${len(args)}) AS counted"
        sql = f"SELECT count(*) AS many FROM {rows}"  # noqa: S608 (declared columns, fixed words, numbered places)
        return int((await call.database.read(call.who, sql, *args))[0]["many"])

    def ids(self, who: Principal, filter: str, custom: Definitions | None, args: list[object]) -> str:
        """The statement that reads the ids of the rows for that caller that pass the filter, to which further conditions on `t`
        may be added; its values go behind those in `args`. Raises Invalid naming filter."""
        conditions = self._such(_Asked(who, filter, {}, None, custom), args)
        wanted = self._filter(filter, len(args) + 1, custom if PREFIX in filter else None, who)
        args += wanted.values
        such = " AND ".join([*conditions, wanted.text])
        return f"SELECT t.id FROM {self.table} AS t WHERE {such}"  # noqa: S608 (declared columns, fixed words, numbered places)

    async def _custom_of(self, call: Caller, text: str) -> Definitions | None:
        if not self.has_custom_fields or PREFIX not in text:
            return None
        return await definitions_now(call.database, call.who, self.record_type)

    async def get(self, call: Reading, id: str | UUID, field: str = "id") -> asyncpg.Record:
        """The row with that id. Raises NotFound when there is none that the caller may read, Invalid for no
        UUID."""
        key = id if isinstance(id, UUID) else parse_id(id, field)
        args: list[object] = [key]
        reach = self._reach(call.who, args)
        shape = ("get", reach)
        sql = self._known(shape) or self._keep(
            shape,
            f"SELECT {', '.join(f't.{c}' for c in self.columns)} FROM {self.table} AS t "  # noqa: S608 (declared columns, fixed words, numbered places)
            f"WHERE t.id = $1 AND t.deleted_at IS NULL AND {reach}",
        )
        rows = await call.database.read(call.who, sql, *args)
        if not rows:
            raise NotFound(self.record_type, key)
        return rows[0]

    def _compiled(
        self, asked: "_Asked", way: Way, keys: tuple[Key, ...], part: Part, limit: int, ranked: bool
    ) -> tuple[str, list[object]]:
        args: list[object] = []
        conditions = self._such(asked, args)
        rows = f"{self.table} AS t"
        lead = None if way is not Way.LIST else self._lead(asked, keys)
        if lead is not None and asked.custom is not None:
            rows += " " + led(asked.custom, lead, args)
            part = part.renamed(_LED)
        if asked.query is not None and not way.stretch:
            order = _alone(keys, "h") if way is Way.FEW and part.place is None else ""
            rows = hits.source(way, self.table, asked.query, args, order, limit)
        for place, one in enumerate(asked.ordered_by):
            args.append(one.id)
            rows += f" LEFT JOIN custom_values AS o{place} ON o{place}.record_id = t.id AND o{place}.field_id = ${len(args)}"
        wanted = self._filter(asked.filter, len(args) + 1, asked.custom, asked.who, lead)
        args += wanted.values
        conditions.append(wanted.text)
        conditions += part.conditions(args)
        hit = ""
        if asked.query is not None and way.stretch:
            hit = hits.holds(asked.query, args, ranked)
        args.append(limit)
        shape = (*conditions, rows, way, hit, part.order)
        sql = self._known(shape)
        if sql is None:
            extra = [
                f"{key.column} AS {key.name}" if key.record else key.column
                for key in keys
                if key.name not in self.columns
            ]
            if way is Way.FEW:
                extra += ["h.hits", "h.many"]
            if ranked:
                extra.append(f"{hits.ONE_OF_MANY} AS rank")
            names = ", ".join([f"t.{column}" for column in self.columns] + extra)
            such = " AND ".join(conditions)
            if way.stretch:
                those = f"SELECT t.* FROM {rows} WHERE {such}"  # noqa: S608 (declared columns, fixed words, numbered places)
                rows, such = hits.picked(those, part.order, way, hit), "true"
            sql = self._keep(
                shape,
                f"SELECT {names} FROM {rows} WHERE {such} "  # noqa: S608 (declared columns, fixed words, numbered places)
                f"ORDER BY {part.order} LIMIT ${len(args)}",
            )
        return sql, args

    def _such(self, asked: "_Asked", args: list[object]) -> list[str]:
        """What the rows must be, but for the filter."""
        conditions = ["t.deleted_at IS NULL", self._reach(asked.who, args)]
        for name, value in asked.where.items():
            conditions.append(self._narrowed(name, value, args))
        if asked.only:
            args.append(list(asked.only))
            conditions.append(f"t.id = ANY(${len(args)})")
        if asked.shown:
            args.append(list(asked.shown))
            conditions.append(f"t.id <> ALL(${len(args)})")
        return conditions

    def _reach(self, who: Principal, args: list[object]) -> str:
        if self._seen is not None:
            return self._seen(who, args)
        if self.right is None:
            return "true"
        owner, team = (self._owner, self._team) if self._owned else (None, None)
        first = len(args) + 1
        text, values = visible_text(who, self.right, Act.READ, owner, team, first=first, shares=self._shares)
        args += values
        return text if self._through is None else seen_also(text, *self._through)

    def _narrowed(self, name: str, value: Value | None, args: list[object]) -> str:
        link = self._links.get(name)
        if link is not None:
            args.append(value)
            return (
                f"t.id IN (SELECT l.{link.record} FROM {link.table} AS l WHERE l.{link.owner} = ${len(args)})"  # noqa: S608 (declared names, a numbered place)
            )
        if name in self._narrowings and value is not None:
            args.append(value)
            return self._narrowings[name].replace("{}", f"${len(args)}")
        declared = self.fields[name]
        if value is None:
            return f"t.{declared.column} IS NULL"
        args.append(value)
        return f"t.{declared.column} = ${len(args)}"

    def _lead(self, asked: "_Asked", keys: tuple[Key, ...]) -> Comparison | None:
        """The comparison with a custom field by whose values the list is read, when they are kept in its order; not of a filter
        with moments, which are settled but once."""
        if asked.custom is None or asked.ordered_by or not _alone(keys, "k") or names_moments(asked.filter):
            return None
        return leading(asked.custom, parse(asked.filter))

    def _filter(
        self,
        text: str,
        first: int,
        custom: Definitions | None,
        who: Principal | None = None,
        lead: Comparison | None = None,
    ) -> Sql:
        if custom is not None:  # other tenants have others

            def own(part: Comparison, positive: bool, alias: str, parameter: Parameter) -> str:
                if lead is not None and (part, part.at) == (lead, lead.at):
                    return "true"  # every row has been read by it
                return condition(custom, part, positive, alias, parameter)

            return predicate(self._parsed(text, custom, who), self.fields, first, own=own)
        if names_moments(text):  # which are others with each request
            return predicate(self._parsed(text, None, who), self.fields, first)
        known = self._filters.get((text, first))
        if known is None:
            known = predicate(parse(text), self.fields, first)
            self._filters[text, first] = known
            if len(self._filters) > _SHAPES:
                self._filters.popitem(last=False)
        return known

    def _parsed(self, text: str, custom: Definitions | None, who: Principal | None) -> Node | None:
        node = parse(text)
        if node is None or not names_moments(text):
            return node

        def is_time(name: str) -> bool | None:
            declared = self.fields.get(name)
            if declared is not None:
                return {Kind.TIMESTAMP: True, Kind.DATE: False}.get(declared.kind)
            return False if custom is not None and holds_days(custom, name) else None

        return settled(node, is_time, clock_in(who.time_zone if who is not None else ""))

    def _known(self, shape: tuple[object, ...]) -> str | None:
        sql = self._statements.get(shape)
        if sql is not None:
            self._statements.move_to_end(shape)
        return sql

    def _keep(self, shape: tuple[object, ...], sql: str) -> str:
        self._statements[shape] = sql
        if len(self._statements) > _SHAPES:
            self._statements.popitem(last=False)
        return sql

    def _ordered(
        self, text: str, custom: Definitions | None
    ) -> tuple[tuple[Key, ...], tuple[Definition, ...]]:
        """The order, and the custom fields in it."""
        if custom is None or PREFIX not in text:
            return self._order(text), ()
        fields: list[Definition] = []
        return self._keys(text, custom, fields), tuple(fields)

    def _order(self, text: str) -> tuple[Key, ...]:
        known = self._orders.get(text)
        if known is None:
            known = self._keys(text, None, [])
            if len(self._orders) < _SHAPES:
                self._orders[text] = known
        return known

    def _keys(self, text: str, custom: Definitions | None, ordered: list[Definition]) -> tuple[Key, ...]:
        keys: list[Key] = []
        for part in text.split(","):
            words = part.split()
            name = words[0] if words else ""
            declared = self.fields.get(name)
            one = ordered_by(custom, name) if custom is not None and name.startswith(PREFIX) else None
            if one is None and (declared is None or not declared.sortable):
                known_names = ", ".join(sorted(n for n, f in self.fields.items() if f.sortable))
                raise _bad_order(f"there is no field '{name[:60]}' to order by; there are: {known_names}")
            if len(words) > 2 or (len(words) == 2 and words[1].lower() not in ("asc", "desc")):
                raise _bad_order(
                    f"'{' '.join(words[1:])[:60]}' after {name}: only asc or desc may stand there"
                )
            descending = len(words) == 2 and words[1].lower() == "desc"
            if one is not None:
                if one in ordered:
                    raise _bad_order(f"names {name} twice")
                alias = f"o{len(ordered)}"
                ordered.append(one)
                keys.append(
                    Key(f"{alias}.value", alias, Kind.TEXT, "text", descending, True, f"{alias}.record_id")
                )
            elif declared is not None:
                if any(key.name == declared.column for key in keys):
                    raise _bad_order(f"names {name} twice")
                keys.append(key_of(declared, descending))
        if len(keys) > _MOST_ORDER:
            raise _bad_order(f"names more than {_MOST_ORDER} fields")
        keys.append(Key("t.id", "id", Kind.UUID, "uuid", keys[-1].descending, nullable=False))
        return tuple(keys)


_KEPT_APART = {RANK.name, "created_at", "id"}
"""Columns that hits and values of custom fields are kept with."""


_LED = {"created_at": "k.created_at", "id": "k.record_id"}
"""Where those stand with the values of custom fields."""


def _alone(keys: tuple[Key, ...], alias: str) -> str:
    """The order by what is kept apart from the records alone, under that alias; empty when it needs the records."""
    if not _KEPT_APART.issuperset(key.name for key in keys):
        return ""
    return ", ".join([f"{alias}.{key.name}" + (" DESC" if key.descending else "") for key in keys])


def _both(asked: str, such: str) -> str:
    """The filter of those that both want. What was asked is taken apart first: it cannot end a parenthesis of ours."""
    parts = [node for node in (parse(asked), parse(such)) if node is not None]
    return asked if not such else written(And(tuple(parts)) if len(parts) > 1 else parts[0])


def _bad_order(description: str) -> Invalid:
    return Invalid("orderBy", description, reason="ORDER_BY_INVALID")


def _size(asked: int, most: int) -> int:
    if asked < 0:
        raise Invalid("pageSize", f"is {asked}: 1 to {most} rows come at once, and 0 means {DEFAULT_PAGE}")
    return min(asked or DEFAULT_PAGE, most)


def _binding(
    who: Principal,
    request: ListRequest,
    filter_text: str,
    order: str,
    query: str,
    where: Mapping[str, Value | None],
    ordered_by: Sequence[str],
) -> bytes:
    described: Any = getattr(request, "DESCRIPTOR", None)
    method = described.full_name if described is not None else type(request).__qualname__
    narrowed = sorted((name, str(value)) for name, value in where.items())
    parts: list[object] = [
        str(who.tenant_id), str(who.person_id), who.service, method, filter_text, order, query, narrowed,
    ]  # fmt: skip
    # The places of an order by a custom field are none when the field becomes another.
    return orjson.dumps([*parts, *ordered_by])
