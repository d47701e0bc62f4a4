"""What the edge of the gateway is sent in bad faith: ranges, parts of forms, hosts."""

import http.client
import time
from typing import Any

import pytest

from kehu_local.suite import Suite
from proof.company import World
from tests.security.conftest import Program

SOON = 15.0
"""Seconds in which a busy machine answers what costs next to nothing."""


@pytest.mark.parametrize(
    "path", ["/pages/kehu.js", "/docs/assets/swagger-ui-bundle.js", "/", "/v1/customers"]
)
def test_ranges_cost_nothing(path: str, us: Program) -> None:
    """Many small ranges made servers answer with more than the file, or work on the header for minutes."""
    whole = us.http.get(path, headers=us.headers)
    many = ",".join(f"{n}-{n}" for n in range(0, 10_000, 2))
    overlapping = ",".join(f"{n}-" for n in range(1000))
    for ranges in (
        many[:12_000],
        overlapping,
        "-1," * 3000,
        "0-0,-" + "9" * 400,
        "1" * 12_000,
        "," * 12_000,
        "0-,0-,0-",
        "x",
        "-",
    ):
        began = time.monotonic()
        answer = us.http.get(path, headers={**us.headers, "range": f"bytes={ranges}"})
        assert time.monotonic() - began < SOON, ranges[:40]
        assert answer.status_code in (200, 206, 400, 416, 431), (ranges[:40], answer.status_code)
        assert len(answer.content) <= max(len(whole.content), 1 << 20), ranges[:40]


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data; boundary=" + "x" * 71, b""),
        ("multipart/form-data; boundary=\r\n", b""),
        ("multipart/form-data; boundary=x", b"\r\n--x" * 100_000),
        ("multipart/form-data; boundary=x", b"--x\r" * 100_000),
        ("multipart/form-data; boundary=x", b"\r\n" * 300_000),
        (
            "multipart/form-data; boundary=x",
            b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n" * 1000 + b"--x--\r\n",
        ),
        ("multipart/form-data; boundary=x", b"--x\r\n" + b"A: " + b"b" * 500_000 + b"\r\n\r\n1\r\n--x--\r\n"),
        ("multipart/form-data; boundary=x", b"--x\r\n" + b"A: b\r\n" * 50_000 + b"\r\n1\r\n--x--\r\n"),
        ('multipart/form-data; boundary=x; a="' + "\\" * 7000, b"--x--\r\n"),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="' + b"\\" * 7000 + b'"\r\n\r\n1\r\n--x--\r\n',
        ),
        ("application/x-www-form-urlencoded; charset=" + "\\" * 7000, b"n=1"),
        ("application/x-www-form-urlencoded", b"&".join(b"a%d=1" % n for n in range(50_000))),
        ("application/x-www-form-urlencoded", b"a" * 900_000),
    ],
    ids=range(13),
)
def test_multipart_that_would_take_long(kind: str, body: bytes, world: World, us: Program) -> None:
    form = us.ask("GET", f"/v1/forms/{world.ids['form_id']}").json()["publicKey"]
    for path in ("/v1/leads/imports", f"/v1/forms/{form}x:submit"):
        began = time.monotonic()
        answer = us.http.post(
            path, content=body, headers={**us.headers, "content-type": kind.replace("\r\n", "")}
        )
        assert time.monotonic() - began < SOON
        assert 400 <= answer.status_code < 500, answer.text


def raw(suite: Suite, headers: list[tuple[str, str]], path: str = "/v1/customers") -> Any:
    """The answer to a GET with just these headers."""
    host, _, port = suite.base_url.removeprefix("http://").partition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=20)
    try:
        connection.putrequest("GET", path, skip_host=True, skip_accept_encoding=True)
        for name, value in headers:
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        answer.read()
        return answer
    finally:
        connection.close()


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:80",
        "localhost.evil.example",
        "localhost@evil.example",
        "127.0.0.1 evil",
        "",
        "127.0.0.1/x",
    ],
)
def test_hosts_that_would_be_believed(host: str, suite: Suite, world: World, us: Program) -> None:
    key = ("x-api-key", us.headers["x-api-key"])
    assert raw(suite, [("Host", host), key]).status in (400, 421)
    assert raw(suite, [("Host", host), key], f"{suite.base_url}/v1/customers").status in (400, 404, 421)
    good = suite.base_url.removeprefix("http://")
    assert raw(suite, [("Host", good), ("Host", host), key]).status in (400, 421)
    # Nor is what only a proxy of ours could say.
    form = f"/v1/forms/{world.ids['form_id']}/snippet"
    said = {
        "x-forwarded-host": host,
        "x-forwarded-proto": "https",
        "forwarded": f"host={host}",
        "x-original-url": "/v1/people",
    }
    page = us.http.get(form, headers={**us.headers, **said})
    assert page.status_code == 200 and f'action="{suite.base_url}/' in page.text
    assert not host or "evil" not in page.text
