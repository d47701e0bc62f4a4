"""Files through the gateway on their way in: passed on as they come, refused when it is known, let go of with clients."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from kehu.attachments.v1 import attachments_pb2 as pb

from chassis.errors import Invalid, Precondition
from chassis.ids import new_id
from chassis.testing import Keys, eventually
from gateway.testing import House, running_gateway

PATH = "/v1/customers/attachments"
METHOD = "customers.AttachmentService/CreateAttachment"
RECORD = str(new_id())
ON = {"recordType": "customer", "recordId": RECORD}
EDGE = b"----edge"


class Taken:
    """What a service was given."""

    def __init__(self, house: House) -> None:
        self.parts: list[pb.CreateAttachmentRequest] = []
        self.ended = False
        house.on(METHOD, self._take)

    @property
    def whole(self) -> bool:
        """Whether the last part has come. A call that is given up ends like one that has said everything."""
        return bool(self.parts) and self.parts[-1].complete

    @property
    def content(self) -> bytes:
        return b"".join(part.content for part in self.parts)

    async def _take(self, parts: AsyncIterator[pb.CreateAttachmentRequest]) -> pb.Attachment:
        async for part in parts:
            self.parts.append(part)
        self.ended = True
        return pb.Attachment(id=RECORD, etag="1", size_bytes=len(self.content))


def form(*texts: tuple[str, str], content: bytes = b"content", name: str = "a.txt") -> bytes:
    """A form whose last part is a file."""
    parts = [
        b'Content-Disposition: form-data; name="%s"\r\n\r\n%s' % (k.encode(), v.encode()) for k, v in texts
    ]
    parts.append(
        b'Content-Disposition: form-data; name="file"; filename="%s"\r\n\r\n' % name.encode() + content
    )
    return b"".join(b"--" + EDGE + b"\r\n" + part + b"\r\n" for part in parts) + b"--" + EDGE + b"--\r\n"


KIND = f"multipart/form-data; boundary={EDGE.decode()}"


async def test_a_file_goes_on_part_by_part(house: House) -> None:
    taken, content = Taken(house), b"\r\n--x" * 200_000
    answer = await house.http.post(
        PATH, headers=house.bearer(None, **{"idempotency-key": "k1"}), data=ON, files={"file": ("合同.txt", content, "image/png")}
    )  # fmt: skip
    assert answer.status_code == 200, answer.text
    assert answer.json()["sizeBytes"] == str(len(content)) and answer.headers["etag"] == '"1"'
    first, *others = taken.parts
    assert (first.record_type, first.record_id, first.filename, first.request_id) == (
        "customer",
        RECORD,
        "合同.txt",
        "k1",
    )
    assert taken.content == content and len(others) >= 4
    assert all(part.ByteSize() <= 256 * 1024 + 10 and not part.record_id for part in others)


async def test_what_is_said_may_stand_in_the_query(house: House) -> None:
    taken = Taken(house)
    answer = await house.http.post(
        PATH, params=ON, headers=house.bearer(), files={"file": ("../a/b.txt", b"x")}
    )
    assert answer.status_code == 200, answer.text
    assert taken.parts[0].record_id == RECORD and taken.parts[0].filename == "b.txt"


async def test_the_service_has_the_beginning_before_the_client_has_sent_the_end(house: House) -> None:
    taken = Taken(house)
    whole = form(*ON.items(), content=b"x" * 700_000)

    async def body() -> AsyncGenerator[bytes]:
        yield whole[:600_000]
        await eventually(lambda: len(taken.content) > 200_000)
        yield whole[600_000:]

    answer = await house.http.post(PATH, headers=house.bearer(None, **{"content-type": KIND}), content=body())
    assert answer.status_code == 200 and taken.content == b"x" * 700_000


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (form(*ON.items())[:-20], "body"),
        (form(("recordType", "customer"), ("recordType", "customer")), "recordType"),
        (form(*ON.items(), ("colour", "red")), "colour"),
        (form(*ON.items(), ("content", "red")), "content"),
        (form(*ON.items()).replace(b'; filename="a.txt"', b""), "content"),
        (form(*ON.items()).replace(b"--" + EDGE + b"--\r\n", b"") + form(*ON.items()), "body"),
        (b"no form", "body"),
        (b"--" + EDGE + b"--\r\n", "content"),
        (form(*ON.items(), ("recordType", "x" * 9000)), "recordType"),
        (form(*((f"a{number}", "x") for number in range(30))), "body"),
    ],
)  # fmt: skip
async def test_a_form_that_is_none_is_refused(body: bytes, field: str, house: House) -> None:
    taken = Taken(house)
    answer = await house.http.post(PATH, headers=house.bearer(None, **{"content-type": KIND}), content=body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["violations"][0]["field"] == field, answer.text
    assert not taken.whole


@pytest.mark.parametrize(
    "kind",
    ["application/json", "application/octet-stream", "multipart/form-data", "multipart/form-data; boundary="],
)
async def test_another_kind_of_body_is_refused(kind: str, house: House) -> None:
    answer = await house.http.post(PATH, headers=house.bearer(None, **{"content-type": kind}), content=b"{}")
    assert answer.status_code in (400, 415), answer.text
    assert (await house.http.post(PATH, data=ON, files={"file": ("a", b"x")})).status_code == 401


async def test_a_refusal_is_heard_while_the_client_still_sends(house: House) -> None:
    async def refuses(parts: Any) -> pb.Attachment:
        async for _ in parts:
            raise Invalid("filename", "is no picture", reason="FILE_TYPE_MISMATCH")
        raise AssertionError

    house.on(METHOD, refuses)
    answer = await house.http.post(
        PATH, headers=house.bearer(), data=ON, files={"file": ("a.png", b"x" * 6_000_000)}
    )
    assert answer.status_code == 400 and answer.json()["reason"] == "FILE_TYPE_MISMATCH"

    class FileTooLarge(Precondition):
        reason = "FILE_TOO_LARGE"

    async def too_large(parts: Any) -> pb.Attachment:
        raise FileTooLarge("It is.")

    house.on(METHOD, too_large)
    answer = await house.http.post(
        PATH, headers=house.bearer(), data=ON, files={"file": ("a.png", b"x" * 600_000)}
    )
    assert answer.status_code == 413 and answer.json()["reason"] == "FILE_TOO_LARGE"


async def test_a_file_that_says_to_be_too_large_is_not_taken_at_all(keys: Keys, nats_url: str) -> None:
    async with running_gateway(keys, nats_url, max_file_bytes=100_000) as house:
        taken = Taken(house)
        good = await house.http.post(
            PATH, headers=house.bearer(), data=ON, files={"file": ("a", b"x" * 100_000)}
        )
        assert good.status_code == 200, good.text
        answer = await house.http.post(
            PATH, headers=house.bearer(), data=ON, files={"file": ("a", b"x" * 200_000)}
        )
        assert answer.status_code == 413 and answer.json()["reason"] == "FILE_TOO_LARGE"
        assert answer.json()["metadata"]["mostBytes"] == "100000"
        assert len(taken.content) == 100_000


async def test_when_the_client_goes_so_does_the_call(house: House) -> None:
    taken = Taken(house)
    body = form(*ON.items(), content=b"x" * 600_000)
    head = (
        f"POST {PATH} HTTP/1.1\r\nhost: localhost\r\nauthorization: {house.bearer()['authorization']}\r\n"
        f"content-type: {KIND}\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    port = urlsplit(str(house.http.base_url)).port
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head.encode() + body[:500_000])
    await eventually(lambda: len(taken.content) > 200_000)
    writer.close()
    await eventually(lambda: taken.ended)
    assert not taken.whole


async def test_an_upload_ends_with_its_session(house: House) -> None:
    taken = Taken(house)
    who = house.somebody_of("acme")
    head = (
        f"POST {PATH} HTTP/1.1\r\nhost: localhost\r\nauthorization: {house.bearer(who)['authorization']}\r\n"
        f"content-type: {KIND}\r\ncontent-length: 40000000\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(str(house.http.base_url)).port)
    writer.write(head.encode() + form(*ON.items(), content=b"x" * 600_000)[:-20])
    await eventually(lambda: len(taken.content) > 200_000)
    house.living.discard(str(who.session_id))
    answer = asyncio.create_task(reader.readline())
    while not answer.done():
        writer.write(b"x" * 1000)
        await asyncio.sleep(0.02)
    assert b" 401 " in await answer
    await eventually(lambda: taken.ended)
    assert not taken.whole
    writer.close()


async def test_what_is_downloaded_is_saved_and_never_run(house: House) -> None:
    async def sends(request: pb.DownloadAttachmentRequest) -> AsyncGenerator[pb.AttachmentPart]:
        yield pb.AttachmentPart(
            filename='合同"\r\nx: y.html',
            content_type="application/octet-stream",
            size_bytes=6,
            content=b"<b>",
        )
        yield pb.AttachmentPart(content=b"</b"[:3])

    house.on("customers.AttachmentService/DownloadAttachment", sends)
    answer = await house.http.get(f"{PATH}/{RECORD}:download", headers=house.bearer())
    assert answer.status_code == 200 and answer.content == b"<b></b"
    assert answer.headers["content-disposition"].startswith('attachment; filename="__')
    assert answer.headers["content-disposition"].isascii() and "x" not in answer.headers
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"].startswith("sandbox; default-src 'none'")
    assert answer.headers["content-length"] == "6"


async def test_the_document_says_what_to_send(house: House) -> None:
    document = (await house.http.get("/openapi.json")).json()
    operation = document["paths"][PATH]["post"]
    schema = operation["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert list(schema["properties"]) == ["recordType", "recordId", "file"]
    assert schema["required"] == ["recordType", "recordId", "file"] and operation["description"]
