"""To whom a record is given: the caller, or somebody the caller's reach covers.

People are kept by identity; who is asked for stands in the contract of its LookUpPeople. The question is asked before a
transaction begins, so that no lock waits for another service.
"""

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from kehu.identity.v1 import person_pb2, person_service_pb2

from chassis.errors import Denied, Invalid
from chassis.ids import parse_id
from chassis.principal import Act, Principal, Reach
from chassis.rpc import Call

LOOK_UP = "kehu.identity.v1.PersonService/LookUpPeople"
_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class Owner:
    """A person who can own records, and the team by which reach `team` is measured."""

    person_id: UUID
    team_id: UUID | None


async def owner_for(call: Call, owner_id: str, right: str, field: str) -> Owner:
    """The owner for a record: the person of that id, or the caller when it is empty.

    Raises Invalid (OWNER_NOT_FOUND) naming `field` for somebody who does not exist or is disabled, Denied (OWNER_OUT_OF_REACH)
    for somebody the caller's write reach does not cover.
    """
    who = call.who
    if not owner_id or parse_id(owner_id, field) == who.person_id:
        return Owner(who.person_id, who.team_id)
    answer = await call.ask(
        LOOK_UP,
        person_service_pb2.LookUpPeopleRequest(ids=[owner_id]),
        person_service_pb2.LookUpPeopleResponse,
    )
    person = next((p for p in answer.people if p.status == person_pb2.PERSON_STATUS_ACTIVE), None)
    if person is None:
        raise Invalid(field, f"there is no active person {owner_id}", reason="OWNER_NOT_FOUND")
    owner = Owner(UUID(person.id), UUID(person.team_id) if person.team_id else None)
    if not reaches(who, right, owner):
        raise Denied(f"Your rights do not reach {person.display_name}.", reason="OWNER_OUT_OF_REACH")
    return owner


async def active_owners(call: Call, ids: Collection[UUID]) -> dict[UUID, Owner]:
    """Those of these people to whom records can be given: who does not exist or is disabled is left out."""
    found: dict[UUID, Owner] = {}
    wanted = sorted(ids)
    for start in range(0, len(wanted), _AT_ONCE):
        some = person_service_pb2.LookUpPeopleRequest(ids=map(str, wanted[start : start + _AT_ONCE]))
        answer = await call.ask(LOOK_UP, some, person_service_pb2.LookUpPeopleResponse)
        for person in answer.people:
            if person.status == person_pb2.PERSON_STATUS_ACTIVE:
                found[UUID(person.id)] = Owner(
                    UUID(person.id), UUID(person.team_id) if person.team_id else None
                )
    return found


def reaches(who: Principal, right: str, owner: Owner) -> bool:
    """Whether the caller's write reach lets them give records to that person."""
    reach = who.reach(right, Act.WRITE)
    return (
        owner.person_id == who.person_id
        or reach is Reach.ALL
        or (reach is Reach.TEAM and owner.team_id in who.team_ids)
    )
