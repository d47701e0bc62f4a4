"""A part of a whole in percent, as people read it."""

from decimal import ROUND_HALF_UP, Decimal

_STEP = Decimal("0.1")


def percent(part: int, whole: int) -> Decimal:
    """With one decimal, half up. Only nothing is 0, and only all of it is 100: what is all but all of it would be read as all."""
    told = (Decimal(100 * part) / whole).quantize(_STEP, rounding=ROUND_HALF_UP)
    if 0 < part < whole:
        return min(max(told, _STEP), 100 - _STEP)
    return told
