"""Identifiers: UUID version 7 (RFC 9562), so that keys made later sort later and indexes grow at one end."""

from uuid import UUID

from uuid_utils.compat import uuid7

from chassis.errors import Invalid


def new_id() -> UUID:
    """A fresh time-ordered id."""
    return uuid7()


def parse_id(text: str, field: str) -> UUID:
    """The UUID in `text`. Raises Invalid naming `field` when it is none."""
    try:
        return UUID(text)
    except ValueError:
        raise Invalid(field, f"'{text[:60]}' is not a UUID") from None
