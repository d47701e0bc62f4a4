"""The gRPC face of notes: messages of kehu.notes.v1 in and out. Any service mounts it in one line.

note_face("kehu.leads.v1.NoteService", SUBJECTS)
"""

from typing import Any
from uuid import UUID

from google.protobuf.empty_pb2 import Empty
from kehu.identity.v1 import person_pb2, person_service_pb2
from kehu.notes.v1 import notes_pb2 as pb

from chassis.database import Transaction
from chassis.errors import NotFound
from chassis.fields import Field, Kind
from chassis.history_face import Kept
from chassis.ids import parse_id
from chassis.listing import RECORD_FIELDS, Listing
from chassis.mapping import Mapping
from chassis.notes.note import Note, change_note, drop_note, write_note
from chassis.owners import LOOK_UP
from chassis.records import Record
from chassis.rpc.call import Call
from chassis.rpc.face import Face
from chassis.subjects import Subject, Subjects

NOTE = Mapping(pb.Note, columns={"record_type": "of_type"})
NOTES = Listing(
    Note,
    None,
    {
        "createTime": RECORD_FIELDS["createTime"],
        "updateTime": Field("updated_at", Kind.TIMESTAMP),
        "creatorId": RECORD_FIELDS["creatorId"],
        "pinned": Field("pinned", Kind.BOOL),
        "recordType": Field("of_type", Kind.TEXT, filterable=False),
        "recordId": Field("record_id", Kind.UUID, filterable=False),
    },
)
_COUNT = "SELECT count(*)::integer AS notes FROM notes WHERE of_type = $1 AND record_id = $2 AND deleted_at IS NULL"
_RECORD = "SELECT of_type, record_id FROM notes WHERE id = $1"


def notes_kept(subjects: Subjects) -> Kept:
    """The history of notes, for the face of the history."""

    async def seen(call: Call, id: UUID) -> None:
        for row in await call.database.read(call.who, _RECORD, id):
            await subjects.check_seen(call, row["of_type"], row["record_id"])

    return Kept(Note, None, seen=seen)


def note_face(service: str, subjects: Subjects) -> Face:
    """The face of that NoteService."""
    face = Face(service)

    async def get(request: pb.GetNoteRequest, call: Call) -> pb.Note:
        row = await NOTES.get(call, request.id)
        try:
            await subjects.check_seen(call, row["of_type"], row["record_id"])
        except NotFound:
            raise NotFound("note", request.id) from None
        return NOTE.message(row)

    async def list_notes(request: pb.ListNotesRequest, call: Call) -> pb.ListNotesResponse:
        subject = subjects.of(request.record_type, "recordType")
        id = parse_id(request.record_id, "recordId")
        await subject.listing.get(call, id, "recordId")
        where = {"recordType": subject.record_type, "recordId": id}
        page = await NOTES.page(call, request, where)
        counted = await call.database.read(call.who, _COUNT, subject.record_type, id)
        return pb.ListNotesResponse(
            notes=[NOTE.message(row) for row in page.rows],
            next_page_token=page.next_page_token,
            total_count=counted[0]["notes"],
        )

    async def people(request: Any, call: Call) -> frozenset[UUID]:
        return await _active(call, list(request.note.mentioned_ids))

    async def create(request: pb.CreateNoteRequest, tx: Transaction, active: frozenset[UUID]) -> pb.Note:
        subject = subjects.of(request.note.record_type, "note.recordType")
        record = await subjects.writable(tx, subject, parse_id(request.note.record_id, "note.recordId"))
        values = NOTE.values(request.note)
        for name in ("of_type", "record_id"):
            values.pop(name)
        return await _answer(tx, write_note(tx, subject, record, values, active))

    async def update(request: pb.UpdateNoteRequest, tx: Transaction, active: frozenset[UUID]) -> pb.Note:
        note, subject, record = await _written(tx, subjects, request.note.id, request.note.etag, "note.id")
        change_note(tx, subject, record, note, NOTE.values(request.note, request.update_mask), active)
        return await _answer(tx, note)

    async def delete(request: pb.DeleteNoteRequest, tx: Transaction) -> Empty:
        note, subject, record = await _written(tx, subjects, request.id, request.etag, "id")
        drop_note(tx, subject, record, note)
        return Empty()

    face.read("GetNote")(get)
    face.read("ListNotes")(list_notes)
    face.write("CreateNote", prepare=people)(create)
    face.write("UpdateNote", prepare=people)(update)
    face.write("DeleteNote")(delete)
    return face


async def _active(call: Call, ids: list[str]) -> frozenset[UUID]:
    """Those of the people who are there. Asked before the transaction, so that no lock waits for another service."""
    if not ids:
        return frozenset()
    request = person_service_pb2.LookUpPeopleRequest(ids=ids)
    answer = await call.ask(LOOK_UP, request, person_service_pb2.LookUpPeopleResponse)
    active = person_pb2.PERSON_STATUS_ACTIVE
    return frozenset(UUID(one.id) for one in answer.people if one.status == active)


async def _written(
    tx: Transaction, subjects: Subjects, id: str, etag: str, field: str
) -> tuple[Note, Subject, Record]:
    """The note with its record, both locked, if the caller may write the record and has read the present note.

    Raises NotFound, Denied, EtagMismatch, and what stands in the way of writing the record.
    """
    key = parse_id(id, field)
    seen = await tx.find(Note, key, lock=False)
    if seen is None:
        raise NotFound("note", key)
    subject = subjects.of(seen.of_type, field)
    try:
        # The record first, as whoever merges or deletes it does: in this order nobody waits for the other for ever.
        record = await subjects.writable(tx, subject, seen.record_id)
    except NotFound:
        raise NotFound("note", key) from None
    note = await tx.find(Note, key)
    if note is None:
        raise NotFound("note", key)
    tx.check_etag(note, etag)
    return note, subject, record


async def _answer(tx: Transaction, note: Note) -> pb.Note:
    await tx.session.flush()
    return NOTE.message(note)
