"""Kinds of text that contracts name: UUIDs, addresses, codes. Each check answers what is wrong, or None.

A message never repeats more than 60 characters of a value.
"""

import re
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from functools import cache
from urllib.parse import urlsplit
from zoneinfo import available_timezones

from kehu.rules.v1 import rules_pb2

Check = Callable[[str], str | None]

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
# Letters of any script may stand in both parts (RFC 6531); quoted local parts may not.
_EMAIL = re.compile(
    r"[\w!#$%&'*+/=?^`{|}~.-]{1,64}@(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.)+[^\W_](?:[\w-]{0,61}[^\W_])"
)
_PHONE = re.compile(r"[0-9 +().\-/]+(?:(?: *(?:x|X|#|ext\.?) *|;ext=)[0-9]{1,8})?")
_SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])")
_DECIMAL = re.compile(r"-?([0-9]{1,15})(?:\.([0-9]+))?")
_LANGUAGE = re.compile(r"[a-zA-Z]{2,3}(?:-[a-zA-Z]{4})?(?:-(?:[a-zA-Z]{2}|[0-9]{3}))?(?:-[a-zA-Z0-9]{5,8})*")
_HOST = re.compile(r"[^\s/?#@\\<>\"{}|^`]+")


def _codes(text: str) -> frozenset[str]:
    return frozenset(text.split())


_CURRENCIES = _codes(
    """
    AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BOV BRL BSD BTN BWP
    BYN BZD CAD CDF CHE CHF CHW CLF CLP CNY COP COU CRC CUC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB
    EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HRK HTG HUF IDR ILS INR IQD IRR ISK JMD JOD
    JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU
    MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD
    RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SLL SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY
    TTD TWD TZS UAH UGX USD USN UYI UYU UYW UZS VED VES VND VUV WST XAF XCD XCG XDR XOF XPF XSU XUA
    YER ZAR ZMW ZWG ZWL
    """
)
_COUNTRIES = _codes(
    """
    AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS
    BT BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE
    EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM
    HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC
    LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA
    NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW
    SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO
    TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW
    """
)


def shown(value: object) -> str:
    """The value as a message may show it."""
    text = str(value)
    text = text if len(text) <= 60 else text[:60] + "…"
    return f"'{text}'" if isinstance(value, str) else text


def uuid(text: str) -> str | None:
    if _UUID.fullmatch(text):
        return None
    return f"{shown(text)} is not a UUID of 36 characters in lower case"


def email(text: str) -> str | None:
    if len(text) <= 254 and _EMAIL.fullmatch(text):
        local = text.partition("@")[0]
        if local[0] != "." and local[-1] != "." and ".." not in text:
            return None
    return f"{shown(text)} is not an e-mail address as name@example.com"


def phone(text: str) -> str | None:
    digits = sum(character.isdigit() for character in text)
    if 3 <= digits <= 20 and _PHONE.fullmatch(text):
        return None
    return f"{shown(text)} is not a telephone number: write 3 to 20 digits, as +86 138 0013 8000"


def currency(text: str) -> str | None:
    if text in _CURRENCIES:
        return None
    return f"{shown(text)} is not an ISO 4217 currency code as CNY or USD"


def _web(text: str, *, origin: bool) -> bool:
    if len(text) > 2048 or not text.isprintable() or " " in text:
        return False
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return False
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc or port == 0:
        return False
    if not _HOST.fullmatch(parts.netloc):
        return False
    return not origin or (text == f"{parts.scheme}://{parts.netloc}")


def url(text: str) -> str | None:
    if _web(text, origin=False):
        return None
    return f"{shown(text)} is not a web address as https://www.example.com/page"


def origin(text: str) -> str | None:
    if _web(text, origin=True):
        return None
    return f"{shown(text)} is not a scheme and host alone as https://www.example.com"


def slug(text: str) -> str | None:
    if _SLUG.fullmatch(text):
        return None
    return f"{shown(text)} must be 2 to 40 lower-case letters, digits and inner hyphens, as acme-trading"


def decimal(text: str, max_scale: int) -> str | None:
    found = _DECIMAL.fullmatch(text)
    if found is None:
        return f"{shown(text)} is not a number in plain notation with at most 15 digits before the point"
    if len(found[2] or "") > max_scale:
        return f"{shown(text)} has more than {max_scale} digits behind the point"
    return None


def time_zone(text: str) -> str | None:
    return None if text in _zones() else f"{shown(text)} is not an IANA time zone as Asia/Shanghai"


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


def country(text: str) -> str | None:
    return None if text in _COUNTRIES else f"{shown(text)} is not an ISO 3166-1 country code as CN"


def language(text: str) -> str | None:
    return None if _LANGUAGE.fullmatch(text) else f"{shown(text)} is not a BCP 47 language tag as zh-CN"


def day(year: int, month: int, day_of_month: int) -> str | None:
    """What is wrong with a google.type.Date, whose parts may each be 0 on the wire."""
    try:
        date(year, month, day_of_month)
    except (ValueError, OverflowError):
        return f"{year}-{month}-{day_of_month} is not a whole day of the calendar"
    return None


def number(text: str) -> Decimal | None:
    """The number that a text of FORMAT_DECIMAL stands for; None when it is none."""
    return Decimal(text) if _DECIMAL.fullmatch(text) else None


CHECKS: dict[int, Check] = {
    rules_pb2.FORMAT_UUID: uuid,
    rules_pb2.FORMAT_EMAIL: email,
    rules_pb2.FORMAT_PHONE: phone,
    rules_pb2.FORMAT_CURRENCY: currency,
    rules_pb2.FORMAT_URL: url,
    rules_pb2.FORMAT_ORIGIN: origin,
    rules_pb2.FORMAT_SLUG: slug,
    rules_pb2.FORMAT_TIME_ZONE: time_zone,
    rules_pb2.FORMAT_COUNTRY: country,
    rules_pb2.FORMAT_LANGUAGE: language,
}
"""FORMAT_DECIMAL stands apart, since it takes a scale."""
