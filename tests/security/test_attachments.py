"""Files on records, attacked: names that are paths, kinds that are lies, bombs, scripts, and files of others."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kehu_local.suite import Suite
from proof.company import MARK, World
from tests.security.conftest import Program, keyed

HTML = b"<!DOCTYPE html><html><body onload=alert(1)><script>alert(1)</script></body></html>"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"><script>alert(1)</script></svg>'
OCTETS = "application/octet-stream"


@pytest.fixture(scope="module")
def keeper(founded: Callable[[str], Any]) -> Program:
    """The administrator of a company that keeps files."""
    return keyed(founded("archive"))


@pytest.fixture(scope="module")
def customer(keeper: Program) -> str:
    return keeper.ask("POST", "/v1/customers", {"displayName": "Somebody"}).json()["id"]


def sent(who: Program, customer: str, name: str, content: bytes, kind: str = OCTETS, **more: Any) -> Any:
    """The answer to an upload."""
    data = {"recordType": "customer", "recordId": customer}
    files = {"file": (name, content, kind)}
    return who.ask("POST", "/v1/customers/attachments", data=data, files=files, **more)


def taken(who: Program, id: str) -> Any:
    """The answer to a download."""
    return who.ask("GET", f"/v1/customers/attachments/{id}:download")


def on_disk(suite: Suite, *parts: str) -> list[Path]:
    """All files that lie there."""
    return [path for path in (suite.var / "files").joinpath(*parts).rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    "name",
    [
        "../../../../etc/cron.d/x.txt", "..\\..\\x.txt", "/etc/x.txt", "C:\\x.txt", "a/b/x.txt", "..%2f..%2fx.txt", "x.txt\0.png",
        "x\r\nset-cookie: a=b.txt", 'x"; filename="y.html', "\u202etxt.exe.txt", "....//x.txt", "~/.ssh/authorized_keys.txt",
        "con:stream.txt", "<script>alert(1)</script>.txt", "x" * 900 + ".txt",
    ],
)  # fmt: skip
def test_a_name_leads_nowhere(name: str, keeper: Program, customer: str, suite: Suite) -> None:
    answer = sent(keeper, customer, name, b"text")
    assert answer.status_code in (200, 400), answer.text
    if answer.status_code == 400:
        return
    made = answer.json()
    assert not set('/\\\r\n\0"<>:') & set(made["filename"]) and len(made["filename"]) <= 200
    assert "\u202e" not in made["filename"] and not made["filename"].startswith(".")
    got = taken(keeper, made["id"])
    assert got.content == b"text" and "set-cookie" not in got.headers
    assert got.headers["content-disposition"].startswith('attachment; filename="')
    assert got.headers["content-disposition"].count('"') == 2 and got.headers["content-disposition"].isascii()
    tenant = claims_tenant(keeper)
    for path in on_disk(suite):
        assert len(path.name) == 32 and path.parent.parent.name in (
            "customers",
            "leads",
            "sales",
            "marketing",
            "servicedesk",
        ), path
    assert on_disk(suite, "customers", tenant)


def claims_tenant(who: Program) -> str:
    return who.ask("GET", "/v1/me").json()["tenant"]["id"]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.png", HTML, "FILE_TYPE_MISMATCH"), ("a.jpg", SVG, "FILE_TYPE_MISMATCH"), ("a.pdf", HTML, "FILE_TYPE_MISMATCH"),
        ("a.gif", b"<?php system($_GET[0]);", "FILE_TYPE_MISMATCH"), ("a.docx", b"MZ\x90\0", "FILE_TYPE_FORBIDDEN"),
        ("a.exe", b"text", "FILE_TYPE_FORBIDDEN"), ("a.txt", b"MZ\x90\0\3\0", "FILE_TYPE_FORBIDDEN"),
        ("a.txt", b"\x7fELF\2\1\1", "FILE_TYPE_FORBIDDEN"), ("a.txt", b"", "FILE_EMPTY"),
    ],
)  # fmt: skip
def test_a_kind_that_is_a_lie_is_refused(
    name: str, content: bytes, reason: str, keeper: Program, customer: str
) -> None:
    # What the sender says of it is not asked.
    for kind in (OCTETS, "image/png", "text/html"):
        answer = sent(keeper, customer, name, content, kind)
        assert answer.status_code == 400 and answer.json()["reason"] == reason, answer.text


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("page.html", HTML), ("page.htm", HTML), ("logo.svg", SVG), ("x.xml", b"<?xml version='1.0'?><x/>"), ("x.xhtml", HTML),
        ("x.txt", HTML), ("x.js", b"alert(1)"), ("x", HTML), ("x.html", HTML.decode().encode("utf-16")), ("x.xls", HTML),
        ("x.css", b"body{}"), ("x.wasm", b"\0asm\1\0\0\0"),
    ],
)  # fmt: skip
def test_what_a_browser_would_run_is_saved(name: str, content: bytes, keeper: Program, customer: str) -> None:
    made = sent(keeper, customer, name, content, "text/html").json()
    assert made["contentType"] == OCTETS, made
    _only_saved(taken(keeper, made["id"]), content)


def _only_saved(answer: Any, content: bytes) -> None:
    assert answer.status_code == 200 and answer.content == content
    assert answer.headers["content-disposition"].startswith("attachment")
    assert answer.headers["x-content-type-options"] == "nosniff"
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("sandbox;") and "default-src 'none'" in policy and "allow" not in policy
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("a.gif", b"GIF89a/*" + HTML + b"*/=1;alert(1)", "image/gif"),
        ("a.pdf", b"%PDF-1.4\n" + HTML, "application/pdf"),
        ("a.jpg", b"\xff\xd8\xff\xfe" + HTML, "image/jpeg"),
        ("a.zip", b"PK\x03\x04" + HTML, "application/zip"),
    ],
)
def test_a_file_of_two_kinds_is_saved_like_any_other(
    name: str, content: bytes, kind: str, keeper: Program, customer: str
) -> None:
    made = sent(keeper, customer, name, content).json()
    assert made["contentType"] == kind
    _only_saved(taken(keeper, made["id"]), content)


def test_a_bomb_is_kept_and_not_opened(keeper: Program, customer: str) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/worksheets/sheet1.xml", b"\0" * 50_000_000)
    for name in ("a.zip", "a.xlsx", "a.docx"):
        made = sent(keeper, customer, name, out.getvalue())
        assert made.status_code == 200 and made.elapsed.total_seconds() < 10, made.text
        assert made.json()["sizeBytes"] == str(len(out.getvalue()))


def test_a_file_that_is_too_large_is_not_kept(keeper: Program, suite: Suite) -> None:
    record = keeper.ask("POST", "/v1/customers", {"displayName": "Small"}).json()["id"]
    before = len(on_disk(suite))

    def body() -> Any:
        yield b'--e\r\nContent-Disposition: form-data; name="recordType"\r\n\r\ncustomer\r\n'
        yield b'--e\r\nContent-Disposition: form-data; name="recordId"\r\n\r\n' + record.encode() + b"\r\n"
        yield b'--e\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n\r\n'
        for _ in range(60):
            yield b"\1" * 1024 * 1024

    headers = {"content-type": "multipart/form-data; boundary=e"}
    # Without a length nobody can know it before it has come.
    answer = keeper.ask("POST", "/v1/customers/attachments", headers=headers, content=body())
    assert answer.status_code == 413 and answer.json()["reason"] == "FILE_TOO_LARGE", answer.text
    said = keeper.ask(
        "POST", "/v1/customers/attachments", headers={**headers, "content-length": str(60 * 1024 * 1024)}, content=body()
    )  # fmt: skip
    assert said.status_code == 413 and said.json()["reason"] == "FILE_TOO_LARGE", said.text
    assert (
        keeper.ask(
            "GET", "/v1/customers/attachments", params={"recordType": "customer", "recordId": record}
        ).json()
        == {}
    )
    assert len(on_disk(suite)) <= before + 1


def test_files_and_notes_of_another_company_are_not_there(
    world: World, rival: Any, rows_of: Any, suite: Suite
) -> None:
    thief = keyed(rival)
    theirs = thief.ask("POST", "/v1/customers", {"displayName": "Theirs"}).json()["id"]
    look = rows_of(world.tenant_id)
    look.settled()
    before = len(on_disk(suite, "customers", world.tenant_id))
    kind = {
        "customers": "customer", "leads": "lead", "sales": "order", "marketing": "campaign", "servicedesk": "ticket",
    }  # fmt: skip
    for domain, record in kind.items():
        for papers in ("attachment", "note"):
            id = world.ids[f"{domain}_{papers}_id"]
            ours = {"recordType": record, "recordId": world.ids[f"{record}_id"]}
            for answer in (
                thief.ask("GET", f"/v1/{domain}/{papers}s/{id}"),
                thief.ask("GET", f"/v1/{domain}/{papers}s/{id}:download") if papers == "attachment" else None,
                thief.ask("DELETE", f"/v1/{domain}/{papers}s/{id}"),
                thief.ask("GET", f"/v1/{domain}/{papers}s", params=ours),
                thief.ask("PATCH", f"/v1/{domain}/notes/{id}", {"text": "x"}) if papers == "note" else None,
                thief.ask("POST", f"/v1/{domain}/notes", {**ours, "text": "x"}) if papers == "note" else None,
            ):
                assert answer is None or answer.status_code == 404, answer.text
                assert answer is None or MARK not in answer.text
    assert sent(thief, world.ids["customer_id"], "a.txt", b"text").status_code == 404
    # Their own record takes no file of ours by its key, and no id that is chosen.
    answer = sent(thief, theirs, "a.txt", b"text", params={"storageKey": f"customers/{world.tenant_id}/x"})
    assert answer.status_code == 400, answer.text
    assert look.unchanged()
    assert len(on_disk(suite, "customers", world.tenant_id)) == before


def test_who_may_only_read_adds_nothing(
    world: World, program: Callable[..., Program], rows_of: Any, suite: Suite
) -> None:
    reader = program(world.owner.sign_in(), {"customers": ("ALL", "OWN")})
    look = rows_of(world.tenant_id)
    look.settled()
    before = len(on_disk(suite, "customers", world.tenant_id))
    file, note = world.ids["customers_attachment_id"], world.ids["customers_note_id"]
    ours = {"recordType": "customer", "recordId": world.ids["customer_id"]}
    assert taken(reader, file).status_code == 200
    for answer in (
        sent(reader, world.ids["customer_id"], "a.txt", b"text"),
        reader.ask("DELETE", f"/v1/customers/attachments/{file}"),
        reader.ask("POST", "/v1/customers/notes", {**ours, "text": "x"}),
        reader.ask("PATCH", f"/v1/customers/notes/{note}", {"text": "x"}),
        reader.ask("DELETE", f"/v1/customers/notes/{note}"),
    ):
        assert answer.status_code == 403, answer.text
    assert look.unchanged()
    assert len(on_disk(suite, "customers", world.tenant_id)) == before
