"""Whose turn it is: a plain function, tried with whatever list, absences and loads there may be."""

from collections import Counter
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from leads.assignment import chosen, turns
from leads.words import LEAST_LOADED, ROUND_ROBIN

PEOPLE = [UUID(int=number) for number in range(1, 9)]
lists = st.integers(1, 8).map(lambda count: PEOPLE[:count])


def nobody_else(person: UUID) -> bool:
    return False


@given(lists, st.lists(st.sets(st.sampled_from(PEOPLE)), max_size=60))
def test_those_who_are_always_there_differ_by_one_at_most(people: list[UUID], away: list[set[UUID]]) -> None:
    """Whoever comes and goes beside them, between any two moments."""
    last, place = None, -1
    given_to: list[UUID] = []
    for absent in away:
        person = chosen(people, last, place, ROUND_ROBIN, {}, lambda one, absent=absent: one not in absent)
        assert (person is None) == (set(people) <= absent)
        if person is not None:
            assert person not in absent
            last, place = person, people.index(person)
            given_to.append(person)
    always = [one for one in people if not any(one in absent for absent in away)]
    for begin in range(len(given_to)):
        counts = Counter(given_to[begin:])
        shares = [counts[one] for one in always]
        assert not shares or max(shares) - min(shares) <= 1


@given(lists, st.integers(0, 5), st.lists(st.sampled_from(PEOPLE), max_size=60))
def test_nobody_gets_more_than_the_limit(people: list[UUID], limit: int, closed: list[UUID]) -> None:
    """Leads are given until all are full; then somebody closes one."""
    loads: Counter[UUID] = Counter()
    last, place = None, -1
    for done in closed:
        person = chosen(people, last, place, ROUND_ROBIN, loads, lambda one: loads[one] < limit)
        assert (person is None) == all(loads[one] >= limit for one in people)
        if person is not None:
            loads[person] += 1
            last, place = person, people.index(person)
        assert max(loads.values(), default=0) <= limit
        if loads[done]:
            loads[done] -= 1


@given(lists, st.dictionaries(st.sampled_from(PEOPLE), st.integers(0, 9)), st.sampled_from([None, *PEOPLE]))
def test_the_least_loaded_gets_it(people: list[UUID], loads: dict[UUID, int], last: UUID | None) -> None:
    place = people.index(last) if last is not None and last in people else -1
    person = chosen(people, last, place, LEAST_LOADED, loads, lambda one: True)
    assert person is not None
    fewest = min(loads.get(one, 0) for one in people)
    waiting = [one for one in turns(people, last, place) if loads.get(one, 0) == fewest]
    assert person == waiting[0]


@given(lists, st.data())
def test_a_list_that_changes_skips_nobody(people: list[UUID], data: st.DataObject) -> None:
    """Who had the last turn leaves the list: the next in the old order is the next in the new one."""
    place = data.draw(st.integers(0, len(people) - 1))
    last = people[place]
    following = turns(people, last, place)[0]
    shorter = [one for one in people if one != last]
    assert not shorter or turns(shorter, last, place)[0] == following
    assert chosen(people, last, place, ROUND_ROBIN, {}, nobody_else) is None
