"""Files on customers: taken in and sent out in parts, refused for what they are, and gone when they are deleted."""

import asyncio
import hashlib
import resource
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from google.protobuf.empty_pb2 import Empty
from kehu.attachments.v1 import attachments_pb2 as pb
from kehu.history.v1 import history_pb2

from chassis.attachments import files as stores
from chassis.attachments.attachment import FORGET, UNCLAIMED
from chassis.attachments.files import files_at
from chassis.attachments.upkeep import LOOK, look
from chassis.errors import Code
from chassis.principal import Principal, Reach, Rights
from chassis.testing import Harness, eventually, refused, somebody
from customers.service import SERVICE
from customers.testing import Company

pytestmark = pytest.mark.asyncio(loop_scope="module")
FILES = "kehu.customers.v1.AttachmentService/"
PIECE = 256 * 1024
MOST = 50 * 1024 * 1024
TEXT = "客户要求九月交货。\n".encode() * 5


@dataclass
class Archive(Company):
    """A company that keeps files."""

    @property
    def folder(self) -> Path:
        return Path(self.service.running.settings.files_url) / "customers" / str(self.who.tenant_id)

    def kept(self) -> list[Path]:
        """All that lies on the disk for this company, half files among it."""
        return sorted(self.folder.glob("*")) if self.folder.exists() else []

    def colleague(self, rights: dict[str, Rights], **more: Any) -> Principal:
        return replace(somebody(self.who.tenant, rights=rights, **more), tenant_id=self.who.tenant_id)

    def parts(
        self, record: str, content: bytes, filename: str = "合同.txt", kind: str = "customer", **more: Any
    ) -> list[pb.CreateAttachmentRequest]:
        first = pb.CreateAttachmentRequest(record_type=kind, record_id=record, filename=filename, **more)
        return [first, *(
            pb.CreateAttachmentRequest(content=content[start : start + PIECE]) for start in range(0, len(content), PIECE)
        ), pb.CreateAttachmentRequest(complete=True)]  # fmt: skip

    async def add(
        self, record: str, content: bytes = TEXT, who: Principal | None = None, **more: Any
    ) -> pb.Attachment:
        parts = self.parts(record, content, **more)
        return await self.service.upload(who or self.who, FILES + "CreateAttachment", parts, pb.Attachment)

    async def read(self, id: str, who: Principal | None = None) -> tuple[pb.AttachmentPart, bytes]:
        request = pb.DownloadAttachmentRequest(id=id)
        parts = await self.service.parts(
            who or self.who, FILES + "DownloadAttachment", request, pb.AttachmentPart
        )
        return parts[0], b"".join(part.content for part in parts)

    async def get(self, id: str, who: Principal | None = None) -> pb.Attachment:
        request = pb.GetAttachmentRequest(id=id)
        return await self.service.ask(who or self.who, FILES + "GetAttachment", request, pb.Attachment)

    async def delete(self, id: str, who: Principal | None = None, **more: Any) -> None:
        request = pb.DeleteAttachmentRequest(id=id, **more)
        await self.service.ask(who or self.who, FILES + "DeleteAttachment", request, Empty)

    async def listed(
        self, record: str, who: Principal | None = None, **more: Any
    ) -> pb.ListAttachmentsResponse:
        asked: dict[str, Any] = {"record_type": "customer", "record_id": record, **more}
        return await self.service.ask(
            who or self.who, FILES + "ListAttachments", pb.ListAttachmentsRequest(**asked), pb.ListAttachmentsResponse
        )  # fmt: skip

    async def jobs(self, kind: str) -> list[Any]:
        return await self.service.running.database.read(
            self.who, "SELECT key, due_at, created_at FROM jobs WHERE kind = $1", kind
        )

    async def rows(self) -> int:
        found = await self.service.running.database.read(
            self.who, "SELECT count(*)::integer AS n FROM attachments"
        )
        return found[0]["n"]


@pytest_asyncio.fixture(loop_scope="module")
async def archive(service: Harness) -> Archive:
    return Archive(service)


async def test_a_file_comes_out_as_it_went_in(archive: Archive) -> None:
    customer = await archive.customer()
    content = b"%PDF-1.7\n" + bytes(range(256)) * 4000
    made = await archive.add(customer, content, filename="..\\合同 2026.pdf")
    assert (made.filename, made.content_type, made.size_bytes) == (
        "合同 2026.pdf",
        "application/pdf",
        len(content),
    )
    assert made.sha256 == hashlib.sha256(content).hexdigest()
    assert (made.record_type, made.record_id, made.author_name) == ("customer", customer, archive.who.name)
    first, read = await archive.read(made.id)
    assert read == content
    assert (first.filename, first.content_type, first.size_bytes) == (
        made.filename,
        made.content_type,
        len(content),
    )
    [kept] = archive.kept()
    assert kept.read_bytes() == content and len(kept.name) == 32 and "合同" not in str(kept)
    assert await archive.jobs(FORGET) == [] and len(await archive.jobs(LOOK)) == 1


async def test_a_record_says_how_many_files_it_has_and_how_large_they_are(archive: Archive) -> None:
    customer = await archive.customer()
    made = [await archive.add(customer, TEXT * number, filename=f"{number}.txt") for number in (3, 1, 2)]
    page = await archive.listed(customer, page_size=2)
    assert [one.id for one in page.attachments] == [made[2].id, made[1].id]
    assert (page.total_count, page.total_size_bytes) == (3, 6 * len(TEXT))
    rest = await archive.listed(customer, page_size=2, page_token=page.next_page_token)
    assert [one.id for one in rest.attachments] == [made[0].id]
    by_size = await archive.listed(customer, order_by="sizeBytes", filter=f"sizeBytes > {len(TEXT)}")
    assert [one.filename for one in by_size.attachments] == ["2.txt", "3.txt"]
    assert (await archive.listed(await archive.customer())).total_size_bytes == 0


async def test_a_large_file_is_never_whole_in_memory(archive: Archive) -> None:
    customer = await archive.customer()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    async def parts() -> AsyncGenerator[pb.CreateAttachmentRequest]:
        yield pb.CreateAttachmentRequest(record_type="customer", record_id=customer, filename="large.bin")
        for number in range(MOST // PIECE):
            yield pb.CreateAttachmentRequest(content=number.to_bytes(4) * (PIECE // 4))
        yield pb.CreateAttachmentRequest(complete=True)

    made = await archive.service.upload(archive.who, FILES + "CreateAttachment", parts(), pb.Attachment)
    assert made.size_bytes == MOST and made.content_type == "application/octet-stream"
    digest, size = hashlib.sha256(), 0
    request = pb.DownloadAttachmentRequest(id=made.id)
    async for part in archive.service.opened(
        archive.who, FILES + "DownloadAttachment", request, pb.AttachmentPart
    ):
        digest.update(part.content)
        size += len(part.content)
    assert size == MOST and digest.hexdigest() == made.sha256
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert grown < MOST // 2, f"{grown:,} bytes more than before"  # client and service are one process here


@pytest.mark.parametrize(
    ("filename", "content", "reason"),
    [
        ("a.png", b"<html><script>alert(1)</script>", "FILE_TYPE_MISMATCH"),
        ("a.pdf", b"PK\x03\x04", "FILE_TYPE_MISMATCH"),
        ("setup.exe", b"MZ\x90\0\3", "FILE_TYPE_FORBIDDEN"),
        ("setup.txt", b"MZ\x90\0\3", "FILE_TYPE_FORBIDDEN"),
        ("a.txt", b"", "FILE_EMPTY"),
    ],
)
async def test_what_is_not_taken_leaves_nothing(
    filename: str, content: bytes, reason: str, archive: Archive
) -> None:
    customer = await archive.customer()
    await refused(Code.INVALID_ARGUMENT, reason, archive.add(customer, content, filename=filename))
    await eventually(lambda: _nothing(archive))


async def _nothing(archive: Archive) -> bool:
    return not archive.kept() and not await archive.rows() and not await archive.jobs(FORGET)


async def test_a_file_that_is_too_large_is_refused_before_it_has_come(archive: Archive) -> None:
    customer = await archive.customer()
    sent = 0

    async def parts() -> AsyncGenerator[pb.CreateAttachmentRequest]:
        nonlocal sent
        yield pb.CreateAttachmentRequest(record_type="customer", record_id=customer, filename="a.bin")
        while sent <= MOST:
            sent += PIECE
            yield pb.CreateAttachmentRequest(content=b"\1" * PIECE)
        await asyncio.Event().wait()  # there is more to come

    problem = await refused(
        Code.FAILED_PRECONDITION, "FILE_TOO_LARGE",
        archive.service.upload(archive.who, FILES + "CreateAttachment", parts(), pb.Attachment),
    )  # fmt: skip
    assert problem.metadata["mostBytes"] == str(MOST)
    await eventually(lambda: _nothing(archive))


async def test_who_may_not_write_adds_nothing(archive: Archive) -> None:
    customer = await archive.customer()
    made = await archive.add(customer)
    reader = archive.colleague({"customers": Rights(Reach.ALL, Reach.OWN)})
    stranger = archive.colleague({"customers": Rights(Reach.OWN, Reach.OWN)})
    foreign = Archive(archive.service)
    assert (await archive.read(made.id, reader))[1] == TEXT
    await refused(Code.PERMISSION_DENIED, "RECORD_READ_ONLY", archive.add(customer, who=reader))
    await refused(Code.PERMISSION_DENIED, "RECORD_READ_ONLY", archive.delete(made.id, reader))
    for who in (stranger, foreign.who):
        for asked in (
            archive.add(customer, who=who), archive.get(made.id, who), archive.read(made.id, who), archive.listed(customer, who),
            archive.delete(made.id, who),
        ):  # fmt: skip
            await refused(Code.NOT_FOUND, "NOT_FOUND", asked)
    await refused(Code.INVALID_ARGUMENT, "RECORD_TYPE_UNKNOWN", archive.add(customer, kind="card"))
    assert len(archive.kept()) == 1 and await archive.rows() == 1 and foreign.kept() == []
    assert await archive.jobs(FORGET) == await foreign.jobs(FORGET) == []


async def test_only_who_added_a_file_or_writes_all_deletes_it(archive: Archive) -> None:
    team = uuid4()
    archive.who = replace(archive.who, team_id=team, team_ids=frozenset([team]))
    customer = await archive.customer()
    author, other = (
        archive.colleague({"customers": Rights(Reach.ALL, Reach.TEAM)}, team=team) for _ in range(2)
    )
    made = await archive.add(customer, who=author)
    await refused(Code.PERMISSION_DENIED, "NOT_THE_AUTHOR", archive.delete(made.id, other))
    await refused(Code.ABORTED, "ETAG_MISMATCH", archive.delete(made.id, author, etag="9"))
    await archive.delete(made.id, author, etag=made.etag)
    await archive.delete((await archive.add(customer, who=author)).id)


async def test_a_deleted_file_is_gone_at_once_and_its_bytes_soon(archive: Archive) -> None:
    customer = await archive.customer()
    made = await archive.add(customer)
    key = uuid4().hex
    await archive.delete(made.id, request_id=key)
    await archive.delete(made.id, request_id=key)
    await refused(Code.NOT_FOUND, "NOT_FOUND", archive.get(made.id))
    await refused(Code.NOT_FOUND, "NOT_FOUND", archive.read(made.id))
    assert (await archive.listed(customer)).total_count == 0
    await eventually(lambda: _nothing(archive))
    rows = await archive.service.running.database.read(
        archive.who, "SELECT subject, data FROM outbox WHERE subject LIKE '%.attachment.%' ORDER BY seq"
    )
    assert [row["subject"].rpartition(".")[2] for row in rows] == ["created", "deleted"]
    assert b"storage" not in rows[0]["data"]
    request = history_pb2.ListChangesRequest(record_type="attachment", record_id=made.id)
    await refused(
        Code.NOT_FOUND, "NOT_FOUND",
        archive.service.ask(
            archive.who, "kehu.customers.v1.HistoryService/ListChanges", request, history_pb2.ListChangesResponse
        ),
    )  # fmt: skip


async def test_two_uploads_with_one_request_id_are_one(archive: Archive) -> None:
    customer, key = await archive.customer(), uuid4().hex
    both = await asyncio.gather(*(archive.add(customer, request_id=key) for _ in range(2)))
    assert both[0] == both[1] == await archive.add(customer, request_id=key)
    others: list[dict[str, Any]] = [{"filename": "other.txt"}, {"content": TEXT + b"x"}]
    for other in others:
        await refused(
            Code.ALREADY_EXISTS, "IDEMPOTENCY_KEY_REUSED", archive.add(customer, request_id=key, **other)
        )
    assert (await archive.listed(customer)).total_count == 1

    async def one() -> bool:
        return len(archive.kept()) == 1

    await eventually(one)


async def test_an_upload_that_is_cut_off_leaves_nothing(archive: Archive) -> None:
    customer, begun = await archive.customer(), asyncio.Event()

    async def parts() -> AsyncGenerator[pb.CreateAttachmentRequest]:
        yield pb.CreateAttachmentRequest(record_type="customer", record_id=customer, filename="a.bin")
        for _ in range(40):  # more than is gathered before it is written
            yield pb.CreateAttachmentRequest(content=b"\1" * PIECE)
        begun.set()
        await asyncio.Event().wait()

    call = archive.service.uploading(archive.who, FILES + "CreateAttachment", parts(), pb.Attachment)
    await begun.wait()
    await eventually(lambda: bool(archive.kept()))
    call.cancel()
    await eventually(lambda: _nothing(archive))


@pytest.mark.parametrize("parts", [1, 2, 3])
async def test_what_does_not_say_that_it_is_whole_is_not_kept(parts: int, archive: Archive) -> None:
    """A caller who goes away looks to the service like one who has nothing more to say."""
    some = archive.parts(await archive.customer(), b"\1" * (PIECE + 1))[:parts]
    path = FILES + "CreateAttachment"
    await refused(
        Code.INVALID_ARGUMENT, "FILE_CUT_OFF", archive.service.upload(archive.who, path, some, pb.Attachment)
    )
    await eventually(lambda: _nothing(archive))


async def test_bytes_that_a_dead_process_has_left_are_removed_by_the_job(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after kill -9: nothing of what would tidy up runs, neither behind a half of a file nor before the row of a whole one."""
    customer = await archive.customer()

    async def dies(self: Any) -> None:
        raise asyncio.CancelledError

    from chassis.attachments import rpc

    incoming: Any = vars(rpc)["_Incoming"]
    monkeypatch.setattr(incoming, "_give_up", dies)
    monkeypatch.setattr(rpc, "attach", dies)
    with pytest.raises(BaseException):  # noqa: B017 (whatever is heard of a process that has died)
        await archive.add(customer, b"\1" * 100)
    [whole] = archive.kept()
    half = whole.with_name(f"{whole.name}#1")
    half.write_bytes(b"\1")
    [job] = await archive.jobs(FORGET)
    assert job["key"] == f"customers/{archive.who.tenant_id}/{whole.name}"
    assert job["due_at"] - job["created_at"] == UNCLAIMED
    await run(archive, FORGET, {"storage_key": job["key"]})
    assert archive.kept() == [] and await archive.rows() == 0


async def run(archive: Archive, kind: str, payload: dict[str, Any]) -> None:
    """The job once, as when it is due."""
    call = archive.service.running.call(archive.who.acting_as("customers"))
    await SERVICE.jobs[kind](payload, call)


async def test_the_job_leaves_what_a_row_speaks_of(archive: Archive) -> None:
    made = await archive.add(await archive.customer())
    [kept] = archive.kept()
    await run(archive, FORGET, {"storage_key": f"customers/{archive.who.tenant_id}/{kept.name}"})
    assert (await archive.read(made.id))[1] == TEXT


async def test_a_row_without_its_bytes_is_told_and_so_are_bytes_without_a_row(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    customer = await archive.customer()
    made, other = await archive.add(customer), await archive.add(customer, TEXT + b"2")
    lost, whole = (
        archive.folder / row["storage_key"].rpartition("/")[2]
        for row in await archive.service.running.database.read(
            archive.who, "SELECT storage_key FROM attachments ORDER BY id"
        )
    )
    hidden = lost.with_suffix(".hidden")
    lost.rename(hidden)
    await refused(Code.FAILED_PRECONDITION, "FILE_MISSING", archive.read(made.id))
    await run(archive, LOOK, {})
    assert (await archive.get(made.id)).HasField("missing_time")
    assert not (await archive.get(other.id)).HasField("missing_time")
    hidden.rename(lost)
    await run(archive, LOOK, {})
    assert not (await archive.get(made.id)).HasField("missing_time")

    stray = whole.with_name("f" * 32)
    stray.write_bytes(b"whose?")
    database, files = archive.service.running.database, files_at(archive.service.running.settings.files_url)
    young = await look(database, archive.who, files, "customers")
    assert (young.files, young.missing, young.strays) == (2, 0, 0), "it may belong to an upload in work"
    monkeypatch.setattr("chassis.attachments.upkeep._YOUNG", UNCLAIMED * 0)
    told = await look(database, archive.who, files, "customers")
    assert (told.strays, told.removed) == (1, 0) and stray.exists()
    removed = await look(database, archive.who, files, "customers", remove_strays=True)
    assert removed.removed == 1 and not stray.exists()
    assert (await archive.read(made.id))[1] == TEXT


async def test_a_damaged_file_is_broken_off(archive: Archive) -> None:
    content = b"\1" * (3 * stores.PIECE)
    made = await archive.add(await archive.customer(), content)
    [kept] = archive.kept()
    damaged = bytearray(content)
    damaged[5] = 2
    kept.write_bytes(damaged)
    await refused(Code.FAILED_PRECONDITION, "FILE_DAMAGED", archive.read(made.id))
    kept.write_bytes(content[:-1])
    await refused(Code.FAILED_PRECONDITION, "FILE_DAMAGED", archive.read(made.id))


async def test_parts_behind_the_first_hold_bytes_and_nothing_else(archive: Archive) -> None:
    customer = await archive.customer()
    sly = [*archive.parts(customer, TEXT), pb.CreateAttachmentRequest(record_id=str(uuid4()))]
    path = FILES + "CreateAttachment"
    await refused(
        Code.INVALID_ARGUMENT,
        "MALFORMED_REQUEST",
        archive.service.upload(archive.who, path, sly, pb.Attachment),
    )
    await refused(
        Code.INVALID_ARGUMENT,
        "MALFORMED_REQUEST",
        archive.service.upload(archive.who, path, [], pb.Attachment),
    )
    big = [*archive.parts(customer, b"")[:-1], pb.CreateAttachmentRequest(content=b"\1" * (1024 * 1024 + 1))]
    await refused(
        Code.INVALID_ARGUMENT, "INVALID_FIELD", archive.service.upload(archive.who, path, big, pb.Attachment)
    )
    await refused(
        Code.UNAUTHENTICATED, "SIGN_IN_REQUIRED", archive.service.upload(None, path, sly, pb.Attachment)
    )
    await eventually(lambda: _nothing(archive))
