"""Files that go in and out: names that are paths, kinds that are lies, bombs, and cells that a spreadsheet would run."""

import csv
import http.client
import io
import time
import unicodedata
import zipfile
from collections.abc import Callable
from typing import Any

import pytest

from kehu_local.suite import Suite
from tests.security.conftest import Program, keyed

CSV = "text/csv"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


@pytest.fixture(scope="module")
def sender(founded: Callable[[str], Any]) -> Program:
    """The administrator of a company that takes in anything."""
    return keyed(founded("files"))


def sent(sender: Program, name: str, content: bytes, kind: str = CSV, record: str = "lead") -> Any:
    """The answer to an import of that file."""
    domain = {"lead": "leads", "customer": "customers", "product": "sales"}[record]
    path = f"/v1/{domain}/imports"
    files = {"file": (name, content, kind)}
    return sender.http.post(path, headers=sender.headers, data={"recordType": record}, files=files)


# ---- names and paths


@pytest.mark.parametrize(
    "path",
    [
        "/pages/../app.py", "/pages/%2e%2e/app.py", "/pages/..%2fapp.py", "/pages/..%5capp.py", "/pages/....//app.py",
        "/pages//etc/passwd", "/pages/%2fetc%2fpasswd", "/pages/%00/../app.py", "/pages/kehu.js%00.html",
        "/docs/assets/../../../../../../etc/passwd", "/docs/assets/%2e%2e/%2e%2e/%2e%2e/etc/passwd", "/../../etc/passwd",
        "/docs/assets/..;/..;/etc/passwd", "/pages/%c0%ae%c0%ae/app.py",
    ],
)  # fmt: skip
def test_no_path_leads_out_of_the_pages(path: str, suite: Suite) -> None:
    host, _, port = suite.base_url.removeprefix("http://").partition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=20)
    try:
        connection.request("GET", path)  # as it stands: other clients tidy it first
        answer = connection.getresponse()
        body = answer.read()
    finally:
        connection.close()
    assert answer.status in (400, 404), (answer.status, body[:200])
    assert b"root:" not in body and b"import" not in body


@pytest.mark.parametrize(
    "name",
    ["../../../../etc/cron.d/x.csv", "..\\..\\x.csv", "/etc/x.csv", "C:\\x.csv", "a/b/x.csv", "..%2fx.csv"],
)
def test_a_file_name_is_a_name_and_no_path(name: str, sender: Program) -> None:
    answer = sent(sender, name, b"Name\nSomebody\n")
    assert answer.status_code in (200, 400), answer.text
    if answer.status_code == 200:
        kept = answer.json()["filename"]
        assert "/" not in kept and "\\" not in kept
        refused = sender.ask("GET", f"/v1/leads/imports/{answer.json()['id']}/refusedRows")
        assert refused.headers["content-disposition"] == 'attachment; filename="refusedRows.csv"'


def workbook(**parts: str) -> bytes:
    """A small workbook whose parts may be replaced; `__` in a name is a slash, `_xml` its ending."""
    space = "http://schemas.openxmlformats.org"
    known = {
        "[Content_Types].xml": f'<Types xmlns="{space}/package/2006/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        '<Default Extension="xml" ContentType="application/xml"/>'
        '<Override PartName="/xl/workbook.xml" ContentType='
        '"application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{space}/package/2006/relationships"><Relationship Id="r1" '
        f'Type="{space}/officeDocument/2006/relationships/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{space}/spreadsheetml/2006/main" '
        f'xmlns:r="{space}/officeDocument/2006/relationships">'
        '<sheets><sheet name="s" sheetId="1" r:id="r1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{space}/package/2006/relationships"><Relationship Id="r1" '
        f'Type="{space}/officeDocument/2006/relationships/worksheet" Target="worksheets/sheet1.xml"/></Relationships>',
        "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{space}/spreadsheetml/2006/main"><sheetData>'
        '<row r="1"><c r="A1" t="inlineStr"><is><t>Name</t></is></c></row>'
        '<row r="2"><c r="A2" t="inlineStr"><is><t>NAME</t></is></c></row></sheetData></worksheet>',
    }  # fmt: skip
    for name, text in parts.items():
        known[name.replace("__", "/").replace("_xml", ".xml")] = text
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in known.items():
            archive.writestr(name, text)
    return out.getvalue()


SHEET = "xl__worksheets__sheet1_xml"


def test_a_workbook_names_no_file_outside(sender: Program) -> None:
    plain = zipfile.ZipFile(io.BytesIO(workbook())).read("xl/worksheets/sheet1.xml").decode()
    good = sent(sender, "good.xlsx", workbook(), XLSX)
    assert good.status_code == 200 and good.json()["totalRows"] == 1, good.text
    for target in (
        "file:///etc/passwd",
        "/etc/passwd",
        "../../../../../../etc/passwd",
        "http://127.0.0.1:1/x",
    ):
        outside = f'<!DOCTYPE worksheet [<!ENTITY x SYSTEM "{target}">]>' + plain.replace("NAME", "&x;")
        links = '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r1" '
        links += f'Type="http://x/worksheet" TargetMode="External" Target="{target}"/></Relationships>'
        for content in (workbook(**{SHEET: outside}), workbook(xl___rels__workbook_xml_rels=links)):
            answer = sent(sender, "outside.xlsx", content, XLSX)
            assert answer.status_code in (200, 400), answer.text
            assert "root:" not in answer.text


# ---- kinds


PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 64
SCRIPT = b"<html><script>alert(1)</script></html>"


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("x.csv", PNG, CSV),
        ("x.csv", b"PK\x03\x04" + b"\0" * 60, CSV),
        ("x.xlsx", b"Name\nSomebody\n", XLSX),
        ("x.xlsx", SCRIPT, XLSX),
        ("x.xlsx", b"GIF89a" + workbook(), XLSX),
        ("x.xlsx", b"%PDF-1.4\n" + workbook(), XLSX),
        ("x.xlsx", b"\xd0\xcf\x11\xe0" + b"\0" * 64, XLSX),
        ("x.svg", b"<svg onload=alert(1)/>", "image/svg+xml"),
        ("x.html", SCRIPT, "text/html"),
        ("x.php", b"<?php ?>", CSV),
        ("x.csv.exe", b"MZ", CSV),
        ("x.exe", b"MZ", "application/x-msdownload"),
        ("x", b"Name\nSomebody\n", CSV),
        ("x.csv\x00.html", SCRIPT, CSV),
    ],
    ids=lambda value: repr(value)[:24],
)
def test_a_file_is_what_its_name_says(name: str, content: bytes, kind: str, sender: Program) -> None:
    answer = sent(sender, name, content, kind)
    assert answer.status_code == 400, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


def test_what_is_text_is_rows_and_nothing_else(sender: Program) -> None:
    """A page that is called .csv is read as rows, and is given back as a file that is saved."""
    answer = sent(sender, "page.csv", b"Name\n" + SCRIPT + b"\n", "text/html")
    assert answer.status_code == 200 and answer.headers["content-type"] == "application/json"
    back = sender.ask("GET", f"/v1/leads/imports/{answer.json()['id']}/refusedRows")
    assert back.headers["content-type"].startswith(CSV) and back.headers["content-disposition"].startswith(
        "attachment"
    )


# ---- bombs


def _zeros(megabytes: int) -> bytes:
    out = io.BytesIO()
    with (
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("xl/worksheets/sheet1.xml", "w", force_zip64=True) as part,
    ):
        for _ in range(megabytes):
            part.write(b"\0" * (1 << 20))
    return out.getvalue()


def test_bombs_are_refused_and_the_service_lives(suite: Suite, sender: Program) -> None:
    many = io.BytesIO()
    with zipfile.ZipFile(many, "w") as archive:
        for number in range(2100):
            archive.writestr(f"xl/{number}.xml", "")
    laughs = "".join(f'<!ENTITY a{n + 1} "{f"&a{n};" * 10}">' for n in range(9))
    plain = zipfile.ZipFile(io.BytesIO(workbook())).read("xl/worksheets/sheet1.xml").decode()
    laughing = f'<!DOCTYPE worksheet [<!ENTITY a0 "ha">{laughs}]>' + plain.replace("NAME", "&a9;")
    far = plain.replace('r="2"', 'r="1048576"').replace("A2", "XFD1048576")
    bombs = {
        "unpacks to 420 MB": _zeros(420),
        "has many parts": many.getvalue(),
        "laughs": workbook(**{SHEET: laughing}),
        "is far apart": workbook(**{SHEET: far}),
    }
    pid = suite.services["leads"].pid
    for what, content in bombs.items():
        began = time.monotonic()
        answer = sent(sender, "bomb.xlsx", content, XLSX)
        assert answer.status_code in (200, 400), (what, answer.text)
        assert "haha" not in answer.text
        assert what in ("laughs", "is far apart") or answer.status_code == 400, what
        assert time.monotonic() - began < 60, what
        assert sender.ask("GET", "/v1/leads").status_code == 200
    for content in (
        b"Name\n" + b"a" * 200_000 + b"\n",
        b'Name\n"' + b"a," * 400_000,
        b"a," * 5000 + b"a\n1\n",
    ):
        assert sent(sender, "long.csv", content).status_code == 400
    assert suite.services["leads"].pid == pid and suite.services["leads"].alive


# ---- formulas

FORMULAS = (
    "=1+1", "+cmd|' /C calc'!A0", "-2+3+cmd|x", "@SUM(1)", " =1", "\t=1", "\u200b=1", "\u00a0=1", "＝1+1", "＠SUM(1)",
    "\u3000＋1+1", "x;=1+1", "x\t=1+1", "x;  @SUM(1)", "x;＝1", "x\n=1+1", "x;-1+cmd|x", "x;\u200b=1",
)  # fmt: skip


def formulas(content: str) -> list[str]:
    """The cells of a file that a spreadsheet runs, whichever delimiter it believes in."""
    found: list[str] = []
    for delimiter in (",", ";", "\t"):
        # Quotation marks count at the beginning of a cell: a program that believes in another delimiter sees none.
        quoting = csv.QUOTE_MINIMAL if delimiter == "," else csv.QUOTE_NONE
        for line in csv.reader(io.StringIO(content, newline=""), delimiter=delimiter, quoting=quoting):
            found += [cell for cell in line if _runs(cell.strip('"'))]
    return found


def _runs(cell: str) -> bool:
    begun = unicodedata.normalize("NFKC", cell).lstrip("\ufeff\u200b \t\r\n\x00")
    number = begun.lstrip("+-").replace(".", "").replace(",", "").replace(" ", "").rstrip("%").isdigit()
    return begun[:1] in ("=", "+", "-", "@") and not number


def test_a_cell_that_would_be_a_formula_is_seen() -> None:
    assert formulas("a,=1+1\r\n") == ["=1+1"]
    assert formulas("a,x;=1+1\r\n") == ["=1+1"]
    assert formulas("a,x\t＠SUM(1)\r\n") == ["＠SUM(1)"]
    assert formulas("a,'=1+1,-5,+86 138\r\n") == []


def test_no_file_of_ours_holds_a_formula(sender: Program, eventually: Callable[..., Any]) -> None:
    """Rows that are refused come back as they were, but for what would run."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(["Name", "Email", "=cmd|' /C calc'!A1", "Notes"])
    for number, text in enumerate(FORMULAS):
        writer.writerow([text, f"no address {number}", text, text])
    made = sent(sender, "=1+1.csv", out.getvalue().encode(), CSV).json()
    started = sender.ask("POST", f"/v1/leads/imports/{made['id']}:start", {})
    assert started.status_code == 200, started.text
    under_way = ("IMPORT_STATE_READY", "IMPORT_STATE_RUNNING")
    eventually(lambda: _state(sender, made["id"]) not in under_way, 60)
    back = sender.ask("GET", f"/v1/leads/imports/{made['id']}/refusedRows")
    text = back.content.decode("utf-8-sig")
    assert text.count("no address") >= len(FORMULAS), text
    assert formulas(text) == []


def _state(sender: Program, id: str) -> str:
    return str(sender.ask("GET", f"/v1/leads/imports/{id}").json()["state"])
