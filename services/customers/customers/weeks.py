"""Weeks as people count them: from Monday (ISO 8601) to Sunday, in a time zone."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo


def week_of(now: datetime, time_zone: str, offset: int = 0) -> tuple[datetime, datetime]:
    """When the week begins that is so many after the present one (before it, when negative), and when the next one does, in UTC.
    It has an hour more or less where clocks are changed. Raises ZoneInfoNotFoundError."""
    zone = ZoneInfo(time_zone)
    today = now.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    monday = today - timedelta(days=today.weekday()) + timedelta(weeks=offset)
    begin, end = (day.replace(tzinfo=zone) for day in (monday, monday + timedelta(weeks=1)))
    return begin.astimezone(UTC), end.astimezone(UTC)
