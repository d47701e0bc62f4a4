"""What the gateway says to those who speak no HTTP, or say more than it listens to."""

import asyncio
import json
from typing import Any

import pytest

from gateway.testing import House

_START = b"GET /v1/leads HTTP/1.1\r\nhost: 127.0.0.1\r\n"


async def said(house: House, *pieces: bytes) -> tuple[int, dict[str, Any]]:
    """Status and problem document of what is answered to these bytes, sent in pieces until the gateway hangs up."""
    url = house.http.base_url
    reader, writer = await asyncio.open_connection(url.host, url.port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
    except ConnectionError:
        pass  # it has heard enough
    head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)).decode().lower()
    length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
    body = json.loads(await reader.readexactly(length))
    writer.close()
    assert "content-type: application/problem+json" in head and body["traceId"] in head
    return int(head.split()[1]), body


@pytest.mark.parametrize(
    "nonsense", [b"\x16\x03\x01\0\0", b"GET\r\n\r\n", b"GET /\xff HTTP/1.1\r\n\r\n", b"GET / HTTP/9\r\n\r\n"]
)
async def test_what_is_no_http_gets_a_problem_document(house: House, nonsense: bytes) -> None:
    status, problem = await said(house, nonsense)
    assert (status, problem["status"], problem["reason"]) == (400, 400, "MALFORMED_REQUEST")


async def test_an_address_beyond_what_the_parser_takes_is_too_long(house: House) -> None:
    status, problem = await said(
        house, b"GET /v1/leads?filter=" + b"a" * 80_000 + b" HTTP/1.1\r\nhost: a\r\n\r\n"
    )
    assert (status, problem["reason"]) == (414, "ADDRESS_TOO_LONG")


async def test_a_head_that_does_not_end_is_not_kept(house: House) -> None:
    endless = (b"x-%d: " % number + b"a" * 10_000 + b"\r\n" for number in range(1_000))
    assert (await said(house, _START, *endless))[0] == 431
    one_value = (b"a" * 10_000 for _ in range(1_000))
    assert (await said(house, _START + b"x-long: ", *one_value))[0] == 431


async def test_a_head_that_ends_beyond_the_limit_is_refused(house: House) -> None:
    answer = await house.http.get("/v1/leads", headers=house.bearer(**{"x-long": "a" * 70_000}))
    assert (answer.status_code, answer.json()["reason"]) == (431, "HEADERS_TOO_LARGE")


async def test_a_small_head_before_a_large_body_is_fine(house: House) -> None:
    large = {"companyName": "a" * 400_000}
    for _ in range(2):  # on one connection: the second head begins in its own piece
        answer = await house.http.post("/v1/leads", json=large, headers=house.bearer())
        assert answer.status_code != 431
