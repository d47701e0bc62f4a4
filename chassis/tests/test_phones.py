"""Telephone numbers, e-mail addresses and texts in the forms in which they are kept."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chassis.phones import e164, normalised_phone
from chassis.search import normalised
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


names = st.one_of(
    st.text(max_size=40),
    st.text(alphabet="北京用友软件有限公司 ABcd１２ＡＢ\u3000\u00a0\ufeff\u200b éÉßİ()（）·", max_size=40),
)


@given(names)
@settings(max_examples=500)
def test_normalising_a_name_again_changes_nothing(name: str) -> None:
    for form in (line, lines, same, normalised):
        assert form(form(name)) == form(name), form


@given(st.text(alphabet="北京用友软件ABCabc123", min_size=1, max_size=20), st.randoms(use_true_random=False))
@settings(max_examples=300)
def test_a_name_is_the_same_in_any_width_case_and_spacing(name: str, random: Any) -> None:
    def spelled(one: str) -> str:
        one = one.swapcase() if random.random() < 0.5 else one
        return chr(ord(one) + 0xFEE0) if one.isascii() and random.random() < 0.5 else one

    other = "".join(spelled(one) + random.choice(["", " ", "\u3000"]) for one in name)
    assert same(other) == same(name)


@given(st.text(max_size=60))
@settings(max_examples=300)
def test_an_address_that_is_kept_is_kept_alike_again(text: str) -> None:
    for written in (text, f"{text}@Acme.CN", f"li{text}@acme.cn"):
        kept = email(written)
        assert kept is None or email(kept) == kept
