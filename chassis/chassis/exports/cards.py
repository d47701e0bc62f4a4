"""Cards for address books: vCard 3.0, which is what telephones and macOS read, in UTF-8.

4.0 (RFC 6350) is newer, and refused or read in part by many of them. Outlook on Windows reads the first card of a file only, and
not all of them as UTF-8: for it there are CSV and XLSX. Labels that the standard has no type for stand beside their
value as `item1.X-ABLabel`, which telephones show and everybody else passes over; where there is a type, it is there as well.
A district, for which the standard has no part, begins the street, and stands beside it as `item1.X-DISTRICT`: who knows that
takes them apart again.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

_ROOM = 75
"""Bytes of a line (RFC 2426, 2.6)."""
_CJK = re.compile(r"[\u3400-\u9fff]+")
_CONTROL = {n: None for n in (*range(9), *range(11, 32), 127)} | dict.fromkeys(range(0xD800, 0xE000))
_TWO_SYLLABLES = frozenset({
    "欧阳", "太史", "端木", "上官", "司马", "东方", "独孤", "南宫", "万俟", "闻人", "夏侯", "诸葛", "尉迟", "公羊",
    "赫连", "澹台", "皇甫", "宗政", "濮阳", "公冶", "太叔", "申屠", "公孙", "慕容", "仲孙", "钟离", "长孙", "宇文",
    "司徒", "鲜于", "司空", "令狐", "呼延", "轩辕", "百里", "东郭", "西门", "歐陽", "東方", "獨孤", "聞人", "諸葛",
    "尉遲", "赫連", "澹臺", "鍾離", "長孫", "鮮于", "淳于", "司馬", "公孫", "仲孫", "萬俟", "濮陽", "軒轅", "東郭",
    "西門",
})  # fmt: skip
"""Chinese family names of two characters."""


@dataclass(frozen=True)
class Entry:
    """A way to reach somebody: what it is called, its value, and the types of the standard that fit."""

    label: str
    value: str
    types: Sequence[str] = ()


@dataclass(frozen=True)
class Postal:
    """An address by its parts."""

    label: str
    district: str = ""
    street: str = ""
    city: str = ""
    region: str = ""
    code: str = ""
    country: str = ""
    types: Sequence[str] = ()


@dataclass(frozen=True)
class Card:
    """Who somebody is, and how to reach them. The first of each is the preferred one."""

    name: str
    uid: str
    is_company: bool = False
    company: str = ""
    department: str = ""
    title: str = ""
    phones: Sequence[Entry] = ()
    emails: Sequence[Entry] = ()
    accounts: Sequence[Entry] = ()
    addresses: Sequence[Postal] = ()
    website: str = ""
    birthday: date | None = None
    tags: Sequence[str] = ()
    notes: str = ""

    def text(self) -> str:
        """The card, its lines folded."""
        lines = ["BEGIN:VCARD", "VERSION:3.0", f"FN:{_escaped(self.name)}"]
        family, given = ("", "") if self.is_company else parted_name(self.name)
        lines.append(f"N:{_escaped(family)};{_escaped(given)};;;")
        company = self.name if self.is_company else self.company
        if company or self.department:
            lines.append(
                f"ORG:{_escaped(company)}" + (f";{_escaped(self.department)}" if self.department else "")
            )
        if self.is_company:
            lines.append("X-ABShowAs:COMPANY")
        if self.title:
            lines.append(f"TITLE:{_escaped(self.title)}")
        items = _Items()
        for entries, name, always in ((self.phones, "TEL", ()), (self.emails, "EMAIL", ("INTERNET",))):
            for place, one in enumerate(entries):
                types = (*always, *one.types, *(("PREF",) if place == 0 and len(entries) > 1 else ()))
                lines += items.labelled(name, types, one.label, _escaped(one.value))
        for place, one in enumerate(self.addresses):
            street = " ".join(filter(None, (one.district, one.street)))
            parts = ("", "", street, one.city, one.region, one.code, one.country)
            types = (*one.types, *(("PREF",) if place == 0 and len(self.addresses) > 1 else ()))
            lines += items.labelled("ADR", types, one.label, ";".join(map(_escaped, parts)), one.district)
        for one in self.accounts:
            lines += items.labelled("IMPP", one.types, one.label, _escaped(one.value))
        if self.website:
            lines.append(f"URL:{_plain(self.website)}")  # an address, which knows no escapes
        if self.birthday is not None:
            lines.append(f"BDAY:{self.birthday.isoformat()}")
        if self.tags:
            lines.append("CATEGORIES:" + ",".join(map(_escaped, self.tags)))
        if self.notes:
            lines.append(f"NOTE:{_escaped(self.notes)}")
        lines += [f"UID:{_escaped(self.uid)}", "END:VCARD"]
        return "".join(f"{_folded(line)}\r\n" for line in lines)


class _Items:
    """Groups of a value, its label and its district, counted within a card."""

    def __init__(self) -> None:
        self._count = 0

    def labelled(
        self, name: str, types: Sequence[str], label: str, value: str, district: str = ""
    ) -> list[str]:
        """The line of the value, and those of what belongs to it."""
        typed = f";TYPE={','.join(types)}" if types else ""
        beside = [
            f"{key}:{_escaped(text)}"
            for key, text in (("X-ABLabel", label), ("X-DISTRICT", district))
            if text
        ]
        if not beside:
            return [f"{name}{typed}:{value}"]
        self._count += 1
        return [f"item{self._count}.{line}" for line in (f"{name}{typed}:{value}", *beside)]


def parted_name(name: str) -> tuple[str, str]:
    """Family and given name of a Chinese name, by which address books sort; of another the whole, which they show as it is."""
    if not _CJK.fullmatch(name):
        return name, ""
    if len(name) in (3, 4) and name[:2] in _TWO_SYLLABLES:
        return name[:2], name[2:]
    return (name[:1], name[1:]) if len(name) in (2, 3) else (name, "")


def _plain(text: str) -> str:
    return "\n".join(text.splitlines()).translate(_CONTROL).strip()


def _escaped(text: str) -> str:
    return _plain(text).replace("\\", "\\\\").replace("\n", "\\n").replace(",", "\\,").replace(";", "\\;")


def _folded(line: str) -> str:
    """The line in pieces of at most 75 bytes, none of which ends within a character."""
    raw = line.encode()
    if len(raw) <= _ROOM:
        return line
    pieces: list[str] = []
    start, room = 0, _ROOM
    while start < len(raw):
        end = min(start + room, len(raw))
        while end < len(raw) and raw[end] & 0xC0 == 0x80:
            end -= 1
        pieces.append(raw[start:end].decode())
        start, room = end, _ROOM - 1  # the blank before it counts
    return "\r\n ".join(pieces)
