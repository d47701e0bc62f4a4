"""Whose turn it is: a plain function, tried with whatever list, absences and loads there may be."""

from collections import Counter
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from leads.assignment import chosen, turns
from leads.words import LEAST_LOADED, ROUND_ROBIN

PEOPLE = [UUID(int=number) for number in range(1, 9)]
lists = st.integers(1, 8).map(lambda count: PEOPLE[:count])
absences = st.sets(st.sampled_from(PEOPLE))


def anybody(person: UUID) -> bool:
    return True


@given(lists, st.lists(st.tuples(absences, absences), max_size=60))
def test_those_who_are_always_there_differ_by_one_at_most(
    people: list[UUID], moments: list[tuple[set[UUID], set[UUID]]]
) -> None:
    """Whoever is away, and whoever leaves the list or comes into it, however many at a time: between any two moments."""
    before: list[UUID] = []
    given_to: list[UUID] = []
    for absent, gone in moments:
        there = [one for one in people if one not in gone]
        person = chosen(there, before, ROUND_ROBIN, {}, lambda one, absent=absent: one not in absent)
        assert (person is None) == (set(there) <= absent)
        if person is not None:
            assert person in there and person not in absent
            before = turns(there, [person])
            given_to.append(person)
    always = [one for one in people if not any(one in absent or one in gone for absent, gone in moments)]
    for begin in range(len(given_to)):
        counts = Counter(given_to[begin:])
        shares = [counts[one] for one in always]
        assert not shares or max(shares) - min(shares) <= 1


@given(lists, st.integers(0, 5), st.lists(st.sampled_from(PEOPLE), max_size=60))
def test_nobody_gets_more_than_the_limit(people: list[UUID], limit: int, closed: list[UUID]) -> None:
    """Leads are given until all are full; then somebody closes one."""
    loads: Counter[UUID] = Counter()
    before: list[UUID] = []
    for done in closed:
        person = chosen(people, before, ROUND_ROBIN, loads, lambda one: loads[one] < limit)
        assert (person is None) == all(loads[one] >= limit for one in people)
        if person is not None:
            loads[person] += 1
            before = turns(people, [person])
        assert max(loads.values(), default=0) <= limit
        if loads[done]:
            loads[done] -= 1


@given(lists, st.dictionaries(st.sampled_from(PEOPLE), st.integers(0, 9)), st.permutations(PEOPLE))
def test_the_least_loaded_gets_it(people: list[UUID], loads: dict[UUID, int], before: list[UUID]) -> None:
    person = chosen(people, before, LEAST_LOADED, loads, anybody)
    assert person is not None
    fewest = min(loads.get(one, 0) for one in people)
    waiting = [one for one in turns(people, before) if loads.get(one, 0) == fewest]
    assert person == waiting[0]


@given(lists, absences, st.data())
def test_who_was_to_come_next_comes_next(people: list[UUID], gone: set[UUID], data: st.DataObject) -> None:
    """Any of them leave the list, also whoever had the last turn: the others keep the order they stood in."""
    last = data.draw(st.sampled_from(people))
    before = turns(people, [last])
    assert before[-1] == last
    left = [one for one in people if one not in gone]
    assert turns(left, before) == [one for one in before if one not in gone]
    assert turns(left, []) == left
    assert chosen(left, before, ROUND_ROBIN, {}, lambda one: False) is None
