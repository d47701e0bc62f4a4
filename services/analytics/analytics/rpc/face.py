"""ReportService, and what all its reports have in common."""

from collections.abc import Iterable
from datetime import date, datetime
from typing import Any, Protocol

from google.protobuf.message import Message
from google.type import money_pb2

from analytics.figures import Amounts
from analytics.scope import Period
from chassis.mapping import to_date, to_money, to_timestamp
from chassis.rpc import Call, Face

face = Face("kehu.analytics.v1.ReportService")

_NO_ZONE = "UTC"
"""Counts until the tenant's own time zone is known."""


class _Days(Protocol):
    def HasField(self, field_name: Any) -> bool: ...

    @property
    def first_day(self) -> Message: ...

    @property
    def last_day(self) -> Message: ...


def period_of(request: _Days) -> Period:
    """The days a request asks for. Raises Invalid naming the field."""
    first = to_date(request.first_day, "firstDay") if request.HasField("first_day") else None
    last = to_date(request.last_day, "lastDay") if request.HasField("last_day") else None
    return Period(first, last)


async def moments_of(call: Call, request: _Days, time_zone: str) -> tuple[datetime | None, datetime | None]:
    """The moments between which a request's days lie, in that time zone or else the tenant's."""
    period = period_of(request)
    if period.open:
        return None, None
    if not time_zone:
        rows = await call.database.read(call.who, "SELECT time_zone FROM tenants")
        time_zone = rows[0]["time_zone"] if rows and rows[0]["time_zone"] else _NO_ZONE
    return period.moments(time_zone)


async def put_as_of(answer: Any, call: Call, *domains: str) -> None:
    """Says in `as_of_time` how far the facts from those domains are. To be asked before the facts: those may be newer."""
    rows = await call.database.read(
        call.who, "SELECT max(last_event_at) AS at FROM freshness WHERE domain = ANY($1)", list(domains)
    )
    if rows[0]["at"] is not None:
        to_timestamp(answer.as_of_time, rows[0]["at"])


def put_money(target: Any, amounts: Amounts) -> None:
    """Fills a repeated google.type.Money."""
    target.extend(_monies(amounts))


def _monies(amounts: Amounts) -> Iterable[money_pb2.Money]:
    for money in amounts.sums:
        message = money_pb2.Money()
        to_money(message, money)
        yield message


def put_day(target: Any, day: date) -> None:
    """Fills a google.type.Date."""
    target.year, target.month, target.day = day.year, day.month, day.day
