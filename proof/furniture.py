"""Records of every kind, so that made-up calls have something to be about."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast
from uuid import uuid4

from proof.people import Person

Pools = Mapping[str, Sequence[str]]
"""Ids by the path below which they stand: `/v1/leads/`. The newest is the last."""

_NUMBERS = itertools.count(1)
_RUN = uuid4().hex[:8]
_PRICE = {"currencyCode": "CNY", "units": "7"}
_FIELD = {
    "key": "n",
    "label": "Name",
    "kind": "FORM_FIELD_KIND_TEXT",
    "required": True,
    "leadField": "LEAD_FIELD_NAME",
}


def _customer(pools: Pools) -> dict[str, Any]:
    return {"customerId": pools["/v1/customers/"][-1]}


def _task(pools: Pools) -> dict[str, Any]:
    due = "2030-12-01T09:00:00Z"
    return {**_customer(pools), "subject": "Call back", "kind": "ACTIVITY_KIND_TASK", "dueTime": due}


def _order(pools: Pools) -> dict[str, Any]:
    return {**_customer(pools), "lines": [{"productId": pools["/v1/products/"][0], "quantity": "1"}]}


BODIES: Mapping[str, Callable[[Pools, str], dict[str, Any]]] = {
    "/v1/teams": lambda pools, name: {"name": f"Team {name}"},
    "/v1/roles": lambda pools, name: {"name": f"Role {name}", "rights": []},
    "/v1/people": lambda pools, name: {
        "email": f"{name}@people.example", "displayName": f"Person {name}",
        "teamId": pools["/v1/teams/"][-1], "roleIds": [pools["/v1/roles/"][-1]],
    },
    "/v1/apiKeys": lambda pools, name: {"name": f"Program {name}"},
    "/v1/products": lambda pools, name: {"name": f"Pump {name}", "listPrice": _PRICE},
    "/v1/customers": lambda pools, name: {"displayName": f"Customer {name}"},
    "/v1/contacts": lambda pools, name: {**_customer(pools), "displayName": f"Contact {name}"},
    "/v1/opportunities": lambda pools, name: {**_customer(pools), "name": f"Deal {name}"},
    "/v1/activities": lambda pools, name: _task(pools),
    "/v1/orders": lambda pools, name: _order(pools),
    "/v1/tickets": lambda pools, name: {**_customer(pools), "subject": f"Ticket {name}"},
    "/v1/leads": lambda pools, name: {"name": f"Lead {name}", "companyName": f"Company {name}"},
    "/v1/campaigns": lambda pools, name: {"name": f"Campaign {name}", "channel": "CAMPAIGN_CHANNEL_EMAIL"},
    "/v1/campaignMembers": lambda pools, name: {
        "campaignId": pools["/v1/campaigns/"][-1], "leadId": pools["/v1/leads/"][-1]
    },
    "/v1/forms": lambda pools, name: {"name": f"Form {name}", "fields": [_FIELD]},
    **{
        f"/v1/{domain}/imports": lambda pools, name, kind=kind: {
            "recordType": kind, "filename": "a.csv", "content": "TmFtZQpPbmUKVHdvCg=="
        }
        for domain, kind in (("customers", "customer"), ("leads", "lead"), ("sales", "product"))
    },
}  # fmt: skip
"""A body that is good for making a record at that path, of what is there already and a name nobody has. In the order in which
they need each other.
"""


def posted_to(path: str) -> str:
    """Where it is posted to so that it is made also where the tenant's rule, which made-up calls may have changed, refuses what
    is like another: these are all alike."""
    return path + ("?allowDuplicate=true" if path in ("/v1/customers", "/v1/contacts", "/v1/leads") else "")


def a_name() -> str:
    """A name that nothing else has."""
    return f"{_RUN}-{next(_NUMBERS)}"


def id_of(made: Mapping[str, Any]) -> str:
    """The id in the answer that made a record; empty when there is none."""
    parts: list[Any] = [made, *made.values()]
    return next(
        (str(cast("Any", part)["id"]) for part in parts if isinstance(part, dict) and "id" in part), ""
    )


def furnished(boss: Person) -> dict[str, list[str]]:
    """Makes three records of every kind."""
    for path in filter(lambda path: path.endswith("/imports"), BODIES):
        # Made-up calls leave files that nobody starts, and nobody may have more than so many of them.
        for one in boss.get(path, params={"filter": "state = READY", "pageSize": 100}).get("imports", ()):
            boss.post(f"{path}/{one['id']}:cancel", {})
    pools: dict[str, list[str]] = {}
    for _ in range(3):
        for path, body in BODIES.items():
            made = boss.post(posted_to(path), body(pools, a_name()))
            pools.setdefault(f"{path}/", []).append(id_of(made))
    lead = boss.post(posted_to("/v1/leads"), {"name": "Li Lei", "companyName": "Converted"})["id"]
    pools["/v1/conversions/"] = [boss.post(f"/v1/leads/{lead}:convert")["id"]]
    return pools
