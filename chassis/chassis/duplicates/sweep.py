"""Sweeps as rows: which records are looked through, how far it is, what was found."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field

from chassis.database import Transaction
from chassis.errors import AlreadyExists, NotFound, Precondition
from chassis.events.event import OwnedEvent
from chassis.principal import NOBODY
from chassis.records import Record

RUNNING, SUCCEEDED, CANCELLED, FAILED = "RUNNING", "SUCCEEDED", "CANCELLED", "FAILED"
STATES = (RUNNING, SUCCEEDED, CANCELLED, FAILED)
JOB = "duplicate_sweep"
MOST_FREQUENT = 1000
"""Frequent values that are counted."""


class DuplicateSweep(Record, table=True):
    """A sweep. `last_id` is the cursor: records up to that id are looked at, wholly and once."""

    __tablename__ = "duplicate_sweeps"  # pyright: ignore[reportAssignmentType]

    kind: str
    state: str = RUNNING
    total_records: int = 0
    processed_records: int = 0
    last_id: UUID = NOBODY
    found_pairs: int = 0
    new_pairs: int = 0
    set_aside_pairs: int = 0
    frequent: list[list[str]] = Field(default_factory=list[list[str]], sa_type=JSONB)
    """Reason and value of what too many have in common. Kept of the latest sweep only."""
    frequent_values: int = 0
    ended_at: datetime | None = None
    failures: int = 0
    failed_at: int = -1
    failure_reason: str = ""
    failure_message: str = ""


@dataclass(frozen=True, kw_only=True)
class Progress:
    record_type: str
    state: str
    total_records: int
    processed_records: int
    found_pairs: int
    new_pairs: int


@dataclass(frozen=True, kw_only=True)
class DuplicateSweepProgressed(OwnedEvent):
    """Recorded at the beginning, after every thousand records, and at the end. Its owner is who started the sweep."""

    duplicate_sweep_id: UUID
    progress: Progress


class DuplicateSweepEnded(Precondition):
    """Only a sweep in state RUNNING can be cancelled."""

    reason = "DUPLICATE_SWEEP_ENDED"


_RUNNING = text("SELECT 1 FROM duplicate_sweeps WHERE kind = :kind AND state = 'RUNNING'")
_FORGET = text("UPDATE duplicate_sweeps SET frequent = '[]' WHERE kind = :kind AND frequent <> '[]'")


async def start(tx: Transaction, kind: str, counting: str) -> DuplicateSweep:
    """Lets a sweep begin; `counting` counts the records. Raises AlreadyExists (DUPLICATE_SWEEP_RUNNING)."""
    await tx.hold(f"duplicate sweep {kind}")
    if (await tx.session.execute(_RUNNING, {"kind": kind})).first() is not None:
        raise AlreadyExists(
            "DUPLICATE_SWEEP_RUNNING", f"A sweep of each {kind} is under way: wait for its end, or cancel it."
        )
    await forget_frequent(tx, kind)
    total = int((await tx.session.execute(text(counting))).scalar_one())
    sweep = DuplicateSweep(kind=kind, total_records=total)
    tx.add(sweep)
    await tx.session.flush()
    await tx.enqueue(JOB, {"duplicate_sweep_id": str(sweep.id)}, key=str(sweep.id))
    return sweep


async def forget_frequent(tx: Transaction, kind: str) -> None:
    """Drops the values that sweeps have found too frequent: they may be somebody's."""
    await tx.session.execute(_FORGET, {"kind": kind})


async def found(tx: Transaction, id: UUID) -> DuplicateSweep:
    """The sweep, locked. Raises NotFound."""
    sweep = await tx.find(DuplicateSweep, id)
    if sweep is None:
        raise NotFound("duplicate sweep", id)
    return sweep


def cancel(tx: Transaction, sweep: DuplicateSweep) -> None:
    """Stops a sweep; the pairs found so far stay. Raises DuplicateSweepEnded."""
    if sweep.state != RUNNING:
        raise DuplicateSweepEnded(f"The sweep is {sweep.state} already.")
    sweep.state, sweep.ended_at = CANCELLED, tx.now


def tell(tx: Transaction, progressed: type[DuplicateSweepProgressed] | None, sweep: DuplicateSweep) -> None:
    """Records how far a sweep is, for those who look on."""
    if progressed is None:
        return
    counts: dict[str, Any] = {
        name: getattr(sweep, name)
        for name in ("state", "total_records", "processed_records", "found_pairs", "new_pairs")
    }
    progress = Progress(record_type=sweep.kind, **counts)
    tx.record(
        progressed(
            duplicate_sweep_id=sweep.id, owner_id=sweep.created_by, team_id=tx.who.team_id, progress=progress
        ),
        on=sweep,
    )
