"""Lists over a real table: who sees which rows, walks through pages, what filters mean, search, tokens."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from itertools import pairwise
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from sqlalchemy import Date, Numeric, Text, Uuid
from sqlalchemy.dialects.postgresql import ARRAY
from sqlmodel import Field as Column

from chassis import hits
from chassis.custom_fields.known import Known
from chassis.errors import Invalid, NotFound
from chassis.fields import Field, Kind, Link, at_hand, predicate
from chassis.filters import And, Comparison, Literal, Node, Not, Op, Or, parse
from chassis.listing import OWNER_FIELDS, RECORD_FIELDS, Listing, PageTokens
from chassis.principal import Principal, Reach, Rights
from chassis.records import Owned
from chassis.schema import add_search, owner_role, protect, widen_search
from chassis.search import SHOWN, Searchable, terms, widened
from chassis.testing import DatabaseUrls, upgraded

ACME, OTHER = UUID(int=1), UUID(int=2)
ANN, BOB, CY = UUID(int=11), UUID(int=12), UUID(int=13)
NORTH, SOUTH = UUID(int=21), UUID(int=22)
START = datetime(2024, 1, 1, tzinfo=UTC)
STATES = ("NEW", "OPEN", "DONE")


class Thing(Owned, Searchable, table=True):
    __tablename__ = "things"  # pyright: ignore[reportAssignmentType]

    name: str
    note: str | None = None
    state: str = "NEW"
    score: int | None = None
    price: int | None = None
    currency: str = "CNY"
    rate: Decimal | None = Column(default=None, sa_type=Numeric)
    due: date | None = Column(default=None, sa_type=Date)
    touched_at: datetime | None = None
    done: bool = False
    tags: list[str] = Column(default_factory=list[str], sa_type=ARRAY(Text))  # pyright: ignore[reportArgumentType]
    helper_ids: list[UUID] = Column(default_factory=list[UUID], sa_type=ARRAY(Uuid))  # pyright: ignore[reportArgumentType]


FIELDS = {
    **RECORD_FIELDS,
    **OWNER_FIELDS,
    "name": Field("name", Kind.TEXT, sortable=True),
    "note": Field("note", Kind.TEXT, nullable=True),
    "state": Field("state", Kind.ENUM, values=STATES, prefix="THING_STATE_"),
    "score": Field("score", Kind.INTEGER, sortable=True, nullable=True),
    "price": Field("price", Kind.MONEY, sortable=True, nullable=True, currency_column="currency"),
    "rate": Field("rate", Kind.NUMBER, sortable=True, nullable=True),
    "due": Field("due", Kind.DATE, sortable=True, nullable=True),
    "touched": Field("touched_at", Kind.TIMESTAMP, sortable=True, nullable=True),
    "done": Field("done", Kind.BOOL),
    "tags": Field("tags", Kind.TAGS),
    "helperIds": Field("helper_ids", Kind.UUIDS, linked=Link("thing_helpers", "thing_id", "helper_id")),
}
THINGS = Listing(Thing, "things", FIELDS, search=True)
INDEXED = ("created_at", "updated_at", "name", "score", "touched_at")


def migrate() -> None:
    """The table as a service's migration makes it."""
    from alembic import op

    table: Any = getattr(Thing, "__table__")  # noqa: B009 (SQLModel adds it at run time)
    table.create(op.get_bind())
    for column in INDEXED:
        op.execute(
            f"CREATE INDEX things_{column} ON things (tenant_id, {column}, id) WHERE deleted_at IS NULL"
        )
    protect("things")
    add_search("things")
    op.execute(
        "CREATE VIEW thing_helpers WITH (security_invoker = true) AS"
        " SELECT tenant_id, id AS thing_id, unnest(helper_ids) AS helper_id FROM things"
    )
    op.execute(f"GRANT SELECT ON thing_helpers TO {owner_role().removesuffix('_owner')}")


@dataclass
class Request:
    page_size: int = 0
    page_token: str = ""
    filter: str = ""
    order_by: str = ""
    query: str = ""


@dataclass
class Reading:
    """The read path, and what went over it."""

    connection: asyncpg.Connection
    sent: list[tuple[str, tuple[object, ...]]] = field(default_factory=list[tuple[str, tuple[object, ...]]])
    known_fields: Known = field(default_factory=Known)

    async def read(self, who: Principal, sql: str, *args: object) -> list[asyncpg.Record]:
        self.sent.append((sql, args))
        async with self.connection.transaction(readonly=True):
            await self.connection.execute("SELECT set_config('kehu.tenant', $1, true)", str(who.tenant_id))
            return await self.connection.fetch(sql, *args)


@dataclass
class Asking:
    who: Principal
    database: Reading
    page_tokens: PageTokens = field(default_factory=lambda: PageTokens("a secret of the tests"))


def person(id: UUID = ANN, reach: Reach = Reach.ALL, tenant: UUID = ACME) -> Principal:
    return Principal(
        tenant,
        "acme",
        id,
        team_id=NORTH,
        team_ids=frozenset({NORTH}),
        rights={"things": Rights(reach, reach)},
    )


def things(count: int, seed: int = 3) -> list[Thing]:
    chance = random.Random(seed)

    def some(make: Callable[[], Any], share: float = 0.3) -> Any:
        return None if chance.random() < share else make()

    out: list[Thing] = []
    for number in range(count):
        made = START + timedelta(seconds=chance.randrange(count // 2 + 1))
        thing = Thing(
            tenant_id=ACME if number % 10 else OTHER,
            created_at=made,
            updated_at=made,
            created_by=ANN,
            updated_by=ANN,
            deleted_at=made if number % 17 == 5 else None,
            owner_id=some(lambda: chance.choice([ANN, BOB, CY])),
            team_id=some(lambda: chance.choice([NORTH, SOUTH])),
            name=chance.choice(["Ann", "ann", "北京用友", "50%", "a_b", ""]) + str(chance.randrange(9)),
            note=some(lambda: chance.choice(["", "x", "Call ANN", "null", "50% off"])),
            state=chance.choice(STATES),
            score=some(lambda: chance.randrange(-3, 4)),
            price=some(lambda: chance.randrange(-300, 500)),
            currency=chance.choice(["CNY", "USD", "JPY"]),
            rate=some(lambda: Decimal(chance.randrange(-20, 20)) / 4),
            due=some(lambda: date(2024, 1, 1) + timedelta(days=chance.randrange(5))),
            touched_at=some(lambda: START + timedelta(hours=chance.randrange(48)), 0.5),
            done=chance.random() < 0.5,
            tags=chance.sample(["vip", "new", "老客户"], chance.randrange(3)),
            helper_ids=[ANN, BOB][: number % 3],
        )
        found = terms(names=[thing.name], phones=[f"+86138{number:08d}"])
        thing.search, thing.search_text = found.grams, found.text
        out.append(thing)
    return out


async def fill(connection: asyncpg.Connection, rows: list[Thing]) -> None:
    columns = list(Thing.model_fields)
    await connection.execute("ALTER TABLE things NO FORCE ROW LEVEL SECURITY")
    await connection.copy_records_to_table(
        "things", records=[[getattr(row, c) for c in columns] for row in rows], columns=columns
    )
    await connection.execute("ALTER TABLE things FORCE ROW LEVEL SECURITY")
    await connection.execute("ANALYZE things")


ROWS = things(600)


async def filled(url: str) -> None:
    owner = await asyncpg.connect(url)
    await fill(owner, ROWS)
    await owner.close()


@pytest.fixture(scope="module")
def things_urls(service_database: Callable[[str], DatabaseUrls]) -> DatabaseUrls:
    urls = service_database("things")
    asyncio.run(upgraded(urls.owner, migrate))
    return urls


@pytest.fixture(scope="module")
def many_things_urls(service_database: Callable[[str], DatabaseUrls]) -> DatabaseUrls:
    urls = service_database("things")
    asyncio.run(upgraded(urls.owner, migrate))
    return urls


@pytest.fixture(scope="module")
def listed(things_urls: DatabaseUrls) -> DatabaseUrls:
    asyncio.run(filled(things_urls.owner))
    return things_urls


@pytest.fixture
async def reading(listed: DatabaseUrls) -> AsyncIterator[Reading]:
    connection = await asyncpg.connect(listed.app)
    yield Reading(connection)
    await connection.close()


@pytest.fixture
def asking(reading: Reading) -> Asking:
    return Asking(person(), reading)


def seen(who: Principal, row: Thing) -> bool:
    if row.tenant_id != who.tenant_id or row.deleted_at is not None:
        return False
    reach = who.rights["things"].read
    own = row.owner_id == who.person_id
    return (
        reach is Reach.ALL
        or (reach >= Reach.OWN and own)
        or (reach is Reach.TEAM and row.team_id in who.team_ids)
    )


async def walk(asking: Asking, request: Request, listing: Listing = THINGS) -> list[UUID]:
    out: list[UUID] = []
    while True:
        page = await listing.page(asking, request)
        assert len(page.rows) <= (request.page_size or 50)
        out += [row["id"] for row in page.rows]
        if not page.next_page_token:
            return out
        request = replace(request, page_token=page.next_page_token)


@pytest.mark.parametrize("reach", [Reach.NONE, Reach.OWN, Reach.TEAM, Reach.ALL])
@pytest.mark.parametrize("tenant", [ACME, OTHER])
async def test_everybody_sees_what_is_theirs(reading: Reading, reach: Reach, tenant: UUID) -> None:
    asking = Asking(person(reach=reach, tenant=tenant), reading)
    found = await walk(asking, Request(page_size=200))
    assert sorted(found) == sorted(row.id for row in ROWS if seen(asking.who, row))


ORDERS = [
    "",
    "createTime",
    "createTime desc",
    "name",
    "name desc",
    "score",
    "score desc",
    "touched desc",
    "touched",
    "price",
    "rate desc",
    "due",
    "score desc, name",
    "name, score desc",
    "due desc, score, touched desc",
    "score, due desc",
    " createTime  ASC ",
]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("size", [7, 200])
async def test_a_walk_meets_every_row_once_in_order(asking: Asking, order: str, size: int) -> None:
    found = await walk(asking, Request(page_size=size, order_by=order))
    by_id = {row.id: row for row in ROWS}
    assert sorted(found) == sorted(row.id for row in ROWS if seen(asking.who, row))
    parts = [part.split() for part in (order or "createTime desc").split(",")]

    def compare(a: Thing, b: Thing) -> int:
        for part in [*parts, ["id", *parts[-1][1:]]]:
            column = "id" if part[0] == "id" else FIELDS[part[0]].column
            x, y = getattr(a, column), getattr(b, column)
            if x == y:
                continue
            if x is None or y is None:
                return 1 if x is None else -1
            return (1 if x > y else -1) * (-1 if part[-1].lower() == "desc" else 1)
        return 0

    for one, other in pairwise(found):
        assert compare(by_id[one], by_id[other]) < 0


async def test_rows_that_come_and_go_neither_repeat_nor_hide_others(
    asking: Asking, things_urls: DatabaseUrls
) -> None:
    first = await THINGS.page(asking, Request(page_size=20))
    owner = await asyncpg.connect(things_urls.owner)
    last = first.rows[-1]
    await owner.execute("ALTER TABLE things NO FORCE ROW LEVEL SECURITY")
    await owner.execute("UPDATE things SET deleted_at = now() WHERE id = $1", last["id"])
    try:
        second = await THINGS.page(asking, Request(page_size=20, page_token=first.next_page_token))
    finally:
        await owner.execute("UPDATE things SET deleted_at = NULL WHERE id = $1", last["id"])
        await owner.execute("ALTER TABLE things FORCE ROW LEVEL SECURITY")
        await owner.close()
    whole = await THINGS.page(asking, Request(page_size=40))
    assert [*first.rows, *second.rows] == whole.rows


async def test_get_finds_what_may_be_read(reading: Reading) -> None:
    everything = Asking(person(), reading)
    own = Asking(person(reach=Reach.OWN), reading)
    visible = next(row for row in ROWS if seen(everything.who, row) and row.owner_id == BOB)
    assert (await THINGS.get(everything, str(visible.id)))["name"] == visible.name
    foreign = next(row for row in ROWS if row.tenant_id == OTHER)
    deleted = next(row for row in ROWS if row.deleted_at is not None and row.tenant_id == ACME)
    for asking, row in [(own, visible), (everything, foreign), (everything, deleted)]:
        with pytest.raises(NotFound):
            await THINGS.get(asking, row.id)
    with pytest.raises(Invalid):
        await THINGS.get(everything, "no id")


# Filters: what PostgreSQL answers is what a plain evaluation in Python says.

_VALUES: dict[str, list[Literal]] = {
    "name": [
        Literal("Ann1", True),
        Literal("ann", True),
        Literal("50%", True),
        Literal("_", True),
        Literal("用友", True),
    ],
    "note": [Literal("", True), Literal("ann", True), Literal("null", True), Literal("null"), Literal("*")],
    "state": [Literal("NEW"), Literal("thing_state_open", True), Literal("THING_STATE_DONE")],
    "score": [Literal("-1"), Literal("0"), Literal("2.5"), Literal("99999999999999999999"), Literal("null")],
    "price": [
        Literal("1.5"),
        Literal("-1"),
        Literal("1.255"),
        Literal("2 USD", True),
        Literal("100 JPY", True),
        Literal("null"),
    ],
    "rate": [Literal("0.25"), Literal("-3"), Literal("null")],
    "due": [Literal("2024-01-03"), Literal("2024-01-01", True), Literal("null")],
    "touched": [
        Literal("2024-01-01T10:00:00Z"),
        Literal("2024-01-02T00:00:00+08:00"),
        Literal("2024-01-02"),
        Literal("null"),
    ],
    "done": [Literal("true"), Literal("FALSE")],
    "tags": [Literal("vip"), Literal("老客户", True), Literal("null"), Literal("*")],
    "helperIds": [Literal(str(BOB), True), Literal(str(CY)), Literal("null"), Literal("*")],
    "ownerId": [Literal(str(ANN), True), Literal(str(BOB)), Literal("null")],
}
_EQUAL = [Op.EQ, Op.NE, Op.HAS]


@st.composite
def comparisons(draw: st.DrawFn) -> Comparison:
    name = draw(st.sampled_from(sorted(_VALUES)))
    value = draw(st.sampled_from(_VALUES[name]))
    kind = FIELDS[name].kind
    alike = (Kind.ENUM, Kind.UUID, Kind.BOOL, Kind.TAGS, Kind.UUIDS)
    operators = _EQUAL if kind in alike else list(Op)
    if not value.quoted and value.text == "null":
        operators = [Op.EQ, Op.NE]
    elif not value.quoted and value.text == "*":
        operators = _EQUAL
    return Comparison(name, draw(st.sampled_from(operators)), value)


TREES: SearchStrategy[Node] = st.recursive(
    comparisons(),
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(And, st.lists(inner, min_size=2, max_size=3).map(tuple)),
        st.builds(Or, st.lists(inner, min_size=2, max_size=3).map(tuple)),
    ),
    max_leaves=6,
)
_DIGITS = {"CNY": 2, "USD": 2, "JPY": 0}


def holds(node: Node, row: Thing) -> bool:
    """What the filter says of the row, by its definition."""
    match node:
        case Not(part):
            return not holds(part, row)
        case And(parts):
            return all(holds(part, row) for part in parts)
        case Or(parts):
            return any(holds(part, row) for part in parts)
        case Comparison(name, op, value):
            return compared(getattr(row, FIELDS[name].column), op, value, FIELDS[name].kind, row)


def compared(has: Any, op: Op, value: Literal, kind: Kind, row: Thing) -> bool:
    if not value.quoted and value.text in ("null", "*"):
        is_set = has is not None and has not in ("", [])
        return is_set == ((op is Op.NE) == (value.text == "null"))
    if op is Op.NE:
        return not compared(has, Op.EQ, value, kind, row)
    if has is None:
        return False
    text = value.text
    wanted: Any = text
    match kind:
        case Kind.TAGS:
            return text in has
        case Kind.UUIDS:
            return UUID(text) in has
        case Kind.TEXT if op is Op.HAS:
            return text.lower() in has.lower()
        case Kind.ENUM:
            wanted = text.upper().removeprefix("THING_STATE_")
        case Kind.INTEGER | Kind.NUMBER:
            wanted = Decimal(text)
        case Kind.MONEY:
            amount, _, code = text.partition(" ")
            if code and row.currency != code:
                return False
            wanted = Decimal(amount).scaleb(_DIGITS[code or "CNY"])
        case Kind.DATE:
            wanted = date.fromisoformat(text)
        case Kind.TIMESTAMP:
            wanted = (
                datetime.fromisoformat(text) if "T" in text else datetime.fromisoformat(text + "T00:00:00Z")
            )
        case Kind.UUID:
            wanted = UUID(text)
        case Kind.BOOL:
            wanted = text.lower() == "true"
        case _:
            pass
    sides = {Op.EQ: has == wanted, Op.LT: has < wanted, Op.GT: has > wanted}
    sides |= {Op.HAS: sides[Op.EQ], Op.LE: has <= wanted, Op.GE: has >= wanted}
    return sides[op]


async def test_filters_mean_what_they_say(reading: Reading) -> None:
    some = [row for row in ROWS if row.tenant_id == ACME][:150]
    trees: list[Node] = []

    @settings(max_examples=300, database=None)
    @given(TREES)
    def collect(tree: Node) -> None:
        trees.append(tree)

    collect()
    for tree in trees:
        sql = predicate(tree, FIELDS, first=2)
        rows = await reading.read(
            person(),
            f"SELECT t.id, coalesce({sql.text}, false) AS holds FROM things AS t WHERE t.id = ANY($1)",
            [row.id for row in some],
            *sql.values,
        )
        said = {row["id"]: row["holds"] for row in rows}
        assert said == {row.id: holds(tree, row) for row in some}, tree
        wants = at_hand(tree, FIELDS)
        assert said == {row.id: wants(partial(getattr, row)) for row in some}, tree


async def test_texts_are_compared_at_hand_as_in_the_database(reading: Reading) -> None:
    """Letters whose small form is another one at the end of a word, or two, and whatever else there is."""
    pairs: list[tuple[str, str]] = [
        ("ΟΔΟΣ", "οδος"),
        ("İstanbul", "i"),
        ("ẞ", "ß"),
        ("Ａ", "ａ"),
        ("😀", "￿"),
    ]
    texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs", "Cn"]), max_size=4)

    @settings(max_examples=300, database=None)
    @given(texts, texts)
    def collect(text: str, value: str) -> None:
        pairs.append((text, value))

    collect()
    for op in (Op.HAS, Op.EQ, Op.LT, Op.GE):
        for text, value in pairs:
            tree = Comparison("note", op, Literal(value, True))
            sql = predicate(tree, FIELDS, first=2)
            (row,) = await reading.read(
                person(), f"SELECT {sql.text} AS holds FROM (SELECT $1::text AS note) AS t", text, *sql.values
            )
            assert at_hand(tree, FIELDS)({"note": text}.__getitem__) == row["holds"], (text, op, value)


def test_a_condition_that_does_not_fit_is_refused_before_it_is_asked() -> None:
    with pytest.raises(Invalid):
        at_hand(parse("score = ten"), FIELDS)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("nope = 1", "there is no field 'nope'"),
        ("tenantId = 1", "there is no field 'tenantId'"),
        ("score = ten", "wants a whole number"),
        ("score > null", "null can be compared with = and != only"),
        ("state > NEW", "cannot be compared with '>'"),
        ("state = LOST", "there are: NEW, OPEN, DONE"),
        ("due = 2024-02-30", "wants a day"),
        ("touched > yesterday", "wants a time"),
        ("touched > 2024-01-01T25:00:00Z", "wants a time"),
        ("touched > 0001-01-01T00:00:00+14:00", "wants a time"),
        ("ownerId = me", "wants a UUID"),
        ("done = yes", "wants true or false"),
        ("tags > vip", "cannot be compared"),
        ("helperIds:Ann", "wants the UUID of one of them"),
        ('price > "5 EURO"', "wants an amount"),
        ("rate = 1e999999999", "wants a number"),
    ],
)
async def test_a_filter_that_does_not_fit_is_refused(asking: Asking, text: str, says: str) -> None:
    with pytest.raises(Invalid) as refused:
        await THINGS.page(asking, Request(filter=text))
    assert refused.value.violations[0].field == "filter"
    assert says in refused.value.message


@pytest.mark.parametrize(
    "order", ["nope", "name up", "name,,score", "name,name", "state", "id; drop table things"]
)
async def test_an_order_that_does_not_fit_is_refused(asking: Asking, order: str) -> None:
    with pytest.raises(Invalid) as refused:
        await THINGS.page(asking, Request(order_by=order))
    assert refused.value.violations[0].field == "orderBy"


async def test_values_are_parameters_and_the_text_is_made_once(asking: Asking) -> None:
    for hostile in ("'; DROP TABLE things; --", '") OR true', "$1", "\\"):
        page = await THINGS.page(asking, Request(filter=f"name = {json.dumps(hostile)}"))
        assert page.rows == []
    texts = {sql for sql, _ in asking.database.sent[-4:]}
    assert len(texts) == 1
    assert "DROP" not in texts.pop()


# Tokens.


async def test_a_token_serves_its_own_list_only(asking: Asking) -> None:
    request = Request(page_size=5, filter="score >= 0", order_by="name", query="")
    token = (await THINGS.page(asking, request)).next_page_token
    assert (await THINGS.page(asking, replace(request, page_token=token, page_size=9))).rows
    for other in [
        replace(request, filter="score >= 1"),
        replace(request, filter=""),
        replace(request, order_by="name desc"),
        replace(request, query="用友"),
    ]:
        with pytest.raises(Invalid) as refused:
            await THINGS.page(asking, replace(other, page_token=token))
        assert (refused.value.reason, refused.value.violations[0].field) == (
            "PAGE_TOKEN_MISMATCH",
            "pageToken",
        )
    for who in [person(BOB), person(tenant=OTHER), replace(person(), service="sales")]:
        with pytest.raises(Invalid):
            await THINGS.page(Asking(who, asking.database), replace(request, page_token=token))
    with pytest.raises(Invalid):
        await THINGS.page(asking, replace(request, page_token=token), where={"ownerId": ANN})
    with pytest.raises(Invalid):
        stranger = Asking(asking.who, asking.database, PageTokens("another secret, as long"))
        await THINGS.page(stranger, replace(request, page_token=token))


async def test_no_altered_token_is_taken(asking: Asking) -> None:
    token = (await THINGS.page(asking, Request(page_size=5))).next_page_token
    forged = [token[:-2], token + "AA", "A" * len(token), "", "!", "é", token.swapcase(), "A", "AAAA" * 500]
    forged += [
        token[:i] + ("A" if token[i] != "A" else "B") + token[i + 1 :] for i in range(0, len(token) - 1, 5)
    ]
    for text in forged:
        if text:
            with pytest.raises(Invalid):
                await THINGS.page(asking, Request(page_size=5, page_token=text))


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="KEHU_PAGE_TOKEN_KEY"):
        PageTokens("")


async def test_page_sizes(asking: Asking) -> None:
    assert len((await THINGS.page(asking, Request())).rows) == 50
    assert len((await THINGS.page(asking, Request(page_size=1000))).rows) == 200
    with pytest.raises(Invalid):
        await THINGS.page(asking, Request(page_size=-1))


async def test_a_list_can_be_narrowed(asking: Asking) -> None:
    found = await THINGS.page(asking, Request(page_size=200), where={"ownerId": BOB, "score": None})
    wanted = {row.id for row in ROWS if seen(asking.who, row) and row.owner_id == BOB and row.score is None}
    assert {row["id"] for row in found.rows} == wanted


def test_a_listing_of_columns_that_are_not_there_fails_at_start() -> None:
    with pytest.raises(ValueError, match="no column nope"):
        Listing(Thing, "things", {"nope": Field("nope", Kind.TEXT)})
    with pytest.raises(ValueError, match="order"):
        Listing(Thing, "things", FIELDS, "nope")


# Search.


async def test_search_finds_each_record_with_the_part_and_no_other(asking: Asking) -> None:
    for text in [
        "用友",
        "beijing",
        "bjyy",
        "yongyou",
        "ann",
        "138 0000",
        "00000123",
        "ANN1",
        "京用",
        "50%",
        "北京用友3",
    ]:
        found = await walk(asking, Request(page_size=30, query=text))
        words = text.lower().split()
        wanted = [r for r in ROWS if seen(asking.who, r) and all(word in r.search_text for word in words)]
        assert sorted(found) == sorted(row.id for row in wanted)
        assert len(found) > 0


async def test_what_equals_comes_before_what_begins_before_what_has_a_part(asking: Asking) -> None:
    found = await THINGS.page(asking, Request(query="ann1", page_size=200))
    names = [row["name"].lower() for row in found.rows]
    assert set(names) == {"ann1"}
    ordered = await THINGS.page(asking, Request(query="用友", order_by="name", page_size=200))
    assert [row["name"] for row in ordered.rows] == sorted(row["name"] for row in ordered.rows)
    numbers = await THINGS.page(asking, Request(query="13800000101", page_size=5))
    assert "8613800000101" in next(r.search_text for r in ROWS if r.id == numbers.rows[0]["id"])


@pytest.mark.parametrize("stretch", [5_000, 25])
@pytest.mark.parametrize("size", [7, 60, 200])
@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("ann", ""),
        ("ann1", ""),
        ("a_b", "name"),
        ("ann", "touched desc"),
        ("bei", "createTime"),
        ("ann nn1", ""),
        ("an", ""),
        ("a_b", ""),
    ],
)
async def test_many_hits_are_walked_and_not_ranked(
    asking: Asking, monkeypatch: pytest.MonkeyPatch, stretch: int, size: int, text: str, order: str
) -> None:
    monkeypatch.setattr(hits, "MOST_RANKED", 8)
    monkeypatch.setattr(hits, "STRETCH", stretch)
    monkeypatch.setattr(hits, "GLANCED", stretch)
    listing = Listing(Thing, "things", FIELDS, search=True)
    request = Request(query=text, order_by=order, page_size=size)
    first = [row["id"] for row in (await listing.page(asking, request)).rows]
    if not order and len(first) < SHOWN:
        assert not any("CASE rank WHEN" in sql for sql, _ in asking.database.sent), "all hits were read"
    found = await walk(asking, request, listing)
    apart = any("<> ALL(" in sql for sql, _ in asking.database.sent)
    ordered = await walk(asking, Request(order_by=order, page_size=200))
    texts = {r.id: r.search_text.split("\n") for r in ROWS}
    wanted = [id for id in ordered if all(word in "\n".join(texts[id]) for word in text.split())]
    if not order:
        wanted.sort(key=lambda id: text not in texts[id])
    assert len(wanted) > 8
    if apart:  # the first page showed what was at hand, and what equals before all
        assert not order
        assert set(first) <= set(wanted)
        assert first[:1] == wanted[:1] or text not in texts[wanted[0]]
        wanted = first + [id for id in wanted if id not in first]
    assert found == wanted
    ways = [sql for sql, _ in asking.database.sent if f"LIMIT {stretch}" in sql]
    assert ways, "no stretch of the list was read"


async def test_few_of_many_hits_that_all_equal_are_paged_to_their_end(
    asking: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hits, "MOST_RANKED", 3)
    equal = [r.id for r in ROWS if seen(asking.who, r) and r.name.lower() == "ann1"]
    found = await walk(
        asking, Request(query="ann1", page_size=2), Listing(Thing, "things", FIELDS, search=True)
    )
    assert len(equal) > 3
    assert sorted(found) == sorted(equal)


async def test_search_stays_within_rights_and_filters(reading: Reading) -> None:
    for who in [
        person(reach=Reach.OWN),
        person(BOB, Reach.TEAM),
        person(tenant=OTHER),
        person(reach=Reach.NONE),
    ]:
        asking = Asking(who, reading)
        found = await walk(asking, Request(query="用友", filter="score >= 0"))
        wanted = [
            r
            for r in ROWS
            if seen(who, r) and "用友" in r.search_text and r.score is not None and r.score >= 0
        ]
        assert sorted(found) == sorted(row.id for row in wanted)


async def test_records_indexed_before_are_found_by_whole_texts_and_long_numbers(
    service_database: Callable[[str], DatabaseUrls],
) -> None:
    urls = service_database("things")
    await upgraded(urls.owner, migrate)
    old = things(30)
    for thing in old:
        rare = set(widened([], thing.search_text))
        thing.search = [gram for gram in thing.search if gram not in rare]
    owner = await asyncpg.connect(urls.owner)
    await fill(owner, old)
    await owner.close()
    await upgraded(urls.owner, lambda: widen_search("things"))
    reader = await asyncpg.connect(urls.app)
    asking = Asking(person(), Reading(reader))
    wanted = next(r for r in old if seen(asking.who, r))
    number = wanted.search_text.rpartition("\n")[2]
    assert await walk(asking, Request(query=number)) == [wanted.id]
    await reader.close()
    owner = await asyncpg.connect(urls.owner)
    policies = await owner.fetch("SELECT polname FROM pg_policy WHERE polrelid = 'things'::regclass")
    assert sorted(row["polname"] for row in policies) == ["search", "tenant"]
    await owner.close()


async def test_no_search_without_a_tenant(reading: Reading) -> None:
    async with reading.connection.transaction():
        assert await reading.connection.fetch("SELECT * FROM things_search('{}', '{}', '', NULL)") == []


async def test_a_list_that_cannot_be_searched_says_so(asking: Asking) -> None:
    with pytest.raises(Invalid) as refused:
        await Listing(Thing, "things", FIELDS).page(asking, Request(query="x"))
    assert refused.value.violations[0].field == "query"


# Cost: what is read grows with the page and the hits, and not with the table.


def pages_read(plan: dict[str, Any]) -> int:
    return int(plan["Shared Hit Blocks"]) + int(plan["Shared Read Blocks"])


def nodes(plan: dict[str, Any]) -> list[str]:
    return [plan["Node Type"], *[kind for part in plan.get("Plans", []) for kind in nodes(part)]]


async def explained(asking: Asking, request: Request) -> dict[str, Any]:
    await THINGS.page(asking, request)
    sql, args = asking.database.sent[-1]
    rows = await asking.database.read(asking.who, "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + sql, *args)
    return json.loads(rows[0][0])[0]["Plan"]


async def pages_of(asking: Asking) -> int:
    """Pages of the database that were read for all that has been sent."""
    found = 0
    for sql, args in [*asking.database.sent]:
        again = await asking.database.read(
            asking.who, "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + sql, *args
        )
        found += pages_read(json.loads(again[0][0])[0]["Plan"])
    return found


async def glanced(asking: Asking) -> int:
    """How many records of the list were looked through for a first page, which must come in the list's order as they are read."""
    sql, args = next(one for one in asking.database.sent if f"LIMIT {hits.GLANCED})" in one[0])
    rows = await asking.database.read(asking.who, "EXPLAIN (ANALYZE, FORMAT JSON) " + sql, *args)
    plan = json.loads(rows[0][0])[0]["Plan"]
    assert "Sort" not in nodes(plan)
    return sum(scanned(plan))


def scanned(plan: dict[str, Any]) -> list[int]:
    """How many rows each scan of the table has given."""
    below = [rows for part in plan.get("Plans", []) for rows in scanned(part)]
    return [int(plan["Actual Rows"]), *below] if plan.get("Relation Name") else below


async def test_cost_does_not_grow_with_the_table(many_things_urls: DatabaseUrls) -> None:
    from pathlib import Path

    names = (Path(__file__).parent / "data" / "company_names.txt").read_text().splitlines()
    chance = random.Random(1)
    rows: list[tuple[Any, ...]] = []
    for number in range(30_000):
        name = chance.choice(names) + chance.choice(["", "", "科技", "贸易", "集团"]) + str(number)
        if number == 15_000:
            name = "翡翠岛 emerald"
        if 2_000 <= number < 7_000:
            name = "深林" if number == 3_000 else ("深林", "大深林")[number % 2] + str(number)
        found = terms(names=[name], phones=[f"+86139{chance.randrange(10**8):08d}"])
        made = START + timedelta(seconds=number)
        rows.append(
            (
                ACME,
                uuid4(),
                1,
                made,
                ANN,
                made,
                ANN,
                name,
                chance.randrange(50),
                made if number % 3 else None,
                found.grams,
                found.text,
            )
        )
    owner = await asyncpg.connect(many_things_urls.owner)
    await owner.execute("ALTER TABLE things NO FORCE ROW LEVEL SECURITY")
    await owner.execute(
        "ALTER TABLE things ALTER state SET DEFAULT 'NEW', ALTER currency SET DEFAULT 'CNY', "
        "ALTER done SET DEFAULT false, ALTER tags SET DEFAULT '{}',"
        " ALTER helper_ids SET DEFAULT '{}'"
    )
    columns = "tenant_id id version created_at created_by updated_at updated_by name score "
    columns += "touched_at search search_text"
    await owner.copy_records_to_table("things", records=rows, columns=columns.split())
    await owner.execute("ALTER TABLE things FORCE ROW LEVEL SECURITY")
    await owner.close()
    # VACUUM, so that the index's pending list is merged and the plans are those of a settled table.
    owner = await asyncpg.connect(many_things_urls.owner)
    await owner.execute("VACUUM ANALYZE things")
    whole = await owner.fetchval("SELECT pg_relation_size('things') / 8192")
    await owner.close()
    connection = await asyncpg.connect(many_things_urls.app)
    asking = Asking(person(), Reading(connection))
    assert whole > 1000

    common = await THINGS.page(asking, Request(query="科技"))
    assert [row["id"] for row in common.rows] == [row[1] for row in reversed(rows) if "科技" in row[7]][:50]
    assert await pages_of(asking) < whole / 5
    assert await glanced(asking) < hits.GLANCED  # the page is full before

    # A frequent word that stands in none of the newest records, and what equals it, begins with it, holds it in two places.
    asking.database.sent.clear()
    first = await THINGS.page(asking, Request(query="深林"))
    old = [row for row in rows if "深林" in row[7]]
    equal = [row[1] for row in old if row[7] == "深林"]
    assert len(old) > 4_000
    assert first.rows[0]["id"] == equal[0]
    assert [row["rank"] for row in first.rows] == sorted(row["rank"] for row in first.rows)
    assert len(first.rows) == 50
    assert first.next_page_token
    assert await pages_of(asking) < whole / 5
    assert await glanced(asking) <= 2 * hits.GLANCED // 5  # of the newest, none of the first has it
    found = await walk(asking, Request(query="深林", page_size=200))
    shown = {row["id"] for row in (await THINGS.page(asking, Request(query="深林", page_size=200))).rows}
    assert sorted(found) == sorted(row[1] for row in old), "each once"
    behind = [row[1] for row in reversed(old) if row[1] not in shown]
    assert found[len(shown) :] == behind

    for order in ["", "name", "score desc", "touched desc", "touched"]:
        first = await THINGS.page(asking, Request(order_by=order))
        plan = await explained(asking, Request(order_by=order, page_token=first.next_page_token))
        assert "Seq Scan" not in nodes(plan)
        assert "Sort" not in nodes(plan)
        assert pages_read(plan) < 120, (order, plan)
    for text, most in [("翡翠岛", 40), ("feicuidao", 60), ("emerald", 60), (rows[777][7], 200)]:
        plan = await explained(asking, Request(query=text))
        assert "Seq Scan" not in nodes(plan)
        assert pages_read(plan) < most, (text, pages_read(plan))
    await connection.close()
    assert parse("") is None
