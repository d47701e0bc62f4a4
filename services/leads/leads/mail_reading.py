"""Mails read: who wrote what, as far as a lead is to know, from whatever bytes a stranger has sent.

Plain bytes in, plain values out. Nothing in a mail is believed, run or fetched: of HTML the text is kept, of attachments nothing.
What is too large, too deep or in a charset that nobody knows gives less text, and never an error.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from email import message_from_bytes
from email.header import decode_header
from email.message import Message
from email.parser import BytesHeaderParser
from email.policy import Compat32
from email.utils import getaddresses
from hashlib import sha256
from html import unescape
from typing import Any, cast

from chassis import texts
from chassis.charsets import codec

MOST_BYTES = 2_000_000
"""What is read of a mail; attachments are what is cut off."""
_MOST_PARTS, _MOST_DEPTH = 200, 12
_MOST_TEXT = 8_000
_MOST_HEADER = 4_000
_MOST_REFERENCES = 50
_MOST_PART = 400_000
_MOST_LINES = 40_000
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


class _Short(Compat32):
    """Headers as long as those of people's mails: the library takes a time for parameters that grows with their square."""

    def header_source_parse(self, sourcelines: list[str]) -> tuple[str, str]:
        name, value = super().header_source_parse(sourcelines)
        # Of a long thread the mails that were answered last are named last.
        return name, value[-_MOST_HEADER:] if name.lower() == "references" else value[:_MOST_HEADER]


_POLICY = _Short()


def read(raw: bytes) -> Mail:
    """The mail in these bytes."""
    some = _few_lines(raw[:MOST_BYTES])
    try:
        message = message_from_bytes(some, policy=_POLICY)
    except RecursionError:  # parts within parts without end
        message = BytesHeaderParser(policy=_POLICY).parsebytes(some)
    sender, name = _sender(message)
    text = _text(message)
    return Mail(
        key=_key(message, raw), sender=sender, name=name or sender.partition("@")[0], subject=_header(message, "Subject")[:200],
        text=text, phone=_phone(text), answers=_answers(message), automatic=_automatic(message, sender),
    )  # fmt: skip


def _few_lines(raw: bytes) -> bytes:
    # Each line is compared with the boundary of every part that it may end.
    end = 0
    for _ in range(_MOST_LINES):
        end = raw.find(b"\n", end) + 1
        if not end:
            return raw
    return raw[:end]


def key_of(raw: bytes) -> str:
    """By which a mail is the same whose headers cannot be read."""
    return f"sha256 {sha256(raw[:MOST_BYTES]).hexdigest()}"


def _key(message: Message, raw: bytes) -> str:
    found = _ID.search(_raw(message, "Message-ID"))
    return found[0] if found else key_of(raw)


def _raw(message: Message, name: str) -> str:
    return texts.visible(str(message.get(name) or "")[:_MOST_HEADER])


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
    for one in (codec(charset) or "utf-8", "utf-8", "gb18030"):
        try:
            return data.decode(one)
        except UnicodeDecodeError:
            continue
    return data.decode("utf-8", "replace")


def _addresses(text: str) -> list[tuple[str, str]]:
    try:
        return getaddresses([text])
    except Exception:  # as for brackets in brackets without end
        return []


def _sender(message: Message) -> tuple[str, str]:
    for header in ("Reply-To", "From", "Sender"):
        for name, address in _addresses(_raw(message, header).replace("\r", "").replace("\n", " ")):
            known = texts.email(address)
            if known:
                return known, texts.narrow(_decoded(name).strip("\"' "))[:200]
    return "", ""


def _answers(message: Message) -> tuple[str, ...]:
    nearest = _ID.findall(_raw(message, "In-Reply-To"))
    further = list(reversed(_ID.findall(_raw(message, "References"))))
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
        if kind not in ("text/plain", "text/html") or _is_file(part):
            continue
        (plain if kind == "text/plain" else html).append(_content(part))
    text = "\n".join(one for one in plain if one.strip())
    if not text:
        text = "\n".join(without_tags(one) for one in html)
    return _written(text)


def _is_file(part: Message) -> bool:
    # Whatever its name says: the library would read it by a charset that the mail names.
    return any(
        part.get_param(name, header=header)
        for name, header in (("filename", "content-disposition"), ("name", "content-type"))
    )


def _leaves(message: Message) -> Iterator[Message]:
    """The parts that hold something, as many and as deep as a mail of people has."""
    todo: list[tuple[Message, int]] = [(message, 0)]
    seen = 0
    while todo and seen < _MOST_PARTS:
        part, depth = todo.pop()
        seen += 1
        # Asked for a text that is no list, the library would read it by the charset that the mail names.
        if part.is_multipart():
            inner = cast("list[Any]", part.get_payload())
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


_TAG = re.compile(r"(/?)([a-zA-Z][a-zA-Z0-9]*)")
_SIGN = re.compile("""=\\s?["']|>""")
_RAW = {name: re.compile(f"</{name}", re.IGNORECASE) for name in ("script", "style", "title")}
_SILENT = frozenset({*_RAW, "head", "template", "noscript", "svg", "math"})
_BREAKS = frozenset({"p", "div", "br", "tr", "li", "h1", "h2", "h3", "h4", "h5", "h6", "table", "blockquote"})


def without_tags(html: str) -> str:
    """The text of a page of HTML, however broken it is. Each character is looked at a few times, whatever the page is made of:
    the library's parser takes hours for some of 400 KB."""
    words = "".join(_words(html[:_MOST_PART]))
    lines = [" ".join(line.split()) for line in words.split("\n")]
    return "\n".join(line for line in lines if line)


def _words(html: str) -> Iterator[str]:
    silent, depth, at = "", 0, 0
    ends = _TagEnds(html)
    while at < len(html):
        start = html.find("<", at)
        text = html[at : start if start >= 0 else len(html)]
        if text and not silent:
            yield " ".join(f"-{unescape(text)}-".split())[1:-1]
        if start < 0:
            return
        tag = _TAG.match(html, start + 1)
        if tag is None:
            at = _passed(html, start)
            if at == start + 1 and not silent:
                yield "<"
            continue
        end = ends.of(start)
        at = end + 1
        closes, name = bool(tag[1]), tag[2].lower()
        if silent == name:
            depth += -1 if closes else 1
        elif silent == "head" and name == "body":
            depth = 0
        elif not silent and name in _SILENT and not closes and html[end - 1 : end] != "/":
            silent, depth = name, 1
            raw = _RAW.get(name)
            if raw is not None:
                found = raw.search(html, at)
                at = found.start() if found else len(html)
        elif not silent and name in _BREAKS:
            yield "\n"
        silent = silent if depth else ""


def _passed(html: str, start: int) -> int:
    """Where the text goes on behind a `<` that begins no tag: behind the comment or declaration, or the sign itself."""
    for begin, end in (("<!--", "-->"), ("<!", ">"), ("<?", ">"), ("</", ">")):
        if html.startswith(begin, start):
            found = html.find(end, start + len(begin))
            return found + len(end) if found >= 0 else len(html)
    return start + 1


class _TagEnds:
    """Where tags end, asked from left to right: a `>` in a quoted value ends none."""

    def __init__(self, html: str) -> None:
        self._html = html
        self._never: set[str] = set()
        """Quotes that do not come any more."""

    def of(self, start: int) -> int:
        """The place of the `>`, or the end of the page."""
        at = start
        while (found := _SIGN.search(self._html, at)) is not None:
            at = found.end()
            sign = found[0][-1]
            if sign == ">":
                return found.end() - 1
            if sign not in self._never:
                closed = self._html.find(sign, at)
                at = closed + 1 if closed >= 0 else at
                self._never |= {sign} if closed < 0 else set()
        return len(self._html)
