"""PipelineService."""

from uuid import UUID

from kehu.sales.v1 import pipeline_pb2 as pb
from kehu.sales.v1 import pipeline_service_pb2 as service_pb

from chassis.database import Transaction
from chassis.errors import Invalid
from chassis.ids import parse_id
from chassis.records import etag
from chassis.rpc import Call, Face
from sales.pipeline import Stage, arrange, default_stages, locked_pipeline, pipeline_id, stages_of
from sales.rpc.messages import PIPELINE, stage_messages

face = Face("kehu.sales.v1.PipelineService")


@face.read("GetPipeline")
async def get_pipeline(request: service_pb.GetPipelineRequest, call: Call) -> pb.Pipeline:
    id = pipeline_id(call.who.tenant_id)
    rows = await call.database.read(call.who, "SELECT * FROM pipelines WHERE id = $1", id)
    if rows:
        message = PIPELINE.message(rows[0])
        message.stages.extend(stage_messages(stages_of(rows[0]["stages"])))
        return message
    stages = stage_messages(default_stages(call.who.tenant_id))
    return pb.Pipeline(id=str(id), etag=etag(1), stages=stages)


def _stage(stage: pb.Stage, place: int) -> Stage:
    return Stage(
        id=parse_id(stage.id, f"pipeline.stages[{place}].id") if stage.id else UUID(int=0), name=stage.name.strip(),
        probability=stage.probability, rotting_days=stage.rotting_days, exit_criteria=stage.exit_criteria.strip(),
    )  # fmt: skip


@face.write("UpdatePipeline")
async def update(request: service_pb.UpdatePipelineRequest, tx: Transaction) -> pb.Pipeline:
    asked = request.pipeline
    named = {path.split(".")[0] for path in request.update_mask.paths}
    unknown = named - {"name", "stages", "*"}
    if unknown:
        raise Invalid(sorted(unknown)[0], "cannot be changed here", reason="FIELD_NOT_WRITABLE")
    pipeline = await locked_pipeline(tx)
    tx.check_etag(pipeline, asked.etag)
    everything = "*" in named
    name = asked.name.strip() if everything or "name" in named or (not named and asked.name) else None
    stages = None
    if everything or "stages" in named or (not named and asked.stages):
        stages = [_stage(stage, place) for place, stage in enumerate(asked.stages)]
    await arrange(tx, pipeline, name, stages)
    await tx.session.flush()
    message = PIPELINE.message(pipeline)
    message.stages.extend(stage_messages(stages_of(pipeline.stages)))
    return message
