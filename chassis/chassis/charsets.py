"""Charsets in which people write, by the names that mailers, address books and spreadsheets give them.

Python has codecs that no such text is in. Some of them take a time that grows with the square of what they read, others fail in
ways of their own (`punycode`, `idna`, `undefined`, `unicode_escape`), and UTF-7 hides things. What a stranger names is therefore
looked up here, and never in Python's own list.
"""

import re
from encodings.aliases import aliases

_CODECS = (
    "utf_8", "utf_8_sig", "utf_16", "utf_16_le", "utf_16_be", "utf_32", "utf_32_le", "utf_32_be",
    "gb18030", "big5hkscs", "cp950", "hz", "cp932", "shift_jis_2004", "euc_jp", "euc_jis_2004", "iso2022_jp", "iso2022_jp_1",
    "iso2022_jp_2", "iso2022_jp_3", "iso2022_jp_ext", "cp949", "johab", "iso2022_kr",
    "latin_1", *(f"iso8859_{part}" for part in (2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 14, 15, 16)),
    *(f"cp{page}" for page in (437, 737, 775, 850, 852, 855, 857, 858, 860, 861, 862, 863, 864, 865, 866, 869, 874)),
    *(f"cp125{page}" for page in range(9)), "koi8_r", "koi8_u", "koi8_t", "kz1048", "ptcp154", "tis_620",
    "mac_roman", "mac_latin2", "mac_cyrillic", "mac_greek", "mac_turkish",
)  # fmt: skip
_WIDER = {
    "ascii": "utf_8", "gb2312": "gb18030", "gbk": "gb18030", "big5": "big5hkscs", "shift_jis": "cp932", "euc_kr": "cp949",
}  # fmt: skip
"""Codecs each with the one that has all of its characters, and those that are written under its name."""
_OTHER_NAMES = {
    "gb_2312_80": "gb18030", "x_gbk": "gb18030", "x_sjis": "cp932", "iso_8859_8_i": "iso8859_8", "iso_8859_8_e": "iso8859_8",
    "iso_8859_6_i": "iso8859_6", "hz_gb_2312": "hz", "x_mac_roman": "mac_roman", "x_euc_jp": "euc_jp", "utf8": "utf_8",
    "utf16": "utf_16", "utf_8": "utf_8", "x_big5": "big5hkscs", "x_cp1252": "cp1252", "cp65001": "utf_8", "unicode": "utf_16",
    # These hide things, and a text that says so is another one nearly always.
    "utf_7": "utf_8", "unicode_1_1_utf_7": "utf_8",
}  # fmt: skip
_MARKS = re.compile(r"[^a-z0-9]+")


def _named() -> dict[str, str]:
    known = {one: one for one in (*_CODECS, *_WIDER)}
    known |= {other: one for other, one in aliases.items() if one in known}
    known |= _OTHER_NAMES
    return {_MARKS.sub("_", name): _WIDER.get(one, one) for name, one in known.items()}


_NAMED = _named()


def codec(name: str) -> str:
    """The codec that reads what is said to be in that charset; empty for one that nobody writes in."""
    return _NAMED.get(_MARKS.sub("_", name[:60].strip().lower()).strip("_"), "")
