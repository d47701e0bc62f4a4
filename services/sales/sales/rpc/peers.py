"""Customers as sales needs them, asked of the service that keeps them."""

from collections.abc import Sequence
from uuid import UUID

from kehu.customers.v1 import competitor_service_pb2 as competitors_pb
from kehu.customers.v1 import customer_service_pb2 as pb

from chassis.errors import Problem
from chassis.principal import Act
from chassis.rpc import Call
from chassis.shares.messages import shares_told
from chassis.visibility import Holder, covers
from sales.competition import Competitor, Known
from sales.errors import customer_not_found

_LOOK_UP = "kehu.customers.v1.CustomerService/LookUpCustomers"
_LOOK_UP_COMPETITORS = "kehu.customers.v1.CompetitorService/LookUpCompetitors"


async def customer_name(call: Call, id: UUID, field: str) -> str:
    """The name of a customer the caller may see. Raises Invalid (CUSTOMER_NOT_FOUND), Unavailable."""
    name = await customer_known(call, id)
    if name is None:
        raise customer_not_found(field, id)
    return name


async def customer_known(call: Call, id: UUID) -> str | None:
    """The name of a customer the caller may see; None when there is none. Raises Unavailable."""
    answer = await call.ask(_LOOK_UP, pb.LookUpCustomersRequest(ids=[str(id)]), pb.LookUpCustomersResponse)
    return answer.customers[0].display_name if answer.customers else None


async def competitors_known(call: Call, ids: Sequence[str]) -> Known:
    """Those of these competitors that the caller may see; nobody is asked about none. Raises Unavailable."""
    if not ids:
        return {}
    asked = competitors_pb.LookUpCompetitorsRequest(ids=ids)
    try:
        answer = await call.ask(_LOOK_UP_COMPETITORS, asked, competitors_pb.LookUpCompetitorsResponse)
    except Problem as problem:
        if problem.reason == "RIGHT_MISSING":
            return {}  # who may see no competitor at all may not see these
        raise
    found = [Competitor(UUID(card.id), card.display_name, card.record_version) for card in answer.competitors]
    return {one.id: one for one in found}


async def customers_named(call: Call, names: Sequence[str]) -> list[tuple[str, UUID]]:
    """Name and id of the customers with these names that the person of the call may see."""
    answer = await call.ask(_LOOK_UP, pb.LookUpCustomersRequest(names=names), pb.LookUpCustomersResponse)
    # A job asks as this service, which sees all of them: so the person's own reach is measured here.
    return [
        (card.display_name, UUID(card.id))
        for card in answer.customers
        if covers(_holder(card), call.who, "customers", Act.READ)
    ]


async def customers_named_or_keyed(call: Call, texts: Sequence[str]) -> list[tuple[str, str, UUID]]:
    """Name, key in another system, and id of the customers with these names or keys that the person of the call may see."""
    keys = [text for text in texts if len(text) <= _LONGEST_KEY]
    asked = pb.LookUpCustomersRequest(names=texts, external_keys=keys)
    answer = await call.ask(_LOOK_UP, asked, pb.LookUpCustomersResponse)
    return [
        (card.display_name, card.external_key, UUID(card.id))
        for card in answer.customers
        if covers(_holder(card), call.who, "customers", Act.READ)
    ]


_LONGEST_KEY = 100


def _holder(card: pb.CustomerCard) -> Holder:
    return Holder.told(card.owner_id, card.team_id, shares_told(card.shares))
