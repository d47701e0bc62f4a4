"""Numbers and entries are kept in one form, however they are written."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from chassis.errors import Invalid
from chassis.validation.formats import phone
from customers.profile import CUSTOMER_WAYS, PHONES, Entries, tidied, tidy_value

A, B, C = "+8613800001111", "+8613800002222", "+8613800003333"

numbers = st.one_of(
    st.from_regex(r"\A1[3-9][0-9]{9}\Z"),
    st.from_regex(r"\A\+[1-9][0-9]{6,13}\Z"),
    st.from_regex(r"\A0[1-9][0-9]{1,2}-[2-8][0-9]{6,7}( ?(x|#|转) ?[0-9]{1,4})?\Z"),
    st.text(alphabet="0123456789０１２３ +-()./x#", min_size=3, max_size=30),
)
COUNTRIES = st.sampled_from(["CN", "US", "DE", "JP"])


@given(numbers, COUNTRIES)
@settings(max_examples=400)
def test_tidying_a_number_again_changes_nothing(written: str, country: str) -> None:
    once = tidy_value(PHONES, written, country)
    assert tidy_value(PHONES, once, country) == once


@given(numbers, COUNTRIES)
@settings(max_examples=400)
def test_what_is_read_can_be_written(written: str, country: str) -> None:
    if phone(written) is None:
        assert phone(tidy_value(PHONES, written, country)) is None


@given(st.from_regex(r"\A1[3-9][0-9]{9}\Z"), st.randoms(use_true_random=False))
@settings(max_examples=200)
def test_a_number_is_the_same_however_it_is_written(number: str, random: Any) -> None:
    digits = list(number)
    spelled = "".join(digit + random.choice(["", " ", "-", ".", " - "]) for digit in digits[:-1]) + digits[-1]
    wide = "".join(chr(ord(c) + 0xFEE0) if c.isdigit() and random.random() < 0.5 else c for c in spelled)
    prefix = random.choice(["", "+86 ", "0086 ", "(+86) ", "86"])
    assert tidy_value(PHONES, prefix + wide, "CN") == f"+86{number}"


entry = st.fixed_dictionaries({
    "label": st.sampled_from(["", "work", "home"]),
    "number": st.sampled_from([A, B, C, "13800001111", "138-0000-2222"]),
    "primary": st.booleans(),
})  # fmt: skip


@given(st.lists(entry, max_size=6))
@settings(max_examples=300)
def test_entries_are_kept_and_read_alike(written: Entries) -> None:
    marked = sum(one["primary"] for one in written)
    try:
        kept = tidied(PHONES, written, "CN", "customer.phones")
    except Invalid as problem:
        assert problem.reason == "PRIMARY_TWICE" and marked > 1
        return
    assert marked <= 1
    assert len({one["number"] for one in kept}) == len(kept)
    assert {one["number"] for one in kept} == {tidy_value(PHONES, one["number"], "CN") for one in written}
    if marked:
        first = next(one for one in written if one["primary"])
        assert kept[0]["number"] == tidy_value(PHONES, first["number"], "CN")
    columns = PHONES.kept(kept)
    assert PHONES.entries(columns.__getitem__) == kept
    for way in CUSTOMER_WAYS:
        assert way.entries(way.kept([]).__getitem__) == []
