"""Postal addresses in one cell of a file: `CN / 广东 / 深圳 / / 深南大道 1 号 / 518000`, from country to postal code, with a
backslash before a stroke that belongs to a part."""

from collections.abc import Mapping
from dataclasses import dataclass

from chassis.imports.values import Country, Read, Text, marked, parted, unmarked

PARTS = ("country_code", "province", "city", "district", "street", "postal_code")
LONGEST: Mapping[str, int] = {"country_code": 2, "street": 300, "postal_code": 20}
"""Characters of a part; of the others 100."""
STROKES = "/／"


@dataclass(frozen=True)
class Address:
    """A postal address in one text; what is not written in parts is taken for the street."""

    @property
    def description(self) -> str:
        return "Address, as CN / 广东 / 深圳 / / 深南大道 1 号 / 518000."

    def read(self, text: str) -> Read:
        parts = [unmarked(part).strip() for part in parted(text, STROKES)]
        if len(parts) != len(PARTS):
            return Read({"street": Text(LONGEST["street"]).read(unmarked(text)).value})
        out: dict[str, str] = {}
        for name, part in zip(PARTS, parts, strict=True):
            if part:
                kind = Country() if name == "country_code" else Text(LONGEST.get(name, 100))
                out[name] = kind.read(part).value
        return Read(out)


def address_told(address: Mapping[str, str]) -> str:
    """The same address as a text that `Address` reads."""
    return " / ".join(marked(address.get(part, ""), STROKES) for part in PARTS)
