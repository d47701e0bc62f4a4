"""The gRPC face of what a service holds about persons. Other services call it, and nobody else."""

import time
from collections.abc import Iterable
from typing import Any
from uuid import UUID

import orjson
from kehu.privacy.v1 import privacy_pb2 as pb

from chassis.ids import parse_id
from chassis.privacy.person import Person, RecordName
from chassis.privacy.privacy import Privacy
from chassis.records import etag
from chassis.rpc.call import Call
from chassis.rpc.face import Face

_MOST_BYTES = 1024 * 1024
"""Bytes of one part of what is handed out."""
_LONG = 3.0
"""Seconds after which a call answers with how far it has come."""
ORIGIN = "erasure"


def person_of(message: pb.Person) -> Person:
    """The person of a message."""
    return Person(
        records=_records(message.records), phones=frozenset(message.phones), emails=frozenset(message.emails),
        accounts=frozenset(message.accounts), names=frozenset(message.names), texts=frozenset(message.texts),
        excluded=_records(message.excluded),
    )  # fmt: skip


def _records(named: Iterable[pb.PersonRecord]) -> frozenset[RecordName]:
    return frozenset((one.record_type, parse_id(one.record_id, "recordId")) for one in named)


def person_message(person: Person) -> pb.Person:
    """A person as a message."""
    return pb.Person(
        records=[pb.PersonRecord(record_type=kind, record_id=str(id)) for kind, id in sorted(person.records)],
        phones=sorted(person.phones), emails=sorted(person.emails), accounts=sorted(person.accounts),
        names=sorted(person.names), texts=sorted(person.texts)[:1000],
        excluded=[pb.PersonRecord(record_type=kind, record_id=str(id)) for kind, id in sorted(person.excluded)],
    )  # fmt: skip


def privacy_face(service: str, privacy: Privacy) -> Face:
    """The face of that PrivacyService (`kehu.leads.v1.PrivacyService`)."""
    face = Face(service)

    async def find(request: pb.FindPersonRequest, call: Call) -> pb.FindPersonResponse:
        return await found(privacy, person_of(request.person), call)

    async def export(request: pb.ExportPersonalDataRequest, call: Call) -> pb.ExportPersonalDataResponse:
        return await exported(privacy, person_of(request.person), request.page_token, call)

    async def erase(request: pb.ErasePersonalDataRequest, call: Call) -> pb.ErasePersonalDataResponse:
        id = parse_id(request.erasure_id, "erasureId")
        return await erased(privacy, id, person_of(request.person), request.cursor, call)

    face.read("FindPerson")(find)
    face.read("ExportPersonalData")(export)
    face.process("ErasePersonalData")(erase)
    return face


async def found(privacy: Privacy, person: Person, call: Call) -> pb.FindPersonResponse:
    """What is held about the person."""
    answer = pb.FindPersonResponse()
    async with call.database.transaction(call.who, origin=ORIGIN) as tx:
        for one in await privacy.find(tx, person):
            holding, row = one.holding, one.row
            answer.records.add(
                record_type=holding.record_type, record_id=str(row.id), etag=etag(getattr(row, "version", 1)),
                kept_for=holding.keeps,
                match=pb.PersonMatch.Value(f"PERSON_MATCH_{one.match or 'ID'}"), identity=holding.identity and bool(one.match),
                notices=[notice for notice, holds in holding.notices.items() if row.deleted_at is None and holds(row)],
                person=person_message(holding.told(row)) if one.match else pb.Person(),
            )  # fmt: skip
    return answer


async def exported(privacy: Privacy, person: Person, token: str, call: Call) -> pb.ExportPersonalDataResponse:
    """The next part of what is held about the person. Raises Invalid for a token that was not given here."""
    size = 0
    answer = pb.ExportPersonalDataResponse()
    async with call.database.transaction(call.who, origin=ORIGIN) as tx:
        async for behind, kind, id, told in privacy.export(tx, person, token):
            if size > _MOST_BYTES:
                answer.next_page_token = token
                break
            held = orjson.dumps(told, default=str).decode()
            size, token = size + len(held), behind
            answer.records.add(record_type=kind, record_id=str(id), json=held)
    return answer


async def erased(
    privacy: Privacy, erasure_id: UUID, person: Person, cursor: str, call: Call
) -> pb.ErasePersonalDataResponse:
    """Takes the person out of what is held, as far as it comes in a few seconds."""
    began = time.monotonic()
    answer: Any = pb.ErasePersonalDataResponse()
    while True:
        async with call.database.transaction(call.who, origin=ORIGIN) as tx:
            cursor = await privacy.erase(tx, erasure_id, person, cursor)
            counted = await privacy.counted(tx, erasure_id)
        if not cursor or time.monotonic() - began > _LONG:
            break
    for kind, reason, gone, kept in counted:
        answer.report.add(record_type=kind, kept_for=reason, erased_count=gone, kept_count=kept)
    answer.cursor, answer.done = cursor, not cursor
    return answer
