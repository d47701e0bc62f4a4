"""Reading vCards (2.1, 3.0 and 4.0) as rows: a card a row, in columns that an import knows by their headers.

Phones and address books each write their own dialect: what is read here is what they agree on, and nothing of it is believed
to be well formed. Pictures, sounds and cards within cards are passed over. Columns that no card fills are left out.
"""

import binascii
import quopri
import re
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TextIO

from chassis.charsets import codec
from chassis.imports.addresses import PARTS, address_told
from chassis.imports.encodings import encoding_of, text_of, unreadable
from chassis.imports.reading import MOST_CELL, MOST_RECORD, Packer, Sheet
from chassis.imports.values import Country, Refused, marked, parted, told, words_told

_LABELS = ("Phone label", "E-mail label", "Address label")
_PARTED = ("Country", "Province", "City", "District", "Street", "Postal code")
HEADER = (
    "Name", "Company", "Department", "Title", "Phone", "Phone label", "Further phones", "E-mail", "E-mail label",
    "Further e-mails", *_PARTED, "Address", "Address label", "Further addresses", "Website", "Messaging account",
    "Further messaging accounts", "Birthday", "Tags", "External key", "Notes",
)  # fmt: skip
_PROPERTY = re.compile(r'(?:([\w-]+)\.)?([\w-]+)((?:;(?:"[^"]*"|[^":;])*)*):(.*)', re.DOTALL)
_PARAMETER = re.compile(r';([^=;"]*)(?:=((?:"[^"]*"|[^;"])*))?')
_PASSED_OVER = frozenset({"PHOTO", "LOGO", "SOUND", "KEY", "AGENT"})
_CJK = re.compile(r"[\u3400-\u9fff\uac00-\ud7af\u3040-\u30ff]")
_MESSENGERS = {"X-WECHAT": "wechat", "X-QQ": "qq", "X-SKYPE": "skype", "X-SKYPE-USERNAME": "skype", "X-JABBER": "xmpp",
               "X-AIM": "aim", "X-ICQ": "icq", "X-MSN": "msn", "X-YAHOO": "yahoo", "X-GOOGLE-TALK": "gtalk"}  # fmt: skip
_NO_MESSENGER = frozenset({"im", "x-apple"})
"""Schemes that say that it is an account, and not of whom."""
_MACHINES = frozenset({"FAX", "PAGER", "MODEM"})
"""Numbers that nobody answers: they stand behind those of people."""
_CALLED: Mapping[str, Mapping[str, str]] = {
    "TEL": {
        "FAX": "fax", "PAGER": "pager", "MODEM": "modem", "CELL": "mobile", "IPHONE": "mobile", "MAIN": "switchboard",
        "WORK": "work", "HOME": "home",
    },
    "EMAIL": {"WORK": "work", "HOME": "private"},
    "ADR": {"WORK": "office", "HOME": "home"},
}  # fmt: skip
"""What types of the standard are called, the more telling first."""
_APPLES = re.compile(r"_\$!<(.*)>!\$_")
"""How macOS writes the labels that it has itself."""
_LONGEST_LABEL = 30
_MOST_PROPERTIES = 5_000
_LONGEST_LINE = MOST_CELL * 12
"""Characters of a line that are read: in quoted-printable a character has up to twelve."""
_BETWEEN = ";；"


@dataclass
class _Property:
    name: str
    types: frozenset[str]
    """Upper-case values of TYPE, and parameters without a name, as 2.1 has them."""
    value: str
    group: str = ""
    """What ties it to others that say more of the same."""
    messenger: str = ""

    @property
    def parts(self) -> list[str]:
        """The parts of a structured value."""
        return [_unescaped(part) for part in parted(self.value, ";")]

    @property
    def words(self) -> list[str]:
        """The texts of a value that has several."""
        return [_unescaped(part) for part in parted(self.value, ",;")]

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
        words = [word for one in self.all("CATEGORIES") for word in one.words if word]
        cells = [
            self._name(), parts[0] if parts else "", ", ".join(parts[1:]), self.text("TITLE", "ROLE"), *self._phones(),
            *_entries([(self._label(one), one.text) for one in _in_order(self.all("EMAIL")) if "@" in one.text]),
            *self._addresses(), self.text("URL"), *self._accounts(), _day(self.text("BDAY")), words_told(words), self._key(),
            "\n".join(one.text for one in self.all("NOTE")),
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

    def _key(self) -> str:
        """What another system calls it; an id that we have made ourselves, or an address book by itself, is no such name."""
        uid = self.text("UID")
        return "" if uid.lower().startswith("urn:uuid:") else uid[:100]

    def _beside(self, one: _Property, name: str) -> str:
        """What a property of that name says of this one."""
        if not one.group:
            return ""
        said = (it.text for it in self.properties if it.name == name and it.group == one.group)
        return next(said, "")

    def _label(self, one: _Property) -> str:
        own = self._beside(one, "X-ABLABEL")
        known = next((label for kind, label in _CALLED.get(one.name, {}).items() if kind in one.types), "")
        apples = _APPLES.fullmatch(own)
        return ((known or apples[1]) if apples else own or known)[:_LONGEST_LABEL]

    def _phones(self) -> list[str]:
        found = _in_order(self.all("TEL"), "CELL")
        people = [one for one in found if not one.types & _MACHINES or "PREF" in one.types]
        entries = [
            (self._label(one), one.text.removeprefix("tel:"))
            for one in [*people, *(one for one in found if one not in people)]
        ]
        # A fax that is all there is stands among the further ones: it is no number by which to call somebody.
        return _entries(entries) if people else ["", "", "; ".join(told(*one) for one in _once(entries))]

    def _addresses(self) -> list[str]:
        """The parts of the first, the first as one text, its label, and the others."""
        found = _in_order(self.all("ADR"), "WORK")
        addresses = [(self._label(one), self._address(one)) for one in found]
        if not found and (written := self.text("LABEL")):
            addresses = [("", {"street": written.replace("\n", ", ")})]
        if not addresses:
            return [""] * (len(_PARTED) + 3)
        (label, first), *others = addresses
        whole = ", ".join(first[part] for part in _WRITTEN if first.get(part))
        rest = "; ".join(told(label, address_told(address)) for label, address in others)
        return [*(first.get(part, "") for part in PARTS), whole, label, rest]

    def _address(self, one: _Property) -> dict[str, str]:
        parts = [" ".join(part.split()) for part in one.parts]
        box, extended, street, city, region, code, country = ([*parts, *[""] * 7])[:7]
        district = self._beside(one, "X-DISTRICT")
        if district:
            street = street.removeprefix(district).lstrip()
        lines = [box, extended, street]
        try:
            country = Country().read(country).value if country else ""
        except Refused:
            # A country by a name of its own is better kept in the street than the card refused.
            lines, country = [*lines, country], ""
        street = ", ".join(line for line in lines if line)
        return dict(zip(PARTS, (country, region, city, district, street, code), strict=True))

    def _accounts(self) -> list[str]:
        """The first with its messenger before it, and the others."""
        found: list[tuple[str, str]] = []
        for one in self.properties:
            if not one.text:
                continue
            if one.name in _MESSENGERS:
                found.append((_MESSENGERS[one.name], one.text))
            elif one.name == "IMPP":
                found.append(self._account(one))
        # Two messengers may know somebody by one name.
        different = list(dict.fromkeys(found))
        if not different:
            return ["", ""]
        label, account = different[0]
        account = account.replace("\n", " ")
        first = f"{label}:{marked(account, _BETWEEN)}" if label else told("", account)
        return [first, "; ".join(told(*other) for other in different[1:])]

    def _account(self, one: _Property) -> tuple[str, str]:
        scheme, colon, account = one.text.partition(":")
        if not colon or not re.fullmatch(r"[A-Za-z][\w+.-]*", scheme):
            scheme, account = "", one.text
        own = "" if scheme.lower() in _NO_MESSENGER else scheme
        return (one.messenger or own or self._label(one))[:_LONGEST_LABEL], account.strip()


_WRITTEN = ("street", "district", "city", "province", "postal_code", "country_code")
"""The parts of an address in the order in which cards are written."""


def _once(entries: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Each value once, with the first label that it has."""
    out: dict[str, str] = {}
    for label, value in entries:
        if value.strip():
            out[value.strip()] = out.get(value.strip()) or label
    return [(label, value) for value, label in out.items()]


def _entries(entries: Sequence[tuple[str, str]]) -> list[str]:
    """The first value and its label, and the others in one cell."""
    (label, first), *others = _once(entries) or [("", "")]
    return [first, label, "; ".join(told(*other) for other in others)]


def _in_order(found: list[_Property], kind: str = "") -> list[_Property]:
    """The preferred one first, or the first of that kind where none is; the others as they stand."""
    fits = [one for one in found if "PREF" in one.types] or [one for one in found if kind in one.types]
    return [*fits[:1], *(one for one in found if one not in fits[:1])]


def _day(text: str) -> str:
    found = re.match(r"(\d{4})-?(\d{2})-?(\d{2})", text.strip())
    return "-".join(found.groups()) if found else ""


def _unescaped(text: str) -> str:
    return re.sub(
        r"\\(.)", lambda found: "\n" if found[1] in "nN" else found[1], text, flags=re.DOTALL
    ).strip()


def read_vcards(content: bytes, encoding: str = "", fields: Container[str] = ()) -> Sheet:
    """Reads a file of vCards for records with these fields: labels, and parts of addresses, are columns where there is a field
    for them. Raises Invalid for a file that holds none, or a card that does not end."""
    codec, encoding = encoding_of(content, encoding)
    left_out = _left_out(fields)
    used = [False] * len(HEADER)
    for row in _rows(text_of(content, codec, newline=None)):
        for place, cell in enumerate(row):
            used[place] = used[place] or bool(cell)
    places = [place for place, filled in enumerate(used) if filled and HEADER[place] not in left_out]
    packer = Packer()
    packer.take([HEADER[place] for place in places])
    for row in _rows(text_of(content, codec, newline=None)):
        packer.take([row[place] for place in places])
    return packer.finish(encoding)


def _left_out(fields: Container[str]) -> frozenset[str]:
    """Columns that no field of these is for."""
    labels = zip(("phoneLabel", "emailLabel", "addressLabel"), _LABELS, strict=True)
    unlabelled = {head for name, head in labels if name not in fields}
    return frozenset(unlabelled | ({"Address"} if "street" in fields else {*_PARTED}))


def _rows(source: TextIO) -> Iterator[list[str]]:
    for card in _cards(source):
        row = card.row()
        if any(row):
            yield row


def _cards(source: TextIO) -> Iterator[_Card]:
    card: _Card | None = None
    inner = 0
    began = 0
    length = 0
    for number, line in _lines(source):
        told = line.strip().upper().replace(" ", "")
        if told == "BEGIN:VCARD":
            if card is None:
                card, began, length = _Card(), number, 0
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
                length += len(line)
                if length > MOST_RECORD or len(card.properties) > _MOST_PROPERTIES:
                    raise unreadable(
                        f"the card that begins in line {began:,} has more than {MOST_RECORD:,} characters or"
                        f" {_MOST_PROPERTIES:,} entries"
                    )
    if card is not None:
        raise unreadable(f"the card that begins in line {began:,} does not end")


def _lines(source: TextIO) -> Iterator[tuple[int, str]]:
    """Logical lines: what is folded, or goes on behind a quoted line end, is one."""
    pending, start = "", 0
    quoted = False
    for number, line in enumerate(_written(source), 1):
        if quoted:
            pending = pending[:-1] + line.lstrip(" \t")
        elif line[:1] in (" ", "\t") and pending:
            if len(pending) <= _LONGEST_LINE:  # the rest of a picture
                pending += line[1:]
        else:
            if pending:
                yield start, pending
            pending, start = line, number
        head = pending[:200].partition(":")[0].upper()
        quoted = "QUOTED-PRINTABLE" in head and pending.endswith("=") and len(pending) <= _LONGEST_LINE
    if pending:
        yield start, pending


def _written(source: TextIO) -> Iterator[str]:
    """The lines as they stand in the file; of one that is longer than any that is read, as a picture may be, its beginning."""
    while line := source.readline(_LONGEST_LINE):
        rest = line
        while not rest.endswith("\n") and (rest := source.readline(_LONGEST_LINE)):
            pass
        yield line.removesuffix("\n")


def _property(line: str) -> _Property | None:
    found = _PROPERTY.fullmatch(line)
    if found is None or found[2].upper() in _PASSED_OVER:
        return None
    types: set[str] = set()
    encoding = charset = messenger = ""
    for name, value in _PARAMETER.findall(found[3]):
        key, said = name.strip().upper(), value.strip().strip('"')
        if key == "ENCODING":
            encoding = said.upper()
        elif key == "CHARSET":
            charset = said
        elif key == "X-SERVICE-TYPE":
            messenger = said
        elif key == "TYPE":
            types |= {one.strip().strip('"').upper() for one in said.split(",")}
        elif key == "PREF":
            types.add("PREF")
        elif not value:
            types.add(key)
    text = found[4]
    if encoding == "QUOTED-PRINTABLE" or "QUOTED-PRINTABLE" in types:
        text = _unquoted(text, charset)
    elif encoding in ("B", "BASE64") or "BASE64" in types:
        text = _unpacked(text, charset)
    return _Property(found[2].upper(), frozenset(types), text, (found[1] or "").lower(), messenger)


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
