"""What cells of imported files hold: text made into values, or refused with a reason a person can act on.

Each kind of value is a small frozen class with `read(text) -> Read`. The text is never empty: empty cells
leave a field out. Reasons are UPPER_SNAKE and stable; the message says which value is wrong and how to write
it.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import cache, cached_property
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from chassis import money, texts
from chassis.phones import e164
from chassis.validation import formats


@dataclass(frozen=True, slots=True)
class Read:
    """A value, and a note when it had to be repaired to be one."""

    value: Any
    repaired: str = ""


class Refused(Exception):
    """A cell that holds no such value."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class Value(Protocol):
    """A kind of value."""

    @property
    def description(self) -> str:
        """What a cell may hold, for people."""
        ...

    def read(self, text: str) -> Read:
        """The value in `text`, which is not empty. Raises Refused."""
        ...


def shown(text: str) -> str:
    """The value as messages quote it, cut short."""
    return f"'{text[:60]}…'" if len(text) > 60 else f"'{text}'"


@dataclass(frozen=True)
class Text:
    """A text of at most `longest` characters, in one line unless `several_lines`. A longer one is refused, or else `cut`."""

    longest: int = 200
    several_lines: bool = False
    cut: bool = False

    @property
    def description(self) -> str:
        return f"Text of at most {self.longest} characters."

    def read(self, text: str) -> Read:
        value = texts.lines(text) if self.several_lines else texts.line(text)
        if len(value) > self.longest and self.cut:
            said = f"{shown(value)} has {len(value)} characters: the first {self.longest} are kept"
            return Read(value[: self.longest].rstrip(), said)
        if len(value) > self.longest:
            raise Refused(
                "TEXT_TOO_LONG", f"{shown(value)} has {len(value)} characters: at most {self.longest}"
            )
        return Read(value)


def parted(text: str, separators: str) -> list[str]:
    """A text at its separators, but for those that have a backslash before them."""
    out = [""]
    signs = iter(text)
    for sign in signs:
        if sign == "\\":
            out[-1] += sign + next(signs, "")
        elif sign in separators:
            out.append("")
        else:
            out[-1] += sign
    return out


def marked(text: str, separators: str) -> str:
    """The text with a backslash before each separator in it."""
    return re.sub(f"([\\\\{re.escape(separators)}])", r"\\\1", text)


def unmarked(text: str) -> str:
    """The text that was marked."""
    return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)


@dataclass(frozen=True)
class Several:
    """Several values of one kind, each with a label before it if it has one: `home: +86 10 6666 8888; +86 138 0000 1234`. The
    value is a list of {label, `name`}. A backslash stands before a separator that belongs to a text."""

    name: str
    one: Any
    """The kind of value."""
    most: int = 20

    @property
    def description(self) -> str:
        return f"At most {self.most}, separated by semicolons, with a label before each: home: …. {self.one.description}"

    def read(self, text: str) -> Read:
        found: list[dict[str, Any]] = []
        notes: list[str] = []
        for part in parted(text, _BETWEEN):
            if not part.strip():
                continue
            label, *rest = parted(part, _LABEL)
            if not rest or len(label) > _LONGEST_LABEL:
                label, rest = "", [part]
            # What stands behind the first mark is the value's own.
            value = part[len(label) + 1 :] if label or part[:1] in _LABEL else part
            read = self.one.read(unmarked(value).strip())
            found.append({"label": texts.line(unmarked(label)), self.name: read.value})
            if read.repaired:
                notes.append(read.repaired)
        if len(found) > self.most:
            raise Refused("VALUES_TOO_MANY", f"{len(found)} values: at most {self.most}")
        return Read(found, "; ".join(notes))

    def at_home_in(self, region: str) -> "Several":
        """The same, with telephone numbers by the rules of that country."""
        return replace(self, one=replace(self.one, region=region)) if isinstance(self.one, Phone) else self


_BETWEEN, _LABEL = ";；\n", ":："
_LONGEST_LABEL = 60


def told(label: str, value: str) -> str:
    """An entry of `Several` as the text that it reads."""
    text = marked(value.replace("\n", " "), _BETWEEN + _LABEL)
    return f"{marked(label, _BETWEEN + _LABEL)}: {text}" if label else text


@dataclass(frozen=True)
class Gone:
    """A field that was there when the import was started, and is there no longer."""

    @property
    def description(self) -> str:
        return "Nothing."

    def read(self, text: str) -> Read:
        raise Refused(
            "FIELD_GONE", f"{shown(text)} has no place: the field was archived or deleted meanwhile"
        )


@dataclass(frozen=True)
class Phone:
    """A telephone number; the value is E.164. `region` is whose rules hold without a country code."""

    region: str = "CN"

    @property
    def description(self) -> str:
        return "Telephone number, as 138 0000 1234 or +44 20 7946 0958."

    def read(self, text: str) -> Read:
        number = e164(text, self.region)
        if number is None:
            raise Refused(
                "PHONE_INVALID",
                f"{shown(text)} is no telephone number: write it as 138 0000 1234 or +44 20 …",
            )
        return Read(number)


@cache
def _countries() -> Mapping[str, str]:
    """Codes of countries by the names that phonenumbers has for them in all its languages (no two countries share one), by those
    that others use besides, and by the code itself."""
    from phonenumbers.geodata.locale import LOCALE_DATA

    there = {code: names for code, names in LOCALE_DATA.items() if formats.country(code) is None}
    found = {code.casefold(): code for code in there}
    for code, names in there.items():
        # One language may refer to another.
        found |= {_folded(names[name[1:]] if name.startswith("*") else name): code for name in names.values()}
    return {**found, **{_folded(name): code for code, names in _ALSO.items() for name in names}}


_ALSO: Mapping[str, Sequence[str]] = {
    "AE": ("UAE",),
    "CD": ("Democratic Republic of the Congo", "DR Congo"),
    "CI": ("Ivory Coast", "Cote d'Ivoire"),
    "CN": (
        "PRC", "PR China", "P R China", "People's Republic of China", "Mainland China", "中华人民共和国", "中国大陆",
        "中国内地", "中國", "中國大陸",
    ),
    "CV": ("Cabo Verde",),
    "CZ": ("Czechia", "捷克"),
    "GB": ("UK", "Great Britain", "England", "Scotland", "Wales", "Northern Ireland"),
    "HK": (
        "Hong Kong SAR", "Hong Kong, China", "Hong Kong SAR China", "中国香港", "香港特别行政区",
        "中国香港特别行政区", "香港特別行政區",
    ),
    "IE": ("Republic of Ireland",),
    "IR": ("Islamic Republic of Iran",),
    "KP": ("DPRK", "朝鲜"),
    "KR": ("Korea", "Republic of Korea", "Korea, Republic of", "大韩民国"),
    "MK": ("North Macedonia",),
    "MM": ("Burma",),
    "MO": (
        "Macau", "Macau SAR", "Macao SAR", "Macau, China", "Macao SAR China", "澳门", "中国澳门",
        "澳门特别行政区", "中国澳门特别行政区", "澳門",
    ),
    "NL": ("Holland",),
    "RU": ("Russian Federation",),
    "SZ": ("Eswatini",),
    "TL": ("Timor-Leste",),
    "TW": ("Taiwan, China", "Chinese Taipei", "中国台湾", "台灣", "中国台湾地区", "台湾省"),
    "US": ("USA", "United States of America", "America"),
    "VN": ("Viet Nam",),
}  # fmt: skip
"""Names that are written in address books beside those."""


@dataclass(frozen=True)
class Country:
    """A country by its code or one of its names; the value is the ISO 3166 code of two letters."""

    @property
    def description(self) -> str:
        return "Country, as CN, 中国 or China."

    def read(self, text: str) -> Read:
        name = _folded(text).replace("’", "'")
        code = _countries().get(name) or _countries().get(name.replace(".", "").removeprefix("the "))
        if code is None:
            raise Refused("COUNTRY_UNKNOWN", f"{shown(text)} is no country: write its code, as CN or DE")
        return Read(code)


@dataclass(frozen=True)
class Email:
    """An e-mail address; the value is in lower case."""

    @property
    def description(self) -> str:
        return "E-mail address."

    def read(self, text: str) -> Read:
        address = texts.email(text)
        if address is None:
            raise Refused("EMAIL_INVALID", f"{shown(text)} is no e-mail address")
        return Read(address)


@dataclass(frozen=True)
class Choice:
    """One of several. `choices` maps the value to the ways of writing it (in any case and width); the value
    itself is always one. What fits only when white space and punctuation are ignored is repaired."""

    choices: Mapping[Any, Sequence[str]]
    words: tuple[tuple[str, str], ...] = ()
    """What further texts mean, by the one who imports; an empty value means none."""
    others: int = 0
    """Other texts of at most so many characters are taken as they are; 0 takes none."""

    @property
    def description(self) -> str:
        known = ", ".join(str(value) for value in self.choices)
        return f"One of: {known}; or another text." if self.others else f"One of: {known}."

    @cached_property
    def _exact(self) -> dict[str, Any]:
        by_name = {str(value): value for value in self.choices}
        return {
            **{_folded(way): value for value, ways in self.choices.items() for way in (str(value), *ways)},
            **{_folded(text): by_name.get(value, "") for text, value in self.words},
        }

    @cached_property
    def _loose(self) -> dict[str, set[Any]]:
        out: dict[str, set[Any]] = {}
        for way, value in self._exact.items():
            out.setdefault(_loose(way), set()).add(value)
        return out

    def read(self, text: str) -> Read:
        exact = self._exact.get(_folded(text))
        if exact is not None:
            return Read(exact)
        if self.others:
            return Text(self.others).read(text)
        loose = self._loose.get(_loose(text), set())
        if len(loose) == 1:
            value = next(iter(loose))
            return Read(value, f"{shown(text)} was taken for '{value}'")
        known = ", ".join(str(value) for value in list(self.choices)[:30])
        raise Refused("CHOICE_UNKNOWN", f"{shown(text)} is none of: {known}")


@dataclass(frozen=True)
class Listed:
    """A value of one of the tenant's lists; `ways` are further ways of writing those that every tenant has. Only once the lists
    are known (see `listed`) it can be read."""

    list_key: str
    ways: Mapping[str, Sequence[str]] = field(default_factory=dict[str, Sequence[str]])
    longest: int = 100
    """Characters of a text that is taken as it is, by a list that accepts others."""
    named: bool = False
    """Whether records hold the names of values as they are written, and not their keys."""

    @property
    def description(self) -> str:
        return f"A value of the list {self.list_key}."

    def read(self, text: str) -> Read:
        raise TypeError(f"the list {self.list_key} is not known yet")


def _folded(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _loose(text: str) -> str:
    return re.sub(r"[\W_]+", "", texts.same(text))


@dataclass(frozen=True)
class Flag:
    """Yes or no, in English, Chinese, 1/0."""

    @property
    def description(self) -> str:
        return "Yes or no."

    def read(self, text: str) -> Read:
        word = _folded(text)
        if word in ("yes", "y", "true", "t", "1", "是", "有", "对", "√", "x"):
            return Read(True)
        if word in ("no", "n", "false", "f", "0", "否", "无", "不", "错", "×"):
            return Read(False)
        raise Refused("FLAG_INVALID", f"{shown(text)} is neither yes nor no")


_BETWEEN_WORDS = ",;|\n，；、｜"


def words_told(words: Iterable[str]) -> str:
    """Short texts as one that `Tags` reads."""
    return ", ".join(marked(word, _BETWEEN_WORDS) for word in words)


def _words(text: str) -> list[str]:
    """The texts in a cell. Only before a separator, or itself, does a backslash mean anything: files of others have them in
    words."""
    if "\\" not in text:
        return re.split(f"[{_BETWEEN_WORDS}]", text)
    out = [""]
    signs: list[tuple[str, str]] = re.findall(rf"\\([\\{_BETWEEN_WORDS}])|(.)", text, re.DOTALL)
    for marked_sign, sign in signs:
        if marked_sign:
            out[-1] += marked_sign
        elif sign in _BETWEEN_WORDS:
            out.append("")
        else:
            out[-1] += sign
    return out


@dataclass(frozen=True)
class Tags:
    """Several short texts, separated by comma, semicolon, bar, Chinese enumeration comma or line end; a backslash before one
    makes it part of a text."""

    most: int = 50
    longest: int = 50

    @property
    def description(self) -> str:
        return f"At most {self.most} words, separated by commas."

    def read(self, text: str) -> Read:
        found = list(dict.fromkeys(word for part in _words(text) if (word := texts.line(part))))
        if len(found) > self.most:
            raise Refused("TAGS_TOO_MANY", f"{len(found)} words: at most {self.most}")
        for word in found:
            if len(word) > self.longest:
                raise Refused(
                    "TEXT_TOO_LONG", f"{shown(word)} has {len(word)} characters: at most {self.longest}"
                )
        return Read(found)


_YMD = re.compile(r"(\d{4})\s*[-/.年]\s*(\d{1,2})\s*[-/.月]\s*(\d{1,2})\s*日?")
_COMPACT = re.compile(r"(\d{4})(\d{2})(\d{2})")
_SHORT = re.compile(r"(\d{1,2})\s*[-/.]\s*(\d{1,2})\s*[-/.]\s*(\d{4})")
_WORDS = re.compile(
    r"(?:(\d{1,2})(?:st|nd|rd|th)?[\s-]+([a-z]{3,9})\.?|([a-z]{3,9})\.?\s+(\d{1,2})(?:st|nd|rd|th)?),?[\s-]+(\d{4})"
)
_CLOCK = re.compile(
    r"(?P<day>.*\S)(?:\s+|(?<=\d)t(?=\d)|(?<=日))(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:\.\d{1,9})?)?"
    r"\s*(?P<half>[ap]\.?m\.?)?\s*(?P<zone>z|[+-]\d{2}:?\d{2})?"
)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


@dataclass(frozen=True)
class Day:
    """A day in any of the usual spellings. `order` says how 01/02/2024 is meant: "mdy", "dmy", or "" to go
    by what the other cells of the column prove and to refuse it when they prove nothing."""

    order: str = ""

    @property
    def description(self) -> str:
        return "Day, as 2024-05-01, 2024/5/1, 2024年5月1日 or 1 May 2024."

    def read(self, text: str) -> Read:
        written = _folded(text)
        clock = _CLOCK.fullmatch(written)
        return Read(_day(clock["day"] if clock else written, text, self.order))


def _day(written: str, text: str, order: str) -> date:
    try:
        if found := _YMD.fullmatch(written) or _COMPACT.fullmatch(written):
            return date(int(found[1]), int(found[2]), int(found[3]))
        if found := _SHORT.fullmatch(written):
            first, second, year = int(found[1]), int(found[2]), int(found[3])
            if first > 12 or (order == "dmy" and second <= 12):
                return date(year, second, first)
            if second > 12 or order == "mdy" or first == second:
                return date(year, first, second)
            raise Refused(
                "DATE_AMBIGUOUS", f"{shown(text)} can be two days: write it as {year}-{first:02}-{second:02}"
            )
        if found := _WORDS.fullmatch(written):
            month = (found[2] or found[3])[:3]
            return date(int(found[5]), _MONTHS.index(month) + 1, int(found[1] or found[4]))
    except ValueError:
        pass
    raise Refused("DATE_INVALID", f"{shown(text)} is no day: write it as 2024-05-01")


def date_order(column: Iterable[str]) -> str:
    """How the short days of a column are meant, as far as its cells prove it: "dmy" when one of them has a
    day above 12 in front, "mdy" when one has it in second place, "" when neither or both do."""
    found: set[str] = set()
    for text in column:
        written = _folded(text)
        clock = _CLOCK.fullmatch(written)
        short = _SHORT.fullmatch(clock["day"] if clock else written)
        if short and int(short[1]) > 12:
            found.add("dmy")
        elif short and int(short[2]) > 12:
            found.add("mdy")
    return found.pop() if len(found) == 1 else ""


@dataclass(frozen=True)
class Moment:
    """A time. Without an offset it is in `zone`; a day alone is its beginning there. The value is in UTC."""

    zone: str = "Asia/Shanghai"
    order: str = ""

    @property
    def description(self) -> str:
        return f"Time, as 2024-05-01 08:00, in the zone {self.zone} unless it says otherwise."

    def read(self, text: str) -> Read:
        written = _folded(text)
        found = _CLOCK.fullmatch(written)
        try:
            if found is None:
                moment = datetime.combine(_day(written, text, self.order), time(), ZoneInfo(self.zone))
                return Read(moment.astimezone(UTC))
            hour = int(found["hour"])
            if found["half"]:
                if not 1 <= hour <= 12:
                    raise ValueError
                hour = hour % 12 + (12 if found["half"].startswith("p") else 0)
            clock = time(hour, int(found["minute"]), int(found["second"] or 0))
            day = _day(found["day"], text, self.order)
            zone = found["zone"]
            if zone:
                return Read(
                    datetime.fromisoformat(f"{day}T{clock}{zone.upper().replace('Z', '+00:00')}").astimezone(
                        UTC
                    )
                )
            return Read(datetime.combine(day, clock, ZoneInfo(self.zone)).astimezone(UTC))
        except (ValueError, OverflowError):
            raise Refused("TIME_INVALID", f"{shown(text)} is no time: write it as 2024-05-01 08:00") from None


_TIMES = {"万": 4, "亿": 8, "k": 3, "m": 6}
_FIGURE = re.compile(r"([-+]?)\s*([\d.,'’ ]*\d[\d.,]*)\s*([万亿km]?)")


def number(text: str) -> Decimal:
    """The number in `text`: thousands separated by comma, space or apostrophe, a decimal comma where it
    cannot be a thousands' one, 万 and 亿, accounting parentheses for negative numbers. Raises Refused."""
    written = unicodedata.normalize("NFKC", text).strip().casefold()
    negative = written.startswith("(") and written.endswith(")")
    if negative:
        written = written[1:-1].strip()
    found = _FIGURE.fullmatch(written)
    figure = re.sub(r"[ '’]", "", found[2]) if found else ""
    if figure.count(",") and figure.count("."):
        thousands = "," if figure.rindex(".") > figure.rindex(",") else "."
        figure = figure.replace(thousands, "").replace(",", ".")
    elif figure.count(","):
        grouped = re.fullmatch(r"\d{1,3}(,\d{3})+|\d{1,4}(,\d{4})+", figure) is not None
        figure = (
            figure.replace(",", "")
            if grouped or (figure.count(",") > 1 and _grouped(figure))
            else figure.replace(",", ".")
        )
    if (
        found is None
        or not re.fullmatch(r"\d{0,18}(\.\d{0,12})?", figure)
        or not any(c.isdigit() for c in figure)
    ):
        raise Refused("NUMBER_INVALID", f"{shown(text)} is no number")
    value = Decimal(figure).scaleb(_TIMES.get(found[3], 0))
    return -value if negative or found[1] == "-" else value


def _grouped(figure: str) -> bool:
    return all(len(group) in (2, 3) for group in figure.split(",")[1:])


@dataclass(frozen=True)
class Number:
    """A decimal number between `least` and `most`, with at most `decimals` digits behind the point."""

    least: Decimal | int | None = None
    most: Decimal | int | None = None
    decimals: int = 6

    @property
    def description(self) -> str:
        return "Number." if self.decimals else "Whole number."

    def read(self, text: str) -> Read:
        percent = text.strip().endswith(("%", "％"))
        value = number(text.strip()[:-1] if percent else text)
        exponent = value.normalize().as_tuple().exponent
        if isinstance(exponent, int) and -exponent > self.decimals:
            wanted = f"at most {self.decimals} decimals" if self.decimals else "a whole number"
            raise Refused("NUMBER_TOO_FINE", f"{shown(text)}: {wanted}, please")
        if (self.least is not None and value < self.least) or (self.most is not None and value > self.most):
            low, high = ("…" if bound is None else str(bound) for bound in (self.least, self.most))
            raise Refused("NUMBER_OUT_OF_RANGE", f"{shown(text)} is not between {low} and {high}")
        return Read(int(value) if self.decimals == 0 else value)


_SIGNS = {
    "¥": "",
    "￥": "",
    "元": "",
    "$": "USD",
    "us$": "USD",
    "€": "EUR",
    "£": "GBP",
    "hk$": "HKD",
    "rmb": "CNY",
}
_CURRENCY = re.compile(r"([a-z]{2}\$|[a-z]{3}|[¥￥元$€£])?\s*([-+(]?.*?[\d)万亿]+)\s*([a-z]{3}|[¥￥元$€£])?")


@dataclass(frozen=True)
class Amount:
    """An amount of money; the value is `chassis.money.Money`. Cells may name a currency (`USD 100`, `€ 5`,
    `100元`); those that do not are in `currency`. ¥ and 元 stand for CNY unless that is JPY."""

    currency: str = "CNY"
    negative: bool = False

    @property
    def description(self) -> str:
        return f"Amount of money, in {self.currency} unless the cell names a currency."

    def read(self, text: str) -> Read:
        written = unicodedata.normalize("NFKC", text).strip().casefold()
        found = _CURRENCY.fullmatch(written)
        if found is None or (found[1] and found[3] and found[1] != found[3]):
            raise Refused(
                "MONEY_INVALID", f"{shown(text)} is no amount of money: write it as 1234.50 or USD 1234.50"
            )
        currency = self._code(found[1] or found[3])
        try:
            value = number(found[2])
        except Refused:
            raise Refused(
                "MONEY_INVALID", f"{shown(text)} is no amount of money: write it as 1234.50"
            ) from None
        if value < 0 and not self.negative:
            raise Refused("MONEY_NEGATIVE", f"{shown(text)} is below zero")
        minor = value.scaleb(money.digits(currency))
        if minor != minor.to_integral_value():
            raise Refused("MONEY_TOO_FINE", f"{shown(text)} is finer than the smallest unit of {currency}")
        if abs(minor) >= 10**17:
            raise Refused("MONEY_TOO_LARGE", f"{shown(text)} is too large")
        return Read(money.Money(int(minor), currency))

    def _code(self, sign: str | None) -> str:
        if not sign:
            return self.currency
        known = _SIGNS.get(sign, sign.upper())
        return known or ("JPY" if self.currency == "JPY" else "CNY")


@dataclass(frozen=True)
class Currency:
    """The currency of an amount that stands in another column, by its code or its sign."""

    @property
    def description(self) -> str:
        return "Currency of the amount, as CNY or €."

    def read(self, text: str) -> Read:
        written = unicodedata.normalize("NFKC", text).strip().casefold()
        code = (_SIGNS.get(written, written.upper()) or "CNY") if written else ""
        if not re.fullmatch("[A-Z]{3}", code):
            raise Refused("CURRENCY_INVALID", f"{shown(text)} is no currency: write its code, as CNY or EUR")
        return Read(code)


@dataclass(frozen=True)
class Reference:
    """Another record, written by its name or key. `resolver` names the function of the importer that finds
    it; until then the value is the text. `what` names the record in messages."""

    resolver: str
    what: str
    longest: int = 200

    @property
    def description(self) -> str:
        return f"The {self.what}'s name or key."

    def read(self, text: str) -> Read:
        return Text(self.longest).read(text)
