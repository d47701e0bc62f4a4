"""Times that are meant from where the one who asks stands."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.errors import Invalid
from chassis.fields import Field, Kind, at_hand, predicate
from chassis.filters import Literal, parse, written
from chassis.moments import Clock, clock_in, moment, names_moments, settled
from chassis.months import months_later

FIELDS = {
    "at": Field("at", Kind.TIMESTAMP, nullable=True),
    "day": Field("day", Kind.DATE, nullable=True),
    "name": Field("name", Kind.TEXT),
}
# With clocks that are changed at midnight, too, by half an hour, and across the date line.
ZONES = [
    "Asia/Shanghai", "America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "America/Sao_Paulo", "America/Havana",
    "Pacific/Apia", "Asia/Beirut", "UTC",
]  # fmt: skip
clocks = st.builds(
    Clock,
    st.datetimes(datetime(1990, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC)),
    st.sampled_from(ZONES).map(ZoneInfo),
)
KINDS: dict[str, bool] = {"at": True, "day": False}


def holds(text: str, clock: Clock, **record: Any) -> bool:
    """Whether a record is one that the filter wants, at that time in that place."""
    node = parse(text)
    assert node is not None and names_moments(text)
    meant = settled(node, KINDS.get, clock)
    predicate(meant, FIELDS)  # is a filter as lists have it
    return at_hand(meant, FIELDS)(lambda column: record.get(column))


def in_shanghai(text: str) -> Clock:
    return Clock(datetime.fromisoformat(text).astimezone(UTC), ZoneInfo("Asia/Shanghai"))


@pytest.mark.parametrize(
    ("filter", "at", "wanted"),
    [
        ("at < -90d", "2026-08-28T23:59:59+08:00", True),
        ("at < -90d", "2026-08-29T00:00:00+08:00", False),
        ("at <= -90d", "2026-08-29T23:59:59+08:00", True),
        ("at = today", "2026-11-27T00:00:00+08:00", True),
        ("at = today", "2026-11-26T23:59:59+08:00", False),
        ("at != today", "2026-11-26T23:59:59+08:00", True),
        ("at > today", "2026-11-27T23:59:59+08:00", False),
        ("at > today", "2026-11-28T00:00:00+08:00", True),
        ("at <= today+7d", "2026-12-04T23:00:00+08:00", True),
        ("at = week", "2026-11-23T00:00:00+08:00", True),
        ("at = week-1w", "2026-11-22T23:00:00+08:00", True),
        ("at = month-1m", "2026-10-31T23:00:00+08:00", True),
        ("at = month-1m", "2026-11-01T00:00:00+08:00", False),
        ("at = quarter", "2026-10-01T00:00:00+08:00", True),
        ("at >= year-1y", "2025-01-01T00:00:00+08:00", True),
        ("at >= -6h", "2026-11-27T00:30:00+08:00", True),
        ("at >= now-6h", "2026-11-27T00:29:59+08:00", False),
        ("NOT at = today AND at > -2d", "2026-11-26T12:00:00+08:00", True),
        ("at < -3m", "2026-08-26T23:00:00+08:00", True),
    ],
)  # fmt: skip
def test_what_is_meant(filter: str, at: str, wanted: bool) -> None:
    clock = in_shanghai("2026-11-27T06:30:00+08:00")  # still the day before in UTC
    assert holds(filter, clock, at=datetime.fromisoformat(at)) is wanted


def test_days_and_texts_and_nothing() -> None:
    clock = in_shanghai("2026-03-31T06:30:00+08:00")
    assert holds("day = today", clock, day=date(2026, 3, 31)) and not holds("day = today", clock, day=None)
    assert holds("day < -1m", clock, day=date(2026, 2, 27)) and not holds(
        "day < -1m", clock, day=date(2026, 2, 28)
    )
    assert holds("day >= now", clock, day=date(2026, 3, 31))
    assert holds("day != month", clock, day=None)
    assert holds("name = today", clock, name="today")  # a text is a text
    assert moment(Literal("today", quoted=True)) is None
    node = parse("at < today-90d AND (day = month OR name = x)")
    assert node is not None and parse(written(node)) == node


@pytest.mark.parametrize(
    "wrong", ["today-6h", "month-3d", "week+1m", "-90", "-90x", "tomorrow", "-1000000d", "now-90"]
)
def test_what_is_no_moment_is_refused_as_ever(wrong: str) -> None:
    with pytest.raises(Invalid, match="wants a time such as"):
        predicate(settled(parse(f"at < {wrong}") or pytest.fail(), KINDS.get, clock_in("")), FIELDS)


@pytest.mark.parametrize("far", ["-99999y", "+99999m", "year+9000y", "now-9999y"])
def test_beyond_the_calendar_there_is_nothing(far: str) -> None:
    with pytest.raises(Invalid) as caught:
        settled(parse(f"NOT (at = {far})") or pytest.fail(), KINDS.get, clock_in("Nowhere/Atall"))
    assert caught.value.violations[0].field == "filter" and caught.value.reason == "FILTER_INVALID"


@given(
    clocks,
    st.sampled_from(["today", "week", "month", "quarter", "year"]),
    st.integers(-400, 400),
    st.integers(0, 10**6),
)
def test_stretches_lie_end_to_end(clock: Clock, word: str, by: int, second: int) -> None:
    """Each begins where the one before it ends, what is present holds this moment, and an instant is in one of three."""
    unit = {"today": "d", "week": "w", "month": "m", "quarter": "q", "year": "y"}[word]
    if word == "year":
        by //= 10
    here, there = moment(Literal(f"{word}{by:+}{unit}")), moment(Literal(f"{word}{by + 1:+}{unit}"))
    assert here is not None and there is not None
    first, behind = here.days(clock.today)
    assert behind == there.days(clock.today)[0] and clock.begin(first) < clock.begin(behind)
    assert holds(f"at = {word}", clock, at=clock.now)
    at = clock.begin(first) + timedelta(seconds=second)
    ways: list[Callable[[datetime], bool]] = [
        lambda at, op=op: holds(f"at {op} {word}{by:+}{unit}", clock, at=at) for op in ("<", "=", ">")
    ]
    assert [way(at) for way in ways].count(True) == 1
    assert holds(f"at <= {word}{by:+}{unit}", clock, at=at) is (ways[0](at) or ways[1](at))
    # A day of the calendar says the same as the instants in it.
    day = first + timedelta(days=second % 40)
    for op in ("<", "=", ">", "!="):
        asked = f"{op} {word}{by:+}{unit}"
        assert holds(f"day {asked}", clock, day=day) is holds(f"at {asked}", clock, at=clock.begin(day))


@given(st.dates(date(1900, 1, 1), date(2400, 1, 1)), st.integers(-3000, 3000))
def test_months_keep_the_day_where_there_is_one(day: date, months: int) -> None:
    moved = months_later(day, months)
    assert (moved.year * 12 + moved.month) - (day.year * 12 + day.month) == months
    assert moved.day == day.day or (moved.day < day.day and (moved + timedelta(days=1)).day == 1)
