"""How names, numbers and addresses are kept: one way for all that are written."""

import string
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.texts import narrow, same
from leads.cleaning import likeness
from leads.tidying import NAMES, tidied

MOBILES = st.integers(3, 9).flatmap(
    lambda second: st.text(string.digits, min_size=9, max_size=9).map(lambda rest: f"1{second}{rest}")
)


def wide(text: str) -> str:
    """The text in full width."""
    return "".join("　" if c == " " else chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text)


SPELLINGS: tuple[Callable[[str], str], ...] = (
    lambda n: n,
    lambda n: f"{n[:3]} {n[3:7]} {n[7:]}",
    lambda n: f"{n[:3]}-{n[3:7]}-{n[7:]}",
    lambda n: f"+86{n}",
    lambda n: f"+86 {n[:3]} {n[3:7]} {n[7:]}",
    lambda n: f"0086-{n}",
    lambda n: f"86 {n}",
    lambda n: f"({n[:3]}) {n[3:7]}-{n[7:]}",
    lambda n: f"{n[:3]}.{n[3:7]}.{n[7:]}",
    wide,
    lambda n: wide(f"+86 {n}"),
)


@given(MOBILES, st.lists(st.sampled_from(SPELLINGS), min_size=2, max_size=2))
def test_a_number_in_any_spelling_is_one_number(number: str, spellings: list[Any]) -> None:
    kept = {tidied({"phone": spell(number)}, "CN")["phone"] for spell in spellings}
    assert kept == {f"+86{number}"}


@pytest.mark.parametrize(
    ("country", "written", "number"),
    [
        ("DE", "030 901820", "+4930901820"), ("US", "(415) 555-2671", "+14155552671"), ("CN", "010-62345678", "+861062345678"),
        ("DE", "+86 10 6234 5678", "+861062345678"), ("GB", "020 7946 0958", "+442079460958"),
    ],
)  # fmt: skip
def test_the_tenants_country_decides_about_numbers_dialled_at_home(
    country: str, written: str, number: str
) -> None:
    assert tidied({"phone": written}, country)["phone"] == number


# Marks that join what an invisible character kept apart are a matter of chassis.texts.
TEXTS = st.text(st.characters(exclude_categories=("C", "M")), max_size=30)


@given(st.fixed_dictionaries({name: TEXTS for name in (*NAMES, "phone", "email")}))
def test_what_is_tidy_stays(values: dict[str, str]) -> None:
    once = tidied(values, "CN")
    assert tidied(once, "CN") == once


@given(st.text(string.ascii_letters + string.digits + " 用友软件北京市", min_size=1, max_size=40))
def test_a_name_in_either_width_is_one_name(name: str) -> None:
    assert narrow(wide(name)) == narrow(name)
    assert same(narrow(name)) == same(name)


def test_brackets_of_a_registered_name_stay() -> None:
    assert narrow("　ＫＥＨＵ（北京）软件　有限公司１号 ") == "KEHU（北京）软件 有限公司1号"


@given(st.emails())
def test_addresses_are_kept_in_lower_case(address: str) -> None:
    kept = tidied({"email": f" {address.upper()} "}, "CN")["email"]
    assert kept == kept.lower() and tidied({"email": kept}, "CN")["email"] == kept


def lead(**values: Any) -> Any:
    return SimpleNamespace(**{"email": "", "phone": "", "name": "", "company_name": "", **values})


@pytest.mark.parametrize(
    ("one", "other", "reasons"),
    [
        ({"email": "a@b.cn"}, {"email": "a@b.cn"}, ["EMAIL"]),
        ({"phone": "+8613800001111", "name": "张三"}, {"phone": "+8613800001111", "name": "张 三"}, ["PHONE", "NAME"]),
        ({"name": "张伟"}, {"name": "张伟"}, []),
        ({"name": "张伟", "company_name": "用友"}, {"name": "李娜", "company_name": "用友"}, []),
        ({"name": "张伟", "company_name": "用友"}, {"company_name": "用友"}, ["COMPANY_NAME"]),
        ({"name": "张伟", "company_name": "用友"}, {"name": "张伟", "company_name": "用 友"}, ["COMPANY_NAME", "NAME"]),
        ({}, {}, []),
    ],
)  # fmt: skip
def test_what_speaks_for_two_leads_being_one(
    one: dict[str, str], other: dict[str, str], reasons: list[str]
) -> None:
    score, why = likeness(lead(**one), lead(**other))
    assert why == reasons and (score >= 50) == bool(reasons)
    assert likeness(lead(**other), lead(**one)) == (score, why)
