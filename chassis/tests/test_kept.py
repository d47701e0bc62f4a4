"""What is undone part by part, and what one record that stands for several is shared with."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from chassis.parts import Counted, Keyed, Whole, Written, by_value, entries_undone
from chassis.records import Shareable
from chassis.shares.entries import MOST, PERSON, joined, lasts

LISTS = st.lists(st.sampled_from("abcdefg"), unique=True, max_size=5)
LABELLED = st.dictionaries(st.sampled_from("abcd"), st.integers(0, 1), max_size=4).map(
    lambda found: [{"to": key, "n": value} for key, value in found.items()]
)
NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
DAY = timedelta(days=1)


@given(LISTS, LISTS)
def test_what_nobody_has_touched_is_what_it_was(before: list[str], after: list[str]) -> None:
    assert entries_undone(before, after, after, by_value) == before


@given(LISTS, LISTS, LISTS)
def test_what_was_brought_goes_and_what_was_added_stays(
    before: list[str], after: list[str], now: list[str]
) -> None:
    undone = entries_undone(before, after, now, by_value)
    brought, taken = set(after) - set(before), set(before) - set(after)
    assert set(undone) == (set(now) - brought) | taken
    assert len(undone) == len(set(undone))
    if now and now[0] not in after:
        # What somebody has put to the front since is in front.
        assert undone[0] == now[0]


@given(LABELLED, LABELLED, LABELLED)
def test_what_was_changed_since_stays_as_it_was_changed(
    before: list[dict[str, Any]], after: list[dict[str, Any]], now: list[dict[str, Any]]
) -> None:
    undone = {one["to"]: one for one in entries_undone(before, after, now, lambda one: one["to"])}
    was, left, here = ({one["to"]: one for one in some} for some in (before, after, now))
    for key, one in here.items():
        if left.get(key) != one:
            assert undone[key] == one
        else:
            assert undone.get(key) == was.get(key)


@given(LISTS, LISTS, LISTS)
def test_two_changes_are_undone_in_either_order(
    start: list[str], first: list[str], second: list[str]
) -> None:
    """The second one's ends are brought up to date when the first is undone before it."""
    one = list(dict.fromkeys(start + first))
    two = list(dict.fromkeys(one + second))
    without, began, ended = (entries_undone(start, one, end, by_value) for end in (two, one, two))
    assert set(entries_undone(began, ended, without, by_value)) == set(start)


def test_values_by_key_numbers_and_texts() -> None:
    keyed = Keyed(("values",))
    now = {"values": {"own": 1, "came": 2, "changed": 9, "added": 4}}
    undone = keyed.undone(
        {"values": {"own": 0}}, {"values": {"own": 1, "came": 2, "changed": 3, "gone": 5}}, now
    )
    assert undone == {"values": {"own": 0, "changed": 9, "added": 4}}
    counted = Counted(("n",))
    assert [counted.undone({"n": 1}, {"n": 3}, {"n": n})["n"] for n in (3, 4, 1)] == [1, 2, 0]
    written = Written(("text",))

    def text(before: str, after: str, now: str) -> str:
        return written.undone({"text": before}, {"text": after}, {"text": now})["text"]

    assert text("mine", "mine\n\ntheirs", "mine\n\ntheirs") == "mine"
    assert text("mine", "mine\n\ntheirs", "mine\n\ntheirs\nlater") == "mine\nlater"
    assert text("", "theirs", "theirs\nlater") == "later"
    assert text("", "theirs", "theirs are here") == "theirs are here"
    assert text("", "theirs", "rewritten") == "rewritten"


def test_columns_that_mean_something_together_stay_together() -> None:
    money = Whole(("amount", "currency"))
    before: Mapping[str, Any] = {"amount": None, "currency": ""}
    after = {"amount": 100, "currency": "CNY"}
    assert money.undone(before, after, after) == before
    assert money.undone(before, after, {"amount": 200, "currency": "CNY"})["currency"] == "CNY"


def shared(*entries: tuple[str, bool, int | None]) -> Shareable:
    """A record that is shared with these: to write, and for how many days from now."""
    return Shareable.model_construct(
        shared_with=[
            {
                "to": to, "kind": PERSON, "writes": writes, "by": "-", "at": "-",
                "until": None if days is None else (NOW + days * DAY).isoformat(),
            }
            for to, writes, days in entries
        ]
    )  # fmt: skip


SHARES = st.lists(
    st.tuples(st.sampled_from("abc"), st.booleans(), st.one_of(st.none(), st.integers(-3, 5).filter(bool))),
    unique_by=lambda one: one[0],
    max_size=3,
).map(lambda found: shared(*found))


def access(row: Shareable, to: str, at: datetime) -> int:
    """0 for none, 1 to read, 2 to write."""
    return max(
        (1 + one["writes"] for one in row.shared_with if one["to"] == to and lasts(one, at)), default=0
    )


@given(st.lists(SHARES, max_size=3))
def test_what_is_joined_gives_nobody_more_at_any_moment(rows: list[Shareable]) -> None:
    one = Shareable.model_construct(shared_with=joined(rows, NOW))
    for to in "abc":
        assert len([entry for entry in one.shared_with if entry["to"] == to]) <= 1
        for day in range(-1, 7):
            at = NOW + day * DAY + timedelta(hours=1)
            most = max((access(row, to, at) for row in rows), default=0)
            assert access(one, to, at) <= most
            if day >= 0:
                # Whoever could read one of them can read this one.
                assert bool(access(one, to, at)) == bool(most)


def test_ended_shares_take_nobodys_place() -> None:
    full = shared(*((f"over {n}", True, -1) for n in range(MOST)))
    there = joined([full, shared(("cy", False, None))], NOW)
    assert [(one["to"], one["writes"]) for one in there] == [("cy", False)]
    # A share to write that is over revives nothing.
    (one,) = joined([shared(("cy", False, None)), shared(("cy", True, -1))], NOW)
    assert (one["writes"], one["until"]) == (False, None)
    (one,) = joined([shared(("cy", False, None)), shared(("cy", True, 1))], NOW)
    assert (one["writes"], one["until"]) == (False, None)
