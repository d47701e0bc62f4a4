"""The gRPC face of imports: messages of kehu.imports.v1 in and out. Any service mounts it in one line.

from chassis.imports.rpc import Imports, import_face

IMPORTS = Imports(LEADS, CONTACTS)                          # the importers of this service
Service(faces=[..., import_face("kehu.leads.v1.ImportService", IMPORTS)], jobs={**IMPORTS.jobs}, ...)
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any
from uuid import UUID, uuid5

from google.api.httpbody_pb2 import HttpBody
from google.protobuf.timestamp_pb2 import Timestamp
from kehu.imports.v1 import imports_pb2 as pb

from chassis.custom_fields.definitions import definitions, definitions_now
from chassis.database import Database, Transaction
from chassis.errors import IdempotencyKeyReused, NotFound
from chassis.events.event import enum_prefix
from chassis.fields import Field, Kind
from chassis.home import DEFAULT_COUNTRY, Measures, measures_of
from chassis.ids import new_id, parse_id
from chassis.imports.custom import with_custom_fields
from chassis.imports.importer import Importer, Options, at_home_in, with_currencies
from chassis.imports.listed import with_value_lists
from chassis.imports.mapping import Target, checked
from chassis.imports.reading import unpack
from chassis.imports.refused import cut_behind, kept_csv, more_kept, more_refused, refused_csv
from chassis.imports.remembered import recalled
from chassis.imports.runs import (
    EXPIRY,
    JOB,
    MEASURED,
    ImportNotReady,
    Learn,
    Run,
    cancel,
    expire,
    fitting,
    keep,
    may_see,
    noted_row,
    own_run,
    prepared,
    previewed,
    read_file,
    refused_rows_sql,
    start,
)
from chassis.imports.tables import CREATE, READY, UNDOING, UNDONE, ImportRun
from chassis.imports.undoing import JOB as UNDO
from chassis.imports.undoing import ImportNotUndone, Undoing, expiry, kept_records_sql, tell, undo
from chassis.imports.words import choice_of, unknown, with_words
from chassis.listing import Listing
from chassis.owners import Owner, owner_for
from chassis.principal import Act, Principal, Reach
from chassis.record_types import for_type
from chassis.records import etag
from chassis.rpc.call import Call
from chassis.rpc.face import Face, need
from chassis.value_lists.kinds import OneList

_STATES = ("READY", "RUNNING", "SUCCEEDED", "CANCELLED", "FAILED")
_MOST_ANSWER = 24 * 1024 * 1024
_SOME_ROWS = 4 * 1024 * 1024
_CSV = "text/csv; charset=utf-8"
_REQUESTS = UUID("6f1cf3a0-3f5e-4d4b-9f0e-6b1d7f4f2a51")
_BRIEF = [
    "id",
    "version",
    "created_at",
    "created_by",
    "updated_at",
    "updated_by",
    "kind",
    "filename",
    "file_size",
    "state",
    "encoding",
    "delimiter",
    "sheet",
    "mode",
    "total_rows",
    "processed_rows",
    "created_rows",
    "updated_rows",
    "unchanged_rows",
    "refused_rows",
    "repaired_rows",
    "started_at",
    "ended_at",
    "failure_reason",
    "failure_message",
    "undo_state",
    "updates_only",
    "duplicates",
    "skipped_rows",
    "undone_records",
    "kept_records",
]

_RUNS = Listing(
    ImportRun,
    right=None,
    fields={
        "createTime": Field("created_at", Kind.TIMESTAMP, sortable=True),
        "creatorId": Field("created_by", Kind.UUID),
        "recordType": Field("kind", Kind.TEXT),
        "state": Field("state", Kind.ENUM, values=_STATES, prefix="IMPORT_STATE_"),
        "undoState": Field("undo_state", Kind.ENUM, values=(UNDOING, UNDONE), prefix="IMPORT_STATE_"),
    },
    columns=_BRIEF,
)
_WHOLE = Listing(
    ImportRun, right=None, fields={"createTime": Field("created_at", Kind.TIMESTAMP, sortable=True)}
)


Lines = Sequence[tuple[int, bytes]]
"""Lines of a file, each with the number of its row."""


class Imports:
    """The importers of one service, by record type, each under a right of its own. `learn` sees to it that the lists of another
    service are known, where that service answers."""

    def __init__(self, *importers: Importer, learn: Learn | None = None) -> None:
        if not importers:
            raise ValueError("a service that imports has an importer")
        self._learn = learn
        self._importers: Mapping[str, Importer] = {importer.record_type: importer for importer in importers}

    @property
    def jobs(self) -> dict[str, Any]:
        """The background jobs that carry imports on and drop what nobody starts, for the service's composition."""
        return {JOB: self._carry_on, MEASURED: self._carry_on, UNDO: self._undo_on, EXPIRY: self._expire}

    def importer(self, record_type: str) -> Importer:
        """The importer of that type. Raises Invalid (RECORD_TYPE_UNKNOWN)."""
        return for_type(self._importers, record_type, "recordType", "cannot be imported")

    async def _carry_on(self, payload: Mapping[str, Any], call: Call) -> None:
        id = UUID(payload["import_id"])
        rows = await call.database.read(
            call.who, "SELECT kind, time_zone, currency_code FROM import_runs WHERE id = $1", id
        )
        if rows:
            importer = await self._whole_importer(call, rows[0]["kind"], _measures(rows[0]))
            run = Run(importer, call.database, call.who, id, lambda who: replace(call, who=who), self._learn)
            await run.carry_on()

    async def _expire(self, payload: Mapping[str, Any], call: Call) -> None:
        async with call.database.transaction(call.who, origin="job") as tx:
            await expire(tx, UUID(payload["import_id"]))

    async def _undo_on(self, payload: Mapping[str, Any], call: Call) -> None:
        id = UUID(payload["import_id"])
        rows = await call.database.read(call.who, "SELECT kind FROM import_runs WHERE id = $1", id)
        if rows:
            importer = await self._whole_importer(call, rows[0]["kind"], Measures())
            await Undoing(importer, call.database, call.who, id, call).carry_on()

    async def create(self, request: pb.CreateImportRequest, call: Call) -> pb.Import:
        """Reads the file and keeps it with a proposal. A repeated request_id answers with the import it
        made."""
        who = call.who
        need(who, self.importer(request.record_type).right, Act.WRITE)
        measures = await measures_of(call)
        importer = await self._whole_importer(call, request.record_type, measures)
        id = (
            uuid5(_REQUESTS, f"{who.tenant_id} {who.person_id} {request.request_id}")
            if request.request_id
            else new_id()
        )
        fields = {target.field for target in importer.targets}
        content = request.content  # each look at it is a copy
        sheet = await read_file(
            request.filename, content, request.encoding, request.delimiter, request.sheet, fields
        )
        async with call.database.transaction(who) as tx:
            before = await recalled(tx, importer, sheet.header)
        run = await prepared(importer, call, request.filename, content, sheet, before)
        run.id = id
        run.time_zone, run.currency_code = measures.time_zone, measures.currency
        async with call.database.transaction(who) as tx:
            known = await tx.session.get(ImportRun, (who.tenant_id, id)) if request.request_id else None
            if known is None:
                await keep(tx, run, sheet.packed)
            elif any(
                getattr(known, name) != getattr(run, name)
                for name in ("file_hash", "kind", "filename", *_said(request))
            ):
                raise IdempotencyKeyReused
        return await self._answer(call, id)

    async def owner(self, request: pb.StartImportRequest, call: Call) -> Owner:
        """Who shall own what names no owner. Raises Denied (RIGHT_MISSING, OWNER_OUT_OF_REACH), Invalid (OWNER_NOT_FOUND)."""
        run = await self._seen(call, parse_id(request.id, "id"))
        right = self._importers[run["kind"]].right
        need(call.who, right, Act.WRITE)
        if self._learn is not None:
            await self._learn(call)
        return await owner_for(call, request.owner_id, right, "ownerId")

    async def start(self, request: pb.StartImportRequest, tx: Transaction, owner: Owner) -> pb.Import:
        """Confirms the mapping; the job takes over when the transaction has committed."""
        run = await self._locked(tx, request.id, request.etag)
        mode = _name(pb.ImportMode, request.mode) or CREATE
        options = Options(
            mode,
            owner.person_id,
            request.currency_code,
            owner.team_id,
            _name(pb.DuplicatePolicy, request.duplicates),
        )
        importer = await self._importer_in(tx, run.kind, _measures(run))
        await start(tx, importer, run, _pairs(request), options, _words(request))
        return await self._changed(tx, run, importer)

    async def cancel(self, request: pb.CancelImportRequest, tx: Transaction) -> pb.Import:
        """Stops an import; the batch in work, if any, is the last or is undone."""
        run = await self._locked(tx, request.id, request.etag)
        await cancel(tx, self._importers[run.kind], run)
        return await self._changed(tx, run)

    async def preview(self, request: pb.PreviewImportRequest, call: Call) -> pb.PreviewImportResponse:
        """What the first rows would become. Raises ImportNotReady, and Invalid for a wrong mapping."""
        id = parse_id(request.id, "id")
        run = await self._seen(call, id)
        if run["state"] != READY:
            raise ImportNotReady(f"The import is {run['state']}: only one that is READY has a preview.")
        columns = len(_plain_json(run["columns"]))
        importer = await self._whole_importer(call, run["kind"], _measures(run))
        pairs = _pairs(request) or [(int(c), str(f)) for c, f in _plain_json(run["proposed"])]
        mapping = checked(pairs, columns, [replace(target, required=False) for target in importer.targets])
        words = _words(request) or _plain_json(run["proposed_words"])
        taught = with_words(importer, words) if request.values else fitting(importer, words)
        found = await call.database.read(call.who, "SELECT packed FROM import_files WHERE import_id = $1", id)
        if not found:
            raise ImportNotReady("The import was started, or cancelled, just now.")
        packed: bytes = found[0]["packed"]

        strange = await asyncio.to_thread(lambda: unknown(taught, mapping, unpack(packed)))
        shown = await previewed(taught, call, mapping, columns, packed, request.currency_code)
        answer = pb.PreviewImportResponse()
        _put_preview(answer.preview, shown)
        _put_unknown(answer.unknown_values, strange)
        return answer

    async def undo(self, request: pb.UndoImportRequest, tx: Transaction) -> pb.Import:
        """Takes back what an import did; the job takes over when the transaction has committed."""
        run = await self._locked(tx, request.id, request.etag)
        importer = self._importers[run.kind]
        need(tx.who, importer.right, Act.WRITE)
        await undo(tx, importer, run)
        tell(tx, importer, run)
        return await self._changed(tx, run)

    async def kept(self, request: pb.GetKeptRecordsRequest, call: Call) -> HttpBody:
        """The records that an undoing has left, as a CSV file."""
        id = parse_id(request.id, "id")
        run = await self._seen(call, id)
        if not run["undo_state"]:
            raise ImportNotUndone(f"The import is {run['state']}: nothing of it was undone.")
        return await _as_far_as_fits(
            b"".join(kept_csv(())), request.after_row, partial(self._kept_behind, call, id)
        )

    @staticmethod
    async def _kept_behind(call: Call, id: UUID, row: int) -> Lines:
        rows = await call.database.read(call.who, kept_records_sql(), id, row)
        told = ((one["row_number"], one["record_id"], one["reason"], one["message"]) for one in rows)
        return [(one[0], b"".join(more_kept([one]))) for one in told]

    async def get(self, request: pb.GetImportRequest, call: Call) -> pb.Import:
        """One import with everything about it."""
        return await self._answer(call, parse_id(request.id, "id"))

    async def list(self, request: pb.ListImportsRequest, call: Call) -> pb.ListImportsResponse:
        """Imports of the caller; of everybody for those who may write all records."""
        everyone = all(call.who.reach(i.right, Act.WRITE) is Reach.ALL for i in self._importers.values())
        page = await _RUNS.page(call, request, None if everyone else {"creatorId": call.who.person_id})
        return pb.ListImportsResponse(
            imports=[_brief(row) for row in page.rows], next_page_token=page.next_page_token
        )

    async def refused(self, request: pb.GetRefusedRowsRequest, call: Call) -> HttpBody:
        """The refused and repaired rows as a CSV file; some at a time are read, and no more than an answer holds."""
        id = parse_id(request.id, "id")
        run = await self._seen(call, id)
        header = [column["name"] for column in _plain_json(run["columns"])]
        head = b"".join(refused_csv(header, ()))
        return await _as_far_as_fits(head, request.after_row, partial(self._refused_behind, call, id))

    @staticmethod
    async def _refused_behind(call: Call, id: UUID, row: int) -> Lines:
        rows = await call.database.read(call.who, refused_rows_sql(), id, row, _SOME_ROWS)
        return [(one[0], b"".join(more_refused([one]))) for one in map(noted_row, rows)]

    async def _seen(self, call: Call, id: UUID) -> Any:
        run = await _WHOLE.get(call, id)
        if not may_see(call.who, run["created_by"], self._importers[run["kind"]].right):
            raise NotFound("import", id)
        return run

    async def _answer(self, call: Call, id: UUID) -> pb.Import:
        run = await self._seen(call, id)
        return self._whole(run, await self._whole_importer(call, run["kind"], _measures(run)))

    async def _whole_importer(self, call: Call, kind: str, measures: Measures) -> Importer:
        """The importer with the tenant's own country, values and fields, which reads times and amounts by these measures."""
        importer = self._importers[kind]
        if self._learn is not None:
            await self._learn(call)
        lists = _lists_of_others(importer, call.database, call.who)
        if importer.value_lists is not None:
            lists |= (await importer.value_lists.now(call.database, call.who)).by_key
        importer = with_value_lists(importer, lists)
        if importer.custom_fields is not None:
            known = await definitions_now(call.database, call.who, kind)
            importer = with_custom_fields(importer, known)
        return await self._at_home(call.database, call.who, importer, measures)

    async def _importer_in(self, tx: Transaction, kind: str, measures: Measures) -> Importer:
        importer = self._importers[kind]
        lists = _lists_of_others(importer, tx.database, tx.who)
        if importer.value_lists is not None:
            lists |= (await importer.value_lists.within(tx)).by_key
        importer = with_value_lists(importer, lists)
        if importer.custom_fields is not None:
            importer = with_custom_fields(importer, await definitions(tx, kind))
        return await self._at_home(tx.database, tx.who, importer, measures)

    async def _at_home(
        self, database: Database, who: Principal, importer: Importer, measures: Measures
    ) -> Importer:
        country = DEFAULT_COUNTRY if importer.country is None else await importer.country(database, who)
        return with_currencies(at_home_in(importer, country, measures))

    async def _locked(self, tx: Transaction, id: str, expected: str) -> ImportRun:
        rights = {kind: importer.right for kind, importer in self._importers.items()}
        run = await own_run(tx, parse_id(id, "id"), rights)
        tx.check_etag(run, expected)
        return run

    async def _changed(self, tx: Transaction, run: ImportRun, importer: Importer | None = None) -> pb.Import:
        await tx.session.flush()
        whole = importer or await self._importer_in(tx, run.kind, _measures(run))
        return self._whole(run.model_dump(), whole)

    def _whole(self, row: Any, importer: Importer) -> pb.Import:
        message = _brief(row)
        message.sheets.extend(_plain_json(row["sheets"]))
        for index, column in enumerate(_plain_json(row["columns"])):
            message.columns.add(index=index, name=column["name"], samples=column["samples"])
        for target in importer.targets:
            message.fields.add(
                field=target.field, label=target.label, required=target.required, description=target.help,
                aliases=target.aliases, values=_values(target),
            )  # fmt: skip
        for column, name in _plain_json(row["proposed"]):
            message.proposed_mapping.add(column=column, field=name)
        for column, name in _plain_json(row["mapping"]):
            message.mapping.add(column=column, field=name)
        _put_preview(message.preview, _plain_json(row["preview"]))
        message.mapping_remembered = row["remembered"]
        for field, text, value in _plain_json(row["proposed_words"]):
            message.proposed_values.add(field=field, text=text, value=value)
        for field, text, value in _plain_json(row["words"]):
            message.values.add(field=field, text=text, value=value)
        _put_unknown(message.unknown_values, _plain_json(row["unknown"]))
        until = expiry(importer, row["state"], row["undo_state"], row["ended_at"])
        if until is not None:
            message.undo_expire_time.FromDatetime(until)
        return message


async def _as_far_as_fits(head: bytes, after: int, behind: Callable[[int], Awaitable[Lines]]) -> HttpBody:
    """A CSV file of what stands behind a row; some lines at a time are asked for, and no more than an answer holds."""
    body = bytearray(head)
    last = after
    while lines := await behind(last):
        for number, line in lines:
            # One that is too long for any answer goes out alone.
            if len(body) + len(line) > _MOST_ANSWER and last != after:
                body += cut_behind(last)
                return HttpBody(content_type=_CSV, data=bytes(body))
            body += line
            last = number
    return HttpBody(content_type=_CSV, data=bytes(body))


def _said(request: pb.CreateImportRequest) -> Sequence[str]:
    """What the person says of how the file is to be read: what is found out may differ from one version to the next."""
    return [name for name in ("encoding", "delimiter", "sheet") if getattr(request, name)]


def _measures(run: Any) -> Measures:
    """By what a run's times and amounts are read; `run` is a row object or a row of the read path."""
    read: Any = run.__getitem__ if hasattr(run, "keys") else run.__getattribute__
    first = Measures()
    return Measures(read("time_zone") or first.time_zone, read("currency_code") or first.currency)


def _lists_of_others(importer: Importer, database: Database, who: Principal) -> dict[str, OneList]:
    return dict(importer.known_lists(database, who.tenant_id) or {}) if importer.known_lists else {}


def _brief(row: Any) -> pb.Import:
    return pb.Import(
        id=str(row["id"]),
        etag=etag(row["version"]),
        create_time=_time(row["created_at"]),
        update_time=_time(row["updated_at"]),
        creator_id=str(row["created_by"]),
        updater_id=str(row["updated_by"]),
        record_type=row["kind"],
        filename=row["filename"],
        file_size=row["file_size"],
        state=pb.ImportState.Value("IMPORT_STATE_" + (row["undo_state"] or row["state"])),
        encoding=row["encoding"],
        delimiter=row["delimiter"],
        sheet=row["sheet"],
        mode=pb.ImportMode.Value(
            "IMPORT_MODE_" + ("UPDATE" if row["updates_only"] else row["mode"] or "UNSPECIFIED")
        ),
        total_rows=row["total_rows"],
        processed_rows=row["processed_rows"],
        created_rows=row["created_rows"],
        updated_rows=row["updated_rows"],
        unchanged_rows=row["unchanged_rows"],
        refused_rows=row["refused_rows"],
        repaired_rows=row["repaired_rows"],
        start_time=_time(row["started_at"]),
        end_time=_time(row["ended_at"]),
        failure_reason=row["failure_reason"],
        failure_message=row["failure_message"],
        duplicates=pb.DuplicatePolicy.Value("DUPLICATE_POLICY_" + (row["duplicates"] or "UNSPECIFIED")),
        skipped_rows=row["skipped_rows"],
        undone_records=row["undone_records"],
        kept_records=row["kept_records"],
    )


def _pairs(request: pb.StartImportRequest | pb.PreviewImportRequest) -> list[tuple[int, str]]:
    return [(m.column, m.field) for m in request.mapping]


def _words(request: pb.StartImportRequest | pb.PreviewImportRequest) -> list[list[str]]:
    return [[word.field, word.text, word.value] for word in request.values]


def _name(enum: Any, number: int) -> str:
    """The value's name without its prefix; empty for the one that says nothing."""
    return "" if number == 0 else enum.Name(number).removeprefix(enum_prefix(enum.keys()))


def _values(target: Target) -> list[pb.FieldValue]:
    choice = choice_of(target)
    if choice is None:
        return []
    return [pb.FieldValue(value=str(value), texts=texts) for value, texts in choice.choices.items()]


def _put_preview(out: Any, rows: list[dict[str, Any]]) -> None:
    for shown in rows:
        out.add(
            row_number=shown["number"],
            cells=shown["cells"],
            problems=[pb.RowProblem(**problem) for problem in shown["problems"]],
        )


def _put_unknown(out: Any, found: list[list[Any]]) -> None:
    for field, text, count in found:
        out.add(field=field, text=text, row_count=count)


def _time(at: Any) -> Timestamp | None:
    if at is None:
        return None
    stamp = Timestamp()
    stamp.FromDatetime(at)
    return stamp


def _plain_json(value: Any) -> Any:
    import orjson

    return orjson.loads(value) if isinstance(value, str | bytes) else value


def import_face(service: str, imports: Imports) -> Face:
    """The face of that ImportService (`kehu.leads.v1.ImportService`)."""
    face = Face(service)
    face.process("CreateImport")(imports.create)
    face.write("StartImport", prepare=imports.owner)(imports.start)
    face.read("GetImport")(imports.get)
    face.read("ListImports")(imports.list)
    face.write("CancelImport")(imports.cancel)
    face.read("GetRefusedRows")(imports.refused)
    face.read("PreviewImport")(imports.preview)
    face.write("UndoImport")(imports.undo)
    face.read("GetKeptRecords")(imports.kept)
    return face
