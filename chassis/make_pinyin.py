"""Makes chassis/chassis/pinyin.txt from pypinyin's tables: `python chassis/make_pinyin.py`.

Services read the small file; pypinyin itself would cost each of them 60 MB and half a second.
"""

import unicodedata
from pathlib import Path

from pypinyin.constants import PHRASES_DICT, PINYIN_DICT

_LONGEST = 8
TABLE = Path(__file__).parent / "chassis" / "pinyin.txt"
_HEAD = """\
# Readings of Chinese characters without tones, made by make_pinyin.py from pypinyin's tables (MIT licence, copyright
# mozillazg and the contributors of pypinyin, pinyin-data and phrase-pinyin-data). ü is written v, as input methods have it.
# A syllable and the characters read so; behind the empty line, phrases in which a character is read otherwise.
"""


def syllable(marked: str) -> str:
    """The syllable without its tone mark."""
    out: list[str] = []
    for c in unicodedata.normalize("NFD", marked):
        if c == "\u0308" and out:
            out[-1] = "v"
        elif not unicodedata.combining(c):
            out.append(c)
    return "".join(out)


def table() -> str:
    """The text of the file."""
    characters = {
        chr(code): syllable(readings.split(",")[0])
        for code, readings in sorted(PINYIN_DICT.items())
        if 0x3400 <= code <= 0x9FFF or code == 0x3007
    }
    by_syllable: dict[str, list[str]] = {}
    for character, read in characters.items():
        by_syllable.setdefault(read, []).append(character)
    lines = [f"{read} {''.join(found)}" for read, found in sorted(by_syllable.items())]
    lines.append("")
    for phrase, readings in sorted(PHRASES_DICT.items()):
        if len(phrase) <= _LONGEST and len(phrase) == len(readings):
            read = [syllable(choices[0]) for choices in readings]
            if any(characters.get(c) != s for c, s in zip(phrase, read, strict=True)):
                lines.append(f"{phrase} {' '.join(read)}")
    return _HEAD + "\n".join(lines) + "\n"


if __name__ == "__main__":
    TABLE.write_text(table(), encoding="utf-8")
