"""Walks through pages as properties: whatever comes, goes and moves meanwhile, what was there throughout is met exactly once; and
a token opens the list it was made for, and nothing else."""

import asyncio
import base64
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from chassis.custom_fields.known import Known
from chassis.errors import Code, Invalid
from chassis.fields import Field, Kind
from chassis.filters import And, Comparison, Literal, Node, Not, Op, Or, parse
from chassis.ids import new_id
from chassis.listing import OWNER_FIELDS, RECORD_FIELDS, Listing, PageTokens
from chassis.paging import Part
from chassis.principal import Principal, Reach, Rights
from chassis.records import Owned
from chassis.schema import protect
from chassis.testing import DatabaseUrls, upgraded

ACME, OTHER, ANN, BOB = UUID(int=1), UUID(int=2), UUID(int=11), UUID(int=12)
START = datetime(2024, 1, 1, tzinfo=UTC)
TOKENS = PageTokens("a secret of the tests")
_PLAN = settings(
    max_examples=40, database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)  # fmt: skip


class Bead(Owned, table=True):
    __tablename__ = "beads"  # pyright: ignore[reportAssignmentType]

    name: str
    score: int | None = None
    touched_at: datetime | None = None


BEADS = Listing(
    Bead,
    "beads",
    {
        **RECORD_FIELDS,
        **OWNER_FIELDS,
        "name": Field("name", Kind.TEXT, sortable=True),
        "score": Field("score", Kind.INTEGER, sortable=True, nullable=True),
        "touched": Field("touched_at", Kind.TIMESTAMP, sortable=True, nullable=True),
    },
)
COLUMNS = {"createTime": "created_at", "name": "name", "score": "score", "touched": "touched_at"}


def migrate() -> None:
    from alembic import op

    table: Any = getattr(Bead, "__table__")  # noqa: B009 (SQLModel adds it at run time)
    table.create(op.get_bind())
    protect("beads")


@dataclass
class Request:
    page_size: int = 0
    page_token: str = ""
    filter: str = ""
    order_by: str = ""


@dataclass
class Reading:
    connection: asyncpg.Connection
    known_fields: Known = field(default_factory=Known)

    async def read(self, who: Principal, sql: str, *args: object) -> list[asyncpg.Record]:
        async with self.connection.transaction(readonly=True):
            await self.connection.execute("SELECT set_config('kehu.tenant', $1, true)", str(who.tenant_id))
            return await self.connection.fetch(sql, *args)


@dataclass
class Asking:
    who: Principal
    database: Reading
    page_tokens: PageTokens = TOKENS


def person(id: UUID = ANN, tenant: UUID = ACME, reach: Reach = Reach.ALL) -> Principal:
    return Principal(tenant, "acme", id, rights={"beads": Rights(reach, reach)})


@dataclass(frozen=True)
class Row:
    """What of a bead decides where it stands."""

    name: str
    score: int | None
    touched: int | None
    made: int

    def bead(self) -> Bead:
        at = None if self.touched is None else START + timedelta(hours=self.touched)
        made = START + timedelta(seconds=self.made)
        return Bead(
            id=new_id(), tenant_id=ACME, created_at=made, updated_at=made, owner_id=ANN, name=self.name, score=self.score,
            touched_at=at,
        )  # fmt: skip


ROWS = st.builds(
    Row, st.sampled_from(["", "a", "A", "b", "北", "é"]), st.none() | st.integers(-2, 2), st.none() | st.integers(0, 3),
    st.integers(0, 3),
)  # fmt: skip


@dataclass(frozen=True)
class Step:
    """What happens behind the walker's back between two pages: beads come, go, and get other values."""

    come: tuple[Row, ...]
    go: tuple[int, ...]
    """Places among those that are there, modulo their number."""
    move: tuple[tuple[int, Row], ...]


STEPS = st.builds(
    Step, st.lists(ROWS, max_size=4).map(tuple), st.lists(st.integers(0, 99), max_size=4).map(tuple),
    st.lists(st.tuples(st.integers(0, 99), ROWS), max_size=3).map(tuple),
)  # fmt: skip


@st.composite
def orders(draw: st.DrawFn) -> str:
    names = draw(st.lists(st.sampled_from(sorted(COLUMNS)), min_size=0, max_size=3, unique=True))
    return ", ".join(name + draw(st.sampled_from(["", " desc"])) for name in names)


LITERALS: dict[str, list[str]] = {
    "name": ['"a"', '"A"', '""', '"北"', "null", "*"],
    "score": ["-1", "0", "1.5", "null", "*"],
    "touched": ["2024-01-01T01:00:00Z", "2024-01-01T02:00:00+00:00", "null"],
    "createTime": ["2024-01-01T00:00:01Z", "2024-01-01"],
}


@st.composite
def comparisons(draw: st.DrawFn) -> str:
    name = draw(st.sampled_from(sorted(LITERALS)))
    value = draw(st.sampled_from(LITERALS[name]))
    signs = {"null": ["=", "!="], "*": ["=", "!=", ":"]}.get(value, ["=", "!=", "<", "<=", ">", ">=", ":"])
    return f"{name} {draw(st.sampled_from(signs))} {value}"


FILTERS: st.SearchStrategy[str] = st.just("") | st.recursive(
    comparisons(),
    lambda inner: st.one_of(
        inner.map(lambda part: f"NOT ({part})"),
        st.tuples(inner, st.sampled_from(["AND", "OR"]), inner).map(
            lambda parts: "({}) {} ({})".format(*parts)
        ),
    ),
    max_leaves=5,
)


def passes(filter: str, bead: Bead) -> bool:
    """What a filter says of a bead, by its definition."""
    node = parse(filter)
    return node is None or _holds(node, bead)


def _holds(node: Node, bead: Bead) -> bool:
    match node:
        case Not(part):
            return not _holds(part, bead)
        case And(parts):
            return all(_holds(part, bead) for part in parts)
        case Or(parts):
            return any(_holds(part, bead) for part in parts)
        case Comparison(name, op, value):
            return _compared(getattr(bead, COLUMNS[name]), name, op, value)


def _compared(has: Any, name: str, op: Op, value: Literal) -> bool:
    if not value.quoted and value.text in ("null", "*"):
        return (has not in (None, "")) == ((op is Op.NE) == (value.text == "null"))
    if op is Op.NE:
        return not _compared(has, name, Op.EQ, value)
    if has is None:
        return False
    wanted: Any = value.text
    if name == "name" and op is Op.HAS:
        return wanted.lower() in has.lower()
    if name == "score":
        wanted = Decimal(wanted)
    elif name != "name":
        wanted = datetime.fromisoformat(wanted if "T" in wanted else wanted + "T00:00:00Z")
    return {
        Op.EQ: has == wanted, Op.HAS: has == wanted, Op.LT: has < wanted, Op.LE: has <= wanted, Op.GT: has > wanted,
        Op.GE: has >= wanted,
    }[op]  # fmt: skip


class Beads:
    """The table, as somebody else changes it, and a way to list it."""

    def __init__(self, owner: asyncpg.Connection, reading: Reading) -> None:
        self._owner = owner
        self.asking = Asking(person(), reading)
        self.there: dict[UUID, Bead] = {}
        self.touched: set[UUID] = set()
        """Those that came or were changed since the walk began."""
        self.gone: set[UUID] = set()

    async def begin(self, rows: list[Row]) -> None:
        await self._owner.execute("TRUNCATE beads")
        self.there, self.gone = {}, set()
        for row in rows:
            await self._come(row)
        self.touched = set()

    async def _come(self, row: Row) -> None:
        bead = row.bead()
        columns = list(Bead.model_fields)
        places = ", ".join(f"${n}" for n in range(1, len(columns) + 1))
        await self._owner.execute(
            f"INSERT INTO beads ({', '.join(columns)}) VALUES ({places})",
            *[getattr(bead, column) for column in columns],
        )
        self.there[bead.id] = bead
        self.touched.add(bead.id)

    async def happen(self, step: Step) -> None:
        for row in step.come:
            await self._come(row)
        for place in step.go:
            if self.there:
                id = sorted(self.there)[place % len(self.there)]
                del self.there[id]
                self.gone.add(id)
                await self._owner.execute("UPDATE beads SET deleted_at = now() WHERE id = $1", id)
        for place, row in step.move:
            if self.there:
                id = sorted(self.there)[place % len(self.there)]
                moved = row.bead()
                bead = self.there[id]
                bead.name, bead.score, bead.touched_at = moved.name, moved.score, moved.touched_at
                self.touched.add(id)
                await self._owner.execute(
                    "UPDATE beads SET name = $2, score = $3, touched_at = $4 WHERE id = $1",
                    id, bead.name, bead.score, bead.touched_at,
                )  # fmt: skip


@dataclass
class Loop:
    """One event loop for all examples, with the connections in it."""

    loop: asyncio.AbstractEventLoop
    beads: Beads

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        self.loop.run_until_complete(work)


@pytest.fixture(scope="module")
def loop(service_database: Callable[[str], DatabaseUrls]) -> Iterator[Loop]:
    urls = service_database("beads")
    made = asyncio.new_event_loop()

    @asynccontextmanager
    async def connected() -> AsyncGenerator[Beads]:
        await upgraded(urls.owner, migrate)
        owner = await asyncpg.connect(urls.owner)
        # The table's owner writes for all: what is looked at is who reads.
        await owner.execute("ALTER TABLE beads NO FORCE ROW LEVEL SECURITY")
        app = await asyncpg.connect(urls.app)
        yield Beads(owner, Reading(app))
        await app.close()
        await owner.close()

    context = connected()
    beads = made.run_until_complete(context.__aenter__())
    yield Loop(made, beads)
    made.run_until_complete(context.__aexit__(None, None, None))
    made.close()


def before(order: str, one: Bead, other: Bead) -> bool:
    """Whether the one comes before the other in that order; those without a value come last either way."""
    parts = [part.split() for part in (order or "createTime desc").split(", ")]
    for part in [*parts, ["id", *parts[-1][1:]]]:
        column = "id" if part[0] == "id" else COLUMNS[part[0]]
        x, y = getattr(one, column), getattr(other, column)
        if x == y:
            continue
        if x is None or y is None:
            return y is None
        return (x < y) != (part[-1] == "desc")
    return False


async def walk(beads: Beads, rows: list[Row], order: str, filter: str, size: int, steps: list[Step]) -> None:
    """Goes through a list in pages while these steps happen, and asserts what must hold of it."""
    await beads.begin(rows)
    wanted = {id for id, bead in beads.there.items() if passes(filter, bead)}
    assert await BEADS.count(beads.asking, filter) == len(wanted)
    assert await BEADS.count(beads.asking, filter, most=3) == min(len(wanted), 3)
    args: list[object] = []
    chosen = BEADS.ids(beads.asking.who, filter, None, args)
    assert {row["id"] for row in await beads.asking.database.read(beads.asking.who, chosen, *args)} == wanted
    met: list[UUID] = []
    request = Request(page_size=size, filter=filter, order_by=order)
    for number in range(60):
        gone = set(beads.gone)
        page = await BEADS.page(beads.asking, request)
        assert len(page.rows) <= size
        found = [row["id"] for row in page.rows]
        assert not gone & set(found), "what was gone is shown"
        met += found
        if not page.next_page_token:
            break
        request = replace(request, page_token=page.next_page_token)
        if number < len(steps):
            await beads.happen(steps[number])
    throughout = wanted - beads.touched - beads.gone
    still = [id for id in met if id not in beads.touched and id not in beads.gone]
    assert sorted(still) == sorted(throughout)
    # Only what somebody moves behind the walker can be met again.
    again = {id for id in met if met.count(id) > 1}
    assert again <= beads.touched
    for one, other in pairwise(still):
        assert before(order, beads.there[one], beads.there[other])


@_PLAN
@given(
    st.lists(ROWS, max_size=25), orders(), FILTERS, st.integers(1, 6), st.lists(STEPS, min_size=1, max_size=6)
)
@example(
    [Row("a", None, None, 0)] * 9,
    "score, touched desc",
    "",
    2,
    [Step((), (0, 3), ((4, Row("b", 1, 1, 1)),))] * 4,
)
def test_what_was_there_throughout_is_met_once(
    loop: Loop, rows: list[Row], order: str, filter: str, size: int, steps: list[Step]
) -> None:
    loop.run(walk(loop.beads, rows, order, filter, size, steps))


LISTS = st.tuples(
    st.sampled_from([ACME, OTHER]), st.sampled_from([ANN, BOB]), orders(), FILTERS,
    st.sampled_from([None, {"ownerId": ANN}, {"ownerId": BOB}]),
)  # fmt: skip


@_PLAN
@given(LISTS, LISTS)
def test_a_token_of_another_list_is_refused(loop: Loop, made_for: Any, used_for: Any) -> None:
    """Another company's, another person's, of another order, filter or narrowing: INVALID_ARGUMENT, and no row."""
    beads = loop.beads

    async def ask(told: Any, token: str) -> Any:
        tenant, id, order, filter, where = told
        asking = replace(beads.asking, who=person(id, tenant))
        return await BEADS.page(asking, Request(1, token, filter, order), where)

    async def use() -> None:
        await beads.begin([Row("x", 0, None, n) for n in range(3)])
        first = await ask(made_for, "")
        token = first.next_page_token or TOKENS.seal(b"of a list that has no second page", [1])
        if made_for == used_for and first.next_page_token:
            assert len((await ask(used_for, token)).rows) == 1
            return
        with pytest.raises(Invalid) as refused:
            await ask(used_for, token)
        assert (refused.value.code, refused.value.reason) == (Code.INVALID_ARGUMENT, "PAGE_TOKEN_MISMATCH")
        assert [one.field for one in refused.value.violations] == ["pageToken"]

    loop.run(use())


@_PLAN
@given(st.data())
def test_a_token_that_was_touched_is_refused(loop: Loop, data: st.DataObject) -> None:
    """Cut, lengthened, with a sign changed, put together of two, or made up."""
    beads = loop.beads

    async def use() -> None:
        await beads.begin([Row("x", n, None, n) for n in range(5)])
        request = Request(2, "", "", data.draw(orders()))
        token = (await BEADS.page(beads.asking, request)).next_page_token
        later = (await BEADS.page(beads.asking, replace(request, page_token=token))).next_page_token
        place = data.draw(st.integers(0, len(token)))
        forged = data.draw(
            st.one_of(
                st.just(token[:place]),
                st.just(token[:place] + later[place:]),
                st.characters().map(lambda c: token[:place] + c + token[place:]),
                st.characters().map(lambda c: token[:place] + c + token[place + 1 :]),
                st.text(max_size=200),
            )
        )
        if forged in ("", token, later) or _raw(forged) in (_raw(token), _raw(later)):
            return  # the same token, spelled otherwise or not
        with pytest.raises(Invalid) as refused:
            await BEADS.page(beads.asking, replace(request, page_token=forged))
        assert refused.value.code is Code.INVALID_ARGUMENT

    loop.run(use())


def _raw(token: str) -> bytes | None:
    try:
        return base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except ValueError:
        return None


def test_a_page_that_begins_at_the_last_row_is_noticed(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test can fail: a page that begins where the last one ended, and not behind it."""
    right = Part.conditions

    def wrong(self: Part, args: list[object]) -> list[str]:
        return [one.replace(" < (", " <= (").replace(" > (", " >= (") for one in right(self, args)]

    monkeypatch.setattr(Part, "conditions", wrong)
    with pytest.raises(AssertionError):
        loop.run(walk(loop.beads, [Row("a", 0, None, n) for n in range(5)], "", "", 2, []))
