"""What leads does by itself: asking the rules, looking whether a lead was accepted, taking idle ones back, counting anew.

Each of these bears a repeat: it looks at the lead as it is now, and does nothing when that is not what it was begun for.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from chassis.database import Transaction
from chassis.jobs import Job
from chassis.principal import NOBODY
from chassis.rpc import Call
from leads import assignment, cadence, handling, score
from leads.assignment import assign_by_rules, lock_leads
from leads.handling import Handling, hold, settings_of
from leads.lead import DUE, Lead
from leads.pool import RECLAIM_EVERY, expire, forget_days, reclaim_idle, warn_idle
from leads.rpc.roster import roster_of
from leads.words import PASSED_ON, RETURNED, RULE

_AT_ONCE = 100
_BY_RULES = "rule"
"""Where changes come from, as their history says, that the tenant's rules have made."""


def by_itself(call: Call) -> Call:
    """Nobody's call: that a person once set a rule does not make them the one who acts by it."""
    return replace(call, who=replace(call.who, person_id=NOBODY, name="", team_id=None))


async def assign(payload: Mapping[str, Any], call: Call) -> None:
    """Asks the rules about leads that were captured, or returned; those that somebody has since given or taken stay."""
    call = by_itself(call)
    cause: str = payload.get("cause", RULE)
    ids = [UUID(id) for id in payload["lead_ids"]]
    for first in range(0, len(ids), _AT_ONCE):
        roster = await roster_of(call)
        async with call.database.transaction(call.who, origin=_BY_RULES) as tx:
            held = await hold(tx)
            leads = [
                lead for lead in await lock_leads(tx, ids[first : first + _AT_ONCE]) if _waits(lead, cause)
            ]
            if leads:
                await assign_by_rules(tx, leads, held, roster, cause)


def _waits(lead: Lead, cause: str) -> bool:
    if cause == PASSED_ON:
        return lead.owner_id is None and lead.assignment_cause == RETURNED
    return lead.assignment_cause == ""


async def expire_offer(payload: Mapping[str, Any], call: Call) -> None:
    """The time to accept a lead has passed."""
    call = by_itself(call)
    roster = await roster_of(call)
    async with call.database.transaction(call.who, origin=_BY_RULES) as tx:
        held = await hold(tx)
        lead = await tx.find(Lead, UUID(payload["lead_id"]))
        if lead is not None:
            await expire(tx, lead, held, roster, datetime.fromisoformat(payload["until"]))


Some = Callable[[Transaction, Handling], Awaitable[bool]]


async def _batches(call: Call, some: Some, origin: str) -> None:
    """Works in transactions of their own until there is nothing left: what is done stays done when the process dies."""
    more = True
    while more:
        async with call.database.transaction(call.who, origin=origin) as tx:
            more = await some(tx, await hold(tx))


async def reclaim(payload: Mapping[str, Any], call: Call) -> None:
    """Takes idle leads back, and comes again while the tenant wants it."""
    call = by_itself(call)
    for some in (reclaim_idle, forget_days, warn_idle):
        await _batches(call, some, _BY_RULES)
    async with call.database.transaction(call.who, origin="job") as tx:
        if (await settings_of(tx)).reclaim_idle_days:
            due = datetime.now(UTC) + RECLAIM_EVERY
            await tx.enqueue(handling.RECLAIM, {}, due_at=due, key=handling.RECLAIM)


async def rescore(payload: Mapping[str, Any], call: Call) -> None:
    """Counts all leads anew."""
    await _batches(by_itself(call), score.count_some, "job")


async def contact_due(payload: Mapping[str, Any], call: Call) -> None:
    """Tells that the time for the next contact has come."""
    call = by_itself(call)
    async with call.database.transaction(call.who, origin="job") as tx:
        held = await hold(tx)
        lead = await tx.find(Lead, UUID(payload["lead_id"]))
        if lead is not None:
            cadence.tell_due(tx, lead, held, datetime.fromisoformat(payload["at"]))


JOBS: Mapping[str, Job] = {
    assignment.JOB: assign,
    assignment.EXPIRY: expire_offer,
    handling.RECLAIM: reclaim,
    score.RESCORE: rescore,
    DUE: contact_due,
}
