"""Times in filters that are meant from where the one who asks stands: `lastContactTime < -90d`, `createTime = month-1m`.

- `today`, `week` (from Monday), `month`, `quarter` and `year` are the present ones; `now` is this moment.
- Behind each may stand how far to go: `today+7d`, `week-1w`, `month-1m`, `quarter-1q`, `year-1y`, `now-6h`. Days are moved
  by d, w, m, q and y, the others by their own unit and larger ones that are whole multiples of it, now by h and all that
  moves days.
- Without a word in front, hours are from now and all else from today: `-6h`, `-90d`, `+2w`, `-3m`.

But for `now` each is a stretch of whole days, where the one who asks lives: `=` means within it, `<` before it begins, `<=`
before it is over, `>=` from its beginning and `>` after it. A month that is too short for a day has its last one instead.

What is meant is settled anew with each request, so that a saved filter never goes stale.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from chassis.filters import And, Comparison, Literal, Node, Not, Op, Or, invalid
from chassis.months import months_later

HOME = "Asia/Shanghai"
"""Where they live who have not said it."""
_MOMENT = re.compile(r"(now|today|week|month|quarter|year)?(?:([+-]\d{1,5})([hdwmqy]))?")
_MOVES = {
    "now": "hdwmqy", "today": "dwmqy", "week": "w", "month": "mqy", "quarter": "qy", "year": "y"
}  # fmt: skip
_MONTHS = {"m": 1, "q": 3, "y": 12}
_DAYS = {"d": 1, "w": 7}


@dataclass(frozen=True, slots=True)
class Clock:
    """What time it is for somebody, and where."""

    now: datetime
    zone: ZoneInfo

    @property
    def today(self) -> date:
        """The day of the calendar there."""
        return self.now.astimezone(self.zone).date()

    def begin(self, day: date) -> datetime:
        """When that day begins there."""
        return datetime.combine(day, datetime.min.time(), self.zone).astimezone(UTC)


def clock_in(time_zone: str) -> Clock:
    """This moment, in the time zone of that name."""
    return Clock(datetime.now(UTC), _zone(time_zone or HOME))


@lru_cache(maxsize=512)
def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo(HOME)


@dataclass(frozen=True, slots=True)
class Moment:
    """What stands in the filter, taken apart: `by` times `unit` from the word."""

    word: str
    by: int = 0
    unit: str = ""

    def days(self, today: date) -> tuple[date, date]:
        """The first day, and the first day behind. Raises OverflowError or ValueError beyond the calendar."""
        months = {"month": 1, "quarter": 3, "year": 12}.get(self.word, 0)
        first = _first(self.word, today)
        if self.unit in _MONTHS:
            first = _moved(first, self.by * _MONTHS[self.unit])
        elif self.unit:
            first += timedelta(days=self.by * _DAYS[self.unit])
        if months:
            return first, _moved(first, months)
        return first, first + timedelta(days=7 if self.word == "week" else 1)

    def instant(self, clock: Clock) -> datetime:
        """The one instant that `now` and what moves it stand for. Raises OverflowError or ValueError beyond the calendar."""
        if self.unit in ("", "h"):
            return clock.now + timedelta(hours=self.by)
        there = clock.now.astimezone(clock.zone)
        day, _ = Moment("today", self.by, self.unit).days(there.date())
        return datetime.combine(day, there.time(), clock.zone).astimezone(UTC)


def _first(word: str, today: date) -> date:
    match word:
        case "week":
            return today - timedelta(days=today.weekday())
        case "month":
            return today.replace(day=1)
        case "quarter":
            return today.replace(month=(today.month - 1) // 3 * 3 + 1, day=1)
        case "year":
            return today.replace(month=1, day=1)
        case _:
            return today


def _moved(day: date, months: int) -> date:
    later = months_later(day, months)
    if later.year > 9998:  # the day behind must be one, too
        raise OverflowError(later)
    return later


def moment(literal: Literal) -> Moment | None:
    """What a bare value means as a moment; None when it is none."""
    found = None if literal.quoted else _MOMENT.fullmatch(literal.text)
    if found is None or not literal.text:
        return None
    word, by, unit = found[1], int(found[2] or 0), found[3] or ""
    word = word or ("now" if unit == "h" else "today")
    return Moment(word, by, unit) if unit in _MOVES[word] else None


def names_moments(text: str) -> bool:
    """Whether a filter may name one: False is certain."""
    return _MAYBE.search(text) is not None


_MAYBE = re.compile(r"[=<>:]\s*(?:now|today|week|month|quarter|year|[+-]\d{1,5}[hdwmqy])")


def settled(node: Node, is_time: Callable[[str], bool | None], clock: Clock) -> Node:
    """The filter with what is meant in place of the moments. `is_time` says of a field whether it holds times (True), days
    (False) or neither (None), where such words are texts like others.

    Raises Invalid naming "filter" for what lies beyond the calendar."""
    match node:
        case Not():
            return Not(settled(node.part, is_time, clock))
        case And():
            return And(tuple(settled(part, is_time, clock) for part in node.parts))
        case Or():
            return Or(tuple(settled(part, is_time, clock) for part in node.parts))
        case Comparison():
            meant, times = moment(node.value), is_time(node.field)
            if meant is None or times is None:
                return node
            try:
                return _settled(node, meant, clock, times=times)
            except (OverflowError, ValueError):
                raise invalid(node.at, f"'{node.value.text[:60]}' lies beyond the calendar") from None


def _settled(part: Comparison, meant: Moment, clock: Clock, *, times: bool) -> Node:
    if meant.word == "now":
        at = meant.instant(clock)
        text = at.isoformat() if times else at.astimezone(clock.zone).date().isoformat()
        return replace(part, value=Literal(text, quoted=True))
    first, behind = meant.days(clock.today)

    def compared(op: Op, day: date) -> Comparison:
        text = clock.begin(day).isoformat() if times else day.isoformat()
        return replace(part, op=op, value=Literal(text, quoted=True))

    match part.op:
        case Op.LT | Op.GE:
            return compared(part.op, first)
        case Op.LE:
            return compared(Op.LT, behind)
        case Op.GT:
            return compared(Op.GE, behind)
        case Op.NE:
            return Not(And((compared(Op.GE, first), compared(Op.LT, behind))))
        case _:
            return And((compared(Op.GE, first), compared(Op.LT, behind)))
