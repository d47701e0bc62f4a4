"""Cadences: the steps by which somebody gets in touch with a lead, proposed one after the other."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field

from chassis.database import Transaction
from chassis.errors import Invalid
from chassis.events.event import Event
from chassis.mapping import change as set_columns
from chassis.records import Record
from leads import errors
from leads.conditions import ABOUT, check
from leads.handling import Handling, Step, hold_alone
from leads.lead import Lead, remind
from leads.lead_events import (
    LeadCadenceStarted,
    LeadCadenceStepReported,
    LeadCadenceStopped,
    LeadContactDue,
    tell,
)
from leads.words import OPEN, REACHED


class Cadence(Record, table=True):
    """A cadence; its steps as `Step` has them, first one first."""

    __tablename__ = "cadences"  # pyright: ignore[reportAssignmentType]
    record_type: ClassVar[str] = "cadence"

    name: str = ""
    active: bool = True
    automatic: bool = False
    condition: str = ""
    position: int = 0
    steps: list[dict[str, Any]] = Field(default_factory=list[dict[str, Any]], sa_type=JSONB)


@dataclass(frozen=True, kw_only=True)
class CadenceEvent(Event):
    """What every event says of a cadence."""

    cadence_id: UUID
    name: str


class CadenceCreated(CadenceEvent):
    pass


@dataclass(frozen=True, kw_only=True)
class CadenceUpdated(CadenceEvent):
    changed_fields: list[str]


class CadenceDeleted(CadenceEvent):
    pass


class LeadTouch(Record, table=True):
    """A step that was reported."""

    __tablename__ = "lead_touches"  # pyright: ignore[reportAssignmentType]

    lead_id: UUID
    cadence_id: UUID
    step: int
    channel: str
    due_time: datetime | None = None
    outcome: str
    note: str = ""


def kept(steps: Sequence[Step]) -> list[dict[str, Any]]:
    """Steps in the form in which they are kept."""
    return [asdict(step) for step in steps]


def steps_of(cadence: Cadence) -> list[Step]:
    """The steps of a cadence, first one first."""
    return [Step(**step) for step in cadence.steps]


async def _check(tx: Transaction, cadence: Cadence) -> None:
    """Raises Invalid for a condition that is none."""
    cadence.condition = await check(tx, cadence.condition, ABOUT, "cadence.condition")


async def add_cadence(tx: Transaction, cadence: Cadence) -> None:
    """A new cadence. Raises Invalid."""
    await hold_alone(tx)  # before the lists, as who writes leads does
    await _check(tx, cadence)
    tx.add(cadence)
    tx.record(CadenceCreated(cadence_id=cadence.id, name=cadence.name), on=cadence)


async def change_cadence(tx: Transaction, cadence: Cadence, values: Mapping[str, Any]) -> None:
    """Changes a cadence, which nobody reads meanwhile (`hold_alone`). Raises Invalid."""
    changed = set_columns(cadence, values)
    if "condition" in changed:
        await _check(tx, cadence)
    if changed:
        told = CadenceUpdated(cadence_id=cadence.id, name=cadence.name, changed_fields=changed)
        tx.record(told, on=cadence)


_ON_IT = text(
    "SELECT count(*) FROM leads WHERE cadence_id = :id AND status = ANY(:open) AND deleted_at IS NULL"
)


async def remove(tx: Transaction, cadence: Cadence) -> None:
    """Deletes a cadence, on which nobody can be put meanwhile (`hold_alone`). Raises CadenceInUse."""
    count = (await tx.session.execute(_ON_IT, {"id": cadence.id, "open": list(OPEN)})).scalar_one()
    if count:
        raise errors.CadenceInUse(count)
    tx.delete(cadence)
    tx.record(CadenceDeleted(cadence_id=cadence.id, name=cadence.name), on=cadence)


async def start(tx: Transaction, lead: Lead, handling: Handling, cadence_id: UUID) -> None:
    """Puts a lead on a cadence by hand. Raises CadenceNotStartable, Invalid (CADENCE_NOT_FOUND)."""
    lead.check_open(errors.CadenceNotStartable, "put on a cadence")
    cadence = await tx.find(Cadence, cadence_id, lock=False)
    if cadence is None or not cadence.active:
        raise Invalid("cadenceId", f"there is no active cadence {cadence_id}", reason="CADENCE_NOT_FOUND")
    first = steps_of(cadence)[0]
    lead.propose(cadence.id, 1, first, tx.now + first.delay)
    await remind(tx, lead)
    tell(tx, lead, handling, LeadCadenceStarted)


async def report(
    tx: Transaction,
    lead: Lead,
    handling: Handling,
    outcome: str,
    note: str = "",
    *,
    step: int = 0,
    next_time: datetime | None = None,
) -> LeadTouch:
    """Keeps what came of the proposed step and proposes the next. Raises LeadWithoutCadence, StepNotProposed."""
    lead.check_not_converting()
    if lead.cadence_id is None:
        raise errors.LeadWithoutCadence
    if step and step != lead.cadence_step:
        raise errors.StepNotProposed(step, lead.cadence_step)
    touch = LeadTouch(
        lead_id=lead.id, cadence_id=lead.cadence_id, step=lead.cadence_step, channel=lead.next_contact_channel,
        due_time=lead.next_contact_time, outcome=outcome, note=note,
    )  # fmt: skip
    tx.add(touch)
    if outcome == REACHED:
        lead.contact(tx.now, note, next_time)
    else:
        lead.note(note)
        lead.settle_acceptance()
    lead.touch(tx.now)
    cadence = await tx.find(Cadence, touch.cadence_id, lock=False)
    steps = steps_of(cadence) if cadence is not None else []
    ended = touch.step >= len(steps)
    if ended:
        lead.end_cadence()
        lead.next_contact_time = next_time
    else:
        following = steps[touch.step]
        lead.propose(touch.cadence_id, touch.step + 1, following, next_time or tx.now + following.delay)
    await remind(tx, lead)
    tell(
        tx, lead, handling, LeadCadenceStepReported, touch_id=touch.id, cadence_id=touch.cadence_id, step=touch.step,
        channel=touch.channel, outcome=outcome, cadence_ended=ended,
    )  # fmt: skip
    return touch


def stop(tx: Transaction, lead: Lead, handling: Handling) -> None:
    """Takes a lead off its cadence. Raises LeadWithoutCadence."""
    lead.check_not_converting()
    if lead.cadence_id is None:
        raise errors.LeadWithoutCadence
    cadence_id = lead.cadence_id
    lead.end_cadence()
    tell(tx, lead, handling, LeadCadenceStopped, cadence_id=cadence_id)


def tell_due(tx: Transaction, lead: Lead, handling: Handling, at: datetime) -> None:
    """The time for the next contact has come, unless it is another one by now."""
    if lead.next_contact_time == at and lead.status in OPEN:
        tell(tx, lead, handling, LeadContactDue)
