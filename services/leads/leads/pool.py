"""Accepting and returning leads, the pool of those that nobody has, and what takes leads there by itself."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import text

from chassis.database import Transaction
from chassis.errors import NotFound
from chassis.owners import Owner
from leads import errors
from leads.assignment import JOB, Roster, assign_by_rules, open_leads
from leads.conditions import where
from leads.handling import Handling, LeadHandling, settings_of
from leads.lead import Lead
from leads.lead_events import LeadAccepted, LeadAssigned, LeadReclaimed, LeadReclaimWarned, LeadReturned, tell
from leads.words import ACCEPTED, CLAIMED, IDLE, NOT_ACCEPTED, OPEN, PASSED_ON, PENDING, RETURNED

RECLAIM_EVERY = timedelta(minutes=10)
_AT_ONCE = 100


def accept(tx: Transaction, lead: Lead, handling: Handling) -> None:
    """Its owner accepts it; once more changes nothing. Raises LeadNotYours, LeadNotPending."""
    if lead.owner_id != tx.who.person_id:
        raise errors.LeadNotYours
    if lead.acceptance == ACCEPTED:
        return
    if lead.acceptance != PENDING:
        raise errors.LeadNotPending
    lead.settle_acceptance()
    lead.touch(tx.now)
    tell(tx, lead, handling, LeadAccepted)


async def give_back(tx: Transaction, lead: Lead, handling: Handling, reason: str) -> None:
    """Its owner returns it: into the pool, and the rules are asked about it. Raises LeadNotYours, LeadNotReturnable."""
    if lead.owner_id != tx.who.person_id:
        raise errors.LeadNotYours
    lead.check_open(errors.LeadNotReturnable, "returned")
    previous = tx.who.person_id
    _passed_over(lead, previous)
    lead.return_reason = reason
    lead.belong(None, tx.now, RETURNED)
    tell(tx, lead, handling, LeadReturned, previous_owner_id=previous, reason=reason)
    await tx.enqueue(JOB, {"lead_ids": [str(lead.id)], "cause": PASSED_ON}, key=str(lead.id))


def _passed_over(lead: Lead, person: UUID) -> None:
    if person not in lead.offered_to:
        lead.offered_to = [*lead.offered_to, person]
    lead.offer_count = len(lead.offered_to)


async def expire(tx: Transaction, lead: Lead, handling: Handling, roster: Roster, until: datetime) -> None:
    """The time to accept the lead has passed: it goes to the next, or to the pool. Nothing happens when it was accepted or
    offered anew. Raises RulesChanged."""
    if (
        lead.acceptance != PENDING
        or lead.accept_until_time != until
        or until > tx.now
        or lead.status not in OPEN
    ):
        return
    previous = lead.owner_id
    lead.acceptance, lead.accept_until_time = "", None
    (decision,) = await assign_by_rules(tx, [lead], handling, roster, PASSED_ON)
    if decision.outcome != "ASSIGNED":
        lead.belong(None, tx.now, NOT_ACCEPTED)
        tell(tx, lead, handling, LeadReclaimed, previous_owner_id=previous)


async def claim(tx: Transaction, id: UUID, handling: Handling) -> Lead:
    """Gives the caller a lead of the pool. Raises NotFound, Denied, LeadNotInPool, ClaimLimitReached, ClaimTooSoon."""
    who = tx.who
    # One's own claims come one after the other, so that the limit holds.
    await tx.hold(f"claims {who.person_id}")
    lead = await tx.find(Lead, id)
    if lead is None:
        raise NotFound("lead", id)
    if lead.owner_id is not None or lead.status not in OPEN:
        await tx.get(Lead, id, right="leads")  # whoever may not change it learns no more of it than elsewhere
        raise errors.LeadNotInPool
    settings = await settings_of(tx)
    if settings.claim_limit:
        mine = (await open_leads(tx, [who.person_id])).get(who.person_id, 0)
        if mine >= settings.claim_limit:
            raise errors.ClaimLimitReached(mine, settings.claim_limit)
    if lead.previous_owner_id == who.person_id and lead.pool_time is not None:
        until = lead.pool_time + timedelta(hours=settings.claim_pause_hours)
        if until > tx.now:
            raise errors.ClaimTooSoon(until)
    lead.settle_acceptance()
    lead.belong(Owner(who.person_id, who.team_id), tx.now, CLAIMED)
    tell(tx, lead, handling, LeadAssigned, previous_owner_id=None)
    return lead


# While its owner is away, no time passes for a lead. The days are counted once, however many absences speak of them.
_SINCE = (
    "t.touch_time + coalesce((SELECT sum(upper(r.away) - lower(r.away)) FROM (SELECT unnest(range_agg(tstzrange("
    "greatest(a.from_time, t.touch_time), least(a.until_time, $2)))) AS away FROM absences AS a WHERE a.owner_id = t.owner_id"
    " AND a.deleted_at IS NULL AND a.from_time < $2 AND a.until_time > t.touch_time AND t.touch_time < $2) AS r), interval '0')"
)
_AWAY = (
    "EXISTS (SELECT FROM absences AS a WHERE a.owner_id = t.owner_id AND a.deleted_at IS NULL AND a.from_time <= $2"
    " AND a.until_time > $2)"
)
# $2 is now, $3 since when a lead is idle. The condition of the tenant's rule comes behind these words, its parameters after
# theirs.
_IDLE = (
    "t.owner_id IS NOT NULL AND t.status = ANY($1) AND t.acceptance <> 'PENDING' AND t.deleted_at IS NULL"
    f" AND t.touch_time <= $3 AND {_SINCE} <= $3 AND NOT {_AWAY} AND "
)
# Leads that somebody holds are looked at next time: who holds one is taking it in hand, or back.
_SOME = " ORDER BY t.touch_time, t.id LIMIT $4 FOR UPDATE OF t SKIP LOCKED"
_TO_WARN = f"SELECT t.id, {_SINCE} AS since FROM leads AS t WHERE t.reclaim_time IS NULL AND {_IDLE}"  # noqa: S608 (constants)
_TO_RECLAIM = f"SELECT t.id, {_SINCE} AS since FROM leads AS t WHERE t.reclaim_time <= $2 AND {_IDLE}"  # noqa: S608 (constants)
_FORGET_DAY = (
    "UPDATE leads SET reclaim_time = NULL WHERE id IN (SELECT t.id FROM leads AS t WHERE t.reclaim_time <= $2"  # noqa: S608 (constants)
    f" AND t.deleted_at IS NULL AND ({_IDLE}"
)
_KEPT = f") IS NOT TRUE{_SOME}) RETURNING id"


async def warn_idle(tx: Transaction, handling: Handling) -> bool:
    """Tells the owners of some idle leads when they go back; whether there may be more."""
    settings = await settings_of(tx)
    if not settings.reclaim_idle_days:
        return False
    idle, warning = (
        timedelta(days=settings.reclaim_idle_days),
        timedelta(days=settings.reclaim_warning_days),
    )
    found = await _some(tx, _TO_WARN, idle - warning, settings)
    for lead, since in found:
        lead.reclaim_time = max(since + idle, tx.now + warning)
        tell(tx, lead, handling, LeadReclaimWarned, reclaim_time=lead.reclaim_time)
    return len(found) == _AT_ONCE


async def reclaim_idle(tx: Transaction, handling: Handling) -> bool:
    """Takes back some leads whose owners were warned in time and did nothing; whether there may be more."""
    settings = await settings_of(tx)
    if not settings.reclaim_idle_days:
        return False
    found = await _some(tx, _TO_RECLAIM, timedelta(days=settings.reclaim_idle_days), settings)
    for lead, _ in found:
        previous = lead.owner_id
        lead.settle_acceptance()
        lead.belong(None, tx.now, IDLE)
        tell(tx, lead, handling, LeadReclaimed, previous_owner_id=previous)
    return len(found) == _AT_ONCE


async def forget_days(tx: Transaction, handling: Handling) -> bool:
    """Takes the day from some leads whose day has passed and which stayed, as the rule keeps them or their owner was away: before
    they are taken, their owner is warned anew. Whether there may be more."""
    settings = await settings_of(tx)
    if not settings.reclaim_idle_days:
        return False
    kept = await _rows(tx, _FORGET_DAY, timedelta(days=settings.reclaim_idle_days), settings, _KEPT)
    return len(kept) == _AT_ONCE


async def _some(
    tx: Transaction, sql: str, idle: timedelta, settings: LeadHandling
) -> Sequence[tuple[Lead, datetime]]:
    """Leads, locked, and since when they are idle."""
    rows = await _rows(tx, sql, idle, settings, _SOME)
    found = [(await tx.find(Lead, UUID(str(row["id"]))), row["since"]) for row in rows]
    return [(lead, since) for lead, since in found if lead is not None]


async def _rows(
    tx: Transaction, sql: str, idle: timedelta, settings: LeadHandling, end: str
) -> Sequence[Any]:
    such = await where(tx, settings.reclaim_condition, 5)
    connection = await tx.session.connection()
    driver: Any = (await connection.get_raw_connection()).driver_connection
    asked = (list(OPEN), tx.now, tx.now - idle, _AT_ONCE)
    return await driver.fetch(sql + such.text + end, *asked, *such.values)


# Who works on a lead does not write it: neither its version nor its history tells of it.
_WORKED = text(
    "UPDATE leads SET touch_time = :at, reclaim_time = NULL WHERE id = coalesce((SELECT t.duplicate_of_lead_id FROM leads AS t"
    " WHERE t.id = :id), :id) AND deleted_at IS NULL AND status = ANY(:open) AND (touch_time IS NULL OR touch_time < :at)"
)


async def worked_on(tx: Transaction, lead_id: UUID, at: datetime) -> None:
    """Somebody worked on the lead elsewhere, or on one that was merged into it: then it was not idle."""
    await tx.session.execute(_WORKED, {"id": lead_id, "at": min(at, tx.now), "open": list(OPEN)})
