"""The gRPC face of exports: lists as files, in parts, and the log of them."""

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from google.protobuf.message import Message
from kehu.exports.v1 import exports_pb2 as pb
from kehu.identity.v1 import person_service_pb2, session_pb2, session_service_pb2

from chassis.custom_fields.definitions import definitions_now
from chassis.database import Database
from chassis.errors import Denied, Invalid, Problem, Unavailable
from chassis.exports.columns import PEOPLE, Column, Listed, Names, Style, own_columns
from chassis.exports.files import CSV, VCARD, XLSX, CsvWriter, VcardWriter, Writer, XlsxWriter
from chassis.exports.log import LEASE, SUCCEEDED, Export, begin, told
from chassis.fields import Field, Kind
from chassis.ids import new_id, parse_id
from chassis.imports.importer import Importer
from chassis.listing import OWNER_FIELDS, RECORD_FIELDS, Listing
from chassis.mapping import to_timestamp
from chassis.owners import LOOK_UP
from chassis.principal import Act, Reach, Rights
from chassis.record_types import for_type
from chassis.rpc.call import Call
from chassis.rpc.face import Face, need
from chassis.value_lists.value_list import ValueLists
from chassis.visibility import Shares, visible_text

RIGHT = "exports"
_ODD = re.compile(r"[^\w -]")
_ME = "kehu.identity.v1.SessionService/GetMe"
_STATES = ("RUNNING", "SUCCEEDED", "BROKEN_OFF")
_PEOPLE_AT_ONCE = 100
_MOST_PIECE = 512 * 1024
"""Bytes of a part: long notes in a few hundred records are more than a message may hold."""

_LOG = Listing(
    Export,
    RIGHT,
    {
        "createTime": RECORD_FIELDS["createTime"],
        **OWNER_FIELDS,
        "recordType": Field("kind", Kind.TEXT),
        "state": Field("state", Kind.ENUM, values=_STATES, prefix="EXPORT_STATE_"),
        "format": Field("format", Kind.ENUM, values=("CSV", "XLSX", "ZIP", "VCARD"), prefix="EXPORT_FORMAT_"),
        "parentId": Field("parent_id", Kind.UUID, nullable=True),
    },
)
Rows = Callable[[Call, pb.CreateExportRequest], AsyncGenerator[list[Any]]]
"""`async (call, request) -> rows`, a few hundred at a time, each few in a read of their own."""


@dataclass(frozen=True)
class Exporter:
    """A list that can go out as a file. `names` find the names of what references of a kind refer to; those of people are
    found by themselves. Raises ValueError when a column stands twice or is none, or its names or its list cannot be found, or
    nothing says what its records are called and under which right they go out."""

    listing: Listing | None
    """What can be filtered and searched, and who sees what; None for rows that no listing has."""
    title_en: str
    title_zh: str
    columns: tuple[Column, ...]
    names: Mapping[str, Names] = field(default_factory=dict[str, Names])
    importer: Importer | None = None
    value_lists: ValueLists | None = None
    kind: str = ""
    """What the records are called in requests, where that is not the listing's."""
    right: str = ""
    """The right to read them, where the listing has none; the parent's."""
    rows: Rows | None = None
    """How they are read, where that is not the listing alone."""
    of: str = ""
    """The kind of record to which the list belongs: `rows` looks for it under the request's `parent_id`."""
    nobodys: bool = False
    """Whether the records have no owner though others have: whoever exports everybody's takes them."""
    card: Column | None = None
    """A record as a card for address books."""

    def __post_init__(self) -> None:
        fields = [column.field for column in self.columns]
        if len(set(fields)) != len(fields):
            raise ValueError(f"{self.record_type}: a column stands twice")
        lost = {column.refers_to for column in self.columns} - {"", PEOPLE, *self.names}
        if lost:
            raise ValueError(f"{self.record_type}: nothing finds the names of {', '.join(sorted(lost))}")
        known = self.value_lists.by_key if self.value_lists else {}
        unlisted = {column.list_key for column in self.columns if isinstance(column, Listed)} - known.keys()
        if unlisted:
            raise ValueError(f"{self.record_type}: there is no list {', '.join(sorted(unlisted))}")
        if self.listing is not None and self.rows is None:
            unread = {column.column for column in self.columns} - {*self.listing.columns}
            if unread:
                raise ValueError(f"{self.record_type}: the list has no {', '.join(sorted(unread))}")
        if not (self.record_type and self.needs and (self.listing or self.rows)):
            raise ValueError(f"{self.title_en}: kind, right or rows are missing")

    @property
    def record_type(self) -> str:
        """The record's name, as lead."""
        return self.kind or (self.listing.record_type if self.listing else "")

    @property
    def needs(self) -> str:
        """The right to read the records."""
        return self.right or (self.listing.right if self.listing else None) or ""

    @property
    def formats(self) -> list[pb.ExportFormat.ValueType]:
        """The kinds of files there are of it."""
        return [pb.EXPORT_FORMAT_CSV, pb.EXPORT_FORMAT_XLSX, *([pb.EXPORT_FORMAT_VCARD] if self.card else [])]

    def listed(self, call: Call, request: pb.CreateExportRequest) -> AsyncGenerator[list[Any]]:
        """The rows that are asked for. Raises what the list itself raises, before the first of them."""
        if self.rows is not None:
            return self.rows(call, request)
        assert self.listing is not None
        return self.listing.all(call, request, only=chosen(request))

    @property
    def importable(self) -> frozenset[str]:
        """The fields that an import of the same records knows, custom fields left out."""
        return frozenset(target.field for target in self.importer.targets) if self.importer else frozenset()


def seen_names(table: str, name: str = "name", shares: Shares | None = None) -> Names:
    """The names of records of that table, as far as the caller may see them by the right of the same name."""

    async def find(call: Call, ids: Sequence[UUID]) -> Mapping[UUID, str]:
        rule, reach = visible_text(call.who, table, Act.READ, "owner_id", "team_id", first=2, shares=shares)
        # Composed of names of the service's own and of the rule, which has places for its values.
        sql = f"SELECT t.id, t.{name} AS name FROM {table} t WHERE t.deleted_at IS NULL AND t.id = ANY($1::uuid[]) AND {rule}"  # noqa: S608 (the same)
        rows = await call.database.read(call.who, sql, list(ids), *reach)
        return {row["id"]: row["name"] for row in rows}

    return find


def under(parents: Listing, listing: Listing, field: str) -> Rows:
    """How what belongs to one record is read: by `field` of its list, and by whoever finds the record in its own."""

    async def rows(call: Call, request: pb.CreateExportRequest) -> AsyncGenerator[list[Any]]:
        parent = await parents.get(call, request.parent_id, "parentId")
        async for some in listing.all(call, request, {field: parent["id"]}, only=chosen(request)):
            yield some

    return rows


def chosen(request: pb.CreateExportRequest) -> list[UUID]:
    """The records that the request names. Raises Invalid."""
    return [parse_id(id, f"ids[{place}]") for place, id in enumerate(request.ids)]


def only_whole(request: pb.CreateExportRequest) -> None:
    """For lists that have but one order. Raises Invalid when less than all of it is asked for, or another order."""
    for name, spelt, reason in (
        ("filter", "filter", "FILTER_INVALID"), ("query", "query", None), ("order_by", "orderBy", "ORDER_BY_INVALID"),
        ("ids", "ids", None),
    ):  # fmt: skip
        if getattr(request, name):
            raise Invalid(spelt, "this list goes out whole, in the order it has", reason=reason)


class Exports:
    """The exporters of one service, by record type."""

    def __init__(self, *exporters: Exporter) -> None:
        if not exporters:
            raise ValueError("a service that exports has an exporter")
        self._exporters: Mapping[str, Exporter] = {one.record_type: one for one in exporters}
        if len(self._exporters) != len(exporters):
            raise ValueError("two exporters are of one record type")

    @property
    def record_types(self) -> Sequence[str]:
        """What goes out."""
        return list(self._exporters)

    def exporter(self, record_type: str) -> Exporter:
        """The exporter of that type. Raises Invalid (RECORD_TYPE_UNKNOWN)."""
        return for_type(self._exporters, record_type, "recordType", "cannot be exported")

    async def columns(self, request: pb.ListExportColumnsRequest, call: Call) -> pb.ListExportColumnsResponse:
        """What a file can have."""
        exporter = self.exporter(request.record_type)
        answer = pb.ListExportColumnsResponse(formats=exporter.formats, parent_type=exporter.of)
        for column in await _columns(exporter, call):
            answer.columns.add(
                field=column.field,
                label_en=column.en,
                label_zh=column.zh,
                importable=_taken_back(exporter, column),
            )
        return answer

    async def log(self, request: pb.ListExportsRequest, call: Call) -> pb.ListExportsResponse:
        """Who exported what."""
        page = await _LOG.page(call, request)
        return pb.ListExportsResponse(
            exports=[_entry(row) for row in page.rows], next_page_token=page.next_page_token
        )

    async def create(self, request: pb.CreateExportRequest, call: Call) -> AsyncGenerator[Message]:
        """The file, part by part. Whatever becomes of it stands in the log."""
        exporter = self.exporter(request.record_type)
        _check(exporter, request)
        need(call.who, exporter.needs, Act.READ)
        call = _narrowed(call, exporter)
        style = await _style(request, call)
        if exporter.value_lists is not None:
            style.lists = await exporter.value_lists.now(call.database, call.who)
        columns = (
            [exporter.card]
            if exporter.card is not None and request.format == pb.EXPORT_FORMAT_VCARD
            else _chosen(exporter, await _columns(exporter, call), request.columns, style)
        )
        listed = exporter.listed(call, request)
        nothing: list[Any] = []
        # What is wrong with filter, query or order is said before the file begins.
        first = await anext(listed, nothing)
        export = Export(
            id=new_id(), owner_id=call.who.person_id, team_id=call.who.team_id, owner_name=call.who.name,
            kind=exporter.record_type, filename=_filename(exporter, request.format, style), filter=request.filter,
            query=request.query, order_by=request.order_by,
            columns=[column.field for column in columns if column is not exporter.card],
            parent_id=parse_id(request.parent_id, "parentId") if request.parent_id else None, ids=chosen(request),
            format=pb.ExportFormat.Name(request.format).removeprefix("EXPORT_FORMAT_"), leased_until=datetime.now(),
        )  # fmt: skip
        async with call.database.transaction(call.who, origin="export") as tx:
            await begin(tx, export)
        sending = _Sending(exporter, call, style, columns, export.id)
        async with sending:
            writer, content_type = _writer(exporter, request.format, style)
            head = writer.rows([[head for column in columns for head in column.heads(style)]])
            yield pb.ExportPart(
                filename=export.filename, content_type=content_type, content=sending.sent(head)
            )
            for piece in _pieces(await sending.content(writer, first)):
                yield pb.ExportPart(content=sending.sent(piece))
            async for rows in listed:
                for piece in _pieces(await sending.content(writer, rows)):
                    yield pb.ExportPart(content=sending.sent(piece))
            yield pb.ExportPart(content=sending.sent(writer.end()))
            sending.whole = True


class _Sending:
    """An export in work: makes its parts, keeps its entry in the log alive, and notes its end, whichever it is."""

    def __init__(
        self, exporter: Exporter, call: Call, style: Style, columns: Sequence[Column], id: UUID
    ) -> None:
        self._exporter, self._call, self._style, self._columns, self._id = exporter, call, style, columns, id
        self._rows = self._bytes = 0
        self.whole = False

    async def __aenter__(self) -> None:
        self._living = asyncio.create_task(self._live())

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: object
    ) -> None:
        self._living.cancel()
        if self.whole:
            reason = SUCCEEDED
        elif isinstance(error, Problem):
            reason = error.reason
        elif isinstance(error, GeneratorExit | asyncio.CancelledError):
            reason = "CLIENT_GONE"
        else:
            reason = "INTERNAL"
        # The caller may be gone, and with it the task: the entry is written all the same.
        noting = asyncio.ensure_future(self._note(self._call.database, reason))
        if self.whole:
            # The file is not whole before the log says so.
            await noting
        else:
            with suppress(asyncio.CancelledError, Problem):
                await asyncio.shield(noting)

    async def _note(self, database: Database, reason: str) -> None:
        await told(database, self._call.who, self._id, self._rows, self._bytes, reason)

    async def _live(self) -> None:
        while True:
            await asyncio.sleep(LEASE.total_seconds() / 3)
            with suppress(Problem):
                await self._note(self._call.database, "")

    def sent(self, content: bytes) -> bytes:
        """The same bytes, counted."""
        self._bytes += len(content)
        return content

    async def content(self, writer: Writer, rows: Sequence[Any]) -> bytes:
        """The next bytes, with these rows. Made off the loop, on which others are served meanwhile."""
        await self._find_names(rows)
        content = await asyncio.to_thread(self._written, writer, rows)
        self._rows += len(rows)
        return content

    def _written(self, writer: Writer, rows: Sequence[Any]) -> bytes:
        style, columns = self._style, self._columns
        return writer.rows([cell for column in columns for cell in column.cells(row, style)] for row in rows)

    async def _find_names(self, rows: Sequence[Any]) -> None:
        wanted: dict[str, set[UUID]] = {}
        for column in self._columns:
            for row in rows:
                for kind, id in column.wanted(row):
                    wanted.setdefault(kind, set()).add(id)
        for kind, ids in wanted.items():
            known = self._style.names.get(kind, {})
            lacking = sorted(ids - known.keys())
            if lacking:
                find = self._people if kind == PEOPLE else self._exporter.names[kind]
                # Of what these rows do not name nothing is kept: there is no end to it.
                kept = {id: known[id] for id in ids & known.keys()}
                self._style.names[kind] = {**kept, **await find(self._call, lacking)}

    async def _people(self, call: Call, ids: Sequence[UUID]) -> Mapping[UUID, str]:
        """For people their names; in files for imports their e-mail addresses, of which there are no two alike."""
        found: dict[UUID, str] = {}
        for start in range(0, len(ids), _PEOPLE_AT_ONCE):
            asked = person_service_pb2.LookUpPeopleRequest(
                ids=[str(id) for id in ids[start : start + _PEOPLE_AT_ONCE]]
            )
            # As this service: a slow reader's export outlives the caller's own token.
            answer = await call.as_service().ask(LOOK_UP, asked, person_service_pb2.LookUpPeopleResponse)
            for person in answer.people:
                found[UUID(person.id)] = person.email if self._style.fields else person.display_name
        return found


def _pieces(content: bytes) -> Iterator[bytes]:
    for start in range(0, len(content), _MOST_PIECE):
        yield content[start : start + _MOST_PIECE]


def _check(exporter: Exporter, request: pb.CreateExportRequest) -> None:
    """Raises Invalid for a format that there is not of this list, for a parent too many or too few, and for columns of cards."""
    if request.format == pb.EXPORT_FORMAT_ZIP:
        raise Invalid("format", "is for the data of one person: a list goes out as CSV or XLSX")
    if request.format not in exporter.formats:
        raise Invalid(
            "format",
            f"there are no cards of this list of {exporter.record_type}",
            reason="FORMAT_UNSUPPORTED",
        )
    if request.format == pb.EXPORT_FORMAT_VCARD and request.columns:
        raise Invalid("columns", "a card has what a card can hold: name none", reason="COLUMNS_INVALID")
    if exporter.of and not request.parent_id:
        text = f"is required: this list belongs to one record of type {exporter.of}"
        raise Invalid("parentId", text, reason="PARENT_INVALID")
    if request.parent_id and not exporter.of:
        raise Invalid("parentId", "this list belongs to no other record", reason="PARENT_INVALID")


def _narrowed(call: Call, exporter: Exporter) -> Call:
    """The same call with a reach that goes no further than the right to export. Raises Denied for what belongs to nobody, unless
    that right reaches everybody's."""
    right = exporter.needs
    reach = min(call.who.reach(right, Act.READ), call.who.reach(RIGHT, Act.WRITE))
    if exporter.nobodys and call.who.reach(RIGHT, Act.WRITE) is not Reach.ALL:
        raise Denied(
            "These records belong to nobody: who exports them needs the right to export everybody's.",
            reason="RIGHT_MISSING",
        )
    return replace(call, who=replace(call.who, rights={**call.who.rights, right: Rights(reach, Reach.NONE)}))


def _writer(exporter: Exporter, format: pb.ExportFormat.ValueType, style: Style) -> tuple[Writer, str]:
    """What makes such a file, and its content type."""
    if format == pb.EXPORT_FORMAT_XLSX:
        return XlsxWriter(style.said(exporter.title_en, exporter.title_zh)), XLSX
    if format == pb.EXPORT_FORMAT_VCARD:
        return VcardWriter(), VCARD
    return CsvWriter(), CSV


async def _style(request: pb.CreateExportRequest, call: Call) -> Style:
    language, zone = request.language_code, request.time_zone
    fields = request.headers == pb.EXPORT_HEADERS_FIELDS
    if not (language and zone) and not fields:
        with suppress(Unavailable):  # then as for a tenant that has said nothing
            me = await call.ask(_ME, session_service_pb2.GetMeRequest(), session_pb2.Me)
            language = language or me.person.language_code or me.tenant.language_code
            zone = zone or me.tenant.time_zone
    chinese = (language or "zh").partition("-")[0].lower() == "zh"
    return Style(fields, chinese, ZoneInfo(zone or "Asia/Shanghai"))


async def _columns(exporter: Exporter, call: Call) -> tuple[Column, ...]:
    listing = exporter.listing
    if listing is None or not listing.has_custom_fields:
        return exporter.columns
    known = await definitions_now(call.database, call.who, listing.record_type)
    return exporter.columns + own_columns(known.offered, frozenset({PEOPLE, *exporter.names}))


def _taken_back(exporter: Exporter, column: Column) -> bool:
    own = column not in exporter.columns
    return exporter.importer is not None and (own or column.field in exporter.importable)


def _goes_along(exporter: Exporter, column: Column) -> bool:
    """Whether a file for programs has it unasked: whatever an import takes back, also in another company, where other people
    work."""
    return _taken_back(exporter, column) and not (column.refers_to == PEOPLE and column in exporter.columns)


def _chosen(exporter: Exporter, there: Sequence[Column], wanted: Sequence[str], style: Style) -> list[Column]:
    if not wanted:
        return [column for column in there if not style.fields or _goes_along(exporter, column)] or list(
            there
        )
    by_field = {column.field: column for column in there}
    chosen: list[Column] = []
    for place, name in enumerate(wanted):
        if name not in by_field:
            raise Invalid(
                f"columns[{place}]",
                f"there is no column '{name[:60]}'; there are: {', '.join(by_field)}",
                reason="COLUMNS_INVALID",
            )
        if by_field[name] in chosen:
            raise Invalid(f"columns[{place}]", f"'{name[:60]}' stands twice", reason="COLUMNS_INVALID")
        chosen.append(by_field[name])
    return chosen


def _filename(exporter: Exporter, format: pb.ExportFormat.ValueType, style: Style) -> str:
    ending = {pb.EXPORT_FORMAT_XLSX: "xlsx", pb.EXPORT_FORMAT_VCARD: "vcf"}.get(format, "csv")
    day = datetime.now(style.zone).date()
    title = exporter.record_type if style.fields else style.said(exporter.title_en, exporter.title_zh)
    return f"{_ODD.sub('', title)} {day}.{ending}"


def _entry(row: Any) -> pb.Export:
    entry = pb.Export(
        id=str(row["id"]), owner_id=str(row["owner_id"]), team_id=str(row["team_id"] or ""), owner_name=row["owner_name"],
        record_type=row["kind"], filename=row["filename"], format=pb.ExportFormat.Value(f"EXPORT_FORMAT_{row['format']}"),
        filter=row["filter"], query=row["query"], order_by=row["order_by"], columns=row["columns"],
        state=pb.ExportState.Value(f"EXPORT_STATE_{row['state']}"), row_count=row["row_count"], byte_count=row["byte_count"],
        failure_reason=row["failure_reason"], parent_id=str(row["parent_id"] or ""), ids=[str(id) for id in row["ids"]],
    )  # fmt: skip
    to_timestamp(entry.create_time, row["created_at"])
    if row["ended_at"] is not None:
        to_timestamp(entry.end_time, row["ended_at"])
    return entry


def export_face(service: str, exports: Exports) -> Face:
    """The face of that ExportService (`kehu.leads.v1.ExportService`)."""
    face = Face(service)
    face.stream("CreateExport")(exports.create)
    face.read("ListExportColumns")(exports.columns)
    face.read("ListExports")(exports.log)
    return face
