"""Mails as strangers write them: what of them a lead is to know."""

import base64
import time
from email.message import EmailMessage

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leads.mail_reading import MOST_BYTES, read, without_tags


def mail(body: str = "Hello", **headers: str) -> bytes:
    """A plain mail; headers by their names with _ for -."""
    made = EmailMessage()
    for name, value in {"From": "Zhang San <zhang@example.com>", "Subject": "Hi", **headers}.items():
        made[name.replace("_", "-")] = value
    made.set_content(body)
    return made.as_bytes()


def raw(charset: str, text: str, kind: str = "text/plain", subject: str = "") -> bytes:
    """A mail in some charset, as old mailers write it."""
    body = base64.encodebytes(text.encode(charset))
    head = (
        f"From: =?{charset}?B?{base64.b64encode('张三'.encode(charset)).decode()}?= <zhang@example.com>\r\n"
        f"Subject: =?{charset}?B?{base64.b64encode(subject.encode(charset)).decode()}?=\r\n"
        f"Content-Type: {kind}; charset={charset}\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    )
    return head.encode() + body


@pytest.mark.parametrize("charset", ["gb2312", "gbk", "gb18030", "utf-8"])
def test_chinese_charsets(charset: str) -> None:
    found = read(raw(charset, "你好，我要一台机器。", subject="中文"))
    assert (found.name, found.sender, found.subject) == ("张三", "zhang@example.com", "中文")
    assert found.text == "你好，我要一台机器。"


def test_gbk_that_says_it_is_gb2312_and_bytes_that_say_nothing() -> None:
    body = base64.encodebytes("朱镕基 € 〇".encode("gb18030"))
    head = b"From: a@b.cn\r\nContent-Type: text/plain; charset=gb2312\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    assert read(head + body).text == "朱镕基 € 〇"
    assert read(b"From: a@b.cn\r\n\r\n" + "没有说".encode("gbk")).text == "没有说"
    assert read(b"From: a@b.cn\r\nContent-Type: text/plain; charset=klingon\r\n\r\nyes").text == "yes"


def test_html_gives_its_text_and_nothing_else() -> None:
    html = (
        "<html><head><title>T</title><style>p{}</style></head><body><p>你好&nbsp;&amp;</p><script>alert(1)</script>"
        "<div>two<br>three</div><img src=x onerror=alert(2)></body>"
    )
    found = read(raw("gbk", html.replace("&nbsp;", ""), "text/html"))
    assert found.text == "你好&\ntwo\nthree"
    assert without_tags("<p>a<p>b</script><b>c") == "a\nbc"


def test_of_two_forms_the_plain_one_is_read_and_attachments_are_not() -> None:
    made = EmailMessage()
    made["From"], made["Message-ID"] = "a@b.cn", "<1@b.cn>"
    made.set_content("plain")
    made.add_alternative("<p>html</p>", subtype="html")
    made.add_attachment("secret text", filename="a.txt")
    found = read(made.as_bytes())
    assert (found.text, found.key) == ("plain", "<1@b.cn>")


def test_what_it_answers_is_not_repeated() -> None:
    body = "Yes please.\n\nOn Mon, 1 Jan 2026 Kehu wrote:\n> Would you?\n> Well?"
    found = read(mail(body, In_Reply_To="<1@x>", References="<0@x> <1@x>"))
    assert (found.text, found.answers) == ("Yes please.", ("<1@x>", "<0@x>"))
    assert read(mail("好的\n------------------ 原始邮件 ------------------\n发件人: x")).text == "好的"


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ({}, ""), ({"Auto_Submitted": "no"}, ""), ({"Auto_Submitted": "auto-replied"}, "AUTOMATIC"),
        ({"Auto_Submitted": "auto-generated; x=y"}, "AUTOMATIC"), ({"Precedence": "bulk"}, "AUTOMATIC"),
        ({"List_Id": "<l.example>"}, "AUTOMATIC"), ({"X_Autoreply": "yes"}, "AUTOMATIC"), ({"Return_Path": "<>"}, "BOUNCE"),
        ({"From": "MAILER-DAEMON@mx.example"}, "AUTOMATIC"), ({"From": "no-reply@shop.example"}, "AUTOMATIC"),
        ({"From": "noreply+1@shop.example"}, "AUTOMATIC"), ({"From": "not an address"}, "AUTOMATIC"),
        ({"From": "noreplyson@shop.example"}, ""),
    ],
)  # fmt: skip
def test_what_machines_send(headers: dict[str, str], why: str) -> None:
    assert read(mail(**headers)).automatic == why


def test_a_report_of_delivery_is_a_bounce() -> None:
    head = b"From: someone@mx.example\r\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n"
    assert read(head + b"--b\r\n\r\nfailed\r\n--b--\r\n").automatic == "BOUNCE"


def test_a_number_in_the_text_is_found() -> None:
    assert read(mail("请回电 138-0013-8000，谢谢")).phone == "138-0013-8000"
    assert read(mail("call +49 30 901820 please")).phone == "+49 30 901820"
    assert read(mail("order 20261127138001380001234")).phone == ""


def test_line_ends_in_headers_make_no_more_headers() -> None:
    found = read(b"From: =?utf-8?q?A=0D=0ABcc:_x@y.cn?= <a@b.cn>\r\nSubject: =?utf-8?q?x=0Ay=00?=\r\n\r\nhi")
    assert "\n" not in found.name + found.subject and "\x00" not in found.subject
    assert found.sender == "a@b.cn"


def test_without_an_id_the_content_is_the_mail() -> None:
    assert read(mail("a")).key == read(mail("a")).key != read(mail("b")).key


def test_bombs_of_parts_and_bytes_end() -> None:
    deep = b"From: a@b.cn\r\n"
    for n in range(5_000):
        deep += f"Content-Type: multipart/mixed; boundary=b{n}\r\n\r\n--b{n}\r\n".encode()
    found = read(deep + b"\r\nend")
    assert found.sender == "a@b.cn"
    wide = b"From: a@b.cn\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\nx\r\n" * 50_000
    assert len(read(wide).text) < 1_000
    assert len(read(b"From: a@b.cn\r\n\r\n" + b"x" * (MOST_BYTES + 10)).text) <= 8_000
    assert len(without_tags("<div>" * 50_000 + "x")) == 1
    assert len(read(b"From: a@b.cn\r\nReferences: " + b"<a@b> " * 100_000 + b"\r\n\r\nx").answers) <= 50


FROM = b"From: a@b.cn\r\n"


@pytest.mark.parametrize(
    "charset", ["punycode", "undefined", "idna", "unicode_escape", "raw_unicode_escape", "rot13", "utf-7"]
)
def test_codecs_that_are_no_charsets_of_mails_read_nothing(charset: str) -> None:
    said = (
        f"Content-Type: text/plain; charset={charset}\r\nContent-Disposition: inline; x*={charset}''a\r\n\r\n"
    )
    assert read(FROM + said.encode() + b"plain \\u4e00 +AGE- words").text == "plain \\u4e00 +AGE- words"
    named = (
        f"Content-Type: text/plain\r\nContent-Disposition: inline; filename*={charset}''a%ff\r\n\r\nin a file"
    )
    assert read(FROM + named.encode()).text == ""
    assert read(FROM + f"Subject: =?{charset}?q?plain?=\r\n\r\n".encode()).subject == "plain"


@pytest.mark.parametrize(
    "hostile",
    [
        b"Content-Type: text/plain; charset=punycode\r\n\r\n" + b"a-" + b"abcdefgh" * 200_000,
        b"Content-Type: text/plain; charset=punycode\r\n\r\n" + b"\xff-" + b"abcdefgh" * 200_000,
        b"Content-Type: text/plain" + b";" * 1_900_000 + b"\r\n\r\nhello",
        b"Content-Type: text/plain" + b';"' * 900_000 + b"\r\n\r\nhello",
        b"".join(f"Content-Type: multipart/mixed; boundary=b{n}\r\n\r\n--b{n}\r\n".encode() for n in range(200))
        + b"\r\n" * 900_000,
        *(
            b"Content-Type: text/html\r\n\r\n" + part * (400_000 // len(part))
            for part in (b"<!--", b"<a ", b"<![CDATA[", b"</", b"<?", b"<a b='", b'<a b="', b"<svg>", b"<script>", b"&#")
        ),
    ],
)  # fmt: skip
def test_no_mail_takes_long_to_read(hostile: bytes) -> None:
    begun = time.process_time()
    assert read(FROM + hostile).sender == "a@b.cn"
    assert time.process_time() - begun < 10


def test_brackets_without_end_are_no_address() -> None:
    assert read(b"From: " + b"(" * 50_000 + b"\r\nSender: a@b.cn\r\n\r\nx").sender == "a@b.cn"


def test_nothing_that_a_database_refuses_is_in_an_id() -> None:
    found = read(
        FROM
        + b"Message-ID: <a\x00b@x.cn>\r\nIn-Reply-To: <\x00c@x.cn>\r\nReferences: <d\xff\x01@x.cn>\r\n\r\nx"
    )
    assert found.key == "<ab@x.cn>" and found.answers[0] == "<c@x.cn>"
    assert all(one.isprintable() for one in (found.key, *found.answers))


def test_html_that_people_write() -> None:
    html = (
        '<head><meta charset=x><body>Hello <b>World</b>, 1 &lt; 2 < 3&nbsp;&amp; more <a title="it\'s > here">yes</a>'
        "<!-- > no --><p>it's <i x=\"unclosed>ok</i> and<svg/><svg><svg></svg>no</svg> done"
    )
    assert without_tags(html) == "Hello World, 1 < 2 < 3 & more yes\nit's ok and done"


@settings(max_examples=150)
@given(st.binary(max_size=3_000))
def test_whatever_comes_is_read(data: bytes) -> None:
    for some in (
        data,
        b"From: a@b.cn\r\n" + data,
        b"From: a@b.cn\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n" + data,
    ):
        found = read(some)
        for text in (found.name, found.subject, found.text, found.sender):
            assert "\x00" not in text and text.encode("utf-8", "strict") is not None
