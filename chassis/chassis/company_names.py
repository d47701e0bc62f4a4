"""Names of companies as they are told apart: without the region before them and the legal form behind them.

北京市用友软件股份有限公司, 用友软件（北京）有限公司 and 用友软件 have the same core. What is set aside never leaves less than two
characters, so that a company that is called 北京 keeps its name.
"""

import re
from collections.abc import Callable

from rapidfuzz import fuzz

from chassis.search import normalised

_LEAST = 2
_WIDE = "\u2e80-\ud7ff\uf900-\ufaff\U00020000-\U0003ffff"
_TOKENS = re.compile(rf"[{_WIDE}]+|[^\W{_WIDE}_]+")
_IS_WIDE = re.compile(f"[{_WIDE}]")
_BRACKETED = re.compile(r"[(\[【〔]([^()\[\]【】〔〕]*)[)\]】〕]")
# The forms of the Company Law of the People's Republic of China and what people write for them, the longest first.
_FORMS = (
    "股份有限责任公司", "有限责任公司", "股份有限公司", "责任有限公司", "集团有限公司", "控股有限公司", "有限合伙企业",
    "股份合作公司", "有限公司", "股份公司", "集团公司", "控股公司", "有限合伙", "总公司", "公司", "集团", "股份",
)  # fmt: skip
_FORMS_LATIN = frozenset((
    "co", "company", "corp", "corporation", "ltd", "limited", "inc", "incorporated", "llc", "llp", "plc", "gmbh", "ag", "kg",
    "sa", "sas", "sarl", "srl", "spa", "bv", "nv", "ab", "oy", "as", "kk", "pte", "pty", "pvt", "group", "holding", "holdings",
))  # fmt: skip
# Provinces, municipalities, autonomous and special administrative regions, and the cities that most often stand before names.
_REGIONS = (
    "中国", "北京", "天津", "上海", "重庆", "河北", "山西", "辽宁", "吉林", "黑龙江", "江苏", "浙江", "安徽", "福建", "江西",
    "山东", "河南", "湖北", "湖南", "广东", "海南", "四川", "贵州", "云南", "陕西", "甘肃", "青海", "台湾", "内蒙古", "广西",
    "西藏", "宁夏", "新疆", "香港", "澳门", "石家庄", "太原", "沈阳", "大连", "长春", "哈尔滨", "南京", "无锡", "苏州", "常州",
    "南通", "徐州", "扬州", "杭州", "宁波", "温州", "嘉兴", "绍兴", "金华", "台州", "合肥", "福州", "厦门", "泉州", "南昌",
    "济南", "青岛", "烟台", "潍坊", "郑州", "洛阳", "武汉", "长沙", "广州", "深圳", "珠海", "佛山", "东莞", "中山", "惠州",
    "汕头", "南宁", "桂林", "海口", "三亚", "成都", "绵阳", "贵阳", "昆明", "拉萨", "西安", "兰州", "西宁", "银川", "乌鲁木齐",
    "呼和浩特",
)  # fmt: skip
_KINDS = "(?:特别行政区|维吾尔自治区|壮族自治区|回族自治区|自治区|自治州|省|市)?"
# A named region, or two to four characters that say themselves what they are; 超市 is a shop and no city.
_REGION = re.compile(
    rf"(?:{'|'.join(sorted(_REGIONS, key=len, reverse=True))}){_KINDS}"
    rf"|[{_WIDE}]{{2,4}}?(?:(?<![超城都夜股门集上菜早])市|省|(?<![小社园景校特地片战库])区|县)"
)


def core_name(name: str) -> str:
    """The core of a company's name, for comparing. Words in Latin letters stand apart, others do not."""
    text = normalised(name)
    # Who is called by regions in brackets and nothing else is called by them: two without a core would be alike.
    tokens = _tokens(_BRACKETED.sub(_bracketed, text)) or _tokens(text)
    while True:
        fewer = _without_form(_without_region(tokens))
        if fewer == tokens:
            return _joined(tokens)
        tokens = fewer


def _tokens(text: str) -> list[str]:
    out: list[str] = []
    for token in _TOKENS.findall(text):
        # What stands between wide characters sets nothing apart: 用友・软件 is 用友软件.
        if out and _IS_WIDE.match(token) and _IS_WIDE.match(out[-1]):
            out[-1] += token
        else:
            out.append(token)
    return out


def _bracketed(found: re.Match[str]) -> str:
    return " " if _REGION.fullmatch(found.group(1).strip()) else f" {found.group(1)} "


def _joined(tokens: list[str]) -> str:
    out = ""
    for token in tokens:
        apart = out and not _IS_WIDE.match(token) and not _IS_WIDE.match(out[-1])
        out += f" {token}" if apart else token
    return out


def _long_enough(tokens: list[str]) -> bool:
    return sum(map(len, tokens)) >= _LEAST


def _without_region(tokens: list[str]) -> list[str]:
    if not tokens:
        return tokens
    found = _REGION.match(tokens[0])
    if found is None:
        return tokens
    rest = tokens[0][found.end() :]
    fewer = [rest, *tokens[1:]] if rest else tokens[1:]
    return fewer if _long_enough(_without_form(fewer)) and _names_something(fewer) else tokens


def _names_something(tokens: list[str]) -> bool:
    """Whether something is left that is no mere form."""
    return "".join(tokens) not in _FORMS and not all(token in _FORMS_LATIN for token in tokens)


def _without_form(tokens: list[str]) -> list[str]:
    if not tokens:
        return tokens
    last = tokens[-1]
    if last in _FORMS_LATIN:
        return tokens[:-1] if _long_enough(tokens[:-1]) else tokens
    for form in _FORMS:
        if last.endswith(form) and not last.endswith(("分公司", "子公司")):
            rest = last.removesuffix(form)
            fewer = [*tokens[:-1], rest] if rest else tokens[:-1]
            return fewer if _long_enough(fewer) else tokens
    return tokens


def likeness(one: str, other: str) -> float:
    """How alike two cores are, 0 to 100: the share of characters that need not be changed (rapidfuzz's ratio)."""
    return fuzz.ratio(one.replace(" ", ""), other.replace(" ", ""))


def fragments(core: str) -> list[list[str]]:
    """Sets of parts of a core, such that a name with one slip of the pen holds all parts of at least one set.

    Of a core in wide characters, one character at a time is left out, or of long ones a third. Of words in Latin letters, one
    word at a time, or of a single one a third. Parts too short to be looked for are left out, and so are sets that would find
    half of all.
    """
    if " " in core:
        words = core.split(" ")
        sets = [words[:i] + words[i + 1 :] for i in range(len(words))] if len(words) <= _FEW_WORDS else []
        return [kept for kept in sets if sum(map(len, kept)) >= _TELLING]
    wide = bool(_IS_WIDE.search(core))
    step = 1 if wide and len(core) <= _SHORT else max(1, -(-len(core) // 3))
    cut = [(core[:i], core[i + step :]) for i in range(0, len(core), step)]
    usable: Callable[[str], bool] = (lambda part: bool(part)) if wide else (lambda part: len(part) >= 3)
    least = 2 if wide else _TELLING
    sets = [[part for part in parts if usable(part)] for parts in cut]
    return [kept for kept in sets if kept and max(map(len, kept)) >= least and sum(map(len, kept)) >= least]


_SHORT = 8
_FEW_WORDS = 5
_TELLING = 4
