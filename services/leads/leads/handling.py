"""How a tenant handles leads, and what of it every change of a lead has to know: rules of scores, automatic cadences,
whether rules assign.

Who changes a rule of scores or a cadence waits until all who are changing leads by the old ones have ended, and those who
come later wait for it (`hold`, `hold_alone`): so the count that follows a change of rules misses no lead. Whoever locks leads
asks for the handling before, never after: the other way round they would wait for each other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar
from uuid import UUID, uuid5

from sqlalchemy import Boolean, text
from sqlalchemy.dialects.postgresql import JSONB

from chassis.custom_fields.known import NONE, Definitions
from chassis.database import Transaction
from chassis.errors import Invalid
from chassis.events.event import Event
from chassis.mapping import change as set_columns
from chassis.only import only, only_locked
from chassis.probable import PROBABLE, WARN
from chassis.records import Record
from leads.conditions import ABOUT, check, fields_of, holds

_NAMES = UUID("8a6f0f5e-3c43-4f39-9c39-6b0c6a3f9d21")
RECLAIM = "reclaim"
"""The job that looks for idle leads."""


class LeadHandling(Record, table=True):
    """What a tenant has set. There is no row until it is first changed."""

    __tablename__ = "lead_handling"  # pyright: ignore[reportAssignmentType]
    record_type: ClassVar[str] = "lead_handling"

    assign_captured: bool = True
    assign_created: bool = True
    assign_imported: bool = False
    max_offers: int = 3
    reclaim_idle_days: int = 0
    reclaim_warning_days: int = 1
    reclaim_condition: str = ""
    claim_limit: int = 0
    claim_pause_hours: int = 0
    repeat_days: int = 0
    duplicates: str = WARN
    duplicates_min_score: int = PROBABLE


@dataclass(frozen=True, kw_only=True)
class LeadHandlingUpdated(Event):
    handling_id: UUID
    changed_fields: list[str]


def handling_id(tenant_id: UUID) -> UUID:
    """The id of a tenant's one handling."""
    return uuid5(_NAMES, str(tenant_id))


async def settings_of(tx: Transaction) -> LeadHandling:
    """What the tenant has set; the defaults when nothing was."""
    return await only(tx, LeadHandling, handling_id(tx.who.tenant_id))


_WARN_ANEW = text("UPDATE leads SET reclaim_time = NULL WHERE reclaim_time IS NOT NULL")


async def change_handling(tx: Transaction, values: Mapping[str, Any], etag: str) -> LeadHandling:
    """Sets what is named. Raises Invalid for days that leave no time to warn, or a condition that is none."""
    await hold_alone(tx)
    kept = await only_locked(tx, LeadHandling, handling_id(tx.who.tenant_id))
    tx.check_etag(kept, etag)
    if values.get("reclaim_condition", kept.reclaim_condition) != kept.reclaim_condition:
        await check(tx, values["reclaim_condition"], ABOUT, "handling.reclaimCondition")
    # What is emptied holds as at first.
    first: Mapping[str, Any] = {"duplicates": WARN, "duplicates_min_score": PROBABLE}
    changed = set_columns(kept, {name: value or first.get(name, value) for name, value in values.items()})
    if kept.reclaim_idle_days and not 1 <= kept.reclaim_warning_days < kept.reclaim_idle_days:
        raise Invalid("handling.reclaimWarningDays", "is at least 1 and less than reclaimIdleDays")
    if changed:
        tx.record(LeadHandlingUpdated(handling_id=kept.id, changed_fields=changed), on=kept)
    if not {"reclaim_idle_days", "reclaim_warning_days", "reclaim_condition"}.isdisjoint(changed):
        # A warning holds for the rule by which it was given.
        await tx.session.execute(_WARN_ANEW)
    if kept.reclaim_idle_days:
        await tx.enqueue(RECLAIM, {}, key=RECLAIM)
    return kept


@dataclass(frozen=True, slots=True)
class Part:
    """A rule of scores as it counts."""

    rule_id: UUID
    name: str
    condition: str
    points: int


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a cadence, and how long after the one before it comes."""

    channel: str
    delay_days: int = 0
    delay_hours: int = 0
    hint_en: str = ""
    hint_zh: str = ""

    @property
    def delay(self) -> timedelta:
        return timedelta(days=self.delay_days, hours=self.delay_hours)


@dataclass(frozen=True, slots=True)
class Automatic:
    """A cadence on which new leads are put."""

    id: UUID
    condition: str
    first: Step


@dataclass(frozen=True)
class Handling:
    """What a change of a lead has to know. The empty one is that of a tenant that has set nothing."""

    parts: Sequence[Part] = ()
    cadences: Sequence[Automatic] = ()
    assign_captured: bool = False
    """Whether rules of assignment decide about leads that come by web forms."""
    assign_created: bool = False
    """… that are created without an owner."""
    assign_imported: bool = False
    """… that are imported."""
    custom: Definitions = NONE
    """The custom fields that the conditions of these rules and cadences name."""

    def held(self, lead: object) -> list[Part]:
        """The rules of scores that hold for the lead."""
        return [part for part in self.parts if holds(part.condition, lead, self.custom)]

    def points(self, lead: object) -> int:
        """What they give together, kept within 0 and 100."""
        return bounded(sum(part.points for part in self.held(lead)))

    def cadence_for(self, lead: object) -> Automatic | None:
        """The cadence a new lead is put on."""
        return next((one for one in self.cadences if holds(one.condition, lead, self.custom)), None)


def bounded(score: int) -> int:
    """The score, kept within 0 and 100."""
    return max(0, min(100, score))


_ALL = text(
    "SELECT (SELECT jsonb_agg(jsonb_build_array(id, name, condition, points) ORDER BY position, id) FROM score_rules"
    " WHERE active AND deleted_at IS NULL) AS parts,"
    " (SELECT jsonb_agg(jsonb_build_array(id, condition, steps -> 0) ORDER BY position, id) FROM cadences"
    " WHERE active AND automatic AND deleted_at IS NULL) AS cadences,"
    " EXISTS (SELECT FROM assignment_rules WHERE active AND deleted_at IS NULL) AS assigns,"
    " (SELECT jsonb_build_array(assign_captured, assign_created, assign_imported) FROM lead_handling) AS wanted"
).columns(parts=JSONB, cadences=JSONB, assigns=Boolean, wanted=JSONB)
_WANTED = (True, True, False)
"""What LeadHandling has before it is changed."""


async def hold(tx: Transaction) -> Handling:
    """The handling, which nobody changes until this transaction ends. Ask for it before leads are locked."""
    await tx.hold("handling", shared=True)
    row = (await tx.session.execute(_ALL)).one()
    captured, made, imported = row.wanted or _WANTED
    parts = [Part(UUID(id), *rest) for id, *rest in row.parts or ()]
    cadences = [Automatic(UUID(id), condition, Step(**first)) for id, condition, first in row.cadences or ()]
    return Handling(
        parts=parts,
        cadences=cadences,
        assign_captured=row.assigns and captured,
        assign_created=row.assigns and made,
        assign_imported=row.assigns and imported,
        custom=await fields_of(tx, [one.condition for one in (*parts, *cadences)]),
    )


async def hold_alone(tx: Transaction) -> None:
    """Waits until nobody is changing leads, and keeps others from it: for changes of what `hold` gives."""
    await tx.hold("handling")
