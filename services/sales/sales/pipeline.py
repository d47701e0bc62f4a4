"""The pipeline: the stages through which opportunities go. A tenant has one; until it is first changed it is the default."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, ClassVar
from uuid import UUID, uuid5

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field

from chassis.database import Transaction
from chassis.errors import Invalid
from chassis.events.event import Event
from chassis.ids import new_id
from chassis.records import Record
from sales.errors import StageInUse, stage_not_found

_NAMES = UUID("4f0c3c9e-7f1a-4f3c-8a53-2b8f6f3f6f10")
_DEFAULT = (("Prospecting", 10), ("Engaging", 40), ("Negotiating", 70))


@dataclass(frozen=True, kw_only=True)
class Stage:
    id: UUID
    name: str
    probability: int
    rotting_days: int = 0
    exit_criteria: str = ""


class Pipeline(Record, table=True):
    """The stages of a tenant, first one first, each as `Stage` has it."""

    __tablename__ = "pipelines"  # pyright: ignore[reportAssignmentType]
    record_type: ClassVar[str] = "pipeline"

    name: str = ""
    stages: list[dict[str, Any]] = Field(default_factory=list[dict[str, Any]], sa_type=JSONB)


@dataclass(frozen=True, kw_only=True)
class PipelineUpdated(Event):
    pipeline_id: UUID
    stages: list[Stage]


def pipeline_id(tenant_id: UUID) -> UUID:
    """The id of a tenant's one pipeline."""
    return uuid5(_NAMES, str(tenant_id))


def default_stages(tenant_id: UUID) -> list[Stage]:
    """The stages of a tenant that has not changed them."""
    return [
        Stage(id=uuid5(_NAMES, f"{tenant_id} {name}"), name=name, probability=probability)
        for name, probability in _DEFAULT
    ]


def stages_of(kept: Sequence[dict[str, Any]]) -> list[Stage]:
    """Stages from the form in which they are kept."""
    return [
        Stage(
            id=UUID(stage["id"]), name=stage["name"], probability=stage["probability"],
            rotting_days=stage["rotting_days"], exit_criteria=stage["exit_criteria"],
        )
        for stage in kept
    ]  # fmt: skip


def _kept(stages: Sequence[Stage]) -> list[dict[str, Any]]:
    return [
        {
            "id": str(s.id), "name": s.name, "probability": s.probability, "rotting_days": s.rotting_days,
            "exit_criteria": s.exit_criteria,
        }
        for s in stages
    ]  # fmt: skip


async def stages_for(tx: Transaction) -> list[Stage]:
    """The stages, which nobody changes until this transaction ends."""
    await tx.hold("pipeline", shared=True)
    found = await tx.find(Pipeline, pipeline_id(tx.who.tenant_id), lock=False)
    return default_stages(tx.who.tenant_id) if found is None else stages_of(found.stages)


def position_of(stages: Sequence[Stage], id: UUID | None, field: str) -> int:
    """Where the stage stands, counted from 0; the first one when `id` is None. Raises Invalid (STAGE_NOT_FOUND)."""
    if id is None:
        return 0
    for position, stage in enumerate(stages):
        if stage.id == id:
            return position
    raise stage_not_found(field)


def rot_time(stage: Stage, since: datetime) -> datetime | None:
    """When an opportunity that entered the stage `since` counts as rotting; None for never."""
    return since + timedelta(days=stage.rotting_days) if stage.rotting_days else None


async def locked_pipeline(tx: Transaction) -> Pipeline:
    """The pipeline for changing it; the default one is written down first."""
    await tx.hold("pipeline")
    id = pipeline_id(tx.who.tenant_id)
    found = await tx.find(Pipeline, id)
    if found is None:
        found = Pipeline(id=id, name="", stages=_kept(default_stages(tx.who.tenant_id)))
        tx.add(found)
        await tx.session.flush()
    return found


_IN_STAGE = text(
    "SELECT EXISTS (SELECT FROM opportunities WHERE stage_id = :id AND status = 'OPEN' AND deleted_at IS NULL)"
)
_FOLLOW = text(
    "UPDATE opportunities SET stage_name = :name, stage_position = :position, rot_time = CASE WHEN :days = 0 THEN NULL"
    " ELSE stage_enter_time + make_interval(days => :days) END WHERE stage_id = :id"
)


async def arrange(
    tx: Transaction, pipeline: Pipeline, name: str | None, stages: Sequence[Stage] | None
) -> None:
    """Names the pipeline and replaces its stages. Raises StageInUse; Invalid for a name that stands twice."""
    if name is not None:
        pipeline.name = name
    if stages is not None:
        stages = [s if s.id.int else replace(s, id=new_id()) for s in stages]
        for place, stage in enumerate(stages):
            if any(s.id == stage.id or s.name.casefold() == stage.name.casefold() for s in stages[:place]):
                raise Invalid(f"pipeline.stages[{place}].name", "stands in the pipeline twice")
        staying = {stage.id for stage in stages}
        for old in stages_of(pipeline.stages):
            if old.id not in staying and (await tx.session.execute(_IN_STAGE, {"id": old.id})).scalar_one():
                raise StageInUse(old.name)
        pipeline.stages = _kept(stages)
        for position, stage in enumerate(stages):
            await tx.session.execute(
                _FOLLOW,
                {"id": stage.id, "name": stage.name, "position": position, "days": stage.rotting_days},
            )
    tx.record(PipelineUpdated(pipeline_id=pipeline.id, stages=stages_of(pipeline.stages)), on=pipeline)
