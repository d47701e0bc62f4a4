"""Who is meant, and what of them has to be looked for."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from uuid import UUID

from chassis.search import normalised, phone_forms

GONE = "-"
"""What stands where something about a person stood, and something has to stand."""
_LEAST = 2
"""Characters of a text that is looked for: a single one stands everywhere."""
_TELLING = 6
"""Characters of a text that tells somebody apart."""
_WORD = "A-Za-z0-9_"
_MOBILE = re.compile(r"1\d{10}")
_WAYS = ("number", "address", "account")
"""What an entry of a list of ways to reach somebody calls the way."""
RecordName = tuple[str, UUID]
"""Record type and id."""


@dataclass(frozen=True, kw_only=True)
class Person:
    """A person, as far as is known who it is. Numbers are in E.164, addresses in lower case."""

    records: frozenset[RecordName] = frozenset()
    phones: frozenset[str] = frozenset()
    emails: frozenset[str] = frozenset()
    accounts: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()
    texts: frozenset[str] = frozenset()
    excluded: frozenset[RecordName] = frozenset()

    def ids(self, record_type: str) -> set[UUID]:
        """The ids of the person's records of that type."""
        return {id for kind, id in self.records if kind == record_type}

    def joined(self, other: "Person") -> "Person":
        """What both tell. `excluded` stays that of the first."""
        return Person(
            records=self.records | other.records, phones=self.phones | other.phones, emails=self.emails | other.emails,
            accounts=self.accounts | other.accounts, names=self.names | other.names, texts=self.texts | other.texts,
            excluded=self.excluded,
        )  # fmt: skip

    def kept(self) -> dict[str, list[Any]]:
        """The form in which it is kept as JSON."""
        return {
            "records": [[kind, str(id)] for kind, id in sorted(self.records)],
            "excluded": [[kind, str(id)] for kind, id in sorted(self.excluded)],
            "phones": sorted(self.phones), "emails": sorted(self.emails), "accounts": sorted(self.accounts),
            "names": sorted(self.names), "texts": sorted(self.texts),
        }  # fmt: skip

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> "Person":
        """From that form."""
        columns: dict[str, Any] = {
            name: frozenset((kind, UUID(id)) for kind, id in value) if name in ("records", "excluded") else frozenset(value)
            for name, value in kept.items()
        }  # fmt: skip
        return cls(**columns)


@dataclass(frozen=True)
class Marks:
    """By what a row is seen to be tied to a person: ids of its records and of those that name it, numbers and addresses."""

    person: Person
    linked: frozenset[UUID] = field(default_factory=frozenset[UUID])

    @cached_property
    def ids(self) -> list[UUID]:
        """All ids."""
        return sorted({id for _, id in self.person.records} | self.linked)

    @cached_property
    def identifiers(self) -> list[str]:
        """Numbers as they are written, addresses and accounts, in lower case."""
        found = {form for phone in self.person.phones for form in _written(phone)}
        found |= {
            text.lower() for text in (*self.person.emails, *self.person.accounts) if len(text) > _LEAST + 2
        }
        return sorted(found)

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        person = self.person
        found = {form: True for phone in person.phones for form in (phone, *_written(phone))}
        found |= {text: True for text in (*person.emails, *person.accounts) if len(text) > _LEAST}
        for name in person.names:
            if len(name) >= _LEAST:
                # A name is looked for as it is written: in capitals it may be something else's.
                found |= {name: False, normalised(name): False}
        # So are longer texts about them, as a street, within others. A short one goes only where it stands alone.
        found |= {text.strip(): False for text in person.texts if len(text.strip()) >= _TELLING}
        words = sorted(found, key=len, reverse=True)
        parts = [f"(?i:{_bounded(word)})" if found[word] else _bounded(word) for word in words]
        return re.compile("|".join(parts) or "(?!)")

    @cached_property
    def _texts(self) -> frozenset[str]:
        return frozenset(text.strip() for text in self.person.texts if len(text.strip()) >= _LEAST)

    def stand_in(self, held: bytes) -> bool:
        """Whether anything of the person stands in these bytes."""
        told = held.decode("utf-8", "replace")
        low = told.lower()
        known = (*self.identifiers, *(str(id) for id in self.ids))
        return any(mark in low for mark in known) or self._pattern.search(told) is not None

    def stand_in_text(self, cells: Iterable[str]) -> bool:
        """Whether a number, an address or a name of the person stands in these texts."""
        told = "\n".join(cells)
        low = told.lower()
        return any(mark in low for mark in self.identifiers) or self._pattern.search(told) is not None

    def text(self, value: str) -> str:
        """The text without the person."""
        return GONE if value.strip() in self._texts else self._pattern.sub(GONE, value)

    def _is_way(self, entry: Any) -> bool:
        """Whether an entry of a list is a number, an address or an account of the person, which goes as a whole."""
        if not isinstance(entry, dict):
            return False
        parts: dict[str, Any] = entry  # pyright: ignore[reportUnknownVariableType]
        return any(isinstance(parts.get(name), str) and parts[name] in self._ways for name in _WAYS)

    @cached_property
    def _ways(self) -> frozenset[str]:
        return self.person.phones | self.person.emails | self.person.accounts

    def json(self, value: Any) -> Any:
        """The same for JSON, in keys, too."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            items: list[Any] = value  # pyright: ignore[reportUnknownVariableType]
            return [self.json(one) for one in items if not self._is_way(one)]
        if isinstance(value, dict):
            parts: dict[str, Any] = value  # pyright: ignore[reportUnknownVariableType]
            return {self._pattern.sub(GONE, key): self.json(one) for key, one in parts.items()}
        return value


def _bounded(word: str) -> str:
    """Latin letters and digits are a word only when no others stand beside them."""
    before = f"(?<![{_WORD}])" if word[0].isascii() and word[0].isalnum() else ""
    behind = f"(?![{_WORD}])" if word[-1].isascii() and word[-1].isalnum() else ""
    return before + re.escape(word) + behind


def _written(phone: str) -> Iterable[str]:
    """A number as it stands in texts: with its country code and without, together and in the usual groups."""
    forms = {form for form in phone_forms(phone) if len(form) > _LEAST + 3}
    for form in list(forms):
        national = form[2:] if form.startswith("86") and len(form) > 10 else form
        forms.add(national)
        if _MOBILE.fullmatch(national):
            forms |= {sign.join((national[:3], national[3:7], national[7:])) for sign in (" ", "-", ".")}
    return forms
