"""A conversion whose processes die between any two of its steps: what the steps are, and how to die at one. And of what has more
steps than there is time for, those at which to die."""

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import httpx

from kehu_local.suite import Suite
from proof import found
from proof.rig import Rig

WANTED = {"name": "A pump"}
REFUSED = {"name": "A pump", "productId": "01a20b6a-0000-7000-8000-000000000000"}
"""Sales has no such product: what was made before is taken back."""

EVERY = os.environ.get("KEHU_EVERY_STEP") == "1"
"""Whether all steps are wanted where tests choose some."""


def chosen(steps: Sequence[str]) -> list[str]:
    """The last step of each kind, on both sides: a kind is a step without its number, and any message is one. All of the steps,
    when every one is wanted."""
    if EVERY:
        return list(steps)
    last = {_kind(step): step.partition(" ")[2] for step in steps}
    return [f"{side} {step}" for step in last.values() for side in ("before", "after")]


def _kind(step: str) -> str:
    what = step.partition(" ")[2]
    return "sending" if what.startswith("sending") else what.rstrip("0123456789 ")


def new_lead(boss: Any) -> str:
    """A lead that becomes a customer, a contact and an opportunity."""
    return boss.post("/v1/leads", {"name": "Li Lei", "companyName": f"Cut off {uuid4()}"})["id"]


def convert(boss: Any, lead: str, opportunity: Mapping[str, str]) -> httpx.Response:
    """Asks for the conversion of the lead, each time with the same Idempotency-Key."""
    return boss.http.post(
        f"/v1/leads/{lead}:convert",
        json={"opportunity": opportunity},
        headers={**boss.headers, "idempotency-key": f"convert-{lead}"},
    )


def steps_of(
    boss: Any,
    rig: Rig,
    eventually: Callable[..., Any],
    asked: Mapping[str, str] = WANTED,
    end: str = "SUCCEEDED",
) -> list[str]:
    """The steps of a conversion in that service, as an undisturbed one passes them, up to the end of its message."""
    lead = new_lead(boss)
    eventually(lambda: found.unsent(rig.suite) == 0)
    with rig.noting() as passed:
        answer = convert(boss, lead, asked)
        assert answer.json().get("state") == f"CONVERSION_STATE_{end}", answer.text
        if rig.part.name == "leads" and end == "SUCCEEDED":
            eventually(lambda: "after sending lead.converted" in (rig.folder / "passed").read_text())
    # What a service tells others while it works for the conversion has its own time.
    return [step for step in passed if ", " in step or "lead.converted" in step]


def died_at(boss: Any, rig: Rig, step: str, asked: Mapping[str, str] = WANTED) -> str:
    """The lead at whose conversion the service died, and was started again."""
    lead = new_lead(boss)
    rig.arm(step)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(convert, boss, lead, asked)
        rig.died()
        rig.part.start()
        assert answer.result().status_code in (200, 503, 504), answer.result().text
    return lead


def ended(suite: Suite, leads: list[str], tenant: str) -> bool:
    """Whether no conversion of them is under way, and those that are done are told of."""
    return all(
        lead.status != "CONVERTING" and (lead.status == "NEW" or lead.events)
        for lead in found.leads(suite, leads, tenant).values()
    )
