"""A list of 5,000 leads as a trade fair leaves it: who is on it twice, and in how many ways the same is written.

What must become of each row is known by how it was made, not by reading it the way the suite does.
"""

import io
import random
from dataclasses import dataclass

import xlsxwriter

HEAD = [
    "姓名",
    "公司",
    "职位",
    "手机号码",
    "电子邮箱",
    "地区",
    "线索来源",
    "预计金额",
    "接待日期",
    "负责人",
    "备注",
]
_PHONES = (
    "{0}{1}{2}", "{0} {1} {2}", "{0}-{1}-{2}", "+86 {0} {1} {2}", "+86{0}{1}{2}", "0086-{0}-{1}{2}", "（{0}）{1}{2}",
    "{0}.{1}.{2}", "(+86) {0}-{1}-{2}", "WIDE",
)  # fmt: skip
_DAYS = ("2026-{0:02}-{1:02}", "2026/{0}/{1}", "2026年{0}月{1}日", "{1} {2} 2026", "{1:02}.{0:02}.2026")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_SURNAMES = "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗"
_GIVEN = "伟芳娜敏静丽强磊军洋勇艳杰娟涛明超秀霞平"
_LATIN = ("Anna", "Bruno", "Chen", "Dolores", "Emil", "Zhang")
_PLACES = ("北京", "上海", "深圳", "广州", "杭州", "成都")
_FIRMS = ("用友软件", "华信电子", "鼎盛机械", "恒泰医药", "远航物流", "金海纺织")
_KINDS = ("有限公司", "股份有限公司", "（集团）有限公司", "科技有限公司")
SOURCES = {
    "展会": "EXHIBITION", "Exhibition": "EXHIBITION", "网站": "WEB_FORM", "电话": "PHONE", "百度": "SEARCH",
    "朋友圈": "SOCIAL_MEDIA", "老客户介绍": "REFERRAL", "": "",
}  # fmt: skip
"""Words of the column, and what they mean; two of them no CRM knows by itself."""
UNKNOWN_SOURCES = ("朋友圈", "老客户介绍")


@dataclass(frozen=True)
class Row:
    """A row, and what must become of it."""

    cells: list[str]
    person: int
    """Who it is; two rows of one person are one lead."""
    fate: str
    """created, skipped or refused."""
    day: str
    """The day that is written in it, as 2026-05-31."""


def phone(person: int) -> str:
    """The number of a person, in E.164."""
    return f"+86139{person:08d}"


def email(person: int) -> str:
    """The e-mail address of a person, in lower case."""
    return f"guest{person}@fair.example"


def name(person: int) -> str:
    """What a person is called; one in eleven has a Latin name, and a number, as two of one name were told apart."""
    if person % 11 == 5:
        return f"{_LATIN[person // 11 % 6]} {_LATIN[person // 66 % 6]} {person}"
    given = _GIVEN[person // 20 % 20] + (_GIVEN[person // 400 % 20] if person % 3 else "")
    return _SURNAMES[person % 20] + given


def firm(person: int) -> str:
    """Where a person works, with the brackets that registers write."""
    named = f"{_PLACES[person % 6]}{_FIRMS[person // 6 % 6]}"
    return (named if person % 7 else f"{named} A{person % 90}-Lab") + _KINDS[person // 36 % 4]


def rows(count: int, sellers: list[str], seed: int) -> list[Row]:
    """So many rows: most of them new people, one in ten somebody who is above already, one in fifty not fit to be a lead."""
    chance = random.Random(seed)
    out: list[Row] = []
    there: list[int] = []
    for number in range(count):
        lot = chance.random()
        month, day = chance.randint(1, 12), chance.randint(1, 28)
        person, fate = number, "created"
        if lot < 0.10 and there:
            person, fate = chance.choice(there), "skipped"
        elif lot < 0.12:
            fate = "refused"
        else:
            there.append(number)
        cells = _cells(person, chance, sellers, again=fate == "skipped")
        cells[HEAD.index("接待日期")] = chance.choice(_DAYS).format(month, day, _MONTHS[month - 1])
        if fate == "refused":
            _spoil(cells, chance)
        out.append(Row(cells, person, fate, f"2026-{month:02}-{day:02}"))
    return out


def _cells(person: int, chance: random.Random, sellers: list[str], *, again: bool = False) -> list[str]:
    mail = chance.choice((str.lower, str.upper, str.title))(email(person))
    if again and chance.random() < 0.5:  # by one of the two they are known
        mail, number = "", _spelled(person, chance)
    else:
        number = "" if again else _spelled(person, chance)
    amount = chance.choice(("", "12000", "1.2万", "￥12,000.00", "USD 1200", "12 000"))
    return [
        _noisy(name(person), chance), _noisy(firm(person), chance), chance.choice(("经理", "采购", "", "总监")), number, mail,
        chance.choice(("华东", "华北", "华南", "")), chance.choice(list(SOURCES)), amount, "", chance.choice((*sellers, "")), "",
    ]  # fmt: skip


def _spelled(person: int, chance: random.Random) -> str:
    digits = phone(person).removeprefix("+86")
    form = chance.choice(_PHONES)
    if form == "WIDE":
        return _wide(digits)
    return form.format(digits[:3], digits[3:7], digits[7:])


def _wide(text: str) -> str:
    """Latin letters, digits and the blanks and strokes between them as wide as Chinese characters."""
    return "".join(
        "\u3000" if c == " " else chr(ord(c) + 0xFEE0) if c.isascii() and (c.isalnum() or c == "-") else c
        for c in text
    )


def _noisy(text: str, chance: random.Random) -> str:
    """As people type and paste: blanks of several kinds around it, parentheses of either width, an invisible character, Latin
    letters and digits of full width."""
    match chance.randrange(8):
        case 0:
            return f"  {text}\u3000"
        case 1:
            return f"{text}\u200b"
        case 2:
            return text.replace("（", "(").replace("）", ")")
        case 3:
            return f"\u00a0{text}\t"
        case 4 | 5:
            return _wide(text)
        case _:
            return text


def _spoil(cells: list[str], chance: random.Random) -> None:
    match chance.randrange(4):
        case 0:
            cells[0] = cells[1] = " "
        case 1:
            cells[3] = "见名片"
        case 2:
            cells[4] = "无"
        case _:
            cells[7] = "面议"


def as_workbook(found: list[Row]) -> bytes:
    """An XLSX with a title above the head."""
    out = io.BytesIO()
    with xlsxwriter.Workbook(out) as book:
        sheet = book.add_worksheet("展会名单")
        sheet.write_string(0, 0, "2026 秋季展会名单")
        for place, cells in enumerate([HEAD, *(row.cells for row in found)]):
            for column, cell in enumerate(cells):
                if cell:
                    sheet.write_string(place + 2, column, cell)
    return out.getvalue()


def as_text(found: list[Row], encoding: str) -> bytes:
    """A CSV in that encoding, as a colleague's spreadsheet program saves it; what it cannot hold is gone."""
    lines = [";".join(cells) for cells in (HEAD, *(row.cells for row in found))]
    return "\r\n".join(lines).encode(encoding, errors="ignore")
