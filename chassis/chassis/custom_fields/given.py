"""What a caller writes into custom fields: plain JSON values by key."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

COLUMN = "custom_fields"
"""The column of values, in tables and messages."""
PREFIX = "customFields."
"""What stands before a key in filters, orders, masks and files, and in what is said of a value."""


@dataclass(frozen=True)
class Given:
    """Values by key, None to take one away. `whole`: what is not given shall have no value."""

    values: Mapping[str, Any]
    whole: bool = False
