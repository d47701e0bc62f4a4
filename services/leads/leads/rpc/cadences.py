"""CadenceService, and what LeadService does with cadences."""

from google.protobuf.empty_pb2 import Empty
from kehu.leads.v1 import cadence_pb2 as pb
from kehu.leads.v1 import cadence_service_pb2 as service_pb
from kehu.leads.v1 import lead_pb2
from kehu.leads.v1 import lead_service_pb2 as lead_service_pb

from chassis.database import Transaction
from chassis.fields import Field, Kind
from chassis.ids import parse_id
from chassis.listing import RECORD_FIELDS, Listing
from chassis.mapping import to_datetime
from chassis.rpc import Call, Face
from leads.cadence import Cadence, LeadTouch, add_cadence, change_cadence, remove, report, start, stop
from leads.handling import hold_alone
from leads.rpc import leads
from leads.rpc.leads import LEADS, answer, locked
from leads.rpc.messages import TOUCH, cadence_message, cadence_values

face = Face("kehu.leads.v1.CadenceService")
CADENCES = Listing(Cadence, None, {"position": Field("position", Kind.INTEGER, sortable=True)}, "position")
TOUCHES = Listing(LeadTouch, None, {**RECORD_FIELDS, "leadId": Field("lead_id", Kind.UUID)})


@face.read("GetCadence")
async def get_cadence(request: service_pb.GetCadenceRequest, call: Call) -> pb.Cadence:
    return cadence_message(await CADENCES.get(call, request.id))


@face.read("ListCadences")
async def list_cadences(
    request: service_pb.ListCadencesRequest, call: Call
) -> service_pb.ListCadencesResponse:
    page = await CADENCES.page(call, request)
    return service_pb.ListCadencesResponse(
        cadences=[cadence_message(row) for row in page.rows], next_page_token=page.next_page_token
    )


@face.write("CreateCadence")
async def create(request: service_pb.CreateCadenceRequest, tx: Transaction) -> pb.Cadence:
    cadence = Cadence(**cadence_values(request.cadence))
    await add_cadence(tx, cadence)
    await tx.session.flush()
    return cadence_message(cadence)


async def _cadence(tx: Transaction, id: str, etag: str, field: str = "id") -> Cadence:
    cadence = await tx.get(Cadence, parse_id(id, field), right="settings")
    tx.check_etag(cadence, etag)
    return cadence


@face.write("UpdateCadence")
async def update(request: service_pb.UpdateCadenceRequest, tx: Transaction) -> pb.Cadence:
    await hold_alone(tx)
    cadence = await _cadence(tx, request.cadence.id, request.cadence.etag, "cadence.id")
    await change_cadence(tx, cadence, cadence_values(request.cadence, request.update_mask))
    await tx.session.flush()
    return cadence_message(cadence)


@face.write("DeleteCadence")
async def delete(request: service_pb.DeleteCadenceRequest, tx: Transaction) -> Empty:
    await hold_alone(tx)
    await remove(tx, await _cadence(tx, request.id, request.etag))
    return Empty()


@leads.face.write("StartLeadCadence")
async def start_cadence(request: lead_service_pb.StartLeadCadenceRequest, tx: Transaction) -> lead_pb2.Lead:
    lead, handling = await locked(tx, request.id, request.etag)
    await start(tx, lead, handling, parse_id(request.cadence_id, "cadenceId"))
    return await answer(tx, lead)


@leads.face.write("ReportCadenceStep")
async def report_step(request: lead_service_pb.ReportCadenceStepRequest, tx: Transaction) -> lead_pb2.Lead:
    lead, handling = await locked(tx, request.id, request.etag)
    outcome = pb.CadenceOutcome.Name(request.outcome).removeprefix("CADENCE_OUTCOME_")
    following = to_datetime(request.next_contact_time) if request.HasField("next_contact_time") else None
    await report(tx, lead, handling, outcome, request.note.strip(), step=request.step, next_time=following)
    return await answer(tx, lead)


@leads.face.write("StopLeadCadence")
async def stop_cadence(request: lead_service_pb.StopLeadCadenceRequest, tx: Transaction) -> lead_pb2.Lead:
    lead, handling = await locked(tx, request.id, request.etag)
    stop(tx, lead, handling)
    return await answer(tx, lead)


@leads.face.read("ListLeadTouches")
async def list_touches(
    request: lead_service_pb.ListLeadTouchesRequest, call: Call
) -> lead_service_pb.ListLeadTouchesResponse:
    lead = await LEADS.get(call, request.lead_id, "leadId")
    page = await TOUCHES.page(call, request, {"leadId": lead["id"]})
    return lead_service_pb.ListLeadTouchesResponse(
        touches=[TOUCH.message(row) for row in page.rows], next_page_token=page.next_page_token
    )
