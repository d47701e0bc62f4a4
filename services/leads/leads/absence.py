"""Absences: when somebody is given no leads by rules."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from chassis.database import Transaction
from chassis.errors import Invalid
from chassis.events.event import Event
from chassis.owners import Owner
from chassis.records import EPOCH, Owned


class Absence(Owned, table=True):
    """Who is away (its owner), from when until when."""

    __tablename__ = "absences"  # pyright: ignore[reportAssignmentType]
    record_type: ClassVar[str] = "absence"

    from_time: datetime = EPOCH
    until_time: datetime = EPOCH
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class AbsenceEvent(Event):
    """What every event says of an absence."""

    absence_id: UUID
    owner_id: UUID | None
    team_id: UUID | None
    from_time: datetime
    until_time: datetime


class AbsenceCreated(AbsenceEvent):
    pass


class AbsenceDeleted(AbsenceEvent):
    pass


def _told(absence: Absence) -> dict[str, Any]:
    return {
        "absence_id": absence.id, "owner_id": absence.owner_id, "team_id": absence.team_id, "from_time": absence.from_time,
        "until_time": absence.until_time,
    }  # fmt: skip


def note_absence(tx: Transaction, person: Owner, start: datetime, end: datetime, note: str) -> Absence:
    """Somebody will be away. Raises Invalid when it ends before it begins."""
    if end <= start:
        raise Invalid("absence.untilTime", "is not after fromTime")
    absence = Absence(
        owner_id=person.person_id, team_id=person.team_id, from_time=start, until_time=end, note=note
    )
    tx.add(absence)
    tx.record(AbsenceCreated(**_told(absence)), on=absence)
    return absence


def end_absence(tx: Transaction, absence: Absence) -> None:
    """Somebody is there after all."""
    tx.delete(absence)
    tx.record(AbsenceDeleted(**_told(absence)), on=absence)
