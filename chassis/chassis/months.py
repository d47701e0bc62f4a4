"""Months of the calendar."""

import calendar
from datetime import date


def month_of(day: date) -> date:
    """The first day of the day's month."""
    return day.replace(day=1)


def months_later(day: date, months: int) -> date:
    """The same day so many months later, or the last one of a month that is too short for it. The calendar ends in 9999."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    if year > 9999:
        return date.max
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))
