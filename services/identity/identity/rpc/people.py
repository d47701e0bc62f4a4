"""PersonService."""

from uuid import UUID

from kehu.identity.v1 import person_pb2 as pb
from kehu.identity.v1 import person_service_pb2 as service_pb

from chassis.database import Transaction
from chassis.fields import Field, Kind
from chassis.ids import parse_id
from chassis.listing import Listing
from chassis.rpc import Call, Face
from identity import api_key, session
from identity.person import Person, change_person, create_person, disable, enable, reset_password
from identity.rpc.messages import PERSON, person_message

face = Face("kehu.identity.v1.PersonService")

PEOPLE = Listing(
    Person,
    "people",
    {
        "displayName": Field("display_name", Kind.TEXT, sortable=True),
        "email": Field("email", Kind.TEXT, sortable=True),
        "status": Field("status", Kind.ENUM, values=("ACTIVE", "DISABLED"), prefix="PERSON_STATUS_"),
        "teamId": Field("team_id", Kind.UUID, nullable=True),
        "externalKey": Field("external_key", Kind.TEXT),
        "createTime": Field("created_at", Kind.TIMESTAMP, sortable=True),
        "lastSignInTime": Field("last_sign_in_time", Kind.TIMESTAMP, sortable=True, nullable=True),
    },
    "displayName",
    search=True,
)


async def _person(tx: Transaction, id: str, etag: str) -> Person:
    person = await tx.get(Person, parse_id(id, "id"), right="people")
    tx.check_etag(person, etag)
    return person


async def _answer(tx: Transaction, person: Person) -> pb.Person:
    await tx.session.flush()
    return person_message(person)


@face.read("GetPerson")
async def get_person(request: service_pb.GetPersonRequest, call: Call) -> pb.Person:
    return person_message(await PEOPLE.get(call, request.id))


@face.read("ListPeople")
async def list_people(request: service_pb.ListPeopleRequest, call: Call) -> service_pb.ListPeopleResponse:
    page = await PEOPLE.page(call, request)
    return service_pb.ListPeopleResponse(
        people=[person_message(row) for row in page.rows], next_page_token=page.next_page_token
    )


@face.write("CreatePerson")
async def create(request: service_pb.CreatePersonRequest, tx: Transaction) -> service_pb.CreatePersonResponse:
    values = {**PERSON.values(request.person), "role_ids": list(request.person.role_ids)}
    id = parse_id(request.person_id, "personId") if request.person_id else None
    person, secret = await create_person(tx, values, id=id, initial_password=request.initial_password)
    return service_pb.CreatePersonResponse(person=await _answer(tx, person), one_time_password=secret)


@face.write("UpdatePerson")
async def update(request: service_pb.UpdatePersonRequest, tx: Transaction) -> pb.Person:
    person = await _person(tx, request.person.id, request.person.etag)
    mask = type(request.update_mask)(paths=[p for p in request.update_mask.paths if p != "role_ids"])
    values = {}
    if mask.paths or not request.update_mask.paths:
        values = PERSON.values(request.person, mask)
    if "role_ids" in request.update_mask.paths or (not request.update_mask.paths and request.person.role_ids):
        values["role_ids"] = list(request.person.role_ids)
    await change_person(tx, person, values)
    return await _answer(tx, person)


@face.write("DisablePerson")
async def disable_person(request: service_pb.DisablePersonRequest, tx: Transaction) -> pb.Person:
    person = await _person(tx, request.id, request.etag)
    if await disable(tx, person):
        await session.end_all(tx, person.id, "PERSON_DISABLED")
        await api_key.revoke_all(tx, person.id)
    return await _answer(tx, person)


@face.write("EnablePerson")
async def enable_person(request: service_pb.EnablePersonRequest, tx: Transaction) -> pb.Person:
    person = await _person(tx, request.id, request.etag)
    await enable(tx, person)
    return await _answer(tx, person)


@face.write("ResetPassword")
async def reset(
    request: service_pb.ResetPasswordRequest, tx: Transaction
) -> service_pb.ResetPasswordResponse:
    person = await _person(tx, request.id, request.etag)
    secret = await reset_password(tx, person)
    await session.end_all(tx, person.id, "PASSWORD_CHANGED")
    return service_pb.ResetPasswordResponse(person=await _answer(tx, person), one_time_password=secret)


_CARDS = (
    "SELECT p.id, p.display_name, p.email, p.title, p.team_id, p.status, t.name AS team_name FROM people p"
    " LEFT JOIN teams t ON t.id = p.team_id WHERE p.deleted_at IS NULL"
    " AND (p.id = ANY($1::uuid[]) OR p.email = ANY($2::text[]) OR lower(p.display_name) = ANY($3::text[]))"
    " ORDER BY p.display_name, p.id"
)


@face.read("LookUpPeople")
async def look_up(request: service_pb.LookUpPeopleRequest, call: Call) -> service_pb.LookUpPeopleResponse:
    ids = [parse_id(id, "ids") for id in request.ids]
    if request.query:
        ids += await _found(call, request.query)
    names = [name.strip().lower() for name in request.names]
    rows = await call.database.read(call.who, _CARDS, ids, [email.lower() for email in request.emails], names)
    return service_pb.LookUpPeopleResponse(
        people=[
            service_pb.PersonCard(
                id=str(row["id"]), display_name=row["display_name"], email=row["email"], title=row["title"],
                team_id=str(row["team_id"] or ""), team_name=row["team_name"] or "",
                status=pb.PersonStatus.Value(f"PERSON_STATUS_{row['status']}"),
            )
            for row in rows
        ]
    )  # fmt: skip


_EVERYBODY = Listing(
    Person,
    None,
    {
        "displayName": Field("display_name", Kind.TEXT, sortable=True),
        "status": Field("status", Kind.ENUM, values=("ACTIVE", "DISABLED"), prefix="PERSON_STATUS_"),
    },
    "displayName",
    search=True,
    columns=["id"],
)


async def _found(call: Call, query: str) -> list[UUID]:
    wanted = service_pb.ListPeopleRequest(page_size=20, query=query, filter='status = "ACTIVE"')
    return [row["id"] for row in (await _EVERYBODY.page(call, wanted)).rows]
