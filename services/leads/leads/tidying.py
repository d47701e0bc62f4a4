"""What a lead's fields look like when they are kept: one way to write a name, a number, an address.

Tidying what is tidy changes nothing. So the same functions say what is kept of what is written, and, when leads are looked
through, what would be written in another way.
"""

from collections.abc import Mapping
from typing import Any

from chassis import texts
from chassis.phones import normalised_phone

NAMES = (
    "name",
    "company_name",
    "title",
    "department",
    "im_account",
    "industry",
    "region",
    "address",
    "source_detail",
)
"""Texts of one line in which Latin letters and digits have half width."""
SHOWN = (*NAMES, "phone", "email")
"""What a lead's findings tell when it would be written in another way."""


def tidied(values: Mapping[str, Any], country: str) -> dict[str, Any]:
    """The columns as they are kept; `country` is by whose rules numbers without a country code are read."""
    tidy = dict(values)
    for name in NAMES:
        if tidy.get(name):
            tidy[name] = texts.narrow(tidy[name])
    if tidy.get("phone"):
        tidy["phone"] = normalised_phone(tidy["phone"], country)
    if tidy.get("email"):
        tidy["email"] = texts.email(tidy["email"]) or tidy["email"].strip().lower()
    if "source" in tidy:
        tidy["source"] = tidy["source"] or "OTHER"
    return tidy
