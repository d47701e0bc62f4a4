"""Scores by rules: each gives or takes points where its condition holds.

Whatever changes a lead counts it anew (`leads.lead.tell`). When rules change, all leads are counted anew by a job, batch by
batch; how far it is stands in `score_runs` and commits with each batch, so that a job that died goes on where it was.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar
from uuid import UUID, uuid5

from sqlalchemy import text

from chassis.database import Transaction
from chassis.events.event import Event
from chassis.mapping import change as set_columns
from chassis.records import Record
from leads.conditions import SCORED, check
from leads.handling import Handling, hold_alone
from leads.lead import Lead
from leads.lead_events import LeadUpdated, tell, told

RESCORE = "rescore"
"""Counts all leads anew."""
_BATCH = 200
_NAMES = UUID("3d1f4c5e-5b0b-4d0a-8a7e-0a6d7c0f2b11")


class ScoreRule(Record, table=True):
    """One rule."""

    __tablename__ = "score_rules"  # pyright: ignore[reportAssignmentType]
    record_type: ClassVar[str] = "score_rule"

    name: str = ""
    position: int = 0
    active: bool = True
    condition: str = ""
    points: int = 0


@dataclass(frozen=True, kw_only=True)
class ScoreRuleEvent(Event):
    """What every event says of a rule."""

    rule_id: UUID
    name: str


class ScoreRuleCreated(ScoreRuleEvent):
    pass


@dataclass(frozen=True, kw_only=True)
class ScoreRuleUpdated(ScoreRuleEvent):
    changed_fields: list[str]


class ScoreRuleDeleted(ScoreRuleEvent):
    pass


class ScoreRun(Record, table=True):
    """How far the counting of all leads of a tenant is: those up to `after_id` are done."""

    __tablename__ = "score_runs"  # pyright: ignore[reportAssignmentType]

    pending: bool = False
    after_id: UUID | None = None


def run_id(tenant_id: UUID) -> UUID:
    """The id of a tenant's one run."""
    return uuid5(_NAMES, str(tenant_id))


async def _check(tx: Transaction, rule: ScoreRule) -> None:
    """Raises Invalid for a condition that is none."""
    rule.condition = await check(tx, rule.condition, SCORED, "rule.condition")


async def add_score_rule(tx: Transaction, rule: ScoreRule) -> None:
    """A new rule, by which all leads are counted anew. Raises Invalid."""
    await count_all(tx)  # it is held before the lists, as who writes leads does
    await _check(tx, rule)
    tx.add(rule)
    tx.record(ScoreRuleCreated(rule_id=rule.id, name=rule.name), on=rule)


async def change_score_rule(tx: Transaction, rule: ScoreRule, values: Mapping[str, Any]) -> None:
    """Changes a rule; all leads are counted anew (`count_all`, before the rule is locked). Raises Invalid."""
    changed = set_columns(rule, values)
    if "condition" in changed:
        await _check(tx, rule)
    if changed:
        tx.record(ScoreRuleUpdated(rule_id=rule.id, name=rule.name, changed_fields=changed), on=rule)


def remove_score_rule(tx: Transaction, rule: ScoreRule) -> None:
    """Deletes a rule; all leads are counted anew (`count_all`, before the rule is locked)."""
    tx.delete(rule)
    tx.record(ScoreRuleDeleted(rule_id=rule.id, name=rule.name), on=rule)


async def count_all(tx: Transaction) -> None:
    """Has all leads counted anew, from the first one, by the rules as this transaction leaves them."""
    await hold_alone(tx)
    run = await tx.find(ScoreRun, run_id(tx.who.tenant_id))
    if run is None:
        run = ScoreRun(id=run_id(tx.who.tenant_id))
        tx.add(run)
    run.pending, run.after_id = True, None
    await tx.enqueue(RESCORE, {}, key=RESCORE)


_NEXT = text(
    "SELECT id FROM leads WHERE deleted_at IS NULL AND (CAST(:after AS uuid) IS NULL OR id > :after) ORDER BY id"
    " LIMIT :most FOR UPDATE"
)


async def count_some(tx: Transaction, handling: Handling) -> bool:
    """Counts the next batch anew; whether there may be more. Scores that stay are not written."""
    run = await tx.find(ScoreRun, run_id(tx.who.tenant_id))
    if run is None or not run.pending:
        return False
    ids = (await tx.session.execute(_NEXT, {"after": run.after_id, "most": _BATCH})).scalars().all()
    for id in ids:
        lead = await tx.find(Lead, UUID(str(id)))
        assert lead is not None
        before = lead.score, lead.score_points
        lead.count(handling)
        if (lead.score, lead.score_points) != before:
            tx.record(LeadUpdated(**told(lead), changed_fields=["score"]), on=lead)
    run.after_id = UUID(str(ids[-1])) if ids else run.after_id
    run.pending = len(ids) == _BATCH
    return run.pending


def adjust(tx: Transaction, lead: Lead, handling: Handling, adjustment: int, note: str) -> None:
    """Says what to add to the rules' points. Raises LeadConverting, LeadConverted."""
    lead.check_editable()
    lead.note(note)
    lead.score_adjustment = adjustment
    tell(tx, lead, handling, LeadUpdated, changed_fields=["score", "score_adjustment"])
