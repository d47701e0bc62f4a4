"""AbsenceService."""

from datetime import UTC, datetime

from google.protobuf.empty_pb2 import Empty
from kehu.leads.v1 import absence_service_pb2 as service_pb
from kehu.leads.v1 import assignment_pb2 as pb

from chassis.database import Transaction
from chassis.events.event import timestamp_text
from chassis.fields import Field, Kind
from chassis.ids import parse_id
from chassis.listing import OWNER_FIELDS, Listing
from chassis.mapping import to_datetime
from chassis.owners import Owner, owner_for
from chassis.rpc import Call, Face
from leads.absence import Absence, end_absence, note_absence
from leads.rpc.messages import ABSENCE

face = Face("kehu.leads.v1.AbsenceService")
ABSENCES = Listing(
    Absence,
    "leads",
    {
        **OWNER_FIELDS,
        "fromTime": Field("from_time", Kind.TIMESTAMP, sortable=True),
        "untilTime": Field("until_time", Kind.TIMESTAMP),
    },
    "fromTime",
)


@face.read("GetAbsence")
async def get_absence(request: service_pb.GetAbsenceRequest, call: Call) -> pb.Absence:
    return ABSENCE.message(await ABSENCES.get(call, request.id))


@face.read("ListAbsences")
async def list_absences(
    request: service_pb.ListAbsencesRequest, call: Call
) -> service_pb.ListAbsencesResponse:
    such = "" if request.include_past else f'untilTime > "{timestamp_text(datetime.now(UTC))}"'
    page = await ABSENCES.page(call, request, such=such)
    return service_pb.ListAbsencesResponse(
        absences=[ABSENCE.message(row) for row in page.rows], next_page_token=page.next_page_token
    )


async def _who_is_away(request: service_pb.CreateAbsenceRequest, call: Call) -> Owner:
    return await owner_for(call, request.absence.owner_id, "leads", "absence.ownerId")


@face.write("CreateAbsence", prepare=_who_is_away)
async def create_absence(
    request: service_pb.CreateAbsenceRequest, tx: Transaction, person: Owner
) -> pb.Absence:
    asked = request.absence
    absence = note_absence(
        tx, person, to_datetime(asked.from_time), to_datetime(asked.until_time), asked.note.strip()
    )
    await tx.session.flush()
    return ABSENCE.message(absence)


@face.write("DeleteAbsence")
async def delete_absence(request: service_pb.DeleteAbsenceRequest, tx: Transaction) -> Empty:
    absence = await tx.get(Absence, parse_id(request.id, "id"), right="leads")
    tx.check_etag(absence, request.etag)
    end_absence(tx, absence)
    return Empty()
