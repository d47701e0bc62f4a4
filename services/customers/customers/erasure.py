"""The erasure of a person from all services: each is asked until it has come to its end, and all of them once more.

    begin      erasure RUNNING, the person fixed, a job waiting                        (one transaction)
    each service, a part at a time; how far it is stands in the erasure                (one transaction a part)
    all of it once more, some time later: what was on its way has arrived by then
    finish     the person forgotten, erasure SUCCEEDED, person.erased goes out          (one transaction)

Who is meant is found out once, before the first step, and kept until the last, for later there is nobody to be found any more.
Every part may be repeated. So a crash anywhere is mended by going on from the last part that is noted, which the job does.
What does not answer is asked until it does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar, Protocol
from uuid import UUID

from sqlalchemy import ARRAY, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field

from chassis.database import Database, Transaction
from chassis.errors import NotFound, Problem
from chassis.events.event import Event
from chassis.principal import Principal
from chassis.privacy.person import Person
from chassis.records import Record

RUNNING, SUCCEEDED = "RUNNING", "SUCCEEDED"
STATES = (RUNNING, SUCCEEDED)
RECORD_TYPES = ("contact", "customer", "lead")
JOB = "erasure"
ROUNDS = 2
Report = list[tuple[str, str, int, int]]
"""Record type, why records of it stay, how many were erased and how many kept."""


class Erasure(Record, table=True):
    """One erasure. `person` is who is meant, and empty when it has ended; `steps` say of each service how far it is."""

    __tablename__ = "erasures"  # pyright: ignore[reportAssignmentType]
    record_type: ClassVar[str] = "erasure"
    history_hidden: ClassVar[frozenset[str]] = frozenset({
        "person", "steps", "asked", "waits_for", "pause_until",
    })  # fmt: skip

    of_type: str
    record_id: UUID
    excluded: list[list[str]] = Field(default_factory=list[list[str]], sa_type=JSONB)
    basis: str = ""
    reference: str = ""
    state: str = RUNNING
    end_time: datetime | None = None
    records: list[list[str]] = Field(default_factory=list[list[str]], sa_type=JSONB)
    notices: list[str] = Field(default_factory=list[str], sa_type=ARRAY(Text))  # pyright: ignore[reportArgumentType]
    waits_for: str = ""
    pause_until: datetime | None = None
    """When the second round may begin."""
    person: dict[str, list[Any]] = Field(default_factory=dict[str, list[Any]], sa_type=JSONB)
    steps: list[dict[str, Any]] = Field(default_factory=list[dict[str, Any]], sa_type=JSONB)
    asked: str = ""
    """Tells a repeat of the request from another one."""


@dataclass(frozen=True, kw_only=True)
class PersonErased(Event):
    """Somebody was erased: nobody may keep what they know of these records."""

    erasure_id: UUID
    contact_ids: list[UUID]
    customer_ids: list[UUID]
    lead_ids: list[UUID]


class Peers(Protocol):
    """The services, as an erasure needs them. Raises Problem."""

    async def erase(self, service: str, erasure_id: UUID, person: Person, cursor: str) -> tuple[str, Report]:
        """Lets a service do its next part. The cursor of the part behind, "" at the end; and what it has done so far."""
        ...


async def begin(
    tx: Transaction, id: UUID, named: Mapping[str, Any], person: Person, notices: Sequence[str], services: Sequence[str],
    missing: Sequence[str], asked: str,
) -> Erasure:  # fmt: skip
    """Fixes who is meant, and lets the job begin."""
    steps: list[dict[str, Any]] = [
        {"service": name, "round": 1, "cursor": "", "report": []} for name in services
    ]
    steps += [{"service": name, "round": 0, "cursor": "", "report": []} for name in missing]
    erasure = Erasure(
        id=id, **named, person=person.kept(), notices=sorted(set(notices)), steps=steps, asked=asked,
        records=[[kind, str(record)] for kind, record in sorted(person.records)],
    )  # fmt: skip
    tx.add(erasure)
    await tx.enqueue(JOB, {"erasure_id": str(id)}, key=str(id))
    return erasure


async def carry_on(database: Database, who: Principal, id: UUID, peers: Peers, later: timedelta) -> None:
    """Takes all parts that are left of the round that is under way. Between the rounds `later` goes by, after which the job comes
    back.

    Raises the Problem of a service that may answer later; the job then tries again.
    """
    async with database.transaction(who, origin="job") as tx:
        erasure = await _locked(tx, id)
        if erasure.state != RUNNING:
            return
        if erasure.pause_until is not None and tx.now < erasure.pause_until:
            await _come_back(tx, erasure)
            return
    now = round_of(erasure)
    for place, _ in enumerate(erasure.steps):
        while (step := erasure.steps[place])["round"] == now:
            try:
                cursor, report = await peers.erase(
                    step["service"], id, Person.of(erasure.person), step["cursor"]
                )
            except Problem as problem:
                await _waits(database, who, id, problem.reason)
                raise
            erasure = await _came_further(database, who, id, place, step, cursor, report, later)
            if erasure.state != RUNNING:
                return
    await _end(database, who, id)


def round_of(erasure: Erasure) -> int:
    """The round that is under way: a step that has done its part of it stands at the next."""
    return min((step["round"] for step in erasure.steps if step["round"]), default=ROUNDS + 1)


async def _come_back(tx: Transaction, erasure: Erasure) -> None:
    key = f"{erasure.id} {round_of(erasure)}"
    await tx.enqueue(JOB, {"erasure_id": str(erasure.id)}, due_at=erasure.pause_until, key=key)


async def _locked(tx: Transaction, id: UUID) -> Erasure:
    erasure = await tx.find(Erasure, id)
    if erasure is None:
        raise NotFound("erasure", id)
    return erasure


async def _waits(database: Database, who: Principal, id: UUID, reason: str) -> None:
    async with database.transaction(who, origin="job") as tx:
        (await _locked(tx, id)).waits_for = reason


async def _came_further(
    database: Database, who: Principal, id: UUID, place: int, before: dict[str, Any], cursor: str, report: Report,
    later: timedelta,
) -> Erasure:  # fmt: skip
    async with database.transaction(who, origin="job") as tx:
        erasure = await _locked(tx, id)
        if erasure.steps[place] == before:  # somebody else may have taken the same part meanwhile
            now = before["round"]
            anew = {
                **before, "round": now if cursor else now + 1, "cursor": cursor, "report": [list(one) for one in report],
            }  # fmt: skip
            erasure.steps = [anew if n == place else step for n, step in enumerate(erasure.steps)]
            if round_of(erasure) > now:
                erasure.pause_until = tx.now + later if now < ROUNDS else None
        erasure.waits_for = ""
    return erasure


async def _end(database: Database, who: Principal, id: UUID) -> None:
    async with database.transaction(who, origin="job") as tx:
        erasure = await _locked(tx, id)
        if erasure.state != RUNNING:
            return
        if round_of(erasure) <= ROUNDS:
            await _come_back(tx, erasure)
            return
        person = Person.of(erasure.person)
        erasure.state, erasure.end_time, erasure.person = SUCCEEDED, tx.now, {}
        erasure.waits_for = ""
        ids = {kind: sorted(person.ids(kind)) for kind in RECORD_TYPES}
        tx.record(
            PersonErased(
                erasure_id=id, contact_ids=ids["contact"], customer_ids=ids["customer"], lead_ids=ids["lead"]
            ),
            on=erasure,
        )
