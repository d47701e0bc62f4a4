"""Amounts of money: whole minor units and a currency, never a float.

Minor units follow ISO 4217: most currencies have two digits, some none, a few three.
"""

import re
from dataclasses import dataclass

from chassis.errors import Invalid

_DIGITS = {
    **dict.fromkeys(
        (
            "BIF",
            "CLP",
            "DJF",
            "GNF",
            "ISK",
            "JPY",
            "KMF",
            "KRW",
            "PYG",
            "RWF",
            "UGX",
            "VND",
            "VUV",
            "XAF",
            "XOF",
            "XPF",
        ),
        0,
    ),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
}
_CURRENCY = re.compile(r"[A-Z]{3}")
_NANOS = 1_000_000_000
_LIMIT = 2**63 - 1


def digits(currency: str) -> int:
    """Decimal digits of the currency's minor unit."""
    return _DIGITS.get(currency, 2)


@dataclass(frozen=True, slots=True)
class Money:
    """`minor` whole minor units of `currency` (ISO 4217): `Money(1050, "CNY")` is 10.50 yuan."""

    minor: int
    currency: str

    def __add__(self, other: "Money") -> "Money":
        if other.currency != self.currency:
            raise ValueError(f"cannot add {other.currency} to {self.currency}")
        return Money(self.minor + other.minor, self.currency)

    @property
    def units(self) -> int:
        """Whole units towards zero, as in google.type.Money."""
        scale = 10 ** digits(self.currency)
        return abs(self.minor) // scale * (-1 if self.minor < 0 else 1)

    @property
    def nanos(self) -> int:
        """The rest, in 1e-9 units, with the sign of the amount."""
        scale = 10 ** digits(self.currency)
        return abs(self.minor) % scale * (_NANOS // scale) * (-1 if self.minor < 0 else 1)


def from_units(units: int, nanos: int, currency: str, field: str) -> Money:
    """Money from the parts of google.type.Money.

    Raises Invalid naming `field` when the currency is no ISO 4217 code, the signs disagree, or the amount is finer than the
    currency's minor unit.
    """
    if not _CURRENCY.fullmatch(currency):
        raise Invalid(f"{field}.currencyCode", f"'{currency[:20]}' is not a currency code such as CNY or USD")
    if abs(nanos) >= _NANOS or (units > 0 > nanos) or (units < 0 < nanos):
        raise Invalid(f"{field}.nanos", "must be below 1,000,000,000 and have the sign of units")
    scale = 10 ** digits(currency)
    step = _NANOS // scale
    if nanos % step:
        raise Invalid(f"{field}.nanos", f"is finer than the smallest unit of {currency}")
    minor = units * scale + nanos // step
    if abs(minor) > _LIMIT:
        raise Invalid(f"{field}.units", "is too large")
    return Money(minor, currency)
