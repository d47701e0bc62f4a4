"""Reminders of planned activities: in the morning of the day on which one is due, and the next morning if it is not done.

What sales says of an activity is kept with the version it had then, so that its events may come in any order. The morning comes
by a job; what it finds done, moved or given to another it leaves alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from typing import Any
from uuid import UUID, uuid5
from zoneinfo import ZoneInfo

from sqlalchemy import text

from chassis.database import Database, Transaction
from chassis.principal import NOBODY
from notifications.inbox import DUE
from notifications.locale import locale_of
from notifications.notification import News, tell

REMINDER = "reminder"
"""The kind of the job. Its key is the activity."""
MORNING = time(hour=8)
_CAUSES = UUID("5b6d3d3e-5d0a-4f3c-9b43-0c8f6b6a8f4e")
"""Under which the causes of reminders are named."""


@dataclass(frozen=True, slots=True)
class Planned:
    """An activity as sales tells it. `waiting` until it is done, cancelled or deleted."""

    id: UUID
    version: int
    person_id: UUID
    subject: str
    due_time: datetime
    waiting: bool
    about_ids: tuple[UUID, ...] = ()
    """With whom it is: by these a person's name is found in the subject when the person is erased."""


_KEEP = text(
    "INSERT INTO reminders AS r"
    " (tenant_id, activity_id, version, person_id, subject, about_ids, due_time, waiting, told_at)"
    " VALUES (:tenant, :id, :version, :person, :subject, :about, :due, :waiting, :now)"
    " ON CONFLICT (tenant_id, activity_id) DO UPDATE SET version = excluded.version, person_id = excluded.person_id,"
    " subject = excluded.subject, about_ids = excluded.about_ids, due_time = excluded.due_time,"
    " waiting = excluded.waiting, told_at = excluded.told_at"
    " WHERE r.version < excluded.version RETURNING activity_id"
)
_FIND = text(
    "SELECT person_id, subject, due_time FROM reminders WHERE activity_id = :id AND waiting FOR UPDATE"
)


def mornings(due: datetime, zone: str) -> tuple[datetime, datetime]:
    """When somebody in that time zone is reminded: at eight on the day, or at the time itself if that is earlier, and at eight on
    the next."""
    place = ZoneInfo(zone)
    day = due.astimezone(place).date()
    first = datetime.combine(day, MORNING, place).astimezone(UTC)
    second = datetime.combine(day + timedelta(days=1), MORNING, place).astimezone(UTC)
    return min(first, due), second


async def hear(tx: Transaction, planned: Planned, said_at: datetime) -> None:
    """Keeps what was said of an activity at that time, unless something newer has been heard. Nobody is reminded of what was
    overdue already when it was said: it was put in late by somebody who knew, or came by thousands from another system."""
    row = {
        "tenant": tx.who.tenant_id, "id": planned.id, "version": planned.version, "person": planned.person_id,
        "subject": planned.subject, "about": list(planned.about_ids),
        "due": planned.due_time, "waiting": planned.waiting, "now": tx.now,
    }  # fmt: skip
    if (await tx.session.execute(_KEEP, row)).first() is None or not planned.waiting:
        return
    first, second = mornings(planned.due_time, (await locale_of(tx, planned.person_id)).time_zone)
    if said_at >= second:
        return
    await tx.enqueue(REMINDER, {"activity": str(planned.id)}, due_at=max(first, tx.now), key=str(planned.id))


async def remind(payload: Mapping[str, Any], call: Any) -> None:
    """The job. `call` is that of the chassis' jobs; nobody in particular reminds."""
    database: Database = call.database
    id = UUID(payload["activity"])
    async with database.transaction(replace(call.who, person_id=NOBODY, name=""), origin="job") as tx:
        found = (await tx.session.execute(_FIND, {"id": id})).one_or_none()
        if found is None:
            return
        person = UUID(str(found.person_id))
        first, second = mornings(found.due_time, (await locale_of(tx, person)).time_zone)
        if tx.now < first:  # it was moved since
            await tx.enqueue(REMINDER, dict(payload), due_at=first, key=str(id))
            return
        late = tx.now >= second
        cause = uuid5(_CAUSES, f"{id} {found.due_time.astimezone(UTC).isoformat()} {late}")
        wording = "overdue" if late else "due"
        await tell(tx, cause, person, News(DUE, wording, "activity", id, found.subject, found.due_time))
        if not late:
            await tx.enqueue(REMINDER, dict(payload), due_at=second, key=str(id))
