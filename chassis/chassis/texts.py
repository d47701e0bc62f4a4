"""Texts as they are kept: trimmed, one form for one character, nothing invisible; and e-mail addresses."""

import re
import unicodedata

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufeff\u200b\u2060\ufffe\uffff\ud800-\udfff]")
_SPACES = re.compile(r"[^\S\n]+")
_LINE_END = re.compile(r"\r\n?")
_NARROW = {
    code: code - 0xFEE0
    for code in range(0xFF01, 0xFF5F)
    if chr(code - 0xFEE0).isalnum() or chr(code - 0xFEE0) in "&@.-+#_/'*%="
} | {0x3000: " "}  # fmt: skip
_LOCAL = re.compile(r"[^\s@\"(),:;<>\[\]\\\x00-\x1f\x7f]{1,64}")
_LABEL = re.compile(r"[^\W_](?:[\w-]{0,61}[^\W_])?")


def line(text: str) -> str:
    """A text of one line: trimmed, white space single, control and invisible characters left out, composed
    (NFC).

    Width and case stay as written: `Ａ` in a name may be meant. What is compared goes through
    `chassis.search.normalised`.
    """
    return _SPACES.sub(" ", _CONTROL.sub("", unicodedata.normalize("NFC", text).replace("\n", " "))).strip()


def visible(text: str) -> str:
    """The text without control and invisible characters, and halves of characters: nothing that a database refuses."""
    return _CONTROL.sub("", text)


def narrow(text: str) -> str:
    """A name in one line, with Latin letters, digits and the signs between them in half width.

    `Ｋｅｈｕ（北京）　１号` becomes `Kehu（北京） 1号`. Brackets and punctuation stay as wide as written: the
    registers of companies write them so. Doing it again changes nothing.
    """
    return line(text.translate(_NARROW))


def lines(text: str) -> str:
    """A text of several lines: as `line`, but line ends are kept, as \\n."""
    unified = _LINE_END.sub("\n", unicodedata.normalize("NFC", text))
    cleaned = _SPACES.sub(" ", _CONTROL.sub("", unified))
    return "\n".join(part.strip(" ") for part in cleaned.split("\n")).strip()


def prose(text: str) -> str:
    """A text as somebody wrote it: indentation and empty lines stay, line ends become \\n, and control and invisible
    characters, trailing white space and what stands around the whole are left out."""
    unified = _LINE_END.sub("\n", unicodedata.normalize("NFC", text))
    cleaned = _CONTROL.sub("", unified)
    return "\n".join(part.rstrip() for part in cleaned.split("\n")).strip("\n").rstrip()


def same(text: str) -> str:
    """What is equal for two texts that differ only in white space, case and width: the key of repairing
    comparisons."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    # A mark that stood behind a space joins the letter before it.
    return unicodedata.normalize("NFKC", "".join(folded.split()))


def email(text: str) -> str | None:
    """The address in lower case, or None when it is none: `local@domain` with a dot in the domain, at most
    254 characters.

    Domains and local parts beyond ASCII are addresses, too (RFC 6531). A wrapping `<…>` and `mailto:` are
    taken off.
    """
    address = unicodedata.normalize("NFKC", text).strip()
    address = address.removeprefix("mailto:").removeprefix("<").removesuffix(">").strip().lower()
    if len(address) > 254:
        return None
    local, at, domain = address.rpartition("@")
    if not at or not _LOCAL.fullmatch(local) or local.startswith(".") or local.endswith(".") or ".." in local:
        return None
    labels = domain.split(".")
    if len(labels) < 2 or not all(_LABEL.fullmatch(label) for label in labels) or labels[-1].isdigit():
        return None
    return address
