"""Which facts a report counts: what the caller's reach covers, narrowed by the request's filters."""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from chassis.errors import Invalid
from chassis.ids import parse_id
from chassis.principal import Act, Principal
from chassis.visibility import visible_text

RIGHT = "reports"


class Period:
    """Days from the first to the last, both included; None is open. Raises Invalid (PERIOD_INVALID) when turned around."""

    def __init__(self, first: date | None, last: date | None) -> None:
        if first is not None and last is not None and last < first:
            raise Invalid("lastDay", "is before firstDay", reason="PERIOD_INVALID")
        self.first = first
        self.last = last

    @property
    def open(self) -> bool:
        """Whether it holds all days."""
        return self.first is None and self.last is None

    def moments(self, zone: str) -> tuple[datetime | None, datetime | None]:
        """The moment it begins and the one by which it is over, in that time zone."""
        after = None if self.last is None or self.last == date.max else self.last + timedelta(days=1)
        return _midnight(self.first, zone), _midnight(after, zone)


def _midnight(day: date | None, zone: str) -> datetime | None:
    if day is None:
        return None
    try:
        return datetime.combine(day, time(), ZoneInfo(zone)).astimezone(UTC)
    except OverflowError:  # at the ends of the calendar: no bound
        return None


class Scope:
    """Conditions over tables of facts that a statement calls `t`, and the values of their parameters."""

    def __init__(self, who: Principal) -> None:
        rule, values = visible_text(who, RIGHT, Act.READ, "owner_id", "team_id", first=1)
        self.reach = f"NOT t.deleted AND {rule}"
        """What the caller may count at all."""
        self.values: list[object] = values

    def value(self, value: object) -> str:
        """A parameter with that value."""
        self.values.append(value)
        return f"${len(self.values)}"

    def same(self, column: str, id: str, field: str) -> str:
        """The condition that the column holds that id; true for an empty one. Raises Invalid naming `field`."""
        return f"t.{column} = {self.value(parse_id(id, field))}" if id else "true"

    def owned(self, owner_id: str, team_id: str) -> str:
        """What of the caller's reach that person and that team own."""
        person = self.same("owner_id", owner_id, "ownerId")
        team = self.same("team_id", team_id, "teamId")
        return f"{self.reach} AND {person} AND {team}"

    def between(self, column: str, first: date | None, last: date | None) -> str:
        """The condition that the day lies between these, both included."""
        return self._bounds(column, first, last, "<=")

    def within(self, column: str, begin: datetime | None, end: datetime | None) -> str:
        """The condition that the moment lies between these, the end not included."""
        return self._bounds(column, begin, end, "<")

    def _bounds(self, column: str, low: object, high: object, below: str) -> str:
        above = "true" if low is None else f"t.{column} >= {self.value(low)}"
        return above if high is None else f"{above} AND t.{column} {below} {self.value(high)}"
