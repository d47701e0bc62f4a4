"""Absences: when somebody is given no leads by rules."""

from datetime import datetime
from typing import ClassVar

from chassis.database import Transaction
from chassis.errors import Invalid
from chassis.owners import Owner
from chassis.records import EPOCH, Owned


class Absence(Owned, table=True):
    """Who is away (its owner), from when until when."""

    __tablename__ = "absences"  # pyright: ignore[reportAssignmentType]
    record_type: ClassVar[str] = "absence"

    from_time: datetime = EPOCH
    until_time: datetime = EPOCH
    note: str = ""


def note_absence(tx: Transaction, person: Owner, start: datetime, end: datetime, note: str) -> Absence:
    """Somebody will be away. Raises Invalid when it ends before it begins."""
    if end <= start:
        raise Invalid("absence.untilTime", "is not after fromTime")
    absence = Absence(
        owner_id=person.person_id, team_id=person.team_id, from_time=start, until_time=end, note=note
    )
    tx.add(absence)
    return absence
