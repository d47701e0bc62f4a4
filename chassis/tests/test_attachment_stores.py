"""Files in a folder, in memory and in S3: what is asked of a store is what each of them does."""

import asyncio
import re
import threading
from collections.abc import AsyncGenerator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from uuid import uuid4

import pytest

from chassis.attachments.files import PIECE, FileDamaged, FileMissing, Files, FileTooLarge, new_key, prefix_of
from chassis.errors import Unavailable

MOST = 20 * 1024 * 1024


class Bucket(ThreadingHTTPServer):
    """As much of S3 as is asked for: whole objects and those in parts, without looking at signatures."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Asked)
        self.objects: dict[str, bytes] = {}
        self.parts: dict[str, dict[int, bytes]] = {}
        self.aborted = 0


class _Asked(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Bucket  # pyright: ignore[reportIncompatibleVariableOverride]

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""

    def _said(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"content-length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _body(self) -> bytes:
        sent = self.rfile.read(int(self.headers.get("content-length", 0)))
        return sent

    @property
    def _key(self) -> str:
        return unquote(urlsplit(self.path).path).removeprefix("/bucket/")

    @property
    def _query(self) -> dict[str, str]:
        return {k: v[0] for k, v in parse_qs(urlsplit(self.path).query, keep_blank_values=True).items()}

    def do_PUT(self) -> None:
        body, query = self._body(), self._query
        if "uploadId" in query:
            self.server.parts[query["uploadId"]][int(query["partNumber"])] = body
        else:
            self.server.objects[self._key] = body
        self._said(200, etag=f'"{uuid4().hex}"')

    def do_POST(self) -> None:
        query, body = self._query, self._body().decode()
        if "delete" in query:
            keys = re.findall("<Key>(.*?)</Key>", body)
            for key in keys:
                self.server.objects.pop(key, None)
            told = "".join(f"<Deleted><Key>{key}</Key></Deleted>" for key in keys)
            xml = f"<DeleteResult>{told}</DeleteResult>"
        elif "uploads" in query:
            upload = uuid4().hex
            self.server.parts[upload] = {}
            xml = f"<InitiateMultipartUploadResult><UploadId>{upload}</UploadId></InitiateMultipartUploadResult>"
        else:
            parts = self.server.parts.pop(query["uploadId"])
            self.server.objects[self._key] = b"".join(parts[number] for number in sorted(parts))
            xml = '<CompleteMultipartUploadResult><ETag>"x"</ETag></CompleteMultipartUploadResult>'
        self._said(200, xml.encode(), content_type="application/xml")

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        if "list-type" in self._query:
            return self._list(self._query.get("prefix", ""))
        body = self.server.objects.get(self._key)
        if body is None:
            return self._said(404, b"<Error><Code>NoSuchKey</Code></Error>")
        return self._said(200, body, etag='"x"', last_modified="Fri, 27 Nov 2026 08:00:00 GMT")

    def _list(self, prefix: str) -> None:
        found = "".join(
            f"<Contents><Key>{key}</Key><LastModified>2026-11-27T08:00:00.000Z</LastModified><ETag>&quot;x&quot;</ETag>"
            f"<Size>{len(body)}</Size></Contents>"
            for key, body in sorted(self.server.objects.items())
            if key.startswith(prefix)
        )
        xml = f"<ListBucketResult><IsTruncated>false</IsTruncated>{found}</ListBucketResult>"
        self._said(200, xml.encode(), content_type="application/xml")

    def do_DELETE(self) -> None:
        if "uploadId" in self._query:
            self.server.parts.pop(self._query["uploadId"])
            self.server.aborted += 1
        else:
            self.server.objects.pop(self._key, None)
        self._said(204)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    server = Bucket()
    serving = threading.Thread(target=server.serve_forever, daemon=True)
    serving.start()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}", "AWS_ALLOW_HTTP": "true", "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(params=["folder", "memory", "s3"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Files:
    match request.param:
        case "folder":
            return Files(str(tmp_path / "files"))
        case "memory":
            return Files("memory:///")
        case _:
            request.getfixturevalue("bucket")
            return Files("s3://bucket")


async def sent(*sizes: int) -> AsyncGenerator[bytes]:
    for size in sizes:
        yield b"\1" * size


def _anything(head: bytes) -> None:
    pass


@pytest.mark.parametrize("size", [1, PIECE, MOST])
async def test_what_goes_in_comes_out(size: int, files: Files) -> None:
    tenant = uuid4()
    key = new_key("leads", tenant)
    taken = await files.take(key, sent(*[PIECE] * (size // PIECE), size % PIECE), MOST, _anything)
    assert taken.size == size
    there = await files.look(key)
    assert there is not None and there.size == size
    assert b"".join([part async for part in files.send(key, size, taken.sha256)]) == b"\1" * size
    listed = [one.key async for some in files.all(prefix_of("leads", tenant)) for one in some]
    assert listed == [key]
    await files.forget(key)
    await files.forget(key)
    assert await files.look(key) is None
    with pytest.raises(FileMissing):
        await anext(files.send(key, size, taken.sha256))


async def test_what_is_too_large_or_not_liked_is_not_there(files: Files) -> None:
    key = new_key("leads", uuid4())
    with pytest.raises(FileTooLarge):
        await files.take(key, sent(*[PIECE] * 100), MOST, _anything)

    def dislikes(head: bytes) -> None:
        raise FileDamaged

    with pytest.raises(FileDamaged):
        await files.take(key, sent(*[PIECE] * 40), MOST, dislikes)

    async def breaks_off() -> AsyncGenerator[bytes]:
        async for part in sent(*[PIECE] * 40):
            yield part
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await files.take(key, breaks_off(), MOST, _anything)
    assert await files.look(key) is None


async def test_what_was_changed_is_seen(files: Files) -> None:
    key = new_key("leads", uuid4())
    taken = await files.take(key, sent(PIECE * 3), MOST, _anything)
    for size, digest in ((taken.size, "0" * 64), (taken.size + 1, taken.sha256)):
        with pytest.raises(FileDamaged):
            async for _ in files.send(key, size, digest):
                pass


async def test_an_upload_in_parts_that_is_refused_is_ended_in_the_bucket(bucket: Bucket) -> None:
    with pytest.raises(FileTooLarge):
        await Files("s3://bucket/inside").take("a/b/c", sent(*[PIECE] * 100), MOST, _anything)
    assert bucket.objects == {} and bucket.parts == {} and bucket.aborted == 1
    await Files("s3://bucket/inside").take("a/b/c", sent(5), MOST, _anything)
    assert list(bucket.objects) == ["inside/a/b/c"]


async def test_a_store_that_is_away_is_told_without_its_address(tmp_path: Path) -> None:
    (tmp_path / "files").write_text("no folder")
    with pytest.raises(Unavailable) as refused:
        Files(str(tmp_path / "files"))
    assert refused.value.reason == "FILES_UNAVAILABLE" and not re.search("/|files_", refused.value.message)
