"""Exact figures: money by currency, never summed across them, and percents."""

from collections import Counter
from decimal import Decimal

from chassis.money import Money


class Amounts:
    """Sums of money, one a currency. Whole minor units, so that nothing is ever rounded."""

    def __init__(self) -> None:
        self._minor: Counter[str] = Counter()

    def add(self, minor: Decimal | int | None, currency: str | None) -> None:
        """Adds an amount; None, or no currency, is no money and adds nothing."""
        if minor is not None and currency:
            self._minor[currency] += int(minor)

    @property
    def sums(self) -> list[Money]:
        """The sums, ordered by currency code."""
        return [Money(minor, currency) for currency, minor in sorted(self._minor.items())]


def percent(part: int, whole: int) -> str:
    """`part` of `whole` in percent with two digits behind the point, rounded half up; of nothing, 0.00."""
    if not whole:
        return "0.00"
    hundredths = (part * 20_000 + whole) // (2 * whole)
    return f"{hundredths // 100}.{hundredths % 100:02d}"
