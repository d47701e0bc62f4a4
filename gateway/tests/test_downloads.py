"""Files in parts through the gateway: as they come, whole or visibly not, and no longer than somebody takes them."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from kehu.exports.v1 import exports_pb2 as pb

from chassis.errors import Invalid, Precondition
from chassis.testing import eventually
from gateway.testing import House

PATH = "/v1/leads/exports"
ASKED = {"recordType": "lead", "format": "EXPORT_FORMAT_CSV", "columns": ["name", "phone"]}
METHOD = "leads.ExportService/CreateExport"


def first(content: bytes = b"\xef\xbb\xbfa\r\n", filename: str = "线索 2026-05-01.csv") -> pb.ExportPart:
    return pb.ExportPart(filename=filename, content_type="text/csv; charset=utf-8", content=content)


async def test_a_file_goes_out_part_by_part_under_its_name(house: House) -> None:
    taken = asyncio.Event()

    async def answers(request: pb.CreateExportRequest) -> AsyncGenerator[pb.ExportPart]:
        assert list(request.columns) == ["name", "phone"] and request.format == pb.EXPORT_FORMAT_CSV
        yield first()
        await taken.wait()  # the first part is with the client before the second is made
        yield pb.ExportPart(content=b"b\r\n")

    house.on(METHOD, answers)
    async with house.http.stream("POST", PATH, json=ASKED, headers=house.bearer()) as answer:
        pieces: list[bytes] = []
        async for piece in answer.aiter_raw():
            pieces.append(piece)
            taken.set()
    assert answer.status_code == 200 and b"".join(pieces) == b"\xef\xbb\xbfa\r\nb\r\n"
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == (
        "attachment; filename=\"__ 2026-05-01.csv\"; filename*=UTF-8''%E7%BA%BF%E7%B4%A2%202026-05-01.csv"
    )
    assert answer.headers["cache-control"] == "no-store" and "content-length" not in answer.headers
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_a_name_cannot_write_headers(house: House) -> None:
    async def answers(request: Any) -> AsyncGenerator[pb.ExportPart]:
        yield first(filename='a"; filename=b\r\nset-cookie: x=y.csv')

    house.on(METHOD, answers)
    answer = await house.http.post(PATH, json=ASKED, headers=house.bearer())
    assert answer.status_code == 200 and "set-cookie" not in answer.headers
    assert answer.headers["content-disposition"].count('"') == 2


async def test_what_is_refused_before_the_file_is_a_problem_document(house: House) -> None:
    async def answers(request: Any) -> AsyncGenerator[pb.ExportPart]:
        raise Invalid("filter", "is none", reason="FILTER_INVALID")
        yield first()

    house.on(METHOD, answers)
    answer = await house.http.post(PATH, json=ASKED, headers=house.bearer())
    assert answer.status_code == 400 and answer.json()["reason"] == "FILTER_INVALID"
    assert answer.headers["content-type"] == "application/problem+json"
    assert (await house.http.post(PATH, json=ASKED)).status_code == 401
    assert (
        await house.http.post("/v1/sales/exports", json={"recordType": "order"}, headers=house.bearer())
    ).status_code >= 400


@pytest.mark.parametrize("version", ["1.1", "1.0"])
async def test_a_file_that_is_broken_off_does_not_look_whole(house: House, version: str) -> None:
    """Also not to a client of HTTP/1.0, as many a proxy is, for whom a file ends with its connection."""

    class SheetTooLarge(Precondition):
        reason = "SHEET_TOO_LARGE"

    async def answers(request: Any) -> AsyncGenerator[pb.ExportPart]:
        yield first(b"x" * 200_000)
        await asyncio.sleep(0)
        raise SheetTooLarge("There is too much.")

    house.on(METHOD, answers)
    if version == "1.1":
        with pytest.raises(httpx.HTTPError):
            await house.http.post(PATH, json=ASKED, headers=house.bearer())
    body = b'{"recordType": "lead", "format": "EXPORT_FORMAT_CSV"}'
    address = urlsplit(str(house.http.base_url))
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    head = f"POST {PATH} HTTP/{version}\r\nhost: localhost\r\nauthorization: Bearer {house.token()}\r\n"
    head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(reader.read(), 10)
        assert not await asyncio.wait_for(reader.read(), 10), "the end came in good order"
    writer.close()


async def test_a_client_that_goes_away_ends_the_work(house: House) -> None:
    ended = asyncio.Event()

    async def answers(request: Any) -> AsyncGenerator[pb.ExportPart]:
        try:
            yield first()
            for _ in range(100_000):
                yield pb.ExportPart(content=b"x" * 60_000)
        finally:
            ended.set()

    house.on(METHOD, answers)
    async with house.http.stream("POST", PATH, json=ASKED, headers=house.bearer()) as answer:
        async for _ in answer.aiter_raw():
            break
    await asyncio.wait_for(ended.wait(), 5)


async def test_a_client_that_goes_away_while_nothing_comes_ends_the_work(house: House) -> None:
    ended = asyncio.Event()

    async def answers(request: Any) -> AsyncGenerator[pb.ExportPart]:
        try:
            yield first()
            await asyncio.sleep(60)
        finally:
            ended.set()

    house.on(METHOD, answers)
    async with house.http.stream("POST", PATH, json=ASKED, headers=house.bearer()) as answer:
        async for _ in answer.aiter_raw():
            break
    await asyncio.wait_for(ended.wait(), 5)


async def test_a_slow_client_slows_the_service_down(house: House) -> None:
    made = 0

    async def answers(request: Any) -> AsyncGenerator[pb.ExportPart]:
        nonlocal made
        yield first()
        while made < 5_000:
            made += 1
            yield pb.ExportPart(content=b"x" * 60_000)

    house.on(METHOD, answers)
    async with house.http.stream("POST", PATH, json=ASKED, headers=house.bearer()) as answer:
        async for _ in answer.aiter_raw():
            break
        before = -1
        while before != made:  # until what is on the way has filled everything there is to fill
            before = made
            await asyncio.sleep(0.3)
        assert made < 500, "30 MB are on their way to somebody who reads nothing"


async def test_a_session_that_ends_ends_its_download(house: House) -> None:
    who = house.somebody_of("acme")

    async def answers(request: Any) -> AsyncGenerator[pb.ExportPart]:
        yield first()
        while True:
            await asyncio.sleep(0.1)
            yield pb.ExportPart(content=b"x")

    house.on(METHOD, answers)
    with pytest.raises(httpx.HTTPError):
        async with house.http.stream("POST", PATH, json=ASKED, headers=house.bearer(who)) as answer:
            async for _ in answer.aiter_raw():
                house.living.discard(str(who.session_id))


async def test_more_files_at_once_than_the_gateway_sends_are_refused_at_once(house: House) -> None:
    async def answers(request: Any) -> AsyncGenerator[pb.ExportPart]:
        yield first()
        await asyncio.sleep(60)

    peer = house.on(METHOD, answers)
    async with httpx.AsyncClient(
        base_url=house.http.base_url, timeout=20, limits=httpx.Limits(max_connections=60)
    ) as http:
        tasks = [
            asyncio.create_task(http.post(PATH, json=ASKED, headers=house.bearer(house.somebody_of(f"t{n}"))))
            for n in range(32)
        ]
        await eventually(lambda: len(peer.calls) == 32)
        refused = await house.http.post(PATH, json=ASKED, headers=house.bearer())
        assert refused.status_code == 503 and refused.json()["reason"] == "TOO_BUSY"
        # Others are served: no download holds a place among the requests.
        assert (await house.http.get("/v1/me", headers=house.bearer())).status_code in (200, 500)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_the_documentation_says_that_a_file_comes(house: House) -> None:
    document = (await house.http.get("/openapi.json")).json()
    operation = document["paths"][PATH]["post"]
    assert list(operation["responses"]["200"]["content"]) == ["*/*"]
    assert operation["x-kehu-access"] == {"act": "write", "right": "exports"}
