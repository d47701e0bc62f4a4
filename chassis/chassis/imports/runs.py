"""Running imports: durable, batch by batch, so that a death at any instruction neither loses nor repeats a
row.

A batch is one transaction: the records, their events and history, the refused rows and the new cursor. It
begins by locking the run and looking whether the cursor is where the batch starts; so a second worker that
took the job over stops at once, and a cancel takes effect between two batches.
"""

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial
from itertools import islice
from typing import Any
from uuid import UUID
from weakref import WeakKeyDictionary

import orjson
from sqlalchemy import delete, func, insert, select
from sqlmodel import col

from chassis.database import Database, Transaction
from chassis.errors import Code, Invalid, NotFound, Precondition
from chassis.errors import Problem as Failure
from chassis.giving_up import Overtaken, giving_up, one_too_many
from chassis.imports.custom import cell_of, gathered
from chassis.imports.importer import (
    Draft,
    Importer,
    ImportRow,
    Options,
    Outcome,
    RowReader,
    orders_of,
    resolve,
)
from chassis.imports.mapping import check_keyed, checked, proposal
from chassis.imports.reading import Row, Sheet, kind, read_csv, unpack
from chassis.imports.refused import SKIPPED, Problem
from chassis.imports.remembered import Words, remember
from chassis.imports.tables import (
    CANCELLED,
    CREATE,
    FAILED,
    FILES,
    MERGE,
    READY,
    REFUSED,
    RUNNING,
    SKIP,
    SUCCEEDED,
    UPDATE,
    UPSERT,
    ImportRun,
)
from chassis.imports.undoing import ORIGIN, forget, note, tell
from chassis.imports.vcards import read_vcards
from chassis.imports.words import unknown, with_words
from chassis.imports.workbook import read_workbook
from chassis.principal import Act, Principal, Reach, Rights

Learn = Callable[[Any], Awaitable[None]]
"""`async (call) -> None`: sees to it that what another service keeps is known for a while."""
JOB = "import"
MEASURED = "import_measured"
"""The kind of the job of an import whose times and currencies are read as the company counts: a version of the service that reads
them otherwise leaves it to one that does so, lest one file be half and half."""
EXPIRY = "expire import"
"""The kind of the job that drops a file nobody has started to import. Its key is the run."""
UNSTARTED_FOR = timedelta(days=7)
MOST_UNSTARTED = 20
"""Files that one person may have waiting."""
BATCH = 500
BATCH_CHARACTERS = 2_000_000
"""Rows with more than so many characters are no batch together."""
READERS = 2
"""Files read at once: each takes a thread, or a child of its own when it is a workbook. The others wait for their turn."""
_PREVIEW = 20


_log = logging.getLogger(__name__)


class ImportNotReady(Precondition):
    """Only an import in state READY can be started."""

    reason = "IMPORT_NOT_READY"


class ImportEnded(Precondition):
    """Only an import in state READY or RUNNING can be cancelled."""

    reason = "IMPORT_ENDED"


class TooManyUnstarted(Precondition):
    """So many files of one person wait to be imported, with all that is in them."""

    reason = "TOO_MANY_IMPORTS_READY"

    def __init__(self) -> None:
        super().__init__(
            f"{MOST_UNSTARTED} imports of yours are READY: start or cancel one of them before you send another file."
        )


class _Ended(Exception):
    """The run has been cancelled, or somebody else has ended it."""


async def read_file(
    filename: str, content: bytes, encoding: str, delimiter: str, sheet: str, fields: Collection[str] = ()
) -> Sheet:
    """Reads a file wholly, off the event loop, when no more than `READERS` others are being read; `fields` are those of the
    records that it holds. Raises Invalid."""
    of = kind(filename, content)
    workbook = of == "xlsx"
    turns = _turns.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(READERS))
    if workbook:
        async with turns:
            return await read_workbook(content, sheet)
    await turns.acquire()
    read = (
        partial(read_vcards, content, encoding, fields)
        if of == "vcf"
        else partial(read_csv, content, encoding, delimiter)
    )
    reading = asyncio.ensure_future(asyncio.to_thread(read))

    def over(done: asyncio.Future[Sheet]) -> None:
        turns.release()
        if not done.cancelled():
            done.exception()  # told to the caller, if there still is one

    # A caller who gives up is not kept waiting; the thread reads on, and the turn is its own until it has ended.
    reading.add_done_callback(over)
    return await asyncio.shield(reading)


_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()
"""One set of turns a loop: a service has one, a run of tests many."""


Known = tuple[dict[int, str], list[list[str]]] | None
"""A mapping and words that were confirmed before, if any were."""


async def prepared(
    importer: Importer, call: Any, filename: str, content: bytes, sheet: Sheet, known: Known = None
) -> ImportRun:
    """A run in state READY, with a proposed mapping and a preview."""
    proposed, words = known or (proposal(sheet.header, importer.targets), [])
    taught = fitting(importer, words)
    # Looking through a large file takes its time: others are served meanwhile.
    strange, file_hash = await asyncio.to_thread(
        lambda: (unknown(taught, proposed, unpack(sheet.packed)), hashlib.sha256(content).hexdigest())
    )
    return ImportRun(
        kind=importer.record_type,
        filename=filename,
        file_size=len(content),
        file_hash=file_hash,
        encoding=sheet.encoding,
        delimiter=sheet.delimiter,
        sheet=sheet.sheet,
        sheets=list(sheet.sheets),
        columns=[
            {"name": name, "samples": found} for name, found in zip(sheet.header, sheet.samples, strict=True)
        ],
        proposed=[[column, name] for column, name in sorted(proposed.items())],
        remembered=known is not None,
        proposed_words=words,
        preview=await previewed(taught, call, proposed, len(sheet.header), sheet.packed),
        unknown=strange,
        total_rows=sheet.total,
    )


def fitting(importer: Importer, words: Words) -> Importer:
    """The importer with those of the words that are still right: a choice may have been archived since."""
    fit: list[Sequence[str]] = []
    for word in words:
        with suppress(Invalid):
            with_words(importer, [word])
            fit.append(word)
    return with_words(importer, fit)


async def previewed(
    importer: Importer, call: Any, mapping: dict[int, str], columns: int, packed: bytes, currency: str = ""
) -> list[dict[str, Any]]:
    """The first rows of a file, with their problems. How short days are meant, the whole column says, as when it is run; and
    what the cells refer to is looked for as then, unless another service that knows it does not answer soon."""

    def first() -> list[Draft]:
        reader = RowReader(importer, mapping, columns, orders_of(importer, mapping, unpack(packed)), currency)
        return [reader.read(row) for row in islice(unpack(packed), _PREVIEW)]

    drafts = await asyncio.to_thread(first)
    try:
        async with asyncio.timeout(_PATIENCE):
            await resolve(importer, call, drafts)
    except TimeoutError:
        pass
    except Failure as error:
        if error.code not in _PASSING:
            raise
    return [_previewed(draft, mapping) for draft in drafts]


def _previewed(draft: Draft, proposed: dict[int, str]) -> dict[str, Any]:
    known = set(proposed.values())  # what is required and not yet mapped is no fault of a row
    problems = [p for p in draft.problems if p.reason != "REQUIRED" or p.field in known]
    return {
        "number": draft.row.number,
        "cells": [c[:1000] for c in draft.row.cells],
        "problems": _plain(problems),
    }


def _plain(problems: Sequence[Problem]) -> list[dict[str, Any]]:
    return [
        {"field": p.field, "reason": p.reason, "message": p.message, "repaired": p.repaired} for p in problems
    ]


_UNSTARTED = (col(ImportRun.state) == READY, col(ImportRun.deleted_at).is_(None))


async def keep(tx: Transaction, run: ImportRun, packed: bytes) -> None:
    """Writes a prepared run and its file, which is dropped when nobody starts it. Raises TooManyUnstarted."""
    await tx.hold(f"imports {tx.who.person_id}")
    await _expire_old(tx)
    mine = await tx.session.execute(
        select(func.count()).where(*_UNSTARTED, col(ImportRun.created_by) == tx.who.person_id)
    )
    if mine.scalar_one() >= MOST_UNSTARTED:
        raise TooManyUnstarted
    tx.add(run)
    await tx.session.flush()
    await tx.session.execute(
        insert(FILES).values(tenant_id=tx.who.tenant_id, import_id=run.id, packed=packed)
    )
    await tx.enqueue(EXPIRY, {"import_id": str(run.id)}, due_at=tx.now + UNSTARTED_FOR, key=str(run.id))


async def _expire_old(tx: Transaction) -> None:
    """Drops what was kept by a version that dropped nothing; of a person who sends a file again it is looked for."""
    old = await tx.session.execute(
        select(ImportRun)
        .where(*_UNSTARTED, col(ImportRun.created_at) < tx.now - UNSTARTED_FOR)
        .limit(100)
        .with_for_update(skip_locked=True)
    )
    for run in old.scalars():
        await _expire(tx, run)


async def expire(tx: Transaction, id: UUID) -> None:
    """Drops the file of a run that nobody has started in time, with what it shows of it."""
    run = await tx.find(ImportRun, id)
    if run is not None and run.state == READY:
        await _expire(tx, run)


async def _expire(tx: Transaction, run: ImportRun) -> None:
    run.failure_reason = "IMPORT_EXPIRED"
    run.failure_message = f"Nobody started the import within {UNSTARTED_FOR.days} days: its file was removed."
    run.columns = [{**column, "samples": []} for column in run.columns]
    run.preview, run.unknown = [], []
    await _end(tx, run, CANCELLED)


async def own_run(tx: Transaction, id: UUID, rights: Mapping[str, str]) -> ImportRun:
    """The run, locked. People reach their own runs, those who may write all its records everyone's; `rights` says by record
    type under which right they stand. Raises NotFound."""
    run = await tx.find(ImportRun, id)
    if run is None or not may_see(tx.who, run.created_by, rights[run.kind]):
        raise NotFound("import", id)
    return run


def may_see(who: Principal, creator: UUID, right: str) -> bool:
    """Whether that person may see runs of that creator."""
    return creator == who.person_id or who.reach(right, Act.WRITE) is Reach.ALL


async def start(
    tx: Transaction,
    importer: Importer,
    run: ImportRun,
    pairs: Sequence[tuple[int, str]],
    options: Options,
    words: Words = (),
) -> None:
    """Confirms the mapping and lets the run begin. Raises ImportNotReady, and Invalid for a wrong mapping."""
    if run.state != READY:
        raise ImportNotReady(f"The import is {run.state}: only one that is READY can be started.")
    # Who makes nothing new leaves out what a new record needs.
    targets = importer.targets if options.creates else [replace(t, required=False) for t in importer.targets]
    mapping = checked(pairs or [(int(c), str(f)) for c, f in run.proposed], len(run.columns), targets)
    if not mapping:
        raise Invalid("mapping", "no column is mapped to a field", reason="MAPPING_INVALID")
    if not options.creates and options.duplicates not in (SKIP, MERGE):
        check_keyed(mapping, importer.keys)
    words = list(words) or [list(one) for one in run.proposed_words]
    with_words(importer, words)
    await remember(tx, run.kind, [str(column["name"]) for column in run.columns], mapping, words)
    await forget(tx)
    packed = await _packed(tx, run.id)
    run.words = [list(one) for one in words]
    run.duplicates = options.duplicates
    run.mapping = [[column, name] for column, name in sorted(mapping.items())]
    run.orders = await asyncio.to_thread(orders_of, importer, mapping, unpack(packed))
    run.mode = CREATE if options.mode == CREATE else UPSERT
    run.updates_only = options.mode == UPDATE
    run.records_owner_id = options.owner_id
    run.records_team_id = options.team_id
    run.currency_code = options.currency or run.currency_code
    run.started_by = tx.who.person_id
    run.started_name = tx.who.name
    run.rights = {right: f"{int(r.read)}{int(r.write)}" for right, r in tx.who.rights.items()}
    run.team_id = tx.who.team_id
    run.team_ids = [str(team) for team in sorted(tx.who.team_ids)]
    run.state = RUNNING
    run.started_at = tx.now
    await tx.enqueue(MEASURED if run.time_zone else JOB, {"import_id": str(run.id)}, key=str(run.id))


async def cancel(tx: Transaction, importer: Importer, run: ImportRun) -> None:
    """Stops a run; rows already made stay. Raises ImportEnded."""
    if run.state not in (READY, RUNNING):
        raise ImportEnded(f"The import is {run.state} already.")
    await _end(tx, run, CANCELLED)
    tell(tx, importer, run)


async def _end(tx: Transaction, run: ImportRun, state: str) -> None:
    run.state = state
    run.ended_at = tx.now
    await tx.session.execute(delete(FILES).where(FILES.c.import_id == run.id))


async def _packed(tx: Transaction, id: UUID) -> bytes:
    found = await tx.session.execute(select(FILES.c.packed).where(FILES.c.import_id == id))
    return found.scalar_one()


class Run:
    """An import being carried on, from wherever it stands to its end."""

    def __init__(
        self,
        importer: Importer,
        database: Database,
        who: Principal,
        id: UUID,
        call_for: Callable[[Principal], Any],
        learn: Learn | None = None,
    ) -> None:
        """`who` is anybody of the tenant. Rows are made, and references found, as the person who started the
        import:
        `call_for` makes what resolvers and `learn` get, which is asked before each batch."""
        self._importer = importer
        self._database = database
        self._who = who
        self._id = id
        self._call_for = call_for
        self._learn = learn

    async def carry_on(self) -> None:
        """Takes the remaining rows. Returns when the run has ended, was cancelled, or is carried on by
        somebody else.

        Problems that may pass by themselves (a service that does not answer, somebody else who carries it on) are raised for the
        job to be repeated.
        """
        async with self._database.transaction(self._who) as tx:
            run = await tx.find(ImportRun, self._id)
            if run is None or run.state != RUNNING:
                return
            self._who = starter(run, self._who)
            self._options = Options(
                UPDATE if run.updates_only else run.mode,
                run.records_owner_id,
                run.currency_code,
                run.records_team_id,
                run.duplicates,
            )
            self._importer = fitting(self._importer, run.words)
            self._done = run.processed_rows
            mapping = {int(c): str(f) for c, f in run.mapping}
            reader = RowReader(
                self._importer, mapping, len(run.columns), run.orders, run.currency_code,
                creates=self._options.creates,
            )  # fmt: skip
            packed = await _packed(tx, self._id)
        rows = unpack(packed, self._done)
        call = self._call_for(self._who)
        async with giving_up(self._given_up):
            with suppress(_Ended):
                while batch := await asyncio.to_thread(_take, rows, reader):
                    if self._learn is not None:
                        await self._learn(call)
                    await resolve(self._importer, call, batch)
                    await self._batch(batch)

    async def _given_up(self, error: Exception) -> bool:
        """Counts a failure that lies neither in a row nor in the moment; true when it was one too many."""
        _log.error("import %s, behind row %d: %r", self._id, self._done, error, exc_info=error)
        async with self._database.transaction(self._who) as tx:
            run = await tx.find(ImportRun, self._id)
            if run is None or run.state != RUNNING:
                return True
            done = run.processed_rows
            if not one_too_many(run, done, f"The import stopped behind {done} rows"):
                return False
            await _end(tx, run, FAILED)
            tell(tx, self._importer, run)
            return True

    async def _batch(self, drafts: list[Draft]) -> None:
        """Saves a batch; when it cannot be saved, its halves, so that in the end one row alone is refused."""
        try:
            await self._save(drafts)
        except Failure as error:
            if error.code in _PASSING:
                raise
            if len(drafts) > 1:
                half = len(drafts) // 2
                await self._batch(drafts[:half])
                await self._batch(drafts[half:])
            else:
                drafts[0].problems.append(_reason(error))
                await self._save(drafts)

    async def _save(self, drafts: list[Draft]) -> None:
        fit = [draft for draft in drafts if draft.fit]
        async with self._database.transaction(self._who, origin=ORIGIN) as tx:
            run = await tx.find(ImportRun, self._id)
            if run is None or run.state != RUNNING:
                raise _Ended
            if run.processed_rows != self._done:
                raise Overtaken
            rows: list[ImportRow] = []
            for draft in fit:
                values, seen = gathered(self._importer, draft.values)
                rows.append(ImportRow(draft.row.number, values))
                tx.seen |= seen
            outcomes: Sequence[Outcome] = await self._importer.save(tx, rows, self._options) if rows else ()
            if len(outcomes) != len(rows):
                raise RuntimeError(
                    f"{self._importer.record_type}: {len(outcomes)} outcomes for {len(rows)} rows"
                )
            await note(tx, self._importer, self._id, _rows_by_record(rows, outcomes))
            await self._count(tx, run, drafts, dict(zip(map(id, fit), outcomes, strict=True)))
            if run.processed_rows == run.total_rows:
                await _end(tx, run, SUCCEEDED)
            tell(tx, self._importer, run)
        self._done += len(drafts)

    async def _count(
        self, tx: Transaction, run: ImportRun, drafts: list[Draft], outcomes: dict[int, Outcome]
    ) -> None:
        noted: list[dict[str, Any]] = []
        counted = {"created": 0, "updated": 0, "unchanged": 0, "skipped": 0, "refused": 0}
        repaired = 0
        for draft in drafts:
            outcome = outcomes.get(id(draft))
            problems = [*draft.problems, *(outcome.problems if outcome else ())]
            verdict = outcome.kind if outcome else "refused"
            counted[verdict] += 1
            if problems:
                repaired += verdict != "refused" and any(p.reason != SKIPPED for p in problems)
                noted.append(
                    {
                        "tenant_id": tx.who.tenant_id,
                        "import_id": self._id,
                        "row_number": draft.row.number,
                        "cells": draft.row.cells,
                        "problems": _plain(problems),
                    }
                )
        if noted:
            await tx.session.execute(insert(REFUSED), noted)
        run.created_rows += counted["created"]
        run.updated_rows += counted["updated"]
        run.unchanged_rows += counted["unchanged"] + counted["skipped"]
        run.skipped_rows += counted["skipped"]
        run.refused_rows += counted["refused"]
        run.repaired_rows += repaired
        run.processed_rows += len(drafts)


_PATIENCE = 2.0
"""Seconds that a preview waits for what its cells refer to."""
_PASSING = (
    Code.UNAVAILABLE,
    Code.DEADLINE_EXCEEDED,
    Code.RESOURCE_EXHAUSTED,
    Code.ABORTED,
    Code.INTERNAL,
    Code.UNAUTHENTICATED,
)


def _rows_by_record(rows: Sequence[ImportRow], outcomes: Sequence[Outcome]) -> dict[UUID, int]:
    return {
        outcome.id: row.number
        for row, outcome in zip(rows, outcomes, strict=True)
        if outcome.id is not None and outcome.kind in ("created", "updated")
    }


def _take(rows: Iterator[Row], reader: RowReader) -> list[Draft]:
    batch: list[Draft] = []
    left = BATCH_CHARACTERS
    for row in islice(rows, BATCH):
        batch.append(reader.read(row))
        left -= sum(map(len, row.cells))
        if left < 0:
            break
    return batch


def _reason(error: Failure) -> Problem:
    """What a use case said of a row, as a problem of its cell where it names a field."""
    if not error.violations:
        return Problem("", error.reason, error.message)
    first = error.violations[0]
    field = cell_of(first.field)
    return Problem("" if field == "request" else field, error.reason, first.description)


def starter(run: ImportRun, who: Principal) -> Principal:
    """The person who started the run, with the rights they had then."""
    return Principal(
        tenant_id=who.tenant_id,
        tenant=who.tenant,
        person_id=run.started_by or run.created_by,
        name=run.started_name,
        team_id=run.team_id,
        team_ids=frozenset(UUID(team) for team in run.team_ids),
        rights={right: Rights(Reach(int(r[0])), Reach(int(r[1]))) for right, r in run.rights.items()},
    )


def refused_rows_sql() -> str:
    """Reads some refused and repaired rows of one import, $1, behind row $2, in the order of the file: no more than 1,000, and
    but for the first of them none beyond $3 bytes."""
    return (
        "SELECT row_number, cells, problems FROM (SELECT row_number, cells, problems,"
        " sum(octet_length(cells::text)) OVER (ORDER BY row_number) - octet_length(cells::text) AS before FROM"
        " (SELECT row_number, cells, problems FROM import_refused_rows WHERE import_id = $1 AND row_number > $2"
        " ORDER BY row_number LIMIT 1000) AS next) AS sized WHERE before < $3 ORDER BY row_number"
    )


def noted_row(record: Any) -> tuple[int, list[str], list[Problem]]:
    """A row of `refused_rows_sql` as `chassis.imports.refused.refused_csv` takes it."""
    cells, problems = (
        orjson.loads(record[name]) if isinstance(record[name], str) else record[name]
        for name in ("cells", "problems")
    )
    return record["row_number"], cells, [Problem(**problem) for problem in problems]
