"""The gRPC face of bulk edits: messages of kehu.bulkedits.v1 in and out. Any service mounts it in one line.

bulk_edits_face("kehu.customers.v1.BulkEditService", BULK_EDITS)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast
from uuid import UUID

from google.api.httpbody_pb2 import HttpBody
from google.protobuf.struct_pb2 import Value
from kehu.bulkedits.v1 import bulk_edits_pb2 as pb

from chassis.bulk_edits.edit import (
    JOB,
    UNDO_JOB,
    UNDOING,
    UNDONE,
    BulkEdit,
    BulkEditNotUndone,
    Chosen,
    Wanted,
    cancel,
    expiry,
    job_of,
    may_see,
    own_edit,
    start,
    tell,
    undo,
)
from chassis.bulk_edits.editor import Editor, planned
from chassis.bulk_edits.preview import Previewed, preview
from chassis.bulk_edits.runs import Running, Undoing
from chassis.custom_fields.definitions import definitions, definitions_now
from chassis.database import Transaction
from chassis.errors import Invalid, NotFound
from chassis.fields import Field, Kind
from chassis.history_face import field_named, value_told
from chassis.ids import parse_id
from chassis.imports.refused import kept_csv
from chassis.listing import Listing
from chassis.mapping import to_timestamp
from chassis.owners import Owner, owner_for
from chassis.principal import NOBODY, Act, Reach
from chassis.record_types import for_type
from chassis.records import etag
from chassis.rpc.call import Call
from chassis.rpc.face import Face, need
from chassis.wire import from_dict, to_dict

_EDITS = Listing(
    BulkEdit,
    right=None,
    fields={
        "createTime": Field("created_at", Kind.TIMESTAMP, sortable=True),
        "creatorId": Field("created_by", Kind.UUID),
        "recordType": Field("kind", Kind.TEXT),
        "state": Field(
            "state",
            Kind.ENUM,
            values=("RUNNING", "SUCCEEDED", "CANCELLED", "FAILED"),
            prefix="BULK_EDIT_STATE_",
        ),
        "undoState": Field("undo_state", Kind.ENUM, values=(UNDOING, UNDONE), prefix="BULK_EDIT_STATE_"),
    },
)
_COUNTS = (
    "total_records", "processed_records", "changed_records", "unchanged_records", "refused_records", "undone_records",
    "kept_records", "failure_reason", "failure_message", "filter",
)  # fmt: skip
_REFUSED = "SELECT place, record_id, reason, message FROM bulk_edit_records WHERE bulk_edit_id = $1 AND state = $2 ORDER BY place"


@dataclass(frozen=True, slots=True)
class _Outside:
    """What other services and the read path know of an edit that begins."""

    editor: Editor
    wanted: Wanted


class BulkEdits:
    """The editors of one service, by record type, each under a right of its own."""

    def __init__(self, *editors: Editor) -> None:
        self._editors: Mapping[str, Editor] = {editor.record_type: editor for editor in editors}

    @property
    def jobs(self) -> dict[str, Any]:
        """The background work, for the service's composition."""
        actions = {"", *(name for editor in self._editors.values() for name in editor.actions)}
        ways = ((JOB, self._carry_on), (UNDO_JOB, self._undo_on))
        return {job_of(kind, action): way for kind, way in ways for action in sorted(actions)}

    def editor(self, record_type: str) -> Editor:
        """The editor of that type. Raises Invalid (RECORD_TYPE_UNKNOWN)."""
        return for_type(self._editors, record_type, "recordType", "cannot be edited in bulk")

    async def _carry_on(self, payload: Mapping[str, Any], call: Call) -> None:
        await self._on(payload, call, Running)

    async def _undo_on(self, payload: Mapping[str, Any], call: Call) -> None:
        await self._on(payload, call, Undoing)

    async def _on(self, payload: Mapping[str, Any], call: Call, way: type[Running]) -> None:
        id = UUID(payload["bulk_edit_id"])
        rows = await call.database.read(call.who, "SELECT kind FROM bulk_edits WHERE id = $1", id)
        if rows:
            await way(self._editors[rows[0]["kind"]], call, id).carry_on()

    async def preview(self, request: pb.PreviewBulkEditRequest, call: Call) -> pb.PreviewBulkEditResponse:
        """What an edit would do. Nothing is changed."""
        editor = self.editor(request.record_type)
        wanted = await self._wanted(call, editor, request.change)
        custom = (
            await definitions_now(call.database, call.who, editor.record_type)
            if editor.listing.has_custom_fields
            else None
        )
        count, shown = await preview(editor, call, planned(editor, wanted), _chosen(request), custom)
        return pb.PreviewBulkEditResponse(count=count, records=[_previewed(one) for one in shown])

    async def outside(self, request: pb.CreateBulkEditRequest, call: Call) -> _Outside:
        """Whether the edit is one, and who shall own the records. Raises Denied, Invalid."""
        editor = self.editor(request.record_type)
        need(call.who, editor.right, Act.WRITE)
        wanted = await self._wanted(call, editor, request.change)
        planned(editor, wanted)
        return _Outside(editor, wanted)

    async def create(
        self, request: pb.CreateBulkEditRequest, tx: Transaction, outside: _Outside
    ) -> pb.BulkEdit:
        """Starts an edit; the job takes over when the transaction has committed."""
        listing = outside.editor.listing
        custom = await definitions(tx, listing.record_type) if listing.has_custom_fields else None
        edit = await start(tx, listing, outside.wanted, _chosen(request), custom)
        tell(tx, outside.editor.progressed, edit)
        return await self._changed(tx, edit)

    async def get(self, request: pb.GetBulkEditRequest, call: Call) -> pb.BulkEdit:
        """One edit with its progress."""
        return _message(await self._seen(call, parse_id(request.id, "id")))

    async def list(self, request: pb.ListBulkEditsRequest, call: Call) -> pb.ListBulkEditsResponse:
        """Edits of the caller; of everybody for those who may write all records."""
        everyone = all(call.who.reach(e.right, Act.WRITE) is Reach.ALL for e in self._editors.values())
        page = await _EDITS.page(call, request, None if everyone else {"creatorId": call.who.person_id})
        return pb.ListBulkEditsResponse(
            bulk_edits=[_message(row) for row in page.rows], next_page_token=page.next_page_token
        )

    async def cancel(self, request: pb.CancelBulkEditRequest, tx: Transaction) -> pb.BulkEdit:
        """Stops an edit; the batch in work, if any, is the last or is taken back."""
        edit = await self._locked(tx, request.id, request.etag)
        cancel(tx, edit)
        tell(tx, self._editors[edit.kind].progressed, edit)
        return await self._changed(tx, edit)

    async def undo(self, request: pb.UndoBulkEditRequest, tx: Transaction) -> pb.BulkEdit:
        """Takes back what an edit did; the job takes over when the transaction has committed."""
        edit = await self._locked(tx, request.id, request.etag)
        editor = self._editors[edit.kind]
        need(tx.who, editor.right, Act.WRITE)
        await undo(tx, edit)
        tell(tx, editor.progressed, edit)
        return await self._changed(tx, edit)

    async def refused(self, request: pb.GetRefusedRecordsRequest, call: Call) -> HttpBody:
        """The records that were refused, as a CSV file."""
        id = parse_id(request.id, "id")
        await self._seen(call, id)
        return await self._file(call, id, "REFUSED")

    async def kept(self, request: pb.GetKeptRecordsRequest, call: Call) -> HttpBody:
        """The records of which an undoing has left something, as a CSV file."""
        id = parse_id(request.id, "id")
        edit = await self._seen(call, id)
        if not edit["undo_state"]:
            raise BulkEditNotUndone(f"The edit is {edit['state']}: nothing of it was undone.")
        return await self._file(call, id, "KEPT")

    async def _file(self, call: Call, id: UUID, state: str) -> HttpBody:
        rows = await call.database.read(call.who, _REFUSED, id, state)
        lines = ((row["place"], row["record_id"], row["reason"], row["message"]) for row in rows)
        return HttpBody(content_type="text/csv; charset=utf-8", data=b"".join(kept_csv(lines)))

    async def _wanted(self, call: Call, editor: Editor, change: pb.BulkChange) -> Wanted:
        given: Any = to_dict(change.values) if change.HasField("values") else {}
        if not isinstance(given, dict):
            raise Invalid("change.values", "must be an object with the fields to change")
        owner: Owner | None = None
        if change.owner_id:
            owner = await owner_for(call, change.owner_id, editor.right, "change.ownerId")
        added, removed = ([tag.strip() for tag in some] for some in (change.add_tags, change.remove_tags))
        return Wanted(
            cast("dict[str, Any]", given), list(change.fields), added, removed, owner, change.action, change.reason,
            change.note.strip(),
        )  # fmt: skip

    async def _seen(self, call: Call, id: UUID) -> Any:
        edit = await _EDITS.get(call, id)
        if not may_see(call.who, edit["created_by"], self._editors[edit["kind"]].right):
            raise NotFound("bulk edit", id)
        return edit

    async def _locked(self, tx: Transaction, id: str, expected: str) -> BulkEdit:
        rights = {kind: editor.right for kind, editor in self._editors.items()}
        edit = await own_edit(tx, parse_id(id, "id"), rights)
        tx.check_etag(edit, expected)
        return edit

    async def _changed(self, tx: Transaction, edit: BulkEdit) -> pb.BulkEdit:
        await tx.session.flush()
        return _message(edit.model_dump())


def _chosen(request: pb.PreviewBulkEditRequest | pb.CreateBulkEditRequest) -> Chosen:
    """Who is meant. Raises Invalid when nobody is: a change of everything is asked for by a filter that says so."""
    filter = request.filter.strip()
    if bool(request.ids) == bool(filter):
        raise Invalid("ids", "choose records either by their ids or by a filter")
    return Chosen([parse_id(id, "ids") for id in request.ids], filter)


def _previewed(one: Previewed) -> pb.PreviewedRecord:
    message = pb.PreviewedRecord(record_id=str(one.id))
    if one.problem is not None:
        message.reason, message.message = one.problem.reason, one.problem.message
    for column, (before, after) in sorted(one.changes.items()):
        message.fields.add(field=field_named(column), before=value_told(before), after=value_told(after))
    return message


def _message(edit: Any) -> pb.BulkEdit:
    """An edit from a row of the read path, or from its columns."""
    message = pb.BulkEdit(
        id=str(edit["id"]), etag=etag(edit["version"]), creator_id=_person(edit["created_by"]),
        updater_id=_person(edit["updated_by"]), record_type=edit["kind"],
        state=pb.BulkEditState.Value("BULK_EDIT_STATE_" + (edit["undo_state"] or edit["state"])),
        **{name: edit[name] for name in _COUNTS},
        change=pb.BulkChange(
            fields=edit["fields"], add_tags=edit["add_tags"], remove_tags=edit["remove_tags"],
            owner_id=str(edit["new_owner_id"] or ""), action=edit["action"], reason=edit["reason"], note=edit["note"],
        ),
    )  # fmt: skip
    if edit["given"]:
        message.change.values.CopyFrom(from_dict(Value, edit["given"]))
    times: Sequence[tuple[Any, Any]] = (
        (message.create_time, edit["created_at"]), (message.update_time, edit["updated_at"]),
        (message.end_time, edit["ended_at"]),
        (message.undo_expire_time, expiry(edit["state"], edit["undo_state"], edit["ended_at"])),
    )  # fmt: skip
    for target, at in times:
        if at is not None:
            to_timestamp(target, at)
    return message


def _person(id: UUID) -> str:
    return "" if id == NOBODY else str(id)


def bulk_edits_face(service: str, edits: BulkEdits) -> Face:
    """The face of that BulkEditService."""
    face = Face(service)
    face.read("PreviewBulkEdit")(edits.preview)
    face.write("CreateBulkEdit", prepare=edits.outside)(edits.create)
    face.read("GetBulkEdit")(edits.get)
    face.read("ListBulkEdits")(edits.list)
    face.write("CancelBulkEdit")(edits.cancel)
    face.write("UndoBulkEdit")(edits.undo)
    face.read("GetRefusedRecords")(edits.refused)
    face.read("GetKeptRecords")(edits.kept)
    return face
