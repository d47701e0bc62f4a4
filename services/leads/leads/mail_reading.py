"""Mails read: who wrote what, as far as a lead is to know, from whatever bytes a stranger has sent.

Plain bytes in, plain values out. Nothing in a mail is believed, run or fetched: of HTML the text is kept, of attachments nothing.
What is too large, too deep or in a charset that nobody knows gives less text, and never an error.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.header import decode_header
from email.message import Message
from email.parser import BytesHeaderParser
from email.utils import getaddresses
from hashlib import sha256
from html.parser import HTMLParser
from typing import Any, cast

from chassis import texts

MOST_BYTES = 2_000_000
"""What is read of a mail; attachments are what is cut off."""
_MOST_PARTS, _MOST_DEPTH = 200, 12
_MOST_TEXT = 8_000
_MOST_HEADER = 2_000
_MOST_REFERENCES = 50
_MOST_PART = 400_000
_CHARSETS = {
    "gb2312": "gb18030", "gbk": "gb18030", "gb_2312-80": "gb18030", "x-gbk": "gb18030", "cp936": "gb18030", "ms936": "gb18030",
    "big5": "big5hkscs", "ks_c_5601-1987": "cp949", "x-sjis": "cp932", "iso-8859-8-i": "iso-8859-8", "unicode-1-1-utf-7": "utf-8",
    "utf-7": "utf-8", "us-ascii": "utf-8", "ascii": "utf-8", "": "utf-8",
}  # fmt: skip
"""Charsets by the names that mailers give them, each with the one that has all of its characters. UTF-7 hides things and is
none."""
_ID = re.compile(r"<[^<>\s]{1,250}>")
_AUTOMATIC = frozenset({"bulk", "junk", "list", "auto_reply", "auto-reply"})
_ROBOTS = re.compile(r"(mailer-daemon|postmaster|no-?reply|do-?not-?reply|bounces?)([+.=-].*)?")
_QUOTED = re.compile(
    r"^(>.*|-{2,} ?(Original Message|原始邮件|原邮件|Forwarded message|转发邮件)|_{10,}|On .{5,200} wrote:|在.{5,200}写道[:：])",
    re.IGNORECASE | re.MULTILINE,
)
_PHONE = re.compile(
    r"(?<![\w+])(?:\+?86[- ]?)?1[3-9]\d[- ]?\d{4}[- ]?\d{4}(?!\w)|(?<!\w)\+\d[\d ()-]{7,18}\d(?!\w)"
)


@dataclass(frozen=True)
class Mail:
    """What a mail says."""

    key: str
    """By which a mail is the same: its Message-ID, or else its content."""
    sender: str
    """The address to answer to, in lower case; empty for a mail that names none."""
    name: str
    subject: str
    text: str
    phone: str
    answers: tuple[str, ...]
    """The ids of the mails that it answers, the nearest first."""
    automatic: str
    """Why nobody has written it: AUTOMATIC or BOUNCE; empty for a mail that somebody wrote."""


def read(raw: bytes) -> Mail:
    """The mail in these bytes."""
    raw = raw[:MOST_BYTES]
    try:
        message = message_from_bytes(raw, policy=policy.compat32)
    except RecursionError:  # parts within parts without end
        message = BytesHeaderParser(policy=policy.compat32).parsebytes(raw)
    sender, name = _sender(message)
    text = _text(message)
    return Mail(
        key=_key(message, raw), sender=sender, name=name or sender.partition("@")[0], subject=_header(message, "Subject")[:200],
        text=text, phone=_phone(text), answers=_answers(message), automatic=_automatic(message, sender),
    )  # fmt: skip


def _key(message: Message, raw: bytes) -> str:
    found = _ID.search(_raw(message, "Message-ID"))
    return found[0] if found else f"sha256 {sha256(raw).hexdigest()}"


def _raw(message: Message, name: str) -> str:
    return str(message.get(name) or "")[:_MOST_HEADER]


def _header(message: Message, name: str) -> str:
    """A header with its encoded words read, in one line."""
    return texts.line(_decoded(_raw(message, name)))


def _decoded(text: str) -> str:
    try:
        parts = decode_header(text.replace("\r", "").replace("\n", " "))
    except Exception:  # the library has many ways to fail on what is no encoded word
        return text
    return "".join(
        _characters(part, charset or "") if isinstance(part, bytes) else part for part, charset in parts
    )


def _characters(data: bytes, charset: str) -> str:
    """The text that the bytes are, by the charset they say, or by what they look like."""
    named = charset.strip().strip("\"'").lower()[:40]
    for one in (_CHARSETS.get(named, named), "utf-8", "gb18030"):
        try:
            return data.decode(one)
        except (LookupError, UnicodeError, ValueError):
            continue
    return data.decode("utf-8", "replace")


def _sender(message: Message) -> tuple[str, str]:
    for header in ("Reply-To", "From", "Sender"):
        for name, address in getaddresses([_raw(message, header).replace("\r", "").replace("\n", " ")]):
            known = texts.email(address)
            if known:
                return known, texts.narrow(_decoded(name).strip("\"' "))[:200]
    return "", ""


def _answers(message: Message) -> tuple[str, ...]:
    nearest = _ID.findall(_raw(message, "In-Reply-To"))
    further = list(reversed(_ID.findall(str(message.get("References") or "")[-10_000:])))
    return tuple(dict.fromkeys([*nearest, *further]))[:_MOST_REFERENCES]


def _automatic(message: Message, sender: str) -> str:
    kind = message.get_content_type()
    if (
        kind == "multipart/report"
        or _raw(message, "Return-Path").strip() == "<>"
        or "X-Failed-Recipients" in message
    ):
        return "BOUNCE"
    submitted = _raw(message, "Auto-Submitted").split(";")[0].strip().lower()
    if submitted not in ("", "no"):
        return "AUTOMATIC"
    if _raw(message, "Precedence").strip().lower() in _AUTOMATIC or any(
        name in message
        for name in ("X-Autoreply", "X-Autorespond", "X-Auto-Response", "List-Id", "List-Unsubscribe")
    ):
        return "AUTOMATIC"
    if not sender:
        return "AUTOMATIC"
    return "AUTOMATIC" if _ROBOTS.fullmatch(sender.partition("@")[0]) else ""


def _text(message: Message) -> str:
    """What was written: the plain text, or else that of the HTML, without what it quotes."""
    plain: list[str] = []
    html: list[str] = []
    for part in _leaves(message):
        kind = part.get_content_type()
        if kind not in ("text/plain", "text/html") or part.get_filename():
            continue
        (plain if kind == "text/plain" else html).append(_content(part))
    text = "\n".join(one for one in plain if one.strip())
    if not text:
        text = "\n".join(without_tags(one) for one in html)
    return _written(text)


def _leaves(message: Message) -> Iterator[Message]:
    """The parts that hold something, as many and as deep as a mail of people has."""
    todo: list[tuple[Message, int]] = [(message, 0)]
    seen = 0
    while todo and seen < _MOST_PARTS:
        part, depth = todo.pop()
        seen += 1
        payload: Any = part.get_payload()
        if isinstance(payload, list):
            inner = cast("list[Any]", payload)
            if depth < _MOST_DEPTH and part.get_content_type() != "message/rfc822":
                todo += [(one, depth + 1) for one in reversed(inner) if isinstance(one, Message)]
        else:
            yield part


def _content(part: Message) -> str:
    try:
        data = part.get_payload(decode=True)
    except Exception:  # an encoding that is none
        return ""
    charset = part.get_param("charset", "")
    named = charset if isinstance(charset, str) else charset[2]
    return _characters(data[:_MOST_PART], named) if isinstance(data, bytes) else ""


def _written(text: str) -> str:
    """A text as it is kept, up to where it quotes the mail that it answers."""
    text = texts.lines(text[:_MOST_PART])
    quoted = _QUOTED.search(text)
    if quoted and text[: quoted.start()].strip():
        text = text[: quoted.start()].strip()
    text = re.sub(r"\n{3,}", "\n\n", text)
    return text[:_MOST_TEXT].rstrip()


def _phone(text: str) -> str:
    """The first number in a text that looks like one to ring."""
    found = _PHONE.search(unicodedata.normalize("NFKC", text[:_MOST_TEXT]))
    return found[0].strip() if found else ""


class _Words(HTMLParser):
    """The words of a page."""

    _SILENT = frozenset({"script", "style", "head", "title", "template", "noscript", "svg", "math"})
    _BREAKS = frozenset(
        {"p", "div", "br", "tr", "li", "h1", "h2", "h3", "h4", "h5", "h6", "table", "blockquote"}
    )

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.words: list[str] = []
        self._silent: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in self._SILENT:
            self._silent.append(tag)
        elif tag in self._BREAKS:
            self.words.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in self._silent:
            while self._silent and self._silent.pop() != tag:
                pass
        elif tag in self._BREAKS:
            self.words.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.words.append(" ".join(data.split()) if data.strip() else " ")


def without_tags(html: str) -> str:
    """The text of a page of HTML, however broken it is."""
    words = _Words()
    try:
        words.feed(html[:_MOST_PART])
        words.close()
    except Exception:  # what was read until then is there
        pass
    lines = ["".join(line.split("\u00a0")).strip() for line in "".join(words.words).split("\n")]
    return "\n".join(line for line in lines if line)
