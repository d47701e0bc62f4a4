"""The filter language: what is understood, what is refused and how that is said."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from chassis.errors import Invalid
from chassis.filters import And, Comparison, Literal, Node, Not, Op, Or, parse, written

_names = st.from_regex(r"[a-z][A-Za-z0-9]{0,8}(\.[a-z][a-z0-9]{0,4})?", fullmatch=True)
_literals = st.one_of(
    st.builds(Literal, st.text(st.characters(exclude_characters="\0"), max_size=20), st.just(True)),
    st.builds(Literal, st.from_regex(r"[A-Za-z0-9_.*:+\-]{1,12}", fullmatch=True), st.just(False)).filter(
        lambda value: value.text not in ("AND", "OR", "NOT")
    ),
)
_comparisons = st.builds(Comparison, _names, st.sampled_from(Op), _literals)
trees: SearchStrategy[Node] = st.recursive(
    _comparisons,
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(And, st.lists(inner, min_size=2, max_size=3).map(tuple)),
        st.builds(Or, st.lists(inner, min_size=2, max_size=3).map(tuple)),
    ),
    max_leaves=8,
)


@given(trees)
def test_what_is_written_is_read_back(tree: Node) -> None:
    assert parse(written(tree)) == tree


@given(st.one_of(st.text(max_size=80), st.text("aAND ORNOT()=<>!:\"'\\-*.5,", max_size=80)))
def test_any_text_is_read_or_refused_with_a_place(text: str) -> None:
    try:
        tree = parse(text)
    except Invalid as refused:
        assert refused.violations[0].field == "filter"
        assert refused.reason == "FILTER_INVALID"
        assert "at character " in refused.message
    else:
        assert tree is None or parse(written(tree)) == tree


def test_or_binds_tighter_than_and() -> None:
    tree = parse("a = 1 AND b = 2 OR c = 3")
    assert isinstance(tree, And)
    assert isinstance(tree.parts[1], Or)


def test_an_empty_filter_is_none() -> None:
    assert parse("") is None
    assert parse("  \n") is None


@pytest.mark.parametrize(
    ("text", "place", "expected"),
    [
        ("status", 7, "one of = != < <= > >= :"),
        ("status =", 9, "a value, found the end"),
        ("status = NEW OR", 16, "a field, NOT or '('"),
        ("(status = NEW", 14, "AND, OR or ')'"),
        ("status = NEW score = 5", 14, "AND, OR or the end, found 'score = 5'"),
        ('name = "Li', 8, 'has no closing "'),
        ('name = "a\\n"', 11, "after a backslash"),
        ("status == NEW", 9, "a value"),
        ("AND a = 1", 1, "a field, NOT or '('"),
        ("a = 1; DROP TABLE leads", 8, "AND, OR or the end"),
    ],
)
def test_a_mistake_is_named_with_its_place(text: str, place: int, expected: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse(text)
    assert f"at character {place}: " in refused.value.message
    assert expected in refused.value.message


@pytest.mark.parametrize(
    "text",
    [
        "(" * 5000 + "a = 1",
        "(" * 30 + "a = 1" + ")" * 30,
        "NOT " * 40 + "a = 1",
        "-" * 40 + "a = 1",
        " AND ".join(["a = 1"] * 51),
        "a = " + "x" * 4000,
    ],
)
def test_hostile_filters_are_refused(text: str) -> None:
    with pytest.raises(Invalid):
        parse(text)
