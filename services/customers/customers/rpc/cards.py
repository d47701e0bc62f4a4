"""Customers and contacts as cards for address books."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from chassis.exports.cards import Card, Entry, Postal
from chassis.exports.columns import Cell, Column, Style
from customers.profile import CONTACT_WAYS, CUSTOMER_WAYS, Entries, Way

_TYPES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "phone_label": {
        "mobile": ("CELL",), "work": ("WORK",), "switchboard": ("WORK",), "home": ("HOME",), "fax": ("FAX",),
    },
    "email_label": {"work": ("WORK",), "billing": ("WORK",), "support": ("WORK",), "private": ("HOME",)},
    "address_label": {"office": ("WORK",), "registered": ("WORK",), "billing": ("WORK",), "home": ("HOME",)},
}  # fmt: skip
"""What the standard knows of the labels that the lists have from the beginning."""


@dataclass(frozen=True)
class _AsCard(Column):
    """The record as the text of a card."""

    ways: Sequence[Way] = ()
    made: Callable[[Any, Style, Mapping[str, Any]], Card] | None = None
    customer: str = ""
    """The column of the customer whose name stands on it."""

    def wanted(self, row: Any) -> Iterable[tuple[str, UUID]]:
        id = row[self.customer] if self.customer else None
        return () if id is None else (("customer", id),)

    def heads(self, style: Style) -> list[str]:
        return []

    def cells(self, row: Any, style: Style) -> list[Cell]:
        assert self.made is not None
        entries = {way.name: way.entries(row.__getitem__) for way in self.ways}
        reached = {
            "phones": _entries(entries["phones"], "number", "phone_label", style),
            "emails": _entries(entries["emails"], "address", "email_label", style),
            "addresses": _postal(entries["addresses"], style),
            "accounts": [
                Entry(_label("account_label", one["label"], style), _account(one))
                for one in entries["accounts"]
            ],
        }
        return [self.made(row, style, reached).text()]


def _label(list_key: str, label: str, style: Style) -> str:
    if not label or style.lists is None:
        return label
    return style.lists.by_key[list_key].name(label, chinese=style.chinese)


def _entries(entries: Entries, value: str, list_key: str, style: Style) -> list[Entry]:
    return [
        Entry(_label(list_key, one["label"], style), one[value], _TYPES[list_key].get(one["label"], ()))
        for one in entries
    ]


def _postal(entries: Entries, style: Style) -> list[Postal]:
    out: list[Postal] = []
    for one in entries:
        parts: Mapping[str, str] = one["address"]
        out.append(
            Postal(
                _label("address_label", one["label"], style), parts.get("district", ""), parts.get("street", ""),
                parts.get("city", ""), parts.get("province", ""), parts.get("postal_code", ""),
                parts.get("country_code", ""), _TYPES["address_label"].get(one["label"], ()),
            )
        )  # fmt: skip
    return out


def _account(entry: Mapping[str, Any]) -> str:
    """As an address of the messenger, by which an import knows it, where its label can stand in one; what would look like one of
    another messenger as an address of none."""
    label, account = str(entry["label"]), str(entry["account"])
    if label.isascii() and label.isalpha():
        return f"{label}:{account}"
    return f"im:{account}" if ":" in account else account


def _uid(row: Any) -> str:
    return row["external_key"] or f"urn:uuid:{row['id']}"


def _of_contact(row: Any, style: Style, reached: Mapping[str, Any]) -> Card:
    return Card(
        name=row["display_name"], uid=_uid(row), company=style.names.get("customer", {}).get(row["customer_id"], ""),
        department=row["department"], title=row["title"], birthday=row["birthday"], notes=row["notes"], **reached,
    )  # fmt: skip


def _of_customer(row: Any, style: Style, reached: Mapping[str, Any]) -> Card:
    return Card(
        name=row["display_name"], uid=_uid(row), is_company=row["kind"] != "PERSON", website=row["website"],
        tags=row["tags"], notes=row["notes"], **reached,
    )  # fmt: skip


_CARD = ("card", "Card", "名片", "display_name")
CONTACT_CARD = _AsCard(*_CARD, ways=CONTACT_WAYS, made=_of_contact, customer="customer_id")
CUSTOMER_CARD = _AsCard(*_CARD, ways=CUSTOMER_WAYS, made=_of_customer)
