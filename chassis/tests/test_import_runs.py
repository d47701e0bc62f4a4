"""Imports as they run: every row once, whatever dies; refused alone; repaired; counted so that it adds up."""

import asyncio
import os
import random
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy import select, text

from chassis.database import Database, Transaction
from chassis.errors import AlreadyExists, Invalid, NotFound, Problem, Unavailable
from chassis.events.event import Catalog
from chassis.imports import runs
from chassis.imports.importer import (
    Found,
    Importer,
    ImportRow,
    Options,
    Outcome,
    RowReader,
    Undo,
    by_name,
    created,
    refused,
    unchanged,
    updated,
)
from chassis.imports.mapping import Target
from chassis.imports.reading import Row, read_csv
from chassis.imports.runs import ImportEnded, ImportNotReady, Run
from chassis.imports.schema import add_time_zone, install_import_tables, widen_imports
from chassis.imports.tables import CREATE, RUNNING, UNDOING, UNDONE, UPSERT, ImportRun
from chassis.imports.undoing import Undoing, forget, undo
from chassis.imports.values import Amount, Choice, Day, Phone, Reference, Refused, Text
from chassis.principal import Principal, Reach, Rights
from chassis.records import Owned
from chassis.schema import add_search, install_chassis_tables, protect
from chassis.search import Searchable
from chassis.testing import DatabaseUrls, upgraded

TENANT, ANN, BOB = UUID(int=7), UUID(int=8), UUID(int=9)
ALL = {"parts": Rights(Reach.ALL, Reach.ALL)}
OWN = {"parts": Rights(Reach.OWN, Reach.OWN)}
WHO = Principal(TENANT, "acme", ANN, "Ann", rights=ALL)


class Part(Owned, Searchable, table=True):
    __tablename__ = "parts"  # pyright: ignore[reportAssignmentType]
    record_type: ClassVar[str] = "part"

    code: str
    name: str = ""
    phone: str = ""
    price: int = 0
    maker: str = ""


async def save(tx: Transaction, rows: list[ImportRow], options: Options) -> list[Outcome]:
    """Makes parts; in UPSERT mode parts with a known code are changed."""
    from sqlalchemy import select
    from sqlmodel import col

    codes = [row.values["code"] for row in rows]
    found = await tx.session.execute(select(Part).where(col(Part.code).in_(codes)))
    known = {part.code: part for part in found.scalars()}
    out: list[Outcome] = []
    new: list[Part] = []
    for row in rows:
        values = row.values
        if values.get("name") == "boom":
            raise AlreadyExists("NAME_TAKEN", "boom is taken", field="part.name")
        part = known.get(values["code"])
        if part is not None and not options.upsert:
            out.append(refused("EXTERNAL_KEY_TAKEN", f"{values['code']} is there already", "code"))
            continue
        if part is None:
            part = known[values["code"]] = Part(code=values["code"], owner_id=options.owner_id)
            new.append(part)
            outcome = created(part.id)
        else:
            outcome = unchanged(part.id) if part.name == values.get("name", part.name) else updated(part.id)
        part.name = values.get("name", part.name)
        part.phone = values.get("phone", part.phone)
        part.price = values["price"].minor if "price" in values else part.price
        part.maker = values.get("maker", part.maker)
        part.find_by(names=[part.name], phones=[part.phone])
        out.append(outcome)
    await tx.insert_all(new)
    return out


async def find_makers(call: Any, names: Sequence[str]) -> dict[str, Found | Refused]:
    if call == "down":
        raise Unavailable("customers does not answer", retry_after=1.0)
    return by_name(names, [("GTX Pro", "m1"), ("Alpha", "m2"), ("Twin", "m3"), ("twin", "m4")], "maker")


async def _remove(tx: Transaction, part: Part) -> None:
    tx.delete(part)


async def _put_back(tx: Transaction, part: Part, columns: dict[str, Any]) -> None:
    for name, value in columns.items():
        setattr(part, name, value)


PARTS = Importer(
    record_type="part",
    right="parts",
    targets=(
        Target("code", "Code", Text(20), required=True),
        Target("name", "Name", Text(100), aliases=("名称",)),
        Target("phone", "Phone", Phone()),
        Target("price", "Price", Amount()),
        Target("made", "Made", Day()),
        Target("kind", "Kind", Choice({"BIG": ("large size",), "SMALL": ()})),
        Target("maker", "Maker", Reference("maker", "maker")),
    ),
    save=save,
    resolvers={"maker": find_makers},
    undo=Undo(Part, _remove, _put_back),
)


def migrate() -> None:
    """The tables as a service's migration makes them."""
    from alembic import op

    table: Any = getattr(Part, "__table__")  # noqa: B009 (SQLModel adds it at run time)
    table.create(op.get_bind())
    op.execute("CREATE UNIQUE INDEX parts_code ON parts (tenant_id, code)")
    op.execute("ALTER TABLE parts ADD CONSTRAINT parts_price CHECK (price < 100000000)")
    protect("parts")
    add_search("parts")
    install_chassis_tables()
    install_import_tables()
    widen_imports()
    add_time_zone()


@pytest.fixture(scope="module")
def parts_urls(service_database: Callable[[str], DatabaseUrls]) -> DatabaseUrls:
    urls = service_database("parts")
    asyncio.run(upgraded(urls.owner, migrate))
    return urls


@pytest.fixture
async def database(parts_urls: DatabaseUrls) -> AsyncIterator[Database]:
    database = await opened(parts_urls.app)
    yield database
    await database.close()


@pytest.fixture(autouse=True)
async def empty(parts_urls: DatabaseUrls) -> None:
    owner = await asyncpg.connect(parts_urls.owner)
    await owner.execute(
        "TRUNCATE parts, history, import_runs, import_files, import_refused_rows, import_effects, import_mappings, jobs"
    )
    await owner.close()


async def taken_in(database: Database, text: str, who: Principal = WHO) -> UUID:
    content = text.encode()
    sheet = read_csv(content)
    run = await runs.prepared(PARTS, who, "parts.csv", content, sheet)
    async with database.transaction(who) as tx:
        await runs.keep(tx, run, sheet.packed)
    return run.id


async def started(database: Database, text: str, mode: str = CREATE, who: Principal = WHO) -> UUID:
    id = await taken_in(database, text, who)
    async with database.transaction(who) as tx:
        run = await runs.own_run(tx, id, {"part": "parts"})
        await runs.start(tx, PARTS, run, [], Options(mode, who.person_id))
    return id


async def carried_on(database: Database, id: UUID, call: Any = None) -> None:
    await Run(PARTS, database, WHO, id, lambda _: call).carry_on()


async def state(database: Database, id: UUID) -> dict[str, Any]:
    rows = await database.read(WHO, "SELECT * FROM import_runs WHERE id = $1", id)
    return dict(rows[0])


async def reasons(database: Database, id: UUID) -> dict[int, list[tuple[str, str, bool]]]:
    rows = await database.read(WHO, runs.refused_rows_sql(), id, 0, 10_000_000)
    noted = [runs.noted_row(row) for row in rows]
    return {number: [(p.field, p.reason, p.repaired) for p in problems] for number, _, problems in noted}


def counts(run: dict[str, Any]) -> tuple[int, ...]:
    names = ("total", "processed", "created", "updated", "unchanged", "refused", "repaired")
    return tuple(run[f"{name}_rows"] for name in names)


async def test_rows_are_made_refused_and_repaired_one_by_one(database: Database) -> None:
    id = await started(
        database,
        "code,名称,Phone,Price,Made,Kind,Maker\n"
        "A1,用友,138 0000 1234,¥1.50,13/05/2024,BIG,Alpha\n"
        "A2,x,nope,1,05/06/2024,big,GTXPro\n"
        "A3,x,,99999999,01/02/2024,Large-Size,GTX PRO\n"
        ",x,,1,,,\n"
        "A1,again,,,,,\n"
        "A5,boom,,,,,\n"
        "A6,x,,,,,TWIN\n"
        "A7,x,,,,,Nobody\n"
        "A8,x,,1,2024-02-30,HUGE,\n"
        "A9,too,many,1,,,,cells\n"
        "B1,fine,,2,,,\n",
    )
    await carried_on(database, id)
    run = await state(database, id)
    assert run["state"] == "SUCCEEDED"
    assert await reasons(database, id) == {
        3: [("phone", "PHONE_INVALID", False), ("maker", "VALUE_REPAIRED", True)],
        4: [
            ("kind", "VALUE_REPAIRED", True),
            ("maker", "VALUE_REPAIRED", True),
            ("", "VALUE_OUT_OF_RANGE", False),
        ],
        5: [("code", "REQUIRED", False)],
        6: [("code", "EXTERNAL_KEY_TAKEN", False)],
        7: [("name", "NAME_TAKEN", False)],
        8: [("maker", "REFERENCE_AMBIGUOUS", False)],
        9: [("maker", "REFERENCE_NOT_FOUND", False)],
        10: [("made", "DATE_INVALID", False), ("kind", "CHOICE_UNKNOWN", False)],
        11: [("", "ROW_TOO_LONG", False), ("phone", "PHONE_INVALID", False)],
    }
    made = await database.read(
        WHO, "SELECT code, name, phone, price, maker, owner_id FROM parts ORDER BY code"
    )
    assert [tuple(row) for row in made] == [
        ("A1", "用友", "+8613800001234", 150, "m2", ANN),
        ("B1", "fine", "", 200, "", ANN),
    ]
    assert counts(run) == (11, 11, 2, 0, 0, 9, 0)
    assert await database.read(WHO, "SELECT 1 FROM import_files") == []
    history = await database.read(WHO, "SELECT action, by, by_name FROM history")
    assert [tuple(row) for row in history] == [("created", ANN, "Ann")] * 2


def test_amounts_without_a_currency_are_in_that_of_the_import() -> None:
    for said, cell, meant in (
        ("", "5", "CNY"),
        ("USD", "5", "USD"),
        ("USD", "€5", "EUR"),
        ("JPY", "¥5", "JPY"),
    ):
        reader = RowReader(PARTS, {0: "code", 1: "price"}, 2, {}, said)
        assert reader.read(Row(2, ["A", cell])).values["price"].currency == meant


async def test_repaired_rows_are_taken_and_noted(database: Database) -> None:
    id = await started(database, "code,kind,maker\nA1,Large-Size,GTXPro\nA2,BIG,GTX Pro\n")
    await carried_on(database, id)
    assert counts(await state(database, id)) == (2, 2, 2, 0, 0, 0, 1)
    assert list(await reasons(database, id)) == [2]


async def test_upsert_tells_changed_from_unchanged(database: Database) -> None:
    await carried_on(database, await started(database, "code,name\nA1,one\nA2,two\n"))
    id = await started(database, "code,name\nA1,one\nA2,new\nA3,three\n", UPSERT)
    await carried_on(database, id)
    assert counts(await state(database, id)) == (3, 3, 1, 1, 1, 0, 0)


async def test_nothing_is_made_before_the_start_and_only_once_after(database: Database) -> None:
    id = await taken_in(database, "code\nA1\n")
    await carried_on(database, id)
    assert counts(await state(database, id)) == (1, 0, 0, 0, 0, 0, 0)
    async with database.transaction(WHO) as tx:
        await runs.start(tx, PARTS, await runs.own_run(tx, id, {"part": "parts"}), [(0, "code")], Options())
    with pytest.raises(ImportNotReady):
        async with database.transaction(WHO) as tx:
            await runs.start(tx, PARTS, await runs.own_run(tx, id, {"part": "parts"}), [], Options())
    await carried_on(database, id)
    await carried_on(database, id)
    assert counts(await state(database, id)) == (1, 1, 1, 0, 0, 0, 0)


async def test_a_file_without_a_column_that_is_required_is_not_started(database: Database) -> None:
    id = await taken_in(database, "what,name\nA1,x\n")
    with pytest.raises(Invalid) as wrong:
        async with database.transaction(WHO) as tx:
            await runs.start(tx, PARTS, await runs.own_run(tx, id, {"part": "parts"}), [], Options())
    assert wrong.value.reason == "MAPPING_INVALID"
    assert (await state(database, id))["state"] == "READY"


async def test_a_cancelled_import_keeps_what_it_made_and_makes_no_more(database: Database) -> None:
    id = await started(database, "code\n" + "".join(f"A{n}\n" for n in range(1200)))

    async def cancel() -> None:
        async with database.transaction(WHO) as tx:
            await runs.cancel(tx, PARTS, await runs.own_run(tx, id, {"part": "parts"}))

    class Cancelling(Run):
        async def _batch(self, drafts: list[Any]) -> None:
            await super()._batch(drafts)
            await cancel()

    await Cancelling(PARTS, database, WHO, id, lambda _: None).carry_on()
    run = await state(database, id)
    assert run["state"] == "CANCELLED"
    assert counts(run) == (1200, 500, 500, 0, 0, 0, 0)
    assert (await database.read(WHO, "SELECT count(*) FROM parts"))[0][0] == 500
    with pytest.raises(ImportEnded):
        await cancel()


async def test_a_preview_reads_days_by_the_whole_column_as_the_run_does(database: Database) -> None:
    rows = [f"A{n},01/02/2024" for n in range(25)]
    id = await taken_in(database, "\n".join(["code,made", *rows, "B,25/02/2024", ""]))
    assert not any(row["problems"] for row in (await state(database, id))["preview"])
    other = await taken_in(database, "\n".join(["code,made", *rows, ""]))
    shown = (await state(database, other))["preview"]
    assert len(shown) == 20 and {one["reason"] for row in shown for one in row["problems"]} == {
        "DATE_AMBIGUOUS"
    }


async def test_a_service_that_is_down_delays_the_import_and_refuses_nothing(database: Database) -> None:
    id = await started(database, "code,maker\nA1,Alpha\n")
    with pytest.raises(Unavailable):
        await carried_on(database, id, "down")
    assert (await state(database, id))["state"] == RUNNING
    await carried_on(database, id)
    assert counts(await state(database, id)) == (1, 1, 1, 0, 0, 0, 0)


async def test_a_fault_of_the_service_ends_the_import_after_some_tries(database: Database) -> None:
    async def broken(tx: Transaction, rows: list[ImportRow], options: Options) -> list[Outcome]:
        raise LookupError("a bug")

    id = await started(database, "code\nA1\n")
    importer = Importer("part", "parts", PARTS.targets, broken, PARTS.resolvers)
    for _ in range(4):
        with pytest.raises(LookupError):
            await Run(importer, database, WHO, id, lambda _: None).carry_on()
    await Run(importer, database, WHO, id, lambda _: None).carry_on()
    run = await state(database, id)
    assert (run["state"], run["failure_reason"]) == ("FAILED", "INTERNAL")
    assert "a bug" not in run["failure_message"]
    assert run["ended_at"] is not None


async def test_a_fault_ends_an_undoing_after_some_tries_and_it_is_asked_for_again(
    database: Database,
) -> None:
    async def broken(tx: Transaction, part: Part) -> None:
        raise LookupError("a bug")

    async def asked() -> None:
        async with database.transaction(WHO) as tx:
            await undo(tx, PARTS, await runs.own_run(tx, id, {"part": "parts"}))

    id = await started(database, "code\nA1\n")
    await carried_on(database, id)
    await asked()
    importer = replace(PARTS, undo=Undo(Part, broken, _put_back))
    for _ in range(4):
        with pytest.raises(LookupError):
            await Undoing(importer, database, WHO, id).carry_on()
    await Undoing(importer, database, WHO, id).carry_on()
    run = await state(database, id)
    assert (run["state"], run["undo_state"], run["failure_reason"]) == ("SUCCEEDED", "", "INTERNAL")
    await asked()
    await Undoing(PARTS, database, WHO, id).carry_on()
    run = await state(database, id)
    assert (run["undo_state"], run["undone_records"], run["failure_reason"]) == (UNDONE, 1, "")


async def test_two_workers_at_once_take_each_row_once(database: Database) -> None:
    id = await started(database, "code\n" + "".join(f"A{n}\n" for n in range(2100)))
    outcomes = await asyncio.gather(*(carried_on(database, id) for _ in range(3)), return_exceptions=True)
    # Who is overtaken comes again: the one who goes on may die.
    assert outcomes.count(None) >= 1, outcomes
    assert {one.reason for one in outcomes if isinstance(one, Problem)} == {"RECORD_BUSY"}, outcomes
    assert counts(await state(database, id)) == (2100, 2100, 2100, 0, 0, 0, 0)
    assert (await database.read(WHO, "SELECT count(*) FROM parts"))[0][0] == 2100


async def test_people_reach_their_own_imports(database: Database) -> None:
    id = await taken_in(database, "code\nA1\n")
    bob = Principal(TENANT, "acme", BOB, rights=OWN)
    stranger = Principal(UUID(int=99), "other", ANN, rights=ALL)
    for who in (bob, stranger):
        with pytest.raises(NotFound):
            async with database.transaction(who) as tx:
                await runs.own_run(tx, id, {"part": "parts"})
    async with database.transaction(Principal(TENANT, "acme", BOB, rights=ALL)) as tx:
        await runs.own_run(tx, id, {"part": "parts"})


async def test_the_rows_are_made_as_the_person_who_started(database: Database) -> None:
    seen: list[Principal] = []

    async def note(tx: Transaction, rows: list[ImportRow], options: Options) -> list[Outcome]:
        seen.append(tx.who)
        return await save(tx, rows, options)

    bob = Principal(TENANT, "acme", BOB, "Bob", team_id=ANN, team_ids=frozenset({ANN}), rights=OWN)
    id = await started(database, "code\nA1\n", who=bob)
    service = Principal(TENANT, "acme", BOB, service="parts")
    importer = Importer("part", "parts", PARTS.targets, note, PARTS.resolvers)
    await Run(importer, database, service, id, lambda _: None).carry_on()
    assert seen == [bob]


async def test_a_kill_at_any_moment_neither_loses_nor_repeats_a_row(
    database: Database, parts_urls: DatabaseUrls
) -> None:
    names = (Path(__file__).parent / "data" / "company_names.txt").read_text().splitlines()
    lines = [f'C{n},"{names[n % len(names)]}",138{n:08d},{"x" if n % 100 == 7 else ""}' for n in range(3000)]
    id = await started(database, "code,name,phone,price\n" + "\n".join(lines) + "\n")
    chance = random.Random(11)
    kills = 0
    while (await state(database, id))["state"] == RUNNING:
        before = (await state(database, id))["processed_rows"]
        child = await asyncio.create_subprocess_exec(
            sys.executable, __file__, parts_urls.app, str(id), env={**os.environ}
        )
        while child.returncode is None and (await state(database, id))["processed_rows"] == before:
            await asyncio.wait({asyncio.create_task(child.wait())}, timeout=0.01)
        await asyncio.wait({asyncio.create_task(child.wait())}, timeout=chance.uniform(0, 0.15))
        if child.returncode is None:
            child.send_signal(signal.SIGKILL)
            await child.wait()
            kills += 1
        else:
            assert child.returncode == 0
    assert kills >= 3
    assert counts(await state(database, id)) == (3000, 3000, 2970, 0, 0, 30, 0)
    made = await database.read(WHO, "SELECT count(*), count(DISTINCT code) FROM parts")
    assert tuple(made[0]) == (2970, 2970)
    assert list(await reasons(database, id)) == [n + 2 for n in range(3000) if n % 100 == 7]


async def test_a_kill_at_any_moment_undoes_no_record_twice_and_forgets_none(
    database: Database, parts_urls: DatabaseUrls
) -> None:
    id = await started(database, "code\n" + "".join(f"A{n}\n" for n in range(1000)))
    await carried_on(database, id)
    second = await started(
        database, "code,name\n" + "".join(f"A{n},changed\n" for n in range(1000)), mode=UPSERT
    )
    await carried_on(database, second)
    async with database.transaction(WHO) as tx:
        # Every tenth was changed since: those stay.
        parts = (await tx.session.execute(select(Part))).scalars().all()
        for part in parts:
            if part.code.endswith("7"):
                part.name = "by hand"
    chance = random.Random(12)
    kills = 0
    async with database.transaction(WHO) as tx:
        await undo(tx, PARTS, await runs.own_run(tx, second, {"part": "parts"}))
    while (await state(database, second))["undo_state"] == UNDOING:
        before = (await state(database, second))["undone_records"]
        child = await asyncio.create_subprocess_exec(
            sys.executable, __file__, parts_urls.app, str(second), "undo", env={**os.environ}
        )
        while child.returncode is None and (await state(database, second))["undone_records"] == before:
            await asyncio.wait({asyncio.create_task(child.wait())}, timeout=0.01)
        await asyncio.wait({asyncio.create_task(child.wait())}, timeout=chance.uniform(0, 0.1))
        if child.returncode is None:
            child.send_signal(signal.SIGKILL)
            await child.wait()
            kills += 1
        else:
            assert child.returncode == 0
    assert kills >= 2
    run = await state(database, second)
    assert (run["undo_state"], run["undone_records"], run["kept_records"]) == (UNDONE, 900, 100)
    found = await database.read(
        WHO, "SELECT name, version, count(*) FROM parts GROUP BY name, version ORDER BY name"
    )
    # Made, changed, and once changed back or by hand: whoever was undone twice would have another version.
    assert [tuple(row) for row in found] == [("", 3, 900), ("by hand", 3, 100)]
    told = await database.read(
        WHO,
        "SELECT state, reason, count(*) FROM import_effects WHERE import_id = $1 GROUP BY state, reason",
        second,
    )
    assert {tuple(row) for row in told} == {("UNDONE", "", 900), ("KEPT", "CHANGED_SINCE", 100)}


async def test_what_can_be_undone_no_longer_is_forgotten_whatever_postgresql_believes(
    database: Database, parts_urls: DatabaseUrls
) -> None:
    async def noted(tenant: UUID, id: UUID, many: int) -> None:
        async with database.transaction(replace(WHO, tenant_id=tenant)) as tx:
            effects = (
                "INSERT INTO import_effects (tenant_id, import_id, record_id, row_number, effect, version, changes, touched,"
                " state, reason, message) SELECT :tenant, :id, gen_random_uuid(), n, 'CREATED', 1, '{}', false, 'DONE',"
                " '', '' FROM generate_series(1, :many) n"
            )
            await tx.session.execute(text(effects), {"tenant": tenant, "id": id, "many": many})

    for number in range(3):
        tenant = UUID(int=1000 + number)
        await noted(tenant, await started(database, "code\nA1\n", who=replace(WHO, tenant_id=tenant)), 20)
    owner = await asyncpg.connect(parts_urls.owner)
    await owner.execute("ANALYZE import_effects, import_runs")  # so that little is expected of anybody else
    await owner.close()
    old, new = [await started(database, "code\nA1\n") for _ in range(2)]
    for id in (old, new):
        await carried_on(database, id)
    await noted(TENANT, old, 7_000)
    await noted(TENANT, new, 12_000)
    left: list[dict[UUID, int]] = []
    for days in (0, 9, 0, 0):
        async with database.transaction(WHO) as tx:
            ago = text(
                "UPDATE import_runs SET ended_at = ended_at - make_interval(days => :days) WHERE id = :id"
            )
            await tx.session.execute(ago, {"days": days, "id": old})
            await tx.session.execute(text("SET LOCAL statement_timeout = '4s'"))
            await forget(tx)
        rows = await database.read(WHO, "SELECT import_id, count(*) FROM import_effects GROUP BY import_id")
        left.append({row["import_id"]: row["count"] for row in rows})
    assert left == [{old: 7_001, new: 12_000}, {old: 2_001, new: 12_000}, {new: 12_000}, {new: 12_000}]


async def test_an_undoing_that_writes_down_nothing_would_be_noticed(database: Database) -> None:
    # The planted bug: what has become of a record is not noted with it, so the next one to take it up does it again.
    id = await started(database, "code\n" + "".join(f"A{n}\n" for n in range(20)))
    await carried_on(database, id)
    async with database.transaction(WHO) as tx:
        await undo(tx, PARTS, await runs.own_run(tx, id, {"part": "parts"}))
    owner = Undoing(PARTS, database, WHO, id)
    ids = await owner._left()  # pyright: ignore[reportPrivateUsage]
    await owner._take(ids[:10], "")  # pyright: ignore[reportPrivateUsage]
    async with database.transaction(WHO) as tx:
        await tx.session.execute(text("UPDATE import_effects SET state = 'DONE'"))
    await owner.carry_on()
    run = await state(database, id)
    assert (run["undone_records"], run["kept_records"]) == (20, 10)  # 30 of 20 records


async def test_a_cursor_outside_the_transaction_would_be_noticed(database: Database) -> None:
    # The planted bug: progress is committed by itself, before the rows. The counts show a death in between.
    id = await started(database, "code\n" + "".join(f"A{n}\n" for n in range(600)))

    class Naive(Run):
        async def _save(self, drafts: list[Any]) -> None:
            async with self._database.transaction(WHO) as tx:
                run = await tx.session.get(ImportRun, (TENANT, id))
                assert run is not None
                run.processed_rows += len(drafts)
                run.created_rows += len(drafts)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await Naive(PARTS, database, WHO, id, lambda _: None).carry_on()
    await carried_on(database, id)
    run = await state(database, id)
    made = (await database.read(WHO, "SELECT count(*) FROM parts"))[0][0]
    assert run["created_rows"] != made


async def child(url: str, id: str, what: str = "") -> None:
    """What the tests above kill: an import, or its undoing, carried on in a process of its own."""
    database = await opened(url)
    if what == "undo":
        await Undoing(PARTS, database, WHO, UUID(id)).carry_on()
    else:
        await Run(PARTS, database, WHO, UUID(id), lambda _: None).carry_on()
    await database.close()


async def opened(url: str) -> Database:
    return Database(url, Catalog("parts", {}))


if __name__ == "__main__":
    asyncio.run(child(*sys.argv[1:]))
