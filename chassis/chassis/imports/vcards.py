"""Reading vCards (2.1, 3.0 and 4.0) as rows: a card a row, in columns that an import knows by their headers.

Phones and address books each write their own dialect: what is read here is what they agree on, and nothing of it is believed
to be well formed. Pictures, sounds and cards within cards are passed over. Columns that no card fills are left out.
"""

import binascii
import quopri
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from chassis.charsets import codec
from chassis.imports.reading import MOST_CELL, Packer, Sheet, decoded, unreadable
from chassis.imports.values import told

HEADER = (
    "Name", "Company", "Department", "Title", "Phone", "Further phones", "E-mail", "Further e-mails", "Address", "Website",
    "Messaging account", "Birthday", "Tags", "External key", "Notes",
)  # fmt: skip
_PROPERTY = re.compile(r'(?:[\w-]+\.)?([\w-]+)((?:;(?:"[^"]*"|[^":;])*)*):(.*)', re.DOTALL)
_PARAMETER = re.compile(r';([^=;"]*)(?:=((?:"[^"]*"|[^;"])*))?')
_PASSED_OVER = frozenset({"PHOTO", "LOGO", "SOUND", "KEY", "AGENT"})
_CJK = re.compile(r"[\u3400-\u9fff\uac00-\ud7af\u3040-\u30ff]")
_MESSENGERS = {"X-WECHAT": "wechat", "X-QQ": "qq", "X-SKYPE": "skype", "X-SKYPE-USERNAME": "skype", "X-JABBER": "xmpp",
               "X-AIM": "aim", "X-ICQ": "icq", "X-MSN": "msn", "X-YAHOO": "yahoo", "X-GOOGLE-TALK": "gtalk"}  # fmt: skip


@dataclass
class _Property:
    name: str
    types: frozenset[str]
    """Upper-case values of TYPE, and parameters without a name, as 2.1 has them."""
    value: str

    @property
    def parts(self) -> list[str]:
        """The parts of a structured value."""
        return [_unescaped(part) for part in re.split(r"(?<!\\);", self.value)]

    @property
    def text(self) -> str:
        """The value as one text."""
        return _unescaped(self.value)


@dataclass
class _Card:
    properties: list[_Property] = field(default_factory=list[_Property])

    def all(self, *names: str) -> list[_Property]:
        return [one for one in self.properties if one.name in names and one.value.strip(" ;")]

    def first(self, *names: str) -> _Property | None:
        for name in names:
            found = self.all(name)
            if found:
                return found[0]
        return None

    def text(self, *names: str) -> str:
        found = self.first(*names)
        return "" if found is None else found.text

    def row(self) -> list[str]:
        """Its cells, in the order of HEADER."""
        organisation = self.first("ORG")
        parts = [part for part in organisation.parts if part] if organisation else []
        phones = _preferred(
            [one for one in self.all("TEL") if not one.types & {"FAX", "PAGER", "MODEM"}], "CELL"
        )
        emails = [one for one in _preferred(self.all("EMAIL"), "INTERNET") if "@" in one]
        cells = [
            self._name(), parts[0] if parts else "", ", ".join(parts[1:]), self.text("TITLE", "ROLE"),
            *_parted([phone.removeprefix("tel:") for phone in phones]), *_parted(emails), self._address(), self.text("URL"),
            self._messenger(), _day(self.text("BDAY")), ", ".join(one.text for one in self.all("CATEGORIES")),
            self.text("UID").removeprefix("urn:uuid:")[:100], "\n".join(one.text for one in self.all("NOTE")),
        ]  # fmt: skip
        return [cell.strip()[:MOST_CELL] for cell in cells]

    def _name(self) -> str:
        whole = self.text("FN")
        if whole.strip():
            return whole
        name = self.first("N")
        if name is None:
            return self.text("NICKNAME")
        family, given, middle = ([*name.parts, "", "", ""])[:3]
        if _CJK.search(family + given):
            return family + given
        return " ".join(part for part in (given, middle, family) if part)

    def _address(self) -> str:
        found = _preferred_properties(self.all("ADR"), "WORK")
        if not found:
            return self.text("LABEL").replace("\n", ", ")
        box, extended, street, city, region, code, country = ([*found[0].parts, *[""] * 7])[:7]
        parts = [part.strip() for part in (box, extended, street, city, region, code, country)]
        return ", ".join(part for part in parts if part)

    def _messenger(self) -> str:
        for one in self.properties:
            if one.name == "IMPP" and one.value:
                return one.text
            if one.name in _MESSENGERS and one.value:
                return f"{_MESSENGERS[one.name]}:{one.text}"
        return ""


def _parted(values: list[str]) -> list[str]:
    """The first, and the others in one cell."""
    first, *others = list(dict.fromkeys(value.strip() for value in values if value.strip())) or [""]
    return [first, "; ".join(told("", other) for other in others)]


def _preferred_properties(found: list[_Property], kind: str) -> list[_Property]:
    return sorted(found, key=lambda one: ("PREF" not in one.types, kind not in one.types))


def _preferred(found: list[_Property], kind: str) -> list[str]:
    return [one.text for one in _preferred_properties(found, kind)]


def _day(text: str) -> str:
    found = re.match(r"(\d{4})-?(\d{2})-?(\d{2})", text.strip())
    return "-".join(found.groups()) if found else ""


def _unescaped(text: str) -> str:
    return re.sub(
        r"\\(.)", lambda found: "\n" if found[1] in "nN" else found[1], text, flags=re.DOTALL
    ).strip()


def read_vcards(content: bytes, encoding: str = "") -> Sheet:
    """Reads a file of vCards. Raises Invalid for a file that holds none, or a card that does not end."""
    text, encoding = decoded(content, encoding)
    used = [False] * len(HEADER)
    for row in _rows(text):
        for place, cell in enumerate(row):
            used[place] = used[place] or bool(cell)
    places = [place for place, filled in enumerate(used) if filled]
    packer = Packer()
    packer.take([HEADER[place] for place in places])
    for row in _rows(text):
        packer.take([row[place] for place in places])
    return packer.finish(encoding)


def _rows(text: str) -> Iterator[list[str]]:
    for card in _cards(text):
        row = card.row()
        if any(row):
            yield row


def _cards(text: str) -> Iterator[_Card]:
    card: _Card | None = None
    inner = 0
    began = 0
    for number, line in _lines(text):
        told = line.strip().upper().replace(" ", "")
        if told == "BEGIN:VCARD":
            if card is None:
                card, began = _Card(), number
            else:
                inner += 1
        elif told == "END:VCARD":
            if inner:
                inner -= 1
            elif card is not None:
                yield card
                card = None
        elif card is not None and not inner:
            found = _property(line)
            if found is not None:
                card.properties.append(found)
    if card is not None:
        raise unreadable(f"the card that begins in line {began:,} does not end")


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Logical lines: what is folded, or goes on behind a quoted line end, is one."""
    pending, start = "", 0
    quoted = False
    for number, line in enumerate(re.split(r"\r\n|\n|\r", text), 1):
        if quoted:
            pending = pending[:-1] + line.lstrip(" \t")
        elif line[:1] in (" ", "\t") and pending:
            if len(pending) <= MOST_CELL * 4:  # the rest of a picture
                pending += line[1:]
        else:
            if pending:
                yield start, pending
            pending, start = line, number
        head = pending[:200].partition(":")[0].upper()
        quoted = "QUOTED-PRINTABLE" in head and pending.endswith("=") and len(pending) <= MOST_CELL * 4
    if pending:
        yield start, pending


def _property(line: str) -> _Property | None:
    found = _PROPERTY.fullmatch(line)
    if found is None or found[1].upper() in _PASSED_OVER:
        return None
    types: set[str] = set()
    encoding = charset = ""
    for name, value in _PARAMETER.findall(found[2]):
        key, said = name.strip().upper(), value.strip().strip('"')
        if key == "ENCODING":
            encoding = said.upper()
        elif key == "CHARSET":
            charset = said
        elif key == "TYPE":
            types |= {one.strip().strip('"').upper() for one in said.split(",")}
        elif key == "PREF":
            types.add("PREF")
        elif not value:
            types.add(key)
    text = found[3]
    if encoding == "QUOTED-PRINTABLE" or "QUOTED-PRINTABLE" in types:
        text = _unquoted(text, charset)
    elif encoding in ("B", "BASE64") or "BASE64" in types:
        text = _unpacked(text, charset)
    return _Property(found[1].upper(), frozenset(types), text)


def _unquoted(text: str, charset: str) -> str:
    raw = quopri.decodestring(text.encode("utf-8", "surrogateescape"))
    return _said(raw, charset)


def _unpacked(text: str, charset: str) -> str:
    try:
        return _said(binascii.a2b_base64(text), charset)
    except (binascii.Error, ValueError):
        return ""


def _said(raw: bytes, charset: str) -> str:
    for name in (codec(charset), "utf-8", "gb18030"):
        try:
            return raw.decode(name or "utf-8")
        except UnicodeDecodeError:
            continue
    return raw.decode("latin-1")
