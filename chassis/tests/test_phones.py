"""Telephone numbers, e-mail addresses and texts in the forms in which they are kept."""

import pytest

from chassis.phones import e164, normalised_phone
from chassis.texts import email, line, lines, same


@pytest.mark.parametrize(
    ("written", "number"),
    [
        ("138 0000 1234", "+8613800001234"),
        ("138-0000-1234", "+8613800001234"),
        ("+86 (138) 0000 1234", "+8613800001234"),
        ("0086 13800001234", "+8613800001234"),
        ("１３８００００１２３４", "+8613800001234"),
        ("010-62345678", "+861062345678"),
        ("(021) 6234 5678 转 12", "+862162345678;ext=12"),
        ("+1 415 555 2671", "+14155552671"),
        ("+44 20 7946 0958", "+442079460958"),
        ("010-62345678 ext. 12", "+861062345678;ext=12"),
        ("abc", None),
        ("12", None),
        ("", None),
        ("1" * 41, None),
    ],
)
def test_numbers_become_e164(written: str, number: str | None) -> None:
    assert e164(written) == number


def test_the_region_decides_about_numbers_without_country_code() -> None:
    assert e164("(415) 555-2671", "US") == "+14155552671"


def test_what_is_no_number_is_kept_as_written() -> None:
    assert normalised_phone(" ask  Li ") == "ask Li"


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("Li.Wei@Acme.COM", "li.wei@acme.com"),
        (" <li@acme.photography> ", "li@acme.photography"),
        ("mailto:li@acme.cn", "li@acme.cn"),
        ("李伟@用友.中国", "李伟@用友.中国"),
        ("li+crm@mail.acme.co.uk", "li+crm@mail.acme.co.uk"),
        ("ｌｉ＠acme.com", "li@acme.com"),
        ("li@acme", None),
        ("li@@acme.com", None),
        ("li wei@acme.com", None),
        ("li@-acme.com", None),
        ("li..wei@acme.com", None),
        ("li@127.0.0.1", None),
        ("a" * 65 + "@acme.com", None),
        ("li@" + "a" * 260 + ".com", None),
        ("li@acme.com\nBcc: x@y.zz", None),
    ],
)
def test_addresses_are_lower_case_or_none(written: str, address: str | None) -> None:
    assert email(written) == address


def test_texts_lose_what_nobody_sees() -> None:
    assert line("  北京\u00a0 用友\ufeff\x07\n集团 ") == "北京 用友 集团"
    assert lines("a \r\n\r\n  b\x00 ") == "a\n\nb"
    assert same("GTX Pro") == same("ＧＴＸｐｒｏ ")
