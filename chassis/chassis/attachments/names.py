"""Names of files as they are kept: names, and nothing that a file system, a header or an eye could take for something else."""

import re
import unicodedata

MOST = 200
"""Characters of a name."""

_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Controls, marks that turn the direction of writing (`gpj.exe` shown as `exe.jpg`), halves of characters, line ends."""
_ODD = re.compile(r'[<>:"|?*]')
_SPACES = re.compile(r"\s+")


def tidy_name(text: str) -> str:
    """The last part of a path as a name of at most 200 characters, its ending kept; `file` when nothing is left of it."""
    last = text.replace("\\", "/").rsplit("/", 1)[-1]
    seen = "".join(
        " " if c.isspace() else c
        for c in unicodedata.normalize("NFC", last)
        if unicodedata.category(c) not in _UNSEEN
    )
    name = _SPACES.sub(" ", _ODD.sub("_", seen)).strip(" .")
    if len(name) > MOST:
        stem, dot, ending = name.rpartition(".")
        # What is that long is no ending.
        name = f"{stem[: MOST - len(ending) - 1]}.{ending}" if dot and len(ending) <= 20 else name[:MOST]
    return name or "file"


def ending_of(name: str) -> str:
    """What stands behind the last dot, with it, in lower case: `.pdf`; empty without one."""
    stem, dot, ending = name.rpartition(".")
    return f".{ending.lower()}" if dot and stem else ""
