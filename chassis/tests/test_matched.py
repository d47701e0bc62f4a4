"""What a query has hit, as people see it."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from chassis.matched import Match, Texts, matches
from chassis.search import query, terms

RECORD = Texts(
    names={"companyName": ["北京用友软件（集团） 有限公司"]},
    people={"name": ["单小伟"]},
    phones={"phone": ["+8613800001234"], "fax": ["+861062345678"]},
    texts={"email": ["Li.Wei@Acme.com"], "tags": ["ＶＩＰ", "华东"], "number": ["SO-2024-0133"]},
)


@pytest.mark.parametrize(
    ("word", "field", "part"),
    [
        ("用友", "companyName", "用友"),
        ("yongyou", "companyName", "用友"),
        ("jingyong", "companyName", "京用"),
        ("gyong", "companyName", "京用"),
        ("bjyy", "companyName", "北京用友"),
        ("rjjt", "companyName", "软件（集团"),
        ("小伟", "name", "小伟"),
        ("shanxiao", "name", "单小"),
        ("danxiao", "name", "单小"),
        ("13800001234", "phone", "13800001234"),
        ("0000", "phone", "0000"),
        ("01062345678", "fax", "+861062345678"),
        ("acme", "email", "Acme"),
        ("i.wei@a", "email", "i.Wei@A"),
        ("vip", "tags", "ＶＩＰ"),
        ("华东", "tags", "华东"),
        ("20240133", "number", "2024-0133"),
    ],
)
def test_the_part_is_as_it_is_written(word: str, field: str, part: str) -> None:
    (found,) = matches(RECORD, [word])
    assert (found.field, found.part) == (field, part)
    assert part in found.value


def test_each_word_is_told_once_and_nothing_that_is_not_there() -> None:
    assert matches(RECORD, ["用友", "vip", "用友", "nowhere"]) == [
        Match("companyName", "北京用友软件（集团） 有限公司", "用友"), Match("tags", "ＶＩＰ", "ＶＩＰ"),
    ]  # fmt: skip


def test_of_a_long_text_the_surroundings_are_shown() -> None:
    long = Texts(names={"subject": ["x" * 300 + "needle" + "y" * 90]}, people={}, phones={}, texts={})
    (found,) = matches(long, ["needle"])
    assert found.part == "needle" and "needle" in found.value and len(found.value) <= 200


@given(some.text(max_size=40), some.text(max_size=10))
def test_whatever_is_found_by_its_name_is_told_with_a_part_of_it(name: str, text: str) -> None:
    asked = query(text) if len(text.split()) <= 8 else None
    found = terms(names=[name])
    for word in asked.words if asked else ():
        told = matches(Texts(names={"name": [name]}, people={}, phones={}, texts={}), [word])
        assert bool(told) == (bool(name) and word in found.text)
        assert all(one.part and one.part in one.value and one.value in name for one in told)
