"""Answers to browsers that have posted a form: pages instead of JSON."""

from html import escape

from gateway import forms
from gateway.exchanges import Answer, Exchange, media_type
from gateway.problems import Refusal

_PAGE = """<!doctype html>
<html><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>body{{font-family:system-ui,sans-serif;max-width:40rem;margin:4rem auto;padding:0 1rem}}
p{{white-space:pre-line}}</style></head><body><h1>{title}</h1>{text}</body></html>
"""
_CLOSED = b"default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"


def wanted(exchange: Exchange) -> bool:
    """Whether a browser has posted a form and will show what comes back."""
    posted = media_type(exchange) in (forms.URLENCODED, forms.MULTIPART)
    return posted and b"text/html" in exchange.headers.get(b"accept", b"")


def _page(status: int, title: str, paragraphs: list[str], headers: list[tuple[bytes, bytes]]) -> Answer:
    text = "".join(f"<p>{escape(paragraph)}</p>" for paragraph in paragraphs)
    body = _PAGE.format(title=escape(title), text=text).encode()
    kept = [pair for pair in headers if pair[0] not in (b"content-type", b"content-security-policy")]
    shown = [(b"content-type", b"text/html; charset=utf-8"), (b"content-security-policy", _CLOSED), *kept]
    return Answer(status, shown, body)


def done(text: str) -> Answer:
    """The words of an answer."""
    first, _, rest = text.partition("\n")
    return _page(200, first, [rest] if rest.strip() else [], [(b"cache-control", b"no-store")])


def refused(refusal: Refusal) -> Answer:
    """What is wrong with what was sent, for people."""
    said = [v.description for v in refusal.violations] or [refusal.detail]
    return _page(refusal.status, refusal.title, said, refusal.headers())
