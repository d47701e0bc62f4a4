"""The gRPC face of files: messages of kehu.attachments.v1 in and out. Any service mounts it in one line.

attachment_face("kehu.leads.v1.AttachmentService", SUBJECTS)
"""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from typing import Any
from uuid import UUID

from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message
from kehu.attachments.v1 import attachments_pb2 as pb

from chassis.attachments.attachment import Attachment, attach, detach, expect_file, forget_file
from chassis.attachments.files import Taken, files_at, new_key
from chassis.attachments.kinds import FileTypes
from chassis.attachments.names import tidy_name
from chassis.attachments.upkeep import look_tonight
from chassis.database import Transaction
from chassis.errors import Code, Invalid, NotFound, Problem
from chassis.fields import Field, Kind
from chassis.history_face import Kept
from chassis.ids import parse_id
from chassis.listing import RECORD_FIELDS, Listing
from chassis.mapping import Mapping
from chassis.records import Record
from chassis.rpc.call import Call
from chassis.rpc.face import Face, once
from chassis.subjects import Subject, Subjects

ATTACHMENT = Mapping(pb.Attachment, columns={"record_type": "of_type"})
ATTACHMENTS = Listing(
    Attachment,
    None,
    {
        "createTime": RECORD_FIELDS["createTime"],
        "updateTime": Field("updated_at", Kind.TIMESTAMP),
        "creatorId": RECORD_FIELDS["creatorId"],
        "filename": Field("filename", Kind.TEXT, sortable=True),
        "contentType": Field("content_type", Kind.TEXT),
        "sizeBytes": Field("size_bytes", Kind.INTEGER, sortable=True),
        "recordType": Field("of_type", Kind.TEXT, filterable=False),
        "recordId": Field("record_id", Kind.UUID, filterable=False),
    },
)
_TOTAL = (
    "SELECT count(*)::integer AS files, coalesce(sum(size_bytes), 0)::bigint AS bytes FROM attachments"
    " WHERE of_type = $1 AND record_id = $2 AND deleted_at IS NULL"
)
_RECORD = "SELECT of_type, record_id FROM attachments WHERE id = $1"


def attachments_kept(subjects: Subjects) -> Kept:
    """The history of files, for the face of the history."""

    async def seen(call: Call, id: UUID) -> None:
        for row in await call.database.read(call.who, _RECORD, id):
            await subjects.check_seen(call, row["of_type"], row["record_id"])

    return Kept(Attachment, None, seen=seen)


def attachment_face(service: str, subjects: Subjects) -> Face:
    """The face of that AttachmentService."""
    face = Face(service)

    async def seen(call: Call, id: str) -> Any:
        row = await ATTACHMENTS.get(call, id)
        try:
            await subjects.check_seen(call, row["of_type"], row["record_id"])
        except NotFound:
            raise NotFound("attachment", id) from None
        return row

    async def get(request: pb.GetAttachmentRequest, call: Call) -> pb.Attachment:
        return ATTACHMENT.message(await seen(call, request.id))

    async def list_files(request: pb.ListAttachmentsRequest, call: Call) -> pb.ListAttachmentsResponse:
        subject = subjects.of(request.record_type, "recordType")
        id = parse_id(request.record_id, "recordId")
        await subject.listing.get(call, id, "recordId")
        page = await ATTACHMENTS.page(call, request, {"recordType": subject.record_type, "recordId": id})
        total = (await call.database.read(call.who, _TOTAL, subject.record_type, id))[0]
        return pb.ListAttachmentsResponse(
            attachments=[ATTACHMENT.message(row) for row in page.rows], next_page_token=page.next_page_token,
            total_count=total["files"], total_size_bytes=total["bytes"],
        )  # fmt: skip

    async def create(
        first: pb.CreateAttachmentRequest, parts: AsyncIterator[Message], call: Call
    ) -> pb.Attachment:
        return await _Incoming(subjects, first, call).take(parts)

    async def download(request: pb.DownloadAttachmentRequest, call: Call) -> AsyncGenerator[Message]:
        row = await seen(call, request.id)
        files = files_at(call.settings.files_url)
        sent = files.send(row["storage_key"], row["size_bytes"], row["sha256"])
        # What is wrong is said before the file begins, as far as it is known then.
        content = await anext(sent)
        yield pb.AttachmentPart(
            filename=row["filename"], content_type=row["content_type"], size_bytes=row["size_bytes"], content=content
        )  # fmt: skip
        async for content in sent:
            yield pb.AttachmentPart(content=content)

    async def delete(request: pb.DeleteAttachmentRequest, tx: Transaction) -> Empty:
        key = parse_id(request.id, "id")
        there = await tx.find(Attachment, key, lock=False)
        if there is None:
            raise NotFound("attachment", key)
        subject = subjects.of(there.of_type, "id")
        try:
            # The record first, as whoever merges or deletes it does: in this order nobody waits for the other for ever.
            record = await subjects.writable(tx, subject, there.record_id)
        except NotFound:
            raise NotFound("attachment", key) from None
        attachment = await tx.find(Attachment, key)
        if attachment is None:
            raise NotFound("attachment", key)
        tx.check_etag(attachment, request.etag)
        await detach(tx, subject, record, attachment)
        return Empty()

    face.read("GetAttachment")(get)
    face.read("ListAttachments")(list_files)
    face.upload("CreateAttachment")(create)
    face.stream("DownloadAttachment")(download)
    face.write("DeleteAttachment")(delete)
    return face


class _Incoming:
    """A file on its way in.

    Its key is written down before the first byte is kept, by a job that removes what nobody claims. The row that claims it
    comes last, in the transaction in which the answer is kept for a repeat.
    """

    def __init__(self, subjects: Subjects, first: pb.CreateAttachmentRequest, call: Call) -> None:
        self._subjects = subjects
        self._call = call
        self._first = first
        self._types = FileTypes.of(call.settings)
        self._subject: Subject = subjects.of(first.record_type, "recordType")
        self._record_id = parse_id(first.record_id, "recordId")
        self._filename = tidy_name(first.filename)
        self._types.check_name(self._filename)
        self._key = new_key(call.service, call.who.tenant_id)
        self._content_type = ""
        self._made: UUID | None = None

    async def take(self, parts: AsyncIterator[Message]) -> pb.Attachment:
        """The file as it is kept. Raises Problem; whatever happens, no bytes stay that no row speaks of."""
        call = self._call
        async with call.database.transaction(call.who) as tx:
            await self._record(tx)
            await expect_file(tx, self._key)
        try:
            files = files_at(call.settings.files_url)
            most = call.settings.max_file_bytes
            taken = await files.take(self._key, self._pieces(parts), most, self._look)
        except BaseException:
            await self._give_up()
            raise
        try:
            answer = await self._claim(taken)
        except Problem as problem:
            # With a lost database the row may be there, whatever is heard of it: the waiting job will see.
            if problem.code is not Code.UNAVAILABLE:
                await self._give_up()
            raise
        if answer.id != str(self._made):
            # A repeat: the answer speaks of bytes that were there already.
            await self._give_up()
        return answer

    async def _record(self, tx: Transaction) -> Record:
        return await self._subjects.writable(tx, self._subject, self._record_id)

    async def _pieces(self, parts: AsyncIterator[Message]) -> AsyncGenerator[bytes]:
        if self._first.content:
            yield self._first.content
        complete = self._first.complete
        async for part in parts:
            assert isinstance(part, pb.CreateAttachmentRequest)
            if complete or any(field.name not in _BEHIND for field, _ in part.ListFields()):
                raise Invalid(
                    "request",
                    "says more than bytes behind its first part, or goes on behind its last",
                    reason="MALFORMED_REQUEST",
                )
            if len(part.content) > _MOST_PART:
                raise Invalid("content", f"has more than {_MOST_PART:,} bytes in one part")
            complete = part.complete
            if part.content:
                yield part.content
        if not complete:
            # A caller who goes away looks like one who has said everything.
            raise Invalid("request", "has ended before its last part", reason="FILE_CUT_OFF")

    def _look(self, head: bytes) -> None:
        if not head:
            raise Invalid("content", "is empty: there is nothing to keep", reason="FILE_EMPTY")
        self._content_type = self._types.check(self._filename, head)

    async def _claim(self, taken: Taken) -> pb.Attachment:
        call, method = self._call, self._call.method
        assert method is not None

        async def work(tx: Transaction) -> Message:
            record = await self._record(tx)
            attachment = await attach(
                tx, self._subject, record, self._key, self._filename, self._content_type, taken
            )
            self._made = attachment.id
            await look_tonight(tx)
            await tx.session.flush()
            return ATTACHMENT.message(attachment)

        said = f"{self._subject.record_type} {self._record_id} {self._filename} {taken.size} {taken.sha256}"
        answer = await once(
            call, method, self._first.request_id, hashlib.sha256(said.encode()).digest(), work
        )
        assert isinstance(answer, pb.Attachment)
        return answer

    async def _give_up(self) -> None:
        # The caller may be gone, and with it the task. Should this not come about either, the job runs when it is due.
        noting = asyncio.ensure_future(self._note())
        with suppress(asyncio.CancelledError, Problem):
            await asyncio.shield(noting)

    async def _note(self) -> None:
        async with self._call.database.transaction(self._call.who) as tx:
            await forget_file(tx, self._key)


_MOST_PART = 1024 * 1024
_BEHIND = frozenset({"content", "complete"})
"""What parts behind the first may say."""
