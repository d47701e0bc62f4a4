"""Files of rows: what is read, and how what cannot be read is refused."""

import asyncio
import contextlib
import io
import json
import random
import signal
import subprocess
import sys
import threading
import tracemalloc
import zipfile
from collections.abc import Callable
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis import charsets
from chassis.charsets import codec
from chassis.errors import Invalid
from chassis.imports import encodings, runs
from chassis.imports.encodings import encoding_of, text_of
from chassis.imports.mapping import Target, checked, proposal
from chassis.imports.reading import MOST_BYTES, MOST_ROWS, Sheet, kind, read_csv, unpack
from chassis.imports.refused import Problem, refused_csv, restored, safe
from chassis.imports.values import Phone, Text
from chassis.imports.vcards import read_vcards
from chassis.imports.workbook import read_workbook

DATA = Path(__file__).parent / "data"
SPECTRUM = sorted(
    path.stem
    for path in (DATA / "csv_spectrum").glob("*.csv")
    if path.stem not in ("location_coordinates", "newlines_crlf")  # see data/SOURCE.txt
)


def rows(sheet: Sheet) -> list[list[str]]:
    return [row.cells for row in unpack(sheet.packed)]


def test_rows_that_are_all_alike_are_unpacked_a_few_at_a_time() -> None:
    content = "Name,Notes\n" + ("Ann," + "x" * 1000 + "\n") * 20_000
    sheet = read_csv(content.encode(), "", "")
    del content
    assert len(sheet.packed) < 500_000
    tracemalloc.start()
    try:
        seen = sum(len(row.cells[1]) for row in unpack(sheet.packed))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert seen == 20_000_000 and most < 3_000_000, most


@pytest.mark.parametrize("name", SPECTRUM)
def test_the_corners_of_csv(name: str) -> None:
    folder = DATA / "csv_spectrum"
    sheet = read_csv((folder / f"{name}.csv").read_bytes())
    wanted = json.loads((folder / f"{name}.json").read_text())
    padded = [cells + [""] * (len(sheet.header) - len(cells)) for cells in rows(sheet)]
    assert [dict(zip(sheet.header, cells, strict=True)) for cells in padded] == wanted


@pytest.mark.parametrize(
    ("name", "encoding", "header"),
    [
        ("no_bom", "utf-8", ["姓名", "年纪"]),
        ("office_bom", "utf-8-sig", ["姓名", "年纪"]),
        ("demo", "utf-8-sig", ["字符串标题", "日期标题", "数字标题"]),
    ],
)
def test_spreadsheets_with_and_without_mark(name: str, encoding: str, header: list[str]) -> None:
    sheet = read_csv((DATA / "easyexcel" / f"{name}.csv").read_bytes())
    assert (sheet.encoding, sheet.header, sheet.total) == (encoding, header, 10)


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "gb18030", "gbk", "utf-16", "utf-16-le", "utf-16-be"]
)
def test_the_encoding_is_found_out(encoding: str) -> None:
    sheet = read_csv("姓名,公司\r\n张三,北京用友网络科技股份有限公司\r\n".encode(encoding))
    assert sheet.header == ["姓名", "公司"]
    assert rows(sheet) == [["张三", "北京用友网络科技股份有限公司"]]


@pytest.mark.parametrize(
    ("text", "delimiter"),
    [
        ("a,b\n1,2", ","),
        ("a;b\n1,5;2\n3,1;4", ";"),
        ("a\tb\n1,1\t2", "\t"),
        ("a|b\n1|2", "|"),
        ("sep=;\na;b\n1;2", ";"),
        ("only\none", ","),
        ('"a,x";b\n"1,x";2', ";"),
    ],
)
def test_the_delimiter_is_found_out(text: str, delimiter: str) -> None:
    assert read_csv(text.encode()).delimiter == delimiter


def test_row_numbers_are_those_of_a_spreadsheet_and_empty_rows_do_not_count() -> None:
    sheet = read_csv(b'\n\na,b\n1,2\n,\n  \n"x\ny",3\n')
    assert [(row.number, row.cells) for row in unpack(sheet.packed)] == [(4, ["1", "2"]), (7, ["x\ny", "3"])]
    assert sheet.total == 2
    assert [row.number for row in unpack(sheet.packed, skip=1)] == [7]


@pytest.mark.parametrize(
    ("content", "reason", "says"),
    [
        (b"", "FILE_EMPTY", "empty"),
        (b"\n\n \n", "FILE_EMPTY", "empty"),
        (b"a,b\n", "FILE_EMPTY", "no row below"),
        (b'a,b\n1,"x\ny,z\n', "FILE_NOT_READABLE", "begins in row 2 is not closed"),
        (b'a,b\n1,"' + b"x\n" * 200_000, "FILE_NOT_READABLE", "quotation mark missing"),
        (b"a\0b,c\n1,2", "FILE_NOT_READABLE", "zero bytes"),
        (b"a,b\n1,2\n\xe9\xff\xff,2", "FILE_NOT_READABLE", "line 3"),
        (b"a\n" + b"x" * 40_000, "FILE_NOT_READABLE", "characters"),
        (b"," * 600 + b"x\n1", "FILE_NOT_READABLE", "601 columns"),
        (b"a\n" + b"1\n" * 200_001, "FILE_NOT_READABLE", "more than 200,000 rows"),
    ],
)
def test_files_that_cannot_be_read_say_why(content: bytes, reason: str, says: str) -> None:
    with pytest.raises(Invalid) as refused:
        read_csv(content)
    assert refused.value.reason == reason
    assert says in refused.value.message


def test_a_wrong_encoding_is_named() -> None:
    with pytest.raises(Invalid) as refused:
        read_csv("é,b\n1,2".encode("latin-1"), "utf-8")
    assert refused.value.violations[0].field == "encoding"


SIMPLIFIED = "姓名,公司,地址\n王小明,上海远航贸易有限公司,浦东新区世纪大道100号\n李静,北京用友网络科技股份有限公司,海淀区中关村"
TRADITIONAL = "姓名,公司,地址\n王小明,台灣積體電路製造股份有限公司,新竹市力行六路8號\n陳雅婷,鴻海精密工業,新北市土城區自由街"
SHORT = ("姓名,電話\n陳怡君,1", "客戶,備註\n張,請於下午聯絡", "公司\n台積電", "name,city\nChen,臺北市")


@pytest.mark.parametrize(
    ("text", "written", "told"),
    [
        (SIMPLIFIED, "gb18030", "gb18030"),
        (TRADITIONAL, "big5", "big5"),
        # As mainland programs save what came from Taiwan.
        (TRADITIONAL, "gb18030", "gb18030"),
        *((text, "big5", "big5") for text in SHORT),
        *((text, "gb18030", "gb18030") for text in SHORT),
        ("姓名\n" + "朱镕基,喆,囍\n" * 3, "gb18030", "gb18030"),
        # What mainland programs write in other languages stands where Big5 has its characters.
        ("Имя,Город\nЖуков Иван,Москва\nСергеева,Хабаровск", "gb18030", "gb18030"),
        ("なまえ,カタカナ\nさくら,トヨタ\nスズキ,ホンダ", "gb18030", "gb18030"),
        (
            "Όνομα\nΓιώργος Παπαδόπουλος".replace("ώ", "ω").replace("ό", "ο").replace("Ό", "Ο"),
            "gb18030",
            "gb18030",
        ),
        ("name\nKöln\nZürich\nÅrhus", "gb18030", "gb18030"),
    ],
)
def test_big5_is_told_from_gb18030(text: str, written: str, told: str) -> None:
    sheet = read_csv(text.encode(written))
    assert (sheet.encoding, [sheet.header, *rows(sheet)]) == (
        told,
        [line.split(",") for line in text.split("\n") if line],
    )


@pytest.mark.parametrize(
    ("content", "first", "said", "cell"),
    [
        # Which part of Big5 is meant, or that it is none, the bytes of a word or two do not tell.
        ("a\n陳".encode("big5"), "陳".encode("big5").decode("gb18030"), "big5", "陳"),
        ("a\n卡拉OK".encode("gb18030"), "卡拉OK", "big5", "卡拉OK".encode("gb18030").decode("big5hkscs")),
        ("a\n田中".encode("shift_jis"), None, "Shift_JIS", "田中"),
        ("a\n김철수".encode("euc-kr"), "김철수".encode("euc-kr").decode("gb18030"), "euc-kr", "김철수"),
        ("a\nЖуков".encode("cp1251"), "refused", "windows-1251", "Жуков"),
        ("a\nMüller".encode("cp1252"), "refused", "windows-1252", "Müller"),
        ("a\nWałęsa".encode("cp1250"), "Wałęsa".encode("cp1250").decode("gb18030"), "cp1250", "Wałęsa"),
        *(
            (f"a\n{word}".encode("cp1252"), "refused", "windows-1252", word)
            for word in ("20°C", "5 µm", "Kate´s", "BÄCKER", "VÄSTERÅS")
        ),
        ("名\na".encode("utf-16-be"), None, "utf-16", "a"),
        ("a\n1 €".encode("cp1252"), "refused", "iso-8859-1", "1 \x80"),
        ("a\n名".encode("utf-16-le"), "名", "utf-16", "名"),
        ("a\n名".encode("utf-16-be"), "名", "utf-16", "名"),
        ("a\n名".encode("utf-16"), "名", "utf-16", "名"),
        ("a\n名".encode("utf-32"), "名", "utf-32", "名"),
        ("a\n名".encode("utf-8-sig"), "名", "gbk", "refused"),
        ("一\n名".encode(), "名", "latin-1", "名".encode().decode("latin-1")),
    ],
)  # fmt: skip
def test_an_encoding_that_is_said_changes_what_is_read(
    content: bytes, first: str | None, said: str, cell: str
) -> None:
    for encoding, wanted in (("", first), (said, cell)):
        if wanted is None:
            continue
        try:
            sheet = read_csv(content, encoding)
        except Invalid as refused:
            assert wanted == "refused" and refused.reason == "FILE_NOT_READABLE"
            if not encoding:
                assert "say which it is" in refused.message
        else:
            assert rows(sheet) == [[wanted]] and sheet.encoding == (encoding or sheet.encoding)
            # What is told can be said.
            assert rows(read_csv(content, sheet.encoding)) == [[wanted]]


def test_a_delimiter_that_is_said_changes_what_is_read() -> None:
    content = b"a;b,c\n1;2,3\n4;5,6"
    assert [read_csv(content, delimiter=said).header for said in (";", ",", "|")] == [
        ["a", "b,c"], ["a;b", "c"], ["a;b,c"],
    ]  # fmt: skip
    said = b"sep=,\na;b,c\n1;2,3"
    assert read_csv(said).header == ["a;b", "c"] and read_csv(said, delimiter=";").header == ["a", "b,c"]


def test_whatever_can_be_said_reads_in_pieces_what_it_reads_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encodings, "_PIECE", 7)
    chance = random.Random(20161020)
    texts = (SIMPLIFIED, TRADITIONAL, "Müller, Жуков, 田中, 김철수 €\n" * 3, "plain\n" * 9)
    for named in sorted({codec(name) for name in vars(charsets)["_NAMED"]}):
        for text in texts:
            content = text.encode(named, "ignore")
            altered = bytearray(content)
            for _ in range(3):  # a mark of the byte order stays
                altered[chance.randrange(4, len(altered))] = chance.randrange(256)
            for made in (content, bytes(altered), content[: chance.randrange(1, len(content))]):
                try:
                    made.decode(named)
                except UnicodeDecodeError as error:
                    with pytest.raises(Invalid) as refused:
                        encoding_of(made, named)
                    wrong = error.start + len(made) - len(error.object)  # which is without its mark
                    assert f"byte {wrong + 1:,} " in refused.value.message, named
                else:
                    read, _ = encoding_of(made, named)
                    assert text_of(made, read).read() == made.decode(named).removeprefix("\ufeff"), named


@pytest.mark.parametrize("encoding", ["punycode", "undefined", "idna", "unicode_escape", "rot13", "klingon"])
def test_codecs_in_which_nobody_writes_are_no_encodings(encoding: str) -> None:
    with pytest.raises(Invalid) as refused:
        read_csv(b"a,b\n1,2", encoding)
    assert refused.value.violations[0].field == "encoding"
    cards = f"BEGIN:VCARD\r\nFN;CHARSET={encoding};ENCODING=QUOTED-PRINTABLE:=41nn\r\nEND:VCARD\r\n"
    assert next(iter(unpack(read_vcards(cards.encode()).packed))).cells == ["Ann"]


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    try:
        sheet = read_csv(content)
    except Invalid as refused:
        assert refused.reason in ("FILE_EMPTY", "FILE_NOT_READABLE")
    else:
        assert len(rows(sheet)) == sheet.total


_cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6)


@given(st.lists(st.lists(_cells, min_size=2, max_size=4), min_size=2, max_size=6))
def test_what_a_spreadsheet_writes_is_read_back(table: list[list[str]]) -> None:
    import csv

    out = io.StringIO(newline="")
    csv.writer(out, quoting=csv.QUOTE_ALL).writerows([["h", "i"], *table])
    kept = [row for row in table if any(cell.strip() for cell in row)]
    try:
        sheet = read_csv(out.getvalue().encode(), delimiter=",")
    except Invalid:
        assert not kept
        return

    def filled(table: list[list[str]]) -> list[list[str]]:
        return [[cell for cell in cells if cell.strip()] for cells in table]

    assert filled(rows(sheet)) == filled(kept)


def test_the_kind_is_told_by_name_and_content() -> None:
    assert kind("leads.CSV", b"a") == "csv"
    assert kind("leads.xlsx", b"PK\x03\x04") == "xlsx"
    for name, content in [
        ("leads.exe", b"MZ"),
        ("leads", b"a"),
        ("leads.csv", b"PK\x03\x04"),
        ("leads.xlsx", b"a,b"),
        ("leads.xlsx", b"\xd0\xcf\x11\xe0"),
    ]:
        with pytest.raises(Invalid):
            kind(name, content)


def new_book(out: io.BytesIO) -> Any:
    import xlsxwriter  # pyright: ignore[reportMissingTypeStubs]

    return xlsxwriter.Workbook(out, {"in_memory": True})


def workbook() -> bytes:
    out = io.BytesIO()
    book = new_book(out)
    sheet = book.add_worksheet("线索")
    sheet.write_row(2, 1, ["姓名", "电话", "日期", "金额", "好"])
    sheet.write_row(3, 1, ["张三", 13800001234])
    sheet.write_datetime(3, 3, datetime(2024, 5, 1), book.add_format({"num_format": "yyyy-mm-dd"}))
    sheet.write_row(3, 4, [12.5, True])
    book.add_worksheet("other").write_row(0, 0, ["x"])
    book.close()
    return out.getvalue()


async def test_a_workbook_is_read_as_a_person_would_type_it() -> None:
    sheet = await read_workbook(workbook())
    assert sheet.sheets == ("线索", "other")
    assert [cell for cell in sheet.header if cell] == ["姓名", "电话", "日期", "金额", "好"]
    assert [row.number for row in unpack(sheet.packed)] == [4]
    assert [c for c in next(unpack(sheet.packed)).cells if c] == [
        "张三",
        "13800001234",
        "2024-05-01",
        "12.5",
        "true",
    ]
    with pytest.raises(Invalid) as refused:
        await read_workbook(workbook(), "third")
    assert refused.value.violations[0].field == "sheet"


async def test_a_title_above_the_head_is_none() -> None:
    out = io.BytesIO()
    book = new_book(out)
    sheets: dict[str, list[list[str]]] = {
        "titled": [["2026 秋季展会名单"], [], ["姓名", "电话", "公司"], ["张三", "1", "甲"]],
        "one column": [["姓名"], ["张三"], ["李四"]],
        "two columns": [["姓名"], ["张三", "1"]],
    }
    for name, rows in sheets.items():
        sheet = book.add_worksheet(name)
        for number, cells in enumerate(rows):
            sheet.write_row(number, 0, cells)
    book.close()
    found = await read_workbook(out.getvalue())
    assert (found.header, found.total, next(unpack(found.packed)).number) == (["姓名", "电话", "公司"], 1, 4)
    assert found.samples == [["张三"], ["1"], ["甲"]]
    assert (await read_workbook(out.getvalue(), "one column")).total == 2
    assert (await read_workbook(out.getvalue(), "two columns")).header == ["姓名"]


def corners() -> bytes:
    out = io.BytesIO()
    book = new_book(out)
    sheet = book.add_worksheet()
    sheet.write(0, 0, "a")
    sheet.write(1048575, 16383, "b")
    book.close()
    return out.getvalue()


def zip_bomb() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        with archive.open("xl/workbook.xml", "w", force_zip64=True) as part:
            for _ in range(410):
                part.write(bytes(1 << 20))
    return out.getvalue()


def entities() -> bytes:
    out = io.BytesIO()
    laughs = "".join(f'<!ENTITY l{i + 1} "{f"&l{i};" * 10}">' for i in range(9))
    with zipfile.ZipFile(io.BytesIO(workbook())) as source, zipfile.ZipFile(out, "w") as archive:
        for entry in source.infolist():
            data = source.read(entry)
            if entry.filename == "xl/sharedStrings.xml":
                head = f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY l0 "ha">{laughs}]>'.encode()
                data = head + data.split(b"?>", 1)[1].replace("张三".encode(), b"&l9;")
            archive.writestr(entry.filename, data)
    return out.getvalue()


@pytest.mark.parametrize("bomb", [corners, zip_bomb])
async def test_a_bomb_is_refused(bomb: Callable[[], bytes]) -> None:
    with pytest.raises(Invalid) as refused:
        await read_workbook(bomb())
    assert refused.value.reason == "FILE_NOT_READABLE"


async def test_entities_are_not_expanded() -> None:
    try:
        sheet = await read_workbook(entities())
    except Invalid as refused:
        assert refused.reason == "FILE_NOT_READABLE"
    else:
        assert "haha" not in str([*unpack(sheet.packed)])


async def test_broken_workbooks_are_refused() -> None:
    whole = workbook()
    chance = random.Random(5)
    for _ in range(12):
        broken = bytearray(whole)
        for _ in range(chance.randrange(1, 40)):
            broken[chance.randrange(4, len(broken))] = chance.randrange(256)
        try:
            await read_workbook(bytes(broken[: chance.randrange(50, len(broken) + 1)]))
        except Invalid as refused:
            assert refused.reason in ("FILE_EMPTY", "FILE_NOT_READABLE")


def largest_workbook() -> bytes:
    """As many rows as are allowed, in nearly as many bytes: of words that do not pack well."""
    words = random.Random(5).randbytes((MOST_ROWS + 1) * 120).hex()
    lines = "".join(
        f'<row r="{n + 1}"><c r="A{n + 1}" t="inlineStr"><is><t>{words[n * 240 : n * 240 + 240]}</t></is></c></row>'
        for n in range(MOST_ROWS + 1)
    )
    sheet = (
        '<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>'
        f"{lines}</sheetData></worksheet>"
    )
    out = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(workbook())) as source,
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
    ):
        for entry in source.infolist():
            first = entry.filename == "xl/worksheets/sheet1.xml"
            archive.writestr(entry.filename, sheet if first else source.read(entry))
    return out.getvalue()


@pytest.mark.timeout(300)
async def test_the_largest_workbook_that_is_allowed_is_read() -> None:
    content = largest_workbook()
    assert 0.9 * MOST_BYTES < len(content) < MOST_BYTES and kind("a.xlsx", content) == "xlsx"
    assert (await read_workbook(content)).total == MOST_ROWS
    with pytest.raises(Invalid) as refused:
        kind("a.xlsx", content.ljust(MOST_BYTES + 1))
    assert refused.value.reason == "FILE_NOT_READABLE"


@cache
def large_workbook() -> bytes:
    out = io.BytesIO()
    book = new_book(out)
    sheet = book.add_worksheet()
    for number in range(30_001):
        sheet.write_row(number, 0, [f"{number} {column}" for column in range(10)])
    book.close()
    return out.getvalue()


def readers() -> list[psutil.Process]:
    """The children that read workbooks; the run has others."""
    found: list[psutil.Process] = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if "chassis.imports.workbook" in child.cmdline():
                found.append(child)
    return found


async def ended_by(signals: list[signal.Signals]) -> Sheet:
    """What is read of a workbook, large enough to keep them busy, whose readers are ended so, one after the other."""
    reading = asyncio.create_task(read_workbook(large_workbook()))
    ended: set[int] = set()
    while len(ended) < len(signals) and not reading.done():
        for child in await asyncio.to_thread(readers):
            if child.pid not in ended:
                child.send_signal(signals[len(ended)])
                ended.add(child.pid)
                break
        await asyncio.sleep(0)
    return await reading


async def test_a_reader_ended_by_another_is_no_fault_of_the_workbook() -> None:
    for once in (signal.SIGKILL, signal.SIGABRT):
        assert (await ended_by([once])).total == 30_000
    with pytest.raises(Invalid) as refused:
        await ended_by([signal.SIGKILL, signal.SIGKILL])
    assert refused.value.reason == "FILE_NOT_READABLE"


FIELDS = (
    Target("lastName", "Name", Text(), ("姓名", "full name", "contact"), required=True),
    Target("companyName", "Company", Text(), ("公司", "公司名称", "account")),
    Target("phone", "Phone", Phone(), ("电话", "手机", "mobile", "tel")),
    Target("email", "E-mail", Text(), ("邮箱", "电子邮件")),
)


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        (["姓名", "公司名称", "手机", "邮箱"], {0: "lastName", 1: "companyName", 2: "phone", 3: "email"}),
        (
            ["Last Name*", "Account", "Tel.", "EMAIL"],
            {0: "lastName", 1: "companyName", 2: "phone", 3: "email"},
        ),
        (["联系人姓名", "联系电话(必填)", "备注"], {0: "lastName", 1: "phone"}),
        (["公司名称", "公司名称"], {0: "companyName"}),
        (
            ["联系人电话", "联系人邮箱", "联系人姓名", "公司"],
            {0: "phone", 1: "email", 2: "lastName", 3: "companyName"},
        ),
        (["Contact phone number", "Name of the account"], {0: "phone", 1: "companyName"}),
        (["Mobile", "Company phone", "Contact e-mail"], {0: "phone", 2: "email"}),
        (["", "x"], {}),
    ],
)
def test_columns_are_recognised(header: list[str], wanted: dict[int, str]) -> None:
    assert proposal(header, FIELDS) == wanted


@pytest.mark.parametrize(
    ("pairs", "field"),
    [
        ([(0, "lastName"), (9, "phone")], "mapping[1].column"),
        ([(0, "lastName"), (1, "ownerPassword")], "mapping[1].field"),
        ([(0, "lastName"), (0, "phone")], "mapping[1].column"),
        ([(0, "lastName"), (1, "lastName")], "mapping[1].field"),
        ([(1, "phone")], "mapping"),
    ],
)
def test_a_wrong_mapping_is_refused(pairs: list[tuple[int, str]], field: str) -> None:
    with pytest.raises(Invalid) as refused:
        checked(pairs, 3, FIELDS)
    assert (refused.value.reason, refused.value.violations[0].field) == ("MAPPING_INVALID", field)


@pytest.mark.parametrize(
    "cell",
    [
        "=1+1",
        "+cmd|' /C calc'!A0",
        "-2+3+cmd|x",
        "@SUM(1)",
        " =1",
        "\t=1",
        "\r=1",
        "\u200b=1",
        "\u00a0=1",
        "＝1+1",
        "＠x",
        "\ufeff=1",
        "\x00=1",
        "\u3000＋1+1",
        "|calc",
        "%0A=1",
        "\n=1",
    ],
)
def test_no_cell_is_a_formula(cell: str) -> None:
    assert safe(cell).replace("'", "", 1).replace("'=", "=") == cell
    assert safe(cell).startswith("'")
    assert restored(safe(cell)) == cell


@pytest.mark.parametrize(
    ("cell", "kept"),
    [
        ("x;=1+1", "x;'=1+1"),
        ("x\t＝1", "x\t'＝1"),
        ("=1;=2", "'=1;'=2"),
        ("\t=1", "'\t'=1"),
        ("one\n+cmd|x\n-5", "one\n'+cmd|x\n-5"),
        ("a; b; 3;-4", "a; b; 3;-4"),
    ],
)
def test_nor_is_what_another_delimiter_would_make_a_cell(cell: str, kept: str) -> None:
    assert safe(cell) == kept
    assert restored(kept) == cell


@pytest.mark.parametrize("cell", ["", "Li", "a=b", "-5", "+8613800001234", "-1,234.50", "'tis", "5%", "李"])
def test_what_is_no_formula_stays(cell: str) -> None:
    assert safe(cell) == cell
    assert restored(cell) == cell


def test_the_file_of_refused_rows_can_be_read_again() -> None:
    problems = [Problem("phone", "PHONE_INVALID", "'x' is no telephone number")]
    made = b"".join(
        refused_csv(
            ["姓名", "=h"], [(2, ["=张", 'a"b\nc'], problems), (3, ["ok", ""], [Problem("", "R", "m", True)])]
        )
    )
    assert made.startswith(b"\xef\xbb\xbf")
    sheet = read_csv(made)
    assert sheet.header == ["Row", "Verdict", "Reasons", "姓名", "'=h"]
    assert rows(sheet) == [
        ["2", "refused", "phone: 'x' is no telephone number", "'=张", 'a"b\nc'],
        ["3", "repaired", "m", "ok"],
    ]


FORMS: dict[str, tuple[bytes, bytes]] = {
    "rows": (b"name,phone,notes\n", f"张伟,13800001234,{'as all others have it ' * 9}\n".encode()),
    "Big5": ("姓名,電話\n".encode("big5"), f"陳怡君,0912345678,{'台灣積體電路製造' * 12}\n".encode("big5")),
    "delimiters": (b"a,b\n1,2\n", b"," * 1000),
    "one line": (b"a,b\n1,2\n", b"some words of it " * 60),
    "lines that never end": (b'a,b\n1,"', b'x","\n' * 200),
    "cards": (b"", b"BEGIN:VCARD\r\nFN:Ann\r\nNOTE:" + b"some text " * 90 + b"\r\nEND:VCARD\r\n"),
    "a card that never ends": (b"BEGIN:VCARD\r\nFN:Ann\r\n", b"TEL:1\r\n" * 200),
    "a picture": (b"BEGIN:VCARD\r\nFN:Ann\r\nPHOTO:", b"QUJD" * 300),
}
_PEAKS = """
import sys
from pathlib import Path
from chassis.errors import Invalid
from chassis.imports.reading import kind, read_csv, unpack
from chassis.imports.vcards import read_vcards

def told(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))

def taken(form, size):
    head, more = FORMS[form]
    content = head + more * (size // len(more))
    read = read_vcards if "card" in form or form == "a picture" else read_csv
    Path("/proc/self/clear_refs").write_text("5")
    before = told("VmRSS")
    try:
        sheet = read(content)
        many = sum(1 for _ in unpack(sheet.packed))
        assert many == sheet.total
    except Invalid as refused:
        many = 0
    return told("VmHWM") - before, many

for form in FORMS:
    taken(form, 100_000)
    print(form, *taken(form, 900_000), *taken(form, 30_000_000 if form == "rows" else 9_000_000), sep="|", flush=True)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells the peak of a part")
def test_memory_does_not_grow_with_the_file() -> None:
    """Beside the file and its packed rows, which are few bytes here, a large one takes what a small one takes."""
    program = f"FORMS = {FORMS!r}\n{_PEAKS}"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    told = {line.split("|")[0]: [int(one) for one in line.split("|")[1:]] for line in ran.stdout.splitlines()}
    assert told.keys() == FORMS.keys()
    for form, (small, few, large, many) in told.items():
        assert large < small + 3_000_000, (form, told)
        assert form not in ("rows", "Big5", "cards") or 9 * few < many, (form, told)


async def test_no_more_than_a_few_files_are_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    held = threading.Semaphore(0)
    inside: list[int] = []
    lock = threading.Lock()
    most = now = 0

    def slow(content: bytes, encoding: str, delimiter: str) -> Sheet:
        nonlocal most, now
        with lock:
            now += 1
            most = max(most, now)
            inside.append(now)
        held.acquire(timeout=30)
        with lock:
            now -= 1
        return read_csv(content, encoding, delimiter)

    monkeypatch.setattr(runs, "read_csv", slow)
    given_up, *others = [
        asyncio.create_task(runs.read_file("a.csv", b"Name\nLi Lei\n", "", "", ""))
        for _ in range(runs.READERS + 3)
    ]
    while len(inside) < runs.READERS:
        await asyncio.sleep(0.01)
    given_up.cancel()  # its thread goes on, and keeps its turn
    with pytest.raises(asyncio.CancelledError):
        await given_up
    await asyncio.sleep(0.05)
    assert len(inside) == runs.READERS
    held.release(len(others) + 1)
    assert [(await one).total for one in others] == [1] * len(others)
    assert most == runs.READERS
