"""Names of people in files that keep first and last name apart."""

import re
from collections.abc import Mapping
from typing import Any

from chassis.imports.mapping import Target
from chassis.imports.values import Text

_HAN = re.compile("[\u3400-\u9fff\U00020000-\U0003ffff]+")

FIRST_NAME = Target("firstName", "First name", Text(100), aliases=("名", "名字", "given name"))
LAST_NAME = Target("lastName", "Last name", Text(100), aliases=("姓", "姓氏", "family name", "surname"))


def whole_name(values: Mapping[str, Any]) -> str:
    """The name in `firstName` and `lastName`, as people write it: 张三, Bob Smith. Empty when both are."""
    first, last = str(values.get("firstName", "")), str(values.get("lastName", ""))
    if _HAN.fullmatch(first + last):
        return last + first
    return " ".join(part for part in (first, last) if part)
