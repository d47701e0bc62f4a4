"""Cells of imported files as values."""

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis import texts
from chassis.imports.values import (
    Amount,
    Choice,
    Country,
    Day,
    Email,
    Flag,
    Moment,
    Number,
    Phone,
    Refused,
    Several,
    Tags,
    Text,
    Value,
    number,
    told,
    words_told,
)
from chassis.money import Money


@pytest.mark.parametrize(
    "written",
    [
        "2024-05-01",
        "2024/5/1",
        "2024.5.1",
        "20240501",
        "2024年5月1日",
        "２０２４-05-01",
        "1 May 2024",
        "May 1, 2024",
        "1st May 2024",
        "1-May-2024",
        "2024-05-01 00:00:00",
        "2024-05-01T08:30:00Z",
    ],
)
def test_days_are_read_in_the_usual_spellings(written: str) -> None:
    assert Day().read(written).value == date(2024, 5, 1)


@pytest.mark.parametrize(
    ("written", "order", "day"),
    [
        ("13/05/2024", "", date(2024, 5, 13)),
        ("05/13/2024", "", date(2024, 5, 13)),
        ("01/02/2024", "dmy", date(2024, 2, 1)),
        ("01/02/2024", "mdy", date(2024, 1, 2)),
    ],
)
def test_short_days_are_read_when_they_can_mean_one_day_only(written: str, order: str, day: date) -> None:
    assert Day(order).read(written).value == day


@pytest.mark.parametrize(
    ("value", "written", "reason"),
    [
        (Day(), "01/02/2024", "DATE_AMBIGUOUS"),
        (Day(), "2024-02-30", "DATE_INVALID"),
        (Day(), "tomorrow", "DATE_INVALID"),
        (Day(), "1 Foo 2024", "DATE_INVALID"),
        (Moment(), "2024-05-01 25:00", "TIME_INVALID"),
        (Phone(), "call me", "PHONE_INVALID"),
        (Email(), "li@acme", "EMAIL_INVALID"),
        (Number(), "12 apples", "NUMBER_INVALID"),
        (Number(), "", "NUMBER_INVALID"),
        (Number(decimals=0), "1.5", "NUMBER_TOO_FINE"),
        (Number(least=0, most=100), "101", "NUMBER_OUT_OF_RANGE"),
        (Amount(), "-5", "MONEY_NEGATIVE"),
        (Amount(), "0.001", "MONEY_TOO_FINE"),
        (Amount("JPY"), "¥1.5", "MONEY_TOO_FINE"),
        (Amount(), "much", "MONEY_INVALID"),
        (Amount(), "99999999999999999999", "MONEY_INVALID"),
        (Text(3), "four", "TEXT_TOO_LONG"),
        (Flag(), "perhaps", "FLAG_INVALID"),
        (Choice({"A": ()}), "B", "CHOICE_UNKNOWN"),
        (Tags(most=1), "a,b", "TAGS_TOO_MANY"),
    ],
)
def test_what_is_no_value_is_refused_with_its_reason(value: Value, written: str, reason: str) -> None:
    with pytest.raises(Refused) as refused:
        value.read(written)
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    ("written", "moment"),
    [
        ("2024-05-01 08:00", datetime(2024, 5, 1, 0, 0, tzinfo=UTC)),
        ("2024/5/1 8:00:30 PM", datetime(2024, 5, 1, 12, 0, 30, tzinfo=UTC)),
        ("2024-05-01T08:00:00Z", datetime(2024, 5, 1, 8, 0, tzinfo=UTC)),
        ("2024-05-01 08:00+02:00", datetime(2024, 5, 1, 6, 0, tzinfo=UTC)),
        ("2024-05-01", datetime(2024, 4, 30, 16, 0, tzinfo=UTC)),
        ("2024年5月1日 08:00", datetime(2024, 5, 1, 0, 0, tzinfo=UTC)),
    ],
)
def test_moments_are_in_utc(written: str, moment: datetime) -> None:
    assert Moment().read(written).value == moment


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1,234.50", "1234.50"),
        ("1.234,50", "1234.50"),
        ("1234,5", "1234.5"),
        ("1 234", "1234"),
        ("1'234", "1234"),
        ("(12)", "-12"),
        ("-12", "-12"),
        ("１２", "12"),
        ("1.2万", "12000"),
        ("3亿", "300000000"),
        ("12,34,567", "1234567"),
        ("1,234", "1234"),
        (".5", "0.5"),
    ],
)
def test_numbers_are_read_as_people_write_them(written: str, value: str) -> None:
    assert number(written) == Decimal(value)


@pytest.mark.parametrize(
    ("written", "minor", "currency"),
    [
        ("¥1,234.50", 123450, "CNY"),
        ("1234.5元", 123450, "CNY"),
        ("USD 100", 10000, "USD"),
        ("100 usd", 10000, "USD"),
        ("$ 1,054", 105400, "USD"),
        ("€5", 500, "EUR"),
        ("HK$20", 2000, "HKD"),
        ("RMB 7", 700, "CNY"),
        ("500", 50000, "CNY"),
        ("5万元", 5000000, "CNY"),
        ("jpy 500", 500, "JPY"),
    ],
)
def test_amounts_become_minor_units(written: str, minor: int, currency: str) -> None:
    assert Amount().read(written).value == Money(minor, currency)


def test_a_choice_is_known_by_its_synonyms_and_repaired_when_only_spaces_differ() -> None:
    choice = Choice({"WON": ("closed won", "赢单"), "LOST": ("输单",)})
    assert choice.read("Won").value == "WON"
    assert choice.read("赢单").repaired == ""
    repaired = choice.read("Closed-Won")
    assert repaired.value == "WON"
    assert "Closed-Won" in repaired.repaired


@pytest.mark.parametrize(
    ("code", "names"),
    [
        (
            "CN",
            "CN cn 中国 China P.R.\u00a0China P.R.C. 中国大陆 People’s\u00a0Republic\u00a0of\u00a0China 中國",
        ),
        ("TW", "Taiwan 台湾 中国台湾 台灣 Taiwan,\u00a0China"),
        ("HK", "香港 中国香港 Hong\u00a0Kong Hong\u00a0Kong\u00a0SAR"),
        ("MO", "澳门 中国澳门 Macau Macao"),
        ("US", "USA U.S.A. U.S. United\u00a0States\u00a0of\u00a0America 美国 Ｕ．Ｓ．Ａ"),
        ("KR", "韩国 Korea South\u00a0Korea Korea,\u00a0Republic\u00a0of"),
        ("DE", "Germany Deutschland Allemagne 德国 ドイツ"),
        ("NL", "The\u00a0Netherlands Holland 荷兰"),
    ],
)
def test_countries_are_known_by_the_names_that_address_books_have_for_them(code: str, names: str) -> None:
    assert {name: Country().read(name).value for name in names.split(" ")} == dict.fromkeys(
        names.split(" "), code
    )


@pytest.mark.parametrize("written", ["Atlantis", "AN", "Netherlands Antilles", "XX", "the", "."])
def test_what_is_no_country_is_refused(written: str) -> None:
    with pytest.raises(Refused) as refused:
        Country().read(written)
    assert refused.value.reason == "COUNTRY_UNKNOWN"


def test_flags_and_tags() -> None:
    assert Flag().read("是").value is True
    assert Flag().read("No").value is False
    assert Tags().read("vip、 new，vip;a b").value == ["vip", "new", "a b"]
    assert Tags().read("C:\\x; R\\,D").value == ["C:\\x", "R,D"]


@given(
    st.lists(
        st.text(",;|\\、a ", min_size=1, max_size=6).map(str.strip).filter(bool), unique=True, max_size=4
    )
)
def test_words_with_separators_come_back(words: list[str]) -> None:
    told = words_told(words)
    assert not told or Tags().read(told).value == list(
        dict.fromkeys(" ".join(word.split()) for word in words)
    )


@given(
    st.text(min_size=1, max_size=40),
    st.sampled_from(
        [
            Text(),
            Phone(),
            Email(),
            Choice({"A": ("b c",)}),
            Flag(),
            Tags(),
            Day(),
            Moment(),
            Number(),
            Amount(),
        ]
    ),
)
def test_any_text_is_a_value_or_refused(text: str, value: Value) -> None:
    try:
        value.read(text)
    except Refused as refused:
        assert refused.reason.isupper()
        assert refused.message


_WORDS = st.text(st.sampled_from("a北1 ;；:：\\/"), min_size=1, max_size=12).map(texts.line).filter(bool)


@given(st.lists(st.tuples(st.just("") | _WORDS, _WORDS), min_size=1, max_size=5))
def test_entries_in_a_cell_are_read_as_they_were_written(entries: list[tuple[str, str]]) -> None:
    cell = "; ".join(told(label, value) for label, value in entries)
    read = Several("value", Text(200)).read(cell).value
    assert [(one["label"], one["value"]) for one in read] == entries


def test_entries_that_others_wrote() -> None:
    phones = Several("number", Phone())
    read = phones.read("home: 138 0000 1234；13800005678\n总机：010 6666 8888;").value
    assert [(one["label"], one["number"]) for one in read] == [
        ("home", "+8613800001234"), ("", "+8613800005678"), ("总机", "+861066668888"),
    ]  # fmt: skip
    with pytest.raises(Refused, match="no telephone number"):
        phones.read("13800001234; home: nobody")
    with pytest.raises(Refused, match="at most 1"):
        Several("number", Phone(), most=1).read("13800001234; 13800005678")
    assert phones.at_home_in("DE").read("030 901820").value[0]["number"] == "+4930901820"
