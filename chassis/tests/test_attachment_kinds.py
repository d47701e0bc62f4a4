"""What files are by their first bytes, what they may be called, and what is not taken."""

from typing import Any

import pytest

from chassis.attachments.kinds import HEAD, UNKNOWN, FileTypes, kind_of, sniffed
from chassis.attachments.names import MOST, ending_of, tidy_name
from chassis.errors import Invalid
from chassis.settings import Settings

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 100
JPEG = b"\xff\xd8\xff\xe0" + b"\0" * 100
PDF = b"%PDF-1.7\n1 0 obj"
ZIP = b"PK\x03\x04" + b"\0" * 100
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 100
EXE = b"MZ\x90\0\x03\0\0\0" + b"\0" * 100
HTML = b"<!DOCTYPE html><script>alert(1)</script>"
SVG = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>'


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (PNG, "image/png"), (JPEG, "image/jpeg"), (b"GIF89a\1\0", "image/gif"), (PDF, "application/pdf"),
        (ZIP, "application/zip"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"), (b"RIFF\0\0\0\0WAVEfmt ", "audio/wav"), (b"\0\0\0\x18ftypisom", "video/mp4"),
        (b"\0\0\0\x18ftypheic", "image/heic"), (EXE, "application/x-msdownload"), (b"\x7fELF\2\1", "application/x-executable"),
        (HTML, "text/html"), (SVG, "text/html"), (b"\xef\xbb\xbf  <html>", "text/html"),
        (b"x" * 3000 + b"<script src=//x>", "text/html"),
        ("<html><b>名</b>".encode("utf-16"), "text/html"), (b"<\0h\0t\0m\0l\0>\0", "text/html"),
        ("张伟，北京".encode(), "text/plain"), ("张伟，北京".encode("gb18030"), "text/plain"),
        (b"BM is no picture", "text/plain"),
        (b"MZ is the code of Mozambique", "text/plain"), (b"\1\2\3", ""), (b"", ""),
    ],
)  # fmt: skip
def test_kinds_are_told_by_content(head: bytes, kind: str) -> None:
    assert sniffed(head[:HEAD]) == kind


@pytest.mark.parametrize(
    ("name", "head", "kind"),
    [
        ("a.png", PNG, "image/png"), ("A.JPG", JPEG, "image/jpeg"), ("合同.pdf", PDF, "application/pdf"),
        ("a.docx", ZIP, "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
        ("a.xls", OLE, "application/vnd.ms-excel"), ("export.xls", HTML, UNKNOWN), ("a.csv", b"a,b\n", "text/csv"),
        ("a.txt", b"text", "text/plain"), ("page.html", HTML, UNKNOWN), ("logo.svg", SVG, UNKNOWN), ("a", PNG, "image/png"),
        ("a.txt", HTML, UNKNOWN), ("a.js", b"alert(1)", UNKNOWN), ("a.bin", b"\1\2\3", UNKNOWN), ("a.txt", PNG, "image/png"),
    ],
)  # fmt: skip
def test_what_a_browser_could_run_is_called_nothing_it_knows(name: str, head: bytes, kind: str) -> None:
    assert kind_of(name, head) == kind


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("a.png", HTML), ("a.png", JPEG), ("a.jpg", SVG), ("a.pdf", HTML), ("a.pdf", ZIP), ("a.docx", HTML), ("a.docx", b"text"),
        ("a.gif", b"GIF"), ("a.mp4", EXE), ("a.zip", b"%PDF-1.4"), ("a.png", b"\0"),
    ],
)  # fmt: skip
def test_a_name_that_lies_is_refused(name: str, head: bytes) -> None:
    with pytest.raises(Invalid) as refused:
        kind_of(name, head)
    assert refused.value.reason == "FILE_TYPE_MISMATCH"


def types(**said: Any) -> FileTypes:
    return FileTypes.of(Settings(**said))


@pytest.mark.parametrize(
    ("name", "head"),
    [("a.exe", b"text"), ("a.bin", EXE), ("a", b"\x7fELF\2"), ("x.LNK", b"\1"), ("a.hta", HTML)],
)
def test_programs_are_not_taken_unless_the_operator_says_so(name: str, head: bytes) -> None:
    with pytest.raises(Invalid) as refused:
        types().check(name, head)
    assert refused.value.reason == "FILE_TYPE_FORBIDDEN"
    assert types(forbidden_file_types="").check(name, head)


def test_what_a_program_calls_itself_is_not_said_to_be_refused() -> None:
    with pytest.raises(Invalid) as refused:
        types().check("a.pdf", EXE)
    assert refused.value.violations[0].description == (
        "'a.pdf' is application/x-msdownload by its content, which is not taken here"
    )


def test_what_is_allowed_is_taken_and_nothing_else() -> None:
    some = types(allowed_file_types="image/*, .PDF", forbidden_file_types="image/gif")
    assert some.check("a.png", PNG) == "image/png"
    assert some.check("a.pdf", PDF) == "application/pdf"
    for name, head in (("a.gif", b"GIF89a"), ("a.txt", b"text"), ("a.zip", ZIP)):
        with pytest.raises(Invalid) as refused:
            some.check(name, head)
        assert refused.value.reason == "FILE_TYPE_FORBIDDEN"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("合同 2026.pdf", "合同 2026.pdf"), ("../../etc/passwd", "passwd"), ("C:\\Users\\a\\x.doc", "x.doc"), ("a/b/", "file"),
        ("", "file"), ("..", "file"), (".htaccess", "htaccess"), ("a\r\nSet-Cookie: x.txt", "aSet-Cookie_ x.txt"),
        ("\u202egpj.exe", "gpj.exe"), ("a\0b.txt", "ab.txt"), ('a"b;c.txt', "a_b;c.txt"), ("x.pdf. . ", "x.pdf"),
        ("a\u3000b.txt", "a b.txt"), ("..%2fx.csv", "%2fx.csv"), ("e\u0301.txt", "é.txt"), ("\ud800.txt", "txt"),
    ],
)  # fmt: skip
def test_a_name_is_a_name(given: str, kept: str) -> None:
    assert tidy_name(given) == kept


def test_a_long_name_keeps_its_ending() -> None:
    assert tidy_name("名" * 500 + ".pdf") == "名" * (MOST - 4) + ".pdf"
    assert len(tidy_name("a." + "b" * 500)) == MOST
    assert ending_of("a.TAR.GZ") == ".gz" and ending_of("none") == "" and ending_of(".profile") == ""
