"""PrivacyService: what all services hold about one person."""

import hashlib
import io
import zipfile
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

import orjson
from google.protobuf.message import Message
from kehu import contracts
from kehu.attachments.v1 import attachments_pb2
from kehu.customers.v1 import erasure_pb2 as pb
from kehu.customers.v1 import privacy_service_pb2 as service_pb
from kehu.exports.v1 import exports_pb2
from kehu.privacy.v1 import privacy_pb2

from chassis.attachments.attachment import Attachment
from chassis.attachments.files import LOST, files_at
from chassis.errors import IdempotencyKeyReused, NotFound, Problem, Unavailable
from chassis.events.streams import MAX_AGE
from chassis.exports.log import SUCCEEDED as SENT
from chassis.exports.log import Export
from chassis.exports.log import begin as begin_export
from chassis.exports.log import told as export_told
from chassis.fields import Field, Kind
from chassis.ids import new_id, parse_id
from chassis.listing import RECORD_FIELDS, Listing
from chassis.mapping import Mapping as RowMapping
from chassis.privacy.person import Person, RecordName
from chassis.privacy.rpc import erased, exported, found, person_message, person_of
from chassis.rpc import Call, Face
from customers.erasure import (
    ROUNDS,
    STATES,
    Erasure,
    Report,
    begin,
    carry_on,
)
from customers.errors import NotAPerson
from customers.privacy import PRIVACY

face = Face("kehu.customers.v1.PrivacyService")
OWN = "customers"
_REQUESTS = UUID("5f2a9c1d-6a0e-4c0b-8a58-0c9b1f8d3e77")
_ASKED = 15.0
"""Seconds a service has for finding somebody or handing out a part."""
_WORKS = 30.0
_MOST_HOPS = 8
_PIECE = 256 * 1024
_STORED = "SELECT storage_key, size_bytes, sha256 FROM attachments WHERE id = $1"
ERASURE = RowMapping(
    pb.Erasure, skip=["excluded_records", "records", "reports"], columns={"record_type": "of_type"}
)
ERASURES = Listing(
    Erasure,
    "privacy",
    {
        "createTime": RECORD_FIELDS["createTime"],
        "creatorId": RECORD_FIELDS["creatorId"],
        "state": Field("state", Kind.ENUM, values=STATES, prefix="ERASURE_STATE_"),
        "recordType": Field("of_type", Kind.TEXT),
        "recordId": Field("record_id", Kind.UUID),
        "reference": Field("reference", Kind.TEXT),
    },
    columns=[name for name in Erasure.model_fields if name not in ("person", "asked", "tenant_id")],
)


def holders() -> list[str]:
    """The services that hold data about persons, as the contracts have it; customers last, for there the erasure is kept."""
    names = {
        name.split(".")[1] for name in contracts.module_names() if name.endswith(".v1.privacy_service_pb2")
    }
    return [*sorted(names - {OWN}), OWN]


@dataclass
class _Found:
    """Who is meant, and what every service holds about them."""

    person: Person
    records: list[tuple[str, privacy_pb2.FoundRecord]]
    missing: dict[str, str]
    """Services that did not answer or are not installed, and why."""
    etag: str

    @property
    def notices(self) -> list[str]:
        return sorted({notice for _, one in self.records for notice in one.notices})


async def _find(call: Call, service: str, person: Person) -> privacy_pb2.FindPersonResponse:
    if service == OWN:
        return await found(PRIVACY, person, call)
    request = privacy_pb2.FindPersonRequest(person=person_message(person))
    method = f"kehu.{service}.v1.PrivacyService/FindPerson"
    return await call.ask(method, request, privacy_pb2.FindPersonResponse, _ASKED)


async def _find_all(
    call: Call, person: Person, missing: dict[str, str], *, lenient: bool
) -> list[tuple[str, privacy_pb2.FoundRecord]]:
    """What all services hold. What is not installed is missing; so is, when `lenient`, what does not answer. Raises
    Unavailable."""
    out: list[tuple[str, privacy_pb2.FoundRecord]] = []
    for service in holders():
        if service in missing:
            continue
        try:
            answer = await _find(call, service, person)
        except Unavailable as problem:
            if problem.reason != "MODULE_NOT_INSTALLED" and not lenient:
                raise
            missing[service] = problem.reason
            continue
        out += [(service, one) for one in answer.records]
    return out


async def who_is(
    call: Call, record_type: str, record_id: UUID, excluded: frozenset[RecordName], *, lenient: bool = False
) -> _Found:
    """Finds who is meant: the record that is named, what it was made of, made into or merged with, and whatever has its numbers
    and addresses but for what is `excluded`.

    Whoever is found by a number alone counts as the person, and leads no further. Raises NotFound, NotAPerson, Unavailable.
    """
    call = call.as_service()
    named = (record_type, record_id)
    missing: dict[str, str] = {}
    asked: frozenset[RecordName] = frozenset({named})
    known: dict[RecordName, privacy_pb2.FoundRecord] = {}
    for _ in range(_MOST_HOPS):
        records = await _find_all(call, Person(records=asked, excluded=excluded), missing, lenient=lenient)
        known = {(one.record_type, UUID(one.record_id)): one for _, one in records if one.identity}
        told = {name for one in known.values() for name in person_of(one.person).records} - excluded
        if told <= asked:
            break
        asked |= told
    if named not in known:
        await _check_company(call, record_type, record_id)
        raise NotFound(record_type, record_id)
    sure = Person(excluded=excluded)
    for one in known.values():
        sure = sure.joined(person_of(one.person))
    # What they tell of may be no person, as the company of a contact.
    sure = replace(sure, records=frozenset(known))
    theirs = await _ways_of(call, excluded, missing, lenient=lenient)
    common = (sure.phones | sure.emails | sure.accounts) & theirs
    # By what somebody else has, too, nobody is found; from the person's own records it goes.
    sure = replace(
        sure, phones=sure.phones - theirs, emails=sure.emails - theirs, accounts=sure.accounts - theirs,
        texts=sure.texts | common,
    )  # fmt: skip
    records = await _find_all(call, sure, missing, lenient=lenient)
    person = sure
    for _, one in records:
        name, told = (one.record_type, UUID(one.record_id)), person_of(one.person)
        if not one.identity:
            person = person.joined(Person(texts=told.texts))
        elif name not in sure.records:
            # By what somebody has who was found by a number alone, nobody else is found.
            ways = (told.phones | told.emails | told.accounts) - sure.phones - sure.emails - theirs
            person = person.joined(
                Person(records=frozenset({name}), names=told.names, texts=told.texts, accounts=ways)
            )
    return _Found(person, records, missing, known[named].etag)


async def _ways_of(
    call: Call, records: frozenset[RecordName], missing: dict[str, str], *, lenient: bool
) -> frozenset[str]:
    """The numbers, addresses and accounts of these records."""
    ways: set[str] = set()
    if records:
        for _, one in await _find_all(call, Person(records=records), missing, lenient=lenient):
            told = person_of(one.person)
            ways |= told.phones | told.emails | told.accounts
    return frozenset(ways)


async def _check_company(call: Call, record_type: str, record_id: UUID) -> None:
    if record_type != "customer":
        return
    rows = await call.database.read(call.who, "SELECT kind FROM customers WHERE id = $1", record_id)
    if rows and rows[0]["kind"] != "PERSON":
        raise NotAPerson


def _excluded(records: Any) -> frozenset[RecordName]:
    return frozenset(
        (one.record_type, parse_id(one.record_id, "excludedRecords.recordId")) for one in records
    )


# ---- preview and erasure


@face.read("PreviewErasure")
async def preview(request: service_pb.PreviewErasureRequest, call: Call) -> pb.ErasurePreview:
    id = parse_id(request.record_id, "recordId")
    it = await who_is(call, request.record_type, id, _excluded(request.excluded_records))
    answer = pb.ErasurePreview(notices=it.notices, missing_services=sorted(it.missing))
    for service, one in it.records:
        answer.records.add(
            service=service, record_type=one.record_type, record_id=one.record_id, match=one.match,
            identity=one.identity, kept_for=one.kept_for, notices=one.notices,
        )  # fmt: skip
    return answer


@face.process("CreateErasure")
async def create(request: service_pb.CreateErasureRequest, call: Call) -> pb.Erasure:
    """A repeated request_id answers with the erasure it began."""
    who, wanted = call.who, request.erasure
    id = new_id()
    if request.request_id:
        id = uuid5(_REQUESTS, f"{who.tenant_id} {who.person_id} {request.request_id}")
    asked = hashlib.sha256(request.SerializeToString(deterministic=True)).hexdigest()
    if request.request_id and (begun := await _begun(call, id, asked)) is not None:
        return begun
    record_id = parse_id(wanted.record_id, "erasure.recordId")
    excluded = _excluded(wanted.excluded_records)
    it = await who_is(call, wanted.record_type, record_id, excluded)
    named = {
        "of_type": wanted.record_type, "record_id": record_id, "reference": wanted.reference,
        "basis": pb.ErasureBasis.Name(wanted.basis).removeprefix("ERASURE_BASIS_") if wanted.basis else "",
        "excluded": [[kind, str(one)] for kind, one in sorted(excluded)],
    }  # fmt: skip
    async with call.database.transaction(who) as tx:
        if await tx.find(Erasure, id, lock=False) is None:
            if request.etag and request.etag != it.etag:
                tx.check_etag(Erasure(of_type="", record_id=record_id, version=-1), request.etag)
            services = [name for name in holders() if name not in it.missing]
            await begin(tx, id, named, it.person, it.notices, services, sorted(it.missing), asked)
    return erasure_message(await ERASURES.get(call, id))


async def _begun(call: Call, id: UUID, asked: str) -> pb.Erasure | None:
    rows = await call.database.read(call.who, "SELECT asked FROM erasures WHERE id = $1", id)
    if not rows:
        return None
    if rows[0]["asked"] != asked:
        raise IdempotencyKeyReused
    return erasure_message(await ERASURES.get(call, id))


@face.read("GetErasure")
async def get_erasure(request: service_pb.GetErasureRequest, call: Call) -> pb.Erasure:
    return erasure_message(await ERASURES.get(call, request.id))


@face.read("ListErasures")
async def list_erasures(
    request: service_pb.ListErasuresRequest, call: Call
) -> service_pb.ListErasuresResponse:
    page = await ERASURES.page(call, request)
    return service_pb.ListErasuresResponse(
        erasures=[erasure_message(row) for row in page.rows], next_page_token=page.next_page_token
    )


def erasure_message(row: Any) -> pb.Erasure:
    """An erasure with its report."""
    message = ERASURE.message(row)
    for target, names in ((message.records, row["records"]), (message.excluded_records, row["excluded"])):
        for kind, id in names:
            target.add(record_type=kind, record_id=id)
    for step in row["steps"]:
        report = message.reports.add(service=step["service"], done=step["round"] > ROUNDS)
        for kind, reason, gone, kept in step["report"]:
            report.records.add(record_type=kind, kept_for=reason, erased_count=gone, kept_count=kept)
    # The bus keeps events for a while whoever is in them; nothing can be taken out of it.
    bus = message.reports.add(service="bus", done=True)
    bus.records.add(record_type="event", kept_for=f"GONE_AFTER_{MAX_AGE / 86400:.0f}_DAYS")
    return message


class Suite:
    """The services, asked by customers."""

    def __init__(self, call: Call) -> None:
        self._call = call.as_service()

    async def erase(self, service: str, erasure_id: UUID, person: Person, cursor: str) -> tuple[str, Report]:
        if service == OWN:
            answer = await erased(PRIVACY, erasure_id, person, cursor, self._call)
        else:
            request = privacy_pb2.ErasePersonalDataRequest(
                erasure_id=str(erasure_id), person=person_message(person), cursor=cursor
            )
            method = f"kehu.{service}.v1.PrivacyService/ErasePersonalData"
            answer = await self._call.ask(method, request, privacy_pb2.ErasePersonalDataResponse, _WORKS)
        report = [(one.record_type, one.kept_for, one.erased_count, one.kept_count) for one in answer.report]
        return answer.cursor, report


async def erasure_job(payload: Mapping[str, Any], call: Call) -> None:
    """Goes on with an erasure."""
    later = timedelta(seconds=call.settings.erasure_pause_seconds)
    try:
        await carry_on(call.database, call.who, UUID(payload["erasure_id"]), Suite(call), later)
    except Problem as problem:
        # An erasure that was promised is never given up.
        raise Unavailable(problem.message, reason=problem.reason) from problem


# ---- export


@face.stream("CreatePersonExport")
async def export(request: service_pb.CreatePersonExportRequest, call: Call) -> AsyncGenerator[Message]:
    """The ZIP, part by part. Whatever becomes of it stands in the log of exports."""
    id = parse_id(request.record_id, "recordId")
    lenient = request.allow_incomplete
    it = await who_is(call, request.record_type, id, _excluded(request.excluded_records), lenient=lenient)
    who = call.who
    entry = Export(
        id=new_id(), owner_id=who.person_id, team_id=who.team_id, owner_name=who.name, kind="person",
        filename=f"person-{datetime.now(UTC):%Y-%m-%d}.zip", filter=f'{request.record_type}Id = "{id}"', columns=holders(),
        format="ZIP", leased_until=datetime.now(),
    )  # fmt: skip
    async with call.database.transaction(who, origin="export") as tx:
        await begin_export(tx, entry)
    parcel = _Parcel(it.person)
    reason = "CLIENT_GONE"
    try:
        yield exports_pb2.ExportPart(
            filename=entry.filename, content_type="application/zip", content=parcel.taken()
        )
        async for piece in _filled(call.as_service(), parcel, it, lenient=lenient):
            yield exports_pb2.ExportPart(content=piece)
        reason = SENT
    except Problem as problem:
        reason = problem.reason
        raise
    finally:
        with suppress(Problem):
            await export_told(call.database, who, entry.id, parcel.records, parcel.bytes, reason)


class _Parcel:
    """A ZIP that is taken away while it is filled."""

    def __init__(self, person: Person) -> None:
        self.person = person
        self.records = self.bytes = 0
        self.counts: dict[str, int] = {}
        self.attached: list[tuple[str, UUID, str]] = []
        """Files on the person's own records, whose bytes are not in it yet: service, id, name."""
        self._out = _Sink()
        self._zip = zipfile.ZipFile(self._out, "w", zipfile.ZIP_DEFLATED)
        self._name, self._file = "", None

    def add(self, service: str, record_type: str, held: str) -> None:
        """Puts a record into the file of its kind. Those of a kind come one after another."""
        name = f"{service}/{record_type}.json"
        if name != self._name:
            self._close()
            self._name, self._file = name, self._zip.open(name, "w", force_zip64=True)
            self._file.write(b"[\n")
        elif self._file is not None:
            self._file.write(b",\n")
        if self._file is not None:
            self._file.write(held.encode())
        self.counts[name] = self.counts.get(name, 0) + 1
        self.records += 1
        if record_type == Attachment.record_type:
            row = orjson.loads(held)
            mine = (row["of_type"], UUID(row["record_id"])) in self.person.records
            if mine and not row["deleted_at"]:
                self.attached.append((service, UUID(row["id"]), row["filename"]))

    def begin(self, name: str) -> None:
        """Begins a file whose bytes come by `go_on`. It is not packed: documents and pictures are already."""
        self._close()
        packed = zipfile.ZipInfo(name, datetime.now(UTC).timetuple()[:6])
        self._name, self._file = name, self._zip.open(packed, "w", force_zip64=True)

    def go_on(self, content: bytes) -> None:
        """Some more bytes of the file that was begun."""
        if self._file is not None:
            self._file.write(content)

    def end(self, manifest: Mapping[str, Any]) -> None:
        """Closes it; what is in it is said last, when it is known."""
        self._close()
        self._zip.writestr("manifest.json", orjson.dumps(manifest, option=orjson.OPT_INDENT_2))
        self._zip.close()

    def taken(self) -> bytes:
        """What has been packed since this was last asked."""
        piece = self._out.taken()
        self.bytes += len(piece)
        return piece

    @property
    def waits(self) -> int:
        """Bytes that nobody has taken yet."""
        return self._out.waits

    def _close(self) -> None:
        if self._file is not None:
            if self._name in self.counts:
                self._file.write(b"\n]\n")
            self._file.close()
            self._file = None


class _Sink(io.RawIOBase):
    """Where bytes are written one after another and taken away."""

    def __init__(self) -> None:
        super().__init__()
        self._held = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        self._held += data
        return len(data)

    @property
    def waits(self) -> int:
        return len(self._held)

    def taken(self) -> bytes:
        piece, self._held = bytes(self._held), bytearray()
        return piece


async def _filled(call: Call, parcel: _Parcel, it: _Found, *, lenient: bool) -> AsyncGenerator[bytes]:
    missing = dict(it.missing)
    for service in holders():
        token, first = "", True
        while service not in missing and (token or first):
            first = False
            try:
                answer = await _handed_out(call, service, it.person, token)
            except Unavailable as problem:
                if not lenient:
                    raise
                missing[service] = problem.reason
                break
            for one in answer.records:
                parcel.add(service, one.record_type, one.json)
                if parcel.waits > _PIECE:
                    yield parcel.taken()
            token = answer.next_page_token
    lost: dict[str, str] = {}
    for service, id, filename in parcel.attached:
        if service in missing:
            continue
        name = f"{service}/files/{id}/{filename}"
        begun = False
        try:
            async with aclosing(_bytes_of(call, service, id)) as parts:
                async for content in parts:
                    if not begun:
                        parcel.begin(name)
                        begun = True
                    parcel.go_on(content)
                    if parcel.waits > _PIECE:
                        yield parcel.taken()
        except Problem as problem:
            if problem.reason not in LOST and not lenient:
                raise
            lost[name] = problem.reason
    parcel.end({
        "complete": not missing and not lost, "made_at": datetime.now(UTC).isoformat(), "missing_services": missing,
        "person": {"records": [[kind, str(id)] for kind, id in sorted(it.person.records)]},
        "files": parcel.counts, "lost_files": lost,
    })  # fmt: skip
    yield parcel.taken()


async def _bytes_of(call: Call, service: str, id: UUID) -> AsyncGenerator[bytes]:
    """A file that is attached to a record. Raises NotFound, FileMissing, FileDamaged (behind all that came), Unavailable."""
    if service == OWN:
        rows = await call.database.read(call.who, _STORED, id)
        if not rows:
            raise NotFound(Attachment.record_type, id)
        sent = files_at(call.settings.files_url).send(*rows[0])
        async for content in sent:
            yield content
        return
    method = f"kehu.{service}.v1.AttachmentService/DownloadAttachment"
    request = attachments_pb2.DownloadAttachmentRequest(id=str(id))
    async with aclosing(call.parts(method, request, attachments_pb2.AttachmentPart)) as parts:
        async for part in parts:
            yield part.content


async def _handed_out(
    call: Call, service: str, person: Person, token: str
) -> privacy_pb2.ExportPersonalDataResponse:
    if service == OWN:
        return await exported(PRIVACY, person, token, call)
    request = privacy_pb2.ExportPersonalDataRequest(person=person_message(person), page_token=token)
    method = f"kehu.{service}.v1.PrivacyService/ExportPersonalData"
    return await call.ask(method, request, privacy_pb2.ExportPersonalDataResponse, _ASKED)
