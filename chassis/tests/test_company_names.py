"""Cores of names: what is set aside, and that setting aside comes to an end."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chassis.company_names import core_name, fragments, likeness

_PIECES = st.sampled_from([
    "北京", "北京市", "上海", "广东省", "深圳市", "昆山市", "中国", "（北京）", "(上海)", "用友", "软件", "华润", "超市",
    "集团", "有限公司", "股份有限公司", "有限责任公司", "公司", "分公司", "A", "Acme", " ", "Co.", "Ltd", "inc", "GmbH", "1",
    "・", "\u3000",
])  # fmt: skip
NAMES = st.one_of(st.text(max_size=30), st.lists(_PIECES, max_size=8).map("".join))


@pytest.mark.parametrize(
    ("name", "core"),
    [
        ("北京市用友软件股份有限公司", "用友软件"),
        ("用友软件（北京）有限公司", "用友软件"),
        ("用友软件", "用友软件"),
        ("ＡＢＣ　Trading Co., Ltd.", "abc trading"),
        ("Acme GmbH", "acme"),
        ("昆山市佳能电子有限责任公司", "佳能电子"),
        ("广东省深圳市华为技术有限公司", "华为技术"),
        ("联华超市股份有限公司", "联华超市"),
        ("北京有限公司", "北京"),
        ("中国公司", "中国"),
        ("用友软件有限公司上海分公司", "用友软件有限公司上海分公司"),
        ("Limited", "limited"),
        ("公司", "公司"),
        ("（北京）", "北京"),
        ("(上海)（北京）", "北京"),
        ("", ""),
    ],
)
def test_core(name: str, core: str) -> None:
    assert core_name(name) == core


@settings(max_examples=500)
@given(NAMES)
def test_a_core_is_its_own_core(name: str) -> None:
    core = core_name(name)
    assert core_name(core) == core


@settings(max_examples=300)
@given(NAMES)
def test_case_width_and_space_around_make_no_difference(name: str) -> None:
    wide = "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in name)
    assert core_name(f"  {wide}\u3000") == core_name(name)


@settings(max_examples=300)
@given(NAMES)
def test_nothing_is_lost_but_what_is_set_aside(name: str) -> None:
    core = core_name(name)
    assert core or not any(c.isalnum() for c in name), name
    assert len(core) <= 18 * max(len(name), 1)


@settings(max_examples=300)
@given(st.text(alphabet="用友软件华为技术科达", min_size=4, max_size=8), st.data())
def test_whatever_one_slip_makes_holds_the_parts_of_some_set(core: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(core) - 1))
    slip = data.draw(st.sampled_from(["", "错"]))
    other = core[:at] + slip + core[at + 1 :]
    assert any(all(part in other for part in parts) for parts in fragments(core))
    assert likeness(core, other) < 100
