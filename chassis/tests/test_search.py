"""What records are found by: pinyin, the texts of a record, the words of a query."""

from pathlib import Path

import pytest

from chassis.errors import Invalid
from chassis.pinyin import readings
from chassis.search import normalised, query, terms


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("北京用友", "bei jing yong you"),
        ("重庆银行", "chong qing yin hang"),
        ("长沙银行", "chang sha yin hang"),
        ("厦门绿地", "xia men lv di"),
        ("用友ABC公司", "yong you A B C gong si"),
        ("Acme", "A c m e"),
        ("", ""),
    ],
)
def test_names_are_read_as_in_their_phrases(name: str, read: str) -> None:
    assert readings(name) == [read.split()]


def test_surnames_are_read_in_both_ways() -> None:
    assert readings("单伟", person=True) == [["dan", "wei"], ["shan", "wei"]]
    assert readings("单伟") == [["dan", "wei"]]
    assert readings("李伟", person=True) == [["li", "wei"]]


@pytest.mark.parametrize(
    ("written", "compared"),
    [("ＡＢＣ　Ltd ", "abc ltd"), ("\ufeffStraße\t1", "strasse 1"), ("（北京）", "(北京)"), ("a\x00b", "ab")],
)
def test_texts_are_compared_whatever_their_width_and_case(written: str, compared: str) -> None:
    assert normalised(written) == compared


FOUND = terms(
    names=["北京用友网络科技（集团） 有限公司", "SO-2024-0133"],
    people=["单 小伟"],
    phones=["+8613800001234", "+861062345678", "+442079460958", "call me 99"],
    texts=["Li.Wei@Acme.com"],
)


@pytest.mark.parametrize(
    "text",
    [
        "用友",
        "网络科技",
        "京用",
        "友",
        "beijingyongyou",
        "yongyouwang",
        "bjyy",
        "yy",
        "BJYYWL",
        "bei",
        "技",
        "集团",
        "单小伟",
        "小伟",
        "shanxiaowei",
        "sxw",
        "danxiao",
        "138 0000 1234",
        "13800001234",
        "1380000",
        "+86 138",
        "0086138-0000-1234",
        "010-6234",
        "01062345678",
        "6234",
        "020 7946",
        "442079460958",
        "LI.WEI@ACME",
        "wei@",
        "acme.com",
        "用友 1234",
        "so-2024-01",
        "20240133",
        "ＢＪＹＹ",
        "99",
    ],
)
def test_any_part_is_found(text: str) -> None:
    asked = query(text)
    assert asked is not None
    assert all(word in FOUND.text for word in asked.words)
    assert set(asked.grams) <= set(FOUND.grams)


@pytest.mark.parametrize("text", ["用友软件", "shanghai", "友用", "13900001234", "acme.cn", "用友 上海"])
def test_what_is_not_there_is_not_found(text: str) -> None:
    asked = query(text)
    assert asked is not None
    assert not all(word in FOUND.text for word in asked.words)


def test_a_query_has_at_most_eight_words() -> None:
    assert query("  ") is None
    with pytest.raises(Invalid) as refused:
        query(" ".join("abcdefghi"))
    assert refused.value.violations[0].field == "query"


def test_long_words_ask_for_few_grams() -> None:
    asked = query("x" * 10 + "abcdefghijklmnopqrstuvwxyz" * 7)
    assert asked is not None
    assert len(asked.grams) <= 24
    all_have = query("有限公司")
    assert all_have is not None
    assert len(all_have.grams) == 1


def test_the_table_is_what_pypinyin_says() -> None:
    from pypinyin import lazy_pinyin

    names = (Path(__file__).parent / "data" / "company_names.txt").read_text().splitlines()
    ours = ["".join(readings(name)[0]).lower() for name in names]

    def kept(rest: str) -> list[str]:
        return [c for c in rest if c.isalnum()]

    def plain(name: str) -> str:
        return "".join(lazy_pinyin(name, errors=kept)).lower()  # pyright: ignore[reportArgumentType]

    assert ours == [plain(name) for name in names]
