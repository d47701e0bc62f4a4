"""Requests that lead over links between services which a load of its own seldom takes, asked again and again."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import httpx

from proof.beside import Beside
from proof.deadlines import Attempt
from proof.people import Person

Request = tuple[str, Mapping[str, Any]]
"""Path and body of a POST."""
BEARABLE = frozenset({0, 200, 409, 429, 503, 504})
"""What a request may end with while something is broken; 0 is a connection that was lost."""


@dataclass(frozen=True)
class Ground:
    """What the errands need to be there already."""

    colleague: str
    """A person beside the one who asks."""
    customer: str
    product: str
    campaign: str


def ground(boss: Person, customer: str, product: str) -> Ground:
    """Makes what is missing."""
    found = boss.post(
        "/v1/people", {"email": f"{uuid4()}@demo.example", "displayName": "Owns what others make"}
    )
    campaign = {"name": f"Errands {uuid4()}", "channel": "CAMPAIGN_CHANNEL_EMAIL"}
    person = found.get("person", found)["id"]
    return Ground(person, customer, product, boss.post("/v1/campaigns", campaign)["id"])


def _owned(path: str, field: str, **more: Any) -> Callable[[Person, Ground], Request]:
    def errand(boss: Person, on: Ground) -> Request:
        return path, {field: f"Errand {uuid4()}", "ownerId": on.colleague, **more}

    return errand


def _opportunity(boss: Person, on: Ground) -> Request:
    return "/v1/opportunities", {
        "name": f"Errand {uuid4()}", "customerId": on.customer, "ownerId": on.colleague
    }  # fmt: skip


def _ticket(boss: Person, on: Ground) -> Request:
    return "/v1/tickets", {
        "subject": f"Errand {uuid4()}", "customerId": on.customer, "ownerId": on.colleague
    }  # fmt: skip


def _order(boss: Person, on: Ground) -> Request:
    return "/v1/orders", {
        "customerId": on.customer, "lines": [{"productId": on.product, "quantity": "1"}]
    }  # fmt: skip


def _conversion(boss: Person, on: Ground) -> Request:
    lead = boss.post("/v1/leads", {"name": "Errand", "companyName": f"Errand {uuid4()}"})["id"]
    return f"/v1/leads/{lead}:convert", {"opportunity": {}}


def _lead_member(boss: Person, on: Ground) -> Request:
    lead = boss.post("/v1/leads", {"name": f"Errand {uuid4()}"})["id"]
    return f"/v1/campaigns/{on.campaign}:addMembers", {"leadIds": [lead]}


def _customer_member(boss: Person, on: Ground) -> Request:
    return f"/v1/campaigns/{on.campaign}:addMembers", {"customerIds": [on.customer]}


def _transfer(boss: Person, on: Ground) -> Request:
    return "/v1/customers:transfer", {
        "ids": [on.customer], "ownerId": on.colleague, "validateOnly": True, "withOpportunities": True,
    }  # fmt: skip


ERRANDS: Mapping[tuple[str, str], Callable[[Person, Ground], Request]] = {
    ("customers", "identity"): _owned("/v1/customers", "displayName"),
    ("customers", "sales"): _transfer,
    ("leads", "identity"): _owned("/v1/leads", "name"),
    ("marketing", "identity"): _owned("/v1/campaigns", "name", channel="CAMPAIGN_CHANNEL_EMAIL"),
    ("sales", "identity"): _opportunity,
    ("servicedesk", "identity"): _ticket,
    ("servicedesk", "customers"): _ticket,
    ("sales", "customers"): _order,
    ("customers", "leads"): _conversion,
    ("leads", "customers"): _conversion,
    ("leads", "sales"): _conversion,
    ("marketing", "leads"): _lead_member,
    ("marketing", "customers"): _customer_member,
}
"""Link between two services → what leads over it. A link that has none is not tried, and the experiment says so."""


@dataclass
class Listening(Beside):
    """Hears the live events of the tenant from entering the block to leaving it, and comes back when it is let go."""

    boss: Person
    base_url: str
    heard: int = 0
    let_go: int = 0

    def _run(self) -> None:
        with httpx.Client(base_url=self.base_url, timeout=12) as http:
            while not self._ended.is_set():
                try:
                    with http.stream("GET", "/v1/events:stream", headers=self.boss.headers) as answer:
                        for line in answer.iter_lines():
                            self.heard += line.startswith("data:")
                            if self._ended.is_set():
                                return
                except httpx.TransportError:
                    pass
                self.let_go += 1
                time.sleep(0.1)


@dataclass
class Errands(Beside):
    """Two of a kind at a time, from entering the block to leaving it. `attempts` is how each ended."""

    boss: Person
    base_url: str
    on: Ground
    errand: Callable[[Person, Ground], Request]
    attempts: list[Attempt] = field(default_factory=list[Attempt])
    strange: list[str] = field(default_factory=list[str])
    """Answers that nothing excuses."""

    def _at_once(self) -> int:
        return 2

    def _run(self) -> None:
        with httpx.Client(base_url=self.base_url, timeout=40) as http:
            me = Person(http, self.boss.tenant, self.boss.email, self.boss.password)
            while not self._ended.is_set():
                me.headers = self.boss.headers
                try:
                    path, body = self.errand(me, self.on)
                except (AssertionError, httpx.TransportError):
                    time.sleep(0.05)  # what has to be there first could not be made
                    continue
                began = time.monotonic()
                try:
                    answer = http.post(path, json=body, headers=me.headers)
                    status, text = answer.status_code, answer.text
                except httpx.TransportError as error:
                    status, text = 0, repr(error)
                self.attempts.append(Attempt("POST", path, began, time.monotonic(), status))
                if status not in BEARABLE and status != 401:
                    self.strange.append(f"POST {path}: {status} {text[:200]}")
                if status != 200:
                    time.sleep(0.05)
