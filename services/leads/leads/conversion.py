"""The conversion of a lead into a customer, a contact and, if wanted, an opportunity: wholly and once, or not at all.

    begin      lead CONVERTING, conversion RUNNING, all ids fixed, a job waiting          (one transaction, the first attempt)
    customer   made under its fixed id, unless the lead joins an existing one
    contact    made under its fixed id
    opportunity  made under its fixed id, if wanted
    finish     lead CONVERTED, conversion SUCCEEDED, lead.converted goes out              (one transaction)

Each step between may be repeated: a record that is there already under its fixed id counts as made. So a crash anywhere is
mended by running all steps again, which the job does. What does not answer is asked until it does. A step that is refused for
good, or that has failed by a fault of the suite too often, leads to

    undo       conversion marked; what was made is deleted, if nobody has touched it or added something to it since
    fail       lead what it was before, conversion FAILED                                 (one transaction)
"""

import logging
from collections.abc import Awaitable, Mapping
from datetime import datetime, timedelta
from typing import Any, ClassVar, Protocol
from uuid import UUID

from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field

from chassis.custom_fields.definitions import definitions
from chassis.database import Database, Transaction
from chassis.errors import Code, NotFound, Problem
from chassis.ids import new_id
from chassis.principal import Principal
from chassis.records import Record
from leads.handling import hold
from leads.lead import Lead
from leads.lead_events import LeadConverted, LeadUpdated, tell
from leads.words import CONVERTED, CONVERTING

log = logging.getLogger(__name__)

RUNNING, SUCCEEDED, FAILED = "RUNNING", "SUCCEEDED", "FAILED"
JOB = "conversion"
_JOB_WAITS = timedelta(seconds=5)
"""How long the call that asked has for doing it itself."""
_PASSING = (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.RESOURCE_EXHAUSTED, Code.ABORTED)
_FAULTS = (Code.INTERNAL, Code.UNAUTHENTICATED)
"""What may be mended by a repeat, and may not."""
_MOST_FAULTS = 15
"""Faults until a conversion is undone, and again as many until what cannot be taken back is left: about ten minutes each."""


class Conversion(Record, table=True):
    """One conversion. `plan` holds what is to be made, as the peers take it."""

    __tablename__ = "conversions"  # pyright: ignore[reportAssignmentType]
    record_type: ClassVar[str] = ""

    lead_id: UUID
    state: str = RUNNING
    undoing: bool = False
    customer_id: UUID
    contact_id: UUID | None = None
    opportunity_id: UUID | None = None
    customer_existed: bool = False
    contact_existed: bool = False
    attempts: int = 0
    faults: int = 0
    failure_reason: str = ""
    failure_message: str = ""
    end_time: datetime | None = None
    status_before: str
    plan: dict[str, Any] = Field(default_factory=dict[str, Any], sa_type=JSONB)


class Peers(Protocol):
    """The other services, as the conversion needs them. Making something under an id that is there already succeeds;
    taking back what is not there, or was touched since, does nothing. All raise Problem."""

    async def make_customer(self, conversion: Conversion) -> None: ...
    async def make_contact(self, conversion: Conversion) -> None: ...
    async def make_opportunity(self, conversion: Conversion) -> None: ...
    async def take_back(self, conversion: Conversion) -> None: ...


def _fault(error: Exception) -> Problem:
    log.error("a step of a conversion failed", exc_info=error)
    return Problem("A fault of the service stopped this step.", code=Code.INTERNAL, reason="INTERNAL")


async def begin(
    tx: Transaction,
    lead: Lead,
    *,
    id: UUID,
    customer_id: UUID | None,
    contact_id: UUID | None,
    opportunity: Mapping[str, Any] | None,
    asked: str,
    changes_contact: bool = False,
) -> Conversion:
    """Fixes everything and lets the first attempt begin; `asked` tells a repeat of the request from another one, and
    `changes_contact` that whoever asks may change a contact that is another customer's in the first place.

    Raises LeadConverting, LeadNotConvertible.
    """
    before = lead.begin_conversion(id)
    wants_contact = bool(lead.name and lead.company_name) or (customer_id is not None and bool(lead.name))
    plan = {
        **_plan(lead, opportunity), "custom_fields": await _custom_fields(tx, lead), "asked": asked,
        "changes_contact": changes_contact,
    }  # fmt: skip
    conversion = Conversion(
        id=id, lead_id=lead.id, status_before=before, attempts=1, customer_id=customer_id or new_id(),
        customer_existed=customer_id is not None, contact_existed=contact_id is not None,
        contact_id=contact_id or (new_id() if wants_contact else None),
        opportunity_id=new_id() if opportunity is not None else None, plan=plan,
    )  # fmt: skip
    tx.add(conversion)
    await tx.enqueue(JOB, {"conversion_id": str(id)}, due_at=tx.now + _JOB_WAITS, key=str(id))
    return conversion


def _plan(lead: Lead, opportunity: Mapping[str, Any] | None) -> dict[str, Any]:
    plan: dict[str, Any] = {
        name: getattr(lead, name)
        for name in (
            "name", "company_name", "title", "department", "phone", "email", "im_account", "website", "industry", "region",
            "address", "source", "notes", "tags", "estimated_amount", "estimated_amount_currency",
        )
    }  # fmt: skip
    plan["owner_id"] = str(lead.owner_id or "")
    plan["campaign_id"] = str(lead.campaign_id or "")
    plan["lead_id"] = str(lead.id)
    plan["opportunity"] = dict(opportunity) if opportunity is not None else None
    return plan


async def _custom_fields(tx: Transaction, lead: Lead) -> dict[str, dict[str, Any]]:
    """The lead's values by key, each with what a field of the customer, the contact or the opportunity has to be like to
    take it."""
    known = await definitions(tx, Lead.record_type)
    return {
        key: {
            "kind": field.kind.value,
            "reference_type": field.reference_type,
            "value": lead.custom_fields[key],
        }
        for key, field in known.fields.items()
        if key in lead.custom_fields
    }


async def carry_on(
    database: Database, who: Principal, id: UUID, peers: Peers, begun: Conversion | None = None
) -> None:
    """Takes all steps that are left, as another attempt, or as the first one of what has just `begun`. Returns when the
    conversion has ended.

    Raises the Problem of a step that may succeed later; the job then tries again.
    """
    conversion = begun or await _attempt(database, who, id)
    if conversion is None:
        return
    if not conversion.undoing:
        problem = await _trouble(_make(conversion, peers))
        if problem is None:
            await _finish(database, who, id)
            return
        if not await _given_up(database, who, id, problem, _MOST_FAULTS):
            raise problem
    problem = await _trouble(peers.take_back(conversion))
    if problem is not None and not await _given_up(database, who, id, problem, 2 * _MOST_FAULTS):
        raise problem
    await _fail(database, who, id)


async def _make(conversion: Conversion, peers: Peers) -> None:
    if not conversion.customer_existed:
        await peers.make_customer(conversion)
    if conversion.contact_id is not None and not conversion.contact_existed:
        await peers.make_contact(conversion)
    if conversion.opportunity_id is not None:
        await peers.make_opportunity(conversion)


async def _trouble(step: Awaitable[None]) -> Problem | None:
    """What went wrong in a step; None when it went well."""
    try:
        await step
    except Problem as problem:
        return problem
    except Exception as error:  # whatever it is, it may not hold the lead for ever
        return _fault(error)
    return None


async def _locked(tx: Transaction, id: UUID) -> Conversion:
    conversion = await tx.find(Conversion, id)
    if conversion is None:
        raise NotFound("conversion", id)
    return conversion


async def _attempt(database: Database, who: Principal, id: UUID) -> Conversion | None:
    async with database.transaction(who) as tx:
        conversion = await _locked(tx, id)
        if conversion.state != RUNNING:
            return None
        conversion.attempts += 1
    return conversion


async def _given_up(database: Database, who: Principal, id: UUID, problem: Problem, most: int) -> bool:
    """Notes what went wrong; whether it is to be tried no more. The failure that began the undoing stays readable."""
    async with database.transaction(who) as tx:
        conversion = await _locked(tx, id)
        conversion.faults += problem.code in _FAULTS
        if not conversion.undoing:
            conversion.failure_reason = problem.reason
            conversion.failure_message = problem.message[:1000]
        given_up = problem.code not in _PASSING and (problem.code not in _FAULTS or conversion.faults >= most)
        conversion.undoing = conversion.undoing or given_up
    return given_up


async def _finish(database: Database, who: Principal, id: UUID) -> None:
    async with database.transaction(who) as tx:
        handling = await hold(tx)
        conversion = await _locked(tx, id)
        if conversion.state != RUNNING or conversion.undoing:
            return
        lead = await _lead(tx, conversion)
        conversion.state = SUCCEEDED
        conversion.end_time = lead.convert_time = tx.now
        conversion.failure_reason = conversion.failure_message = ""
        lead.status = CONVERTED
        lead.customer_id = conversion.customer_id
        lead.contact_id = conversion.contact_id
        lead.opportunity_id = conversion.opportunity_id
        lead.end_cadence()
        tell(
            tx, lead, handling, LeadConverted, conversion_id=id, customer_existed=conversion.customer_existed,
            changes_contact=bool(conversion.plan.get("changes_contact")),
        )  # fmt: skip


async def _fail(database: Database, who: Principal, id: UUID) -> None:
    async with database.transaction(who) as tx:
        handling = await hold(tx)
        conversion = await _locked(tx, id)
        if conversion.state != RUNNING:
            return
        lead = await _lead(tx, conversion)
        conversion.state = FAILED
        conversion.end_time = tx.now
        lead.status = conversion.status_before
        tell(tx, lead, handling, LeadUpdated, changed_fields=["status"])


async def _lead(tx: Transaction, conversion: Conversion) -> Lead:
    lead = await tx.find(Lead, conversion.lead_id)
    if lead is None or lead.status != CONVERTING or lead.conversion_id != conversion.id:
        raise RuntimeError(f"conversion {conversion.id} has lost its lead")
    return lead
