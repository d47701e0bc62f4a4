"""What a service has for each kind of record, looked up by the name that a caller has written."""

from collections.abc import Mapping
from typing import TypeVar

from chassis.errors import Invalid

T = TypeVar("T")


def for_type(of: Mapping[str, T], record_type: str, field: str, cannot: str) -> T:
    """What there is for that kind of record. Raises Invalid (RECORD_TYPE_UNKNOWN) naming `field` and what there is; `cannot` says
    what is not so of any other: "cannot be exported"."""
    if record_type not in of:
        raise Invalid(
            field,
            f"'{record_type[:50]}' {cannot} here; there are: {', '.join(of)}",
            reason="RECORD_TYPE_UNKNOWN",
        )
    return of[record_type]
