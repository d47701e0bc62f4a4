"""Places in ordered lists: the columns of an order, the tokens that name a place, and the SQL of what lies
behind it.

Keyset paging: a page begins behind the last row of the page before it, by the values of that row, and never
by counting; so rows that come and go meanwhile neither repeat nor hide others.
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson

from chassis.errors import Invalid
from chassis.fields import Field, Kind, Value


class PageTokens:
    """Seals places in lists, so that a token serves only the list, person and query for which it was made.

    `secret` comes from the settings (KEHU_PAGE_TOKEN_KEY), the same for all replicas. Raises ValueError when
    it is shorter than 16 characters.
    """

    def __init__(self, secret: str) -> None:
        if len(secret) < 16:
            raise ValueError("KEHU_PAGE_TOKEN_KEY must have at least 16 characters")
        self._key = hashlib.sha256(b"kehu page tokens\0" + secret.encode()).digest()

    def seal(self, binding: bytes, place: Sequence[object]) -> str:
        """The token of that place in the list that `binding` describes."""
        payload = orjson.dumps(place, default=str)
        return base64.urlsafe_b64encode(self._mac(binding, payload) + payload).decode().rstrip("=")

    def open(self, binding: bytes, token: str) -> list[Any]:
        """The place in `token`. Raises Invalid naming "pageToken" unless it was made for this very list."""
        try:
            raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except ValueError:
            raise bad_token() from None
        mac, payload = raw[:16], raw[16:]
        if not hmac.compare_digest(mac, self._mac(binding, payload)):
            raise bad_token()
        return orjson.loads(payload)

    def _mac(self, binding: bytes, payload: bytes) -> bytes:
        bound = hashlib.sha256(binding).digest()
        return hmac.digest(self._key, bound + payload, "sha256")[:16]


def bad_token() -> Invalid:
    return Invalid(
        "pageToken",
        "does not belong to this list: send a nextPageToken with the filter, orderBy and query of its list",
        reason="PAGE_TOKEN_MISMATCH",
    )


@dataclass(frozen=True, slots=True)
class Key:
    """A column of the order."""

    column: str
    name: str
    """Its name in the row."""
    kind: Kind
    cast: str
    descending: bool
    nullable: bool
    record: str = ""
    """For a value out of an index of its own: the column there that names the record."""

    @property
    def missing(self) -> str:
        """The condition that a record has no value."""
        return f"{self.record or self.column} IS NULL"


_CASTS = {
    Kind.TEXT: "text",
    Kind.INTEGER: "bigint",
    Kind.NUMBER: "numeric",
    Kind.MONEY: "bigint",
    Kind.TIMESTAMP: "timestamptz",
    Kind.DATE: "date",
    Kind.UUID: "uuid",
    Kind.BOOL: "bool",
}
RANK = Key("h.rank", "rank", Kind.INTEGER, "int", descending=False, nullable=False)


def key_of(declared: Field, descending: bool) -> Key:
    cast = _CASTS.get(declared.kind, "text")
    if declared.kind is Kind.ENUM and any(isinstance(v, int) for v in declared.names.values()):
        cast = "int"
    return Key(f"t.{declared.column}", declared.column, declared.kind, cast, descending, declared.nullable)


def values_of(keys: tuple[Key, ...], place: list[Any]) -> list[Value | None]:
    """The values of a place as the database takes them."""
    if len(place) != len(keys):
        raise bad_token()
    return [
        None if value is None else _value(key.kind, value) for key, value in zip(keys, place, strict=True)
    ]


def _value(kind: Kind, value: Any) -> Value:
    match kind:
        case Kind.TIMESTAMP:
            return datetime.fromisoformat(value)
        case Kind.DATE:
            return date.fromisoformat(value)
        case Kind.UUID:
            return UUID(value)
        case Kind.NUMBER:
            return Decimal(value)
        case _:
            return value


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a list that one statement reads: where it begins and in what order it runs."""

    keys: tuple[Key, ...]
    place: list[Value | None] | None
    only: str = ""
    """A condition on the first column, when records without a value in it are a stretch of their own."""

    @property
    def order(self) -> str:
        return ", ".join(
            key.column + (" DESC" if key.descending else "") + (" NULLS LAST" if key.nullable else "")
            for key in self.keys
        )

    def renamed(self, columns: Mapping[str, str]) -> "Part":
        """The same by other columns that hold the same, by their names in the row."""
        return replace(self, keys=tuple(replace(key, column=columns[key.name]) for key in self.keys))

    def conditions(self, args: list[object]) -> list[str]:
        """Conditions that leave what lies behind the place; their values are added to `args`."""
        out = [self.only] if self.only else []
        if self.place is None:
            return out
        numbers: list[str] = []
        for key, value in zip(self.keys, self.place, strict=True):
            if value is not None:
                args.append(value)
            numbers.append(f"${len(args)}::{key.cast}")
        first = self.keys[0]
        if all(key.descending == first.descending and not key.nullable for key in self.keys):
            sign = "<" if first.descending else ">"
            out.append(f"({', '.join(key.column for key in self.keys)}) {sign} ({', '.join(numbers)})")
            return out
        if not first.nullable:
            # Implied by what follows, and the only part of it by which an index can find its start.
            out.append(f"{first.column} {'<=' if first.descending else '>='} {numbers[0]}")
        out.append(self._chain(numbers))
        return out

    def _chain(self, numbers: list[str]) -> str:
        assert self.place is not None
        choices: list[str] = []
        equal: list[str] = []
        for key, value, number in zip(self.keys, self.place, numbers, strict=True):
            if value is None:
                equal.append(
                    f"{key.column} IS NULL"
                )  # the last of all: nothing lies behind it in this column
                continue
            behind = f"{key.column} {'<' if key.descending else '>'} {number}"
            if key.nullable:
                behind = f"({behind} OR {key.column} IS NULL)"
            choices.append(" AND ".join([*equal, behind]))
            equal.append(f"{key.column} = {number}")
        return "(" + " OR ".join(f"({choice})" for choice in choices) + ")"


def parts_of(keys: tuple[Key, ...], place: list[Value | None] | None) -> list[Part]:
    """The stretches still to be read: one, or two when records without a value in the first column come
    apart."""
    first = keys[0]
    if not first.nullable:
        return [Part(keys, place)]
    without = first.missing
    if place is not None and place[0] is None:
        return [Part(keys[1:], place[1:], without)]
    known = (replace(first, nullable=False), *keys[1:])
    if first.record:
        # The index is read in its own order when that order ends as it does, too.
        known = (*known[:-1], replace(known[-1], column=first.record))
    return [Part(known, place, f"{first.column} IS NOT NULL"), Part(keys[1:], None, without)]
